//! One detected object.

use serde::{Deserialize, Serialize};

use crate::XyxyBox;

/// A box that a detector found, with its confidence and class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Where the object is, in pixels of the picture.
    pub bbox: XyxyBox,
    /// Confidence in `[0, 1]`.
    pub score: f32,
    /// Class, counted from 1 as in a [`ClassMap`](crate::ClassMap).
    pub class_id: u32,
}
