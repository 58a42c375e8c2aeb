//! The initialisers of the official TensorFlow code, as timm and effdet state them.

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Distribution, Shape, Tensor};

/// How a weight is drawn.
///
/// `fan_in` is the product of every dimension but the first; `fan_out` is the product of every dimension but the
/// second, divided by the number of groups where a variant says so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initializer {
    /// Every element the same.
    Constant(f64),
    /// Normal with this standard deviation.
    Normal(f64),
    /// Normal with standard deviation `√(2 / fan_out)`, `fan_out` divided by the groups: timm
    /// `_init_weight_goog`, the EfficientNet backbones.
    FanOutNormal,
    /// Normal with standard deviation `√(2 / fan_out)`, groups not considered: timm's ResNet and CSP nets
    /// (PyTorch `kaiming_normal_`, fan out, ReLU).
    KaimingFanOut,
    /// Normal with standard deviation `√(1 / fan_in)`: effdet `_variance_scaling`, the heads.
    FanInNormal,
    /// Uniform with limit `√(3 / mean(fan_in, fan_out))`, `fan_out` divided by the groups: effdet
    /// `_glorot_uniform`, the feature network.
    GlorotUniform,
    /// Uniform with limit `√(3 / mean(fan_in, fan_out))`, groups not considered: timm's attention (PyTorch
    /// `xavier_uniform_`).
    XavierUniform,
    /// Uniform with limit `√(1 / fan_out)` where `fan_out` is the first dimension: timm's classifier.
    FanOutUniform,
}

impl Initializer {
    /// A trainable parameter of this shape, drawn when it is first used.
    ///
    /// Loading a checkpoint into it before that costs no draw.
    pub fn init<const D: usize>(self, shape: [usize; D], groups: usize, device: &Device) -> Param<Tensor<D>> {
        Param::uninitialized(
            ParamId::new(),
            move |device, require_grad| {
                let tensor = match self.distribution(&shape, groups) {
                    Some(distribution) => Tensor::random(shape, distribution, device),
                    None => Tensor::full(shape, self.constant(), device),
                };
                tensor.set_require_grad(require_grad)
            },
            device.clone(),
            true,
            Shape::from(shape),
        )
    }

    fn constant(self) -> f64 {
        if let Initializer::Constant(value) = self { value } else { 0.0 }
    }

    fn distribution(self, shape: &[usize], groups: usize) -> Option<Distribution> {
        let receptive: usize = shape.iter().skip(2).product();
        let fan_in = (shape.get(1).copied().unwrap_or(1) * receptive) as f64;
        let fan_out = shape[0] * receptive;
        let grouped_fan_out = (fan_out / groups).max(1) as f64;
        let normal = |std: f64| Some(Distribution::Normal(0.0, std));
        let uniform = |limit: f64| Some(Distribution::Uniform(-limit, limit));
        let glorot = |fan_out: f64| uniform((3.0 / ((fan_in + fan_out) / 2.0).max(1.0)).sqrt());
        match self {
            Initializer::Constant(_) => None,
            Initializer::Normal(std) => normal(std),
            Initializer::FanOutNormal => normal((2.0 / grouped_fan_out).sqrt()),
            Initializer::KaimingFanOut => normal((2.0 / fan_out as f64).sqrt()),
            Initializer::FanInNormal => normal((1.0 / fan_in.max(1.0)).sqrt()),
            Initializer::GlorotUniform => glorot(grouped_fan_out),
            Initializer::XavierUniform => glorot(fan_out as f64),
            Initializer::FanOutUniform => uniform((1.0 / shape[0] as f64).sqrt()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_weights_have_the_stated_spread() {
        let device = Device::flex();
        device.seed(1);
        let spread = |initializer: Initializer, shape: [usize; 4], groups: usize| {
            let values =
                initializer.init(shape, groups, &device).val().into_data().try_to_vec::<f32>().unwrap();
            (values.iter().map(|v| (v * v) as f64).sum::<f64>() / values.len() as f64).sqrt()
        };
        // depthwise 3x3 on 4096 channels: fan_out = 9 · 4096 / 4096
        let std = spread(Initializer::FanOutNormal, [4096, 1, 3, 3], 4096);
        assert!((std / (2.0f64 / 9.0).sqrt() - 1.0).abs() < 0.02, "{std}");
        let std = spread(Initializer::FanInNormal, [256, 64, 3, 3], 1);
        assert!((std / (1.0f64 / 576.0).sqrt() - 1.0).abs() < 0.02, "{std}");
        // uniform(-l, l) has standard deviation l / √3
        let std = spread(Initializer::GlorotUniform, [128, 64, 3, 3], 1);
        assert!((std / (1.0f64 / ((576.0 + 1152.0) / 2.0)).sqrt() - 1.0).abs() < 0.02, "{std}");
        // depthwise: fan_in = 9, fan_out = 9 · 4096, divided by the groups or not
        let std = spread(Initializer::GlorotUniform, [4096, 1, 3, 3], 4096);
        assert!((std / (1.0f64 / 9.0).sqrt() - 1.0).abs() < 0.02, "{std}");
        let std = spread(Initializer::XavierUniform, [4096, 1, 3, 3], 4096);
        assert!((std / (1.0f64 / ((9.0 + 36864.0) / 2.0)).sqrt() - 1.0).abs() < 0.02, "{std}");
    }

    #[test]
    fn constants_are_exact() {
        let values = Initializer::Constant(-4.5).init([3], 1, &Device::flex()).val().into_data();
        assert_eq!(values.try_to_vec::<f32>().unwrap(), [-4.5; 3]);
    }
}
