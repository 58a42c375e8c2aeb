//! Times training steps on the CPU: forward pass, assignment of targets, loss and backward pass.
//!
//! ```sh
//! cargo run --release -p effdet-model --example training_step -- tf_efficientdet_lite0 320 8 10
//! ```
//!
//! Prints the seconds of each step.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for a bench")]

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use effdet_core::{ImageSize, YxyxBox};
use effdet_heads::{Anchors, BatchTargets, DetectionLossConfig, MatchOptions, Truth};
use effdet_model::EfficientDetConfig;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, numbers @ ..] = &arguments[..] else { panic!("usage: MODEL SIZE BATCH STEPS") };
    let numbers: Vec<usize> = numbers.iter().map(|number| number.parse().unwrap()).collect();
    let [size, batch, steps] = numbers[..] else { panic!("usage: MODEL SIZE BATCH STEPS") };
    let device = Device::flex().autodiff();
    let config = EfficientDetConfig {
        image_size: ImageSize::square(size),
        ..EfficientDetConfig::named(name).unwrap()
    };
    let model = config.init(&device).unwrap();
    let pictures = Tensor::<4>::random([batch, 3, size, size], Distribution::Normal(0.0, 1.0), &device);
    let anchors = Arc::new(Anchors::generate(&config.anchor_config(), config.image_size).unwrap());
    let side = size as f32;
    let objects: Vec<Truth> = (0..8)
        .map(|i| {
            let (start, length) = (side * i as f32 / 10.0, side * (1 + i) as f32 / 20.0);
            Truth::new(YxyxBox::new(start, start, start + length, start + length), i)
        })
        .collect();
    let loss = DetectionLossConfig::default().init().unwrap();
    for _ in 0..steps {
        let start = Instant::now();
        let outputs = model.forward(pictures.clone());
        let forward = start.elapsed();
        let targets =
            BatchTargets::assign(&anchors, &vec![objects.clone(); batch], &MatchOptions::default()).unwrap();
        let parts = loss.forward(&outputs.class_logits, &outputs.box_deltas, &targets).unwrap();
        let value = parts.total.clone().into_scalar::<f32>();
        let lost = start.elapsed();
        drop(parts.total.backward());
        let total = start.elapsed();
        println!(
            "{:.4} forward {:.4} loss {:.4} backward {:.4} value {value}",
            total.as_secs_f64(),
            forward.as_secs_f64(),
            (lost - forward).as_secs_f64(),
            (total - lost).as_secs_f64(),
        );
    }
}
