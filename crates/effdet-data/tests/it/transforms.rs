//! The transforms against effdet, torchvision, albumentations and google/automl
//! (`tools/golden/make_transforms.py`, `make_albumentations.py`, `make_autoaugment.py`).

use std::fs;
use std::path::{Path, PathBuf};

use effdet_core::{ImageSize, Placement, XyxyBox, YxyxBox};
use effdet_data::transform::*;
use effdet_data::{DecodeLimits, Interpolation, Object, decode_file};
use image::RgbImage;
use rstest::rstest;
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/transforms").join(name)
}

fn picture(name: &str) -> RgbImage {
    decode_file(fixture(&format!("{name}.png")), &DecodeLimits::default()).unwrap()
}

fn expected(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(fixture(name)).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn case(file: &Value, name: &str) -> Value {
    file["cases"].as_array().unwrap().iter().find(|case| case["name"] == name).unwrap().clone()
}

/// The synthetic picture with boxes given row first, of the classes 1, 2, ...
fn scene(boxes: &Value) -> Sample {
    let object = |(i, bbox): (usize, &Value)| {
        let [ymin, xmin, ymax, xmax] = numbers(bbox).try_into().unwrap();
        let bbox = YxyxBox::new(ymin as f32, xmin as f32, ymax as f32, xmax as f32).into();
        Object { bbox, class_id: i as u32 + 1, ..Object::default() }
    };
    Sample::new(picture("scene"), boxes.as_array().unwrap().iter().enumerate().map(object).collect())
}

fn assert_boxes(sample: &Sample, expected: &[XyxyBox], tolerance: f32) {
    let boxes: Vec<XyxyBox> = sample.objects.iter().map(|object| object.bbox).collect();
    assert_eq!(boxes.len(), expected.len(), "{boxes:?} instead of {expected:?}");
    for (ours, theirs) in boxes.iter().zip(expected) {
        let pairs = <[f32; 4]>::from(*ours).into_iter().zip(<[f32; 4]>::from(*theirs));
        let largest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest <= tolerance, "{ours:?} instead of {theirs:?}");
    }
}

/// Largest difference of levels and the share of samples that differ.
fn difference(a: &RgbImage, b: &RgbImage) -> (u8, f64) {
    assert_eq!(a.dimensions(), b.dimensions());
    let differing = a.iter().zip(b.iter()).filter(|(a, b)| a != b).count();
    let largest = a.iter().zip(b.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
    (largest, differing as f64 / a.len() as f64)
}

fn assert_effdet(sample: &Sample, case: &Value) {
    let name = case["name"].as_str().unwrap();
    assert_eq!(difference(&sample.picture, &picture(&format!("effdet_{name}"))), (0, 0.0), "{name}");
    let boxes: Vec<XyxyBox> = case["boxes"].as_array().unwrap().iter().map(row_first).collect();
    assert_boxes(sample, &boxes, 1e-4);
    let classes: Vec<f64> = sample.objects.iter().map(|object| f64::from(object.class_id)).collect();
    assert_eq!(classes, numbers(&case["classes"]));
    assert!((sample.img_scale - case["img_scale"].as_f64().unwrap()).abs() < 1e-12);
}

fn row_first(bbox: &Value) -> XyxyBox {
    let [ymin, xmin, ymax, xmax] = numbers(bbox).try_into().unwrap();
    YxyxBox::new(ymin as f32, xmin as f32, ymax as f32, xmax as f32).into()
}

#[test]
fn the_letterbox_equals_effdets() {
    let file = expected("effdet.json");
    let sample = ResizePad::new(ImageSize::new(48, 64)).apply(scene(&file["source"]), &mut Rng::new(0));
    assert_effdet(&sample, &case(&file, "resize_pad"));
    assert_eq!(sample.content, Region { x: 0, y: 0, width: 64, height: 46 });
    let letterbox = sample.letterbox.unwrap();
    let back = letterbox.to_source(sample.objects[0].bbox);
    assert_boxes(
        &Sample { objects: vec![Object { bbox: back, ..Object::default() }], ..sample },
        &[XyxyBox::new(8.0, 5.0, 30.0, 20.0)],
        1e-4,
    );
}

#[rstest]
fn scale_jitter_with_given_numbers_equals_effdets(#[values(0, 1, 2, 3, 4, 5)] seed: u32) {
    let file = expected("effdet.json");
    let case = case(&file, &format!("random_resize_pad_{seed}"));
    let draws = case["draws"].as_array().unwrap();
    let draw = ScaleDraw {
        scale: draws[0].as_f64().unwrap(),
        offset_y: draws[1].as_f64().unwrap(),
        offset_x: draws[2].as_f64().unwrap(),
        interpolation: if draws[3] == "bicubic" { Interpolation::Bicubic } else { Interpolation::Bilinear },
    };
    let jitter = RandomResizePad::new(ImageSize::new(48, 64));
    assert_effdet(&jitter.apply_drawn(scene(&file["source"]), &draw), &case);
}

#[rstest]
fn flips_with_given_numbers_equal_effdets(#[values(0, 1, 4, 10)] seed: u32) {
    let file = expected("effdet.json");
    let case = case(&file, &format!("flip_{seed}"));
    let draws = numbers(&case["draws"]);
    assert_effdet(&flip(scene(&file["source"]), draws[0] < 0.5, draws[1] < 0.5), &case);
}

#[test]
fn erased_blocks_with_given_numbers_equal_effdets() {
    let file = expected("effdet.json");
    let target = RandomErasing::new(1.0);
    for case in file["erasing"].as_array().unwrap() {
        let draws = numbers(&case["draws"]);
        let [width, height] = numbers(&case["content"]).try_into().unwrap();
        let content = Region { x: 0, y: 0, width: width as usize, height: height as usize };
        let mut erased = vec![[false; 64]; 48];
        let (count, mut rest) = (draws[1], &draws[2..]);
        while let [share, log_aspect, ..] = *rest {
            assert!((target.area.0..=target.area.1).contains(&share));
            let (area, aspect) = (share * width * height / count, log_aspect.exp());
            let place = |drawn: f64, room: f64| (drawn + 0.5) / (room + 1.0);
            let Some(shape) = RandomErasing::block(content, area, aspect, (0.0, 0.0)) else {
                rest = &rest[2..];
                continue;
            };
            let rooms = (height - shape.height as f64, width - shape.width as f64);
            let at = (place(rest[2], rooms.0), place(rest[3], rooms.1));
            let block = RandomErasing::block(content, area, aspect, at).unwrap();
            for row in &mut erased[block.y..block.y + block.height] {
                row[block.x..block.x + block.width].fill(true);
            }
            rest = &rest[4..];
        }
        let ours: Vec<[usize; 2]> =
            (0..48).flat_map(|y| (0..64).map(move |x| [x, y])).filter(|[x, y]| erased[*y][*x]).collect();
        let theirs: Vec<[usize; 2]> = serde_json::from_value(case["erased"].clone()).unwrap();
        assert_eq!(ours, theirs, "{draws:?}");
    }
}

#[rstest]
#[case("brightness_0.7", ColorStep::Brightness(0.7), 0)]
#[case("brightness_1.4", ColorStep::Brightness(1.4), 0)]
#[case("contrast_0.6", ColorStep::Contrast(0.6), 1)]
#[case("contrast_1.3", ColorStep::Contrast(1.3), 1)]
#[case("saturation_0.5", ColorStep::Saturation(0.5), 1)]
#[case("saturation_1.4", ColorStep::Saturation(1.4), 1)]
#[case("hue_0.2", ColorStep::Hue(0.2), 1)]
#[case("hue_-0.45", ColorStep::Hue(-0.45), 1)]
fn color_steps_equal_torchvisions(#[case] name: &str, #[case] step: ColorStep, #[case] tolerance: u8) {
    let sample = ColorJitter::default().apply_drawn(Sample::new(picture("scene"), Vec::new()), &[step]);
    let (largest, share) = difference(&sample.picture, &picture(&format!("color_{name}")));
    assert!(largest <= tolerance && share < 0.01, "{largest} levels, {share} of the samples");
}

/// The picture and boxes that albumentations started from.
fn albumentations() -> (Value, Sample) {
    let file = expected("albumentations.json");
    let object = |bbox: &Value| {
        let [x1, y1, x2, y2, class] = numbers(bbox).try_into().unwrap();
        let bbox = XyxyBox::new(x1 as f32, y1 as f32, x2 as f32, y2 as f32);
        Object { bbox, class_id: class as u32, ..Object::default() }
    };
    let objects = file["boxes"].as_array().unwrap().iter().map(object).collect();
    (file, Sample::new(picture("scene"), objects))
}

fn assert_albumentations(sample: &Sample, case: &Value, levels: u8) {
    let name = case["name"].as_str().unwrap();
    let (largest, share) = difference(&sample.picture, &picture(&format!("albumentations_{name}")));
    assert!(largest <= levels, "{name}: {largest} levels, {share} of the samples");
    let boxes: Vec<XyxyBox> = case["boxes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bbox| {
            let [x1, y1, x2, y2, _] = numbers(bbox).try_into().unwrap();
            XyxyBox::new(x1 as f32, y1 as f32, x2 as f32, y2 as f32)
        })
        .collect();
    assert_boxes(sample, &boxes, 1e-4);
}

#[rstest]
fn shift_scale_rotate_with_given_numbers_equals_albumentations(#[values(0, 1, 2)] index: u32) {
    let (file, sample) = albumentations();
    let case = case(&file, &format!("shift_scale_rotate_{index}"));
    let number = |name: &str| case["params"][name].as_f64().unwrap();
    let draw = ShiftScaleRotateDraw {
        degrees: number("angle"),
        scale: number("scale"),
        dx: number("dx"),
        dy: number("dy"),
    };
    assert_albumentations(&ShiftScaleRotate::default().apply_drawn(sample, &draw), &case, 0);
}

#[rstest]
fn the_safe_crop_with_given_numbers_equals_albumentations(#[values(0, 1, 2)] index: u32) {
    let (file, mut sample) = albumentations();
    sample.objects.truncate(2);
    let case = case(&file, &format!("safe_crop_{index}"));
    let number = |name: &str| case["params"][name].as_f64().unwrap();
    let crop = BoxSafeCrop { size: ImageSize::new(32, 48), interpolation: Interpolation::TfBilinear };
    let region = crop.region(&sample, ["x1", "y1", "x2", "y2"].map(number));
    let ours =
        [region.x, region.y, region.x + region.width, region.y + region.height].map(|edge| edge as f64);
    let theirs = numbers(&case["region"]);
    if index == 1 {
        // Theirs cuts the last column off a box that ends at 52.
        assert_eq!((theirs[2], ours[2]), (51.0, 52.0));
        assert_eq!((ours[0], ours[1], ours[3]), (theirs[0], theirs[1], theirs[3]));
        return;
    }
    assert_eq!(ours[..], theirs[..]);
    assert_albumentations(&crop.apply_region(sample, region), &case, 1);
}

#[test]
fn the_deterministic_steps_of_aug_tfms_equal_albumentations() {
    let (file, sample) = albumentations();
    let rng = &mut Rng::new(0);
    let interpolation = Interpolation::TfBilinear;
    let resized = LongestMaxSize { side: 64, interpolation }.apply(sample.clone(), rng);
    assert_albumentations(&resized, &case(&file, "longest_max_size"), 1);
    let resized = SmallestMaxSize { side: 64, interpolation }.apply(sample.clone(), rng);
    assert_albumentations(&resized, &case(&file, "smallest_max_size"), 1);
    let pad = PadIfNeeded { size: ImageSize::square(64), placement: Placement::Center, fill: MEAN_FILL };
    assert_albumentations(&pad.apply(sample.clone(), rng), &case(&file, "pad_if_needed"), 0);
    let equal = |sample: Sample, name: &str| {
        assert_eq!(
            difference(&sample.picture, &picture(&format!("albumentations_{name}"))),
            (0, 0.0),
            "{name}"
        );
    };
    equal(RgbShift::default().apply_drawn(sample.clone(), [9.3, -4.8, 0.4]), "rgb_shift");
    equal(BrightnessContrast::default().apply_drawn(sample.clone(), 1.17, -0.13), "brightness_contrast");
    equal(Blur { sides: vec![3] }.apply(sample, rng), "blur");
}

#[rstest]
#[case("auto_contrast", LevelOp::AutoContrast)]
#[case("equalize", LevelOp::Equalize)]
#[case("posterize_0", LevelOp::Posterize(0))]
#[case("posterize_3", LevelOp::Posterize(3))]
#[case("solarize_153", LevelOp::Solarize(153))]
#[case("solarize_add_66", LevelOp::SolarizeAdd(66))]
#[case("color_0.46", LevelOp::Color(0.46))]
#[case("color_1.9", LevelOp::Color(1.9))]
#[case("contrast_0.46", LevelOp::Contrast(0.46))]
#[case("contrast_1.9", LevelOp::Contrast(1.9))]
#[case("brightness_0.46", LevelOp::Brightness(0.46))]
#[case("brightness_1.9", LevelOp::Brightness(1.9))]
#[case("sharpness_0.46", LevelOp::Sharpness(0.46))]
#[case("sharpness_1.54", LevelOp::Sharpness(1.54))]
fn level_operations_equal_automls(#[case] name: &str, #[case] op: LevelOp) {
    let mut ours = picture("scene");
    op.apply(&mut ours);
    let (largest, share) = difference(&ours, &picture(&format!("autoaugment_{name}")));
    assert!(largest <= 1 && share < 0.005, "{largest} levels, {share} of the samples");
}

#[rstest]
#[case("rotate_24", GeometryOp::Rotate(24.0))]
#[case("rotate_-9", GeometryOp::Rotate(-9.0))]
#[case("translate_x_7", GeometryOp::TranslateX(7.0))]
#[case("translate_y_-5", GeometryOp::TranslateY(-5.0))]
#[case("shear_x_0.24", GeometryOp::ShearX(0.24))]
#[case("shear_y_-0.18", GeometryOp::ShearY(-0.18))]
fn geometric_operations_equal_automls(#[case] name: &str, #[case] op: GeometryOp) {
    let file = expected("autoaugment.json");
    let sample = op.apply(scene(&file["source"]));
    let (_, share) = difference(&sample.picture, &picture(&format!("autoaugment_{name}")));
    // A position half-way between two pixels falls to either.
    assert!(share < 0.002, "{share} of the samples differ");
    let boxes: Vec<XyxyBox> = case(&file, name)["boxes"].as_array().unwrap().iter().map(row_first).collect();
    // automl rounds to whole pixels, twice when it rotates.
    assert_boxes(&sample, &boxes, 2.0);
}

#[rstest]
fn the_policies_are_automls(
    #[values(("v0", LearnedPolicy::V0), ("v1", LearnedPolicy::V1), ("v2", LearnedPolicy::V2), ("v3", LearnedPolicy::V3))]
    (name, policy): (&str, LearnedPolicy),
) {
    let automls_name = |op: Op| match format!("{op:?}").as_str() {
        "CutoutInBox" => "BBox_Cutout".to_owned(),
        moved @ ("Rotate" | "TranslateX" | "TranslateY" | "ShearX" | "ShearY") => format!("{moved}_BBox"),
        other => other.replace("OnlyBoxes", "_Only_BBoxes"),
    };
    let ours: Vec<Vec<(String, f64, f64)>> = policy
        .sub_policies()
        .iter()
        .map(|steps| steps.iter().map(|(op, p, level)| (automls_name(*op), *p, *level)).collect())
        .collect();
    let theirs: Vec<Vec<(String, f64, f64)>> =
        serde_json::from_value(expected("autoaugment.json")["policies"][name].clone()).unwrap();
    assert_eq!(ours, theirs);
}
