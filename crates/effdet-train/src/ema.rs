//! The running average of the weights.

use effdet_nn::native;
use serde::{Deserialize, Serialize};

use crate::Named;

/// How weights are averaged over the steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmaConfig {
    /// Weight of the past.
    pub decay: f64,
    /// Whether the decay starts small: `min(decay, 1 - (1 + s / gamma)^-power)` at step `s`.
    pub warmup: bool,
    /// See `warmup`.
    pub gamma: f64,
    /// See `warmup`.
    pub power: f64,
    /// Steps between updates.
    pub every: u64,
}

impl Default for EmaConfig {
    /// effdet's decay, every step, no warm-up.
    fn default() -> Self {
        Self { decay: 0.9998, warmup: false, gamma: 1.0, power: 2.0 / 3.0, every: 1 }
    }
}

impl EmaConfig {
    /// The decay after `step` steps, from 1.
    ///
    /// # Reference
    /// timm `ModelEmaV3.get_decay`: the first update of a warm-up copies.
    pub fn decay_at(&self, step: u64) -> f64 {
        if !self.warmup {
            return self.decay;
        }
        let step = step.saturating_sub(1) as f64;
        (1.0 - (1.0 + step / self.gamma).powf(-self.power)).min(self.decay)
    }
}

/// The averaged weights and statistics, batch-norm statistics included.
///
/// # Reference
/// timm `ModelEmaV2`; with warm-up `ModelEmaV3`.
#[derive(Clone, Debug)]
pub struct Ema {
    /// How it is averaged.
    pub config: EmaConfig,
    /// The averages.
    pub values: Named,
}

impl Ema {
    /// Starts from `values`.
    pub fn new(config: EmaConfig, values: Named) -> Self {
        Self { config, values }
    }

    /// Moves the averages towards `values` after step `step`, counted from 1: `a = d · a + (1 - d) · v`.
    pub fn update(&mut self, values: Named, step: u64) {
        if !step.is_multiple_of(self.config.every.max(1)) {
            return;
        }
        let decay = self.config.decay_at(step);
        for (name, value) in values {
            if let Some(average) = self.values.remove(&name) {
                let mixed = native::mix(&average, &value, [decay, 1.0 - decay]);
                let mixed =
                    mixed.unwrap_or_else(|| average.mul_scalar(decay) + value.mul_scalar(1.0 - decay));
                self.values.insert(name, mixed);
            }
        }
    }
}
