use serde::Serialize;

use crate::names::distinct_names;
use crate::{Detections, Error, GroundTruth};

/// What [`confusion_matrix`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ConfusionOptions {
    /// IoU from which a detection can be that of an object; 0.5.
    pub iou: f64,
    /// Score from which a detection counts; 0.25.
    pub score: f64,
    /// Treat objects with [`Annotation::ignore`](crate::Annotation::ignore) set (VOC's difficult ones) and group-of boxes
    /// as crowds: a detection on one is not counted, as in the metrics of VOC and OpenImages. COCO's counts them, so the
    /// default is not to.
    pub use_ignore_flag: bool,
}

impl Default for ConfusionOptions {
    fn default() -> Self {
        Self { iou: 0.5, score: 0.25, use_ignore_flag: false }
    }
}

/// How often objects of one class were taken for another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConfusionMatrix {
    /// Names of rows and columns; the last is `background`.
    pub names: Vec<String>,
    /// `counts[true class][detected class]`. The last column counts objects that were missed, the last row
    /// detections of nothing; the last entry of the last row is 0.
    pub counts: Vec<Vec<u64>>,
    /// What was counted.
    pub options: ConfusionOptions,
}

impl ConfusionMatrix {
    /// Each row divided by its sum; rows without an entry stay 0.
    pub fn normalized(&self) -> Vec<Vec<f64>> {
        let share = |row: &Vec<u64>| {
            let sum = row.iter().sum::<u64>().max(1) as f64;
            row.iter().map(|&n| n as f64 / sum).collect()
        };
        self.counts.iter().map(share).collect()
    }
}

/// Pairs objects with detections whatever their class, and counts the pairs.
///
/// On each image the pairs of an object and a detection from the score on that overlap by at least the IoU are
/// taken greedily: highest IoU first, then the pair of one class, then the higher score. Each object and each
/// detection takes part once. Crowds are no objects; a detection left over that lies in a crowd of its class (by
/// that part of its own area) is not counted, nor are objects with [`Annotation::ignore`](crate::Annotation)
/// set that nothing found.
///
/// # Errors
/// [`Error::Option`] for an `iou` outside `[0, 1]` or a `score` that is NaN.
pub fn confusion_matrix(
    truth: &GroundTruth,
    detections: &Detections,
    options: ConfusionOptions,
) -> Result<ConfusionMatrix, Error> {
    let ConfusionOptions { iou, score, use_ignore_flag } = options;
    crate::coco::check_iou("iou", iou)?;
    if score.is_nan() {
        return Err(Error::Option { option: "score", reason: "is NaN".into() });
    }
    let located = detections.against(truth)?;
    let classes = truth.categories().len();
    let mut counts = vec![vec![0u64; classes + 1]; classes + 1];

    let mut kept: Vec<(u32, u32)> = located
        .order
        .iter()
        .filter(|&&p| located.entries[p as usize].score >= score)
        .map(|&p| (located.image_of(p), p))
        .collect();
    kept.sort_unstable();
    let (objects, starts) = truth.by_image();
    let mut next = 0;
    for image in 0..truth.images().len() {
        let first = next;
        while kept.get(next).is_some_and(|(of, _)| *of as usize == image) {
            next += 1;
        }
        let found = &kept[first..next];
        let objects = &objects[starts[image]..starts[image + 1]];
        let object = |i: usize| &truth.boxes[objects[i] as usize];
        let entry = |j: usize| &located.entries[found[j].1 as usize];
        let class = |j: usize| located.category_of(found[j].1);

        let mut pairs: Vec<(f64, bool, f64, usize, usize)> = Vec::new();
        for i in (0..objects.len()).filter(|&i| !object(i).is_region(use_ignore_flag)) {
            for j in 0..found.len() {
                let overlap = entry(j).edges.iou(&object(i).edges);
                if overlap >= iou && overlap > 0.0 {
                    pairs.push((overlap, object(i).category as usize == class(j), entry(j).score, i, j));
                }
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)).then(b.2.total_cmp(&a.2)));
        let (mut object_taken, mut found_taken) = (vec![false; objects.len()], vec![false; found.len()]);
        for (_, _, _, i, j) in pairs {
            if !object_taken[i] && !found_taken[j] {
                (object_taken[i], found_taken[j]) = (true, true);
                if !object(i).is_left_out(use_ignore_flag) {
                    counts[object(i).category as usize][class(j)] += 1;
                }
            }
        }
        for i in (0..objects.len()).filter(|&i| !object_taken[i]) {
            let labelled = object(i);
            if !(labelled.is_region(use_ignore_flag) || labelled.ignore) {
                counts[labelled.category as usize][classes] += 1;
            }
        }
        for j in (0..found.len()).filter(|&j| !found_taken[j]) {
            let on_left_out = objects.iter().map(|&p| &truth.boxes[p as usize]).any(|object| {
                let edges = &entry(j).edges;
                let overlap = if object.is_region(use_ignore_flag) {
                    edges.ioa(&object.edges)
                } else {
                    edges.iou(&object.edges)
                };
                object.is_left_out(use_ignore_flag) && object.category as usize == class(j) && overlap >= iou
            });
            if !on_left_out {
                counts[classes][class(j)] += 1;
            }
        }
    }
    let mut names = distinct_names(truth.categories());
    names.push("background".into());
    Ok(ConfusionMatrix { names, counts, options })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Annotation, BoxEdges, Category, DetectionRecord, Id};

    #[test]
    fn every_object_and_detection_is_counted_once() {
        let at = |x: f64| BoxEdges::from_xywh([x, 0.0, 10.0, 10.0]);
        let crowd = Annotation { is_crowd: true, ..Annotation::new(1i64, 2i64, at(200.0)) };
        let truth = GroundTruth::new(
            [Id::Int(1), Id::Int(2)],
            [Category::new(1i64, "cat"), Category::new(2i64, "dog")],
            [
                Annotation::new(1i64, 1i64, at(0.0)),
                Annotation::new(1i64, 2i64, at(50.0)),
                Annotation::new(2i64, 2i64, at(0.0)),
                crowd,
            ],
        )
        .unwrap();
        let mut detections = Detections::new();
        for (image, class, x, score) in [
            (1, 2i64, 0.0, 0.9), // a dog exactly on the cat, where the cat's own box comes first
            (1, 1, 0.0, 0.3),
            (1, 1, 51.0, 0.8),  // the dog taken for a cat
            (1, 2, 201.0, 0.9), // in a crowd of dogs
            (1, 1, 201.0, 0.9), // a cat in a crowd of dogs
            (2, 2, 0.0, 0.2),   // below the score
        ] {
            let (image_id, category_id) = (Id::Int(image), Id::Int(class));
            detections.push(DetectionRecord { image_id, category_id, bbox: at(x), score });
        }
        let matrix = confusion_matrix(&truth, &detections, ConfusionOptions::default()).unwrap();
        assert_eq!(matrix.names, ["cat", "dog", "background"]);
        assert_eq!(matrix.counts, [[1, 0, 0], [1, 0, 1], [1, 1, 0]]);
        assert_eq!(matrix.normalized()[1], [0.5, 0.0, 0.5]);
    }
}
