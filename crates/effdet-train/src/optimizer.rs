//! Optimisers with PyTorch's arithmetic, their state held by parameter name.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use effdet_nn::native::{self, AdamStep};
use serde::{Deserialize, Serialize};

use crate::clip::norm;
use crate::error::{in_range, shares};
use crate::{Error, Named};

/// An update rule and its constants.
///
/// The learning rate and the weight decay come with each step, since they differ between parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
pub enum Rule {
    /// `g' = g + λp`, `b = μb + (1 - δ)g'` (the first `b` is `g'`), `p -= η(g' + μb)` with Nesterov, else `p -= ηb`.
    ///
    /// # Reference
    /// `torch.optim.SGD`. Burn's dampening defaults to 0.1, this one to PyTorch's 0; the momentum to 0.9, PyTorch's to 0.
    Sgd {
        /// μ
        #[serde(default = "point_nine")]
        momentum: f64,
        /// δ
        #[serde(default)]
        dampening: f64,
        /// Whether the gradient is looked up ahead.
        #[serde(default)]
        nesterov: bool,
    },
    /// Adam with the decay added to the gradient.
    ///
    /// # Reference
    /// `torch.optim.Adam`.
    Adam(AdamConstants),
    /// Adam with the decay apart from the gradient.
    ///
    /// # Reference
    /// `torch.optim.AdamW`.
    AdamW(AdamConstants),
    /// Division by the running root mean square.
    ///
    /// # Reference
    /// `torch.optim.RMSprop`; with `tensorflow`, timm `RMSpropTF`: the mean square starts at one, epsilon is inside the
    /// root, the learning rate inside the momentum buffer. `alpha` defaults to timm's 0.9 (PyTorch's 0.99), `epsilon` to
    /// PyTorch's 1e-8 (timm's 1e-10).
    RmsProp {
        /// Smoothing of the mean square.
        #[serde(default = "point_nine")]
        alpha: f64,
        /// Added to the root, or inside it.
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// Momentum of the step.
        #[serde(default)]
        momentum: f64,
        /// Whether the running mean is subtracted.
        #[serde(default)]
        centered: bool,
        /// TensorFlow's arithmetic.
        #[serde(default)]
        tensorflow: bool,
    },
    /// Adam with the step of each tensor scaled to its norm.
    ///
    /// # Reference
    /// You et al. 2020; timm `Lamb`, its global gradient norm limit of 1 included.
    Lamb {
        /// Decay of the mean and of the mean square.
        #[serde(default = "betas")]
        betas: [f64; 2],
        /// Added to the root.
        #[serde(default = "lamb_epsilon")]
        epsilon: f64,
        /// Limit of the global gradient norm; 0 for none.
        #[serde(default = "one")]
        max_grad_norm: f64,
    },
    /// The sign of a blend of gradient and momentum.
    ///
    /// # Reference
    /// Chen et al. 2023; timm `Lion`.
    Lion {
        /// Blend of the step and of the momentum.
        #[serde(default = "lion_betas")]
        betas: [f64; 2],
    },
}

/// Constants of the Adam family.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamConstants {
    /// Decay of the mean and of the mean square.
    pub betas: [f64; 2],
    /// Added to the root. PyTorch's 1e-8; Burn's default is 1e-5.
    pub epsilon: f64,
}

impl Default for AdamConstants {
    fn default() -> Self {
        Self { betas: betas(), epsilon: epsilon() }
    }
}

fn point_nine() -> f64 {
    0.9
}

fn one() -> f64 {
    1.0
}

fn epsilon() -> f64 {
    1e-8
}

fn lamb_epsilon() -> f64 {
    1e-6
}

fn betas() -> [f64; 2] {
    [0.9, 0.999]
}

fn lion_betas() -> [f64; 2] {
    [0.9, 0.99]
}

impl Rule {
    /// Adam with PyTorch's constants.
    pub fn adam() -> Self {
        Self::Adam(AdamConstants::default())
    }

    /// AdamW with PyTorch's constants.
    pub fn adam_w() -> Self {
        Self::AdamW(AdamConstants::default())
    }

    /// SGD with momentum 0.9.
    pub fn sgd() -> Self {
        Self::Sgd { momentum: 0.9, dampening: 0.0, nesterov: false }
    }

    pub(crate) fn check(self) -> Result<(), Error> {
        let natural =
            |name: &str, value| in_range(name, value, |value| value >= 0.0, "0 or a positive number");
        match self {
            Self::Sgd { momentum, dampening, .. } => {
                shares("optimizer.momentum", &[momentum])?;
                in_range("optimizer.dampening", dampening, |d| (0.0..=1.0).contains(&d), "from 0 to 1")
            }
            Self::Adam(AdamConstants { betas, epsilon }) | Self::AdamW(AdamConstants { betas, epsilon }) => {
                shares("optimizer.betas", &betas)?;
                natural("optimizer.epsilon", epsilon)
            }
            Self::RmsProp { alpha, epsilon, momentum, .. } => {
                shares("optimizer.alpha", &[alpha])?;
                shares("optimizer.momentum", &[momentum])?;
                natural("optimizer.epsilon", epsilon)
            }
            Self::Lamb { betas, epsilon, max_grad_norm } => {
                shares("optimizer.betas", &betas)?;
                natural("optimizer.epsilon", epsilon)?;
                natural("optimizer.max_grad_norm", max_grad_norm)
            }
            Self::Lion { betas } => shares("optimizer.betas", &betas),
        }
    }

    /// What the momentum is called that one-cycle moves: μ or the first β.
    pub(crate) fn with_momentum(self, momentum: f64) -> Self {
        match self {
            Self::Sgd { dampening, nesterov, .. } => Self::Sgd { momentum, dampening, nesterov },
            Self::Adam(c) => Self::Adam(AdamConstants { betas: [momentum, c.betas[1]], ..c }),
            Self::AdamW(c) => Self::AdamW(AdamConstants { betas: [momentum, c.betas[1]], ..c }),
            Self::RmsProp { alpha, epsilon, centered, tensorflow, .. } => {
                Self::RmsProp { alpha, epsilon, momentum, centered, tensorflow }
            }
            Self::Lamb { betas, epsilon, max_grad_norm } => {
                Self::Lamb { betas: [momentum, betas[1]], epsilon, max_grad_norm }
            }
            Self::Lion { betas } => Self::Lion { betas: [momentum, betas[1]] },
        }
    }
}

/// What a parameter's update depends on besides its gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyper {
    /// Learning rate.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

/// What an optimiser remembers of one parameter.
#[derive(Clone, Debug, Default)]
pub struct ParameterState {
    /// Updates so far.
    pub step: u64,
    /// Running tensors, under PyTorch's names for them.
    pub slots: BTreeMap<String, Tensor<1>>,
}

impl ParameterState {
    fn take(&mut self, slot: &str) -> Option<Tensor<1>> {
        self.slots.remove(slot)
    }

    fn put(&mut self, slot: &str, value: &Tensor<1>) {
        self.slots.insert(slot.to_owned(), value.clone());
    }

    fn zeros_or(&mut self, slot: &str, like: &Tensor<1>) -> Tensor<1> {
        self.take(slot).unwrap_or_else(|| like.zeros_like())
    }
}

/// A rule and its state for every parameter it has updated.
#[derive(Clone, Debug)]
pub struct Optimizer {
    /// The rule.
    pub rule: Rule,
    /// The state, by parameter name.
    pub state: BTreeMap<String, ParameterState>,
}

impl Optimizer {
    /// An optimiser that has not made a step.
    pub fn new(rule: Rule) -> Self {
        Self { rule, state: BTreeMap::new() }
    }

    /// New values of the parameters that have a gradient; `values` lists at least those.
    pub fn step(&mut self, values: &Named, mut gradients: Named, hyper: impl Fn(&str) -> Hyper) -> Named {
        if let Rule::Lamb { max_grad_norm, .. } = self.rule
            && max_grad_norm > 0.0
            && let Some(norm) = norm(&gradients)
        {
            let divisor = norm.div_scalar(max_grad_norm).clamp_min(1.0);
            gradients = gradients.into_iter().map(|(name, g)| (name, g / divisor.clone())).collect();
        }
        let mut updated = Named::new();
        for (name, gradient) in gradients {
            let Some(value) = values.get(&name) else { continue };
            let state = self.state.entry(name.clone()).or_default();
            state.step += 1;
            let value = update(self.rule, hyper(&name), value.clone(), gradient, state);
            updated.insert(name, value);
        }
        updated
    }
}

fn update(rule: Rule, hyper: Hyper, p: Tensor<1>, g: Tensor<1>, state: &mut ParameterState) -> Tensor<1> {
    match rule {
        Rule::Sgd { momentum, dampening, nesterov } => sgd(hyper, p, g, state, momentum, dampening, nesterov),
        Rule::Adam(constants) => {
            let g = add_decay(g, &p, hyper.weight_decay);
            adam(Hyper { weight_decay: 0.0, ..hyper }, p, g, state, constants)
        }
        Rule::AdamW(constants) => adam(hyper, p, g, state, constants),
        Rule::RmsProp { alpha, epsilon, momentum, centered, tensorflow } => {
            let g = add_decay(g, &p, hyper.weight_decay);
            let constants = RmsPropConstants { alpha, epsilon, momentum, centered, tensorflow };
            rms_prop(hyper.lr, p, g, state, constants)
        }
        Rule::Lamb { betas, epsilon, .. } => lamb(hyper, p, g, state, betas, epsilon),
        Rule::Lion { betas: [beta1, beta2] } => {
            let p = decayed(p, hyper);
            let average = state.zeros_or("exp_avg", &g);
            let step = lerp(average.clone(), g.clone(), 1.0 - beta1);
            state.put("exp_avg", &lerp(average, g, 1.0 - beta2));
            p - step.sign().mul_scalar(hyper.lr)
        }
    }
}

/// The decay that is part of the gradient (L2).
fn add_decay(g: Tensor<1>, p: &Tensor<1>, weight_decay: f64) -> Tensor<1> {
    if weight_decay == 0.0 { g } else { g + p.clone().mul_scalar(weight_decay) }
}

/// The decay apart from the gradient.
fn decayed(p: Tensor<1>, hyper: Hyper) -> Tensor<1> {
    if hyper.weight_decay == 0.0 { p } else { p.mul_scalar(1.0 - hyper.lr * hyper.weight_decay) }
}

fn lerp(from: Tensor<1>, to: Tensor<1>, weight: f64) -> Tensor<1> {
    from.clone() + (to - from).mul_scalar(weight)
}

fn sgd(
    hyper: Hyper,
    p: Tensor<1>,
    g: Tensor<1>,
    state: &mut ParameterState,
    momentum: f64,
    dampening: f64,
    nesterov: bool,
) -> Tensor<1> {
    let g = add_decay(g, &p, hyper.weight_decay);
    if momentum == 0.0 {
        return p - g.mul_scalar(hyper.lr);
    }
    let buffer = match state.take("momentum_buffer") {
        None => g.clone(),
        Some(buffer) => buffer.mul_scalar(momentum) + g.clone().mul_scalar(1.0 - dampening),
    };
    state.put("momentum_buffer", &buffer);
    let step = if nesterov { g + buffer.mul_scalar(momentum) } else { buffer };
    p - step.mul_scalar(hyper.lr)
}

/// With the decay apart from the gradient.
fn adam(
    hyper: Hyper,
    p: Tensor<1>,
    g: Tensor<1>,
    state: &mut ParameterState,
    constants: AdamConstants,
) -> Tensor<1> {
    let AdamConstants { betas: [beta1, beta2], epsilon } = constants;
    let step = state.step as f64;
    let (average, square) = (state.zeros_or("exp_avg", &g), state.zeros_or("exp_avg_sq", &g));
    let correction1 = 1.0 - beta1.powf(step);
    let correction2 = (1.0 - beta2.powf(step)).sqrt();
    let rate = hyper.lr / correction1;
    let at_once = AdamStep {
        keep: 1.0 - hyper.lr * hyper.weight_decay,
        betas: [beta1, beta2],
        rate,
        root_scale: 1.0 / correction2,
        epsilon,
    };
    if let Some([value, average, square]) = native::adam([&p, &g, &average, &square], at_once) {
        state.put("exp_avg", &average);
        state.put("exp_avg_sq", &square);
        return value;
    }
    let average = lerp(average, g.clone(), 1.0 - beta1);
    let square = square.mul_scalar(beta2) + g.square().mul_scalar(1.0 - beta2);
    state.put("exp_avg", &average);
    state.put("exp_avg_sq", &square);
    let denominator = square.sqrt().div_scalar(correction2).add_scalar(epsilon);
    decayed(p, hyper) - (average / denominator).mul_scalar(rate)
}

struct RmsPropConstants {
    alpha: f64,
    epsilon: f64,
    momentum: f64,
    centered: bool,
    tensorflow: bool,
}

fn rms_prop(
    lr: f64,
    p: Tensor<1>,
    g: Tensor<1>,
    state: &mut ParameterState,
    constants: RmsPropConstants,
) -> Tensor<1> {
    let RmsPropConstants { alpha, epsilon, momentum, centered, tensorflow } = constants;
    let square = state.take("square_avg");
    let square = if tensorflow {
        lerp(square.unwrap_or_else(|| g.ones_like()), g.clone().square(), 1.0 - alpha)
    } else {
        square.unwrap_or_else(|| g.zeros_like()).mul_scalar(alpha)
            + g.clone().square().mul_scalar(1.0 - alpha)
    };
    state.put("square_avg", &square);
    let mut spread = square;
    if centered {
        let mean = lerp(state.zeros_or("grad_avg", &g), g.clone(), 1.0 - alpha);
        state.put("grad_avg", &mean);
        spread = spread - mean.square();
    }
    let root = if tensorflow { spread.add_scalar(epsilon).sqrt() } else { spread.sqrt().add_scalar(epsilon) };
    let step = g / root;
    if momentum == 0.0 {
        return p - step.mul_scalar(lr);
    }
    let buffer = state.zeros_or("momentum_buffer", &step).mul_scalar(momentum);
    // The learning rate goes into TensorFlow's buffer and onto PyTorch's.
    let (buffer, factor) = if tensorflow { (buffer + step.mul_scalar(lr), 1.0) } else { (buffer + step, lr) };
    state.put("momentum_buffer", &buffer);
    p - buffer.mul_scalar(factor)
}

fn lamb(
    hyper: Hyper,
    p: Tensor<1>,
    g: Tensor<1>,
    state: &mut ParameterState,
    betas: [f64; 2],
    epsilon: f64,
) -> Tensor<1> {
    let [beta1, beta2] = betas;
    let step = state.step as f64;
    let average = lerp(state.zeros_or("exp_avg", &g), g.clone(), 1.0 - beta1);
    let square = state.zeros_or("exp_avg_sq", &g).mul_scalar(beta2) + g.square().mul_scalar(1.0 - beta2);
    state.put("exp_avg", &average);
    state.put("exp_avg_sq", &square);
    let correction1 = 1.0 - beta1.powf(step);
    let correction2 = 1.0 - beta2.powf(step);
    let denominator = square.sqrt().div_scalar(correction2.sqrt()).add_scalar(epsilon);
    let mut update = average.div_scalar(correction1) / denominator;
    // Where nothing decays, nothing is rescaled either.
    if hyper.weight_decay != 0.0 {
        update = update + p.clone().mul_scalar(hyper.weight_decay);
        let norm = |x: &Tensor<1>| x.clone().square().sum().sqrt();
        let (p_norm, update_norm) = (norm(&p), norm(&update));
        let ratio = p_norm.clone() / update_norm.clone();
        let trivial = p_norm.lower_equal_elem(0.0).bool_or(update_norm.lower_equal_elem(0.0));
        update = update * ratio.mask_fill(trivial, 1.0);
    }
    p - update.mul_scalar(hyper.lr)
}
