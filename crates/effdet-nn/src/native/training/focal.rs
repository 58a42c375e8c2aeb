//! The focal loss of logits that are all negative, with its derivative.

use super::parallel::{Shared, for_each};
use crate::native::simd::{Simd, dispatch, exp};

/// `scale · pᵞ · (ln(1 + eˣ) - half · x)` with `p = σ(x)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Focal {
    pub gamma: f32,
    /// Half the label smoothing.
    pub half: f32,
    pub scale: f32,
}

/// Numbers in a piece of work.
const PIECE: usize = 1 << 13;

impl Focal {
    /// The sum of the losses; each one's derivative is written.
    pub(super) fn negatives(&self, logits: &[f32], gradient: &mut [f32]) -> f64 {
        assert_eq!(logits.len(), gradient.len());
        let pieces = logits.len().div_ceil(PIECE);
        let mut sums = vec![0.0; pieces];
        let (sums_to, to) = (Shared::new(&mut sums), Shared::new(gradient));
        for_each(pieces, |piece| {
            let logits = &logits[piece * PIECE..];
            // SAFETY: within both; pieces are different places
            unsafe {
                negatives(
                    self,
                    logits.as_ptr(),
                    to.at(piece * PIECE),
                    logits.len().min(PIECE),
                    sums_to.at(piece),
                )
            };
        });
        sums.iter().map(|sum| f64::from(*sum)).sum()
    }
}

dispatch! {
    unsafe fn negatives(
        focal: &Focal, logits: *const f32, gradient: *mut f32, count: usize, sum: *mut f32
    ) = negatives_with
}

/// `ln(1 + t)` for `t` in `[0, 1]`: twice the area tangent of `t / (2 + t)`.
#[inline(always)]
unsafe fn ln_1p<S: Simd>(t: S::V) -> S::V {
    const ODD: [f32; 8] = [1.0 / 15.0, 1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 0.2, 1.0 / 3.0, 1.0];
    // SAFETY: the caller's
    unsafe {
        let s = S::mul(t, S::reciprocal(S::add(t, S::splat(2.0))));
        let square = S::mul(s, s);
        let mut p = S::splat(ODD[0]);
        for c in &ODD[1..] {
            p = S::mul_add(p, square, S::splat(*c));
        }
        S::mul(S::add(s, s), p)
    }
}

#[inline(always)]
unsafe fn negatives_with<S: Simd>(
    focal: &Focal,
    logits: *const f32,
    gradient: *mut f32,
    count: usize,
    sum: *mut f32,
) {
    // SAFETY: within `count`
    unsafe {
        let (zero, one) = (S::splat(0.0), S::splat(1.0));
        let (gamma, half, scale) = (S::splat(focal.gamma), S::splat(focal.half), S::splat(focal.scale));
        let mut total = zero;
        let mut i = 0;
        while i < count {
            let n = S::LANES.min(count - i);
            let x = if n == S::LANES { S::load(logits.add(i)) } else { S::load_partial(logits.add(i), n) };
            let t = exp::<S>(S::min(x, S::sub(zero, x)));
            let log = ln_1p::<S>(t);
            let larger = S::reciprocal(S::add(one, t));
            let p = S::select_greater(x, zero, larger, S::mul(t, larger));
            let rest = S::select_greater(x, zero, S::mul(t, larger), larger);
            let factor = exp::<S>(S::mul(gamma, S::sub(S::min(x, zero), log)));
            let factor = S::mul(factor, scale);
            let entropy = S::sub(S::add(S::max(x, zero), log), S::mul(half, x));
            let slope = S::mul_add(S::mul(gamma, rest), entropy, S::sub(p, half));
            let (loss, slope) = (S::mul(factor, entropy), S::mul(factor, slope));
            if n == S::LANES {
                total = S::add(total, loss);
                S::store(gradient.add(i), slope);
            } else {
                let mut last = [0.0f32; 16];
                S::store(last.as_mut_ptr(), loss);
                total = S::add(total, S::load_partial(last.as_ptr(), n));
                S::store_partial(gradient.add(i), slope, n);
            }
            i += S::LANES;
        }
        *sum = S::sum(total);
    }
}
