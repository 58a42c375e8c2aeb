//! Everything a run needs to go on as if it had never stopped.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use effdet_heads::Normalizer;
use effdet_weights::{Checkpoint, NamedTensors, save_named_tensors};
use serde::{Deserialize, Serialize};

use crate::{Error, LossScale, Losses, Named, NamedMetric, ParameterState, Plateau};

/// Version of the files written here.
const VERSION: u32 = 2;
/// Metadata key of the numbers.
const KEY: &str = "effdet.run";

/// Where a run is, and what it remembers besides tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Version of this record.
    pub version: u32,
    /// The configuration, as text, that the run was started with.
    pub config: String,
    /// The phase of the run (a frozen one, then a full one).
    pub phase: usize,
    /// Optimiser steps of this phase.
    pub phase_step: u64,
    /// Epochs completed in this phase.
    pub phase_epoch: u64,
    /// Epochs completed.
    pub epoch: u64,
    /// Batches of this epoch that have been used.
    pub batch: u64,
    /// Optimiser steps.
    pub step: u64,
    /// Sums of the losses of this epoch, and how many there are.
    pub sums: Losses,
    /// See `sums`.
    pub counted: u64,
    /// The last losses, for telling an explosion.
    pub recent: Vec<f64>,
    /// Steps left out in a row, and in all.
    pub bad_in_row: u64,
    /// See `bad_in_row`.
    pub bad: u64,
    /// Factor of the learning rate, below 1 after explosions.
    pub lr_factor: f64,
    /// What the plateau schedule remembers.
    pub plateau: Plateau,
    /// What the loss is divided by.
    pub normalizer: Normalizer,
    /// What losses are scaled by, where they are.
    #[serde(default)]
    pub loss_scale: Option<LossScale>,
    /// The best evaluation.
    pub best: Option<Best>,
    /// The best metric of this phase.
    #[serde(default)]
    pub phase_best: Option<f64>,
    /// Evaluations since.
    pub since_best: u64,
    /// Whether this phase ended early.
    pub stopped_early: bool,
    /// Weights that are kept as the best few, best first.
    pub kept: Vec<Best>,
    /// Every epoch so far.
    pub history: Vec<EpochRecord>,
    /// Length of the event file.
    pub events: u64,
}

/// An evaluation that counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The metric.
    pub value: f64,
    /// Epochs completed when it was made.
    pub epoch: u64,
}

/// The numbers of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Epochs completed with this one.
    pub epoch: u64,
    /// Steps made with this epoch.
    pub step: u64,
    /// Learning rate of its last step.
    pub lr: f64,
    /// Mean training losses.
    pub train: Losses,
    /// Mean validation losses, where it was evaluated.
    pub valid: Option<Losses>,
    /// The metrics, where it was evaluated.
    #[serde(with = "any_numbers")]
    pub metrics: Vec<NamedMetric>,
}

/// Numbers of JSON, which has no infinity: text where they are not finite.
pub(crate) mod any_number {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Number(f64),
        Text(String),
    }

    pub fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if number.is_finite() { serializer.serialize_f64(*number) } else { serializer.collect_str(number) }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Ok(number),
            Form::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

/// [`any_number`] for named ones.
mod any_numbers {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::NamedMetric;

    #[derive(Serialize, Deserialize)]
    struct Number(#[serde(with = "super::any_number")] f64);

    pub fn serialize<S: Serializer>(numbers: &[NamedMetric], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(numbers.iter().map(|(name, number)| (name, Number(*number))))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NamedMetric>, D::Error> {
        let numbers = Vec::<(String, Number)>::deserialize(deserializer)?;
        Ok(numbers.into_iter().map(|(name, Number(number))| (name, number)).collect())
    }
}

impl EpochRecord {
    /// A metric by its name.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }
}

/// The tensors of a run.
pub(crate) struct RunTensors {
    pub weights: Named,
    pub ema: Option<Named>,
    pub optimizer: BTreeMap<String, ParameterState>,
}

/// What the number of steps of each parameter is stored as, and the numbers of the run.
#[derive(Serialize, Deserialize)]
struct Record {
    state: RunState,
    /// Updates of each parameter, where they are not `step`.
    optimizer_steps: BTreeMap<String, u64>,
}

const WEIGHTS: &str = "weights/";
const EMA: &str = "ema/";
const OPTIMIZER: &str = "optimizer/";

/// Writes a run so that the file is whole or not there.
pub(crate) fn save(path: &Path, state: &RunState, tensors: &RunTensors) -> Result<(), Error> {
    let mut named = NamedTensors::new();
    let mut put = |name: String, tensor: &Tensor<1>| -> Result<(), Error> {
        let data = tensor.clone().try_into_data().map_err(|error| Error::ReadBack(format!("{error:?}")))?;
        named.insert(name, (data.shape().to_vec(), data.iter::<f32>().collect()));
        Ok(())
    };
    for (name, tensor) in &tensors.weights {
        put(format!("{WEIGHTS}{name}"), tensor)?;
    }
    for (name, tensor) in tensors.ema.iter().flatten() {
        put(format!("{EMA}{name}"), tensor)?;
    }
    for (name, parameter) in &tensors.optimizer {
        for (slot, tensor) in &parameter.slots {
            put(format!("{OPTIMIZER}{slot}/{name}"), tensor)?;
        }
    }
    let steps = tensors.optimizer.iter().map(|(name, parameter)| (name.clone(), parameter.step));
    let record =
        Record { state: RunState { version: VERSION, ..state.clone() }, optimizer_steps: steps.collect() };
    let text = serde_json::to_string(&record)
        .map_err(|error| Error::Resume { path: path.into(), reason: error.to_string() })?;
    Ok(save_named_tensors(path, &named, &BTreeMap::from([(KEY.to_owned(), text)]))?)
}

/// Reads a run back.
pub(crate) fn load(path: &Path, device: &Device) -> Result<(RunState, RunTensors), Error> {
    let refuse = |reason: String| Error::Resume { path: path.into(), reason };
    let checkpoint = Checkpoint::open(path)?;
    let text = checkpoint
        .metadata()
        .get(KEY)
        .ok_or_else(|| refuse("it holds weights but not the state of a run".into()))?;
    let record: Record = serde_json::from_str(text).map_err(|error| refuse(error.to_string()))?;
    if record.state.version != VERSION {
        return Err(refuse(format!("it is of version {}, this is version {VERSION}", record.state.version)));
    }
    let device = device.clone().without_autodiff();
    let (mut weights, mut ema) = (Named::new(), Named::new());
    let mut optimizer: BTreeMap<String, ParameterState> = record
        .optimizer_steps
        .into_iter()
        .map(|(name, step)| (name, ParameterState { step, ..ParameterState::default() }))
        .collect();
    for name in checkpoint.names() {
        let values = checkpoint.read_f32(name)?;
        let length = values.len();
        let tensor = Tensor::from_data(TensorData::new(values, [length]), &device);
        if let Some(name) = name.strip_prefix(WEIGHTS) {
            weights.insert(name.to_owned(), tensor);
        } else if let Some(name) = name.strip_prefix(EMA) {
            ema.insert(name.to_owned(), tensor);
        } else if let Some((slot, name)) = name.strip_prefix(OPTIMIZER).and_then(|rest| rest.split_once('/'))
        {
            optimizer.entry(name.to_owned()).or_default().slots.insert(slot.to_owned(), tensor);
        }
    }
    let ema = (!ema.is_empty()).then_some(ema);
    Ok((record.state, RunTensors { weights, ema, optimizer }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_not_finite_come_back() {
        let valid = Losses { total: f64::INFINITY, class: f64::NAN, boxes: 0.1 };
        let metrics = vec![("AP".to_owned(), f64::NEG_INFINITY), ("AP50".to_owned(), 0.3)];
        let record = EpochRecord { valid: Some(valid), metrics, ..EpochRecord::default() };
        let state = RunState { history: vec![record], ..RunState::default() };
        let text = serde_json::to_string(&state).unwrap();
        let back: RunState = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
        let [record] = back.history.as_slice() else { unreachable!() };
        assert_eq!(record.metrics, [("AP".to_owned(), f64::NEG_INFINITY), ("AP50".to_owned(), 0.3)]);
        assert!(record.valid.is_some_and(|valid| valid.total == f64::INFINITY && valid.class.is_nan()));
    }
}
