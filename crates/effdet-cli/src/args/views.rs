//! How pictures are looked at: slices and test-time augmentation.

use std::str::FromStr;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use effdet::heads::{FusionConfig, MergeConfig, OverlapMetric};
use effdet::prelude::*;

use super::{DetectorArgs, fraction};

/// Slices and test-time augmentation.
#[derive(Debug, Args)]
#[command(next_help_heading = "Slices and test-time augmentation")]
pub struct ViewArgs {
    /// Detect in overlapping slices of this many pixels, and in the whole picture: for small objects in large pictures.
    #[arg(long, value_name = "N|HxW")]
    pub slice: Option<ImageSize>,

    /// Part of a slice that its neighbour shares.
    #[arg(long, value_name = "X", default_value = "0.2", requires = "slice", value_parser = overlap)]
    pub overlap: f32,

    /// Do not detect in the whole picture, too.
    #[arg(long, requires = "slice")]
    pub slices_only: bool,

    /// What becomes of objects that several slices find [default: join; nms for `val`, where boxes of low scores would
    /// make joined ones grow].
    #[arg(long, value_enum, requires = "slice")]
    pub merge: Option<MergeName>,

    /// join: what overlap is measured by [default: ios].
    #[arg(long, value_enum, requires = "slice")]
    pub merge_metric: Option<MetricName>,

    /// join: overlap above which boxes are one object [default: 0.5].
    #[arg(long, value_name = "X", requires = "slice", value_parser = fraction)]
    pub merge_threshold: Option<f32>,

    /// See each picture, or slice, several times and fuse what is found: `flip` (the mirror image, too), `scale:X` (at X
    /// times the size of the network's input, too).
    #[arg(long, value_name = "VIEW,...", value_delimiter = ',')]
    pub tta: Vec<Augmentation>,

    /// IoU above which boxes of several views are fused.
    #[arg(long, value_name = "X", default_value = "0.55", requires = "tta", value_parser = fraction)]
    pub wbf_iou: f32,
}

/// What becomes of objects that several slices find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MergeName {
    /// One box around them.
    Join,
    /// The best of them, by --iou.
    Nms,
}

/// How overlap is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MetricName {
    /// Intersection over the smaller box.
    Ios,
    /// Intersection over union.
    Iou,
}

/// A further view of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Augmentation {
    /// The mirror image.
    Flip,
    /// Another size.
    Scale(f32),
}

impl FromStr for Augmentation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "flip" {
            return Ok(Self::Flip);
        }
        let scale = text.strip_prefix("scale:").and_then(|scale| scale.parse().ok());
        match scale.filter(|scale: &f32| (0.1..=10.0).contains(scale)) {
            Some(scale) => Ok(Self::Scale(scale)),
            None => Err("expected `flip` or a scale from 0.1 to 10 such as `scale:0.8`".to_owned()),
        }
    }
}

fn overlap(text: &str) -> Result<f32, String> {
    fraction(text)
        .ok()
        .filter(|value| *value < 1.0)
        .ok_or_else(|| "expected a number from 0 to below 1".to_owned())
}

impl ViewArgs {
    /// The library's settings; `merge` unless another way is asked for.
    ///
    /// # Errors
    /// Where an option of `--merge join` is given and boxes are merged in another way.
    pub fn options(&self, detector: &DetectorArgs, merge: MergeName) -> Result<DetectOptions> {
        let merge = self.merge.unwrap_or(merge);
        let of_join = [
            ("--merge-metric", self.merge_metric.is_some()),
            ("--merge-threshold", self.merge_threshold.is_some()),
        ];
        if merge != MergeName::Join
            && let Some((option, _)) = of_join.into_iter().find(|(_, is_given)| *is_given)
        {
            bail!("{option} is only for --merge join");
        }
        Ok(DetectOptions {
            slices: self.slice.map(|size| self.slices(size, merge, detector)),
            augmentation: (!self.tta.is_empty()).then(|| self.augmentation()),
            batch: detector.batch.into(),
        })
    }

    fn slices(&self, size: ImageSize, merge: MergeName, detector: &DetectorArgs) -> Slices {
        let merge = match merge {
            MergeName::Join => {
                let defaults = MergeConfig::default();
                let metric = self.merge_metric.map_or(defaults.metric, |name| match name {
                    MetricName::Ios => OverlapMetric::Ios,
                    MetricName::Iou => OverlapMetric::Iou,
                });
                let threshold = self.merge_threshold.unwrap_or(defaults.threshold);
                SliceMerge::Join(MergeConfig { metric, threshold, ..defaults })
            }
            MergeName::Nms => {
                SliceMerge::Suppress(NmsConfig { iou_threshold: detector.iou, ..NmsConfig::default() })
            }
        };
        // 0.2 is meant as the decimal, whose product with a side may be whole.
        let overlap = self.overlap.to_string().parse().unwrap_or_else(|_| f64::from(self.overlap));
        Slices { size, overlap, whole_picture: !self.slices_only, merge }
    }

    fn augmentation(&self) -> TestTimeAugmentation {
        let defaults = TestTimeAugmentation::default();
        let scales = self.tta.iter().filter_map(|view| match view {
            Augmentation::Scale(scale) => Some(*scale),
            Augmentation::Flip => None,
        });
        TestTimeAugmentation {
            flip: self.tta.contains(&Augmentation::Flip),
            scales: [1.0].into_iter().chain(scales).collect(),
            fusion: FusionConfig { iou_threshold: self.wbf_iou, ..defaults.fusion },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_flip_and_scales() {
        assert_eq!("flip".parse(), Ok(Augmentation::Flip));
        assert_eq!(" scale:0.8".parse(), Ok(Augmentation::Scale(0.8)));
        for bad in ["", "flop", "scale", "scale:", "scale:0", "scale:-1", "scale:nan", "0.8"] {
            assert!(bad.parse::<Augmentation>().is_err(), "{bad}");
        }
    }
}
