//! The focal loss of logits that are all negative with its derivative, and the few numbers of a map that are named.

use cubecl::ir::ElemType;
use cubecl::prelude::*;
use cubecl::server::Handle;

use super::reduce::{Grid, line_sums, sum_rows, total};
use super::{Launcher, SINGLE, THREADS, cubes, threads, width};

/// `scale · pᵞ · (ln(1 + eˣ) - half · x)` with `p = σ(x)`.
#[derive(Clone, Copy, Debug)]
pub struct Focal {
    pub gamma: f32,
    /// Half the label smoothing.
    pub half: f32,
    pub scale: f32,
}

/// Vectors that a thread takes.
const EACH: usize = 8;
const GRID: Grid = Grid { lanes: 1, lines: THREADS };

/// `ln(1 + t)` for `t` in `[0, 1]`: twice the area tangent of `t / (2 + t)`.
#[cube]
fn ln_1p<N: Size>(t: Vector<f32, N>) -> Vector<f32, N> {
    let s = t / (t + Vector::<f32, N>::new(2.0));
    let square = s * s;
    let mut p = Vector::<f32, N>::new(1.0 / 15.0);
    p = p * square + Vector::<f32, N>::new(1.0 / 13.0);
    p = p * square + Vector::<f32, N>::new(1.0 / 11.0);
    p = p * square + Vector::<f32, N>::new(1.0 / 9.0);
    p = p * square + Vector::<f32, N>::new(1.0 / 7.0);
    p = p * square + Vector::<f32, N>::new(0.2);
    p = p * square + Vector::<f32, N>::new(1.0 / 3.0);
    p = p * square + Vector::<f32, N>::new(1.0);
    (s + s) * p
}

#[cube(launch_unchecked)]
fn negatives_kernel<F: Float, N: Size>(
    logits: &[Vector<F, N>],
    gradient: &mut [Vector<F, N>],
    sums: &mut [f32],
    gamma: f32,
    half: f32,
    scale: f32,
    count: u32,
    cubes: u32,
    #[comptime] each: u32,
    #[comptime] grid: Grid,
    #[define(F)] _float: ElemType,
) {
    let cube = CUBE_POS as u32;
    if cube >= cubes {
        terminate!();
    }
    let zero = Vector::<f32, N>::new(0.0);
    let one = Vector::<f32, N>::new(1.0);
    let gammas = Vector::<f32, N>::new(gamma);
    let halves = Vector::<f32, N>::new(half);
    let scales = Vector::<f32, N>::new(scale);
    let mut sum = zero;
    for turn in 0..each {
        let at = (cube * each + turn) * THREADS + UNIT_POS;
        if at < count {
            let x = Vector::<f32, N>::cast_from(logits[at as usize]);
            let rest = ln_1p::<N>((zero - max(x, zero - x)).exp());
            let log_p = min(x, zero) - rest;
            let entropy = max(x, zero) + rest - halves * x;
            let p = log_p.exp();
            let factor = (log_p * gammas).exp() * scales;
            sum += factor * entropy;
            let slope = factor * (gammas * (one - p) * entropy + p - halves);
            gradient[at as usize] = Vector::cast_from(slope);
        }
    }
    let mut own = 0.0f32;
    #[unroll]
    for i in 0..N::value() {
        own += sum.extract(i);
    }
    let mut shared = line_sums::<Const<1>>(grid);
    let all = total::<Const<1>>(Vector::<f32, Const<1>>::new(own), &mut shared, grid);
    if UNIT_POS == 0 {
        sums[cube as usize] = all.extract(0usize);
    }
}

/// The sum of the losses, `[1]` of single precision; each one's derivative is written.
pub fn negatives(
    launcher: &Launcher,
    logits: &Handle,
    gradient: &Handle,
    sum: &Handle,
    length: usize,
    focal: Focal,
) {
    let width = width(&[length]);
    let count = length / width;
    let parts = count.div_ceil(EACH * THREADS as usize);
    let partial = launcher.client.empty(parts * size_of::<f32>());
    // SAFETY: the buffers have these lengths, and cubes and threads beyond the counts do nothing
    unsafe {
        negatives_kernel::launch_unchecked(
            &launcher.client,
            cubes(parts),
            CubeDim::new_1d(THREADS),
            width,
            BufferArg::from_raw_parts(logits.clone(), length),
            BufferArg::from_raw_parts(gradient.clone(), length),
            BufferArg::from_raw_parts(partial.clone(), parts),
            focal.gamma,
            focal.half,
            focal.scale,
            count as u32,
            parts as u32,
            EACH as u32,
            GRID,
            launcher.float,
        );
    }
    sum_rows(launcher, partial, sum.clone(), [parts, 1], SINGLE);
}

#[cube(launch_unchecked)]
fn take_kernel<F: Float>(
    map: &[F],
    places: &[i32],
    values: &mut [F],
    count: u32,
    #[define(F)] _float: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at >= count as usize {
        terminate!();
    }
    values[at] = map[places[at] as usize];
}

/// The numbers at these places.
pub fn take(launcher: &Launcher, map: (&Handle, usize), places: (&Handle, usize), values: &Handle) {
    let (cubes, dim) = threads(places.1);
    // SAFETY: the buffers have these lengths, places are within the map, and threads beyond them stop
    unsafe {
        take_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            BufferArg::from_raw_parts(map.0.clone(), map.1),
            BufferArg::from_raw_parts(places.0.clone(), places.1),
            BufferArg::from_raw_parts(values.clone(), places.1),
            places.1 as u32,
            launcher.float,
        );
    }
}

#[cube(launch_unchecked)]
fn add_at_kernel<F: Float>(
    map: &mut [F],
    places: &[i32],
    values: &[F],
    count: u32,
    #[define(F)] _float: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at >= count as usize {
        terminate!();
    }
    let place = places[at] as usize;
    map[place] += values[at];
}

/// Adds to the numbers at these places, all different.
pub fn add_at(launcher: &Launcher, map: (&Handle, usize), places: (&Handle, usize), values: &Handle) {
    let (cubes, dim) = threads(places.1);
    // SAFETY: the buffers have these lengths, places are within the map, and threads beyond them stop
    unsafe {
        add_at_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            BufferArg::from_raw_parts(map.0.clone(), map.1),
            BufferArg::from_raw_parts(places.0.clone(), places.1),
            BufferArg::from_raw_parts(values.clone(), places.1),
            places.1 as u32,
            launcher.float,
        );
    }
}
