//! The detector of the library.

use std::path::Path;

use effdet::core::Placement;
use effdet::prelude::*;
use effdet::weights::{Checkpoint, CheckpointMetadata, DType, identity_keys, save_safetensors};
use effdet::{Error, identify};

fn tiny() -> EfficientDetConfig {
    EfficientDetConfig::with_backbone_named("lcnet_035")
        .unwrap()
        .with_num_classes(2)
        .with_image_size(ImageSize::new(64, 96))
}

fn cpu() -> Device {
    effdet::device("cpu").unwrap()
}

fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 3) as u8, (y * 5) as u8, (x * y) as u8]))
}

fn save(path: &Path, config: &EfficientDetConfig, metadata: &CheckpointMetadata) {
    let model = config.init(&cpu()).unwrap();
    save_safetensors(&model, path, &metadata.to_map(), identity_keys).unwrap();
}

fn open(path: &Path, options: &DetectorOptions) -> Result<Detector, Error> {
    Detector::from_checkpoint(path, options, &cpu())
}

#[test]
fn a_batch_gives_what_its_pictures_give_alone() {
    let detector = Detector::random(tiny(), &cpu()).unwrap();
    let pictures = [picture(50, 40), picture(200, 30), picture(1, 1)];
    let together = detector.detect_batch(&pictures).unwrap();
    for (picture, together) in pictures.iter().zip(&together) {
        let alone = detector.detect(picture).unwrap();
        assert_eq!(alone.len(), together.len());
        assert!((alone[0].score - together[0].score).abs() < 1e-5);
        let (width, height) = (picture.width() as f32, picture.height() as f32);
        assert!(alone.iter().all(|found| found.bbox.x2 <= width + 0.01 && found.bbox.y2 <= height + 0.01));
    }
    assert!(detector.detect_batch(&[]).unwrap().is_empty());
}

#[test]
fn pictures_of_a_batch_keep_settings_of_their_own() {
    let mut detector = Detector::random(tiny(), &cpu()).unwrap();
    let prepared = [picture(50, 40), picture(200, 30)].map(|p| detector.preprocess().apply(&p).unwrap());
    let all = detector.config().decode;
    let few = DecodeConfig { max_detections: 3, nms: NmsConfig { iou_threshold: 0.1, ..all.nms }, ..all };
    let together = detector.detect_prepared_each(&prepared, &[few, all]).unwrap();
    assert_eq!((together[0].len(), together[1].len()), (3, 100));
    assert_eq!(together[1], detector.detect_prepared(&prepared).unwrap()[1]);
    detector.set_decode(few).unwrap();
    assert_eq!(together[0], detector.detect_prepared(&prepared).unwrap()[0]);
}

#[test]
fn a_picture_without_pixels_is_refused() {
    let detector = Detector::random(tiny(), &cpu()).unwrap();
    assert!(matches!(detector.detect(&RgbImage::new(0, 4)), Err(Error::Picture(_))));
}

#[test]
fn a_picture_prepared_for_another_size_is_refused() {
    let mut detector = Detector::random(tiny(), &cpu()).unwrap();
    let prepared = detector.preprocess().apply(&picture(50, 40)).unwrap();
    detector.set_preprocess(Preprocess { size: ImageSize::square(64), ..*detector.preprocess() }).unwrap();
    assert!(matches!(detector.detect_prepared(&[prepared]), Err(Error::Setting { .. })));
    assert!(detector.set_preprocess(Preprocess { std: [0.0; 3], ..*detector.preprocess() }).is_err());
    assert_eq!(detector.preprocess().size, ImageSize::square(64));
}

#[test]
fn a_checkpoint_that_describes_itself_needs_no_options() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.safetensors");
    let config = EfficientDetConfig { channels: 32, ..tiny() };
    let metadata = CheckpointMetadata {
        config: Some(serde_json::to_value(&config).unwrap()),
        class_names: Some(vec!["left".into(), "right".into()]),
        image_size: Some([32, 64]),
        mean: Some([0.1, 0.2, 0.3]),
        std: Some([0.4; 3]),
        fill: Some("0".into()),
        ..Default::default()
    };
    save(&path, &config, &metadata);
    let detector = open(&path, &DetectorOptions::default()).unwrap();
    assert_eq!(detector.config().channels, 32);
    assert_eq!(detector.class_map().name(2), Some("right"));
    let preprocess = detector.preprocess();
    assert_eq!((preprocess.size, preprocess.mean), (ImageSize::new(32, 64), [0.1, 0.2, 0.3]));
    assert_eq!((preprocess.std, preprocess.fill), ([0.4; 3], Fill::Color([0; 3])));
    assert!(!detector.detect(&picture(40, 40)).unwrap().is_empty());
    // Its own name picks the stored variant, any other name the published configuration.
    let options = DetectorOptions { model: Some(config.name), ..Default::default() };
    assert_eq!(open(&path, &options).unwrap().config().channels, 32);
    let options = DetectorOptions { backbone: Some("lcnet_035".into()), ..Default::default() };
    assert!(matches!(open(&path, &options), Err(Error::Weights(_))));
}

#[test]
fn a_saved_detector_fits_pictures_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.safetensors");
    let mut detector = Detector::random(tiny(), &cpu()).unwrap();
    let usual = *detector.preprocess();
    for (fill, placement) in [
        (Fill::Color([255, 128, 0]), Placement::Center),
        (Fill::Color([0; 3]), Placement::TopLeft),
        (Fill::Mean, Placement::Center),
    ] {
        detector.set_preprocess(Preprocess { fill, placement, ..usual }).unwrap();
        detector.save_safetensors(&path, DType::F32).unwrap();
        let again = open(&path, &DetectorOptions::default()).unwrap();
        assert_eq!(again.preprocess(), detector.preprocess());
    }
    // As files have it that know neither colours nor placements, and as an ONNX file has it.
    for (fill, fill_color, expected) in [
        (Some("114"), None, Fill::Color([114; 3])),
        (Some("mean"), Some([124, 116, 104]), Fill::Mean),
        (None, Some([1, 2, 3]), Fill::Color([1, 2, 3])),
        (None, None, usual.fill),
    ] {
        let metadata = CheckpointMetadata {
            config: Some(serde_json::to_value(tiny()).unwrap()),
            fill: fill.map(str::to_owned),
            fill_color,
            ..Default::default()
        };
        save(&path, &tiny(), &metadata);
        let again = open(&path, &DetectorOptions::default()).unwrap();
        assert_eq!((again.preprocess().fill, again.preprocess().placement), (expected, usual.placement));
    }
}

#[test]
fn metadata_out_of_range_is_refused_before_anything_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.safetensors");
    let sane = CheckpointMetadata {
        config: Some(serde_json::to_value(tiny()).unwrap()),
        image_size: Some([64, 64]),
        ..Default::default()
    };
    let with = |field: &str, value: serde_json::Value| {
        let mut config = serde_json::to_value(tiny()).unwrap();
        config[field] = value;
        CheckpointMetadata { config: Some(config), ..sane.clone() }
    };
    let huge = 1u64 << 60;
    let hostile = [
        with("channels", huge.into()),
        with("cells", huge.into()),
        with("repeats", huge.into()),
        with("num_scales", huge.into()),
        with("in_channels", huge.into()),
        with("fpn", serde_json::json!({ "min_level": 9, "max_level": 3, "nodes": [] })),
        with("fpn", serde_json::json!({ "min_level": 3, "max_level": huge, "nodes": [] })),
        with("backbone", "resnet5000".into()),
        with("channels", "many".into()),
        CheckpointMetadata { image_size: Some([0, 64]), ..sane.clone() },
        CheckpointMetadata { image_size: Some([1 << 40, 1 << 40]), ..sane.clone() },
        CheckpointMetadata { mean: Some([f32::MAX * 2.0, 0.0, 0.0]), ..sane.clone() },
        CheckpointMetadata { std: Some([0.0; 3]), ..sane.clone() },
        CheckpointMetadata { fill: Some("plaid".into()), ..sane.clone() },
        CheckpointMetadata { interpolation: Some("magic".into()), ..sane.clone() },
        CheckpointMetadata { placement: Some("top_right".into()), ..sane.clone() },
        CheckpointMetadata { class_names: Some(vec!["one".into()]), ..sane.clone() },
        CheckpointMetadata { class_names: Some(vec!["one".into(), "one".into()]), ..sane.clone() },
    ];
    for metadata in &hostile {
        save(&path, &tiny(), metadata);
        assert!(open(&path, &DetectorOptions::default()).is_err(), "{metadata:?}");
    }
    save(&path, &tiny(), &sane);
    assert!(open(&path, &DetectorOptions::default()).is_ok());
}

#[test]
fn a_checkpoint_is_identified_by_its_tensors_whatever_its_classes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unnamed.safetensors");
    let config = EfficientDetConfig::named("tf_efficientdet_d0").unwrap().with_num_classes(7);
    save(&path, &config, &CheckpointMetadata::default());
    let candidates = identify(&Checkpoint::open(&path).unwrap(), &cpu()).unwrap();
    let fitting: Vec<_> = candidates.iter().filter(|c| c.fit == 1.0).map(|c| c.model).collect();
    assert!(
        fitting.contains(&"tf_efficientdet_d0") && fitting.contains(&"tf_efficientdet_d0_ap"),
        "{fitting:?}"
    );
    assert!(!fitting.contains(&"tf_efficientdet_d1") && candidates.len() == 47);
    let error = open(&path, &DetectorOptions::default()).unwrap_err().to_string();
    assert!(error.contains("tf_efficientdet_d0 and tf_efficientdet_d0_ap"), "{error}");
}
