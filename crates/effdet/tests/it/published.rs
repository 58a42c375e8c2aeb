//! Published weights by name, other tasks, and files for others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use effdet::model::model_specs;
use effdet::prelude::*;
use effdet::weights::{
    Checkpoint, DType, Error as WeightsError, LoadOptions, WeightsEntry, WeightsKind, WeightsStore,
    identity_keys, load_into, parameter_shapes, registry, save_safetensors, sha256, tensorflow_name,
};
use effdet::{Error, backbone_from_pretrained, load_backbone, transfer, weights_url};

fn cpu() -> Device {
    effdet::device("cpu").unwrap()
}

/// A store that has nothing and may fetch nothing.
fn offline(folder: &Path) -> WeightsStore {
    WeightsStore {
        folder: Some(folder.into()),
        offline: true,
        releases: folder.into(),
        hub_cache: folder.into(),
        torch_hub: None,
        hub_endpoint: String::new(),
        hub_token: None,
        mirror: None,
        retry: Default::default(),
    }
}

fn tiny(classes: usize) -> EfficientDetConfig {
    EfficientDetConfig::with_backbone_named("lcnet_035")
        .unwrap()
        .with_num_classes(classes)
        .with_image_size(ImageSize::square(64))
}

#[test]
fn the_registry_and_the_table_of_configurations_agree() {
    let of = |kind| registry().iter().filter(move |entry| entry.kind() == kind);
    let released: Vec<_> = model_specs().iter().filter(|spec| spec.weights.is_some()).collect();
    assert_eq!(of(WeightsKind::Detector).count(), released.len());
    for spec in released {
        let entry = WeightsEntry::named(spec.name).unwrap();
        assert_eq!(
            (entry.url.clone(), entry.published_ap),
            (weights_url(spec), spec.coco_ap),
            "{}",
            spec.name
        );
        let config = EfficientDetConfig::from_spec(spec).unwrap();
        let size = [config.image_size.height, config.image_size.width];
        assert_eq!(
            (entry.mean, entry.std, entry.image_size),
            (config.mean, config.std, size),
            "{}",
            spec.name
        );
        let fill = config.fill.map_or("mean".to_owned(), |[level, ..]| level.to_string());
        assert_eq!(entry.fill.as_deref(), Some(fill.as_str()), "{}", spec.name);
    }
    // Every configuration can start from a published backbone, and every backbone's network is known.
    for spec in model_specs() {
        assert_eq!(WeightsEntry::named(spec.backbone).unwrap().kind(), WeightsKind::Backbone);
    }
    for entry in of(WeightsKind::Backbone) {
        effdet::backbones::create(&entry.name).unwrap();
    }
}

#[test]
fn a_name_is_enough_once_the_file_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = offline(folder.path());
    let load = |name: &str| {
        Detector::from_pretrained_in(&store, name, &DetectorOptions::default(), &cpu(), &mut |_| {})
    };
    let error = load("tf_efficientdet_lite0").unwrap_err();
    assert!(matches!(error, Error::Weights(WeightsError::NotDownloaded { .. })), "{error}");

    let entry = WeightsEntry::named("tf_efficientdet_lite0").unwrap();
    let config = EfficientDetConfig::named("tf_efficientdet_lite0").unwrap();
    let path = folder.path().join(entry.release_file().unwrap());
    save_safetensors(&config.init(&cpu()).unwrap(), &path, &BTreeMap::new(), identity_keys).unwrap();
    // Another file of that name is not taken for the published one, unless it is noted as fetched.
    let error = load("tf_efficientdet_lite0").unwrap_err();
    assert!(matches!(error, Error::Weights(WeightsError::NotDownloaded { .. })), "{error}");
    let note = format!("{}.sha256", entry.release_file().unwrap());
    fs::write(folder.path().join(note), sha256(&path).unwrap()).unwrap();
    let detector = load("tf_efficientdet_lite0").unwrap();
    assert_eq!(
        (detector.config().name.as_str(), detector.class_map().label(1)),
        ("tf_efficientdet_lite0", "person".into())
    );

    assert!(load("tf_efficientnet_b0").unwrap_err().to_string().contains("backbone"));
    assert!(load("tf_efficientdet_lite9").unwrap_err().to_string().contains("tf_efficientdet_lite0"));
}

#[test]
fn backbones_load_alone_from_files_of_whole_classifiers() {
    let folder = tempfile::tempdir().unwrap();
    let store = offline(folder.path());
    for name in ["mobilenetv3_small_050", "resnet50", "cspdarknet53"] {
        let entry = WeightsEntry::named(name).unwrap();
        let classifier = effdet::backbones::create(name).unwrap().with_classifier(7).init(&cpu()).unwrap();
        // Under the names of timm's whole network.
        let path = folder.path().join(entry.file_name());
        let keys = LoadOptions::timm_classifier().key_map;
        save_safetensors(&classifier, &path, &BTreeMap::new(), keys).unwrap();
        let backbone = backbone_from_pretrained(&store, name, &cpu(), &mut |_| {}).unwrap();
        let shared: Vec<_> = parameter_shapes(&backbone);
        assert!(shared.len() < parameter_shapes(&classifier).len(), "{name}");

        let grey = effdet::backbones::create(name).unwrap().with_in_channels(1);
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert!(load_backbone(&grey, &checkpoint, &cpu()).unwrap().1.is_complete());
    }
}

#[test]
fn a_detector_of_coco_becomes_one_of_pets_and_of_voc() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("coco.safetensors");
    let coco = Detector::random(tiny(90), &cpu()).unwrap();
    coco.save_safetensors(&path, DType::F32).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let pets = ClassMap::from_names(["cat", "dog", "hamster"]).unwrap();
    let (model, report) = transfer(&tiny(3), &checkpoint, &pets, true, &cpu()).unwrap();
    let kept: Vec<_> = report.kept_classes.iter().map(|class| class.name.as_str()).collect();
    assert_eq!(kept, ["cat", "dog"]);
    assert!(report.load.is_complete() && report.reset.is_empty(), "{report}");
    let bias = |folder: &Path, model: &effdet::model::EfficientDet| {
        let path = folder.join("bias.safetensors");
        save_safetensors(model, &path, &BTreeMap::new(), identity_keys).unwrap();
        Checkpoint::open(path).unwrap().read_f32("class_net.predict.conv_pw.weight").unwrap()
    };
    let (before, after) = (bias(folder.path(), coco.predictor().model()), bias(folder.path(), &model));
    let channels = coco.config().channels;
    for anchor in 0..9 {
        let row = |values: &[f32], slots: usize, id: usize| {
            let start = (anchor * slots + id - 1) * channels;
            values[start..start + channels].to_vec()
        };
        assert_eq!(row(&before, 90, 17), row(&after, 3, 1), "cat");
        assert_eq!(row(&before, 90, 18), row(&after, 3, 2), "dog");
        assert_ne!(row(&before, 90, 1), row(&after, 3, 3));
    }
    let (_, report) = transfer(&tiny(20), &checkpoint, &ClassMap::voc(), true, &cpu()).unwrap();
    assert_eq!(report.kept_classes.len(), 20);
    let (_, report) = transfer(&tiny(20), &checkpoint, &ClassMap::voc(), false, &cpu()).unwrap();
    assert!(report.kept_classes.is_empty() && !report.reset.is_empty());
    // Another graph, other channels of the picture: what fits is taken.
    let mut other = tiny(20).with_in_channels(4);
    other.channels = 32;
    let (_, report) = transfer(&other, &checkpoint, &ClassMap::voc(), false, &cpu()).unwrap();
    assert!(report.load.loaded > 50 && !report.load.wrong_shape.is_empty());
    assert_eq!(report.adapted.len(), 1);
}

#[test]
fn a_saved_detector_describes_itself_in_every_float_type_and_burn_reads_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let detector = Detector::random(tiny(2), &cpu()).unwrap();
    let picture = RgbImage::from_fn(60, 50, |x, y| image::Rgb([(x * 4) as u8, (y * 5) as u8, 90]));
    let expected = detector.detect(&picture).unwrap();
    for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F16, 1e-3), (DType::BF16, 1e-2)] {
        let path = folder.path().join("saved.safetensors");
        detector.save_safetensors(&path, dtype).unwrap();
        let again = Detector::from_checkpoint(&path, &DetectorOptions::default(), &cpu()).unwrap();
        assert_eq!(again.config(), detector.config());
        assert_eq!(again.preprocess(), detector.preprocess());
        let found = again.detect(&picture).unwrap();
        assert!((found[0].score - expected[0].score).abs() < tolerance, "{dtype}");
    }
    let path = folder.path().join("saved.bpk");
    detector.save_burn(&path).unwrap();
    let model = tiny(2).init(&cpu()).unwrap().try_load_file(&path).unwrap();
    let bytes = |model: &effdet::model::EfficientDet| {
        let path = folder.path().join("bytes.safetensors");
        save_safetensors(model, &path, &BTreeMap::new(), identity_keys).unwrap();
        fs::read(path).unwrap()
    };
    assert_eq!(bytes(&model), bytes(detector.predictor().model()));
}

fn shared(part: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("EFFDET_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let path = folder.join(part);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
    }
    path.exists().then_some(path)
}

#[test]
fn the_shard_of_the_official_d0_maps_onto_ours_and_the_rest_is_listed() {
    let Some(folder) = shared("data/efficientdet_d0_partial/hub") else { return };
    let shard = fs::read(folder.join("group1-shard4of4.bin")).unwrap();
    let rows: Vec<serde_json::Value> =
        serde_json::from_str(&fs::read_to_string(folder.join("tensors_in_shard.json")).unwrap()).unwrap();
    let model = EfficientDetConfig::named("tf_efficientdet_d0").unwrap().init(&cpu()).unwrap();
    let shapes: BTreeMap<String, Vec<usize>> = parameter_shapes(&model).into_iter().collect();

    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    for row in &rows {
        let name = row["name"].as_str().unwrap();
        let here = tensorflow_name(name).unwrap_or_else(|| panic!("{name} has no name here")).name;
        let shape =
            shapes.get(&here).unwrap_or_else(|| panic!("{name} became {here}, which is no parameter"));
        let count: usize = shape.iter().product();
        let (start, bytes) =
            (row["offset"].as_u64().unwrap() as usize, row["bytes"].as_u64().unwrap() as usize);
        assert_eq!(4 * count, bytes, "{name}");
        // Frozen heads have one folded convolution for each level; the first stands for all.
        tensors.entry(here).or_insert((shape.clone(), shard[start..start + bytes].to_vec()));
    }
    assert_eq!(rows.len(), 100);

    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("partial.safetensors");
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        (name, safetensors::tensor::TensorView::new(DType::F32, shape.clone(), bytes).unwrap())
    });
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let Err(WeightsError::Mismatch(report)) = load_into(model, &checkpoint, &LoadOptions::default()) else {
        panic!("a part was taken for the whole")
    };
    let missing: BTreeSet<_> = report.missing.iter().map(|tensor| tensor.name.as_str()).collect();
    let absent: BTreeSet<_> =
        shapes.keys().filter(|name| !tensors.contains_key(*name)).map(String::as_str).collect();
    assert_eq!(missing, absent);
    assert_eq!(report.loaded, tensors.len());
    assert!(report.unexpected.is_empty() && report.wrong_shape.is_empty());
}
