//! The Faster R-CNN box coder, the only one in the workspace.
//!
//! With centre `(y, x)` and size `(h, w)` of a box and `(ya, xa)`, `(ha, wa)` of its anchor, the code is
//! `ty = (y - ya) / ha`, `tx = (x - xa) / wa`, `th = ln(h / ha)`, `tw = ln(w / wa)`.
//! There are no scale factors.

use effdet_core::{XyxyBox, YxyxBox};

/// Added to all sizes before dividing and taking logarithms, so that a box without area has a finite code.
const EPSILON: f32 = 1e-7;

/// The code `[ty, tx, th, tw]` of a box relative to an anchor.
///
/// # Reference
/// effdet `FasterRcnnBoxCoder.encode`; Ren et al. 2015, equation 2. An inverted box has a NaN code, as there.
#[inline]
pub fn encode(anchor: &YxyxBox, truth: &YxyxBox) -> [f32; 4] {
    let (ha, wa) = (anchor.ymax - anchor.ymin, anchor.xmax - anchor.xmin);
    let (h, w) = (truth.ymax - truth.ymin, truth.xmax - truth.xmin);
    let (ya, xa) = (anchor.ymin + ha / 2.0, anchor.xmin + wa / 2.0);
    let (y, x) = (truth.ymin + h / 2.0, truth.xmin + w / 2.0);
    let (ha, wa, h, w) = (ha + EPSILON, wa + EPSILON, h + EPSILON, w + EPSILON);
    [(y - ya) / ha, (x - xa) / wa, (h / ha).ln(), (w / wa).ln()]
}

/// The box that `[ty, tx, th, tw]` stands for relative to an anchor.
///
/// Sizes are not clamped: a large `th` or `tw` gives an infinite box.
///
/// # Reference
/// effdet `anchors.decode_box_outputs`, in its order of operations.
#[inline]
pub fn decode(anchor: &YxyxBox, [ty, tx, th, tw]: [f32; 4]) -> XyxyBox {
    let (ya, xa) = ((anchor.ymin + anchor.ymax) / 2.0, (anchor.xmin + anchor.xmax) / 2.0);
    let (ha, wa) = (anchor.ymax - anchor.ymin, anchor.xmax - anchor.xmin);
    let (w, h) = (tw.exp() * wa, th.exp() * ha);
    let (y, x) = (ty * ha + ya, tx * wa + xa);
    XyxyBox::new(x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_code_of_an_anchor_is_zero() {
        let anchor = YxyxBox::new(-12.0, -12.0, 20.0, 20.0);
        assert_eq!(encode(&anchor, &anchor), [0.0; 4]);
        assert_eq!(decode(&anchor, [0.0; 4]), anchor.into());
    }

    #[test]
    fn shifts_are_in_anchor_sizes_and_sizes_in_logarithms() {
        let anchor = YxyxBox::new(0.0, 0.0, 10.0, 20.0);
        let decoded = decode(&anchor, [0.5, 1.0, 2f32.ln(), 0.0]);
        let expected = [20.0, 0.0, 40.0, 20.0];
        for (a, b) in <[f32; 4]>::from(decoded).into_iter().zip(expected) {
            assert!((a - b).abs() < 1e-5, "{decoded:?}");
        }
    }

    #[test]
    fn a_box_without_area_has_a_finite_code() {
        let anchor = YxyxBox::new(0.0, 0.0, 32.0, 32.0);
        let code = encode(&anchor, &YxyxBox::new(5.0, 5.0, 5.0, 5.0));
        assert!(code.iter().all(|t| t.is_finite()), "{code:?}");
    }

    #[test]
    fn huge_codes_give_infinite_boxes_without_a_panic() {
        let anchor = YxyxBox::new(0.0, 0.0, 32.0, 32.0);
        assert!(!decode(&anchor, [0.0, 0.0, 1e3, 0.0]).is_finite());
        assert!(!decode(&anchor, [f32::NAN, 0.0, 0.0, 0.0]).is_finite());
    }

    fn boxes() -> impl Strategy<Value = YxyxBox> {
        (-50f32..600.0, -50f32..600.0, 1f32..600.0, 1f32..600.0)
            .prop_map(|(y, x, h, w)| YxyxBox::new(y, x, y + h, x + w))
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(anchor in boxes(), truth in boxes()) {
            let back = decode(&anchor, encode(&anchor, &truth));
            let expected = XyxyBox::from(truth);
            for (a, b) in <[f32; 4]>::from(back).into_iter().zip(<[f32; 4]>::from(expected)) {
                prop_assert!((a - b).abs() < 2e-3, "{back:?} != {expected:?}");
            }
        }
    }
}
