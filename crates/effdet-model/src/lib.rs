//! The assembled EfficientDet and the table of its 47 configurations, on [Burn](burn).
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use effdet_model::EfficientDetConfig;
//!
//! let config = EfficientDetConfig::named("tf_efficientdet_lite0")?.with_num_classes(3);
//! let device = Device::flex();
//! let model = config.init(&device)?;
//! // any size, square or not
//! let outputs = model.forward(Tensor::zeros([1, 3, 64, 96], &device));
//! assert_eq!(outputs.class_logits[0].dims(), [1, 9 * 3, 8, 12]);
//! # Ok::<(), effdet_model::Error>(())
//! ```
//!
//! # Feature flags
//!
//! `flex`, `cuda`, `wgpu` and `tch` compile Burn's backend of that name.

mod config;
mod efficientdet;
mod error;
mod inference;
mod predictor;
mod specs;
mod summary;

pub use config::EfficientDetConfig;
pub use effdet_nn::OutOfMemory;
pub use effdet_nn::device::catch_out_of_memory;
pub use efficientdet::{EfficientDet, HeadOutputs};
pub use error::Error;
pub use inference::Inference;
pub use predictor::{Predictor, RawOutputs};
pub use specs::{ModelSpec, model_names, model_specs};
pub use summary::{PartSummary, Summary, summarize, summarize_backbone};
