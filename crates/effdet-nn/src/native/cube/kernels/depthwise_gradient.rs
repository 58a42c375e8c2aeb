//! Gradients of a depthwise convolution.

use cubecl::ir::ElemType;
use cubecl::prelude::*;
use cubecl::server::Handle;

use super::depthwise::Sizes;
use super::reduce::{Grid, line_sums, sum_rows, total};
use super::{Launcher, place, threads, width};

/// A depthwise convolution's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Rows and columns.
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
}

#[cube(launch_unchecked)]
fn input_gradient_kernel<F: Float, N: Size>(
    gradient: &[Vector<F, N>],
    weight: &[Vector<f32, N>],
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
                    let place = (line + column / stride) * vectors + vector;
                    let tap = weight[((ky * kernel + kx) as u32 * vectors + vector) as usize];
                    sum += tap * Vector::<f32, N>::cast_from(gradient[place as usize]);
                }
            }
        }
    }
    output[at as usize] = Vector::cast_from(sum);
}

/// The gradient by the input.
///
/// # Shapes
/// - `gradient`: `[batch, out_height, out_width, channels]`
/// - `weight`: `[kernel · kernel, channels]` of single precision
/// - `output`: `[batch, in_height, in_width, channels]`
pub fn input_gradient(
    launcher: &Launcher,
    [gradient, weight, output]: [&Handle; 3],
    sizes: &Sizes,
    window: Window,
) {
    let Sizes { batch, channels, input, output: out, pad } = *sizes;
    let width = width(&[channels]);
    let vectors = channels / width;
    let count = batch * input[0] * input[1] * vectors;
    let (cubes, dim) = threads(count);
    // SAFETY: the buffers have these lengths, and threads beyond `count` stop
    unsafe {
        let buffer = |handle: &Handle, length: usize| BufferArg::from_raw_parts(handle.clone(), length);
        input_gradient_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            buffer(gradient, batch * out[0] * out[1] * channels),
            buffer(weight, window.kernel * window.kernel * channels),
            buffer(output, batch * input[0] * input[1] * channels),
            input[0] as u32,
            input[1] as u32,
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
fn weight_gradient_kernel<F: Float, N: Size>(
    input: &[Vector<F, N>],
    gradient: &[Vector<F, N>],
    output: &mut [Vector<f32, N>],
    rows: u32,
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    pad_top: u32,
    pad_left: u32,
    vectors: u32,
    groups: u32,
    parts: u32,
    count: u32,
    #[comptime] window: Window,
    #[comptime] grid: Grid,
    #[define(F)] _float: ElemType,
) {
    let position = CUBE_POS as u32;
    if position >= count {
        terminate!();
    }
    let kernel = comptime!(window.kernel);
    let stride = comptime!(window.stride as u32);
    let lane = UNIT_POS % grid.lanes;
    let line = UNIT_POS / grid.lanes;
    let vector = (position % groups) * grid.lanes + lane;
    let part = position / groups;
    let mut sums = Array::<Vector<f32, N>>::new(comptime!(kernel * kernel));
    #[unroll]
    for tap in 0..comptime!(kernel * kernel) {
        sums[tap] = Vector::<f32, N>::new(0.0);
    }
    if vector < vectors {
        // the rows of all pictures, divided among all lines of all parts
        for row in range_stepped(part * grid.lines + line, rows, parts * grid.lines) {
            let y = row % out_height;
            let picture = row / out_height;
            for x in 0..out_width {
                let place = (row * out_width + x) * vectors + vector;
                let by_output = Vector::<f32, N>::cast_from(gradient[place as usize]);
                #[unroll]
                for ky in 0..kernel {
                    // both wrap around where they are before the map
                    let from = y * stride + (ky * window.dilation) as u32 - pad_top;
                    if from < in_height {
                        let start = (picture * in_height + from) * in_width;
                        #[unroll]
                        for kx in 0..kernel {
                            let column = x * stride + (kx * window.dilation) as u32 - pad_left;
                            if column < in_width {
                                let place = (start + column) * vectors + vector;
                                let value = Vector::<f32, N>::cast_from(input[place as usize]);
                                sums[ky * kernel + kx] += by_output * value;
                            }
                        }
                    }
                }
            }
        }
    }
    let mut shared = line_sums::<N>(grid);
    #[unroll]
    for tap in 0..comptime!(kernel * kernel) {
        let sum = total::<N>(sums[tap], &mut shared, grid);
        if line == 0 && vector < vectors {
            let place = (part * (comptime!(kernel * kernel) as u32) + tap as u32) * vectors + vector;
            output[place as usize] = sum;
        }
    }
}

/// The gradient by the weight, `[kernel · kernel, channels]` of any type.
///
/// # Shapes
/// - `input`: `[batch, in_height, in_width, channels]`
/// - `gradient`: `[batch, out_height, out_width, channels]`
pub fn weight_gradient(
    launcher: &Launcher,
    [input, gradient, output]: [&Handle; 3],
    sizes: &Sizes,
    window: Window,
    to: ElemType,
) {
    let Sizes { batch, channels, input: in_size, output: out, pad } = *sizes;
    let width = width(&[channels]);
    let vectors = channels / width;
    let taps = window.kernel * window.kernel;
    let rows = batch * out[0];
    let (grid, _) = Grid::over(rows, vectors);
    let groups = grid.groups(vectors);
    let parts = rows.div_ceil(grid.lines as usize).clamp(1, (512 / groups).max(16));
    let partial = launcher.client.empty(parts * taps * channels * size_of::<f32>());
    // SAFETY: the buffers have these lengths, and cubes beyond the count stop
    unsafe {
        let buffer = |handle: &Handle, length: usize| BufferArg::from_raw_parts(handle.clone(), length);
        weight_gradient_kernel::launch_unchecked(
            &launcher.client,
            grid.cubes(parts, vectors),
            grid.dim(),
            width,
            buffer(input, batch * in_size[0] * in_size[1] * channels),
            buffer(gradient, batch * out[0] * out[1] * channels),
            buffer(&partial, parts * taps * channels),
            rows as u32,
            in_size[0] as u32,
            in_size[1] as u32,
            out[0] as u32,
            out[1] as u32,
            pad[0] as u32,
            pad[1] as u32,
            vectors as u32,
            groups as u32,
            parts as u32,
            (parts * groups) as u32,
            window,
            grid,
            launcher.float,
        );
    }
    sum_rows(launcher, partial, output.clone(), [parts, taps * channels], to);
}
