//! How well a detector's anchors fit the boxes of a data set, and which would fit better.

use effdet_core::{ImageSize, Letterbox, Placement, XyxyBox, iou::iou};
use effdet_data::Dataset;
use effdet_heads::{AnchorConfig, AnchorScale, Anchors};
use rayon::prelude::*;
use serde::Serialize;

use crate::Error;

/// IoU from which an anchor is assigned to a box in training.
const MATCHED: f32 = 0.5;

/// Boxes that the search for better anchors looks at; an even sample of more.
const SAMPLE: usize = 20_000;

/// Rounds of k-means; it settles long before.
const ROUNDS: usize = 200;

/// How well anchors fit boxes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Coverage {
    /// The anchors.
    pub anchors: AnchorConfig,
    /// Mean over all boxes of the IoU with the best anchor.
    pub mean_iou: f64,
    /// Part of the boxes that an anchor overlaps by at least 0.5, so that it is assigned to them. The others get the one
    /// anchor that overlaps them most.
    pub covered: f64,
}

impl Coverage {
    /// What the search makes as large as it can: the mean alone would give up the few boxes of a rare shape.
    fn fitness(&self) -> f64 {
        self.mean_iou + self.covered
    }
}

/// The boxes of one class that anchors cover.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassCoverage {
    /// Id of the class.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Number of its boxes.
    pub boxes: usize,
    /// Mean of the IoU with the best anchor.
    pub mean_iou: f64,
    /// Part of the boxes with an anchor of IoU 0.5.
    pub covered: f64,
}

/// A shape that stands for many boxes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Shape {
    /// Width in pixels of the network's input.
    pub width: f32,
    /// Height in pixels of the network's input.
    pub height: f32,
    /// Part of the boxes it stands for.
    pub share: f64,
}

/// The anchors of a detector against the boxes of a data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnchorFit {
    /// Size of the network's input, which boxes are letterboxed to.
    pub image_size: ImageSize,
    /// Number of boxes; those without area or in pictures of unknown size are left out.
    pub boxes: usize,
    /// The anchors as they are.
    pub current: Coverage,
    /// The same for each class that has boxes, by id.
    pub per_class: Vec<ClassCoverage>,
    /// Best IoU of each box, counted in ten bins from 0 to 1.
    pub iou_histogram: [usize; 10],
    /// Box shapes by k-means with `1 - IoU` as the distance, as many as there are anchors on a cell, smallest first.
    pub shapes: Vec<Shape>,
    /// Mean IoU of a box with its shape, both centred on the same point: what free anchors of these shapes could reach
    /// at best.
    pub shapes_mean_iou: f64,
    /// Anchors of the same number that fit better, if the search found any: aspect ratios by k-means or those there are,
    /// and the base size with the largest sum of `mean_iou` and `covered`.
    pub suggestion: Option<Coverage>,
}

/// Compares the anchors of `config`, for inputs of `image_size`, with the boxes of `dataset`; k-means and the choice of
/// base size look at an even sample of 20,000 boxes and depend on nothing random.
///
/// # Errors
/// If there is no box whose picture's size is known, or the anchors cannot be made.
pub fn fit_anchors(
    dataset: &Dataset,
    config: &AnchorConfig,
    image_size: ImageSize,
) -> Result<AnchorFit, Error> {
    let boxes = letterboxed(dataset, image_size);
    if boxes.is_empty() {
        return Err(Error::NoBoxes { root: dataset.root.clone() });
    }
    let anchors = Anchors::generate(config, image_size)?;
    let best: Vec<f32> = boxes.par_iter().map(|(_, bbox)| best_iou(&anchors, bbox)).collect();
    let current = coverage(config, &best);
    let mut iou_histogram = [0; 10];
    for iou in &best {
        iou_histogram[((iou * 10.0) as usize).min(9)] += 1;
    }

    let step = boxes.len().div_ceil(SAMPLE);
    let sample: Vec<XyxyBox> = boxes.iter().step_by(step).map(|(_, bbox)| *bbox).collect();
    let (shapes, shapes_mean_iou) = k_means_shapes(&sample, config.anchors_per_cell());
    let suggestion = suggest(config, image_size, &sample)?;
    let suggestion = suggestion
        .map(|config| {
            let anchors = Anchors::generate(&config, image_size)?;
            let best: Vec<f32> = boxes.par_iter().map(|(_, bbox)| best_iou(&anchors, bbox)).collect();
            Ok::<_, Error>(coverage(&config, &best))
        })
        .transpose()?
        .filter(|better| better.fitness() > current.fitness());
    Ok(AnchorFit {
        image_size,
        boxes: boxes.len(),
        per_class: per_class(dataset, &boxes, &best),
        current,
        iou_histogram,
        shapes,
        shapes_mean_iou,
        suggestion,
    })
}

/// Class and box, in pixels of the network's input, of every object with an area.
fn letterboxed(dataset: &Dataset, image_size: ImageSize) -> Vec<(u32, XyxyBox)> {
    let mut boxes = Vec::new();
    for record in &dataset.records {
        let Some(size) = record.size else { continue };
        let Ok(letterbox) = Letterbox::new(size, image_size, Placement::TopLeft) else { continue };
        let objects = record.objects.iter().filter(|object| !object.is_crowd && !object.is_group_of);
        boxes.extend(
            objects
                .map(|object| (object.class_id, letterbox.to_target(object.bbox)))
                .filter(|(_, bbox)| bbox.is_finite() && !bbox.is_empty()),
        );
    }
    boxes
}

/// IoU of a box with the anchor that overlaps it most. Of the anchors of one shape that is the one whose centre is nearest,
/// on each axis on its own.
fn best_iou(anchors: &Anchors, bbox: &XyxyBox) -> f32 {
    let (x, y) = bbox.center();
    let size = anchors.image_size();
    let per_cell = anchors.anchors_per_cell();
    let nearest = |center: f32, cells: usize, side: usize| {
        ((center * cells as f32 / side as f32).floor().max(0.0) as usize).min(cells - 1)
    };
    let mut best = 0f32;
    for level in anchors.levels() {
        let cells = level.feature_size;
        let row = nearest(y, cells.height, size.height);
        let column = nearest(x, cells.width, size.width);
        let first = level.offset + (row * cells.width + column) * per_cell;
        for anchor in &anchors.boxes()[first..first + per_cell] {
            best = best.max(iou(&XyxyBox::from(*anchor), bbox));
        }
    }
    best
}

fn coverage(config: &AnchorConfig, best: &[f32]) -> Coverage {
    let (mean_iou, covered) = summary(best.iter().copied());
    Coverage { anchors: config.clone(), mean_iou, covered }
}

/// Mean, and part of at least [`MATCHED`].
fn summary(values: impl Iterator<Item = f32>) -> (f64, f64) {
    let (mut count, mut sum, mut matched) = (0usize, 0.0, 0usize);
    for value in values {
        count += 1;
        sum += f64::from(value);
        matched += usize::from(value >= MATCHED);
    }
    let count = count.max(1) as f64;
    (sum / count, matched as f64 / count)
}

fn per_class(dataset: &Dataset, boxes: &[(u32, XyxyBox)], best: &[f32]) -> Vec<ClassCoverage> {
    let of =
        |id: u32| boxes.iter().zip(best).filter(move |((class, _), _)| *class == id).map(|(_, iou)| *iou);
    let classes = dataset.class_map.iter().map(|(id, name)| {
        let (mean_iou, covered) = summary(of(id));
        ClassCoverage { id, name: name.to_owned(), boxes: of(id).count(), mean_iou, covered }
    });
    classes.filter(|class| class.boxes > 0).collect()
}

/// A box of this shape with its corner on the origin.
fn at_origin(width: f32, height: f32) -> XyxyBox {
    XyxyBox { x1: 0.0, y1: 0.0, x2: width, y2: height }
}

/// k-means over box shapes with `1 - IoU` as the distance (Redmon and Farhadi 2017, section 2), begun at the quantiles of
/// the area; the shapes by area, and the mean IoU of the boxes with theirs.
fn k_means_shapes(boxes: &[XyxyBox], k: usize) -> (Vec<Shape>, f64) {
    let mut by_area: Vec<XyxyBox> = boxes.iter().map(|b| at_origin(b.width(), b.height())).collect();
    by_area.sort_by(|a, b| a.area().total_cmp(&b.area()));
    let k = k.min(by_area.len());
    let mut centers: Vec<XyxyBox> =
        (0..k).map(|i| by_area[((2 * i + 1) * by_area.len() / (2 * k)).min(by_area.len() - 1)]).collect();
    let mut assigned = vec![usize::MAX; by_area.len()];
    for _ in 0..ROUNDS {
        let nearest: Vec<usize> = by_area
            .par_iter()
            .map(|shape| {
                let ious = centers.iter().map(|center| iou(center, shape)).enumerate();
                ious.fold((0, -1.0), |best, (i, iou)| if iou > best.1 { (i, iou) } else { best }).0
            })
            .collect();
        if nearest == assigned {
            break;
        }
        assigned = nearest;
        let mut sums = vec![(0.0f64, 0.0f64, 0usize); k];
        for (shape, &cluster) in by_area.iter().zip(&assigned) {
            let (width, height, count) = &mut sums[cluster];
            *width += f64::from(shape.width());
            *height += f64::from(shape.height());
            *count += 1;
        }
        for (center, (width, height, count)) in centers.iter_mut().zip(sums) {
            if count > 0 {
                *center = at_origin((width / count as f64) as f32, (height / count as f64) as f32);
            }
        }
    }
    let mut counts = vec![0usize; k];
    for &cluster in &assigned {
        counts[cluster] += 1;
    }
    let total: f64 = by_area.iter().zip(&assigned).map(|(s, &c)| f64::from(iou(&centers[c], s))).sum();
    let part = |count: usize| count as f64 / by_area.len().max(1) as f64;
    let mut shapes: Vec<Shape> = centers
        .iter()
        .zip(&counts)
        .map(|(c, count)| Shape { width: c.width(), height: c.height(), share: part(*count) })
        .collect();
    shapes.sort_by(|a, b| (a.width * a.height).total_cmp(&(b.width * b.height)));
    (shapes, total / by_area.len().max(1) as f64)
}

/// Anchors of the same levels and number whose aspect ratios are the clusters of the boxes' and whose base size fits them
/// best; also the present aspect ratios with another base size are tried.
fn suggest(
    config: &AnchorConfig,
    image_size: ImageSize,
    sample: &[XyxyBox],
) -> Result<Option<AnchorConfig>, Error> {
    let mut ratios: Vec<f64> = sample.iter().map(|b| f64::from(b.width() / b.height()).ln()).collect();
    ratios.sort_by(f64::total_cmp);
    let clustered = k_means_line(&ratios, config.aspect_ratios.len())
        .into_iter()
        .map(|ratio| {
            let (width, height) = AnchorConfig::aspect_from_ratio(ratio.exp());
            (hundredths(width), hundredths(height))
        })
        .collect();
    let mut best: Option<(f64, AnchorConfig)> = None;
    for aspect_ratios in [config.aspect_ratios.clone(), clustered] {
        // An eighth of an octave apart.
        for step in 0..=32 {
            let anchor_scale = AnchorScale::Uniform(hundredths(2f64.powf(f64::from(step) / 8.0 - 0.5)));
            let tried = AnchorConfig { aspect_ratios: aspect_ratios.clone(), anchor_scale, ..config.clone() };
            let anchors = Anchors::generate(&tried, image_size)?;
            let ious: Vec<f32> = sample.par_iter().map(|bbox| best_iou(&anchors, bbox)).collect();
            let fitness = coverage(&tried, &ious).fitness();
            if best.as_ref().is_none_or(|(highest, _)| fitness > *highest) {
                best = Some((fitness, tried));
            }
        }
    }
    Ok(best.map(|(_, config)| config))
}

fn hundredths(value: f64) -> f64 {
    ((value * 100.0).round() / 100.0).max(0.01)
}

/// k-means of sorted numbers, begun at their quantiles.
fn k_means_line(sorted: &[f64], k: usize) -> Vec<f64> {
    let quantile = |i: usize| sorted[((2 * i + 1) * sorted.len() / (2 * k)).min(sorted.len() - 1)];
    let mut centers: Vec<f64> = (0..k).map(quantile).collect();
    for _ in 0..ROUNDS {
        let mut sums = vec![(0.0, 0usize); k];
        for value in sorted {
            let distance = |center: &f64| (center - value).abs();
            let nearest = (0..k).min_by(|a, b| distance(&centers[*a]).total_cmp(&distance(&centers[*b])));
            let (sum, count) = &mut sums[nearest.unwrap_or(0)];
            *sum += value;
            *count += 1;
        }
        let next: Vec<f64> = centers
            .iter()
            .zip(sums)
            .map(|(center, (sum, count))| if count > 0 { sum / count as f64 } else { *center })
            .collect();
        if next == centers {
            break;
        }
        centers = next;
    }
    centers
}

#[cfg(test)]
mod tests {
    use effdet_core::ClassMap;
    use effdet_data::{Object, Record, RecordId};

    use super::*;

    const SIZE: ImageSize = ImageSize::square(256);

    fn dataset(boxes: impl IntoIterator<Item = [f32; 4]>) -> Dataset {
        let object = |bbox: [f32; 4]| Object { bbox: bbox.into(), class_id: 1, ..Object::default() };
        let record = Record {
            id: RecordId::Number(1),
            path: "a.png".into(),
            size: Some(SIZE),
            objects: boxes.into_iter().map(object).collect(),
        };
        let class_map = ClassMap::from_names(["leaf"]).unwrap();
        Dataset { records: vec![record], class_map, ..Dataset::default() }
    }

    /// Boxes all over the picture, all of one shape.
    fn alike(width: f32, height: f32) -> Dataset {
        dataset((0..60).map(|i| {
            let (x, y) = (i as f32 * 37.0 % (256.0 - width), i as f32 * 53.0 % (256.0 - height));
            [x, y, x + width, y + height]
        }))
    }

    #[test]
    fn the_nearest_cell_has_the_best_anchor() {
        let anchors = Anchors::generate(&AnchorConfig::default(), SIZE).unwrap();
        for (i, (width, height)) in
            [(30.0, 40.0), (200.0, 9.0), (3.0, 3.0), (250.0, 250.0)].into_iter().enumerate()
        {
            let (x, y) = (17.3 * i as f32, 1.9 * i as f32);
            let bbox = XyxyBox::from([x, y, x + width, y + height]);
            let all =
                anchors.boxes().iter().map(|anchor| iou(&XyxyBox::from(*anchor), &bbox)).fold(0.0, f32::max);
            let best = best_iou(&anchors, &bbox);
            assert!((best - all).abs() < 1e-6, "{bbox:?}: {best} and {all}");
        }
    }

    #[test]
    fn anchors_of_another_shape_are_suggested_for_slender_boxes() {
        let fit = fit_anchors(&alike(24.0, 120.0), &AnchorConfig::default(), SIZE).unwrap();
        assert_eq!(fit.boxes, 60);
        assert!(fit.current.mean_iou < 0.5 && fit.current.covered < 0.5, "{:?}", fit.current);
        let better = fit.suggestion.unwrap();
        assert!(better.mean_iou > fit.current.mean_iou + 0.2, "{better:?}");
        assert_eq!(better.anchors.aspect_ratios[0], (0.45, 2.24));
        assert_eq!(better.anchors.anchors_per_cell(), 9);
        assert_eq!(fit.iou_histogram.iter().sum::<usize>(), 60);
        assert_eq!((fit.per_class[0].name.as_str(), fit.per_class[0].boxes), ("leaf", 60));
        assert!(fit.shapes_mean_iou > 0.99);
        assert_eq!((fit.shapes[0].width.round(), fit.shapes[0].height.round()), (24.0, 120.0));
    }

    #[test]
    fn k_means_finds_the_shapes_that_boxes_were_made_from() {
        let shapes = [(10.0, 10.0), (40.0, 20.0), (60.0, 150.0)];
        let boxes: Vec<XyxyBox> = (0..90)
            .map(|i| {
                let (width, height) = shapes[i % 3];
                let wobble = 1.0 + 0.05 * ((i / 3) as f32 * 0.7).sin();
                at_origin(width * wobble, height / wobble)
            })
            .collect();
        let (found, mean) = k_means_shapes(&boxes, 3);
        assert!(mean > 0.93, "{mean}");
        for (shape, (width, height)) in found.iter().zip(shapes) {
            assert!((shape.width - width).abs() < 1.0 && (shape.height - height).abs() < 2.0, "{found:?}");
            assert!((shape.share - 1.0 / 3.0).abs() < 1e-9);
        }
        assert_eq!(k_means_shapes(&boxes[..2], 9).0.len(), 2);
    }

    #[test]
    fn a_data_set_without_boxes_is_an_error() {
        let error = fit_anchors(&dataset([]), &AnchorConfig::default(), SIZE).unwrap_err();
        assert!(error.to_string().contains("no boxes"), "{error}");
    }
}
