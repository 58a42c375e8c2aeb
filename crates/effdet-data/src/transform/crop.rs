//! Cropping that keeps every box.

use effdet_core::{ImageSize, XyxyBox};

use super::sample::crop;
use super::scale::stretch;
use super::{Region, Rng, Sample, Transform};
use crate::Interpolation;

/// A random crop that holds all boxes, stretched to `size`.
///
/// Without boxes the crop has the full height and the picture's aspect ratio, which is the whole picture.
///
/// # Reference
/// albumentations 1.0.3 `RandomSizedBBoxSafeCrop` with `erosion_rate` 0, the draws in its order (left, top, right,
/// bottom). There the truncation to whole pixels can cut up to a pixel off a box; here the crop is moved and widened by
/// that pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoxSafeCrop {
    /// Size of the result.
    pub size: ImageSize,
    /// How it is resampled.
    pub interpolation: Interpolation,
}

impl BoxSafeCrop {
    /// The crop for four numbers between 0 and 1: how much of the room left of, above, right of and below the boxes is
    /// kept off (0) or left in (1) at the left and top, and the other way round at the right and bottom.
    pub fn region(&self, sample: &Sample, draws: [f64; 4]) -> Region {
        let size = sample.size();
        let union = sample
            .objects
            .iter()
            .map(|object| object.bbox.clip(size))
            .reduce(|a, b| XyxyBox::new(a.x1.min(b.x1), a.y1.min(b.y1), a.x2.max(b.x2), a.y2.max(b.y2)));
        let Some(union) = union.filter(XyxyBox::is_finite) else {
            return Region::whole(size);
        };
        let span = |low: f32, high: f32, side: usize, before: f64, after: f64| {
            let length = side as f64;
            let (low, high) = (f64::from(low) / length, f64::from(high) / length);
            let from = low * before;
            let to = high + (1.0 - high) * after;
            let share = to - from;
            let count = if share >= 1.0 { side } else { (length * share) as usize };
            let at = if share >= 1.0 { 0.0 } else { (from / (1.0 - share)).clamp(0.0, 1.0) };
            let start = ((side - count) as f64 * at) as usize;
            // Whole pixels that hold the boxes whatever the truncation did.
            let start = start.min((low * length + 1e-4) as usize);
            let end = (start + count).max(((high * length - 1e-4).ceil() as usize).min(side)).max(start + 1);
            (start, end - start)
        };
        let (x, width) = span(union.x1, union.x2, size.width, draws[0], draws[2]);
        let (y, height) = span(union.y1, union.y2, size.height, draws[1], draws[3]);
        Region { x, y, width, height }
    }

    /// The pixels of `region`, stretched.
    pub fn apply_region(&self, sample: Sample, region: Region) -> Sample {
        let region = region.intersection(Region::whole(sample.size()));
        if region.width == 0 || region.height == 0 {
            return sample;
        }
        stretch(cut(sample, region), self.size, self.interpolation)
    }
}

impl Transform for BoxSafeCrop {
    fn apply(&self, sample: Sample, rng: &mut Rng) -> Sample {
        let draws = std::array::from_fn(|_| rng.unit());
        let region = self.region(&sample, draws);
        self.apply_region(sample, region)
    }
}

/// The part of a sample in `region`, which has to have pixels.
pub(crate) fn cut(mut sample: Sample, region: Region) -> Sample {
    sample.picture = crop(&sample.picture, region);
    sample.map_boxes(1.0, 1.0, -(region.x as f32), -(region.y as f32));
    let content = sample.content.intersection(region);
    sample.content =
        Region { x: content.x.saturating_sub(region.x), y: content.y.saturating_sub(region.y), ..content };
    sample.mark_moved();
    sample.clip_boxes();
    sample
}
