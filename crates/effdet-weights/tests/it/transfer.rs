//! Weights of one task as the start of another, compared with what timm computes (`tools/golden/make_transfer.py`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor};
use effdet_core::ClassMap;
use effdet_weights::{
    Checkpoint, ClassHead, DType, Error, LoadOptions, SharedClasses, TransferOptions, adapt_input_channels,
    average_checkpoints, convert_checkpoint, transfer_into,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    kernel: Vec<f32>,
    shape: Vec<usize>,
    adapted: BTreeMap<String, Vec<f32>>,
    several: Vec<Vec<f32>>,
    mean: Vec<f32>,
}

fn fixture() -> Fixture {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/transfer.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[derive(Module, Debug)]
struct Weight<const D: usize> {
    weight: Param<Tensor<D>>,
}

/// A detector in miniature: a stem, a layer in the middle, and a class head of two anchors.
#[derive(Module, Debug)]
struct Tiny {
    conv_stem: Weight<4>,
    fpn: Weight<1>,
    class_net: ClassNet,
}

#[derive(Module, Debug)]
struct ClassNet {
    conv_rep: Weight<1>,
    predict: Predict,
}

#[derive(Module, Debug)]
struct Predict {
    conv_dw: Weight<1>,
    conv_pw: Weight<2>,
}

fn full<const D: usize>(shape: [usize; D], value: f32) -> Weight<D> {
    let tensor = Tensor::full(shape, value, &Device::flex());
    Weight { weight: Param::initialized(ParamId::new(), tensor) }
}

const ANCHORS: usize = 2;
const NEW: f32 = -1.0;

fn tiny(channels: usize, classes: usize, fpn: usize) -> Tiny {
    tiny_with_head(channels, [ANCHORS * classes, 2], fpn)
}

fn tiny_with_head(channels: usize, head: [usize; 2], fpn: usize) -> Tiny {
    let predict = Predict { conv_dw: full([head[1]], NEW), conv_pw: full(head, NEW) };
    let class_net = ClassNet { conv_rep: full([3], NEW), predict };
    Tiny { conv_stem: full([2, channels, 2, 2], NEW), fpn: full([fpn], NEW), class_net }
}

#[derive(Default)]
struct Values(Vec<Vec<f32>>);

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.val().into_data().iter::<f32>().collect());
    }
}

fn values(module: &Tiny) -> [Vec<f32>; 5] {
    let mut values = Values::default();
    module.visit(&mut values);
    values.0.try_into().unwrap()
}

fn write(path: &Path, tensors: &[(&str, Vec<usize>, Vec<f32>)]) {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (*name, safetensors::tensor::TensorView::new(DType::F32, shape.clone(), bytes).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// A file of a `Tiny` with three channels and `classes` classes; row `r` of the last layer holds `r`.
fn file(folder: &tempfile::TempDir, classes: usize) -> Checkpoint {
    let path = folder.path().join("tiny.safetensors");
    let rows = ANCHORS * classes;
    let fixture = fixture();
    write(
        &path,
        &[
            ("conv_stem.weight", fixture.shape, fixture.kernel),
            ("fpn.weight", vec![4], vec![7.0; 4]),
            ("class_net.conv_rep.weight", vec![3], vec![8.0; 3]),
            ("class_net.predict.conv_dw.weight", vec![2], vec![9.0; 2]),
            (
                "class_net.predict.conv_pw.weight",
                vec![rows, 2],
                (0..rows * 2).map(|i| (i / 2) as f32).collect(),
            ),
        ],
    );
    Checkpoint::open(path).unwrap()
}

#[test]
fn input_channels_are_adapted_as_timm_does() {
    let Fixture { kernel, shape, adapted, .. } = fixture();
    for (channels, expected) in adapted {
        let wanted = [shape[0], channels.parse().unwrap(), shape[2], shape[3]];
        let found = adapt_input_channels(&kernel, &shape, &wanted).unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-6, "{channels} channels: {found} {expected}");
        }
    }
    assert_eq!(adapt_input_channels(&kernel, &shape, &shape).unwrap(), kernel);
    for other in [vec![3, 4, 2, 2], vec![2, 4, 3, 2], vec![2, 0, 2, 2], vec![2, 4]] {
        assert_eq!(adapt_input_channels(&kernel, &shape, &other), None, "{other:?}");
    }
}

#[test]
fn another_number_of_classes_starts_the_whole_class_head_anew_and_the_rest_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = file(&folder, 3);
    let (module, report) = transfer_into(tiny(3, 5, 4), &checkpoint, &TransferOptions::default()).unwrap();
    let [stem, fpn, conv_rep, depthwise, pointwise] = values(&module);
    assert_eq!((stem, fpn), (fixture().kernel, vec![7.0; 4]));
    assert!([conv_rep, depthwise, pointwise].iter().flatten().all(|value| *value == NEW));
    assert_eq!((report.load.loaded, report.reset.len()), (2, 3));
    assert!(!report.classes_by_place);
    assert!(report.load.is_complete(), "{report}");

    // With as many classes the head is taken, unless it is to be new.
    let (module, report) = transfer_into(tiny(3, 3, 4), &checkpoint, &TransferOptions::default()).unwrap();
    assert_eq!(values(&module)[2], [8.0; 3]);
    assert!(report.reset.is_empty());
    assert!(report.classes_by_place);
    assert!(report.to_string().contains("classes taken by place"), "{report}");
    let new = TransferOptions { class_head: ClassHead::New, ..Default::default() };
    assert_eq!(values(&transfer_into(tiny(3, 3, 4), &checkpoint, &new).unwrap().0)[2], [NEW; 3]);
}

#[test]
fn shared_classes_keep_their_rows_of_every_anchor() {
    let folder = tempfile::tempdir().unwrap();
    let from = ClassMap::from_names(["cat", "tv", "dog"]).unwrap();
    let to = ClassMap::from_names(["hamster", "Dog", "tvmonitor", "cat", "horse"]).unwrap();
    let shared = SharedClasses::between(&from, &to);
    let options = TransferOptions { class_head: ClassHead::KeepShared(shared), ..Default::default() };
    let (module, report) = transfer_into(tiny(3, 5, 4), &file(&folder, 3), &options).unwrap();
    let [_, _, conv_rep, depthwise, pointwise] = values(&module);
    assert_eq!((conv_rep, depthwise), (vec![8.0; 3], vec![9.0; 2]));
    let rows: Vec<f32> = pointwise.chunks(2).map(|row| row[0]).collect();
    assert_eq!(rows, [NEW, 2.0, 1.0, 0.0, NEW, NEW, 5.0, 4.0, 3.0, NEW]);
    assert!(!report.classes_by_place);
    let text = report.to_string();
    assert!(text.contains("classes kept: dog (as Dog), tv (as tvmonitor), cat"), "{text}");

    let wrong = SharedClasses { from_slots: 4, ..SharedClasses::between(&from, &to) };
    let options = TransferOptions { class_head: ClassHead::KeepShared(wrong), ..Default::default() };
    let error = transfer_into(tiny(3, 5, 4), &file(&folder, 3), &options).unwrap_err();
    assert!(matches!(error, Error::Transfer { .. }), "{error}");
}

#[test]
fn a_class_head_of_another_width_or_other_anchors_starts_anew_though_classes_are_shared() {
    let folder = tempfile::tempdir().unwrap();
    let from = ClassMap::from_names(["cat", "tv", "dog"]).unwrap();
    let to = ClassMap::from_names(["dog", "horse"]).unwrap();
    let shared = SharedClasses::between(&from, &to);
    let options = TransferOptions { class_head: ClassHead::KeepShared(shared), ..Default::default() };
    for head in [[ANCHORS * 2, 3], [(ANCHORS + 1) * 2, 2]] {
        let model = tiny_with_head(3, head, 4);
        let (module, report) = transfer_into(model, &file(&folder, 3), &options).unwrap();
        let [stem, fpn, conv_rep, depthwise, pointwise] = values(&module);
        assert_eq!((stem, fpn), (fixture().kernel, vec![7.0; 4]));
        assert!([conv_rep, depthwise, pointwise].iter().flatten().all(|value| *value == NEW));
        assert_eq!((report.reset.len(), report.kept_classes.len()), (3, 0));
    }
}

#[test]
fn what_does_not_fit_keeps_its_initial_values_and_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (module, report) =
        transfer_into(tiny(1, 3, 6), &file(&folder, 3), &TransferOptions::default()).unwrap();
    let [stem, fpn, ..] = values(&module);
    assert_eq!(fpn, [NEW; 6]);
    assert_eq!(report.load.wrong_shape[0].name, "fpn.weight");
    assert_eq!(report.adapted[0].to, [2, 1, 2, 2]);
    for (found, expected) in stem.iter().zip(&fixture().adapted["1"]) {
        assert!((found - expected).abs() < 1e-6);
    }
}

#[test]
fn values_that_are_not_finite_are_counted_in_what_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.safetensors");
    let Fixture { mut kernel, shape, .. } = fixture();
    kernel[0] = f32::NAN;
    let mut rows = vec![0.0; 2 * ANCHORS * 2];
    // Two values of the cat, which is kept, and one of the tv, which is not.
    (rows[0], rows[1], rows[2]) = (f32::NAN, f32::INFINITY, f32::NAN);
    write(
        &path,
        &[
            ("conv_stem.weight", shape, kernel),
            ("fpn.weight", vec![4], vec![f32::NEG_INFINITY; 4]),
            ("class_net.conv_rep.weight", vec![3], vec![8.0; 3]),
            ("class_net.predict.conv_dw.weight", vec![2], vec![9.0; 2]),
            ("class_net.predict.conv_pw.weight", vec![ANCHORS * 2, 2], rows),
        ],
    );
    let from = ClassMap::from_names(["cat", "tv"]).unwrap();
    let to = ClassMap::from_names(["dog", "cat", "horse"]).unwrap();
    let class_head = ClassHead::KeepShared(SharedClasses::between(&from, &to));
    let options = TransferOptions { class_head, ..Default::default() };
    let (_, report) = transfer_into(tiny(1, 3, 4), &Checkpoint::open(path).unwrap(), &options).unwrap();
    let broken: Vec<_> = report.load.non_finite.iter().map(|of| (of.name.as_str(), of.count)).collect();
    let expected = [("conv_stem.weight", 1), ("fpn.weight", 4), ("class_net.predict.conv_pw.weight", 2)];
    assert_eq!(broken, expected);
}

#[test]
fn the_mean_of_checkpoints_is_timms() {
    let folder = tempfile::tempdir().unwrap();
    let Fixture { several, mean, .. } = fixture();
    let open = |i: usize, name: &str, values: &[f32]| {
        let path = folder.path().join(format!("{i}.safetensors"));
        write(&path, &[(name, vec![values.len()], values.to_vec())]);
        Checkpoint::open(path).unwrap()
    };
    let checkpoints: Vec<_> =
        several.iter().enumerate().map(|(i, values)| open(i, "weight", values)).collect();
    let out = folder.path().join("mean.safetensors");
    average_checkpoints(&checkpoints, &out, &BTreeMap::new()).unwrap();
    assert_eq!(Checkpoint::open(&out).unwrap().read_f32("weight").unwrap(), mean);

    for other in [open(8, "other", &[0.0; 5]), open(9, "weight", &[0.0; 4])] {
        let pair = [open(7, "weight", &several[0]), other];
        let error = average_checkpoints(&pair, &out, &BTreeMap::new()).unwrap_err();
        assert!(matches!(error, Error::Transfer { .. }), "{error}");
    }
}

#[test]
fn the_mean_has_the_counters_that_pytorch_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str, value: f32| {
        let path = folder.path().join(name);
        write(&path, &[("bn1.running_var", vec![2], vec![value; 2])]);
        Checkpoint::open(path).unwrap()
    };
    let out = folder.path().join("mean.safetensors");
    average_checkpoints(&[open("a", 1.0), open("b", 2.0)], &out, &BTreeMap::new()).unwrap();
    let mean = Checkpoint::open(&out).unwrap();
    assert_eq!(mean.read_f32("bn1.running_var").unwrap(), [1.5; 2]);
    assert_eq!(mean.get("bn1.num_batches_tracked").unwrap().dtype, DType::I64);
}

#[test]
fn conversion_rounds_floats_keeps_counters_and_refuses_overflow() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let source = Checkpoint::open(fixtures.join("legacy.pth")).unwrap();
    let out = folder.path().join("out.safetensors");
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        convert_checkpoint(&source, &out, &BTreeMap::new(), Some(dtype)).unwrap();
        let converted = Checkpoint::open(&out).unwrap();
        assert!(converted.names().eq(source.names()));
        for name in source.names() {
            let counter = name.ends_with("num_batches_tracked");
            assert_eq!(converted.get(name).unwrap().dtype, if counter { DType::I64 } else { dtype });
            if counter || dtype != DType::BF16 {
                assert_eq!(converted.read_f32(name).unwrap(), source.read_f32(name).unwrap(), "{name}");
            }
        }
    }
    let large = folder.path().join("large.safetensors");
    write(&large, &[("bn1.running_var", vec![1], vec![1e6])]);
    let large = Checkpoint::open(large).unwrap();
    fs::write(&out, b"old").unwrap();
    let error = convert_checkpoint(&large, &out, &BTreeMap::new(), Some(DType::F16)).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("bn1.running_var"), "{error}");
    assert_eq!(fs::read(&out).unwrap(), b"old");
}

#[test]
fn classifiers_names_become_those_of_the_feature_network() {
    let key = LoadOptions::timm_classifier().key_map;
    for (here, file) in [
        ("stem_conv1.conv.weight", "stem.conv1.conv.weight"),
        ("stages_3.blocks.0.conv1.bn.bias", "stages.3.blocks.0.conv1.bn.bias"),
        ("conv_stem.weight", "conv_stem.weight"),
        ("blocks.0.0.conv_dw.weight", "blocks.0.0.conv_dw.weight"),
        ("layer1.0.conv1.weight", "layer1.0.conv1.weight"),
    ] {
        assert_eq!(key(here), file);
    }
}
