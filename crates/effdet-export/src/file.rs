//! A finished file and its way to the disk.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use effdet_core::Replacement;
use prost::{Message, encode_length_delimiter, length_delimiter_len};

use crate::Error;
use crate::builder::{Initializer, Values};
use crate::proto::{FLOAT, GraphProto, INT64, ModelProto, TensorProto, ValueInfoProto};

/// What begins the field `ModelProto.graph`.
const GRAPH: u8 = 7 << 3 | LENGTH_DELIMITED;
/// What begins an entry of `GraphProto.initializer`.
const INITIALIZER: u8 = 5 << 3 | LENGTH_DELIMITED;
/// What begins the field `TensorProto.raw_data`.
const RAW_DATA: u8 = 9 << 3 | LENGTH_DELIMITED;
const LENGTH_DELIMITED: u8 = 2;

/// An ONNX model, ready to be written.
///
/// Constants are kept as they were recorded and become bytes one at a time: a file takes no second copy of its weights.
#[derive(Clone, Debug)]
pub struct OnnxFile {
    /// Without the graph.
    pub(crate) model: ModelProto,
    /// Without the constants.
    pub(crate) graph: GraphProto,
    pub(crate) constants: Vec<Initializer>,
}

impl OnnxFile {
    /// Names of the inputs.
    pub fn inputs(&self) -> Vec<&str> {
        names(&self.graph.input)
    }

    /// Names of the outputs.
    pub fn outputs(&self) -> Vec<&str> {
        names(&self.graph.output)
    }

    /// Writes the file whole or not at all: it gets its name when it is complete.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let save = || -> io::Result<()> {
            let replacement = Replacement::of(path)?;
            let mut writer = BufWriter::with_capacity(1 << 20, replacement.create()?);
            self.write_to(&mut writer)?;
            replacement.finish(writer.into_inner().map_err(io::IntoInnerError::into_error)?)
        };
        save().map_err(|source| Error::Write { path: path.to_owned(), source })
    }

    /// Writes the bytes of the file.
    ///
    /// # Errors
    /// What `to` gives.
    pub fn write_to(&self, to: &mut impl Write) -> io::Result<()> {
        let graph = self.graph.encode_to_vec();
        let heads: Vec<Vec<u8>> = self.constants.iter().map(head).collect();
        let lengths: Vec<usize> =
            heads.iter().zip(&self.constants).map(|(head, constant)| head.len() + constant.bytes()).collect();
        let constants: usize = lengths.iter().map(|length| 1 + length_delimiter_len(*length) + length).sum();

        // A message is its fields after each other, so parts of it can be written one by one.
        to.write_all(&self.model.encode_to_vec())?;
        begin(to, GRAPH, graph.len() + constants)?;
        to.write_all(&graph)?;
        for ((constant, head), length) in self.constants.iter().zip(&heads).zip(lengths) {
            begin(to, INITIALIZER, length)?;
            to.write_all(head)?;
            match &constant.values {
                Values::Floats(values) => {
                    values.iter().try_for_each(|value| to.write_all(&value.to_le_bytes()))?;
                }
                Values::Ints(values) => {
                    values.iter().try_for_each(|value| to.write_all(&value.to_le_bytes()))?;
                }
            }
        }
        to.flush()
    }
}

impl Initializer {
    /// Length of the values in bytes.
    fn bytes(&self) -> usize {
        match &self.values {
            Values::Floats(values) => size_of_val::<[f32]>(values),
            Values::Ints(values) => size_of_val::<[i64]>(values),
        }
    }
}

/// A constant's message up to its values.
fn head(constant: &Initializer) -> Vec<u8> {
    let data_type = match constant.values {
        Values::Floats(_) => FLOAT,
        Values::Ints(_) => INT64,
    };
    let tensor = TensorProto {
        dims: constant.dims.iter().map(|length| *length as i64).collect(),
        data_type: Some(data_type),
        name: Some(constant.name.clone()),
        raw_data: None,
    };
    let mut head = tensor.encode_to_vec();
    head.push(RAW_DATA);
    head.extend(length(constant.bytes()));
    head
}

fn begin(to: &mut impl Write, field: u8, bytes: usize) -> io::Result<()> {
    to.write_all(&[field])?;
    to.write_all(&length(bytes))
}

/// A length as protobuf writes it.
fn length(bytes: usize) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(10);
    // A vector grows, so there is no lack of room.
    let _ = encode_length_delimiter(bytes, &mut encoded);
    encoded
}

fn names(values: &[ValueInfoProto]) -> Vec<&str> {
    values.iter().filter_map(|value| value.name.as_deref()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn threads_that_save_to_one_path_do_not_write_to_one_file() {
        let values = Values::Floats(vec![1.0; 1 << 16].into());
        let constant = Initializer { name: "weight".into(), dims: vec![1 << 16], values };
        let (model, graph) = (ModelProto::default(), GraphProto::default());
        let file = OnnxFile { model, graph, constants: vec![constant] };
        let mut whole = Vec::new();
        file.write_to(&mut whole).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        std::thread::scope(|scope| {
            let saving = [0, 1].map(|_| scope.spawn(|| (0..10).try_for_each(|_| file.save(&path))));
            saving.into_iter().for_each(|saving| saving.join().unwrap().unwrap());
        });
        assert_eq!(fs::read(&path).unwrap(), whole);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
