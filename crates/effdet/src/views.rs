//! One picture seen in several ways: in slices, mirrored, at other sizes.

use std::borrow::Cow;

use effdet_core::{Detection, ImageSize, Tile, XyxyBox, tiles};
use effdet_data::{Prepared, Preprocess};
use effdet_heads::{
    DecodeConfig, FusionConfig, MergeConfig, NmsConfig, merge_boxes, nms, weighted_box_fusion,
};
use image::RgbImage;
use image::imageops::{crop_imm, flip_horizontal};
use rayon::prelude::*;

use crate::resolve::check_image_size;
use crate::{Detector, Error};

/// Sides of scaled inputs are multiples of the network's stride at its last backbone level.
const STRIDE: usize = 32;

/// Settings of [`Detector::detect_with`]. By default a picture is seen once, whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DetectOptions {
    /// Cut the picture into slices.
    pub slices: Option<Slices>,
    /// See each of them in several ways.
    pub augmentation: Option<TestTimeAugmentation>,
    /// Slices and views that go through the network together; 0 counts as 1.
    pub batch: usize,
}

impl DetectOptions {
    /// Whether a picture is seen once, whole.
    pub fn is_plain(&self) -> bool {
        self.slices.is_none() && self.augmentation.is_none()
    }
}

/// Sliced inference: objects that are small in a large picture are large in a part of it.
///
/// # Reference
/// Akyon et al. 2022, "Slicing aided hyper inference"; SAHI.
#[derive(Clone, Debug, PartialEq)]
pub struct Slices {
    /// Size of a slice in pixels of the picture; it is then fitted into the network's input.
    pub size: ImageSize,
    /// Fraction of a slice that its neighbour shares.
    pub overlap: f64,
    /// Whether the whole picture is seen too, for objects larger than a slice.
    pub whole_picture: bool,
    /// What becomes of objects that several slices find.
    pub merge: SliceMerge,
}

impl Slices {
    /// Slices of this size with SAHI's settings: an overlap of 0.2, the whole picture too, greedy merging.
    pub fn new(size: ImageSize) -> Self {
        Self { size, overlap: 0.2, whole_picture: true, merge: SliceMerge::default() }
    }
}

/// How detections of several slices become one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SliceMerge {
    /// They are joined to the box around them, so that an object cut by the edge of a slice is whole again.
    Join(MergeConfig),
    /// The best is kept.
    Suppress(NmsConfig),
}

impl Default for SliceMerge {
    fn default() -> Self {
        Self::Join(MergeConfig::default())
    }
}

/// Test-time augmentation: every scale as it is and, if asked, mirrored; the detections are fused.
#[derive(Clone, Debug, PartialEq)]
pub struct TestTimeAugmentation {
    /// Whether the mirror image is seen too.
    pub flip: bool,
    /// Factors on the size of the network's input. Sides are rounded to multiples of 32; a scale of 1 keeps them.
    pub scales: Vec<f32>,
    /// How the views are fused. Its score threshold is the least score that a single view must give a box.
    pub fusion: FusionConfig,
}

impl Default for TestTimeAugmentation {
    /// The picture and its mirror image.
    fn default() -> Self {
        let fusion = FusionConfig { score_threshold: 0.01, ..FusionConfig::default() };
        Self { flip: true, scales: vec![1.0], fusion }
    }
}

/// One way of seeing a part of a picture.
#[derive(Clone, Copy)]
struct View {
    preprocess: Preprocess,
    flipped: bool,
}

impl Detector {
    /// Detections in a picture seen in slices, mirrored or at several sizes, best first, in its pixels.
    ///
    /// Each slice is detected in as a picture of its own, its views are fused by
    /// [`weighted_box_fusion`], and the slices are merged. The detector's score threshold and number of detections hold
    /// for the result.
    ///
    /// # Errors
    /// For options out of range, if the picture has no pixels, or if the device fails.
    pub fn detect_with(&self, picture: &RgbImage, options: &DetectOptions) -> Result<Vec<Detection>, Error> {
        let decode = self.config().decode;
        let parts = parts(picture, options.slices.as_ref())?;
        let views = views(self.preprocess(), options.augmentation.as_ref())?;
        let view_decode = view_decode(decode, options.augmentation.as_ref());

        let mut found = vec![vec![Vec::new(); views.len()]; parts.len()];
        let all = (0..views.len()).flat_map(|view| (0..parts.len()).map(move |part| (part, view)));
        let all: Vec<(usize, usize)> = all.collect();
        let size = |view: usize| views[view].preprocess.size;
        for same_size in all.chunk_by(|a, b| size(a.1) == size(b.1)) {
            for batch in same_size.chunks(options.batch.max(1)) {
                let prepared =
                    batch.par_iter().map(|&(part, view)| views[view].prepare(picture, parts[part]));
                let prepared = prepared.collect::<Result<Vec<_>, _>>()?;
                let preprocess = &views[batch[0].1].preprocess;
                let settings = vec![view_decode; prepared.len()];
                let detections = self.detect_prepared_with(&prepared, preprocess, &settings)?;
                for (&(part, view), mut detections) in batch.iter().zip(detections) {
                    if views[view].flipped {
                        let width = parts[part].size.width as f32;
                        detections.iter_mut().for_each(|found| found.bbox = mirrored(found.bbox, width));
                    }
                    found[part][view] = detections;
                }
            }
        }

        let mut all = Vec::new();
        for (part, views) in parts.iter().zip(found) {
            let fused = match &options.augmentation {
                Some(augmentation) => {
                    weighted_box_fusion(&views, &augmentation.fusion).map_err(effdet_model::Error::from)?
                }
                None => views.into_iter().flatten().collect(),
            };
            all.extend(fused.into_iter().map(|found| Detection {
                bbox: found.bbox.translate(part.x as f32, part.y as f32),
                ..found
            }));
        }
        if let Some(slices) = options.slices.as_ref().filter(|_| parts.len() > 1) {
            all = slices.merge.apply(&all)?;
        }
        all.retain(|found| found.score >= decode.score_threshold);
        all.truncate(decode.max_detections);
        Ok(all)
    }
}

impl SliceMerge {
    fn apply(&self, detections: &[Detection]) -> Result<Vec<Detection>, Error> {
        match self {
            Self::Join(config) => {
                config.validate().map_err(effdet_model::Error::from)?;
                Ok(merge_boxes(detections, config))
            }
            Self::Suppress(config) => {
                config.validate().map_err(effdet_model::Error::from)?;
                Ok(nms(detections, config, usize::MAX))
            }
        }
    }
}

/// How the outputs of a single view become detections: what is weak in one may be confirmed by another.
fn view_decode(decode: DecodeConfig, augmentation: Option<&TestTimeAugmentation>) -> DecodeConfig {
    let Some(augmentation) = augmentation else { return decode };
    let least = augmentation.fusion.score_threshold;
    let nms = NmsConfig { score_threshold: decode.nms.score_threshold.min(least), ..decode.nms };
    DecodeConfig { score_threshold: decode.score_threshold.min(least), nms, ..decode }
}

/// The parts of the picture that are detected in.
fn parts(picture: &RgbImage, slices: Option<&Slices>) -> Result<Vec<Tile>, Error> {
    let size = ImageSize::new(picture.height() as usize, picture.width() as usize);
    let Some(slices) = slices else { return Ok(vec![Tile::whole(size)]) };
    let mut parts = tiles(size, slices.size, slices.overlap)?;
    if slices.whole_picture && parts.len() > 1 {
        parts.push(Tile::whole(size));
    }
    Ok(parts)
}

/// The views of each part, those of one size next to each other.
fn views(preprocess: &Preprocess, augmentation: Option<&TestTimeAugmentation>) -> Result<Vec<View>, Error> {
    let Some(augmentation) = augmentation else {
        return Ok(vec![View { preprocess: *preprocess, flipped: false }]);
    };
    let mut views = Vec::new();
    for &scale in &augmentation.scales {
        let preprocess = Preprocess { size: scaled(preprocess.size, scale)?, ..*preprocess };
        views.push(View { preprocess, flipped: false });
        if augmentation.flip {
            views.push(View { preprocess, flipped: true });
        }
    }
    if views.is_empty() {
        let expected = "at least one is needed";
        return Err(Error::Setting { name: "the scales", value: "an empty list".into(), expected });
    }
    augmentation.fusion.validate(views.len()).map_err(effdet_model::Error::from)?;
    Ok(views)
}

fn scaled(size: ImageSize, scale: f32) -> Result<ImageSize, Error> {
    if !(scale.is_finite() && scale > 0.0) {
        let expected = "a positive number is needed";
        return Err(Error::Setting { name: "the scale", value: scale.to_string(), expected });
    }
    let side = |side: usize| {
        let strides = (side as f64 * f64::from(scale) / STRIDE as f64).round() as usize;
        strides.max(1).saturating_mul(STRIDE)
    };
    // A size that the user chose is not rounded behind their back.
    let size = if scale == 1.0 { size } else { ImageSize::new(side(size.height), side(size.width)) };
    check_image_size(size)?;
    Ok(size)
}

impl View {
    fn prepare(&self, picture: &RgbImage, part: Tile) -> Result<Prepared, effdet_data::Error> {
        let (width, height) = (part.size.width as u32, part.size.height as u32);
        let mut seen = if (width, height) == picture.dimensions() {
            Cow::Borrowed(picture)
        } else {
            Cow::Owned(crop_imm(picture, part.x as u32, part.y as u32, width, height).to_image())
        };
        if self.flipped {
            seen = Cow::Owned(flip_horizontal(&*seen));
        }
        self.preprocess.apply(&seen)
    }
}

fn mirrored(bbox: XyxyBox, width: f32) -> XyxyBox {
    XyxyBox::new(width - bbox.x2, bbox.y1, width - bbox.x1, bbox.y2)
}

#[cfg(test)]
mod tests {
    use effdet_heads::NmsMethod;

    use super::*;

    #[test]
    fn scaled_inputs_are_whole_strides_and_a_scale_of_one_changes_nothing() {
        let size = ImageSize::new(320, 500);
        assert_eq!(scaled(size, 1.0).ok(), Some(size));
        assert_eq!(scaled(size, 0.8).ok(), Some(ImageSize::new(256, 416)));
        assert_eq!(scaled(size, 0.001).ok(), Some(ImageSize::square(32)));
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e9] {
            assert!(scaled(size, scale).is_err(), "{scale}");
        }
    }

    #[test]
    fn views_of_one_size_are_neighbours() {
        let augmentation = TestTimeAugmentation { scales: vec![1.0, 0.5], ..TestTimeAugmentation::default() };
        let preprocess = Preprocess::imagenet(ImageSize::square(128));
        let views = views(&preprocess, Some(&augmentation)).unwrap();
        let seen: Vec<_> = views.iter().map(|view| (view.preprocess.size.width, view.flipped)).collect();
        assert_eq!(seen, [(128, false), (128, true), (64, false), (64, true)]);
    }

    #[test]
    fn a_view_keeps_what_is_weak_in_it_under_soft_suppression_too() {
        let nms = NmsConfig {
            method: NmsMethod::SoftGaussian { sigma: 0.5 },
            score_threshold: 0.3,
            ..NmsConfig::default()
        };
        let decode = DecodeConfig { score_threshold: 0.3, nms, ..DecodeConfig::default() };
        let seen = view_decode(decode, Some(&TestTimeAugmentation::default()));
        assert_eq!((seen.score_threshold, seen.nms.score_threshold), (0.01, 0.01));
        assert_eq!(seen.nms.method, nms.method);
        assert_eq!(view_decode(decode, None), decode);
    }

    #[test]
    fn mirroring_twice_is_nothing() {
        let bbox = XyxyBox::new(2.0, 3.0, 10.0, 20.0);
        assert_eq!(mirrored(bbox, 50.0), XyxyBox::new(40.0, 3.0, 48.0, 20.0));
        assert_eq!(mirrored(mirrored(bbox, 50.0), 50.0), bbox);
    }
}
