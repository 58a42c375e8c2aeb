//! Anchors, decoding and suppression against the reference.
//!
//! Fixtures are written by `tools/golden/make_anchors.py` and `tools/golden/make_postprocess.py`.

use effdet_core::{Detection, ImageSize, XyxyBox, YxyxBox};
use effdet_heads::{
    AnchorConfig, Anchors, DecodeConfig, Frame, Layout, LevelOutput, NmsConfig, NmsMethod, decode, nms,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct AnchorCase {
    name: String,
    image_size: [usize; 2],
    config: AnchorConfig,
    feature_sizes: Vec<[usize; 2]>,
    count: usize,
    column_sums: [f64; 4],
    rows: Vec<(usize, YxyxBox)>,
}

#[test]
fn anchors_equal_the_reference() {
    let cases: Vec<AnchorCase> = serde_json::from_str(include_str!("../fixtures/anchors.json")).unwrap();
    assert!(cases.len() >= 7);
    for AnchorCase { name, image_size: [height, width], config, feature_sizes, count, column_sums, rows } in
        cases
    {
        let anchors = Anchors::generate(&config, ImageSize::new(height, width)).unwrap();
        let sizes = anchors.levels().iter().map(|l| [l.feature_size.height, l.feature_size.width]);
        assert_eq!(sizes.collect::<Vec<_>>(), feature_sizes, "{name}");
        assert_eq!(anchors.len(), count, "{name}");
        for (index, expected) in rows {
            assert_eq!(anchors.boxes()[index], expected, "{name}: anchor {index}");
        }
        for (column, expected) in column_sums.into_iter().enumerate() {
            let actual: f64 = anchors.boxes().iter().map(|b| f64::from(<[f32; 4]>::from(*b)[column])).sum();
            assert!((actual - expected).abs() < 1e-3, "{name}: column {column}: {actual} != {expected}");
        }
    }
}

#[derive(Deserialize)]
struct DecodeFixture {
    image_size: [usize; 2],
    num_classes: usize,
    levels: Vec<Level>,
    cases: Vec<DecodeCase>,
}

#[derive(Deserialize)]
struct Level {
    class_logits: Vec<f32>,
    box_deltas: Vec<f32>,
}

#[derive(Deserialize)]
struct DecodeCase {
    name: String,
    max_candidates: usize,
    soft: bool,
    scale: Option<f32>,
    picture: Option<[usize; 2]>,
    detections: Vec<[f32; 6]>,
}

#[test]
fn decoded_detections_equal_the_reference() {
    let fixture: DecodeFixture = serde_json::from_str(include_str!("../fixtures/decode.json")).unwrap();
    let [height, width] = fixture.image_size;
    let anchors = Anchors::generate(&AnchorConfig::default(), ImageSize::new(height, width)).unwrap();
    let levels: Vec<LevelOutput<'_>> = fixture
        .levels
        .iter()
        .map(|level| LevelOutput {
            class_logits: &level.class_logits,
            box_deltas: &level.box_deltas,
            layout: Layout::ChannelsFirst,
        })
        .collect();
    assert_eq!(fixture.cases.len(), 6);
    for case in &fixture.cases {
        let method = if case.soft { NmsMethod::SoftGaussian { sigma: 0.5 } } else { NmsMethod::Hard };
        let config = DecodeConfig {
            max_candidates: case.max_candidates,
            nms: NmsConfig { method, ..NmsConfig::default() },
            ..DecodeConfig::default()
        };
        let frame = case.scale.map(|scale| Frame {
            scale,
            size: case.picture.map(|[height, width]| ImageSize::new(height, width)),
            offset: (0.0, 0.0),
        });
        let actual = decode(&levels, &anchors, fixture.num_classes, &config, frame.as_ref()).unwrap();
        assert_eq!(actual.len(), case.detections.len(), "{}", case.name);
        assert!(!actual.is_empty());
        for (i, (detection, [x1, y1, x2, y2, score, class])) in
            actual.iter().zip(&case.detections).enumerate()
        {
            assert_eq!(detection.class_id, *class as u32, "{}: class of detection {i}", case.name);
            assert!((detection.score - score).abs() < 1e-6, "{}: score of detection {i}", case.name);
            let corners = <[f32; 4]>::from(detection.bbox);
            for (a, b) in corners.into_iter().zip([x1, y1, x2, y2]) {
                assert!((a - b).abs() < 1e-4, "{}: box of detection {i}: {a} != {b}", case.name);
            }
        }
    }
}

#[derive(Deserialize)]
struct NmsFixture {
    boxes: Vec<XyxyBox>,
    scores: Vec<f32>,
    tied_scores: Vec<f32>,
    labels: Vec<u32>,
    hard: Vec<HardCase>,
    soft: Vec<SoftCase>,
}

#[derive(Deserialize)]
struct HardCase {
    iou_threshold: f32,
    tied: bool,
    class_agnostic: bool,
    kept: Vec<usize>,
}

#[derive(Deserialize)]
struct SoftCase {
    gaussian: bool,
    sigma: f32,
    iou_threshold: f32,
    kept: Vec<usize>,
    scores: Vec<f32>,
}

#[expect(clippy::unwrap_used, reason = "test helper")]
impl NmsFixture {
    fn read() -> Self {
        serde_json::from_str(include_str!("../fixtures/nms.json")).unwrap()
    }

    fn candidates(&self, tied: bool) -> Vec<Detection> {
        let scores = if tied { &self.tied_scores } else { &self.scores };
        let rows = self.boxes.iter().zip(scores).zip(&self.labels);
        rows.map(|((bbox, score), label)| Detection { bbox: *bbox, score: *score, class_id: *label })
            .collect()
    }
}

#[test]
fn hard_suppression_keeps_what_torchvision_keeps() {
    let fixture = NmsFixture::read();
    assert_eq!(fixture.hard.len(), 12);
    for HardCase { iou_threshold, tied, class_agnostic, kept } in &fixture.hard {
        let candidates = fixture.candidates(*tied);
        let config = NmsConfig {
            iou_threshold: *iou_threshold,
            class_agnostic: *class_agnostic,
            ..NmsConfig::default()
        };
        let expected: Vec<Detection> = kept.iter().map(|i| candidates[*i]).collect();
        assert_eq!(nms(&candidates, &config, usize::MAX), expected, "IoU {iou_threshold}, tied {tied}");
        assert_eq!(nms(&candidates, &config, 7), expected[..7]);
    }
}

#[test]
fn soft_suppression_selects_and_rescores_as_the_reference() {
    let fixture = NmsFixture::read();
    let candidates = fixture.candidates(false);
    assert_eq!(fixture.soft.len(), 4);
    for SoftCase { gaussian, sigma, iou_threshold, kept, scores } in &fixture.soft {
        let method =
            if *gaussian { NmsMethod::SoftGaussian { sigma: *sigma } } else { NmsMethod::SoftLinear };
        let config = NmsConfig { method, iou_threshold: *iou_threshold, ..NmsConfig::default() };
        let actual = nms(&candidates, &config, usize::MAX);
        assert_eq!(actual.len(), kept.len(), "{method:?}");
        // The reference shifts the boxes of each class, which costs its IoU the last bits. Two scores closer
        // than that may change places, so each selection is found by its box.
        for (rank, (index, score)) in kept.iter().zip(scores).enumerate() {
            let place = actual.iter().position(|d| d.bbox == candidates[*index].bbox).unwrap();
            assert!(place.abs_diff(rank) <= 1, "{method:?}: box {index} is at {place} instead of {rank}");
            let difference = (actual[place].score - score).abs();
            assert!(difference < 2e-5, "{method:?}: score of box {index} is off by {difference}");
        }
    }
}
