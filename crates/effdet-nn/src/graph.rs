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

impl ConvOp {
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

impl Graph {
    /// For each node, how many nodes and outputs use it.
    pub fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.nodes.len()];
        let inputs = self.nodes.iter().flat_map(|node| &node.inputs);
        inputs.chain(&self.outputs).for_each(|input| uses[*input] += 1);
        uses
    }
}
