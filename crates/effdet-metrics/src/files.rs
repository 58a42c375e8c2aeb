//! From paths to reports, one function per format.

use std::path::{Path, PathBuf};

use effdet_core::ClassMap;
use serde::Serialize;

use crate::{
    CocoEvaluator, CocoParams, CocoReport, ConfusionMatrix, ConfusionOptions, CurveOptions, Detections,
    Error, ErrorBreakdown, ErrorOptions, GroundTruth, Hierarchy, OpenImagesOptions, OpenImagesReport,
    ScoreCurves, VerifiedLabels, VocOptions, VocReport, confusion_matrix, error_breakdown,
    evaluate_openimages, evaluate_voc, score_curves,
};

/// A ground truth and the detections to be measured against it.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// What is there.
    pub truth: GroundTruth,
    /// What was found.
    pub detections: Detections,
}

/// Reads a COCO instances file and a results file.
///
/// # Errors
/// See [`GroundTruth::from_coco`] and [`Detections::from_coco`].
pub fn load_coco(truth: &Path, detections: &Path) -> Result<Loaded, Error> {
    Ok(Loaded { truth: GroundTruth::from_coco(truth)?, detections: Detections::from_coco(detections)? })
}

/// Evaluates a COCO results file against an instances file.
///
/// # Errors
/// See [`load_coco`] and [`CocoEvaluator::new`].
pub fn coco_from_files(truth: &Path, detections: &Path, params: CocoParams) -> Result<CocoReport, Error> {
    let Loaded { truth, detections } = load_coco(truth, detections)?;
    CocoEvaluator::new(&truth, params)?.evaluate(&detections)
}

/// Reads VOC annotations (a folder of XML, a VOC folder or a split file) and detections (a results JSON, or a
/// folder with one text file per class). In a results JSON image ids are the names of the pictures without their
/// ending (or with it), and category ids those of [`GroundTruth::from_voc`] (or the names).
///
/// VOC counts pixels from 1, and so do the text files. A results JSON is COCO's, which begins at 0, with
/// `[xmin - 1, ymin - 1, xmax - xmin, ymax - ymin]` for a VOC box (what effdet's detectors learn and
/// `effdet val --detections` writes): its boxes are moved by one pixel.
///
/// # Errors
/// See [`GroundTruth::from_voc`], [`Detections::from_voc`] and [`Detections::from_coco`].
pub fn load_voc(truth: &Path, detections: &Path, classes: Option<&ClassMap>) -> Result<Loaded, Error> {
    let truth = GroundTruth::from_voc(truth, classes)?;
    let detections = if detections.is_dir() {
        Detections::from_voc(detections, &truth)?
    } else {
        let mut detections = Detections::from_coco(detections)?;
        detections.translate(1.0);
        detections.adapt_ids(&truth);
        detections
    };
    Ok(Loaded { truth, detections })
}

/// Evaluates detections against VOC annotations.
///
/// # Errors
/// See [`load_voc`] and [`evaluate_voc`].
pub fn voc_from_files(
    truth: &Path,
    detections: &Path,
    classes: Option<&ClassMap>,
    options: VocOptions,
) -> Result<VocReport, Error> {
    let Loaded { truth, detections } = load_voc(truth, detections, classes)?;
    evaluate_voc(&truth, &detections, options)
}

/// The files beside boxes and detections that an OpenImages evaluation may use.
#[derive(Debug, Clone, Default)]
pub struct OpenImagesFiles {
    /// CSV of labels and their names.
    pub classes: Option<PathBuf>,
    /// JSON of the label hierarchy; boxes are then labelled with all ancestors too.
    pub hierarchy: Option<PathBuf>,
    /// CSV of verified image-level labels (Challenge).
    pub image_labels: Option<PathBuf>,
}

/// Reads OpenImages boxes and detections, expands the boxes by the hierarchy, and reads the verified labels.
///
/// # Errors
/// See [`GroundTruth::from_openimages`], [`Detections::from_openimages`], [`Hierarchy::from_path`] and
/// [`VerifiedLabels::from_path`].
pub fn load_openimages(
    truth: &Path,
    detections: &Path,
    files: &OpenImagesFiles,
) -> Result<(Loaded, Option<VerifiedLabels>), Error> {
    let hierarchy = files.hierarchy.as_ref().map(Hierarchy::from_path).transpose()?;
    let image_labels = files.image_labels.as_ref();
    let verified =
        image_labels.map(|path| VerifiedLabels::from_path(path, hierarchy.as_ref())).transpose()?;
    let mut truth =
        GroundTruth::from_openimages(truth, files.classes.as_deref(), hierarchy.as_ref(), verified.as_ref())?;
    if let Some(hierarchy) = &hierarchy {
        truth = hierarchy.expand(&truth)?;
    }
    Ok((Loaded { truth, detections: Detections::from_openimages(detections)? }, verified))
}

/// Evaluates a CSV file of detections against one of OpenImages boxes.
///
/// # Errors
/// See [`load_openimages`] and [`evaluate_openimages`].
pub fn openimages_from_files(
    truth: &Path,
    detections: &Path,
    files: &OpenImagesFiles,
    options: OpenImagesOptions,
) -> Result<OpenImagesReport, Error> {
    let (Loaded { truth, detections }, verified) = load_openimages(truth, detections, files)?;
    evaluate_openimages(&truth, &detections, options, verified.as_ref())
}

/// What [`diagnose`] looks at.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DiagnosisOptions {
    /// Of the confusion matrix.
    pub confusion: ConfusionOptions,
    /// Of the curves.
    pub curves: CurveOptions,
    /// Of the error breakdown.
    pub errors: ErrorOptions,
}

impl DiagnosisOptions {
    /// Sets `use_ignore_flag` of all three: objects marked to be ignored and group-of boxes do not count, as in the
    /// metrics of VOC and OpenImages.
    pub fn with_ignore_flag(mut self, use_ignore_flag: bool) -> Self {
        self.confusion.use_ignore_flag = use_ignore_flag;
        self.curves.use_ignore_flag = use_ignore_flag;
        self.errors.use_ignore_flag = use_ignore_flag;
        self
    }

    /// Sets `iou` of all three, and lowers `background_iou` to it where that is above.
    pub fn with_iou(mut self, iou: f64) -> Self {
        self.confusion.iou = iou;
        self.curves.iou = iou;
        self.errors.iou = iou;
        self.errors.background_iou = self.errors.background_iou.min(iou);
        self
    }
}

/// Where a detector errs, of any format.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    /// Which classes are taken for which.
    pub confusion: ConfusionMatrix,
    /// Precision, recall and F1 by score threshold.
    pub curves: ScoreCurves,
    /// Errors by kind.
    pub errors: ErrorBreakdown,
}

/// The confusion matrix, the curves and the error breakdown in one.
///
/// # Errors
/// See [`confusion_matrix`], [`score_curves`] and [`error_breakdown`].
pub fn diagnose(loaded: &Loaded, options: DiagnosisOptions) -> Result<Diagnosis, Error> {
    let Loaded { truth, detections } = loaded;
    Ok(Diagnosis {
        confusion: confusion_matrix(truth, detections, options.confusion)?,
        curves: score_curves(truth, detections, options.curves)?,
        errors: error_breakdown(truth, detections, options.errors)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Annotation, BoxEdges, Category, DetectionRecord, ErrorCounts};

    #[test]
    fn with_the_ignore_flag_neither_difficult_objects_nor_groups_count() {
        let at = |x: f64, width: f64| BoxEdges::from_xywh([x, 0.0, width, 10.0]);
        let object = |bbox| Annotation::new(1i64, 1i64, bbox);
        let difficult = Annotation { ignore: true, ..object(at(100.0, 10.0)) };
        let group = Annotation { is_group_of: true, ..object(at(200.0, 100.0)) };
        let objects = [object(at(0.0, 10.0)), difficult, group];
        let truth = GroundTruth::new([1i64.into()], [Category::new(1i64, "cat")], objects).unwrap();
        let mut detections = Detections::new();
        // The object, the difficult one twice, two parts of the group.
        for (x, score) in [(0.0, 0.9), (100.0, 0.8), (100.0, 0.7), (210.0, 0.6), (230.0, 0.5)] {
            let (image_id, category_id) = (1i64.into(), 1i64.into());
            detections.push(DetectionRecord { image_id, category_id, bbox: at(x, 10.0), score });
        }
        let loaded = Loaded { truth, detections };
        let coco = diagnose(&loaded, DiagnosisOptions::default()).unwrap();
        assert_eq!(coco.curves.all.ground_truth, 3);
        assert_eq!(coco.confusion.counts, [[2, 1], [3, 0]]);
        let voc = diagnose(&loaded, DiagnosisOptions::default().with_ignore_flag(true)).unwrap();
        assert_eq!((voc.curves.all.ground_truth, &voc.curves.all.precision[..]), (1, &[1.0][..]));
        assert_eq!(voc.errors.counts, ErrorCounts::default());
        assert!((voc.errors.ap - 1.0).abs() < 1e-12);
        assert_eq!(voc.confusion.counts, [[1, 0], [0, 0]]);
    }

    #[test]
    fn one_iou_holds_for_all_of_the_diagnosis() {
        for (iou, background) in [(0.75, 0.1), (0.05, 0.05), (0.0, 0.0)] {
            let options = DiagnosisOptions::default().with_iou(iou);
            let diagnosis = diagnose(&Loaded::default(), options).unwrap();
            let (confusion, curves) = (diagnosis.confusion.options.iou, diagnosis.curves.options.iou);
            let errors = diagnosis.errors.options;
            assert_eq!([confusion, curves, errors.iou, errors.background_iou], [iou, iou, iou, background]);
        }
    }

    #[test]
    fn a_least_score_that_is_no_number_is_refused() {
        let mut options = DiagnosisOptions::default();
        options.confusion.score = f64::NAN;
        let error = diagnose(&Loaded::default(), options).unwrap_err();
        assert_eq!(error.to_string(), "score: is NaN");
    }
}
