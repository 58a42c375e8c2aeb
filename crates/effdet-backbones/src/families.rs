//! The block strings of every family.
//!
//! # Reference
//! timm `efficientnet.py`, `mobilenetv3.py` and `hardcorenas.py`, the `arch_def` of each generator; the papers named.

use effdet_nn::Activation;

use crate::family::{DepthRounding, Family, HeadWidth, PooledHead, Reduction, SqueezeKind};

/// MNASNet-B1 (Tan et al. 2019, arXiv:1807.11626).
pub(crate) const MNASNET_B1: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_c16_noskip"],
        &["ir_r3_k3_s2_e3_c24"],
        &["ir_r3_k5_s2_e3_c40"],
        &["ir_r3_k5_s2_e6_c80"],
        &["ir_r2_k3_s1_e6_c96"],
        &["ir_r4_k5_s2_e6_c192"],
        &["ir_r1_k3_s1_e6_c320_noskip"],
    ],
    ..Family::EFFICIENTNET
};

/// MNASNet-A1, with squeeze-and-excitation.
pub(crate) const MNASNET_A1: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_e1_c16_noskip"],
        &["ir_r2_k3_s2_e6_c24"],
        &["ir_r3_k5_s2_e3_c40_se0.25"],
        &["ir_r4_k3_s2_e6_c80"],
        &["ir_r2_k3_s1_e6_c112_se0.25"],
        &["ir_r3_k5_s2_e6_c160_se0.25"],
        &["ir_r1_k3_s1_e6_c320"],
    ],
    ..Family::EFFICIENTNET
};

/// MNASNet-small.
pub(crate) const MNASNET_SMALL: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_c8"],
        &["ir_r1_k3_s2_e3_c16"],
        &["ir_r2_k3_s2_e6_c16"],
        &["ir_r4_k5_s2_e6_c32_se0.25"],
        &["ir_r3_k3_s1_e6_c32_se0.25"],
        &["ir_r3_k5_s2_e6_c88_se0.25"],
        &["ir_r1_k3_s1_e6_c144"],
    ],
    stem: 8,
    ..Family::EFFICIENTNET
};

/// MobileNet-V1 (Howard et al. 2017, arXiv:1704.04861).
pub(crate) const MOBILENET_V1: Family = Family {
    stages: &[
        &["dsa_r1_k3_s1_c64"],
        &["dsa_r2_k3_s2_c128"],
        &["dsa_r2_k3_s2_c256"],
        &["dsa_r6_k3_s2_c512"],
        &["dsa_r2_k3_s2_c1024"],
    ],
    activation: Activation::Relu6,
    head: HeadWidth::None,
    ..Family::EFFICIENTNET
};

/// MobileNet-V2 (Sandler et al. 2018, arXiv:1801.04381).
pub(crate) const MOBILENET_V2: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_c16"],
        &["ir_r2_k3_s2_e6_c24"],
        &["ir_r3_k3_s2_e6_c32"],
        &["ir_r4_k3_s2_e6_c64"],
        &["ir_r3_k3_s1_e6_c96"],
        &["ir_r3_k3_s2_e6_c160"],
        &["ir_r1_k3_s1_e6_c320"],
    ],
    activation: Activation::Relu6,
    head: HeadWidth::ScaledUp(1280),
    ..Family::EFFICIENTNET
};

/// FBNet-C (Wu et al. 2019, arXiv:1812.03443).
pub(crate) const FBNET_C: Family = Family {
    stages: &[
        &["ir_r1_k3_s1_e1_c16"],
        &["ir_r1_k3_s2_e6_c24", "ir_r2_k3_s1_e1_c24"],
        &["ir_r1_k5_s2_e6_c32", "ir_r1_k5_s1_e3_c32", "ir_r1_k5_s1_e6_c32", "ir_r1_k3_s1_e6_c32"],
        &["ir_r1_k5_s2_e6_c64", "ir_r1_k5_s1_e3_c64", "ir_r2_k5_s1_e6_c64"],
        &["ir_r3_k5_s1_e6_c112", "ir_r1_k5_s1_e3_c112"],
        &["ir_r4_k5_s2_e6_c184"],
        &["ir_r1_k3_s1_e6_c352"],
    ],
    stem: 16,
    head: HeadWidth::Fixed(1984),
    ..Family::EFFICIENTNET
};

/// Single-Path NAS (Stamoulis et al. 2019, arXiv:1904.02877).
pub(crate) const SPNASNET: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_c16_noskip"],
        &["ir_r3_k3_s2_e3_c24"],
        &["ir_r1_k5_s2_e6_c40", "ir_r3_k3_s1_e3_c40"],
        &["ir_r1_k5_s2_e6_c80", "ir_r3_k3_s1_e3_c80"],
        &["ir_r1_k5_s1_e6_c96", "ir_r3_k5_s1_e3_c96"],
        &["ir_r4_k5_s2_e6_c192"],
        &["ir_r1_k3_s1_e6_c320_noskip"],
    ],
    ..Family::EFFICIENTNET
};

/// EfficientNet (Tan and Le 2019, arXiv:1905.11946).
pub(crate) const EFFICIENTNET: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_e1_c16_se0.25"],
        &["ir_r2_k3_s2_e6_c24_se0.25"],
        &["ir_r2_k5_s2_e6_c40_se0.25"],
        &["ir_r3_k3_s2_e6_c80_se0.25"],
        &["ir_r3_k5_s1_e6_c112_se0.25"],
        &["ir_r4_k5_s2_e6_c192_se0.25"],
        &["ir_r1_k3_s1_e6_c320_se0.25"],
    ],
    activation: Activation::Swish,
    head: HeadWidth::Scaled(1280),
    ..Family::EFFICIENTNET
};

/// EfficientNet-EdgeTPU.
pub(crate) const EFFICIENTNET_EDGE: Family = Family {
    stages: &[
        &["er_r1_k3_s1_e4_c24_fc24_noskip"],
        &["er_r2_k3_s2_e8_c32"],
        &["er_r4_k3_s2_e8_c48"],
        &["ir_r5_k5_s2_e8_c96"],
        &["ir_r4_k5_s1_e8_c144"],
        &["ir_r2_k5_s2_e8_c192"],
    ],
    head: HeadWidth::Scaled(1280),
    ..Family::EFFICIENTNET
};

/// EfficientNet-CondConv (Yang et al. 2019, arXiv:1904.04971).
pub(crate) const CONDCONV: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_e1_c16_se0.25"],
        &["ir_r2_k3_s2_e6_c24_se0.25"],
        &["ir_r2_k5_s2_e6_c40_se0.25"],
        &["ir_r3_k3_s2_e6_c80_se0.25"],
        &["ir_r3_k5_s1_e6_c112_se0.25_cc4"],
        &["ir_r4_k5_s2_e6_c192_se0.25_cc4"],
        &["ir_r1_k3_s1_e6_c320_se0.25_cc4"],
    ],
    activation: Activation::Swish,
    head: HeadWidth::Scaled(1280),
    ..Family::EFFICIENTNET
};

/// EfficientNet-Lite.
pub(crate) const EFFICIENTNET_LITE: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_e1_c16"],
        &["ir_r2_k3_s2_e6_c24"],
        &["ir_r2_k5_s2_e6_c40"],
        &["ir_r3_k3_s2_e6_c80"],
        &["ir_r3_k5_s1_e6_c112"],
        &["ir_r4_k5_s2_e6_c192"],
        &["ir_r1_k3_s1_e6_c320"],
    ],
    fix_stem: true,
    fix_first_last: true,
    activation: Activation::Relu6,
    ..Family::EFFICIENTNET
};

/// EfficientNetV2-S (Tan and Le 2021, arXiv:2104.00298).
pub(crate) const EFFICIENTNETV2_S: Family = Family {
    stages: &[
        &["cn_r2_k3_s1_e1_c24_skip"],
        &["er_r4_k3_s2_e4_c48"],
        &["er_r4_k3_s2_e4_c64"],
        &["ir_r6_k3_s2_e4_c128_se0.25"],
        &["ir_r9_k3_s1_e6_c160_se0.25"],
        &["ir_r15_k3_s2_e6_c256_se0.25"],
    ],
    stem: 24,
    activation: Activation::Swish,
    head: HeadWidth::Scaled(1280),
    ..Family::EFFICIENTNET
};

/// EfficientNetV2-S as timm trained it before the official code came out.
pub(crate) const EFFICIENTNETV2_RW: Family = Family {
    stages: &[
        &["er_r2_k3_s1_e1_c24"],
        &["er_r4_k3_s2_e4_c48"],
        &["er_r4_k3_s2_e4_c64"],
        &["ir_r6_k3_s2_e4_c128_se0.25"],
        &["ir_r9_k3_s1_e6_c160_se0.25"],
        &["ir_r15_k3_s2_e6_c272_se0.25"],
    ],
    stem: 24,
    activation: Activation::Swish,
    head: HeadWidth::Scaled(1792),
    ..Family::EFFICIENTNET
};

/// EfficientNetV2-M.
pub(crate) const EFFICIENTNETV2_M: Family = Family {
    stages: &[
        &["cn_r3_k3_s1_e1_c24_skip"],
        &["er_r5_k3_s2_e4_c48"],
        &["er_r5_k3_s2_e4_c80"],
        &["ir_r7_k3_s2_e4_c160_se0.25"],
        &["ir_r14_k3_s1_e6_c176_se0.25"],
        &["ir_r18_k3_s2_e6_c304_se0.25"],
        &["ir_r5_k3_s1_e6_c512_se0.25"],
    ],
    stem: 24,
    activation: Activation::Swish,
    ..Family::EFFICIENTNET
};

/// EfficientNetV2-L.
pub(crate) const EFFICIENTNETV2_L: Family = Family {
    stages: &[
        &["cn_r4_k3_s1_e1_c32_skip"],
        &["er_r7_k3_s2_e4_c64"],
        &["er_r7_k3_s2_e4_c96"],
        &["ir_r10_k3_s2_e4_c192_se0.25"],
        &["ir_r19_k3_s1_e6_c224_se0.25"],
        &["ir_r25_k3_s2_e6_c384_se0.25"],
        &["ir_r7_k3_s1_e6_c640_se0.25"],
    ],
    activation: Activation::Swish,
    ..Family::EFFICIENTNET
};

/// EfficientNetV2-XL.
pub(crate) const EFFICIENTNETV2_XL: Family = Family {
    stages: &[
        &["cn_r4_k3_s1_e1_c32_skip"],
        &["er_r8_k3_s2_e4_c64"],
        &["er_r8_k3_s2_e4_c96"],
        &["ir_r16_k3_s2_e4_c192_se0.25"],
        &["ir_r24_k3_s1_e6_c256_se0.25"],
        &["ir_r32_k3_s2_e6_c512_se0.25"],
        &["ir_r8_k3_s1_e6_c640_se0.25"],
    ],
    activation: Activation::Swish,
    ..Family::EFFICIENTNET
};

/// EfficientNetV2-B0 to B3.
pub(crate) const EFFICIENTNETV2_BASE: Family = Family {
    stages: &[
        &["cn_r1_k3_s1_e1_c16_skip"],
        &["er_r2_k3_s2_e4_c32"],
        &["er_r2_k3_s2_e4_c48"],
        &["ir_r3_k3_s2_e4_c96_se0.25"],
        &["ir_r5_k3_s1_e6_c112_se0.25"],
        &["ir_r8_k3_s2_e6_c192_se0.25"],
    ],
    activation: Activation::Swish,
    round_limit: 0.0,
    head: HeadWidth::Scaled(1280),
    ..Family::EFFICIENTNET
};

/// EfficientNet-X (Li et al. 2021, arXiv:2102.05610).
pub(crate) const EFFICIENTNET_X: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_e1_c16_se0.25_d1"],
        &["er_r2_k3_s2_e6_c24_se0.25_nre"],
        &["er_r2_k5_s2_e6_c40_se0.25_nre"],
        &["ir_r3_k3_s2_e6_c80_se0.25"],
        &["ir_r3_k5_s1_e6_c112_se0.25"],
        &["ir_r4_k5_s2_e6_c192_se0.25"],
        &["ir_r1_k3_s1_e6_c320_se0.25"],
    ],
    activation: Activation::Swish,
    head: HeadWidth::Scaled(1280),
    ..Family::EFFICIENTNET
};

/// EfficientNet-H, version 2 of EfficientNet-X.
pub(crate) const EFFICIENTNET_H: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_e1_c16_se0.25_d1"],
        &["er_r2_k3_s2_e4_c24_se0.25_nre"],
        &["er_r2_k5_s2_e4_c40_se0.25_nre"],
        &["ir_r3_k3_s2_e4_c80_se0.25"],
        &["ir_r3_k5_s1_e6_c112_se0.25"],
        &["ir_r4_k5_s2_e6_c192_se0.25"],
        &["ir_r1_k3_s1_e6_c320_se0.25"],
    ],
    activation: Activation::Swish,
    head: HeadWidth::Scaled(1280),
    ..Family::EFFICIENTNET
};

/// MixNet-S (Tan and Le 2019, arXiv:1907.09595).
pub(crate) const MIXNET_S: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_e1_c16"],
        &["ir_r1_k3_a1.1_p1.1_s2_e6_c24", "ir_r1_k3_a1.1_p1.1_s1_e3_c24"],
        &["ir_r1_k3.5.7_s2_e6_c40_se0.5_nsw", "ir_r3_k3.5_a1.1_p1.1_s1_e6_c40_se0.5_nsw"],
        &["ir_r1_k3.5.7_p1.1_s2_e6_c80_se0.25_nsw", "ir_r2_k3.5_p1.1_s1_e6_c80_se0.25_nsw"],
        &["ir_r1_k3.5.7_a1.1_p1.1_s1_e6_c120_se0.5_nsw", "ir_r2_k3.5.7.9_a1.1_p1.1_s1_e3_c120_se0.5_nsw"],
        &["ir_r1_k3.5.7.9.11_s2_e6_c200_se0.5_nsw", "ir_r2_k3.5.7.9_p1.1_s1_e6_c200_se0.5_nsw"],
    ],
    stem: 16,
    head: HeadWidth::Fixed(1536),
    ..Family::EFFICIENTNET
};

/// MixNet-M and larger.
pub(crate) const MIXNET_M: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_e1_c24"],
        &["ir_r1_k3.5.7_a1.1_p1.1_s2_e6_c32", "ir_r1_k3_a1.1_p1.1_s1_e3_c32"],
        &["ir_r1_k3.5.7.9_s2_e6_c40_se0.5_nsw", "ir_r3_k3.5_a1.1_p1.1_s1_e6_c40_se0.5_nsw"],
        &["ir_r1_k3.5.7_s2_e6_c80_se0.25_nsw", "ir_r3_k3.5.7.9_a1.1_p1.1_s1_e6_c80_se0.25_nsw"],
        &["ir_r1_k3_s1_e6_c120_se0.5_nsw", "ir_r3_k3.5.7.9_a1.1_p1.1_s1_e3_c120_se0.5_nsw"],
        &["ir_r1_k3.5.7.9_s2_e6_c200_se0.5_nsw", "ir_r3_k3.5.7.9_p1.1_s1_e6_c200_se0.5_nsw"],
    ],
    stem: 24,
    depth_rounding: DepthRounding::Nearest,
    head: HeadWidth::Fixed(1536),
    ..Family::EFFICIENTNET
};

/// TinyNet (Han et al. 2020, arXiv:2010.14819).
pub(crate) const TINYNET: Family = Family {
    stages: EFFICIENTNET.stages,
    fix_stem: true,
    depth_rounding: DepthRounding::Nearest,
    activation: Activation::Swish,
    ..Family::EFFICIENTNET
};

/// MobileNet-EdgeTPU.
pub(crate) const EDGETPU_V1: Family = Family {
    stages: &[
        &["cn_r1_k1_s1_c16"],
        &["er_r1_k3_s2_e8_c32", "er_r3_k3_s1_e4_c32"],
        &["er_r1_k3_s2_e8_c48", "er_r3_k3_s1_e4_c48"],
        &["ir_r1_k3_s2_e8_c96", "ir_r3_k3_s1_e4_c96"],
        &["ir_r1_k3_s1_e8_c96_noskip", "ir_r3_k3_s1_e4_c96"],
        &["ir_r1_k5_s2_e8_c160", "ir_r3_k5_s1_e4_c160"],
        &["ir_r1_k3_s1_e8_c192"],
    ],
    ..Family::EFFICIENTNET
};

/// MobileNet-EdgeTPU v2, XS.
pub(crate) const EDGETPU_V2_XS: Family = Family {
    stages: &[
        &["cn_r1_k1_s1_c16"],
        &["er_r1_k3_s2_e8_c32", "er_r1_k3_s1_e4_gs64_c32"],
        &["er_r1_k3_s2_e8_c48", "er_r1_k3_s1_e4_gs64_c48", "er_r1_k3_s1_e4_c48", "er_r1_k3_s1_e4_gs64_c48"],
        &["er_r1_k3_s2_e8_c96", "ir_r3_k3_s1_e4_c96"],
        &["ir_r1_k3_s1_e8_c144", "ir_r3_k3_s1_e4_c144"],
        &["ir_r1_k3_s2_e8_c160", "ir_r3_k3_s1_e4_c160"],
        &["ir_r1_k3_s1_e8_c192"],
    ],
    ..Family::EFFICIENTNET
};

/// MobileNet-EdgeTPU v2, S.
pub(crate) const EDGETPU_V2_S: Family = Family {
    stages: &[
        &["cn_r1_k1_s1_c24"],
        &["er_r1_k3_s2_e8_c48", "er_r1_k3_s1_e4_gs64_c48"],
        &["er_r1_k3_s2_e8_c64", "er_r1_k3_s1_e4_gs64_c64", "er_r1_k3_s1_e4_c64", "er_r1_k3_s1_e4_gs64_c64"],
        &["er_r1_k3_s2_e8_c128", "ir_r3_k3_s1_e4_c128"],
        &["ir_r1_k3_s1_e8_c160", "ir_r3_k3_s1_e4_c160"],
        &["ir_r1_k3_s2_e8_c192", "ir_r3_k3_s1_e4_c192"],
        &["ir_r1_k3_s1_e8_c256"],
    ],
    stem: 64,
    stem_kernel: 5,
    ..Family::EFFICIENTNET
};

/// MobileNet-EdgeTPU v2, M.
pub(crate) const EDGETPU_V2_M: Family = Family {
    stages: &[
        &["cn_r1_k1_s1_c32"],
        &["er_r1_k3_s2_e8_c64", "er_r1_k3_s1_e4_gs64_c64"],
        &["er_r1_k3_s2_e8_c80", "er_r1_k3_s1_e4_gs64_c80", "er_r1_k3_s1_e4_c80", "er_r1_k3_s1_e4_gs64_c80"],
        &["er_r1_k3_s2_e8_c160", "ir_r3_k3_s1_e4_c160"],
        &["ir_r1_k3_s1_e8_c192", "ir_r3_k3_s1_e4_c192"],
        &["ir_r1_k3_s2_e8_c240", "ir_r3_k3_s1_e4_c240"],
        &["ir_r1_k3_s1_e8_c320"],
    ],
    stem: 64,
    stem_kernel: 5,
    head: HeadWidth::Fixed(1344),
    ..Family::EFFICIENTNET
};

/// MobileNet-EdgeTPU v2, L.
pub(crate) const EDGETPU_V2_L: Family = Family {
    stages: &[
        &["cn_r1_k1_s1_c32"],
        &["er_r1_k3_s2_e8_c64", "er_r1_k3_s1_e4_gs128_c64"],
        &["er_r1_k3_s2_e8_c96", "er_r1_k3_s1_e4_gs128_c96", "er_r1_k3_s1_e4_c96", "er_r1_k3_s1_e4_gs128_c96"],
        &["er_r1_k3_s2_e8_c192", "ir_r3_k3_s1_e4_c192"],
        &["ir_r1_k3_s1_e8_c240", "ir_r3_k3_s1_e4_c240"],
        &["ir_r1_k3_s2_e8_c256", "ir_r3_k3_s1_e4_c256"],
        &["ir_r1_k3_s1_e8_c384"],
    ],
    stem: 64,
    stem_kernel: 7,
    head: HeadWidth::Fixed(1408),
    ..Family::EFFICIENTNET
};

/// A minimal network for tests.
pub(crate) const TEST_EFFICIENTNET: Family = Family {
    stages: &[
        &["cn_r1_k3_s1_e1_c16_skip"],
        &["er_r1_k3_s2_e4_c24"],
        &["er_r1_k3_s2_e4_c32"],
        &["ir_r1_k3_s2_e4_c48_se0.25"],
        &["ir_r1_k3_s2_e4_c64_se0.25"],
    ],
    stem: 24,
    activation: Activation::Swish,
    round_limit: 0.0,
    head: HeadWidth::Scaled(256),
    ..Family::EFFICIENTNET
};

/// MobileNetV3-Large (Howard et al. 2019, arXiv:1905.02244).
pub(crate) const MOBILENETV3_LARGE: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_e1_c16_nre"],
        &["ir_r1_k3_s2_e4_c24_nre", "ir_r1_k3_s1_e3_c24_nre"],
        &["ir_r3_k5_s2_e3_c40_se0.25_nre"],
        &["ir_r1_k3_s2_e6_c80", "ir_r1_k3_s1_e2.5_c80", "ir_r2_k3_s1_e2.3_c80"],
        &["ir_r2_k3_s1_e6_c112_se0.25"],
        &["ir_r3_k5_s2_e6_c160_se0.25"],
        &["cn_r1_k1_s1_c960"],
    ],
    ..Family::MOBILENETV3
};

/// MobileNetV3-Small.
pub(crate) const MOBILENETV3_SMALL: Family = Family {
    stages: &[
        &["ds_r1_k3_s2_e1_c16_se0.25_nre"],
        &["ir_r1_k3_s2_e4.5_c24_nre", "ir_r1_k3_s1_e3.67_c24_nre"],
        &["ir_r1_k5_s2_e4_c40_se0.25", "ir_r2_k5_s1_e6_c40_se0.25"],
        &["ir_r2_k5_s1_e3_c48_se0.25"],
        &["ir_r3_k5_s2_e6_c96_se0.25"],
        &["cn_r1_k1_s1_c576"],
    ],
    head: HeadWidth::Fixed(1024),
    ..Family::MOBILENETV3
};

/// MobileNetV3-Large as timm trained it before the official code came out.
pub(crate) const MOBILENETV3_RW: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_e1_c16_nre_noskip"],
        &["ir_r1_k3_s2_e4_c24_nre", "ir_r1_k3_s1_e3_c24_nre"],
        &["ir_r3_k5_s2_e3_c40_se0.25_nre"],
        &["ir_r1_k3_s2_e6_c80", "ir_r1_k3_s1_e2.5_c80", "ir_r2_k3_s1_e2.3_c80"],
        &["ir_r2_k3_s1_e6_c112_se0.25"],
        &["ir_r3_k5_s2_e6_c160_se0.25"],
        &["cn_r1_k1_s1_c960"],
    ],
    se: SqueezeKind { reduction: Reduction::Round, activation: None, ..Family::MOBILENETV3.se },
    pooled_head: PooledHead::NoBias,
    ..Family::MOBILENETV3
};

/// MobileNetV3-Large without squeeze-and-excitation, hard-swish or 5×5 kernels.
pub(crate) const MOBILENETV3_LARGE_MINIMAL: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_e1_c16"],
        &["ir_r1_k3_s2_e4_c24", "ir_r1_k3_s1_e3_c24"],
        &["ir_r3_k3_s2_e3_c40"],
        &["ir_r1_k3_s2_e6_c80", "ir_r1_k3_s1_e2.5_c80", "ir_r2_k3_s1_e2.3_c80"],
        &["ir_r2_k3_s1_e6_c112"],
        &["ir_r3_k3_s2_e6_c160"],
        &["cn_r1_k1_s1_c960"],
    ],
    activation: Activation::Relu,
    ..Family::MOBILENETV3
};

/// MobileNetV3-Small minimal.
pub(crate) const MOBILENETV3_SMALL_MINIMAL: Family = Family {
    stages: &[
        &["ds_r1_k3_s2_e1_c16"],
        &["ir_r1_k3_s2_e4.5_c24", "ir_r1_k3_s1_e3.67_c24"],
        &["ir_r1_k3_s2_e4_c40", "ir_r2_k3_s1_e6_c40"],
        &["ir_r2_k3_s1_e3_c48"],
        &["ir_r3_k3_s2_e6_c96"],
        &["cn_r1_k1_s1_c576"],
    ],
    activation: Activation::Relu,
    head: HeadWidth::Fixed(1024),
    ..Family::MOBILENETV3
};

/// FBNetV3-B (Dai et al. 2020, arXiv:2006.02049).
pub(crate) const FBNETV3_B: Family = Family {
    stages: &[
        &["ds_r2_k3_s1_e1_c16"],
        &["ir_r1_k5_s2_e4_c24", "ir_r3_k5_s1_e2_c24"],
        &["ir_r1_k5_s2_e5_c40_se0.25", "ir_r4_k5_s1_e3_c40_se0.25"],
        &["ir_r1_k5_s2_e5_c72", "ir_r4_k3_s1_e3_c72"],
        &["ir_r1_k3_s1_e5_c120_se0.25", "ir_r5_k5_s1_e3_c120_se0.25"],
        &["ir_r1_k3_s2_e6_c184_se0.25", "ir_r5_k5_s1_e4_c184_se0.25", "ir_r1_k5_s1_e6_c224_se0.25"],
        &["cn_r1_k1_s1_c1344"],
    ],
    round_limit: 0.95,
    head: HeadWidth::Fixed(1984),
    se: SqueezeKind {
        reduction: Reduction::MakeDivisible { round_limit: 0.95 },
        from_expanded: false,
        activation: None,
        ..Family::MOBILENETV3.se
    },
    pooled_head: PooledHead::NoBias,
    ..Family::MOBILENETV3
};

/// FBNetV3-D (Dai et al. 2020, arXiv:2006.02049).
pub(crate) const FBNETV3_D: Family = Family {
    stages: &[
        &["ds_r2_k3_s1_e1_c16"],
        &["ir_r1_k3_s2_e5_c24", "ir_r5_k3_s1_e2_c24"],
        &["ir_r1_k5_s2_e4_c40_se0.25", "ir_r4_k3_s1_e3_c40_se0.25"],
        &["ir_r1_k3_s2_e5_c72", "ir_r4_k3_s1_e3_c72"],
        &["ir_r1_k3_s1_e5_c128_se0.25", "ir_r6_k5_s1_e3_c128_se0.25"],
        &["ir_r1_k3_s2_e6_c208_se0.25", "ir_r5_k5_s1_e5_c208_se0.25", "ir_r1_k5_s1_e6_c240_se0.25"],
        &["cn_r1_k1_s1_c1440"],
    ],
    stem: 24,
    round_limit: 0.95,
    head: HeadWidth::Fixed(1984),
    se: SqueezeKind {
        reduction: Reduction::MakeDivisible { round_limit: 0.95 },
        from_expanded: false,
        activation: None,
        ..Family::MOBILENETV3.se
    },
    pooled_head: PooledHead::NoBias,
    ..Family::MOBILENETV3
};

/// FBNetV3-G (Dai et al. 2020, arXiv:2006.02049).
pub(crate) const FBNETV3_G: Family = Family {
    stages: &[
        &["ds_r3_k3_s1_e1_c24"],
        &["ir_r1_k5_s2_e4_c40", "ir_r4_k5_s1_e2_c40"],
        &["ir_r1_k5_s2_e4_c56_se0.25", "ir_r4_k5_s1_e3_c56_se0.25"],
        &["ir_r1_k5_s2_e5_c104", "ir_r4_k3_s1_e3_c104"],
        &["ir_r1_k3_s1_e5_c160_se0.25", "ir_r8_k5_s1_e3_c160_se0.25"],
        &["ir_r1_k3_s2_e6_c264_se0.25", "ir_r6_k5_s1_e5_c264_se0.25", "ir_r2_k5_s1_e6_c288_se0.25"],
        &["cn_r1_k1_s1_c1728"],
    ],
    stem: 32,
    round_limit: 0.95,
    head: HeadWidth::Fixed(1984),
    se: SqueezeKind {
        reduction: Reduction::MakeDivisible { round_limit: 0.95 },
        from_expanded: false,
        activation: None,
        ..Family::MOBILENETV3.se
    },
    pooled_head: PooledHead::NoBias,
    ..Family::MOBILENETV3
};

/// PP-LCNet (Cui et al. 2021, arXiv:2109.15099).
pub(crate) const LCNET: Family = Family {
    stages: &[
        &["dsa_r1_k3_s1_c32"],
        &["dsa_r2_k3_s2_c64"],
        &["dsa_r2_k3_s2_c128"],
        &["dsa_r1_k3_s2_c256", "dsa_r1_k5_s1_c256"],
        &["dsa_r4_k5_s1_c256"],
        &["dsa_r2_k5_s2_c512_se0.25"],
    ],
    se: SqueezeKind { reduction: Reduction::Round, ..Family::MOBILENETV3.se },
    ..Family::MOBILENETV3
};

/// MobileNetV4 (Qin et al. 2024, arXiv:2404.10518), convolutional, small.
pub(crate) const MOBILENETV4_CONV_SMALL: Family = Family {
    stages: &[
        &["cn_r1_k3_s2_e1_c32", "cn_r1_k1_s1_e1_c32"],
        &["cn_r1_k3_s2_e1_c96", "cn_r1_k1_s1_e1_c64"],
        &["uir_r1_a5_k5_s2_e3_c96", "uir_r4_a0_k3_s1_e2_c96", "uir_r1_a3_k0_s1_e4_c96"],
        &[
            "uir_r1_a3_k3_s2_e6_c128",
            "uir_r1_a5_k5_s1_e4_c128",
            "uir_r1_a0_k5_s1_e4_c128",
            "uir_r1_a0_k5_s1_e3_c128",
            "uir_r2_a0_k3_s1_e4_c128",
        ],
        &["cn_r1_k1_s1_c960"],
    ],
    stem: 32,
    activation: Activation::Relu,
    se: SqueezeKind {
        activation: None,
        gate: Activation::Sigmoid,
        reduction: Reduction::Round,
        from_expanded: true,
    },
    pooled_head: PooledHead::Norm,
    ..Family::MOBILENETV3
};

/// MobileNetV4, convolutional, medium.
pub(crate) const MOBILENETV4_CONV_MEDIUM: Family = Family {
    stages: &[
        &["er_r1_k3_s2_e4_c48"],
        &["uir_r1_a3_k5_s2_e4_c80", "uir_r1_a3_k3_s1_e2_c80"],
        &[
            "uir_r1_a3_k5_s2_e6_c160",
            "uir_r2_a3_k3_s1_e4_c160",
            "uir_r1_a3_k5_s1_e4_c160",
            "uir_r1_a3_k3_s1_e4_c160",
            "uir_r1_a3_k0_s1_e4_c160",
            "uir_r1_a0_k0_s1_e2_c160",
            "uir_r1_a3_k0_s1_e4_c160",
        ],
        &[
            "uir_r1_a5_k5_s2_e6_c256",
            "uir_r1_a5_k5_s1_e4_c256",
            "uir_r2_a3_k5_s1_e4_c256",
            "uir_r1_a0_k0_s1_e4_c256",
            "uir_r1_a3_k0_s1_e4_c256",
            "uir_r1_a3_k5_s1_e2_c256",
            "uir_r1_a5_k5_s1_e4_c256",
            "uir_r2_a0_k0_s1_e4_c256",
            "uir_r1_a5_k0_s1_e2_c256",
        ],
        &["cn_r1_k1_s1_c960"],
    ],
    stem: 32,
    activation: Activation::Relu,
    se: SqueezeKind {
        activation: None,
        gate: Activation::Sigmoid,
        reduction: Reduction::Round,
        from_expanded: true,
    },
    pooled_head: PooledHead::Norm,
    ..Family::MOBILENETV3
};

/// MobileNetV4, convolutional, large.
pub(crate) const MOBILENETV4_CONV_LARGE: Family = Family {
    stages: &[
        &["er_r1_k3_s2_e4_c48"],
        &["uir_r1_a3_k5_s2_e4_c96", "uir_r1_a3_k3_s1_e4_c96"],
        &[
            "uir_r1_a3_k5_s2_e4_c192",
            "uir_r3_a3_k3_s1_e4_c192",
            "uir_r1_a3_k5_s1_e4_c192",
            "uir_r5_a5_k3_s1_e4_c192",
            "uir_r1_a3_k0_s1_e4_c192",
        ],
        &[
            "uir_r4_a5_k5_s2_e4_c512",
            "uir_r1_a5_k0_s1_e4_c512",
            "uir_r1_a5_k3_s1_e4_c512",
            "uir_r2_a5_k0_s1_e4_c512",
            "uir_r1_a5_k3_s1_e4_c512",
            "uir_r1_a5_k5_s1_e4_c512",
            "uir_r3_a5_k0_s1_e4_c512",
        ],
        &["cn_r1_k1_s1_c960"],
    ],
    stem: 24,
    activation: Activation::Relu,
    se: SqueezeKind {
        activation: None,
        gate: Activation::Sigmoid,
        reduction: Reduction::Round,
        from_expanded: true,
    },
    pooled_head: PooledHead::Norm,
    ..Family::MOBILENETV3
};

/// MobileNetV4 with attention, medium.
pub(crate) const MOBILENETV4_HYBRID_MEDIUM: Family = Family {
    stages: &[
        &["er_r1_k3_s2_e4_c48"],
        &["uir_r1_a3_k5_s2_e4_c80", "uir_r1_a3_k3_s1_e2_c80"],
        &[
            "uir_r1_a3_k5_s2_e6_c160",
            "uir_r1_a0_k0_s1_e2_c160",
            "uir_r1_a3_k3_s1_e4_c160",
            "uir_r1_a3_k5_s1_e4_c160",
            "mqa_r1_k3_h4_s1_v2_d64_c160",
            "uir_r1_a3_k3_s1_e4_c160",
            "mqa_r1_k3_h4_s1_v2_d64_c160",
            "uir_r1_a3_k0_s1_e4_c160",
            "mqa_r1_k3_h4_s1_v2_d64_c160",
            "uir_r1_a3_k3_s1_e4_c160",
            "mqa_r1_k3_h4_s1_v2_d64_c160",
            "uir_r1_a3_k0_s1_e4_c160",
        ],
        &[
            "uir_r1_a5_k5_s2_e6_c256",
            "uir_r1_a5_k5_s1_e4_c256",
            "uir_r2_a3_k5_s1_e4_c256",
            "uir_r1_a0_k0_s1_e2_c256",
            "uir_r1_a3_k5_s1_e2_c256",
            "uir_r1_a0_k0_s1_e2_c256",
            "uir_r1_a0_k0_s1_e4_c256",
            "mqa_r1_k3_h4_s1_d64_c256",
            "uir_r1_a3_k0_s1_e4_c256",
            "mqa_r1_k3_h4_s1_d64_c256",
            "uir_r1_a5_k5_s1_e4_c256",
            "mqa_r1_k3_h4_s1_d64_c256",
            "uir_r1_a5_k0_s1_e4_c256",
            "mqa_r1_k3_h4_s1_d64_c256",
            "uir_r1_a5_k0_s1_e4_c256",
        ],
        &["cn_r1_k1_s1_c960"],
    ],
    stem: 32,
    activation: Activation::Relu,
    se: SqueezeKind {
        activation: None,
        gate: Activation::Sigmoid,
        reduction: Reduction::Round,
        from_expanded: true,
    },
    pooled_head: PooledHead::Norm,
    layer_scale: Some(1e-5),
    ..Family::MOBILENETV3
};

/// MobileNetV4 with attention, large.
pub(crate) const MOBILENETV4_HYBRID_LARGE: Family = Family {
    stages: &[
        &["er_r1_k3_s2_e4_c48"],
        &["uir_r1_a3_k5_s2_e4_c96", "uir_r1_a3_k3_s1_e4_c96"],
        &[
            "uir_r1_a3_k5_s2_e4_c192",
            "uir_r3_a3_k3_s1_e4_c192",
            "uir_r1_a3_k5_s1_e4_c192",
            "uir_r2_a5_k3_s1_e4_c192",
            "mqa_r1_k3_h8_s1_v2_d48_c192",
            "uir_r1_a5_k3_s1_e4_c192",
            "mqa_r1_k3_h8_s1_v2_d48_c192",
            "uir_r1_a5_k3_s1_e4_c192",
            "mqa_r1_k3_h8_s1_v2_d48_c192",
            "uir_r1_a5_k3_s1_e4_c192",
            "mqa_r1_k3_h8_s1_v2_d48_c192",
            "uir_r1_a3_k0_s1_e4_c192",
        ],
        &[
            "uir_r4_a5_k5_s2_e4_c512",
            "uir_r1_a5_k0_s1_e4_c512",
            "uir_r1_a5_k3_s1_e4_c512",
            "uir_r2_a5_k0_s1_e4_c512",
            "uir_r1_a5_k3_s1_e4_c512",
            "uir_r1_a5_k5_s1_e4_c512",
            "mqa_r1_k3_h8_s1_d64_c512",
            "uir_r1_a5_k0_s1_e4_c512",
            "mqa_r1_k3_h8_s1_d64_c512",
            "uir_r1_a5_k0_s1_e4_c512",
            "mqa_r1_k3_h8_s1_d64_c512",
            "uir_r1_a5_k0_s1_e4_c512",
            "mqa_r1_k3_h8_s1_d64_c512",
            "uir_r1_a5_k0_s1_e4_c512",
        ],
        &["cn_r1_k1_s1_c960"],
    ],
    stem: 24,
    activation: Activation::Gelu,
    se: SqueezeKind {
        activation: None,
        gate: Activation::Sigmoid,
        reduction: Reduction::Round,
        from_expanded: true,
    },
    pooled_head: PooledHead::Norm,
    layer_scale: Some(1e-5),
    ..Family::MOBILENETV3
};

/// HardCoRe-NAS A (Nayman et al. 2021, arXiv:2102.11646).
pub(crate) const HARDCORENAS_A: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_e1_c16_nre"],
        &["ir_r1_k5_s2_e3_c24_nre", "ir_r1_k5_s1_e3_c24_nre_se0.25"],
        &["ir_r1_k5_s2_e3_c40_nre", "ir_r1_k5_s1_e6_c40_nre_se0.25"],
        &["ir_r1_k5_s2_e6_c80_se0.25", "ir_r1_k5_s1_e6_c80_se0.25"],
        &["ir_r1_k5_s1_e6_c112_se0.25", "ir_r1_k5_s1_e6_c112_se0.25"],
        &["ir_r1_k5_s2_e6_c192_se0.25", "ir_r1_k5_s1_e6_c192_se0.25"],
        &["cn_r1_k1_s1_c960"],
    ],
    stem: 32,
    ..Family::MOBILENETV3
};

/// HardCoRe-NAS B (Nayman et al. 2021, arXiv:2102.11646).
pub(crate) const HARDCORENAS_B: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_e1_c16_nre"],
        &["ir_r1_k5_s2_e3_c24_nre", "ir_r1_k5_s1_e3_c24_nre_se0.25", "ir_r1_k3_s1_e3_c24_nre"],
        &["ir_r1_k5_s2_e3_c40_nre", "ir_r1_k5_s1_e3_c40_nre", "ir_r1_k5_s1_e3_c40_nre"],
        &["ir_r1_k5_s2_e3_c80", "ir_r1_k5_s1_e3_c80", "ir_r1_k3_s1_e3_c80", "ir_r1_k3_s1_e3_c80"],
        &["ir_r1_k5_s1_e3_c112", "ir_r1_k3_s1_e3_c112", "ir_r1_k3_s1_e3_c112", "ir_r1_k3_s1_e3_c112"],
        &["ir_r1_k5_s2_e6_c192_se0.25", "ir_r1_k5_s1_e6_c192_se0.25", "ir_r1_k3_s1_e3_c192_se0.25"],
        &["cn_r1_k1_s1_c960"],
    ],
    stem: 32,
    ..Family::MOBILENETV3
};

/// HardCoRe-NAS C (Nayman et al. 2021, arXiv:2102.11646).
pub(crate) const HARDCORENAS_C: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_e1_c16_nre"],
        &["ir_r1_k5_s2_e3_c24_nre", "ir_r1_k5_s1_e3_c24_nre_se0.25"],
        &[
            "ir_r1_k5_s2_e3_c40_nre",
            "ir_r1_k5_s1_e3_c40_nre",
            "ir_r1_k5_s1_e3_c40_nre",
            "ir_r1_k5_s1_e3_c40_nre",
        ],
        &["ir_r1_k5_s2_e4_c80", "ir_r1_k5_s1_e6_c80_se0.25", "ir_r1_k3_s1_e3_c80", "ir_r1_k3_s1_e3_c80"],
        &["ir_r1_k5_s1_e6_c112_se0.25", "ir_r1_k3_s1_e3_c112", "ir_r1_k3_s1_e3_c112", "ir_r1_k3_s1_e3_c112"],
        &["ir_r1_k5_s2_e6_c192_se0.25", "ir_r1_k5_s1_e6_c192_se0.25", "ir_r1_k3_s1_e3_c192_se0.25"],
        &["cn_r1_k1_s1_c960"],
    ],
    stem: 32,
    ..Family::MOBILENETV3
};

/// HardCoRe-NAS D (Nayman et al. 2021, arXiv:2102.11646).
pub(crate) const HARDCORENAS_D: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_e1_c16_nre"],
        &["ir_r1_k5_s2_e3_c24_nre_se0.25", "ir_r1_k5_s1_e3_c24_nre_se0.25"],
        &["ir_r1_k5_s2_e3_c40_nre_se0.25", "ir_r1_k5_s1_e4_c40_nre_se0.25", "ir_r1_k3_s1_e3_c40_nre_se0.25"],
        &[
            "ir_r1_k5_s2_e4_c80_se0.25",
            "ir_r1_k3_s1_e3_c80_se0.25",
            "ir_r1_k3_s1_e3_c80_se0.25",
            "ir_r1_k3_s1_e3_c80_se0.25",
        ],
        &[
            "ir_r1_k3_s1_e4_c112_se0.25",
            "ir_r1_k5_s1_e4_c112_se0.25",
            "ir_r1_k3_s1_e3_c112_se0.25",
            "ir_r1_k5_s1_e3_c112_se0.25",
        ],
        &[
            "ir_r1_k5_s2_e6_c192_se0.25",
            "ir_r1_k5_s1_e6_c192_se0.25",
            "ir_r1_k5_s1_e6_c192_se0.25",
            "ir_r1_k3_s1_e6_c192_se0.25",
        ],
        &["cn_r1_k1_s1_c960"],
    ],
    stem: 32,
    ..Family::MOBILENETV3
};

/// HardCoRe-NAS E (Nayman et al. 2021, arXiv:2102.11646).
pub(crate) const HARDCORENAS_E: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_e1_c16_nre"],
        &["ir_r1_k5_s2_e3_c24_nre_se0.25", "ir_r1_k5_s1_e3_c24_nre_se0.25"],
        &[
            "ir_r1_k5_s2_e6_c40_nre_se0.25",
            "ir_r1_k5_s1_e4_c40_nre_se0.25",
            "ir_r1_k5_s1_e4_c40_nre_se0.25",
            "ir_r1_k3_s1_e3_c40_nre_se0.25",
        ],
        &["ir_r1_k5_s2_e4_c80_se0.25", "ir_r1_k3_s1_e6_c80_se0.25"],
        &[
            "ir_r1_k5_s1_e6_c112_se0.25",
            "ir_r1_k5_s1_e6_c112_se0.25",
            "ir_r1_k5_s1_e6_c112_se0.25",
            "ir_r1_k5_s1_e3_c112_se0.25",
        ],
        &[
            "ir_r1_k5_s2_e6_c192_se0.25",
            "ir_r1_k5_s1_e6_c192_se0.25",
            "ir_r1_k5_s1_e6_c192_se0.25",
            "ir_r1_k3_s1_e6_c192_se0.25",
        ],
        &["cn_r1_k1_s1_c960"],
    ],
    stem: 32,
    ..Family::MOBILENETV3
};

/// HardCoRe-NAS F (Nayman et al. 2021, arXiv:2102.11646).
pub(crate) const HARDCORENAS_F: Family = Family {
    stages: &[
        &["ds_r1_k3_s1_e1_c16_nre"],
        &["ir_r1_k5_s2_e3_c24_nre_se0.25", "ir_r1_k5_s1_e3_c24_nre_se0.25"],
        &["ir_r1_k5_s2_e6_c40_nre_se0.25", "ir_r1_k5_s1_e6_c40_nre_se0.25"],
        &[
            "ir_r1_k5_s2_e6_c80_se0.25",
            "ir_r1_k5_s1_e6_c80_se0.25",
            "ir_r1_k3_s1_e3_c80_se0.25",
            "ir_r1_k3_s1_e3_c80_se0.25",
        ],
        &[
            "ir_r1_k3_s1_e6_c112_se0.25",
            "ir_r1_k5_s1_e6_c112_se0.25",
            "ir_r1_k5_s1_e6_c112_se0.25",
            "ir_r1_k3_s1_e3_c112_se0.25",
        ],
        &[
            "ir_r1_k5_s2_e6_c192_se0.25",
            "ir_r1_k5_s1_e6_c192_se0.25",
            "ir_r1_k3_s1_e6_c192_se0.25",
            "ir_r1_k3_s1_e6_c192_se0.25",
        ],
        &["cn_r1_k1_s1_c960"],
    ],
    stem: 32,
    ..Family::MOBILENETV3
};
