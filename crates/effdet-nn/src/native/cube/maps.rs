//! Operations on maps that training needs beside convolutions and norms: means, gates, weighted sums, the focal loss, and
//! the few numbers of a map that a loss names. The framework's own are reductions that are searched anew for every shape.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Int, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::server::Handle;

use super::kernels::focal::{Focal, add_at, negatives, take};
use super::kernels::gemm::{Matrix, Side};
use super::kernels::pixelwise::{self, Factors, FactorsOf, Target, Term};
use super::kernels::{SINGLE, norm, reduce};
use super::training::{channels_last, dims, float, launcher, maps, new_maps, new_vector, vector};
use crate::Activation;
use crate::native::training::computes_on_device;

/// Maps are `[pictures, channels, height, width]`, factors `[pictures or 1, channels or 1, 1, 1]`. Those that end in
/// `gradient` are for the backward pass; they are not recorded.
#[backend_extension(Cube, Fusion: cfg(feature = "fusion"), Autodiff)]
pub(super) trait MapKernels: Backend {
    #[fusion(dtype = map, shape = per_picture(map))]
    fn spatial_mean(map: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `scale · factors` as maps of this shape.
    #[fusion(dtype = factors, shape = shape.into())]
    fn spread_gradient(factors: FloatTensor<Self>, shape: [usize; 4], scale: f32) -> FloatTensor<Self>;

    #[fusion(dtype = map, shape = map)]
    fn gated(map: FloatTensor<Self>, factors: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Sums of products, as the factors.
    #[fusion(meta = |_gradient, _map, factors| factors.clone())]
    fn factors_gradient(
        gradient: FloatTensor<Self>,
        map: FloatTensor<Self>,
        factors: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    #[fusion(dtype = first, shape = first)]
    fn weighted_sum_of_two(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    #[fusion(dtype = first, shape = first)]
    fn weighted_sum_of_three(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Running statistics after a batch, whose variance is multiplied by `unbias`; all constants.
    #[fusion(meta = |mean, variance, _batch_mean, _batch_variance, _momentum, _unbias| {
        (mean.clone(), variance.clone())
    })]
    fn blended_statistics(
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        batch_mean: FloatTensor<Self>,
        batch_variance: FloatTensor<Self>,
        momentum: f32,
        unbias: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// The loss, `[1]`, and its derivative by every logit.
    #[fusion(meta = losses)]
    fn focal_loss(
        logits: FloatTensor<Self>,
        gamma: f32,
        half: f32,
        scale: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// `value` as a function of `map` that has this gradient.
    #[fusion(meta = |_map, value, _gradient| value.clone())]
    fn with_gradient_of(
        map: FloatTensor<Self>,
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Numbers at places in the order of pictures, rows, columns, channels.
    #[fusion(meta = |map, places| burn::backend::fusion::custom::TensorSpec { dtype: map.dtype, ..places.clone() })]
    fn numbers_at(map: FloatTensor<Self>, places: IntTensor<Self>) -> FloatTensor<Self>;

    /// Adds to numbers at places that are all different.
    #[fusion(dtype = map, shape = map)]
    fn added_at(
        map: FloatTensor<Self>,
        places: IntTensor<Self>,
        values: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Maps of zeros but for these numbers.
    #[fusion(dtype = values, shape = shape.into())]
    fn scattered_gradient(
        values: FloatTensor<Self>,
        places: IntTensor<Self>,
        shape: [usize; 4],
    ) -> FloatTensor<Self>;
}

#[cfg(feature = "fusion")]
fn per_picture(map: &Shape) -> Shape {
    [map[0], map[1], 1, 1].into()
}

#[cfg(feature = "fusion")]
fn losses(
    logits: &burn::backend::fusion::custom::TensorSpec,
    _gamma: &f32,
    _half: &f32,
    _scale: &f32,
) -> (burn::backend::fusion::custom::TensorSpec, burn::backend::fusion::custom::TensorSpec) {
    let mut sum = logits.clone();
    sum.shape = [1].into();
    (sum, logits.clone())
}

fn target(map: &CubeTensor) -> Target {
    let [batch, channels, height, width] = dims(map);
    Target { batch, channels, size: [height, width] }
}

/// Factors `[pictures or 1, channels or 1, 1, 1]`: what is one for all has no step.
fn factors_of(factors: &CubeTensor) -> FactorsOf {
    let (shape, strides) = (factors.meta.shape(), factors.meta.strides());
    let step = |axis: usize| if shape[axis] == 1 { 0 } else { strides[axis] };
    FactorsOf { values: factors.handle.clone(), float: float(factors), first: 0, strides: [step(0), step(1)] }
}

fn scaled(map: &CubeTensor, factors: &FactorsOf) -> CubeTensor {
    let (output, to) = new_maps(map, dims(map));
    pixelwise::scale(&launcher(map), Some(&channels_last(map)), factors, 1.0, &to, &target(map));
    output
}

/// Sums over what the factors, `[a, b, 1, 1]`, have one of.
fn sum_like(gradient: &CubeTensor, map: &CubeTensor, [pictures, channels]: [usize; 2]) -> Handle {
    let launcher = launcher(gradient);
    let [batch, all_channels, height, width] = dims(gradient);
    let maps = [&channels_last(gradient), &channels_last(map)];
    let (batch, pixels) = if pictures == 1 { (1, batch * height * width) } else { (batch, height * width) };
    if channels == all_channels {
        let output = launcher.client.empty(batch * channels * gradient.dtype.size());
        reduce::sum_products(&launcher, maps, &output, [batch, pixels, channels], launcher.float);
        return output;
    }
    let sums = launcher.client.empty(batch * all_channels * size_of::<f32>());
    reduce::sum_products(&launcher, maps, &sums, [batch, pixels, all_channels], SINGLE);
    let output = launcher.client.empty(batch * gradient.dtype.size());
    reduce::sum_parts(&launcher, sums, output.clone(), [batch, all_channels], launcher.float);
    output
}

fn new_factors(like: &CubeTensor, handle: Handle, shape: [usize; 4]) -> CubeTensor {
    CubeTensor::new_contiguous(
        like.client.clone(),
        like.device.clone(),
        Shape::from(shape),
        handle,
        like.dtype,
    )
}

/// Weights `[maps, channels or 1, 1, 1]`.
fn weighted_sum(inputs: &[CubeTensor], weights: &CubeTensor) -> CubeTensor {
    let launcher = launcher(&inputs[0]);
    let target = target(&inputs[0]);
    let (shape, strides) = (weights.meta.shape(), weights.meta.strides());
    let step = if shape[1] == 1 { 0 } else { strides[1] };
    let matrix = Matrix {
        values: weights.handle.clone(),
        float: float(weights),
        rows: Side::of(inputs.len(), strides[0]),
        columns: Side::of(target.channels, step),
    };
    let constant = matrix.lay_out(&launcher, SINGLE, [inputs.len(), target.channels]);
    let terms: Vec<Term> =
        inputs.iter().map(|map| Term { map: channels_last(map), size: target.size }).collect();
    let (output, to) = new_maps(&inputs[0], dims(&inputs[0]));
    let factors = Factors { constant, computed: None, bias: None };
    pixelwise::sum(&launcher, &terms, factors, to, &target, Activation::Identity);
    output
}

/// Places as the kernels take them.
fn places_of(places: CubeTensor) -> (Handle, usize) {
    let count = places.meta.num_elements();
    let places = burn_cubecl::kernel::into_contiguous(places);
    (burn_cubecl::kernel::cast(places, DType::I32).handle, count)
}

impl MapKernels for CubeBackend {
    fn spatial_mean(map: CubeTensor) -> CubeTensor {
        let launcher = launcher(&map);
        let [batch, channels, height, width] = dims(&map);
        let sizes = [batch, height * width, channels];
        let partial = launcher.client.empty(reduce::partial_sums(sizes) * size_of::<f32>());
        let output = launcher.client.empty(batch * channels * map.dtype.size());
        reduce::mean(&launcher, channels_last(&map), partial, output.clone(), sizes);
        new_factors(&map, output, [batch, channels, 1, 1])
    }

    fn spread_gradient(factors: CubeTensor, shape: [usize; 4], scale: f32) -> CubeTensor {
        let (output, to) = new_maps(&factors, shape);
        let target = target(&output);
        pixelwise::scale(&launcher(&factors), None, &factors_of(&factors), scale, &to, &target);
        output
    }

    fn gated(map: CubeTensor, factors: CubeTensor) -> CubeTensor {
        scaled(&map, &factors_of(&factors))
    }

    fn factors_gradient(gradient: CubeTensor, map: CubeTensor, factors: CubeTensor) -> CubeTensor {
        let shape = dims(&factors);
        let sums = sum_like(&gradient, &map, [shape[0], shape[1]]);
        new_factors(&gradient, sums, shape)
    }

    fn weighted_sum_of_two(first: CubeTensor, second: CubeTensor, weights: CubeTensor) -> CubeTensor {
        weighted_sum(&[first, second], &weights)
    }

    fn weighted_sum_of_three(
        first: CubeTensor,
        second: CubeTensor,
        third: CubeTensor,
        weights: CubeTensor,
    ) -> CubeTensor {
        weighted_sum(&[first, second, third], &weights)
    }

    fn blended_statistics(
        mean: CubeTensor,
        variance: CubeTensor,
        batch_mean: CubeTensor,
        batch_variance: CubeTensor,
        momentum: f32,
        unbias: f32,
    ) -> (CubeTensor, CubeTensor) {
        let channels = mean.meta.num_elements();
        let (new_mean, new_variance) = (new_vector(&mean, channels), new_vector(&mean, channels));
        let launcher = launcher(&mean);
        let to = [new_mean.handle.clone(), new_variance.handle.clone()];
        let (running, batch) = ([mean, variance].map(vector), [batch_mean, batch_variance].map(vector));
        norm::blend(&launcher, running, batch, to, (momentum, unbias), channels);
        (new_mean, new_variance)
    }

    fn focal_loss(logits: CubeTensor, gamma: f32, half: f32, scale: f32) -> (CubeTensor, CubeTensor) {
        let launcher = launcher(&logits);
        let (gradient, to) = new_maps(&logits, dims(&logits));
        let sum = new_vector(&logits, 1);
        let focal = Focal { gamma, half, scale };
        let length = logits.meta.num_elements();
        negatives(&launcher, &channels_last(&logits), &to, &sum.handle, length, focal);
        (burn_cubecl::kernel::cast(sum, logits.dtype), gradient)
    }

    fn with_gradient_of(_: CubeTensor, value: CubeTensor, _: CubeTensor) -> CubeTensor {
        value
    }

    fn numbers_at(map: CubeTensor, places: CubeTensor) -> CubeTensor {
        let launcher = launcher(&map);
        let shape = places.meta.shape().clone();
        let places = places_of(places);
        let values = launcher.client.empty(places.1 * map.dtype.size());
        let numbers = map.meta.num_elements();
        take(&launcher, (&channels_last(&map), numbers), (&places.0, places.1), &values);
        CubeTensor::new_contiguous(map.client.clone(), map.device.clone(), shape, values, map.dtype)
    }

    fn added_at(map: CubeTensor, places: CubeTensor, values: CubeTensor) -> CubeTensor {
        let launcher = launcher(&map);
        let places = places_of(places);
        let values = burn_cubecl::kernel::into_contiguous(values).handle;
        let numbers = map.meta.num_elements();
        // Someone else may have the map too.
        let (output, to) = new_maps(&map, dims(&map));
        let channels = |map: &Handle| pixelwise::Channels { map: map.clone(), of: numbers, first: 0 };
        pixelwise::copy_channels(&launcher, channels(&channels_last(&map)), channels(&to), 1, numbers);
        add_at(&launcher, (&to, numbers), (&places.0, places.1), &values);
        output
    }

    fn scattered_gradient(values: CubeTensor, places: CubeTensor, shape: [usize; 4]) -> CubeTensor {
        let numbers: usize = shape.iter().product();
        let flat = Shape::from([numbers]);
        let zeros = burn_cubecl::ops::numeric::zeros(values.device.clone(), flat, values.dtype);
        let places = places_of(places);
        let launcher = launcher(&values);
        let given = burn_cubecl::kernel::into_contiguous(values).handle;
        add_at(&launcher, (&zeros.handle, numbers), (&places.0, places.1), &given);
        let handle = zeros.handle.clone();
        maps(&zeros, handle, shape)
    }
}

impl<B: MapKernels, C: CheckpointStrategy> MapKernels for Autodiff<B, C> {
    fn spatial_mean(map: FloatTensor<Self>) -> FloatTensor<Self> {
        let guard = map.node();
        let map = map.into_primitive();
        let shape = shape_of::<B>(&map);
        let node = Backward::<B, 1>::prepare::<C>(MeanNode, [guard]).compute_bound();
        let output = B::spatial_mean(map);
        match node.stateful() {
            OpsKind::Tracked(node) => node.finish(shape, output),
            OpsKind::UnTracked(node) => node.finish(output),
        }
    }

    fn spread_gradient(factors: FloatTensor<Self>, shape: [usize; 4], scale: f32) -> FloatTensor<Self> {
        FloatTensor::<Self>::new(B::spread_gradient(factors.into_primitive(), shape, scale))
    }

    fn gated(map: FloatTensor<Self>, factors: FloatTensor<Self>) -> FloatTensor<Self> {
        let guards = [map.node(), factors.node()];
        let [map, factors] = [map, factors].map(FloatTensor::<Self>::into_primitive);
        let output = B::gated(map.clone(), factors.clone());
        let node = Backward::<B, 2>::prepare::<C>(GateNode, guards).compute_bound();
        match node.stateful() {
            OpsKind::Tracked(node) => node.finish((map, factors), output),
            OpsKind::UnTracked(node) => node.finish(output),
        }
    }

    fn factors_gradient(
        gradient: FloatTensor<Self>,
        map: FloatTensor<Self>,
        factors: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let [gradient, map, factors] = [gradient, map, factors].map(FloatTensor::<Self>::into_primitive);
        FloatTensor::<Self>::new(B::factors_gradient(gradient, map, factors))
    }

    fn weighted_sum_of_two(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        recorded_sum::<B, C, 2, 3>([first, second, weights])
    }

    fn weighted_sum_of_three(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        recorded_sum::<B, C, 3, 4>([first, second, third, weights])
    }

    fn blended_statistics(
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        batch_mean: FloatTensor<Self>,
        batch_variance: FloatTensor<Self>,
        momentum: f32,
        unbias: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [mean, variance, batch_mean, batch_variance] =
            [mean, variance, batch_mean, batch_variance].map(FloatTensor::<Self>::into_primitive);
        let (mean, variance) =
            B::blended_statistics(mean, variance, batch_mean, batch_variance, momentum, unbias);
        (FloatTensor::<Self>::new(mean), FloatTensor::<Self>::new(variance))
    }

    fn focal_loss(
        logits: FloatTensor<Self>,
        gamma: f32,
        half: f32,
        scale: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (sum, gradient) = B::focal_loss(logits.into_primitive(), gamma, half, scale);
        (FloatTensor::<Self>::new(sum), FloatTensor::<Self>::new(gradient))
    }

    fn with_gradient_of(
        map: FloatTensor<Self>,
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let node = Backward::<B, 1>::prepare::<C>(GivenNode, [map.node()]).compute_bound();
        match node.stateful() {
            OpsKind::Tracked(node) => node.finish(gradient.into_primitive(), value.into_primitive()),
            OpsKind::UnTracked(node) => node.finish(value.into_primitive()),
        }
    }

    fn numbers_at(map: FloatTensor<Self>, places: IntTensor<Self>) -> FloatTensor<Self> {
        let guard = map.node();
        let map = map.into_primitive();
        let shape = shape_of::<B>(&map);
        let output = B::numbers_at(map, places.clone());
        let node = Backward::<B, 1>::prepare::<C>(TakeNode, [guard]).compute_bound();
        match node.stateful() {
            OpsKind::Tracked(node) => node.finish((shape, places), output),
            OpsKind::UnTracked(node) => node.finish(output),
        }
    }

    fn added_at(
        map: FloatTensor<Self>,
        places: IntTensor<Self>,
        values: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let [map, values] = [map, values].map(FloatTensor::<Self>::into_primitive);
        FloatTensor::<Self>::new(B::added_at(map, places, values))
    }

    fn scattered_gradient(
        values: FloatTensor<Self>,
        places: IntTensor<Self>,
        shape: [usize; 4],
    ) -> FloatTensor<Self> {
        FloatTensor::<Self>::new(B::scattered_gradient(values.into_primitive(), places, shape))
    }
}

fn shape_of<B: Backend>(map: &FloatTensor<B>) -> [usize; 4] {
    use burn::backend::TensorMetadata;
    map.shape().dims()
}

#[derive(Debug)]
struct MeanNode;

impl<B: MapKernels> Backward<B, 1> for MeanNode {
    type State = [usize; 4];

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [_, _, height, width] = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        if let [Some(parent)] = ops.parents {
            let scale = 1.0 / (height * width) as f32;
            grads.register::<B>(parent.id, B::spread_gradient(gradient, ops.state, scale));
        }
    }
}

#[derive(Debug)]
struct GateNode;

impl<B: MapKernels> Backward<B, 2> for GateNode {
    /// The map and its factors.
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (map, factors) = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        let [by_map, by_factors] = ops.parents;
        if let Some(parent) = by_map {
            grads.register::<B>(parent.id, B::gated(gradient.clone(), factors.clone()));
        }
        if let Some(parent) = by_factors {
            grads.register::<B>(parent.id, B::factors_gradient(gradient, map, factors));
        }
    }
}

/// `N` maps and their weights.
fn recorded_sum<B: MapKernels, C: CheckpointStrategy, const N: usize, const ALL: usize>(
    tensors: [FloatTensor<Autodiff<B, C>>; ALL],
) -> FloatTensor<Autodiff<B, C>> {
    let guards = std::array::from_fn(|i| tensors[i].node());
    let tensors = tensors.map(FloatTensor::<Autodiff<B, C>>::into_primitive);
    let map = |i: usize| tensors[i].clone();
    let output = if N == 2 {
        B::weighted_sum_of_two(map(0), map(1), map(2))
    } else {
        B::weighted_sum_of_three(map(0), map(1), map(2), map(3))
    };
    let node = Backward::<B, ALL>::prepare::<C>(SumNode, guards).compute_bound();
    match node.stateful() {
        OpsKind::Tracked(node) => node.finish(tensors, output),
        OpsKind::UnTracked(node) => node.finish(output),
    }
}

#[derive(Debug)]
struct SumNode;

impl<B: MapKernels, const ALL: usize> Backward<B, ALL> for SumNode {
    /// Maps, then weights.
    type State = [FloatTensor<B>; ALL];

    fn backward(self, ops: Ops<Self::State, ALL>, grads: &mut Gradients, _: &mut Checkpointer) {
        use burn::backend::TensorMetadata;
        let tensors = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        let weights = &tensors[ALL - 1];
        let channels = weights.shape()[1];
        let weight = |i: usize| {
            let places = [i..i + 1, 0..channels, 0..1, 0..1].map(burn::tensor::Slice::from);
            B::float_slice(weights.clone(), &places)
        };
        let mut by_weights = Vec::with_capacity(ALL - 1);
        for (i, parent) in ops.parents.into_iter().enumerate() {
            let Some(parent) = parent else { continue };
            if i < ALL - 1 {
                grads.register::<B>(parent.id, B::gated(gradient.clone(), weight(i)));
                continue;
            }
            for (map, tensor) in tensors[..ALL - 1].iter().enumerate() {
                by_weights.push(B::factors_gradient(gradient.clone(), tensor.clone(), weight(map)));
            }
            grads.register::<B>(parent.id, B::float_cat(std::mem::take(&mut by_weights), 0));
        }
    }
}

#[derive(Debug)]
struct GivenNode;

impl<B: MapKernels> Backward<B, 1> for GivenNode {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let factor = B::float_reshape(grads.consume::<B>(&ops.node), Shape::from([1, 1, 1, 1]));
        if let [Some(parent)] = ops.parents {
            grads.register::<B>(parent.id, B::gated(ops.state, factor));
        }
    }
}

#[derive(Debug)]
struct TakeNode;

impl<B: MapKernels> Backward<B, 1> for TakeNode {
    /// The map's shape and the places.
    type State = ([usize; 4], IntTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (shape, places) = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        if let [Some(parent)] = ops.parents {
            grads.register::<B>(parent.id, B::scattered_gradient(gradient, places, shape));
        }
    }
}

/// The mean of every channel, `[pictures, channels, 1, 1]`.
pub(crate) fn global_mean(map: &Tensor<4>) -> Option<Tensor<4>> {
    if !computes_on_device(map) {
        return None;
    }
    Some(Tensor::from_dispatch(Dispatch::spatial_mean(map.clone().into_dispatch())))
}

/// `factors · map`, factors `[pictures or 1, channels or 1, 1, 1]`.
pub(crate) fn gate(map: &Tensor<4>, factors: &Tensor<4>) -> Option<Tensor<4>> {
    let [pictures, channels, ..] = map.dims();
    let [a, b, height, width] = factors.dims();
    let fits = [height, width] == [1, 1] && [1, pictures].contains(&a) && [1, channels].contains(&b);
    // factors for each picture and not for each channel have no sum of their own
    let summed = b == channels || a == 1;
    if !fits || !summed || factors.dtype() != map.dtype() || !computes_on_device(map) {
        return None;
    }
    let [map, factors] = [map, factors].map(|tensor| tensor.clone().into_dispatch());
    Some(Tensor::from_dispatch(Dispatch::gated(map, factors)))
}

/// `Σ weights · maps` of two or three maps of one shape, weights `[maps, channels or 1, 1, 1]`.
pub(crate) fn sum_of(maps: &[Tensor<4>], weights: &Tensor<4>) -> Option<Tensor<4>> {
    let first = maps.first()?;
    let channels = first.dims()[1];
    let [count, by_channel, ..] = weights.dims();
    let alike = |map: &Tensor<4>| map.dims() == first.dims() && map.dtype() == first.dtype();
    let fits = count == maps.len() && [1, channels].contains(&by_channel) && weights.dtype() == first.dtype();
    if !fits || !maps.iter().all(alike) || !computes_on_device(first) {
        return None;
    }
    let weights = weights.clone().into_dispatch();
    let map = |i: usize| maps[i].clone().into_dispatch();
    let sum = match count {
        2 => Dispatch::weighted_sum_of_two(map(0), map(1), weights),
        3 => Dispatch::weighted_sum_of_three(map(0), map(1), map(2), weights),
        _ => return None,
    };
    Some(Tensor::from_dispatch(sum))
}

/// As [`native::focal_negatives`](crate::native::focal_negatives).
pub(crate) fn focal_negatives(
    logits: &Tensor<4>,
    gamma: f64,
    half: f64,
    scale: f64,
) -> Option<(Tensor<1>, Tensor<4>)> {
    if logits.is_autodiff() || logits.dtype() != DType::F32 || !computes_on_device(logits) {
        return None;
    }
    let logits = logits.clone().into_dispatch();
    let (sum, gradient) = Dispatch::focal_loss(logits, gamma as f32, half as f32, scale as f32);
    Some((Tensor::from_dispatch(sum), Tensor::from_dispatch(gradient)))
}

/// As [`native::with_gradient`](crate::native::with_gradient).
pub(crate) fn with_gradient(input: &Tensor<4>, value: &Tensor<1>, gradient: &Tensor<4>) -> Option<Tensor<1>> {
    let same = input.dtype() == value.dtype() && input.dtype() == gradient.dtype();
    if !input.is_autodiff() || !same || !computes_on_device(input) {
        return None;
    }
    let (input, value) = (input.clone().into_dispatch(), value.clone().into_dispatch());
    let gradient = gradient.clone().into_dispatch();
    Some(Tensor::from_dispatch(Dispatch::with_gradient_of(input, value, gradient)))
}

/// As [`native::numbers_at`](crate::native::numbers_at).
pub(crate) fn numbers_at(map: &Tensor<4>, places: &Tensor<1, Int>) -> Option<Tensor<1>> {
    if places.dims() == [0] || !computes_on_device(map) {
        return None;
    }
    let places = places.clone().into_dispatch();
    Some(Tensor::from_dispatch(Dispatch::numbers_at(map.clone().into_dispatch(), places)))
}

/// As [`native::added_at`](crate::native::added_at).
pub(crate) fn added_at(map: &Tensor<4>, places: &Tensor<1, Int>, values: &Tensor<1>) -> Option<Tensor<4>> {
    let fits = values.dtype() == map.dtype() && values.dims() == places.dims() && places.dims() != [0];
    if map.is_autodiff() || !fits || !computes_on_device(map) {
        return None;
    }
    let (map, places) = (map.clone().into_dispatch(), places.clone().into_dispatch());
    Some(Tensor::from_dispatch(Dispatch::added_at(map, places, values.clone().into_dispatch())))
}

/// `(1 - momentum) · running + momentum · batch` of mean and variance, the batch's variance times `unbias`; constants.
pub(crate) fn blend(
    map: &Tensor<4>,
    [mean, variance]: [&Tensor<1>; 2],
    [batch_mean, batch_variance]: [&Tensor<1>; 2],
    momentum: f64,
    unbias: f64,
) -> Option<[Tensor<1>; 2]> {
    let all = [mean, variance, batch_mean, batch_variance];
    if all.iter().any(|tensor| tensor.dtype() != DType::F32) || !computes_on_device(map) {
        return None;
    }
    let [mean, variance, batch_mean, batch_variance] = all.map(|tensor| tensor.clone().into_dispatch());
    let (momentum, unbias) = (momentum as f32, unbias as f32);
    let (mean, variance) =
        Dispatch::blended_statistics(mean, variance, batch_mean, batch_variance, momentum, unbias);
    Some([Tensor::from_dispatch(mean), Tensor::from_dispatch(variance)])
}
