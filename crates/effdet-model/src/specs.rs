//! The 47 configurations, one row each.

use effdet_nn::Activation;

/// A published configuration: what it changes of the defaults.
///
/// # Reference
/// effdet `model_config.py` (0.4.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelSpec {
    /// Name of the configuration.
    pub name: &'static str,
    /// Name of the backbone.
    pub backbone: &'static str,
    /// Side of the input the configuration was made for, in pixels.
    pub image_size: usize,
    /// Channels of feature network and heads.
    pub channels: usize,
    /// Repeats of the feature network's cell.
    pub cells: usize,
    /// Convolutions of each head.
    pub repeats: usize,
    /// Name of the feature network's graph.
    pub fpn: &'static str,
    /// Coarsest pyramid level.
    pub max_level: usize,
    /// Indices of the backbone's feature maps.
    pub backbone_indices: [usize; 3],
    /// Whether backbone features are taken before the projection of a block.
    pub expansion_features: bool,
    /// Activation of the feature network.
    pub activation: Activation,
    /// Activation of the heads.
    pub head_activation: Activation,
    /// Whether feature network and heads pad as TensorFlow does.
    pub same_padding: bool,
    /// Whether convolutions have a bias although a normalisation follows.
    pub redundant_bias: bool,
    /// Whether levels are resampled by bilinear interpolation instead of max pooling and nearest neighbours.
    pub bilinear: bool,
    /// Whether convolutions are depthwise separable.
    pub separable: bool,
    /// Whether head norms are stored by level first.
    pub level_first: bool,
    /// Base size of anchors in strides.
    pub anchor_scale: f64,
    /// Whether the anchors' aspects are √2 and 1/√2 instead of 1.4 and 0.7.
    pub exact_aspects: bool,
    /// Largest probability of dropping a backbone block in training.
    pub drop_path_rate: f64,
    /// Whether pictures are normalised with mean and deviation 0.5 instead of ImageNet's.
    pub half_normalisation: bool,
    /// Whether letterboxes are filled with black instead of the mean.
    pub black_fill: bool,
    /// Published average precision on COCO val2017, in percent.
    pub coco_ap: Option<f64>,
    /// File of the published weights in the release `v0.1` of rwightman/efficientdet-pytorch.
    pub weights: Option<&'static str>,
}

const fn row(name: &'static str, backbone: &'static str, image_size: usize, sizes: [usize; 3]) -> ModelSpec {
    let [channels, cells, repeats] = sizes;
    ModelSpec {
        name,
        backbone,
        image_size,
        channels,
        cells,
        repeats,
        fpn: "bifpn_fa",
        max_level: 7,
        backbone_indices: [2, 3, 4],
        expansion_features: false,
        activation: Activation::Swish,
        head_activation: Activation::Swish,
        same_padding: false,
        redundant_bias: false,
        bilinear: false,
        separable: true,
        level_first: false,
        anchor_scale: 4.0,
        exact_aspects: false,
        drop_path_rate: 0.2,
        half_normalisation: false,
        black_fill: false,
        coco_ap: None,
        weights: None,
    }
}

impl ModelSpec {
    /// TensorFlow's padding and biases.
    const fn tf(mut self) -> Self {
        self.same_padding = true;
        self.redundant_bias = true;
        self
    }

    const fn same_padding(mut self) -> Self {
        self.same_padding = true;
        self
    }

    const fn act(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self.head_activation = activation;
        self
    }

    const fn head_act(mut self, activation: Activation) -> Self {
        self.head_activation = activation;
        self
    }

    const fn fpn(mut self, name: &'static str) -> Self {
        self.fpn = name;
        self
    }

    const fn bilinear(mut self) -> Self {
        self.bilinear = true;
        self
    }

    const fn dense(mut self) -> Self {
        self.separable = false;
        self
    }

    const fn level_first(mut self) -> Self {
        self.level_first = true;
        self
    }

    /// The layout and anchors of the configurations that have no TensorFlow counterpart.
    const fn timm(mut self) -> Self {
        self.level_first = true;
        self.exact_aspects = true;
        self
    }

    const fn anchors(mut self, scale: f64) -> Self {
        self.anchor_scale = scale;
        self
    }

    const fn drop_path(mut self, rate: f64) -> Self {
        self.drop_path_rate = rate;
        self
    }

    const fn indices(mut self, indices: [usize; 3]) -> Self {
        self.backbone_indices = indices;
        self
    }

    const fn max_level(mut self, level: usize) -> Self {
        self.max_level = level;
        self
    }

    const fn expansion(mut self) -> Self {
        self.expansion_features = true;
        self
    }

    /// AdvProp: mean and deviation 0.5, black letterboxes.
    const fn advprop(mut self) -> Self {
        self.half_normalisation = true;
        self.black_fill = true;
        self.tf()
    }

    const fn lite(mut self) -> Self {
        self.half_normalisation = true;
        self.fpn("bifpn_sum").act(Activation::Relu6).tf()
    }

    const fn released(mut self, coco_ap: f64, file: &'static str) -> Self {
        self.coco_ap = Some(coco_ap);
        self.weights = Some(file);
        self
    }
}

const RELU: Activation = Activation::Relu;
const RELU6: Activation = Activation::Relu6;
const LEAKY: Activation = Activation::LeakyRelu;

/// The table.
///
/// Quirks that are the published configurations': D7 uses backbone B6 with larger anchors, D7x uses B7 and a level 8;
/// `efficientdet_d4`, `d5` and `lite0` pad as TensorFlow does in all but the backbone; `lite3` and `lite4` have larger
/// anchors than the other lites.
#[rustfmt::skip]
const SPECS: [ModelSpec; 47] = [
    row("efficientdet_d0", "efficientnet_b0", 512, [64, 3, 3]).drop_path(0.1).released(33.6, "efficientdet_d0-f3276ba8.pth"),
    row("efficientdet_d1", "efficientnet_b1", 640, [88, 4, 3]).released(39.4, "efficientdet_d1-bb7e98fe.pth"),
    row("efficientdet_d2", "efficientnet_b2", 768, [112, 5, 3]),
    row("efficientdet_d3", "efficientnet_b3", 896, [160, 6, 4]),
    row("efficientdet_d4", "efficientnet_b4", 1024, [224, 7, 4]).tf(),
    row("efficientdet_d5", "efficientnet_b5", 1280, [288, 7, 4]).tf(),
    row("efficientdetv2_dt", "efficientnetv2_rw_t", 768, [128, 5, 3]).timm().bilinear().released(46.1, "efficientdetv2_rw_dt_agc-ad8b8c96.pth"),
    row("efficientdetv2_ds", "efficientnetv2_rw_s", 1024, [256, 7, 4]).timm().bilinear().released(50.1, "efficientnetv2_rw_ds_agc-cf589293.pth"),
    row("resdet50", "resnet50", 640, [88, 4, 3]).act(RELU).dense().released(41.6, "resdet50_416-08676892.pth"),
    row("cspresdet50", "cspresnet50", 768, [88, 4, 3]).timm().act(LEAKY).head_act(Activation::Swish).bilinear().dense().released(43.2, "cspresdet50b-386da277.pth"),
    row("cspresdext50", "cspresnext50", 640, [88, 4, 3]).timm().act(LEAKY).dense(),
    row("cspresdext50pan", "cspresnext50", 640, [88, 3, 3]).timm().act(LEAKY).dense().fpn("pan_fa").released(41.2, "cspresdext50pan-92fdd094.pth"),
    row("cspdarkdet53", "cspdarknet53", 640, [88, 4, 3]).timm().act(LEAKY).dense().indices([3, 4, 5]),
    row("cspdarkdet53m", "cspdarknet53", 768, [96, 4, 3]).timm().act(LEAKY).head_act(Activation::Mish).bilinear().dense().fpn("qufpn_fa").indices([3, 4, 5]).released(45.2, "cspdarkdet53m-79062b2d.pth"),
    row("mixdet_m", "mixnet_m", 512, [64, 3, 3]).timm().drop_path(0.1),
    row("mixdet_l", "mixnet_l", 640, [88, 4, 3]).timm(),
    row("mobiledetv2_110d", "mobilenetv2_110d", 384, [48, 3, 3]).timm().act(RELU6).drop_path(0.05),
    row("mobiledetv2_120d", "mobilenetv2_120d", 512, [56, 3, 3]).timm().act(RELU6).drop_path(0.1),
    row("mobiledetv3_large", "mobilenetv3_large_100", 512, [64, 3, 3]).timm().act(Activation::HardSwish).drop_path(0.1),
    row("efficientdet_q0", "efficientnet_b0", 512, [64, 3, 3]).level_first().fpn("qufpn_fa").drop_path(0.1).released(35.7, "efficientdet_q0-bdf1bdb5.pth"),
    row("efficientdet_q1", "efficientnet_b1", 640, [88, 3, 3]).level_first().fpn("qufpn_fa").bilinear().released(40.9, "efficientdet_q1b-d0612140.pth"),
    row("efficientdet_q2", "efficientnet_b2", 768, [112, 4, 3]).level_first().fpn("qufpn_fa").released(43.1, "efficientdet_q2-0f7564e5.pth"),
    row("efficientdet_w0", "efficientnet_b0", 512, [80, 3, 3]).timm().expansion().drop_path(0.1),
    row("efficientdet_es", "efficientnet_es", 512, [72, 3, 3]).timm().act(RELU).dense().drop_path(0.1),
    row("efficientdet_em", "efficientnet_em", 640, [96, 4, 3]).timm().act(RELU).dense(),
    row("efficientdet_lite0", "efficientnet_lite0", 384, [64, 3, 3]).level_first().act(RELU6).same_padding().drop_path(0.1),
    row("tf_efficientdet_d0", "tf_efficientnet_b0", 512, [64, 3, 3]).tf().released(34.2, "tf_efficientdet_d0_34-f153e0cf.pth"),
    row("tf_efficientdet_d1", "tf_efficientnet_b1", 640, [88, 4, 3]).tf().released(40.1, "tf_efficientdet_d1_40-a30f94af.pth"),
    row("tf_efficientdet_d2", "tf_efficientnet_b2", 768, [112, 5, 3]).tf().released(43.4, "tf_efficientdet_d2_43-8107aa99.pth"),
    row("tf_efficientdet_d3", "tf_efficientnet_b3", 896, [160, 6, 4]).tf().released(47.1, "tf_efficientdet_d3_47-0b525f35.pth"),
    row("tf_efficientdet_d4", "tf_efficientnet_b4", 1024, [224, 7, 4]).tf().released(49.2, "tf_efficientdet_d4_49-f56376d9.pth"),
    row("tf_efficientdet_d5", "tf_efficientnet_b5", 1280, [288, 7, 4]).tf().released(51.2, "tf_efficientdet_d5_51-c79f9be6.pth"),
    row("tf_efficientdet_d6", "tf_efficientnet_b6", 1280, [384, 8, 5]).tf().fpn("bifpn_sum").released(52.0, "tf_efficientdet_d6_52-4eda3773.pth"),
    row("tf_efficientdet_d7", "tf_efficientnet_b6", 1536, [384, 8, 5]).tf().fpn("bifpn_sum").anchors(5.0).released(53.1, "tf_efficientdet_d7_53-6d1d7a95.pth"),
    row("tf_efficientdet_d7x", "tf_efficientnet_b7", 1536, [384, 8, 5]).tf().fpn("bifpn_sum").max_level(8).released(54.3, "tf_efficientdet_d7x-f390b87c.pth"),
    row("tf_efficientdet_d0_ap", "tf_efficientnet_b0", 512, [64, 3, 3]).advprop().released(34.8, "tf_efficientdet_d0_ap-d0cdbd0a.pth"),
    row("tf_efficientdet_d1_ap", "tf_efficientnet_b1", 640, [88, 4, 3]).advprop().released(40.8, "tf_efficientdet_d1_ap-7721d075.pth"),
    row("tf_efficientdet_d2_ap", "tf_efficientnet_b2", 768, [112, 5, 3]).advprop().released(44.2, "tf_efficientdet_d2_ap-a2995c19.pth"),
    row("tf_efficientdet_d3_ap", "tf_efficientnet_b3", 896, [160, 6, 4]).advprop().released(47.7, "tf_efficientdet_d3_ap-e4a2feab.pth"),
    row("tf_efficientdet_d4_ap", "tf_efficientnet_b4", 1024, [224, 7, 4]).advprop().released(50.2, "tf_efficientdet_d4_ap-f601a5fc.pth"),
    row("tf_efficientdet_d5_ap", "tf_efficientnet_b5", 1280, [288, 7, 4]).advprop().released(52.1, "tf_efficientdet_d5_ap-3673ae5d.pth"),
    row("tf_efficientdet_lite0", "tf_efficientnet_lite0", 320, [64, 3, 3]).lite().anchors(3.0).drop_path(0.0).released(27.1, "tf_efficientdet_lite0-dfacfc78.pth"),
    row("tf_efficientdet_lite1", "tf_efficientnet_lite1", 384, [88, 4, 3]).lite().anchors(3.0).released(32.2, "tf_efficientdet_lite1-6dc7ab30.pth"),
    row("tf_efficientdet_lite2", "tf_efficientnet_lite2", 448, [112, 5, 3]).lite().anchors(3.0).released(35.9, "tf_efficientdet_lite2-86c5d55b.pth"),
    row("tf_efficientdet_lite3", "tf_efficientnet_lite3", 512, [160, 6, 4]).lite().released(39.6, "tf_efficientdet_lite3-506852cb.pth"),
    row("tf_efficientdet_lite3x", "tf_efficientnet_lite3", 640, [200, 6, 4]).lite().anchors(3.0).released(43.6, "tf_efficientdet_lite3x-8404c57b.pth"),
    row("tf_efficientdet_lite4", "tf_efficientnet_lite4", 640, [224, 7, 4]).lite().released(44.2, "tf_efficientdet_lite4-391ddabc.pth"),
];

/// All published configurations, in the reference's order.
pub fn model_specs() -> &'static [ModelSpec] {
    &SPECS
}

/// Their names.
pub fn model_names() -> impl Iterator<Item = &'static str> {
    SPECS.iter().map(|spec| spec.name)
}
