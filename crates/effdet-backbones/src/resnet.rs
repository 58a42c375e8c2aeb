//! ResNet-50, the one ResNet that a detector configuration uses.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use effdet_nn::{
    Activation, Conv2d, Conv2dConfig, DropPath, FeatureMap, Initializer, Linear, NormAct, NormConfig,
    Padding, Pool,
};

use crate::BackboneConfig;

/// Channels and blocks of each stage; a stage's output has four times its channels.
const STAGES: [(usize, usize); 4] = [(64, 3), (128, 4), (256, 6), (512, 3)];
const EXPANSION: usize = 4;

/// Channels of the feature maps, whose reductions are 2, 4, 8, 16 and 32.
pub(crate) const CHANNELS: [usize; 5] = [64, 256, 512, 1024, 2048];

/// ResNet-50.
///
/// # Reference
/// He et al. 2016, "Deep Residual Learning"; timm `resnet50` (stride on the 3×3 convolution).
#[derive(Module, Debug)]
pub struct ResNet {
    /// The 7×7 stem.
    pub conv1: Conv2d,
    /// Its normalisation and activation.
    pub bn1: NormAct,
    /// First stage.
    pub layer1: Vec<Bottleneck>,
    /// Second stage.
    pub layer2: Vec<Bottleneck>,
    /// Third stage.
    pub layer3: Vec<Bottleneck>,
    /// Fourth stage.
    pub layer4: Vec<Bottleneck>,
    /// The classifier.
    pub fc: Option<Linear>,
    #[module(skip)]
    out_indices: Vec<usize>,
}

/// A residual block: reduce, convolve, expand.
#[derive(Module, Debug)]
pub struct Bottleneck {
    /// Pointwise reduction.
    pub conv1: Conv2d,
    /// Its normalisation and activation.
    pub bn1: NormAct,
    /// 3×3 convolution.
    pub conv2: Conv2d,
    /// Its normalisation and activation.
    pub bn2: NormAct,
    /// Pointwise expansion.
    pub conv3: Conv2d,
    /// Its normalisation.
    pub bn3: NormAct,
    /// Projection of the shortcut where sizes change.
    pub downsample: Option<(Conv2d, NormAct)>,
    drop_path: DropPath,
}

impl ResNet {
    pub(crate) fn init(config: &BackboneConfig, device: &Device) -> Self {
        let total: usize = STAGES.iter().map(|(_, blocks)| blocks).sum();
        let (mut index, mut channels) = (0, STAGES[0].0);
        let mut stage = |number: usize| -> Vec<Bottleneck> {
            let (width, blocks) = STAGES[number];
            let block = |i: usize| {
                let stride = if i == 0 && number > 0 { 2 } else { 1 };
                let drop_path = config.drop_path_rate * index as f64 / (total - 1) as f64;
                let block = Bottleneck::init(channels, width, stride, drop_path, device);
                index += 1;
                channels = width * EXPANSION;
                block
            };
            (0..blocks).map(block).collect()
        };
        Self {
            conv1: conv(config.in_channels, 64, 7, 2).init(device),
            bn1: norm(64, Activation::Relu, device),
            layer1: stage(0),
            layer2: stage(1),
            layer3: stage(2),
            layer4: stage(3),
            fc: config.classes.map(|classes| Linear::new(CHANNELS[4], classes, device)),
            out_indices: config.out_indices.clone(),
        }
    }

    /// The configured feature maps, in order; stages after the last are not computed.
    ///
    /// # Shapes
    /// As [`Backbone::forward`](crate::Backbone::forward).
    pub fn forward<M: FeatureMap>(&self, input: M) -> Vec<M> {
        self.features(input, &self.out_indices)
    }

    fn features<M: FeatureMap>(&self, input: M, indices: &[usize]) -> Vec<M> {
        let mut features = Vec::with_capacity(indices.len());
        let mut hidden = self.bn1.forward(self.conv1.forward(input));
        if indices.first() == Some(&0) {
            features.push(hidden.clone());
        }
        hidden = hidden.pool2d(Pool::Max, [3, 3], [2, 2], Padding::Symmetric);
        for (i, stage) in [&self.layer1, &self.layer2, &self.layer3, &self.layer4].into_iter().enumerate() {
            if features.len() == indices.len() {
                break;
            }
            for block in stage {
                hidden = block.forward(hidden);
            }
            if indices.contains(&(i + 1)) {
                features.push(hidden.clone());
            }
        }
        features
    }

    /// Class logits, if the network has a classifier.
    ///
    /// # Shapes
    /// As [`Backbone::forward_classes`](crate::Backbone::forward_classes).
    pub fn forward_classes(&self, input: Tensor<4>) -> Option<Tensor<2>> {
        let fc = self.fc.as_ref()?;
        let last = self.features(input, &[4]).pop()?;
        Some(fc.forward(last.mean_dim(3).mean_dim(2).flatten(1, 3)))
    }
}

impl Bottleneck {
    fn init(channels: usize, width: usize, stride: usize, drop_path: f64, device: &Device) -> Self {
        let out = width * EXPANSION;
        let changes = stride > 1 || channels != out;
        Self {
            conv1: conv(channels, width, 1, 1).init(device),
            bn1: norm(width, Activation::Relu, device),
            conv2: conv(width, width, 3, stride).init(device),
            bn2: norm(width, Activation::Relu, device),
            conv3: conv(width, out, 1, 1).init(device),
            bn3: with_zero_scale(norm(out, Activation::Identity, device)),
            downsample: changes.then(|| {
                (conv(channels, out, 1, stride).init(device), norm(out, Activation::Identity, device))
            }),
            drop_path: DropPath::new(drop_path, device),
        }
    }

    fn forward<M: FeatureMap>(&self, input: M) -> M {
        let hidden = self.bn1.forward(self.conv1.forward(input.clone()));
        let hidden = self.bn2.forward(self.conv2.forward(hidden));
        let hidden = self.drop_path.forward(self.bn3.forward(self.conv3.forward(hidden)));
        let shortcut = match &self.downsample {
            Some((conv, norm)) => norm.forward(conv.forward(input)),
            None => input,
        };
        hidden.plus(shortcut).activate(Activation::Relu)
    }
}

fn conv(from: usize, to: usize, kernel: usize, stride: usize) -> Conv2dConfig {
    Conv2dConfig::new(from, to, kernel).with_stride(stride).with_initializer(Initializer::KaimingFanOut)
}

fn norm(channels: usize, activation: Activation, device: &Device) -> NormAct {
    NormConfig::default().init(channels, activation, device)
}

/// A norm whose scale starts at 0, so that the residual block it ends starts as the identity.
///
/// # Reference
/// timm `zero_init_last`; Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 5.1.
pub(crate) fn with_zero_scale(mut norm: NormAct) -> NormAct {
    let weight = match &mut norm {
        NormAct::Batch(norm) => &mut norm.weight,
        NormAct::Group(norm) => &mut norm.weight,
        NormAct::Layer(norm) => &mut norm.weight,
        NormAct::Evo(norm) => &mut norm.weight,
    };
    let [channels] = weight.lazy_shape().dims();
    *weight = Initializer::Constant(0.0).init([channels], 1, &weight.lazy_device());
    norm
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csp::{CspNet, VARIANTS};

    #[test]
    fn residual_blocks_start_as_the_identity() {
        let device = Device::flex();
        let is_zero = |norm: &NormAct| {
            let NormAct::Batch(norm) = norm else { return false };
            norm.weight.val().into_data().iter::<f32>().all(|value| value == 0.0)
        };
        let block = Bottleneck::init(8, 2, 1, 0.0, &device);
        assert!(is_zero(&block.bn3) && !is_zero(&block.bn2));
        for variant in VARIANTS {
            let config = BackboneConfig::new(variant.name).unwrap();
            let block = CspNet::init(variant, &config, &device).stages_0.blocks.remove(0);
            let (last, before) = match &block.conv3 {
                Some(last) => (last, &block.conv2),
                None => (&block.conv2, &block.conv1),
            };
            assert!(last.bn.as_ref().is_some_and(is_zero), "{}", variant.name);
            assert!(!before.bn.as_ref().is_some_and(is_zero), "{}", variant.name);
        }
    }
}
