//! Ten optimiser steps beside the reference's, see `tools/golden/make_training_steps.py`.

use burn::tensor::{DType, Device};
use effdet_heads::{DetectionLossConfig, LossParts};
use effdet_testing::gradients::Mode;
use effdet_testing::{fixtures, gradients};
use effdet_train::{
    AdamConstants, Clip, DecayMask, Hyper, Optimizer, Rule, assign, norm, parameters, take_gradients, values,
};

#[test]
fn ten_steps_of_sgd_and_adamw_track_the_losses_and_statistics_of_the_reference() {
    let golden = fixtures::training_steps();
    let config = gradients::config(&golden.model, golden.side).unwrap();
    let criterion = DetectionLossConfig::default().init().unwrap();
    let device = Device::flex().autodiff();
    for run in &golden.runs {
        let rule = match run.optimizer.as_str() {
            "sgd" => Rule::Sgd { momentum: run.momentum, dampening: 0.0, nesterov: false },
            _ => Rule::AdamW(AdamConstants { betas: run.betas, epsilon: run.eps }),
        };
        let mut optimizer = Optimizer::new(rule);
        let dtype = DType::F64;
        let mut model =
            gradients::model(&config, golden.seed, &golden.statistics, Mode::Training, dtype).unwrap();
        let listed = parameters(&model);
        let decays = |name: &str| listed.iter().any(|p| p.name == name && DecayMask::Weights.decays(p));
        let hyper = |name: &str| Hyper {
            lr: run.lr,
            weight_decay: if decays(name) { run.weight_decay } else { 0.0 },
        };
        let pictures = gradients::pictures(golden.seed, golden.batch, golden.side, &device, dtype);
        for (step, expected) in run.losses.iter().enumerate() {
            let outputs = model.forward(pictures.clone());
            let targets = gradients::targets(&config, golden.seed, golden.batch, &outputs).unwrap();
            let LossParts { total, class, boxes } =
                criterion.forward(&outputs.class_logits, &outputs.box_deltas, &targets).unwrap();
            let found = [&total, &class, &boxes].map(|part| part.clone().into_scalar::<f64>());
            for (found, expected) in found.into_iter().zip(expected) {
                let off = (found - expected).abs() / expected.abs();
                assert!(off < 1e-3, "{}, step {step}: {found} instead of {expected}", run.optimizer);
            }
            let gradients = take_gradients(&model, &mut total.backward());
            let weights = values(&model);
            let total = norm(&gradients).unwrap().into_scalar::<f64>();
            let gradients = Clip::Norm { limit: 10.0 }.apply(gradients, total, &weights, &listed);
            let updated = optimizer.step(&weights, gradients, hyper);
            model = assign(model, updated);
        }
        for (name, tensor) in values(&model) {
            if !name.contains("running_") {
                continue;
            }
            let found: Vec<f64> = tensor.into_data().iter::<f64>().collect();
            let norm = found.iter().map(|v| v * v).sum::<f64>().sqrt();
            let expected = run.last[&name][0];
            let off = (norm - expected).abs() / expected.max(1e-3);
            assert!(off < 1e-3, "{} {name}: norm {norm} instead of {expected}", run.optimizer);
        }
    }
}
