//! The class and box networks.

use burn::module::Module;
use burn::tensor::Device;
use effdet_nn::{
    Activation, FeatureConv, FeatureConvConfig, FeatureMap, Initializer, NormAct, NormConfig, Padding,
};

use crate::Error;

/// Probability that an untrained class head gives every class, so that the first steps are not drowned by negatives.
///
/// # Reference
/// Lin et al. 2017, "Focal Loss", section 4.1.
const PRIOR: f64 = 0.01;

/// What a [`Head`] is built from.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadConfig {
    /// Channels of the feature maps.
    pub channels: usize,
    /// Pyramid levels.
    pub levels: usize,
    /// Convolutions before the prediction.
    pub repeats: usize,
    /// Anchors per cell.
    pub anchors: usize,
    /// What each anchor predicts.
    pub output: HeadOutput,
    /// Whether convolutions are depthwise separable.
    pub separable: bool,
    /// How convolutions pad.
    pub padding: Padding,
    /// Whether convolutions have a bias although a normalisation follows, as the TensorFlow weights do.
    pub redundant_bias: bool,
    /// The activation.
    pub activation: Activation,
    /// The normalisation.
    pub norm: NormConfig,
    /// Whether norms are stored by level, then repeat, instead of by repeat, then level.
    pub level_first: bool,
}

/// What each anchor predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadOutput {
    /// A logit for each of this many classes.
    Classes(usize),
    /// The four numbers of a box.
    Boxes,
}

impl HeadConfig {
    /// Builds the network.
    ///
    /// # Errors
    /// [`Error::Setting`] for no channels; [`Error::Norm`] for channels that do not divide into the groups of the
    /// normalisation.
    pub fn init(&self, device: &Device) -> Result<Head, Error> {
        if self.channels == 0 {
            return Err(Error::Setting { name: "channels", value: "0".into(), expected: "at least 1" });
        }
        self.norm.check(self.channels)?;
        let (outputs, prior) = match self.output {
            HeadOutput::Classes(classes) => (classes, -((1.0 - PRIOR) / PRIOR).ln()),
            HeadOutput::Boxes => (4, 0.0),
        };
        let conv = FeatureConvConfig {
            separable: self.separable,
            in_channels: self.channels,
            out_channels: self.channels,
            padding: self.padding,
            bias: self.redundant_bias,
            norm: None,
            activation: Activation::Identity,
            initializer: if self.separable { Initializer::FanInNormal } else { Initializer::Normal(0.01) },
            bias_value: 0.0,
        };
        let predict =
            FeatureConvConfig { out_channels: outputs * self.anchors, bias: true, bias_value: prior, ..conv };
        let norm = || self.norm.init(self.channels, self.activation, device);
        let bn_rep = if self.level_first {
            BnRep::LevelFirst((0..self.levels).map(|_| (0..self.repeats).map(|_| norm()).collect()).collect())
        } else {
            let wrapped = || WrappedNorm { bn: norm() };
            BnRep::RepeatFirst(
                (0..self.repeats).map(|_| (0..self.levels).map(|_| wrapped()).collect()).collect(),
            )
        };
        Ok(Head {
            conv_rep: (0..self.repeats).map(|_| conv.init(device)).collect(),
            bn_rep,
            predict: predict.init(device),
        })
    }
}

/// A stack of convolutions shared by all levels, each level with normalisations of its own, and a prediction.
///
/// # Reference
/// "EfficientDet", section 3.3; effdet `HeadNet`.
#[derive(Module, Debug)]
pub struct Head {
    /// The shared convolutions.
    pub conv_rep: Vec<FeatureConv>,
    /// The normalisations, with activation, of every repeat and level.
    pub bn_rep: BnRep,
    /// The prediction.
    pub predict: FeatureConv,
}

/// The two layouts in which published weights store the normalisations.
///
/// # Reference
/// effdet `head_bn_level_first`.
#[derive(Module, Debug)]
pub enum BnRep {
    /// `bn_rep.REPEAT.LEVEL.bn`
    RepeatFirst(Vec<Vec<WrappedNorm>>),
    /// `bn_rep.LEVEL.REPEAT`
    LevelFirst(Vec<Vec<NormAct>>),
}

/// A normalisation one name deeper, as the repeat-first layout has it.
#[derive(Module, Debug)]
pub struct WrappedNorm {
    /// The normalisation.
    pub bn: NormAct,
}

impl BnRep {
    fn get(&self, repeat: usize, level: usize) -> &NormAct {
        match self {
            BnRep::RepeatFirst(norms) => &norms[repeat][level].bn,
            BnRep::LevelFirst(norms) => &norms[level][repeat],
        }
    }

    /// The same normalisations in the other layout.
    pub fn toggled(self) -> Self {
        match self {
            BnRep::RepeatFirst(norms) => BnRep::LevelFirst(transpose(
                norms.into_iter().map(|row| row.into_iter().map(|norm| norm.bn).collect()),
            )),
            BnRep::LevelFirst(norms) => BnRep::RepeatFirst(transpose(
                norms.into_iter().map(|row| row.into_iter().map(|bn| WrappedNorm { bn }).collect()),
            )),
        }
    }
}

fn transpose<T>(rows: impl Iterator<Item = Vec<T>>) -> Vec<Vec<T>> {
    let mut columns: Vec<Vec<T>> = Vec::new();
    for row in rows {
        columns.resize_with(row.len().max(columns.len()), Vec::new);
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    columns
}

impl Head {
    /// Predicts at every level.
    ///
    /// # Shapes
    /// - `levels`: for each level `[batch, channels, height, width]`, finest first
    /// - output: for each level `[batch, anchors · outputs, height, width]`, the outputs of an anchor next to each
    ///   other
    ///
    /// # Panics
    /// If there are more levels than configured.
    pub fn forward<M: FeatureMap>(&self, levels: &[M]) -> Vec<M> {
        let predict = |(level, features): (usize, &M)| {
            let mut hidden = features.clone();
            for (repeat, conv) in self.conv_rep.iter().enumerate() {
                hidden = self.bn_rep.get(repeat, level).forward(conv.forward(hidden));
            }
            self.predict.forward(hidden)
        };
        levels.iter().enumerate().map(predict).collect()
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;
    use effdet_nn::UnevenGroups;

    use super::*;

    fn config() -> HeadConfig {
        HeadConfig {
            channels: 8,
            levels: 3,
            repeats: 2,
            anchors: 9,
            output: HeadOutput::Classes(2),
            separable: true,
            padding: Padding::Same,
            redundant_bias: true,
            activation: Activation::Swish,
            norm: NormConfig::default(),
            level_first: false,
        }
    }

    #[test]
    fn both_layouts_hold_the_same_norms() {
        let device = Device::flex();
        let head = config().init(&device).unwrap();
        let levels = [4, 2, 1].map(|size| Tensor::ones([1, 8, size, size], &device));
        let values =
            |head: &Head| head.forward(&levels).pop().unwrap().into_data().try_to_vec::<f32>().unwrap();
        let before = values(&head);
        assert_eq!(before.len(), 18);
        let toggled = Head { bn_rep: head.bn_rep.clone().toggled(), ..head };
        assert!(
            matches!(&toggled.bn_rep, BnRep::LevelFirst(norms) if norms.len() == 3 && norms[0].len() == 2)
        );
        assert_eq!(values(&toggled), before);
    }

    #[test]
    fn an_untrained_class_head_gives_the_prior() {
        let device = Device::flex();
        device.seed(5);
        let config = HeadConfig {
            levels: 1,
            repeats: 1,
            anchors: 1,
            output: HeadOutput::Classes(4),
            separable: false,
            padding: Padding::Symmetric,
            redundant_bias: false,
            activation: Activation::Relu,
            level_first: true,
            ..config()
        };
        let head = config.init(&device).unwrap();
        let logits = head.forward(&[Tensor::zeros([1, 8, 1, 1], &device)]).pop().unwrap();
        for logit in logits.into_data().try_to_vec::<f32>().unwrap() {
            assert!((1.0 / (1.0 + (-logit).exp()) - 0.01).abs() < 1e-6, "{logit}");
        }
    }

    #[test]
    fn channels_that_no_head_can_have_are_refused() {
        let init = |channels, norm| HeadConfig { channels, norm, ..config() }.init(&Device::flex());
        let none = Error::Setting { name: "channels", value: "0".into(), expected: "at least 1" };
        assert_eq!(init(0, NormConfig::default()).unwrap_err(), none);
        for group_size in [0, 3, 16] {
            for norm in [NormConfig::Group { group_size }, NormConfig::Evo { group_size }] {
                let expected = UnevenGroups { channels: 8, group_size };
                assert_eq!(init(8, norm).unwrap_err(), Error::Norm(expected));
            }
        }
        assert!(init(8, NormConfig::Evo { group_size: 4 }).is_ok());
    }
}
