//! Decoding of outputs that a broken or untrained network may give.

use effdet_core::{ImageSize, XyxyBox};
use effdet_heads::{
    AnchorConfig, Anchors, DecodeConfig, Error, Frame, Layout, LevelOutput, NmsConfig, NmsMethod, decode,
};
use proptest::prelude::*;

const CLASSES: usize = 2;

#[expect(clippy::unwrap_used, reason = "test helper")]
fn anchors() -> Anchors {
    // levels of 2x3 and 1x2 cells with one anchor each
    let config = AnchorConfig {
        min_level: 3,
        max_level: 4,
        num_scales: 1,
        aspect_ratios: vec![(1.0, 1.0)],
        anchor_scale: 4.0.into(),
    };
    Anchors::generate(&config, ImageSize::new(16, 24)).unwrap()
}

fn split<'a>(logits: &'a [f32], deltas: &'a [f32]) -> [LevelOutput<'a>; 2] {
    [
        LevelOutput { class_logits: &logits[..12], box_deltas: &deltas[..24], layout: Layout::ChannelsFirst },
        LevelOutput { class_logits: &logits[12..], box_deltas: &deltas[24..], layout: Layout::ChannelsFirst },
    ]
}

fn any_value() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => -8f32..8.0,
        1 => prop::sample::select(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 0.0, -0.0]),
    ]
}

proptest! {
    #[test]
    fn any_numbers_give_finite_detections_inside_the_picture(
        logits in prop::collection::vec(any_value(), 16),
        deltas in prop::collection::vec(any_value(), 32),
        soft: bool,
        score_threshold in prop_oneof![Just(0.0f32), 0f32..1.0],
        max_candidates in 0usize..20,
        scale in 0.1f32..10.0,
    ) {
        let method = if soft { NmsMethod::SoftGaussian { sigma: 0.5 } } else { NmsMethod::Hard };
        let nms = NmsConfig { method, score_threshold: 0.0, ..NmsConfig::default() };
        let config = DecodeConfig { max_candidates, score_threshold, max_detections: 10, nms };
        let size = ImageSize::new(40, 50);
        let frame = Frame { scale, size: Some(size), offset: (1.0, 2.0) };
        let detections = decode(&split(&logits, &deltas), &anchors(), CLASSES, &config, Some(&frame)).unwrap();
        prop_assert!(detections.len() <= max_candidates.min(10));
        for d in &detections {
            prop_assert!(d.score.is_finite() && (1..=2).contains(&d.class_id));
            prop_assert!(d.score >= score_threshold);
            prop_assert!(d.bbox.is_finite());
            prop_assert!(d.bbox.x1 >= 0.0 && d.bbox.x2 <= 50.001 && d.bbox.y1 >= 0.0 && d.bbox.y2 <= 40.001);
        }
        decode(&split(&logits, &deltas), &anchors(), CLASSES, &config, None).unwrap();
    }
}

#[test]
fn fewer_logits_than_candidates_are_no_error() {
    let detections =
        decode(&split(&[1.0; 16], &[0.0; 32]), &anchors(), CLASSES, &DecodeConfig::default(), None);
    assert!(!detections.unwrap().is_empty());
}

#[test]
fn channels_are_read_anchor_major_and_class_minor() {
    let config = AnchorConfig { min_level: 3, max_level: 3, ..AnchorConfig::default() };
    let anchors = Anchors::generate(&config, ImageSize::new(16, 24)).unwrap();
    let (cells, classes) = (6, 4);
    let (anchor, class, cell) = (5, 2, 4);
    let mut logits = vec![-20.0; 9 * classes * cells];
    logits[(anchor * classes + class) * cells + cell] = 4.0;
    let mut deltas = vec![0.0; 9 * 4 * cells];
    deltas[(anchor * 4 + 1) * cells + cell] = 0.25;
    let level = LevelOutput { class_logits: &logits, box_deltas: &deltas, layout: Layout::ChannelsFirst };
    let settings = DecodeConfig { score_threshold: 0.5, ..DecodeConfig::default() };
    let detections = decode(&[level], &anchors, classes, &settings, None).unwrap();
    assert_eq!(detections.len(), 1);
    assert_eq!(detections[0].class_id, 3);
    let expected = XyxyBox::from(anchors.boxes()[cell * 9 + anchor]);
    let expected = expected.translate(0.25 * expected.width(), 0.0);
    assert!(
        (detections[0].bbox.x1 - expected.x1).abs() < 1e-4
            && (detections[0].bbox.y2 - expected.y2).abs() < 1e-4
    );
}

#[test]
fn the_margins_of_a_centred_letterbox_are_taken_off() {
    let outputs = ([3.0; 16], [0.0; 32]);
    let plain =
        decode(&split(&outputs.0, &outputs.1), &anchors(), CLASSES, &DecodeConfig::default(), None).unwrap();
    let frame = Frame { scale: 2.0, size: None, offset: (3.0, 1.0) };
    let framed =
        decode(&split(&outputs.0, &outputs.1), &anchors(), CLASSES, &DecodeConfig::default(), Some(&frame))
            .unwrap();
    assert_eq!(plain.len(), framed.len());
    for (a, b) in plain.iter().zip(&framed) {
        assert_eq!(a.bbox.translate(-3.0, -1.0).scale(2.0, 2.0), b.bbox);
    }
}

#[test]
fn tensors_that_do_not_fit_the_anchors_are_refused_with_their_level() {
    let (anchors, config) = (anchors(), DecodeConfig::default());
    let (logits, deltas) = ([0.0; 16], [0.0; 32]);
    let [low, high] = split(&logits, &deltas);

    let count = decode(&[low], &anchors, CLASSES, &config, None).unwrap_err();
    assert_eq!(count, Error::LevelCount { expected: 2, actual: 1 });

    let short = LevelOutput { class_logits: &logits[..3], ..high };
    let message = decode(&[low, short], &anchors, CLASSES, &config, None).unwrap_err().to_string();
    assert_eq!(
        message,
        "class logits of level 4 have 3 values, expected 4 (1 anchors x 2 channels x 1x2 cells)"
    );

    let long = LevelOutput { box_deltas: &deltas, ..low };
    let message = decode(&[long, high], &anchors, CLASSES, &config, None).unwrap_err().to_string();
    assert!(message.starts_with("box deltas of level 3 have 32 values, expected 24"), "{message}");

    assert!(matches!(decode(&[low, high], &anchors, 0, &config, None), Err(Error::Setting { .. })));
}

#[test]
fn a_frame_or_threshold_out_of_range_is_refused_by_name() {
    let (logits, deltas) = ([0.0; 16], [0.0; 32]);
    let levels = split(&logits, &deltas);
    for (scale, offset) in [(0.0, 0.0), (f32::NAN, 0.0), (1.0, f32::INFINITY)] {
        let frame = Frame { scale, size: None, offset: (offset, 0.0) };
        let error = decode(&levels, &anchors(), CLASSES, &DecodeConfig::default(), Some(&frame)).unwrap_err();
        assert!(error.to_string().starts_with("frame "), "{error}");
    }
    let config = DecodeConfig { score_threshold: f32::NAN, ..DecodeConfig::default() };
    let error = decode(&levels, &anchors(), CLASSES, &config, None).unwrap_err();
    assert_eq!(error.to_string(), "score_threshold is NaN, expected a number");
}
