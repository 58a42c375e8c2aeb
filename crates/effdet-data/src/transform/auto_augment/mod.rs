//! AutoAugment and RandAugment for detection.

mod geometry;
mod levels;
mod ops;
mod policies;

use super::{Rng, Sample, Transform};
pub use geometry::GeometryOp;
pub use levels::LevelOp;
pub use ops::Op;
pub use policies::LearnedPolicy;

/// A step of a sub-policy: what, how likely, and how strong (0 to 10).
pub type Step = (Op, f64, f64);

/// A learned augmentation policy: for each picture one sub-policy is drawn, and its steps happen one after the other,
/// each with its probability.
///
/// Belongs before the resize: strengths are in pixels of the source picture.
///
/// # Reference
/// Zoph et al., *Learning Data Augmentation Strategies for Object Detection* (2019), the tables and constants of
/// google/automl `aug/autoaugment.py`. Boxes are not rounded to whole pixels on the way, and those moved out of the
/// picture are dropped, where automl puts a box of 5 % of the side at the border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AutoAugment {
    /// Which policy.
    pub policy: LearnedPolicy,
}

impl AutoAugment {
    /// The policy `policy`.
    pub fn new(policy: LearnedPolicy) -> Self {
        Self { policy }
    }
}

impl Transform for AutoAugment {
    fn apply(&self, mut sample: Sample, rng: &mut Rng) -> Sample {
        let steps = rng.choose(self.policy.sub_policies()).copied().unwrap_or_default();
        for &(op, probability, level) in steps {
            sample = op.apply_with(sample, probability, level, rng);
        }
        sample
    }
}

/// A number of operations drawn at random, all of one strength.
///
/// # Reference
/// Cubuk et al., *RandAugment* (2019), in the form of google/automl `aug/autoaugment.py`: ten operations, one layer of
/// magnitude 15 for detection, every drawn operation happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandAugment {
    /// Operations per picture.
    pub layers: usize,
    /// Their strength; 10 is the largest of AutoAugment.
    pub magnitude: f64,
}

impl Default for RandAugment {
    fn default() -> Self {
        Self { layers: 1, magnitude: 15.0 }
    }
}

impl Transform for RandAugment {
    fn apply(&self, mut sample: Sample, rng: &mut Rng) -> Sample {
        for _ in 0..self.layers {
            let op = rng.choose(&policies::RAND_AUGMENT).copied().unwrap_or(Op::Equalize);
            sample = op.apply_with(sample, 1.0, self.magnitude, rng);
        }
        sample
    }
}
