//! Which published model a checkpoint is for.

use std::collections::HashMap;

use burn::tensor::Device;
use effdet_model::{EfficientDetConfig, model_specs};
use effdet_weights::{Checkpoint, parameter_shapes};

use crate::Error;

/// A published model, and how well a checkpoint fits it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Name of the configuration.
    pub model: &'static str,
    /// Share of the tensors that both have with equal shapes, of the larger of the two; 1 if the checkpoint fits, whatever
    /// its number of classes.
    pub fit: f64,
}

/// The published models in the order in which a checkpoint's tensor names and shapes fit them, best first.
///
/// Several can fit equally: `tf_efficientdet_d0` and `tf_efficientdet_d0_ap`, for one, differ in preprocessing alone.
///
/// # Errors
/// None that the table of configurations would cause.
pub fn identify(checkpoint: &Checkpoint, device: &Device) -> Result<Vec<Candidate>, Error> {
    let shapes: HashMap<&str, &[usize]> = checkpoint
        .names()
        .filter(|name| !name.ends_with("num_batches_tracked"))
        .filter_map(|name| Some((name, checkpoint.get(name)?.shape.as_slice())))
        .collect();
    let mut candidates = Vec::new();
    for spec in model_specs() {
        let model = EfficientDetConfig::from_spec(spec)?.init(device)?;
        let expected = parameter_shapes(&model);
        let same = |(name, shape): &&(String, Vec<usize>)| {
            shapes.get(name.as_str()).is_some_and(|found| same_shape(name, shape, found))
        };
        let shared = expected.iter().filter(same).count();
        let fit = shared as f64 / expected.len().max(shapes.len()) as f64;
        candidates.push(Candidate { model: spec.name, fit });
    }
    // Stable: of equal ones the table's order decides.
    candidates.sort_by(|a, b| b.fit.total_cmp(&a.fit));
    Ok(candidates)
}

/// Equal, but for the number of classes.
fn same_shape(name: &str, expected: &[usize], found: &[usize]) -> bool {
    if name.starts_with("class_net.predict.") {
        expected.len() == found.len() && expected.iter().skip(1).eq(found.iter().skip(1))
    } else {
        expected == found
    }
}

/// The models among `candidates` that fit.
pub(crate) fn fitting(candidates: &[Candidate]) -> Vec<&'static str> {
    candidates.iter().filter(|candidate| candidate.fit == 1.0).map(|candidate| candidate.model).collect()
}

/// What to tell someone who named no model.
pub(crate) fn hint(candidates: &[Candidate]) -> String {
    let fitting = fitting(candidates);
    if let [first, ..] = fitting.as_slice() {
        return format!("its tensors fit {}; pass --model {first}", fitting.join(" and "));
    }
    let near: Vec<_> = candidates
        .iter()
        .take(3)
        .filter(|candidate| candidate.fit >= 0.5)
        .map(|candidate| format!("{} ({:.0} % of the tensors)", candidate.model, 100.0 * candidate.fit))
        .collect();
    if near.is_empty() {
        return "its tensors are like those of no published model; pass --model or --backbone".to_owned();
    }
    format!(
        "its tensors fit no published model, the nearest are {}; pass --model or --backbone",
        near.join(", ")
    )
}
