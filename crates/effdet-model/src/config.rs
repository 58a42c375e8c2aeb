//! Everything a detector is built from, as one value.

use burn::tensor::Device;
use effdet_backbones::{BackboneConfig, FeatureInfo, FeatureLocation};
use effdet_bifpn::{BiFpnConfig, Downsample, FpnGraph};
use effdet_core::ImageSize;
use effdet_heads::{AnchorConfig, AnchorScale, DecodeConfig, HeadConfig, HeadOutput};
use effdet_nn::{Activation, NormConfig, Padding, Pool, ResizeMode};
use serde::{Deserialize, Serialize};

use crate::specs::{ModelSpec, model_names, model_specs};
use crate::{EfficientDet, Error};

/// The normalisation of feature network and heads: TensorFlow's constants.
const NORM: NormConfig = NormConfig::Batch { epsilon: 1e-3, momentum: 0.01 };

/// Mean and deviation of ImageNet, per channel.
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
const HALF: ([f32; 3], [f32; 3]) = ([0.5; 3], [0.5; 3]);

/// A detector's configuration: a published one, or one changed from it.
///
/// # Reference
/// effdet `model_config.py`, under names spelled out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EfficientDetConfig {
    /// Name of the configuration it started from.
    pub name: String,
    /// Name of the backbone.
    pub backbone: String,
    /// Indices of the backbone's feature maps, finest first.
    pub backbone_indices: Vec<usize>,
    /// Whether backbone features are taken before the projection of a block.
    pub expansion_features: bool,
    /// Channels of the pictures.
    pub in_channels: usize,
    /// Largest probability of dropping a backbone block in training.
    pub drop_path_rate: f64,
    /// Number of classes.
    pub num_classes: usize,
    /// Input size the configuration is made for; any other works too.
    pub image_size: ImageSize,
    /// The graph of the feature network.
    pub fpn: FpnGraph,
    /// Channels of feature network and heads.
    pub channels: usize,
    /// Repeats of the feature network's cell.
    pub cells: usize,
    /// Convolutions of each head.
    pub repeats: usize,
    /// Activation of the feature network.
    pub activation: Activation,
    /// Activation of the heads.
    pub head_activation: Activation,
    /// How feature network and heads pad.
    pub padding: Padding,
    /// Whether convolutions have a bias although a normalisation follows.
    pub redundant_bias: bool,
    /// Whether convolutions are depthwise separable.
    pub separable: bool,
    /// Whether projections between levels are normalised.
    pub resample_norm: bool,
    /// Whether feature-network nodes activate after their convolution instead of before.
    pub conv_norm_act: bool,
    /// Whether a map that shrinks is projected after it has shrunk.
    pub conv_after_downsample: bool,
    /// Whether levels are resampled by bilinear interpolation instead of max pooling and nearest neighbours.
    pub bilinear: bool,
    /// Whether head norms are stored by level first.
    pub level_first: bool,
    /// Scales per octave of the anchors.
    pub num_scales: usize,
    /// Width and height factors of the anchors.
    pub aspect_ratios: Vec<(f64, f64)>,
    /// Base size of the anchors in strides.
    pub anchor_scale: AnchorScale,
    /// Mean that pictures are normalised with.
    pub mean: [f32; 3],
    /// Deviation that pictures are normalised with.
    pub std: [f32; 3],
    /// Colour of letterbox margins; the mean where absent.
    pub fill: Option<[u8; 3]>,
    /// How outputs become detections.
    pub decode: DecodeConfig,
}

impl EfficientDetConfig {
    /// The published configuration of this name.
    ///
    /// # Errors
    /// [`Error::UnknownModel`], with the nearest names.
    pub fn named(name: &str) -> Result<Self, Error> {
        let spec =
            model_specs().iter().find(|spec| spec.name == name).ok_or_else(|| Error::UnknownModel {
                name: name.to_owned(),
                nearest: effdet_core::suggest::nearest(name, model_names(), 3)
                    .into_iter()
                    .map(str::to_owned)
                    .collect(),
            })?;
        Self::from_spec(spec)
    }

    /// A detector on any backbone: the feature network, heads and preprocessing of `efficientdet_d0`, or of
    /// `tf_efficientdet_d0` where the backbone's name begins with `tf_`.
    ///
    /// # Errors
    /// What the backbone's name gives.
    pub fn with_backbone_named(name: &str) -> Result<Self, Error> {
        let backbone = effdet_backbones::create(name)?;
        let base = if name.starts_with("tf_") { "tf_efficientdet_d0" } else { "efficientdet_d0" };
        let mut config = Self::named(base)?;
        let features = backbone.feature_info()?;
        // Pyramid levels 3 to 5 have reductions 8 to 32.
        config.backbone_indices = features
            .iter()
            .filter(|feature| [8, 16, 32].contains(&feature.reduction))
            .map(|f| f.index)
            .collect();
        config.backbone = backbone.name.to_owned();
        config.name = format!("efficientdet-{}", backbone.name);
        Ok(config)
    }

    /// The configuration of this name: a published one, or `efficientdet-` and a backbone, which is how
    /// [`with_backbone_named`](Self::with_backbone_named) calls its result.
    ///
    /// # Errors
    /// The unknown name, with the nearest ones.
    pub fn described_by(name: &str) -> Result<Self, Error> {
        match (Self::named(name), name.strip_prefix("efficientdet-")) {
            (Err(_), Some(backbone)) => Self::with_backbone_named(backbone),
            (config, _) => config,
        }
    }

    /// A published configuration.
    ///
    /// # Errors
    /// None for the rows of the table; a row of one's own may name an unknown graph.
    pub fn from_spec(spec: &ModelSpec) -> Result<Self, Error> {
        let (mean, std) = if spec.half_normalisation { HALF } else { IMAGENET };
        let aspects = [1.0, 2.0, 0.5].map(AnchorConfig::aspect_from_ratio);
        Ok(Self {
            name: spec.name.to_owned(),
            backbone: spec.backbone.to_owned(),
            backbone_indices: spec.backbone_indices.to_vec(),
            expansion_features: spec.expansion_features,
            in_channels: 3,
            drop_path_rate: spec.drop_path_rate,
            num_classes: 90,
            image_size: ImageSize { height: spec.image_size, width: spec.image_size },
            fpn: FpnGraph::named(spec.fpn, 3, spec.max_level)?,
            channels: spec.channels,
            cells: spec.cells,
            repeats: spec.repeats,
            activation: spec.activation,
            head_activation: spec.head_activation,
            padding: if spec.same_padding { Padding::Same } else { Padding::Symmetric },
            redundant_bias: spec.redundant_bias,
            separable: spec.separable,
            resample_norm: true,
            conv_norm_act: false,
            conv_after_downsample: false,
            bilinear: spec.bilinear,
            level_first: spec.level_first,
            num_scales: 3,
            aspect_ratios: if spec.exact_aspects {
                aspects.to_vec()
            } else {
                AnchorConfig::default().aspect_ratios
            },
            anchor_scale: spec.anchor_scale.into(),
            mean,
            std,
            fill: spec.black_fill.then_some([0; 3]),
            decode: DecodeConfig::default(),
        })
    }

    /// Sets the number of classes.
    pub fn with_num_classes(mut self, classes: usize) -> Self {
        self.num_classes = classes;
        self
    }

    /// Sets the input size.
    pub fn with_image_size(mut self, size: ImageSize) -> Self {
        self.image_size = size;
        self
    }

    /// Sets the channels of the pictures.
    pub fn with_in_channels(mut self, channels: usize) -> Self {
        self.in_channels = channels;
        self
    }

    /// Sets the graph of the feature network.
    pub fn with_fpn(mut self, graph: FpnGraph) -> Self {
        self.fpn = graph;
        self
    }

    /// The backbone's part of the configuration.
    ///
    /// # Errors
    /// What the backbone's name gives.
    pub fn backbone_config(&self) -> Result<BackboneConfig, Error> {
        let location =
            if self.expansion_features { FeatureLocation::Expansion } else { FeatureLocation::Bottleneck };
        Ok(effdet_backbones::create(&self.backbone)?
            .with_out_indices(self.backbone_indices.clone())
            .with_feature_location(location)
            .with_in_channels(self.in_channels)
            .with_drop_path_rate(self.drop_path_rate))
    }

    /// The feature network's part of the configuration.
    ///
    /// # Errors
    /// What the backbone's name or the graph gives; [`Error::Value`] if a feature map of the backbone has another stride
    /// than the level of the graph that it goes to.
    pub fn fpn_config(&self) -> Result<BiFpnConfig, Error> {
        let features = self.backbone_config()?.feature_info()?;
        self.fpn.validate()?;
        for (feature, level) in features.iter().zip(self.fpn.min_level..=self.fpn.max_level) {
            let stride = 1usize << level;
            if feature.reduction != stride {
                let FeatureInfo { index, reduction, .. } = feature;
                return Err(Error::Value {
                    model: self.name.clone(),
                    what: "the stride of a feature map",
                    value: format!(
                        "{reduction} (map {index} of {}), but level {level} of the feature network has {stride}",
                        self.backbone
                    ),
                    expected: "the levels of its graph must be those of the backbone's maps",
                });
            }
        }
        let (downsample, upsample) = if self.bilinear {
            (Downsample::Resize(ResizeMode::Bilinear), ResizeMode::Bilinear)
        } else {
            (Downsample::Pool(Pool::Max), ResizeMode::Nearest)
        };
        Ok(BiFpnConfig {
            graph: self.fpn.clone(),
            in_channels: features.iter().map(|feature| feature.channels).collect(),
            channels: self.channels,
            repeats: self.cells,
            padding: self.padding,
            activation: self.activation,
            norm: NORM,
            resample_norm: self.resample_norm,
            redundant_bias: self.redundant_bias,
            separable: self.separable,
            conv_norm_act: self.conv_norm_act,
            conv_after_downsample: self.conv_after_downsample,
            downsample,
            upsample,
        })
    }

    /// A head's part of the configuration.
    pub fn head_config(&self, output: HeadOutput) -> HeadConfig {
        HeadConfig {
            channels: self.channels,
            levels: self.fpn.num_levels(),
            repeats: self.repeats,
            anchors: self.num_scales * self.aspect_ratios.len(),
            output,
            separable: self.separable,
            padding: self.padding,
            redundant_bias: self.redundant_bias,
            activation: self.head_activation,
            norm: NORM,
            level_first: self.level_first,
        }
    }

    /// The anchors' part of the configuration.
    pub fn anchor_config(&self) -> AnchorConfig {
        AnchorConfig {
            min_level: self.fpn.min_level,
            max_level: self.fpn.max_level,
            num_scales: self.num_scales,
            aspect_ratios: self.aspect_ratios.clone(),
            anchor_scale: self.anchor_scale.clone(),
        }
    }

    /// Builds the detector. Weights are drawn when first used, so that loading a checkpoint first costs no draw.
    ///
    /// # Errors
    /// If a part of the configuration is inconsistent: the error of that part.
    pub fn init(&self, device: &Device) -> Result<EfficientDet, Error> {
        for (what, value) in [
            ("the number of classes", self.num_classes),
            ("the number of scales", self.num_scales),
            ("the number of aspect ratios", self.aspect_ratios.len()),
        ] {
            if value == 0 {
                let model = self.name.clone();
                return Err(Error::Value {
                    model,
                    what,
                    value: "0".into(),
                    expected: "at least 1 is needed",
                });
            }
        }
        Ok(EfficientDet {
            backbone: self.backbone_config()?.init(device)?,
            fpn: self.fpn_config()?.init(device)?,
            class_net: self.head_config(HeadOutput::Classes(self.num_classes)).init(device)?,
            box_net: self.head_config(HeadOutput::Boxes).init(device)?,
        })
    }
}
