//! Batch norms into the convolutions before them.

use std::sync::Arc;

use effdet_nn::Graph;
use effdet_nn::graph::Op;

/// Scales and shifts the kernels of convolutions that only a batch norm reads, and lets what read the norm read the
/// convolution. The norms stay behind, unused.
pub(crate) fn fold_batch_norms(graph: &mut Graph) {
    let uses = graph.uses();
    // What stands for each node from now on.
    let mut place: Vec<usize> = (0..graph.nodes.len()).collect();
    for at in 0..graph.nodes.len() {
        let (before, rest) = graph.nodes.split_at_mut(at);
        let node = &mut rest[0];
        let alone = node.inputs.iter().all(|input| uses[*input] == 1);
        node.inputs.iter_mut().for_each(|input| *input = place[*input]);
        let Op::BatchNorm { mean, scale, bias } = &node.op else { continue };
        let from = node.inputs[0];
        let Op::Conv(conv) = &mut before[from].op else { continue };
        if !alone {
            continue;
        }
        let each = conv.weight.len() / conv.out_channels;
        let kernel = Arc::make_mut(&mut conv.weight);
        for (filter, scale) in kernel.chunks_exact_mut(each).zip(scale.iter()) {
            filter.iter_mut().for_each(|weight| *weight *= scale);
        }
        let shift = |channel: usize| {
            let own = conv.bias.as_ref().map_or(0.0, |bias| bias[channel]);
            (own - mean[channel]) * scale[channel] + bias[channel]
        };
        conv.bias = Some((0..conv.out_channels).map(shift).collect());
        place[at] = from;
    }
    graph.outputs.iter_mut().for_each(|output| *output = place[*output]);
}

#[cfg(test)]
mod tests {
    use effdet_nn::graph::{ConvOp, Node};

    use super::*;

    /// A pointwise convolution by 2 plus 1, and a norm that takes away 3, halves and adds 7.
    fn conv_and_norm(outputs: Vec<usize>) -> Graph {
        let conv = ConvOp {
            weight: [2.0].into(),
            bias: Some([1.0].into()),
            in_channels: 1,
            out_channels: 1,
            kernel: 1,
            stride: 1,
            dilation: 1,
            groups: 1,
            padding: [(0, 0); 2],
            same: false,
        };
        let norm = Op::BatchNorm { mean: [3.0].into(), scale: [0.5].into(), bias: [7.0].into() };
        let node = |op, inputs| Node { op, inputs, shape: [1, 1, 2, 2] };
        let nodes = vec![node(Op::Input, vec![]), node(Op::Conv(conv), vec![0]), node(norm, vec![1])];
        Graph { nodes, outputs }
    }

    fn folded(mut graph: Graph) -> (Vec<usize>, Vec<f32>) {
        fold_batch_norms(&mut graph);
        let Op::Conv(conv) = &graph.nodes[1].op else { unreachable!() };
        let numbers = conv.weight.iter().chain(conv.bias.as_deref().unwrap_or_default()).copied().collect();
        (graph.outputs, numbers)
    }

    #[test]
    fn a_norm_goes_into_the_convolution_before_it() {
        assert_eq!(folded(conv_and_norm(vec![2])), (vec![1], vec![1.0, 6.0]));
    }

    #[test]
    fn a_convolution_that_something_else_reads_stays_as_it_is() {
        assert_eq!(folded(conv_and_norm(vec![1, 2])), (vec![1, 2], vec![2.0, 1.0]));
    }
}
