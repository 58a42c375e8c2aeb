//! Activations of vectors.

use super::simd::{Simd, sigmoid};
use crate::Activation;

/// Whether there is a vector form; the others are rare enough to be left to the framework.
pub fn supports(activation: Activation) -> bool {
    !matches!(activation, Activation::Gelu | Activation::Mish)
}

/// One vector. `max` and `min` have the input second, which is what they give for NaN.
///
/// # Safety
/// The instruction set must be there.
#[inline(always)]
unsafe fn one<S: Simd>(activation: Activation, x: S::V) -> S::V {
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
            Activation::Identity | Activation::Gelu | Activation::Mish => x,
        }
    }
}

/// A tile of vectors: the activation is looked at once, not once a vector.
///
/// # Safety
/// The instruction set must be there.
#[inline(always)]
pub(crate) unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
    activation: Activation,
    values: &mut [[S::V; VECTORS]; ROWS],
) {
    macro_rules! each {
        ($($kind:ident)*) => {
            match activation {
                $(Activation::$kind => for row in values {
                    for value in row {
                        // SAFETY: the caller's
                        *value = unsafe { one::<S>(Activation::$kind, *value) };
                    }
                },)*
                Activation::Identity | Activation::Gelu | Activation::Mish => {}
            }
        };
    }
    each!(Relu Relu6 LeakyRelu Swish Sigmoid HardSigmoid HardSwish)
}
