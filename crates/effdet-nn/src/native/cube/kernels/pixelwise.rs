//! What is computed pixel by pixel: weighted sums of resized maps, copies, the first map.

use cubecl::prelude::*;
use cubecl::server::Handle;

use super::activation::activated;
use super::resize::nearest;
use super::{Launcher, place, threads, width};
use crate::Activation;

/// What a weighted sum is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sum {
    /// Maps, up to four.
    pub terms: usize,
    /// Whether factors are computed, one for each picture and channel of the only map.
    pub gated: bool,
    pub biased: bool,
    pub activation: Activation,
}

/// Most maps of one sum.
pub const TERMS: usize = 4;

/// One number for each of four maps, or axes.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct Four {
    a: u32,
    b: u32,
    c: u32,
    d: u32,
}

fn four([a, b, c, d]: [usize; 4]) -> FourLaunch {
    FourLaunch::new(a as u32, b as u32, c as u32, d as u32)
}

/// Input pixels per output pixel of four maps along an axis.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct Scales {
    a: f32,
    b: f32,
    c: f32,
    d: f32,
}

/// Divided here: kernels of WGSL may be off in the last bit, and equal sizes must give exactly one.
fn scales(from: [usize; 4], to: usize) -> ScalesLaunch {
    let [a, b, c, d] = from.map(|from| from as f32 / to as f32);
    ScalesLaunch::new(a, b, c, d)
}

/// A map of a sum, resized to the nearest pixel.
#[derive(Clone)]
pub struct Term {
    pub map: Handle,
    pub size: [usize; 2],
}

#[cube]
fn term<F: Float, N: Size>(
    map: &[Vector<F, N>],
    factors: &[Vector<f32, N>],
    place: (u32, u32, u32, u32),
    size: (u32, u32, f32, f32),
    vectors: u32,
    #[comptime] index: u32,
) -> Vector<f32, N> {
    let (picture, y, x, vector) = place;
    let (from_height, from_width, row_scale, column_scale) = size;
    let row = nearest(y, from_height, row_scale);
    let column = nearest(x, from_width, column_scale);
    let at = ((picture * from_height + row) * from_width + column) * vectors + vector;
    Vector::<f32, N>::cast_from(map[at as usize]) * factors[(index * vectors + vector) as usize]
}

#[cube(launch_unchecked)]
fn sum_kernel<F: Float, N: Size>(
    first: &[Vector<F, N>],
    second: &[Vector<F, N>],
    third: &[Vector<F, N>],
    fourth: &[Vector<F, N>],
    factors: &[Vector<f32, N>],
    gate: &[Vector<F, N>],
    bias: &[Vector<f32, N>],
    output: &mut [Vector<F, N>],
    heights: Four,
    widths: Four,
    row_scales: Scales,
    column_scales: Scales,
    height: u32,
    width: u32,
    vectors: u32,
    count: u32,
    #[comptime] sum: Sum,
    #[define(F)] _float: cubecl::ir::ElemType,
) {
    let at = ABSOLUTE_POS as u32;
    if at >= count {
        terminate!();
    }
    let place = place(at, height, width, vectors);
    let (picture, _, _, vector) = place;
    let mut value = Vector::<f32, N>::new(0.0);
    if comptime!(sum.biased) {
        value = bias[vector as usize];
    }
    if comptime!(sum.gated) {
        let factor = Vector::<f32, N>::cast_from(gate[(picture * vectors + vector) as usize]);
        value += Vector::<f32, N>::cast_from(first[at as usize]) * factor;
    } else {
        value += term::<F, N>(
            first,
            factors,
            place,
            (heights.a, widths.a, row_scales.a, column_scales.a),
            vectors,
            0u32,
        );
    }
    if comptime!(sum.terms > 1) {
        value += term::<F, N>(
            second,
            factors,
            place,
            (heights.b, widths.b, row_scales.b, column_scales.b),
            vectors,
            1u32,
        );
    }
    if comptime!(sum.terms > 2) {
        value += term::<F, N>(
            third,
            factors,
            place,
            (heights.c, widths.c, row_scales.c, column_scales.c),
            vectors,
            2u32,
        );
    }
    if comptime!(sum.terms > 3) {
        value += term::<F, N>(
            fourth,
            factors,
            place,
            (heights.d, widths.d, row_scales.d, column_scales.d),
            vectors,
            3u32,
        );
    }
    output[at as usize] = Vector::cast_from(activated::<N>(value, sum.activation));
}

/// Batch and channels of maps, and height and width of the output.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub batch: usize,
    pub channels: usize,
    pub size: [usize; 2],
}

impl Target {
    pub(super) fn pixels(&self) -> usize {
        self.batch * self.size[0] * self.size[1]
    }
}

/// Constants of a sum: factors `[terms, channels]` and bias `[channels]`, of single precision; computed factors
/// `[batch, channels]`.
pub struct Factors {
    pub constant: Handle,
    pub computed: Option<Handle>,
    pub bias: Option<Handle>,
}

/// `activation(Σ factors · resized term + bias)`.
///
/// # Shapes
/// - terms: `[batch, height, width, channels]`, each of its own size
/// - `output`: `[batch, height, width, channels]`
pub fn sum(
    launcher: &Launcher,
    terms: &[Term],
    factors: Factors,
    output: Handle,
    target: &Target,
    activation: Activation,
) {
    let Target { batch, channels, size: [height, columns] } = *target;
    let width = width(&[channels]);
    let vectors = channels / width;
    let count = target.pixels() * vectors;
    let (cubes, dim) = threads(count);
    let sum = Sum {
        terms: terms.len(),
        gated: factors.computed.is_some(),
        biased: factors.bias.is_some(),
        activation,
    };
    let of = |i: usize| &terms[i.min(terms.len() - 1)];
    let heights = [0, 1, 2, 3].map(|i| of(i).size[0]);
    let widths = [0, 1, 2, 3].map(|i| of(i).size[1]);
    // SAFETY: the buffers have these lengths, and threads beyond `count` stop
    unsafe {
        let map = |i: usize| {
            let Term { map, size } = of(i).clone();
            BufferArg::from_raw_parts(map, batch * size[0] * size[1] * channels)
        };
        let gate = factors.computed.unwrap_or_else(|| terms[0].map.clone());
        let bias = factors.bias.unwrap_or_else(|| factors.constant.clone());
        sum_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            map(0),
            map(1),
            map(2),
            map(3),
            BufferArg::from_raw_parts(factors.constant, terms.len() * channels),
            BufferArg::from_raw_parts(gate, batch * channels),
            BufferArg::from_raw_parts(bias, channels),
            BufferArg::from_raw_parts(output, target.pixels() * channels),
            four(heights),
            four(widths),
            scales(heights, height),
            scales(widths, columns),
            height as u32,
            columns as u32,
            vectors as u32,
            count as u32,
            sum,
            launcher.float,
        );
    }
}

#[cube(launch_unchecked)]
fn copy_kernel<F: Float, N: Size>(
    input: &[Vector<F, N>],
    output: &mut [Vector<F, N>],
    in_vectors: u32,
    in_first: u32,
    out_vectors: u32,
    out_first: u32,
    vectors: u32,
    count: u32,
    #[define(F)] _float: cubecl::ir::ElemType,
) {
    let at = ABSOLUTE_POS as u32;
    if at >= count {
        terminate!();
    }
    let vector = at % vectors;
    let pixel = at / vectors;
    output[(pixel * out_vectors + out_first + vector) as usize] =
        input[(pixel * in_vectors + in_first + vector) as usize];
}

/// Channels of a map, from the first of them.
#[derive(Clone)]
pub struct Channels {
    pub map: Handle,
    pub of: usize,
    pub first: usize,
}

/// Copies `channels` channels of every pixel.
pub fn copy_channels(launcher: &Launcher, from: Channels, to: Channels, pixels: usize, channels: usize) {
    let width = width(&[from.of, from.first, to.of, to.first, channels]);
    let count = pixels * channels / width;
    let (cubes, dim) = threads(count);
    // SAFETY: the buffers have these lengths, and threads beyond `count` stop
    unsafe {
        copy_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            BufferArg::from_raw_parts(from.map, pixels * from.of),
            BufferArg::from_raw_parts(to.map, pixels * to.of),
            (from.of / width) as u32,
            (from.first / width) as u32,
            (to.of / width) as u32,
            (to.first / width) as u32,
            (channels / width) as u32,
            count as u32,
            launcher.float,
        );
    }
}

#[cube(launch_unchecked)]
fn import_kernel<F: Float, I: Float>(
    input: &[I],
    output: &mut [F],
    strides: Four,
    height: u32,
    width: u32,
    channels: u32,
    padded: u32,
    count: u32,
    #[define(F)] _float: cubecl::ir::ElemType,
    #[define(I)] _given: cubecl::ir::ElemType,
) {
    let at = ABSOLUTE_POS as u32;
    if at >= count {
        terminate!();
    }
    let (picture, y, x, channel) = place(at, height, width, padded);
    let mut value = F::from_int(0);
    if channel < channels {
        let place = picture * strides.a + channel * strides.b + y * strides.c + x * strides.d;
        value = F::cast_from(input[place as usize]);
    }
    output[at as usize] = value;
}

/// A map as it is given.
pub struct Given {
    pub map: Handle,
    pub float: cubecl::ir::ElemType,
    /// Of batch, channels, rows and columns.
    pub strides: [usize; 4],
    pub channels: usize,
}

/// The first map: channels last, filled up with zeros to the target's.
pub fn import(launcher: &Launcher, given: Given, output: Handle, target: &Target) {
    let Target { batch, channels, size: [height, width] } = *target;
    let count = target.pixels() * channels;
    let (cubes, dim) = threads(count);
    let [pictures, planes, rows, columns] = given.strides;
    let reach = (batch - 1) * pictures + (given.channels - 1) * planes + (height - 1) * rows;
    // SAFETY: the buffers have these lengths, and threads beyond `count` stop
    unsafe {
        import_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            BufferArg::from_raw_parts(given.map, reach + (width - 1) * columns + 1),
            BufferArg::from_raw_parts(output, count),
            four(given.strides),
            height as u32,
            width as u32,
            given.channels as u32,
            channels as u32,
            count as u32,
            launcher.float,
            given.float,
        );
    }
}

#[cube(launch_unchecked)]
fn scale_kernel<F: Float, W: Float, N: Size>(
    map: &[Vector<F, N>],
    factors: &[W],
    output: &mut [Vector<F, N>],
    scale: f32,
    pixels: u32,
    vectors: u32,
    picture_stride: u32,
    channel_stride: u32,
    count: u32,
    #[comptime] spread: bool,
    #[define(F)] _float: cubecl::ir::ElemType,
    #[define(W)] _given: cubecl::ir::ElemType,
) {
    let at = ABSOLUTE_POS as u32;
    if at >= count {
        terminate!();
    }
    let channel = at % vectors * N::value() as u32;
    let picture = at / vectors / pixels;
    let mut value = Vector::<f32, N>::new(scale);
    if comptime!(!spread) {
        value *= Vector::<f32, N>::cast_from(map[at as usize]);
    }
    let start = picture * picture_stride + channel * channel_stride;
    let mut factor = Vector::<f32, N>::empty();
    #[unroll]
    for i in 0..N::value() {
        factor.insert(i, f32::cast_from(factors[(start + i as u32 * channel_stride) as usize]));
    }
    output[at as usize] = Vector::cast_from(value * factor);
}

/// Where the factors of maps are: that of a picture's channel is at `picture · strides[0] + channel · strides[1]`.
pub struct FactorsOf {
    pub values: Handle,
    pub float: cubecl::ir::ElemType,
    pub strides: [usize; 2],
}

/// `scale · factors · map`, or `scale · factors` where there is no map.
///
/// # Shapes
/// - `map`, `output`: `[batch, height, width, channels]`
pub fn scale(
    launcher: &Launcher,
    map: Option<&Handle>,
    factors: &FactorsOf,
    scale: f32,
    output: &Handle,
    target: &Target,
) {
    let Target { batch, channels, size } = *target;
    let width = width(&[channels]);
    let (cubes, dim) = threads(target.pixels() * channels / width);
    let length = target.pixels() * channels;
    let [by_picture, by_channel] = factors.strides;
    let reach = (batch - 1) * by_picture + (channels - 1) * by_channel + 1;
    // SAFETY: the buffers have these lengths, and threads beyond the count stop
    unsafe {
        scale_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            BufferArg::from_raw_parts(map.unwrap_or(output).clone(), length),
            BufferArg::from_raw_parts(factors.values.clone(), reach),
            BufferArg::from_raw_parts(output.clone(), length),
            scale,
            (size[0] * size[1]) as u32,
            (channels / width) as u32,
            by_picture as u32,
            by_channel as u32,
            (length / width) as u32,
            map.is_none(),
            launcher.float,
            factors.float,
        );
    }
}
