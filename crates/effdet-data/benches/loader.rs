//! Batches per second of the loader and its parts.
//!
//!     cargo bench -p effdet-data --bench loader
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::hint::black_box;
use std::io::Cursor;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use effdet_core::{ImageSize, XyxyBox};
use effdet_data::transform::{RandomResizePad, Rng, Sample, Transform, aug_tfms, effdet_train};
use effdet_data::{
    DecodeLimits, Error, Interpolation, Loader, LoaderOptions, Object, Preprocess, Samples, decode_bytes,
};
use image::{ImageFormat, RgbImage};

/// JPEGs in memory, decoded when asked for.
struct Jpegs(Vec<u8>, usize);

impl Samples for Jpegs {
    fn len(&self) -> usize {
        self.1
    }

    fn get(&self, index: usize) -> Result<Sample, Error> {
        let picture = decode_bytes(&self.0, &self.name(index), &DecodeLimits::default())?;
        let bbox = XyxyBox::new(40.0, 50.0, 240.0, 200.0);
        Ok(Sample::new(picture, vec![Object { bbox, class_id: 1, ..Object::default() }; 8]))
    }

    fn name(&self, index: usize) -> String {
        format!("jpeg {index}")
    }
}

/// A soft picture with some grain, which compresses like a photograph.
fn scene() -> RgbImage {
    let mut rng = Rng::new(0);
    RgbImage::from_fn(640, 480, |x, y| {
        let wave = |k: f64| ((f64::from(x) * k).sin() + (f64::from(y) * k * 1.3).cos()) * 50.0 + 128.0;
        let grain = rng.uniform(-8.0, 8.0);
        image::Rgb([0.02, 0.031, 0.013].map(|k| (wave(k) + grain) as u8))
    })
}

fn benches(c: &mut Criterion) {
    let mut jpeg = Vec::new();
    scene().write_to(&mut Cursor::new(&mut jpeg), ImageFormat::Jpeg).unwrap();
    let size = ImageSize::square(512);
    let preprocess = Preprocess::imagenet(size);
    let jpegs: Arc<dyn Samples> = Arc::new(Jpegs(jpeg, 64));
    let sample = jpegs.get(0).unwrap();

    c.bench_function("effdet-data/decode/640x480", |b| b.iter(|| black_box(jpegs.get(0).unwrap())));
    for (name, scale) in [("0.5", 0.5), ("2.0", 2.0)] {
        let jitter = RandomResizePad {
            scale: (scale, scale),
            interpolation: vec![Interpolation::Bicubic],
            ..RandomResizePad::new(size)
        };
        c.bench_function(&format!("effdet-data/scale-jitter/{name}/512"), |b| {
            b.iter(|| jitter.apply(sample.clone(), &mut Rng::new(1)));
        });
    }
    let augment = aug_tfms(size, Some(600), true);
    let mut draws = 0;
    c.bench_function("effdet-data/aug_tfms/512", |b| {
        b.iter(|| {
            draws += 1;
            augment.apply(sample.clone(), &mut Rng::new(draws))
        });
    });
    for workers in [0, 2] {
        let options = LoaderOptions { batch_size: 8, workers, ..LoaderOptions::train(0) };
        let loader = Loader::new(Arc::clone(&jpegs), effdet_train(&preprocess), options).unwrap();
        c.bench_function(&format!("effdet-data/loader/64-pictures/{workers}-workers"), |b| {
            b.iter(|| loader.epoch(0).map(|batch| batch.unwrap().len()).sum::<usize>());
        });
    }
}

criterion_group! {
    name = group;
    config = Criterion::default().sample_size(20);
    targets = benches
}
criterion_main!(group);
