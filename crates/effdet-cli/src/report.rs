//! The numbers of an evaluation: as a table, as JSON, as plots.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Result;
use effdet::metrics::{
    CocoEvaluator, CocoParams, CocoReport, DiagnosisOptions, Findings, Loaded, OpenImagesOptions,
    OpenImagesReport, VerifiedLabels, VocOptions, VocReport, evaluate_openimages, evaluate_voc,
};
use effdet::train::{ClassNumber, ClassTable, NamedMetric, Report, RunFiles, save_diagnosis, save_report};
use serde::Serialize;

use crate::args::Metric;
use crate::logging::{self, note};
use crate::output::{JsonTarget, printable, show};

/// How an evaluation counts.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub metric: Metric,
    pub iou: Option<f32>,
    pub voc: VocOptions,
}

/// The numbers of any metric.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Numbers {
    Coco(Box<CocoReport>),
    Voc(VocReport),
    OpenImages(OpenImagesReport),
}

/// 0.3 is meant as the decimal it was typed as, not as its nearest single-precision number.
fn as_typed(iou: Option<f32>) -> Result<Option<f64>> {
    Ok(iou.map(|iou| iou.to_string().parse::<f64>()).transpose()?)
}

/// Measures.
pub fn measure(loaded: &Loaded, settings: Settings, verified: Option<&VerifiedLabels>) -> Result<Numbers> {
    let Loaded { truth, detections } = loaded;
    let iou = as_typed(settings.iou)?;
    Ok(match settings.metric {
        Metric::Coco => {
            let params = iou.map_or_else(CocoParams::default, CocoParams::at_iou);
            Numbers::Coco(Box::new(CocoEvaluator::new(truth, params)?.evaluate(detections)?))
        }
        Metric::Voc => {
            let options = VocOptions { iou: iou.unwrap_or(settings.voc.iou), ..settings.voc };
            Numbers::Voc(evaluate_voc(truth, detections, options)?)
        }
        Metric::Openimages => {
            let defaults = OpenImagesOptions::default();
            // Verified labels belong to the Challenge metric, which counts groups.
            let group_of_weight = if verified.is_some() { 1.0 } else { defaults.group_of_weight };
            let options = OpenImagesOptions { iou: iou.unwrap_or(defaults.iou), group_of_weight };
            Numbers::OpenImages(evaluate_openimages(truth, detections, options, verified)?)
        }
    })
}

impl Numbers {
    fn findings(&self) -> &Findings {
        match self {
            Self::Coco(report) => &report.findings,
            Self::Voc(report) => &report.findings,
            Self::OpenImages(report) => &report.findings,
        }
    }

    /// Whether the metric leaves out objects marked to be ignored and groups.
    fn ignores_objects(&self) -> bool {
        match self {
            Self::Coco(_) => false,
            Self::Voc(report) => !report.options.use_difficult,
            Self::OpenImages(_) => true,
        }
    }

    fn table(&self) -> String {
        match self {
            Self::Coco(report) => report.table(),
            Self::Voc(report) => {
                classes(report.mean_ap, report.per_class.iter().map(|c| (c.name.as_str(), c.ap)))
            }
            Self::OpenImages(report) => {
                classes(report.mean_ap, report.per_class.iter().map(|c| (c.name.as_str(), c.ap)))
            }
        }
    }

    /// The numbers of all classes together.
    fn headline(&self) -> Vec<NamedMetric> {
        match self {
            Self::Coco(report) => effdet::train::coco_numbers(report),
            Self::Voc(report) => vec![("mAP".to_owned(), report.mean_ap)],
            Self::OpenImages(report) => vec![("mAP".to_owned(), report.mean_ap)],
        }
    }

    /// The numbers of each class.
    fn classes(&self) -> ClassTable {
        let row = |name: &str, ap| (name.to_owned(), vec![ClassNumber::Metric(ap)]);
        let rows = match self {
            Self::Coco(report) => return ClassTable::coco(report),
            Self::Voc(report) => report.per_class.iter().map(|c| row(&c.name, c.ap)).collect(),
            Self::OpenImages(report) => report.per_class.iter().map(|c| row(&c.name, c.ap)).collect(),
        };
        ClassTable { columns: vec!["AP".to_owned()], rows }
    }

    /// Shows what was odd in the input and, unless standard output is for other results, the table; writes the JSON.
    pub fn publish(&self, json: Option<&JsonTarget>, shows_table: bool) -> Result<()> {
        if !logging::is_quiet() {
            // Its lines end themselves; that nobody reads them is no reason to stop.
            let _ = write!(io::stderr(), "{}", self.findings());
        }
        if shows_table {
            show(self.table())?;
        }
        json.map_or(Ok(()), |json| json.write_if_read(self))
    }
}

fn classes<'a>(mean: f64, classes: impl Iterator<Item = (&'a str, f64)>) -> String {
    let mut table = String::new();
    for (name, ap) in classes {
        let _ = writeln!(table, "{ap:7.4}  {}", printable(name));
    }
    let _ = writeln!(table, "{mean:7.4}  mean average precision");
    table
}

/// What a page says besides the numbers.
#[derive(Debug, Default)]
pub struct Subject {
    pub title: String,
    pub facts: Vec<(String, String)>,
    pub pictures: Vec<(PathBuf, String)>,
    pub configuration: Option<String>,
}

/// Writes the curves, the confusion matrix, as JSON all of the diagnosis, and `report.html` that shows it.
pub fn plots(
    folder: &Path,
    loaded: &Loaded,
    numbers: &Numbers,
    iou: Option<f32>,
    subject: Subject,
) -> Result<()> {
    let mut options = DiagnosisOptions::default().with_ignore_flag(numbers.ignores_objects());
    if let Some(iou) = as_typed(iou)? {
        options = options.with_iou(iou);
    }
    let diagnosis = save_diagnosis(folder, loaded, options)?;
    let path = folder.join("diagnosis.json");
    JsonTarget::new("--plots", &path)?.write(&diagnosis)?;
    let Subject { title, facts, pictures, configuration } = subject;
    let report = Report {
        title,
        numbers: numbers.headline(),
        facts,
        pictures,
        classes: Some(numbers.classes()),
        diagnosis: Some(&diagnosis),
        configuration,
        ..Report::default()
    };
    let page = folder.join(RunFiles::REPORT);
    save_report(&page, folder, &report)?;
    note!("wrote {}", page.display());
    Ok(())
}
