//! Anchor labels against the reference and against the rules taken literally.
//!
//! The fixture is written by `tools/golden/make_targets.py`.

use std::sync::Arc;

use effdet_core::iou::iou;
use effdet_core::{ImageSize, XyxyBox, YxyxBox};
use effdet_heads::targets::{BACKGROUND, IGNORED};
use effdet_heads::{
    AnchorConfig, AnchorLabels, Anchors, BatchTargets, MatchOptions, Truth, box_coder, label_anchors,
};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    image_size: [usize; 2],
    anchor_scale: f64,
    boxes: Vec<YxyxBox>,
    classes: Vec<u32>,
    num_positives: usize,
    positive: Vec<(usize, i32)>,
    codes: Vec<(usize, [f32; 4])>,
    code_sums: [f64; 4],
}

#[test]
fn labels_equal_the_reference() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../fixtures/targets.json")).unwrap();
    assert_eq!(cases.len(), 11);
    for case in cases {
        let name = &case.name;
        let [height, width] = case.image_size;
        let config = AnchorConfig { anchor_scale: case.anchor_scale.into(), ..AnchorConfig::default() };
        let anchors = Anchors::generate(&config, ImageSize::new(height, width)).unwrap();
        let truths: Vec<Truth> =
            case.boxes.iter().zip(&case.classes).map(|(b, c)| Truth::new(*b, *c)).collect();
        let labels = label_anchors(&anchors, &truths, &MatchOptions::default()).unwrap();
        let positive: Vec<(usize, i32)> = labels.positives().map(|i| (i, labels.classes[i])).collect();
        assert_eq!(positive, case.positive, "{name}");
        assert_eq!(labels.num_positives, case.num_positives, "{name}");
        assert!(labels.classes.iter().all(|class| *class >= BACKGROUND), "{name}");
        for (anchor, expected) in case.codes {
            for (a, b) in labels.boxes[anchor].into_iter().zip(expected) {
                assert!((a - b).abs() <= 2e-6 * b.abs().max(1.0), "{name}: anchor {anchor}: {a} != {b}");
            }
        }
        for (i, expected) in case.code_sums.into_iter().enumerate() {
            let sum: f64 = labels.boxes.iter().map(|code| f64::from(code[i])).sum();
            assert!((sum - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{name}: {sum} != {expected}");
        }
    }
}

fn anchors(height: usize, width: usize) -> Anchors {
    Anchors::generate(&AnchorConfig::default(), ImageSize::new(height, width)).unwrap()
}

/// All pairs, no shortcuts.
fn by_all_pairs(anchors: &Anchors, truths: &[Truth], options: &MatchOptions) -> AnchorLabels {
    let overlap = |truth: &Truth, anchor: &YxyxBox| iou(&truth.bbox.into(), &XyxyBox::from(*anchor));
    let objects: Vec<&Truth> = truths.iter().filter(|truth| !truth.ignore).collect();
    let mut matched: Vec<Option<usize>> = vec![None; anchors.len()];
    let mut classes = vec![BACKGROUND; anchors.len()];
    for (index, anchor) in anchors.boxes().iter().enumerate() {
        let mut best = (0, -1.0);
        for (row, truth) in objects.iter().enumerate() {
            let value = overlap(truth, anchor);
            if value > best.1 {
                best = (row, value);
            }
        }
        if best.1 >= options.positive_iou {
            matched[index] = Some(best.0);
        } else if best.1 >= options.negative_iou {
            classes[index] = IGNORED;
        }
    }
    if options.force_match {
        for (row, truth) in objects.iter().enumerate().rev() {
            let mut best = (0, -1.0);
            for (index, anchor) in anchors.boxes().iter().enumerate() {
                let value = overlap(truth, anchor);
                if value > best.1 {
                    best = (index, value);
                }
            }
            matched[best.0] = Some(row);
        }
    }
    let mut boxes = vec![[0.0; 4]; anchors.len()];
    for (index, anchor) in anchors.boxes().iter().enumerate() {
        if let Some(row) = matched[index] {
            classes[index] = objects[row].class as i32;
            boxes[index] = box_coder::encode(anchor, &objects[row].bbox);
        }
        let bounds = XyxyBox::from(*anchor);
        let left_out = truths.iter().filter(|truth| truth.ignore).any(|truth| {
            let common = bounds.intersection(&truth.bbox.into()).map_or(0.0, |common| common.area());
            common > 0.0 && common >= options.ignore_overlap * bounds.area()
        });
        if classes[index] == BACKGROUND && left_out {
            classes[index] = IGNORED;
        }
    }
    AnchorLabels { classes, boxes, num_positives: matched.iter().flatten().count() }
}

fn truths() -> impl Strategy<Value = Vec<Truth>> {
    // whole numbers make ties
    let edge = || prop_oneof![(-30i16..160).prop_map(f32::from), -30f32..160.0];
    let size = || prop_oneof![(0i16..120).prop_map(f32::from), 0f32..120.0];
    let truth = (edge(), edge(), size(), size(), 0u32..5, prop::bool::weighted(0.2)).prop_map(
        |(y, x, h, w, class, ignore)| Truth { bbox: YxyxBox::new(y, x, y + h, x + w), class, ignore },
    );
    prop::collection::vec(truth, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn labels_follow_the_rules_on_all_pairs(
        truths in truths(),
        sizes in prop::sample::select(vec![(64, 64), (96, 160), (100, 75)]),
        positive_iou in 0.3f32..0.7,
        gap in prop::sample::select(vec![0.0f32, 0.1]),
        force_match in any::<bool>(),
    ) {
        let anchors = anchors(sizes.0, sizes.1);
        let options = MatchOptions { positive_iou, negative_iou: positive_iou - gap, force_match, ..Default::default() };
        let labels = label_anchors(&anchors, &truths, &options).unwrap();
        prop_assert_eq!(labels, by_all_pairs(&anchors, &truths, &options));
    }

    #[test]
    fn every_object_that_claims_an_anchor_alone_gets_it(truths in truths()) {
        let anchors = anchors(96, 160);
        let labels = label_anchors(&anchors, &truths, &MatchOptions::default()).unwrap();
        let objects: Vec<&Truth> = truths.iter().filter(|truth| !truth.ignore).collect();
        prop_assert!(labels.num_positives >= usize::from(!objects.is_empty()));
        prop_assert_eq!(labels.positives().count(), labels.num_positives);
        for (index, class) in labels.classes.iter().enumerate() {
            prop_assert!(*class >= 0 || labels.boxes[index] == [0.0; 4]);
        }
    }
}

#[test]
fn a_picture_without_objects_is_all_background_and_a_crowd_is_left_out() {
    let anchors = anchors(64, 64);
    let options = MatchOptions::default();
    let empty = label_anchors(&anchors, &[], &options).unwrap();
    assert!(empty.classes.iter().all(|class| *class == BACKGROUND) && empty.num_positives == 0);
    let crowd = Truth::ignored(YxyxBox::new(0.0, 0.0, 64.0, 32.0));
    let labels = label_anchors(&anchors, &[crowd], &options).unwrap();
    assert!(labels.classes.contains(&IGNORED) && labels.classes.contains(&BACKGROUND));
    assert_eq!(labels.num_positives, 0);
}

#[test]
fn labels_made_for_other_anchors_are_refused_with_what_does_not_fit() {
    let anchors = Arc::new(anchors(64, 64));
    let good = label_anchors(&anchors, &[], &MatchOptions::default()).unwrap();
    let (mut few_labels, mut few_boxes) = (good.clone(), good);
    few_labels.classes.truncate(2);
    few_boxes.boxes.truncate(3);
    let message = |labels| BatchTargets::new(Arc::clone(&anchors), vec![labels]).unwrap_err().to_string();
    let count = anchors.len();
    assert_eq!(message(few_labels), format!("picture 0 has 2 labels for {count} anchors"));
    assert_eq!(message(few_boxes), format!("picture 0 has 3 boxes for {count} anchors"));
}

#[test]
fn a_box_that_cannot_be_learned_is_refused_with_its_place() {
    let anchors = Arc::new(anchors(64, 64));
    let options = MatchOptions::default();
    let good = Truth::new(YxyxBox::new(0.0, 0.0, 9.0, 9.0), 0);
    for (bad, reason) in [
        (Truth::new(YxyxBox::new(f32::NAN, 0.0, 9.0, 9.0), 0), "not finite"),
        (Truth::new(YxyxBox::new(0.0, 20.0, 9.0, 9.0), 0), "ends before it begins"),
        (Truth { class: u32::MAX, ..good }, "out of range"),
    ] {
        let error = BatchTargets::assign(&anchors, &[vec![], vec![good, bad]], &options).unwrap_err();
        assert_eq!(error.to_string(), "picture 1 of the batch");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.starts_with("object 1: ") && source.contains(reason), "{source}");
    }
    let options = MatchOptions { negative_iou: 0.6, ..options };
    assert!(label_anchors(&anchors, &[], &options).unwrap_err().to_string().contains("negative_iou is 0.6"));
}
