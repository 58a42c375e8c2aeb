//! Axis-aligned boxes in the three conventions of the field, each its own type.

use serde::{Deserialize, Serialize};

use crate::ImageSize;

/// A box as its corners `(x1, y1)` and `(x2, y2)`, the convention of torchvision and of our detections.
///
/// Serialised as `[x1, y1, x2, y2]`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "[f32; 4]", into = "[f32; 4]")]
pub struct XyxyBox {
    /// Left edge.
    pub x1: f32,
    /// Top edge.
    pub y1: f32,
    /// Right edge.
    pub x2: f32,
    /// Bottom edge.
    pub y2: f32,
}

/// A box as its corners with the row first, the convention of TensorFlow and of the anchors.
///
/// Serialised as `[ymin, xmin, ymax, xmax]`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "[f32; 4]", into = "[f32; 4]")]
pub struct YxyxBox {
    /// Top edge.
    pub ymin: f32,
    /// Left edge.
    pub xmin: f32,
    /// Bottom edge.
    pub ymax: f32,
    /// Right edge.
    pub xmax: f32,
}

/// A box as its top-left corner and its size, the convention of COCO annotations.
///
/// Serialised as `[x, y, w, h]`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "[f32; 4]", into = "[f32; 4]")]
pub struct XywhBox {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width.
    pub w: f32,
    /// Height.
    pub h: f32,
}

impl XyxyBox {
    /// A box from its left, top, right and bottom edges.
    pub const fn new(x1: f32, y1: f32, x2: f32, y2: f32) -> Self {
        Self { x1, y1, x2, y2 }
    }

    /// `x2 - x1`, negative for an inverted box.
    #[inline]
    pub fn width(&self) -> f32 {
        self.x2 - self.x1
    }

    /// `y2 - y1`, negative for an inverted box.
    #[inline]
    pub fn height(&self) -> f32 {
        self.y2 - self.y1
    }

    /// Area in square pixels; a negative side counts as zero.
    #[inline]
    pub fn area(&self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// Centre as `(x, y)`.
    #[inline]
    pub fn center(&self) -> (f32, f32) {
        ((self.x1 + self.x2) / 2.0, (self.y1 + self.y2) / 2.0)
    }

    /// True if no coordinate is NaN or infinite.
    #[inline]
    pub fn is_finite(&self) -> bool {
        self.x1.is_finite() && self.y1.is_finite() && self.x2.is_finite() && self.y2.is_finite()
    }

    /// True unless the area is positive, so also for NaN coordinates.
    #[inline]
    pub fn is_empty(&self) -> bool {
        let has_area = self.width() > 0.0 && self.height() > 0.0;
        !has_area
    }

    /// The box with every coordinate moved into the picture. NaN stays NaN.
    #[inline]
    pub fn clip(&self, size: ImageSize) -> Self {
        self.clip_to(size.width as f32, size.height as f32)
    }

    /// The box with every coordinate moved into `[0, width] x [0, height]`; a negative or NaN bound counts as
    /// zero. NaN coordinates stay NaN.
    #[inline]
    pub fn clip_to(&self, width: f32, height: f32) -> Self {
        let (width, height) = (width.max(0.0), height.max(0.0));
        Self {
            x1: self.x1.clamp(0.0, width),
            y1: self.y1.clamp(0.0, height),
            x2: self.x2.clamp(0.0, width),
            y2: self.y2.clamp(0.0, height),
        }
    }

    /// The box with its coordinates multiplied by `sx` along x and `sy` along y.
    #[inline]
    pub fn scale(&self, sx: f32, sy: f32) -> Self {
        Self { x1: self.x1 * sx, y1: self.y1 * sy, x2: self.x2 * sx, y2: self.y2 * sy }
    }

    /// The box moved by `(dx, dy)`.
    #[inline]
    pub fn translate(&self, dx: f32, dy: f32) -> Self {
        Self { x1: self.x1 + dx, y1: self.y1 + dy, x2: self.x2 + dx, y2: self.y2 + dy }
    }

    /// The common part of two boxes, or `None` where they share no positive area.
    #[inline]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let common = Self {
            x1: self.x1.max(other.x1),
            y1: self.y1.max(other.y1),
            x2: self.x2.min(other.x2),
            y2: self.y2.min(other.y2),
        };
        (!common.is_empty()).then_some(common)
    }
}

impl YxyxBox {
    /// A box from its top, left, bottom and right edges.
    pub const fn new(ymin: f32, xmin: f32, ymax: f32, xmax: f32) -> Self {
        Self { ymin, xmin, ymax, xmax }
    }
}

impl XywhBox {
    /// A box from its left and top edges, its width and its height.
    pub const fn new(x: f32, y: f32, w: f32, h: f32) -> Self {
        Self { x, y, w, h }
    }
}

impl From<YxyxBox> for XyxyBox {
    fn from(b: YxyxBox) -> Self {
        Self::new(b.xmin, b.ymin, b.xmax, b.ymax)
    }
}

impl From<XywhBox> for XyxyBox {
    fn from(b: XywhBox) -> Self {
        Self::new(b.x, b.y, b.x + b.w, b.y + b.h)
    }
}

impl From<XyxyBox> for YxyxBox {
    fn from(b: XyxyBox) -> Self {
        Self::new(b.y1, b.x1, b.y2, b.x2)
    }
}

impl From<XywhBox> for YxyxBox {
    fn from(b: XywhBox) -> Self {
        XyxyBox::from(b).into()
    }
}

impl From<XyxyBox> for XywhBox {
    fn from(b: XyxyBox) -> Self {
        Self::new(b.x1, b.y1, b.width(), b.height())
    }
}

impl From<YxyxBox> for XywhBox {
    fn from(b: YxyxBox) -> Self {
        XyxyBox::from(b).into()
    }
}

macro_rules! array_conversions {
    ($($name:ident [$($field:ident),*]),*) => {$(
        impl From<[f32; 4]> for $name {
            fn from([$($field),*]: [f32; 4]) -> Self {
                Self { $($field),* }
            }
        }
        impl From<$name> for [f32; 4] {
            fn from(b: $name) -> Self {
                [$(b.$field),*]
            }
        }
    )*};
}

array_conversions!(XyxyBox[x1, y1, x2, y2], YxyxBox[ymin, xmin, ymax, xmax], XywhBox[x, y, w, h]);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn conversions_move_the_same_edges() {
        let xyxy = XyxyBox::new(1.0, 2.0, 11.0, 22.0);
        assert_eq!(YxyxBox::from(xyxy), YxyxBox::new(2.0, 1.0, 22.0, 11.0));
        assert_eq!(XywhBox::from(xyxy), XywhBox::new(1.0, 2.0, 10.0, 20.0));
        assert_eq!(YxyxBox::from(XywhBox::from(xyxy)), YxyxBox::from(xyxy));
        assert_eq!(XywhBox::from(YxyxBox::from(xyxy)), XywhBox::from(xyxy));
    }

    #[test]
    fn boxes_are_serialised_as_four_numbers_in_their_own_order() {
        let xyxy = XyxyBox::new(1.0, 2.5, 3.0, 4.0);
        assert_eq!(serde_json::to_string(&xyxy).unwrap(), "[1.0,2.5,3.0,4.0]");
        assert_eq!(serde_json::to_string(&YxyxBox::from(xyxy)).unwrap(), "[2.5,1.0,4.0,3.0]");
        assert_eq!(serde_json::from_str::<XyxyBox>("[1, 2.5, 3, 4]").unwrap(), xyxy);
        assert!(serde_json::from_str::<XyxyBox>("[1, 2, 3]").is_err());
    }

    #[test]
    fn an_inverted_box_has_no_area() {
        let inverted = XyxyBox::new(5.0, 5.0, 1.0, 1.0);
        assert_eq!(inverted.area(), 0.0);
        assert!(inverted.is_empty());
        assert!(XyxyBox::new(f32::NAN, 0.0, 1.0, 1.0).is_empty());
        assert!(!XyxyBox::new(0.0, 0.0, 1.0, 1.0).is_empty());
    }

    #[test]
    fn clip_moves_coordinates_into_the_picture_and_keeps_nan() {
        let size = ImageSize::new(10, 20);
        assert_eq!(XyxyBox::new(-3.0, -4.0, 30.0, 5.0).clip(size), XyxyBox::new(0.0, 0.0, 20.0, 5.0));
        assert!(!XyxyBox::new(f32::NAN, 0.0, 1.0, 1.0).clip(size).is_finite());
        assert_eq!(XyxyBox::new(0.0, 0.0, f32::INFINITY, 1.0).clip(size).x2, 20.0);
        assert_eq!(XyxyBox::new(1.0, 1.0, 2.0, 2.0).clip_to(f32::NAN, -1.0), XyxyBox::default());
    }

    #[test]
    fn intersection_is_none_for_boxes_that_only_touch() {
        let a = XyxyBox::new(0.0, 0.0, 2.0, 2.0);
        assert_eq!(a.intersection(&a.translate(1.0, 1.0)), Some(XyxyBox::new(1.0, 1.0, 2.0, 2.0)));
        assert_eq!(a.intersection(&a.translate(2.0, 0.0)), None);
    }

    proptest! {
        #[test]
        fn clipped_boxes_lie_inside(corners in prop::array::uniform4(-1e4f32..1e4)) {
            let clipped = XyxyBox::from(corners).clip(ImageSize::new(480, 640));
            prop_assert!((0.0..=640.0).contains(&clipped.x1) && (0.0..=640.0).contains(&clipped.x2));
            prop_assert!((0.0..=480.0).contains(&clipped.y1) && (0.0..=480.0).contains(&clipped.y2));
        }
    }
}
