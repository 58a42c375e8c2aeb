//! Windows of a dense convolution laid out as rows of a matrix, and added up again.

use cubecl::ir::ElemType;
use cubecl::prelude::*;
use cubecl::server::Handle;

use super::depthwise::Sizes;
use super::depthwise_gradient::Window;
use super::{Launcher, place, threads, width};

#[cube(launch_unchecked)]
fn unfold_kernel<F: Float, N: Size>(
    input: &[Vector<F, N>],
    output: &mut [Vector<F, N>],
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    pad_top: u32,
    pad_left: u32,
    vectors: u32,
    count: u32,
    #[comptime] window: Window,
    #[define(F)] _float: ElemType,
) {
    let at = ABSOLUTE_POS as u32;
    if at >= count {
        terminate!();
    }
    let kernel = comptime!(window.kernel as u32);
    let taps = comptime!((window.kernel * window.kernel) as u32);
    let (picture, y, x, rest) = place(at, out_height, out_width, taps * vectors);
    let tap = rest / vectors;
    let vector = rest % vectors;
    // both wrap around where they are before the map
    let row =
        y * comptime!(window.stride as u32) + (tap / kernel) * comptime!(window.dilation as u32) - pad_top;
    let column =
        x * comptime!(window.stride as u32) + (tap % kernel) * comptime!(window.dilation as u32) - pad_left;
    let mut value = Vector::<F, N>::new(F::from_int(0));
    if row < in_height && column < in_width {
        value = input[(((picture * in_height + row) * in_width + column) * vectors + vector) as usize];
    }
    output[at as usize] = value;
}

/// The inputs of every output.
///
/// # Shapes
/// - `input`: `[batch, in_height, in_width, channels]`
/// - `output`: `[batch, out_height, out_width, kernel · kernel, channels]`
pub fn unfold(launcher: &Launcher, [input, output]: [&Handle; 2], sizes: &Sizes, window: Window) {
    let Sizes { batch, channels, input: in_size, output: out, pad } = *sizes;
    let width = width(&[channels]);
    let vectors = channels / width;
    let taps = window.kernel * window.kernel;
    let count = batch * out[0] * out[1] * taps * vectors;
    let (cubes, dim) = threads(count);
    // SAFETY: the buffers have these lengths, and threads beyond `count` stop
    unsafe {
        unfold_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            BufferArg::from_raw_parts(input.clone(), batch * in_size[0] * in_size[1] * channels),
            BufferArg::from_raw_parts(output.clone(), count * width),
            in_size[0] as u32,
            in_size[1] as u32,
            out[0] as u32,
            out[1] as u32,
            pad[0] as u32,
            pad[1] as u32,
            vectors as u32,
            count as u32,
            window,
            launcher.float,
        );
    }
}

#[cube(launch_unchecked)]
fn fold_kernel<F: Float, N: Size>(
    windows: &[Vector<F, N>],
    output: &mut [Vector<F, N>],
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    pad_top: u32,
    pad_left: u32,
    vectors: u32,
    count: u32,
    #[comptime] window: Window,
    #[define(F)] _float: ElemType,
) {
    let at = ABSOLUTE_POS as u32;
    if at >= count {
        terminate!();
    }
    let kernel = comptime!(window.kernel);
    let stride = comptime!(window.stride as u32);
    let taps = comptime!((window.kernel * window.kernel) as u32);
    let (picture, y, x, vector) = place(at, in_height, in_width, vectors);
    let mut sum = Vector::<f32, N>::new(0.0);
    #[unroll]
    for ky in 0..kernel {
        // wraps around where the output would be above the map
        let row = y + pad_top - (ky * window.dilation) as u32;
        if row % stride == 0 && row / stride < out_height {
            let line = (picture * out_height + row / stride) * out_width;
            #[unroll]
            for kx in 0..kernel {
                let column = x + pad_left - (kx * window.dilation) as u32;
                if column % stride == 0 && column / stride < out_width {
                    let tap = comptime!((ky * kernel + kx) as u32);
                    let place = ((line + column / stride) * taps + tap) * vectors + vector;
                    sum += Vector::<f32, N>::cast_from(windows[place as usize]);
                }
            }
        }
    }
    output[at as usize] = Vector::cast_from(sum);
}

/// Adds up what the windows have of every input, the transpose of [`unfold`].
///
/// # Shapes
/// - `windows`: `[batch, out_height, out_width, kernel · kernel, channels]`
/// - `output`: `[batch, in_height, in_width, channels]`
pub fn fold(launcher: &Launcher, [windows, output]: [&Handle; 2], sizes: &Sizes, window: Window) {
    let Sizes { batch, channels, input: in_size, output: out, pad } = *sizes;
    let width = width(&[channels]);
    let vectors = channels / width;
    let taps = window.kernel * window.kernel;
    let count = batch * in_size[0] * in_size[1] * vectors;
    let (cubes, dim) = threads(count);
    // SAFETY: the buffers have these lengths, and threads beyond `count` stop
    unsafe {
        fold_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            BufferArg::from_raw_parts(windows.clone(), batch * out[0] * out[1] * taps * channels),
            BufferArg::from_raw_parts(output.clone(), batch * in_size[0] * in_size[1] * channels),
            in_size[0] as u32,
            in_size[1] as u32,
            out[0] as u32,
            out[1] as u32,
            pad[0] as u32,
            pad[1] as u32,
            vectors as u32,
            count as u32,
            window,
            launcher.float,
        );
    }
}
