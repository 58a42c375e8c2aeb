//! What an optimiser does to flat parameters, of single precision.

use cubecl::prelude::*;
use cubecl::server::Handle;

use super::reduce::{Grid, line_sums, total};
use super::{Launcher, THREADS, cubes, threads, width};
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

/// Threads of a cube that adds up a vector.
const LINE: Grid = Grid { lanes: 1, lines: THREADS };
/// Vectors of four that a cube adds up at least, and cubes at most.
const LEAST: usize = 4096;
const CUBES: usize = 256;

#[cube(launch_unchecked)]
fn sum_kernel<N: Size>(
    values: &[Vector<f32, N>],
    before: &[f32],
    output: &mut [f32],
    share: u32,
    count: u32,
    #[comptime] square: bool,
    #[comptime] last: bool,
    #[comptime] grid: Grid,
) {
    let width = values.vector_size();
    let first = CUBE_POS as u32 * share;
    let end = min(first + share, count);
    let mut sum = Vector::<f32, N>::new(0.0);
    for at in range_stepped(first + UNIT_POS, end, grid.lines) {
        let mut value = values[at as usize];
        if comptime!(square) {
            value *= value;
        }
        sum += value;
    }
    let mut shared = line_sums::<N>(grid);
    let sum = total::<N>(sum, &mut shared, grid);
    if UNIT_POS == 0 {
        let mut number = 0.0f32;
        if comptime!(last) {
            number = before[0];
        }
        #[unroll]
        for lane in 0..width {
            number += sum.extract(lane);
        }
        output[CUBE_POS] = number;
    }
}

/// `before + Σ values²`.
///
/// # Shapes
/// - `values`: `[length]`; `before`, `output`: `[1]`
pub fn add_squares(launcher: &Launcher, [values, before, output]: [&Handle; 3], length: usize) {
    let sum = |from: &Handle, to: &Handle, length: usize, parts: usize, [square, last]: [bool; 2]| {
        let width = width(&[length]);
        let count = length / width;
        // SAFETY: the buffers have these lengths, and there are as many cubes as parts
        unsafe {
            sum_kernel::launch_unchecked(
                &launcher.client,
                cubes(parts),
                LINE.dim(),
                width,
                BufferArg::from_raw_parts(from.clone(), length),
                BufferArg::from_raw_parts(before.clone(), 1),
                BufferArg::from_raw_parts(to.clone(), parts),
                count.div_ceil(parts) as u32,
                count as u32,
                square,
                last,
                LINE,
            );
        }
    };
    let parts = length.div_ceil(4 * LEAST).min(CUBES);
    if parts == 1 {
        return sum(values, output, length, 1, [true, true]);
    }
    let partial = launcher.client.empty(parts * size_of::<f32>());
    sum(values, &partial, length, parts, [true, false]);
    sum(&partial, output, parts, 1, [false, true]);
}
