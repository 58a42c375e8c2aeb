//! Depthwise convolution of planes, with its gradients.
//!
//! A plane is copied once into a frame of zeros, its columns dealt out by their remainder modulo the stride. After that
//! every tap of every output reads neighbours, whatever the stride and the padding.

use super::parallel::{Shared, for_each, with_scratch};
use crate::native::simd::{Simd, dispatch};

/// Sizes of a depthwise convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Depthwise {
    pub pictures: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub out_height: usize,
    pub out_width: usize,
    pub kernel: usize,
    pub stride: usize,
    /// Above and left of the input.
    pub padding: [usize; 2],
}

/// A plane in its frame: rows of `stride` parts of `part` numbers.
#[derive(Clone, Copy)]
struct Frame {
    rows: usize,
    part: usize,
    phases: usize,
    top: usize,
    left: usize,
}

impl Frame {
    fn row(&self) -> usize {
        self.part * self.phases
    }

    fn len(&self) -> usize {
        self.rows * self.row()
    }

    /// Copies a plane into the frame.
    #[inline(always)]
    unsafe fn fill(&self, plane: *const f32, height: usize, width: usize, frame: *mut f32) {
        for row in 0..self.rows {
            // SAFETY: within the frame
            let to = unsafe { std::slice::from_raw_parts_mut(frame.add(row * self.row()), self.row()) };
            let Some(y) = row.checked_sub(self.top).filter(|y| *y < height) else {
                to.fill(0.0);
                continue;
            };
            // SAFETY: `y` is below `height`
            let from = unsafe { std::slice::from_raw_parts(plane.add(y * width), width) };
            if self.phases == 1 {
                let inside = width.min(self.part - self.left);
                to[..self.left].fill(0.0);
                to[self.left..self.left + inside].copy_from_slice(&from[..inside]);
                to[self.left + inside..].fill(0.0);
                continue;
            }
            for (phase, to) in to.chunks_exact_mut(self.part).enumerate() {
                // The first column of this phase that is in the plane.
                let skip = self.left.saturating_sub(phase).div_ceil(self.phases);
                let first = skip * self.phases + phase - self.left;
                to[..skip].fill(0.0);
                let columns = width.saturating_sub(first).div_ceil(self.phases).min(self.part - skip);
                if self.phases == 2 && columns > 0 {
                    let from = &from[first..];
                    let (pairs, odd) = from[..(2 * columns - 1).min(from.len())].as_chunks::<2>();
                    for (to, pair) in to[skip..].iter_mut().zip(pairs) {
                        *to = pair[0];
                    }
                    if let [last] = odd {
                        to[skip + columns - 1] = *last;
                    }
                } else {
                    for (i, to) in to[skip..skip + columns].iter_mut().enumerate() {
                        *to = from[first + i * self.phases];
                    }
                }
                to[skip + columns..].fill(0.0);
            }
        }
    }
}

impl Depthwise {
    fn inputs(&self) -> usize {
        self.height * self.width
    }

    fn outputs(&self) -> usize {
        self.out_height * self.out_width
    }

    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    fn check(&self, input: usize, weight: usize, output: usize) {
        let planes = self.pictures * self.channels;
        assert_eq!(input, planes * self.inputs(), "input planes");
        assert_eq!(output, planes * self.outputs(), "output planes");
        assert_eq!(weight, self.channels * self.taps(), "a kernel per channel");
    }

    /// The frame of an input plane.
    fn input_frame(&self) -> Frame {
        Frame {
            rows: (self.out_height - 1) * self.stride + self.kernel,
            part: (self.out_width + (self.kernel - 1) / self.stride).next_multiple_of(16) + 16,
            phases: self.stride,
            top: self.padding[0],
            left: self.padding[1],
        }
    }

    /// `output` becomes the convolution of `input`, `[pictures, channels, height, width]`, by `weight`,
    /// `[channels, kernel, kernel]`.
    pub(super) fn forward(&self, input: &[f32], weight: &[f32], bias: Option<&[f32]>, output: &mut [f32]) {
        self.check(input.len(), weight.len(), output.len());
        assert!(bias.is_none_or(|bias| bias.len() == self.channels), "a bias per channel");
        let frame = self.input_frame();
        let to = Shared::new(output);
        for_each(self.pictures * self.channels, |plane| {
            let channel = plane % self.channels;
            with_scratch(frame.len(), |scratch| {
                // SAFETY: the sizes are checked above; planes are different places
                unsafe {
                    fill(
                        &frame,
                        input.as_ptr().add(plane * self.inputs()),
                        self.height,
                        self.width,
                        scratch.as_mut_ptr(),
                    );
                    let weight = weight.as_ptr().add(channel * self.taps());
                    let bias = bias.map_or(0.0, |bias| bias[channel]);
                    let to = to.at(plane * self.outputs());
                    correlate(
                        self.kernel,
                        &frame,
                        scratch.as_ptr(),
                        weight,
                        bias,
                        to,
                        self.out_height,
                        self.out_width,
                    );
                }
            });
        });
    }

    /// `result` becomes the gradient by the input, from `gradient`, that by the output.
    pub(super) fn input_gradient(&self, gradient: &[f32], weight: &[f32], result: &mut [f32]) {
        self.check(result.len(), weight.len(), gradient.len());
        let to = Shared::new(result);
        let (reach, stride) = (self.kernel - 1, self.stride);
        let narrow = stride == 1 && self.padding.iter().all(|padding| *padding <= reach);
        if narrow {
            // The correlation of the gradient with the kernel turned around.
            let frame = Frame {
                rows: self.height + reach,
                part: (self.width + reach).next_multiple_of(16) + 16,
                phases: 1,
                top: reach - self.padding[0],
                left: reach - self.padding[1],
            };
            return for_each(self.pictures * self.channels, |plane| {
                let channel = plane % self.channels;
                let mut turned = weight[channel * self.taps()..][..self.taps()].to_vec();
                turned.reverse();
                with_scratch(frame.len(), |scratch| {
                    // SAFETY: the sizes are checked above; planes are different places
                    unsafe {
                        let from = gradient.as_ptr().add(plane * self.outputs());
                        fill(&frame, from, self.out_height, self.out_width, scratch.as_mut_ptr());
                        let to = to.at(plane * self.inputs());
                        correlate(
                            self.kernel,
                            &frame,
                            scratch.as_ptr(),
                            turned.as_ptr(),
                            0.0,
                            to,
                            self.height,
                            self.width,
                        );
                    }
                });
            });
        }
        let margin = reach / stride + 1;
        let frame = Frame {
            rows: self.out_height,
            part: margin + (self.out_width).max((self.width + self.padding[1]) / stride + 1) + 32,
            phases: 1,
            top: 0,
            left: margin,
        };
        let row = self.width.div_ceil(stride).next_multiple_of(16);
        for_each(self.pictures * self.channels, |plane| {
            let channel = plane % self.channels;
            with_scratch(frame.len() + stride * row, |scratch| {
                let (framed, rows) = scratch.split_at_mut(frame.len());
                // SAFETY: the sizes are checked above; planes are different places
                unsafe {
                    let from = gradient.as_ptr().add(plane * self.outputs());
                    fill(&frame, from, self.out_height, self.out_width, framed.as_mut_ptr());
                    let weight = weight.as_ptr().add(channel * self.taps());
                    let to = to.at(plane * self.inputs());
                    spread(self, &frame, framed.as_ptr(), weight, rows.as_mut_ptr(), row, to);
                }
            });
        });
    }

    /// `result` becomes the gradient by the weight.
    pub(super) fn weight_gradient(&self, input: &[f32], gradient: &[f32], result: &mut [f32]) {
        self.check(input.len(), result.len(), gradient.len());
        let frame = self.input_frame();
        let to = Shared::new(result);
        for_each(self.channels, |channel| {
            with_scratch(frame.len(), |scratch| {
                // SAFETY: the sizes are checked above; channels are different places
                unsafe {
                    let to = to.at(channel * self.taps());
                    std::slice::from_raw_parts_mut(to, self.taps()).fill(0.0);
                    for picture in 0..self.pictures {
                        let plane = picture * self.channels + channel;
                        let from = input.as_ptr().add(plane * self.inputs());
                        fill(&frame, from, self.height, self.width, scratch.as_mut_ptr());
                        let gradient = gradient.as_ptr().add(plane * self.outputs());
                        gather(
                            self.kernel,
                            &frame,
                            scratch.as_ptr(),
                            gradient,
                            self.out_height,
                            self.out_width,
                            to,
                        );
                    }
                }
            });
        });
    }
}

/// Whether there are kernels for this convolution.
pub(super) fn supports(kernel: usize) -> bool {
    matches!(kernel, 1 | 2 | 3 | 5 | 7 | 9 | 11)
}

dispatch! {
    unsafe fn fill(frame: &Frame, plane: *const f32, height: usize, width: usize, to: *mut f32) = fill_with
}

#[inline(always)]
unsafe fn fill_with<S: Simd>(frame: &Frame, plane: *const f32, height: usize, width: usize, to: *mut f32) {
    // SAFETY: the caller's
    unsafe { frame.fill(plane, height, width, to) }
}

dispatch! {
    unsafe fn correlate(
        kernel: usize, frame: &Frame, framed: *const f32, weight: *const f32, bias: f32, to: *mut f32, rows: usize,
        columns: usize
    ) = correlate_with
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "a kernel")]
unsafe fn correlate_with<S: Simd>(
    kernel: usize,
    frame: &Frame,
    framed: *const f32,
    weight: *const f32,
    bias: f32,
    to: *mut f32,
    rows: usize,
    columns: usize,
) {
    macro_rules! by {
        ($($k:literal)*) => {
            match (kernel, frame.phases) {
                // SAFETY: the caller's
                $(($k, 1) => unsafe { correlate_rows::<S, $k, 1>(frame, framed, weight, bias, to, rows, columns) },
                ($k, 2) => unsafe { correlate_rows::<S, $k, 2>(frame, framed, weight, bias, to, rows, columns) },)*
                _ => unreachable!("no kernel for a depthwise convolution of {kernel} by {}", frame.phases),
            }
        };
    }
    by!(1 2 3 5 7 9 11);
}

#[inline(always)]
unsafe fn correlate_rows<S: Simd, const K: usize, const STRIDE: usize>(
    frame: &Frame,
    framed: *const f32,
    weight: *const f32,
    bias: f32,
    to: *mut f32,
    rows: usize,
    columns: usize,
) {
    let mut y = 0;
    // SAFETY: the caller's
    unsafe {
        while y + 4 <= rows {
            correlate_some::<S, K, STRIDE, 4>(frame, framed, weight, bias, to, y, columns);
            y += 4;
        }
        while y < rows {
            correlate_some::<S, K, STRIDE, 1>(frame, framed, weight, bias, to, y, columns);
            y += 1;
        }
    }
}

/// `ROWS` rows of the output: what they have in common is read once.
#[inline(always)]
unsafe fn correlate_some<S: Simd, const K: usize, const STRIDE: usize, const ROWS: usize>(
    frame: &Frame,
    framed: *const f32,
    weight: *const f32,
    bias: f32,
    to: *mut f32,
    y: usize,
    columns: usize,
) {
    let row = frame.part * STRIDE;
    let mut x = 0;
    while x < columns {
        // SAFETY: the frame has room for a vector past the last column
        unsafe {
            let from = framed.add(y * STRIDE * row + x);
            let mut sums = [S::splat(bias); ROWS];
            for kx in 0..K {
                let from = from.add(kx % STRIDE * frame.part + kx / STRIDE);
                for r in 0..(ROWS - 1) * STRIDE + K {
                    let value = S::load(from.add(r * row));
                    for (o, sum) in sums.iter_mut().enumerate() {
                        if r >= o * STRIDE && r < o * STRIDE + K {
                            let weight = S::splat(*weight.add((r - o * STRIDE) * K + kx));
                            *sum = S::mul_add(value, weight, *sum);
                        }
                    }
                }
            }
            let count = columns - x;
            for (o, sum) in sums.iter().enumerate() {
                let to = to.add((y + o) * columns + x);
                if count >= S::LANES {
                    S::store(to, *sum);
                } else {
                    S::store_partial(to, *sum, count);
                }
            }
        }
        x += S::LANES;
    }
}

dispatch! {
    unsafe fn gather(
        kernel: usize, frame: &Frame, framed: *const f32, gradient: *const f32, rows: usize, columns: usize,
        to: *mut f32
    ) = gather_with
}

#[inline(always)]
unsafe fn gather_with<S: Simd>(
    kernel: usize,
    frame: &Frame,
    framed: *const f32,
    gradient: *const f32,
    rows: usize,
    columns: usize,
    to: *mut f32,
) {
    macro_rules! by {
        ($($k:literal $at_once:literal)*) => {
            match (kernel, frame.phases) {
                $(($k, 1) => for ky in (0..$k).step_by($at_once) {
                    // SAFETY: the caller's
                    unsafe { gather_rows::<S, $k, 1, $at_once>(frame, framed, gradient, rows, columns, ky, to) }
                },
                ($k, 2) => for ky in (0..$k).step_by($at_once) {
                    // SAFETY: the caller's
                    unsafe { gather_rows::<S, $k, 2, $at_once>(frame, framed, gradient, rows, columns, ky, to) }
                },)*
                _ => unreachable!("no kernel for a depthwise convolution of {kernel} by {}", frame.phases),
            }
        };
    }
    by!(1 1 2 2 3 3 5 5 7 1 9 1 11 1);
}

/// `AT_ONCE` rows of the kernel's gradient, from `ky`.
#[inline(always)]
unsafe fn gather_rows<S: Simd, const K: usize, const STRIDE: usize, const AT_ONCE: usize>(
    frame: &Frame,
    framed: *const f32,
    gradient: *const f32,
    rows: usize,
    columns: usize,
    ky: usize,
    to: *mut f32,
) {
    let row = frame.part * STRIDE;
    // SAFETY: the frame has room for a vector past the last column; the gradient is read within its row
    unsafe {
        let mut sums = [[S::splat(0.0); K]; AT_ONCE];
        for y in 0..rows {
            let mut x = 0;
            while x < columns {
                let n = columns - x;
                let from = gradient.add(y * columns + x);
                let value = if n >= S::LANES { S::load(from) } else { S::load_partial(from, n) };
                for (k, sums) in sums.iter_mut().enumerate() {
                    let from = framed.add((y * STRIDE + ky + k) * row + x);
                    for (kx, sum) in sums.iter_mut().enumerate() {
                        let seen = S::load(from.add(kx % STRIDE * frame.part + kx / STRIDE));
                        *sum = S::mul_add(value, seen, *sum);
                    }
                }
                x += S::LANES;
            }
        }
        for (k, sums) in sums.iter().enumerate() {
            for (kx, sum) in sums.iter().enumerate() {
                *to.add((ky + k) * K + kx) += S::sum(*sum);
            }
        }
    }
}

dispatch! {
    unsafe fn spread(
        sizes: &Depthwise, frame: &Frame, framed: *const f32, weight: *const f32, rows: *mut f32, row: usize,
        to: *mut f32
    ) = spread_with
}

/// `V` vectors of the taps' sum, `x` columns after where each tap starts.
#[inline(always)]
unsafe fn tap_sums<S: Simd, const V: usize>(taps: &[(*const f32, f32)], x: usize, to: *mut f32) {
    // SAFETY: the caller's
    unsafe {
        let mut sums = [S::splat(0.0); V];
        for (from, weight) in taps {
            let weight = S::splat(*weight);
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = S::mul_add(S::load(from.add(x + v * S::LANES)), weight, *sum);
            }
        }
        for (v, sum) in sums.iter().enumerate() {
            S::store(to.add(v * S::LANES), *sum);
        }
    }
}

/// The input gradient of a strided convolution: columns with the same remainder see the same taps.
#[inline(always)]
unsafe fn spread_with<S: Simd>(
    sizes: &Depthwise,
    frame: &Frame,
    framed: *const f32,
    weight: *const f32,
    rows: *mut f32,
    row: usize,
    to: *mut f32,
) {
    let Depthwise { kernel, stride, padding, width, height, out_height, .. } = *sizes;
    for y in 0..height {
        for phase in 0..stride.min(width) {
            // Where each tap reads, from the first column of this phase on.
            let mut taps = [(std::ptr::null::<f32>(), 0.0f32); 128];
            let mut count = 0;
            for ky in 0..kernel {
                let Some(below) = (y + padding[0]).checked_sub(ky).filter(|below| below % stride == 0) else {
                    continue;
                };
                if below / stride >= out_height {
                    continue;
                }
                for kx in 0..kernel {
                    let right = (phase + padding[1]) as isize - kx as isize;
                    if right.rem_euclid(stride as isize) == 0 {
                        let start = frame.left as isize + right.div_euclid(stride as isize);
                        // SAFETY: within the frame, whose margin is as wide as the kernel reaches
                        taps[count] = unsafe {
                            (
                                framed.offset((below / stride * frame.part) as isize + start),
                                *weight.add(ky * kernel + kx),
                            )
                        };
                        count += 1;
                    }
                }
            }
            let columns = (width - phase).div_ceil(stride);
            let mut x = 0;
            // SAFETY: the frame has room for a vector past the last column, and so has the row
            unsafe {
                while x + 4 * S::LANES <= columns.next_multiple_of(S::LANES) {
                    tap_sums::<S, 4>(&taps[..count], x, rows.add(phase * row + x));
                    x += 4 * S::LANES;
                }
                while x < columns {
                    tap_sums::<S, 1>(&taps[..count], x, rows.add(phase * row + x));
                    x += S::LANES;
                }
            }
        }
        // SAFETY: within the plane and the rows of the phases
        unsafe {
            let to = std::slice::from_raw_parts_mut(to.add(y * width), width);
            if stride == 2 {
                let (pairs, odd) = to.as_chunks_mut::<2>();
                let count = pairs.len();
                for (i, pair) in pairs.iter_mut().enumerate() {
                    *pair = [*rows.add(i), *rows.add(row + i)];
                }
                if let [last] = odd {
                    *last = *rows.add(count);
                }
            } else {
                for (x, to) in to.iter_mut().enumerate() {
                    *to = *rows.add(x % stride * row + x / stride);
                }
            }
        }
    }
}
