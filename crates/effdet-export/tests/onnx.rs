//! Written files, read back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::collections::{BTreeMap, HashSet};

use burn::tensor::Device;
use common::{check_graph, declared, named_axes, read_back, shapes};
use effdet_core::ImageSize;
use effdet_export::proto::{ModelProto, NodeProto};
use effdet_export::{BatchSize, Error, OPSETS, OnnxFile, OnnxOptions, to_onnx};
use effdet_model::EfficientDetConfig;

fn small() -> EfficientDetConfig {
    let config = EfficientDetConfig::with_backbone_named("lcnet_035").unwrap();
    config.with_num_classes(3).with_image_size(ImageSize::new(64, 96))
}

fn exported(config: &EfficientDetConfig, options: &OnnxOptions) -> Result<OnnxFile, Error> {
    to_onnx(&config.init(&Device::flex()).unwrap(), config, options, &BTreeMap::new())
}

fn model(config: &EfficientDetConfig, options: &OnnxOptions) -> ModelProto {
    read_back(&exported(config, options).unwrap())
}

fn operators(model: &ModelProto) -> HashSet<&str> {
    model.graph.as_ref().unwrap().node.iter().map(NodeProto::op_type).collect()
}

#[test]
fn shapes_of_all_kinds_of_network_are_those_declared() {
    // One of each: every activation, resampling, fusion, padding and block of the 47.
    for name in [
        "tf_efficientdet_lite0",
        "efficientdet_lite0",
        "efficientdet_q1",
        "efficientdetv2_dt",
        "resdet50",
        "cspresdext50pan",
        "cspdarkdet53m",
        "mixdet_m",
        "mobiledetv2_110d",
        "mobiledetv3_large",
        "efficientdet_es",
    ] {
        // Sides that no level divides.
        let config = EfficientDetConfig::named(name).unwrap().with_image_size(ImageSize::new(75, 109));
        let options = OnnxOptions { batch: BatchSize::Fixed(2), ..OnnxOptions::default() };
        let model = model(&config, &options);
        let graph = model.graph.as_ref().unwrap();
        check_graph(graph);
        let shapes = shapes(graph);
        // 10x14, 5x7, 3x4, 2x2 and 1x1 cells with 9 anchors each
        assert_eq!(shapes["class_logits"], [2, 9 * (140 + 35 + 12 + 4 + 1), 90], "{name}");
        for output in &graph.output {
            assert_eq!(shapes[output.name()], declared(output), "{name}: {}", output.name());
        }
        assert!(!operators(&model).contains("BatchNormalization"), "{name}");
    }
}

#[test]
fn detections_have_the_declared_rows_and_are_computed_by_standard_operators() {
    let mut config = small();
    config.decode.max_detections = 7;
    let options = OnnxOptions { batch: BatchSize::Fixed(2), nms: true, ..OnnxOptions::default() };
    let model = model(&config, &options);
    let graph = model.graph.as_ref().unwrap();
    check_graph(graph);
    let outputs: Vec<_> = graph.output.iter().map(|value| (value.name(), declared(value))).collect();
    assert_eq!(
        outputs,
        [
            ("num_detections", vec![2]),
            ("boxes", vec![2, 7, 4]),
            ("scores", vec![2, 7]),
            ("classes", vec![2, 7])
        ]
    );
    let operators = operators(&model);
    assert!(["TopK", "NonMaxSuppression", "Exp", "GatherND"].iter().all(|name| operators.contains(name)));
}

#[test]
fn axes_without_a_length_have_names() {
    let batch = BatchSize::Dynamic;
    let fixed = model(&small(), &OnnxOptions { batch, ..OnnxOptions::default() });
    let any = model(&small(), &OnnxOptions { batch, dynamic_size: true, ..OnnxOptions::default() });
    let axes = |model: &ModelProto| -> Vec<Vec<String>> {
        let graph = model.graph.as_ref().unwrap();
        check_graph(graph);
        let values = graph.input.iter().chain(&graph.output);
        values.map(|value| named_axes(value).into_iter().map(str::to_owned).collect()).collect()
    };
    assert_eq!(axes(&fixed), std::array::from_fn::<_, 3, _>(|_| vec!["batch"]));
    assert_eq!(
        axes(&any),
        [vec!["batch", "height", "width"], vec!["batch", "anchors"], vec!["batch", "anchors"]]
    );
}

#[test]
fn padding_that_follows_from_the_size_is_left_to_the_runtime_only_where_the_size_is_not_known() {
    let config = EfficientDetConfig::named("tf_efficientdet_lite0").unwrap();
    let by_size = |dynamic_size| {
        let model = model(&config, &OnnxOptions { dynamic_size, ..OnnxOptions::default() });
        let nodes = model.graph.unwrap().node;
        let left = |node: &&NodeProto| node.attribute.iter().any(|attribute| attribute.name() == "auto_pad");
        nodes.iter().filter(left).count()
    };
    assert_eq!(by_size(false), 0);
    assert!(by_size(true) > 5);
}

#[test]
fn a_kernel_that_all_levels_share_is_stored_once() {
    let model = model(&small(), &OnnxOptions::default());
    let graph = model.graph.unwrap();
    let predicts = |node: &&NodeProto| {
        let weight = graph
            .initializer
            .iter()
            .find(|constant| Some(constant.name()) == node.input.get(1).map(String::as_str));
        node.op_type() == "Conv" && weight.is_some_and(|weight| weight.dims == [9 * 3, 64, 1, 1])
    };
    let kernels: Vec<&str> = graph.node.iter().filter(predicts).map(|node| node.input[1].as_str()).collect();
    assert_eq!(kernels.len(), 5);
    assert_eq!(kernels.iter().collect::<HashSet<_>>().len(), 1);
}

#[test]
fn a_file_states_its_operator_set_and_metadata() {
    let config = small();
    let network = config.init(&Device::flex()).unwrap();
    let metadata = BTreeMap::from([("effdet.model".to_owned(), "mine \"two\"".to_owned())]);
    for opset in [*OPSETS.start(), 17, *OPSETS.end()] {
        let options = OnnxOptions { opset, ..OnnxOptions::default() };
        let model = read_back(&to_onnx(&network, &config, &options, &metadata).unwrap());
        assert_eq!(model.opset_import[0].version(), i64::from(opset));
        assert!(model.ir_version() >= 7);
        let [entry] = &model.metadata_props[..] else { panic!("{:?}", model.metadata_props) };
        assert_eq!((entry.key(), entry.value()), ("effdet.model", "mine \"two\""));
    }
}

#[test]
fn a_network_without_a_record_is_refused_with_the_step() {
    let config = EfficientDetConfig::with_backbone_named("tf_efficientnet_cc_b0_4e").unwrap();
    let error = exported(&config, &OnnxOptions::default()).unwrap_err().to_string();
    assert!(error.contains("efficientdet-tf_efficientnet_cc_b0_4e"), "{error}");
    assert!(error.contains("conditional convolution"), "{error}");
}

#[test]
fn a_network_in_training_mode_is_refused() {
    let config = small();
    let network = config.init(&Device::flex().autodiff()).unwrap();
    let error = to_onnx(&network, &config, &OnnxOptions::default(), &BTreeMap::new()).unwrap_err();
    assert!(error.to_string().contains("training mode"), "{error}");
}

#[test]
fn a_file_is_replaced_whole_or_not_at_all() {
    let file = exported(&small(), &OnnxOptions::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, "old").unwrap();
    file.save(&path).unwrap();
    let mut bytes = Vec::new();
    file.write_to(&mut bytes).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    let nowhere = folder.path().join("no/model.onnx");
    let error = file.save(&nowhere).unwrap_err().to_string();
    assert!(error.contains(&nowhere.display().to_string()), "{error}");
}
