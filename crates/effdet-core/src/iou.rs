//! Intersection over union and its relatives, the only ones in the workspace.
//!
//! All of them use `f32` in the order of torchvision's `box_iou`, so that a comparison against a threshold
//! falls on the same side as in the reference. Boxes without area overlap nothing.

use crate::XyxyBox;

/// Added where a denominator may vanish, as in torchvision's `_box_diou_iou` and `complete_box_iou`.
const EPSILON: f32 = 1e-7;

/// Intersection over union of two boxes, in `[0, 1]`; 0 where the union is empty.
///
/// # Reference
/// torchvision `ops.box_iou`, which yields NaN for two boxes without area.
#[inline]
pub fn iou(a: &XyxyBox, b: &XyxyBox) -> f32 {
    iou_with_areas(a, a.area(), b, b.area())
}

/// [`iou`] of boxes whose areas are known, for loops that compare one box with many.
#[inline(always)]
pub fn iou_with_areas(a: &XyxyBox, area_a: f32, b: &XyxyBox, area_b: f32) -> f32 {
    let (intersection, union) = overlap(a, area_a, b, area_b);
    if union > 0.0 { intersection / union } else { 0.0 }
}

/// Intersection over the smaller of two boxes, in `[0, 1]`; 0 where one has no area.
///
/// Unlike [`iou`] it is 1 for a part of an object inside the whole, which is what a cut through a picture leaves.
#[inline]
pub fn ios(a: &XyxyBox, b: &XyxyBox) -> f32 {
    let (area_a, area_b) = (a.area(), b.area());
    let smaller = lesser(area_a, area_b);
    let (intersection, _) = overlap(a, area_a, b, area_b);
    if smaller > 0.0 { intersection / smaller } else { 0.0 }
}

/// Generalised IoU, in `[-1, 1]`: `iou - (hull - union) / hull`, with the area of the smallest enclosing box
/// as `hull`.
///
/// # Reference
/// torchvision `ops.generalized_box_iou`; Rezatofighi et al. 2019, equation 2.
pub fn giou(a: &XyxyBox, b: &XyxyBox) -> f32 {
    let (_, union) = overlap(a, a.area(), b, b.area());
    let hull = enclosing(a, b).area();
    if hull > 0.0 { iou(a, b) - (hull - union) / hull } else { iou(a, b) }
}

/// Distance IoU, in `[-1, 1]`: `iou` less the squared distance of the centres over the squared diagonal of
/// the smallest enclosing box.
///
/// # Reference
/// torchvision `ops.distance_box_iou`; Zheng et al. 2020, equation 7.
#[inline]
pub fn diou(a: &XyxyBox, b: &XyxyBox) -> f32 {
    let hull = enclosing(a, b);
    let diagonal = hull.width() * hull.width() + hull.height() * hull.height() + EPSILON;
    let ((ax, ay), (bx, by)) = (a.center(), b.center());
    iou(a, b) - ((ax - bx) * (ax - bx) + (ay - by) * (ay - by)) / diagonal
}

/// Complete IoU: [`diou`] less `alpha * v`, where `v = 4 / pi^2 * (atan(w_a / h_a) - atan(w_b / h_b))^2`
/// measures the difference in aspect ratio and `alpha = v / (1 - iou + v)`.
///
/// # Reference
/// torchvision `ops.complete_box_iou`; Zheng et al. 2020, equations 8 to 11.
pub fn ciou(a: &XyxyBox, b: &XyxyBox) -> f32 {
    // atan2 rather than atan of the quotient, which is 0 / 0 for a point
    let difference = a.width().atan2(a.height()) - b.width().atan2(b.height());
    let v = (4.0 / std::f32::consts::PI.powi(2)) * difference * difference;
    let alpha = v / (1.0 - iou(a, b) + v + EPSILON);
    diou(a, b) - alpha * v
}

#[inline(always)]
fn overlap(a: &XyxyBox, area_a: f32, b: &XyxyBox, area_b: f32) -> (f32, f32) {
    let width = at_least_zero(lesser(a.x2, b.x2) - greater(a.x1, b.x1));
    let height = at_least_zero(lesser(a.y2, b.y2) - greater(a.y1, b.y1));
    let intersection = width * height;
    (intersection, area_a + area_b - intersection)
}

fn enclosing(a: &XyxyBox, b: &XyxyBox) -> XyxyBox {
    XyxyBox::new(lesser(a.x1, b.x1), lesser(a.y1, b.y1), greater(a.x2, b.x2), greater(a.y2, b.y2))
}

// f32::max and f32::min promise a rule for NaN that costs three more vector instructions each.
#[inline(always)]
fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn lesser(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

#[inline(always)]
fn at_least_zero(a: f32) -> f32 {
    if a > 0.0 { a } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: XyxyBox = XyxyBox::new(0.0, 0.0, 10.0, 20.0);
    const B: XyxyBox = XyxyBox::new(5.0, 5.0, 25.0, 15.0);
    const FAR: XyxyBox = XyxyBox::new(100.0, 100.0, 110.0, 110.0);

    // Values printed by torchvision 0.24.
    #[test]
    fn values_equal_torchvision() {
        for (actual, expected) in [
            (iou(&A, &B), 0.142_857_15),
            (giou(&A, &B), -0.157_142_85),
            (diou(&A, &B), 0.045_296_17),
            (ciou(&A, &B), 0.017_816_786),
            (giou(&A, &FAR), -0.975_206_6),
            (diou(&A, &FAR), -0.786_157),
        ] {
            assert!((actual - expected).abs() < 1e-6, "{actual} != {expected}");
        }
    }

    #[test]
    fn a_part_overlaps_the_whole_entirely() {
        let part = XyxyBox::new(0.0, 0.0, 5.0, 20.0);
        assert_eq!((ios(&A, &part), ios(&part, &A), iou(&A, &part)), (1.0, 1.0, 0.5));
        assert_eq!((ios(&A, &B), ios(&A, &FAR)), (0.25, 0.0));
    }

    #[test]
    fn boxes_without_area_overlap_nothing() {
        let point = XyxyBox::new(3.0, 3.0, 3.0, 3.0);
        let inverted = XyxyBox::new(8.0, 8.0, 2.0, 2.0);
        for f in [iou, ios, giou, diou, ciou] {
            assert_eq!(f(&point, &point), 0.0);
            assert!(f(&A, &inverted).is_finite());
        }
        assert_eq!(iou(&A, &inverted), 0.0);
    }

    fn boxes() -> impl Strategy<Value = XyxyBox> {
        (-100f32..100.0, -100f32..100.0, 0.01f32..200.0, 0.01f32..200.0)
            .prop_map(|(x, y, w, h)| XyxyBox::new(x, y, x + w, y + h))
    }

    proptest! {
        #[test]
        fn iou_is_symmetric_bounded_and_one_for_equal_boxes(a in boxes(), b in boxes()) {
            prop_assert_eq!(iou(&a, &b), iou(&b, &a));
            prop_assert!((0.0..=1.0 + 1e-5).contains(&iou(&a, &b)));
            prop_assert!((iou(&a, &a) - 1.0).abs() < 1e-4);
        }

        #[test]
        fn relatives_never_exceed_iou(a in boxes(), b in boxes()) {
            let plain = iou(&a, &b);
            prop_assert!(giou(&a, &b) <= plain + 1e-5 && giou(&a, &b) >= -1.0 - 1e-5);
            prop_assert!(diou(&a, &b) <= plain + 1e-5 && diou(&a, &b) >= -1.0 - 1e-5);
            prop_assert!(ciou(&a, &b) <= diou(&a, &b) + 1e-5);
        }
    }
}
