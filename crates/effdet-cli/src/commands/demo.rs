//! `effdet demo`.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use effdet::data::{Dataset, Format, LabelFormat, ParseOptions, Source};
use effdet::metrics::{CocoEvaluator, CocoParams, CocoReport, DiagnosisOptions, Loaded};
use effdet::prelude::*;
use effdet::train::{
    Augment, Callback, ClassNumber, ClassTable, CocoMetric, Control, DataConfig, DefaultModule, Ending,
    Engine, Event, Layer, Metric, Prepared, Recipe as TrainRecipe, Report, RunConfig, RunFiles, Session,
    save_diagnosis, save_history, save_report,
};
use effdet::validate::{self, Found};
use effdet::viz::{grid, save_jpeg};

use super::train::{Report as Progress, quoted, stop_on_interrupt, write_config};
use crate::args::DemoArgs;
use crate::detector;
use crate::interrupt::INTERRUPTED;
use crate::logging::note;
use crate::scenes::{self, KNOWN, Recipe, SHAPES};

/// A small detector of the first six shapes; assets/README.md says how it was made.
const WEIGHTS: &[u8] = include_bytes!("../../assets/demo.safetensors");

/// Names below the demo's folder.
const DATA: &str = "data";
const START: &str = "start.safetensors";
const RUN: &str = "run";
const PLOTS: &str = "plots";
const PICTURES: &str = "pictures";
const SCENES: &str = "scenes.jpg";

const BATCH: usize = 8;
const RATE: f64 = 4e-3;
/// Shares of it for backbone, feature network and heads: two minutes are too short to learn features anew.
const SHARES: [f64; 3] = [0.1, 0.3, 1.0];
/// Pictures that are kept with their boxes, and how many of them are in the report.
const SHOWN: usize = 12;
const ROWS: usize = 6;
/// Least score of a box that is drawn.
const SCORE: f32 = 0.3;
/// Steps that are made to learn how long one takes, after those that warm up.
const TIMED: u64 = 4;
const WARM_UP: u64 = 2;
/// The most epochs that are worth it.
const MOST_EPOCHS: u64 = 40;
/// A run that takes this many times the time it was given is ended.
const PATIENCE: f64 = 1.5;

/// Shows everything once.
pub fn run(args: &DemoArgs) -> Result<ExitCode> {
    detector::size_thread_pool(args.threads)?;
    let out = folder(args.out.as_deref())?;
    let (train, val) = if args.quick { (16, 6) } else { (1440, 60) };
    let recipe = Recipe {
        seed: args.seed.into(),
        train: args.train_pictures.unwrap_or(train),
        val: args.val_pictures.unwrap_or(val),
        classes: args.classes.into(),
    };
    let root = if args.data_only { out.clone() } else { out.join(DATA) };
    let started = Instant::now();
    scenes::write(&root, recipe)?;
    note!(
        "rendered {} pictures to train and {} to validate in {:.1} s: {}",
        recipe.train,
        recipe.val,
        started.elapsed().as_secs_f64(),
        root.display()
    );
    if args.data_only {
        return Ok(ExitCode::SUCCESS);
    }

    let start = out.join(START);
    fs::write(&start, WEIGHTS).with_context(|| format!("cannot write {}", start.display()))?;
    let source = Source::new(&root).with_split("val");
    let dataset = Format::Coco.parse(&source, &ParseOptions::default())?.dataset;
    let known: Vec<&str> = SHAPES[..KNOWN].iter().map(|shape| shape.name).collect();
    let new: Vec<&str> = SHAPES[KNOWN..].iter().map(|shape| shape.name).collect();
    note!(
        "\nthe detector in the binary ({:.1} MB) knows {}; it has never seen {}",
        WEIGHTS.len() as f64 / 1e6,
        known.join(", "),
        new.join(", ")
    );
    let before = Side::new(&start, &dataset)?;
    before.tell(&dataset);
    let ending = fine_tune(args, &out, &root, &start)?;

    let best = [RunFiles::BEST, RunFiles::LAST].map(|name| out.join(RUN).join(name));
    let weights = best.iter().find(|path| path.exists()).unwrap_or(&best[1]);
    note!("\nthe fine-tuned detector, {}:", weights.display());
    let after = Side::new(weights, &dataset)?;
    after.tell(&dataset);
    show(&out, &dataset, &before, &after)?;
    page(args, &out, recipe, &dataset, &before, &after, &ending)?;
    io::stdout().write_all(next_steps(&out, weights).as_bytes())?;
    Ok(if ending.ending == Ending::Interrupted && !ending.late {
        ExitCode::from(INTERRUPTED)
    } else {
        ExitCode::SUCCESS
    })
}

/// The folder asked for, which must be new or empty, or one with a free name.
fn folder(asked: Option<&Path>) -> Result<PathBuf> {
    let is_free =
        |path: &Path| fs::read_dir(path).map_or(!path.exists(), |mut entries| entries.next().is_none());
    let Some(path) = asked else {
        let name =
            |n: u32| PathBuf::from(if n == 1 { "effdet-demo".to_owned() } else { format!("effdet-demo{n}") });
        return Ok((1..).map(name).find(|path| is_free(path)).unwrap_or_else(|| name(1)));
    };
    if !is_free(path) {
        bail!("--out {}: there is something already; name a new or empty folder", path.display());
    }
    Ok(path.to_owned())
}

/// What one detector makes of the validation pictures.
struct Side {
    found: Found,
    numbers: CocoReport,
    loaded: Loaded,
    seconds: f64,
}

impl Side {
    fn new(weights: &Path, dataset: &Dataset) -> Result<Self> {
        // As `effdet val` does, all detections that an evaluation asks for.
        let decode = DecodeConfig { score_threshold: 0.001, ..DecodeConfig::default() };
        let options = DetectorOptions { decode: Some(decode), ..DetectorOptions::default() };
        let detector = Detector::from_checkpoint(weights, &options, &effdet::device("cpu")?)?;
        let started = Instant::now();
        let found = validate::detect_dataset(&detector, dataset, 1, |_| {})?;
        let seconds = started.elapsed().as_secs_f64();
        let truth = validate::ground_truth(dataset)?;
        let loaded = Loaded { truth, detections: validate::detections(dataset, &found) };
        let numbers =
            CocoEvaluator::new(&loaded.truth, CocoParams::default())?.evaluate(&loaded.detections)?;
        Ok(Self { found, numbers, loaded, seconds })
    }

    fn tell(&self, dataset: &Dataset) {
        let metrics = &self.numbers.metrics;
        note!(
            "  {} pictures in {:.1} s: AP {:.3}, AP50 {:.3}, AP75 {:.3}",
            dataset.records.len(),
            self.seconds,
            metrics.ap,
            metrics.ap50,
            metrics.ap75
        );
        let classes =
            self.numbers.per_class.iter().map(|class| format!("{} {:.2}", class.name, class.metrics.ap));
        note!("  AP of each class: {}", classes.collect::<Vec<_>>().join(", "));
    }

    /// The boxes to draw.
    fn sure(&self, index: usize) -> Vec<Detection> {
        self.found.detections[index].iter().copied().filter(|found| found.score >= SCORE).collect()
    }
}

/// How the fine-tuning went.
struct Tuned {
    ending: Ending,
    /// Whether it was ended because it took too long.
    late: bool,
    session: Session,
    config: RunConfig,
    seconds: f64,
}

fn fine_tune(args: &DemoArgs, out: &Path, root: &Path, start: &Path) -> Result<Tuned> {
    let device = effdet::device("cpu")?;
    let mut config = configuration(args, root, start)?;
    let Prepared { mut model, train, valid, .. } = config.prepare(&device)?;
    config.train.epochs = match args.epochs {
        Some(epochs) => epochs.into(),
        None if args.quick => 1,
        None => {
            // On a model of its own, so that only the number of epochs depends on the clock.
            let step = time_steps(config.prepare(&device)?)?;
            let batches = train.len() as f64 + valid.len() as f64 / 3.0;
            let epochs = (f64::from(args.seconds) / (step.as_secs_f64() * batches)).floor() as u64;
            let epochs = epochs.clamp(1, MOST_EPOCHS);
            note!("\na step takes {:.2} s here, so there is time for {epochs} epochs", step.as_secs_f64());
            epochs
        }
    };
    let folder = out.join(RUN);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    write_config(&folder, &config)?;
    note!(
        "fine-tuning on {} pictures of {} classes, {} epochs of {} steps (Ctrl-C ends it early)",
        train.dataset().records.len(),
        model.config().num_classes,
        config.train.epochs,
        train.len()
    );

    let started = Instant::now();
    let limit = args.epochs.is_none().then(|| Duration::from_secs(args.seconds.into()).mul_f64(PATIENCE));
    let mut late = false;
    let out_of_time = |_: &Event<'_>| {
        late |= limit.is_some_and(|limit| started.elapsed() > limit);
        if late { Control::Stop } else { Control::Continue }
    };
    let metrics: [Box<dyn Metric>; 1] = [Box::new(CocoMetric::default())];
    let callbacks: Vec<Box<dyn Callback + '_>> =
        vec![Box::new(stop_on_interrupt()?), Box::new(out_of_time), Box::new(Progress::default())];
    let mut session = Session::default();
    let ending = Engine {
        model: &mut model,
        module: &mut DefaultModule,
        train: &train,
        valid: Some(&valid),
        metrics: &metrics,
        callbacks,
        folder: Some(&folder),
        session: &mut session,
        collective: None,
    }
    .run(&config.phases(), false)?;
    if late {
        note!("ended early: this machine got slower than it was in the first steps");
    }
    Ok(Tuned { ending, late, session, config, seconds: started.elapsed().as_secs_f64() })
}

/// The settings that `next_steps` names, too.
fn configuration(args: &DemoArgs, root: &Path, start: &Path) -> Result<RunConfig> {
    let layers = [Layer::checkpoint(start)?, Some(Layer::option("demo", &["recipe"], "one-cycle"))];
    let defaults = RunConfig::from_layers(&layers.into_iter().flatten().collect::<Vec<_>>())?;
    let mut train = defaults.train.clone();
    (train.lr, train.group_lr, train.seed) = (RATE, SHARES, args.seed.into());
    train.freeze_batch_norm = true;
    Ok(RunConfig {
        recipe: TrainRecipe::OneCycle,
        weights: Some(std::path::absolute(start)?),
        data: DataConfig {
            root: std::path::absolute(root)?,
            format: Some(Format::Coco),
            train_split: Some("train".to_owned()),
            valid_split: Some("val".to_owned()),
            batch_size: BATCH,
            // Pictures are seen a few times at most, and come in all sizes as they are.
            augment: Augment::None,
            ..DataConfig::default()
        },
        train,
        ..defaults
    })
}

/// The time of a step.
fn time_steps(prepared: Prepared) -> Result<Duration> {
    let Prepared { mut model, train, .. } = prepared;
    let (mut warm, mut timed) = (Instant::now(), Duration::ZERO);
    let mut made = 0;
    let clock = |event: &Event<'_>| {
        if let Event::Step(report) = event {
            if report.step == WARM_UP {
                warm = Instant::now();
            }
            (made, timed) = (report.step.saturating_sub(WARM_UP), warm.elapsed());
        }
        if made >= TIMED { Control::Stop } else { Control::Continue }
    };
    let config = effdet::train::TrainConfig { epochs: 1, validate_every: 0, ..Default::default() };
    Engine {
        model: &mut model,
        module: &mut DefaultModule,
        train: &train,
        valid: None,
        metrics: &[],
        callbacks: vec![Box::new(clock)],
        folder: None,
        session: &mut Session::default(),
        collective: None,
    }
    .run(&[config], false)?;
    Ok(timed.div_f64(made.max(1) as f64))
}

/// Writes annotated pictures, before and after, and a sheet of some of them.
fn show(out: &Path, dataset: &Dataset, before: &Side, after: &Side) -> Result<()> {
    let classes = &dataset.class_map;
    let mut sheet = Vec::new();
    let folders = ["before", "after"].map(|name| out.join(PICTURES).join(name));
    for folder in &folders {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    for (index, record) in dataset.records.iter().enumerate().take(SHOWN) {
        let picture = decode_file(&record.path, &DecodeLimits::default())?;
        // Twice the size, for labels that do not hide what they name.
        let picture = image::imageops::resize(
            &picture,
            2 * picture.width(),
            2 * picture.height(),
            image::imageops::FilterType::CatmullRom,
        );
        let draw = |boxes: &[Detection], scores: bool| {
            let mut picture = picture.clone();
            let doubled: Vec<Detection> =
                boxes.iter().map(|found| Detection { bbox: found.bbox.scale(2.0, 2.0), ..*found }).collect();
            annotate(&mut picture, &doubled, classes, &Style { scores, ..Style::default() });
            picture
        };
        let labels: Vec<Detection> = record
            .objects
            .iter()
            .map(|object| Detection { bbox: object.bbox, class_id: object.class_id, score: 1.0 })
            .collect();
        let name = record.path.file_name().unwrap_or_default();
        let drawn = [before, after].map(|side| draw(&side.sure(index), true));
        for (folder, picture) in folders.iter().zip(&drawn) {
            save_jpeg(folder.join(name), picture, 90)?;
        }
        if index < ROWS {
            sheet.push(draw(&labels, false));
            sheet.extend(drawn);
        }
    }
    fs::create_dir_all(out.join(PLOTS)).with_context(|| format!("cannot create {}", out.display()))?;
    Ok(save_jpeg(out.join(PLOTS).join(SCENES), &grid(&sheet, 3), 85)?)
}

fn page(
    args: &DemoArgs,
    out: &Path,
    recipe: Recipe,
    dataset: &Dataset,
    before: &Side,
    after: &Side,
    tuned: &Tuned,
) -> Result<()> {
    let plots = out.join(PLOTS);
    let history = &tuned.session.state.history;
    save_history(&plots, history)?;
    let diagnosis = save_diagnosis(&plots, &after.loaded, DiagnosisOptions::default())?;
    let rows = before.numbers.per_class.iter().zip(&after.numbers.per_class).map(|(before, after)| {
        let metrics = [before.metrics.ap, after.metrics.ap, after.metrics.ap50].map(ClassNumber::Metric);
        let objects = ClassNumber::Count(before.ground_truth);
        (after.name.clone(), [objects].into_iter().chain(metrics).collect())
    });
    let classes = ClassTable {
        columns: ["objects", "AP before", "AP after", "AP50 after"].map(str::to_owned).into(),
        rows: rows.collect(),
    };
    let (old, new) = (&before.numbers.metrics, &after.numbers.metrics);
    let numbers = [
        ("AP before", old.ap),
        ("AP after", new.ap),
        ("AP50 before", old.ap50),
        ("AP50 after", new.ap50),
        ("AP75 before", old.ap75),
        ("AP75 after", new.ap75),
    ];
    let pictures = dataset.records.len() as f64;
    let mut facts = vec![
        (
            "model",
            format!("{}, {:.1} MB as stored in the binary", tuned.config.model, WEIGHTS.len() as f64 / 1e6),
        ),
        (
            "data",
            format!(
                "{} rendered pictures to train, {} to validate, seed {}",
                recipe.train, recipe.val, args.seed
            ),
        ),
        ("objects to find", dataset.object_count().to_string()),
        (
            "detection",
            format!("{:.1} pictures per second, labels and evaluation aside", pictures / after.seconds),
        ),
        ("fine-tuning", format!("{} epochs in {:.0} s", history.len(), tuned.seconds)),
    ];
    if tuned.ending == Ending::Interrupted {
        let why = if tuned.late { "took too long" } else { "was interrupted" };
        facts.push(("ended early", format!("the run {why} before its {} epochs", tuned.config.train.epochs)));
    }
    let lead = format!(
        "A detector that knew {KNOWN} shapes saw {} and was fine-tuned to all of them. All numbers are of the {} validation \
         pictures, which neither training saw; the best epoch was chosen by them.",
        SHAPES.len(),
        recipe.val
    );
    let report = Report {
        title: "effdet demo".to_owned(),
        lead,
        numbers: numbers.map(|(name, value)| (name.to_owned(), value)).into(),
        facts: facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        pictures: vec![(
            plots.join(SCENES),
            format!(
                "From left to right: what is labelled, what the detector in the binary found at once, what it finds after \
                 fine-tuning (scores of at least {SCORE})."
            ),
        )],
        history,
        classes: Some(classes),
        diagnosis: Some(&diagnosis),
        configuration: Some(tuned.config.to_toml()?),
    };
    Ok(save_report(&out.join(RunFiles::REPORT), &plots, &report)?)
}

/// What to type next, such that it works when pasted.
fn next_steps(out: &Path, weights: &Path) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "effdet".to_owned());
    let program = quoted(Path::new(&program));
    let at = |path: &str| quoted(&out.join(path));
    let weights = quoted(weights);
    format!(
        "\nlook at {report}\n\nand then, for example:\n  \
         {program} predict {pictures} --weights {weights} --out {annotated}\n  \
         {program} val --data {data} --format coco --split val --weights {weights} --plots {val}\n  \
         {program} dataset {data} --format coco --plots {statistics}\n  \
         {program} train --config {config} --epochs 30 --out {longer}\n",
        report = at(RunFiles::REPORT),
        pictures = at("data/val"),
        annotated = at("annotated"),
        data = at(DATA),
        val = at("val"),
        statistics = at("statistics"),
        config = quoted(&out.join(RUN).join(RunFiles::CONFIG)),
        longer = at("longer"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_type_next_survives_a_shell() {
        let text = next_steps(Path::new("my demo"), Path::new("my demo/run/best.safetensors"));
        assert!(
            text.contains("predict 'my demo/data/val' --weights 'my demo/run/best.safetensors'"),
            "{text}"
        );
        assert_eq!(quoted(Path::new("it's")), "'it'\\''s'");
    }

    #[test]
    fn a_folder_with_something_in_it_is_refused() {
        let taken = tempfile::tempdir().unwrap();
        assert_eq!(folder(Some(taken.path())).unwrap(), taken.path());
        fs::write(taken.path().join("x"), "").unwrap();
        assert!(folder(Some(taken.path())).unwrap_err().to_string().contains("name a new or empty folder"));
    }
}
