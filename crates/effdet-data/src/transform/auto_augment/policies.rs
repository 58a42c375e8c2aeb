//! The tables of google/automl `aug/autoaugment.py`.

use super::Step;
use super::ops::Op::{self, *};

/// A learned policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LearnedPolicy {
    /// The policy of the paper, five sub-policies of two steps.
    V0,
    /// V0 and fifteen more.
    V1,
    /// Another search, fifteen sub-policies of two or three steps.
    V2,
    /// Another search, fifteen sub-policies of two steps.
    V3,
}

impl LearnedPolicy {
    /// The sub-policies: operations with probability and strength.
    pub fn sub_policies(self) -> &'static [&'static [Step]] {
        match self {
            Self::V0 => &V1[..5],
            Self::V1 => V1,
            Self::V2 => V2,
            Self::V3 => V3,
        }
    }
}

pub(super) const RAND_AUGMENT: [Op; 10] =
    [Equalize, Solarize, Color, Cutout, SolarizeAdd, TranslateX, TranslateY, ShearX, ShearY, Rotate];

#[rustfmt::skip]
const V1: &[&[Step]] = &[
    &[(TranslateX, 0.6, 4.0), (Equalize, 0.8, 10.0)],
    &[(TranslateYOnlyBoxes, 0.2, 2.0), (Cutout, 0.8, 8.0)],
    &[(Sharpness, 0.0, 8.0), (ShearX, 0.4, 0.0)],
    &[(ShearY, 1.0, 2.0), (TranslateYOnlyBoxes, 0.6, 6.0)],
    &[(Rotate, 0.6, 10.0), (Color, 1.0, 6.0)],
    &[(Color, 0.0, 0.0), (ShearXOnlyBoxes, 0.8, 4.0)],
    &[(ShearYOnlyBoxes, 0.8, 2.0), (FlipOnlyBoxes, 0.0, 10.0)],
    &[(Equalize, 0.6, 10.0), (TranslateX, 0.2, 2.0)],
    &[(Color, 1.0, 10.0), (TranslateYOnlyBoxes, 0.4, 6.0)],
    &[(Rotate, 0.8, 10.0), (Contrast, 0.0, 10.0)],
    &[(Cutout, 0.2, 2.0), (Brightness, 0.8, 10.0)],
    &[(Color, 1.0, 6.0), (Equalize, 1.0, 2.0)],
    &[(CutoutOnlyBoxes, 0.4, 6.0), (TranslateYOnlyBoxes, 0.8, 2.0)],
    &[(Color, 0.2, 8.0), (Rotate, 0.8, 10.0)],
    &[(Sharpness, 0.4, 4.0), (TranslateYOnlyBoxes, 0.0, 4.0)],
    &[(Sharpness, 1.0, 4.0), (SolarizeAdd, 0.4, 4.0)],
    &[(Rotate, 1.0, 8.0), (Sharpness, 0.2, 8.0)],
    &[(ShearY, 0.6, 10.0), (EqualizeOnlyBoxes, 0.6, 8.0)],
    &[(ShearX, 0.2, 6.0), (TranslateYOnlyBoxes, 0.2, 10.0)],
    &[(SolarizeAdd, 0.6, 8.0), (Brightness, 0.8, 10.0)],
];

#[rustfmt::skip]
const V2: &[&[Step]] = &[
    &[(Color, 0.0, 6.0), (Cutout, 0.6, 8.0), (Sharpness, 0.4, 8.0)],
    &[(Rotate, 0.4, 8.0), (Sharpness, 0.4, 2.0), (Rotate, 0.8, 10.0)],
    &[(TranslateY, 1.0, 8.0), (AutoContrast, 0.8, 2.0)],
    &[(AutoContrast, 0.4, 6.0), (ShearX, 0.8, 8.0), (Brightness, 0.0, 10.0)],
    &[(SolarizeAdd, 0.2, 6.0), (Contrast, 0.0, 10.0), (AutoContrast, 0.6, 0.0)],
    &[(Cutout, 0.2, 0.0), (Solarize, 0.8, 8.0), (Color, 1.0, 4.0)],
    &[(TranslateY, 0.0, 4.0), (Equalize, 0.6, 8.0), (Solarize, 0.0, 10.0)],
    &[(TranslateY, 0.2, 2.0), (ShearY, 0.8, 8.0), (Rotate, 0.8, 8.0)],
    &[(Cutout, 0.8, 8.0), (Brightness, 0.8, 8.0), (Cutout, 0.2, 2.0)],
    &[(Color, 0.8, 4.0), (TranslateY, 1.0, 6.0), (Rotate, 0.6, 6.0)],
    &[(Rotate, 0.6, 10.0), (CutoutInBox, 1.0, 4.0), (Cutout, 0.2, 8.0)],
    &[(Rotate, 0.0, 0.0), (Equalize, 0.6, 6.0), (ShearY, 0.6, 8.0)],
    &[(Brightness, 0.8, 8.0), (AutoContrast, 0.4, 2.0), (Brightness, 0.2, 2.0)],
    &[(TranslateY, 0.4, 8.0), (Solarize, 0.4, 6.0), (SolarizeAdd, 0.2, 10.0)],
    &[(Contrast, 1.0, 10.0), (SolarizeAdd, 0.2, 8.0), (Equalize, 0.2, 4.0)],
];

#[rustfmt::skip]
const V3: &[&[Step]] = &[
    &[(Posterize, 0.8, 2.0), (TranslateX, 1.0, 8.0)],
    &[(CutoutInBox, 0.2, 10.0), (Sharpness, 1.0, 8.0)],
    &[(Rotate, 0.6, 8.0), (Rotate, 0.8, 10.0)],
    &[(Equalize, 0.8, 10.0), (AutoContrast, 0.2, 10.0)],
    &[(SolarizeAdd, 0.2, 2.0), (TranslateY, 0.2, 8.0)],
    &[(Sharpness, 0.0, 2.0), (Color, 0.4, 8.0)],
    &[(Equalize, 1.0, 8.0), (TranslateY, 1.0, 8.0)],
    &[(Posterize, 0.6, 2.0), (Rotate, 0.0, 10.0)],
    &[(AutoContrast, 0.6, 0.0), (Rotate, 1.0, 6.0)],
    &[(Equalize, 0.0, 4.0), (Cutout, 0.8, 10.0)],
    &[(Brightness, 1.0, 2.0), (TranslateY, 1.0, 6.0)],
    &[(Contrast, 0.0, 2.0), (ShearY, 0.8, 0.0)],
    &[(AutoContrast, 0.8, 10.0), (Contrast, 0.2, 10.0)],
    &[(Rotate, 1.0, 10.0), (Cutout, 1.0, 10.0)],
    &[(SolarizeAdd, 0.8, 6.0), (Equalize, 0.8, 8.0)],
];
