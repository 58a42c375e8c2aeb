//! Sums over pixels, and the small matrix products of squeeze-and-excite.

use cubecl::ir::ElemType;
use cubecl::prelude::*;
use cubecl::server::Handle;

use super::activation::activated;
use super::{Launcher, SINGLE, THREADS, cubes, width};
use crate::Activation;

/// The threads of a cube that adds up pixels: lanes take channels, lines take pixels. Both are powers of two, for [`total`]
/// halves the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grid {
    pub lanes: u32,
    pub lines: u32,
}

/// Pixels that a thread adds up at least.
const LEAST: usize = 16;
/// Parts that pixels are divided into at most: cubes that fill a device.
const PARTS: usize = 512;

impl Grid {
    /// As many lanes as there are vectors of channels, up to a plane's, and the parts that so many pixels are divided
    /// into, each a cube of its own.
    pub fn over(pixels: usize, vectors: usize) -> (Self, usize) {
        let lanes = vectors.next_power_of_two().clamp(1, 32) as u32;
        let grid = Self { lanes, lines: THREADS / lanes };
        let parts = pixels.div_ceil(LEAST * grid.lines as usize);
        (grid, parts.clamp(1, (PARTS / grid.groups(vectors)).max(16)))
    }

    /// Cubes next to each other in the channels.
    pub fn groups(self, vectors: usize) -> usize {
        vectors.div_ceil(self.lanes as usize)
    }

    pub fn cubes(self, parts: usize, vectors: usize) -> CubeCount {
        cubes(parts * self.groups(vectors))
    }

    pub fn dim(self) -> CubeDim {
        CubeDim::new_1d(THREADS)
    }
}

/// Shared memory for [`total`]: a vector for every thread.
#[cube]
pub(super) fn line_sums<N: Size>(#[comptime] grid: Grid) -> Shared<[Vector<f32, N>]> {
    Shared::<[Vector<f32, N>]>::new_slice(comptime!((grid.lanes * grid.lines) as usize))
}

/// The sum of a cube's lines, in the first of them. Each turn adds the second half of the lines to the first.
#[cube]
pub(super) fn total<N: Size>(
    own: Vector<f32, N>,
    sums: &mut Shared<[Vector<f32, N>]>,
    #[comptime] grid: Grid,
) -> Vector<f32, N> {
    sync_cube();
    sums[UNIT_POS as usize] = own;
    sync_cube();
    #[unroll]
    for turn in 0..comptime!(grid.lines.ilog2()) {
        let half = comptime!((grid.lines >> (turn + 1)) * grid.lanes);
        if UNIT_POS < half {
            let other = sums[(UNIT_POS + half) as usize];
            sums[UNIT_POS as usize] += other;
        }
        sync_cube();
    }
    sums[(UNIT_POS % grid.lanes) as usize]
}

/// Numbers of single precision that [`mean`] keeps partial sums in.
pub fn partial_sums([batch, pixels, channels]: [usize; 3]) -> usize {
    let (_, parts) = Grid::over(pixels, channels / width(&[channels]));
    batch * parts * channels
}

#[cube(launch_unchecked)]
fn sum_pixels_kernel<F: Float, O: Float, N: Size>(
    input: &[Vector<F, N>],
    other: &[Vector<F, N>],
    output: &mut [Vector<O, N>],
    pixels: u32,
    vectors: u32,
    groups: u32,
    parts: u32,
    count: u32,
    scale: f32,
    #[comptime] grid: Grid,
    #[comptime] product: bool,
    #[define(F)] _float: ElemType,
    #[define(O)] _out: ElemType,
) {
    let position = CUBE_POS as u32;
    if position >= count {
        terminate!();
    }
    let lane = UNIT_POS % grid.lanes;
    let line = UNIT_POS / grid.lanes;
    let vector = (position % groups) * grid.lanes + lane;
    let rest = position / groups;
    let part = rest % parts;
    let picture = rest / parts;
    let share = pixels.div_ceil(parts);
    let first = part * share;
    let end = min(first + share, pixels);
    let mut sum = Vector::<f32, N>::new(0.0);
    if vector < vectors {
        for pixel in range_stepped(first + line, end, grid.lines) {
            let place = (picture * pixels + pixel) * vectors + vector;
            let mut value = Vector::<f32, N>::cast_from(input[place as usize]);
            if comptime!(product) {
                value *= Vector::<f32, N>::cast_from(other[place as usize]);
            }
            sum += value;
        }
    }
    let mut sums = line_sums::<N>(grid);
    let sum = total::<N>(sum, &mut sums, grid);
    if line == 0 && vector < vectors {
        let scaled = sum * Vector::<f32, N>::new(scale);
        output[((picture * parts + part) * vectors + vector) as usize] = Vector::cast_from(scaled);
    }
}

/// The mean of every channel.
///
/// # Shapes
/// - `input`: `[batch, pixels, channels]`
/// - `partial`: [`partial_sums`] numbers of single precision
/// - `output`: `[batch, channels]`
pub fn mean(
    launcher: &Launcher,
    input: Handle,
    partial: Handle,
    output: Handle,
    [batch, pixels, channels]: [usize; 3],
) {
    let scale = 1.0 / pixels as f32;
    let (_, parts) = Grid::over(pixels, channels / width(&[channels]));
    if parts == 1 {
        let types = [launcher.float, launcher.float];
        return add_up(launcher, [input, output], [batch, pixels, channels], 1, scale, types);
    }
    let types = [launcher.float, SINGLE];
    add_up(launcher, [input, partial.clone()], [batch, pixels, channels], parts, 1.0, types);
    let types = [SINGLE, launcher.float];
    add_up(launcher, [partial, output], [batch, parts, channels], 1, scale, types);
}

/// The sum of every channel over all pixels, of single precision.
///
/// # Shapes
/// - `input`: `[pixels, channels]` of the launcher's type
/// - `output`: `[channels]`
pub fn sum_pixels(launcher: &Launcher, input: &Handle, output: &Handle, pixels: usize, channels: usize) {
    sums(launcher, [input, output], None, [1, pixels, channels], SINGLE);
}

/// The sum of rows of single precision, in any type.
///
/// # Shapes
/// - `rows`: `[count, length]`
/// - `output`: `[length]`
pub fn sum_rows(
    launcher: &Launcher,
    rows: Handle,
    output: Handle,
    [count, length]: [usize; 2],
    to: ElemType,
) {
    add_up(launcher, [rows, output], [1, count, length], 1, 1.0, [SINGLE, to]);
}

/// The sum of every row of single precision, in any type.
///
/// # Shapes
/// - `rows`: `[count, length]`
/// - `output`: `[count]`
pub fn sum_parts(
    launcher: &Launcher,
    rows: Handle,
    output: Handle,
    [count, length]: [usize; 2],
    to: ElemType,
) {
    add_up(launcher, [rows, output], [count, length, 1], 1, 1.0, [SINGLE, to]);
}

/// The sum of every channel of every picture, of the product of two maps.
///
/// # Shapes
/// - `maps`: `[batch, pixels, channels]`
/// - `output`: `[batch, channels]`
pub fn sum_products(
    launcher: &Launcher,
    maps: [&Handle; 2],
    output: &Handle,
    sizes: [usize; 3],
    to: ElemType,
) {
    sums(launcher, [maps[0], output], Some(maps[1]), sizes, to);
}

fn sums(
    launcher: &Launcher,
    [input, output]: [&Handle; 2],
    other: Option<&Handle>,
    [batch, pixels, channels]: [usize; 3],
    to: ElemType,
) {
    let (_, parts) = Grid::over(pixels, channels / width(&[channels]));
    let sizes = [batch, pixels, channels];
    let (input, other) = (input.clone(), other.cloned());
    if parts == 1 {
        let types = [launcher.float, to];
        return add_up_products(launcher, [input, output.clone()], other, sizes, (1, 1.0), types);
    }
    let partial = launcher.client.empty(batch * parts * channels * size_of::<f32>());
    let types = [launcher.float, SINGLE];
    add_up_products(launcher, [input, partial.clone()], other, sizes, (parts, 1.0), types);
    add_up(launcher, [partial, output.clone()], [batch, parts, channels], 1, 1.0, [SINGLE, to]);
}

fn add_up(
    launcher: &Launcher,
    buffers: [Handle; 2],
    sizes: [usize; 3],
    parts: usize,
    scale: f32,
    types: [ElemType; 2],
) {
    add_up_products(launcher, buffers, None, sizes, (parts, scale), types);
}

fn add_up_products(
    launcher: &Launcher,
    [input, output]: [Handle; 2],
    other: Option<Handle>,
    [batch, pixels, channels]: [usize; 3],
    (parts, scale): (usize, f32),
    [from, to]: [ElemType; 2],
) {
    let width = width(&[channels]);
    let vectors = channels / width;
    let (grid, _) = Grid::over(pixels, vectors);
    let count = batch * parts * grid.groups(vectors);
    // SAFETY: the buffers have these lengths, and cubes beyond `count` stop
    unsafe {
        sum_pixels_kernel::launch_unchecked(
            &launcher.client,
            cubes(count),
            grid.dim(),
            width,
            BufferArg::from_raw_parts(input.clone(), batch * pixels * channels),
            BufferArg::from_raw_parts(other.clone().unwrap_or(input), batch * pixels * channels),
            BufferArg::from_raw_parts(output, batch * parts * channels),
            pixels as u32,
            vectors as u32,
            grid.groups(vectors) as u32,
            parts as u32,
            count as u32,
            scale,
            grid,
            other.is_some(),
            from,
            to,
        );
    }
}

/// Threads of a cube that adds up parts, or products along a depth: lanes take channels, lines take parts.
pub(super) const PART_GRID: Grid = Grid { lanes: 32, lines: THREADS / 32 };

/// Both sums of the lane's channel over all parts, in the first line.
///
/// # Shapes
/// - `sums`: `[parts, 2, channels]`
#[cube]
pub(super) fn add_parts(
    sums: &[f32],
    channel: u32,
    channels: u32,
    parts: u32,
    #[comptime] grid: Grid,
) -> (f32, f32) {
    let mut first = Vector::<f32, Const<1>>::new(0.0);
    let mut second = Vector::<f32, Const<1>>::new(0.0);
    if channel < channels {
        for part in range_stepped(UNIT_POS / grid.lanes, parts, grid.lines) {
            let place = part * 2 * channels + channel;
            first += Vector::<f32, Const<1>>::new(sums[place as usize]);
            second += Vector::<f32, Const<1>>::new(sums[(place + channels) as usize]);
        }
    }
    let mut shared = line_sums::<Const<1>>(grid);
    let first = total::<Const<1>>(first, &mut shared, grid);
    let second = total::<Const<1>>(second, &mut shared, grid);
    (first.extract(0usize), second.extract(0usize))
}

#[cube(launch_unchecked)]
fn sum_pairs_kernel(
    sums: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    parts: u32,
    channels: u32,
    #[comptime] grid: Grid,
) {
    let channel = CUBE_POS as u32 * grid.lanes + UNIT_POS % grid.lanes;
    let (a, b) = add_parts(sums, channel, channels, parts, grid);
    if UNIT_POS < grid.lanes && channel < channels {
        first[channel as usize] = a;
        second[channel as usize] = b;
    }
}

/// Adds up two sums of parts.
///
/// # Shapes
/// - `sums`: `[parts, 2, channels]`
/// - `to`: `[channels]` each
pub(super) fn sum_pairs(launcher: &Launcher, sums: &Handle, to: [&Handle; 2], parts: usize, channels: usize) {
    // SAFETY: the buffers have these lengths, and lanes beyond the channels write nothing
    unsafe {
        sum_pairs_kernel::launch_unchecked(
            &launcher.client,
            cubes(PART_GRID.groups(channels)),
            PART_GRID.dim(),
            BufferArg::from_raw_parts(sums.clone(), parts * 2 * channels),
            BufferArg::from_raw_parts(to[0].clone(), channels),
            BufferArg::from_raw_parts(to[1].clone(), channels),
            parts as u32,
            channels as u32,
            PART_GRID,
        );
    }
}

#[cube(launch_unchecked)]
fn few_rows_kernel<F: Float>(
    input: &[F],
    weight: &[F],
    bias: &[f32],
    output: &mut [F],
    depth: u32,
    channels: u32,
    padded_channels: u32,
    groups: u32,
    count: u32,
    #[comptime] activation: Activation,
    #[comptime] grid: Grid,
    #[define(F)] _float: ElemType,
) {
    let position = CUBE_POS as u32;
    if position >= count {
        terminate!();
    }
    let line = UNIT_POS / grid.lanes;
    let channel = (position % groups) * grid.lanes + UNIT_POS % grid.lanes;
    let row = position / groups;
    let mut sum = Vector::<f32, Const<1>>::new(0.0);
    if channel < channels {
        for k in range_stepped(line, depth, grid.lines) {
            let factor = f32::cast_from(weight[(k * padded_channels + channel) as usize]);
            let product = f32::cast_from(input[(row * depth + k) as usize]) * factor;
            sum += Vector::<f32, Const<1>>::new(product);
        }
    }
    let mut sums = line_sums::<Const<1>>(grid);
    let sum = total::<Const<1>>(sum, &mut sums, grid);
    if line == 0 && channel < channels {
        let value = sum + Vector::<f32, Const<1>>::new(bias[channel as usize]);
        let value = activated::<Const<1>>(value, activation);
        output[(row * channels + channel) as usize] = F::cast_from(value.extract(0usize));
    }
}

/// `activation(input · weight + bias)` for few rows.
///
/// # Shapes
/// - `input`: `[rows, depth]`
/// - `weight`: `[depth, padded_channels]` or more rows, `bias`: `[padded_channels]`
/// - `output`: `[rows, channels]`
pub fn few_rows(
    launcher: &Launcher,
    [input, weight, bias, output]: [Handle; 4],
    [rows, depth, channels, padded_channels]: [usize; 4],
    activation: Activation,
) {
    let groups = channels.div_ceil(PART_GRID.lanes as usize);
    let count = rows * groups;
    // SAFETY: the buffers have these lengths, and cubes beyond `count` stop
    unsafe {
        few_rows_kernel::launch_unchecked(
            &launcher.client,
            cubes(count),
            PART_GRID.dim(),
            BufferArg::from_raw_parts(input, rows * depth),
            BufferArg::from_raw_parts(weight, depth * padded_channels),
            BufferArg::from_raw_parts(bias, padded_channels),
            BufferArg::from_raw_parts(output, rows * channels),
            depth as u32,
            channels as u32,
            padded_channels as u32,
            groups as u32,
            count as u32,
            activation,
            PART_GRID,
            launcher.float,
        );
    }
}
