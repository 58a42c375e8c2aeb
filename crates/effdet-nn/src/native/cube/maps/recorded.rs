//! Their place in the record of gradients.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn::tensor::Shape;

use super::MapKernels;

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
