//! What an optimiser does to flat parameters, of single precision.

use cubecl::prelude::*;
use cubecl::server::Handle;

use super::{Launcher, threads, width};
use crate::native::AdamStep;

#[cube(launch_unchecked)]
fn adam_kernel<N: Size>(
    value: &[Vector<f32, N>],
    gradient: &[Vector<f32, N>],
    average: &[Vector<f32, N>],
    square: &[Vector<f32, N>],
    new_value: &mut [Vector<f32, N>],
    new_average: &mut [Vector<f32, N>],
    new_square: &mut [Vector<f32, N>],
    keep: f32,
    beta1: f32,
    beta2: f32,
    rate: f32,
    root_scale: f32,
    epsilon: f32,
    count: u32,
) {
    let at = ABSOLUTE_POS;
    if at >= count as usize {
        terminate!();
    }
    let (one, first, second) = (1.0f32, Vector::<f32, N>::new(beta1), Vector::<f32, N>::new(beta2));
    let g = gradient[at];
    let mean = average[at] * first + g * Vector::<f32, N>::new(one - beta1);
    let variance = square[at] * second + g * g * Vector::<f32, N>::new(one - beta2);
    let root = variance.sqrt() * Vector::<f32, N>::new(root_scale) + Vector::<f32, N>::new(epsilon);
    new_average[at] = mean;
    new_square[at] = variance;
    new_value[at] = value[at] * Vector::<f32, N>::new(keep) - mean / root * Vector::<f32, N>::new(rate);
}

/// A step of Adam on `[value, gradient, average, square]`, into `[value, average, square]`.
pub fn adam(launcher: &Launcher, from: [&Handle; 4], to: [&Handle; 3], length: usize, step: AdamStep) {
    let width = width(&[length]);
    let (cubes, dim) = threads(length / width);
    // SAFETY: the buffers have these lengths, and threads beyond the count stop
    unsafe {
        let buffer = |handle: &Handle| BufferArg::from_raw_parts(handle.clone(), length);
        adam_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            buffer(from[0]),
            buffer(from[1]),
            buffer(from[2]),
            buffer(from[3]),
            buffer(to[0]),
            buffer(to[1]),
            buffer(to[2]),
            step.keep as f32,
            step.betas[0] as f32,
            step.betas[1] as f32,
            step.rate as f32,
            step.root_scale as f32,
            step.epsilon as f32,
            (length / width) as u32,
        );
    }
}

#[cube(launch_unchecked)]
fn mix_kernel<N: Size>(
    first: &[Vector<f32, N>],
    second: &[Vector<f32, N>],
    output: &mut [Vector<f32, N>],
    a: f32,
    b: f32,
    count: u32,
) {
    let at = ABSOLUTE_POS;
    if at >= count as usize {
        terminate!();
    }
    output[at] = first[at] * Vector::<f32, N>::new(a) + second[at] * Vector::<f32, N>::new(b);
}

/// `a · first + b · second`.
pub fn mix(launcher: &Launcher, [first, second, output]: [&Handle; 3], length: usize, [a, b]: [f64; 2]) {
    let width = width(&[length]);
    let (cubes, dim) = threads(length / width);
    // SAFETY: the buffers have these lengths, and threads beyond the count stop
    unsafe {
        let buffer = |handle: &Handle| BufferArg::from_raw_parts(handle.clone(), length);
        mix_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            buffer(first),
            buffer(second),
            buffer(output),
            a as f32,
            b as f32,
            (length / width) as u32,
        );
    }
}
