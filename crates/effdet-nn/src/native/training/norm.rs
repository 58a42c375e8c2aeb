//! Batch normalisation and its activation, a channel at a time: its planes stay in the cache from pass to pass.

use super::parallel::{Shared, for_each};
use super::slope::{KINDS, by_activation, slope};
use crate::Activation;
use crate::native::activate;
use crate::native::simd::{Simd, dispatch};

/// Maps `[pictures, channels, pixels]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planes {
    pub pictures: usize,
    pub channels: usize,
    pub pixels: usize,
}

impl Planes {
    fn len(&self) -> usize {
        self.pictures * self.channels * self.pixels
    }

    fn count(&self) -> f64 {
        (self.pictures * self.pixels) as f64
    }
}

/// `activation((x - mean) / √(variance + ε) · weight + bias)` of each channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norm {
    pub planes: Planes,
    pub epsilon: f64,
    pub activation: Activation,
}

/// What a channel is normalised with.
#[derive(Clone, Copy)]
struct Affine {
    mean: f32,
    /// `1 / √(variance + ε)`
    inverse: f32,
    weight: f32,
    bias: f32,
}

impl Norm {
    fn affine(&self, mean: &[f32], variance: &[f32], weight: &[f32], bias: &[f32], channel: usize) -> Affine {
        Affine {
            mean: mean[channel],
            inverse: (1.0 / (f64::from(variance[channel]) + self.epsilon).sqrt()) as f32,
            weight: weight[channel],
            bias: bias[channel],
        }
    }

    /// Normalises with these statistics.
    pub(super) fn forward(
        &self,
        input: &[f32],
        [mean, variance]: [&[f32]; 2],
        [weight, bias]: [&[f32]; 2],
        output: &mut [f32],
    ) {
        assert!(input.len() == self.planes.len() && output.len() == self.planes.len());
        let to = Shared::new(output);
        for_each(self.planes.channels, |channel| {
            let affine = self.affine(mean, variance, weight, bias, channel);
            // SAFETY: the sizes are checked above; channels are different places
            unsafe { normalise(self, &affine, input.as_ptr(), channel, to.at(0)) };
        });
    }

    /// Computes statistics and normalises with them, the channel still in the cache.
    pub(super) fn forward_training(
        &self,
        input: &[f32],
        [weight, bias]: [&[f32]; 2],
        mean: &mut [f32],
        variance: &mut [f32],
        output: &mut [f32],
    ) {
        let Planes { channels, .. } = self.planes;
        assert!(input.len() == self.planes.len() && output.len() == self.planes.len());
        assert!(mean.len() == channels && variance.len() == channels);
        assert!(weight.len() == channels && bias.len() == channels);
        let (to, mean, variance) = (Shared::new(output), Shared::new(mean), Shared::new(variance));
        for_each(channels, |channel| {
            // SAFETY: the sizes are checked above; channels are different places
            unsafe {
                let (mean, variance) = (mean.at(channel), variance.at(channel));
                moments(&self.planes, input.as_ptr(), channel, mean, variance);
                let inverse = (1.0 / (f64::from(*variance) + self.epsilon).sqrt()) as f32;
                let affine = Affine { mean: *mean, inverse, weight: weight[channel], bias: bias[channel] };
                normalise(self, &affine, input.as_ptr(), channel, to.at(0));
            }
        });
    }

    /// `gradient`, by the output, becomes that by the input; the others are written. With `fixed` statistics the mean
    /// and the variance are constants, else they are those of the batch.
    #[allow(clippy::too_many_arguments, reason = "a kernel")]
    pub(super) fn backward(
        &self,
        input: &[f32],
        [mean, variance]: [&[f32]; 2],
        [weight, bias]: [&[f32]; 2],
        fixed: bool,
        gradient: &mut [f32],
        by_weight: &mut [f32],
        by_bias: &mut [f32],
    ) {
        let Planes { channels, .. } = self.planes;
        assert!(input.len() == self.planes.len() && gradient.len() == self.planes.len());
        assert!(by_weight.len() == channels && by_bias.len() == channels);
        let (to, by_weight, by_bias) = (Shared::new(gradient), Shared::new(by_weight), Shared::new(by_bias));
        for_each(channels, |channel| {
            let affine = self.affine(mean, variance, weight, bias, channel);
            let input = input.as_ptr();
            // SAFETY: the sizes are checked above; channels are different places
            unsafe {
                differentiate(
                    self,
                    &affine,
                    input,
                    channel,
                    to.at(0),
                    by_weight.at(channel),
                    by_bias.at(channel),
                );
                let (sum, dot) = (*by_bias.at(channel), *by_weight.at(channel));
                let count = if fixed { f32::INFINITY } else { self.planes.count() as f32 };
                centre(&self.planes, &affine, input, channel, [sum / count, dot / count], to.at(0));
            }
        });
    }
}

/// The passes of [`Norm`] one by one, for a batch that is spread over workers.
impl Norm {
    /// Values of a channel.
    pub(super) fn count(&self) -> f64 {
        self.planes.count()
    }

    /// Mean and biased variance of each channel.
    pub(super) fn statistics(&self, input: &[f32], mean: &mut [f32], variance: &mut [f32]) {
        let Planes { channels, .. } = self.planes;
        assert!(input.len() == self.planes.len() && mean.len() == channels && variance.len() == channels);
        let (mean, variance) = (Shared::new(mean), Shared::new(variance));
        for_each(channels, |channel| {
            // SAFETY: the sizes are checked above; channels are different places
            unsafe {
                moments(&self.planes, input.as_ptr(), channel, mean.at(channel), variance.at(channel));
            }
        });
    }

    /// `gradient`, by the output, becomes that by the activation's input; the others are written.
    pub(super) fn backward_activation(
        &self,
        input: &[f32],
        [mean, variance]: [&[f32]; 2],
        [weight, bias]: [&[f32]; 2],
        gradient: &mut [f32],
        [by_weight, by_bias]: [&mut [f32]; 2],
    ) {
        let Planes { channels, .. } = self.planes;
        assert!(input.len() == self.planes.len() && gradient.len() == self.planes.len());
        assert!(by_weight.len() == channels && by_bias.len() == channels);
        let (to, by_weight, by_bias) = (Shared::new(gradient), Shared::new(by_weight), Shared::new(by_bias));
        for_each(channels, |channel| {
            let affine = self.affine(mean, variance, weight, bias, channel);
            // SAFETY: the sizes are checked above; channels are different places
            unsafe {
                let (by_weight, by_bias) = (by_weight.at(channel), by_bias.at(channel));
                differentiate(self, &affine, input.as_ptr(), channel, to.at(0), by_weight, by_bias);
            }
        });
    }

    /// `gradient`, by the activation's input, becomes that by the input. `means` are those over the whole batch of the
    /// gradient and of its products with the normalised input.
    pub(super) fn backward_statistics(
        &self,
        input: &[f32],
        [mean, variance]: [&[f32]; 2],
        [weight, bias]: [&[f32]; 2],
        means: [&[f32]; 2],
        gradient: &mut [f32],
    ) {
        assert!(input.len() == self.planes.len() && gradient.len() == self.planes.len());
        let to = Shared::new(gradient);
        for_each(self.planes.channels, |channel| {
            let affine = self.affine(mean, variance, weight, bias, channel);
            let means = means.map(|means| means[channel]);
            // SAFETY: the sizes are checked above; channels are different places
            unsafe { centre(&self.planes, &affine, input.as_ptr(), channel, means, to.at(0)) };
        });
    }
}

/// Adds to each sum over a channel's pixels, `[pictures, channels, pixels]`.
pub(super) fn channel_sums(planes: Planes, values: &[f32], sums: &mut [f32]) {
    assert!(values.len() == planes.len() && sums.len() == planes.channels);
    let sums = Shared::new(sums);
    for_each(planes.channels, |channel| {
        // SAFETY: the sizes are checked above; channels are different places
        unsafe { sum_channel(&planes, values.as_ptr(), channel, sums.at(channel)) };
    });
}

/// Numbers summed in single precision before the sum goes on in double.
const RUN: usize = 2048;

/// The sum of `term` over a channel.
#[inline(always)]
unsafe fn sum_over<S: Simd>(
    planes: &Planes,
    values: *const f32,
    channel: usize,
    term: impl Fn(S::V) -> S::V,
) -> f64 {
    let mut total = 0.0;
    for picture in 0..planes.pictures {
        // SAFETY: the caller's
        let plane = unsafe { values.add((picture * planes.channels + channel) * planes.pixels) };
        let mut start = 0;
        while start < planes.pixels {
            let count = RUN.min(planes.pixels - start);
            // SAFETY: within the plane
            unsafe {
                let from = plane.add(start);
                let mut sums = [S::splat(0.0); 4];
                let mut i = 0;
                while i + 4 * S::LANES <= count {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = S::add(*sum, term(S::load(from.add(i + v * S::LANES))));
                    }
                    i += 4 * S::LANES;
                }
                while i + S::LANES <= count {
                    sums[0] = S::add(sums[0], term(S::load(from.add(i))));
                    i += S::LANES;
                }
                let mut rest = 0.0;
                if i < count {
                    let mut last = [0.0f32; 16];
                    S::store(last.as_mut_ptr(), term(S::load_partial(from.add(i), count - i)));
                    rest = last[..count - i].iter().sum();
                }
                let sum = S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]));
                total += f64::from(S::sum(sum) + rest);
            }
            start += count;
        }
    }
    total
}

dispatch! {
    unsafe fn sum_channel(planes: &Planes, values: *const f32, channel: usize, to: *mut f32) = sum_channel_with
}

#[inline(always)]
unsafe fn sum_channel_with<S: Simd>(planes: &Planes, values: *const f32, channel: usize, to: *mut f32) {
    // SAFETY: the caller's
    unsafe {
        *to += sum_over::<S>(
            planes,
            values,
            channel,
            #[inline(always)]
            |x| x,
        ) as f32
    };
}

dispatch! {
    unsafe fn moments(
        planes: &Planes, input: *const f32, channel: usize, mean: *mut f32, variance: *mut f32
    ) = moments_with
}

#[inline(always)]
unsafe fn moments_with<S: Simd>(
    planes: &Planes,
    input: *const f32,
    channel: usize,
    mean: *mut f32,
    variance: *mut f32,
) {
    // SAFETY: the caller's
    unsafe {
        let average = (sum_over::<S>(
            planes,
            input,
            channel,
            #[inline(always)]
            |x| x,
        ) / planes.count()) as f32;
        let centre = S::splat(average);
        let squares = sum_over::<S>(
            planes,
            input,
            channel,
            #[inline(always)]
            |x| {
                let off = S::sub(x, centre);
                S::mul(off, off)
            },
        );
        *mean = average;
        *variance = (squares / planes.count()) as f32;
    }
}

dispatch! {
    unsafe fn normalise(
        norm: &Norm, affine: &Affine, input: *const f32, channel: usize, output: *mut f32
    ) = normalise_with
}

#[inline(always)]
unsafe fn normalise_with<S: Simd>(
    norm: &Norm,
    affine: &Affine,
    input: *const f32,
    channel: usize,
    output: *mut f32,
) {
    // SAFETY: the caller's
    unsafe {
        by_activation!(norm.activation, normalise_all::<S>(&norm.planes, affine, input, channel, output))
    }
}

#[inline(always)]
unsafe fn normalise_all<S: Simd, const A: usize>(
    planes: &Planes,
    affine: &Affine,
    input: *const f32,
    channel: usize,
    output: *mut f32,
) {
    // SAFETY: the caller's
    unsafe {
        let (mean, bias) = (S::splat(affine.mean), S::splat(affine.bias));
        let scale = S::splat(affine.inverse * affine.weight);
        for picture in 0..planes.pictures {
            let offset = (picture * planes.channels + channel) * planes.pixels;
            let (from, to) = (input.add(offset), output.add(offset));
            let mut i = 0;
            while i < planes.pixels {
                let n = S::LANES.min(planes.pixels - i);
                let x = if n == S::LANES { S::load(from.add(i)) } else { S::load_partial(from.add(i), n) };
                let y = activate::one::<S>(KINDS[A], S::mul_add(S::sub(x, mean), scale, bias));
                if n == S::LANES {
                    S::store(to.add(i), y);
                } else {
                    S::store_partial(to.add(i), y, n);
                }
                i += S::LANES;
            }
        }
    }
}

dispatch! {
    unsafe fn differentiate(
        norm: &Norm, affine: &Affine, input: *const f32, channel: usize, gradient: *mut f32, by_weight: *mut f32,
        by_bias: *mut f32
    ) = differentiate_with
}

#[inline(always)]
unsafe fn differentiate_with<S: Simd>(
    norm: &Norm,
    affine: &Affine,
    input: *const f32,
    channel: usize,
    gradient: *mut f32,
    by_weight: *mut f32,
    by_bias: *mut f32,
) {
    // SAFETY: the caller's
    unsafe {
        by_activation!(
            norm.activation,
            differentiate_all::<S>(&norm.planes, affine, input, channel, gradient, by_weight, by_bias)
        )
    }
}

/// `gradient` becomes that by the activation's input; its sum and that of its products with the normalised input are
/// the gradients by bias and weight.
#[inline(always)]
unsafe fn differentiate_all<S: Simd, const A: usize>(
    planes: &Planes,
    affine: &Affine,
    input: *const f32,
    channel: usize,
    gradient: *mut f32,
    by_weight: *mut f32,
    by_bias: *mut f32,
) {
    // SAFETY: the caller's
    unsafe {
        let (mean, inverse) = (S::splat(affine.mean), S::splat(affine.inverse));
        let (weight, bias) = (S::splat(affine.weight), S::splat(affine.bias));
        let (mut dot, mut sum) = (0.0, 0.0);
        for picture in 0..planes.pictures {
            let offset = (picture * planes.channels + channel) * planes.pixels;
            let mut start = 0;
            while start < planes.pixels {
                let count = RUN.min(planes.pixels - start);
                let (from, to) = (input.add(offset + start), gradient.add(offset + start));
                let mut dots = [S::splat(0.0); 2];
                let mut sums = [S::splat(0.0); 2];
                let mut i = 0;
                while i + 2 * S::LANES <= count {
                    for v in 0..2 {
                        let at = i + v * S::LANES;
                        let x = S::mul(S::sub(S::load(from.add(at)), mean), inverse);
                        let mut g = S::load(to.add(at));
                        if A != 0 {
                            g = S::mul(g, slope::<S>(KINDS[A], S::mul_add(x, weight, bias)));
                            S::store(to.add(at), g);
                        }
                        dots[v] = S::mul_add(g, x, dots[v]);
                        sums[v] = S::add(sums[v], g);
                    }
                    i += 2 * S::LANES;
                }
                while i < count {
                    let n = S::LANES.min(count - i);
                    let x = S::mul(S::sub(S::load_partial(from.add(i), n), mean), inverse);
                    // Zero in the lanes that are not there.
                    let mut g = S::load_partial(to.add(i), n);
                    if A != 0 {
                        g = S::mul(g, slope::<S>(KINDS[A], S::mul_add(x, weight, bias)));
                        S::store_partial(to.add(i), g, n);
                    }
                    dots[0] = S::mul_add(g, x, dots[0]);
                    sums[0] = S::add(sums[0], g);
                    i += S::LANES;
                }
                dot += f64::from(S::sum(S::add(dots[0], dots[1])));
                sum += f64::from(S::sum(S::add(sums[0], sums[1])));
                start += count;
            }
        }
        *by_weight = dot as f32;
        *by_bias = sum as f32;
    }
}

dispatch! {
    unsafe fn centre(
        planes: &Planes, affine: &Affine, input: *const f32, channel: usize, means: [f32; 2], gradient: *mut f32
    ) = centre_with
}

/// `(g - mean(g) - x̂ · mean(g · x̂)) · weight / √(variance + ε)`
#[inline(always)]
unsafe fn centre_with<S: Simd>(
    planes: &Planes,
    affine: &Affine,
    input: *const f32,
    channel: usize,
    [mean_gradient, mean_product]: [f32; 2],
    gradient: *mut f32,
) {
    // g·k - (x - mean)·a - b
    let scale = affine.weight * affine.inverse;
    // SAFETY: the caller's
    unsafe {
        let (k, mean) = (S::splat(scale), S::splat(affine.mean));
        let a = S::splat(-scale * affine.inverse * mean_product);
        let b = S::splat(-scale * mean_gradient);
        for picture in 0..planes.pictures {
            let offset = (picture * planes.channels + channel) * planes.pixels;
            let (from, to) = (input.add(offset), gradient.add(offset));
            let mut i = 0;
            while i < planes.pixels {
                let n = S::LANES.min(planes.pixels - i);
                if n == S::LANES {
                    let off = S::sub(S::load(from.add(i)), mean);
                    let g = S::mul_add(S::load(to.add(i)), k, S::mul_add(off, a, b));
                    S::store(to.add(i), g);
                } else {
                    let off = S::sub(S::load_partial(from.add(i), n), mean);
                    let g = S::mul_add(S::load_partial(to.add(i), n), k, S::mul_add(off, a, b));
                    S::store_partial(to.add(i), g, n);
                }
                i += S::LANES;
            }
        }
    }
}
