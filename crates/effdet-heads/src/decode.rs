//! From the raw outputs of the heads to detections.

use effdet_core::{Detection, ImageSize, Letterbox, XyxyBox};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::anchors::{AnchorLevel, Anchors};
use crate::nms::{NmsConfig, nms_of_ranked};
use crate::top_k::{Logit, TopK, guess_bar};
use crate::{Error, box_coder};

/// In which order a map lies in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Layout {
    /// `[channels, height, width]`
    #[default]
    ChannelsFirst,
    /// `[height, width, channels]`
    ChannelsLast,
}

/// What the heads return for one pyramid level of one picture.
#[derive(Debug, Clone, Copy)]
pub struct LevelOutput<'a> {
    /// Class logits, `anchors_per_cell * num_classes` channels, classes fastest within the channels.
    pub class_logits: &'a [f32],
    /// Box codes, `anchors_per_cell * 4` channels, as `[ty, tx, th, tw]` per anchor.
    pub box_deltas: &'a [f32],
    /// The order of both.
    pub layout: Layout,
}

/// Settings of [`decode`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DecodeConfig {
    /// Number of logits, of all anchors and classes, that go on to non-maximum suppression.
    pub max_candidates: usize,
    /// Least score of a detection, also after a soft method has lowered it; 0 keeps all, as the published metrics need.
    pub score_threshold: f32,
    /// Number of detections per picture.
    pub max_detections: usize,
    /// How duplicates are removed.
    pub nms: NmsConfig,
}

impl Default for DecodeConfig {
    /// The settings of the reference, which keeps 5000 candidates and 100 detections.
    fn default() -> Self {
        Self { max_candidates: 5000, score_threshold: 0.0, max_detections: 100, nms: NmsConfig::default() }
    }
}

impl DecodeConfig {
    /// Checks the thresholds.
    ///
    /// # Errors
    /// [`Error::Setting`] for a NaN threshold, or a sigma that is not positive.
    pub fn validate(&self) -> Result<(), Error> {
        if self.score_threshold.is_nan() {
            return Err(Error::Setting {
                name: "score_threshold",
                value: "NaN".into(),
                expected: "a number",
            });
        }
        self.nms.validate()
    }
}

/// Where the picture lies in the network input, to bring boxes back to its pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame {
    /// Factor from pixels of the network input to pixels of the picture, effdet's `img_scale`.
    pub scale: f32,
    /// Size of the picture; boxes are clipped to it before suppression.
    pub size: Option<ImageSize>,
    /// Left and top margin `(x, y)` of the picture in the network input.
    pub offset: (f32, f32),
}

impl From<&Letterbox> for Frame {
    fn from(letterbox: &Letterbox) -> Self {
        Self {
            scale: letterbox.img_scale() as f32,
            size: Some(letterbox.source),
            offset: (letterbox.offset.0 as f32, letterbox.offset.1 as f32),
        }
    }
}

impl Frame {
    fn validate(&self) -> Result<(), Error> {
        let refuse = |name, value, expected| Err(Error::Setting { name, value, expected });
        if !(self.scale.is_finite() && self.scale > 0.0) {
            return refuse("frame scale", self.scale.to_string(), "a positive number");
        }
        if !(self.offset.0.is_finite() && self.offset.1.is_finite()) {
            return refuse("frame offset", format!("{:?}", self.offset), "two finite numbers");
        }
        Ok(())
    }

    /// The box without the margins and, if the size of the picture is known, clipped to it; still in input
    /// pixels.
    fn crop(&self, bbox: XyxyBox) -> XyxyBox {
        let bbox = bbox.translate(-self.offset.0, -self.offset.1);
        match self.size {
            Some(size) => bbox.clip_to(size.width as f32 / self.scale, size.height as f32 / self.scale),
            None => bbox,
        }
    }
}

/// Detections of one picture, best first.
///
/// The `max_candidates` highest logits over all anchors and classes (one anchor may give several classes) are
/// decoded with the sigmoid as score, boxes are clipped to the picture where its size is known, duplicates are
/// removed and the first `max_detections` brought to pixels of the picture. Without a `frame` they stay in
/// pixels of the network input. Equal logits count in the order anchor-major, class-minor; NaN logits and boxes
/// that are not finite are never returned.
///
/// # Shapes
/// - `levels`: one [`LevelOutput`] per level of `anchors`, lowest first
///
/// # Errors
/// If the number of levels or the length of a tensor does not fit the anchors, if `num_classes` is 0, or if a
/// setting or the frame is out of range.
///
/// # Reference
/// effdet `bench._post_process` and `anchors.generate_detections`. Differs: fewer logits than
/// `max_candidates` are no error, and the result is not padded with rows of zeros.
pub fn decode(
    levels: &[LevelOutput<'_>],
    anchors: &Anchors,
    num_classes: usize,
    config: &DecodeConfig,
    frame: Option<&Frame>,
) -> Result<Vec<Detection>, Error> {
    config.validate()?;
    frame.map_or(Ok(()), Frame::validate)?;
    check_shapes(levels, anchors, num_classes)?;

    let selected = select(levels, anchors, num_classes, config);
    let selected =
        selected.into_iter().map(|logit| (logit, deltas(levels, anchors, logit.index / num_classes)));
    Ok(suppress(selected, anchors, num_classes, config, frame))
}

/// [`decode`] of the candidates of a picture, best first, each with the box code of its anchor.
pub(crate) fn suppress(
    candidates: impl Iterator<Item = (Logit, [f32; 4])>,
    anchors: &Anchors,
    num_classes: usize,
    config: &DecodeConfig,
    frame: Option<&Frame>,
) -> Vec<Detection> {
    // Suppression is often done after some hundred candidates, so the others are never decoded.
    let candidates = candidates.map(|(logit, deltas)| {
        let (anchor, class) = (logit.index / num_classes, logit.index % num_classes);
        let bbox = box_coder::decode(&anchors.boxes()[anchor], deltas);
        Detection {
            bbox: frame.map_or(bbox, |frame| frame.crop(bbox)),
            score: sigmoid(logit.value),
            class_id: u32::try_from(class + 1).unwrap_or(u32::MAX),
        }
    });
    let candidates = candidates.filter(|candidate| candidate.score >= config.score_threshold);
    let mut detections = nms_of_ranked(candidates, &config.nms, config.max_detections);
    // Soft methods have lowered the scores. What falls below stands behind all that does not, so nothing is missed for it.
    detections.retain(|detection| detection.score >= config.score_threshold);
    if let Some(frame) = frame {
        for detection in &mut detections {
            detection.bbox = detection.bbox.scale(frame.scale, frame.scale);
        }
        detections.retain(|detection| detection.bbox.is_finite());
    }
    detections
}

/// [`decode`] of what a device found to be the highest logits of a picture.
pub(crate) fn decode_candidates(
    candidates: &[(Logit, [f32; 4])],
    anchors: &Anchors,
    num_classes: usize,
    config: &DecodeConfig,
    frame: Option<&Frame>,
) -> Result<Vec<Detection>, Error> {
    config.validate()?;
    frame.map_or(Ok(()), Frame::validate)?;
    let floor = logit_floor(config.score_threshold);
    let mut order: Vec<_> = candidates.iter().filter(|(logit, _)| logit.value >= floor).copied().collect();
    // both zeros are one value
    let value = |logit: &Logit| logit.value + 0.0;
    order.sort_unstable_by(|(a, _), (b, _)| value(b).total_cmp(&value(a)).then(a.index.cmp(&b.index)));
    order.truncate(config.max_candidates);
    Ok(suppress(order.into_iter(), anchors, num_classes, config, frame))
}

/// Checks what does not depend on the maps of single levels.
pub(crate) fn check_counts(levels: usize, anchors: &Anchors, num_classes: usize) -> Result<(), Error> {
    if num_classes == 0 {
        return Err(Error::Setting { name: "num_classes", value: "0".into(), expected: "at least 1" });
    }
    let expected = anchors.levels().len();
    if levels == expected { Ok(()) } else { Err(Error::LevelCount { expected, actual: levels }) }
}

fn check_shapes(levels: &[LevelOutput<'_>], anchors: &Anchors, num_classes: usize) -> Result<(), Error> {
    check_counts(levels.len(), anchors, num_classes)?;
    let anchors_per_cell = anchors.anchors_per_cell();
    for (output, AnchorLevel { level, feature_size, .. }) in levels.iter().zip(anchors.levels()) {
        let check = |tensor, values: &[f32], per_anchor: usize| {
            let expected = feature_size.area().saturating_mul(anchors_per_cell).saturating_mul(per_anchor);
            if values.len() == expected {
                return Ok(());
            }
            let shape = format!("{anchors_per_cell} anchors x {per_anchor} channels x {feature_size} cells");
            Err(Error::LevelShape { level: *level, tensor, expected, actual: values.len(), shape })
        };
        check("class logits", output.class_logits, num_classes)?;
        check("box deltas", output.box_deltas, 4)?;
    }
    Ok(())
}

/// Logits that a thread looks at before it turns to the next.
const SELECTION_PART: usize = 1 << 16;

/// The highest logits with their indices in the order anchor-major, class-minor.
fn select(
    levels: &[LevelOutput<'_>],
    anchors: &Anchors,
    num_classes: usize,
    config: &DecodeConfig,
) -> Vec<Logit> {
    let anchors_per_cell = anchors.anchors_per_cell();
    let total = anchors.len().saturating_mul(num_classes);
    // Rows of logits: their values, and the index of the first and the step between two.
    let mut rows: Vec<(&[f32], usize, usize)> = Vec::new();
    for (output, AnchorLevel { feature_size, offset, .. }) in levels.iter().zip(anchors.levels()) {
        if output.layout == Layout::ChannelsLast {
            let parts = output.class_logits.chunks(SELECTION_PART).enumerate();
            rows.extend(parts.map(|(i, part)| (part, offset * num_classes + i * SELECTION_PART, 1)));
            continue;
        }
        for (channel, plane) in output.class_logits.chunks_exact(feature_size.area()).enumerate() {
            let (anchor, class) = (channel / num_classes, channel % num_classes);
            rows.push((plane, (offset + anchor) * num_classes + class, anchors_per_cell * num_classes));
        }
    }
    let floor = logit_floor(config.score_threshold);
    // One selection for each thread: the more values one sees, the sooner most fall below its bar.
    let shares = total.div_ceil(SELECTION_PART).clamp(1, rayon::current_num_threads());
    let select_above = |least: f32| {
        let select = |share: usize| {
            let mut top = TopK::new(config.max_candidates, total, least);
            rows.iter()
                .skip(share)
                .step_by(shares)
                .for_each(|(values, first, step)| top.scan(values, *first, *step));
            top
        };
        let top = (0..shares).into_par_iter().map(select).reduce_with(TopK::merge);
        top.map_or_else(Vec::new, TopK::finish)
    };
    let bar = guess_bar(config.max_candidates, total, rows.iter().map(|(values, ..)| *values));
    if bar > floor {
        let selected = select_above(bar);
        if selected.len() >= config.max_candidates {
            return selected;
        }
    }
    select_above(floor)
}

/// The code `[ty, tx, th, tw]` of an anchor.
fn deltas(levels: &[LevelOutput<'_>], anchors: &Anchors, anchor: usize) -> [f32; 4] {
    let level = anchors.levels().partition_point(|level| level.offset <= anchor) - 1;
    let AnchorLevel { feature_size, offset, .. } = anchors.levels()[level];
    let (cell, anchor) =
        ((anchor - offset) / anchors.anchors_per_cell(), (anchor - offset) % anchors.anchors_per_cell());
    let (output, cells) = (&levels[level], feature_size.area());
    std::array::from_fn(|i| {
        output.box_deltas[match output.layout {
            Layout::ChannelsFirst => (anchor * 4 + i) * cells + cell,
            Layout::ChannelsLast => (cell * anchors.anchors_per_cell() + anchor) * 4 + i,
        }]
    })
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// A logit below which no score reaches the threshold. Slightly low, for the rounding of the sigmoid; the
/// exact comparison is made on the score.
fn logit_floor(score_threshold: f32) -> f32 {
    let score = f64::from(score_threshold);
    if score <= 0.0 {
        f32::NEG_INFINITY
    } else if score >= 1.0 {
        9.0
    } else {
        ((score / (1.0 - score)).ln() - 0.01).min(9.0) as f32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_logit_below_the_floor_reaches_the_threshold(score in 0f32..=1.0, below in 0f32..5.0) {
            prop_assert!(sigmoid(logit_floor(score) - below) <= score);
        }
    }

    #[test]
    fn the_frame_of_a_letterbox_brings_boxes_back_to_the_picture() {
        let letterbox = Letterbox::new(ImageSize::new(100, 200), ImageSize::square(64), Default::default());
        let frame = Frame::from(&letterbox.unwrap());
        assert_eq!(
            (frame.scale, frame.size, frame.offset),
            (3.125, Some(ImageSize::new(100, 200)), (0.0, 0.0))
        );
        let cropped = frame.crop(XyxyBox::new(-4.0, 8.0, 99.0, 99.0));
        assert_eq!(cropped.scale(3.125, 3.125), XyxyBox::new(0.0, 25.0, 200.0, 100.0));
    }

    #[test]
    fn the_selection_is_that_of_a_sort_also_where_a_sample_misleads() {
        let config = crate::AnchorConfig::default();
        let anchors = Anchors::generate(&config, ImageSize::square(256)).unwrap();
        let num_classes = 30;
        // High in the places that a sample of every 128th run of 32 values sees, and in few others.
        let logit = |i: usize| {
            let base = if (i / 32).is_multiple_of(128) { 2.0 } else { -3.0 };
            base + (i * 7919 % 1000) as f32 / 1000.0
        };
        let all: Vec<f32> = (0..anchors.len() * num_classes).map(logit).collect();
        let deltas = vec![0.0; anchors.len() * 4];
        let levels: Vec<LevelOutput<'_>> = anchors
            .levels()
            .iter()
            .map(|level| {
                let of = |values: usize| {
                    level.offset * values
                        ..(level.offset + level.feature_size.area() * anchors.anchors_per_cell()) * values
                };
                LevelOutput {
                    class_logits: &all[of(num_classes)],
                    box_deltas: &deltas[of(4)],
                    layout: Layout::ChannelsLast,
                }
            })
            .collect();
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by(|a, b| all[*b].total_cmp(&all[*a]).then(a.cmp(b)));
        for max_candidates in [1200, 5000, 40_000, all.len() + 1] {
            let config = DecodeConfig { max_candidates, ..DecodeConfig::default() };
            let selected = select(&levels, &anchors, num_classes, &config);
            let selected: Vec<usize> = selected.into_iter().map(|logit| logit.index).collect();
            let floor = logit_floor(config.score_threshold);
            let expected: Vec<usize> =
                order.iter().copied().filter(|i| all[*i] >= floor).take(max_candidates).collect();
            assert_eq!(selected.len(), expected.len());
            assert!(selected == expected, "{max_candidates}");
        }
    }

    #[test]
    fn settings_have_defaults_when_read_from_json() {
        let config: DecodeConfig = serde_json::from_str(
            r#"{"max_detections": 7, "nms": {"method": {"soft_gaussian": {"sigma": 0.3}}}}"#,
        )
        .unwrap();
        assert_eq!((config.max_detections, config.max_candidates), (7, 5000));
        assert_eq!(config.nms.method, crate::NmsMethod::SoftGaussian { sigma: 0.3 });
        assert_eq!(config.nms.iou_threshold, 0.5);
    }
}
