//! Maps of another size.

use cubecl::prelude::*;
use cubecl::server::Handle;

use super::depthwise::Sizes;
use super::pixelwise::Target;
use super::{Launcher, place, threads, width};

#[cube(launch_unchecked)]
fn interpolate_kernel<F: Float, N: Size>(
    input: &[Vector<F, N>],
    rows: &[u32],
    row_weights: &[f32],
    columns: &[u32],
    column_weights: &[f32],
    output: &mut [Vector<F, N>],
    in_height: u32,
    in_width: u32,
    height: u32,
    width: u32,
    vectors: u32,
    count: u32,
    #[comptime] taps: u32,
    #[define(F)] _float: cubecl::ir::ElemType,
) {
    let at = ABSOLUTE_POS as u32;
    if at >= count {
        terminate!();
    }
    let (picture, y, x, vector) = place(at, height, width, vectors);
    let mut value = Vector::<f32, N>::new(0.0);
    for ky in 0..taps {
        let line = (picture * in_height + rows[(y * taps + ky) as usize]) * in_width;
        let mut sum = Vector::<f32, N>::new(0.0);
        for kx in 0..taps {
            let tap = (x * taps + kx) as usize;
            let place = (line + columns[tap]) * vectors + vector;
            let input = Vector::<f32, N>::cast_from(input[place as usize]);
            sum += input * Vector::<f32, N>::new(column_weights[tap]);
        }
        value += sum * Vector::<f32, N>::new(row_weights[(y * taps + ky) as usize]);
    }
    output[at as usize] = Vector::cast_from(value);
}

/// For each output of an axis `count` inputs and their weights, on the device.
#[derive(Clone)]
pub struct Taps {
    pub count: usize,
    pub places: Handle,
    pub weights: Handle,
}

/// Interpolates.
///
/// # Shapes
/// - `input`: `[batch, in_height, in_width, channels]`
/// - `output`: `[batch, height, width, channels]`
pub fn interpolate(
    launcher: &Launcher,
    input: Handle,
    in_size: [usize; 2],
    [rows, columns]: [Taps; 2],
    output: Handle,
    target: &Target,
) {
    let Target { batch, channels, size } = *target;
    let width = width(&[channels]);
    let vectors = channels / width;
    let count = target.pixels() * vectors;
    let (cubes, dim) = threads(count);
    // SAFETY: the buffers have these lengths, and threads beyond `count` stop
    unsafe {
        let buffer = |handle: Handle, length: usize| BufferArg::from_raw_parts(handle, length);
        interpolate_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            buffer(input, batch * in_size[0] * in_size[1] * channels),
            buffer(rows.places, size[0] * rows.count),
            buffer(rows.weights, size[0] * rows.count),
            buffer(columns.places, size[1] * columns.count),
            buffer(columns.weights, size[1] * columns.count),
            buffer(output, target.pixels() * channels),
            in_size[0] as u32,
            in_size[1] as u32,
            size[0] as u32,
            size[1] as u32,
            vectors as u32,
            count as u32,
            rows.count as u32,
            launcher.float,
        );
    }
}

/// The input pixel that the nearest neighbour of output `at` is, as PyTorch has it.
#[cube]
pub(super) fn nearest(at: u32, from: u32, scale: f32) -> u32 {
    min(u32::cast_from(f32::cast_from(at) * scale), from - 1)
}

#[cube(launch_unchecked)]
fn nearest_kernel<F: Float, N: Size>(
    input: &[Vector<F, N>],
    output: &mut [Vector<F, N>],
    in_height: u32,
    in_width: u32,
    height: u32,
    width: u32,
    row_scale: f32,
    column_scale: f32,
    vectors: u32,
    count: u32,
    #[define(F)] _float: cubecl::ir::ElemType,
) {
    let at = ABSOLUTE_POS as u32;
    if at >= count {
        terminate!();
    }
    let (picture, y, x, vector) = place(at, height, width, vectors);
    let line = picture * in_height + nearest(y, in_height, row_scale);
    let pixel = line * in_width + nearest(x, in_width, column_scale);
    output[at as usize] = input[(pixel * vectors + vector) as usize];
}

/// Outputs that may have input `at` for their nearest: a few more than do, so that rounding does not matter.
#[cube]
fn candidates(at: u32, from: u32, to: u32) -> (u32, u32) {
    let first = at * to / from;
    (first - min(first, 1u32), min((at + 1) * to / from + 2, to))
}

#[cube(launch_unchecked)]
fn nearest_gradient_kernel<F: Float, N: Size>(
    gradient: &[Vector<F, N>],
    output: &mut [Vector<F, N>],
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    row_scale: f32,
    column_scale: f32,
    vectors: u32,
    count: u32,
    #[define(F)] _float: cubecl::ir::ElemType,
) {
    let at = ABSOLUTE_POS as u32;
    if at >= count {
        terminate!();
    }
    let (picture, y, x, vector) = place(at, in_height, in_width, vectors);
    let (first_row, last_row) = candidates(y, in_height, out_height);
    let (first_column, last_column) = candidates(x, in_width, out_width);
    let mut sum = Vector::<f32, N>::new(0.0);
    for row in first_row..last_row {
        if nearest(row, in_height, row_scale) == y {
            let line = (picture * out_height + row) * out_width;
            for column in first_column..last_column {
                if nearest(column, in_width, column_scale) == x {
                    let place = (line + column) * vectors + vector;
                    sum += Vector::<f32, N>::cast_from(gradient[place as usize]);
                }
            }
        }
    }
    output[at as usize] = Vector::cast_from(sum);
}

/// The nearest pixels; no padding.
///
/// # Shapes
/// - `input`: `[batch, in_height, in_width, channels]`
/// - `output`: `[batch, out_height, out_width, channels]`
pub fn nearest_pixels(launcher: &Launcher, [input, output]: [&Handle; 2], sizes: &Sizes) {
    let Sizes { batch, channels, input: from, output: to, .. } = *sizes;
    let width = width(&[channels]);
    let count = batch * to[0] * to[1] * channels / width;
    let (cubes, dim) = threads(count);
    // SAFETY: the buffers have these lengths, and threads beyond `count` stop
    unsafe {
        nearest_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            BufferArg::from_raw_parts(input.clone(), batch * from[0] * from[1] * channels),
            BufferArg::from_raw_parts(output.clone(), count * width),
            from[0] as u32,
            from[1] as u32,
            to[0] as u32,
            to[1] as u32,
            from[0] as f32 / to[0] as f32,
            from[1] as f32 / to[1] as f32,
            (channels / width) as u32,
            count as u32,
            launcher.float,
        );
    }
}

/// Adds up the gradients of all that a pixel is the nearest of, the transpose of [`nearest_pixels`].
///
/// # Shapes
/// - `gradient`: `[batch, out_height, out_width, channels]`
/// - `output`: `[batch, in_height, in_width, channels]`
pub fn nearest_gradient(launcher: &Launcher, [gradient, output]: [&Handle; 2], sizes: &Sizes) {
    let Sizes { batch, channels, input: from, output: to, .. } = *sizes;
    let width = width(&[channels]);
    let count = batch * from[0] * from[1] * channels / width;
    let (cubes, dim) = threads(count);
    // SAFETY: the buffers have these lengths, and threads beyond `count` stop
    unsafe {
        nearest_gradient_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            BufferArg::from_raw_parts(gradient.clone(), batch * to[0] * to[1] * channels),
            BufferArg::from_raw_parts(output.clone(), count * width),
            from[0] as u32,
            from[1] as u32,
            to[0] as u32,
            to[1] as u32,
            from[0] as f32 / to[0] as f32,
            from[1] as f32 / to[1] as f32,
            (channels / width) as u32,
            count as u32,
            launcher.float,
        );
    }
}
