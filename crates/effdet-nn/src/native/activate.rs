//! Activations of vectors.

use super::simd::{Simd, exp, sigmoid};
use crate::Activation;

/// Whether there is a vector form; GELU, which one backbone has, is left to the framework.
pub fn supports(activation: Activation) -> bool {
    activation != Activation::Gelu
}

/// One vector. `max` and `min` have the input second, which is what they give for NaN.
///
/// # Safety
/// The instruction set must be there.
#[inline(always)]
pub(crate) unsafe fn one<S: Simd>(activation: Activation, x: S::V) -> S::V {
    // SAFETY: the caller's
    unsafe {
        let zero = S::splat(0.0);
        let six = S::splat(6.0);
        match activation {
            Activation::Relu => S::max(zero, x),
            Activation::Relu6 => S::min(six, S::max(zero, x)),
            Activation::LeakyRelu => S::max(S::mul(x, S::splat(0.01)), x),
            Activation::Swish => S::mul(x, sigmoid::<S>(x)),
            Activation::Sigmoid => sigmoid::<S>(x),
            Activation::HardSigmoid | Activation::HardSwish => {
                let gate = S::min(six, S::max(zero, S::add(x, S::splat(3.0))));
                let gate = S::mul(gate, S::splat(1.0 / 6.0));
                if activation == Activation::HardSwish { S::mul(x, gate) } else { gate }
            }
            Activation::Mish => {
                let (n, r) = softplus_tanh::<S>(x);
                S::mul(x, S::mul(n, r))
            }
            Activation::Identity | Activation::Gelu => x,
        }
    }
}

/// `n` and `1 / (n + 2)` with `n = e^x (e^x + 2)`: their product is `tanh(ln(1 + e^x))`, Mish's gate.
///
/// # Safety
/// The instruction set must be there.
#[inline(always)]
pub(crate) unsafe fn softplus_tanh<S: Simd>(x: S::V) -> (S::V, S::V) {
    // SAFETY: the caller's
    unsafe {
        // above 20 the gate is 1 in single precision, and e^2x would leave its range
        let e = exp::<S>(S::min(x, S::splat(20.0)));
        let two = S::splat(2.0);
        let n = S::mul(e, S::add(e, two));
        (n, S::reciprocal(S::add(n, two)))
    }
}

/// As many vectors as stand in a buffer, in place. The activation is looked at once, not once a vector.
///
/// # Safety
/// The instruction set must be there, and `buffer` hold `count` vectors.
#[inline(always)]
pub(crate) unsafe fn vectors<S: Simd>(activation: Activation, buffer: *mut f32, count: usize) {
    macro_rules! each {
        ($($kind:ident)*) => {
            match activation {
                $(Activation::$kind => for i in 0..count {
                    // SAFETY: the caller's
                    unsafe {
                        let at = buffer.add(i * S::LANES);
                        S::store(at, one::<S>(Activation::$kind, S::load(at)));
                    }
                },)*
                Activation::Identity | Activation::Gelu => {}
            }
        };
    }
    each!(Relu Relu6 LeakyRelu Swish Sigmoid HardSigmoid HardSwish Mish)
}

/// Numbers in the largest tile that kernels keep in registers.
const TILE_NUMBERS: usize = 512;

/// Where a kernel puts its sums before it finishes them. The sums themselves never have an address, so that the compiler
/// keeps them in registers throughout the innermost loop.
#[repr(align(64))]
pub(crate) struct Tile(std::mem::MaybeUninit<[f32; TILE_NUMBERS]>);

impl Tile {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self(std::mem::MaybeUninit::uninit())
    }

    #[inline(always)]
    pub(crate) fn start(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }
}
