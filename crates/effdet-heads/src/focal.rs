//! The focal loss over all logits, most of which are negative.

use burn::tensor::{Device, Int, Tensor, TensorData};
use effdet_nn::native::{focal_negatives, with_gradient as with_gradient_of};

use crate::places::PlaceOrder;

/// The focal loss, divided by `normalizer`.
///
/// With `p = σ(x)`, a negative logit costs `(1 - α) pᵞ · ce(x)` and a positive one `α (1 - p)ᵞ · ce(-x)`, where
/// `ce(x) = ln(1 + eˣ) - s/2 · x` and `s` is the label smoothing. The modulating factor is not smoothed.
///
/// # Reference
/// Lin et al. 2017, "Focal Loss"; effdet `new_focal_loss` and, without smoothing, `focal_loss_legacy`.
pub(crate) struct Focal<'a> {
    pub(crate) alpha: f64,
    pub(crate) gamma: f64,
    pub(crate) smoothing: f64,
    pub(crate) class_weights: Option<&'a [f64]>,
    pub(crate) num_classes: usize,
    pub(crate) normalizer: f64,
}

/// The logits of a level that are no negatives: places and classes.
pub(crate) struct ClassSample {
    pub(crate) order: PlaceOrder,
    pub(crate) positive: Vec<(i64, usize)>,
    pub(crate) ignored: Vec<(i64, usize)>,
}

impl Focal<'_> {
    /// The loss of a level, `[1]`.
    ///
    /// The gradient is computed along with the value and then enters the graph as a constant factor of the logits, so
    /// that nothing of the size of the logits is kept for the backward pass but the gradient itself.
    ///
    /// # Shapes
    /// - `logits`: `[batch, anchors · classes, height, width]`
    pub(crate) fn forward(&self, logits: Tensor<4>, sample: &ClassSample) -> Tensor<1> {
        let with_gradient = logits.is_autodiff();
        let x = logits.clone().inner();
        let (device, dtype, dims) = (x.device(), x.dtype(), x.dims());

        let negative = (1.0 - self.alpha) / self.normalizer;
        let weights = self.class_weights.map(|weights| {
            let weights = weights.repeat(dims[1] / self.num_classes);
            Tensor::<1>::from_data(TensorData::from(weights.as_slice()), (&device, dtype))
                .reshape([1, dims[1], 1, 1])
        });
        let weigh = |dense: Tensor<4>| match &weights {
            Some(weights) => dense * weights.clone(),
            None => dense,
        };
        let at_once = || {
            let plain = with_gradient && weights.is_none();
            plain.then(|| focal_negatives(&x, self.gamma, self.smoothing / 2.0, negative)).flatten()
        };
        let (mut value, mut gradient) = match at_once() {
            Some((value, gradient)) => (value, Some(gradient)),
            None => {
                let terms = self.terms(x.clone(), with_gradient);
                let value = weigh(terms.loss).sum().mul_scalar(negative);
                (value, terms.gradient.map(|g| weigh(g).mul_scalar(negative)))
            }
        };

        let mut correct = |places: &[(i64, usize)], positive: f64| {
            if places.is_empty() {
                return;
            }
            let indices = self.indices(places, &device);
            let weights =
                self.weights_of(places).map(|w| Tensor::<1>::from_data(w.as_slice(), (&device, dtype)));
            let weigh = |values: Tensor<1>| match &weights {
                Some(weights) => values * weights.clone(),
                None => values,
            };
            let x = sample.order.take(&x, &indices);
            let (now, wanted) = (self.terms(x.clone(), with_gradient), self.terms(x.neg(), with_gradient));
            let loss = wanted.loss.mul_scalar(positive) - now.loss.mul_scalar(negative);
            value = value.clone() + weigh(loss).sum();
            if let (Some(dense), Some(wanted), Some(now)) = (gradient.take(), wanted.gradient, now.gradient) {
                let change = wanted.mul_scalar(-positive) - now.mul_scalar(negative);
                gradient = Some(sample.order.add(dense, &indices, weigh(change)));
            }
        };
        correct(&sample.positive, self.alpha / self.normalizer);
        correct(&sample.ignored, 0.0);

        match gradient {
            Some(gradient) => {
                if let Some(loss) = with_gradient_of(&logits, &value, &gradient) {
                    return loss;
                }
                let linear = (logits * gradient).sum();
                // the value alone, with the slope of the linear form
                linear.clone() - linear.detach() + value
            }
            None => value,
        }
    }

    fn indices(&self, places: &[(i64, usize)], device: &Device) -> Tensor<1, Int> {
        let indices: Vec<i64> = places.iter().map(|(place, _)| *place).collect();
        Tensor::from_data(indices.as_slice(), device)
    }

    fn weights_of(&self, places: &[(i64, usize)]) -> Option<Vec<f64>> {
        self.class_weights.map(|weights| places.iter().map(|(_, class)| weights[*class]).collect())
    }

    /// `pᵞ · ce(x)` and its derivative `pᵞ (γ (1 - p) ce(x) + p - s/2)`, finite for any finite `x`.
    fn terms<const D: usize>(&self, x: Tensor<D>, with_gradient: bool) -> Terms<D> {
        let half = self.smoothing / 2.0;
        let log1p = x.clone().abs().neg().exp().log1p();
        let log_p = x.clone().clamp_max(0.0) - log1p.clone();
        let softplus = x.clone().clamp_min(0.0) + log1p;
        let cross_entropy = if half == 0.0 { softplus } else { softplus - x.mul_scalar(half) };
        let factor = log_p.clone().mul_scalar(self.gamma).exp();
        let gradient = with_gradient.then(|| {
            let p = log_p.exp();
            let slope = (p.clone().neg().add_scalar(1.0) * cross_entropy.clone()).mul_scalar(self.gamma);
            factor.clone() * (slope + p.sub_scalar(half))
        });
        Terms { loss: factor * cross_entropy, gradient }
    }
}

struct Terms<const D: usize> {
    loss: Tensor<D>,
    gradient: Option<Tensor<D>>,
}
