//! What the networks of one family share.

use effdet_nn::Activation;

/// Stages of block strings.
pub(crate) type Stages = &'static [&'static [&'static str]];

/// A family of networks: the block strings and everything that does not change with the scale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    pub stages: Stages,
    /// Channels of the stem, before width scaling.
    pub stem: usize,
    pub stem_kernel: usize,
    /// Whether the stem escapes width scaling.
    pub fix_stem: bool,
    /// Whether the first and last stage escape depth scaling.
    pub fix_first_last: bool,
    pub depth_rounding: DepthRounding,
    pub activation: Activation,
    /// Channel rounding may lose this much at most.
    pub round_limit: f64,
    pub head: HeadWidth,
    /// `None`: convolution, then pooling. Otherwise pooling comes first.
    pub pooled_head: PooledHead,
    pub se: SqueezeKind,
    pub layer_scale: Option<f64>,
}

/// How a scaled number of blocks becomes an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DepthRounding {
    Up,
    Nearest,
}

/// Channels before the classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadWidth {
    /// No convolution before the classifier.
    None,
    Fixed(usize),
    /// Scaled with the width.
    Scaled(usize),
    /// Scaled with the width where that makes it wider.
    ScaledUp(usize),
}

/// Order and parts of the classifier's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PooledHead {
    /// Convolution, norm and activation before pooling: the EfficientNet class.
    No,
    /// Pooling, convolution with bias, activation: the MobileNetV3 class.
    Bias,
    /// The same without bias.
    NoBias,
    /// Pooling, convolution, norm and activation: MobileNetV4.
    Norm,
}

/// How squeeze-and-excitation is sized and activated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SqueezeKind {
    pub reduction: Reduction,
    /// Whether the ratio is of the expanded channels rather than of the block's input.
    pub from_expanded: bool,
    /// Activation of the bottleneck, if not the block's.
    pub activation: Option<Activation>,
    pub gate: Activation,
}

/// How the channels of the bottleneck become an integer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reduction {
    /// Python's `round`: halves to even.
    Round,
    /// To a multiple of 8.
    MakeDivisible { round_limit: f64 },
    /// Global context: plain rounding, halves up.
    GlobalContext,
}

impl Family {
    /// What timm's `EfficientNet` class defaults to.
    pub const EFFICIENTNET: Family = Family {
        stages: &[],
        stem: 32,
        stem_kernel: 3,
        fix_stem: false,
        fix_first_last: false,
        depth_rounding: DepthRounding::Up,
        activation: Activation::Relu,
        round_limit: 0.9,
        head: HeadWidth::Fixed(1280),
        pooled_head: PooledHead::No,
        se: SqueezeKind {
            reduction: Reduction::Round,
            from_expanded: false,
            activation: None,
            gate: Activation::Sigmoid,
        },
        layer_scale: None,
    };

    /// What timm's `MobileNetV3` class and its generators default to.
    pub const MOBILENETV3: Family = Family {
        stem: 16,
        activation: Activation::HardSwish,
        pooled_head: PooledHead::Bias,
        se: SqueezeKind {
            reduction: Reduction::MakeDivisible { round_limit: 0.9 },
            from_expanded: true,
            activation: Some(Activation::Relu),
            gate: Activation::HardSigmoid,
        },
        ..Family::EFFICIENTNET
    };
}
