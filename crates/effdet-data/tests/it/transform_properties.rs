//! What every transform keeps, whatever is drawn.

use std::sync::Arc;

use effdet_core::{ImageSize, Placement, XyxyBox};
use effdet_data::transform::Rng;
use effdet_data::transform::*;
use effdet_data::{Error, Interpolation, Object, Preprocess, Samples};
use image::RgbImage;
use proptest::prelude::*;

/// A picture of noise with boxes.
fn sample(height: u32, width: u32, boxes: usize, seed: u64) -> Sample {
    let mut rng = Rng::new(seed);
    let picture = RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(4 * x) as u8, (5 * y) as u8, rng.next_u64() as u8])
    });
    let mut edge = |side: u32| {
        let (a, b) = (rng.uniform(0.0, f64::from(side)), rng.uniform(0.0, f64::from(side)));
        (a.min(b) as f32, (a.max(b) as f32).max(a.min(b) as f32 + 0.1).min(side as f32))
    };
    let objects = (0..boxes).map(|i| {
        let ((x1, x2), (y1, y2)) = (edge(width), edge(height));
        Object { bbox: XyxyBox::new(x1, y1, x2, y2), class_id: i as u32 + 1, ..Object::default() }
    });
    let mut sample = Sample::new(picture, objects.collect());
    sample.clip_boxes();
    sample
}

fn others() -> Arc<dyn Samples> {
    Arc::new((0..5).map(|i| sample(30 + 7 * i, 44 - 5 * i, 3, u64::from(i))).collect::<Vec<_>>())
}

/// A name, the transform, and the size of its result where that is fixed.
type Case = (&'static str, Box<dyn Transform>, Option<ImageSize>);

fn all() -> Vec<Case> {
    let size = ImageSize::new(40, 56);
    let interpolation = Interpolation::Bilinear;
    let square = ImageSize::square(64);
    let mut cases: Vec<Case> = vec![
        ("letterbox", Box::new(ResizePad::new(size)), Some(size)),
        ("centred", Box::new(ResizePad { placement: Placement::Center, ..ResizePad::new(size) }), Some(size)),
        ("scale jitter", Box::new(RandomResizePad::new(size)), Some(size)),
        ("resize", Box::new(Resize { size, interpolation }), Some(size)),
        ("smallest side", Box::new(SmallestMaxSize { side: 20, interpolation }), None),
        ("longest side", Box::new(LongestMaxSize { side: 20, interpolation }), None),
        ("flip", Box::new(Flip { horizontal: 0.5, vertical: 0.5 }), None),
        ("shift, scale, rotate", Box::new(ShiftScaleRotate { degrees: 180.0, ..Default::default() }), None),
        ("rgb shift", Box::new(RgbShift::default()), None),
        ("brightness", Box::new(BrightnessContrast::default()), None),
        ("blur", Box::new(Blur { sides: vec![1, 3, 5] }), None),
        ("colour", Box::new(ColorJitter { hue: 0.5, ..Default::default() }), None),
        ("safe crop", Box::new(BoxSafeCrop { size, interpolation }), Some(size)),
        ("erasing", Box::new(RandomErasing { count: (1, 3), ..RandomErasing::new(1.0) }), None),
        ("grid mask", Box::new(GridMask { probability: 1.0, ..Default::default() }), None),
        ("mosaic", Box::new(Mosaic::new(size, others())), Some(size)),
        (
            "stretched",
            Box::new(Mosaic { fit: MosaicFit::Stretch, ..Mosaic::new(size, others()) }),
            Some(size),
        ),
        ("mix-up", Box::new(MixUp::new(others())), None),
        ("copy-paste", Box::new(CopyPaste::new(others())), None),
        ("rand augment", Box::new(RandAugment { layers: 3, magnitude: 15.0 }), None),
        ("effdet train", Box::new(effdet_train(&Preprocess::imagenet(size))), Some(size)),
        ("effdet eval", Box::new(effdet_eval(&Preprocess::imagenet(size))), Some(size)),
        ("aug_tfms", Box::new(aug_tfms(square, Some(80), true)), Some(square)),
        ("aug_tfms, not square", Box::new(aug_tfms(size, Some(80), true)), Some(size)),
        ("aug_tfms, stretched", Box::new(aug_tfms(size, None, false)), Some(size)),
    ];
    for policy in [LearnedPolicy::V0, LearnedPolicy::V1, LearnedPolicy::V2, LearnedPolicy::V3] {
        cases.push(("auto augment", Box::new(AutoAugment::new(policy)), None));
    }
    cases
}

const OPERATIONS: [Op; 25] = [
    Op::AutoContrast,
    Op::Equalize,
    Op::Posterize,
    Op::Solarize,
    Op::SolarizeAdd,
    Op::Color,
    Op::Contrast,
    Op::Brightness,
    Op::Sharpness,
    Op::Cutout,
    Op::CutoutInBox,
    Op::Rotate,
    Op::TranslateX,
    Op::TranslateY,
    Op::ShearX,
    Op::ShearY,
    Op::RotateOnlyBoxes,
    Op::TranslateXOnlyBoxes,
    Op::TranslateYOnlyBoxes,
    Op::ShearXOnlyBoxes,
    Op::ShearYOnlyBoxes,
    Op::FlipOnlyBoxes,
    Op::SolarizeOnlyBoxes,
    Op::EqualizeOnlyBoxes,
    Op::CutoutOnlyBoxes,
];

fn check(name: &str, result: &Sample) {
    let size = result.size();
    for object in &result.objects {
        let XyxyBox { x1, y1, x2, y2 } = object.bbox;
        assert!(object.bbox.is_finite() && !object.bbox.is_empty(), "{name}: {:?}", object.bbox);
        assert!(x1 >= 0.0 && y1 >= 0.0 && x2 <= size.width as f32 && y2 <= size.height as f32, "{name}");
    }
    let content = result.content;
    assert!(content.x + content.width <= size.width && content.y + content.height <= size.height, "{name}");
    assert!(result.img_scale.is_finite() && result.img_scale > 0.0, "{name}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn boxes_lie_in_a_picture_of_the_promised_size(
        (height, width) in (1u32..70, 1u32..70), boxes in 0usize..5, seed: u64,
    ) {
        for (name, transform, size) in all() {
            let result = transform.apply(sample(height, width, boxes, seed), &mut Rng::new(seed));
            check(name, &result);
            if let Some(size) = size {
                prop_assert_eq!(result.size(), size, "{}", name);
            }
        }
        for op in OPERATIONS {
            check(&format!("{op:?}"), &op.apply_with(sample(height, width, boxes, seed), 1.0, 8.0, &mut Rng::new(seed)));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_sample(seed: u64) {
        for (name, transform, _) in all() {
            let run = || transform.apply(sample(37, 53, 3, 1), &mut Rng::new(seed));
            prop_assert!(run() == run(), "{}", name);
        }
    }

    #[test]
    fn flipping_twice_changes_nothing(
        (height, width) in (1u32..70, 1u32..70), horizontal: bool, vertical: bool,
    ) {
        let before = sample(height, width, 3, 0);
        let after = flip(flip(before.clone(), horizontal, vertical), horizontal, vertical);
        prop_assert_eq!(after.picture, before.picture);
        for (a, b) in after.objects.iter().zip(&before.objects) {
            let pairs = <[f32; 4]>::from(a.bbox).into_iter().zip(<[f32; 4]>::from(b.bbox));
            prop_assert!(pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) < 1e-4);
        }
    }

    #[test]
    fn a_safe_crop_keeps_every_object(
        (height, width) in (2u32..70, 2u32..70), boxes in 1usize..5, seed: u64,
    ) {
        let before = sample(height, width, boxes, seed);
        let crop = BoxSafeCrop { size: ImageSize::new(41, 57), interpolation: Interpolation::Nearest };
        let region = crop.region(&before, std::array::from_fn(|i| Rng::for_sample(seed, 0, i as u64).unit()));
        for object in &before.objects {
            let bbox = object.bbox;
            prop_assert!(bbox.x1 + 1e-3 >= region.x as f32 && bbox.y1 + 1e-3 >= region.y as f32);
            prop_assert!(bbox.x2 - 1e-3 <= (region.x + region.width) as f32);
            prop_assert!(bbox.y2 - 1e-3 <= (region.y + region.height) as f32);
        }
    }

    #[test]
    fn erasing_leaves_the_fill_beside_the_picture_alone(seed: u64) {
        let letterboxed = ResizePad::new(ImageSize::new(60, 60)).apply(sample(20, 60, 0, 1), &mut Rng::new(0));
        let erase = RandomErasing { count: (3, 3), ..RandomErasing::new(1.0) };
        let erased = erase.apply(letterboxed.clone(), &mut Rng::new(seed));
        prop_assert!(erased.picture != letterboxed.picture);
        for (x, y, pixel) in erased.picture.enumerate_pixels() {
            prop_assert!(y < 20 || *pixel == *letterboxed.picture.get_pixel(x, y));
        }
    }

    #[test]
    fn a_block_of_the_picture_stays_under_its_box(seed: u64, degrees in -40.0f64..40.0) {
        // A white block on black: wherever it goes, its box has to go too.
        let mut picture = RgbImage::new(64, 48);
        for (x, y, pixel) in picture.enumerate_pixels_mut() {
            if (20..36).contains(&x) && (14..30).contains(&y) {
                pixel.0 = [255; 3];
            }
        }
        let object = Object { bbox: XyxyBox::new(20.0, 14.0, 36.0, 30.0), ..Object::default() };
        let block = Sample::new(picture, vec![object]);
        let rng = &mut Rng::new(seed);
        let border = Border::Color([0; 3]);
        let (shift, scale) = (0.1, 0.2);
        let moved = [
            ShiftScaleRotate { shift, scale, degrees, border }.apply(block.clone(), rng),
            GeometryOp::Rotate(degrees).apply(block.clone()),
            GeometryOp::ShearX(degrees / 100.0).apply(block.clone()),
            GeometryOp::ShearY(degrees / 100.0).apply(block.clone()),
            GeometryOp::TranslateX(degrees / 4.0).apply(block.clone()),
            GeometryOp::TranslateY(degrees / 4.0).apply(block.clone()),
            Flip { horizontal: 0.5, vertical: 0.5 }.apply(block.clone(), rng),
            RandomResizePad { fill: [0; 3], ..RandomResizePad::new(ImageSize::new(50, 60)) }.apply(block.clone(), rng),
            BoxSafeCrop { size: ImageSize::new(50, 60), interpolation: Interpolation::Bilinear }.apply(block, rng),
        ];
        for (i, sample) in moved.iter().enumerate() {
            let Some(object) = sample.objects.first() else { continue };
            let bright = sample.picture.enumerate_pixels().filter(|(.., pixel)| pixel.0[0] > 128);
            let seen = bright.map(|(x, y, _)| XyxyBox::new(x as f32, y as f32, x as f32 + 1.0, y as f32 + 1.0));
            let Some(seen) = seen.reduce(|a, b| {
                XyxyBox::new(a.x1.min(b.x1), a.y1.min(b.y1), a.x2.max(b.x2), a.y2.max(b.y2))
            }) else { continue };
            let pairs = <[f32; 4]>::from(seen).into_iter().zip(<[f32; 4]>::from(object.bbox));
            let largest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            prop_assert!(largest <= 1.5, "transform {}: the box {:?} around {:?}", i, object.bbox, seen);
        }
    }
}

#[test]
fn pictures_without_pixels_do_not_panic() {
    for (name, transform, _) in all() {
        let result = transform.apply(Sample::new(RgbImage::new(0, 0), Vec::new()), &mut Rng::new(0));
        assert!(result.objects.is_empty(), "{name}");
    }
}

#[test]
fn aug_tfms_gives_pictures_of_any_shape_one_size() {
    for size in [ImageSize::new(40, 56), ImageSize::new(56, 40), ImageSize::square(48)] {
        let pipeline = aug_tfms(size, None, true);
        for (seed, (height, width)) in (0..).zip([(50, 50), (20, 70), (70, 20), (40, 56), (1, 60), (61, 2)]) {
            for draw in 0..4 {
                let result = pipeline.apply(sample(height, width, 2, seed), &mut Rng::new(draw));
                assert_eq!(result.size(), size, "{height}x{width}");
            }
        }
    }
}

#[test]
fn closures_compose_with_the_others() {
    let invert = |mut sample: Sample, _: &mut Rng| {
        sample.picture.iter_mut().for_each(|level| *level = 255 - *level);
        sample
    };
    let before = sample(8, 9, 1, 0);
    let pipeline = Compose::new().then(invert).then(Probability::new(1.0, invert));
    assert_eq!(pipeline.apply(before.clone(), &mut Rng::new(0)), before);
    let never = OneOf::new().or(0.0, invert).or(1.0, Compose::new());
    assert_eq!(never.apply(before.clone(), &mut Rng::new(0)), before);
    assert_eq!(OneOf::new().apply(before.clone(), &mut Rng::new(0)), before);
}

#[test]
fn probabilities_hold() {
    let erase = |mut sample: Sample, _: &mut Rng| {
        sample.objects.clear();
        sample
    };
    let pipeline = Probability::new(0.3, erase);
    let happened =
        |i: u64| pipeline.apply(sample(2, 2, 1, 1), &mut Rng::for_sample(0, 0, i)).objects.is_empty();
    let share = (0..4000).filter(|i| happened(*i)).count() as f64 / 4000.0;
    assert!((share - 0.3).abs() < 0.03, "{share}");
}

/// A source of which no picture can be read.
struct Broken;

impl Samples for Broken {
    fn len(&self) -> usize {
        3
    }

    fn get(&self, index: usize) -> Result<Sample, Error> {
        Err(Error::NoSuchSample { index, count: 0 })
    }

    fn name(&self, index: usize) -> String {
        index.to_string()
    }
}

#[test]
fn mixing_without_readable_partners_keeps_the_sample() {
    let before = sample(20, 30, 2, 0);
    for transform in [
        Box::new(MixUp::new(Arc::new(Broken))) as Box<dyn Transform>,
        Box::new(CopyPaste::new(Arc::new(Broken))),
    ] {
        assert_eq!(transform.apply(before.clone(), &mut Rng::new(0)), before);
    }
    let empty: Vec<Sample> = Vec::new();
    assert_eq!(MixUp::new(Arc::new(empty)).apply(before.clone(), &mut Rng::new(0)), before);
    let mosaic = Mosaic::new(ImageSize::new(40, 40), Arc::new(Broken)).apply(before, &mut Rng::new(0));
    assert_eq!(mosaic.size(), ImageSize::new(40, 40));
}

#[test]
fn mixing_joins_the_objects_of_both() {
    let partner: Arc<dyn Samples> = Arc::new(vec![sample(40, 40, 3, 9)]);
    let mixed = MixUp::new(Arc::clone(&partner)).apply(sample(20, 50, 2, 0), &mut Rng::new(0));
    assert_eq!((mixed.objects.len(), mixed.size()), (5, ImageSize::new(40, 50)));
    let paste = CopyPaste { probability: 1.0, max_hidden: 1.0, ..CopyPaste::new(partner) };
    assert_eq!(paste.apply(sample(20, 50, 2, 0), &mut Rng::new(0)).objects.len(), 5);
}
