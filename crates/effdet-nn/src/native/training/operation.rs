//! The kernels as operations of the framework, with their place in the record of gradients.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, Backend, Dispatch, DispatchDevice, GradientCheckpointingStrategy, backend_extension,
};
use burn::tensor::{DType, Tensor};

use super::sizes::{BatchNormalisation, Convolution};
use crate::Activation;

/// Maps; mean and variance of the batch; and the running ones.
pub(crate) type Normalised<B> =
    (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

/// Tensors are those of maps `[pictures, channels, height, width]`, weights `[out_channels, channels / groups, rows,
/// columns]` and vectors `[channels]`. Gradients' operations are for the backward pass; they are not recorded.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "cube"),
    Fusion: cfg(feature = "fusion"),
    Autodiff
)]
pub(crate) trait TrainingKernels: Backend {
    #[fusion(dtype = input, shape = sizes.output().unwrap_or_default().into())]
    fn convolution(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        sizes: Convolution,
    ) -> FloatTensor<Self>;

    #[fusion(dtype = input, shape = sizes.output().unwrap_or_default().into())]
    fn biased_convolution(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        sizes: Convolution,
    ) -> FloatTensor<Self>;

    #[fusion(dtype = gradient, shape = sizes.input.into())]
    fn convolution_input_gradient(
        gradient: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        sizes: Convolution,
    ) -> FloatTensor<Self>;

    #[fusion(dtype = gradient, shape = sizes.weight().into())]
    fn convolution_weight_gradient(
        gradient: FloatTensor<Self>,
        input: FloatTensor<Self>,
        sizes: Convolution,
    ) -> FloatTensor<Self>;

    #[fusion(dtype = gradient, shape = [sizes.out_channels].into())]
    fn convolution_bias_gradient(gradient: FloatTensor<Self>, sizes: Convolution) -> FloatTensor<Self>;

    /// Returns the output, the mean and biased variance of the batch, and the running ones after it.
    #[fusion(meta = |input, _weight, _bias, mean, variance, _norm, _momentum| {
        (input.clone(), mean.clone(), variance.clone(), mean.clone(), variance.clone())
    })]
    #[allow(clippy::type_complexity, reason = "an operation of the framework has tensors one by one")]
    fn batch_normalisation(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        running_mean: FloatTensor<Self>,
        running_variance: FloatTensor<Self>,
        norm: BatchNormalisation,
        momentum: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// Mean and variance are constants.
    #[fusion(meta = |input, _mean, _variance, _weight, _bias, _norm| input.clone())]
    fn fixed_normalisation(
        input: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        norm: BatchNormalisation,
    ) -> FloatTensor<Self>;

    /// Returns those by input, weight and bias. With `fixed` statistics mean and variance are constants, else they are
    /// those of the batch.
    #[fusion(meta = |_gradient, input, _mean, _variance, weight, bias, _norm, _fixed| {
        (input.clone(), weight.clone(), bias.clone())
    })]
    #[allow(clippy::too_many_arguments, reason = "an operation of the framework has tensors one by one")]
    fn normalisation_gradients(
        gradient: FloatTensor<Self>,
        input: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        norm: BatchNormalisation,
        fixed: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(meta = |input, _activation| input.clone())]
    fn activation(input: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;

    #[fusion(meta = |_gradient, input, _activation| input.clone())]
    fn activation_gradient(
        gradient: FloatTensor<Self>,
        input: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;
}

/// Whose kernels take these tensors.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    #[cfg(feature = "flex")]
    Host,
    #[cfg(feature = "cube")]
    Device,
}

/// Where the kernels compute what `tensor` takes part in. With gradient checkpointing nothing is: outputs would be kept.
fn place<const D: usize>(tensor: &Tensor<D>) -> Option<Place> {
    let device = tensor.device();
    if crate::native::is_left_to_framework()
        || device.gradient_checkpointing_strategy() == Some(GradientCheckpointingStrategy::Balanced)
    {
        return None;
    }
    let device = device.inner();
    match device.as_dispatch() {
        #[cfg(feature = "flex")]
        DispatchDevice::Flex(_) => (tensor.dtype() == DType::F32).then_some(Place::Host),
        #[cfg(feature = "cube")]
        DispatchDevice::Cube(_) => {
            matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16).then_some(Place::Device)
        }
        _ => None,
    }
}

/// Whether the kernels for devices compute what these maps take part in.
#[cfg(feature = "cube")]
pub(crate) fn computes_on_device(map: &Tensor<4>) -> bool {
    let numbers: usize = map.dims().iter().product();
    place(map) == Some(Place::Device) && (1..=i32::MAX as usize).contains(&numbers)
}

fn is_supported(place: Place, sizes: &Convolution) -> bool {
    match place {
        #[cfg(feature = "flex")]
        Place::Host => sizes.is_supported_on_host(),
        #[cfg(feature = "cube")]
        Place::Device => crate::native::cube::convolves(sizes),
    }
}

/// Convolves. `None` where that is left to the framework.
pub(crate) fn convolve(
    input: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    sizes: Convolution,
) -> Option<Tensor<4>> {
    let place = place(input)?;
    let same = weight.dtype() == input.dtype() && bias.is_none_or(|bias| bias.dtype() == input.dtype());
    if !same || !is_supported(place, &sizes) {
        return None;
    }
    let [input, weight] = [input, weight].map(|tensor| tensor.clone().into_dispatch());
    let output = match bias {
        Some(bias) => Dispatch::biased_convolution(input, weight, bias.clone().into_dispatch(), sizes),
        None => Dispatch::convolution(input, weight, sizes),
    };
    Some(Tensor::from_dispatch(output))
}

/// Whether the kernels normalise these maps: weights and statistics are of single precision.
fn normalises(input: &Tensor<4>, vectors: &[&Tensor<1>], activation: Activation) -> bool {
    place(input).is_some()
        && crate::native::activate::supports(activation)
        && !input.dims().contains(&0)
        && input.dims().iter().product::<usize>() <= u32::MAX as usize
        && vectors.iter().all(|vector| vector.dtype() == DType::F32)
}

/// Normalises with the batch's statistics and activates. Returns the running mean and variance after the batch too.
pub(crate) fn batch_norm(
    input: &Tensor<4>,
    [weight, bias]: [&Tensor<1>; 2],
    [mean, variance]: [&Tensor<1>; 2],
    (epsilon, momentum): (f64, f64),
    activation: Activation,
) -> Option<(Tensor<4>, [Tensor<1>; 2])> {
    if !normalises(input, &[weight, bias, mean, variance], activation) {
        return None;
    }
    let input = input.clone().into_dispatch();
    let [weight, bias, mean, variance] =
        [weight, bias, mean, variance].map(|tensor| tensor.clone().into_dispatch());
    let norm = BatchNormalisation { epsilon, activation };
    let (output, _, _, mean, variance) =
        Dispatch::batch_normalisation(input, weight, bias, mean, variance, norm, momentum);
    Some((Tensor::from_dispatch(output), [mean, variance].map(Tensor::from_dispatch)))
}

/// Normalises with these statistics, which are constants, and activates.
pub(crate) fn frozen_norm(
    input: &Tensor<4>,
    [mean, variance]: [&Tensor<1>; 2],
    [weight, bias]: [&Tensor<1>; 2],
    epsilon: f64,
    activation: Activation,
) -> Option<Tensor<4>> {
    if !normalises(input, &[mean, variance, weight, bias], activation) {
        return None;
    }
    let input = input.clone().into_dispatch();
    let [mean, variance, weight, bias] =
        [mean, variance, weight, bias].map(|tensor| tensor.clone().into_dispatch());
    let norm = BatchNormalisation { epsilon, activation };
    Some(Tensor::from_dispatch(Dispatch::fixed_normalisation(input, mean, variance, weight, bias, norm)))
}

/// Applies an activation.
pub(crate) fn activate(input: &Tensor<4>, activation: Activation) -> Option<Tensor<4>> {
    let left = activation == Activation::Identity || !normalises(input, &[], activation);
    if left {
        return None;
    }
    Some(Tensor::from_dispatch(Dispatch::activation(input.clone().into_dispatch(), activation)))
}

impl<B: TrainingKernels, C: CheckpointStrategy> TrainingKernels for Autodiff<B, C> {
    fn convolution(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        sizes: Convolution,
    ) -> FloatTensor<Self> {
        recorded_convolution::<B, C, 2>([input, weight], sizes)
    }

    fn biased_convolution(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        sizes: Convolution,
    ) -> FloatTensor<Self> {
        recorded_convolution::<B, C, 3>([input, weight, bias], sizes)
    }

    fn convolution_input_gradient(
        gradient: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        sizes: Convolution,
    ) -> FloatTensor<Self> {
        let [gradient, weight] = [gradient, weight].map(FloatTensor::<Self>::into_primitive);
        FloatTensor::<Self>::new(B::convolution_input_gradient(gradient, weight, sizes))
    }

    fn convolution_weight_gradient(
        gradient: FloatTensor<Self>,
        input: FloatTensor<Self>,
        sizes: Convolution,
    ) -> FloatTensor<Self> {
        let [gradient, input] = [gradient, input].map(FloatTensor::<Self>::into_primitive);
        FloatTensor::<Self>::new(B::convolution_weight_gradient(gradient, input, sizes))
    }

    fn convolution_bias_gradient(gradient: FloatTensor<Self>, sizes: Convolution) -> FloatTensor<Self> {
        FloatTensor::<Self>::new(B::convolution_bias_gradient(gradient.into_primitive(), sizes))
    }

    fn batch_normalisation(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        running_mean: FloatTensor<Self>,
        running_variance: FloatTensor<Self>,
        norm: BatchNormalisation,
        momentum: f64,
    ) -> Normalised<Self> {
        let guards = [input.node(), weight.node(), bias.node()];
        let [input, weight, bias, running_mean, running_variance] =
            [input, weight, bias, running_mean, running_variance].map(FloatTensor::<Self>::into_primitive);
        let (output, mean, variance, running_mean, running_variance) = B::batch_normalisation(
            input.clone(),
            weight.clone(),
            bias.clone(),
            running_mean,
            running_variance,
            norm,
            momentum,
        );
        let node = Backward::<B, 3>::prepare::<C>(NormalisationNode, guards).compute_bound();
        let output = match node.stateful() {
            OpsKind::Tracked(node) => {
                let statistics = [mean.clone(), variance.clone()];
                node.finish((norm, [input, weight, bias], statistics, false), output)
            }
            OpsKind::UnTracked(node) => node.finish(output),
        };
        let constant = FloatTensor::<Self>::new;
        (output, constant(mean), constant(variance), constant(running_mean), constant(running_variance))
    }

    fn fixed_normalisation(
        input: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        norm: BatchNormalisation,
    ) -> FloatTensor<Self> {
        let guards = [input.node(), weight.node(), bias.node()];
        let [input, mean, variance, weight, bias] =
            [input, mean, variance, weight, bias].map(FloatTensor::<Self>::into_primitive);
        let statistics = [mean, variance];
        let output = B::fixed_normalisation(
            input.clone(),
            statistics[0].clone(),
            statistics[1].clone(),
            weight.clone(),
            bias.clone(),
            norm,
        );
        let node = Backward::<B, 3>::prepare::<C>(NormalisationNode, guards).compute_bound();
        match node.stateful() {
            OpsKind::Tracked(node) => node.finish((norm, [input, weight, bias], statistics, true), output),
            OpsKind::UnTracked(node) => node.finish(output),
        }
    }

    fn normalisation_gradients(
        gradient: FloatTensor<Self>,
        input: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        norm: BatchNormalisation,
        fixed: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [gradient, input, mean, variance, weight, bias] =
            [gradient, input, mean, variance, weight, bias].map(FloatTensor::<Self>::into_primitive);
        let (by_input, by_weight, by_bias) =
            B::normalisation_gradients(gradient, input, mean, variance, weight, bias, norm, fixed);
        let constant = FloatTensor::<Self>::new;
        (constant(by_input), constant(by_weight), constant(by_bias))
    }

    fn activation(input: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        let guard = input.node();
        let input = input.into_primitive();
        let output = B::activation(input.clone(), activation);
        let node = Backward::<B, 1>::prepare::<C>(ActivationNode, [guard]).compute_bound();
        match node.stateful() {
            OpsKind::Tracked(node) => node.finish((activation, input), output),
            OpsKind::UnTracked(node) => node.finish(output),
        }
    }

    fn activation_gradient(
        gradient: FloatTensor<Self>,
        input: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        let [gradient, input] = [gradient, input].map(FloatTensor::<Self>::into_primitive);
        FloatTensor::<Self>::new(B::activation_gradient(gradient, input, activation))
    }
}

/// Input, weight and, of three tensors, bias.
fn recorded_convolution<B: TrainingKernels, C: CheckpointStrategy, const N: usize>(
    tensors: [FloatTensor<Autodiff<B, C>>; N],
    sizes: Convolution,
) -> FloatTensor<Autodiff<B, C>> {
    let guards = std::array::from_fn(|i| tensors[i].node());
    let tensors = tensors.map(FloatTensor::<Autodiff<B, C>>::into_primitive);
    let [input, weight] = [tensors[0].clone(), tensors[1].clone()];
    let output = match tensors.get(2) {
        Some(bias) => B::biased_convolution(input.clone(), weight.clone(), bias.clone(), sizes),
        None => B::convolution(input.clone(), weight.clone(), sizes),
    };
    let node = Backward::<B, N>::prepare::<C>(ConvolutionNode::<N>, guards).compute_bound();
    match node.stateful() {
        OpsKind::Tracked(node) => node.finish((sizes, input, weight), output),
        OpsKind::UnTracked(node) => node.finish(output),
    }
}

#[derive(Debug)]
struct ConvolutionNode<const N: usize>;

impl<B: TrainingKernels, const N: usize> Backward<B, N> for ConvolutionNode<N> {
    /// The sizes, input and weight.
    type State = (Convolution, FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (sizes, input, weight) = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        for (i, parent) in ops.parents.into_iter().enumerate() {
            let Some(parent) = parent else { continue };
            let gradient = gradient.clone();
            let by_parent = match i {
                0 => B::convolution_input_gradient(gradient, weight.clone(), sizes),
                1 => B::convolution_weight_gradient(gradient, input.clone(), sizes),
                _ => B::convolution_bias_gradient(gradient, sizes),
            };
            grads.register::<B>(parent.id, by_parent);
        }
    }
}

#[derive(Debug)]
struct NormalisationNode;

impl<B: TrainingKernels> Backward<B, 3> for NormalisationNode {
    /// Input, weight and bias; mean and variance, and whether they are constants.
    type State = (BatchNormalisation, [FloatTensor<B>; 3], [FloatTensor<B>; 2], bool);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (norm, [input, weight, bias], [mean, variance], fixed) = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        let (by_input, by_weight, by_bias) =
            B::normalisation_gradients(gradient, input, mean, variance, weight, bias, norm, fixed);
        for (parent, gradient) in ops.parents.into_iter().zip([by_input, by_weight, by_bias]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct ActivationNode;

impl<B: TrainingKernels> Backward<B, 1> for ActivationNode {
    type State = (Activation, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (activation, input) = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        if let [Some(parent)] = ops.parents {
            grads.register::<B>(parent.id, B::activation_gradient(gradient, input, activation));
        }
    }
}
