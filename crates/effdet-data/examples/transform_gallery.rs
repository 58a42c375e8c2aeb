//! Draws each transform's effect on a synthetic scene, for `docs/transforms.md`.
//!
//!     cargo run --release -p effdet-data --example transform_gallery -- docs/images/transforms
//!
//! Each sheet shows the scene (top left) and results of one group of transforms, in the order of the table in
//! `docs/transforms.md`. The scene is drawn here; no photograph is involved.
#![allow(missing_docs, reason = "an example")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use effdet_core::{ImageSize, Placement, XyxyBox};
use effdet_data::transform::*;
use effdet_data::{Interpolation, Object, Samples};
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};

/// Size of one picture of a sheet.
const TILE: ImageSize = ImageSize::new(144, 192);
/// The scene's seed.
const SCENE: u64 = 9;
const GAP: u32 = 6;
const COLUMNS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: transform_gallery FOLDER")?);
    std::fs::create_dir_all(&folder)?;
    for (name, transforms) in sheets() {
        let mut tiles = vec![scene(SCENE, TILE)];
        // The policies' strengths are in pixels of pictures as large as those of COCO.
        let is_policy = name == "policies";
        let source = if is_policy { ImageSize::new(480, 640) } else { TILE };
        for (i, transform) in transforms.iter().enumerate() {
            let mut tile = transform.apply(scene(SCENE, source), &mut Rng::for_sample(3, 0, i as u64));
            if is_policy {
                tile = Resize { size: TILE, interpolation: Interpolation::Bilinear }
                    .apply(tile, &mut Rng::new(0));
            }
            tiles.push(tile);
        }
        save(&folder.join(format!("{name}.jpg")), &tiles)?;
    }
    Ok(())
}

type Sheet = (&'static str, Vec<Box<dyn Transform>>);

fn sheets() -> Vec<Sheet> {
    let others: Arc<dyn Samples> =
        Arc::new((SCENE + 1..SCENE + 5).map(|seed| scene(seed, TILE)).collect::<Vec<_>>());
    let square = ImageSize::square(144);
    let interpolation = Interpolation::Bilinear;
    let jitter = |scale: f64| RandomResizePad { scale: (scale, scale), ..RandomResizePad::new(square) };
    let op = |op: Op, level: f64| -> Box<dyn Transform> {
        Box::new(move |sample: Sample, rng: &mut Rng| op.apply_with(sample, 3.0, level, rng))
    };
    let policy = |policy| -> Box<dyn Transform> { Box::new(AutoAugment::new(policy)) };
    vec![
        (
            "scale",
            vec![
                Box::new(ResizePad::new(square)),
                Box::new(ResizePad { placement: Placement::Center, ..ResizePad::new(square) }),
                Box::new(Resize { size: square, interpolation }),
                Box::new(jitter(0.4)),
                Box::new(jitter(1.8)),
            ],
        ),
        (
            "geometry",
            vec![
                Box::new(Flip::horizontal(1.0)),
                Box::new(Flip::vertical(1.0)),
                Box::new(ShiftScaleRotate::default()),
                Box::new(BoxSafeCrop { size: square, interpolation }),
                Box::new(aug_tfms(square, Some(160), true)),
            ],
        ),
        (
            "color",
            vec![
                Box::new(RgbShift { limit: [40.0; 3] }),
                Box::new(BrightnessContrast { brightness: 0.3, contrast: 0.3 }),
                Box::new(Blur { sides: vec![5] }),
                Box::new(ColorJitter::default()),
                Box::new(ColorJitter { hue: 0.5, ..ColorJitter::default() }),
            ],
        ),
        (
            "erase",
            vec![
                Box::new(
                    Compose::new()
                        .then(ResizePad::new(square))
                        .then(RandomErasing { mode: EraseMode::Const, ..RandomErasing::new(1.0) }),
                ),
                Box::new(Compose::new().then(ResizePad::new(square)).then(RandomErasing {
                    mode: EraseMode::Rand,
                    count: (3, 3),
                    ..RandomErasing::new(1.0)
                })),
                Box::new(
                    Compose::new()
                        .then(ResizePad::new(square))
                        .then(RandomErasing { area: (0.05, 0.1), ..RandomErasing::new(1.0) }),
                ),
                Box::new(GridMask { probability: 1.0, ..GridMask::default() }),
                op(Op::CutoutInBox, 8.0),
            ],
        ),
        (
            "mix",
            vec![
                Box::new(Mosaic::new(TILE, Arc::clone(&others))),
                Box::new(Mosaic { fit: MosaicFit::Stretch, ..Mosaic::new(TILE, Arc::clone(&others)) }),
                Box::new(MixUp::new(Arc::clone(&others))),
                Box::new(CopyPaste::new(Arc::clone(&others))),
                Box::new(CopyPaste { scale: (1.0, 1.0), ..CopyPaste::new(others) }),
            ],
        ),
        (
            "policies",
            vec![
                policy(LearnedPolicy::V0),
                policy(LearnedPolicy::V1),
                policy(LearnedPolicy::V2),
                policy(LearnedPolicy::V3),
                Box::new(RandAugment::default()),
            ],
        ),
        (
            "levels",
            vec![
                op(Op::AutoContrast, 5.0),
                op(Op::Equalize, 5.0),
                op(Op::Posterize, 4.0),
                op(Op::Solarize, 6.0),
                op(Op::SolarizeAdd, 8.0),
                op(Op::Color, 0.0),
                op(Op::Contrast, 9.0),
                op(Op::Sharpness, 10.0),
            ],
        ),
        (
            "boxes",
            vec![
                op(Op::Rotate, 8.0),
                op(Op::TranslateX, 2.0),
                op(Op::TranslateY, 1.5),
                op(Op::ShearX, 10.0),
                op(Op::ShearY, 10.0),
                op(Op::Cutout, 3.0),
                op(Op::RotateOnlyBoxes, 10.0),
                op(Op::FlipOnlyBoxes, 10.0),
            ],
        ),
    ]
}

/// Discs, rectangles and triangles on a slope of colours, a class each.
fn scene(seed: u64, size: ImageSize) -> Sample {
    let mut rng = Rng::new(seed);
    let tint: [f64; 3] = std::array::from_fn(|_| rng.uniform(0.5, 1.0));
    let (width, height) = (size.width as f64, size.height as f64);
    let mut picture = RgbImage::from_fn(size.width as u32, size.height as u32, |x, y| {
        let (x, y) = (f64::from(x), f64::from(y));
        let level = 90.0 + 60.0 * (y / height) + 12.0 * (x * 0.09).sin() * (y * 0.07).cos();
        Rgb(tint.map(|share| (level * share) as u8))
    });
    let mut objects = Vec::new();
    for i in 0..5u32 {
        let (w, h) = (rng.uniform(0.13, 0.3) * width, rng.uniform(0.17, 0.35) * height);
        let (left, top) = (rng.uniform(4.0, width - w - 4.0), rng.uniform(4.0, height - h - 4.0));
        let color: [u8; 3] = std::array::from_fn(|_| rng.int(40, 255) as u8);
        let shape = i % 3;
        let bbox = XyxyBox::new(left as f32, top as f32, (left + w) as f32, (top + h) as f32);
        for (x, y, pixel) in picture.enumerate_pixels_mut() {
            let (u, v) = ((f64::from(x) + 0.5 - left) / w, (f64::from(y) + 0.5 - top) / h);
            let inside = (0.0..1.0).contains(&u) && (0.0..1.0).contains(&v);
            let drawn = match shape {
                0 => (u - 0.5).hypot(v - 0.5) <= 0.5,
                1 => inside,
                _ => inside && (u - 0.5).abs() <= v / 2.0,
            };
            if drawn {
                // Stripes show rotations and mirror images.
                let stripe = if ((u * 4.0 + v) as i64).rem_euclid(2) == 0 { 1.0 } else { 0.75 };
                pixel.0 = color.map(|level| (f64::from(level) * stripe) as u8);
            }
        }
        objects.push(Object { bbox, class_id: shape + 1, ..Object::default() });
    }
    Sample::new(picture, objects)
}

/// One colour per class: white, yellow, black.
const OUTLINES: [[u8; 3]; 3] = [[255, 255, 255], [255, 225, 0], [0, 0, 0]];

fn outlined(sample: &Sample) -> RgbImage {
    let mut picture = sample.picture.clone();
    let size = sample.size();
    for object in &sample.objects {
        let bbox = object.bbox;
        let (left, top) = (bbox.x1.round() as u32, bbox.y1.round() as u32);
        let (right, bottom) =
            ((bbox.x2.round() as u32).max(left + 1) - 1, (bbox.y2.round() as u32).max(top + 1) - 1);
        let color = Rgb(OUTLINES[(object.class_id as usize).saturating_sub(1) % OUTLINES.len()]);
        let mut put = |x: u32, y: u32| {
            if (x as usize) < size.width && (y as usize) < size.height {
                picture.put_pixel(x, y, color);
            }
        };
        (left..=right).for_each(|x| [top, bottom].into_iter().for_each(|y| put(x, y)));
        (top..=bottom).for_each(|y| [left, right].into_iter().for_each(|x| put(x, y)));
    }
    picture
}

fn save(path: &Path, tiles: &[Sample]) -> Result<(), Box<dyn Error>> {
    let (width, height) = (TILE.width as u32, TILE.height as u32);
    let rows = tiles.len().div_ceil(COLUMNS) as u32;
    let columns = COLUMNS as u32;
    let mut sheet =
        RgbImage::from_pixel(columns * (width + GAP) - GAP, rows * (height + GAP) - GAP, Rgb([255; 3]));
    for (i, tile) in tiles.iter().enumerate() {
        let (column, row) = (i as u32 % columns, i as u32 / columns);
        // Larger results are cut off; none of the sheets has one.
        let picture = outlined(tile);
        let (left, top) = (column * (width + GAP), row * (height + GAP));
        for (x, y, pixel) in picture.enumerate_pixels().filter(|(x, y, _)| *x < width && *y < height) {
            sheet.put_pixel(left + x, top + y, *pixel);
        }
    }
    // The finest quality that stays small.
    for quality in (30..=70).rev().step_by(5) {
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, quality).encode_image(&sheet)?;
        if jpeg.len() < 30_000 {
            std::fs::write(path, jpeg)?;
            break;
        }
    }
    Ok(())
}
