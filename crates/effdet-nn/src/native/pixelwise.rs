//! What is computed pixel by pixel, on channels-last maps: weighted sums, pools, interpolation, means.

use super::activate;
use super::simd::{Simd, dispatch};
use crate::{Activation, Pool};

/// An input of a weighted sum.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// The first number of the first pixel of the picture's map.
    pub start: *const f32,
    /// From one pixel to the next.
    pub stride: usize,
    /// One factor per channel; null for 1.
    pub factors: *const f32,
    /// The map's size if it is not the output's: pixels are then repeated or left out.
    pub size: Option<[usize; 2]>,
}

/// Where a map is written.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The first number of the first pixel of the picture's map.
    pub start: *mut f32,
    /// From one pixel to the next.
    pub stride: usize,
    /// Channels written.
    pub channels: usize,
    /// Height and width.
    pub size: [usize; 2],
}

/// The input pixel that the nearest neighbour of output `at` is, as PyTorch has it.
fn nearest(at: usize, from: usize, to: usize) -> usize {
    let scale = from as f32 / to as f32;
    ((at as f32 * scale) as usize).min(from - 1)
}

/// Rows of `activation(Σ factors · term + bias)`.
///
/// # Safety
/// Terms and target must be maps as described, `bias` null or one number per channel.
pub unsafe fn weighted_sum(
    terms: &[Term],
    bias: *const f32,
    activation: Activation,
    target: &Target,
    rows: std::ops::Range<usize>,
) {
    // SAFETY: the caller's
    unsafe { sum(terms, bias, activation, target, rows) }
}

dispatch! {
    unsafe fn sum(
        terms: &[Term], bias: *const f32, activation: Activation, target: &Target, rows: std::ops::Range<usize>
    ) = sum_rows
}

#[inline(always)]
unsafe fn sum_rows<S: Simd>(
    terms: &[Term],
    bias: *const f32,
    activation: Activation,
    target: &Target,
    rows: std::ops::Range<usize>,
) {
    let [height, width] = target.size;
    let channels = target.channels;
    for y in rows {
        for x in 0..width {
            let place = |term: &Term| match term.size {
                None => y * width + x,
                Some([h, w]) => nearest(y, h, height) * w + nearest(x, w, width),
            };
            let mut channel = 0;
            // SAFETY: the caller's
            unsafe {
                while channel < channels {
                    let count = (channels - channel).min(S::LANES);
                    let load = |from: *const f32| {
                        if count == S::LANES { S::load(from) } else { S::load_partial(from, count) }
                    };
                    let mut value = if bias.is_null() { S::splat(0.0) } else { load(bias.add(channel)) };
                    for term in terms {
                        let input = load(term.start.add(place(term) * term.stride + channel));
                        value = if term.factors.is_null() {
                            S::add(value, input)
                        } else {
                            S::mul_add(input, load(term.factors.add(channel)), value)
                        };
                    }
                    let value = activate::one::<S>(activation, value);
                    let to = target.start.add((y * width + x) * target.stride + channel);
                    S::store_partial(to, value, count);
                    channel += S::LANES;
                }
            }
        }
    }
}

/// Adds rows of a map, `[rows, row_numbers / channels, channels]`, to one sum per channel.
///
/// # Safety
/// `from` must have `pixels · channels` numbers, `sums` one per channel.
pub unsafe fn add_pixels(from: *const f32, pixels: usize, channels: usize, sums: *mut f32) {
    // SAFETY: the caller's
    unsafe { add_up(from, pixels, channels, sums) }
}

dispatch! {
    unsafe fn add_up(from: *const f32, pixels: usize, channels: usize, sums: *mut f32) = add_up_pixels
}

#[inline(always)]
unsafe fn add_up_pixels<S: Simd>(from: *const f32, pixels: usize, channels: usize, sums: *mut f32) {
    let mut channel = 0;
    // SAFETY: the caller's
    unsafe {
        while channel < channels {
            let count = (channels - channel).min(S::LANES);
            let mut sum = S::load_partial(sums.add(channel), count);
            for pixel in 0..pixels {
                sum = S::add(sum, S::load_partial(from.add(pixel * channels + channel), count));
            }
            S::store_partial(sums.add(channel), sum, count);
            channel += S::LANES;
        }
    }
}

/// Kernel, stride and leading padding of each axis of a pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolWindow {
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Rows and columns between outputs.
    pub stride: [usize; 2],
    /// Rows above and columns left of the input.
    pub pad: [usize; 2],
}

/// Rows of a pooled map.
///
/// # Safety
/// `input` must be a map of `size` with the target's channels.
pub unsafe fn pool(
    input: *const f32,
    size: [usize; 2],
    pool: Pool,
    window: &PoolWindow,
    target: &Target,
    rows: std::ops::Range<usize>,
) {
    // SAFETY: the caller's
    unsafe { pool_all(input, size, pool, window, target, rows) }
}

dispatch! {
    unsafe fn pool_all(
        input: *const f32, size: [usize; 2], pool: Pool, window: &PoolWindow, target: &Target,
        rows: std::ops::Range<usize>
    ) = pool_rows
}

#[inline(always)]
unsafe fn pool_rows<S: Simd>(
    input: *const f32,
    size: [usize; 2],
    pool: Pool,
    window: &PoolWindow,
    target: &Target,
    rows: std::ops::Range<usize>,
) {
    let channels = target.channels;
    let span = |at: usize, axis: usize| {
        let start = (at * window.stride[axis]) as isize - window.pad[axis] as isize;
        let end = (start + window.kernel[axis] as isize).clamp(0, size[axis] as isize);
        start.max(0) as usize..end as usize
    };
    // SAFETY: the caller's
    let infinity = unsafe { S::splat(f32::INFINITY) };
    let share = 1.0 / (window.kernel[0] * window.kernel[1]) as f32;
    for y in rows {
        let lines = span(y, 0);
        for x in 0..target.size[1] {
            let columns = span(x, 1);
            let mut channel = 0;
            // SAFETY: the caller's
            unsafe {
                while channel < channels {
                    let count = (channels - channel).min(S::LANES);
                    let mut value = S::splat(if pool == Pool::Max { f32::NEG_INFINITY } else { 0.0 });
                    for line in lines.clone() {
                        for column in columns.clone() {
                            let from = input.add((line * size[1] + column) * channels + channel);
                            let input = S::load_partial(from, count);
                            value = match pool {
                                // `max` keeps an input that is not a number, and this such a value.
                                Pool::Max => S::select_greater(infinity, value, S::max(value, input), value),
                                Pool::Average => S::add(value, input),
                            };
                        }
                    }
                    if pool == Pool::Average {
                        value = S::mul(value, S::splat(share));
                    }
                    let to = target.start.add((y * target.size[1] + x) * target.stride + channel);
                    S::store_partial(to, value, count);
                    channel += S::LANES;
                }
            }
        }
    }
}

/// For each output of an axis, the inputs it is made of and their weights.
#[derive(Clone, Debug)]
pub struct AxisTaps {
    /// As many for every output.
    pub count: usize,
    /// `[outputs, count]`
    pub taps: Vec<(usize, f32)>,
}

impl AxisTaps {
    /// Linear interpolation, or cubic (a = -0.75), pixel centres at halves, as PyTorch has them.
    pub fn new(from: usize, to: usize, cubic: bool) -> Self {
        let scale = from as f32 / to as f32;
        let count = if cubic { 4 } else { 2 };
        let mut taps = Vec::with_capacity(to * count);
        let clamp = |index: isize| index.clamp(0, from as isize - 1) as usize;
        for at in 0..to {
            let center = (at as f32 + 0.5) * scale - 0.5;
            if cubic {
                let floor = center.floor();
                for (i, weight) in cubic_weights(center - floor).into_iter().enumerate() {
                    taps.push((clamp(floor as isize + i as isize - 1), weight));
                }
            } else {
                let center = center.max(0.0);
                let floor = center.floor();
                let weight = center - floor;
                taps.push((clamp(floor as isize), 1.0 - weight));
                taps.push((clamp(floor as isize + 1), weight));
            }
        }
        Self { count, taps }
    }

    fn of(&self, at: usize) -> &[(usize, f32)] {
        &self.taps[at * self.count..(at + 1) * self.count]
    }
}

fn cubic_weights(t: f32) -> [f32; 4] {
    const A: f32 = -0.75;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
}

/// Rows of an interpolated map.
///
/// # Safety
/// `input` must be a map of the size that the taps are of, `width` wide, with the target's channels.
pub unsafe fn interpolate(
    input: *const f32,
    width: usize,
    vertical: &AxisTaps,
    horizontal: &AxisTaps,
    target: &Target,
    rows: std::ops::Range<usize>,
) {
    // SAFETY: the caller's
    unsafe { interpolate_all(input, width, vertical, horizontal, target, rows) }
}

dispatch! {
    unsafe fn interpolate_all(
        input: *const f32, width: usize, vertical: &AxisTaps, horizontal: &AxisTaps, target: &Target,
        rows: std::ops::Range<usize>
    ) = interpolate_rows
}

#[inline(always)]
unsafe fn interpolate_rows<S: Simd>(
    input: *const f32,
    width: usize,
    vertical: &AxisTaps,
    horizontal: &AxisTaps,
    target: &Target,
    rows: std::ops::Range<usize>,
) {
    let channels = target.channels;
    for y in rows {
        for x in 0..target.size[1] {
            let mut channel = 0;
            // SAFETY: the caller's
            unsafe {
                while channel < channels {
                    let count = (channels - channel).min(S::LANES);
                    let mut value = S::splat(0.0);
                    for (line, line_weight) in vertical.of(y) {
                        let mut row = S::splat(0.0);
                        for (column, weight) in horizontal.of(x) {
                            let from = input.add((line * width + column) * channels + channel);
                            row = S::mul_add(S::load_partial(from, count), S::splat(*weight), row);
                        }
                        value = S::mul_add(row, S::splat(*line_weight), value);
                    }
                    let to = target.start.add((y * target.size[1] + x) * target.stride + channel);
                    S::store_partial(to, value, count);
                    channel += S::LANES;
                }
            }
        }
    }
}
