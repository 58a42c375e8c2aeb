//! Which anchor is to learn which box: the matcher, and the labels that it gives.

use std::ops::Range;
use std::sync::Arc;

use effdet_core::iou::iou_with_areas;
use effdet_core::{XyxyBox, YxyxBox};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::anchors::{AnchorLevel, Anchors};
use crate::{Error, box_coder};

/// Label of an anchor that is to give no class at all.
pub const BACKGROUND: i32 = -1;

/// Label of an anchor that takes no part in the loss.
pub const IGNORED: i32 = -2;

/// An object of a picture, in pixels of the network input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truth {
    /// Where it is.
    pub bbox: YxyxBox,
    /// Its class, counted from 0: the index of its logit.
    pub class: u32,
    /// Whether this is no object but a region to be left out, such as a crowd.
    pub ignore: bool,
}

impl Truth {
    /// An object.
    pub fn new(bbox: impl Into<YxyxBox>, class: u32) -> Self {
        Self { bbox: bbox.into(), class, ignore: false }
    }

    /// A region in which nothing is known.
    pub fn ignored(bbox: impl Into<YxyxBox>) -> Self {
        Self { bbox: bbox.into(), class: 0, ignore: true }
    }
}

/// Settings of [`label_anchors`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MatchOptions {
    /// From this IoU with an object on, an anchor is positive.
    pub positive_iou: f32,
    /// Below this IoU with all objects, an anchor is background; between the two it is ignored.
    pub negative_iou: f32,
    /// Whether every object claims the anchor it overlaps most, however little that is.
    pub force_match: bool,
    /// Background anchors with at least this part of their area in a region to be left out are ignored.
    pub ignore_overlap: f32,
}

impl Default for MatchOptions {
    /// The settings of the reference: 0.5 for both thresholds, forced matches.
    fn default() -> Self {
        Self { positive_iou: 0.5, negative_iou: 0.5, force_match: true, ignore_overlap: 0.5 }
    }
}

impl MatchOptions {
    /// Checks the thresholds.
    ///
    /// # Errors
    /// [`Error::Setting`] for one outside (0, 1], or a negative threshold above the positive one.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse =
            |name, value: f32, expected| Err(Error::Setting { name, value: value.to_string(), expected });
        for (name, value) in [
            ("positive_iou", self.positive_iou),
            ("negative_iou", self.negative_iou),
            ("ignore_overlap", self.ignore_overlap),
        ] {
            if !(value > 0.0 && value <= 1.0) {
                return refuse(name, value, "a number above 0 and at most 1");
            }
        }
        if self.negative_iou > self.positive_iou {
            return refuse("negative_iou", self.negative_iou, "at most positive_iou");
        }
        Ok(())
    }
}

/// What each anchor is to learn from one picture, over all levels, in the order of [`Anchors::boxes`].
#[derive(Debug, Clone, PartialEq)]
pub struct AnchorLabels {
    /// Class counted from 0, [`BACKGROUND`] or [`IGNORED`].
    pub classes: Vec<i32>,
    /// Code `[ty, tx, th, tw]` of the object relative to the anchor; zeros unless positive.
    pub boxes: Vec<[f32; 4]>,
    /// Number of anchors with a class.
    pub num_positives: usize,
}

impl AnchorLabels {
    /// Indices of the anchors with a class.
    pub fn positives(&self) -> impl Iterator<Item = usize> {
        self.classes.iter().enumerate().filter(|(_, class)| **class >= 0).map(|(index, _)| index)
    }
}

/// Labels every anchor with the object it overlaps most.
///
/// An anchor takes the object of highest IoU, the first of several; it is positive from `positive_iou` on. Then every
/// object claims the anchor of highest IoU, the first of several, also where that IoU is 0; if several objects claim an
/// anchor, the first object gets it. Background anchors that lie in a region to be left out are ignored.
///
/// # Errors
/// [`Error::Truth`] for a box that is not finite or inverted, or a class above `i32::MAX`; [`Error::Setting`] for a
/// threshold out of range.
///
/// # Reference
/// effdet `AnchorLabeler.label_anchors`, `ArgMaxMatcher`, `TargetAssigner`. Differs: classes count from 0 on the way in,
/// as they do on the way out; anchors between two different thresholds are ignored, where effdet makes them background;
/// there are regions to be left out.
pub fn label_anchors(
    anchors: &Anchors,
    truths: &[Truth],
    options: &MatchOptions,
) -> Result<AnchorLabels, Error> {
    options.validate()?;
    for (index, truth) in truths.iter().enumerate() {
        check(truth).map_err(|reason| Error::Truth { index, reason })?;
    }
    let objects: Vec<&Truth> = truths.iter().filter(|truth| !truth.ignore).collect();
    let mut classes = vec![BACKGROUND; anchors.len()];
    let mut boxes = vec![[0.0; 4]; anchors.len()];
    let mut num_positives = 0;
    if !objects.is_empty() {
        for (anchor, matched) in match_anchors(anchors, &objects, options).into_iter().enumerate() {
            match matched {
                Match::Object(row) => {
                    let truth = objects[row as usize];
                    // checked above
                    classes[anchor] = truth.class as i32;
                    boxes[anchor] = box_coder::encode(&anchors.boxes()[anchor], &truth.bbox);
                    num_positives += 1;
                }
                Match::Ignored => classes[anchor] = IGNORED,
                Match::Background => {}
            }
        }
    }
    for region in truths.iter().filter(|truth| truth.ignore) {
        ignore_region(anchors, &region.bbox, options.ignore_overlap, &mut classes);
    }
    Ok(AnchorLabels { classes, boxes, num_positives })
}

fn check(truth: &Truth) -> Result<(), String> {
    let YxyxBox { ymin, xmin, ymax, xmax } = truth.bbox;
    if ![ymin, xmin, ymax, xmax].into_iter().all(f32::is_finite) {
        return Err(format!("box [{ymin}, {xmin}, {ymax}, {xmax}] is not finite"));
    }
    if ymin > ymax || xmin > xmax {
        return Err(format!("box [{ymin}, {xmin}, {ymax}, {xmax}] ends before it begins"));
    }
    match i32::try_from(truth.class) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("class {} is out of range", truth.class)),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Match {
    Object(u32),
    Background,
    Ignored,
}

fn match_anchors(anchors: &Anchors, objects: &[&Truth], options: &MatchOptions) -> Vec<Match> {
    let grids = Grid::of(anchors);
    let mut best: Vec<(f32, u32)> = vec![(0.0, 0); anchors.len()];
    let mut claimed: Vec<usize> = Vec::with_capacity(objects.len());
    for (row, truth) in (0u32..).zip(objects) {
        let object = XyxyBox::from(truth.bbox);
        let area = object.area();
        let (mut highest, mut claim) = (0.0, 0);
        for range in grids.iter().flat_map(|grid| grid.overlapping(&truth.bbox)) {
            let start = range.start;
            for (offset, (anchor, best)) in
                anchors.boxes()[range.clone()].iter().zip(&mut best[range]).enumerate()
            {
                let anchor = XyxyBox::from(*anchor);
                let iou = iou_with_areas(&object, area, &anchor, anchor.area());
                if iou > best.0 {
                    *best = (iou, row);
                }
                if iou > highest {
                    (highest, claim) = (iou, start + offset);
                }
            }
        }
        claimed.push(claim);
    }
    let decide = |(iou, row): (f32, u32)| {
        if iou >= options.positive_iou {
            Match::Object(row)
        } else if iou >= options.negative_iou {
            Match::Ignored
        } else {
            Match::Background
        }
    };
    let mut matches: Vec<Match> = best.into_iter().map(decide).collect();
    if options.force_match {
        for (row, anchor) in (0u32..).zip(claimed).collect::<Vec<_>>().into_iter().rev() {
            matches[anchor] = Match::Object(row);
        }
    }
    matches
}

fn ignore_region(anchors: &Anchors, region: &YxyxBox, overlap: f32, classes: &mut [i32]) {
    let bounds = XyxyBox::from(*region);
    for range in Grid::of(anchors).iter().flat_map(|grid| grid.overlapping(region)) {
        for (anchor, class) in anchors.boxes()[range.clone()].iter().zip(&mut classes[range]) {
            let anchor = XyxyBox::from(*anchor);
            let inside = anchor.intersection(&bounds).map_or(0.0, |common| common.area());
            if *class == BACKGROUND && inside > 0.0 && inside >= overlap * anchor.area() {
                *class = IGNORED;
            }
        }
    }
}

/// Where the anchors of every row and column of a level begin and end, to pass over those that a box cannot touch.
struct Grid {
    offset: usize,
    per_cell: usize,
    columns: Vec<(f32, f32)>,
    rows: Vec<(f32, f32)>,
}

impl Grid {
    fn of(anchors: &Anchors) -> Vec<Self> {
        let per_cell = anchors.anchors_per_cell();
        let grid = |level: &AnchorLevel| {
            let AnchorLevel { feature_size, offset, .. } = *level;
            let extent = |cell: usize, edges: fn(&YxyxBox) -> (f32, f32)| {
                let start = offset + cell * per_cell;
                let cell = anchors.boxes()[start..start + per_cell].iter().map(edges);
                cell.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), (a, b)| (low.min(a), high.max(b)))
            };
            let columns = (0..feature_size.width).map(|x| extent(x, |b| (b.xmin, b.xmax)));
            let rows = (0..feature_size.height).map(|y| extent(y * feature_size.width, |b| (b.ymin, b.ymax)));
            Self { offset, per_cell, columns: columns.collect(), rows: rows.collect() }
        };
        anchors.levels().iter().map(grid).collect()
    }

    /// For each row of cells, the anchors that may share area with the box, in ascending order.
    fn overlapping(&self, bbox: &YxyxBox) -> impl Iterator<Item = Range<usize>> {
        let columns = between(&self.columns, bbox.xmin, bbox.xmax);
        between(&self.rows, bbox.ymin, bbox.ymax).map(move |row| {
            let start = self.offset + row * self.columns.len() * self.per_cell;
            start + columns.start * self.per_cell..start + columns.end * self.per_cell
        })
    }
}

/// Those of the ascending intervals that share more than a point with the given one.
fn between(intervals: &[(f32, f32)], low: f32, high: f32) -> Range<usize> {
    let start = intervals.partition_point(|(_, end)| *end <= low);
    let end = intervals.partition_point(|(begin, _)| *begin < high);
    start..end.max(start)
}

/// What all anchors are to learn from a batch of pictures.
#[derive(Debug, Clone)]
pub struct BatchTargets {
    anchors: Arc<Anchors>,
    labels: Vec<AnchorLabels>,
}

impl BatchTargets {
    /// Labels the anchors of every picture, in parallel.
    ///
    /// # Errors
    /// As [`label_anchors`], for the first picture at fault: [`Error::Picture`].
    pub fn assign<T>(anchors: &Arc<Anchors>, truths: &[T], options: &MatchOptions) -> Result<Self, Error>
    where
        T: AsRef<[Truth]> + Sync,
    {
        let label = |(index, truths): (usize, &T)| {
            label_anchors(anchors, truths.as_ref(), options)
                .map_err(|error| Error::Picture { index, source: Box::new(error) })
        };
        let labels: Vec<Result<AnchorLabels, Error>> = truths.par_iter().enumerate().map(label).collect();
        Ok(Self { anchors: Arc::clone(anchors), labels: labels.into_iter().collect::<Result<_, _>>()? })
    }

    /// A batch of labels made before.
    ///
    /// # Errors
    /// [`Error::LabelCount`] if a picture has not one label and one box for each anchor.
    pub fn new(anchors: Arc<Anchors>, labels: Vec<AnchorLabels>) -> Result<Self, Error> {
        for (picture, labels) in labels.iter().enumerate() {
            let expected = anchors.len();
            for (what, actual) in [("labels", labels.classes.len()), ("boxes", labels.boxes.len())] {
                if actual != expected {
                    return Err(Error::LabelCount { picture, what, expected, actual });
                }
            }
        }
        Ok(Self { anchors, labels })
    }

    /// The anchors.
    pub fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// The labels of each picture.
    pub fn labels(&self) -> &[AnchorLabels] {
        &self.labels
    }

    /// Number of anchors with a class, in all pictures.
    pub fn num_positives(&self) -> usize {
        self.labels.iter().map(|labels| labels.num_positives).sum()
    }
}
