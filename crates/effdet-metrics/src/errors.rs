use std::collections::HashSet;

use serde::Serialize;

use crate::coco::matching::Outcome;
use crate::coco::{Curve, hits_for_recall};
use crate::matches::{Counted, Matches, match_categories};
use crate::names::{Named, by_name, distinct_names};
use crate::{Detections, Error, GroundTruth};

/// What [`error_breakdown`] looks at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ErrorOptions {
    /// IoU from which a detection matches; 0.5.
    pub iou: f64,
    /// IoU below which a detection has nothing to do with an object; 0.1.
    pub background_iou: f64,
    /// Detections per image and class that count, by score; 100.
    pub max_detections: usize,
    /// Treat objects with [`Annotation::ignore`](crate::Annotation::ignore) set (VOC's difficult ones) and group-of boxes
    /// as neither to be found nor to be missed, as the metrics of VOC and OpenImages do. COCO's counts them, so the
    /// default is not to.
    pub use_ignore_flag: bool,
}

impl Default for ErrorOptions {
    fn default() -> Self {
        Self { iou: 0.5, background_iou: 0.1, max_detections: 100, use_ignore_flag: false }
    }
}

/// One value for each kind of error. The first five part the false detections; a detection is of the first kind
/// that fits.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct ErrorCounts<T> {
    /// The right class, but an IoU between `background_iou` and `iou`.
    pub localisation: T,
    /// An object of another class, well located.
    pub class: T,
    /// An object of the right class that a detection of higher score has found before.
    pub duplicate: T,
    /// No object overlaps by `background_iou`.
    pub background: T,
    /// Neither class nor place are right, but an object is near.
    pub both: T,
    /// Objects that no detection found, and that no error of localisation or class is about.
    pub missed: T,
}

/// Where the errors of a detector are.
#[derive(Debug, Clone, Serialize)]
pub struct ErrorBreakdown {
    /// Average precision at `iou`, mean over the classes with objects; -1 without any.
    #[serde(rename = "AP")]
    pub ap: f64,
    /// How many errors there are of each kind.
    pub counts: ErrorCounts<usize>,
    /// By how much AP would rise if one kind of error were mended and all others stayed.
    pub delta_ap: ErrorCounts<f64>,
    /// The counts by the class of the detection, or of the missed object.
    #[serde(serialize_with = "classes_by_name")]
    pub per_class: Vec<ClassErrors>,
    /// What was looked at.
    pub options: ErrorOptions,
}

/// The errors of one class.
#[derive(Debug, Clone, Serialize)]
pub struct ClassErrors {
    /// Name of the class.
    #[serde(skip)]
    pub name: String,
    /// True detections.
    pub true_positives: usize,
    /// Errors by kind.
    #[serde(flatten)]
    pub counts: ErrorCounts<usize>,
}

impl Named for ClassErrors {
    fn name(&self) -> &str {
        &self.name
    }
}

fn classes_by_name<S: serde::Serializer>(list: &[ClassErrors], serializer: S) -> Result<S::Ok, S::Error> {
    by_name(list, serializer)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Localisation,
    Class,
    Duplicate,
    Background,
    Both,
    Missed,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Localisation, Self::Class, Self::Duplicate, Self::Background, Self::Both, Self::Missed];
}

impl<T> ErrorCounts<T> {
    fn of(&mut self, kind: Kind) -> &mut T {
        match kind {
            Kind::Localisation => &mut self.localisation,
            Kind::Class => &mut self.class,
            Kind::Duplicate => &mut self.duplicate,
            Kind::Background => &mut self.background,
            Kind::Both => &mut self.both,
            Kind::Missed => &mut self.missed,
        }
    }
}

/// A false detection: its kind and, for errors of localisation and class, the object it is about.
#[derive(Clone, Copy)]
struct Mistake {
    kind: Kind,
    object: Option<u32>,
}

/// Sorts the false detections and the missed objects by what went wrong.
///
/// Detections are matched by COCO's rule at `iou`; crowds and the detections on them stay out. `delta_ap` mends one
/// kind of error: of the detections with an error of localisation or class about one object, the one with the
/// highest score becomes true (for the class of the object) unless the object has been found, and the others are
/// taken out; duplicates, detections of background and of both kinds of error are taken out; missed objects are
/// not counted as objects.
///
/// # Errors
/// [`Error::Option`] for an IoU outside `[0, 1]` or a `background_iou` above `iou`.
///
/// # Reference
/// Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object Detection Errors", section 2.
pub fn error_breakdown(
    truth: &GroundTruth,
    detections: &Detections,
    options: ErrorOptions,
) -> Result<ErrorBreakdown, Error> {
    let ErrorOptions { iou, background_iou, max_detections, use_ignore_flag } = options;
    crate::coco::check_iou("iou", iou)?;
    crate::coco::check_iou("background_iou", background_iou)?;
    if background_iou > iou {
        let reason = format!("{background_iou} is above `iou`, {iou}");
        return Err(Error::Option { option: "background_iou", reason });
    }
    let located = detections.against(truth)?;
    let matches = match_categories(truth, &located, iou, max_detections, use_ignore_flag);
    let found: HashSet<u32> = matches.iter().flat_map(|m| m.found.iter().copied()).collect();
    let (by_image, starts) = truth.by_image();

    let classify = |category: usize, detection: &Counted| {
        let edges = &located.entries[detection.position as usize].edges;
        let image = detection.image as usize;
        let (mut same, mut other) = ((0.0, None), (0.0, None));
        for &position in &by_image[starts[image]..starts[image + 1]] {
            let object = &truth.boxes[position as usize];
            if object.is_left_out(use_ignore_flag) {
                continue;
            }
            let overlap = edges.iou(&object.edges);
            let best = if object.category as usize == category { &mut same } else { &mut other };
            if overlap > best.0 {
                *best = (overlap, Some(position));
            }
        }
        let near = background_iou..iou;
        let (kind, object) = if near.contains(&same.0) && same.1.is_some() {
            (Kind::Localisation, same.1)
        } else if other.0 >= iou && other.1.is_some() {
            (Kind::Class, other.1)
        } else if same.0 >= iou && same.1.is_some() {
            (Kind::Duplicate, None)
        } else if f64::max(same.0, other.0) < background_iou {
            (Kind::Background, None)
        } else {
            (Kind::Both, None)
        };
        Mistake { kind, object }
    };
    let mistakes: Vec<Vec<Option<Mistake>>> = matches
        .iter()
        .enumerate()
        .map(|(k, m)| m.counted.iter().map(|d| (!d.hit).then(|| classify(k, d))).collect())
        .collect();

    let about: HashSet<u32> =
        mistakes.iter().flatten().flatten().filter_map(|mistake| mistake.object).collect();
    let mut missed = vec![0usize; matches.len()];
    for (position, object) in (0u32..).zip(&truth.boxes) {
        if !object.is_left_out(use_ignore_flag) && !found.contains(&position) && !about.contains(&position) {
            missed[object.category as usize] += 1;
        }
    }
    let mut per_class = Vec::with_capacity(matches.len());
    let mut counts: ErrorCounts<usize> = ErrorCounts::default();
    for (k, name) in distinct_names(truth.categories()).into_iter().enumerate() {
        let mut own: ErrorCounts<usize> = ErrorCounts { missed: missed[k], ..ErrorCounts::default() };
        for mistake in mistakes[k].iter().flatten() {
            *own.of(mistake.kind) += 1;
        }
        for kind in Kind::ALL {
            *counts.of(kind) += *own.of(kind);
        }
        let true_positives = matches[k].counted.iter().filter(|d| d.hit).count();
        per_class.push(ClassErrors { name, true_positives, counts: own });
    }

    let study = Study { truth, matches: &matches, mistakes: &mistakes, missed: &missed, found: &found };
    let ap = study.ap_without(None);
    let mut delta_ap = ErrorCounts::default();
    for kind in Kind::ALL {
        *delta_ap.of(kind) = if ap < 0.0 { 0.0 } else { study.ap_without(Some(kind)) - ap };
    }
    Ok(ErrorBreakdown { ap, counts, delta_ap, per_class, options })
}

struct Study<'a> {
    truth: &'a GroundTruth,
    matches: &'a [Matches],
    mistakes: &'a [Vec<Option<Mistake>>],
    missed: &'a [usize],
    found: &'a HashSet<u32>,
}

impl Study<'_> {
    /// Mean average precision with one kind of error mended.
    fn ap_without(&self, mended: Option<Kind>) -> f64 {
        let mut ranked: Vec<Vec<(f64, bool)>> = vec![Vec::new(); self.matches.len()];
        let mut repaired: Vec<(f64, u32)> = Vec::new();
        for (k, (m, mistakes)) in self.matches.iter().zip(self.mistakes).enumerate() {
            for (detection, mistake) in m.counted.iter().zip(mistakes) {
                match mistake {
                    Some(mistake) if Some(mistake.kind) == mended => {
                        repaired.extend(mistake.object.map(|object| (detection.score, object)));
                    }
                    _ => ranked[k].push((detection.score, detection.hit)),
                }
            }
        }
        repaired.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut claimed = HashSet::new();
        for (score, object) in repaired {
            if !self.found.contains(&object) && claimed.insert(object) {
                ranked[self.truth.boxes[object as usize].category as usize].push((score, true));
            }
        }
        let forgiven = |k: usize| if mended == Some(Kind::Missed) { self.missed[k] } else { 0 };
        let (mut sum, mut classes) = (0.0, 0usize);
        for (k, mut ranked) in ranked.into_iter().enumerate() {
            if self.matches[k].objects == 0 {
                continue;
            }
            ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
            classes += 1;
            sum += average_precision(&ranked, self.matches[k].objects - forgiven(k));
        }
        if classes == 0 { -1.0 } else { sum / classes as f64 }
    }
}

/// COCO's 101-point average precision; that of a class without objects left is 1 if nothing is detected.
fn average_precision(ranked: &[(f64, bool)], objects: usize) -> f64 {
    if objects == 0 {
        return f64::from(u8::from(ranked.is_empty()));
    }
    let recalls: Vec<f64> = (0..=100).map(|i| f64::from(i) * 0.01).collect();
    let needed = hits_for_recall(&recalls, objects);
    let (mut precision, mut recall) = (vec![0.0; recalls.len()], [0.0]);
    let mut curve = Curve::new(&mut precision, &mut recall);
    for &(_, hit) in ranked {
        curve.add(Outcome { hit: u64::from(hit), miss: u64::from(!hit) }, 1, &needed);
    }
    curve.finish(objects);
    precision.iter().sum::<f64>() / precision.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Annotation, BoxEdges, Category, DetectionRecord, Id};

    fn breakdown(objects: &[(i64, f64)], found: &[(i64, f64, f64)]) -> ErrorBreakdown {
        let at = |x: f64| BoxEdges::from_xywh([x, 0.0, 10.0, 10.0]);
        let truth = GroundTruth::new(
            [Id::Int(1)],
            [Category::new(1i64, "cat"), Category::new(2i64, "dog")],
            objects.iter().map(|&(class, x)| Annotation::new(1i64, class, at(x))),
        )
        .unwrap();
        let mut detections = Detections::new();
        for &(class, x, score) in found {
            let (image_id, category_id) = (Id::Int(1), Id::Int(class));
            detections.push(DetectionRecord { image_id, category_id, bbox: at(x), score });
        }
        error_breakdown(&truth, &detections, ErrorOptions::default()).unwrap()
    }

    #[test]
    fn each_kind_of_error_is_told_apart() {
        let errors = breakdown(
            &[(1, 0.0), (1, 100.0), (2, 200.0), (1, 300.0), (2, 400.0)],
            &[
                (1, 0.0, 0.9),   // true
                (1, 1.0, 0.8),   // the same cat again
                (1, 105.0, 0.7), // a third of the next cat
                (1, 200.0, 0.6), // a dog taken for a cat
                (1, 205.0, 0.5), // a third of that dog
                (1, 900.0, 0.4), // nothing
            ],
        );
        let expected =
            ErrorCounts { localisation: 1, class: 1, duplicate: 1, background: 1, both: 1, missed: 2 };
        assert_eq!(errors.counts, expected);
        assert_eq!(errors.per_class[0].true_positives, 1);
        assert_eq!(errors.per_class[1].counts, ErrorCounts { missed: 1, ..ErrorCounts::default() });
        let mean = |a: f64, b: f64| (a + b) / 2.0;
        // One of three cats is found first: 34 of the 101 recalls. No dog is.
        assert!((errors.ap - mean(34.0 / 101.0, 0.0)).abs() < 1e-12);
        // The dog becomes true: one of two, 51 recalls.
        assert!((errors.delta_ap.class - mean(0.0, 51.0 / 101.0)).abs() < 1e-12);
        // The second cat becomes true at rank 3: 33 more recalls at two thirds.
        assert!((errors.delta_ap.localisation - mean(33.0 * (2.0 / 3.0) / 101.0, 0.0)).abs() < 1e-12);
        assert_eq!((errors.delta_ap.duplicate, errors.delta_ap.background), (0.0, 0.0));
    }

    #[test]
    fn a_perfect_detector_has_no_errors() {
        let errors = breakdown(&[(1, 0.0), (2, 50.0)], &[(1, 0.0, 0.5), (2, 50.0, 0.6)]);
        assert_eq!(errors.counts, ErrorCounts::default());
        assert!((errors.ap - 1.0).abs() < 1e-12);
    }
}
