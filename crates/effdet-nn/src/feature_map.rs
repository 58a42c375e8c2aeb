//! What layers compute on: tensors, or the record of a computation.
//!
//! A network's forward pass is written once, for any [`FeatureMap`]. With tensors it computes, on any device. With
//! [`Recorded`] maps it writes down what it would compute, as a [`Graph`], from which come the inference forms and exported
//! files.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use burn::tensor::Tensor;

use crate::conv::Conv2d;
use crate::graph::{ConvOp, Graph, Node, Op, PoolOp, window_outputs};
use crate::pool::pool2d;
use crate::resize::resize;
use crate::weighted_sum;
use crate::{Activation, BatchNorm, Padding, Pool, ResizeMode, WeightNorm};

/// A map `[batch, channels, height, width]` that layers compute on.
pub trait FeatureMap: Clone {
    /// `[batch, channels, height, width]`
    fn dims(&self) -> [usize; 4];
    /// See [`Conv2d`].
    fn conv2d(self, layer: &Conv2d) -> Self;
    /// See [`BatchNorm`], with its activation.
    fn batch_norm(self, layer: &BatchNorm) -> Self;
    /// See [`Activation`].
    fn activate(self, activation: Activation) -> Self;
    /// The sum with a map of the same size.
    fn plus(self, other: Self) -> Self;
    /// The product with one factor per picture and channel, `[batch, channels, 1, 1]`.
    fn gate(self, factors: Self) -> Self;
    /// The product with constant factors, `[1, 1 or channels, 1, 1]`.
    fn scale(self, factors: Tensor<4>) -> Self;
    /// The sum of maps of one shape times the factors that their weights, `[maps, 1 or channels, 1, 1]`, become; none of
    /// none.
    fn weighted_sum(maps: Vec<Self>, weights: Tensor<4>, norm: WeightNorm) -> Option<Self> {
        weighted_sum::composed(maps, weights, norm)
    }
    /// The mean of the pixels, `[batch, channels, 1, 1]`.
    fn global_mean(self) -> Self;
    /// See [`pool2d`].
    fn pool2d(self, pool: Pool, kernel: [usize; 2], stride: [usize; 2], padding: Padding) -> Self;
    /// See [`resize`].
    fn resize(self, size: [usize; 2], mode: ResizeMode) -> Self;
    /// `length` channels from `start`.
    fn narrow_channels(self, start: usize, length: usize) -> Self;
    /// The channels of all maps after each other.
    fn cat_channels(maps: Vec<Self>) -> Self;
    /// What has no record, because it is rare: only tensors can do it.
    fn opaque<const N: usize>(
        self,
        what: &'static str,
        compute: impl FnOnce(Tensor<4>) -> [Tensor<4>; N],
    ) -> [Self; N];
}

impl FeatureMap for Tensor<4> {
    fn dims(&self) -> [usize; 4] {
        Tensor::dims(self)
    }

    fn conv2d(self, layer: &Conv2d) -> Self {
        layer.convolve(self)
    }

    fn batch_norm(self, layer: &BatchNorm) -> Self {
        layer.normalize(self)
    }

    fn activate(self, activation: Activation) -> Self {
        #[cfg(any(feature = "flex", feature = "cube"))]
        if let Some(output) = crate::native::training::activate(&self, activation) {
            return output;
        }
        activation.forward(self)
    }

    fn plus(self, other: Self) -> Self {
        self + other
    }

    fn gate(self, factors: Self) -> Self {
        #[cfg(feature = "cube")]
        if let Some(output) = crate::native::cube::gate(&self, &factors) {
            return output;
        }
        self * factors
    }

    fn scale(self, factors: Tensor<4>) -> Self {
        self * factors
    }

    fn weighted_sum(maps: Vec<Self>, weights: Tensor<4>, norm: WeightNorm) -> Option<Self> {
        #[cfg(feature = "cube")]
        if let Some(sum) = crate::native::cube::weighted_sum(&maps, &weights, norm) {
            return Some(sum);
        }
        weighted_sum::composed(maps, weights, norm)
    }

    fn global_mean(self) -> Self {
        #[cfg(feature = "cube")]
        if let Some(output) = crate::native::cube::global_mean(&self) {
            return output;
        }
        self.mean_dim(3).mean_dim(2)
    }

    fn pool2d(self, pool: Pool, kernel: [usize; 2], stride: [usize; 2], padding: Padding) -> Self {
        pool2d(self, pool, kernel, stride, padding)
    }

    fn resize(self, size: [usize; 2], mode: ResizeMode) -> Self {
        resize(self, size, mode)
    }

    fn narrow_channels(self, start: usize, length: usize) -> Self {
        self.narrow(1, start, length)
    }

    fn cat_channels(maps: Vec<Self>) -> Self {
        Tensor::cat(maps, 1)
    }

    fn opaque<const N: usize>(
        self,
        _: &'static str,
        compute: impl FnOnce(Tensor<4>) -> [Tensor<4>; N],
    ) -> [Self; N] {
        compute(self)
    }
}

/// A map that stands for a node of a graph being recorded.
#[derive(Clone, Debug)]
pub struct Recorded {
    recording: Rc<RefCell<Recording>>,
    node: usize,
    shape: [usize; 4],
}

#[derive(Debug)]
struct Recording {
    nodes: Vec<Node>,
    failure: Option<Unrecordable>,
}

/// A computation has a step of which there is no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} cannot be recorded")]
pub struct Unrecordable(pub String);

/// Records what `forward` does with an input of `shape`, `[batch, channels, height, width]`.
///
/// Parameters are read from their device and become part of the graph.
///
/// # Errors
/// [`Unrecordable`] for a step of which there is no record, such as attention, for a network in training mode, or for
/// maps that do not fit a layer, of another number of channels for example.
pub fn record(
    shape: [usize; 4],
    forward: impl FnOnce(Recorded) -> Vec<Recorded>,
) -> Result<Graph, Unrecordable> {
    record_all(&[shape], |inputs| inputs.into_iter().next().map_or_else(Vec::new, forward))
}

/// As [`record`], with any number of inputs.
///
/// # Errors
/// As [`record`].
pub fn record_all(
    shapes: &[[usize; 4]],
    forward: impl FnOnce(Vec<Recorded>) -> Vec<Recorded>,
) -> Result<Graph, Unrecordable> {
    let node = |shape: &[usize; 4]| Node { op: Op::Input, inputs: Vec::new(), shape: *shape };
    let nodes = shapes.iter().map(node).collect();
    let recording = Rc::new(RefCell::new(Recording { nodes, failure: None }));
    let input = |(node, shape): (usize, &[usize; 4])| Recorded {
        recording: Rc::clone(&recording),
        node,
        shape: *shape,
    };
    let outputs = forward(shapes.iter().enumerate().map(input).collect());
    let outputs = outputs.into_iter().map(|map| map.node).collect();
    let mut recording = recording.borrow_mut();
    match recording.failure.take() {
        Some(failure) => Err(failure),
        None => {
            let graph = Graph { nodes: std::mem::take(&mut recording.nodes), outputs };
            graph.validate().map(|()| graph).map_err(Unrecordable)
        }
    }
}

impl Recorded {
    fn push(&self, op: Op, inputs: Vec<usize>, shape: [usize; 4]) -> Self {
        let mut recording = self.recording.borrow_mut();
        recording.nodes.push(Node { op, inputs, shape });
        let node = recording.nodes.len() - 1;
        Self { recording: Rc::clone(&self.recording), node, shape }
    }

    fn then(&self, op: Op, shape: [usize; 4]) -> Self {
        self.push(op, vec![self.node], shape)
    }

    /// Gives up; what is recorded from here on is thrown away.
    pub(crate) fn fail(&self, what: &str) {
        let mut recording = self.recording.borrow_mut();
        recording.failure.get_or_insert_with(|| Unrecordable(what.to_owned()));
    }

    /// The numbers of a parameter.
    fn values<const D: usize>(&self, tensor: Tensor<D>) -> Arc<[f32]> {
        match tensor.try_into_data().map(|data| data.convert::<f32>().try_into_vec::<f32>()) {
            Ok(Ok(values)) => values.into(),
            _ => {
                self.fail("a parameter that cannot be read from its device");
                Arc::new([])
            }
        }
    }
}

/// Where nothing comes out, the graph does not pass its check.
fn out_size(size: usize, padding: (usize, usize), reach: usize, stride: usize) -> usize {
    window_outputs(size, padding, reach, stride).unwrap_or(0)
}

impl FeatureMap for Recorded {
    fn dims(&self) -> [usize; 4] {
        self.shape
    }

    fn conv2d(self, layer: &Conv2d) -> Self {
        let [batch, _, height, width] = self.shape;
        let (kernel, stride, dilation) = (layer.kernel(), layer.stride(), layer.dilation());
        let pad = |size| layer.padding().amount(size, kernel, stride, dilation);
        let op = ConvOp {
            weight: self.values(layer.weight.val()),
            bias: layer.bias.as_ref().map(|bias| self.values(bias.val())),
            in_channels: layer.in_channels(),
            out_channels: layer.out_channels(),
            kernel,
            stride,
            dilation,
            groups: layer.groups(),
            padding: [pad(height), pad(width)],
            same: layer.padding() == Padding::Same,
        };
        let reach = (kernel - 1) * dilation + 1;
        let out = |size| out_size(size, pad(size), reach, stride);
        let shape = [batch, layer.out_channels(), out(height), out(width)];
        self.then(Op::Conv(op), shape)
    }

    fn batch_norm(self, layer: &BatchNorm) -> Self {
        if layer.is_training() {
            self.fail("batch norm in training mode");
        }
        let op = Op::BatchNorm {
            mean: self.values(layer.running_mean.value()),
            scale: self.values(layer.scale()),
            bias: self.values(layer.bias.val()),
        };
        self.then(op, self.shape).activate(layer.activation())
    }

    fn activate(self, activation: Activation) -> Self {
        match activation {
            Activation::Identity => self,
            _ => self.then(Op::Activation(activation), self.shape),
        }
    }

    fn plus(self, other: Self) -> Self {
        self.push(Op::Add, vec![self.node, other.node], self.shape)
    }

    fn gate(self, factors: Self) -> Self {
        self.push(Op::Gate, vec![self.node, factors.node], self.shape)
    }

    fn scale(self, factors: Tensor<4>) -> Self {
        let factors = self.values(factors);
        let factors = if factors.len() == 1 { vec![factors[0]; self.shape[1]].into() } else { factors };
        self.then(Op::Scale(factors), self.shape)
    }

    fn global_mean(self) -> Self {
        let [batch, channels, ..] = self.shape;
        self.then(Op::GlobalMean, [batch, channels, 1, 1])
    }

    fn pool2d(self, pool: Pool, kernel: [usize; 2], stride: [usize; 2], padding: Padding) -> Self {
        let [batch, channels, height, width] = self.shape;
        let same = padding == Padding::Same;
        let padding =
            [padding.amount(height, kernel[0], stride[0], 1), padding.amount(width, kernel[1], stride[1], 1)];
        let rows = out_size(height, padding[0], kernel[0], stride[0]);
        let columns = out_size(width, padding[1], kernel[1], stride[1]);
        self.then(Op::Pool(PoolOp { pool, kernel, stride, padding, same }), [batch, channels, rows, columns])
    }

    fn resize(self, size: [usize; 2], mode: ResizeMode) -> Self {
        let [batch, channels, height, width] = self.shape;
        if [height, width] == size {
            return self;
        }
        self.then(Op::Resize(mode), [batch, channels, size[0], size[1]])
    }

    fn narrow_channels(self, start: usize, length: usize) -> Self {
        let [batch, _, height, width] = self.shape;
        self.then(Op::Narrow { start }, [batch, length, height, width])
    }

    fn cat_channels(maps: Vec<Self>) -> Self {
        let first = maps[0].clone();
        let [batch, _, height, width] = first.shape;
        let channels = maps.iter().map(|map| map.shape[1]).sum();
        first.push(Op::Concat, maps.iter().map(|map| map.node).collect(), [batch, channels, height, width])
    }

    fn opaque<const N: usize>(
        self,
        what: &'static str,
        _: impl FnOnce(Tensor<4>) -> [Tensor<4>; N],
    ) -> [Self; N] {
        self.fail(what);
        std::array::from_fn(|_| self.clone())
    }
}
