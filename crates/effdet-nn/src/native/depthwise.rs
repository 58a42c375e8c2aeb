//! Depthwise convolution on channels-last maps.

use super::activate::{self, Tile};
use super::simd::{Simd, dispatch, isa};
use crate::Activation;

/// One filter per channel, tap by tap, channels padded with zeros to whole vectors.
#[derive(Clone, Debug)]
pub struct DepthwiseFilter {
    /// `[kernel · kernel, padded channels]`
    taps: Vec<f32>,
    bias: Vec<f32>,
    channels: usize,
    kernel: usize,
}

/// Channels rounded up to whole vectors.
pub fn padded_channels(channels: usize) -> usize {
    channels.next_multiple_of(isa().lanes())
}

impl DepthwiseFilter {
    /// Packs `weight`, `[channels, kernel, kernel]`.
    pub fn new(weight: impl Fn(usize, usize) -> f32, bias: &[f32], kernel: usize) -> Self {
        let channels = bias.len();
        let padded = padded_channels(channels);
        let mut taps = vec![0.0; kernel * kernel * padded];
        for (tap, row) in taps.chunks_exact_mut(padded).enumerate() {
            for (channel, value) in row[..channels].iter_mut().enumerate() {
                *value = weight(channel, tap);
            }
        }
        let mut bias = bias.to_vec();
        bias.resize(padded, 0.0);
        Self { taps, bias, channels, kernel }
    }

    /// Channels in and out.
    pub fn channels(&self) -> usize {
        self.channels
    }
}

/// Sizes of one picture's map and how the filter moves over it.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Columns of the output.
    pub out_width: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step between outputs.
    pub stride: usize,
    /// Step between taps.
    pub dilation: usize,
    /// Rows of zeros above the input.
    pub pad_top: usize,
    /// Columns of zeros left of the input.
    pub pad_left: usize,
}

impl Window {
    /// The taps of a row or column of the kernel that fall inside `size`, of the output at `at`, and the input index
    /// of the tap before any is left out.
    #[inline(always)]
    pub fn taps(&self, at: usize, pad: usize, size: usize) -> (usize, usize, isize) {
        let start = (at * self.stride) as isize - pad as isize;
        let dilation = self.dilation as isize;
        let first = if start >= 0 { 0 } else { (-start + dilation - 1) / dilation };
        let end = if start >= size as isize { 0 } else { (size as isize - 1 - start) / dilation + 1 };
        ((first as usize).min(self.kernel), (end.max(0) as usize).min(self.kernel), start)
    }

    /// The outputs of a row for which every tap falls inside.
    fn inner(&self) -> std::ops::Range<usize> {
        let first = self.pad_left.div_ceil(self.stride);
        let reach = (self.kernel - 1) * self.dilation;
        let end = if self.width + self.pad_left > reach {
            (self.width + self.pad_left - reach - 1) / self.stride + 1
        } else {
            0
        };
        first.min(self.out_width)..end.clamp(first.min(self.out_width), self.out_width)
    }
}

/// Where a depthwise convolution reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct Maps {
    /// The first of the channels at the first pixel of the input.
    pub input: *const f32,
    /// From one pixel of the input to the next.
    pub input_stride: usize,
    /// The first channel at the first pixel of the output, which has all channels.
    pub output: *mut f32,
    /// One number per padded channel, to which each channel's outputs are added; null if they are not wanted.
    pub sums: *mut f32,
}

/// Rows `rows` of the output of one picture, some of its channels; the first is at a multiple of a vector's lanes.
///
/// # Safety
/// The maps must be of the window's sizes.
pub unsafe fn depthwise(
    maps: &Maps,
    filter: &DepthwiseFilter,
    window: &Window,
    rows: std::ops::Range<usize>,
    channels: std::ops::Range<usize>,
    activation: Activation,
) {
    debug_assert_eq!(filter.kernel, window.kernel);
    // SAFETY: the caller's
    unsafe { convolve(maps, filter, window, rows, channels, activation) }
}

dispatch! {
    unsafe fn convolve(
        maps: &Maps, filter: &DepthwiseFilter, window: &Window, rows: std::ops::Range<usize>,
        channels: std::ops::Range<usize>, activation: Activation
    ) = convolve_rows
}

/// Outputs computed together, so that their sums do not wait for each other.
const TILE: usize = 8;

#[inline(always)]
unsafe fn convolve_rows<S: Simd>(
    maps: &Maps,
    filter: &DepthwiseFilter,
    window: &Window,
    rows: std::ops::Range<usize>,
    channels: std::ops::Range<usize>,
    activation: Activation,
) {
    let inner = window.inner();
    for y in rows {
        let (first, end, start) = window.taps(y, window.pad_top, window.height);
        let (low, high) = (channels.start, channels.end);
        let row = Row { maps, filter, window, activation, low, high, y, first, end, start };
        // SAFETY: the caller's
        unsafe {
            let mut x = 0;
            while x < inner.start {
                pixels::<S, 1>(&row, x, true);
                x += 1;
            }
            while x + TILE <= inner.end {
                pixels::<S, TILE>(&row, x, false);
                x += TILE;
            }
            while x + 2 <= inner.end {
                pixels::<S, 2>(&row, x, false);
                x += 2;
            }
            while x < window.out_width {
                pixels::<S, 1>(&row, x, true);
                x += 1;
            }
        }
    }
}

struct Row<'a> {
    maps: &'a Maps,
    filter: &'a DepthwiseFilter,
    window: &'a Window,
    activation: Activation,
    /// The channels.
    low: usize,
    high: usize,
    y: usize,
    /// Taps of the kernel's rows that fall inside.
    first: usize,
    end: usize,
    /// Input row of the first tap, were it inside.
    start: isize,
}

/// `COUNT` neighbouring outputs, all channels; at an `edge` one output, whose taps may fall outside.
#[inline(always)]
unsafe fn pixels<S: Simd, const COUNT: usize>(row: &Row<'_>, x: usize, edge: bool) {
    let Row { maps, filter, window, .. } = row;
    let channels = filter.channels;
    let padded = filter.bias.len();
    let (left, right, start) = if edge {
        window.taps(x, window.pad_left, window.width)
    } else {
        (0, window.kernel, (x * window.stride) as isize - window.pad_left as isize)
    };
    let step = window.stride * maps.input_stride;
    let mut channel = row.low;
    // SAFETY: the caller's; taps that fall outside are left out
    unsafe {
        while channel < row.high {
            let count = (row.high - channel).min(S::LANES);
            let whole = count == S::LANES;
            let mut sums = [S::splat(0.0); COUNT];
            for ky in row.first..row.end {
                let line = row.start + (ky * window.dilation) as isize;
                let line = line * window.width as isize;
                for kx in left..right {
                    let at = line + start + (kx * window.dilation) as isize;
                    // wrapping: the map may be a part whose missing rows come first
                    let from = maps.input.wrapping_offset(at * maps.input_stride as isize);
                    let from = from.wrapping_add(channel - row.low);
                    let tap = filter.taps.as_ptr().add((ky * window.kernel + kx) * padded + channel);
                    let weight = S::load(tap);
                    if whole {
                        for (i, sum) in sums.iter_mut().enumerate() {
                            *sum = S::mul_add(S::load(from.add(i * step)), weight, *sum);
                        }
                    } else {
                        for (i, sum) in sums.iter_mut().enumerate() {
                            *sum = S::mul_add(S::load_partial(from.add(i * step), count), weight, *sum);
                        }
                    }
                }
            }
            let mut tile = Tile::new();
            let values = tile.start();
            let bias = S::load(filter.bias.as_ptr().add(channel));
            for (i, sum) in sums.iter().enumerate() {
                S::store(values.add(i * S::LANES), S::add(*sum, bias));
            }
            activate::vectors::<S>(row.activation, values, COUNT);
            let to = maps.output.add((row.y * window.out_width + x) * channels + channel);
            let mut total = S::splat(0.0);
            for i in 0..COUNT {
                let value = S::load(values.add(i * S::LANES));
                S::store_partial(to.add(i * channels), value, count);
                total = S::add(total, value);
            }
            if !maps.sums.is_null() {
                let to = maps.sums.add(channel);
                S::store(to, S::add(S::load(to), total));
            }
            channel += S::LANES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Padding;

    #[test]
    fn any_window_equals_the_sum_over_its_taps() {
        let mut cases = Vec::new();
        for (height, width) in [(9, 27), (1, 1), (4, 3), (2, 19)] {
            for (kernel, stride, dilation) in
                [(3, 1, 1), (3, 2, 1), (5, 1, 1), (5, 2, 1), (7, 1, 1), (3, 1, 2), (1, 2, 1)]
            {
                for padding in [Padding::Same, Padding::Symmetric] {
                    cases.push((height, width, kernel, stride, dilation, padding));
                }
            }
        }
        let channels = 21;
        for (height, width, kernel, stride, dilation, padding) in cases {
            let value = |i: usize| ((i * 2_654_435_761) % 1013) as f32 / 500.0 - 1.0;
            let input: Vec<f32> = (0..height * width * channels).map(value).collect();
            let bias: Vec<f32> = (0..channels).map(|i| value(i + 7)).collect();
            let weight = |c: usize, t: usize| value(c * 31 + t + 3);
            let filter = DepthwiseFilter::new(weight, &bias, kernel);
            let (pad_top, pad_bottom) = padding.amount(height, kernel, stride, dilation);
            let (pad_left, pad_right) = padding.amount(width, kernel, stride, dilation);
            let reach = (kernel - 1) * dilation + 1;
            let out_height = (height + pad_top + pad_bottom - reach) / stride + 1;
            let out_width = (width + pad_left + pad_right - reach) / stride + 1;
            let window = Window { height, width, out_width, kernel, stride, dilation, pad_top, pad_left };
            let mut output = vec![f32::NAN; out_height * out_width * channels];
            let mut sums = vec![0.0f32; padded_channels(channels)];
            // SAFETY: the sizes are those of the vectors
            unsafe {
                for part in [0..16, 16..channels] {
                    let maps = Maps {
                        input: input.as_ptr().add(part.start),
                        input_stride: channels,
                        output: output.as_mut_ptr(),
                        sums: sums.as_mut_ptr(),
                    };
                    depthwise(&maps, &filter, &window, 0..out_height, part, Activation::Relu6);
                }
            }
            let mut total = vec![0.0f32; channels];
            for y in 0..out_height {
                for x in 0..out_width {
                    for c in 0..channels {
                        let mut exact = bias[c];
                        for t in 0..kernel * kernel {
                            let iy = (y * stride + t / kernel * dilation).wrapping_sub(pad_top);
                            let ix = (x * stride + t % kernel * dilation).wrapping_sub(pad_left);
                            if iy < height && ix < width {
                                exact += weight(c, t) * input[(iy * width + ix) * channels + c];
                            }
                        }
                        let exact = exact.clamp(0.0, 6.0);
                        let found = output[(y * out_width + x) * channels + c];
                        assert!((found - exact).abs() < 1e-4, "{window:?} at {y},{x},{c}: {found} {exact}");
                        total[c] += exact;
                    }
                }
            }
            assert!(sums.iter().zip(&total).all(|(a, b)| (a - b).abs() < 1e-2), "{window:?}");
        }
    }
}
