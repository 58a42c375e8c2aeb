//! The blocks that networks are made of, one file each.
//!
//! Every block maps a feature map to a feature map and can also show what goes into its projection ("expansion"
//! features). Field names are timm's.

mod cond_conv_residual;
mod conv_norm_act;
mod depthwise_separable;
mod edge_residual;
mod inverted_residual;
mod mobile_attention;
mod universal_inverted_residual;

use burn::module::Module;
use burn::tensor::Device;
use effdet_nn::{
    Activation, AntiAlias, AntiAliasKind, ChannelAttention, Conv2dConfig, DropPath, FeatureMap,
    GlobalContext, NormAct, NormConfig, Padding, SqueezeExciteConfig,
};

pub use cond_conv_residual::CondConvResidual;
pub use conv_norm_act::ConvNormActBlock;
pub use depthwise_separable::DepthwiseSeparable;
pub use edge_residual::EdgeResidual;
pub use inverted_residual::InvertedResidual;
pub use mobile_attention::MobileAttention;
pub use universal_inverted_residual::UniversalInvertedResidual;

use crate::block_args::BlockKind;
use crate::plan::BlockPlan;
use crate::variants::Variant;

/// What a block gives.
pub(crate) struct BlockOutput<M> {
    pub output: M,
    /// What went into the projection.
    pub expansion: Option<M>,
}

/// Any of the blocks.
#[derive(Module, Debug)]
pub enum Block {
    /// `cn`
    ConvNormAct(ConvNormActBlock),
    /// `ds`, `dsa`
    DepthwiseSeparable(DepthwiseSeparable),
    /// `ir`
    InvertedResidual(InvertedResidual),
    /// `ir` with experts
    CondConvResidual(CondConvResidual),
    /// `er`
    EdgeResidual(EdgeResidual),
    /// `uir`
    UniversalInvertedResidual(UniversalInvertedResidual),
    /// `mqa`
    MobileAttention(MobileAttention),
}

impl Block {
    pub(crate) fn init(plan: &BlockPlan, context: &Context<'_>) -> Self {
        match plan.kind {
            BlockKind::ConvNormAct => Block::ConvNormAct(ConvNormActBlock::init(plan, context)),
            BlockKind::DepthwiseSeparable | BlockKind::DepthwiseSeparableAct => {
                Block::DepthwiseSeparable(DepthwiseSeparable::init(plan, context))
            }
            BlockKind::InvertedResidual if plan.experts > 0 => {
                Block::CondConvResidual(CondConvResidual::init(plan, context))
            }
            BlockKind::InvertedResidual => Block::InvertedResidual(InvertedResidual::init(plan, context)),
            BlockKind::EdgeResidual => Block::EdgeResidual(EdgeResidual::init(plan, context)),
            BlockKind::UniversalInvertedResidual => {
                Block::UniversalInvertedResidual(UniversalInvertedResidual::init(plan, context))
            }
            BlockKind::MultiQueryAttention => Block::MobileAttention(MobileAttention::init(plan, context)),
        }
    }

    pub(crate) fn forward<M: FeatureMap>(&self, input: M) -> BlockOutput<M> {
        match self {
            Block::ConvNormAct(block) => block.forward(input),
            Block::DepthwiseSeparable(block) => block.forward(input),
            Block::InvertedResidual(block) => block.forward(input),
            Block::CondConvResidual(block) => block.forward(input),
            Block::EdgeResidual(block) => block.forward(input),
            Block::UniversalInvertedResidual(block) => block.forward(input),
            Block::MobileAttention(block) => block.forward(input),
        }
    }
}

/// What every block of a network is built with.
pub(crate) struct Context<'a> {
    pub variant: &'a Variant,
    pub norm: NormConfig,
    pub drop_path_rate: f64,
    pub device: &'a Device,
}

impl Context<'_> {
    fn padding(&self) -> Padding {
        self.variant.padding
    }

    fn norm(&self, channels: usize, activation: Activation) -> NormAct {
        self.norm.init(channels, activation, self.device)
    }

    /// A pointwise or other unstrided convolution of the network's padding.
    fn conv(&self, from: usize, to: usize, kernel: usize) -> Conv2dConfig {
        Conv2dConfig::new(from, to, kernel).with_padding(self.padding())
    }

    /// The anti-aliasing of a strided convolution, which then has stride 1 itself.
    fn anti_alias(&self, stride: usize) -> Option<AntiAlias> {
        let kind: Option<AntiAliasKind> = self.variant.anti_alias.filter(|_| stride > 1);
        kind.map(|kind| kind.init(stride))
    }

    fn squeeze(&self, plan: &BlockPlan) -> Option<ChannelAttention> {
        let reduced_channels = plan.squeeze?;
        let channels = plan.mid_channels;
        let kind = self.variant.family.se;
        Some(if self.variant.global_context {
            let layer = GlobalContext::init(channels, reduced_channels, plan.activation, self.device);
            ChannelAttention::GlobalContext(layer)
        } else {
            let activation = kind.activation.unwrap_or(plan.activation);
            let config = SqueezeExciteConfig { channels, reduced_channels, activation, gate: kind.gate };
            ChannelAttention::SqueezeExcite(config.init(self.device))
        })
    }

    fn residual(&self, plan: &BlockPlan) -> Option<DropPath> {
        plan.skip.then(|| DropPath::new(self.drop_path_rate * plan.position, self.device))
    }
}

/// Adds the shortcut where the block has one.
fn add_residual<M: FeatureMap>(residual: &Option<DropPath>, shortcut: M, output: M) -> M {
    match residual {
        Some(drop_path) => drop_path.forward(output).plus(shortcut),
        None => output,
    }
}

fn anti_aliased<M: FeatureMap>(aa: &Option<AntiAlias>, input: M) -> M {
    match aa {
        Some(aa) => aa.forward(input),
        None => input,
    }
}

fn squeezed<M: FeatureMap>(se: &Option<ChannelAttention>, input: M) -> M {
    match se {
        Some(se) => se.forward(input),
        None => input,
    }
}
