//! Stochastic depth.

use burn::module::{Flag, Module, Param};
use burn::tensor::{Device, Distribution, Tensor};

use crate::Collective;
use crate::feature_map::FeatureMap;

/// In training mode drops the whole residual branch of a picture with probability `rate` and scales the kept ones by
/// `1 / (1 - rate)`; otherwise does nothing.
///
/// The mode is the model's, as with [`BatchNorm`](crate::BatchNorm).
///
/// # Reference
/// Huang et al. 2016, "Deep Networks with Stochastic Depth"; timm `DropPath`.
#[derive(Module, Debug)]
pub struct DropPath {
    training: Param<Flag>,
    #[module(skip)]
    rate: f64,
}

impl DropPath {
    /// Drops branches with this probability, in `[0, 1)`.
    pub fn new(rate: f64, device: &Device) -> Self {
        let training = Param::from_bool(true);
        Self { training: if device.is_autodiff() { training } else { training.valid() }, rate }
    }

    /// Drops the branch of some pictures.
    ///
    /// # Shapes
    /// - `input`, output: `[batch, channels, height, width]`
    pub fn forward<M: FeatureMap>(&self, input: M) -> M {
        if self.rate == 0.0 || !self.training.val().is_enabled() {
            return input;
        }
        let [output] = input.opaque("drop path in training mode", |input| [self.drop(input)]);
        output
    }

    fn drop(&self, input: Tensor<4>) -> Tensor<4> {
        let [batch, ..] = input.dims();
        let keep = 1.0 - self.rate;
        let (shape, device) = ([batch, 1, 1, 1], input.device());
        let kept = match Collective::current() {
            // Of one batch, whichever worker has a picture of it.
            Some(group) => {
                Tensor::<1>::from_data(group.draw(batch, keep), (&device, input.dtype())).reshape(shape)
            }
            None => Tensor::random(shape, Distribution::Bernoulli(keep), (&device, input.dtype())),
        };
        input * kept.div_scalar(keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_expectation_in_training_and_does_nothing_otherwise() {
        let device = Device::flex().autodiff();
        device.seed(3);
        let layer = DropPath::new(0.25, &device);
        let values =
            layer.forward(Tensor::ones([4000, 1, 1, 1], &device)).into_data().try_to_vec::<f32>().unwrap();
        assert!(values.iter().all(|v| *v == 0.0 || (*v - 4.0 / 3.0).abs() < 1e-6));
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
        let plain = layer.valid().forward(Tensor::ones([8, 1, 1, 1], &Device::flex()));
        assert_eq!(plain.into_data().try_to_vec::<f32>().unwrap(), [1.0; 8]);
    }
}
