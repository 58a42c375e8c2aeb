//! EfficientDet for Rust: load a checkpoint, detect objects in pictures.
//!
//! ```no_run
//! use effdet::prelude::*;
//!
//! let detector = Detector::from_pretrained("tf_efficientdet_lite0")?;
//! for found in detector.detect_file("street.jpg")?.into_iter().filter(|found| found.score >= 0.3) {
//!     let XyxyBox { x1, y1, x2, y2 } = found.bbox;
//!     let label = detector.class_map().label(found.class_id);
//!     println!("{label} {:.2} at ({x1:.0}, {y1:.0}), ({x2:.0}, {y2:.0})", found.score);
//! }
//! # Ok::<(), effdet::Error>(())
//! ```
//!
//! [`Detector`] is a network with everything that belongs to its weights: preprocessing, class names, post-processing.
//! The crates it is made of are re-exported under short names: [`model`] for the 47 configurations and the network,
//! [`backbones`], [`bifpn`] and [`heads`] for its parts, [`weights`] for checkpoints, [`data`] for pictures, [`viz`]
//! for drawing, [`core`](mod@crate::core) for boxes and class names, [`metrics`] for evaluation, [`train`] for training,
//! [`export`] for ONNX,
//! [`nn`] for layers. [`validate`] runs a detector over a labelled data set, [`fit_anchors`] compares its anchors with the
//! boxes of one.
//!
//! Use this crate for detection and training with little code; a program that needs one part depends on that crate alone.
//! Large pictures are detected in by slices, and pictures in several views, with [`Detector::detect_with`]:
//!
//! ```
//! use effdet::prelude::*;
//!
//! // Random weights; a checkpoint is opened with `Detector::from_checkpoint`.
//! let config = EfficientDetConfig::with_backbone_named("lcnet_035")?.with_num_classes(3);
//! let mut detector = Detector::random(config, &effdet::device("cpu")?)?;
//! detector.set_preprocess(Preprocess { size: ImageSize::square(64), ..*detector.preprocess() })?;
//!
//! let picture = RgbImage::new(150, 100);
//! let slices = Some(Slices::new(ImageSize::square(96)));
//! let augmentation = Some(TestTimeAugmentation::default());
//! let found = detector.detect_with(&picture, &DetectOptions { slices, augmentation, batch: 4 })?;
//! assert!(found.iter().all(|found| found.bbox.x2 <= 150.01));
//! # Ok::<(), effdet::Error>(())
//! ```
//!
//! # Feature flags
//!
//! | feature | default | what it adds | what it needs |
//! |---|---|---|---|
//! | `flex` | yes | the processor, in pure Rust: device `cpu` | |
//! | `cuda` | | NVIDIA GPUs: device `cuda:0` | NVIDIA's driver when it runs; LLVM, which the build fetches |
//! | `wgpu` | | GPUs through Vulkan, Metal or DirectX: device `wgpu` | a driver |
//! | `tch` | | LibTorch: device `tch` | LibTorch |
//! | `hub` | yes | published weights downloaded by name | |
//! | `libjpeg-turbo` | | JPEG decoded to the bits of Pillow's decoder | cmake, nasm and a C compiler |
//!
//! The device is chosen at run time, by [`device()`].

mod anchor_fit;
mod detector;
mod error;
mod identify;
mod onnx;
mod options;
pub mod prelude;
mod pretrained;
mod release;
mod resolve;
mod save;
pub mod validate;
mod views;

pub use effdet_backbones as backbones;
pub use effdet_bifpn as bifpn;
pub use effdet_core as core;
pub use effdet_data as data;
pub use effdet_export as export;
pub use effdet_heads as heads;
pub use effdet_metrics as metrics;
pub use effdet_model as model;
pub use effdet_nn as nn;
pub use effdet_train as train;
pub use effdet_viz as viz;
pub use effdet_weights as weights;

pub use anchor_fit::{AnchorFit, ClassCoverage, Coverage, Shape, fit_anchors};
pub use detector::Detector;
pub use effdet_nn::device;
pub use error::Error;
pub use identify::{Candidate, identify};
pub use options::{DetectorOptions, read_labels};
pub use pretrained::{backbone_from_pretrained, load_backbone, transfer, with_pretrained_backbone};
pub use release::weights_url;
pub use resolve::{check_image_size, configuration_named};
pub use views::{DetectOptions, SliceMerge, Slices, TestTimeAugmentation};
