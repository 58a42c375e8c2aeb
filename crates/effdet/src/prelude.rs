//! What most programs need: `use effdet::prelude::*;`.

pub use burn::tensor::Device;
pub use effdet_core::{ClassMap, Detection, ImageSize, XyxyBox};
pub use effdet_data::{DecodeLimits, Fill, Preprocess, decode_file};
pub use effdet_heads::{DecodeConfig, NmsConfig, NmsMethod};
pub use effdet_model::EfficientDetConfig;
pub use effdet_viz::{Style, annotate, save_jpeg, save_png};
pub use image::RgbImage;

pub use crate::{DetectOptions, Detector, DetectorOptions, SliceMerge, Slices, TestTimeAugmentation};
