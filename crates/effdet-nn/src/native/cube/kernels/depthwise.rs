//! Depthwise convolution with bias and activation.

use cubecl::prelude::*;
use cubecl::server::Handle;

use super::activation::activated;
use super::{Launcher, place, threads, width};
use crate::Activation;

/// What a depthwise convolution is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Rows and columns of the window.
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub biased: bool,
    pub activation: Activation,
}

impl Filter {
    /// Outputs next to each other that a thread computes: they share the inputs it reads.
    fn run(self) -> usize {
        if self.stride == 1 && self.dilation == 1 { 4 } else { 2 }
    }
}

/// Sizes of a window's input and output: `[height, width]`, and zeros above and left of the input.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub batch: usize,
    pub channels: usize,
    pub input: [usize; 2],
    pub output: [usize; 2],
    pub pad: [usize; 2],
}

#[cube(launch_unchecked)]
fn depthwise_kernel<F: Float, N: Size>(
    input: &[Vector<F, N>],
    weight: &[Vector<f32, N>],
    bias: &[Vector<f32, N>],
    output: &mut [Vector<F, N>],
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    pad_top: u32,
    pad_left: u32,
    vectors: u32,
    count: u32,
    #[comptime] filter: Filter,
    #[define(F)] _float: cubecl::ir::ElemType,
) {
    let kernel = comptime!(filter.kernel);
    let run = comptime!(filter.run());
    let stride = comptime!(filter.stride);
    let dilation = comptime!(filter.dilation);
    // inputs of a row that a thread's outputs need
    let reach = comptime!((run - 1) * stride + (kernel - 1) * dilation + 1);
    let at = ABSOLUTE_POS as u32;
    if at >= count {
        terminate!();
    }
    let runs = out_width.div_ceil(run as u32);
    let (picture, y, group, vector) = place(at, out_height, runs, vectors);
    let first = group * run as u32;

    let mut sums = Array::<Vector<f32, N>>::new(run);
    let mut start = Vector::<f32, N>::new(0.0);
    if comptime!(filter.biased) {
        start = bias[vector as usize];
    }
    #[unroll]
    for i in 0..run {
        sums[i] = start;
    }
    let mut line = Array::<Vector<f32, N>>::new(reach);
    #[unroll]
    for ky in 0..kernel {
        // wraps around where it is above the map
        let row = y * stride as u32 + (ky * dilation) as u32 - pad_top;
        if row < in_height {
            let row_start = (picture * in_height + row) * in_width;
            #[unroll]
            for i in 0..reach {
                let column = first * stride as u32 + i as u32 - pad_left;
                let mut value = Vector::<f32, N>::new(0.0);
                if column < in_width {
                    value = Vector::cast_from(input[((row_start + column) * vectors + vector) as usize]);
                }
                line[i] = value;
            }
            #[unroll]
            for kx in 0..kernel {
                let tap = weight[((ky * kernel + kx) as u32 * vectors + vector) as usize];
                #[unroll]
                for i in 0..run {
                    sums[i] += tap * line[i * stride + kx * dilation];
                }
            }
        }
    }
    let out_start = (picture * out_height + y) * out_width + first;
    #[unroll]
    for i in 0..run {
        if first + (i as u32) < out_width {
            let value = activated::<N>(sums[i], filter.activation);
            output[((out_start + i as u32) * vectors + vector) as usize] = Vector::cast_from(value);
        }
    }
}

/// `activation(conv(input) + bias)`.
///
/// # Shapes
/// - `input`, `output`: `[batch, height, width, channels]`
/// - `weight`: `[kernel · kernel, channels]`, `bias`: `[channels]` if the filter has one, of single precision
pub fn depthwise(
    launcher: &Launcher,
    [input, weight, output]: [Handle; 3],
    bias: Option<Handle>,
    sizes: &Sizes,
    filter: Filter,
) {
    let Sizes { batch, channels, input: [in_height, in_width], output: [out_height, out_width], pad } =
        *sizes;
    let width = width(&[channels]);
    let vectors = channels / width;
    let count = batch * out_height * out_width.div_ceil(filter.run()) * vectors;
    let (cubes, dim) = threads(count);
    // SAFETY: the buffers have these lengths, and threads beyond `count` stop
    unsafe {
        let buffer = |handle: Handle, length: usize| BufferArg::from_raw_parts(handle, length);
        let bias = bias.unwrap_or_else(|| weight.clone());
        depthwise_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            buffer(input, batch * in_height * in_width * channels),
            buffer(weight, filter.kernel * filter.kernel * channels),
            buffer(bias, channels),
            buffer(output, batch * out_height * out_width * channels),
            in_height as u32,
            in_width as u32,
            out_height as u32,
            out_width as u32,
            pad[0] as u32,
            pad[1] as u32,
            vectors as u32,
            count as u32,
            filter,
            launcher.float,
        );
    }
}
