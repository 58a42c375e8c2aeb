//! Kernels of our own, for the CPU and for devices of CubeCL, and the inference form that runs on them.
//!
//! Maps are channels-last here: a pixel's channels lie next to each other, so that pointwise convolutions are matrix
//! products as they stand and everything else runs over whole vectors of channels.

mod activate;
#[cfg(feature = "cube")]
pub(crate) mod cube;
pub mod depthwise;
mod device_program;
pub mod gemm;
pub mod pixelwise;
mod program;
pub mod simd;
#[cfg(any(feature = "flex", feature = "cube"))]
pub(crate) mod training;
mod workers;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{Device, Int, Tensor};

pub use device_program::DeviceProgram;
pub use program::{NoKernel, Outputs, Program};
pub use workers::Workers;

/// Whether the kernels compute what tensors on this device would be computed with.
pub fn runs_on(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return *device == Device::flex();
    #[cfg(not(feature = "flex"))]
    {
        let _ = device;
        false
    }
}

/// Leaves what the layers compute to the framework's operations from now on, in the whole process, or no longer: for
/// timings of the one against the other. Inference forms, which are asked for by name, are not affected.
pub fn leave_to_framework(leave: bool) {
    LEFT.store(leave, Ordering::Relaxed);
}

static LEFT: AtomicBool = AtomicBool::new(false);

#[cfg(any(feature = "flex", feature = "cube"))]
fn is_left_to_framework() -> bool {
    LEFT.load(Ordering::Relaxed)
}

/// Gives back the memory that the host's training operations keep for their next results, in the whole process. Where
/// training goes on, its next step takes it anew. `effdet-train` calls it at the end of every run; loops of one's own may.
pub fn release_memory() {
    #[cfg(feature = "flex")]
    training::release();
}

/// Whether products of single precision may go through the ten bits of mantissa that matrix units take. As for NVIDIA's
/// libraries they may, unless the environment says `NVIDIA_TF32_OVERRIDE=0`.
pub fn allows_tf32() -> bool {
    static ALLOWED: OnceLock<bool> = OnceLock::new();
    *ALLOWED.get_or_init(|| std::env::var_os("NVIDIA_TF32_OVERRIDE").is_none_or(|value| value != "0"))
}

/// The places of the `count` highest numbers of every row, ascending; of equal ones the first, and NaN is the least.
/// `None` where there is no kernel: on the host, in another precision, when gradients are recorded, or for no number or
/// more than there are.
///
/// # Shapes
/// - `values`: `[rows, length]`
/// - output: `[rows, count]`
pub fn highest_places(values: &Tensor<2>, count: usize) -> Option<Tensor<2, Int>> {
    #[cfg(feature = "cube")]
    if !is_left_to_framework() && cube::runs_on(&values.device()) {
        return cube::highest_places(values.clone(), count);
    }
    let _ = (values, count);
    None
}

/// The focal loss of logits as if all were negative, `scale · Σ pᵞ (ln(1 + eˣ) - half · x)` with `p = σ(x)`, and its
/// derivative by each logit, in one pass. `None` where there is no kernel: in another precision, or when gradients are
/// recorded.
///
/// # Shapes
/// - `logits`, derivative: any, the same
/// - loss: `[1]`
pub fn focal_negatives(
    logits: &Tensor<4>,
    gamma: f64,
    half: f64,
    scale: f64,
) -> Option<(Tensor<1>, Tensor<4>)> {
    #[cfg(feature = "cube")]
    if let Some(found) = cube::focal_negatives(logits, gamma, half, scale) {
        return Some(found);
    }
    #[cfg(feature = "flex")]
    return training::focal_negatives(logits, gamma, half, scale);
    #[cfg(not(feature = "flex"))]
    {
        let _ = (logits, gamma, half, scale);
        None
    }
}

/// `value` as a function of `input` whose gradient is `gradient`, both computed without a record. `None` where there is no
/// kernel, in another precision, or when no gradients are recorded.
///
/// # Shapes
/// - `input`, `gradient`: any, the same
/// - `value`, output: `[1]`
pub fn with_gradient(input: &Tensor<4>, value: &Tensor<1>, gradient: &Tensor<4>) -> Option<Tensor<1>> {
    #[cfg(feature = "cube")]
    if let Some(found) = cube::with_gradient(input, value, gradient) {
        return Some(found);
    }
    #[cfg(feature = "flex")]
    return training::with_gradient(input, value, gradient);
    #[cfg(not(feature = "flex"))]
    {
        let _ = (input, value, gradient);
        None
    }
}

/// Numbers of a map at places that are all different, counted over pictures, rows, columns, then channels. `None` where there
/// is no kernel: on the host, for example.
///
/// # Shapes
/// - `map`: `[batch, channels, height, width]`
/// - `places`, output: `[count]`
pub fn numbers_at(map: &Tensor<4>, places: &Tensor<1, Int>) -> Option<Tensor<1>> {
    #[cfg(feature = "cube")]
    return cube::numbers_at(map, places);
    #[cfg(not(feature = "cube"))]
    {
        let _ = (map, places);
        None
    }
}

/// Adds to the numbers of a map at places that are all different, counted as in [`numbers_at`]. `None` where there is no
/// kernel, or when gradients are recorded.
///
/// # Shapes
/// - `map`, output: `[batch, channels, height, width]`
/// - `places`, `values`: `[count]`
pub fn added_at(map: &Tensor<4>, places: &Tensor<1, Int>, values: &Tensor<1>) -> Option<Tensor<4>> {
    #[cfg(feature = "cube")]
    return cube::added_at(map, places, values);
    #[cfg(not(feature = "cube"))]
    {
        let _ = (map, places, values);
        None
    }
}

/// Whether [`numbers_at`] and [`added_at`] have kernels for this map.
pub fn has_places(map: &Tensor<4>) -> bool {
    #[cfg(feature = "cube")]
    return training::computes_on_device(map);
    #[cfg(not(feature = "cube"))]
    {
        let _ = map;
        false
    }
}

/// Constants of a step of Adam: `average = β₁ average + (1 - β₁) g`, `square = β₂ square + (1 - β₂) g²`,
/// `value = keep · value - rate · average / (root_scale · √square + ε)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Factor of the value: 1 less what decays.
    pub keep: f64,
    /// Weights of the past.
    pub betas: [f64; 2],
    /// Learning rate, with the correction of the average.
    pub rate: f64,
    /// Correction of the root.
    pub root_scale: f64,
    /// Added to the root.
    pub epsilon: f64,
}

/// A step of Adam on `[value, gradient, average, square]`, which gives `[value, average, square]`. `None` where there is no
/// kernel: on the host, for example.
///
/// # Shapes
/// - all `[count]`
///
/// # Reference
/// Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019 for the decay.
pub fn adam(tensors: [&Tensor<1>; 4], step: AdamStep) -> Option<[Tensor<1>; 3]> {
    #[cfg(feature = "cube")]
    return cube::adam(tensors, step);
    #[cfg(not(feature = "cube"))]
    {
        let _ = (tensors, step);
        None
    }
}

/// `parts[0] · first + parts[1] · second` in one pass. `None` where there is no kernel.
///
/// # Shapes
/// - all `[count]`
pub fn mix(first: &Tensor<1>, second: &Tensor<1>, parts: [f64; 2]) -> Option<Tensor<1>> {
    #[cfg(feature = "cube")]
    return cube::mix(first, second, parts);
    #[cfg(not(feature = "cube"))]
    {
        let _ = (first, second, parts);
        None
    }
}

/// `before + Σ values²`, so that the norm over many tensors is one chain of sums. `None` where there is no kernel.
///
/// # Shapes
/// - `before`: `[1]`, `values`: `[count]`
pub fn add_squares(before: &Tensor<1>, values: &Tensor<1>) -> Option<Tensor<1>> {
    #[cfg(feature = "cube")]
    return cube::add_squares(before, values);
    #[cfg(not(feature = "cube"))]
    {
        let _ = (before, values);
        None
    }
}
