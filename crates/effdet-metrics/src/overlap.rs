//! Overlap of boxes in double precision, as the official evaluators compute it.
//!
//! `effdet_core::iou` is the `f32` IoU of the detector; an evaluator has to land on the same side of a threshold
//! as pycocotools, which works on doubles.

use effdet_core::XyxyBox;

/// A box as an evaluator sees it: its edges and its area, both in double precision.
///
/// The area is kept because `w * h` of a COCO box is not always the product of the differences of its edges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxEdges {
    /// Left edge.
    pub x1: f64,
    /// Top edge.
    pub y1: f64,
    /// Right edge.
    pub x2: f64,
    /// Bottom edge.
    pub y2: f64,
    /// Width times height.
    pub area: f64,
}

impl BoxEdges {
    /// A box from left, top, width and height, the form of COCO.
    pub fn from_xywh([x, y, w, h]: [f64; 4]) -> Self {
        Self { x1: x, y1: y, x2: x + w, y2: y + h, area: w * h }
    }

    /// A box from its left, top, right and bottom edges, the form of VOC and OpenImages.
    pub fn from_xyxy([x1, y1, x2, y2]: [f64; 4]) -> Self {
        Self { x1, y1, x2, y2, area: (x2 - x1) * (y2 - y1) }
    }

    /// The inclusive-pixel box of old VOC code, in which a box from 1 to 1 is one pixel wide: the right and
    /// bottom edges lie one further.
    pub(crate) fn inclusive(self) -> Self {
        Self::from_xyxy([self.x1, self.y1, self.x2 + 1.0, self.y2 + 1.0])
    }

    /// True if no number in it is NaN or infinite.
    pub fn is_finite(&self) -> bool {
        [self.x1, self.y1, self.x2, self.y2, self.area].iter().all(|v| v.is_finite())
    }

    /// Area of the common part, 0 for boxes that only touch.
    #[inline]
    pub fn intersection(&self, other: &Self) -> f64 {
        let w = lesser(self.x2, other.x2) - greater(self.x1, other.x1);
        let h = lesser(self.y2, other.y2) - greater(self.y1, other.y1);
        if w > 0.0 && h > 0.0 { w * h } else { 0.0 }
    }

    /// Intersection over union; 0 for boxes that share no area.
    ///
    /// # Reference
    /// pycocotools `maskUtils.iou` on boxes, in its order of operations.
    #[inline]
    pub fn iou(&self, other: &Self) -> f64 {
        let common = self.intersection(other);
        if common > 0.0 { common / (self.area + other.area - common) } else { 0.0 }
    }

    /// Intersection over the area of `self`: the overlap of a detection with a crowd or a group-of box.
    #[inline]
    pub fn ioa(&self, other: &Self) -> f64 {
        let common = self.intersection(other);
        if common > 0.0 { common / self.area } else { 0.0 }
    }
}

impl From<XyxyBox> for BoxEdges {
    /// Goes through width and height in `f32`, as effdet does when it hands its boxes to pycocotools.
    fn from(b: XyxyBox) -> Self {
        Self::from_xywh([b.x1.into(), b.y1.into(), b.width().into(), b.height().into()])
    }
}

#[inline(always)]
fn lesser(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

#[inline(always)]
fn greater(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_measured_by_the_detection_alone() {
        let detection = BoxEdges::from_xywh([0.0, 0.0, 10.0, 10.0]);
        let crowd = BoxEdges::from_xywh([5.0, 0.0, 100.0, 100.0]);
        assert_eq!(detection.ioa(&crowd), 0.5);
        assert_eq!(detection.iou(&crowd), 50.0 / (100.0 + 10000.0 - 50.0));
    }

    #[test]
    fn inclusive_pixels_make_a_point_one_pixel() {
        let point = BoxEdges::from_xyxy([3.0, 3.0, 3.0, 3.0]);
        assert_eq!(point.iou(&point), 0.0);
        assert_eq!(point.inclusive().iou(&point.inclusive()), 1.0);
    }
}
