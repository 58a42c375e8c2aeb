use rayon::prelude::*;
use serde::Serialize;

use crate::average_precision::{Interpolation, precision_recall};
use crate::coco::matching::{ImageTable, Target};
use crate::names::{Named, by_name, distinct_names};
use crate::{BoxEdges, Detections, Error, Findings, GroundTruth, Id};

/// How a VOC evaluation counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct VocOptions {
    /// IoU from which a detection matches; 0.5.
    pub iou: f64,
    /// Area under the curve (the default) or the 11 points of VOC 2007.
    pub interpolation: Interpolation,
    /// Count difficult objects as ordinary ones, instead of neither hit nor miss as VOC does.
    pub use_difficult: bool,
    /// Take the right and bottom coordinates as the last pixel inside the box, as VOC's own code does: a side is
    /// `max - min + 1`.
    pub inclusive_pixels: bool,
}

impl Default for VocOptions {
    fn default() -> Self {
        Self {
            iou: 0.5,
            interpolation: Interpolation::AllPoint,
            use_difficult: false,
            inclusive_pixels: true,
        }
    }
}

/// The numbers of a VOC evaluation. Those without an object to measure are -1.
#[derive(Debug, Clone, Serialize)]
pub struct VocReport {
    /// Mean average precision over the classes that have objects.
    #[serde(rename = "mAP")]
    pub mean_ap: f64,
    /// Average precision of all classes' detections in one ranking.
    #[serde(rename = "pooled_AP")]
    pub pooled_ap: f64,
    /// Each class.
    #[serde(serialize_with = "classes_by_name")]
    pub per_class: Vec<VocClass>,
    /// How it was counted.
    pub options: VocOptions,
    /// What in the input did not take part as it stands.
    pub findings: Findings,
}

/// The numbers of one class.
#[derive(Debug, Clone, Serialize)]
pub struct VocClass {
    /// Name of the class.
    #[serde(skip)]
    pub name: String,
    /// Its id.
    pub id: Id,
    /// Average precision.
    #[serde(rename = "AP")]
    pub ap: f64,
    /// Objects that count.
    pub ground_truth: usize,
    /// Detections, those on difficult objects included.
    pub detections: usize,
    /// Detections that found an object.
    pub true_positives: usize,
    /// Recall after each counted detection, highest score first.
    #[serde(skip)]
    pub recall: Vec<f64>,
    /// Precision after each counted detection.
    #[serde(skip)]
    pub precision: Vec<f64>,
    #[serde(skip)]
    ranked: Vec<(f64, bool)>,
}

impl Named for VocClass {
    fn name(&self) -> &str {
        &self.name
    }
}

fn classes_by_name<S: serde::Serializer>(list: &[VocClass], serializer: S) -> Result<S::Ok, S::Error> {
    by_name(list, serializer)
}

/// Evaluates by the rules of Pascal VOC: in the order of their scores, each detection is compared with the object
/// of its class and image that it overlaps most. From `iou` on it is a hit, if the object has not been found
/// before; an object marked difficult makes it count as nothing.
///
/// # Errors
/// [`Error::Option`] for an `iou` outside `[0, 1]`.
///
/// # Reference
/// VOCdevkit `VOCevaldet.m`; without `inclusive_pixels` effdet's `PascalDetectionEvaluator`, which also removes
/// detections without area.
pub fn evaluate_voc(
    truth: &GroundTruth,
    detections: &Detections,
    options: VocOptions,
) -> Result<VocReport, Error> {
    crate::coco::check_iou("iou", options.iou)?;
    let located = detections.against(truth)?;
    let edges_of = |edges: BoxEdges| if options.inclusive_pixels { edges.inclusive() } else { edges };
    let order = truth.by_category_and_image();
    let targets: Vec<Target> = order
        .iter()
        .map(|&position| {
            let labelled = &truth.boxes[position as usize];
            let ignore = labelled.is_crowd || (labelled.ignore && !options.use_difficult);
            Target { edges: edges_of(labelled.edges), ignore, ..Target::of(labelled, position) }
        })
        .collect();
    let names = distinct_names(truth.categories());
    let table = || ImageTable::new(truth.images().len());
    let per_class: Vec<VocClass> = (0..names.len())
        .into_par_iter()
        .map_init(table, |table, category| {
            let of_class = |p: &u32| truth.boxes[*p as usize].category as usize;
            let range = order.partition_point(|p| of_class(p) < category)
                ..order.partition_point(|p| of_class(p) <= category);
            let targets = &targets[range];
            let positions = located.of_category(category);
            table.set(targets);
            let mut found = vec![false; targets.len()];
            let mut ranked = Vec::with_capacity(positions.len());
            for (position, image) in located.ranked_in_order(positions) {
                let entry = &located.entries[position as usize];
                match best_overlap(&edges_of(entry.edges), targets, table.targets_of(image)) {
                    Some((best, overlap)) if overlap >= options.iou => {
                        if !targets[best].ignore {
                            ranked.push((entry.score, !found[best]));
                            found[best] = true;
                        }
                    }
                    _ => ranked.push((entry.score, false)),
                }
            }
            table.clear(targets, std::iter::empty());

            let objects = targets.iter().filter(|target| !target.ignore).count();
            let hits = ranked.iter().map(|&(_, hit)| f64::from(u8::from(hit)));
            let (recall, precision) =
                if objects > 0 { precision_recall(hits, objects as f64) } else { Default::default() };
            let ap =
                if objects > 0 { options.interpolation.average_precision(&recall, &precision) } else { -1.0 };
            VocClass {
                name: names[category].clone(),
                id: truth.categories()[category].id.clone(),
                ap,
                ground_truth: objects,
                detections: positions.len(),
                true_positives: ranked.iter().filter(|(_, hit)| *hit).count(),
                recall,
                precision,
                ranked,
            }
        })
        .collect();

    let measured: Vec<&VocClass> = per_class.iter().filter(|class| class.ground_truth > 0).collect();
    let (mut mean_ap, mut pooled_ap) = (-1.0, -1.0);
    if !measured.is_empty() {
        mean_ap = measured.iter().map(|class| class.ap).sum::<f64>() / measured.len() as f64;
        let mut pooled: Vec<(f64, bool)> =
            measured.iter().flat_map(|class| class.ranked.iter().copied()).collect();
        pooled.sort_by(|a, b| b.0.total_cmp(&a.0));
        let objects: usize = measured.iter().map(|class| class.ground_truth).sum();
        let (recall, precision) =
            precision_recall(pooled.iter().map(|&(_, hit)| f64::from(u8::from(hit))), objects as f64);
        pooled_ap = options.interpolation.average_precision(&recall, &precision);
    }
    let mut findings = truth.findings().clone();
    findings.extend(&located.findings);
    Ok(VocReport { mean_ap, pooled_ap, per_class, options, findings })
}

/// The target of the highest IoU, the first among equals.
fn best_overlap(
    edges: &BoxEdges,
    targets: &[Target],
    of_image: std::ops::Range<usize>,
) -> Option<(usize, f64)> {
    let mut best: Option<(usize, f64)> = None;
    for target in of_image {
        let overlap = edges.iou(&targets[target].edges);
        if best.is_none_or(|(_, highest)| overlap > highest) {
            best = Some((target, overlap));
        }
    }
    best
}
