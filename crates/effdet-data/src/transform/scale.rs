//! Scaling and padding.

use effdet_core::{ImageSize, Letterbox, Placement};

use super::sample::{filled, paste};
use super::{Region, Rng, Sample, Transform};
use crate::Interpolation;
use crate::resize::resize_part;

/// The colour that effdet fills with: 255 times ImageNet's mean, rounded.
pub const MEAN_FILL: [u8; 3] = [124, 116, 104];

/// Scales to exactly `size`, `part` of which becomes the picture. Boxes and bookkeeping follow, unclipped.
///
/// Pictures without pixels stay as they are. Workers run side by side, so one picture stays on one thread.
fn scale_part(
    mut sample: Sample,
    size: ImageSize,
    part: Region,
    (sx, sy): (f64, f64),
    interpolation: Interpolation,
) -> Sample {
    let Ok(picture) = resize_part(&sample.picture, size, part, interpolation, false) else {
        return sample;
    };
    let before = sample.size();
    sample.picture = picture;
    sample.map_boxes(sx as f32, sy as f32, 0.0, 0.0);
    if part.x + part.y > 0 {
        sample.map_boxes(1.0, 1.0, -(part.x as f32), -(part.y as f32));
    }
    sample.img_scale /= (sx * sy).sqrt();
    let scaled = |at: usize, from: usize, to: usize| at * to / from.max(1);
    let content = sample.content;
    let (left, top) =
        (scaled(content.x, before.width, size.width), scaled(content.y, before.height, size.height));
    let right = (content.x + content.width) * size.width;
    let bottom = (content.y + content.height) * size.height;
    let (right, bottom) = (right.div_ceil(before.width.max(1)), bottom.div_ceil(before.height.max(1)));
    let scaled = Region { x: left, y: top, width: right - left, height: bottom - top }.intersection(part);
    sample.content = Region {
        x: scaled.x.saturating_sub(part.x),
        y: scaled.y.saturating_sub(part.y),
        width: scaled.width,
        height: scaled.height,
    };
    sample.mark_moved();
    sample
}

/// Lays the picture at `(x, y)` into one of `size` filled with `fill`.
pub(super) fn pad(mut sample: Sample, size: ImageSize, (x, y): (usize, usize), fill: [u8; 3]) -> Sample {
    if sample.size() == size && (x, y) == (0, 0) {
        return sample;
    }
    let whole = Region::whole(sample.size());
    let mut picture = filled(size, fill);
    paste(&mut picture, &sample.picture, whole, x, y);
    sample.picture = picture;
    sample.map_boxes(1.0, 1.0, x as f32, y as f32);
    sample.content.x += x;
    sample.content.y += y;
    sample.mark_moved();
    sample
}

/// The picture scaled to fit into `size` with its aspect ratio kept, and fill beside it. What a detector sees when it
/// predicts.
///
/// # Reference
/// effdet `data.transforms.ResizePad`, to the same samples and boxes; it knows [`Placement::TopLeft`] only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResizePad {
    /// Size of the result.
    pub size: ImageSize,
    /// Where the picture lies in it.
    pub placement: Placement,
    /// How it is resampled. effdet's default is bilinear here, and bicubic in some model configurations.
    pub interpolation: Interpolation,
    /// Colour beside the picture.
    pub fill: [u8; 3],
}

impl ResizePad {
    /// effdet's: top-left, bilinear, the fill of ImageNet's mean.
    pub fn new(size: ImageSize) -> Self {
        let (placement, interpolation) = (Placement::TopLeft, Interpolation::Bilinear);
        Self { size, placement, interpolation, fill: MEAN_FILL }
    }
}

impl Transform for ResizePad {
    fn apply(&self, sample: Sample, _: &mut Rng) -> Sample {
        let Ok(letterbox) = Letterbox::new(sample.size(), self.size, self.placement) else {
            return sample;
        };
        let is_moved = sample.is_moved;
        let part = Region::whole(letterbox.scaled);
        let factors = (letterbox.scale, letterbox.scale);
        let mut sample = scale_part(sample, letterbox.scaled, part, factors, self.interpolation);
        sample.clip_boxes();
        let mut sample = pad(sample, self.size, letterbox.offset, self.fill);
        sample.letterbox = (!is_moved).then_some(letterbox);
        sample
    }
}

/// Scale jitter: the picture scaled by a random factor relative to fitting into `size`, then cropped at a random place
/// where it is larger, or filled where it is smaller.
///
/// # Reference
/// effdet `data.transforms.RandomResizePad`: the same draws in the same order (scale, vertical and horizontal offset,
/// filter), samples and boxes. It fails where a scaled side becomes 0; here that side is 1 pixel.
#[derive(Debug, Clone, PartialEq)]
pub struct RandomResizePad {
    /// Size of the result.
    pub size: ImageSize,
    /// Smallest and largest factor. effdet's default is 0.1 to 2.0, the scale jitter of the EfficientDet paper.
    pub scale: (f64, f64),
    /// The filters to choose from. effdet's default is bilinear or bicubic.
    pub interpolation: Vec<Interpolation>,
    /// Colour beside the picture.
    pub fill: [u8; 3],
}

/// The numbers that [`RandomResizePad`] draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScaleDraw {
    /// Factor relative to fitting into the target.
    pub scale: f64,
    /// Where the crop lies in the room there is: vertical, 0 to 1.
    pub offset_y: f64,
    /// The same, horizontal.
    pub offset_x: f64,
    /// Filter.
    pub interpolation: Interpolation,
}

impl RandomResizePad {
    /// effdet's: factors 0.1 to 2.0, bilinear or bicubic, the fill of ImageNet's mean.
    pub fn new(size: ImageSize) -> Self {
        let interpolation = vec![Interpolation::Bilinear, Interpolation::Bicubic];
        Self { size, scale: (0.1, 2.0), interpolation, fill: MEAN_FILL }
    }

    /// Draws the numbers for one sample.
    pub fn draw(&self, rng: &mut Rng) -> ScaleDraw {
        ScaleDraw {
            scale: rng.uniform(self.scale.0, self.scale.1),
            offset_y: rng.unit(),
            offset_x: rng.unit(),
            interpolation: rng.choose(&self.interpolation).copied().unwrap_or_default(),
        }
    }

    /// The sample for given numbers.
    pub fn apply_drawn(&self, sample: Sample, draw: &ScaleDraw) -> Sample {
        let (source, target) = (sample.size(), self.size);
        if source.is_empty() || target.is_empty() {
            return sample;
        }
        let along = |target: usize, source: usize| draw.scale * target as f64 / source as f64;
        let scale = along(target.height, source.height).min(along(target.width, source.width));
        let side = |source: usize| ((source as f64 * scale) as usize).max(1);
        let scaled = ImageSize::new(side(source.height), side(source.width));
        let offset =
            |scaled: usize, target: usize, at: f64| (scaled.saturating_sub(target) as f64 * at) as usize;
        let part = Region {
            x: offset(scaled.width, target.width, draw.offset_x),
            y: offset(scaled.height, target.height, draw.offset_y),
            width: scaled.width.min(target.width),
            height: scaled.height.min(target.height),
        };
        let mut sample = scale_part(sample, scaled, part, (scale, scale), draw.interpolation);
        sample.clip_boxes();
        pad(sample, target, (0, 0), self.fill)
    }
}

impl Transform for RandomResizePad {
    fn apply(&self, sample: Sample, rng: &mut Rng) -> Sample {
        let draw = self.draw(rng);
        self.apply_drawn(sample, &draw)
    }
}

/// The picture stretched to `size`.
///
/// # Reference
/// albumentations `Resize`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resize {
    /// Size of the result.
    pub size: ImageSize,
    /// How it is resampled.
    pub interpolation: Interpolation,
}

impl Transform for Resize {
    fn apply(&self, sample: Sample, _: &mut Rng) -> Sample {
        stretch(sample, self.size, self.interpolation)
    }
}

/// Scales to exactly `size`; boxes follow the sides.
pub(super) fn stretch(sample: Sample, size: ImageSize, interpolation: Interpolation) -> Sample {
    let before = sample.size();
    if before == size || before.is_empty() || size.is_empty() {
        return sample;
    }
    let factors = (size.width as f64 / before.width as f64, size.height as f64 / before.height as f64);
    let mut sample = scale_part(sample, size, Region::whole(size), factors, interpolation);
    sample.clip_boxes();
    sample
}

/// The picture scaled, aspect ratio kept, so that its shorter side has `side` pixels.
///
/// # Reference
/// albumentations 1.0.3 `SmallestMaxSize`, rounding halves to even as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmallestMaxSize {
    /// Length of the shorter side.
    pub side: usize,
    /// How it is resampled.
    pub interpolation: Interpolation,
}

impl Transform for SmallestMaxSize {
    fn apply(&self, sample: Sample, _: &mut Rng) -> Sample {
        let shorter = sample.size().height.min(sample.size().width);
        scale_side(sample, self.side, shorter, self.interpolation)
    }
}

/// The picture scaled, aspect ratio kept, so that its longer side has `side` pixels.
///
/// # Reference
/// albumentations 1.0.3 `LongestMaxSize`, rounding halves to even as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongestMaxSize {
    /// Length of the longer side.
    pub side: usize,
    /// How it is resampled.
    pub interpolation: Interpolation,
}

impl Transform for LongestMaxSize {
    fn apply(&self, sample: Sample, _: &mut Rng) -> Sample {
        let longer = sample.size().height.max(sample.size().width);
        scale_side(sample, self.side, longer, self.interpolation)
    }
}

fn scale_side(sample: Sample, side: usize, from: usize, interpolation: Interpolation) -> Sample {
    let scale = side as f64 / from.max(1) as f64;
    let scaled = |side: usize| ((side as f64 * scale).round_ties_even() as usize).max(1);
    let size = ImageSize::new(scaled(sample.size().height), scaled(sample.size().width));
    stretch(sample, size, interpolation)
}

/// Scales, aspect ratio kept, to the largest that fits into `size`; for a square as [`LongestMaxSize`].
pub(super) fn fit_into(sample: Sample, size: ImageSize, interpolation: Interpolation) -> Sample {
    let before = sample.size();
    if before.is_empty() {
        return sample;
    }
    let along = |target: usize, side: usize| target as f64 / side as f64;
    let scale = along(size.height, before.height).min(along(size.width, before.width));
    let scaled =
        |side: usize, most: usize| ((side as f64 * scale).round_ties_even() as usize).clamp(1, most.max(1));
    let fitted = ImageSize::new(scaled(before.height, size.height), scaled(before.width, size.width));
    stretch(sample, fitted, interpolation)
}

/// Fill around pictures that are smaller than `size`; sides that are long enough stay.
///
/// # Reference
/// albumentations 1.0.3 `PadIfNeeded` with a constant border; there the place is the centre.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PadIfNeeded {
    /// Least size of the result.
    pub size: ImageSize,
    /// Where the picture lies in it. Half an odd margin is rounded down at the left and top.
    pub placement: Placement,
    /// Colour around the picture. IceVision's is [`MEAN_FILL`].
    pub fill: [u8; 3],
}

impl Transform for PadIfNeeded {
    fn apply(&self, sample: Sample, _: &mut Rng) -> Sample {
        let before = sample.size();
        if before.is_empty() {
            return sample;
        }
        let size = ImageSize::new(before.height.max(self.size.height), before.width.max(self.size.width));
        let offset = match self.placement {
            Placement::TopLeft => (0, 0),
            Placement::Center => ((size.width - before.width) / 2, (size.height - before.height) / 2),
        };
        pad(sample, size, offset, self.fill)
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;
    use crate::transform::{GeometryOp, flip};

    fn noise(height: u32, width: u32) -> Sample {
        let picture = RgbImage::from_fn(width, height, |x, y| image::Rgb([(7 * x) as u8, (5 * y) as u8, 90]));
        Sample::new(picture, Vec::new())
    }

    #[test]
    fn fitting_into_a_square_is_what_the_longest_side_gives() {
        let interpolation = Interpolation::TfBilinear;
        for (height, width, side) in [(37, 53, 64), (53, 37, 20), (40, 40, 33), (1, 70, 31), (25, 50, 25)] {
            let fitted = fit_into(noise(height, width), ImageSize::square(side), interpolation);
            let longest = LongestMaxSize { side, interpolation };
            assert!(fitted == longest.apply(noise(height, width), &mut Rng::new(0)), "{height}x{width}");
        }
    }

    #[test]
    fn the_content_stays_inside_a_picture_that_shows_nothing_of_it() {
        let size = ImageSize::square(100);
        let wide =
            PadIfNeeded { size: ImageSize::new(100, 400), placement: Placement::Center, fill: MEAN_FILL };
        let sample = wide.apply(noise(100, 100), &mut Rng::new(0));
        assert_eq!(sample.content, Region { x: 150, y: 0, width: 100, height: 100 });
        let jitter = RandomResizePad { scale: (4.0, 4.0), ..RandomResizePad::new(size) };
        for (offset_x, x) in [(0.0, 100), (1.0, 0)] {
            let interpolation = Interpolation::Bilinear;
            let draw = ScaleDraw { scale: 4.0, offset_y: 0.0, offset_x, interpolation };
            let shown = jitter.apply_drawn(sample.clone(), &draw);
            assert_eq!(shown.content, Region { x, y: 0, width: 0, height: 100 });
            let mirrored = flip(shown, true, true);
            assert_eq!(mirrored.content, Region { x: 100 - x, y: 0, width: 0, height: 100 });
        }
    }

    #[test]
    fn what_regions_have_in_common_lies_in_the_second_even_if_it_is_nothing() {
        let region = |x, width| Region { x, y: 3, width, height: 4 };
        for (first, second, common) in [
            (region(2, 5), region(4, 9), region(4, 3)),
            (region(4, 9), region(2, 5), region(4, 3)),
            (region(150, 100), region(0, 100), region(100, 0)),
            (region(0, 100), region(150, 100), region(150, 0)),
        ] {
            assert_eq!(first.intersection(second), common);
        }
    }

    #[test]
    fn a_letterbox_leads_back_only_where_nothing_moved_before() {
        let letterboxed =
            |sample: Sample| ResizePad::new(ImageSize::square(64)).apply(sample, &mut Rng::new(0));
        assert!(letterboxed(noise(30, 40)).letterbox.is_some());
        for (name, moved) in [
            ("flip", flip(noise(30, 40), true, false)),
            ("shift", GeometryOp::TranslateX(7.0).apply(noise(30, 40))),
            ("shear", GeometryOp::ShearX(0.2).apply(noise(30, 40))),
            ("letterbox", letterboxed(noise(30, 40))),
            ("same size", letterboxed(noise(64, 64))),
        ] {
            assert_eq!(letterboxed(moved).letterbox, None, "{name}");
        }
    }
}
