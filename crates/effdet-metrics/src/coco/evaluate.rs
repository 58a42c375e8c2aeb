use std::collections::HashMap;

use rayon::prelude::*;

use crate::coco::accumulate::{Curve, hits_for_recall};
use crate::coco::matching::{BITS, ImageTable, Matcher, Target};
use crate::coco::report::Summary;
use crate::coco::{CocoParams, CocoReport};
use crate::dataset::Labelled;
use crate::detections::Located;
use crate::names::distinct_names;
use crate::{Detections, Error, GroundTruth};

/// Evaluates detections against a ground truth by the COCO metrics.
///
/// The ground truth is sorted once; `evaluate` can be called after every epoch.
///
/// # Reference
/// pycocotools 2.0.11 `COCOeval` with `iouType='bbox'`: the same order among equal scores, the same matches and
/// the same numbers. Annotation id 0 is an ordinary id here; see [`CocoParams::pycocotools_quirks`].
#[derive(Debug)]
pub struct CocoEvaluator<'a> {
    truth: &'a GroundTruth,
    params: CocoParams,
    /// Targets by group (one per category, or one for all), then image, then the order of the file.
    targets: Vec<Target>,
    starts: Vec<usize>,
    /// For each category, whether it is evaluated.
    categories: Vec<bool>,
    /// For each image, whether it is evaluated; empty if all are.
    images: Vec<bool>,
}

impl<'a> CocoEvaluator<'a> {
    /// Prepares an evaluation.
    ///
    /// # Errors
    /// [`Error::Option`] for thresholds, ranges or numbers of detections that make no sense.
    pub fn new(truth: &'a GroundTruth, params: CocoParams) -> Result<Self, Error> {
        let params = params.checked()?;
        let categories: Vec<bool> = match &params.category_ids {
            None => vec![true; truth.categories().len()],
            Some(ids) => truth.categories().iter().map(|category| ids.contains(&category.id)).collect(),
        };
        let images: Vec<bool> = match &params.image_ids {
            None => Vec::new(),
            Some(ids) => {
                let mut ids: Vec<_> = ids.iter().collect();
                ids.sort_unstable();
                truth.images().iter().map(|id| ids.binary_search(&id).is_ok()).collect()
            }
        };
        let boxes =
            if params.pycocotools_quirks { last_of_each_id(&truth.boxes) } else { truth.boxes.clone() };
        let mut order: Vec<u32> = (0..boxes.len() as u32)
            .filter(|&i| {
                let labelled = &boxes[i as usize];
                categories[labelled.category as usize] && images.get(labelled.image as usize) != Some(&false)
            })
            .collect();
        order.sort_unstable_by_key(|&i| {
            let labelled = &boxes[i as usize];
            let group = if params.use_categories { labelled.category } else { 0 };
            (group, labelled.image, labelled.category, i)
        });
        let targets: Vec<Target> = order
            .iter()
            .map(|&position| {
                let labelled = &boxes[position as usize];
                Target {
                    ignore: labelled.is_crowd || (params.use_ignore_flag && labelled.ignore),
                    unmarked: params.pycocotools_quirks && labelled.id == Some(0),
                    ..Target::of(labelled, position)
                }
            })
            .collect();
        let starts = if params.use_categories {
            let category_of = |&position: &u32| boxes[position as usize].category as usize;
            (0..=categories.len()).map(|c| order.partition_point(|p| category_of(p) < c)).collect()
        } else {
            vec![0, targets.len()]
        };
        Ok(Self { truth, params, targets, starts, categories, images })
    }

    /// The ground truth.
    pub fn truth(&self) -> &GroundTruth {
        self.truth
    }

    /// Computes all numbers for these detections.
    ///
    /// # Errors
    /// [`Error::TooMany`] for more detections than a 32-bit index can number.
    pub fn evaluate(&self, detections: &Detections) -> Result<CocoReport, Error> {
        let located = detections.against(self.truth)?;
        let params = &self.params;
        let groups = if params.use_categories { self.categories.len() } else { 1 };
        let (thresholds, recalls) = (params.iou_thresholds.len(), params.recall_thresholds.len());
        let curves = thresholds * params.area_ranges.len() * params.max_detections.len();
        let mut precision = vec![0.0; groups * curves * recalls];
        let mut recall = vec![0.0; groups * curves];
        let mut considered = vec![0; groups];

        precision
            .par_chunks_mut(curves * recalls)
            .zip(recall.par_chunks_mut(curves))
            .zip(considered.par_iter_mut())
            .enumerate()
            .for_each_init(
                || ImageTable::new(self.truth.images().len()),
                |table, (group, ((precision, recall), considered))| {
                    *considered = self.evaluate_group(group, &located, table, precision, recall);
                },
            );
        let mut findings = self.truth.findings().clone();
        findings.extend(&located.findings);
        let objects = self.starts.windows(2).map(|w| self.countable(w[0]..w[1])).collect();
        let ids = self.truth.categories().iter().map(|category| category.id.clone());
        let categories = ids.zip(distinct_names(self.truth.categories())).collect();
        let kept = |group: usize| !params.use_categories || self.categories[group];
        Ok(Summary { params, precision, recall, objects, considered, categories, findings }.into_report(kept))
    }

    fn countable(&self, range: std::ops::Range<usize>) -> usize {
        self.targets[range].iter().filter(|target| !target.ignore).count()
    }

    /// Fills the curves of one group and returns the number of its detections.
    fn evaluate_group(
        &self,
        group: usize,
        located: &Located<'_>,
        table: &mut ImageTable,
        precision: &mut [f64],
        recall: &mut [f64],
    ) -> usize {
        let params = &self.params;
        let positions = self.positions(group, located);
        let targets = &self.targets[self.starts[group]..self.starts[group + 1]];
        if targets.is_empty() {
            precision.fill(-1.0);
            recall.fill(-1.0);
            return positions.len();
        }
        let ranked = located.ranked(&positions);
        let (recalls, blocks) = (params.recall_thresholds.len(), params.area_ranges.len());
        table.set(targets);
        for (chunk, thresholds) in params.iou_thresholds.chunks(BITS).enumerate() {
            let mut matcher = Matcher::new(targets, &params.area_ranges, thresholds);
            let objects: Vec<usize> = (0..blocks).map(|a| matcher.countable(a)).collect();
            let needed: Vec<Vec<u32>> =
                objects.iter().map(|&n| hits_for_recall(&params.recall_thresholds, n)).collect();
            // One curve per area range and number of detections, each with all thresholds.
            let all = params.iou_thresholds.len();
            let part = chunk * BITS..chunk * BITS + thresholds.len();
            let mut curves: Vec<Curve<'_>> = precision
                .chunks_mut(all * recalls)
                .zip(recall.chunks_mut(all))
                .map(|(p, r)| {
                    Curve::new(&mut p[part.start * recalls..part.end * recalls], &mut r[part.clone()])
                })
                .collect();
            self.run(&ranked, located, table, &mut matcher, &mut curves, &needed);
            for (curve, &objects) in curves
                .into_iter()
                .zip(objects.iter().flat_map(|n| std::iter::repeat_n(n, params.max_detections.len())))
            {
                curve.finish(objects);
            }
            table.clear(&[], ranked.iter().map(|&(_, image)| image));
        }
        table.clear(targets, std::iter::empty());
        positions.len()
    }

    fn run(
        &self,
        ranked: &[(u32, u32)],
        located: &Located<'_>,
        table: &mut ImageTable,
        matcher: &mut Matcher<'_>,
        curves: &mut [Curve<'_>],
        needed: &[Vec<u32>],
    ) {
        let limits = &self.params.max_detections;
        let most = limits.last().copied().unwrap_or(0);
        for &(position, image) in ranked {
            let rank = table.rank(image);
            if rank >= most {
                continue;
            }
            let first = limits.partition_point(|&limit| limit <= rank);
            let edges = &located.entries[position as usize].edges;
            let found = matcher.look(edges, table.targets_of(image));
            for (a, curves) in curves.chunks_mut(limits.len()).enumerate() {
                if found {
                    let outcome = matcher.settle(a, edges.area, |_| ());
                    for curve in &mut curves[first..] {
                        curve.add(outcome, matcher.all(), &needed[a]);
                    }
                } else {
                    let counts = matcher.unmatched(a, edges.area) != 0;
                    for curve in &mut curves[first..] {
                        curve.add_miss(counts);
                    }
                }
            }
        }
    }

    /// The detections of a group that are evaluated.
    fn positions<'l>(&self, group: usize, located: &'l Located<'_>) -> std::borrow::Cow<'l, [u32]> {
        let all = if self.params.use_categories { located.of_category(group) } else { &located.order };
        let wanted = |&position: &u32| {
            let category = located.category_of(position);
            self.categories[category] && self.images.get(located.image_of(position) as usize) != Some(&false)
        };
        if self.images.is_empty() && self.categories.iter().all(|&kept| kept) {
            all.into()
        } else {
            all.iter().copied().filter(wanted).collect()
        }
    }
}

fn last_of_each_id(boxes: &[Labelled]) -> Vec<Labelled> {
    let last: HashMap<i64, usize> = boxes.iter().enumerate().filter_map(|(i, b)| Some((b.id?, i))).collect();
    boxes.iter().map(|b| b.id.and_then(|id| last.get(&id)).map_or(*b, |&i| boxes[i])).collect()
}
