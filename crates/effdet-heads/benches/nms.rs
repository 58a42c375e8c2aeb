//! Host-side post-processing: suppression of 100, 1000 and 5000 boxes, and decoding of one D0 picture.
//!
//! Run with `cargo bench -p effdet-heads --bench nms`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use effdet_core::{Detection, ImageSize, XyxyBox};
use effdet_heads::{
    AnchorConfig, Anchors, DecodeConfig, Layout, LevelOutput, NmsConfig, NmsMethod, decode, nms,
};

/// Numbers in `[0, 1)`, the same in every run.
struct Uniform(u64);

impl Uniform {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Roughly normal, which is what logits and deltas look like.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.next()).sum::<f32>() - 6.0
    }
}

fn candidates(n: usize, classes: u32) -> Vec<Detection> {
    let mut random = Uniform(n as u64);
    (0..n)
        .map(|i| {
            let (x, y) = (random.next() * 480.0, random.next() * 480.0);
            let (w, h) = (8.0 + random.next() * 120.0, 8.0 + random.next() * 120.0);
            Detection {
                bbox: XyxyBox::new(x, y, x + w, y + h),
                score: 1.0 - i as f32 / n as f32,
                class_id: 1 + (random.next() * classes as f32) as u32,
            }
        })
        .collect()
}

fn bench_nms(c: &mut Criterion) {
    let mut group = c.benchmark_group("effdet-heads/nms");
    let methods = [
        ("hard", NmsMethod::Hard, 90, 100),
        ("hard-one-class", NmsMethod::Hard, 1, 100),
        ("hard-one-class-all", NmsMethod::Hard, 1, usize::MAX),
        ("diou", NmsMethod::Diou, 90, 100),
        ("soft-gaussian", NmsMethod::SoftGaussian { sigma: 0.5 }, 90, 100),
        ("soft-gaussian-one-class", NmsMethod::SoftGaussian { sigma: 0.5 }, 1, 100),
        ("soft-linear", NmsMethod::SoftLinear, 90, 100),
    ];
    for (name, method, classes, max_detections) in methods {
        for n in [100, 1000, 5000] {
            let boxes = candidates(n, classes);
            let config = NmsConfig { method, ..NmsConfig::default() };
            group.bench_with_input(BenchmarkId::new(name, n), &boxes, |b, boxes| {
                b.iter(|| nms(black_box(boxes), &config, max_detections));
            });
        }
    }
    group.finish();
}

#[expect(clippy::expect_used, reason = "a benchmark has nobody to report to")]
fn bench_decode(c: &mut Criterion) {
    let anchors = Anchors::generate(&AnchorConfig::default(), ImageSize::square(512))
        .expect("the published anchors of D0");
    let mut random = Uniform(7);
    let outputs: Vec<(Vec<f32>, Vec<f32>)> = anchors
        .levels()
        .iter()
        .map(|level| {
            let anchors = level.feature_size.area() * anchors.anchors_per_cell();
            let logits = (0..anchors * 90).map(|_| -5.0 + 1.2 * random.normal()).collect();
            (logits, (0..anchors * 4).map(|_| 0.3 * random.normal()).collect())
        })
        .collect();
    let levels: Vec<LevelOutput<'_>> = outputs
        .iter()
        .map(|(class_logits, box_deltas)| LevelOutput {
            class_logits,
            box_deltas,
            layout: Layout::ChannelsFirst,
        })
        .collect();

    let mut group = c.benchmark_group("effdet-heads/decode");
    for (name, score_threshold) in [("d0", 0.0), ("d0-score-0.3", 0.3)] {
        let config = DecodeConfig { score_threshold, ..DecodeConfig::default() };
        group.bench_function(name, |b| b.iter(|| decode(black_box(&levels), &anchors, 90, &config, None)));
    }
    group.finish();
}

criterion_group!(benches, bench_nms, bench_decode);
criterion_main!(benches);
