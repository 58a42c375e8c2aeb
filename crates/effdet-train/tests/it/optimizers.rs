//! Optimisers, clipping and schedules beside PyTorch's and timm's, see `tools/golden/make_optimizers.py`.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use effdet_train::{
    AdamConstants, Clip, Curve, EmaConfig, Hyper, Interval, Named, Optimizer, Parameter, Plateau, Position,
    Rule, Schedule, Warmup, norm,
};
use rstest::rstest;
use serde_json::Value;

fn fixture() -> Value {
    serde_json::from_str(include_str!("../fixtures/optimizers.json")).unwrap()
}

const SHAPES: [(&str, &[usize]); 3] =
    [("conv.weight", &[3, 2, 2, 2]), ("bn.weight", &[4]), ("predict.weight", &[2, 3])];

/// The script's generator.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = (state * 1_103_515_245 + 12345) % (1 << 31);
            ((state >> 12) % 1024) as f32 / 512.0 - 1.0
        })
        .collect()
}

fn tensors(numbers_of: impl Fn(usize, usize) -> Vec<f32>) -> Named {
    let device = Device::flex();
    let tensor = |(index, (name, shape)): (usize, &(&str, &[usize]))| {
        let values = numbers_of(index, shape.iter().product());
        ((*name).to_owned(), Tensor::from_floats(values.as_slice(), &device))
    };
    SHAPES.iter().enumerate().map(tensor).collect()
}

fn parameters() -> Named {
    tensors(|index, count| numbers(count, 7 * index as u64 + 1))
}

fn gradients(step: u64) -> Named {
    tensors(|index, count| {
        let scale = 0.1 + step as f32;
        numbers(count, 1000 * step + index as u64).into_iter().map(|v| v * scale).collect()
    })
}

fn described() -> Vec<Parameter> {
    let parameter = |(name, shape): &(&str, &[usize])| Parameter {
        name: (*name).to_owned(),
        shape: shape.to_vec(),
        is_buffer: false,
    };
    SHAPES.iter().map(parameter).collect()
}

#[track_caller]
fn assert_close(what: &str, found: &Named, expected: &Value) {
    for (name, tensor) in found {
        let found = tensor.to_data().try_to_vec::<f32>().unwrap();
        let expected: Vec<f64> =
            expected[name].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.into_iter().zip(expected) {
            let close = (f64::from(found) - expected).abs() <= 2e-6 + 2e-5 * expected.abs();
            assert!(close, "{what}, {name}: {found} instead of {expected}");
        }
    }
}

#[rstest]
#[case("sgd", Rule::sgd())]
#[case("sgd_plain", Rule::Sgd { momentum: 0.0, dampening: 0.0, nesterov: false })]
#[case("sgd_dampening", Rule::Sgd { momentum: 0.9, dampening: 0.3, nesterov: false })]
#[case("sgd_nesterov", Rule::Sgd { momentum: 0.9, dampening: 0.0, nesterov: true })]
#[case("adam", Rule::adam())]
#[case("adamw", Rule::adam_w())]
#[case("rmsprop", Rule::RmsProp { alpha: 0.9, epsilon: 1e-8, momentum: 0.9, centered: false, tensorflow: false })]
#[case("rmsprop_centered", Rule::RmsProp { alpha: 0.9, epsilon: 1e-3, momentum: 0.0, centered: true, tensorflow: false })]
#[case("rmsprop_tf", Rule::RmsProp { alpha: 0.9, epsilon: 1e-3, momentum: 0.9, centered: false, tensorflow: true })]
#[case("lamb", Rule::Lamb { betas: [0.9, 0.999], epsilon: 1e-6, max_grad_norm: 1.0 })]
#[case("lion", Rule::Lion { betas: [0.9, 0.99] })]
fn five_steps_are_those_of_the_reference(#[case] name: &str, #[case] rule: Rule) {
    let fixture = fixture();
    let mut optimizer = Optimizer::new(rule);
    let mut values = parameters();
    for (step, expected) in (0..).zip(fixture["optimizers"][name].as_array().unwrap()) {
        values = optimizer.step(&values, gradients(step), |_| Hyper { lr: 0.05, weight_decay: 0.01 });
        assert_close(&format!("{name}, step {step}"), &values, expected);
    }
}

#[test]
fn a_state_put_back_goes_on_with_the_same_bits() {
    let hyper = |_: &str| Hyper { lr: 0.05, weight_decay: 0.01 };
    let mut whole = Optimizer::new(Rule::AdamW(AdamConstants::default()));
    let mut values = parameters();
    for step in 0..3 {
        values = whole.step(&values, gradients(step), hyper);
    }
    let mut restored = Optimizer { rule: whole.rule, state: whole.state.clone() };
    let [a, b] = [&mut whole, &mut restored].map(|optimizer| optimizer.step(&values, gradients(3), hyper));
    for (name, tensor) in a {
        assert_eq!(tensor.to_data(), b[&name].to_data(), "{name}");
    }
}

#[rstest]
#[case("norm", Clip::Norm { limit: 2.0 })]
#[case("value", Clip::Value { limit: 0.7 })]
#[case("adaptive", Clip::Adaptive { factor: 0.05 })]
fn clipped_gradients_are_those_of_the_reference(#[case] name: &str, #[case] clip: Clip) {
    let gradients = gradients(3);
    let total = norm(&gradients).unwrap().into_scalar::<f64>();
    let clipped = clip.apply(gradients, total, &parameters(), &described());
    assert_close(name, &clipped, &fixture()["clips"][name]);
}

fn at(t: u64, total: u64) -> Position {
    Position { step: t, epoch: t, total_steps: total, total_epochs: total }
}

#[track_caller]
fn assert_rates(what: &str, schedule: Schedule, total: u64, expected: &Value) {
    for (t, expected) in (0..).zip(expected.as_array().unwrap()) {
        let rate = schedule.rate(0.4, at(t, total), &Plateau::default(), 0).lr;
        let expected = expected.as_f64().unwrap();
        assert!((rate - expected).abs() < 1e-12, "{what} at {t}: {rate} instead of {expected}");
    }
}

#[test]
fn schedules_are_those_of_timm() {
    let schedules = &fixture()["schedules"];
    let warmup = |length, prefix| Warmup { length, from: Some(1e-2), prefix };
    let cosine = Curve::Cosine { min: 1e-3, lift: 0.0 };
    let schedule = |warmup, curve| Schedule { interval: Interval::Epoch, warmup, curve, noise: None };
    assert_rates("cosine", schedule(warmup(5, false), cosine), 30, &schedules["cosine"]);
    assert_rates("cosine_prefix", schedule(warmup(5, true), cosine), 30, &schedules["cosine_prefix"]);
    let step = Curve::Step { every: 4, rate: 0.3 };
    assert_rates("step", schedule(warmup(2, true), step), 20, &schedules["step"]);
    let poly = Curve::Poly { power: 0.5, min: 1e-3 };
    assert_rates("poly", schedule(Warmup::default(), poly), 20, &schedules["poly"]);
}

#[test]
fn the_recipe_of_the_reference_checkpoints_is_its_lambda() {
    let schedule = Schedule {
        interval: Interval::Step,
        warmup: Warmup { length: 20, from: None, prefix: true },
        curve: Curve::Cosine { min: 0.0, lift: 1e-3 },
        noise: None,
    };
    assert_rates("recipe", schedule, 100, &fixture()["recipe"]);
}

#[test]
fn one_cycle_is_that_of_fastai() {
    let expected = &fixture()["one_cycle"];
    assert_rates("one_cycle", Schedule::one_cycle(), 50, &expected["rates"]);
    for (t, momentum) in (0..).zip(expected["momentum"].as_array().unwrap()) {
        let rate = Schedule::one_cycle().rate(0.4, at(t, 50), &Plateau::default(), 0);
        assert!((rate.momentum.unwrap() - momentum.as_f64().unwrap()).abs() < 1e-12);
    }
}

#[test]
fn the_plateau_is_that_of_pytorch() {
    let fixture = fixture();
    let curve = Curve::Plateau { rate: 0.5, patience: 1, cooldown: 1, threshold: 1e-4, min: 0.03 };
    let schedule = Schedule { curve, ..Schedule::default() };
    let mut plateau = Plateau::default();
    let numbers = |key: &str| -> Vec<f64> {
        fixture["plateau"][key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    };
    for (metric, expected) in numbers("metrics").into_iter().zip(numbers("rates")) {
        plateau.update(&curve, metric);
        let rate = schedule.rate(0.4, at(0, 1), &plateau, 0).lr;
        assert!((rate - expected).abs() < 1e-12, "{rate} instead of {expected}");
    }
}

#[test]
fn noise_stays_in_its_limit_and_is_a_function_of_the_seed() {
    let noise = effdet_train::Noise { range: [5, 50], limit: 0.3, std: 1.0 };
    let schedule = Schedule { noise: Some(noise), ..Schedule::default() };
    let rates = |seed| -> Vec<f64> {
        (0..60).map(|t| schedule.rate(1.0, at(t, 60), &Plateau::default(), seed).lr).collect()
    };
    let first = rates(1);
    assert_eq!(first, rates(1));
    assert_ne!(first, rates(2));
    assert!(first[..5].iter().chain(&first[50..]).all(|rate| *rate == 1.0));
    assert!(first[5..50].iter().all(|rate| *rate != 1.0 && (*rate - 1.0).abs() < 0.3));
}

#[test]
fn the_warm_up_of_the_average_is_that_of_timm() {
    let config = EmaConfig { decay: 0.9, warmup: true, ..EmaConfig::default() };
    for (step, expected) in (1..).zip(fixture()["ema_warmup"].as_array().unwrap()) {
        let decay = config.decay_at(step);
        assert!(
            (decay - expected.as_f64().unwrap()).abs() < 1e-12,
            "step {step}: {decay} instead of {expected}"
        );
    }
}

#[test]
fn an_average_moves_by_one_minus_the_decay() {
    let device = Device::flex();
    let one = |value: f32| Named::from([("w".to_owned(), Tensor::from_floats([value], &device))]);
    let mut ema = effdet_train::Ema::new(EmaConfig { decay: 0.75, ..EmaConfig::default() }, one(1.0));
    ema.update(one(3.0), 1);
    ema.update(one(5.5), 2);
    let expected: BTreeMap<&str, f32> = BTreeMap::from([("w", 0.75 * 1.5 + 0.25 * 5.5)]);
    assert_eq!(ema.values["w"].to_data().try_to_vec::<f32>().unwrap(), [expected["w"]]);
}
