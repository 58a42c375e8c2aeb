//! Labels of the anchors of a D0 picture, and the loss of its outputs with its backward pass.
//!
//! Run with `cargo bench -p effdet-heads --bench loss`.

use std::hint::black_box;
use std::sync::Arc;

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use effdet_core::{ImageSize, YxyxBox};
use effdet_heads::{
    AnchorConfig, Anchors, BatchTargets, DetectionLossConfig, MatchOptions, Truth, label_anchors,
};

const SIDE: f32 = 512.0;

/// Boxes of all sizes from `least` to the whole picture.
fn truths(count: usize, least: f32) -> Vec<Truth> {
    let golden = |i: usize, step: f32| (i as f32 * step).fract();
    (0..count)
        .map(|i| {
            let size = |step| least * (SIDE / least).powf(golden(i, step));
            let (h, w) = (size(0.618_034), size(0.414_214));
            let (y, x) = (golden(i, 0.754_878) * (SIDE - h), golden(i, 0.569_84) * (SIDE - w));
            Truth::new(YxyxBox::new(y, x, y + h, x + w), (i % 3) as u32)
        })
        .collect()
}

#[expect(clippy::unwrap_used, reason = "a bench")]
fn anchors() -> Arc<Anchors> {
    Arc::new(Anchors::generate(&AnchorConfig::default(), ImageSize::square(SIDE as usize)).unwrap())
}

fn bench_labels(c: &mut Criterion) {
    let anchors = anchors();
    let mut group = c.benchmark_group("effdet-heads/label_anchors");
    for (name, least) in [("all-sizes", 8.0), ("whole-picture", SIDE)] {
        for count in [10, 100] {
            let truths = truths(count, least);
            group.bench_with_input(BenchmarkId::new(name, count), &truths, |b, truths| {
                b.iter(|| label_anchors(&anchors, black_box(truths), &MatchOptions::default()));
            });
        }
    }
}

#[expect(clippy::unwrap_used, reason = "a bench")]
fn bench_loss(c: &mut Criterion) {
    let anchors = anchors();
    let device = Device::flex().autodiff();
    let targets = BatchTargets::assign(&anchors, &[truths(10, 8.0)], &MatchOptions::default()).unwrap();
    let loss = DetectionLossConfig::default().init().unwrap();
    let mut group = c.benchmark_group("effdet-heads/loss-with-backward");
    group.sample_size(10);
    for classes in [3, 90] {
        let output = |channels: usize| -> Vec<Tensor<4>> {
            let level = |level: &effdet_heads::AnchorLevel| {
                let shape = [1, 9 * channels, level.feature_size.height, level.feature_size.width];
                Tensor::random(shape, Distribution::Normal(-3.0, 1.0), &device).require_grad()
            };
            anchors.levels().iter().map(level).collect()
        };
        let (logits, deltas) = (output(classes), output(4));
        group.bench_function(BenchmarkId::new("flex", classes), |b| {
            b.iter(|| {
                let gradients = loss.forward(&logits, &deltas, &targets).unwrap().total.backward();
                logits[0].grad(&gradients).unwrap().sum().into_scalar::<f32>()
            });
        });
    }
}

criterion_group!(benches, bench_labels, bench_loss);
criterion_main!(benches);
