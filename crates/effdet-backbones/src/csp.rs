//! Cross-stage-partial networks: CSPResNet-50, CSPResNeXt-50 and CSPDarknet-53.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use effdet_nn::{
    Activation, Conv2dConfig, ConvNormAct, ConvNormActConfig, DropPath, FeatureMap, Initializer, Linear,
    NormConfig, Padding, Pool,
};

use crate::resnet::with_zero_scale;
use crate::{BackboneConfig, FeatureInfo};

/// The published networks activate with a leaky ReLU.
const ACTIVATION: Activation = Activation::LeakyRelu;

/// A network of the family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CspVariant {
    pub name: &'static str,
    stem: usize,
    stem_kernel: usize,
    /// 1: full resolution; 4: a strided convolution and a strided max pool.
    stem_stride: usize,
    stages: &'static [CspStage],
    groups: usize,
    /// Whether the convolution before the split has no activation.
    linear_expansion: bool,
    /// Whether the downsampling convolution already has the stage's channels.
    growing_downsample: bool,
    block: BlockType,
}

#[derive(Clone, Copy, Debug)]
struct CspStage {
    depth: usize,
    out_channels: usize,
    stride: usize,
    expand_ratio: f64,
    bottle_ratio: f64,
    block_ratio: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlockType {
    Bottleneck,
    Dark,
}

const fn stage(depth: usize, out_channels: usize, stride: usize, ratios: [f64; 3]) -> CspStage {
    let [expand_ratio, bottle_ratio, block_ratio] = ratios;
    CspStage { depth, out_channels, stride, expand_ratio, bottle_ratio, block_ratio }
}

const RESNET: [f64; 3] = [2.0, 0.5, 1.0];
const RESNEXT: [f64; 3] = [1.0, 1.0, 0.5];
const DARKNET: [f64; 3] = [1.0, 1.0, 0.5];

/// The table of CSP networks.
///
/// # Reference
/// timm `cspnet.py::model_cfgs`; Wang et al. 2019, "CSPNet".
pub(crate) const VARIANTS: &[CspVariant] = &[
    CspVariant {
        name: "cspresnet50",
        stem: 64,
        stem_kernel: 7,
        stem_stride: 4,
        stages: &[
            stage(3, 128, 1, RESNET),
            stage(3, 256, 2, RESNET),
            stage(5, 512, 2, RESNET),
            stage(2, 1024, 2, RESNET),
        ],
        groups: 1,
        linear_expansion: true,
        growing_downsample: false,
        block: BlockType::Bottleneck,
    },
    CspVariant {
        name: "cspresnext50",
        stem: 64,
        stem_kernel: 7,
        stem_stride: 4,
        stages: &[
            stage(3, 256, 1, RESNEXT),
            stage(3, 512, 2, RESNEXT),
            stage(5, 1024, 2, RESNEXT),
            stage(2, 2048, 2, RESNEXT),
        ],
        groups: 32,
        linear_expansion: true,
        growing_downsample: false,
        block: BlockType::Bottleneck,
    },
    CspVariant {
        name: "cspdarknet53",
        stem: 32,
        stem_kernel: 3,
        stem_stride: 1,
        stages: &[
            stage(1, 64, 2, [2.0, 0.5, 1.0]),
            stage(2, 128, 2, DARKNET),
            stage(8, 256, 2, DARKNET),
            stage(8, 512, 2, DARKNET),
            stage(4, 1024, 2, DARKNET),
        ],
        groups: 1,
        linear_expansion: false,
        growing_downsample: true,
        block: BlockType::Dark,
    },
];

impl CspVariant {
    pub(crate) fn features(&self) -> Vec<FeatureInfo> {
        // A stage of stride 1 replaces what the stem's pool gives, so every stage is a feature, after the stem.
        let mut reduction = if self.stem_stride > 1 { 2 } else { 1 };
        let mut features = vec![FeatureInfo { index: 0, channels: self.stem, reduction }];
        reduction = self.stem_stride;
        for (i, stage) in self.stages.iter().enumerate() {
            reduction *= stage.stride;
            features.push(FeatureInfo { index: i + 1, channels: stage.out_channels, reduction });
        }
        features
    }
}

/// A cross-stage-partial network.
///
/// The stages are named fields because timm's feature networks name them so (`stages_0`, not `stages.0`).
///
/// # Reference
/// timm `CspNet` with `features_only`.
#[derive(Module, Debug)]
pub struct CspNet {
    /// The stem.
    pub stem_conv1: ConvNormAct,
    /// First stage.
    pub stages_0: CrossStage,
    /// Second stage.
    pub stages_1: CrossStage,
    /// Third stage.
    pub stages_2: CrossStage,
    /// Fourth stage.
    pub stages_3: CrossStage,
    /// Fifth stage, in CSPDarknet.
    pub stages_4: Option<CrossStage>,
    /// The classifier.
    pub head: Option<CspHead>,
    #[module(skip)]
    pools: bool,
    #[module(skip)]
    out_indices: Vec<usize>,
}

/// The classifier, under the name timm gives it.
#[derive(Module, Debug)]
pub struct CspHead {
    /// The classifier.
    pub fc: Linear,
}

/// A stage: half of the channels go through the blocks, half pass by.
#[derive(Module, Debug)]
pub struct CrossStage {
    /// Downsampling.
    pub conv_down: Option<ConvNormAct>,
    /// Expansion before the split.
    pub conv_exp: ConvNormAct,
    /// The blocks.
    pub blocks: Vec<CspBlock>,
    /// After the blocks.
    pub conv_transition_b: ConvNormAct,
    /// After joining the halves.
    pub conv_transition: ConvNormAct,
    #[module(skip)]
    split: usize,
}

/// A residual block: with three convolutions a bottleneck, with two a dark block.
#[derive(Module, Debug)]
pub struct CspBlock {
    /// Pointwise reduction.
    pub conv1: ConvNormAct,
    /// 3×3 convolution.
    pub conv2: ConvNormAct,
    /// Pointwise expansion of a bottleneck.
    pub conv3: Option<ConvNormAct>,
    drop_path: DropPath,
}

impl CspNet {
    pub(crate) fn init(variant: &CspVariant, config: &BackboneConfig, device: &Device) -> Self {
        let total: usize = variant.stages.iter().map(|stage| stage.depth).sum();
        let (mut channels, mut index) = (variant.stem, 0);
        let mut next = |stage: &CspStage| {
            let rates = (index..index + stage.depth)
                .map(|i| config.drop_path_rate * i as f64 / (total - 1) as f64)
                .collect::<Vec<_>>();
            let built = CrossStage::init(variant, stage, channels, &rates, device);
            (channels, index) = (stage.out_channels, index + stage.depth);
            built
        };
        let stem_stride = if variant.stem_stride > 1 { 2 } else { 1 };
        let last = variant.stages[variant.stages.len() - 1].out_channels;
        Self {
            stem_conv1: conv(
                config.in_channels,
                variant.stem,
                variant.stem_kernel,
                stem_stride,
                1,
                ACTIVATION,
                device,
            ),
            stages_0: next(&variant.stages[0]),
            stages_1: next(&variant.stages[1]),
            stages_2: next(&variant.stages[2]),
            stages_3: next(&variant.stages[3]),
            stages_4: variant.stages.get(4).map(next),
            head: config.classes.map(|classes| CspHead { fc: Linear::new(last, classes, device) }),
            pools: variant.stem_stride == 4,
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
        let mut hidden = self.stem_conv1.forward(input);
        if indices.first() == Some(&0) {
            features.push(hidden.clone());
        }
        if self.pools {
            hidden = hidden.pool2d(Pool::Max, [3, 3], [2, 2], Padding::Symmetric);
        }
        let stages = [&self.stages_0, &self.stages_1, &self.stages_2, &self.stages_3];
        for (i, stage) in stages.into_iter().chain(&self.stages_4).enumerate() {
            if features.len() == indices.len() {
                break;
            }
            hidden = stage.forward(hidden);
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
        let head = self.head.as_ref()?;
        let last = if self.stages_4.is_some() { 5 } else { 4 };
        let last = self.features(input, &[last]).pop()?;
        Some(head.fc.forward(last.mean_dim(3).mean_dim(2).flatten(1, 3)))
    }
}

impl CrossStage {
    fn init(variant: &CspVariant, stage: &CspStage, channels: usize, rates: &[f64], device: &Device) -> Self {
        let scaled = |ratio: f64| (stage.out_channels as f64 * ratio).round() as usize;
        let down = if variant.growing_downsample { stage.out_channels } else { channels };
        let strided = stage.stride > 1;
        let before = if strided { down } else { channels };
        let expanded = scaled(stage.expand_ratio);
        let block_out = scaled(stage.block_ratio);
        let expansion_activation = if variant.linear_expansion { Activation::Identity } else { ACTIVATION };
        let mut from = expanded / 2;
        let blocks = rates.iter().map(|rate| {
            let block = CspBlock::init(variant, from, block_out, stage.bottle_ratio, *rate, device);
            from = block_out;
            block
        });
        let blocks = blocks.collect();
        let pointwise = |from, to| conv(from, to, 1, 1, 1, ACTIVATION, device);
        Self {
            conv_down: strided
                .then(|| conv(channels, down, 3, stage.stride, variant.groups, ACTIVATION, device)),
            conv_exp: conv(before, expanded, 1, 1, 1, expansion_activation, device),
            blocks,
            conv_transition_b: pointwise(from, expanded / 2),
            conv_transition: pointwise(expanded, stage.out_channels),
            split: expanded / 2,
        }
    }

    fn forward<M: FeatureMap>(&self, input: M) -> M {
        let input = match &self.conv_down {
            Some(conv) => conv.forward(input),
            None => input,
        };
        let expanded = self.conv_exp.forward(input);
        let passed = expanded.clone().narrow_channels(0, self.split);
        let mut hidden = expanded.narrow_channels(self.split, self.split);
        for block in &self.blocks {
            hidden = block.forward(hidden);
        }
        let hidden = self.conv_transition_b.forward(hidden);
        self.conv_transition.forward(M::cat_channels(vec![passed, hidden]))
    }
}

impl CspBlock {
    fn init(
        variant: &CspVariant,
        from: usize,
        out: usize,
        ratio: f64,
        drop_path: f64,
        device: &Device,
    ) -> Self {
        let mid = (out as f64 * ratio).round() as usize;
        let bottleneck = variant.block == BlockType::Bottleneck;
        let middle = if bottleneck { mid } else { out };
        let mut block = Self {
            conv1: conv(from, mid, 1, 1, 1, ACTIVATION, device),
            conv2: conv(mid, middle, 3, 1, variant.groups, ACTIVATION, device),
            conv3: bottleneck.then(|| conv(mid, out, 1, 1, 1, Activation::Identity, device)),
            drop_path: DropPath::new(drop_path, device),
        };
        let last = block.conv3.as_mut().unwrap_or(&mut block.conv2);
        last.bn = last.bn.take().map(with_zero_scale);
        block
    }

    fn forward<M: FeatureMap>(&self, input: M) -> M {
        let hidden = self.conv2.forward(self.conv1.forward(input.clone()));
        match &self.conv3 {
            Some(conv) => self.drop_path.forward(conv.forward(hidden)).plus(input).activate(ACTIVATION),
            None => self.drop_path.forward(hidden).plus(input),
        }
    }
}

fn conv(
    from: usize,
    to: usize,
    kernel: usize,
    stride: usize,
    groups: usize,
    activation: Activation,
    device: &Device,
) -> ConvNormAct {
    let conv = Conv2dConfig::new(from, to, kernel)
        .with_stride(stride)
        .with_groups(groups)
        .with_initializer(Initializer::KaimingFanOut);
    ConvNormActConfig::new(conv, NormConfig::default()).with_activation(activation).init(device)
}
