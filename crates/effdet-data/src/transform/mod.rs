//! Training and evaluation transforms, each mapping picture and boxes together.
//!
//! All randomness comes from the [`Rng`] of a sample, so a run can be repeated to the bit. A pipeline is a [`Compose`] of
//! [`Transform`]s, one's own closures included; [`effdet_train`], [`effdet_eval`] and [`aug_tfms`] are the reference's.
//!
//! Pictures stay 8-bit; the normalisation belongs to the device (see [`crate::Preprocess`] for its constants).

mod affine;
mod auto_augment;
mod color;
mod compose;
mod crop;
mod erase;
mod flip;
mod grid_mask;
mod mix;
mod presets;
mod rng;
mod sample;
mod scale;

pub use affine::{Border, ShiftScaleRotate, ShiftScaleRotateDraw};
pub use auto_augment::{AutoAugment, GeometryOp, LearnedPolicy, LevelOp, Op, RandAugment, Step};
pub use color::{Blur, BrightnessContrast, ColorJitter, ColorStep, RgbShift};
pub use compose::{Compose, OneOf, Probability, Transform};
pub use crop::BoxSafeCrop;
pub use erase::{EraseMode, RandomErasing};
pub use flip::{Flip, flip};
pub use grid_mask::GridMask;
pub use mix::{CopyPaste, MixUp, Mosaic, MosaicFit};
pub use presets::{aug_tfms, effdet_eval, effdet_train};
pub use rng::Rng;
pub(crate) use sample::crop;
pub use sample::{Region, Sample};
pub use scale::{
    LongestMaxSize, MEAN_FILL, PadIfNeeded, RandomResizePad, Resize, ResizePad, ScaleDraw, SmallestMaxSize,
};
