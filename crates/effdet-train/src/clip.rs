//! Gradient clipping.

use burn::tensor::{DType, Tensor};
use effdet_nn::native;
use serde::{Deserialize, Serialize};

use crate::error::in_range;
use crate::{Error, Named, Parameter};

/// What happens to gradients before the update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "lowercase", deny_unknown_fields)]
pub enum Clip {
    /// Nothing.
    #[default]
    None,
    /// All gradients are scaled by one factor where the norm over all of them exceeds `limit`.
    ///
    /// # Reference
    /// `torch.nn.utils.clip_grad_norm_`. Burn's own clips the norm of each tensor.
    Norm {
        /// The limit.
        limit: f64,
    },
    /// Every element is cut to `[-limit, limit]`.
    ///
    /// # Reference
    /// `torch.nn.utils.clip_grad_value_`.
    Value {
        /// The limit.
        limit: f64,
    },
    /// Each output unit's gradient norm is cut to `factor` times the norm of its weights. Predictions (parameters with
    /// `predict` in their name) are left alone.
    ///
    /// # Reference
    /// Brock et al. 2021; timm `adaptive_clip_grad`, called as effdet's `train.py` does.
    Adaptive {
        /// The factor; 0.01 to 0.1.
        factor: f64,
    },
}

/// Least norm of a unit's weights, and of its gradient.
const LEAST_WEIGHT: f64 = 1e-3;
const LEAST_GRADIENT: f64 = 1e-6;

impl Clip {
    pub(crate) fn check(self) -> Result<(), Error> {
        let (name, value) = match self {
            Clip::None => return Ok(()),
            Clip::Norm { limit } | Clip::Value { limit } => ("clip.limit", limit),
            Clip::Adaptive { factor } => ("clip.factor", factor),
        };
        in_range(name, value, |value| value > 0.0, "a positive number; clip=none for no clipping")
    }

    /// The clipped gradients; `total` is their norm, read back from [`norm`].
    ///
    /// The norm is a number of the host, for a step looks at it anyway before it trusts the gradients, and most steps then
    /// have nothing to scale.
    pub fn apply(self, gradients: Named, total: f64, values: &Named, parameters: &[Parameter]) -> Named {
        let map = |f: &dyn Fn(&str, Tensor<1>) -> Tensor<1>| -> Named {
            gradients.clone().into_iter().map(|(name, g)| (name.clone(), f(&name, g))).collect()
        };
        match self {
            Clip::None => gradients,
            Clip::Norm { limit } => {
                let factor = limit / (total + 1e-6);
                if factor >= 1.0 { gradients } else { map(&|_, g| g.mul_scalar(factor)) }
            }
            Clip::Value { limit } => map(&|_, g| g.clamp(-limit, limit)),
            Clip::Adaptive { factor } => {
                let units = |name: &str| {
                    let shape = parameters.iter().find(|p| p.name == name).map(|p| p.shape.as_slice());
                    shape.filter(|shape| shape.len() > 1).map_or(1, |shape| shape[0])
                };
                map(&|name, g| match values.get(name) {
                    Some(value) if !name.contains("predict") => adaptive(value, g, units(name), factor),
                    _ => g,
                })
            }
        }
    }
}

fn adaptive(value: &Tensor<1>, gradient: Tensor<1>, units: usize, factor: f64) -> Tensor<1> {
    let count = value.dims()[0];
    let rows = [units, count / units.max(1)];
    let unit_norm = |x: Tensor<2>| x.square().sum_dim(1).sqrt();
    let gradient: Tensor<2> = gradient.reshape(rows);
    let limit = unit_norm(value.clone().reshape(rows)).clamp_min(LEAST_WEIGHT).mul_scalar(factor);
    let norm = unit_norm(gradient.clone());
    let scale = limit.clone() / norm.clone().clamp_min(LEAST_GRADIENT);
    let scale = scale.mask_fill(norm.lower(limit), 1.0);
    (gradient * scale).reshape([count])
}

/// The Euclidean norm over all of several tensors, one number; `None` of no tensors.
pub fn norm(tensors: &Named) -> Option<Tensor<1>> {
    let device = tensors.values().next()?.device();
    let none = Tensor::zeros([1], (&device, DType::F32));
    let kernels = tensors.values().try_fold(none, |before, tensor| native::add_squares(&before, tensor));
    let squares = kernels.unwrap_or_else(|| {
        Tensor::cat(tensors.values().map(|tensor| tensor.clone().square().sum()).collect(), 0).sum()
    });
    Some(squares.sqrt())
}
