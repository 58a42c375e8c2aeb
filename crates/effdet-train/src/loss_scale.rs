//! Scaling of losses, for gradients in half precision.

use serde::{Deserialize, Serialize};

/// How losses are scaled.
///
/// # Reference
/// `torch.amp.GradScaler`, with its constants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossScaling {
    /// First factor.
    pub initial: f64,
    /// What the factor is multiplied by after `interval` steps without an overflow.
    pub growth: f64,
    /// What it is multiplied by after an overflow.
    pub backoff: f64,
    /// See `growth`.
    pub interval: u64,
}

impl Default for LossScaling {
    fn default() -> Self {
        Self { initial: 65536.0, growth: 2.0, backoff: 0.5, interval: 2000 }
    }
}

/// What losses are scaled by. It belongs to the state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// The factor.
    pub factor: f64,
    /// Steps since it changed.
    pub steps: u64,
    /// Steps that were left out because gradients overflowed.
    pub overflows: u64,
}

impl LossScale {
    /// The first factor.
    pub fn new(scaling: &LossScaling) -> Self {
        Self { factor: scaling.initial, steps: 0, overflows: 0 }
    }

    /// Whether gradients that are not finite may be so because of the factor.
    pub fn is_suspect(&self) -> bool {
        self.factor > 1.0
    }

    /// Takes note of a step whose gradients were finite.
    pub fn kept(&mut self, scaling: &LossScaling) {
        self.steps += 1;
        if self.steps >= scaling.interval {
            (self.factor, self.steps) = (self.factor * scaling.growth, 0);
        }
    }

    /// Takes note of a step whose gradients overflowed. The factor does not fall below 1.
    pub fn overflowed(&mut self, scaling: &LossScaling) {
        self.factor = (self.factor * scaling.backoff).max(1.0);
        self.steps = 0;
        self.overflows += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_grows_after_quiet_steps_and_falls_after_an_overflow() {
        let scaling = LossScaling { initial: 8.0, interval: 3, ..LossScaling::default() };
        let mut scale = LossScale::new(&scaling);
        let mut factors = Vec::new();
        for overflow in [false, false, false, true, false, false, true, true, true, true] {
            if overflow {
                scale.overflowed(&scaling)
            } else {
                scale.kept(&scaling)
            }
            factors.push(scale.factor);
        }
        assert_eq!(factors, [8.0, 8.0, 16.0, 8.0, 8.0, 8.0, 4.0, 2.0, 1.0, 1.0]);
        assert_eq!(scale, LossScale { factor: 1.0, steps: 0, overflows: 5 });
        assert!(!scale.is_suspect());
    }
}
