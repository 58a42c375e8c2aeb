//! A whole detector: its forward pass, with its backward pass, a training step, and detection with decoding.
//!
//! ```sh
//! cargo bench -p effdet-model                                        # on the CPU
//! EFFDET_DEVICE=cuda:0 cargo bench -p effdet-model --features cuda   # on a GPU
//! ```
//!
//! `effdet_testing::bench` says what else can be chosen and what the ids mean. Forward and backward pass are the
//! composition of the framework's operations; detection takes the inference form where there is one. The first two benches
//! are what the device itself can do: `benches/table.py` shows the others as a part of it.

#![allow(clippy::expect_used, reason = "a bench that cannot be set up has nothing to say")]

use std::hint::black_box;
use std::sync::Arc;

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use effdet_core::YxyxBox;
use effdet_heads::{Anchors, BatchTargets, DetectionLossConfig, MatchOptions, Truth};
use effdet_model::{EfficientDet, EfficientDetConfig, Predictor, summarize};
use effdet_nn::FeatureMap;
use effdet_testing::bench::{Bench, Cost};

fn ceilings(criterion: &mut Criterion) {
    Bench::from_env().expect("a device").ceilings(criterion).expect("the device runs");
}

fn forward(criterion: &mut Criterion) {
    let bench = Bench::from_env().expect("a device");
    for model in &bench.models {
        let inputs = vec![[model.in_channels, model.image_size.height, model.image_size.width]];
        fn forward<M: FeatureMap>(network: &EfficientDet, pictures: Vec<M>) -> Vec<M> {
            let outputs = pictures.into_iter().map(|pictures| network.forward(pictures));
            outputs.flat_map(|outputs| outputs.class_logits.into_iter().chain(outputs.box_deltas)).collect()
        }
        let init = |device: &Device| Ok(model.init(device)?);
        bench
            .part(criterion, "effdet-model", &model.name, &inputs, init, forward, forward)
            .expect("the detector runs");
    }
}

/// Forward pass, targets, loss and backward pass; see `benches/compare/train_step.py` for the comparison.
fn training_step(criterion: &mut Criterion) {
    let bench = Bench::from_env().expect("a device");
    let device = bench.device.clone().autodiff();
    for config in &bench.models {
        let model = config.init(&device).expect("a valid configuration");
        let anchors =
            Arc::new(Anchors::generate(&config.anchor_config(), config.image_size).expect("anchors"));
        let loss = DetectionLossConfig::default().init().expect("a valid loss");
        for &batch in &bench.batches {
            let pictures = pictures(&bench, config, batch).autodiff();
            let truths = vec![vec![Truth::new(YxyxBox::new(40.0, 60.0, 160.0, 140.0), 3)]; batch];
            let cost = cost(config, batch, 3);
            let variant = format!("{}-b{batch}", config.name);
            let step = || {
                let outputs = model.forward(pictures.clone());
                let targets =
                    BatchTargets::assign(&anchors, &truths, &MatchOptions::default()).expect("targets");
                let parts =
                    loss.forward(&outputs.class_logits, &outputs.box_deltas, &targets).expect("a loss");
                black_box(parts.total.backward());
            };
            bench.time(criterion, "effdet-model/training_step", &variant, cost, step).expect("a file");
        }
    }
}

fn detection(criterion: &mut Criterion) {
    let bench = Bench::from_env().expect("a device");
    for config in &bench.models {
        let model = config.init(&bench.device).expect("a valid configuration");
        let predictor = Predictor::new(model, config.clone());
        for &batch in &bench.batches {
            let pictures = pictures(&bench, config, batch);
            let cost = cost(config, batch, 1);
            let variant = format!("{}-b{batch}", config.name);
            let detect = || {
                black_box(predictor.detect(pictures.clone(), &vec![None; batch]).expect("the detector runs"));
            };
            bench.time(criterion, "effdet-model/detect", &variant, cost, detect).expect("a file");
        }
    }
}

fn pictures(bench: &Bench, config: &EfficientDetConfig, batch: usize) -> Tensor<4> {
    let shape = [batch, config.in_channels, config.image_size.height, config.image_size.width];
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &bench.device)
}

/// Of that many passes over the network and its pictures.
fn cost(config: &EfficientDetConfig, batch: usize, passes: u64) -> Cost {
    let summary = summarize(config, config.image_size, &Device::flex()).expect("a valid configuration");
    let values = summary.parameters + batch * config.in_channels * config.image_size.area();
    Cost {
        pictures: batch as u64,
        bytes: passes * 4 * values as u64,
        operations: passes * 2 * summary.multiply_adds * batch as u64,
    }
}

criterion_group!(benches, ceilings, forward, training_step, detection);
criterion_main!(benches);
