//! Networks compiled for a device of CubeCL, layer by layer beside the same layers on the processor.
//!
//! ```sh
//! EFFDET_DEVICE=wgpu cargo test -p effdet-nn --features flex,wgpu --test device_program
//! ```
#![cfg(all(feature = "cube", feature = "flex"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor};
use effdet_nn::graph::{ConvOp, Graph, Node, Op};
use effdet_nn::native::DeviceProgram;
use effdet_nn::{
    Activation, BatchNorm, BatchNormConfig, Conv2d, Conv2dConfig, FeatureMap, Padding, Pool, Recorded,
    ResizeMode, record_all,
};

fn device() -> Device {
    let name = std::env::var("EFFDET_DEVICE").unwrap_or_else(|_| "wgpu".to_owned());
    effdet_nn::device(&name).unwrap()
}

/// Tensor cores take single precision in ten bits of mantissa.
fn allowed() -> f32 {
    if std::env::var("EFFDET_DEVICE").is_ok_and(|name| name.starts_with("cuda")) { 5e-3 } else { 2e-5 }
}

/// A computation written once for both kinds of maps.
trait Network {
    fn forward<M: FeatureMap>(&self, maps: Vec<M>) -> Vec<M>;
}

fn numbers(map: Tensor<4>) -> Vec<f32> {
    map.into_data().try_to_vec().unwrap()
}

/// The largest difference of each output, in deviations of it.
fn differences(network: &impl Network, shapes: &[[usize; 4]]) -> Vec<f32> {
    let host = Device::flex();
    host.seed(5);
    let random = |shape: &[usize; 4]| Tensor::<4>::random(*shape, Distribution::Normal(0.3, 1.0), &host);
    let inputs: Vec<_> = shapes.iter().map(random).collect();
    let expected: Vec<_> = network.forward(inputs.clone()).into_iter().map(numbers).collect();
    let one: Vec<_> = shapes.iter().map(|[_, c, h, w]| [1, *c, *h, *w]).collect();
    let graph = record_all(&one, |maps: Vec<Recorded>| network.forward(maps)).unwrap();
    let program = DeviceProgram::compile(&graph).unwrap();
    let device = device();
    let mut worst = vec![0.0f32; expected.len()];
    // First a picture alone, whose constants the batch then shares; the third time recorded launches are replayed.
    let batch = shapes[0][0];
    for pictures in [1, batch, batch] {
        let given =
            |input: &Tensor<4>| Tensor::from_data(input.clone().narrow(0, 0, pictures).into_data(), &device);
        let outputs = program.forward(inputs.iter().map(given).collect());
        assert_eq!(outputs.len(), expected.len());
        for ((output, expected), worst) in outputs.into_iter().zip(&expected).zip(&mut worst) {
            let output = numbers(output);
            let expected = &expected[..expected.len() / batch * pictures];
            assert_eq!(output.len(), expected.len());
            let mean = expected.iter().sum::<f32>() / expected.len() as f32;
            let variance = expected.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / expected.len() as f32;
            for (a, b) in output.iter().zip(expected) {
                let off = (a - b).abs() / variance.sqrt().max(1e-6);
                *worst = if off.is_nan() { f32::INFINITY } else { worst.max(off) };
            }
        }
    }
    worst
}

fn check(name: &str, network: &impl Network, shapes: &[[usize; 4]]) {
    let off = differences(network, shapes);
    assert!(off.iter().all(|off| *off < allowed()), "{name} on {shapes:?}: {off:?}");
}

struct Conv(Conv2d, Activation);

impl Network for Conv {
    fn forward<M: FeatureMap>(&self, maps: Vec<M>) -> Vec<M> {
        maps.into_iter().map(|map| self.0.forward(map).activate(self.1)).collect()
    }
}

fn conv(config: Conv2dConfig) -> Conv2d {
    config.with_padding(Padding::Same).with_bias(true).with_bias_value(0.2).init(&Device::flex())
}

#[test]
fn convolutions() {
    let cases = [
        (Conv2dConfig::new(16, 24, 1), [2, 16, 9, 7], Activation::Identity),
        (Conv2dConfig::new(64, 96, 1), [3, 64, 16, 16], Activation::Swish),
        (Conv2dConfig::new(40, 810, 1), [1, 40, 5, 5], Activation::Identity),
        (Conv2dConfig::new(7, 5, 1), [2, 7, 4, 6], Activation::HardSwish),
        (Conv2dConfig::new(3, 32, 3).with_stride(2), [2, 3, 33, 31], Activation::Relu6),
        (Conv2dConfig::new(24, 40, 3), [2, 24, 10, 11], Activation::Mish),
        (Conv2dConfig::new(8, 16, 1).with_stride(2), [1, 8, 10, 11], Activation::LeakyRelu),
        (Conv2dConfig::new(8, 16, 1), [3, 8, 1, 1], Activation::Relu),
        (Conv2dConfig::new(8, 16, 1).with_stride(2), [3, 8, 2, 2], Activation::Identity),
    ];
    for (config, shape, activation) in cases {
        check(&format!("{config:?}"), &Conv(conv(config), activation), &[shape]);
    }
}

#[test]
fn depthwise_convolutions() {
    let cases = [
        (Conv2dConfig::depthwise(32, 3), [2, 32, 13, 10], Activation::Swish),
        (Conv2dConfig::depthwise(32, 5), [1, 32, 13, 10], Activation::HardSigmoid),
        (Conv2dConfig::depthwise(6, 5).with_stride(2), [2, 6, 13, 10], Activation::Sigmoid),
        (Conv2dConfig::depthwise(9, 3).with_stride(2), [2, 9, 8, 8], Activation::Relu),
    ];
    for (config, shape, activation) in cases {
        check(&format!("{config:?}"), &Conv(conv(config), activation), &[shape]);
    }
}

struct Excited([Conv2d; 4]);

impl Network for Excited {
    fn forward<M: FeatureMap>(&self, maps: Vec<M>) -> Vec<M> {
        let [depthwise, reduce, expand, project] = &self.0;
        let map = maps.into_iter().next().unwrap();
        let inner = depthwise.forward(map.clone()).activate(Activation::Swish);
        let mean = inner.clone().global_mean();
        let gate = reduce.forward(mean.clone()).activate(Activation::Swish);
        let gate = expand.forward(gate).activate(Activation::Sigmoid);
        vec![
            project.forward(inner.clone().gate(gate.clone())).plus(map),
            mean,
            gate.clone(),
            inner.gate(gate),
        ]
    }
}

#[test]
fn squeeze_and_excite_with_a_residual() {
    let network = Excited([
        conv(Conv2dConfig::depthwise(48, 3)),
        conv(Conv2dConfig::new(48, 12, 1)),
        conv(Conv2dConfig::new(12, 48, 1)),
        conv(Conv2dConfig::new(48, 48, 1)),
    ]);
    check("squeeze and excite", &network, &[[3, 48, 40, 36]]);
}

#[test]
fn padded_pointwise_convolutions_have_their_bias_in_the_border() {
    let node = |op, inputs: &[usize], shape| Node { op, inputs: inputs.to_vec(), shape };
    // Every number as it is, and a quarter.
    let conv = ConvOp {
        weight: (0..64).map(|i| if i % 9 == 0 { 1.0 } else { 0.0 }).collect(),
        bias: Some([0.25; 8].into()),
        in_channels: 8,
        out_channels: 8,
        kernel: 1,
        stride: 1,
        dilation: 1,
        groups: 1,
        padding: [(1, 1); 2],
        same: false,
    };
    let run = |nodes: Vec<Node>, values: &[f32]| {
        let shape = nodes[0].shape;
        let outputs = vec![nodes.len() - 1];
        let program = DeviceProgram::compile(&Graph { nodes, outputs }).unwrap();
        let data = burn::tensor::TensorData::new(values.to_vec(), shape);
        numbers(program.forward(vec![Tensor::from_data(data, &device())]).remove(0))
    };
    let values: Vec<f32> = (0..72).map(|i| (i % 23) as f32 / 8.0 - 1.0).collect();
    let map = [1, 8, 3, 3];
    let gated = vec![
        node(Op::Input, &[], map),
        node(Op::GlobalMean, &[0], [1, 8, 1, 1]),
        node(Op::Gate, &[0, 1], map),
        node(Op::Conv(conv.clone()), &[2], [1, 8, 5, 5]),
    ];
    let found = run(gated, &values);
    assert_eq!(found.len(), 200);
    for (at, found) in found.iter().enumerate() {
        let (channel, y, x) = (at / 25, at / 5 % 5, at % 5);
        let pixels = &values[9 * channel..][..9];
        let mut expected = 0.25;
        if (1..4).contains(&y) && (1..4).contains(&x) {
            expected += pixels.iter().sum::<f32>() / 9.0 * pixels[(y - 1) * 3 + x - 1];
        }
        assert!((found - expected).abs() < allowed(), "{channel},{y},{x}: {found}, not {expected}");
    }

    // The only output is one of the zeros.
    let strided = ConvOp { stride: 2, padding: [(1, 0); 2], ..conv };
    let pixel = [1, 8, 1, 1];
    let strided = vec![node(Op::Input, &[], pixel), node(Op::Conv(strided), &[0], pixel)];
    assert_eq!(run(strided, &values[..8]), [0.25; 8]);
}

struct Pixelwise;

impl Network for Pixelwise {
    fn forward<M: FeatureMap>(&self, maps: Vec<M>) -> Vec<M> {
        let Ok([fine, middle, coarse]) = <[M; 3]>::try_from(maps) else { return Vec::new() };
        let [_, _, height, width] = middle.dims();
        let weight = |value: f32| Tensor::<4>::full([1, 1, 1, 1], value, &Device::flex());
        let resized = |mode| coarse.clone().resize([height, width], mode);
        let pooled = fine.clone().pool2d(Pool::Max, [3, 3], [2, 2], Padding::Same);
        let sum = pooled.scale(weight(0.3)).plus(middle.clone().scale(weight(0.5)));
        vec![
            sum.plus(resized(ResizeMode::Nearest).scale(weight(0.2))).activate(Activation::Swish),
            fine.pool2d(Pool::Average, [2, 2], [2, 2], Padding::Same),
            M::cat_channels(vec![middle.narrow_channels(4, 8), resized(ResizeMode::Nearest)]),
            resized(ResizeMode::Bilinear),
            resized(ResizeMode::Bicubic),
            coarse.global_mean(),
        ]
    }
}

#[test]
fn sums_pools_and_resizes() {
    check("pixelwise", &Pixelwise, &[[2, 24, 18, 14], [2, 24, 9, 7], [2, 24, 5, 4]]);
}

struct Normed(Conv2d, BatchNorm);

impl Network for Normed {
    fn forward<M: FeatureMap>(&self, maps: Vec<M>) -> Vec<M> {
        maps.into_iter().map(|map| map.conv2d(&self.0).batch_norm(&self.1)).collect()
    }
}

struct Bounded;

impl Network for Bounded {
    fn forward<M: FeatureMap>(&self, maps: Vec<M>) -> Vec<M> {
        let activations = [
            Activation::Relu,
            Activation::Relu6,
            Activation::LeakyRelu,
            Activation::HardSigmoid,
            Activation::HardSwish,
            Activation::Swish,
            Activation::Mish,
        ];
        let mut outputs: Vec<M> = activations.map(|one| maps[0].clone().activate(one)).into();
        outputs.push(maps[0].clone().pool2d(Pool::Max, [3, 3], [2, 2], Padding::Same));
        outputs
    }
}

#[test]
fn what_is_not_a_number_stays_that() {
    let shape = [2, 8, 6, 6];
    let mut values: Vec<f32> = (0..2 * 8 * 36).map(|i| (i % 23) as f32 - 11.0).collect();
    // Not minus infinity, of which PyTorch's swish makes NaN and the framework's on the host does not.
    for (at, value) in [(3, f32::NAN), (80, f32::INFINITY), (400, f32::NAN)] {
        values[at] = value;
    }
    let data = burn::tensor::TensorData::new(values, shape);
    let host = Device::flex();
    let graph = record_all(&[[1, 8, 6, 6]], |maps: Vec<Recorded>| Bounded.forward(maps)).unwrap();
    let program = DeviceProgram::compile(&graph).unwrap();
    let expected = Bounded.forward(vec![Tensor::<4>::from_data(data.clone(), &host)]);
    let found = program.forward(vec![Tensor::from_data(data, &device())]);
    for (output, (found, expected)) in found.into_iter().zip(expected).enumerate() {
        for (at, (found, expected)) in numbers(found).iter().zip(numbers(expected)).enumerate() {
            let same = found.is_nan() && expected.is_nan()
                || *found == expected
                || (found - expected).abs() <= 1e-3 * expected.abs().max(1.0);
            assert!(same, "output {output}, number {at}: {found} and {expected}");
        }
    }
}

#[test]
fn a_batch_norm_is_folded() {
    let host = Device::flex();
    let norm = BatchNormConfig::new(40).with_activation(Activation::Swish).init(&host);
    let network = Normed(Conv2dConfig::new(16, 40, 1).init(&host), norm.valid());
    check("batch norm", &network, &[[2, 16, 9, 7]]);
}

#[test]
fn the_highest_numbers_are_those_that_sorting_gives() {
    let host = Device::flex();
    host.seed(9);
    let device = device();
    let odd = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY, 0.0, -0.0, -1e-40, 1.0];
    for (rows, length, counts) in
        [(1, 1, vec![1]), (3, 515, vec![1, 7, 515]), (2, 40_000, vec![1, 5000, 39_999])]
    {
        let noise = Tensor::<2>::random([rows, length], Distribution::Normal(-3.0, 2.0), &host);
        let noise: Vec<f32> = noise.into_data().try_to_vec().unwrap();
        let rounded: Vec<f32> = noise.iter().map(|value| (value * 4.0).round() / 4.0).collect();
        let mixed: Vec<f32> =
            noise.iter().enumerate().map(|(i, value)| if i % 3 == 0 { odd[i % 7] } else { *value }).collect();
        for values in [noise, rounded, mixed, vec![-4.5; rows * length]] {
            let tensor = Tensor::<2>::from_data(
                burn::tensor::TensorData::new(values.clone(), [rows, length]),
                &device,
            );
            for &count in &counts {
                let found = effdet_nn::native::highest_places(&tensor, count).unwrap().into_data();
                let found = found.convert::<i64>().try_into_vec::<i64>().unwrap();
                for (row, found) in values.chunks(length).zip(found.chunks(count)) {
                    let rank = |i: &usize| if row[*i].is_nan() { f32::NEG_INFINITY } else { row[*i] + 0.0 };
                    let mut expected: Vec<usize> = (0..length).collect();
                    expected.sort_by(|a, b| {
                        row[*a].is_nan().cmp(&row[*b].is_nan()).then(rank(b).total_cmp(&rank(a)))
                    });
                    expected.truncate(count);
                    expected.sort_unstable();
                    assert!(found.iter().map(|i| *i as usize).eq(expected), "{count} of {length}");
                }
            }
        }
    }
}
