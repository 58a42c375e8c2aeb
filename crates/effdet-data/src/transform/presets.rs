//! The pipelines of the reference.

use effdet_core::{ImageSize, Placement};

use super::scale::fit_into;
use super::{
    Blur, BoxSafeCrop, BrightnessContrast, Compose, Flip, MEAN_FILL, OneOf, PadIfNeeded, Probability,
    RandomResizePad, Resize, ResizePad, RgbShift, Rng, Sample, ShiftScaleRotate, SmallestMaxSize,
};
use crate::{Interpolation, Preprocess};

/// effdet's training pipeline: horizontal flip with probability 0.5, then scale jitter 0.1 to 2.0.
///
/// The fill and the size are those of `preprocess`; the filter is drawn from bilinear and bicubic.
///
/// # Reference
/// effdet `data.transforms.transforms_coco_train`.
pub fn effdet_train(preprocess: &Preprocess) -> Compose {
    let fill = preprocess.fill_color();
    let jitter = RandomResizePad { fill, ..RandomResizePad::new(preprocess.size) };
    Compose::new().then(Flip::horizontal(0.5)).then(jitter)
}

/// The pipeline of evaluation: the letterbox of `preprocess`.
///
/// # Reference
/// effdet `data.transforms.transforms_coco_eval`.
pub fn effdet_eval(preprocess: &Preprocess) -> Compose {
    let Preprocess { size, placement, interpolation, .. } = *preprocess;
    Compose::new().then(ResizePad { size, placement, interpolation, fill: preprocess.fill_color() })
}

/// IceVision's training pipeline, with its probabilities and parameters.
///
/// `presize` is the length that the shorter side is brought to first. With `keep_aspect` the last step is what
/// `size` as one number means there (longest side, padded in the middle), else what a pair means (stretched). A
/// `size` that is not square has no such step there: with `keep_aspect` the picture is fitted into it.
///
/// | step | probability | parameters |
/// |---|---|---|
/// | [`SmallestMaxSize`] | 1 | `presize` |
/// | [`Flip`] horizontal | 0.5 | |
/// | [`ShiftScaleRotate`] | 0.5 | shift 0.0625, scale 0.1, 15 degrees, mirrored border |
/// | [`RgbShift`] | 0.5 | 10 levels |
/// | [`BrightnessContrast`] | 0.5 | 0.2, 0.2 |
/// | [`Blur`] | 0.5 | 1 or 3 pixels |
/// | [`BoxSafeCrop`], else [`LongestMaxSize`](super::LongestMaxSize) | 0.5 | `size` |
/// | [`PadIfNeeded`] | 1 | centre, [`MEAN_FILL`] |
///
/// Pictures are resampled without antialiasing, as OpenCV's `INTER_LINEAR` does.
///
/// # Reference
/// IceVision `tfms.albumentations.aug_tfms`; normalisation is left to the device.
pub fn aug_tfms(size: ImageSize, presize: Option<usize>, keep_aspect: bool) -> Compose {
    let interpolation = Interpolation::TfBilinear;
    let mut pipeline = Compose::new();
    if let Some(side) = presize {
        pipeline = pipeline.then(SmallestMaxSize { side, interpolation });
    }
    let pipeline = pipeline
        .then(Flip::horizontal(0.5))
        .then(Probability::new(0.5, ShiftScaleRotate::default()))
        .then(Probability::new(0.5, RgbShift::default()))
        .then(Probability::new(0.5, BrightnessContrast::default()))
        .then(Probability::new(0.5, Blur::default()));
    let crop = BoxSafeCrop { size, interpolation };
    let pipeline = if keep_aspect {
        let fit = move |sample: Sample, _: &mut Rng| fit_into(sample, size, interpolation);
        pipeline.then(OneOf::either(0.5, crop, fit))
    } else {
        pipeline.then(OneOf::either(0.5, crop, Resize { size, interpolation }))
    };
    pipeline.then(PadIfNeeded { size, placement: Placement::Center, fill: MEAN_FILL })
}
