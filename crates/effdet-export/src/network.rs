//! A recorded network as ONNX operators.

use std::collections::HashMap;
use std::sync::Arc;

use effdet_nn::graph::{ConvOp, Graph, Node, Op, PoolOp};
use effdet_nn::{Activation, Pool, ResizeMode};

use crate::builder::{Builder, float, int, ints, text};
use crate::dynamic::SizeSource;
use crate::proto::AttributeProto;

/// What is known of the pictures.
#[derive(Clone, Debug)]
pub(crate) enum Sizes {
    /// Height and width; the batch size too, if it has one.
    Fixed {
        /// Pictures.
        batch: Option<usize>,
    },
    /// Nothing; for each resized map, where its size comes from.
    Dynamic(HashMap<usize, SizeSource>),
}

/// Writes what the outputs of `graph` need and returns their names.
pub(crate) fn write_network(builder: &mut Builder, graph: &Graph, sizes: &Sizes, input: &str) -> Vec<String> {
    let live = live(graph);
    let values = vec![String::new(); graph.nodes.len()];
    let mut lowering = Lowering { builder, graph, sizes, values, spatial: HashMap::new() };
    lowering.values[0] = input.to_owned();
    for (at, node) in graph.nodes.iter().enumerate().skip(1).filter(|(at, _)| live[*at]) {
        lowering.values[at] = lowering.node(at, node);
    }
    graph.outputs.iter().map(|output| lowering.values[*output].clone()).collect()
}

/// For each node, whether an output needs it.
pub(crate) fn live(graph: &Graph) -> Vec<bool> {
    let mut live = vec![false; graph.nodes.len()];
    graph.outputs.iter().for_each(|output| live[*output] = true);
    for at in (0..graph.nodes.len()).rev() {
        if live[at] {
            graph.nodes[at].inputs.iter().for_each(|input| live[*input] = true);
        }
    }
    live
}

struct Lowering<'a> {
    builder: &'a mut Builder,
    graph: &'a Graph,
    sizes: &'a Sizes,
    /// The value of each node.
    values: Vec<String>,
    /// The value that holds height and width of a node.
    spatial: HashMap<usize, String>,
}

impl Lowering<'_> {
    fn node(&mut self, at: usize, node: &Node) -> String {
        let inputs: Vec<String> = node.inputs.iter().map(|input| self.values[*input].clone()).collect();
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let builder = &mut *self.builder;
        match &node.op {
            // There is one, and it has its name.
            Op::Input => self.values[0].clone(),
            Op::Conv(op) => self.conv(op, inputs[0]),
            Op::BatchNorm { mean, scale, bias } => {
                let shift: Vec<f32> = (0..mean.len()).map(|i| bias[i] - mean[i] * scale[i]).collect();
                let channels = [mean.len(), 1, 1];
                let (scale, shift) =
                    (builder.floats(Arc::clone(scale), &channels), builder.floats(shift, &channels));
                let scaled = builder.op("Mul", &[inputs[0], &scale], Vec::new());
                builder.op("Add", &[&scaled, &shift], Vec::new())
            }
            Op::Activation(activation) => activate(builder, *activation, inputs[0]),
            Op::Add => builder.op("Add", &inputs, Vec::new()),
            Op::Gate => builder.op("Mul", &inputs, Vec::new()),
            Op::Scale(factors) => {
                let factors = match factors.first() {
                    Some(first) if factors.iter().all(|factor| factor == first) => {
                        builder.floats([*first], &[])
                    }
                    _ => builder.floats(Arc::clone(factors), &[factors.len(), 1, 1]),
                };
                builder.op("Mul", &[inputs[0], &factors], Vec::new())
            }
            Op::GlobalMean => builder.op("GlobalAveragePool", &inputs, Vec::new()),
            Op::Pool(op) => self.pool(op, inputs[0]),
            Op::Resize(mode) => self.resize(at, node, *mode, inputs[0]),
            Op::Narrow { start } => builder.slice(inputs[0], 1, [*start, start + node.shape[1]]),
            Op::Concat => builder.op("Concat", &inputs, vec![int("axis", 1)]),
        }
    }

    fn conv(&mut self, op: &ConvOp, x: &str) -> String {
        let kernel = [op.kernel; 2];
        let shape = [op.out_channels, op.in_channels / op.groups, op.kernel, op.kernel];
        let weight = self.builder.floats(Arc::clone(&op.weight), &shape);
        let bias = op.bias.as_ref().map(|bias| self.builder.floats(Arc::clone(bias), &[op.out_channels]));
        let mut attributes = vec![
            ints("kernel_shape", &kernel),
            ints("strides", &[op.stride; 2]),
            ints("dilations", &[op.dilation; 2]),
            int("group", op.groups as i64),
        ];
        attributes.push(self.padding(op.padding, op.same && op.stride > 1));
        let inputs: Vec<&str> = [x, &weight].into_iter().chain(bias.as_deref()).collect();
        self.builder.op("Conv", &inputs, attributes)
    }

    fn pool(&mut self, op: &PoolOp, x: &str) -> String {
        let mut attributes = vec![
            ints("kernel_shape", &op.kernel),
            ints("strides", &op.stride),
            self.padding(op.padding, op.same),
        ];
        match op.pool {
            Pool::Max => self.builder.op("MaxPool", &[x], attributes),
            Pool::Average => {
                attributes.push(int("count_include_pad", 1));
                self.builder.op("AveragePool", &[x], attributes)
            }
        }
    }

    /// The padding as numbers; where it follows from a size that is not known, as ONNX's name of TensorFlow's rule.
    fn padding(&self, [rows, columns]: [(usize, usize); 2], by_size: bool) -> AttributeProto {
        match self.sizes {
            Sizes::Dynamic(_) if by_size => text("auto_pad", "SAME_UPPER"),
            _ => ints("pads", &[rows.0, columns.0, rows.1, columns.1]),
        }
    }

    fn resize(&mut self, at: usize, node: &Node, mode: ResizeMode, x: &str) -> String {
        let from = self.graph.nodes[node.inputs[0]].shape;
        let [_, channels, height, width] = node.shape;
        let attributes = match mode {
            ResizeMode::Nearest => vec![
                text("mode", "nearest"),
                text("coordinate_transformation_mode", "asymmetric"),
                text("nearest_mode", "floor"),
            ],
            ResizeMode::Bilinear => {
                vec![text("mode", "linear"), text("coordinate_transformation_mode", "half_pixel")]
            }
            ResizeMode::Bicubic => vec![
                text("mode", "cubic"),
                text("coordinate_transformation_mode", "half_pixel"),
                float("cubic_coeff_a", -0.75),
            ],
        };
        let size = match self.sizes {
            Sizes::Fixed { batch } => {
                if let (Some(rows), Some(columns)) =
                    (exact_scale(from[2], height), exact_scale(from[3], width))
                {
                    let scales = self.builder.floats([1.0, 1.0, rows, columns], &[4]);
                    return self.builder.op("Resize", &[x, "", &scales], attributes);
                }
                if let Some(batch) = batch {
                    let sizes = [*batch, channels, height, width].map(|length| length as i64);
                    let sizes = self.builder.ints(&sizes);
                    return self.builder.op("Resize", &[x, "", "", &sizes], attributes);
                }
                self.builder.ints(&[height as i64, width as i64])
            }
            Sizes::Dynamic(sources) => match sources.get(&at) {
                Some(SizeSource::Of(other)) => self.spatial(*other),
                _ => {
                    let (size, builder) = (self.spatial(node.inputs[0]), &mut *self.builder);
                    let (one, two) = (builder.ints(&[1]), builder.ints(&[2]));
                    let sum = builder.op("Add", &[&size, &one], Vec::new());
                    builder.op("Div", &[&sum, &two], Vec::new())
                }
            },
        };
        let shape = self.builder.op("Shape", &[x], Vec::new());
        let batch_and_channels = self.builder.slice(&shape, 0, [0, 2]);
        let sizes = self.builder.op("Concat", &[&batch_and_channels, &size], vec![int("axis", 0)]);
        self.builder.op("Resize", &[x, "", "", &sizes], attributes)
    }

    /// Height and width of a node, two integers.
    fn spatial(&mut self, node: usize) -> String {
        if let Some(known) = self.spatial.get(&node) {
            return known.clone();
        }
        let shape = self.builder.op("Shape", &[&self.values[node]], Vec::new());
        let size = self.builder.slice(&shape, 0, [2, 4]);
        self.spatial.insert(node, size.clone());
        size
    }
}

/// The factor from a length to another, where single precision holds it and gives the length back.
fn exact_scale(from: usize, to: usize) -> Option<f32> {
    let scale = (to as f64 / from as f64) as f32;
    (f64::from(scale) * from as f64 == to as f64).then_some(scale)
}

fn activate(builder: &mut Builder, activation: Activation, x: &str) -> String {
    match activation {
        Activation::Identity => x.to_owned(),
        Activation::Relu => builder.op("Relu", &[x], Vec::new()),
        Activation::Relu6 => {
            let (low, high) = (builder.floats([0.0], &[]), builder.floats([6.0], &[]));
            builder.op("Clip", &[x, &low, &high], Vec::new())
        }
        Activation::LeakyRelu => builder.op("LeakyRelu", &[x], vec![float("alpha", 0.01)]),
        Activation::Swish => {
            let gate = builder.op("Sigmoid", &[x], Vec::new());
            builder.op("Mul", &[x, &gate], Vec::new())
        }
        Activation::HardSwish => builder.op("HardSwish", &[x], Vec::new()),
        Activation::HardSigmoid => {
            builder.op("HardSigmoid", &[x], vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)])
        }
        Activation::Sigmoid => builder.op("Sigmoid", &[x], Vec::new()),
        Activation::Gelu => {
            let [root, one, half] = [std::f32::consts::SQRT_2, 1.0, 0.5].map(|v| builder.floats([v], &[]));
            let scaled = builder.op("Div", &[x, &root], Vec::new());
            let error = builder.op("Erf", &[&scaled], Vec::new());
            let shifted = builder.op("Add", &[&error, &one], Vec::new());
            let twice = builder.op("Mul", &[x, &shifted], Vec::new());
            builder.op("Mul", &[&twice, &half], Vec::new())
        }
        Activation::Mish => {
            let softplus = builder.op("Softplus", &[x], Vec::new());
            let gate = builder.op("Tanh", &[&softplus], Vec::new());
            builder.op("Mul", &[x, &gate], Vec::new())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scales_that_give_the_length_back_are_used() {
        assert_eq!(exact_scale(5, 10), Some(2.0));
        assert_eq!(exact_scale(10, 5), Some(0.5));
        assert_eq!(exact_scale(5, 9), None);
        assert_eq!(exact_scale(3, 2), None);
    }
}
