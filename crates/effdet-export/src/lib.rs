//! EfficientDet detectors as ONNX files.
//!
//! ```
//! use burn::tensor::Device;
//! use effdet_export::{BatchSize, OnnxOptions, to_onnx};
//! use effdet_model::EfficientDetConfig;
//!
//! let config = EfficientDetConfig::named("efficientdet_lite0")?.with_image_size("64x96".parse()?);
//! let model = config.init(&Device::flex())?;
//! let options = OnnxOptions { batch: BatchSize::Dynamic, nms: true, ..OnnxOptions::default() };
//! let file = to_onnx(&model, &config, &options, &[("licence".to_owned(), "MIT".to_owned())].into())?;
//! assert_eq!(file.outputs(), ["num_detections", "boxes", "scores", "classes"]);
//! let folder = tempfile::tempdir()?;
//! file.save(folder.path().join("lite0.onnx"))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The network's forward pass is [recorded](effdet_nn::record) and its operations are written as ONNX operators: batch
//! norms folded into convolutions, fusion weights as constants, equal constants once. What follows depends on
//! [`OnnxOptions::nms`]: class logits and box codes of all anchors, or detections.
//!
//! A caller who wants the file to carry preprocessing and class names passes them as metadata, which `effdet`'s
//! `Detector::export_onnx` does.

mod builder;
mod dynamic;
mod error;
mod export;
mod file;
mod fold;
mod network;
mod options;
mod postprocess;
pub mod proto;

pub use error::Error;
pub use export::to_onnx;
pub use file::OnnxFile;
pub use options::{BatchSize, OPSETS, OnnxOptions};
