//! The cut to candidates on the device gives the detections that reading everything gives.

use burn::tensor::{Device, Tensor, TensorData};
use effdet_core::ImageSize;
use effdet_heads::{AnchorConfig, Anchors, DecodeConfig, Error, Frame, HostOutputs, decode_batch};

const BATCH: usize = 2;
const CLASSES: usize = 7;

/// Maps of every level with values of a function of their place.
fn maps(anchors: &Anchors, channels: usize, value: impl Fn(usize) -> f32) -> Vec<Tensor<4>> {
    let mut place = 0;
    let mut map = |size: ImageSize| {
        let shape = [BATCH, channels * anchors.anchors_per_cell(), size.height, size.width];
        let values: Vec<f32> = (0..shape.iter().product()).map(|i| value(place + i)).collect();
        place += values.len();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    };
    anchors.levels().iter().map(|level| map(level.feature_size)).collect()
}

/// A number in [0, 1) that looks random.
fn noise(i: usize) -> f32 {
    let mixed = (i as u64 ^ 0x2545_f491).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f32 / (1u64 << 24) as f32
}

/// Bytes that were read with the cut and without, after comparing the detections.
fn compare(logit: impl Fn(usize) -> f32, max_candidates: usize, score_threshold: f32) -> [usize; 2] {
    let anchors = Anchors::generate(&AnchorConfig::default(), ImageSize::square(128)).unwrap();
    let (logits, deltas) = (maps(&anchors, CLASSES, logit), maps(&anchors, 4, |i| noise(i) - 0.5));
    let config = DecodeConfig { max_candidates, score_threshold, ..DecodeConfig::default() };
    let all = HostOutputs::read(&logits, &deltas).unwrap();
    let cut = HostOutputs::read_candidates(&logits, &deltas, CLASSES, max_candidates).unwrap();
    let decode = |outputs: &HostOutputs| outputs.decode(&anchors, CLASSES, &config, &[None; BATCH]).unwrap();
    let (expected, actual) = (decode(&all), decode(&cut));
    assert_eq!(expected, actual);
    assert!(max_candidates == 0 || score_threshold > 0.9 || expected.iter().all(|found| !found.is_empty()));
    [cut.bytes_read(), all.bytes_read()]
}

#[test]
fn detections_are_the_same_and_only_candidates_cross() {
    for max_candidates in [1, 31, 500] {
        for score_threshold in [0.0, 0.3, 0.99] {
            let [cut, all] = compare(|i| 10.0 * noise(i) - 7.0, max_candidates, score_threshold);
            // value, anchor, class and box code of each, and a row that says they are exact
            assert_eq!(cut, BATCH * (max_candidates + 1) * 7 * 4);
            assert!(cut < all, "{cut} of {all} bytes");
        }
    }
    // all there are
    compare(|i| 10.0 * noise(i) - 7.0, 1 << 20, 0.0);
}

#[test]
fn equal_logits_count_in_the_order_of_anchors_and_classes() {
    // As half precision gives them: few values, each of many logits.
    let [cut, all] = compare(|i| (20.0 * noise(i)).floor() / 8.0, 100, 0.0);
    assert!(cut < all);
    let [cut, all] = compare(|_| -4.5, 100, 0.0);
    assert!(cut < all);
}

#[test]
fn everything_is_read_where_the_cut_would_not_be_exact() {
    let not_a_number = |i: usize| if i.is_multiple_of(50) { noise(i) } else { f32::NAN };
    let [read, all] = compare(not_a_number, 5000, 0.0);
    assert_eq!(read, all);
    compare(|i| if i % 2 == 0 { f32::INFINITY } else { noise(i) }, 100, 0.0);
}

#[test]
fn more_candidates_than_were_read_are_refused() {
    let anchors = Anchors::generate(&AnchorConfig::default(), ImageSize::square(128)).unwrap();
    let (logits, deltas) = (maps(&anchors, CLASSES, noise), maps(&anchors, 4, noise));
    let cut = HostOutputs::read_candidates(&logits, &deltas, CLASSES, 10).unwrap();
    let config = DecodeConfig { max_candidates: 11, ..DecodeConfig::default() };
    let error = cut.decode(&anchors, CLASSES, &config, &[None; BATCH]).unwrap_err().to_string();
    assert!(error.contains("max_candidates is 11"), "{error}");
}

#[test]
fn outputs_that_do_not_fit_anchors_classes_or_frames_are_refused() {
    let anchors = Anchors::generate(&AnchorConfig::default(), ImageSize::square(128)).unwrap();
    let other = Anchors::generate(&AnchorConfig::default(), ImageSize::square(256)).unwrap();
    let (logits, deltas) = (maps(&anchors, CLASSES, noise), maps(&anchors, 4, noise));
    let config = DecodeConfig { max_candidates: 1000, ..DecodeConfig::default() };
    let all = HostOutputs::read(&logits, &deltas).unwrap();
    let cut = HostOutputs::read_candidates(&logits, &deltas, CLASSES, 1000).unwrap();
    assert!(cut.bytes_read() < all.bytes_read());
    for outputs in [&all, &cut] {
        let refused = |anchors, classes, frames: &[Option<Frame>]| {
            outputs.decode(anchors, classes, &config, frames).unwrap_err().to_string()
        };
        let wrong_size = refused(&other, CLASSES, &[None; BATCH]);
        assert!(wrong_size.starts_with("class logits of level 3 have "), "{wrong_size}");
        let wrong_classes = refused(&anchors, CLASSES + 1, &[None; BATCH]);
        assert!(wrong_classes.starts_with("class logits of level 3 have "), "{wrong_classes}");
        let no_classes = refused(&anchors, 0, &[None; BATCH]);
        assert_eq!(no_classes, "num_classes is 0, expected at least 1");
        for frames in [BATCH - 1, BATCH + 1] {
            let message = refused(&anchors, CLASSES, &vec![None; frames]);
            let expected =
                format!("number of frames is {frames} for {BATCH} pictures, expected one per picture");
            assert_eq!(message, expected);
        }
    }
    // Maps that do not belong together are not cut.
    let deltas = maps(&other, 4, noise);
    let read = HostOutputs::read_candidates(&logits, &deltas, CLASSES, 10).unwrap();
    let error = read.decode(&anchors, CLASSES, &config, &[None; BATCH]).unwrap_err().to_string();
    assert!(error.starts_with("box deltas of level 3 have "), "{error}");
    let error = decode_batch(&logits[..4], &deltas, &anchors, CLASSES, &config, &[None; BATCH]).unwrap_err();
    assert_eq!(error, Error::LevelCount { expected: 5, actual: 4 });
}
