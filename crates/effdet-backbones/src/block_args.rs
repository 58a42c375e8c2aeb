//! The block grammar: one string describes a run of equal blocks.
//!
//! A string is a block type followed by options joined with underscores, each a key and a value:
//! `ir_r2_k3_s2_e6_c24_se0.25` is two inverted residuals with 3×3 kernels, the first of stride 2, expansion 6,
//! 24 channels out and squeeze-and-excitation of a quarter.
//!
//! | key | meaning |
//! |---|---|
//! | `r` | repeats |
//! | `k` | kernel sizes, several joined with dots for a mixed convolution |
//! | `a`, `p` | kernel sizes of the expansion and projection (`uir`: of the depthwise before and after, 0 for none) |
//! | `s` | stride of the first block of the run |
//! | `e` | expansion ratio |
//! | `c` | channels out, before width scaling |
//! | `se` | squeeze-and-excitation ratio |
//! | `n` | activation: `re`, `r6`, `hs`, `sw`, `mi` |
//! | `cc` | number of experts |
//! | `fc` | channels that the expansion is computed from, instead of the channels in |
//! | `gs` | channels per group |
//! | `d` | `ds`, `ir`: start of space-to-depth; `mqa`: channels per head |
//! | `h`, `v` | `mqa`: heads; stride of keys and values |
//! | `skip`, `noskip` | force the residual connection on (`cn`) or off |
//!
//! # Reference
//! timm `_efficientnet_builder.py::_decode_block_str`.

use effdet_nn::Activation;

use crate::Error;

/// The types of block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// `cn`: convolution, normalisation, activation.
    ConvNormAct,
    /// `ds`: depthwise separable convolution.
    DepthwiseSeparable,
    /// `dsa`: the same with an activation after the pointwise convolution and no residual.
    DepthwiseSeparableAct,
    /// `ir`: inverted residual, MBConv.
    InvertedResidual,
    /// `er`: edge residual, fused MBConv.
    EdgeResidual,
    /// `uir`: universal inverted residual.
    UniversalInvertedResidual,
    /// `mqa`: multi-query attention.
    MultiQueryAttention,
}

const KINDS: [(&str, BlockKind); 7] = [
    ("cn", BlockKind::ConvNormAct),
    ("ds", BlockKind::DepthwiseSeparable),
    ("dsa", BlockKind::DepthwiseSeparableAct),
    ("ir", BlockKind::InvertedResidual),
    ("er", BlockKind::EdgeResidual),
    ("uir", BlockKind::UniversalInvertedResidual),
    ("mqa", BlockKind::MultiQueryAttention),
];

const ACTIVATIONS: [(&str, Activation); 5] = [
    ("re", Activation::Relu),
    ("r6", Activation::Relu6),
    ("hs", Activation::HardSwish),
    ("sw", Activation::Swish),
    ("mi", Activation::Mish),
];

/// One parsed block string.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockArgs {
    /// The type.
    pub kind: BlockKind,
    /// How many in a row.
    pub repeats: usize,
    /// Kernel sizes of the main convolution.
    pub kernels: Vec<usize>,
    /// Kernel sizes of the expansion (`uir`: of the depthwise before it).
    pub start_kernels: Vec<usize>,
    /// Kernel sizes of the projection (`uir`: of the depthwise after it).
    pub end_kernels: Vec<usize>,
    /// Stride of the first block.
    pub stride: usize,
    /// Expansion ratio.
    pub expansion: f64,
    /// Channels out, before width scaling.
    pub out_channels: usize,
    /// Squeeze-and-excitation ratio, 0 for none.
    pub se_ratio: f64,
    /// Activation, if not the network's.
    pub activation: Option<Activation>,
    /// Residual connection, if forced.
    pub skip: Option<bool>,
    /// Number of experts, 0 for a plain convolution.
    pub experts: usize,
    /// Channels the expansion is computed from, 0 for the channels in.
    pub force_in_channels: usize,
    /// Channels per group, if stated.
    pub group_size: Option<usize>,
    /// Whether space-to-depth starts here.
    pub space_to_depth: bool,
    /// Attention heads.
    pub heads: usize,
    /// Channels per attention head.
    pub head_channels: usize,
    /// Stride of attention keys and values.
    pub key_value_stride: usize,
}

impl BlockArgs {
    /// Parses a block string.
    ///
    /// # Errors
    /// [`Error::Grammar`] if the string does not follow the grammar.
    pub fn parse(block: &str) -> Result<Self, Error> {
        let fail = |reason: String| Error::Grammar { block: block.to_owned(), reason };
        let mut options = block.split('_');
        let name = options.next().unwrap_or_default();
        let (_, kind) = *KINDS
            .iter()
            .find(|(key, _)| *key == name)
            .ok_or_else(|| fail(format!("unknown block type `{name}`")))?;
        let universal = kind == BlockKind::UniversalInvertedResidual;
        let side_kernel = if universal { vec![0] } else { vec![1] };
        let mut args = BlockArgs {
            kind,
            repeats: 0,
            kernels: Vec::new(),
            start_kernels: side_kernel.clone(),
            end_kernels: side_kernel,
            stride: 0,
            expansion: 1.0,
            out_channels: 0,
            se_ratio: 0.0,
            activation: None,
            skip: None,
            experts: 0,
            force_in_channels: 0,
            group_size: None,
            space_to_depth: false,
            heads: 0,
            head_channels: 0,
            key_value_stride: 1,
        };
        for option in options {
            let digits = option.find(|c: char| c.is_ascii_digit()).unwrap_or(option.len());
            let (key, value) = option.split_at(digits);
            let bad = || fail(format!("bad value in option `{option}`"));
            let integer = || value.parse::<usize>().map_err(|_| bad());
            let real = || value.parse::<f64>().map_err(|_| bad());
            let kernels =
                || value.split('.').map(|k| k.parse().map_err(|_| bad())).collect::<Result<Vec<usize>, _>>();
            match key {
                "noskip" => args.skip = Some(false),
                "skip" => args.skip = Some(true),
                "r" => args.repeats = integer()?,
                "k" => args.kernels = kernels()?,
                "a" => args.start_kernels = kernels()?,
                "p" => args.end_kernels = kernels()?,
                "s" => args.stride = integer()?,
                "e" => args.expansion = real()?,
                "c" => args.out_channels = integer()?,
                "se" => args.se_ratio = real()?,
                "cc" => args.experts = integer()?,
                "fc" => args.force_in_channels = integer()?,
                "gs" => args.group_size = Some(integer()?),
                "d" if kind == BlockKind::MultiQueryAttention => args.head_channels = integer()?,
                "d" => args.space_to_depth = integer()? > 0,
                "h" => args.heads = integer()?,
                "v" => args.key_value_stride = integer()?,
                _ => {
                    let activation = option.strip_prefix('n').and_then(|name| {
                        ACTIVATIONS.iter().find(|(key, _)| *key == name).map(|(_, activation)| *activation)
                    });
                    args.activation =
                        Some(activation.ok_or_else(|| fail(format!("unknown option `{option}`")))?);
                }
            }
        }
        for (key, missing) in [
            ("r", args.repeats == 0),
            ("k", args.kernels.is_empty()),
            ("s", args.stride == 0),
            ("c", args.out_channels == 0),
            ("h", kind == BlockKind::MultiQueryAttention && args.heads == 0),
            ("d", kind == BlockKind::MultiQueryAttention && args.head_channels == 0),
        ] {
            if missing {
                return Err(fail(format!("option `{key}` is missing or zero")));
            }
        }
        if args.kernels.contains(&0) && !universal {
            return Err(fail("a kernel of size 0 is for `uir` alone".to_owned()));
        }
        Ok(args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_string_says_everything() {
        let args = BlockArgs::parse("ir_r2_k3.5_a1.1_s2_e2.5_c24_se0.25_nsw_cc4").unwrap();
        assert_eq!(args.kind, BlockKind::InvertedResidual);
        assert_eq!((args.repeats, args.stride, args.out_channels, args.experts), (2, 2, 24, 4));
        assert_eq!((args.kernels.as_slice(), args.start_kernels.as_slice()), (&[3, 5][..], &[1, 1][..]));
        assert_eq!((args.expansion, args.se_ratio, args.activation), (2.5, 0.25, Some(Activation::Swish)));
        let args = BlockArgs::parse("mqa_r1_k3_h8_s1_v2_d48_c192").unwrap();
        assert_eq!((args.heads, args.head_channels, args.key_value_stride), (8, 48, 2));
    }

    #[test]
    fn what_breaks_the_grammar_is_named() {
        for (block, part) in [
            ("xx_r1", "xx"),
            ("ir_r1_k3_s1", "`c`"),
            ("ir_r1_k3_s1_c8_q", "`q`"),
            ("ir_rx_k3_s1_c8", "rx"),
            ("ir_r1_k3_s1_c8_nzz", "nzz"),
            ("ds_r1_k0_s1_c8", "size 0"),
            ("", "block type"),
        ] {
            let message = BlockArgs::parse(block).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
