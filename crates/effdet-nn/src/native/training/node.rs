//! The kernels as operations on tensors, with their place in the record of gradients.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Autodiff, Flex};
use burn::tensor::{DType, Tensor};

use super::buffer::Buffer;
use super::conv::Convolution;
use super::focal::Focal;
use super::norm::{Norm, Planes};
use super::slope;
use crate::Activation;

pub(super) type Recording = Autodiff<Flex, NoCheckpointing>;
pub(super) type RecordedTensor = burn::backend::tensor::FloatTensor<Recording>;

/// A tensor as the kernels take it: of single precision, on the CPU, with or without a record of gradients.
pub(super) enum Primitive {
    Plain(FlexTensor),
    Recorded(RecordedTensor),
}

impl Primitive {
    pub(super) fn of<const D: usize>(tensor: &Tensor<D>) -> Option<Self> {
        if tensor.dtype() != DType::F32 || !crate::native::runs_on(&tensor.device()) {
            return None;
        }
        let tensor = tensor.clone();
        if tensor.device().is_autodiff() {
            tensor.try_into_primitive::<Recording>().ok().map(Primitive::Recorded)
        } else {
            tensor.try_into_primitive::<Flex>().ok().map(Primitive::Plain)
        }
    }
}

/// Several tensors, all plain or all recorded.
pub(super) enum Primitives<const N: usize> {
    Plain([FlexTensor; N]),
    Recorded([RecordedTensor; N]),
}

impl<const N: usize> Primitives<N> {
    pub(super) fn of(tensors: [Option<Primitive>; N]) -> Option<Self> {
        let (mut plain, mut recorded) = (Vec::with_capacity(N), Vec::with_capacity(N));
        for tensor in tensors {
            match tensor? {
                Primitive::Plain(tensor) => plain.push(tensor),
                Primitive::Recorded(tensor) => recorded.push(tensor),
            }
        }
        match (plain.try_into(), recorded.try_into()) {
            (Ok(tensors), _) => Some(Primitives::Plain(tensors)),
            (_, Ok(tensors)) => Some(Primitives::Recorded(tensors)),
            _ => None,
        }
    }
}

/// The same numbers, one after the other.
pub(super) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

#[expect(clippy::expect_used, reason = "made contiguous before")]
pub(super) fn numbers(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("a contiguous tensor of single precision")
}

pub(super) fn tensor_of(values: Buffer, shape: impl Into<Vec<usize>>) -> FlexTensor {
    let shape: Vec<usize> = shape.into();
    FlexTensor::new(values.into_bytes(), Layout::contiguous(shape.into()), DType::F32)
}

/// The numbers of a gradient, to be overwritten; copied if someone else has them too.
pub(super) fn to_overwrite(tensor: FlexTensor) -> FlexTensor {
    let whole = tensor.layout().start_offset() == 0
        && tensor.is_contiguous()
        && tensor.bytes().len() == tensor.layout().num_elements() * size_of::<f32>();
    if whole && tensor.is_unique() {
        return tensor;
    }
    let shape = tensor.layout().shape().clone();
    let tensor = contiguous(tensor);
    let mut copy = Buffer::new(shape.num_elements());
    super::parallel::copy(numbers(&tensor), &mut copy);
    FlexTensor::new(copy.into_bytes(), Layout::contiguous(shape), DType::F32)
}

/// Convolves on the CPU. `None` where that is left to the framework.
pub(crate) fn convolve(
    input: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    sizes: Convolution,
) -> Option<Tensor<4>> {
    if !sizes.is_supported() {
        return None;
    }
    match bias {
        None => convolve_tensors(Primitives::of([Primitive::of(input), Primitive::of(weight)])?, sizes),
        Some(bias) => convolve_tensors(
            Primitives::of([Primitive::of(input), Primitive::of(weight), Primitive::of(bias)])?,
            sizes,
        ),
    }
}

fn convolve_tensors<const N: usize>(tensors: Primitives<N>, sizes: Convolution) -> Option<Tensor<4>> {
    let shape = sizes.output()?;
    let compute = |tensors: &[FlexTensor]| {
        let bias = tensors.get(2).map(numbers);
        tensor_of(sizes.forward(numbers(&tensors[0]), numbers(&tensors[1]), bias), shape)
    };
    match tensors {
        Primitives::Plain(tensors) => Some(Tensor::from_primitive::<Flex>(compute(&tensors.map(contiguous)))),
        Primitives::Recorded(tensors) => {
            let guards = std::array::from_fn(|i| tensors[i].node());
            let tensors = tensors.map(|tensor| contiguous(tensor.into_primitive()));
            let output = compute(&tensors);
            let node = ConvolutionNode::<N>.prepare::<NoCheckpointing>(guards).compute_bound();
            let output = match node.stateful() {
                OpsKind::Tracked(node) => {
                    node.finish((sizes, tensors[0].clone(), tensors[1].clone()), output)
                }
                OpsKind::UnTracked(node) => node.finish(output),
            };
            Some(Tensor::from_primitive::<Recording>(output))
        }
    }
}

#[derive(Debug)]
struct ConvolutionNode<const N: usize>;

impl<const N: usize> Backward<Flex, N> for ConvolutionNode<N> {
    type State = (Convolution, FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (sizes, input, weight) = ops.state;
        let gradient = contiguous(grads.consume::<Flex>(&ops.node));
        let shapes = [input.layout().shape().clone(), weight.layout().shape().clone()];
        for (i, parent) in ops.parents.into_iter().enumerate() {
            let Some(parent) = parent else { continue };
            let (values, shape) = match i {
                0 => (sizes.input_gradient(numbers(&gradient), numbers(&weight)), shapes[0].to_vec()),
                1 => (sizes.weight_gradient(numbers(&input), numbers(&gradient)), shapes[1].to_vec()),
                _ => (sizes.bias_gradient(numbers(&gradient)), vec![sizes.out_channels]),
            };
            grads.register::<Flex>(parent.id, tensor_of(values, shape));
        }
    }
}

/// Normalises with the batch's statistics and activates. Returns the batch's mean and biased variance too.
pub(crate) fn batch_norm(
    input: &Tensor<4>,
    weight: &Tensor<1>,
    bias: &Tensor<1>,
    epsilon: f64,
    activation: Activation,
) -> Option<(Tensor<4>, Tensor<1>, Tensor<1>)> {
    let norm = norm(input, epsilon, activation)?;
    let channels = norm.planes.channels;
    let compute = |[input, weight, bias]: &[FlexTensor; 3]| {
        let input = numbers(input);
        let (mut mean, mut variance) = (Buffer::new(channels), Buffer::new(channels));
        let mut output = Buffer::new(input.len());
        norm.forward_training(input, [numbers(weight), numbers(bias)], &mut mean, &mut variance, &mut output);
        (output, tensor_of(mean, [channels]), tensor_of(variance, [channels]))
    };
    let shape = input.dims();
    match Primitives::of([Primitive::of(input), Primitive::of(weight), Primitive::of(bias)])? {
        Primitives::Plain(tensors) => {
            let (output, mean, variance) = compute(&tensors.map(contiguous));
            let [mean, variance] = [mean, variance].map(Tensor::from_primitive::<Flex>);
            Some((Tensor::from_primitive::<Flex>(tensor_of(output, shape)), mean, variance))
        }
        Primitives::Recorded(tensors) => {
            let guards = std::array::from_fn(|i| tensors[i].node());
            let tensors = tensors.map(|tensor| contiguous(tensor.into_primitive()));
            let (output, mean, variance) = compute(&tensors);
            let output = tensor_of(output, shape);
            let node = NormNode.prepare::<NoCheckpointing>(guards).compute_bound();
            let output = match node.stateful() {
                OpsKind::Tracked(node) => {
                    let statistics = [mean.clone(), variance.clone()];
                    node.finish((norm, tensors, statistics, false), output)
                }
                OpsKind::UnTracked(node) => node.finish(output),
            };
            let [mean, variance] = [mean, variance]
                .map(|statistic| Tensor::from_primitive::<Recording>(RecordedTensor::new(statistic)));
            Some((Tensor::from_primitive::<Recording>(output), mean, variance))
        }
    }
}

/// Normalises with these statistics, which are constants, and activates.
pub(crate) fn frozen_norm(
    input: &Tensor<4>,
    [mean, variance]: [&Tensor<1>; 2],
    [weight, bias]: [&Tensor<1>; 2],
    epsilon: f64,
    activation: Activation,
) -> Option<Tensor<4>> {
    let norm = norm(input, epsilon, activation)?;
    let statistic = |tensor: &Tensor<1>| {
        let tensor = match Primitive::of(tensor)? {
            Primitive::Plain(tensor) => tensor,
            Primitive::Recorded(tensor) => tensor.into_primitive(),
        };
        Some(contiguous(tensor))
    };
    let statistics = [statistic(mean)?, statistic(variance)?];
    let shape = input.dims();
    let compute = |[input, weight, bias]: &[FlexTensor; 3]| {
        let input = numbers(input);
        let mut output = Buffer::new(input.len());
        let [mean, variance] = [0, 1].map(|i| numbers(&statistics[i]));
        norm.forward(input, [mean, variance], [numbers(weight), numbers(bias)], &mut output);
        tensor_of(output, shape)
    };
    match Primitives::of([Primitive::of(input), Primitive::of(weight), Primitive::of(bias)])? {
        Primitives::Plain(tensors) => Some(Tensor::from_primitive::<Flex>(compute(&tensors.map(contiguous)))),
        Primitives::Recorded(tensors) => {
            let guards = std::array::from_fn(|i| tensors[i].node());
            let tensors = tensors.map(|tensor| contiguous(tensor.into_primitive()));
            let output = compute(&tensors);
            let node = NormNode.prepare::<NoCheckpointing>(guards).compute_bound();
            let output = match node.stateful() {
                OpsKind::Tracked(node) => node.finish((norm, tensors, statistics, true), output),
                OpsKind::UnTracked(node) => node.finish(output),
            };
            Some(Tensor::from_primitive::<Recording>(output))
        }
    }
}

pub(super) fn norm(input: &Tensor<4>, epsilon: f64, activation: Activation) -> Option<Norm> {
    let [pictures, channels, height, width] = input.dims();
    let planes = Planes { pictures, channels, pixels: height * width };
    let empty = pictures * channels * height * width == 0;
    (!empty && slope::supports(activation)).then_some(Norm { planes, epsilon, activation })
}

#[derive(Debug)]
struct NormNode;

impl Backward<Flex, 3> for NormNode {
    /// Input, weight and bias; mean and variance, and whether they are constants.
    type State = (Norm, [FlexTensor; 3], [FlexTensor; 2], bool);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (norm, [input, weight, bias], [mean, variance], fixed) = ops.state;
        let mut gradient = to_overwrite(grads.consume::<Flex>(&ops.node));
        let channels = norm.planes.channels;
        let (mut by_weight, mut by_bias) = (Buffer::new(channels), Buffer::new(channels));
        norm.backward(
            numbers(&input),
            [numbers(&mean), numbers(&variance)],
            [numbers(&weight), numbers(&bias)],
            fixed,
            gradient.storage_mut(),
            &mut by_weight,
            &mut by_bias,
        );
        let gradients = [gradient, tensor_of(by_weight, [channels]), tensor_of(by_bias, [channels])];
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(parent) = parent {
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

/// Applies an activation.
pub(crate) fn activate(input: &Tensor<4>, activation: Activation) -> Option<Tensor<4>> {
    if activation == Activation::Identity || !slope::supports(activation) || input.dims().contains(&0) {
        return None;
    }
    let shape = input.dims();
    let compute = |input: &FlexTensor| {
        let input = numbers(input);
        let mut output = Buffer::new(input.len());
        slope::forward(activation, input, &mut output);
        tensor_of(output, shape)
    };
    match Primitive::of(input)? {
        Primitive::Plain(input) => Some(Tensor::from_primitive::<Flex>(compute(&contiguous(input)))),
        Primitive::Recorded(input) => {
            let guard = input.node();
            let input = contiguous(input.into_primitive());
            let output = compute(&input);
            let node = ActivationNode.prepare::<NoCheckpointing>([guard]).compute_bound();
            let output = match node.stateful() {
                OpsKind::Tracked(node) => node.finish((activation, input), output),
                OpsKind::UnTracked(node) => node.finish(output),
            };
            Some(Tensor::from_primitive::<Recording>(output))
        }
    }
}

#[derive(Debug)]
struct ActivationNode;

impl Backward<Flex, 1> for ActivationNode {
    type State = (Activation, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (activation, input) = ops.state;
        let mut gradient = to_overwrite(grads.consume::<Flex>(&ops.node));
        slope::backward(activation, numbers(&input), gradient.storage_mut());
        if let [Some(parent)] = ops.parents {
            grads.register::<Flex>(parent.id, gradient);
        }
    }
}

/// The focal loss of logits as if all were negative, `scale · Σ pᵞ (ln(1 + eˣ) - half · x)`, and its derivative by each.
pub(crate) fn focal_negatives(
    logits: &Tensor<4>,
    gamma: f64,
    half: f64,
    scale: f64,
) -> Option<(Tensor<1>, Tensor<4>)> {
    let Primitive::Plain(tensor) = Primitive::of(logits)? else { return None };
    let tensor = contiguous(tensor);
    let values = numbers(&tensor);
    let mut gradient = Buffer::new(values.len());
    let focal = Focal { gamma: gamma as f32, half: half as f32, scale: scale as f32 };
    let sum = focal.negatives(values, &mut gradient);
    let gradient = Tensor::from_primitive::<Flex>(tensor_of(gradient, logits.dims()));
    Some((Tensor::from_data([sum as f32], &logits.device()), gradient))
}

/// `value`, as a function of `input` that has this gradient.
pub(crate) fn with_gradient(input: &Tensor<4>, value: &Tensor<1>, gradient: &Tensor<4>) -> Option<Tensor<1>> {
    let (Primitive::Recorded(input), Primitive::Plain(value), Primitive::Plain(gradient)) =
        (Primitive::of(input)?, Primitive::of(value)?, Primitive::of(gradient)?)
    else {
        return None;
    };
    let node = GivenNode.prepare::<NoCheckpointing>([input.node()]).compute_bound();
    let output = match node.stateful() {
        OpsKind::Tracked(node) => node.finish(gradient, value),
        OpsKind::UnTracked(node) => node.finish(value),
    };
    Some(Tensor::from_primitive::<Recording>(output))
}

#[derive(Debug)]
struct GivenNode;

impl Backward<Flex, 1> for GivenNode {
    type State = FlexTensor;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let factor = contiguous(grads.consume::<Flex>(&ops.node));
        let factor = numbers(&factor)[0];
        let mut gradient = ops.state;
        if factor != 1.0 {
            gradient = to_overwrite(gradient);
            super::parallel::scale(gradient.storage_mut(), factor);
        }
        if let [Some(parent)] = ops.parents {
            grads.register::<Flex>(parent.id, gradient);
        }
    }
}
