//! A network's computation as data: what is computed from what, with the parameters.

use std::sync::Arc;

use crate::{Activation, Pool, ResizeMode};

/// A computation recorded by [`record`](crate::feature_map::record) for one size of input.
#[derive(Clone, Debug)]
pub struct Graph {
    /// In an order in which they can be computed; the inputs come first.
    pub nodes: Vec<Node>,
    /// Indices of the nodes whose maps are the results.
    pub outputs: Vec<usize>,
}

/// A map and how it comes about.
#[derive(Clone, Debug)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// Indices of the nodes it is computed from.
    pub inputs: Vec<usize>,
    /// `[batch, channels, height, width]`
    pub shape: [usize; 4],
}

impl Node {
    /// Whether it fits the nodes before it.
    fn check(&self, before: &[Node]) -> Result<(), String> {
        let is_input = |node: &Node| matches!(node.op, Op::Input);
        if is_input(self) && before.last().is_some_and(|last| !is_input(last)) {
            return Err("an input behind what is computed".to_owned());
        }
        let shapes = self.inputs.iter().map(|input| Some(before.get(*input)?.shape));
        let shapes = shapes.collect::<Option<Vec<_>>>().ok_or("an input that comes later")?;
        let shape = self.op.output_shape(&shapes, self.shape)?;
        if shape != self.shape {
            return Err(format!("a map of {:?} where {shape:?} comes out", self.shape));
        }
        if shape.contains(&0) {
            return Err(format!("an empty map of {shape:?}"));
        }
        Ok(())
    }
}

/// What a node computes.
#[derive(Clone, Debug)]
pub enum Op {
    /// Nothing: it is given.
    Input,
    /// A convolution.
    Conv(ConvOp),
    /// `(x - mean) · scale + bias`, per channel.
    BatchNorm {
        /// Subtracted.
        mean: Arc<[f32]>,
        /// Multiplied by.
        scale: Arc<[f32]>,
        /// Added.
        bias: Arc<[f32]>,
    },
    /// An activation.
    Activation(Activation),
    /// The sum of two maps.
    Add,
    /// The product with one factor per picture and channel, the second input.
    Gate,
    /// The product with a constant factor per channel.
    Scale(Arc<[f32]>),
    /// The mean of the pixels.
    GlobalMean,
    /// A pool.
    Pool(PoolOp),
    /// Interpolation to the node's size.
    Resize(ResizeMode),
    /// As many channels as the node has, from `start`.
    Narrow {
        /// The first channel.
        start: usize,
    },
    /// The channels of all inputs after each other.
    Concat,
}

/// A convolution.
#[derive(Clone, Debug)]
pub struct ConvOp {
    /// `[out_channels, in_channels / groups, kernel, kernel]`
    pub weight: Arc<[f32]>,
    /// `[out_channels]`
    pub bias: Option<Arc<[f32]>>,
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step between outputs.
    pub stride: usize,
    /// Step between taps.
    pub dilation: usize,
    /// Number of groups.
    pub groups: usize,
    /// Zeros before and after, of rows and of columns.
    pub padding: [(usize, usize); 2],
    /// Whether the padding follows TensorFlow's rule, and so the input's size.
    pub same: bool,
}

impl Op {
    /// The shape that comes of these inputs; `wanted` says what is free to be chosen.
    fn output_shape(&self, inputs: &[[usize; 4]], wanted: [usize; 4]) -> Result<[usize; 4], String> {
        let number = match self {
            Op::Input => 0,
            Op::Add | Op::Gate => 2,
            Op::Concat => inputs.len().max(1),
            _ => 1,
        };
        if inputs.len() != number {
            return Err(format!("{} inputs, not {number}", inputs.len()));
        }
        let fits = |fits: bool, what: &str| if fits { Ok(()) } else { Err(format!("{what} of {inputs:?}")) };
        let Some(&[batch, channels, height, width]) = inputs.first() else { return Ok(wanted) };
        match self {
            Op::Input => Ok(wanted),
            Op::Conv(op) => {
                fits(channels == op.in_channels, &format!("a convolution of {} channels", op.in_channels))?;
                op.check()?;
                let reach = (op.kernel - 1) * op.dilation + 1;
                let out = |size, axis: usize| window_outputs(size, op.padding[axis], reach, op.stride);
                match (out(height, 0), out(width, 1)) {
                    (Some(rows), Some(columns)) => Ok([batch, op.out_channels, rows, columns]),
                    _ => Err(format!("a convolution's window of {reach} over {inputs:?}")),
                }
            }
            Op::BatchNorm { mean, scale, bias } => {
                let lengths = [mean.len(), scale.len(), bias.len()];
                fits(lengths == [channels; 3], &format!("a batch norm of {lengths:?} channels"))?;
                Ok(inputs[0])
            }
            Op::Activation(_) => Ok(inputs[0]),
            Op::Add => fits(inputs[0] == inputs[1], "a sum").map(|()| inputs[0]),
            Op::Gate => fits(inputs[1] == [batch, channels, 1, 1], "a gate").map(|()| inputs[0]),
            Op::Scale(factors) => {
                fits(factors.len() == channels, &format!("{} factors", factors.len())).map(|()| inputs[0])
            }
            Op::GlobalMean => Ok([batch, channels, 1, 1]),
            Op::Pool(pool) => {
                let out = |size, axis: usize| {
                    window_outputs(size, pool.padding[axis], pool.kernel[axis], pool.stride[axis])
                };
                match (out(height, 0), out(width, 1)) {
                    (Some(rows), Some(columns)) => Ok([batch, channels, rows, columns]),
                    _ => Err(format!("a pool's window of {:?} over {inputs:?}", pool.kernel)),
                }
            }
            Op::Resize(_) => Ok([batch, channels, wanted[2], wanted[3]]),
            Op::Narrow { start } => {
                let [_, length, ..] = wanted;
                let fit = start.checked_add(length).is_some_and(|end| end <= channels);
                fits(fit, &format!("{length} channels from {start}"))?;
                Ok([batch, length, height, width])
            }
            Op::Concat => {
                let alike = inputs.iter().all(|[b, _, h, w]| [*b, *h, *w] == [batch, height, width]);
                fits(alike, "a concatenation")?;
                Ok([batch, inputs.iter().map(|shape| shape[1]).sum(), height, width])
            }
        }
    }
}

impl ConvOp {
    /// Whether the sizes fit each other.
    fn check(&self) -> Result<(), String> {
        let Self { in_channels, out_channels, kernel, stride, dilation, groups, .. } = *self;
        let whole = |channels: usize| groups > 0 && channels.is_multiple_of(groups);
        if [kernel, stride, dilation].contains(&0) || !whole(in_channels) || !whole(out_channels) {
            return Err(format!(
                "a convolution of {in_channels} to {out_channels} channels in {groups} groups, kernel {kernel}, stride \
                 {stride}, dilation {dilation}"
            ));
        }
        let weights = out_channels * (in_channels / groups) * kernel * kernel;
        let biases = self.bias.as_ref().map_or(out_channels, |bias| bias.len());
        if self.weight.len() != weights || biases != out_channels {
            let found = self.weight.len();
            return Err(format!("{found} weights and {biases} biases, not {weights} and {out_channels}"));
        }
        Ok(())
    }

    /// Whether it is a matrix product of pixels and weights as they lie. With zeros around the map it is not: the output
    /// then has pixels that the input lacks.
    pub fn is_pointwise(&self) -> bool {
        (self.kernel, self.stride, self.groups) == (1, 1, 1) && self.padding == [(0, 0); 2]
    }

    /// Whether each channel has its own filter.
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.in_channels && self.in_channels == self.out_channels && self.groups > 1
    }
}

/// A pool.
#[derive(Clone, Debug)]
pub struct PoolOp {
    /// What is kept.
    pub pool: Pool,
    /// Rows and columns of the window.
    pub kernel: [usize; 2],
    /// Rows and columns between outputs.
    pub stride: [usize; 2],
    /// Before and after, of rows and of columns; zeros count in an average.
    pub padding: [(usize, usize); 2],
    /// Whether the padding follows TensorFlow's rule, and so the input's size.
    pub same: bool,
}

/// `⌊(size + padding - reach) / stride⌋ + 1`; none where the window is larger than what it moves over.
pub(crate) fn window_outputs(
    size: usize,
    (before, after): (usize, usize),
    reach: usize,
    stride: usize,
) -> Option<usize> {
    (size + before + after).checked_sub(reach)?.checked_div(stride)?.checked_add(1)
}

impl Graph {
    /// Whether the inputs come first, every node's inputs come before it, its shape and parameters are those that its
    /// inputs give, and no map is empty. Kernels read and write without looking again.
    ///
    /// # Errors
    /// The first node that does not fit, and why.
    pub fn validate(&self) -> Result<(), String> {
        for (at, node) in self.nodes.iter().enumerate() {
            node.check(&self.nodes[..at]).map_err(|what| format!("node {at}: {what}"))?;
        }
        match self.outputs.iter().find(|output| **output >= self.nodes.len()) {
            Some(output) => Err(format!("output {output} of {} nodes", self.nodes.len())),
            None => Ok(()),
        }
    }

    /// For each node, how many nodes and outputs use it.
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len()];
        let inputs = self.nodes.iter().flat_map(|node| &node.inputs);
        inputs.chain(&self.outputs).for_each(|input| uses[*input] += 1);
        uses
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature_map::{FeatureMap, record};

    fn conv(in_channels: usize, kernel: usize) -> Op {
        Op::Conv(ConvOp {
            weight: vec![0.0; 2 * in_channels * kernel * kernel].into(),
            bias: None,
            in_channels,
            out_channels: 2,
            kernel,
            stride: 1,
            dilation: 1,
            groups: 1,
            padding: [(0, 0); 2],
            same: false,
        })
    }

    fn after(op: Op, input: [usize; 4], shape: [usize; 4]) -> Graph {
        let input = Node { op: Op::Input, inputs: Vec::new(), shape: input };
        Graph { nodes: vec![input, Node { op, inputs: vec![0], shape }], outputs: vec![1] }
    }

    #[test]
    fn what_does_not_fit_its_inputs_is_found() {
        assert_eq!(after(conv(3, 3), [1, 3, 8, 9], [1, 2, 6, 7]).validate(), Ok(()));
        // Another number of channels, a window larger than the map, another size than comes out.
        let channels = after(conv(3, 3), [1, 4, 8, 9], [1, 2, 6, 7]).validate().unwrap_err();
        assert!(channels.starts_with("node 1: a convolution of 3 channels of [[1, 4, 8, 9]]"), "{channels}");
        assert!(after(conv(3, 4), [1, 3, 1, 9], [1, 2, 1, 6]).validate().is_err());
        assert!(after(conv(3, 3), [1, 3, 8, 9], [1, 2, 7, 7]).validate().is_err());

        let narrow = |start| after(Op::Narrow { start }, [1, 3, 4, 4], [1, 2, 4, 4]).validate();
        assert_eq!(narrow(1), Ok(()));
        assert!(narrow(2).is_err() && narrow(usize::MAX).is_err());
        let scale = |count| after(Op::Scale(vec![1.0; count].into()), [1, 3, 4, 4], [1, 3, 4, 4]).validate();
        assert_eq!(scale(3), Ok(()));
        assert!(scale(2).is_err());
        assert!(after(Op::Add, [1, 3, 4, 4], [1, 3, 4, 4]).validate().is_err());

        let mut later = after(Op::GlobalMean, [1, 3, 4, 4], [1, 3, 1, 1]);
        assert_eq!(later.validate(), Ok(()));
        later.nodes[1].inputs = vec![1];
        assert_eq!(later.validate().unwrap_err(), "node 1: an input that comes later");
        later.nodes[1].inputs = vec![0];
        later.outputs = vec![2];
        assert!(later.validate().is_err());
    }

    #[test]
    fn an_empty_map_is_found() {
        for shape in [[0, 3, 4, 4], [1, 0, 4, 4], [1, 3, 0, 4], [1, 3, 4, 0]] {
            let error = after(Op::Activation(Activation::Relu), shape, shape).validate().unwrap_err();
            assert_eq!(error, format!("node 0: an empty map of {shape:?}"));
        }
        assert!(after(Op::Narrow { start: 3 }, [1, 3, 4, 4], [1, 0, 4, 4]).validate().is_err());
        for mode in [ResizeMode::Nearest, ResizeMode::Bilinear, ResizeMode::Bicubic] {
            assert_eq!(after(Op::Resize(mode), [1, 3, 4, 4], [1, 3, 2, 4]).validate(), Ok(()));
            let error = record([1, 3, 4, 4], |x| vec![x.resize([0, 4], mode)]).unwrap_err();
            assert_eq!(error.to_string(), "node 1: an empty map of [1, 3, 0, 4] cannot be recorded");
        }
    }

    #[test]
    fn an_input_behind_what_is_computed_is_found() {
        let mut graph = after(Op::GlobalMean, [1, 3, 4, 4], [1, 3, 1, 1]);
        graph.nodes.insert(1, graph.nodes[0].clone());
        graph.outputs = vec![2];
        assert_eq!(graph.validate(), Ok(()));
        graph.nodes.swap(1, 2);
        assert_eq!(graph.validate().unwrap_err(), "node 2: an input behind what is computed");
    }
}
