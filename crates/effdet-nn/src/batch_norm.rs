//! Batch normalisation with PyTorch's semantics.

use burn::module::{Flag, Module, Param};
use burn::tensor::{Device, Tensor, assert_shape};

use crate::feature_map::FeatureMap;
use crate::{Activation, Buffer, Collective, Initializer};

/// Sizes and constants of a [`BatchNorm`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormConfig {
    /// Number of channels.
    pub channels: usize,
    /// Added to the variance. PyTorch's default is 1e-5; TensorFlow's EfficientNets use 1e-3.
    pub epsilon: f64,
    /// Weight of the new batch in the running statistics (PyTorch's convention; TensorFlow's is one minus this).
    pub momentum: f64,
    /// Applied to the result.
    pub activation: Activation,
}

impl BatchNormConfig {
    /// A batch norm with PyTorch's constants and no activation.
    pub fn new(channels: usize) -> Self {
        Self { channels, epsilon: 1e-5, momentum: 0.1, activation: Activation::Identity }
    }

    /// Sets what is added to the variance.
    pub fn with_epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// Sets the weight of a new batch in the running statistics.
    pub fn with_momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// Sets the activation applied to the result.
    pub fn with_activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// Builds the layer: in training mode on a device that records gradients, else in evaluation mode.
    pub fn init(&self, device: &Device) -> BatchNorm {
        let training = Param::from_bool(true);
        BatchNorm {
            weight: Initializer::Constant(1.0).init([self.channels], 1, device),
            bias: Initializer::Constant(0.0).init([self.channels], 1, device),
            running_mean: Buffer::new(Tensor::zeros([self.channels], device)),
            running_var: Buffer::new(Tensor::ones([self.channels], device)),
            training: if device.is_autodiff() { training } else { training.valid() },
            epsilon: self.epsilon,
            momentum: self.momentum,
            activation: self.activation,
        }
    }
}

/// Normalises each channel, then scales and shifts it and applies an activation.
///
/// `y = act((x - mean) / √(var + ε) · weight + bias)`. In training mode mean and variance are those of the batch and
/// the running statistics move towards them: `running = (1 - m) · running + m · batch`, where the batch's variance is
/// the *unbiased* one. In evaluation mode they are the running ones.
///
/// While a [`Collective`] is entered the batch is that of all workers.
///
/// The mode is the model's: [`Module::train`] and [`Module::valid`] set it, and freezing a layer
/// ([`Module::freeze_group`]) puts its norms in evaluation mode. A freshly built layer is in training mode on an
/// autodiff device and in evaluation mode elsewhere.
///
/// # Reference
/// PyTorch `BatchNorm2d`; timm `BatchNormAct2d`. Burn's own `BatchNorm` stores the biased variance.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// Scale, `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[channels]`.
    pub bias: Param<Tensor<1>>,
    /// Running mean, `[channels]`.
    pub running_mean: Buffer,
    /// Running unbiased variance, `[channels]`.
    pub running_var: Buffer,
    /// Whether batch statistics are used and recorded.
    pub training: Param<Flag>,
    #[module(skip)]
    epsilon: f64,
    #[module(skip)]
    momentum: f64,
    #[module(skip)]
    activation: Activation,
}

impl BatchNorm {
    /// Normalises.
    ///
    /// # Shapes
    /// - `input`, output: `[batch, channels, height, width]`
    ///
    /// # Panics
    /// If `input` has another number of channels.
    pub fn forward<M: FeatureMap>(&self, input: M) -> M {
        input.batch_norm(self)
    }

    /// Whether batch statistics are used and recorded.
    pub fn is_training(&self) -> bool {
        self.training.val().is_enabled()
    }

    pub(crate) fn normalize(&self, input: Tensor<4>) -> Tensor<4> {
        let [channels] = self.weight.lazy_shape().dims();
        assert_shape!(input, [_, channels, ..]);
        if self.is_training() {
            return self.forward_training(input);
        }
        if let Some(output) = self.normalize_frozen_natively(&input) {
            return output;
        }
        // Subtracting first keeps the digits that `x · scale + shift` loses where activations are far from zero.
        let [scale, mean, bias] = [self.scale(), self.running_mean.value(), self.bias.val()]
            .map(|vector| vector.reshape([1, channels, 1, 1]));
        let output = (input - mean) * scale + bias;
        self.activation.forward(output)
    }

    /// The per-channel factor of evaluation mode: `weight / √(running_var + ε)`.
    ///
    /// # Shapes
    /// - output: `[channels]`
    pub fn scale(&self) -> Tensor<1> {
        self.running_var.value().add_scalar(self.epsilon).sqrt().recip() * self.weight.val()
    }

    /// The activation applied to the result.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    fn forward_training(&self, input: Tensor<4>) -> Tensor<4> {
        if let Some(group) = Collective::current() {
            return self.forward_synchronised(input, &group);
        }
        let [batch, _, height, width] = input.dims();
        let count = batch * height * width;
        // Of no pixels there are no statistics, and the mean of nothing would stay in the running ones for ever.
        if count == 0 {
            return self.activation.forward(input);
        }
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let running = [self.running_mean.value(), self.running_var.value()];
        let (output, [mean, variance]) =
            self.normalize_natively(&input, [&weight, &bias], running.each_ref()).unwrap_or_else(|| {
                let result = burn::tensor::module::batch_norm_train(input, weight, bias, self.epsilon);
                let [mean, variance] = running;
                let unbiased = result.variance.mul_scalar(unbias(count));
                let blended =
                    [blend(mean, result.mean, self.momentum), blend(variance, unbiased, self.momentum)];
                (self.activation.forward(result.output), blended)
            });
        self.running_mean.set(mean);
        self.running_var.set(variance);
        output
    }

    /// As in training alone, with the statistics of all workers' pictures.
    fn forward_synchronised(&self, input: Tensor<4>, group: &Collective) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let Synchronised { output, mean, variance, count } = self
            .normalize_natively_across(&input, &weight, &bias, group)
            .unwrap_or_else(|| self.normalize_across(input, weight, bias, group));
        let unbiased = variance * (count.clone() / count.sub_scalar(1.0).clamp_min(1.0));
        self.running_mean.set(blend(self.running_mean.value(), mean, self.momentum));
        self.running_var.set(blend(self.running_var.value(), unbiased, self.momentum));
        output
    }

    /// Two passes, so that no digits are lost where activations are far from zero: sums, then squares about the mean.
    fn normalize_across(
        &self,
        input: Tensor<4>,
        weight: Tensor<1>,
        bias: Tensor<1>,
        group: &Collective,
    ) -> Synchronised {
        let [batch, channels, height, width] = input.dims();
        let plane = [1, channels, 1, 1];
        let sums = |map: Tensor<4>| map.sum_dim(3).sum_dim(2).sum_dim(0).reshape([channels]);
        let own = Tensor::full([1], (batch * height * width) as f64, (&input.device(), input.dtype()));
        let sum = group.all_reduce(Tensor::cat(vec![sums(input.clone()), own], 0));
        let (mean, count) = (sum.clone().narrow(0, 0, channels), sum.narrow(0, channels, 1).detach());
        let mean = mean / count.clone();
        let centred = input - mean.clone().reshape(plane);
        let variance = group.all_reduce(sums(centred.clone().square())) / count.clone();
        let scale = variance.clone().add_scalar(self.epsilon).sqrt().recip() * weight;
        let output = centred * scale.reshape(plane) + bias.reshape(plane);
        Synchronised { output: self.activation.forward(output), mean, variance, count }
    }

    #[cfg(feature = "flex")]
    fn normalize_natively_across(
        &self,
        input: &Tensor<4>,
        weight: &Tensor<1>,
        bias: &Tensor<1>,
        group: &Collective,
    ) -> Option<Synchronised> {
        let (epsilon, activation) = (self.epsilon, self.activation);
        let (output, [mean, variance], count) =
            crate::native::training::batch_norm_across(input, [weight, bias], epsilon, activation, group)?;
        let count = Tensor::full([1], count, &mean.device());
        Some(Synchronised { output, mean, variance, count })
    }

    #[cfg(not(feature = "flex"))]
    fn normalize_natively_across(
        &self,
        _: &Tensor<4>,
        _: &Tensor<1>,
        _: &Tensor<1>,
        _: &Collective,
    ) -> Option<Synchronised> {
        None
    }

    #[cfg(any(feature = "flex", feature = "cube"))]
    fn normalize_natively(
        &self,
        input: &Tensor<4>,
        affine: [&Tensor<1>; 2],
        running: [&Tensor<1>; 2],
    ) -> Option<(Tensor<4>, [Tensor<1>; 2])> {
        let numbers = (self.epsilon, self.momentum);
        crate::native::training::batch_norm(input, affine, running, numbers, self.activation)
    }

    #[cfg(any(feature = "flex", feature = "cube"))]
    fn normalize_frozen_natively(&self, input: &Tensor<4>) -> Option<Tensor<4>> {
        let statistics = [&self.running_mean.value(), &self.running_var.value()];
        let affine = [&self.weight.val(), &self.bias.val()];
        crate::native::training::frozen_norm(input, statistics, affine, self.epsilon, self.activation)
    }

    #[cfg(not(any(feature = "flex", feature = "cube")))]
    fn normalize_frozen_natively(&self, _: &Tensor<4>) -> Option<Tensor<4>> {
        None
    }

    #[cfg(not(any(feature = "flex", feature = "cube")))]
    fn normalize_natively(
        &self,
        _: &Tensor<4>,
        _: [&Tensor<1>; 2],
        _: [&Tensor<1>; 2],
    ) -> Option<(Tensor<4>, [Tensor<1>; 2])> {
        None
    }
}

/// Maps normalised with the biased statistics of all workers, and how many values of each channel they have, `[1]`.
struct Synchronised {
    output: Tensor<4>,
    mean: Tensor<1>,
    variance: Tensor<1>,
    count: Tensor<1>,
}

/// What the biased variance of so many values is multiplied by. Of a single value the unbiased one is 0/0; PyTorch refuses it,
/// here it is the biased one, zero.
pub(crate) fn unbias(values: usize) -> f64 {
    let values = values as f64;
    values / (values - 1.0).max(1.0)
}

fn blend(running: Tensor<1>, batch: Tensor<1>, momentum: f64) -> Tensor<1> {
    running.mul_scalar(1.0 - momentum) + batch.detach().mul_scalar(momentum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Tolerance;

    fn batch(device: &Device) -> Tensor<4> {
        Tensor::<1>::from_floats([1.0, 2.0, 3.0, 6.0, -1.0, 0.5, 4.0, 4.5], device).reshape([2, 2, 2, 1])
    }

    #[test]
    fn running_variance_is_the_unbiased_one() {
        let device = Device::flex().autodiff();
        let norm = BatchNormConfig::new(2).init(&device);
        norm.forward(batch(&device));
        // torch.nn.BatchNorm2d(2): channel 0 holds 1, 2, -1, .5; channel 1 holds 3, 6, 4, 4.5
        let mean = Tensor::<1>::from_floats([0.0625, 0.4375], &device).into_data();
        let var = Tensor::<1>::from_floats([0.9 + 0.1 * 1.562_5, 0.9 + 0.1 * 1.562_5], &device).into_data();
        norm.running_mean.value().into_data().assert_approx_eq::<f32>(&mean, Tolerance::strict());
        norm.running_var.value().into_data().assert_approx_eq::<f32>(&var, Tolerance::strict());
    }

    #[test]
    fn the_model_not_the_device_sets_the_mode() {
        let plain = Device::flex();
        let autodiff = plain.clone().autodiff();
        // built without gradients: evaluation, until told to train
        let norm = BatchNormConfig::new(2).init(&plain);
        assert!(!norm.training.val().is_enabled());
        assert!(norm.train().training.val().is_enabled());
        // built with gradients: training, until told to evaluate, also while inputs are still on that device
        let norm = BatchNormConfig::new(2).init(&autodiff);
        assert!(norm.training.val().is_enabled());
        let norm = norm.valid();
        norm.forward(batch(&plain));
        assert_eq!(norm.running_mean.value().into_data().try_to_vec::<f32>().unwrap(), [0.0, 0.0]);
        // frozen: evaluation on the training device
        let norm = BatchNormConfig::new(2).init(&autodiff).freeze();
        norm.forward(batch(&autodiff));
        assert_eq!(norm.running_mean.value().into_data().try_to_vec::<f32>().unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn statistics_of_a_clone_are_its_own() {
        let device = Device::flex().autodiff();
        let norm = BatchNormConfig::new(2).init(&device);
        let copy = norm.clone();
        norm.forward(batch(&device));
        assert_eq!(copy.running_mean.value().into_data().try_to_vec::<f32>().unwrap(), [0.0, 0.0]);
    }
}
