//! Batch norm with its activation, forwards and backwards.

use cubecl::ir::ElemType;
use cubecl::prelude::*;
use cubecl::server::Handle;

use super::activation::{activated, slope};
use super::reduce::{Grid, PART_GRID, add_parts, line_sums, sum_pairs, total};
use super::{Launcher, cubes, threads, width};
use crate::Activation;

/// A map as pixels by channels.
#[derive(Clone, Copy, Debug)]
pub struct Pixels {
    pub count: usize,
    pub channels: usize,
}

/// Mean and biased variance, or weight and bias: one number per channel, of single precision.
pub type Pair = [Handle; 2];

#[cube(launch_unchecked)]
fn statistics_kernel<F: Float, N: Size>(
    input: &[Vector<F, N>],
    sums: &mut [Vector<f32, N>],
    pixels: u32,
    vectors: u32,
    groups: u32,
    parts: u32,
    count: u32,
    #[comptime] grid: Grid,
    #[define(F)] _float: ElemType,
) {
    let position = CUBE_POS as u32;
    if position >= count {
        terminate!();
    }
    let lane = UNIT_POS % grid.lanes;
    let line = UNIT_POS / grid.lanes;
    let vector = (position % groups) * grid.lanes + lane;
    let part = position / groups;
    let share = pixels.div_ceil(parts);
    let first = part * share;
    let end = min(first + share, pixels);
    let mut sum = Vector::<f32, N>::new(0.0);
    let mut squares = Vector::<f32, N>::new(0.0);
    if vector < vectors {
        // Squares about the channel's first value, so that no digits are lost where the mean is far from zero.
        let pivot = Vector::<f32, N>::cast_from(input[vector as usize]);
        for pixel in range_stepped(first + line, end, grid.lines) {
            let off = Vector::<f32, N>::cast_from(input[(pixel * vectors + vector) as usize]) - pivot;
            sum += off;
            squares += off * off;
        }
    }
    let mut shared = line_sums::<N>(grid);
    let sum = total::<N>(sum, &mut shared, grid);
    let squares = total::<N>(squares, &mut shared, grid);
    if line == 0 && vector < vectors {
        sums[((part * 2) * vectors + vector) as usize] = sum;
        sums[((part * 2 + 1) * vectors + vector) as usize] = squares;
    }
}

#[cube(launch_unchecked)]
fn moments_kernel<F: Float>(
    input: &[F],
    sums: &[f32],
    running_mean: &[f32],
    running_variance: &[f32],
    mean: &mut [f32],
    variance: &mut [f32],
    blended_mean: &mut [f32],
    blended_variance: &mut [f32],
    pixels: f32,
    momentum: f32,
    unbias: f32,
    channels: u32,
    parts: u32,
    #[comptime] grid: Grid,
    #[define(F)] _float: ElemType,
) {
    let channel = CUBE_POS as u32 * grid.lanes + UNIT_POS % grid.lanes;
    let (sum, squares) = add_parts(sums, channel, channels, parts, grid);
    if UNIT_POS < grid.lanes && channel < channels {
        let channel = channel as usize;
        let off = sum / pixels;
        let own_mean = f32::cast_from(input[channel]) + off;
        let own_variance = max(squares / pixels - off * off, 0.0f32);
        mean[channel] = own_mean;
        variance[channel] = own_variance;
        let keep = 1.0f32 - momentum;
        blended_mean[channel] = running_mean[channel] * keep + own_mean * momentum;
        blended_variance[channel] = running_variance[channel] * keep + own_variance * unbias * momentum;
    }
}

/// Running statistics: `to` becomes `(1 - momentum) · from + momentum · batch`, the batch's variance times `unbias`.
pub struct Blend {
    pub from: Pair,
    pub to: Pair,
    pub momentum: f32,
    pub unbias: f32,
}

/// Mean and biased variance of every channel, and the running ones after it.
///
/// # Shapes
/// - `input`: `[pixels, channels]`
/// - `to`: `[channels]` each
pub fn statistics(launcher: &Launcher, input: &Handle, to: Pair, blend: Blend, pixels: Pixels) {
    let Pixels { count: rows, channels } = pixels;
    let width = width(&[channels]);
    let (grid, parts) = Grid::over(rows, channels / width);
    let sums = launcher.client.empty(parts * 2 * channels * size_of::<f32>());
    let [mean, variance] = to;
    // SAFETY: the buffers have these lengths, and what is beyond the counts stops
    unsafe {
        let buffer = |handle: &Handle, length: usize| BufferArg::from_raw_parts(handle.clone(), length);
        statistics_kernel::launch_unchecked(
            &launcher.client,
            grid.cubes(parts, channels / width),
            grid.dim(),
            width,
            buffer(input, rows * channels),
            buffer(&sums, parts * 2 * channels),
            rows as u32,
            (channels / width) as u32,
            grid.groups(channels / width) as u32,
            parts as u32,
            (parts * grid.groups(channels / width)) as u32,
            grid,
            launcher.float,
        );
        moments_kernel::launch_unchecked(
            &launcher.client,
            cubes(PART_GRID.groups(channels)),
            PART_GRID.dim(),
            buffer(input, rows * channels),
            buffer(&sums, parts * 2 * channels),
            buffer(&blend.from[0], channels),
            buffer(&blend.from[1], channels),
            buffer(&mean, channels),
            buffer(&variance, channels),
            buffer(&blend.to[0], channels),
            buffer(&blend.to[1], channels),
            rows as f32,
            blend.momentum,
            blend.unbias,
            channels as u32,
            parts as u32,
            PART_GRID,
            launcher.float,
        );
    }
}

/// The reciprocal of the deviation.
#[cube]
fn inverse<N: Size>(variance: Vector<f32, N>, epsilon: f32) -> Vector<f32, N> {
    Vector::<f32, N>::new(1.0) / (variance + Vector::<f32, N>::new(epsilon)).sqrt()
}

#[cube(launch_unchecked)]
fn normalize_kernel<F: Float, N: Size>(
    input: &[Vector<F, N>],
    mean: &[Vector<f32, N>],
    variance: &[Vector<f32, N>],
    weight: &[Vector<f32, N>],
    bias: &[Vector<f32, N>],
    output: &mut [Vector<F, N>],
    epsilon: f32,
    vectors: u32,
    count: u32,
    #[comptime] activation: Activation,
    #[define(F)] _float: ElemType,
) {
    let at = ABSOLUTE_POS as u32;
    if at >= count {
        terminate!();
    }
    let vector = (at % vectors) as usize;
    let scale = inverse::<N>(variance[vector], epsilon) * weight[vector];
    let value = Vector::<f32, N>::cast_from(input[at as usize]) - mean[vector];
    let value = activated::<N>(value * scale + bias[vector], activation);
    output[at as usize] = Vector::cast_from(value);
}

/// `activation((input - mean) / √(variance + epsilon) · weight + bias)`.
pub fn normalize(
    launcher: &Launcher,
    [input, output]: [&Handle; 2],
    [mean, variance]: Pair,
    [weight, bias]: Pair,
    epsilon: f32,
    activation: Activation,
    pixels: Pixels,
) {
    let Pixels { count: rows, channels } = pixels;
    let width = width(&[channels]);
    let count = rows * channels / width;
    let (cubes, dim) = threads(count);
    // SAFETY: the buffers have these lengths, and threads beyond `count` stop
    unsafe {
        let buffer = |handle: Handle, length: usize| BufferArg::from_raw_parts(handle, length);
        normalize_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            buffer(input.clone(), rows * channels),
            buffer(mean, channels),
            buffer(variance, channels),
            buffer(weight, channels),
            buffer(bias, channels),
            buffer(output.clone(), rows * channels),
            epsilon,
            (channels / width) as u32,
            count as u32,
            activation,
            launcher.float,
        );
    }
}

/// The normalised value, and the gradient by what the activation is applied to.
#[cube]
fn before_activation<F: Float, N: Size>(
    input: Vector<F, N>,
    gradient: Vector<F, N>,
    mean: Vector<f32, N>,
    inverse: Vector<f32, N>,
    weight: Vector<f32, N>,
    bias: Vector<f32, N>,
    #[comptime] activation: Activation,
) -> (Vector<f32, N>, Vector<f32, N>) {
    let normal = (Vector::<f32, N>::cast_from(input) - mean) * inverse;
    let gradient = Vector::<f32, N>::cast_from(gradient);
    (normal, gradient * slope::<N>(normal * weight + bias, activation))
}

#[cube(launch_unchecked)]
fn gradient_sums_kernel<F: Float, N: Size>(
    input: &[Vector<F, N>],
    gradient: &[Vector<F, N>],
    mean: &[Vector<f32, N>],
    variance: &[Vector<f32, N>],
    weight: &[Vector<f32, N>],
    bias: &[Vector<f32, N>],
    sums: &mut [Vector<f32, N>],
    epsilon: f32,
    pixels: u32,
    vectors: u32,
    groups: u32,
    parts: u32,
    count: u32,
    #[comptime] activation: Activation,
    #[comptime] grid: Grid,
    #[define(F)] _float: ElemType,
) {
    let position = CUBE_POS as u32;
    if position >= count {
        terminate!();
    }
    let lane = UNIT_POS % grid.lanes;
    let line = UNIT_POS / grid.lanes;
    let vector = (position % groups) * grid.lanes + lane;
    let part = position / groups;
    let share = pixels.div_ceil(parts);
    let first = part * share;
    let end = min(first + share, pixels);
    let mut by_bias = Vector::<f32, N>::new(0.0);
    let mut by_weight = Vector::<f32, N>::new(0.0);
    if vector < vectors {
        let channel = vector as usize;
        let inverse = inverse::<N>(variance[channel], epsilon);
        let (mean, weight, bias) = (mean[channel], weight[channel], bias[channel]);
        for pixel in range_stepped(first + line, end, grid.lines) {
            let at = (pixel * vectors + vector) as usize;
            let (normal, gradient) =
                before_activation::<F, N>(input[at], gradient[at], mean, inverse, weight, bias, activation);
            by_bias += gradient;
            by_weight += gradient * normal;
        }
    }
    let mut shared = line_sums::<N>(grid);
    let by_weight = total::<N>(by_weight, &mut shared, grid);
    let by_bias = total::<N>(by_bias, &mut shared, grid);
    if line == 0 && vector < vectors {
        sums[((part * 2) * vectors + vector) as usize] = by_weight;
        sums[((part * 2 + 1) * vectors + vector) as usize] = by_bias;
    }
}

#[cube(launch_unchecked)]
fn input_gradient_kernel<F: Float, N: Size>(
    input: &[Vector<F, N>],
    gradient: &[Vector<F, N>],
    mean: &[Vector<f32, N>],
    variance: &[Vector<f32, N>],
    weight: &[Vector<f32, N>],
    bias: &[Vector<f32, N>],
    by_weight: &[Vector<f32, N>],
    by_bias: &[Vector<f32, N>],
    output: &mut [Vector<F, N>],
    epsilon: f32,
    share: f32,
    vectors: u32,
    count: u32,
    #[comptime] activation: Activation,
    #[comptime] fixed: bool,
    #[define(F)] _float: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at >= count as usize {
        terminate!();
    }
    let channel = at % vectors as usize;
    let inverse = inverse::<N>(variance[channel], epsilon);
    let (normal, gradient) = before_activation::<F, N>(
        input[at],
        gradient[at],
        mean[channel],
        inverse,
        weight[channel],
        bias[channel],
        activation,
    );
    let mut value = gradient;
    if comptime!(!fixed) {
        let share = Vector::<f32, N>::new(share);
        value -= (by_bias[channel] + normal * by_weight[channel]) * share;
    }
    output[at] = Vector::cast_from(value * inverse * weight[channel]);
}

/// Gradients by input, weight and bias. With `fixed` statistics these are constants.
#[allow(clippy::too_many_arguments, reason = "a kernel")]
pub fn gradients(
    launcher: &Launcher,
    [input, gradient, output]: [&Handle; 3],
    [mean, variance]: Pair,
    [weight, bias]: Pair,
    [by_weight, by_bias]: Pair,
    (epsilon, fixed): (f32, bool),
    activation: Activation,
    pixels: Pixels,
) {
    let Pixels { count: rows, channels } = pixels;
    let width = width(&[channels]);
    let vectors = channels / width;
    let (grid, parts) = Grid::over(rows, vectors);
    let sums = launcher.client.empty(parts * 2 * channels * size_of::<f32>());
    // SAFETY: the buffers have these lengths, and what is beyond the counts stops
    unsafe {
        let buffer = |handle: &Handle, length: usize| BufferArg::from_raw_parts(handle.clone(), length);
        gradient_sums_kernel::launch_unchecked(
            &launcher.client,
            grid.cubes(parts, vectors),
            grid.dim(),
            width,
            buffer(input, rows * channels),
            buffer(gradient, rows * channels),
            buffer(&mean, channels),
            buffer(&variance, channels),
            buffer(&weight, channels),
            buffer(&bias, channels),
            buffer(&sums, parts * 2 * channels),
            epsilon,
            rows as u32,
            vectors as u32,
            grid.groups(vectors) as u32,
            parts as u32,
            (parts * grid.groups(vectors)) as u32,
            activation,
            grid,
            launcher.float,
        );
        sum_pairs(launcher, &sums, [&by_weight, &by_bias], parts, channels);
        let count = rows * vectors;
        let (cubes, dim) = threads(count);
        input_gradient_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            buffer(input, rows * channels),
            buffer(gradient, rows * channels),
            buffer(&mean, channels),
            buffer(&variance, channels),
            buffer(&weight, channels),
            buffer(&bias, channels),
            buffer(&by_weight, channels),
            buffer(&by_bias, channels),
            buffer(output, rows * channels),
            epsilon,
            1.0 / rows as f32,
            vectors as u32,
            count as u32,
            activation,
            fixed,
            launcher.float,
        );
    }
}

#[cube(launch_unchecked)]
fn activate_kernel<F: Float, N: Size>(
    input: &[Vector<F, N>],
    output: &mut [Vector<F, N>],
    count: u32,
    #[comptime] activation: Activation,
    #[define(F)] _float: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at >= count as usize {
        terminate!();
    }
    let value = activated::<N>(Vector::<f32, N>::cast_from(input[at]), activation);
    output[at] = Vector::cast_from(value);
}

/// `activation(input)`.
pub fn activate(launcher: &Launcher, [input, output]: [&Handle; 2], activation: Activation, pixels: Pixels) {
    let length = pixels.count * pixels.channels;
    let width = width(&[length]);
    let count = length / width;
    let (cubes, dim) = threads(count);
    // SAFETY: the buffers have these lengths, and threads beyond `count` stop
    unsafe {
        activate_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            BufferArg::from_raw_parts(input.clone(), length),
            BufferArg::from_raw_parts(output.clone(), length),
            count as u32,
            activation,
            launcher.float,
        );
    }
}

#[cube(launch_unchecked)]
fn activation_gradient_kernel<F: Float, N: Size>(
    input: &[Vector<F, N>],
    gradient: &[Vector<F, N>],
    output: &mut [Vector<F, N>],
    count: u32,
    #[comptime] activation: Activation,
    #[define(F)] _float: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at >= count as usize {
        terminate!();
    }
    let slope = slope::<N>(Vector::<f32, N>::cast_from(input[at]), activation);
    output[at] = Vector::cast_from(Vector::<f32, N>::cast_from(gradient[at]) * slope);
}

/// The gradient by an activation's input.
pub fn activation_gradient(
    launcher: &Launcher,
    [input, gradient, output]: [&Handle; 3],
    activation: Activation,
    pixels: Pixels,
) {
    let length = pixels.count * pixels.channels;
    let width = width(&[length]);
    let count = length / width;
    let (cubes, dim) = threads(count);
    // SAFETY: the buffers have these lengths, and threads beyond `count` stop
    unsafe {
        activation_gradient_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            BufferArg::from_raw_parts(input.clone(), length),
            BufferArg::from_raw_parts(gradient.clone(), length),
            BufferArg::from_raw_parts(output.clone(), length),
            count as u32,
            activation,
            launcher.float,
        );
    }
}
