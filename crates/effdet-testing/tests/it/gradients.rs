//! One training step of six detectors against the reference's, both in double precision.

use burn::tensor::DType;
use effdet_testing::fixtures;
use effdet_testing::gradients::{self, Mode, StepDeviation};

const TOLERANCE: f64 = 1e-4;

fn compare(name: &str) {
    let golden = fixtures::gradients();
    let expected = golden.models.iter().find(|model| model.model == name).unwrap();
    let config = gradients::config(name, golden.side).unwrap();
    for (mode, step) in &expected.modes {
        let model = gradients::model(&config, golden.seed, &expected.statistics, *mode, DType::F64).unwrap();
        let (actual, num_positives) =
            gradients::step(golden.seed, golden.batch, &config, &model, DType::F64).unwrap();
        assert_eq!(num_positives, expected.num_positives, "{name}");
        let deviation = StepDeviation::of_descriptions(&actual, step, golden.seed, TOLERANCE).unwrap();
        assert!(deviation.is_equal(TOLERANCE), "{name}, {mode:?}: {deviation:?}");
        assert_eq!(*mode == Mode::Training, !step.running.is_empty());
    }
}

#[test]
fn a_step_of_tf_efficientdet_d0_equals_the_reference() {
    compare("tf_efficientdet_d0");
}

#[test]
fn a_step_of_efficientdet_d0_equals_the_reference() {
    compare("efficientdet_d0");
}

#[test]
fn a_step_of_tf_efficientdet_lite0_equals_the_reference() {
    compare("tf_efficientdet_lite0");
}

#[test]
fn a_step_of_efficientdet_q0_equals_the_reference() {
    compare("efficientdet_q0");
}

#[test]
fn a_step_of_cspdarkdet53m_equals_the_reference() {
    compare("cspdarkdet53m");
}

#[test]
fn a_step_of_efficientdetv2_dt_equals_the_reference() {
    compare("efficientdetv2_dt");
}

#[test]
fn the_first_of_ten_training_steps_has_the_loss_of_the_reference() {
    let golden = fixtures::training_steps();
    let config = gradients::config(&golden.model, golden.side).unwrap();
    for dtype in [DType::F32, DType::F64] {
        let model =
            gradients::model(&config, golden.seed, &golden.statistics, Mode::Training, dtype).unwrap();
        let (step, _) = gradients::step(golden.seed, golden.batch, &config, &model, dtype).unwrap();
        assert_eq!(golden.runs.len(), 2);
        for run in &golden.runs {
            for (actual, expected) in step.loss.into_iter().zip(run.losses[0]) {
                let off = (actual - expected).abs() / expected;
                assert!(off < if dtype == DType::F64 { 1e-6 } else { 1e-4 }, "{actual} != {expected}");
            }
        }
    }
}
