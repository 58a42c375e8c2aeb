//! Slices and test-time augmentation.

use effdet::prelude::*;
use image::imageops::{crop_imm, flip_horizontal};

fn detector() -> Detector {
    let config = EfficientDetConfig::with_backbone_named("lcnet_035")
        .unwrap()
        .with_num_classes(2)
        .with_image_size(ImageSize::square(64));
    let device = effdet::device("cpu").unwrap();
    // Synthetic weights tell scores apart; those of fresh ones are equal but for rounding.
    let file = tempfile::NamedTempFile::new().unwrap();
    let network = config.init(&device).unwrap();
    effdet_testing::synthetic::write_checkpoint(&network, 3, &Default::default(), file.path()).unwrap();
    let options = DetectorOptions {
        backbone: Some("lcnet_035".to_owned()),
        image_size: Some(config.image_size),
        ..DetectorOptions::default()
    };
    let mut detector = Detector::from_checkpoint(file.path(), &options, &device).unwrap();
    let decode = DecodeConfig { max_detections: 30, ..DecodeConfig::default() };
    detector.set_decode(decode).unwrap();
    detector
}

fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 3) as u8, (y * 5) as u8, (x * y) as u8]))
}

/// Keeps what every slice finds.
fn all_of(size: usize) -> Slices {
    let merge = SliceMerge::Suppress(NmsConfig { iou_threshold: 1.1, ..NmsConfig::default() });
    Slices { whole_picture: false, overlap: 0.0, merge, ..Slices::new(ImageSize::square(size)) }
}

fn sliced(slices: Slices) -> DetectOptions {
    DetectOptions { slices: Some(slices), batch: 2, ..DetectOptions::default() }
}

fn augmented(augmentation: TestTimeAugmentation) -> DetectOptions {
    DetectOptions { augmentation: Some(augmentation), batch: 4, ..DetectOptions::default() }
}

fn assert_close(found: &[Detection], expected: &[Detection], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert_eq!(a.class_id, b.class_id);
        assert!((a.score - b.score).abs() < 1e-5, "{a:?} is not {b:?}");
        let corners = <[f32; 4]>::from(a.bbox).into_iter().zip(<[f32; 4]>::from(b.bbox));
        assert!(corners.into_iter().all(|(a, b)| (a - b).abs() <= tolerance), "{a:?} is not {b:?}");
    }
}

#[test]
fn one_slice_or_one_view_is_the_picture_itself() {
    let (detector, picture) = (detector(), picture(90, 60));
    let expected = detector.detect(&picture).unwrap();
    assert!(expected.len() > 5);
    assert_close(&detector.detect_with(&picture, &DetectOptions::default()).unwrap(), &expected, 0.0);
    let slices = Slices::new(ImageSize::square(90));
    assert_close(&detector.detect_with(&picture, &sliced(slices)).unwrap(), &expected, 0.0);
}

#[test]
fn slices_find_what_their_pictures_hold_where_they_lie() {
    let (mut detector, picture) = (detector(), picture(100, 50));
    let halves = [0, 50].map(|x| (x, crop_imm(&picture, x, 0, 50, 50).to_image()));
    let mut expected = Vec::new();
    for (x, half) in &halves {
        let moved = |found: Detection| Detection { bbox: found.bbox.translate(*x as f32, 0.0), ..found };
        expected.extend(detector.detect(half).unwrap().into_iter().map(moved));
    }
    expected.sort_by(|a, b| b.score.total_cmp(&a.score));
    expected.truncate(30);
    assert_close(&detector.detect_with(&picture, &sliced(all_of(50))).unwrap(), &expected, 1e-3);

    let decode = DecodeConfig { max_detections: 7, ..detector.config().decode };
    detector.set_decode(decode).unwrap();
    assert_eq!(detector.detect_with(&picture, &sliced(all_of(50))).unwrap().len(), 7);
}

#[test]
fn merging_leaves_fewer_boxes_and_none_outside_the_picture() {
    let (mut detector, picture) = (detector(), picture(150, 120));
    let decode = DecodeConfig { max_detections: 100_000, ..detector.config().decode };
    detector.set_decode(decode).unwrap();
    let size = ImageSize::square(64);
    let found = |merge| {
        let slices = Slices { merge, ..Slices::new(size) };
        detector.detect_with(&picture, &sliced(slices)).unwrap()
    };
    let all = found(all_of(64).merge);
    for merge in [SliceMerge::default(), SliceMerge::Suppress(NmsConfig::default())] {
        let merged = found(merge);
        assert!(!merged.is_empty() && merged.len() < all.len(), "{} of {}", merged.len(), all.len());
        for found in &merged {
            assert!(found.bbox.x1 >= 0.0 && found.bbox.x2 <= 150.01 && found.bbox.y2 <= 120.01);
        }
    }
}

#[test]
fn with_the_mirror_image_a_mirrored_picture_gives_mirrored_boxes() {
    let (detector, picture) = (detector(), picture(64, 64));
    let options =
        augmented(TestTimeAugmentation { scales: vec![1.0, 1.5], ..TestTimeAugmentation::default() });
    let found = detector.detect_with(&picture, &options).unwrap();
    let mirrored = detector.detect_with(&flip_horizontal(&picture), &options).unwrap();
    assert!(found.len() > 5);
    let expected: Vec<Detection> = found
        .iter()
        .map(|found| {
            let XyxyBox { x1, y1, x2, y2 } = found.bbox;
            Detection { bbox: XyxyBox::new(64.0 - x2, y1, 64.0 - x1, y2), ..*found }
        })
        .collect();
    assert_close(&mirrored, &expected, 1e-2);
    assert!(found.iter().zip(detector.detect(&picture).unwrap()).any(|(a, b)| a.bbox != b.bbox));
}

#[test]
fn the_size_of_a_batch_changes_nothing() {
    let (detector, picture) = (detector(), picture(150, 120));
    let options = |batch| DetectOptions {
        slices: Some(Slices::new(ImageSize::square(64))),
        augmentation: Some(TestTimeAugmentation::default()),
        batch,
    };
    let one = detector.detect_with(&picture, &options(0)).unwrap();
    assert_close(&detector.detect_with(&picture, &options(5)).unwrap(), &one, 1e-2);
}

#[test]
fn options_out_of_range_are_refused() {
    let (detector, picture) = (detector(), picture(150, 120));
    let fusion = effdet::heads::FusionConfig { weights: Some(vec![1.0]), ..Default::default() };
    for options in [
        sliced(Slices { overlap: 1.0, ..Slices::new(ImageSize::square(64)) }),
        sliced(Slices::new(ImageSize::new(0, 64))),
        augmented(TestTimeAugmentation { scales: vec![], ..Default::default() }),
        augmented(TestTimeAugmentation { scales: vec![-1.0], ..Default::default() }),
        augmented(TestTimeAugmentation { fusion, ..Default::default() }),
    ] {
        assert!(detector.detect_with(&picture, &options).is_err(), "{options:?}");
    }
    assert!(detector.detect_with(&RgbImage::new(0, 4), &DetectOptions::default()).is_err());
}
