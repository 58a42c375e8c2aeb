//! Batch normalisation over the pictures of all workers.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::buffer::Buffer;
use super::host::{
    Primitive, Primitives, RecordedTensor, Recording, contiguous, numbers, tensor_of, to_overwrite,
};
use super::norm::{Norm, Planes};
use super::slope;
use crate::{Activation, Collective};

/// Normalises with the statistics of all workers' pictures and activates. Returns their mean, their biased variance and
/// the number of values of a channel too.
pub(crate) fn batch_norm_across(
    input: &Tensor<4>,
    [weight, bias]: [&Tensor<1>; 2],
    epsilon: f64,
    activation: Activation,
    group: &Collective,
) -> Option<(Tensor<4>, [Tensor<1>; 2], f64)> {
    let [pictures, channels, height, width] = input.dims();
    let planes = Planes { pictures, channels, pixels: height * width };
    if input.dims().contains(&0) || !slope::supports(activation) {
        return None;
    }
    let norm = Norm { planes, epsilon, activation };
    let compute = |[input, weight, bias]: &[FlexTensor; 3]| {
        let input = numbers(input);
        let (mut mean, mut variance) = (Buffer::new(channels), Buffer::new(channels));
        norm.statistics(input, &mut mean, &mut variance);
        let count = merge(group, norm.count(), &mut mean, &mut variance);
        let mut output = Buffer::new(input.len());
        norm.forward(input, [&mean, &variance], [numbers(weight), numbers(bias)], &mut output);
        (output, [mean, variance].map(|statistic| tensor_of(statistic, [channels])), count)
    };
    let shape = input.dims();
    match Primitives::of([Primitive::of(input), Primitive::of(weight), Primitive::of(bias)])? {
        Primitives::Plain(tensors) => {
            let (output, statistics, count) = compute(&tensors.map(contiguous));
            let output = Tensor::from_primitive::<Flex>(tensor_of(output, shape));
            Some((output, statistics.map(Tensor::from_primitive::<Flex>), count))
        }
        Primitives::Recorded(tensors) => {
            let guards = std::array::from_fn(|i| tensors[i].node());
            let tensors = tensors.map(|tensor| contiguous(tensor.into_primitive()));
            let (output, statistics, count) = compute(&tensors);
            let output = tensor_of(output, shape);
            let node = NormAcrossNode.prepare::<NoCheckpointing>(guards).compute_bound();
            let output = match node.stateful() {
                OpsKind::Tracked(node) => {
                    node.finish((norm, tensors, statistics.clone(), count, group.clone()), output)
                }
                OpsKind::UnTracked(node) => node.finish(output),
            };
            let statistics = statistics
                .map(|statistic| Tensor::from_primitive::<Recording>(RecordedTensor::new(statistic)));
            Some((Tensor::from_primitive::<Recording>(output), statistics, count))
        }
    }
}

/// Makes this worker's statistics those of all, and returns the number of values of a channel. When another worker has
/// ended they stay as they are.
///
/// # Reference
/// Chan, Golub and LeVeque 1979: means first, then squares about the common mean.
fn merge(group: &Collective, count: f64, mean: &mut [f32], variance: &mut [f32]) -> f64 {
    let own = (count, mean.to_vec(), variance.to_vec());
    let Ok(all) = group.all_gather("the statistics of a batch norm", own) else { return count };
    if all.iter().any(|worker| worker.1.len() != mean.len()) {
        group.leave();
        return count;
    }
    let total: f64 = all.iter().map(|worker| worker.0).sum();
    for (channel, (mean, variance)) in mean.iter_mut().zip(variance).enumerate() {
        let parts = || all.iter().map(|w| (w.0, f64::from(w.1[channel]), f64::from(w.2[channel])));
        let average = parts().map(|(n, mean, _)| n * mean).sum::<f64>() / total;
        let squares: f64 = parts().map(|(n, mean, variance)| n * (variance + (mean - average).powi(2))).sum();
        (*mean, *variance) = (average as f32, (squares / total) as f32);
    }
    total
}

#[derive(Debug)]
struct NormAcrossNode;

impl Backward<Flex, 3> for NormAcrossNode {
    /// Input, weight and bias; mean, variance and number of values of all workers.
    type State = (Norm, [FlexTensor; 3], [FlexTensor; 2], f64, Collective);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (norm, [input, weight, bias], statistics, count, group) = ops.state;
        let mut gradient = to_overwrite(grads.consume::<Flex>(&ops.node));
        let channels = norm.planes.channels;
        let input = numbers(&input);
        let (statistics, affine) =
            ([0, 1].map(|i| numbers(&statistics[i])), [numbers(&weight), numbers(&bias)]);
        let (mut by_weight, mut by_bias) = (Buffer::new(channels), Buffer::new(channels));
        let sums = [&mut by_weight[..], &mut by_bias[..]];
        norm.backward_activation(input, statistics, affine, gradient.storage_mut(), sums);
        // The gradients of weight and bias are this worker's; all gradients are summed in the end.
        let means = means(&group, [&by_bias, &by_weight], count);
        norm.backward_statistics(input, statistics, affine, [&means[0], &means[1]], gradient.storage_mut());
        let gradients = [gradient, tensor_of(by_weight, [channels]), tensor_of(by_bias, [channels])];
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(parent) = parent {
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

/// Sums over the workers, divided by `count`.
fn means(group: &Collective, own: [&[f32]; 2], count: f64) -> [Vec<f32>; 2] {
    let own = own.map(<[f32]>::to_vec);
    let alone = || own.clone().map(|sums| sums.iter().map(|sum| (f64::from(*sum) / count) as f32).collect());
    let Ok(all) = group.all_gather("the gradients of a batch norm", own.clone()) else { return alone() };
    if all.iter().any(|worker| worker[0].len() != own[0].len()) {
        group.leave();
        return alone();
    }
    [0, 1].map(|i| {
        let sum = |channel: usize| all.iter().map(|worker| f64::from(worker[i][channel])).sum::<f64>();
        (0..own[i].len()).map(|channel| (sum(channel) / count) as f32).collect()
    })
}
