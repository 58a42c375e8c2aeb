//! Depthwise convolution on channels-last maps.

use super::activate;
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

/// Rows `rows` of the output of one picture.
///
/// # Safety
/// `input` must be a map of the window's size, `output` a map of the output's, and `sums`, where not null, as many
/// numbers as there are padded channels: each channel's outputs are added to it.
pub unsafe fn depthwise(
    input: *const f32,
    filter: &DepthwiseFilter,
    window: &Window,
    rows: std::ops::Range<usize>,
    activation: Activation,
    output: *mut f32,
    sums: *mut f32,
) {
    debug_assert_eq!(filter.kernel, window.kernel);
    // SAFETY: the caller's
    unsafe { convolve(input, filter, window, rows, activation, output, sums) }
}

dispatch! {
    unsafe fn convolve(
        input: *const f32, filter: &DepthwiseFilter, window: &Window, rows: std::ops::Range<usize>,
        activation: Activation, output: *mut f32, sums: *mut f32
    ) = convolve_rows
}

/// Outputs computed together, so that their sums do not wait for each other.
const TILE: usize = 8;

#[inline(always)]
unsafe fn convolve_rows<S: Simd>(
    input: *const f32,
    filter: &DepthwiseFilter,
    window: &Window,
    rows: std::ops::Range<usize>,
    activation: Activation,
    output: *mut f32,
    sums: *mut f32,
) {
    let inner = window.inner();
    for y in rows {
        let (first, end, start) = window.taps(y, window.pad_top, window.height);
        let row = Row { input, filter, window, activation, output, sums, y, first, end, start };
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
    input: *const f32,
    filter: &'a DepthwiseFilter,
    window: &'a Window,
    activation: Activation,
    output: *mut f32,
    sums: *mut f32,
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
    let Row { filter, window, .. } = row;
    let channels = filter.channels;
    let padded = filter.bias.len();
    let (left, right, start) = if edge {
        window.taps(x, window.pad_left, window.width)
    } else {
        (0, window.kernel, (x * window.stride) as isize - window.pad_left as isize)
    };
    let step = window.stride * channels;
    let mut channel = 0;
    // SAFETY: the caller's; taps that fall outside are left out
    unsafe {
        while channel < channels {
            let count = (channels - channel).min(S::LANES);
            let whole = count == S::LANES;
            let mut values = [[S::load(filter.bias.as_ptr().add(channel)); 1]; COUNT];
            for ky in row.first..row.end {
                let line = row.start + (ky * window.dilation) as isize;
                let line = line * window.width as isize;
                for kx in left..right {
                    let at = line + start + (kx * window.dilation) as isize;
                    let from = row.input.offset(at * channels as isize).add(channel);
                    let tap = filter.taps.as_ptr().add((ky * window.kernel + kx) * padded + channel);
                    let weight = S::load(tap);
                    if whole {
                        for (i, value) in values.iter_mut().enumerate() {
                            value[0] = S::mul_add(S::load(from.add(i * step)), weight, value[0]);
                        }
                    } else {
                        for (i, value) in values.iter_mut().enumerate() {
                            let input = S::load_partial(from.add(i * step), count);
                            value[0] = S::mul_add(input, weight, value[0]);
                        }
                    }
                }
            }
            activate::tile::<S, COUNT, 1>(row.activation, &mut values);
            let to = row.output.add((row.y * window.out_width + x) * channels + channel);
            for (i, value) in values.iter().enumerate() {
                if whole {
                    S::store(to.add(i * channels), value[0]);
                } else {
                    S::store_partial(to.add(i * channels), value[0], count);
                }
            }
            if !row.sums.is_null() {
                let to = row.sums.add(channel);
                let mut sum = S::load(to);
                for value in &values {
                    sum = S::add(sum, value[0]);
                }
                S::store(to, sum);
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
                depthwise(
                    input.as_ptr(),
                    &filter,
                    &window,
                    0..out_height,
                    Activation::Relu6,
                    output.as_mut_ptr(),
                    sums.as_mut_ptr(),
                );
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
