//! A model over a labelled data set.

use burn::module::Module;
use effdet_core::Detection;
use effdet_data::loader::Skipped;
use effdet_data::{Dataset, RecordId};
use effdet_heads::{DetectionLoss, Normalizer};
use effdet_metrics::{
    Annotation, BoxEdges, Category, CocoEvaluator, CocoParams, CocoReport, DetectionRecord, Detections,
    GroundTruth, Id,
};
use serde::{Deserialize, Serialize};

use crate::module::{StepContext, TrainModule};
use crate::parameters::assign;
use crate::state::any_number;
use crate::{DataLoader, DetectorModel, Ema, Error, TrainConfig};

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

/// Identity of a record in an evaluation. A text stays one: `1` and `001` are two pictures.
pub fn image_id(id: &RecordId) -> Id {
    match id {
        RecordId::Number(number) => Id::from(*number),
        RecordId::Text(text) => Id::Text(text.as_str().into()),
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
    let mut epoch = loader.loader().epoch(0);
    for batch in epoch.by_ref() {
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
    skipped.append(&mut epoch.take_skipped_at_end());
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

/// [`evaluate`] as settings have it: with their least score, and of the averages where there are some. The model is put
/// back.
pub(crate) fn evaluate_as_set(
    model: &mut DetectorModel,
    module: &mut dyn TrainModule,
    config: &TrainConfig,
    criterion: &DetectionLoss,
    averages: Option<&Ema>,
    loader: &DataLoader,
    metrics: &[Box<dyn Metric>],
) -> Result<Evaluation, Error> {
    let (training, decode) = (model.network.clone(), model.config().decode);
    if let Some(averages) = averages {
        model.network = assign(training.clone(), averages.values.clone());
    }
    model.config_mut().decode.score_threshold = config.score_threshold;
    let context = StepContext { config, criterion, normalizer: &mut Normalizer::default() };
    let result = evaluate(model, module, &context, loader, metrics);
    model.network = training;
    model.config_mut().decode = decode;
    result
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use effdet_core::{ClassMap, XyxyBox};
    use effdet_data::{Object, Record};

    use super::*;

    #[test]
    fn pictures_called_1_and_001_are_two() {
        let boxes = [XyxyBox::new(0.0, 0.0, 40.0, 40.0), XyxyBox::new(50.0, 50.0, 90.0, 90.0)];
        let records = ["1", "001"].into_iter().zip(boxes).map(|(stem, bbox)| Record {
            id: RecordId::from(stem),
            path: PathBuf::from(stem).with_extension("jpg"),
            size: None,
            objects: vec![Object { bbox, class_id: 1, ..Object::default() }],
        });
        let class_map = ClassMap::from_names(["cat"]).unwrap();
        let dataset = Dataset { records: records.collect(), class_map, ..Dataset::default() };
        let truth = ground_truth(&dataset).unwrap();
        assert_eq!(truth.images().len(), 2);
        // Each picture's box, found in the other one.
        let found = [boxes[1], boxes[0]].map(|bbox| vec![Detection { bbox, score: 0.9, class_id: 1 }]);
        let numbers = CocoMetric::default().evaluate(&truth, &detections(&dataset, &found)).unwrap();
        assert_eq!((numbers[0].0.as_str(), numbers[0].1), ("AP", 0.0));
    }
}
