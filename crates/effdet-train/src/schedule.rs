//! Learning rates as functions of the step.

use effdet_data::transform::Rng;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::{in_range, shares};

/// What a schedule counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interval {
    /// Optimiser steps.
    Step,
    /// Epochs: the rate is constant within one, as effdet's `train.py` has it.
    #[default]
    Epoch,
}

/// How the learning rate changes over a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// What `t` counts.
    pub interval: Interval,
    /// The beginning.
    pub warmup: Warmup,
    /// The curve after it.
    pub curve: Curve,
    /// Noise on top of it.
    pub noise: Option<Noise>,
}

/// A rise to the learning rate at the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Warmup {
    /// How long; 0 for none.
    pub length: u64,
    /// The rate at `t = 0`, from where it rises by equal amounts (timm's `warmup_lr_init`). Without it the rate is
    /// `(t + 1) / length` of the learning rate.
    pub from: Option<f64>,
    /// Whether the curve starts when the warm-up ends, instead of running beneath it (timm's `warmup_prefix`).
    pub prefix: bool,
}

/// The curve of a schedule, `lr` being the learning rate and `total` the length of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Curve {
    /// `lr`
    #[default]
    Constant,
    /// `min + (lr - min) · (1 + cos(π t / total)) / 2 + lift · lr`
    Cosine {
        /// Rate at the end.
        #[serde(default)]
        min: f64,
        /// Part of the learning rate added all along.
        #[serde(default)]
        lift: f64,
    },
    /// `lr · rateᵗ`, in steps of `every`
    Step {
        /// Length of a step.
        every: u64,
        /// Factor at each.
        #[serde(default = "tenth")]
        rate: f64,
    },
    /// `min + (lr - min) · (1 - t / total)^power`
    Poly {
        /// The power.
        #[serde(default = "half")]
        power: f64,
        /// Rate at the end.
        #[serde(default)]
        min: f64,
    },
    /// Cosines from `lr / div` up to `lr` and down to `lr / div_final`, and the momentum the other way.
    ///
    /// # Reference
    /// Smith 2018; fastai `fit_one_cycle`.
    OneCycle {
        /// Part of the run that rises.
        #[serde(default = "quarter")]
        pct_start: f64,
        /// Divisor at the start.
        #[serde(default = "div")]
        div: f64,
        /// Divisor at the end.
        #[serde(default = "div_final")]
        div_final: f64,
        /// Momentum at the start, at the peak and at the end.
        #[serde(default = "moms")]
        moms: [f64; 3],
    },
    /// `lr · rateⁿ`, `n` the number of times the metric has not improved for `patience` evaluations.
    ///
    /// # Reference
    /// `torch.optim.lr_scheduler.ReduceLROnPlateau` with a relative threshold.
    Plateau {
        /// Factor at each.
        #[serde(default = "tenth")]
        rate: f64,
        /// Evaluations without improvement that are borne.
        #[serde(default = "ten")]
        patience: u64,
        /// Evaluations after a cut that do not count.
        #[serde(default)]
        cooldown: u64,
        /// What an improvement is, relative to the best.
        #[serde(default = "threshold")]
        threshold: f64,
        /// Least rate.
        #[serde(default)]
        min: f64,
    },
    /// `lr · start · (end / start)^(t / length)`, for the search of a rate.
    ///
    /// # Reference
    /// fastai `SchedExp`.
    Exponential {
        /// Factor at the start.
        start: f64,
        /// Factor at `length`.
        end: f64,
        /// Steps between the two.
        length: u64,
    },
}

fn tenth() -> f64 {
    0.1
}

fn half() -> f64 {
    0.5
}

fn quarter() -> f64 {
    0.25
}

fn div() -> f64 {
    25.0
}

fn div_final() -> f64 {
    1e5
}

fn moms() -> [f64; 3] {
    [0.95, 0.85, 0.95]
}

fn ten() -> u64 {
    10
}

fn threshold() -> f64 {
    1e-4
}

/// Random factors on the learning rate.
///
/// # Reference
/// timm's `noise_range_t`, `noise_pct`, `noise_std`, normal noise, with our random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// From and to which `t`.
    pub range: [u64; 2],
    /// Noise of this size or larger is drawn again.
    pub limit: f64,
    /// Standard deviation.
    #[serde(default = "unit")]
    pub std: f64,
}

fn unit() -> f64 {
    1.0
}

/// Where in a run a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Optimiser steps made.
    pub step: u64,
    /// Epochs completed.
    pub epoch: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Epochs of the whole run.
    pub total_epochs: u64,
}

/// The rate and, for one-cycle, the momentum of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Learning rate.
    pub lr: f64,
    /// Momentum, where the schedule moves it.
    pub momentum: Option<f64>,
}

impl Schedule {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let positive = |name: &str, value| in_range(name, value, |value| value > 0.0, "a positive number");
        let natural =
            |name: &str, value| in_range(name, value, |value| value >= 0.0, "0 or a positive number");
        natural("schedule.warmup.from", self.warmup.from.unwrap_or(0.0))?;
        match self.curve {
            Curve::Constant => {}
            Curve::Cosine { min, lift } => {
                natural("schedule.curve.min", min)?;
                natural("schedule.curve.lift", lift)?;
            }
            Curve::Step { every, rate } => {
                positive("schedule.curve.every", every as f64)?;
                positive("schedule.curve.rate", rate)?;
            }
            Curve::Poly { power, min } => {
                positive("schedule.curve.power", power)?;
                natural("schedule.curve.min", min)?;
            }
            Curve::OneCycle { pct_start, div, div_final, moms } => {
                shares("schedule.curve.pct_start", &[pct_start])?;
                positive("schedule.curve.div", div)?;
                positive("schedule.curve.div_final", div_final)?;
                shares("schedule.curve.moms", &moms)?;
            }
            Curve::Plateau { rate, threshold, min, .. } => {
                positive("schedule.curve.rate", rate)?;
                natural("schedule.curve.threshold", threshold)?;
                natural("schedule.curve.min", min)?;
            }
            Curve::Exponential { start, end, .. } => {
                positive("schedule.curve.start", start)?;
                positive("schedule.curve.end", end)?;
            }
        }
        if let Some(Noise { limit, std, .. }) = self.noise {
            natural("schedule.noise.limit", limit)?;
            natural("schedule.noise.std", std)?;
        }
        Ok(())
    }

    /// The rate at a position, `lr` being the learning rate of the run.
    ///
    /// Everything but [`Curve::Plateau`], which reads `plateau`, follows from the arguments.
    pub fn rate(&self, lr: f64, at: Position, plateau: &Plateau, seed: u64) -> Rate {
        let (t, total) = match self.interval {
            Interval::Step => (at.step, at.total_steps),
            Interval::Epoch => (at.epoch, at.total_epochs),
        };
        let Warmup { length, from, prefix } = self.warmup;
        if t < length {
            let lr = match from {
                Some(from) => from + t as f64 * ((lr - from) / length as f64),
                None => lr * ((t + 1) as f64 / length as f64),
            };
            return Rate { lr: self.noisy(lr, t, seed), momentum: None };
        }
        let (after, total) = if prefix { (t - length, total.saturating_sub(length)) } else { (t, total) };
        let rate = self.curve.at(lr, after, total.max(1), plateau);
        Rate { lr: self.noisy(rate.lr, t, seed), ..rate }
    }

    fn noisy(&self, lr: f64, t: u64, seed: u64) -> f64 {
        let Some(Noise { range: [from, to], limit, std }) = self.noise else { return lr };
        if t < from || t >= to || limit <= 0.0 {
            return lr;
        }
        let mut rng = Rng::for_sample(seed, t, NOISE);
        // A limit far below the deviation would take for ever.
        let draw = (0..1000).map(|_| rng.normal() * std).find(|noise| noise.abs() < limit);
        lr + lr * draw.unwrap_or(0.0)
    }
}

/// Keeps the noise's random numbers apart from those of the data.
const NOISE: u64 = u64::MAX - 1;

impl Curve {
    fn at(self, lr: f64, t: u64, total: u64, plateau: &Plateau) -> Rate {
        use std::f64::consts::PI;
        let pos = t as f64 / total as f64;
        let constant = |lr| Rate { lr, momentum: None };
        match self {
            Curve::Constant => constant(lr),
            Curve::Cosine { min, lift } => {
                // Past the end (cool-down epochs) the rate stays where the cosine ended.
                let cosine = if t >= total { -1.0 } else { (PI * pos).cos() };
                constant(min + 0.5 * (lr - min) * (1.0 + cosine) + lift * lr)
            }
            Curve::Step { every, rate } => {
                let count = i32::try_from(t / every.max(1)).unwrap_or(i32::MAX);
                constant(lr * rate.powi(count))
            }
            Curve::Poly { power, min } => constant(min + (lr - min) * (1.0 - pos.min(1.0)).powf(power)),
            Curve::OneCycle { pct_start, div, div_final, moms } => {
                let [low, high, end] = [lr / div, lr, lr / div_final];
                let (lr, momentum) = if pos < pct_start {
                    let pos = pos / pct_start;
                    (cosine(low, high, pos), cosine(moms[0], moms[1], pos))
                } else {
                    let pos = ((pos - pct_start) / (1.0 - pct_start)).min(1.0);
                    (cosine(high, end, pos), cosine(moms[1], moms[2], pos))
                };
                Rate { lr, momentum: Some(momentum) }
            }
            Curve::Plateau { rate, min, .. } => {
                let cuts = i32::try_from(plateau.cuts).unwrap_or(i32::MAX);
                constant((lr * rate.powi(cuts)).max(min))
            }
            Curve::Exponential { start, end, length } => {
                constant(lr * start * (end / start).powf(t as f64 / length.max(1) as f64))
            }
        }
    }
}

/// fastai's `SchedCos`.
fn cosine(start: f64, end: f64, pos: f64) -> f64 {
    start + (1.0 + (std::f64::consts::PI * (1.0 - pos)).cos()) * (end - start) / 2.0
}

/// What [`Curve::Plateau`] remembers of the metric, larger being better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// The best so far.
    pub best: Option<f64>,
    /// Evaluations since.
    pub bad: u64,
    /// Evaluations that do not count yet.
    pub cooldown: u64,
    /// Cuts so far.
    pub cuts: u64,
}

impl Plateau {
    /// Takes note of an evaluation.
    pub fn update(&mut self, curve: &Curve, metric: f64) {
        let Curve::Plateau { patience, cooldown, threshold, .. } = *curve else { return };
        if self.best.is_none_or(|best| metric > best * (threshold + 1.0)) {
            self.best = Some(metric);
            self.bad = 0;
        } else {
            self.bad += 1;
        }
        if self.cooldown > 0 {
            self.cooldown -= 1;
            self.bad = 0;
        }
        if self.bad > patience {
            self.cuts += 1;
            self.cooldown = cooldown;
            self.bad = 0;
        }
    }
}
