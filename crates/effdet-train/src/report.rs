//! A run or an evaluation as one page to look at.

use std::path::{Path, PathBuf};

use effdet_metrics::{CocoReport, Diagnosis, ErrorBreakdown};
use effdet_viz::Page;

use crate::plots::{CONFUSION, F1, LOSS, METRICS, PRECISION_RECALL};
use crate::{EpochRecord, Error, NamedMetric};

/// What a page tells. What is empty or absent is left out.
#[derive(Clone, Debug, Default)]
pub struct Report<'a> {
    /// What was trained or evaluated.
    pub title: String,
    /// A line about it.
    pub lead: String,
    /// The numbers that matter most.
    pub numbers: Vec<NamedMetric>,
    /// What belongs to them: model, data, sizes.
    pub facts: Vec<(String, String)>,
    /// Pictures, each with what it shows.
    pub pictures: Vec<(PathBuf, String)>,
    /// The epochs.
    pub history: &'a [EpochRecord],
    /// Each class.
    pub classes: Option<ClassTable>,
    /// Where the detector errs.
    pub diagnosis: Option<&'a Diagnosis>,
    /// The settings.
    pub configuration: Option<String>,
}

/// Numbers of each class.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassTable {
    /// What the numbers are.
    pub columns: Vec<String>,
    /// The classes by name.
    pub rows: Vec<(String, Vec<ClassNumber>)>,
}

/// A number of a class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ClassNumber {
    /// So many.
    Count(usize),
    /// Between 0 and 1; COCO's -1 and what is not finite, for a class without objects, is shown as `-`.
    Metric(f64),
}

impl std::fmt::Display for ClassNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Metric(value) if value >= 0.0 => f.write_str(&decimal(value, 3)),
            Self::Metric(_) => f.write_str("-"),
        }
    }
}

impl ClassTable {
    /// Objects and COCO's averages of each class.
    pub fn coco(report: &CocoReport) -> Self {
        let columns = ["objects", "AP", "AP50", "AP75"].map(str::to_owned).to_vec();
        let rows = report.per_class.iter().map(|class| {
            let metrics = [class.metrics.ap, class.metrics.ap50, class.metrics.ap75];
            let objects = ClassNumber::Count(class.ground_truth);
            let numbers = [objects].into_iter().chain(metrics.map(ClassNumber::Metric));
            (class.name.clone(), numbers.collect())
        });
        Self { columns, rows: rows.collect() }
    }
}

/// Writes a page that opens from the disk, with the charts that are in the folder `plots`.
///
/// # Errors
/// If a figure cannot be read or the page cannot be written.
pub fn save_report(path: &Path, plots: &Path, report: &Report<'_>) -> Result<(), Error> {
    let mut page = Page::new(&report.title, &report.lead);
    page.tiles(report.numbers.iter().map(|(name, value)| (name.as_str(), decimal(*value, 3))));
    page.facts(report.facts.iter().map(|(name, value)| (name.as_str(), value.clone())));
    if !report.pictures.is_empty() {
        page.heading("Truth and prediction");
    }
    for (path, caption) in &report.pictures {
        page.paragraph(caption);
        page.figures(&[(path, "")])?;
    }
    let figures = |page: &mut Page, figures: &[(&str, &str)]| {
        let there: Vec<_> = figures
            .iter()
            .map(|(file, caption)| (plots.join(file), *caption))
            .filter(|(path, _)| path.exists())
            .collect();
        if there.is_empty() { Ok(()) } else { page.figures(&there) }
    };
    if !report.history.is_empty() {
        page.heading("Training");
        figures(
            &mut page,
            &[(LOSS, "Mean loss of each epoch"), (METRICS, "Average precision after each epoch")],
        )?;
        epochs(&mut page, report.history);
    }
    if report.diagnosis.is_some() {
        page.heading("Detections");
    }
    let caption = |text: &str, iou: fn(&Diagnosis) -> f64| match report.diagnosis {
        Some(diagnosis) => format!("{text} at IoU {}", iou(diagnosis)),
        None => text.to_owned(),
    };
    let precision_recall = caption("Precision over recall", |diagnosis| diagnosis.curves.options.iou);
    let f1 = caption("F1 over the score threshold", |diagnosis| diagnosis.curves.options.iou);
    let confusion = caption("Which classes are taken for which", |diagnosis| diagnosis.confusion.options.iou);
    let charts =
        [(PRECISION_RECALL, precision_recall.as_str()), (F1, f1.as_str()), (CONFUSION, confusion.as_str())];
    figures(&mut page, &charts)?;
    if let Some(diagnosis) = report.diagnosis {
        thresholds(&mut page, diagnosis);
        errors(&mut page, &diagnosis.errors);
    }
    if let Some(classes) = &report.classes {
        page.heading("Classes");
        let columns: Vec<&str> =
            ["class"].into_iter().chain(classes.columns.iter().map(String::as_str)).collect();
        let rows: Vec<Vec<String>> = classes
            .rows
            .iter()
            .map(|(name, numbers)| {
                [name.clone()].into_iter().chain(numbers.iter().map(ClassNumber::to_string)).collect()
            })
            .collect();
        page.table(&columns, &rows);
    }
    if let Some(configuration) = &report.configuration {
        page.heading("Configuration");
        page.folded("all settings", configuration);
    }
    Ok(page.save(path)?)
}

/// The table of epochs, with the metrics that most evaluations have.
fn epochs(page: &mut Page, history: &[EpochRecord]) {
    let metrics = ["AP", "AP50", "AP75"];
    let columns = ["epoch", "steps", "rate", "loss", "class loss", "box loss", "validation loss"];
    let columns: Vec<&str> = columns.into_iter().chain(metrics).collect();
    let optional = |value: Option<f64>, digits| value.map_or_else(|| "-".to_owned(), |v| decimal(v, digits));
    let rows: Vec<Vec<String>> = history
        .iter()
        .map(|record| {
            let mut row = vec![
                record.epoch.to_string(),
                record.step.to_string(),
                format!("{:.2e}", record.lr),
                decimal(record.train.total, 4),
                decimal(record.train.class, 4),
                decimal(record.train.boxes, 5),
                optional(record.valid.map(|valid| valid.total), 4),
            ];
            row.extend(metrics.map(|name| optional(record.metric(name), 3)));
            row
        })
        .collect();
    page.table(&columns, &rows);
}

/// From which score on detections of each class are best kept.
fn thresholds(page: &mut Page, diagnosis: &Diagnosis) {
    let curves = &diagnosis.curves;
    let rows: Vec<Vec<String>> = [&curves.all]
        .into_iter()
        .chain(&curves.per_class)
        .filter_map(|curve| {
            let best = curve.best?;
            let numbers = [best.score, best.precision, best.recall, best.f1].map(|value| decimal(value, 3));
            Some([curve.name.clone()].into_iter().chain(numbers).collect())
        })
        .collect();
    if !rows.is_empty() {
        page.paragraph(&format!("The score threshold with the highest F1, at IoU {}:", curves.options.iou));
        page.table(&["class", "score", "precision", "recall", "F1"], &rows);
    }
}

/// How many errors of each kind there are, and how much each kind costs.
fn errors(page: &mut Page, errors: &ErrorBreakdown) {
    let (counts, gains) = (errors.counts, errors.delta_ap);
    let kinds = [
        ("localisation", counts.localisation, gains.localisation),
        ("class", counts.class, gains.class),
        ("duplicate", counts.duplicate, gains.duplicate),
        ("background", counts.background, gains.background),
        ("both", counts.both, gains.both),
        ("missed", counts.missed, gains.missed),
    ];
    let row =
        |(kind, count, gain): (&str, usize, f64)| vec![kind.to_owned(), count.to_string(), decimal(gain, 3)];
    let iou = errors.options.iou;
    page.paragraph(&format!(
        "The errors by kind, and by how much the AP at IoU {iou} would rise if one kind were mended \
         (both: class and place are wrong):"
    ));
    page.table(&["error", "count", "AP gained"], &kinds.map(row));
}

fn decimal(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { "-".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Losses;

    #[test]
    fn a_page_has_what_there_is_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (plots, path) = (folder.path().join("plots"), folder.path().join("report.html"));
        save_report(&path, &plots, &Report { title: "Nothing".into(), ..Report::default() }).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("Nothing") && !text.contains("<h2>"), "{text}");

        std::fs::create_dir(&plots).unwrap();
        std::fs::write(plots.join(LOSS), "<svg/>").unwrap();
        let train = Losses { total: 1.25, class: 0.75, boxes: 0.01 };
        let record =
            EpochRecord { epoch: 3, train, metrics: vec![("AP".into(), 0.4321)], ..EpochRecord::default() };
        let classes = ClassTable {
            columns: vec!["objects".into(), "AP".into()],
            rows: vec![
                ("cat".into(), vec![ClassNumber::Count(1), ClassNumber::Metric(0.5)]),
                ("dog".into(), vec![ClassNumber::Count(0), ClassNumber::Metric(-1.0)]),
            ],
        };
        let report = Report {
            numbers: vec![("AP".into(), 0.4321)],
            facts: vec![("model".into(), "tiny".into())],
            history: &[record],
            classes: Some(classes),
            configuration: Some("epochs = 3".into()),
            ..Report::default()
        };
        save_report(&path, &plots, &report).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for part in [
            "0.432",
            "tiny",
            "id=\"loss.svg\"",
            "1.2500",
            "<td>cat</td><td>1</td><td>0.500</td>",
            "epochs = 3",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("<td>dog</td><td>0</td><td>-</td>") && !text.contains("confusion.svg"));
    }
}
