//! Feature networks in the manner of timm's `features_only`, on [Burn](burn).
//!
//! Use it alone for the features of a picture at several strides, for a detector, a segmenter or a classifier of your
//! own; sizes and channels are known before anything is built. Published weights come with `effdet-weights`.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use effdet_backbones::create;
//!
//! let config = create("tf_efficientnet_b0")?.with_out_indices([2, 3, 4]);
//! let channels: Vec<usize> = config.feature_info()?.iter().map(|f| f.channels).collect();
//! assert_eq!(channels, [40, 112, 320]);
//!
//! let device = Device::flex();
//! let backbone = config.init(&device)?;
//! let features = backbone.forward(Tensor::zeros([1, 3, 64, 64], &device));
//! assert_eq!(features[0].dims(), [1, 40, 8, 8]);
//! # Ok::<(), effdet_backbones::Error>(())
//! ```
//!
//! The names are timm's: all 154 entry points of its EfficientNet and MobileNetV3 classes, and `resnet50`,
//! `cspresnet50`, `cspresnext50` and `cspdarknet53`. [`names`] lists them. State-dictionary names are timm's too.
//!
//! # Feature flags
//!
//! `flex`, `cuda`, `wgpu` and `tch` compile Burn's backend of that name.

pub mod block_args;
pub mod blocks;
mod csp;
mod efficientnet;
mod error;
mod families;
mod family;
mod plan;
mod pruning;
mod resnet;
mod variants;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use effdet_nn::FeatureMap;

pub use csp::{CrossStage, CspBlock, CspHead, CspNet};
pub use efficientnet::EfficientNet;
pub use error::Error;
pub use resnet::{Bottleneck, ResNet};

use csp::CspVariant;
use plan::NetPlan;
use variants::Variant;

/// A feature map that a backbone gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureInfo {
    /// Its index among all that the backbone can give.
    pub index: usize,
    /// Its channels.
    pub channels: usize,
    /// How many times smaller than the input it is.
    pub reduction: usize,
}

/// Where in a block a feature map is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FeatureLocation {
    /// At the block's output (timm `bottleneck`).
    #[default]
    Bottleneck,
    /// Before the block's projection, after squeeze-and-excitation (timm `expansion`, formerly `depthwise`).
    Expansion,
}

/// The description of the named network, ready to be changed and built.
///
/// A timm tag after a dot (`tf_efficientnet_b0.ns_jft_in1k`) names weights, not a network, and is ignored.
///
/// # Errors
/// [`Error::UnknownName`], with the nearest names.
pub fn create(name: &str) -> Result<BackboneConfig, Error> {
    BackboneConfig::new(name)
}

/// The names of all backbones, in the order of their tables.
pub fn names() -> impl Iterator<Item = &'static str> {
    let efficient = variants::VARIANTS.iter().map(|variant| variant.name);
    efficient.chain([RESNET50]).chain(csp::VARIANTS.iter().map(|variant| variant.name))
}

const RESNET50: &str = "resnet50";

/// The network behind a name.
#[derive(Clone, Copy, Debug)]
enum Architecture {
    EfficientNet(&'static Variant),
    ResNet50,
    Csp(&'static CspVariant),
}

/// What a backbone is built from.
#[derive(Clone, Debug)]
pub struct BackboneConfig {
    architecture: Architecture,
    /// Its name.
    pub name: &'static str,
    /// Which feature maps [`Backbone::forward`] gives; by default all.
    pub out_indices: Vec<usize>,
    /// Where they are taken.
    pub feature_location: FeatureLocation,
    /// Channels of the input.
    pub in_channels: usize,
    /// Largest probability of dropping a block in training.
    pub drop_path_rate: f64,
    /// Number of classes of the classifier; none for a plain feature network.
    pub classes: Option<usize>,
    /// Whether published weights will be loaded. One network (`fbnetc_100`) has another batch-norm epsilon then.
    pub pretrained: bool,
}

impl BackboneConfig {
    /// The description of the named network.
    ///
    /// # Errors
    /// [`Error::UnknownName`], with the nearest names.
    pub fn new(name: &str) -> Result<Self, Error> {
        let network = name.split('.').next().unwrap_or(name);
        let efficient = variants::VARIANTS.iter().find(|variant| variant.name == network);
        let csp = csp::VARIANTS.iter().find(|variant| variant.name == network);
        let (architecture, name) = match (efficient, csp) {
            (Some(variant), _) => (Architecture::EfficientNet(variant), variant.name),
            (_, Some(variant)) => (Architecture::Csp(variant), variant.name),
            _ if network == RESNET50 => (Architecture::ResNet50, RESNET50),
            _ => return Err(Error::UnknownName { name: name.to_owned(), nearest: nearest_names(network) }),
        };
        let mut config = Self {
            architecture,
            name,
            out_indices: Vec::new(),
            feature_location: FeatureLocation::Bottleneck,
            in_channels: 3,
            drop_path_rate: 0.0,
            classes: None,
            pretrained: false,
        };
        config.out_indices = (0..config.all_features()?.len()).collect();
        Ok(config)
    }

    /// Sets which feature maps are given.
    pub fn with_out_indices(mut self, indices: impl Into<Vec<usize>>) -> Self {
        self.out_indices = indices.into();
        self
    }

    /// Sets where in a block features are taken.
    pub fn with_feature_location(mut self, location: FeatureLocation) -> Self {
        self.feature_location = location;
        self
    }

    /// Sets the channels of the input.
    pub fn with_in_channels(mut self, channels: usize) -> Self {
        self.in_channels = channels;
        self
    }

    /// Sets the largest probability of dropping a block in training.
    pub fn with_drop_path_rate(mut self, rate: f64) -> Self {
        self.drop_path_rate = rate;
        self
    }

    /// Adds the classifier of the plain network.
    pub fn with_classifier(mut self, classes: usize) -> Self {
        self.classes = Some(classes);
        self
    }

    /// Says whether published weights will be loaded.
    pub fn with_pretrained(mut self, pretrained: bool) -> Self {
        self.pretrained = pretrained;
        self
    }

    /// Index, channels and reduction of every feature map that [`Backbone::forward`] gives, before anything is
    /// built.
    ///
    /// # Errors
    /// [`Error::OutIndices`] if the indices do not increase or go beyond what the network has.
    pub fn feature_info(&self) -> Result<Vec<FeatureInfo>, Error> {
        let all = self.all_features()?;
        let increasing = self.out_indices.windows(2).all(|pair| pair[0] < pair[1]);
        if !increasing || self.out_indices.last().is_none_or(|last| *last >= all.len()) {
            return Err(Error::OutIndices {
                name: self.name.to_owned(),
                indices: self.out_indices.clone(),
                available: all.len(),
            });
        }
        Ok(self.out_indices.iter().map(|index| all[*index]).collect())
    }

    /// Builds the network.
    ///
    /// # Errors
    /// What [`feature_info`](Self::feature_info) gives, [`Error::FeatureLocation`] for a network without expansions,
    /// [`Error::Value`] for a number out of range.
    pub fn init(&self, device: &Device) -> Result<Backbone, Error> {
        self.feature_info()?;
        let value = |what, value: String, expected| Error::Value {
            name: self.name.to_owned(),
            what,
            value,
            expected,
        };
        if self.in_channels == 0 {
            return Err(value("the number of input channels", "0".into(), "at least 1 is needed"));
        }
        if self.classes == Some(0) {
            return Err(value("the number of classes", "0".into(), "at least 1 is needed"));
        }
        if !(0.0..1.0).contains(&self.drop_path_rate) {
            return Err(value("the drop path rate", self.drop_path_rate.to_string(), "it must be in [0, 1)"));
        }
        Ok(match self.architecture {
            Architecture::EfficientNet(variant) => {
                Backbone::EfficientNet(EfficientNet::init(variant, &NetPlan::new(variant)?, self, device))
            }
            Architecture::ResNet50 => Backbone::ResNet(ResNet::init(self, device)),
            Architecture::Csp(variant) => Backbone::Csp(CspNet::init(variant, self, device)),
        })
    }

    fn all_features(&self) -> Result<Vec<FeatureInfo>, Error> {
        let expansion = self.feature_location == FeatureLocation::Expansion;
        match self.architecture {
            Architecture::EfficientNet(variant) => Ok(NetPlan::new(variant)?.features(expansion)),
            _ if expansion => Err(Error::FeatureLocation { name: self.name.to_owned() }),
            Architecture::Csp(variant) => Ok(variant.features()),
            Architecture::ResNet50 => Ok(resnet::CHANNELS
                .iter()
                .enumerate()
                .map(|(index, &channels)| FeatureInfo { index, channels, reduction: 2 << index })
                .collect()),
        }
    }
}

fn nearest_names(name: &str) -> Vec<String> {
    effdet_core::suggest::nearest(name, names(), 3).into_iter().map(str::to_owned).collect()
}

/// A feature network.
#[derive(Module, Debug)]
pub enum Backbone {
    /// An EfficientNet or MobileNetV3.
    EfficientNet(EfficientNet),
    /// A ResNet.
    ResNet(ResNet),
    /// A cross-stage-partial network.
    Csp(CspNet),
}

impl Backbone {
    /// The feature maps of the configured indices, finest first.
    ///
    /// # Shapes
    /// - `input`: `[batch, in_channels, height, width]`
    /// - output: for each [`FeatureInfo`] `[batch, channels, ⌈height / reduction⌉, ⌈width / reduction⌉]`; the
    ///   anti-aliased `mobilenetv4_conv_aa_*` round down where a side is no multiple
    pub fn forward<M: FeatureMap>(&self, input: M) -> Vec<M> {
        match self {
            Backbone::EfficientNet(net) => net.forward(input),
            Backbone::ResNet(net) => net.forward(input),
            Backbone::Csp(net) => net.forward(input),
        }
    }

    /// Class logits, if the network was built with a classifier.
    ///
    /// # Shapes
    /// - `input`: `[batch, in_channels, height, width]`
    /// - output: `[batch, classes]`
    pub fn forward_classes(&self, input: Tensor<4>) -> Option<Tensor<2>> {
        match self {
            Backbone::EfficientNet(net) => net.forward_classes(input),
            Backbone::ResNet(net) => net.forward_classes(input),
            Backbone::Csp(net) => net.forward_classes(input),
        }
    }
}
