//! Weighted sums of maps of one size, whose factors come from weights that are learnt.

use cubecl::ir::ElemType;
use cubecl::prelude::*;
use cubecl::server::Handle;

use super::activation::positive;
use super::norm::Pixels;
use super::reduce::{Grid, line_sums, total};
use super::{Launcher, THREADS, cubes, threads, width};
use crate::WeightNorm;

/// What the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Fuse {
    /// Two or three.
    maps: usize,
    norm: WeightNorm,
    /// Whether every channel has weights of its own.
    by_channel: bool,
}

/// Weights `[maps, channels or 1]` on the device.
pub struct Weights {
    pub values: Handle,
    pub float: ElemType,
    pub strides: [usize; 2],
    pub by_channel: bool,
    pub norm: WeightNorm,
}

impl Weights {
    fn fuse(&self, maps: usize) -> Fuse {
        Fuse { maps, norm: self.norm, by_channel: self.by_channel }
    }

    fn reach(&self, maps: usize, channels: usize) -> usize {
        let last = if self.by_channel { channels - 1 } else { 0 };
        (maps - 1) * self.strides[0] + last * self.strides[1] + 1
    }
}

/// The weight of a map, for the channels of a vector.
#[cube]
fn weight<W: Float, N: Size>(
    weights: &[W],
    strides: (u32, u32),
    vector: u32,
    #[comptime] map: u32,
    #[comptime] fuse: Fuse,
) -> Vector<f32, N> {
    let (map_stride, channel_stride) = strides;
    let mut result = Vector::<f32, N>::empty();
    #[unroll]
    for i in 0..N::value() {
        let mut at = map * map_stride;
        if comptime!(fuse.by_channel) {
            at += (vector * N::value() as u32 + i as u32) * channel_stride;
        }
        result.insert(i, f32::cast_from(weights[at as usize]));
    }
    result
}

/// The numerators of the factors of three maps, and what they are divided by; of two the third is zero.
#[cube]
fn shares<W: Float, N: Size>(
    weights: &[W],
    strides: (u32, u32),
    epsilon: f32,
    vector: u32,
    #[comptime] fuse: Fuse,
) -> (Vector<f32, N>, Vector<f32, N>, Vector<f32, N>, Vector<f32, N>) {
    let mut a = weight::<W, N>(weights, strides, vector, 0u32, fuse);
    let mut b = weight::<W, N>(weights, strides, vector, 1u32, fuse);
    let mut c = Vector::<f32, N>::new(0.0);
    if comptime!(fuse.maps > 2) {
        c = weight::<W, N>(weights, strides, vector, 2u32, fuse);
    }
    if comptime!(fuse.norm == WeightNorm::Softmax) {
        let mut largest = max(a, b);
        if comptime!(fuse.maps > 2) {
            largest = max(largest, c);
            c = (c - largest).exp();
        }
        a = (a - largest).exp();
        b = (b - largest).exp();
    } else {
        a = positive::<N>(a);
        b = positive::<N>(b);
        c = positive::<N>(c);
    }
    let sum = a + b + c + Vector::<f32, N>::new(epsilon);
    (a, b, c, sum)
}

#[cube(launch_unchecked)]
fn fuse_kernel<F: Float, W: Float, N: Size>(
    first: &[Vector<F, N>],
    second: &[Vector<F, N>],
    third: &[Vector<F, N>],
    weights: &[W],
    output: &mut [Vector<F, N>],
    map_stride: u32,
    channel_stride: u32,
    epsilon: f32,
    vectors: u32,
    count: u32,
    #[comptime] fuse: Fuse,
    #[define(F)] _float: ElemType,
    #[define(W)] _weight: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at >= count as usize {
        terminate!();
    }
    let vector = at as u32 % vectors;
    let (a, b, c, sum) = shares::<W, N>(weights, (map_stride, channel_stride), epsilon, vector, fuse);
    let mut value = Vector::<f32, N>::cast_from(first[at]) * (a / sum);
    value += Vector::<f32, N>::cast_from(second[at]) * (b / sum);
    if comptime!(fuse.maps > 2) {
        value += Vector::<f32, N>::cast_from(third[at]) * (c / sum);
    }
    output[at] = Vector::cast_from(value);
}

/// `Σ factors · maps`.
///
/// # Shapes
/// - `maps`, two or three, `output`: `[pixels, channels]`
pub fn sum(launcher: &Launcher, maps: &[Handle], weights: &Weights, output: &Handle, pixels: Pixels) {
    let Pixels { count: rows, channels } = pixels;
    let width = width(&[channels]);
    let count = rows * channels / width;
    let (cubes, dim) = threads(count);
    // SAFETY: the buffers have these lengths, and threads beyond `count` stop
    unsafe {
        let map = |i: usize| BufferArg::from_raw_parts(maps[i.min(maps.len() - 1)].clone(), rows * channels);
        fuse_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            map(0),
            map(1),
            map(2),
            BufferArg::from_raw_parts(weights.values.clone(), weights.reach(maps.len(), channels)),
            BufferArg::from_raw_parts(output.clone(), rows * channels),
            weights.strides[0] as u32,
            weights.strides[1] as u32,
            weights.norm.epsilon(),
            (channels / width) as u32,
            count as u32,
            weights.fuse(maps.len()),
            launcher.float,
            weights.float,
        );
    }
}

#[cube(launch_unchecked)]
fn fuse_gradient_kernel<F: Float, W: Float, N: Size>(
    gradient: &[Vector<F, N>],
    first: &[Vector<F, N>],
    second: &[Vector<F, N>],
    third: &[Vector<F, N>],
    weights: &[W],
    by_first: &mut [Vector<F, N>],
    by_second: &mut [Vector<F, N>],
    by_third: &mut [Vector<F, N>],
    sums: &mut [Vector<f32, N>],
    map_stride: u32,
    channel_stride: u32,
    epsilon: f32,
    pixels: u32,
    vectors: u32,
    groups: u32,
    parts: u32,
    count: u32,
    #[comptime] fuse: Fuse,
    #[comptime] grid: Grid,
    #[define(F)] _float: ElemType,
    #[define(W)] _weight: ElemType,
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
    let start = part * share;
    let end = min(start + share, pixels);
    let mut of_first = Vector::<f32, N>::new(0.0);
    let mut of_second = Vector::<f32, N>::new(0.0);
    let mut of_third = Vector::<f32, N>::new(0.0);
    if vector < vectors {
        let (a, b, c, sum) = shares::<W, N>(weights, (map_stride, channel_stride), epsilon, vector, fuse);
        let (a, b, c) = (a / sum, b / sum, c / sum);
        for pixel in range_stepped(start + line, end, grid.lines) {
            let at = (pixel * vectors + vector) as usize;
            let value = Vector::<f32, N>::cast_from(gradient[at]);
            of_first += value * Vector::<f32, N>::cast_from(first[at]);
            of_second += value * Vector::<f32, N>::cast_from(second[at]);
            by_first[at] = Vector::cast_from(value * a);
            by_second[at] = Vector::cast_from(value * b);
            if comptime!(fuse.maps > 2) {
                of_third += value * Vector::<f32, N>::cast_from(third[at]);
                by_third[at] = Vector::cast_from(value * c);
            }
        }
    }
    let mut shared = line_sums::<N>(grid);
    let maps = comptime!(fuse.maps as u32);
    let of_first = total::<N>(of_first, &mut shared, grid);
    let of_second = total::<N>(of_second, &mut shared, grid);
    if line == 0 && vector < vectors {
        sums[(part * maps * vectors + vector) as usize] = of_first;
        sums[((part * maps + 1) * vectors + vector) as usize] = of_second;
    }
    if comptime!(fuse.maps > 2) {
        let of_third = total::<N>(of_third, &mut shared, grid);
        if line == 0 && vector < vectors {
            sums[((part * maps + 2) * vectors + vector) as usize] = of_third;
        }
    }
}

/// A lane's sum, or that of all channels in every lane.
#[cube]
fn of_all_channels<N: Size>(sum: Vector<f32, N>, #[comptime] fuse: Fuse) -> Vector<f32, N> {
    let mut result = sum;
    if comptime!(!fuse.by_channel) {
        let mut number = 0.0f32;
        #[unroll]
        for i in 0..N::value() {
            number += sum.extract(i);
        }
        result = Vector::<f32, N>::new(number);
    }
    result
}

/// The derivatives by a map's weights.
#[cube]
fn store<W: Float, N: Size>(
    output: &mut [W],
    derivative: Vector<f32, N>,
    share: Vector<f32, N>,
    vector: u32,
    vectors: u32,
    #[comptime] map: u32,
    #[comptime] fuse: Fuse,
) {
    #[unroll]
    for i in 0..N::value() {
        let mut value = derivative.extract(i);
        if comptime!(fuse.norm == WeightNorm::Relu) {
            // a weight that counts as zero is not to blame
            value = select(share.extract(i) > 0.0, value, 0.0f32);
        }
        if comptime!(fuse.by_channel) {
            let channels = vectors * N::value() as u32;
            output[(map * channels + vector * N::value() as u32 + i as u32) as usize] = W::cast_from(value);
        } else if comptime!(i == 0) {
            output[map as usize] = W::cast_from(value);
        }
    }
}

#[cube(launch_unchecked)]
fn weights_gradient_kernel<W: Float, N: Size>(
    sums: &[Vector<f32, N>],
    weights: &[W],
    output: &mut [W],
    map_stride: u32,
    channel_stride: u32,
    epsilon: f32,
    vectors: u32,
    parts: u32,
    #[comptime] fuse: Fuse,
    #[comptime] grid: Grid,
    #[define(W)] _weight: ElemType,
) {
    let maps = comptime!(fuse.maps as u32);
    let mut first = Vector::<f32, N>::new(0.0);
    let mut second = Vector::<f32, N>::new(0.0);
    let mut third = Vector::<f32, N>::new(0.0);
    let vector = CUBE_POS as u32 * grid.lanes + UNIT_POS % grid.lanes;
    // With one weight a map, the only lane goes through the vectors of all channels.
    let mut each = parts;
    if comptime!(!fuse.by_channel) {
        each = parts * vectors;
    }
    if vector < vectors {
        for at in range_stepped(UNIT_POS / grid.lanes, each, grid.lines) {
            let mut place = at * maps * vectors + vector;
            if comptime!(!fuse.by_channel) {
                place = (at / vectors) * maps * vectors + at % vectors;
            }
            first += sums[place as usize];
            second += sums[(place + vectors) as usize];
            if comptime!(fuse.maps > 2) {
                third += sums[(place + 2 * vectors) as usize];
            }
        }
    }
    let mut shared = line_sums::<N>(grid);
    let first = of_all_channels::<N>(total::<N>(first, &mut shared, grid), fuse);
    let second = of_all_channels::<N>(total::<N>(second, &mut shared, grid), fuse);
    let third = of_all_channels::<N>(total::<N>(third, &mut shared, grid), fuse);
    if UNIT_POS < grid.lanes && vector < vectors {
        let (a, b, c, sum) = shares::<W, N>(weights, (map_stride, channel_stride), epsilon, vector, fuse);
        // Differences of sums, not of one sum and the mean of all, which may be nearly equal.
        let epsilon = Vector::<f32, N>::new(epsilon);
        let square = sum * sum;
        let mut by_first = (epsilon * first + b * (first - second) + c * (first - third)) / square;
        let mut by_second = (epsilon * second + a * (second - first) + c * (second - third)) / square;
        let mut by_third = (epsilon * third + a * (third - first) + b * (third - second)) / square;
        if comptime!(fuse.norm == WeightNorm::Softmax) {
            by_first *= a;
            by_second *= b;
            by_third *= c;
        }
        store::<W, N>(output, by_first, a, vector, vectors, 0u32, fuse);
        store::<W, N>(output, by_second, b, vector, vectors, 1u32, fuse);
        if comptime!(fuse.maps > 2) {
            store::<W, N>(output, by_third, c, vector, vectors, 2u32, fuse);
        }
    }
}

/// Gradients by the maps and by the weights.
///
/// # Shapes
/// - `gradient`, `maps`, two or three, and what they become: `[pixels, channels]`
/// - the weights' gradient: `[maps, channels or 1]`, of their type
pub fn gradients(
    launcher: &Launcher,
    gradient: &Handle,
    maps: &[Handle],
    weights: &Weights,
    (by_maps, by_weights): (&[Handle], &Handle),
    pixels: Pixels,
) {
    let Pixels { count: rows, channels } = pixels;
    let width = width(&[channels]);
    let vectors = channels / width;
    let (grid, parts) = Grid::over(rows, vectors);
    let sums = launcher.client.empty(parts * maps.len() * channels * size_of::<f32>());
    let fuse = weights.fuse(maps.len());
    let [map_stride, channel_stride] = weights.strides.map(|stride| stride as u32);
    // SAFETY: the buffers have these lengths, and what is beyond the counts stops
    unsafe {
        let buffer = |handle: &Handle, length: usize| BufferArg::from_raw_parts(handle.clone(), length);
        let of = |maps: &[Handle], i: usize| buffer(&maps[i.min(maps.len() - 1)], rows * channels);
        let values = || buffer(&weights.values, weights.reach(maps.len(), channels));
        fuse_gradient_kernel::launch_unchecked(
            &launcher.client,
            grid.cubes(parts, vectors),
            grid.dim(),
            width,
            buffer(gradient, rows * channels),
            of(maps, 0),
            of(maps, 1),
            of(maps, 2),
            values(),
            of(by_maps, 0),
            of(by_maps, 1),
            of(by_maps, 2),
            buffer(&sums, parts * maps.len() * channels),
            map_stride,
            channel_stride,
            weights.norm.epsilon(),
            rows as u32,
            vectors as u32,
            grid.groups(vectors) as u32,
            parts as u32,
            (parts * grid.groups(vectors)) as u32,
            fuse,
            grid,
            launcher.float,
            weights.float,
        );
        let lanes = if weights.by_channel { 32 } else { 1 };
        let grid = Grid { lanes, lines: THREADS / lanes };
        let count = if weights.by_channel { grid.groups(vectors) } else { 1 };
        weights_gradient_kernel::launch_unchecked(
            &launcher.client,
            cubes(count),
            grid.dim(),
            width,
            buffer(&sums, parts * maps.len() * channels),
            values(),
            buffer(by_weights, maps.len() * if weights.by_channel { channels } else { 1 }),
            map_stride,
            channel_stride,
            weights.norm.epsilon(),
            vectors as u32,
            parts as u32,
            fuse,
            grid,
            weights.float,
        );
    }
}
