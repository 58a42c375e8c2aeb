//! What is drawn where.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use effdet_core::{ClassMap, Detection, XyxyBox};
use effdet_viz::{Error, Style, annotate, class_color, save_jpeg, save_png, text_color};
use image::{Rgb, RgbImage};

const GREY: Rgb<u8> = Rgb([90, 90, 90]);

fn detection(x1: f32, y1: f32, x2: f32, y2: f32, score: f32, class_id: u32) -> Detection {
    Detection { bbox: XyxyBox::new(x1, y1, x2, y2), score, class_id }
}

fn drawn(width: u32, height: u32, detections: &[Detection], style: &Style) -> RgbImage {
    let mut picture = RgbImage::from_pixel(width, height, GREY);
    annotate(&mut picture, detections, &ClassMap::coco(), style);
    picture
}

const BOXES_ONLY: Style = Style { line_width: Some(2), font_size: None, labels: false, scores: true };

#[test]
fn edges_have_the_class_colour_and_the_inside_is_untouched() {
    let picture = drawn(100, 80, &[detection(10.0, 20.0, 60.0, 50.0, 0.9, 3)], &BOXES_ONLY);
    for (x, y, expected) in [
        (10, 20, class_color(3)),
        (11, 30, class_color(3)),
        (59, 49, class_color(3)),
        (58, 30, class_color(3)),
        (12, 30, GREY),
        (57, 47, GREY),
        (9, 20, GREY),
        (60, 30, GREY),
        (30, 50, GREY),
    ] {
        assert_eq!(*picture.get_pixel(x, y), expected, "({x}, {y})");
    }
}

#[test]
fn the_label_lies_above_the_box_in_the_class_colour_with_contrasting_text() {
    let style = Style { font_size: Some(20.0), ..Style::default() };
    let picture = drawn(200, 120, &[detection(20.0, 60.0, 180.0, 110.0, 0.87, 1)], &style);
    let above: Vec<Rgb<u8>> =
        (0..60).flat_map(|y| (0..200).map(move |x| (x, y))).map(|(x, y)| *picture.get_pixel(x, y)).collect();
    let count = |color| above.iter().filter(|p| **p == color).count();
    assert!(count(class_color(1)) > 500, "{}", count(class_color(1)));
    assert!(count(text_color(class_color(1))) > 100, "{}", count(text_color(class_color(1))));
}

#[test]
fn labels_stay_inside_the_picture() {
    let style = Style { font_size: Some(16.0), ..Style::default() };
    for corner in [(0.0, 0.0), (150.0, 0.0), (0.0, 90.0), (195.0, 95.0), (-30.0, -30.0)] {
        let picture = drawn(
            200,
            100,
            &[detection(corner.0, corner.1, corner.0 + 45.0, corner.1 + 45.0, 0.5, 5)],
            &style,
        );
        let bare = drawn(
            200,
            100,
            &[detection(corner.0, corner.1, corner.0 + 45.0, corner.1 + 45.0, 0.5, 5)],
            &BOXES_ONLY,
        );
        let text = picture.pixels().filter(|p| **p == text_color(class_color(5))).count();
        assert!(text > 60, "{corner:?}: {text} pixels of text");
        assert_ne!(picture, bare);
    }
}

#[test]
fn what_lies_outside_is_cut_off() {
    let picture = drawn(50, 50, &[detection(-20.0, 10.0, 30.0, 1e9, 0.9, 2)], &BOXES_ONLY);
    assert_eq!(*picture.get_pixel(0, 10), class_color(2));
    assert_eq!(*picture.get_pixel(29, 49), class_color(2));
    assert_eq!(*picture.get_pixel(0, 30), GREY);
    assert_eq!(*picture.get_pixel(10, 49), GREY);
}

#[test]
fn boxes_without_anything_to_see_are_left_out() {
    let infinite = f32::INFINITY;
    let detections = [
        detection(60.0, 0.0, 90.0, 10.0, 0.9, 1),
        detection(-30.0, 0.0, 0.0, 10.0, 0.9, 1),
        detection(0.0, f32::MAX, 10.0, f32::MAX, 0.9, 1),
        detection(f32::NAN, 0.0, 10.0, 10.0, 0.9, 1),
        detection(-infinite, -infinite, infinite, infinite, 0.9, 1),
        detection(20.0, 20.0, 10.0, 30.0, 0.9, 1),
    ];
    assert_eq!(drawn(50, 50, &detections, &Style::default()), RgbImage::from_pixel(50, 50, GREY));
}

#[test]
fn a_box_without_area_is_a_dot() {
    let picture = drawn(50, 50, &[detection(20.0, 20.0, 20.0, 20.0, 0.9, 1)], &BOXES_ONLY);
    assert_eq!(picture.pixels().filter(|p| **p != GREY).count(), 1);
}

#[test]
fn pictures_of_a_few_pixels_are_survived() {
    for (width, height) in [(1, 1), (1, 40), (40, 1), (3, 3), (0, 0)] {
        drawn(width, height, &[detection(0.0, 0.0, 1.0, 1.0, 0.9, 1)], &Style::default());
    }
    let one = drawn(1, 1, &[detection(0.0, 0.0, 1.0, 1.0, 0.9, 7)], &BOXES_ONLY);
    assert_eq!(*one.get_pixel(0, 0), class_color(7));
}

#[test]
fn the_higher_score_is_on_top_whatever_the_order() {
    let (low, high) = (detection(5.0, 5.0, 30.0, 30.0, 0.2, 1), detection(5.0, 5.0, 30.0, 30.0, 0.8, 2));
    let first = drawn(60, 60, &[low, high], &BOXES_ONLY);
    assert_eq!(*first.get_pixel(5, 5), class_color(2));
    assert_eq!(first, drawn(60, 60, &[high, low], &BOXES_ONLY));
}

#[test]
fn a_thousand_boxes_are_drawn() {
    let detections: Vec<_> = (0..1000u32)
        .map(|i| {
            let (x, y) = ((i % 40) as f32 * 15.0, (i / 40) as f32 * 18.0);
            detection(x, y, x + 14.0, y + 17.0, i as f32 / 1000.0, i % 90 + 1)
        })
        .collect();
    let picture = drawn(640, 480, &detections, &Style::default());
    assert!(picture.pixels().filter(|p| **p != GREY).count() > 100_000);
}

#[test]
fn odd_names_and_styles_are_survived() {
    let names = ["a\nb\tc".to_owned(), "x".repeat(5000), "\u{732b} \u{1f408}".to_owned()];
    let classes = ClassMap::from_names(names).unwrap();
    let detections: Vec<_> = (1..=4).map(|id| detection(5.0, 5.0, 90.0, 90.0, f32::NAN, id)).collect();
    for style in [
        Style::default(),
        Style { line_width: Some(0), font_size: Some(0.0), labels: true, scores: true },
        Style { line_width: Some(u32::MAX), font_size: Some(f32::INFINITY), labels: true, scores: true },
        Style { line_width: Some(3), font_size: Some(1e9), labels: true, scores: true },
    ] {
        annotate(&mut RgbImage::new(100, 100), &detections, &classes, &style);
    }
}

#[test]
fn pictures_are_written_and_errors_name_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let picture = drawn(30, 20, &[], &Style::default());
    save_png(folder.path().join("a.png"), &picture).unwrap();
    assert_eq!(image::open(folder.path().join("a.png")).unwrap().into_rgb8(), picture);
    save_jpeg(folder.path().join("a.jpg"), &picture, 90).unwrap();
    assert_eq!(image::open(folder.path().join("a.jpg")).unwrap().into_rgb8().dimensions(), (30, 20));

    let error = save_png(folder.path().join("absent/a.png"), &picture).unwrap_err();
    assert!(matches!(error, Error::Write { .. }), "{error:?}");
    assert!(error.to_string().contains("absent/a.png"), "{error}");
    let error = save_jpeg(folder.path().join("b.jpg"), &RgbImage::new(70_000, 1), 90).unwrap_err();
    assert!(matches!(error, Error::Encode { .. }), "{error:?}");
    assert!(matches!(save_jpeg("c.jpg", &picture, 0), Err(Error::Quality { quality: 0, .. })));
}

#[test]
fn a_label_without_a_score_is_shorter() {
    let classes = ClassMap::from_names(["cat"]).unwrap();
    let found = Detection { bbox: XyxyBox::from([20.0, 60.0, 60.0, 90.0]), score: 1.0, class_id: 1 };
    let colored = |scores| {
        let mut picture = RgbImage::new(200, 100);
        annotate(&mut picture, &[found], &classes, &Style { scores, ..Style::default() });
        picture.pixels().filter(|pixel| pixel.0 != [0; 3]).count()
    };
    assert!(colored(false) < colored(true));
}

#[test]
fn labels_of_boxes_in_one_place_do_not_hide_each_other() {
    let style = Style { font_size: Some(14.0), ..Style::default() };
    let bbox = (60.0, 80.0, 200.0, 160.0);
    let two = [(0.9, 1), (0.8, 17)].map(|(score, id)| detection(bbox.0, bbox.1, bbox.2, bbox.3, score, id));
    let count = |detections: &[Detection], id| {
        let picture = drawn(300, 240, detections, &style);
        picture.pixels().filter(|pixel| **pixel == class_color(id)).count()
    };
    // The label of the weaker one is seen as much as without the other; its box alone is hidden.
    let (alone, beside) = (count(&two[1..], 17), count(&two, 17));
    let edges = drawn(300, 240, &two[1..], &Style { labels: false, ..style });
    let edges = edges.pixels().filter(|pixel| **pixel == class_color(17)).count();
    assert!(beside >= alone - edges && beside > 0, "{alone} alone, {beside} beside, {edges} edges");
}
