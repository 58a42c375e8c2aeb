//! A model over a labelled data set.

use burn::module::Module;
use effdet_core::Detection;
use effdet_data::loader::Skipped;
use effdet_data::{Dataset, RecordId};
use effdet_metrics::{
    Annotation, BoxEdges, Category, CocoEvaluator, CocoParams, CocoReport, DetectionRecord, Detections,
    GroundTruth, Id,
};
use serde::{Deserialize, Serialize};

use crate::module::{StepContext, TrainModule};
use crate::state::any_number;
use crate::{DataLoader, DetectorModel, Error};

/// The labels of a data set as an evaluation takes them; a record's id is the image's, a class id the category's.
///
/// # Errors
/// For boxes that are not finite, which a data set read with the default policies has none of.
pub fn ground_truth(dataset: &Dataset) -> Result<GroundTruth, Error> {
    let images = dataset.records.iter().map(|record| image_id(&record.id));
    let categories = dataset.class_map.iter().map(|(id, name)| Category::new(id, name));
    let annotations = dataset.records.iter().flat_map(|record| {
        record.objects.iter().map(|object| Annotation {
            area: object.area.map(f64::from),
            is_crowd: object.is_crowd,
            ignore: object.is_difficult || object.is_ignored,
            is_group_of: object.is_group_of,
            ..Annotation::new(image_id(&record.id), object.class_id, BoxEdges::from(object.bbox))
        })
    });
    Ok(GroundTruth::new(images, categories, annotations)?)
}

/// What was found in each record of a data set, as an evaluation takes it.
pub fn detections(dataset: &Dataset, found: &[Vec<Detection>]) -> Detections {
    let mut all = Detections::new();
    for (record, detections) in dataset.records.iter().zip(found) {
        for detection in detections {
            all.push(DetectionRecord {
                image_id: image_id(&record.id),
                category_id: Id::from(detection.class_id),
                bbox: BoxEdges::from(detection.bbox),
                score: f64::from(detection.score),
            });
        }
    }
    all
}

/// Identity of a record in an evaluation.
pub fn image_id(id: &RecordId) -> Id {
    match id {
        RecordId::Number(number) => Id::from(*number),
        RecordId::Text(text) => Id::from(text.as_str()),
    }
}

/// A number with its name.
pub type NamedMetric = (String, f64);

/// A way to judge detections, besides COCO's.
pub trait Metric {
    /// The numbers, each with its name; larger should be better in the first.
    ///
    /// # Errors
    /// Whatever keeps it from judging.
    fn evaluate(&self, truth: &GroundTruth, detections: &Detections) -> Result<Vec<NamedMetric>, Error>;
}

/// The 12 numbers of COCO, under their names `AP`, `AP50`, ... `ARl`.
#[derive(Clone, Debug, Default)]
pub struct CocoMetric {
    /// How detections are judged.
    pub params: CocoParams,
}

impl Metric for CocoMetric {
    fn evaluate(&self, truth: &GroundTruth, detections: &Detections) -> Result<Vec<NamedMetric>, Error> {
        Ok(coco_numbers(&CocoEvaluator::new(truth, self.params.clone())?.evaluate(detections)?))
    }
}

/// COCO's 12 numbers under their names, AP first.
pub fn coco_numbers(report: &CocoReport) -> Vec<NamedMetric> {
    let metrics = &report.metrics;
    let short = |kind: &str, area: &str| format!("{kind}{}", area.chars().next().unwrap_or('_'));
    let mut numbers = vec![
        ("AP".to_owned(), metrics.ap),
        ("AP50".to_owned(), metrics.ap50),
        ("AP75".to_owned(), metrics.ap75),
    ];
    numbers.extend(metrics.ap_per_area.iter().map(|(area, value)| (short("AP", area), *value)));
    numbers.extend(metrics.ar.iter().map(|(limit, value)| (format!("AR{limit}"), *value)));
    numbers.extend(metrics.ar_per_area.iter().map(|(area, value)| (short("AR", area), *value)));
    numbers
}

/// Losses of an epoch or of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// What is minimised.
    #[serde(with = "any_number")]
    pub total: f64,
    /// The class loss.
    #[serde(with = "any_number")]
    pub class: f64,
    /// The box loss, without its weight.
    #[serde(with = "any_number")]
    pub boxes: f64,
}

/// A model's results on a data set.
#[derive(Debug, Default)]
pub struct Evaluation {
    /// Mean losses of the batches.
    pub losses: Losses,
    /// The numbers of all metrics.
    pub metrics: Vec<NamedMetric>,
    /// The detections of each record.
    pub detections: Vec<Vec<Detection>>,
    /// Pictures that could not be read; nothing was found in them.
    pub skipped: Vec<Skipped>,
}

/// Runs the validation step of `module` over all pictures of `loader` and judges the detections.
///
/// # Errors
/// If the device fails or a metric does, or a picture cannot be read and the loader's options say so.
pub fn evaluate(
    model: &DetectorModel,
    module: &mut dyn TrainModule,
    context: &StepContext<'_>,
    loader: &DataLoader,
    metrics: &[Box<dyn Metric>],
) -> Result<Evaluation, Error> {
    let network = model.network.valid();
    let dataset = loader.dataset();
    let mut found = vec![Vec::new(); dataset.records.len()];
    let (mut sums, mut batches, mut skipped) = (Losses::default(), 0.0, Vec::new());
    for batch in loader.loader().epoch(0) {
        let mut batch = batch?;
        skipped.append(&mut batch.skipped);
        if batch.is_empty() {
            continue;
        }
        let mut batch = model.batch(&batch)?;
        batch.pictures = batch.pictures.inner();
        let output = module.validation_step(model, &network, &batch, context)?;
        for (index, detections) in batch.indices.iter().zip(output.detections) {
            found[*index] = detections;
        }
        sums.total += output.losses.total;
        sums.class += output.losses.class;
        sums.boxes += output.losses.boxes;
        batches += 1.0;
    }
    let mean = |sum: f64| if batches > 0.0 { sum / batches } else { 0.0 };
    let truth = ground_truth(dataset)?;
    let all = detections(dataset, &found);
    let mut numbers = Vec::new();
    for metric in metrics {
        numbers.extend(metric.evaluate(&truth, &all)?);
    }
    Ok(Evaluation {
        losses: Losses { total: mean(sums.total), class: mean(sums.class), boxes: mean(sums.boxes) },
        metrics: numbers,
        detections: found,
        skipped,
    })
}
