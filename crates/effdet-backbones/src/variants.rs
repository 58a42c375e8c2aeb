//! The table of all EfficientNet and MobileNetV3 networks: one row per timm entry point.

use effdet_nn::{AntiAliasKind, NormConfig, Padding};

use crate::families::*;
use crate::family::{Family, HeadWidth};
use crate::pruning::{B1_PRUNED, B2_PRUNED, B3_PRUNED, Pruning};

/// A network: its family and what it changes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    pub name: &'static str,
    pub family: &'static Family,
    pub width: f64,
    pub depth: f64,
    /// Depth factor per stage, in place of `depth`.
    pub stage_depths: Option<&'static [f64]>,
    /// Channels are rounded to multiples of this.
    pub divisor: usize,
    /// Channels per group of the depthwise convolutions, where the block strings state none.
    pub group_size: Option<usize>,
    pub norm: NormConfig,
    pub padding: Padding,
    pub experts_factor: usize,
    pub anti_alias: Option<AntiAliasKind>,
    pub fix_stem: bool,
    pub fix_first_last: bool,
    pub head: HeadWidth,
    pub global_context: bool,
    pub pruning: Option<&'static Pruning>,
    /// Epsilon that the published weights were trained with, where it is not the network's default.
    pub pretrained_epsilon: Option<f64>,
}

const PYTORCH: NormConfig = NormConfig::Batch { epsilon: 1e-5, momentum: 0.1 };
const TENSORFLOW: NormConfig = NormConfig::Batch { epsilon: 1e-3, momentum: 0.1 };

const fn row(name: &'static str, family: &'static Family) -> Variant {
    Variant {
        name,
        family,
        width: 1.0,
        depth: 1.0,
        stage_depths: None,
        divisor: 8,
        group_size: None,
        norm: PYTORCH,
        padding: Padding::Symmetric,
        experts_factor: 1,
        anti_alias: None,
        fix_stem: family.fix_stem,
        fix_first_last: family.fix_first_last,
        head: family.head,
        global_context: false,
        pruning: None,
        pretrained_epsilon: None,
    }
}

impl Variant {
    const fn width(mut self, width: f64) -> Self {
        self.width = width;
        self
    }

    const fn scale(mut self, width: f64, depth: f64) -> Self {
        self.width = width;
        self.depth = depth;
        self
    }

    const fn stage_depths(mut self, depths: &'static [f64]) -> Self {
        self.stage_depths = Some(depths);
        self
    }

    const fn divisor(mut self, divisor: usize) -> Self {
        self.divisor = divisor;
        self
    }

    const fn group_size(mut self, size: usize) -> Self {
        self.group_size = Some(size);
        self
    }

    const fn norm(mut self, norm: NormConfig) -> Self {
        self.norm = norm;
        self
    }

    /// TensorFlow's padding and epsilon.
    const fn tf(mut self) -> Self {
        self.padding = Padding::Same;
        self.tf_epsilon()
    }

    const fn tf_epsilon(mut self) -> Self {
        self.norm = TENSORFLOW;
        self
    }

    const fn experts(mut self, factor: usize) -> Self {
        self.experts_factor = factor;
        self
    }

    const fn anti_alias(mut self, kind: AntiAliasKind) -> Self {
        self.anti_alias = Some(kind);
        self
    }

    const fn fix_stem(mut self) -> Self {
        self.fix_stem = true;
        self
    }

    /// Stem, first and last stage and head escape scaling.
    const fn fix_ends(mut self) -> Self {
        self.fix_stem = true;
        self.fix_first_last = true;
        if let HeadWidth::ScaledUp(width) = self.head {
            self.head = HeadWidth::Fixed(width);
        }
        self
    }

    const fn head(mut self, head: HeadWidth) -> Self {
        self.head = head;
        self
    }

    const fn global_context(mut self) -> Self {
        self.global_context = true;
        self
    }

    const fn pruned(mut self, pruning: &'static Pruning) -> Self {
        self.pruning = Some(pruning);
        self
    }

    const fn pretrained_epsilon(mut self, epsilon: f64) -> Self {
        self.pretrained_epsilon = Some(epsilon);
        self
    }
}

/// Every entry point of timm's EfficientNet and MobileNetV3 classes.
///
/// # Reference
/// timm 1.0 `efficientnet.py` (115), `mobilenetv3.py` (33), `hardcorenas.py` (6).
#[rustfmt::skip]
pub(crate) const VARIANTS: &[Variant] = &[
    row("mnasnet_050", &MNASNET_B1).width(0.5),
    row("mnasnet_075", &MNASNET_B1).width(0.75),
    row("mnasnet_100", &MNASNET_B1),
    row("mnasnet_140", &MNASNET_B1).width(1.4),
    row("semnasnet_050", &MNASNET_A1).width(0.5),
    row("semnasnet_075", &MNASNET_A1).width(0.75),
    row("semnasnet_100", &MNASNET_A1),
    row("semnasnet_140", &MNASNET_A1).width(1.4),
    row("mnasnet_small", &MNASNET_SMALL),
    row("mobilenetv1_100", &MOBILENET_V1),
    row("mobilenetv1_100h", &MOBILENET_V1).head(HeadWidth::Fixed(1024)),
    row("mobilenetv1_125", &MOBILENET_V1).width(1.25),
    row("mobilenetv2_035", &MOBILENET_V2).width(0.35),
    row("mobilenetv2_050", &MOBILENET_V2).width(0.5),
    row("mobilenetv2_075", &MOBILENET_V2).width(0.75),
    row("mobilenetv2_100", &MOBILENET_V2),
    row("mobilenetv2_140", &MOBILENET_V2).width(1.4),
    row("mobilenetv2_110d", &MOBILENET_V2).scale(1.1, 1.2).fix_ends(),
    row("mobilenetv2_120d", &MOBILENET_V2).scale(1.2, 1.4).fix_ends(),
    row("fbnetc_100", &FBNET_C).pretrained_epsilon(1e-3),
    row("spnasnet_100", &SPNASNET),
    row("efficientnet_b0", &EFFICIENTNET),
    row("efficientnet_b1", &EFFICIENTNET).scale(1.0, 1.1),
    row("efficientnet_b2", &EFFICIENTNET).scale(1.1, 1.2),
    row("efficientnet_b3", &EFFICIENTNET).scale(1.2, 1.4),
    row("efficientnet_b4", &EFFICIENTNET).scale(1.4, 1.8),
    row("efficientnet_b5", &EFFICIENTNET).scale(1.6, 2.2),
    row("efficientnet_b6", &EFFICIENTNET).scale(1.8, 2.6),
    row("efficientnet_b7", &EFFICIENTNET).scale(2.0, 3.1),
    row("efficientnet_b8", &EFFICIENTNET).scale(2.2, 3.6),
    row("efficientnet_l2", &EFFICIENTNET).scale(4.3, 5.3),
    row("efficientnet_b0_gn", &EFFICIENTNET).norm(NormConfig::Group { group_size: 8 }),
    row("efficientnet_b0_g8_gn", &EFFICIENTNET).group_size(8).norm(NormConfig::Group { group_size: 8 }),
    row("efficientnet_b0_g16_evos", &EFFICIENTNET).divisor(16).group_size(16),
    row("efficientnet_b3_gn", &EFFICIENTNET).scale(1.2, 1.4).divisor(16).norm(NormConfig::Group { group_size: 16 }),
    row("efficientnet_b3_g8_gn", &EFFICIENTNET).scale(1.2, 1.4).divisor(16).group_size(8).norm(NormConfig::Group { group_size: 16 }),
    row("efficientnet_blur_b0", &EFFICIENTNET).anti_alias(AntiAliasKind::Blur),
    row("efficientnet_es", &EFFICIENTNET_EDGE),
    row("efficientnet_es_pruned", &EFFICIENTNET_EDGE),
    row("efficientnet_em", &EFFICIENTNET_EDGE).scale(1.0, 1.1),
    row("efficientnet_el", &EFFICIENTNET_EDGE).scale(1.2, 1.4),
    row("efficientnet_el_pruned", &EFFICIENTNET_EDGE).scale(1.2, 1.4),
    row("efficientnet_cc_b0_4e", &CONDCONV),
    row("efficientnet_cc_b0_8e", &CONDCONV).experts(2),
    row("efficientnet_cc_b1_8e", &CONDCONV).scale(1.0, 1.1).experts(2),
    row("efficientnet_lite0", &EFFICIENTNET_LITE),
    row("efficientnet_lite1", &EFFICIENTNET_LITE).scale(1.0, 1.1),
    row("efficientnet_lite2", &EFFICIENTNET_LITE).scale(1.1, 1.2),
    row("efficientnet_lite3", &EFFICIENTNET_LITE).scale(1.2, 1.4),
    row("efficientnet_lite4", &EFFICIENTNET_LITE).scale(1.4, 1.8),
    row("efficientnet_b1_pruned", &EFFICIENTNET).scale(1.0, 1.1).tf().pruned(&B1_PRUNED),
    row("efficientnet_b2_pruned", &EFFICIENTNET).scale(1.1, 1.2).tf().pruned(&B2_PRUNED),
    row("efficientnet_b3_pruned", &EFFICIENTNET).scale(1.2, 1.4).tf().pruned(&B3_PRUNED),
    row("efficientnetv2_rw_t", &EFFICIENTNETV2_S).scale(0.8, 0.9),
    row("gc_efficientnetv2_rw_t", &EFFICIENTNETV2_S).scale(0.8, 0.9).global_context(),
    row("efficientnetv2_rw_s", &EFFICIENTNETV2_RW),
    row("efficientnetv2_rw_m", &EFFICIENTNETV2_RW).width(1.2).stage_depths(&[1.2, 1.2, 1.2, 1.2, 1.6, 1.6]),
    row("efficientnetv2_s", &EFFICIENTNETV2_S),
    row("efficientnetv2_m", &EFFICIENTNETV2_M),
    row("efficientnetv2_l", &EFFICIENTNETV2_L),
    row("efficientnetv2_xl", &EFFICIENTNETV2_XL),
    row("tf_efficientnet_b0", &EFFICIENTNET).tf(),
    row("tf_efficientnet_b1", &EFFICIENTNET).scale(1.0, 1.1).tf(),
    row("tf_efficientnet_b2", &EFFICIENTNET).scale(1.1, 1.2).tf(),
    row("tf_efficientnet_b3", &EFFICIENTNET).scale(1.2, 1.4).tf(),
    row("tf_efficientnet_b4", &EFFICIENTNET).scale(1.4, 1.8).tf(),
    row("tf_efficientnet_b5", &EFFICIENTNET).scale(1.6, 2.2).tf(),
    row("tf_efficientnet_b6", &EFFICIENTNET).scale(1.8, 2.6).tf(),
    row("tf_efficientnet_b7", &EFFICIENTNET).scale(2.0, 3.1).tf(),
    row("tf_efficientnet_b8", &EFFICIENTNET).scale(2.2, 3.6).tf(),
    row("tf_efficientnet_l2", &EFFICIENTNET).scale(4.3, 5.3).tf(),
    row("tf_efficientnet_es", &EFFICIENTNET_EDGE).tf(),
    row("tf_efficientnet_em", &EFFICIENTNET_EDGE).scale(1.0, 1.1).tf(),
    row("tf_efficientnet_el", &EFFICIENTNET_EDGE).scale(1.2, 1.4).tf(),
    row("tf_efficientnet_cc_b0_4e", &CONDCONV).tf(),
    row("tf_efficientnet_cc_b0_8e", &CONDCONV).tf().experts(2),
    row("tf_efficientnet_cc_b1_8e", &CONDCONV).scale(1.0, 1.1).tf().experts(2),
    row("tf_efficientnet_lite0", &EFFICIENTNET_LITE).tf(),
    row("tf_efficientnet_lite1", &EFFICIENTNET_LITE).scale(1.0, 1.1).tf(),
    row("tf_efficientnet_lite2", &EFFICIENTNET_LITE).scale(1.1, 1.2).tf(),
    row("tf_efficientnet_lite3", &EFFICIENTNET_LITE).scale(1.2, 1.4).tf(),
    row("tf_efficientnet_lite4", &EFFICIENTNET_LITE).scale(1.4, 1.8).tf(),
    row("tf_efficientnetv2_s", &EFFICIENTNETV2_S).tf(),
    row("tf_efficientnetv2_m", &EFFICIENTNETV2_M).tf(),
    row("tf_efficientnetv2_l", &EFFICIENTNETV2_L).tf(),
    row("tf_efficientnetv2_xl", &EFFICIENTNETV2_XL).tf(),
    row("tf_efficientnetv2_b0", &EFFICIENTNETV2_BASE).tf(),
    row("tf_efficientnetv2_b1", &EFFICIENTNETV2_BASE).scale(1.0, 1.1).tf(),
    row("tf_efficientnetv2_b2", &EFFICIENTNETV2_BASE).scale(1.1, 1.2).tf(),
    row("tf_efficientnetv2_b3", &EFFICIENTNETV2_BASE).scale(1.2, 1.4).tf(),
    row("efficientnet_x_b3", &EFFICIENTNET_X).scale(1.2, 1.4),
    row("efficientnet_x_b5", &EFFICIENTNET_X).scale(1.6, 2.2),
    row("efficientnet_h_b5", &EFFICIENTNET_H).scale(1.92, 2.2),
    row("mixnet_s", &MIXNET_S),
    row("mixnet_m", &MIXNET_M),
    row("mixnet_l", &MIXNET_M).width(1.3),
    row("mixnet_xl", &MIXNET_M).scale(1.6, 1.2),
    row("mixnet_xxl", &MIXNET_M).scale(2.4, 1.3),
    row("tf_mixnet_s", &MIXNET_S).tf(),
    row("tf_mixnet_m", &MIXNET_M).tf(),
    row("tf_mixnet_l", &MIXNET_M).width(1.3).tf(),
    row("tinynet_a", &TINYNET).scale(1.0, 1.2),
    row("tinynet_b", &TINYNET).scale(0.75, 1.1),
    row("tinynet_c", &TINYNET).scale(0.54, 0.85),
    row("tinynet_d", &TINYNET).scale(0.54, 0.695),
    row("tinynet_e", &TINYNET).scale(0.51, 0.6),
    row("mobilenet_edgetpu_100", &EDGETPU_V1),
    row("mobilenet_edgetpu_v2_xs", &EDGETPU_V2_XS),
    row("mobilenet_edgetpu_v2_s", &EDGETPU_V2_S),
    row("mobilenet_edgetpu_v2_m", &EDGETPU_V2_M),
    row("mobilenet_edgetpu_v2_l", &EDGETPU_V2_L),
    row("test_efficientnet", &TEST_EFFICIENTNET),
    row("test_efficientnet_gn", &TEST_EFFICIENTNET).norm(NormConfig::Group { group_size: 8 }),
    row("test_efficientnet_ln", &TEST_EFFICIENTNET).norm(NormConfig::Layer),
    row("test_efficientnet_evos", &TEST_EFFICIENTNET).norm(NormConfig::Evo { group_size: 8 }),
    row("mobilenetv3_large_075", &MOBILENETV3_LARGE).width(0.75),
    row("mobilenetv3_large_100", &MOBILENETV3_LARGE),
    row("mobilenetv3_large_150d", &MOBILENETV3_LARGE).scale(1.5, 1.2),
    row("mobilenetv3_small_050", &MOBILENETV3_SMALL).width(0.5).fix_stem(),
    row("mobilenetv3_small_075", &MOBILENETV3_SMALL).width(0.75),
    row("mobilenetv3_small_100", &MOBILENETV3_SMALL),
    row("mobilenetv3_rw", &MOBILENETV3_RW).tf_epsilon(),
    row("tf_mobilenetv3_large_075", &MOBILENETV3_LARGE).width(0.75).tf(),
    row("tf_mobilenetv3_large_100", &MOBILENETV3_LARGE).tf(),
    row("tf_mobilenetv3_large_minimal_100", &MOBILENETV3_LARGE_MINIMAL).tf(),
    row("tf_mobilenetv3_small_075", &MOBILENETV3_SMALL).width(0.75).tf(),
    row("tf_mobilenetv3_small_100", &MOBILENETV3_SMALL).tf(),
    row("tf_mobilenetv3_small_minimal_100", &MOBILENETV3_SMALL_MINIMAL).tf(),
    row("fbnetv3_b", &FBNETV3_B),
    row("fbnetv3_d", &FBNETV3_D),
    row("fbnetv3_g", &FBNETV3_G),
    row("lcnet_035", &LCNET).width(0.35),
    row("lcnet_050", &LCNET).width(0.5),
    row("lcnet_075", &LCNET).width(0.75),
    row("lcnet_100", &LCNET),
    row("lcnet_150", &LCNET).width(1.5),
    row("mobilenetv4_conv_small_035", &MOBILENETV4_CONV_SMALL).width(0.35).fix_stem(),
    row("mobilenetv4_conv_small_050", &MOBILENETV4_CONV_SMALL).width(0.5).fix_stem(),
    row("mobilenetv4_conv_small", &MOBILENETV4_CONV_SMALL),
    row("mobilenetv4_conv_medium", &MOBILENETV4_CONV_MEDIUM),
    row("mobilenetv4_conv_large", &MOBILENETV4_CONV_LARGE),
    row("mobilenetv4_hybrid_medium", &MOBILENETV4_HYBRID_MEDIUM),
    row("mobilenetv4_hybrid_large", &MOBILENETV4_HYBRID_LARGE),
    row("mobilenetv4_conv_aa_medium", &MOBILENETV4_CONV_MEDIUM).anti_alias(AntiAliasKind::Average),
    row("mobilenetv4_conv_blur_medium", &MOBILENETV4_CONV_MEDIUM).anti_alias(AntiAliasKind::Blur),
    row("mobilenetv4_conv_aa_large", &MOBILENETV4_CONV_LARGE).anti_alias(AntiAliasKind::Average),
    row("mobilenetv4_hybrid_medium_075", &MOBILENETV4_HYBRID_MEDIUM).width(0.75).fix_stem(),
    row("mobilenetv4_hybrid_large_075", &MOBILENETV4_HYBRID_LARGE).width(0.75).fix_stem(),
    row("hardcorenas_a", &HARDCORENAS_A),
    row("hardcorenas_b", &HARDCORENAS_B),
    row("hardcorenas_c", &HARDCORENAS_C),
    row("hardcorenas_d", &HARDCORENAS_D),
    row("hardcorenas_e", &HARDCORENAS_E),
    row("hardcorenas_f", &HARDCORENAS_F),
];
