//! Modules in and out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::common::{SHAPES, Tiny, expected, fixture, keys, tiny};
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor};
use effdet_weights::{
    Checkpoint, CheckpointMetadata, DType, Error, LoadOptions, load_into, parameter_shapes, save_safetensors,
};

fn options() -> LoadOptions {
    LoadOptions { key_map: keys, ..LoadOptions::default() }
}

fn open(file: &str) -> Checkpoint {
    Checkpoint::open(fixture(file)).unwrap()
}

#[derive(Default)]
struct Values(Vec<Vec<f32>>);

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.val().into_data().iter::<f32>().collect());
    }
}

fn values(module: &Tiny) -> Vec<Vec<f32>> {
    let mut values = Values::default();
    module.visit(&mut values);
    values.0
}

fn fixture_values() -> Vec<Vec<f32>> {
    SHAPES.iter().map(|(name, shape)| expected(name, shape)).collect()
}

/// Writes a safetensors file of zeros.
fn zeros(path: &Path, shapes: &[(&str, &[usize])]) {
    let data: Vec<Vec<u8>> =
        shapes.iter().map(|(_, shape)| vec![0; 4 * shape.iter().product::<usize>()]).collect();
    let views = shapes.iter().zip(&data).map(|((name, shape), data)| {
        (*name, safetensors::tensor::TensorView::new(DType::F32, shape.to_vec(), data).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn paths_follow_fields_and_positions_without_enum_variants_and_initialise_nothing() {
    let shapes = parameter_shapes(&tiny(&Device::flex()));
    let wanted: Vec<_> =
        SHAPES.iter().map(|(name, shape)| (name.replace("stages_0", "stages.0"), shape.to_vec())).collect();
    assert_eq!(shapes, wanted);
}

#[test]
fn a_checkpoint_fills_parameters_and_buffers_without_initialising_them_first() {
    let device = Device::flex();
    for file in ["zip.pth", "legacy.pth", "tar.pth", "half.pth", "training.pth.tar", "bench.pth"] {
        let (module, report) = load_into(tiny(&device), &open(file), &options()).unwrap();
        assert_eq!(values(&module), fixture_values(), "{file}");
        assert!(
            report.is_complete() && report.loaded == SHAPES.len() && report.non_finite.is_empty(),
            "{report:?}"
        );
    }
}

#[test]
fn parameters_keep_identity_device_and_whether_they_are_trained() {
    let device = Device::flex().autodiff();
    let module = tiny(&device);
    let id = module.conv_stem.weight.id;
    let mut module = module;
    module.bn1.bias = module.bn1.bias.set_require_grad(false);
    let (module, _) = load_into(module, &open("zip.pth"), &options()).unwrap();
    assert_eq!(module.conv_stem.weight.id, id);
    let weight = module.conv_stem.weight.val();
    assert!(weight.is_require_grad() && weight.device().is_autodiff());
    assert!(!module.bn1.bias.val().is_require_grad());
    assert!(!module.bn1.running_mean.value().is_require_grad());
    let gradients = weight.clone().sum().backward();
    assert!(weight.grad(&gradients).is_some());
}

#[test]
fn strict_loading_lists_every_difference_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    let mut shapes = SHAPES.to_vec();
    shapes[1].0 = "bn1.weigth";
    shapes[5].1 = &[3, 1, 3, 3];
    shapes.push(("classifier.weight", &[10, 4]));
    zeros(&path, &shapes);
    let checkpoint = Checkpoint::open(&path).unwrap();

    let module = tiny(&Device::flex());
    // A clone of a `RunningState` shares its value, so it would show a change made on the way to the error.
    let before = module.bn1.clone();
    let error = load_into(module, &checkpoint, &options()).unwrap_err();
    assert_eq!(before.running_var.value().into_data().iter::<f32>().collect::<Vec<_>>(), [1.0; 4]);

    let text = error.to_string();
    let Error::Mismatch(report) = error else { panic!("{text}") };
    assert_eq!(report.loaded, 6);
    assert_eq!(report.missing.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>(), ["bn1.weight"]);
    let unexpected: Vec<_> = report.unexpected.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(unexpected, ["bn1.weigth", "classifier.weight"]);
    assert_eq!(report.wrong_shape.len(), 1);
    for part in [
        "other.safetensors",
        "6 tensors fit, 1 missing, 2 unexpected, 1 of another shape",
        "bn1.weight [4] (the file has bn1.weigth)",
        "blocks.0.0.conv_dw.weight: [4, 1, 3, 3] in the model, [3, 1, 3, 3] in the file",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn lenient_loading_takes_what_fits_and_reports_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("part.safetensors");
    zeros(&path, &[("bn1.weight", &[4]), ("bn1.bias", &[5]), ("other", &[1])]);
    let checkpoint = Checkpoint::open(&path).unwrap();
    let lenient = LoadOptions { strict: false, ..options() };
    let (module, report) = load_into(tiny(&Device::flex()), &checkpoint, &lenient).unwrap();
    assert_eq!(
        (report.loaded, report.missing.len(), report.unexpected.len(), report.wrong_shape.len()),
        (1, 6, 1, 1)
    );
    assert_eq!(module.bn1.weight.val().into_data().iter::<f32>().collect::<Vec<_>>(), [0.0; 4]);
    assert!(!module.conv_stem.weight.is_initialized());
}

#[test]
fn a_prefix_selects_a_part_and_ignored_names_are_not_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("detector.safetensors");
    let names: Vec<_> = SHAPES.iter().map(|(name, _)| format!("backbone.{name}")).collect();
    let mut shapes: Vec<(&str, &[usize])> =
        names.iter().zip(SHAPES).map(|(name, (_, shape))| (name.as_str(), shape)).collect();
    shapes.extend([("backbone.classifier.bias", &[10][..]), ("class_net.predict.bias", &[9][..])]);
    zeros(&path, &shapes);
    let checkpoint = Checkpoint::open(&path).unwrap();
    for prefix in ["backbone.", "backbone"] {
        let part = LoadOptions {
            prefix: Some(prefix.into()),
            ignore: |name| name.starts_with("classifier."),
            ..options()
        };
        let (_, report) = load_into(tiny(&Device::flex()), &checkpoint, &part).unwrap();
        assert_eq!(report.loaded, SHAPES.len());
    }
    let error = load_into(tiny(&Device::flex()), &checkpoint, &options()).unwrap_err();
    assert!(error.to_string().contains("under `backbone.` in the file"), "{error}");
}

#[test]
fn values_that_are_not_finite_are_counted_and_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nan.safetensors");
    let (mut module, _) = load_into(tiny(&Device::flex()), &open("zip.pth"), &options()).unwrap();
    let broken = Tensor::from_floats([f32::NAN, 1.0, f32::INFINITY, 2.0], &Device::flex());
    module.bn1.bias = Param::initialized(ParamId::new(), broken);
    save_safetensors(&module, &path, &BTreeMap::new(), keys).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let (_, report) = load_into(tiny(&Device::flex()), &checkpoint, &options()).unwrap();
    assert_eq!(report.non_finite.len(), 1);
    assert_eq!((report.non_finite[0].name.as_str(), report.non_finite[0].count), ("bn1.bias", 2));
    assert!(report.to_string().contains("bn1.bias: 2 values"));
}

#[test]
fn a_saved_module_comes_back_the_same_with_its_metadata_and_pytorchs_counters() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.safetensors");
    let device = Device::flex();
    let (module, _) = load_into(tiny(&device), &open("zip.pth"), &options()).unwrap();
    let metadata = CheckpointMetadata {
        model: Some("tiny".into()),
        mean: Some([0.485, 0.5, 0.25]),
        ..Default::default()
    };
    assert_eq!(metadata.to_map()["effdet.mean"], "[0.485,0.5,0.25]");
    save_safetensors(&module, &path, &metadata.to_map(), keys).unwrap();

    // A second reader agrees that the file is sound.
    let bytes = fs::read(&path).unwrap();
    let independent = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let counter = independent.tensor("bn1.num_batches_tracked").unwrap();
    assert_eq!((counter.dtype(), counter.shape(), counter.data()), (DType::I64, &[][..], &[0; 8][..]));
    assert_eq!(independent.len(), SHAPES.len() + 1);

    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(CheckpointMetadata::from_checkpoint(&checkpoint).unwrap(), metadata);
    let (again, _) = load_into(tiny(&device), &checkpoint, &options()).unwrap();
    assert_eq!(values(&again), fixture_values());

    // Written over an existing file, the bytes are the same and nothing else is left in the folder.
    save_safetensors(&again, &path, &metadata.to_map(), keys).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_failed_save_leaves_the_old_file_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.safetensors");
    fs::write(&path, b"old").unwrap();
    let (module, _) = load_into(tiny(&Device::flex()), &open("zip.pth"), &options()).unwrap();

    let one_name = |_: &str| Cow::Borrowed("same");
    let error = save_safetensors(&module, &path, &BTreeMap::new(), one_name).unwrap_err();
    assert!(matches!(error, Error::DuplicateName { name, .. } if name == "same"));
    assert_eq!(fs::read(&path).unwrap(), b"old");

    // The target is a folder, so the rename fails.
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("x"), b"x").unwrap();
    let error = save_safetensors(&module, &taken, &BTreeMap::new(), keys).unwrap_err();
    assert!(matches!(error, Error::Write { .. }));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}
