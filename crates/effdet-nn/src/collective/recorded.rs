//! Sums over workers in the record of gradients, on the CPU.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::Tensor;

use super::Collective;
use super::reduce::plain;

type Recording<C> = Autodiff<Flex, C>;

/// The sum over the workers; its gradient is the sum of the workers' gradients. A tensor of another backend cannot be
/// summed: the worker ends, so that no one goes on with a part.
pub(super) fn sum(group: &Collective, input: Tensor<1>) -> Tensor<1> {
    if let Ok(tensor) = input.clone().try_into_primitive::<Recording<NoCheckpointing>>()
        && let Some(sum) = record::<NoCheckpointing>(group, tensor)
    {
        return Tensor::from_primitive::<Recording<NoCheckpointing>>(sum);
    }
    if let Ok(tensor) = input.clone().try_into_primitive::<Recording<BalancedCheckpointing>>()
        && let Some(sum) = record::<BalancedCheckpointing>(group, tensor)
    {
        return Tensor::from_primitive::<Recording<BalancedCheckpointing>>(sum);
    }
    group.leave();
    input
}

fn record<C: CheckpointStrategy>(
    group: &Collective,
    input: FloatTensor<Recording<C>>,
) -> Option<FloatTensor<Recording<C>>> {
    let guard = input.node();
    let sum = plain(group, Tensor::from_primitive::<Flex>(input.into_primitive()));
    let sum = sum.try_into_primitive::<Flex>().ok()?;
    let node = SumNode.prepare::<C>([guard]).compute_bound();
    Some(match node.stateful() {
        OpsKind::Tracked(node) => node.finish(group.clone(), sum),
        OpsKind::UnTracked(node) => node.finish(sum),
    })
}

#[derive(Debug)]
struct SumNode;

impl Backward<Flex, 1> for SumNode {
    type State = Collective;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let sum = plain(&ops.state, Tensor::from_primitive::<Flex>(gradient));
        if let ([Some(parent)], Ok(sum)) = (ops.parents, sum.try_into_primitive::<Flex>()) {
            grads.register::<Flex>(parent.id, sum);
        }
    }
}
