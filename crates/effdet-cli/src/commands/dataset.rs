//! `effdet dataset`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use effdet::data::statistics::{Distribution, Statistics};
use effdet::data::{
    Dataset, Dirt, DirtKind, DirtReport, LabelFormat, ParseOptions, Parsed, PictureCheck, Policies, Policy,
    Record,
};
use effdet::heads::AnchorScale;
use effdet::prelude::*;
use effdet::viz::{Page, Points, save_bars, save_histogram, save_scatter};
use effdet::{AnchorFit, Coverage, check_image_size, configuration_named, fit_anchors, read_labels};
use serde::Serialize;

use crate::args::DatasetArgs;
use crate::logging::{note, tell};
use crate::output::{self, JsonTarget, printable};
use crate::overwrite;

/// Some pictures could not be drawn.
const FAILED: u8 = 1;

/// What `--json` writes.
#[derive(Debug, Serialize)]
struct Report {
    root: PathBuf,
    format: String,
    #[serde(flatten)]
    statistics: Statistics,
    dirt: DirtCounts,
    #[serde(skip_serializing_if = "Option::is_none")]
    anchors: Option<ModelFit>,
}

#[derive(Debug, Serialize)]
struct DirtCounts {
    counts: BTreeMap<DirtKind, usize>,
    /// The first of each kind.
    occurrences: Vec<Dirt>,
}

#[derive(Debug, Serialize)]
struct ModelFit {
    model: String,
    #[serde(flatten)]
    fit: AnchorFit,
}

/// Shows what is in a data set.
pub fn run(args: &DatasetArgs) -> Result<ExitCode> {
    let inputs = [
        (args.annotations.as_deref(), "the file of --annotations"),
        (args.labels.as_deref(), "the file of --labels"),
    ];
    overwrite::refuse(&[("--json", args.json.as_deref())], inputs)?;
    let json = args.json.as_deref().map(|path| JsonTarget::new("--json", path)).transpose()?;
    let config = configuration_named(&args.model)?;
    let image_size = args.image_size.unwrap_or(config.image_size);
    check_image_size(image_size)?;

    let Parsed { dataset, dirt } = read(args)?;
    let statistics = Statistics::of(&dataset);
    let anchors = match fit_anchors(&dataset, &config.anchor_config(), image_size) {
        Ok(fit) => Some(ModelFit { model: config.name.clone(), fit }),
        // A data set of negatives.
        Err(effdet::Error::NoBoxes { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let counts = dirt.counts();
    let report = Report {
        root: args.data.clone(),
        format: args.format.to_string(),
        statistics,
        dirt: DirtCounts { counts, occurrences: dirt.occurrences.clone() },
        anchors,
    };
    let text = text(&report, &dirt, args.split.as_deref());
    if !matches!(json, Some(JsonTarget::Stdout)) {
        output::show(&text)?;
    }
    json.map_or(Ok(()), |json| json.write_if_read(&report))?;
    if let Some(folder) = &args.plots {
        plots(folder, &report, &dataset, &text)?;
    }
    let failed = match args.show {
        0 => 0,
        count => show(&show_folder(args), &dataset, count)?,
    };
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn read(args: &DatasetArgs) -> Result<Parsed> {
    let source = args.source()?;
    let options = ParseOptions {
        pixels: args.pixels.map(Into::into),
        classes: args.labels.as_deref().map(read_labels).transpose()?,
        // Everything that is wrong is to be counted, not only the first.
        policies: Policies::default().with(DirtKind::Malformed, Policy::Skip),
        pictures: PictureCheck::Header,
        ..ParseOptions::default()
    };
    let parsed = args.format.parse(&source, &options)?;
    if parsed.dataset.records.is_empty() {
        for dirt in parsed.dirt.occurrences.iter().take(EXAMPLES) {
            note!("{dirt}");
        }
        let split = args.split.as_ref().map_or_else(String::new, |split| format!(" in the split `{split}`"));
        bail!("{}: no labelled pictures{split}", args.data.display());
    }
    Ok(parsed)
}

/// Occurrences of a kind of dirt that the text shows.
const EXAMPLES: usize = 3;

fn text(report: &Report, dirt: &DirtReport, split: Option<&str>) -> String {
    let mut text = String::new();
    let statistics = &report.statistics;
    let _ = writeln!(
        text,
        "{} ({}{}): {} pictures, {} without objects; {} objects of {} classes, {} crowds or groups, {} difficult",
        report.root.display(),
        report.format,
        split.map_or_else(String::new, |split| format!(", {split}")),
        statistics.pictures,
        statistics.negatives,
        statistics.objects,
        statistics.classes.len(),
        statistics.crowds,
        statistics.difficult
    );
    for (name, split) in &statistics.splits {
        let _ = writeln!(
            text,
            "  split {}: {} pictures, {} without objects; {} objects",
            printable(name),
            split.pictures,
            split.negatives,
            split.objects
        );
    }
    class_table(&mut text, statistics);
    distribution_table(&mut text, statistics);
    let sizes = statistics.sizes;
    let _ = writeln!(
        text,
        "\nareas: {} small (below 32x32), {} medium, {} large (from 96x96)",
        sizes.small, sizes.medium, sizes.large
    );
    dirt_list(&mut text, dirt);
    if let Some(anchors) = &report.anchors {
        anchor_text(&mut text, anchors);
    }
    text
}

fn class_table(text: &mut String, statistics: &Statistics) {
    let widest = statistics.classes.iter().map(|class| class.name.chars().count()).max().unwrap_or(0).max(5);
    let mut head = format!("\n{:>5}  {:widest$} {:>9} {:>9}", "id", "class", "objects", "pictures");
    for split in statistics.splits.keys() {
        let _ = write!(head, " {:>9}", printable(split));
    }
    let _ = writeln!(text, "{head}");
    for class in &statistics.classes {
        let _ = write!(
            text,
            "{:>5}  {:widest$} {:>9} {:>9}",
            class.id,
            printable(&class.name),
            class.objects,
            class.pictures
        );
        for count in class.splits.values() {
            let _ = write!(text, " {count:>9}");
        }
        text.push('\n');
    }
}

fn distributions(statistics: &Statistics) -> [(&'static str, &'static str, Option<&Distribution>); 7] {
    [
        ("picture_width", "picture width", statistics.picture_width.as_ref()),
        ("picture_height", "picture height", statistics.picture_height.as_ref()),
        ("objects_per_picture", "objects per picture", statistics.objects_per_picture.as_ref()),
        ("box_width", "box width", statistics.box_width.as_ref()),
        ("box_height", "box height", statistics.box_height.as_ref()),
        ("aspect_ratio", "width / height", statistics.aspect_ratio.as_ref()),
        ("relative_area", "part of the picture", statistics.relative_area.as_ref()),
    ]
}

fn distribution_table(text: &mut String, statistics: &Statistics) {
    let names = ["min", "5 %", "25 %", "median", "75 %", "95 %", "max"].map(|name| format!("{name:>9}"));
    let _ = writeln!(text, "\n{:20}{}", "", names.concat());
    for (_, name, distribution) in distributions(statistics) {
        let Some(d) = distribution else { continue };
        let values = [d.min, d.p5, d.p25, d.median, d.p75, d.p95, d.max];
        let values = values.map(|value| match value {
            _ if value.fract() == 0.0 => format!("{value:>9.0}"),
            _ if value < 10.0 => format!("{value:>9.3}"),
            _ => format!("{value:>9.1}"),
        });
        let _ = writeln!(text, "{name:20}{}", values.concat());
    }
}

fn dirt_list(text: &mut String, dirt: &DirtReport) {
    let _ = writeln!(text, "\ndirt: {dirt}");
    for (kind, count) in dirt.counts() {
        for occurrence in dirt.of(kind).take(EXAMPLES) {
            let _ = writeln!(text, "  {}", printable(&occurrence.to_string()));
        }
        if count > EXAMPLES {
            let kept = match count > DirtReport::MAX_KEPT {
                true => format!("the first {} of all with --json", DirtReport::MAX_KEPT),
                false => "see --json".to_owned(),
            };
            let _ = writeln!(text, "  ... and {} more {kind}, {kept}", count - EXAMPLES);
        }
    }
}

fn anchor_text(text: &mut String, anchors: &ModelFit) {
    let ModelFit { model, fit } = anchors;
    let _ = writeln!(text, "\nanchors of {model} at {}, {} boxes:", fit.image_size, fit.boxes);
    let line = |text: &mut String, name: &str, coverage: &Coverage| {
        let scale = match &coverage.anchors.anchor_scale {
            AnchorScale::Uniform(scale) => scale.to_string(),
            AnchorScale::PerLevel(scales) => format!("{scales:?}"),
        };
        let ratios: Vec<String> =
            coverage.anchors.aspect_ratios.iter().map(|(w, h)| format!("({w}, {h})")).collect();
        let _ = writeln!(
            text,
            "  {name:9} mean best IoU {:.3}, {:5.1} % of the boxes above 0.5; anchor_scale {scale}, aspect_ratios {}",
            coverage.mean_iou,
            100.0 * coverage.covered,
            ratios.join(" ")
        );
    };
    line(text, "now:", &fit.current);
    match &fit.suggestion {
        Some(better) => line(text, "better:", better),
        None => text.push_str("  none of the same number fit better\n"),
    }
    let shapes: Vec<String> =
        fit.shapes.iter().map(|shape| format!("{:.0}x{:.0}", shape.width, shape.height)).collect();
    let _ = writeln!(
        text,
        "  k-means shapes (width x height in the network's input; mean IoU {:.3}): {}",
        fit.shapes_mean_iou,
        shapes.join(" ")
    );
    let mut worst: Vec<_> = fit.per_class.iter().collect();
    worst.sort_by(|a, b| a.covered.total_cmp(&b.covered));
    for class in worst.iter().take(5).filter(|class| class.covered < 0.95) {
        let _ = writeln!(
            text,
            "  least covered: {} ({} boxes): {:.1} %",
            printable(&class.name),
            class.boxes,
            100.0 * class.covered
        );
    }
}

/// Classes whose bars a chart can hold.
const BARS: usize = 60;
/// Boxes whose shapes a chart can hold.
const POINTS: usize = 3000;

fn plots(folder: &Path, report: &Report, dataset: &Dataset, text: &str) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut figures: Vec<(String, String)> = Vec::new();
    let mut classes: Vec<_> = report.statistics.classes.iter().collect();
    classes.sort_by_key(|class| std::cmp::Reverse(class.objects));
    let title = match classes.len() {
        n if n > BARS => format!("Objects per class, the first {BARS} of {n}"),
        _ => "Objects per class".to_owned(),
    };
    let bars: Vec<(String, f64)> =
        classes.iter().take(BARS).map(|class| (printable(&class.name), class.objects as f64)).collect();
    save_bars(folder.join("classes.svg"), &title, &bars)?;
    figures.push(("classes.svg".into(), title));
    for (file, name, distribution) in distributions(&report.statistics) {
        let Some(distribution) = distribution else { continue };
        let file = format!("{file}.svg");
        let title = format!("Distribution of {name}");
        save_histogram(folder.join(&file), &title, name, &distribution.edges, &distribution.counts)?;
        figures.push((file, title));
    }
    if let Some(ModelFit { model, fit }) = &report.anchors {
        let title = format!("IoU of the boxes with the best anchor of {model}");
        let edges: Vec<f32> = (0u8..=10).map(|edge| f32::from(edge) / 10.0).collect();
        save_histogram(folder.join("anchors.svg"), &title, "IoU", &edges, &fit.iou_histogram)?;
        figures.push(("anchors.svg".into(), title));
        let title = format!("Box shapes in the input of {model}, and their k-means");
        save_scatter(folder.join("shapes.svg"), &title, "width", "height", &shapes(dataset, fit))?;
        figures.push(("shapes.svg".into(), title));
    }
    if !report.dirt.counts.is_empty() {
        let bars: Vec<(String, f64)> =
            report.dirt.counts.iter().map(|(kind, count)| (kind.to_string(), *count as f64)).collect();
        save_bars(folder.join("dirt.svg"), "Dirt", &bars)?;
        figures.push(("dirt.svg".into(), "Dirt".into()));
    }
    let mut page = Page::new(
        &format!("Data set {}", report.root.display()),
        &format!("{} pictures, {} objects", report.statistics.pictures, report.statistics.objects),
    );
    page.preformatted(text);
    let figures: Vec<(PathBuf, &str)> =
        figures.iter().map(|(file, caption)| (folder.join(file), caption.as_str())).collect();
    page.figures(&figures)?;
    page.save(folder.join("index.html"))?;
    note!("wrote {}", folder.join("index.html").display());
    Ok(())
}

/// Sizes of an even sample of boxes, and of the k-means shapes.
fn shapes(dataset: &Dataset, fit: &AnchorFit) -> [Points; 2] {
    let sizes: Vec<(f64, f64)> = dataset
        .records
        .iter()
        .filter_map(|record| {
            let size = record.size?;
            let side = |target: usize, source: usize| target as f64 / source.max(1) as f64;
            let scale = side(fit.image_size.width, size.width).min(side(fit.image_size.height, size.height));
            Some((record, scale))
        })
        .flat_map(|(record, scale)| {
            let size =
                move |bbox: XyxyBox| (f64::from(bbox.width()) * scale, f64::from(bbox.height()) * scale);
            record.objects.iter().map(move |object| size(object.bbox))
        })
        .collect();
    let step = sizes.len().div_ceil(POINTS).max(1);
    let shapes = fit.shapes.iter().map(|shape| (f64::from(shape.width), f64::from(shape.height)));
    [
        Points { name: "boxes".into(), points: sizes.into_iter().step_by(step).collect(), radius: 2 },
        Points { name: "k-means".into(), points: shapes.collect(), radius: 6 },
    ]
}

fn show_folder(args: &DatasetArgs) -> PathBuf {
    let below_plots = || args.plots.as_ref().map(|folder| folder.join("pictures"));
    args.out.clone().or_else(below_plots).unwrap_or_else(|| PathBuf::from("effdet-dataset"))
}

/// Draws `count` pictures, evenly over the data set, with their boxes; how many failed.
fn show(folder: &Path, dataset: &Dataset, count: usize) -> Result<usize> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let count = count.min(dataset.records.len());
    let style = Style { scores: false, ..Style::default() };
    let mut failed = 0;
    for index in (0..count).map(|i| i * dataset.records.len() / count) {
        let record = &dataset.records[index];
        let mut picture = match decode_file(&record.path, &DecodeLimits::default()) {
            Ok(picture) => picture,
            Err(error) => {
                tell!("{}", crate::output::describe(&error.into()));
                failed += 1;
                continue;
            }
        };
        annotate(&mut picture, &labelled(record), &dataset.class_map, &style);
        let stem = record.path.file_stem().unwrap_or_default().to_string_lossy();
        // The index keeps pictures of the same name in different folders apart.
        let path = folder.join(format!("{index:06}_{stem}.png"));
        save_png(&path, &picture)?;
        note!("wrote {}", path.display());
    }
    Ok(failed)
}

fn labelled(record: &Record) -> Vec<Detection> {
    let objects = record.objects.iter();
    objects.map(|o| Detection { bbox: o.bbox, score: 1.0, class_id: o.class_id }).collect()
}
