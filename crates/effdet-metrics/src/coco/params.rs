use serde::Serialize;

use crate::{Error, Id};

/// A named range of object areas in square pixels, both ends included.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AreaRange {
    /// What reports call it.
    pub name: String,
    /// Smallest area.
    pub min: f64,
    /// Largest area.
    pub max: f64,
}

impl AreaRange {
    /// A range from its name and both ends.
    pub fn new(name: impl Into<String>, min: f64, max: f64) -> Self {
        Self { name: name.into(), min, max }
    }

    pub(crate) fn excludes(&self, area: f64) -> bool {
        area < self.min || area > self.max
    }
}

/// What a COCO evaluation measures. The default is that of the COCO detection challenge.
///
/// # Reference
/// pycocotools `cocoeval.Params`.
#[derive(Debug, Clone, PartialEq)]
pub struct CocoParams {
    /// IoU from which a detection matches; 0.50, 0.55, .. 0.95.
    pub iou_thresholds: Vec<f64>,
    /// Recalls at which precision is read, ascending; 0, 0.01, .. 1.
    pub recall_thresholds: Vec<f64>,
    /// Ranges of areas. Objects outside a range are ignored, not missed. Headline numbers are those of the range
    /// `all`; `small`, `medium` and `large` have their own.
    pub area_ranges: Vec<AreaRange>,
    /// Detections per image and category that count, by score; 1, 10, 100. AP is that of the largest.
    pub max_detections: Vec<usize>,
    /// Match within categories (the default) or as if there were only one.
    pub use_categories: bool,
    /// Evaluate these images only, silently leaving out what lies on others.
    pub image_ids: Option<Vec<Id>>,
    /// Evaluate these categories only.
    pub category_ids: Option<Vec<Id>>,
    /// Treat annotations with `ignore` set as neither hit nor miss. pycocotools reads the flag and then
    /// overwrites it, so the default is not to.
    pub use_ignore_flag: bool,
    /// Reproduce what pycocotools 2.0.11 gets wrong: a detection matched to annotation id 0 counts as false,
    /// of annotations with the same id the last one counts for each, AP without an IoU or area of its own is that
    /// of 100 detections and -1 where `max_detections` has no 100, and the other headline numbers read
    /// `max_detections[2]`.
    pub pycocotools_quirks: bool,
}

impl Default for CocoParams {
    fn default() -> Self {
        let range = |name: &str, min: f64, max: f64| AreaRange::new(name, min * min, max * max);
        Self {
            iou_thresholds: evenly_spaced(0.5, 0.95, 10),
            recall_thresholds: evenly_spaced(0.0, 1.0, 101),
            area_ranges: vec![
                range("all", 0.0, 1e5),
                range("small", 0.0, 32.0),
                range("medium", 32.0, 96.0),
                range("large", 96.0, 1e5),
            ],
            max_detections: vec![1, 10, 100],
            use_categories: true,
            image_ids: None,
            category_ids: None,
            use_ignore_flag: false,
            pycocotools_quirks: false,
        }
    }
}

impl CocoParams {
    /// One IoU threshold instead of ten.
    pub fn at_iou(iou: f64) -> Self {
        Self { iou_thresholds: vec![iou], ..Self::default() }
    }

    /// Checks the ranges and sorts `max_detections`.
    pub(crate) fn checked(mut self) -> Result<Self, Error> {
        let refuse = |option, reason: String| Err(Error::Option { option, reason });
        check_iou_thresholds(&self.iou_thresholds)?;
        let recalls = &self.recall_thresholds;
        if recalls.is_empty() || recalls.iter().any(|r| !(0.0..=1.0).contains(r)) {
            return refuse("recall_thresholds", "need at least one, each in [0, 1]".into());
        }
        if recalls.windows(2).any(|pair| pair[0] > pair[1]) {
            return refuse("recall_thresholds", "not in ascending order".into());
        }
        if self.max_detections.is_empty() || self.max_detections.contains(&0) {
            return refuse("max_detections", "need at least one, each at least 1".into());
        }
        if self.area_ranges.is_empty() {
            return refuse("area_ranges", "need at least one".into());
        }
        for (i, range) in self.area_ranges.iter().enumerate() {
            if range.min.is_nan() || range.max.is_nan() || range.min > range.max {
                return refuse("area_ranges", format!("`{}` is empty", range.name));
            }
            if self.area_ranges[..i].iter().any(|earlier| earlier.name == range.name) {
                return refuse("area_ranges", format!("`{}` is given twice", range.name));
            }
        }
        self.max_detections.sort_unstable();
        Ok(self)
    }
}

fn check_iou_thresholds(thresholds: &[f64]) -> Result<(), Error> {
    if thresholds.is_empty() {
        return Err(Error::Option { option: "iou_thresholds", reason: "need at least one".into() });
    }
    thresholds.iter().try_for_each(|&iou| check_iou("iou_thresholds", iou))
}

/// Checks an IoU from which detections match; `option` is what its user knows it by.
pub(crate) fn check_iou(option: &'static str, iou: f64) -> Result<(), Error> {
    if (0.0..=1.0).contains(&iou) {
        return Ok(());
    }
    Err(Error::Option { option, reason: format!("{iou} is not in [0, 1]") })
}

/// `count` numbers from `first` to `last`, rounded as numpy's `linspace` rounds them.
fn evenly_spaced(first: f64, last: f64, count: usize) -> Vec<f64> {
    let step = (last - first) / (count - 1) as f64;
    (0..count).map(|i| if i + 1 == count { last } else { i as f64 * step + first }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_thresholds_are_those_of_numpy() {
        let params = CocoParams::default();
        assert_eq!(params.iou_thresholds[..4], [0.5, 0.55, 0.6, 0.65]);
        assert_eq!(params.iou_thresholds[5..], [0.75, 0.8, 0.85, 0.8999999999999999, 0.95]);
        assert_eq!(params.recall_thresholds[29], 0.29);
        assert_eq!(params.recall_thresholds[58], 0.58);
        assert_eq!(params.recall_thresholds[100], 1.0);
    }

    #[test]
    fn an_iou_out_of_range_is_refused_by_the_name_of_its_option_and_its_value() {
        let message = |iou| check_iou("background_iou", iou).err().map(|error| error.to_string());
        assert_eq!(message(1.5).as_deref(), Some("background_iou: 1.5 is not in [0, 1]"));
        assert_eq!(message(f64::NAN).as_deref(), Some("background_iou: NaN is not in [0, 1]"));
        assert_eq!(message(1.0), None);
    }

    #[test]
    fn options_outside_their_range_are_refused_by_name() {
        for (params, option) in [
            (CocoParams { iou_thresholds: vec![f64::NAN], ..CocoParams::default() }, "iou_thresholds"),
            (CocoParams { recall_thresholds: vec![0.5, 0.1], ..CocoParams::default() }, "recall_thresholds"),
            (CocoParams { max_detections: vec![0], ..CocoParams::default() }, "max_detections"),
            (
                CocoParams { area_ranges: vec![AreaRange::new("x", 2.0, 1.0)], ..CocoParams::default() },
                "area_ranges",
            ),
        ] {
            assert!(params.checked().unwrap_err().to_string().starts_with(option));
        }
    }
}
