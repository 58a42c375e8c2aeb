//! Nodes and constants of a graph that is being written.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::proto::{AttributeProto, NodeProto};

/// The values of a constant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values {
    Floats(Arc<[f32]>),
    Ints(Arc<[i64]>),
}

/// A constant with its name.
#[derive(Clone, Debug)]
pub(crate) struct Initializer {
    pub name: String,
    pub dims: Vec<usize>,
    pub values: Values,
}

/// Collects nodes and constants, and names values.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    pub nodes: Vec<NodeProto>,
    pub initializers: Vec<Initializer>,
    /// Constants by a digest of what they hold. Heads use one kernel on every level, and it is recorded for each.
    by_digest: HashMap<u64, Vec<usize>>,
}

impl Builder {
    /// Adds a node with one result and returns the result's name.
    pub fn op(&mut self, op_type: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let name = format!("{}_{}", op_type.to_lowercase(), self.nodes.len());
        self.named(&name, op_type, inputs, attributes)
    }

    /// Adds a node whose one result has this name, and returns it.
    pub fn named(
        &mut self,
        name: &str,
        op_type: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        self.push(op_type, inputs, vec![name.to_owned()], attributes);
        name.to_owned()
    }

    /// Adds a node with two results and returns their names.
    pub fn pair(
        &mut self,
        op_type: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> (String, String) {
        let name = format!("{}_{}", op_type.to_lowercase(), self.nodes.len());
        let names = (format!("{name}_values"), format!("{name}_indices"));
        self.push(op_type, inputs, vec![names.0.clone(), names.1.clone()], attributes);
        names
    }

    fn push(&mut self, op_type: &str, inputs: &[&str], outputs: Vec<String>, attribute: Vec<AttributeProto>) {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            name: outputs.first().map(|output| format!("{output}_node")),
            output: outputs,
            op_type: Some(op_type.to_owned()),
            attribute,
        });
    }

    /// The name of a constant of floats.
    pub fn floats(&mut self, values: impl Into<Arc<[f32]>>, dims: &[usize]) -> String {
        self.constant(Values::Floats(values.into()), dims)
    }

    /// The name of a constant of integers along one axis.
    pub fn ints(&mut self, values: &[i64]) -> String {
        self.constant(Values::Ints(values.into()), &[values.len()])
    }

    /// The part of `x` from `start` to before `end` along an axis.
    pub fn slice(&mut self, x: &str, axis: usize, [start, end]: [usize; 2]) -> String {
        let [start, end, axis] = [start, end, axis].map(|value| self.ints(&[value as i64]));
        self.op("Slice", &[x, &start, &end, &axis], Vec::new())
    }

    /// `x` with a new axis of length 1.
    pub fn unsqueeze(&mut self, x: &str, axis: usize) -> String {
        let axis = self.ints(&[axis as i64]);
        self.op("Unsqueeze", &[x, &axis], Vec::new())
    }

    /// The name of a constant, a new one or one of the same values.
    pub fn constant(&mut self, values: Values, dims: &[usize]) -> String {
        let known = self.by_digest.entry(digest(&values, dims)).or_default();
        let mut candidates = known.iter().map(|at| &self.initializers[*at]);
        if let Some(same) = candidates.find(|same| same.dims == dims && same.values == values) {
            return same.name.clone();
        }
        known.push(self.initializers.len());
        let name = format!("constant_{}", self.initializers.len());
        self.initializers.push(Initializer { name: name.clone(), dims: dims.to_vec(), values });
        name
    }
}

fn digest(values: &Values, dims: &[usize]) -> u64 {
    let mut hasher = DefaultHasher::new();
    dims.hash(&mut hasher);
    match values {
        Values::Floats(values) => values.iter().for_each(|value| value.to_bits().hash(&mut hasher)),
        Values::Ints(values) => values.hash(&mut hasher),
    }
    hasher.finish()
}

/// `AttributeProto.AttributeType`
#[derive(Clone, Copy)]
enum AttributeType {
    Float = 1,
    Int = 2,
    Text = 3,
    Ints = 7,
}

fn attribute(name: &str, r#type: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(r#type as i32), ..AttributeProto::default() }
}

/// An attribute that is a number.
pub(crate) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

/// An attribute that is an integer.
pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

/// An attribute that is a text.
pub(crate) fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.as_bytes().to_vec()), ..attribute(name, AttributeType::Text) }
}

/// An attribute that is a list of integers.
pub(crate) fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|value| *value as i64).collect();
    AttributeProto { ints, ..attribute(name, AttributeType::Ints) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_constants_are_stored_once() {
        let mut builder = Builder::default();
        let first = builder.floats([1.0, 2.0], &[2]);
        assert_eq!(builder.floats(vec![1.0, 2.0], &[2]), first);
        assert_ne!(builder.floats([1.0, 2.0], &[2, 1]), first);
        assert_ne!(builder.floats([1.0, 3.0], &[2]), first);
        assert_ne!(builder.ints(&[1, 2]), first);
        assert_eq!(builder.initializers.len(), 4);
    }
}
