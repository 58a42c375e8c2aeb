//! Activations and their derivatives, vector by vector.

use super::parallel::{Shared, for_each};
use crate::Activation;
use crate::native::activate;
use crate::native::simd::{Simd, dispatch, sigmoid};

/// Whether there is a vector form of the function and its derivative.
pub(super) fn supports(activation: Activation) -> bool {
    activate::supports(activation)
}

/// The derivative at `x`. Where there is none, at corners, it is PyTorch's choice.
///
/// # Safety
/// The instruction set must be there.
#[inline(always)]
pub(super) unsafe fn slope<S: Simd>(activation: Activation, x: S::V) -> S::V {
    // SAFETY: the caller's
    unsafe {
        let (zero, one) = (S::splat(0.0), S::splat(1.0));
        match activation {
            Activation::Relu => S::select_greater(x, zero, one, zero),
            Activation::Relu6 => {
                S::select_greater(x, zero, S::select_greater(S::splat(6.0), x, one, zero), zero)
            }
            Activation::LeakyRelu => S::select_greater(x, zero, one, S::splat(0.01)),
            Activation::Swish => {
                let s = sigmoid::<S>(x);
                S::mul(s, S::mul_add(x, S::sub(one, s), one))
            }
            Activation::Sigmoid => {
                let s = sigmoid::<S>(x);
                S::mul(s, S::sub(one, s))
            }
            Activation::HardSigmoid => {
                let inside = S::select_greater(S::splat(3.0), x, S::splat(1.0 / 6.0), zero);
                S::select_greater(x, S::splat(-3.0), inside, zero)
            }
            Activation::HardSwish => {
                let inside = S::mul_add(x, S::splat(1.0 / 3.0), S::splat(0.5));
                let inside = S::select_greater(S::splat(3.0), x, inside, one);
                S::select_greater(x, S::splat(-3.0), inside, zero)
            }
            Activation::Mish => {
                let (n, r) = activate::softplus_tanh::<S>(x);
                // 1 - gate^2 = 4 (n + 1) / (n + 2)^2
                let rest = S::mul(S::mul(S::splat(4.0), S::add(n, one)), S::mul(r, r));
                S::mul_add(S::mul(x, sigmoid::<S>(x)), rest, S::mul(n, r))
            }
            Activation::Identity | Activation::Gelu => one,
        }
    }
}

/// What a constant parameter stands for.
pub(super) const KINDS: [Activation; 9] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Relu6,
    Activation::LeakyRelu,
    Activation::Swish,
    Activation::HardSwish,
    Activation::HardSigmoid,
    Activation::Sigmoid,
    Activation::Mish,
];

/// Calls a kernel with the activation as a constant, so that it is looked at once and not for every number.
macro_rules! by_activation {
    ($activation:expr, $kernel:ident::<$simd:ty>($($arg:expr),* $(,)?)) => {
        match $crate::native::training::slope::KINDS.iter().position(|kind| *kind == $activation) {
            Some(1) => $kernel::<$simd, 1>($($arg),*),
            Some(2) => $kernel::<$simd, 2>($($arg),*),
            Some(3) => $kernel::<$simd, 3>($($arg),*),
            Some(4) => $kernel::<$simd, 4>($($arg),*),
            Some(5) => $kernel::<$simd, 5>($($arg),*),
            Some(6) => $kernel::<$simd, 6>($($arg),*),
            Some(7) => $kernel::<$simd, 7>($($arg),*),
            Some(8) => $kernel::<$simd, 8>($($arg),*),
            _ => $kernel::<$simd, 0>($($arg),*),
        }
    };
}
pub(super) use by_activation;

/// Numbers in a piece of work.
const PIECE: usize = 1 << 14;

/// `output[i] = activation(input[i])`
pub(super) fn forward(activation: Activation, input: &[f32], output: &mut [f32]) {
    assert_eq!(input.len(), output.len());
    let to = Shared::new(output);
    for_each(input.len().div_ceil(PIECE), |piece| {
        let input = &input[piece * PIECE..];
        // SAFETY: within both
        unsafe { activate_piece(activation, input.as_ptr(), to.at(piece * PIECE), input.len().min(PIECE)) };
    });
}

/// `gradient[i] *= activation'(input[i])`
pub(super) fn backward(activation: Activation, input: &[f32], gradient: &mut [f32]) {
    assert_eq!(input.len(), gradient.len());
    let to = Shared::new(gradient);
    for_each(input.len().div_ceil(PIECE), |piece| {
        let input = &input[piece * PIECE..];
        // SAFETY: within both
        unsafe { slope_piece(activation, input.as_ptr(), to.at(piece * PIECE), input.len().min(PIECE)) };
    });
}

dispatch! {
    unsafe fn activate_piece(activation: Activation, input: *const f32, output: *mut f32, count: usize) = activate_with
}

#[inline(always)]
unsafe fn activate_with<S: Simd>(activation: Activation, input: *const f32, output: *mut f32, count: usize) {
    // SAFETY: the caller's
    unsafe { by_activation!(activation, activate_all::<S>(input, output, count)) }
}

#[inline(always)]
unsafe fn activate_all<S: Simd, const A: usize>(input: *const f32, output: *mut f32, count: usize) {
    let mut i = 0;
    while i < count {
        let n = S::LANES.min(count - i);
        // SAFETY: within `count`
        unsafe {
            if n == S::LANES {
                S::store(output.add(i), activate::one::<S>(KINDS[A], S::load(input.add(i))));
            } else {
                let value = activate::one::<S>(KINDS[A], S::load_partial(input.add(i), n));
                S::store_partial(output.add(i), value, n);
            }
        }
        i += S::LANES;
    }
}

dispatch! {
    unsafe fn slope_piece(activation: Activation, input: *const f32, gradient: *mut f32, count: usize) = slope_with
}

#[inline(always)]
unsafe fn slope_with<S: Simd>(activation: Activation, input: *const f32, gradient: *mut f32, count: usize) {
    // SAFETY: the caller's
    unsafe { by_activation!(activation, slope_all::<S>(input, gradient, count)) }
}

#[inline(always)]
unsafe fn slope_all<S: Simd, const A: usize>(input: *const f32, gradient: *mut f32, count: usize) {
    let mut i = 0;
    while i < count {
        let n = S::LANES.min(count - i);
        // SAFETY: within `count`
        unsafe {
            if n == S::LANES {
                let slope = slope::<S>(KINDS[A], S::load(input.add(i)));
                S::store(gradient.add(i), S::mul(S::load(gradient.add(i)), slope));
            } else {
                let slope = slope::<S>(KINDS[A], S::load_partial(input.add(i), n));
                let value = S::mul(S::load_partial(gradient.add(i), n), slope);
                S::store_partial(gradient.add(i), value, n);
            }
        }
        i += S::LANES;
    }
}
