//! From a detector to a file.

use std::collections::BTreeMap;

use effdet_core::ImageSize;
use effdet_heads::Anchors;
use effdet_model::{EfficientDet, EfficientDetConfig};
use effdet_nn::{Graph, record};

use crate::builder::Builder;
use crate::dynamic::{probes, size_sources};
use crate::file::OnnxFile;
use crate::fold::fold_batch_norms;
use crate::network::{Sizes, write_network};
use crate::postprocess::{
    BOX_DELTAS, BOXES, CLASS_LOGITS, CLASSES, NUM_DETECTIONS, SCORES, join_levels, write_detections,
};
use crate::proto::{
    DimensionProto, FLOAT, GraphProto, INT64, ModelProto, OperatorSetIdProto, StringStringEntryProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::{BatchSize, Error, OnnxOptions};

/// The input: normalised pictures, `[batch, channels, height, width]`.
const IMAGES: &str = "images";

/// A detector in evaluation mode as an ONNX model.
///
/// # Shapes
/// - input `images`: `[batch, in_channels, height, width]`, normalised pictures
/// - without [`OnnxOptions::nms`], `class_logits`: `[batch, anchors, classes]`, and `box_deltas`: `[batch, anchors, 4]`,
///   the codes `ty, tx, th, tw`, in the order of [`Anchors`]
/// - with it, `num_detections`: `[batch]`; `boxes`: `[batch, detections, 4]` as `x1, y1, x2, y2` in pixels of the input;
///   `scores`: `[batch, detections]`; `classes`: `[batch, detections]`, counted from 1. Detections are those of
///   [`effdet_heads::decode()`] with the configuration's settings for a picture that fills the input, best first; rows
///   beyond their number are zeros.
///
/// `metadata` is stored as it is.
///
/// # Errors
/// What [`OnnxOptions::validate`] gives; [`Error::Unrecordable`] for a network with a step of which there is no record,
/// or in training mode; [`Error::SizeDependent`]; anchors that cannot be made.
pub fn to_onnx(
    model: &EfficientDet,
    config: &EfficientDetConfig,
    options: &OnnxOptions,
    metadata: &BTreeMap<String, String>,
) -> Result<OnnxFile, Error> {
    options.validate(&config.decode)?;
    let batch = match options.batch {
        BatchSize::Fixed(pictures) => Some(pictures),
        BatchSize::Dynamic => None,
    };
    let (graph, sizes) = if options.dynamic_size {
        let [size, other] = probes(config.fpn.max_level);
        let mut graph = recorded(model, config, batch, size)?;
        fold_batch_norms(&mut graph);
        let other = recorded(model, config, batch, other)?;
        let sources = size_sources(&graph, &other)
            .map_err(|reason| Error::SizeDependent { model: config.name.clone(), reason })?;
        (graph, Sizes::Dynamic(sources))
    } else {
        let mut graph = recorded(model, config, batch, config.image_size)?;
        fold_batch_norms(&mut graph);
        (graph, Sizes::Fixed { batch })
    };

    let mut builder = Builder::default();
    let maps = write_network(&mut builder, &graph, &sizes, IMAGES);
    let (logits, deltas) = maps.split_at(maps.len() / 2);
    join_levels(&mut builder, CLASS_LOGITS, logits, config.num_classes);
    join_levels(&mut builder, BOX_DELTAS, deltas, 4);

    let pictures = batch.map_or(Dimension::Named("batch"), Dimension::Known);
    let output = if options.nms {
        let anchors =
            Anchors::for_features(&config.anchor_config(), config.image_size, &level_sizes(&graph))?;
        let rows = write_detections(&mut builder, &anchors, config.num_classes, &config.decode);
        let rows = Dimension::Known(rows);
        vec![
            value(NUM_DETECTIONS, INT64, &[pictures]),
            value(BOXES, FLOAT, &[pictures, rows, Dimension::Known(4)]),
            value(SCORES, FLOAT, &[pictures, rows]),
            value(CLASSES, INT64, &[pictures, rows]),
        ]
    } else {
        let per_cell = config.anchor_config().anchors_per_cell();
        let anchors: usize = level_sizes(&graph).iter().map(|size| size.area() * per_cell).sum();
        let anchors =
            if options.dynamic_size { Dimension::Named("anchors") } else { Dimension::Known(anchors) };
        vec![
            value(CLASS_LOGITS, FLOAT, &[pictures, anchors, Dimension::Known(config.num_classes)]),
            value(BOX_DELTAS, FLOAT, &[pictures, anchors, Dimension::Known(4)]),
        ]
    };
    let [height, width] = if options.dynamic_size {
        [Dimension::Named("height"), Dimension::Named("width")]
    } else {
        [config.image_size.height, config.image_size.width].map(Dimension::Known)
    };
    let input = value(IMAGES, FLOAT, &[pictures, Dimension::Known(config.in_channels), height, width]);
    Ok(OnnxFile {
        model: model_proto(options, metadata),
        graph: GraphProto {
            node: builder.nodes,
            name: Some(config.name.clone()),
            input: vec![input],
            output,
            initializer: Vec::new(),
        },
        constants: builder.initializers,
    })
}

/// Class logits of every level, then box codes.
fn recorded(
    model: &EfficientDet,
    config: &EfficientDetConfig,
    batch: Option<usize>,
    size: ImageSize,
) -> Result<Graph, Error> {
    let shape = [batch.unwrap_or(1), config.in_channels, size.height, size.width];
    let graph = record(shape, |input| {
        let outputs = model.forward(input);
        outputs.class_logits.into_iter().chain(outputs.box_deltas).collect()
    });
    graph.map_err(|source| Error::Unrecordable { model: config.name.clone(), source })
}

fn level_sizes(graph: &Graph) -> Vec<ImageSize> {
    let logits = &graph.outputs[..graph.outputs.len() / 2];
    logits
        .iter()
        .map(|output| {
            let [_, _, height, width] = graph.nodes[*output].shape;
            ImageSize { height, width }
        })
        .collect()
}

fn model_proto(options: &OnnxOptions, metadata: &BTreeMap<String, String>) -> ModelProto {
    let entry = |(key, value): (&String, &String)| StringStringEntryProto {
        key: Some(key.clone()),
        value: Some(value.clone()),
    };
    ModelProto {
        ir_version: Some(options.ir_version()),
        producer_name: Some(env!("CARGO_PKG_NAME").to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        graph: None,
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(options.opset.into()),
        }],
        metadata_props: metadata.iter().map(entry).collect(),
    }
}

/// The length of an axis.
#[derive(Clone, Copy)]
enum Dimension {
    Known(usize),
    Named(&'static str),
}

fn value(name: &str, elem_type: i32, dims: &[Dimension]) -> ValueInfoProto {
    let dim = |dim: &Dimension| match *dim {
        Dimension::Known(length) => DimensionProto { dim_value: Some(length as i64), dim_param: None },
        Dimension::Named(name) => DimensionProto { dim_value: None, dim_param: Some(name.to_owned()) },
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect() };
    let tensor_type = TensorTypeProto { elem_type: Some(elem_type), shape: Some(shape) };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}
