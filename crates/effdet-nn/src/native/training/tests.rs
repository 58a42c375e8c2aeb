#![allow(clippy::unwrap_used, reason = "a test")]

use std::cell::Cell;

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData, module};

use super::{Convolution, activate, batch_norm, convolve, focal_negatives, frozen_norm, with_gradient};
use crate::{Activation, Padding};

/// The largest difference, in units of the root mean square of what is expected.
fn off<const D: usize>(found: Tensor<D>, expected: Tensor<D>) -> f32 {
    assert_eq!(found.dims(), expected.dims());
    let scale = expected.clone().powf_scalar(2.0).mean().sqrt().into_scalar::<f32>().max(1e-3);
    (found - expected).abs().max().into_scalar::<f32>() / scale
}

/// Single precision's rounding, added up over some thousand products.
const TOLERANCE: f32 = 2e-5;

/// Numbers of mean 0 and variance 1: the same in every run of a test, other ones at every call.
fn noise<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    thread_local!(static STATE: Cell<u64> = const { Cell::new(0) });
    let uniform = || {
        let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        STATE.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 40) as f32 / (1_u64 << 24) as f32
    };
    // twelve uniform numbers have a variance of one
    let values: Vec<f32> =
        (0..shape.iter().product()).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff()).require_grad()
}

struct Case {
    input: [usize; 4],
    out_channels: usize,
    kernel: usize,
    stride: usize,
    groups: usize,
    padding: Padding,
    dilation: usize,
    bias: bool,
}

impl Case {
    fn check(&self) {
        let &Case { input: [batch, channels, height, width], out_channels, kernel, stride, groups, .. } =
            self;
        let pad = |size| self.padding.amount(size, kernel, stride, self.dilation);
        let padding = [pad(height), pad(width)];
        let input = noise([batch, channels, height, width]);
        let weight = noise([out_channels, channels / groups, kernel, kernel]);
        let bias = self.bias.then(|| noise([out_channels]));
        let sizes = Convolution {
            input: input.dims(),
            out_channels,
            kernel: [kernel; 2],
            stride,
            dilation: self.dilation,
            groups,
            padding,
        };
        let found = convolve(&input, &weight, bias.as_ref(), sizes).unwrap();
        let options = ConvOptions::new_with_padding([stride; 2], padding, [self.dilation; 2], groups);
        let expected = module::conv2d(input.clone(), weight.clone(), bias.clone(), options);
        let factors = noise(expected.dims()).detach();
        let mut worst = [off(found.clone().inner(), expected.clone().inner()), 0.0, 0.0, 0.0];
        let found = (found * factors.clone()).sum().backward();
        let expected = (expected * factors).sum().backward();
        worst[1] = off(input.grad(&found).unwrap(), input.grad(&expected).unwrap());
        worst[2] = off(weight.grad(&found).unwrap(), weight.grad(&expected).unwrap());
        if let Some(bias) = bias {
            worst[3] = off(bias.grad(&found).unwrap(), bias.grad(&expected).unwrap());
        }
        assert!(
            worst.iter().all(|worst| *worst < TOLERANCE),
            "{:?} by {kernel}, stride {stride}, {groups} groups, {:?}: {worst:?}",
            self.input,
            self.padding
        );
    }
}

const SIZES: [[usize; 2]; 7] = [[1, 1], [3, 1], [1, 6], [7, 5], [12, 16], [17, 33], [40, 51]];

#[test]
fn a_pointwise_convolution_has_the_composition_s_values_and_gradients() {
    for [height, width] in SIZES {
        for (batch, channels, out_channels) in [(1, 3, 1), (2, 5, 17), (3, 16, 8), (1, 33, 49), (2, 64, 7)] {
            let input = [batch, channels, height, width];
            let bias = batch > 1;
            let padding = Padding::Same;
            Case { input, out_channels, kernel: 1, stride: 1, groups: 1, padding, dilation: 1, bias }.check();
        }
    }
}

#[test]
fn a_depthwise_convolution_has_the_composition_s_values_and_gradients() {
    for [height, width] in SIZES {
        for kernel in [2, 3, 5, 7, 9, 11] {
            for stride in [1, 2] {
                for padding in [Padding::Same, Padding::Symmetric] {
                    let (batch, channels) = if kernel == 3 { (2, 5) } else { (1, 2) };
                    let out = |size: usize| {
                        let (before, after) = padding.amount(size, kernel, stride, 1);
                        size + before + after >= kernel
                    };
                    if !out(height) || !out(width) {
                        continue;
                    }
                    Case {
                        input: [batch, channels, height, width],
                        out_channels: channels,
                        kernel,
                        stride,
                        groups: channels,
                        padding,
                        dilation: 1,
                        bias: kernel == 5,
                    }
                    .check();
                }
            }
        }
    }
}

#[test]
fn any_other_convolution_has_the_composition_s_values_and_gradients() {
    for [height, width] in SIZES {
        for (kernel, stride, dilation, groups) in
            [(3, 1, 1, 1), (3, 2, 1, 1), (1, 2, 1, 1), (7, 2, 1, 1), (3, 1, 2, 1), (3, 2, 1, 2), (4, 4, 1, 1)]
        {
            for padding in [Padding::Same, Padding::Symmetric] {
                let reach = (kernel - 1) * dilation + 1;
                let fits = |size: usize| {
                    let (before, after) = padding.amount(size, kernel, stride, dilation);
                    size + before + after >= reach
                };
                if !fits(height) || !fits(width) {
                    continue;
                }
                Case {
                    input: [2, 8, height, width],
                    out_channels: 10,
                    kernel,
                    stride,
                    groups,
                    padding,
                    dilation,
                    bias: stride == 2,
                }
                .check();
            }
        }
    }
}

const ACTIVATIONS: [Activation; 9] = super::slope::KINDS;

#[test]
fn batch_norm_has_the_composition_s_values_and_gradients() {
    for (shape, activation) in [[2, 3, 5, 7], [1, 4, 1, 9], [3, 2, 64, 65], [2, 5, 16, 16]]
        .into_iter()
        .flat_map(|shape| ACTIVATIONS.map(|activation| (shape, activation)))
    {
        let [_, channels, ..] = shape;
        let (input, weight, bias) = (noise(shape), noise([channels]), noise([channels]));
        let running = [(); 2].map(|()| noise([channels]).detach());
        let (found, [mean, variance]) =
            batch_norm(&input, [&weight, &bias], running.each_ref(), (1e-3, 0.25), activation).unwrap();
        let result = module::batch_norm_train(input.clone(), weight.clone(), bias.clone(), 1e-3);
        let expected = activation.forward(result.output);
        let factors = noise(shape).detach();
        let values = (shape[0] * shape[2] * shape[3]) as f64;
        let [old_mean, old_variance] = running;
        let blended_mean = old_mean * 0.75 + result.mean * 0.25;
        let blended_variance = old_variance * 0.75 + result.variance * (values / (values - 1.0)) * 0.25;
        let mut worst = vec![
            off(found.clone().inner(), expected.clone().inner()),
            off(mean.inner(), blended_mean.inner()),
            off(variance.inner(), blended_variance.inner()),
        ];
        let found = (found * factors.clone()).sum().backward();
        let expected = (expected * factors).sum().backward();
        worst.push(off(input.grad(&found).unwrap(), input.grad(&expected).unwrap()));
        worst.push(off(weight.grad(&found).unwrap(), weight.grad(&expected).unwrap()));
        worst.push(off(bias.grad(&found).unwrap(), bias.grad(&expected).unwrap()));
        assert!(worst.iter().all(|worst| *worst < 5.0 * TOLERANCE), "{shape:?} {activation}: {worst:?}");
    }
}

#[test]
fn a_frozen_norm_has_the_composition_s_values_and_gradients() {
    for (shape, activation) in [[2, 3, 5, 7], [1, 4, 1, 9], [3, 2, 64, 65]]
        .into_iter()
        .flat_map(|shape| ACTIVATIONS.map(|activation| (shape, activation)))
    {
        let [_, channels, ..] = shape;
        let (input, weight, bias) = (noise(shape), noise([channels]), noise([channels]));
        let (mean, variance) = (noise([channels]).detach(), noise([channels]).detach().abs());
        let found = frozen_norm(&input, [&mean, &variance], [&weight, &bias], 1e-3, activation).unwrap();
        let [m, v, w, b] =
            [mean, variance, weight.clone(), bias.clone()].map(|t| t.reshape([1, channels, 1, 1]));
        let expected = activation.forward((input.clone() - m) / v.add_scalar(1e-3).sqrt() * w + b);
        let factors = noise(shape).detach();
        let mut worst = vec![off(found.clone().inner(), expected.clone().inner())];
        let found = (found * factors.clone()).sum().backward();
        let expected = (expected * factors).sum().backward();
        worst.push(off(input.grad(&found).unwrap(), input.grad(&expected).unwrap()));
        worst.push(off(weight.grad(&found).unwrap(), weight.grad(&expected).unwrap()));
        worst.push(off(bias.grad(&found).unwrap(), bias.grad(&expected).unwrap()));
        assert!(worst.iter().all(|worst| *worst < 5.0 * TOLERANCE), "{shape:?} {activation}: {worst:?}");
    }
}

#[test]
fn the_focal_loss_of_negatives_and_its_derivative_equal_double_precision() {
    let values: Vec<f32> =
        (-3000..3000).map(|i| i as f32 * 0.01).chain([-200.0, -90.0, 90.0, 200.0]).collect();
    let count = values.len();
    let logits = Tensor::<1>::from_floats(values.as_slice(), &Device::flex()).reshape([1, 1, 1, count]);
    let (gamma, half, scale) = (1.5, 0.05, 0.75);
    let (loss, derivative) = focal_negatives(&logits, gamma, half, scale).unwrap();
    let derivative = derivative.into_data().try_to_vec::<f32>().unwrap();
    let mut sum = 0.0;
    for (x, found) in values.iter().zip(derivative) {
        let x = f64::from(*x);
        let p = 1.0 / (1.0 + (-x).exp());
        let entropy = x.max(0.0) + (-x.abs()).exp().ln_1p() - half * x;
        let rest = 1.0 / (1.0 + x.exp());
        sum += scale * p.powf(gamma) * entropy;
        let expected = scale * p.powf(gamma) * (gamma * rest * entropy + p - half);
        assert!(
            (f64::from(found) - expected).abs() < 1e-5 * expected.abs() + 1e-12,
            "{x}: {found} {expected}"
        );
    }
    assert!((f64::from(loss.into_scalar::<f32>()) - sum).abs() < 1e-5 * sum.abs());
}

#[test]
fn a_value_with_a_given_gradient_has_it() {
    let (input, plain) = (noise([2, 3, 4, 5]), Device::flex());
    let gradient = noise([2, 3, 4, 5]).inner();
    let value = Tensor::<1>::from_floats([7.0], &plain);
    for factor in [1.0, -3.0] {
        let output = with_gradient(&input, &value, &gradient).unwrap() * factor;
        assert_eq!(output.clone().into_scalar::<f32>(), 7.0 * factor);
        let found = input.grad(&output.sum().backward()).unwrap();
        assert_eq!(off(found, gradient.clone() * factor), 0.0);
    }
}

#[test]
fn activations_have_the_composition_s_values_and_gradients() {
    for activation in ACTIVATIONS {
        for shape in [[1, 1, 1, 1], [2, 3, 5, 7], [1, 40, 33, 31]] {
            let input = noise(shape) * 3.0;
            let input = input.detach().require_grad();
            let Some(found) = activate(&input, activation) else {
                assert_eq!(activation, Activation::Identity);
                continue;
            };
            let expected = activation.forward(input.clone());
            let factors = noise(shape).detach();
            let mut worst = [off(found.clone().inner(), expected.clone().inner()), 0.0];
            let found = (found * factors.clone()).sum().backward();
            let expected = (expected * factors).sum().backward();
            worst[1] = off(input.grad(&found).unwrap(), input.grad(&expected).unwrap());
            assert!(worst.iter().all(|worst| *worst < TOLERANCE), "{shape:?} {activation}: {worst:?}");
        }
    }
}

#[test]
fn a_gradient_does_not_depend_on_the_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let device = Device::flex().autodiff();
            let value = |shape: [usize; 4]| {
                let count = shape.iter().product::<usize>() as i64;
                let values = Tensor::<1, burn::tensor::Int>::arange(0..count, &device).float();
                (values * 0.7).sin().reshape(shape).require_grad()
            };
            let (input, weight) = (value([3, 24, 33, 17]), value([40, 24, 1, 1]));
            let (depthwise, dense) = (value([40, 1, 5, 5]), value([8, 40, 3, 3]));
            let sizes = |input: &Tensor<4>, out_channels, kernel: usize, groups| Convolution {
                input: input.dims(),
                out_channels,
                kernel: [kernel; 2],
                stride: 1,
                dilation: 1,
                groups,
                padding: [(kernel / 2, kernel / 2); 2],
            };
            let y = convolve(&input, &weight, None, sizes(&input, 40, 1, 1)).unwrap();
            let (gamma, beta) = (Tensor::ones([40], &device), Tensor::zeros([40], &device));
            let running = [&beta, &gamma];
            let (y, _) = batch_norm(&y, [&gamma, &beta], running, (1e-3, 0.1), Activation::Swish).unwrap();
            let y = convolve(&y, &depthwise, None, sizes(&y, 40, 5, 40)).unwrap();
            let y = convolve(&y, &dense, None, sizes(&y, 8, 3, 1)).unwrap();
            let gradients = activate(&y, Activation::Swish).unwrap().sum().backward();
            [&input, &weight, &depthwise, &dense]
                .map(|tensor| tensor.grad(&gradients).unwrap().into_data().try_to_vec::<f32>().unwrap())
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(5));
}
