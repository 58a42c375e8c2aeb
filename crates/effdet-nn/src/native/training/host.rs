//! The kernels of the host as operations on tensors.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Autodiff, Flex};
use burn::tensor::{DType, Tensor};

use super::buffer::Buffer;
use super::focal::Focal;
use super::norm::{Norm, Planes};
use super::operation::{Normalised, TrainingKernels};
use super::sizes::{BatchNormalisation, Convolution};
use super::slope;
use crate::Activation;
use crate::batch_norm::unbias;

pub(super) type Recording = Autodiff<Flex, NoCheckpointing>;
pub(super) type RecordedTensor = burn::backend::tensor::FloatTensor<Recording>;

/// A tensor as the kernels take it: of single precision, on the CPU, with or without a record of gradients.
pub(super) enum Primitive {
    Plain(FlexTensor),
    Recorded(RecordedTensor),
}

impl Primitive {
    pub(super) fn of<const D: usize>(tensor: &Tensor<D>) -> Option<Self> {
        if crate::native::is_left_to_framework()
            || tensor.dtype() != DType::F32
            || !crate::native::runs_on(&tensor.device())
        {
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

fn planes(map: &FlexTensor) -> Planes {
    let shape = map.layout().shape();
    Planes { pictures: shape[0], channels: shape[1], pixels: shape[2] * shape[3] }
}

/// `(1 - momentum) · running + momentum · unbias · batch`
fn blended(running: FlexTensor, batch: &[f32], momentum: f64, unbias: f64) -> FlexTensor {
    let running = contiguous(running);
    let mut result = Buffer::new(batch.len());
    let [keep, momentum, unbias] = [1.0 - momentum, momentum, unbias].map(|factor| factor as f32);
    for ((to, running), batch) in result.iter_mut().zip(numbers(&running)).zip(batch) {
        *to = running * keep + batch * unbias * momentum;
    }
    tensor_of(result, [batch.len()])
}

impl BatchNormalisation {
    /// This, of such maps.
    pub(super) fn of(self, map: &FlexTensor) -> Norm {
        Norm { planes: planes(map), epsilon: self.epsilon, activation: self.activation }
    }
}

impl TrainingKernels for Flex {
    fn convolution(input: FlexTensor, weight: FlexTensor, sizes: Convolution) -> FlexTensor {
        let [input, weight] = [input, weight].map(contiguous);
        let output = sizes.forward(numbers(&input), numbers(&weight), None);
        tensor_of(output, sizes.output().unwrap_or_default())
    }

    fn biased_convolution(
        input: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        sizes: Convolution,
    ) -> FlexTensor {
        let [input, weight, bias] = [input, weight, bias].map(contiguous);
        let output = sizes.forward(numbers(&input), numbers(&weight), Some(numbers(&bias)));
        tensor_of(output, sizes.output().unwrap_or_default())
    }

    fn convolution_input_gradient(
        gradient: FlexTensor,
        weight: FlexTensor,
        sizes: Convolution,
    ) -> FlexTensor {
        let [gradient, weight] = [gradient, weight].map(contiguous);
        tensor_of(sizes.input_gradient(numbers(&gradient), numbers(&weight)), sizes.input)
    }

    fn convolution_weight_gradient(
        gradient: FlexTensor,
        input: FlexTensor,
        sizes: Convolution,
    ) -> FlexTensor {
        let [gradient, input] = [gradient, input].map(contiguous);
        tensor_of(sizes.weight_gradient(numbers(&input), numbers(&gradient)), sizes.weight())
    }

    fn convolution_bias_gradient(gradient: FlexTensor, sizes: Convolution) -> FlexTensor {
        tensor_of(sizes.bias_gradient(numbers(&contiguous(gradient))), [sizes.out_channels])
    }

    fn batch_normalisation(
        input: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        running_mean: FlexTensor,
        running_variance: FlexTensor,
        norm: BatchNormalisation,
        momentum: f64,
    ) -> Normalised<Self> {
        let [input, weight, bias] = [input, weight, bias].map(contiguous);
        let norm = norm.of(&input);
        let channels = norm.planes.channels;
        let (mut mean, mut variance) = (Buffer::new(channels), Buffer::new(channels));
        let mut output = Buffer::new(numbers(&input).len());
        let affine = [numbers(&weight), numbers(&bias)];
        norm.forward_training(numbers(&input), affine, &mut mean, &mut variance, &mut output);
        let output = tensor_of(output, input.layout().shape().to_vec());
        let unbias = unbias(norm.planes.pictures * norm.planes.pixels);
        let running_mean = blended(running_mean, &mean, momentum, 1.0);
        let running_variance = blended(running_variance, &variance, momentum, unbias);
        let [mean, variance] = [mean, variance].map(|statistic| tensor_of(statistic, [channels]));
        (output, mean, variance, running_mean, running_variance)
    }

    fn fixed_normalisation(
        input: FlexTensor,
        mean: FlexTensor,
        variance: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        norm: BatchNormalisation,
    ) -> FlexTensor {
        let [input, mean, variance, weight, bias] = [input, mean, variance, weight, bias].map(contiguous);
        let mut output = Buffer::new(numbers(&input).len());
        let (statistics, affine) = ([numbers(&mean), numbers(&variance)], [numbers(&weight), numbers(&bias)]);
        norm.of(&input).forward(numbers(&input), statistics, affine, &mut output);
        tensor_of(output, input.layout().shape().to_vec())
    }

    fn normalisation_gradients(
        gradient: FlexTensor,
        input: FlexTensor,
        mean: FlexTensor,
        variance: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        norm: BatchNormalisation,
        fixed: bool,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let [input, mean, variance, weight, bias] = [input, mean, variance, weight, bias].map(contiguous);
        let mut gradient = to_overwrite(gradient);
        let norm = norm.of(&input);
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
        (gradient, tensor_of(by_weight, [channels]), tensor_of(by_bias, [channels]))
    }

    fn activation(input: FlexTensor, activation: Activation) -> FlexTensor {
        let input = contiguous(input);
        let mut output = Buffer::new(numbers(&input).len());
        slope::forward(activation, numbers(&input), &mut output);
        tensor_of(output, input.layout().shape().to_vec())
    }

    fn activation_gradient(gradient: FlexTensor, input: FlexTensor, activation: Activation) -> FlexTensor {
        let mut gradient = to_overwrite(gradient);
        slope::backward(activation, numbers(&contiguous(input)), gradient.storage_mut());
        gradient
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
