//! The grid of reference boxes that the box head refines.

use std::ops::Range;

use effdet_core::{ImageSize, YxyxBox};
use serde::{Deserialize, Serialize};

use crate::Error;

/// More anchors than any published model by two orders of magnitude; a larger count is a mistyped image size.
const MAX_ANCHORS: usize = 1 << 26;

/// Beyond it a cell would be larger than any picture.
const MAX_LEVEL: usize = 30;

/// Size of the anchors relative to the stride of their level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AnchorScale {
    /// The same factor on every level.
    Uniform(f64),
    /// One factor per level, from the lowest.
    PerLevel(Vec<f64>),
}

impl From<f64> for AnchorScale {
    fn from(scale: f64) -> Self {
        Self::Uniform(scale)
    }
}

/// Which anchors lie on every cell of every pyramid level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnchorConfig {
    /// Lowest pyramid level; level `l` has a stride of `2^l` pixels.
    pub min_level: usize,
    /// Highest pyramid level, inclusive.
    pub max_level: usize,
    /// Number of scales per octave: the base size times `2^(i / num_scales)`.
    pub num_scales: usize,
    /// Factors `(width, height)` applied to the base size.
    pub aspect_ratios: Vec<(f64, f64)>,
    /// Base size of an anchor as a multiple of the stride.
    pub anchor_scale: AnchorScale,
}

impl Default for AnchorConfig {
    /// The anchors of EfficientDet-D0 to D6.
    fn default() -> Self {
        Self {
            min_level: 3,
            max_level: 7,
            num_scales: 3,
            aspect_ratios: vec![(1.0, 1.0), (1.4, 0.7), (0.7, 1.4)],
            anchor_scale: AnchorScale::Uniform(4.0),
        }
    }
}

impl AnchorConfig {
    /// Number of anchors on each cell.
    pub fn anchors_per_cell(&self) -> usize {
        self.num_scales * self.aspect_ratios.len()
    }

    /// Number of pyramid levels.
    pub fn num_levels(&self) -> usize {
        (self.max_level + 1).saturating_sub(self.min_level)
    }

    /// The factors `(sqrt(ratio), 1 / sqrt(ratio))` of an aspect ratio given as one number, width over
    /// height.
    pub fn aspect_from_ratio(ratio: f64) -> (f64, f64) {
        let width = ratio.sqrt();
        (width, 1.0 / width)
    }

    /// Factor of the base size on the level at `index` counted from the lowest.
    fn scale(&self, index: usize) -> f64 {
        match &self.anchor_scale {
            AnchorScale::Uniform(scale) => *scale,
            AnchorScale::PerLevel(scales) => scales[index],
        }
    }

    fn validate(&self) -> Result<(), Error> {
        let refuse = |reason: String| Err(Error::AnchorConfig { reason });
        if self.min_level > self.max_level || self.max_level > MAX_LEVEL {
            return refuse(format!("levels {} to {} are no range up to 30", self.min_level, self.max_level));
        }
        if self.num_scales == 0 || self.aspect_ratios.is_empty() {
            return refuse("num_scales is 0 or aspect_ratios is empty".into());
        }
        if let AnchorScale::PerLevel(scales) = &self.anchor_scale
            && scales.len() != self.num_levels()
        {
            return refuse(format!("{} anchor scales for {} levels", scales.len(), self.num_levels()));
        }
        let scales = (0..self.num_levels()).map(|index| self.scale(index));
        let factors = self.aspect_ratios.iter().flat_map(|(width, height)| [*width, *height]);
        match scales.chain(factors).find(|factor| !(factor.is_finite() && *factor > 0.0)) {
            Some(factor) => refuse(format!("scale or aspect factor {factor} is not a positive number")),
            None => Ok(()),
        }
    }
}

/// One pyramid level of a set of anchors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnchorLevel {
    /// Pyramid level, 3 for stride 8.
    pub level: usize,
    /// Cells of the level.
    pub feature_size: ImageSize,
    /// Index of the first anchor of the level.
    pub offset: usize,
}

/// All anchors of one image size, level by level, cell by cell (row-major), anchor by anchor.
#[derive(Debug, Clone, PartialEq)]
pub struct Anchors {
    image_size: ImageSize,
    anchors_per_cell: usize,
    levels: Vec<AnchorLevel>,
    boxes: Vec<YxyxBox>,
}

impl Anchors {
    /// Places the anchors for network inputs of `image_size`.
    ///
    /// The stride of a level is image size over feature size, not always a whole number; a cell's anchors are
    /// centred in it and measure `anchor_scale * stride * 2^(octave / num_scales)` times the aspect factors,
    /// the octave being the outer loop. Computed in `f64` and stored in `f32`.
    ///
    /// # Errors
    /// If the configuration has no levels, no anchors, or factors that are not positive, or if the image size
    /// has a side of 0 or asks for more than 2^26 anchors.
    ///
    /// # Reference
    /// effdet `anchors.Anchors`. Differs: every level has exactly [`ImageSize::feature_size`] cells, also
    /// where effdet's
    /// `np.arange` of the centres would count another one for rounding.
    pub fn generate(config: &AnchorConfig, image_size: ImageSize) -> Result<Self, Error> {
        let sizes =
            (config.min_level..=config.max_level.min(MAX_LEVEL)).map(|level| image_size.feature_size(level));
        Self::for_features(config, image_size, &sizes.collect::<Vec<_>>())
    }

    /// Places the anchors for network inputs of `image_size` on feature maps of the given sizes, one per level. They
    /// are what [`generate`](Self::generate) computes, unless a backbone rounds down where others round up.
    ///
    /// # Errors
    /// As [`generate`](Self::generate); also if there is not one size per level, or an empty one.
    pub fn for_features(
        config: &AnchorConfig,
        image_size: ImageSize,
        feature_sizes: &[ImageSize],
    ) -> Result<Self, Error> {
        config.validate()?;
        if feature_sizes.len() != config.num_levels() {
            return Err(Error::LevelCount { expected: config.num_levels(), actual: feature_sizes.len() });
        }
        let refuse = |reason: &str| Error::ImageSize { size: image_size, reason: reason.into() };
        if image_size.is_empty() || feature_sizes.iter().any(|size| size.is_empty()) {
            return Err(refuse("a side is 0"));
        }
        let anchors_per_cell = config.anchors_per_cell();
        let mut levels = Vec::with_capacity(config.num_levels());
        let mut count = 0usize;
        for (level, &feature_size) in (config.min_level..).zip(feature_sizes) {
            levels.push(AnchorLevel { level, feature_size, offset: count });
            count = count.saturating_add(feature_size.area().saturating_mul(anchors_per_cell));
            if count > MAX_ANCHORS {
                return Err(refuse("more than 2^26 anchors"));
            }
        }

        let mut boxes = Vec::with_capacity(count);
        for (index, level) in levels.iter().enumerate() {
            let AnchorLevel { feature_size, .. } = level;
            let stride_y = image_size.height as f64 / feature_size.height as f64;
            let stride_x = image_size.width as f64 / feature_size.width as f64;
            let half_sizes = half_sizes(config, config.scale(index), stride_y, stride_x);
            for y in centers(stride_y, feature_size.height) {
                for x in centers(stride_x, feature_size.width) {
                    boxes.extend(half_sizes.iter().map(|(h, w)| {
                        YxyxBox::new((y - h) as f32, (x - w) as f32, (y + h) as f32, (x + w) as f32)
                    }));
                }
            }
        }
        Ok(Self { image_size, anchors_per_cell, levels, boxes })
    }

    /// The anchors.
    pub fn boxes(&self) -> &[YxyxBox] {
        &self.boxes
    }

    /// Number of anchors.
    pub fn len(&self) -> usize {
        self.boxes.len()
    }

    /// False: a set of anchors has at least one per level.
    pub fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }

    /// The levels, from the lowest.
    pub fn levels(&self) -> &[AnchorLevel] {
        &self.levels
    }

    /// Indices of the anchors of the level at `index` counted from the lowest.
    ///
    /// # Panics
    /// If there is no such level.
    pub fn level_range(&self, index: usize) -> Range<usize> {
        let AnchorLevel { feature_size, offset, .. } = self.levels[index];
        offset..offset + feature_size.area() * self.anchors_per_cell
    }

    /// Number of anchors on each cell.
    pub fn anchors_per_cell(&self) -> usize {
        self.anchors_per_cell
    }

    /// Size of the network input that the anchors are made for.
    pub fn image_size(&self) -> ImageSize {
        self.image_size
    }
}

/// Half height and half width of the anchors of one cell.
fn half_sizes(config: &AnchorConfig, scale: f64, stride_y: f64, stride_x: f64) -> Vec<(f64, f64)> {
    let mut sizes = Vec::with_capacity(config.anchors_per_cell());
    for octave in 0..config.num_scales {
        let octave = 2f64.powf(octave as f64 / config.num_scales as f64);
        for (aspect_x, aspect_y) in &config.aspect_ratios {
            let height = scale * stride_y * octave * aspect_y / 2.0;
            let width = scale * stride_x * octave * aspect_x / 2.0;
            sizes.push((height, width));
        }
    }
    sizes
}

/// Centres of the cells along one axis.
fn centers(stride: f64, cells: usize) -> impl Iterator<Item = f64> {
    let first = stride / 2.0;
    // np.arange steps by the difference of its first two values, which may be an ulp off the stride
    let step = (first + stride) - first;
    (0..cells).map(move |cell| first + cell as f64 * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchor_counts_are_those_of_the_published_models() {
        let counts = [
            (320, 19_206),
            (512, 49_104),
            (640, 76_725),
            (768, 110_484),
            (896, 150_381),
            (1024, 196_416),
            (1280, 306_900),
            (1536, 441_936),
        ];
        for (side, count) in counts {
            let anchors = Anchors::generate(&AnchorConfig::default(), ImageSize::square(side)).unwrap();
            assert_eq!(anchors.len(), count, "size {side}");
            assert_eq!(anchors.level_range(4).end, count);
        }
        let d7x = AnchorConfig { max_level: 8, ..AnchorConfig::default() };
        assert_eq!(Anchors::generate(&d7x, ImageSize::square(1536)).unwrap().len(), 442_260);
    }

    #[test]
    fn a_bad_configuration_is_refused_with_its_reason() {
        let size = ImageSize::square(64);
        let base = AnchorConfig::default();
        for (config, reason) in [
            (AnchorConfig { min_level: 8, ..base.clone() }, "levels 8 to 7"),
            (AnchorConfig { max_level: usize::MAX, ..base.clone() }, "no range up to 30"),
            (AnchorConfig { num_scales: 0, ..base.clone() }, "num_scales is 0"),
            (
                AnchorConfig { anchor_scale: AnchorScale::PerLevel(vec![4.0]), ..base.clone() },
                "1 anchor scales",
            ),
            (AnchorConfig { anchor_scale: f64::NAN.into(), ..base.clone() }, "factor NaN"),
            (AnchorConfig { aspect_ratios: vec![(1.0, -1.0)], ..base.clone() }, "factor -1"),
        ] {
            let message = Anchors::generate(&config, size).unwrap_err().to_string();
            assert!(message.contains(reason), "{message}");
        }
    }

    #[test]
    fn an_image_size_without_pixels_or_with_too_many_is_refused() {
        let config = AnchorConfig::default();
        for size in [ImageSize::new(0, 64), ImageSize::square(usize::MAX), ImageSize::square(1 << 16)] {
            assert!(matches!(Anchors::generate(&config, size), Err(Error::ImageSize { .. })));
        }
    }

    #[test]
    fn anchor_scale_is_read_from_a_number_or_a_list() {
        let read = |text| serde_json::from_str::<AnchorConfig>(text).unwrap().anchor_scale;
        assert_eq!(read(r#"{"anchor_scale": 3.0}"#), AnchorScale::Uniform(3.0));
        assert_eq!(read(r#"{"anchor_scale": [3, 4]}"#), AnchorScale::PerLevel(vec![3.0, 4.0]));
        assert_eq!(read("{}"), AnchorScale::Uniform(4.0));
    }
}
