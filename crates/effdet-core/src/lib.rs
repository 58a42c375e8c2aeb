//! Boxes, IoU, class maps and letterbox geometry shared by the EfficientDet crates
//!
//! Everything here is plain data and arithmetic: no tensors, no files. Coordinates are in pixels with the
//! origin at the top-left corner, and a box spans `[x1, x2) x [y1, y2)` without the "+ 1" of old detection
//! code.

pub mod bbox;
pub mod class_map;
pub mod detection;
pub mod error;
pub mod image_size;
pub mod iou;
pub mod letterbox;
pub mod suggest;
pub mod tiles;

pub use bbox::{XywhBox, XyxyBox, YxyxBox};
pub use class_map::ClassMap;
pub use detection::Detection;
pub use error::Error;
pub use image_size::ImageSize;
pub use letterbox::{Letterbox, Placement};
pub use tiles::{Tile, tiles};
