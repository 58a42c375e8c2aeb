//! From a row of the table to the exact sizes of every block, before anything is built.

use std::collections::VecDeque;

use effdet_nn::{Activation, make_divisible, round_half_even};

use crate::block_args::{BlockArgs, BlockKind};
use crate::family::{DepthRounding, HeadWidth, Reduction};
use crate::variants::Variant;
use crate::{Error, FeatureInfo};

/// A whole network's sizes.
#[derive(Clone, Debug)]
pub(crate) struct NetPlan {
    pub stem: usize,
    pub stages: Vec<Vec<BlockPlan>>,
    /// Where features are taken, in order.
    pub taps: Vec<Tap>,
    /// Channels before the classifier, 0 for no convolution there.
    pub head: usize,
}

/// A place where a feature map is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tap {
    /// 0 is the stem, `n` the end of stage `n - 1`.
    pub stage: usize,
    pub reduction: usize,
}

/// One block's sizes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BlockPlan {
    pub kind: BlockKind,
    pub in_channels: usize,
    pub mid_channels: usize,
    pub out_channels: usize,
    pub kernels: Vec<usize>,
    pub start_kernels: Vec<usize>,
    pub end_kernels: Vec<usize>,
    pub stride: usize,
    pub group_size: Option<usize>,
    pub skip: bool,
    pub activation: Activation,
    /// Channels of the squeeze, if there is one.
    pub squeeze: Option<usize>,
    pub experts: usize,
    /// Whether the block begins with the 2×2 convolution that turns space into depth.
    pub opens_space_to_depth: bool,
    pub heads: usize,
    pub head_channels: usize,
    pub key_value_stride: usize,
    /// Position in `[0, 1)` among all blocks, which the drop path rate is multiplied with.
    pub position: f64,
}

impl BlockPlan {
    /// Groups of a convolution over `channels` channels; `default` is the group size where none is stated, 0 for
    /// one group.
    pub fn groups(&self, channels: usize, default: usize) -> usize {
        match self.group_size.unwrap_or(default) {
            0 => 1,
            size => channels / size,
        }
    }
}

/// Where a run of space-to-depth stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SpaceToDepth {
    Outside,
    Opening,
    Inside,
}

impl NetPlan {
    /// Computes every size of a network.
    ///
    /// # Reference
    /// timm `decode_arch_def` and `EfficientNetBuilder`.
    pub fn new(variant: &Variant) -> Result<Self, Error> {
        let family = variant.family;
        let round = |channels: usize| round_channels(channels, variant);
        let stages = scaled_stages(variant)?;
        let total: usize = stages.iter().map(Vec::len).sum();
        let mut pruned: VecDeque<_> =
            variant.pruning.map(|pruning| pruning.blocks.iter().copied().collect()).unwrap_or_default();

        let scaled_stem = if variant.fix_stem { family.stem } else { round(family.stem) };
        let stem = variant.pruning.map_or(scaled_stem, |pruning| pruning.stem);
        let first = &stages[0][0];
        let mut taps = Vec::new();
        if first.stride > 1 || first.space_to_depth {
            taps.push(Tap { stage: 0, reduction: 2 });
        }

        let mut plan = Vec::with_capacity(stages.len());
        let (mut channels, mut pruned_channels) = (scaled_stem, stem);
        let (mut reduction, mut index) = (2, 0);
        let mut depth_space = SpaceToDepth::Outside;
        for (stage, args) in stages.iter().enumerate() {
            let mut blocks = Vec::with_capacity(args.len());
            for (i, args) in args.iter().enumerate() {
                let mut stride = if i == 0 { args.stride } else { 1 };
                let mut expansion = args.expansion;
                if depth_space == SpaceToDepth::Outside && args.space_to_depth {
                    depth_space = SpaceToDepth::Opening;
                    reduction *= 2;
                } else if depth_space != SpaceToDepth::Outside && stride == 2 {
                    // The block that closes the region has the stride already, and four times the channels.
                    stride = 1;
                    expansion /= 4.0;
                    depth_space = SpaceToDepth::Outside;
                }
                reduction *= stride;
                let opening = depth_space == SpaceToDepth::Opening;
                let factor = if depth_space == SpaceToDepth::Outside { 1 } else { 4 };
                let out_channels = round(args.out_channels) * factor;
                let base = if opening { channels * 4 } else { channels };
                let mid_channels = match args.kind {
                    BlockKind::DepthwiseSeparable | BlockKind::DepthwiseSeparableAct => base,
                    BlockKind::ConvNormAct | BlockKind::MultiQueryAttention => out_channels,
                    _ if args.force_in_channels > 0 => {
                        make_divisible(round(args.force_in_channels) as f64 * expansion, 8, 0.9)
                    }
                    _ => make_divisible(base as f64 * expansion, 8, 0.9),
                };
                let allowed = match args.kind {
                    BlockKind::ConvNormAct => args.skip == Some(true),
                    BlockKind::DepthwiseSeparableAct => false,
                    _ => args.skip != Some(false),
                };
                let mut block = BlockPlan {
                    kind: args.kind,
                    in_channels: pruned_channels,
                    mid_channels,
                    out_channels,
                    kernels: args.kernels.clone(),
                    start_kernels: args.start_kernels.clone(),
                    end_kernels: args.end_kernels.clone(),
                    stride,
                    group_size: args.group_size.or(variant.group_size),
                    skip: allowed && stride == 1 && base == out_channels && !opening,
                    activation: args.activation.unwrap_or(family.activation),
                    squeeze: squeeze(variant, args, expansion, mid_channels, opening),
                    experts: args.experts * variant.experts_factor,
                    opens_space_to_depth: opening,
                    heads: args.heads,
                    head_channels: args.head_channels,
                    key_value_stride: args.key_value_stride,
                    position: index as f64 / total as f64,
                };
                if let Some((mid, squeeze, out)) = pruned.pop_front() {
                    (block.mid_channels, block.squeeze, block.out_channels) = (mid, Some(squeeze), out);
                }
                if opening {
                    depth_space = SpaceToDepth::Inside;
                }
                (channels, pruned_channels) = (out_channels, block.out_channels);
                index += 1;
                blocks.push(block);
            }
            plan.push(blocks);
            let next = stages.get(stage + 1).map(|args| args[0].stride);
            let last_of_level = match next {
                None => true,
                Some(stride) => stride > 1 && depth_space == SpaceToDepth::Outside,
            };
            if last_of_level {
                taps.push(Tap { stage: stage + 1, reduction });
            }
        }
        let head = match variant.head {
            HeadWidth::None => 0,
            HeadWidth::Fixed(width) => width,
            HeadWidth::Scaled(width) => round(width),
            HeadWidth::ScaledUp(width) => round(width).max(width),
        };
        Ok(NetPlan { stem, stages: plan, taps, head })
    }

    /// Channels and reduction of each feature map.
    pub fn features(&self, expansion: bool) -> Vec<FeatureInfo> {
        let channels = |tap: &Tap| match tap.stage.checked_sub(1).and_then(|stage| self.stages[stage].last())
        {
            None => self.stem,
            Some(block) if expansion => block.mid_channels,
            Some(block) => block.out_channels,
        };
        let info = |(index, tap)| FeatureInfo { index, channels: channels(tap), reduction: tap.reduction };
        self.taps.iter().enumerate().map(info).collect()
    }
}

/// Rounds scaled channels as the family does.
///
/// # Reference
/// timm `round_channels`.
fn round_channels(channels: usize, variant: &Variant) -> usize {
    make_divisible(channels as f64 * variant.width, variant.divisor, variant.family.round_limit)
}

/// Parses the block strings and repeats each block as often as the scaled depth says.
fn scaled_stages(variant: &Variant) -> Result<Vec<Vec<BlockArgs>>, Error> {
    let family = variant.family;
    let last = family.stages.len() - 1;
    let mut stages = Vec::with_capacity(family.stages.len());
    for (stage, blocks) in family.stages.iter().enumerate() {
        let blocks = blocks.iter().map(|block| BlockArgs::parse(block)).collect::<Result<Vec<_>, _>>()?;
        let fixed = variant.fix_first_last && (stage == 0 || stage == last);
        let depth =
            if fixed { 1.0 } else { variant.stage_depths.map_or(variant.depth, |depths| depths[stage]) };
        stages.push(scale_depth(blocks, depth, family.depth_rounding));
    }
    Ok(stages)
}

/// Scales the number of blocks of a stage, shared among its strings in proportion from the last to the first, so
/// that the first is the least likely to grow.
///
/// # Reference
/// timm `_scale_stage_depth`.
fn scale_depth(blocks: Vec<BlockArgs>, depth: f64, rounding: DepthRounding) -> Vec<BlockArgs> {
    let mut left: usize = blocks.iter().map(|block| block.repeats).sum();
    let scaled = left as f64 * depth;
    let mut scaled_left = match rounding {
        DepthRounding::Up => scaled.ceil() as usize,
        DepthRounding::Nearest => round_half_even(scaled).max(1),
    };
    let mut repeats = vec![0; blocks.len()];
    for (i, block) in blocks.iter().enumerate().rev() {
        let share = block.repeats as f64 / left as f64 * scaled_left as f64;
        repeats[i] = round_half_even(share).max(1);
        left -= block.repeats;
        scaled_left = scaled_left.saturating_sub(repeats[i]);
    }
    blocks.into_iter().zip(repeats).flat_map(|(block, n)| std::iter::repeat_n(block, n)).collect()
}

/// Channels of the squeeze of a block.
fn squeeze(
    variant: &Variant,
    args: &BlockArgs,
    expansion: f64,
    mid_channels: usize,
    opening: bool,
) -> Option<usize> {
    if args.se_ratio == 0.0 {
        return None;
    }
    let kind = variant.family.se;
    let expanded = match args.kind {
        BlockKind::DepthwiseSeparable | BlockKind::DepthwiseSeparableAct => 1.0,
        _ => expansion,
    };
    let mut ratio = if kind.from_expanded { args.se_ratio } else { args.se_ratio / expanded };
    if opening {
        ratio /= 4.0;
    }
    let reduced = mid_channels as f64 * ratio;
    let reduction = if variant.global_context { Reduction::GlobalContext } else { kind.reduction };
    Some(match reduction {
        Reduction::Round => round_half_even(reduced),
        Reduction::MakeDivisible { round_limit } => make_divisible(reduced, 8, round_limit),
        Reduction::GlobalContext => make_divisible(reduced, 1, 0.0),
    })
}
