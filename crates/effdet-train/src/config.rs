//! How a run trains.

use effdet_heads::{DetectionLossConfig, MatchOptions};
use serde::{Deserialize, Serialize};

use crate::error::in_range;
use crate::{
    AdamConstants, Clip, Curve, DecayMask, EmaConfig, Error, Interval, LossScaling, Part, Precision, Rule,
    Schedule, Warmup,
};

/// Everything that decides the weights of a run, given a model, data and their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Seed of the weights, the order of the pictures, their transforms, and dropped paths.
    pub seed: u64,
    /// Passes over the training set.
    pub epochs: u64,
    /// Learning rate.
    pub lr: f64,
    /// The batch size that `lr` is meant for: it is multiplied by pictures per step over this. 0: as it is.
    pub lr_batch_size: usize,
    /// Batches per step. Their gradients are averaged.
    pub accumulate: u64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Which parameters decay.
    pub decay: DecayMask,
    /// Factor of the learning rate per part away from the heads (stages, feature network); 1 for none.
    pub layer_decay: f64,
    /// Factors of the learning rate for backbone, feature network and heads.
    pub group_lr: [f64; 3],
    /// Parts that do not train.
    pub freeze: Vec<Part>,
    /// Whether the batch norms of parts that do not train do so all the same, as fastai's `train_bn` has it.
    pub train_frozen_norms: bool,
    /// Whether no batch norm takes in statistics, also in parts that train.
    pub freeze_batch_norm: bool,
    /// Whether activations are recomputed in the backward pass where that is cheap. A model that is not made by
    /// [`RunConfig::prepare`](crate::RunConfig::prepare) must be made for it
    /// ([`DetectorModel::with_gradient_checkpointing`](crate::DetectorModel::with_gradient_checkpointing)).
    pub gradient_checkpointing: bool,
    /// What convolutions compute in; all else is of single precision.
    pub precision: Precision,
    /// Weight of the past in the number that the loss is divided by; 0: the positive anchors of each batch.
    pub normalizer_momentum: f64,
    /// Epochs between evaluations; the last one is always evaluated.
    pub validate_every: u64,
    /// Detections with a lower score are left out of the evaluation.
    pub score_threshold: f32,
    /// The metric that decides which checkpoint is best: larger is better.
    pub monitor: String,
    /// Evaluations without improvement after which the phase ends; 0 for never.
    pub early_stop: u64,
    /// Steps between reports.
    pub log_every: u64,
    /// What happens when the loss is not finite or explodes.
    pub bad_step: BadStepPolicy,
    /// A loss this many times the mean of the last steps counts as an explosion; 0 for never.
    pub explosion: f64,
    /// The update rule.
    pub optimizer: Rule,
    /// The learning rate over time.
    pub schedule: Schedule,
    /// Gradient clipping.
    pub clip: Clip,
    /// Averaged weights, which are then what is evaluated and saved.
    pub ema: Option<EmaConfig>,
    /// How losses are scaled so that small gradients survive half precision. Without it, as usual with `f16` and not at
    /// all otherwise.
    pub loss_scaling: Option<LossScaling>,
    /// The loss.
    pub loss: DetectionLossConfig,
    /// The matching of anchors and objects.
    pub matching: MatchOptions,
    /// When checkpoints are written.
    pub checkpoint: CheckpointPolicy,
}

/// What happens when a loss or gradient is not finite, or the loss explodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadStepPolicy {
    /// The run ends with an error; the last checkpoint is from before.
    Stop,
    /// The step is left out. After ten in a row the run ends.
    #[default]
    Skip,
    /// The step is left out and the learning rate halved from there on. After ten in a row the run ends.
    Halve,
}

/// When checkpoints are written, besides at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointPolicy {
    /// Epochs between checkpoints; 0 for none.
    pub every_epochs: u64,
    /// Steps between checkpoints within an epoch; 0 for none.
    pub every_steps: u64,
    /// Seconds between checkpoints within an epoch; 0 for none.
    pub every_seconds: u64,
    /// How many of the best weights are kept, besides `best.safetensors`.
    pub top_k: usize,
}

impl Default for CheckpointPolicy {
    fn default() -> Self {
        Self { every_epochs: 1, every_steps: 0, every_seconds: 300, top_k: 0 }
    }
}

impl Default for TrainConfig {
    /// AdamW at 1e-3 with one-cycle, the global norm of gradients limited to 10.
    fn default() -> Self {
        Self {
            seed: 0,
            epochs: 10,
            lr: 1e-3,
            lr_batch_size: 0,
            accumulate: 1,
            weight_decay: 1e-2,
            decay: DecayMask::Weights,
            layer_decay: 1.0,
            group_lr: [1.0; 3],
            freeze: Vec::new(),
            train_frozen_norms: false,
            freeze_batch_norm: false,
            gradient_checkpointing: false,
            precision: Precision::F32,
            normalizer_momentum: 0.0,
            validate_every: 1,
            score_threshold: 0.001,
            monitor: "AP".to_owned(),
            early_stop: 0,
            log_every: 10,
            bad_step: BadStepPolicy::default(),
            explosion: 0.0,
            optimizer: Rule::adam_w(),
            schedule: Schedule::one_cycle(),
            clip: Clip::Norm { limit: 10.0 },
            ema: None,
            loss_scaling: None,
            loss: DetectionLossConfig::default(),
            matching: MatchOptions::default(),
            checkpoint: CheckpointPolicy::default(),
        }
    }
}

impl Schedule {
    /// fastai's one-cycle.
    pub fn one_cycle() -> Self {
        let curve = Curve::OneCycle { pct_start: 0.25, div: 25.0, div_final: 1e5, moms: [0.95, 0.85, 0.95] };
        Self { interval: Interval::Step, curve, ..Self::default() }
    }
}

impl TrainConfig {
    /// A recipe for training from random weights, that of the blood cells in the book, and 60 epochs: AdamW at 2e-3 with
    /// decay 1e-4 on all parameters, 100 steps of warm-up and a cosine by steps, gradient norm 10, averages of 0.99.
    pub fn reference() -> Self {
        Self {
            epochs: 60,
            lr: 2e-3,
            weight_decay: 1e-4,
            decay: DecayMask::All,
            schedule: Schedule {
                interval: Interval::Step,
                warmup: Warmup { length: 100, from: None, prefix: true },
                curve: Curve::Cosine { min: 0.0, lift: 1e-3 },
                noise: None,
            },
            ema: Some(EmaConfig { decay: 0.99, ..EmaConfig::default() }),
            ..Self::default()
        }
    }

    /// What a fastai learner does: Adam with decay 0.01 apart from the gradient on all but norms and biases, one cycle,
    /// no clipping.
    ///
    /// # Reference
    /// fastai `Learner` and `Adam`.
    pub fn fastai() -> Self {
        let adam = AdamConstants { betas: [0.9, 0.99], epsilon: 1e-5 };
        Self { optimizer: Rule::AdamW(adam), weight_decay: 1e-2, clip: Clip::None, ..Self::default() }
    }

    /// The defaults of the reference's train script: SGD with momentum at 0.01, decay 4e-5, a cosine by epochs with
    /// five of warm-up, gradient norm 10, averages of 0.9998.
    ///
    /// # Reference
    /// effdet `train.py --model-ema`.
    pub fn effdet_script() -> Self {
        Self {
            epochs: 300,
            lr: 0.01,
            weight_decay: 4e-5,
            optimizer: Rule::sgd(),
            schedule: Schedule {
                interval: Interval::Epoch,
                warmup: Warmup { length: 5, from: Some(1e-4), prefix: false },
                curve: Curve::Cosine { min: 1e-5, lift: 0.0 },
                noise: None,
            },
            ema: Some(EmaConfig::default()),
            ..Self::default()
        }
    }

    /// The settings that the weights depend on, as text: two runs with equal ones are the same run.
    pub(crate) fn fingerprint(&self) -> String {
        let same = Self {
            bad_step: BadStepPolicy::default(),
            checkpoint: CheckpointPolicy { top_k: self.checkpoint.top_k, ..CheckpointPolicy::default() },
            ..self.clone()
        };
        toml::to_string(&same).unwrap_or_default()
    }

    /// What `lr` is multiplied by where a batch of all workers has so many pictures.
    pub(crate) fn lr_scale(&self, batch_size: usize) -> f64 {
        let per_step = batch_size as f64 * self.accumulate as f64;
        if self.lr_batch_size == 0 { 1.0 } else { per_step / self.lr_batch_size as f64 }
    }

    /// How losses are scaled, if they are.
    pub(crate) fn scaling(&self) -> Option<LossScaling> {
        self.loss_scaling.or_else(|| (self.precision == Precision::F16).then(LossScaling::default))
    }

    /// Refuses settings out of their range.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first.
    pub fn check(&self) -> Result<(), Error> {
        let positive = [("lr", self.lr), ("layer_decay", self.layer_decay)];
        for (name, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::setting(name, value, "a positive number"));
            }
        }
        let natural = [("weight_decay", self.weight_decay), ("explosion", self.explosion)];
        for (name, value) in natural {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::setting(name, value, "0 or a positive number"));
            }
        }
        for (name, value) in [("accumulate", self.accumulate), ("epochs", self.epochs)] {
            if value == 0 {
                return Err(Error::setting(name, value, "at least 1"));
            }
        }
        if let Some(ema) = self.ema
            && !(0.0..1.0).contains(&ema.decay)
        {
            return Err(Error::setting("ema.decay", ema.decay, "at least 0 and below 1"));
        }
        if let Some(LossScaling { initial, growth, backoff, interval }) = self.loss_scaling {
            let above = |value: f64, least: f64| value.is_finite() && value >= least;
            for (name, value, valid, expected) in [
                ("loss_scaling.initial", initial, above(initial, 1.0), "at least 1"),
                ("loss_scaling.growth", growth, above(growth, 1.0), "at least 1"),
                ("loss_scaling.backoff", backoff, backoff > 0.0 && backoff < 1.0, "between 0 and 1"),
                ("loss_scaling.interval", interval as f64, interval > 0, "at least 1"),
            ] {
                if !valid {
                    return Err(Error::setting(name, value, expected));
                }
            }
        }
        if !(0.0..1.0).contains(&self.normalizer_momentum) {
            return Err(Error::setting(
                "normalizer_momentum",
                self.normalizer_momentum,
                "at least 0 and below 1",
            ));
        }
        for factor in self.group_lr {
            in_range("group_lr", factor, |factor| factor >= 0.0, "0 or a positive number")?;
        }
        self.optimizer.check()?;
        self.schedule.check()?;
        self.clip.check()?;
        self.loss.init()?;
        self.matching.validate()?;
        Ok(())
    }
}
