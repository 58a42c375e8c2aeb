//! Each part of a detector, and all of it.
//!
//! ```sh
//! cargo bench -p effdet-model
//! ```
//!
//! Ids are `effdet-model/PART/CONFIGURATION/DEVICE`.

#![allow(clippy::expect_used, reason = "a bench that cannot be set up has nothing to say")]

use std::hint::black_box;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use effdet_core::YxyxBox;
use effdet_heads::{Anchors, BatchTargets, DetectionLossConfig, MatchOptions, Truth};
use effdet_model::EfficientDetConfig;

fn parts(criterion: &mut Criterion) {
    let device = Device::flex();
    for name in ["tf_efficientdet_lite0", "tf_efficientdet_d0"] {
        let config = EfficientDetConfig::named(name).expect("a known name");
        let model = config.init(&device).expect("a valid configuration");
        let size = config.image_size;
        let pictures = Tensor::<4>::ones([1, 3, size.height, size.width], &device);
        let features = model.backbone.forward(pictures.clone());
        let levels = model.fpn.forward(features.clone());

        let mut bench = |part: &str, run: &dyn Fn()| {
            let mut group = criterion.benchmark_group(format!("effdet-model/{part}"));
            group.sample_size(10);
            group.bench_function(BenchmarkId::new(name, "cpu"), |bencher| bencher.iter(run));
            group.finish();
        };
        bench("backbone", &|| {
            black_box(model.backbone.forward(pictures.clone()));
        });
        bench("fpn", &|| {
            black_box(model.fpn.forward(features.clone()));
        });
        bench("heads", &|| {
            black_box((model.class_net.forward(&levels), model.box_net.forward(&levels)));
        });
        bench("forward", &|| {
            black_box(model.forward(pictures.clone()));
        });
    }
}

/// Forward pass, loss and backward pass; see `benches/compare/train_step.py` for the comparison.
fn training_step(criterion: &mut Criterion) {
    let device = Device::flex().autodiff();
    let mut group = criterion.benchmark_group("effdet-model/training_step");
    group.sample_size(10);
    for (name, batch) in [("tf_efficientdet_lite0", 8), ("tf_efficientdet_d0", 4)] {
        let config = EfficientDetConfig::named(name).expect("a known name");
        let model = config.init(&device).expect("a valid configuration");
        let size = config.image_size;
        let pictures = Tensor::<4>::ones([batch, 3, size.height, size.width], &device);
        let anchors = Arc::new(Anchors::generate(&config.anchor_config(), size).expect("valid anchors"));
        let object = Truth::new(YxyxBox::new(40.0, 60.0, 160.0, 140.0), 3);
        let truths = vec![vec![object]; batch];
        let loss = DetectionLossConfig::default().init().expect("a valid loss");
        group.bench_function(BenchmarkId::new(name, "cpu"), |bencher| {
            bencher.iter(|| {
                let outputs = model.forward(pictures.clone());
                let targets =
                    BatchTargets::assign(&anchors, &truths, &MatchOptions::default()).expect("targets");
                let parts =
                    loss.forward(&outputs.class_logits, &outputs.box_deltas, &targets).expect("a loss");
                parts.total.backward()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parts, training_step);
criterion_main!(benches);
