//! Layers trained on a device of CubeCL beside the same layers on the processor: outputs, statistics and gradients.
//!
//! ```sh
//! EFFDET_DEVICE=wgpu cargo test -p effdet-nn --features flex,wgpu --test device_training
//! ```
#![cfg(all(feature = "cube", feature = "flex"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Distribution, Gradients, Tensor};
use effdet_nn::{
    Activation, BatchNorm, BatchNormConfig, Conv2d, Conv2dConfig, FeatureMap, Padding, Pool, ResizeMode,
    WeightNorm,
};

fn device() -> Device {
    let name = std::env::var("EFFDET_DEVICE").unwrap_or_else(|_| "wgpu".to_owned());
    effdet_nn::device(&name).unwrap().autodiff()
}

/// In root mean squares of what is expected. Tensor cores take single precision in ten bits of mantissa.
fn allowed() -> f32 {
    if std::env::var("EFFDET_DEVICE").is_ok_and(|name| name.starts_with("cuda")) { 1e-2 } else { 5e-5 }
}

/// A layer with what follows it.
#[derive(Module, Debug)]
struct Layers {
    conv: Option<Conv2d>,
    norm: Option<BatchNorm>,
    #[module(skip)]
    activation: Activation,
}

impl Layers {
    fn forward(&self, mut map: Tensor<4>) -> Tensor<4> {
        if let Some(conv) = &self.conv {
            map = conv.forward(map);
        }
        if let Some(norm) = &self.norm {
            map = norm.forward(map);
        }
        FeatureMap::activate(map, self.activation)
    }
}

/// Moves a module's parameters to a device, with their values.
struct Move(Device);

impl ModuleMapper for Move {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, value, mapper) = param.consume();
        let moved = Tensor::from_data(value.inner().into_data(), &self.0).require_grad();
        Param::from_mapped_value(id, moved, mapper)
    }
}

struct GradientsOf<'a>(&'a Gradients, Vec<Vec<f32>>);

impl ModuleVisitor for GradientsOf<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad(self.0) {
            self.1.push(gradient.into_data().try_to_vec().unwrap());
        }
    }
}

/// Output, gradient of the input, gradients of the parameters.
fn compute(layers: &Layers, input: &Tensor<4>, factors: &Tensor<4>, device: &Device) -> Vec<Vec<f32>> {
    let on = |tensor: &Tensor<4>| Tensor::<4>::from_data(tensor.clone().into_data(), device);
    let layers = layers.clone().map(&mut Move(device.clone()));
    let input = on(input).require_grad();
    let output = layers.forward(input.clone());
    // a map that two operations take, so that gradients are added too
    let sum = (output.clone() * on(factors)).sum() + output.clone().mean();
    let gradients = sum.backward();
    let mut all = vec![
        output.into_data().try_to_vec().unwrap(),
        input.grad(&gradients).unwrap().into_data().try_to_vec().unwrap(),
    ];
    let mut visitor = GradientsOf(&gradients, Vec::new());
    layers.visit(&mut visitor);
    all.extend(visitor.1);
    if let Some(norm) = &layers.norm {
        all.push(norm.running_mean.value().into_data().try_to_vec().unwrap());
        all.push(norm.running_var.value().into_data().try_to_vec().unwrap());
    }
    all
}

fn check(name: &str, layers: &Layers, shape: [usize; 4]) {
    let host = Device::flex().autodiff();
    host.seed(3);
    let plain = host.clone().inner();
    let input = Tensor::<4>::random(shape, Distribution::Normal(0.3, 1.0), &plain);
    let dims = layers.clone().valid().forward(input.clone()).dims();
    let factors = Tensor::<4>::random(dims, Distribution::Normal(0.0, 1.0), &plain);
    let expected = compute(layers, &input, &factors, &host);
    let found = compute(layers, &input, &factors, &device());
    same(&format!("{name} on {shape:?}"), &found, &expected);
}

fn same(name: &str, found: &[Vec<f32>], expected: &[Vec<f32>]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (part, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{name}, part {part}");
        let scale = (expected.iter().map(|v| v * v).sum::<f32>() / expected.len() as f32).sqrt().max(1e-3);
        let off = found.iter().zip(expected).map(|(a, b)| {
            let off = (a - b).abs() / scale;
            if off.is_nan() { f32::INFINITY } else { off }
        });
        let off = off.fold(0.0, f32::max);
        assert!(off < allowed(), "{name}, part {part}: {off}");
    }
}

/// Compares a function of maps, and its gradients by all of them.
fn check_function(name: &str, shapes: &[[usize; 4]], function: impl Fn(Vec<Tensor<4>>) -> Tensor<4>) {
    let host = Device::flex();
    host.seed(4);
    let inputs: Vec<Tensor<4>> =
        shapes.iter().map(|shape| Tensor::random(*shape, Distribution::Normal(0.3, 1.0), &host)).collect();
    let factors = Tensor::<4>::random(function(inputs.clone()).dims(), Distribution::Normal(0.0, 1.0), &host);
    let numbers = |tensor: Tensor<4>| tensor.into_data().try_to_vec::<f32>().unwrap();
    let compute = |device: &Device| {
        let on = |tensor: &Tensor<4>| Tensor::<4>::from_data(tensor.clone().into_data(), device);
        let inputs: Vec<Tensor<4>> = inputs.iter().map(|input| on(input).require_grad()).collect();
        let output = function(inputs.clone());
        let gradients = ((output.clone() * on(&factors)).sum() + output.clone().mean()).backward();
        let mut all = vec![numbers(output)];
        all.extend(inputs.iter().map(|input| numbers(input.grad(&gradients).unwrap())));
        all
    };
    same(&format!("{name} on {shapes:?}"), &compute(&device()), &compute(&host.autodiff()));
}

fn conv(config: Conv2dConfig) -> Layers {
    let device = Device::flex().autodiff();
    Layers { conv: Some(config.init(&device)), norm: None, activation: Activation::Identity }
}

#[test]
fn pointwise_convolutions_have_the_host_s_gradients() {
    for (channels, out) in [(3, 5), (8, 8), (16, 70), (66, 24), (40, 130)] {
        for [height, width] in [[1, 1], [7, 5], [33, 31]] {
            let config = Conv2dConfig::new(channels, out, 1).with_bias(channels == 8);
            check("pointwise", &conv(config), [2, channels, height, width]);
        }
    }
}

#[test]
fn depthwise_convolutions_have_the_host_s_gradients() {
    for channels in [3, 16, 40] {
        for (kernel, stride, dilation) in [(3, 1, 1), (3, 2, 1), (5, 1, 1), (5, 2, 1), (3, 1, 2), (7, 1, 1)] {
            for padding in [Padding::Same, Padding::Symmetric] {
                let config = Conv2dConfig::depthwise(channels, kernel)
                    .with_stride(stride)
                    .with_dilation(dilation)
                    .with_padding(padding)
                    .with_bias(kernel == 5);
                check("depthwise", &conv(config), [2, channels, 17, 14]);
            }
        }
    }
}

#[test]
fn dense_convolutions_have_the_host_s_gradients() {
    for (channels, kernel, stride, dilation) in
        [(3, 3, 2, 1), (3, 3, 1, 1), (8, 3, 2, 1), (8, 5, 1, 1), (8, 1, 2, 1), (6, 3, 1, 2)]
    {
        for padding in [Padding::Same, Padding::Symmetric] {
            let config = Conv2dConfig::new(channels, 10, kernel)
                .with_stride(stride)
                .with_dilation(dilation)
                .with_padding(padding)
                .with_bias(stride == 2);
            check("dense", &conv(config), [2, channels, 16, 19]);
        }
    }
}

#[test]
fn batch_norms_have_the_host_s_gradients_and_statistics() {
    let device = Device::flex().autodiff();
    for activation in [
        Activation::Identity,
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu,
        Activation::Swish,
        Activation::HardSwish,
        Activation::HardSigmoid,
        Activation::Sigmoid,
        Activation::Mish,
    ] {
        for (channels, size) in [(3, [5, 7]), (16, [1, 1]), (20, [32, 32]), (130, [9, 9])] {
            let norm = BatchNormConfig::new(channels).with_activation(activation).init(&device);
            let shape = [3, channels, size[0], size[1]];
            let layers = Layers { conv: None, norm: Some(norm), activation: Activation::Identity };
            check("batch norm", &layers, shape);
            check("frozen batch norm", &layers.clone().map_norm(BatchNorm::freeze), shape);
            let layers = Layers { conv: None, norm: None, activation };
            check("activation", &layers, shape);
        }
    }
}

#[test]
fn what_is_computed_between_layers_has_the_host_s_gradients() {
    for channels in [3, 24, 130] {
        for [height, width] in [[1, 1], [7, 9], [40, 32]] {
            let map = [2, channels, height, width];
            check_function("mean", &[map], |maps| maps[0].clone().global_mean());
            for factors in [[2, channels], [1, channels], [1, 1], [2, 1]] {
                let factors = [factors[0], factors[1], 1, 1];
                check_function("gate", &[map, factors], |maps| maps[0].clone().gate(maps[1].clone()));
            }
            for inputs in [2, 3] {
                for by_channel in [1, channels] {
                    let mut shapes = vec![map; inputs];
                    shapes.push([inputs, by_channel, 1, 1]);
                    for norm in [WeightNorm::Relu, WeightNorm::Softmax] {
                        // Of three weights one counts as zero. Of two both count: with one alone the gradients are
                        // differences of nearly equal numbers, and the host's are lost in rounding.
                        let signs = Tensor::<1>::from_floats([1.0, 1.0, -1.0], &Device::flex());
                        let signs = signs.narrow(0, 0, inputs).reshape([inputs, 1, 1, 1]).into_data();
                        check_function(&format!("sum by {norm:?}"), &shapes, |mut maps| {
                            let weights = maps.pop().unwrap();
                            let signs = Tensor::<4>::from_data(signs.clone(), &weights.device());
                            let weights = weights.abs().add_scalar(0.2) * signs;
                            FeatureMap::weighted_sum(maps, weights, norm).unwrap()
                        });
                    }
                }
            }
        }
    }
}

#[test]
fn resized_maps_have_the_host_s_gradients() {
    for mode in [ResizeMode::Nearest, ResizeMode::Bilinear, ResizeMode::Bicubic] {
        for (from, to) in [([4, 5], [8, 10]), ([9, 7], [5, 4]), ([5, 4], [17, 7])] {
            let shape = [2, 8, from[0], from[1]];
            check_function(&format!("{mode:?} to {to:?}"), &[shape], |maps| maps[0].clone().resize(to, mode));
        }
    }
}

#[test]
fn pools_have_the_host_s_gradients() {
    for channels in [3, 24] {
        for (kernel, stride) in
            [([3, 3], [2, 2]), ([2, 2], [2, 2]), ([3, 3], [1, 1]), ([3, 1], [2, 1]), ([5, 9], [4, 8])]
        {
            for padding in [Padding::Same, Padding::Symmetric] {
                for pool in [Pool::Max, Pool::Average] {
                    let name = format!("{pool:?} of {kernel:?} by {stride:?}, {padding:?}");
                    check_function(&name, &[[2, channels, 17, 14]], |maps| {
                        maps[0].clone().pool2d(pool, kernel, stride, padding)
                    });
                }
            }
        }
    }
}

#[test]
fn of_equal_values_the_first_has_a_pool_s_gradient() {
    let gradient = |device: &Device| {
        let map = Tensor::<4>::full([1, 4, 5, 5], -1.5, device).require_grad();
        let pooled = map.clone().pool2d(Pool::Max, [3, 3], [2, 2], Padding::Same);
        map.grad(&pooled.sum().backward()).unwrap().into_data().try_to_vec::<f32>().unwrap()
    };
    let found = gradient(&device());
    same("ties", std::slice::from_ref(&found), &[gradient(&Device::flex().autodiff())]);
    assert_eq!(found.iter().sum::<f32>(), 4.0 * 9.0);
}

#[test]
fn losses_have_the_host_s_values_and_gradients() {
    use burn::tensor::Int;
    use effdet_nn::native::{added_at, focal_negatives, numbers_at, with_gradient};
    let host = Device::flex();
    host.seed(6);
    let device = device();
    for shape in [[1_usize, 1, 1, 1], [2, 18, 7, 5], [2, 90, 33, 20]] {
        let logits = Tensor::<4>::random(shape, Distribution::Normal(-4.0, 6.0), &host);
        let on = |device: &Device| Tensor::<4>::from_data(logits.clone().into_data(), device);
        let numbers = |(loss, gradient): (Tensor<1>, Tensor<4>)| {
            [loss.into_data(), gradient.into_data()].map(|data| data.try_to_vec::<f32>().unwrap()).to_vec()
        };
        for (gamma, half) in [(1.5, 0.0), (2.0, 0.05)] {
            let expected = numbers(focal_negatives(&on(&host), gamma, half, 0.5).unwrap());
            let found = focal_negatives(&on(&device.clone().inner()), gamma, half, 0.5).unwrap();
            same("focal", &numbers(found.clone()), &expected);
            let (value, gradient) = found;
            let map = on(&device).require_grad();
            let loss = with_gradient(&map, &value, &gradient).unwrap().mul_scalar(3.0);
            let by_map = map.grad(&loss.backward()).unwrap() / 3.0;
            same("given", &[by_map.into_data().try_to_vec().unwrap()], &expected[1..]);
        }

        let [batch, channels, height, width] = shape;
        let length = batch * channels * height * width;
        let count = length.div_ceil(3);
        let places: Vec<i64> = (0..count).map(|i| (i * 13 % length) as i64).collect();
        let flat = |map: Tensor<4>| map.permute([0, 2, 3, 1]).reshape([length]);
        let on_host = Tensor::<1, Int>::from_data(places.as_slice(), &host);
        let on_device = Tensor::<1, Int>::from_data(places.as_slice(), &device.clone().inner());
        let expected = flat(logits.clone()).select(0, on_host.clone());
        let map = on(&device).require_grad();
        let taken = numbers_at(&map, &on_device).unwrap();
        let by_map = map.grad(&(taken.clone() * taken.clone()).sum().backward()).unwrap();
        let numbers = |tensor: Tensor<1>| tensor.into_data().try_to_vec::<f32>().unwrap();
        same("taken", &[numbers(taken.clone().inner())], &[numbers(expected.clone())]);
        let zeros = Tensor::<1>::zeros([length], &host);
        let add = burn::tensor::IndexingUpdateOp::Add;
        let scattered = zeros.select_assign(0, on_host.clone(), expected.clone() * 2.0, add);
        same("scattered", &[numbers(flat(by_map))], &[numbers(scattered)]);
        let added = added_at(&on(&device.clone().inner()), &on_device, &taken.inner()).unwrap();
        let wanted = flat(logits.clone()).select_assign(0, on_host, expected, add);
        same("added", &[numbers(flat(added))], &[numbers(wanted)]);
    }
}

#[test]
fn what_an_optimiser_does_is_what_the_framework_computes() {
    use effdet_nn::native::{AdamStep, adam, add_squares, mix};
    let host = Device::flex();
    host.seed(8);
    let device = device().inner();
    for length in [1, 6, 1000, 70_001] {
        let random = || Tensor::<1>::random([length], Distribution::Normal(0.1, 1.0), &host);
        let [value, gradient, average] = [random(), random(), random()];
        let square = random().square();
        let on = |tensor: &Tensor<1>| Tensor::<1>::from_data(tensor.clone().into_data(), &device);
        let numbers = |tensor: Tensor<1>| tensor.into_data().try_to_vec::<f32>().unwrap();
        let step = AdamStep { keep: 0.99, betas: [0.9, 0.99], rate: 0.1, root_scale: 1.5, epsilon: 1e-3 };
        let all = [&value, &gradient, &average, &square].map(on);
        let found = adam(all.each_ref(), step).unwrap().map(numbers);
        let average = average * 0.9 + gradient.clone() * 0.1;
        let square = square * 0.99 + gradient.clone().square() * 0.01;
        let updated = value.clone() * 0.99 - average.clone() / (square.clone().sqrt() * 1.5 + 1e-3) * 0.1;
        same("adam", &found, &[updated, average, square].map(numbers));
        let mixed = mix(&all[0], &all[1], [0.75, -2.0]).unwrap();
        same("mixture", &[numbers(mixed)], &[numbers(value.clone() * 0.75 - gradient * 2.0)]);
        let sum = add_squares(&on(&Tensor::ones([1], &host)), &all[0]).unwrap();
        same("squares", &[numbers(sum)], &[numbers(value.square().sum() + 1.0)]);
    }
}

impl Layers {
    fn map_norm(mut self, map: impl FnOnce(BatchNorm) -> BatchNorm) -> Self {
        self.norm = self.norm.map(map);
        self
    }
}

#[test]
fn layers_after_each_other_have_the_host_s_gradients() {
    let device = Device::flex().autodiff();
    for config in [Conv2dConfig::new(24, 40, 1), Conv2dConfig::depthwise(24, 3).with_stride(2)] {
        let channels = config.out_channels;
        let norm = BatchNormConfig::new(channels).with_activation(Activation::Swish).init(&device);
        let layers =
            Layers { conv: Some(config.init(&device)), norm: Some(norm), activation: Activation::Sigmoid };
        check("block", &layers, [2, 24, 20, 20]);
    }
}
