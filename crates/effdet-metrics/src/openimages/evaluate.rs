use std::collections::HashSet;

use rayon::prelude::*;
use serde::Serialize;

use crate::average_precision::{Interpolation, precision_recall};
use crate::coco::check_iou;
use crate::dataset::Labelled;
use crate::detections::Entry;
use crate::names::{Named, by_name, distinct_names};
use crate::openimages::VerifiedLabels;
use crate::{Detections, Error, Findings, GroundTruth, Id};

/// Detections of one class that are looked at on one image, by score.
const MAX_DETECTIONS: usize = 10_000;

/// How an OpenImages evaluation counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OpenImagesOptions {
    /// IoU (and, for group-of boxes, part of the detection inside) from which a detection matches; 0.5.
    pub iou: f64,
    /// What a group-of box counts as: 0 makes detections in it count as nothing (the V2 metric); with 1 the best
    /// one is a hit, and a group without any is missed (the Challenge metric).
    pub group_of_weight: f64,
}

impl Default for OpenImagesOptions {
    fn default() -> Self {
        Self { iou: 0.5, group_of_weight: 0.0 }
    }
}

/// The numbers of an OpenImages evaluation. Those without an object to measure are -1.
#[derive(Debug, Clone, Serialize)]
pub struct OpenImagesReport {
    /// Mean average precision over the classes that have objects.
    #[serde(rename = "mAP")]
    pub mean_ap: f64,
    /// Each class.
    #[serde(serialize_with = "classes_by_name")]
    pub per_class: Vec<OpenImagesClass>,
    /// How it was counted.
    pub options: OpenImagesOptions,
    /// What in the input did not take part as it stands.
    pub findings: Findings,
}

/// The numbers of one class.
#[derive(Debug, Clone, Serialize)]
pub struct OpenImagesClass {
    /// Name of the class.
    #[serde(skip)]
    pub name: String,
    /// Its label.
    pub id: Id,
    /// Average precision.
    #[serde(rename = "AP")]
    pub ap: f64,
    /// Objects that count, group-of boxes by their weight.
    pub ground_truth: f64,
    /// Detections.
    pub detections: usize,
}

impl Named for OpenImagesClass {
    fn name(&self) -> &str {
        &self.name
    }
}

fn classes_by_name<S: serde::Serializer>(list: &[OpenImagesClass], serializer: S) -> Result<S::Ok, S::Error> {
    by_name(list, serializer)
}

/// Evaluates by the OpenImages V2 metric, or with a `group_of_weight` of 1 and `verified` labels by that of the
/// Challenge, where detections of classes that nobody looked for on a picture do not count.
///
/// On each image, detections without area are dropped and the rest compared in the order of their scores with the
/// object of their class that they overlap most. Those that find none, or one found before, are compared with the
/// group-of boxes by the part of the detection that lies inside.
///
/// The hierarchy of labels is not applied here; see [`Hierarchy::expand`](crate::Hierarchy::expand).
///
/// # Errors
/// [`Error::Option`] for an `iou` outside `[0, 1]` or a negative weight.
///
/// # Reference
/// effdet `OpenImagesDetectionEvaluator` and `OpenImagesChallengeEvaluator`. Equal scores rank there as an unstable
/// sort leaves them; here the later detection comes first, as for short lists there.
pub fn evaluate_openimages(
    truth: &GroundTruth,
    detections: &Detections,
    options: OpenImagesOptions,
    verified: Option<&VerifiedLabels>,
) -> Result<OpenImagesReport, Error> {
    check_iou("iou", options.iou)?;
    if !(options.group_of_weight >= 0.0 && options.group_of_weight.is_finite()) {
        let reason = format!("{} is not a number from 0 on", options.group_of_weight);
        return Err(Error::Option { option: "group_of_weight", reason });
    }
    let located = detections.against(truth)?;
    let order = truth.by_category_and_image();
    let allowed = verified.map(|verified| allowed_pairs(truth, verified));
    let names = distinct_names(truth.categories());
    let category_of = |p: &u32| truth.boxes[*p as usize].category as usize;
    let per_class: Vec<OpenImagesClass> = (0..names.len())
        .into_par_iter()
        .map(|category| {
            let range = order.partition_point(|p| category_of(p) < category)
                ..order.partition_point(|p| category_of(p) <= category);
            let objects: Vec<&Labelled> = order[range].iter().map(|&p| &truth.boxes[p as usize]).collect();
            let mut found: Vec<(u32, &Entry)> = located
                .of_category(category)
                .iter()
                .map(|&p| (located.image_of(p), &located.entries[p as usize]))
                .filter(|(image, _)| allowed.as_ref().is_none_or(|pairs| pairs.contains(&(*image, category))))
                .collect();
            found.sort_by_key(|(image, _)| *image);

            let mut labels: Vec<(f64, f64)> = Vec::with_capacity(found.len());
            let mut rest = objects.as_slice();
            for found in found.chunk_by(|a, b| a.0 == b.0) {
                let image = found[0].0;
                rest = &rest[rest.partition_point(|object| object.image < image)..];
                let (here, later) = rest.split_at(rest.partition_point(|object| object.image == image));
                label_image(found, here, options, &mut labels);
                rest = later;
            }
            let groups = objects.iter().filter(|object| object.is_group_of).count();
            let total = (objects.len() - groups) as f64 + groups as f64 * options.group_of_weight;
            labels.reverse();
            labels.sort_by(|a, b| b.0.total_cmp(&a.0));
            let ap = if total > 0.0 {
                let (recall, precision) = precision_recall(labels.iter().map(|(_, weight)| *weight), total);
                Interpolation::AllPoint.average_precision(&recall, &precision)
            } else {
                -1.0
            };
            let id = truth.categories()[category].id.clone();
            OpenImagesClass {
                name: names[category].clone(),
                id,
                ap,
                ground_truth: total,
                detections: found.len(),
            }
        })
        .collect();

    let measured: Vec<f64> = per_class.iter().filter(|c| c.ground_truth > 0.0).map(|c| c.ap).collect();
    let mean_ap =
        if measured.is_empty() { -1.0 } else { measured.iter().sum::<f64>() / measured.len() as f64 };
    let mut findings = truth.findings().clone();
    findings.extend(&located.findings);
    Ok(OpenImagesReport { mean_ap, per_class, options, findings })
}

/// The pairs of image and category on which detections count: those verified and those with a box.
fn allowed_pairs(truth: &GroundTruth, verified: &VerifiedLabels) -> HashSet<(u32, usize)> {
    let mut pairs: HashSet<(u32, usize)> =
        truth.boxes.iter().map(|labelled| (labelled.image, labelled.category as usize)).collect();
    for (image, labels) in &verified.by_image {
        let Ok(image) = truth.images().binary_search(image) else { continue };
        let indices =
            labels.iter().filter_map(|id| truth.categories().binary_search_by(|c| c.id.cmp(id)).ok());
        pairs.extend(indices.map(|category| (image as u32, category)));
    }
    pairs
}

/// Appends score and weight of each detection of one class on one image that counts.
fn label_image(
    found: &[(u32, &Entry)],
    objects: &[&Labelled],
    options: OpenImagesOptions,
    labels: &mut Vec<(f64, f64)>,
) {
    let has_area = |entry: &&Entry| entry.edges.x1 < entry.edges.x2 && entry.edges.y1 < entry.edges.y2;
    let mut ranked: Vec<&Entry> = found.iter().rev().map(|(_, entry)| *entry).filter(has_area).collect();
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
    ranked.truncate(MAX_DETECTIONS);

    let (groups, singles): (Vec<&Labelled>, Vec<&Labelled>) =
        objects.iter().copied().partition(|object| object.is_group_of);
    let mut taken = vec![false; singles.len()];
    let mut best_in_group = vec![0.0f64; groups.len()];
    for entry in ranked {
        let single = highest(singles.iter().map(|object| entry.edges.iou(&object.edges)))
            .filter(|&(_, overlap)| overlap >= options.iou);
        if let Some((i, _)) = single
            && !taken[i]
        {
            taken[i] = true;
            labels.push((entry.score, 1.0));
            continue;
        }
        let group = highest(groups.iter().map(|object| entry.edges.ioa(&object.edges)))
            .filter(|&(_, overlap)| overlap >= options.iou);
        match group {
            Some((i, _)) => best_in_group[i] = best_in_group[i].max(entry.score),
            None => labels.push((entry.score, 0.0)),
        }
    }
    if options.group_of_weight > 0.0 {
        let scores = best_in_group.into_iter().filter(|&score| score > 0.0);
        labels.extend(scores.map(|score| (score, options.group_of_weight)));
    }
}

/// The position of the highest value and the value, the first among equals.
fn highest(values: impl Iterator<Item = f64>) -> Option<(usize, f64)> {
    values.enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best })
}
