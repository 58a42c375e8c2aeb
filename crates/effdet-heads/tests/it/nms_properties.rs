//! What must hold for non-maximum suppression of any boxes.

use effdet_core::iou::{diou, iou};
use effdet_core::{Detection, XyxyBox};
use effdet_heads::{NmsConfig, NmsMethod, nms};
use proptest::prelude::*;

const METHODS: [NmsMethod; 4] =
    [NmsMethod::Hard, NmsMethod::Diou, NmsMethod::SoftGaussian { sigma: 0.5 }, NmsMethod::SoftLinear];

fn detections() -> impl Strategy<Value = Vec<Detection>> {
    let one = (-20f32..100.0, -20f32..100.0, 0f32..60.0, 0f32..60.0, 0u8..20, 1u32..4).prop_map(
        |(x, y, w, h, score, class_id)| Detection {
            bbox: XyxyBox::new(x, y, x + w, y + h),
            score: f32::from(score) / 20.0,
            class_id,
        },
    );
    prop::collection::vec(one, 0..80)
}

fn configs() -> impl Strategy<Value = NmsConfig> {
    (prop::sample::select(&METHODS), 0.1f32..0.9, any::<bool>()).prop_map(
        |(method, iou_threshold, class_agnostic)| NmsConfig {
            method,
            iou_threshold,
            class_agnostic,
            ..NmsConfig::default()
        },
    )
}

/// Hard suppression as in its definition, by comparing all pairs.
fn by_definition(candidates: &[Detection], config: &NmsConfig) -> Vec<Detection> {
    let mut order = candidates.to_vec();
    order.sort_by(|a, b| b.score.total_cmp(&a.score));
    let overlap = if config.method == NmsMethod::Diou { diou } else { iou };
    let mut kept: Vec<Detection> = Vec::new();
    for d in order {
        let rivals = kept.iter().filter(|k| config.class_agnostic || k.class_id == d.class_id);
        if rivals.into_iter().all(|k| overlap(&k.bbox, &d.bbox) <= config.iou_threshold) {
            kept.push(d);
        }
    }
    kept
}

proptest! {
    #[test]
    fn output_is_a_sorted_subset_no_longer_than_asked(
        candidates in detections(), config in configs(), max in 0usize..100,
    ) {
        let kept = nms(&candidates, &config, max);
        prop_assert!(kept.len() <= max.min(candidates.len()));
        prop_assert!(kept.windows(2).all(|pair| pair[0].score >= pair[1].score));
        let mut left = candidates.clone();
        for d in &kept {
            let soft = !matches!(config.method, NmsMethod::Hard | NmsMethod::Diou);
            let from = left.iter().position(|c| {
                let same_score = c.score == d.score || (soft && d.score < c.score);
                same_score && c.bbox == d.bbox && c.class_id == d.class_id
            });
            prop_assert!(from.is_some(), "{d:?} is no candidate");
            left.swap_remove(from.unwrap());
        }
        // asking for fewer gives the beginning of the whole answer
        prop_assert_eq!(&nms(&candidates, &config, usize::MAX)[..kept.len()], &kept[..]);
    }

    #[test]
    fn hard_and_distance_suppression_follow_their_definition(candidates in detections(), config in configs()) {
        prop_assume!(matches!(config.method, NmsMethod::Hard | NmsMethod::Diou));
        prop_assert_eq!(nms(&candidates, &config, usize::MAX), by_definition(&candidates, &config));
    }

    #[test]
    fn no_two_kept_boxes_of_a_class_overlap_above_the_threshold(
        candidates in detections(), threshold in 0f32..0.9,
    ) {
        let config = NmsConfig { iou_threshold: threshold, ..NmsConfig::default() };
        let kept = nms(&candidates, &config, usize::MAX);
        for (i, a) in kept.iter().enumerate() {
            for b in &kept[i + 1..] {
                prop_assert!(a.class_id != b.class_id || iou(&a.bbox, &b.bbox) <= threshold);
            }
        }
    }

    #[test]
    fn bad_numbers_are_dropped_and_change_nothing(
        candidates in detections(), config in configs(), at in 0usize..80,
        bad in prop::sample::select(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]), place in 0usize..5,
    ) {
        let mut values = [1.0, 2.0, 30.0, 40.0, 0.99];
        values[place] = bad;
        let [x1, y1, x2, y2, score] = values;
        let mut with_bad = candidates.clone();
        let intruder = Detection { bbox: XyxyBox::new(x1, y1, x2, y2), score, class_id: 1 };
        with_bad.insert(at.min(candidates.len()), intruder);
        prop_assert_eq!(nms(&with_bad, &config, 50), nms(&candidates, &config, 50));
    }
}

#[test]
fn boxes_of_different_classes_are_kept_unless_class_agnostic() {
    let bbox = XyxyBox::new(-5.0, -5.0, 5.0, 5.0);
    let pair = [1, 2].map(|class_id| Detection { bbox, score: 0.5, class_id });
    for method in METHODS {
        let aware = NmsConfig { method, ..NmsConfig::default() };
        assert_eq!(nms(&pair, &aware, 10), pair);
        let agnostic = NmsConfig { class_agnostic: true, ..aware };
        let kept = nms(&pair, &agnostic, 10);
        assert_eq!(kept[0], pair[0], "the first of two equals wins");
        assert!(kept.len() == 1 || kept[1].score < 0.1);
    }
}

#[test]
fn distance_suppression_spares_a_neighbour_with_another_centre() {
    let detection = |x1: f32, x2: f32, score: f32| Detection {
        bbox: XyxyBox::new(x1, 0.0, x2, 10.0),
        score,
        class_id: 1,
    };
    let pair = [detection(0.0, 10.0, 0.9), detection(3.2, 13.2, 0.8)];
    let config = NmsConfig::default();
    assert_eq!(nms(&pair, &config, 10).len(), 1);
    let distance = NmsConfig { method: NmsMethod::Diou, ..config };
    assert_eq!(nms(&pair, &distance, 10).len(), 2);
}

#[test]
fn soft_suppression_drops_scores_at_or_below_its_threshold() {
    let detection =
        |x: f32, score: f32| Detection { bbox: XyxyBox::new(x, 0.0, x + 10.0, 10.0), score, class_id: 1 };
    let config = NmsConfig { method: NmsMethod::SoftLinear, score_threshold: 0.2, ..NmsConfig::default() };
    let kept = nms(&[detection(0.0, 0.9), detection(0.5, 0.9), detection(50.0, 0.2)], &config, 10);
    assert_eq!(kept.len(), 1);
    assert!(nms(&[detection(0.0, 0.1)], &config, 10).is_empty());
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let message = |config: NmsConfig| config.validate().unwrap_err().to_string();
    let sigma = NmsConfig { method: NmsMethod::SoftGaussian { sigma: 0.0 }, ..NmsConfig::default() };
    assert_eq!(message(sigma), "nms sigma is 0, expected a positive number");
    let threshold = NmsConfig { iou_threshold: f32::NAN, ..NmsConfig::default() };
    assert_eq!(message(threshold), "nms iou_threshold is NaN, expected a number");
    assert!(NmsConfig::default().validate().is_ok());
}
