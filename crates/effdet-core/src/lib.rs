//! Boxes, IoU, class maps and letterbox geometry shared by the EfficientDet crates.
//!
//! Use it alone where boxes are handled without a network: conversions between the three conventions, IoU and its
//! relatives, names of classes, tiles of large pictures.
//!
//! ```
//! use effdet_core::{ImageSize, Letterbox, Placement, XywhBox, XyxyBox, iou::iou};
//!
//! let labelled: XyxyBox = XywhBox::new(10.0, 20.0, 100.0, 50.0).into();
//! let found = XyxyBox::new(12.0, 18.0, 108.0, 72.0);
//! assert!(iou(&labelled, &found) > 0.8);
//!
//! // Where a box of the network's input lies in the picture.
//! let fitted = Letterbox::new(ImageSize::new(480, 640), ImageSize::square(320), Placement::TopLeft)?;
//! assert_eq!(fitted.to_source(XyxyBox::new(0.0, 0.0, 160.0, 160.0)), XyxyBox::new(0.0, 0.0, 320.0, 320.0));
//! # Ok::<(), effdet_core::Error>(())
//! ```
//!
//! Everything here is plain data and arithmetic, without tensors; the one thing that touches the disk is
//! [`Replacement`], by which the other crates write results whole or not at all. Coordinates are in pixels with the
//! origin at the top-left corner, and a box spans `[x1, x2) x [y1, y2)` without the "+ 1" of old detection
//! code.

pub mod bbox;
pub mod class_map;
pub mod detection;
pub mod error;
pub mod image_size;
pub mod iou;
pub mod label_text;
pub mod letterbox;
pub mod replacement;
pub mod suggest;
pub mod tiles;

pub use bbox::{XywhBox, XyxyBox, YxyxBox};
pub use class_map::ClassMap;
pub use detection::Detection;
pub use error::{Error, with_causes};
pub use image_size::ImageSize;
pub use letterbox::{Letterbox, Placement};
pub use replacement::Replacement;
pub use tiles::{Tile, tiles};
