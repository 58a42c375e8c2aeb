//! Their place in the record of gradients.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn::tensor::Shape;

use super::{MapKernels, Pooling};
use crate::WeightNorm;

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

    fn sum_of_two(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        norm: WeightNorm,
    ) -> FloatTensor<Self> {
        let guards = [first.node(), second.node(), weights.node()];
        let tensors = [first, second, weights].map(FloatTensor::<Self>::into_primitive);
        let [first, second, weights] = tensors.clone();
        let output = B::sum_of_two(first, second, weights, norm);
        let node = Backward::<B, 3>::prepare::<C>(SumNode, guards).compute_bound();
        match node.stateful() {
            OpsKind::Tracked(node) => node.finish((norm, tensors), output),
            OpsKind::UnTracked(node) => node.finish(output),
        }
    }

    fn sum_of_three(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        norm: WeightNorm,
    ) -> FloatTensor<Self> {
        let guards = [first.node(), second.node(), third.node(), weights.node()];
        let tensors = [first, second, third, weights].map(FloatTensor::<Self>::into_primitive);
        let [first, second, third, weights] = tensors.clone();
        let output = B::sum_of_three(first, second, third, weights, norm);
        let node = Backward::<B, 4>::prepare::<C>(SumNode, guards).compute_bound();
        match node.stateful() {
            OpsKind::Tracked(node) => node.finish((norm, tensors), output),
            OpsKind::UnTracked(node) => node.finish(output),
        }
    }

    fn sum_of_two_gradients(
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        norm: WeightNorm,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [gradient, first, second, weights] =
            [gradient, first, second, weights].map(FloatTensor::<Self>::into_primitive);
        let constant = FloatTensor::<Self>::new;
        let (a, b, by_weights) = B::sum_of_two_gradients(gradient, first, second, weights, norm);
        (constant(a), constant(b), constant(by_weights))
    }

    fn sum_of_three_gradients(
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        norm: WeightNorm,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [gradient, first, second, third, weights] =
            [gradient, first, second, third, weights].map(FloatTensor::<Self>::into_primitive);
        let constant = FloatTensor::<Self>::new;
        let (a, b, c, by_weights) = B::sum_of_three_gradients(gradient, first, second, third, weights, norm);
        (constant(a), constant(b), constant(c), constant(by_weights))
    }

    fn largest_of_windows(
        map: FloatTensor<Self>,
        pooling: Pooling,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let guard = map.node();
        let (output, taps) = B::largest_of_windows(map.into_primitive(), pooling);
        let node = Backward::<B, 1>::prepare::<C>(PoolNode, [guard]).compute_bound();
        let output = match node.stateful() {
            OpsKind::Tracked(node) => node.finish((pooling, Some(taps.clone())), output),
            OpsKind::UnTracked(node) => node.finish(output),
        };
        (output, FloatTensor::<Self>::new(taps))
    }

    fn mean_of_windows(map: FloatTensor<Self>, pooling: Pooling) -> FloatTensor<Self> {
        let guard = map.node();
        let output = B::mean_of_windows(map.into_primitive(), pooling);
        let node = Backward::<B, 1>::prepare::<C>(PoolNode, [guard]).compute_bound();
        match node.stateful() {
            OpsKind::Tracked(node) => node.finish((pooling, None), output),
            OpsKind::UnTracked(node) => node.finish(output),
        }
    }

    fn windows_gradient(
        gradient: FloatTensor<Self>,
        taps: FloatTensor<Self>,
        pooling: Pooling,
    ) -> FloatTensor<Self> {
        let [gradient, taps] = [gradient, taps].map(FloatTensor::<Self>::into_primitive);
        FloatTensor::<Self>::new(B::windows_gradient(gradient, taps, pooling))
    }

    fn nearest_pixels(map: FloatTensor<Self>, size: [usize; 2]) -> FloatTensor<Self> {
        let guard = map.node();
        let map = map.into_primitive();
        let [_, _, height, width] = shape_of::<B>(&map);
        let output = B::nearest_pixels(map, size);
        let node = Backward::<B, 1>::prepare::<C>(NearestNode, [guard]).compute_bound();
        match node.stateful() {
            OpsKind::Tracked(node) => node.finish([height, width], output),
            OpsKind::UnTracked(node) => node.finish(output),
        }
    }

    fn nearest_pixels_gradient(gradient: FloatTensor<Self>, size: [usize; 2]) -> FloatTensor<Self> {
        FloatTensor::<Self>::new(B::nearest_pixels_gradient(gradient.into_primitive(), size))
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

#[derive(Debug)]
struct SumNode;

impl<B: MapKernels> Backward<B, 3> for SumNode {
    /// Two maps and their weights.
    type State = (WeightNorm, [FloatTensor<B>; 3]);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (norm, [first, second, weights]) = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        let (a, b, by_weights) = B::sum_of_two_gradients(gradient, first, second, weights, norm);
        for (parent, gradient) in ops.parents.into_iter().zip([a, b, by_weights]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

impl<B: MapKernels> Backward<B, 4> for SumNode {
    /// Three maps and their weights.
    type State = (WeightNorm, [FloatTensor<B>; 4]);

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (norm, [first, second, third, weights]) = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        let (a, b, c, by_weights) = B::sum_of_three_gradients(gradient, first, second, third, weights, norm);
        for (parent, gradient) in ops.parents.into_iter().zip([a, b, c, by_weights]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct PoolNode;

impl<B: MapKernels> Backward<B, 1> for PoolNode {
    /// The taps that were the largest, of a pool that keeps those.
    type State = (Pooling, Option<FloatTensor<B>>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (pooling, taps) = ops.state;
        let gradient = grads.consume::<B>(&ops.node);
        if let [Some(parent)] = ops.parents {
            let taps = taps.unwrap_or_else(|| gradient.clone());
            grads.register::<B>(parent.id, B::windows_gradient(gradient, taps, pooling));
        }
    }
}

#[derive(Debug)]
struct NearestNode;

impl<B: MapKernels> Backward<B, 1> for NearestNode {
    /// Height and width of the input.
    type State = [usize; 2];

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        if let [Some(parent)] = ops.parents {
            grads.register::<B>(parent.id, B::nearest_pixels_gradient(gradient, ops.state));
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
