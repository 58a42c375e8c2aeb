//! Pools and their gradients.

use cubecl::prelude::*;
use cubecl::server::Handle;

use super::depthwise::Sizes;
use super::pixelwise::Target;
use super::{Launcher, place, threads, width};
use crate::Pool;

/// What a pool is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolWindow {
    pub pool: Pool,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
}

#[cube(launch_unchecked)]
fn pool_kernel<F: Float, N: Size>(
    input: &[Vector<F, N>],
    output: &mut [Vector<F, N>],
    in_height: u32,
    in_width: u32,
    height: u32,
    width: u32,
    pad_top: u32,
    pad_left: u32,
    vectors: u32,
    count: u32,
    #[comptime] window: PoolWindow,
    #[define(F)] _float: cubecl::ir::ElemType,
) {
    let at = ABSOLUTE_POS as u32;
    if at >= count {
        terminate!();
    }
    let (picture, y, x, vector) = place(at, height, width, vectors);
    let is_max = comptime!(window.pool == Pool::Max);
    let lowest = comptime!(if is_max { f32::MIN } else { 0.0 });
    let mut value = Vector::<f32, N>::new(lowest);
    for ky in 0..comptime!(window.kernel[0] as u32) {
        let row = y * comptime!(window.stride[0] as u32) + ky - pad_top;
        for kx in 0..comptime!(window.kernel[1] as u32) {
            let column = x * comptime!(window.stride[1] as u32) + kx - pad_left;
            // both wrap around where they are before the map
            if row < in_height && column < in_width {
                let place = ((picture * in_height + row) * in_width + column) * vectors + vector;
                let input = Vector::<f32, N>::cast_from(input[place as usize]);
                if is_max {
                    value = larger::<N>(value, input);
                } else {
                    value += input;
                }
            }
        }
    }
    if comptime!(!is_max) {
        let share = comptime!(1.0 / (window.kernel[0] * window.kernel[1]) as f32);
        value *= Vector::<f32, N>::new(share);
    }
    output[at as usize] = Vector::cast_from(value);
}

/// The larger of two, NaN where one is.
#[cube]
fn larger<N: Size>(a: Vector<f32, N>, b: Vector<f32, N>) -> Vector<f32, N> {
    let mut result = Vector::<f32, N>::empty();
    #[unroll]
    for i in 0..N::value() {
        let (a, b) = (a.extract(i), b.extract(i));
        result.insert(i, select(b > a || b.is_nan(), b, a));
    }
    result
}

/// A pool; zeros outside of the map count in an average.
///
/// # Shapes
/// - `input`: `[batch, in_height, in_width, channels]`
/// - `output`: `[batch, height, width, channels]`
pub fn pool(
    launcher: &Launcher,
    input: Handle,
    in_size: [usize; 2],
    pad: [usize; 2],
    output: Handle,
    target: &Target,
    window: PoolWindow,
) {
    let Target { batch, channels, size } = *target;
    let width = width(&[channels]);
    let vectors = channels / width;
    let count = target.pixels() * vectors;
    let (cubes, dim) = threads(count);
    // SAFETY: the buffers have these lengths, and threads beyond `count` stop
    unsafe {
        pool_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            BufferArg::from_raw_parts(input, batch * in_size[0] * in_size[1] * channels),
            BufferArg::from_raw_parts(output, target.pixels() * channels),
            in_size[0] as u32,
            in_size[1] as u32,
            size[0] as u32,
            size[1] as u32,
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
fn largest_kernel<F: Float, N: Size>(
    input: &[Vector<F, N>],
    output: &mut [Vector<F, N>],
    taps: &mut [Vector<F, N>],
    in_height: u32,
    in_width: u32,
    height: u32,
    width: u32,
    pad_top: u32,
    pad_left: u32,
    vectors: u32,
    count: u32,
    #[comptime] window: PoolWindow,
    #[define(F)] _float: cubecl::ir::ElemType,
) {
    let at = ABSOLUTE_POS as u32;
    if at >= count {
        terminate!();
    }
    let (picture, y, x, vector) = place(at, height, width, vectors);
    let columns = comptime!(window.kernel[1] as u32);
    let mut value = Vector::<f32, N>::new(f32::MIN);
    let mut tap = Vector::<f32, N>::new(-1.0);
    for ky in 0..comptime!(window.kernel[0] as u32) {
        let row = y * comptime!(window.stride[0] as u32) + ky - pad_top;
        for kx in 0..columns {
            let column = x * comptime!(window.stride[1] as u32) + kx - pad_left;
            // both wrap around where they are before the map
            if row < in_height && column < in_width {
                let place = ((picture * in_height + row) * in_width + column) * vectors + vector;
                let candidate = Vector::<f32, N>::cast_from(input[place as usize]);
                let number = f32::cast_from(ky * columns + kx);
                #[unroll]
                for i in 0..N::value() {
                    let (best, own) = (value.extract(i), candidate.extract(i));
                    let taken = own > best || own.is_nan() || tap.extract(i) < 0.0;
                    value.insert(i, select(taken, own, best));
                    tap.insert(i, select(taken, number, tap.extract(i)));
                }
            }
        }
    }
    output[at as usize] = Vector::cast_from(value);
    taps[at as usize] = Vector::cast_from(tap);
}

#[cube(launch_unchecked)]
fn pool_gradient_kernel<F: Float, N: Size>(
    gradient: &[Vector<F, N>],
    taps: &[Vector<F, N>],
    output: &mut [Vector<F, N>],
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    pad_top: u32,
    pad_left: u32,
    vectors: u32,
    count: u32,
    #[comptime] window: PoolWindow,
    #[define(F)] _float: cubecl::ir::ElemType,
) {
    let at = ABSOLUTE_POS as u32;
    if at >= count {
        terminate!();
    }
    let (picture, y, x, vector) = place(at, in_height, in_width, vectors);
    let is_max = comptime!(window.pool == Pool::Max);
    let row_stride = comptime!(window.stride[0] as u32);
    let column_stride = comptime!(window.stride[1] as u32);
    let columns = comptime!(window.kernel[1] as u32);
    let mut sum = Vector::<f32, N>::new(0.0);
    for ky in 0..comptime!(window.kernel[0] as u32) {
        // wraps around where the output would be above the map
        let row = y + pad_top - ky;
        if row % row_stride == 0 && row / row_stride < out_height {
            let line = (picture * out_height + row / row_stride) * out_width;
            for kx in 0..columns {
                let column = x + pad_left - kx;
                if column % column_stride == 0 && column / column_stride < out_width {
                    let place = (line + column / column_stride) * vectors + vector;
                    let part = Vector::<f32, N>::cast_from(gradient[place as usize]);
                    if is_max {
                        let tap = Vector::<f32, N>::cast_from(taps[place as usize]);
                        let number = f32::cast_from(ky * columns + kx);
                        #[unroll]
                        for i in 0..N::value() {
                            let own = select(tap.extract(i) == number, part.extract(i), 0.0);
                            sum.insert(i, sum.extract(i) + own);
                        }
                    } else {
                        sum += part;
                    }
                }
            }
        }
    }
    if comptime!(!is_max) {
        let share = comptime!(1.0 / (window.kernel[0] * window.kernel[1]) as f32);
        sum *= Vector::<f32, N>::new(share);
    }
    output[at as usize] = Vector::cast_from(sum);
}

/// The largest values, and which taps of their windows they are, counted row by row; of equal ones the first.
///
/// # Shapes
/// - `input`: `[batch, in_height, in_width, channels]`
/// - `output`, `taps`: `[batch, out_height, out_width, channels]`
pub fn largest(launcher: &Launcher, [input, output, taps]: [&Handle; 3], sizes: &Sizes, window: PoolWindow) {
    let Sizes { batch, channels, input: from, output: to, pad } = *sizes;
    let width = width(&[channels]);
    let count = batch * to[0] * to[1] * channels / width;
    let (cubes, dim) = threads(count);
    // SAFETY: the buffers have these lengths, and threads beyond `count` stop
    unsafe {
        largest_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            BufferArg::from_raw_parts(input.clone(), batch * from[0] * from[1] * channels),
            BufferArg::from_raw_parts(output.clone(), count * width),
            BufferArg::from_raw_parts(taps.clone(), count * width),
            from[0] as u32,
            from[1] as u32,
            to[0] as u32,
            to[1] as u32,
            pad[0] as u32,
            pad[1] as u32,
            (channels / width) as u32,
            count as u32,
            window,
            launcher.float,
        );
    }
}

/// The gradient by the input: of a largest value to the pixel that it was, of a mean to the whole window. `taps` are those
/// of [`largest`]; a mean does not look at them.
///
/// # Shapes
/// - `gradient`, `taps`: `[batch, out_height, out_width, channels]`
/// - `output`: `[batch, in_height, in_width, channels]`
pub fn pool_gradient(
    launcher: &Launcher,
    [gradient, taps, output]: [&Handle; 3],
    sizes: &Sizes,
    window: PoolWindow,
) {
    let Sizes { batch, channels, input: from, output: to, pad } = *sizes;
    let width = width(&[channels]);
    let count = batch * from[0] * from[1] * channels / width;
    let (cubes, dim) = threads(count);
    // SAFETY: the buffers have these lengths, and threads beyond `count` stop
    unsafe {
        pool_gradient_kernel::launch_unchecked(
            &launcher.client,
            cubes,
            dim,
            width,
            BufferArg::from_raw_parts(gradient.clone(), batch * to[0] * to[1] * channels),
            BufferArg::from_raw_parts(taps.clone(), batch * to[0] * to[1] * channels),
            BufferArg::from_raw_parts(output.clone(), count * width),
            from[0] as u32,
            from[1] as u32,
            to[0] as u32,
            to[1] as u32,
            pad[0] as u32,
            pad[1] as u32,
            (channels / width) as u32,
            count as u32,
            window,
            launcher.float,
        );
    }
}
