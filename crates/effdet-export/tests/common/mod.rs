//! A written file read back, and the shapes of its values.

use std::collections::HashMap;

use effdet_export::OnnxFile;
use effdet_export::proto::{AttributeProto, FLOAT, GraphProto, INT64, ModelProto, NodeProto, ValueInfoProto};
use prost::Message;

pub fn read_back(file: &OnnxFile) -> ModelProto {
    let mut bytes = Vec::new();
    file.write_to(&mut bytes).unwrap();
    ModelProto::decode(bytes.as_slice()).unwrap()
}

/// Checks that every value is computed before it is used, has one origin, and that constants are as long as their shape
/// says.
pub fn check_graph(graph: &GraphProto) {
    let mut known: HashMap<&str, Origin> = HashMap::new();
    for input in &graph.input {
        assert!(known.insert(input.name(), Origin::Input).is_none(), "{}", input.name());
    }
    for constant in &graph.initializer {
        assert!(known.insert(constant.name(), Origin::Constant).is_none(), "{}", constant.name());
        let size = match constant.data_type() {
            FLOAT => 4,
            INT64 => 8,
            other => panic!("{} has type {other}", constant.name()),
        };
        let count: i64 = constant.dims.iter().product();
        assert_eq!(constant.raw_data().len(), count as usize * size, "{}", constant.name());
    }
    for node in &graph.node {
        for input in node.input.iter().filter(|input| !input.is_empty()) {
            assert!(known.contains_key(input.as_str()), "{} reads {input}", node.name());
        }
        for output in &node.output {
            assert!(known.insert(output, Origin::Node).is_none(), "{output} is computed twice");
        }
    }
    for output in &graph.output {
        assert_eq!(known.get(output.name()), Some(&Origin::Node), "{}", output.name());
    }
}

#[derive(Debug, PartialEq)]
enum Origin {
    Input,
    Constant,
    Node,
}

/// The shape that a value is declared to have; every axis must be known.
pub fn declared(value: &ValueInfoProto) -> Vec<usize> {
    let tensor = value.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
    tensor.shape.as_ref().unwrap().dim.iter().map(|dim| dim.dim_value.unwrap() as usize).collect()
}

/// The names of the axes that have no known length.
pub fn named_axes(value: &ValueInfoProto) -> Vec<&str> {
    let tensor = value.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
    tensor.shape.as_ref().unwrap().dim.iter().filter_map(|dim| dim.dim_param.as_deref()).collect()
}

/// The shape of every value of a network without post-processing, by the rules of ONNX.
pub fn shapes(graph: &GraphProto) -> HashMap<String, Vec<usize>> {
    let mut shapes: HashMap<String, Vec<usize>> =
        graph.input.iter().map(|input| (input.name().to_owned(), declared(input))).collect();
    let mut constants: HashMap<&str, Vec<f64>> = HashMap::new();
    for constant in &graph.initializer {
        let bytes = constant.raw_data();
        let values: Vec<f64> = match constant.data_type() {
            FLOAT => bytes.chunks(4).map(|v| f64::from(f32::from_le_bytes(v.try_into().unwrap()))).collect(),
            _ => bytes.chunks(8).map(|v| i64::from_le_bytes(v.try_into().unwrap()) as f64).collect(),
        };
        constants.insert(constant.name(), values);
        let dims = constant.dims.iter().map(|length| *length as usize).collect();
        shapes.insert(constant.name().to_owned(), dims);
    }
    for node in &graph.node {
        let inputs: Vec<&Vec<usize>> = node.input.iter().filter_map(|input| shapes.get(input)).collect();
        let constant = |at: usize| node.input.get(at).and_then(|input| constants.get(input.as_str()));
        let shape = match node.op_type() {
            "Conv" => {
                let [x, weight] = inputs[..2] else { panic!("{node:?}") };
                assert_eq!(x[1], weight[1] * integers(node, "group")[0], "{}", node.name());
                assert!(inputs.get(2).is_none_or(|bias| **bias == [weight[0]]), "{}", node.name());
                assert_eq!(integers(node, "kernel_shape"), weight[2..], "{}", node.name());
                let [rows, columns] = window(node, x, integers(node, "dilations")[0]);
                vec![x[0], weight[0], rows, columns]
            }
            "MaxPool" | "AveragePool" => {
                let [rows, columns] = window(node, inputs[0], 1);
                vec![inputs[0][0], inputs[0][1], rows, columns]
            }
            "GlobalAveragePool" => vec![inputs[0][0], inputs[0][1], 1, 1],
            "Resize" => match constant(2) {
                Some(scales) => inputs[0]
                    .iter()
                    .zip(scales)
                    .map(|(side, scale)| (*side as f64 * scale) as usize)
                    .collect(),
                None => constant(3).unwrap().iter().map(|side| *side as usize).collect(),
            },
            "Transpose" => integers(node, "perm").iter().map(|axis| inputs[0][*axis]).collect(),
            "Reshape" => {
                let last = *constant(1).unwrap().last().unwrap() as usize;
                let all: usize = inputs[0][1..].iter().product();
                assert_eq!(all % last, 0, "{}", node.name());
                vec![inputs[0][0], all / last, last]
            }
            "Slice" => {
                let [start, end, axis] = [1, 2, 3].map(|at| constant(at).unwrap()[0] as usize);
                let mut shape = inputs[0].clone();
                assert!(start < end && end <= shape[axis], "{}", node.name());
                shape[axis] = end - start;
                shape
            }
            "Concat" => {
                let axis = integers(node, "axis")[0];
                let mut shape = inputs[0].clone();
                shape[axis] = inputs.iter().map(|input| input[axis]).sum();
                shape
            }
            "Add" | "Mul" => broadcast(inputs[0], inputs[1]),
            "Relu" | "Clip" | "LeakyRelu" | "Sigmoid" | "HardSwish" | "HardSigmoid" | "Softplus" | "Tanh" => {
                inputs[0].clone()
            }
            other => panic!("no rule for {other}"),
        };
        shapes.insert(node.output[0].clone(), shape);
    }
    shapes
}

fn integers(node: &NodeProto, name: &str) -> Vec<usize> {
    let attribute: &AttributeProto =
        node.attribute.iter().find(|attribute| attribute.name() == name).unwrap();
    attribute.i.iter().chain(&attribute.ints).map(|value| *value as usize).collect()
}

/// Rows and columns of what a window that moves over `x` gives.
fn window(node: &NodeProto, x: &[usize], dilation: usize) -> [usize; 2] {
    let [kernel, strides, pads] = ["kernel_shape", "strides", "pads"].map(|name| integers(node, name));
    [0, 1].map(|axis| {
        let reach = (kernel[axis] - 1) * dilation + 1;
        (x[2 + axis] + pads[axis] + pads[2 + axis] - reach) / strides[axis] + 1
    })
}

/// The shape of both together: lengths are equal or 1, and axes that one lacks come first.
fn broadcast(a: &[usize], b: &[usize]) -> Vec<usize> {
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let mut shape = long.to_vec();
    for (length, other) in shape.iter_mut().rev().zip(short.iter().rev()) {
        assert!(*length == *other || *length == 1 || *other == 1, "{a:?} and {b:?}");
        *length = (*length).max(*other);
    }
    shape
}
