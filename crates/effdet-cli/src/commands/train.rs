//! `effdet train`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use effdet::core::Replacement;
use effdet::nn::Collective;
use effdet::train::{
    Callback, CocoMetric, Control, DataLoader, DefaultModule, DetectorModel, Ending, Engine, EpochRecord,
    Event, Layer, Metric, RunConfig, RunFiles, Session, StepReport, StopFlag, run_workers,
};
use effdet::weights::{WeightsEntry, WeightsStore};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{RecipeName, TrainArgs};
use crate::detector;
use crate::interrupt::INTERRUPTED;
use crate::logging::{self, note};
use crate::progress::Transfers;

/// Trains.
pub fn run(args: &TrainArgs) -> Result<ExitCode> {
    detector::size_thread_pool(args.threads)?;
    let devices = args.device.iter().map(|name| effdet::device(name)).collect::<Result<Vec<_>, _>>()?;
    let Some(device) = devices.first() else { bail!("name a device with --device") };
    let folder = args.out.clone().unwrap_or_else(free_folder);
    let has_checkpoint = folder.join(RunFiles::STATE).exists();
    if has_checkpoint && !args.resume {
        bail!("{} holds a run: go on with --resume, or name another folder with --out", folder.display());
    }
    let config = configuration(args, &folder)?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    if has_checkpoint {
        refuse_changes(&folder, &config)?;
    } else {
        // The configuration that lies there is that of the weights.
        RunFiles::refuse_foreign_weights(&folder)?;
        // Before anything else can fail, so that --resume knows what was asked for.
        write_config(&folder, &config)?;
    }

    // A checkpoint has all the weights.
    let start = RunConfig { weights: config.weights.clone().filter(|_| !has_checkpoint), ..config.clone() };
    let prepared = start.prepare(device)?;
    for dirt in prepared.dirt.iter().filter(|dirt| !dirt.is_clean()) {
        note!("{dirt}");
    }
    if let Some(report) = &prepared.loaded {
        note!("{report}");
    }
    let (model, train, valid) = (prepared.model, prepared.train, prepared.valid);
    note!(
        "{} on {} pictures ({} to validate), {} classes, {} batches of {} an epoch, files in {}",
        config.model,
        train.dataset().records.len(),
        valid.dataset().records.len(),
        model.config().num_classes,
        train.sharded(0, devices.len())?.len(),
        config.data.batch_size * devices.len(),
        folder.display()
    );

    let stop = stop_on_interrupt()?;
    // A run that goes on has a configuration, which is replaced once the checkpoint was accepted with the new one.
    let keep_config = |event: &Event<'_>| {
        if matches!(event, Event::Start { .. })
            && has_checkpoint
            && let Err(error) = write_config(&folder, &config)
        {
            note!("warning: {error:#}");
        }
        Control::Continue
    };
    let run = |mut model: DetectorModel, train: &DataLoader, collective: Option<&Collective>| {
        let metrics: [Box<dyn Metric>; 1] = [Box::new(CocoMetric::default())];
        let callbacks: Vec<Box<dyn Callback>> = match collective {
            Some(group) if !group.is_first() => vec![Box::new(unreadable)],
            _ => vec![Box::new(stop.clone()), Box::new(Report::default()), Box::new(keep_config)],
        };
        Engine {
            model: &mut model,
            module: &mut DefaultModule,
            train,
            valid: (!valid.dataset().records.is_empty()).then_some(&valid),
            metrics: &metrics,
            callbacks,
            folder: Some(&folder),
            session: &mut Session::default(),
            collective,
        }
        .run(&config.phases(), args.resume)
    };
    let ending = if devices.len() == 1 {
        run(model, &train, None)?
    } else {
        let group = Collective::on_devices(&devices)?;
        let part = |(rank, device): (usize, &Device)| {
            Ok((model.replica(device), train.sharded(rank, devices.len())?))
        };
        let parts = devices.iter().enumerate().map(part).collect::<Result<Vec<_>>>()?;
        let endings = run_workers(group, parts, |group, (model, train)| run(model, &train, Some(group)))?;
        // They agree on it.
        endings.into_iter().next().unwrap_or(Ending::Finished)
    };
    match ending {
        Ending::Finished | Ending::EarlyStop => {
            if ending == Ending::EarlyStop {
                note!(
                    "{} has not improved for {} evaluations",
                    config.train.monitor,
                    config.train.early_stop
                );
            }
            let best = folder.join(RunFiles::BEST);
            let weights = if best.exists() { best } else { folder.join(RunFiles::LAST) };
            note!("the weights are {}", weights.display());
            // Without an evaluation there is none.
            let report = folder.join(RunFiles::REPORT);
            if report.exists() {
                note!("to look at: {}", report.display());
            }
            Ok(ExitCode::SUCCESS)
        }
        Ending::Interrupted => {
            let devices = match args.device.as_slice() {
                [one] if one == "cpu" => String::new(),
                devices => format!(" --device {}", devices.join(",")),
            };
            note!("stopped; go on with\n  effdet train --resume --out {}{devices}", quoted(&folder));
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

/// A flag that Ctrl-C sets; a second one ends the program.
pub fn stop_on_interrupt() -> Result<StopFlag> {
    let stop = StopFlag::default();
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.is_set() {
            std::process::exit(INTERRUPTED.into());
        }
        note!("\nwriting a checkpoint; once more to end without");
        flag.set();
    })?;
    Ok(stop)
}

/// Options before the file, `--set` before all; a run that goes on has its own configuration below them, a new one what
/// its checkpoint says of itself.
fn configuration(args: &TrainArgs, folder: &Path) -> Result<RunConfig> {
    let own = folder.join(RunFiles::CONFIG);
    let mut layers = Vec::new();
    let resumed = args.resume && own.exists();
    let file = args.config.as_ref().map(Layer::file).transpose()?;
    if let Some(weights) = &args.weights
        && !resumed
    {
        // What a checkpoint says of another model than the one asked for does not hold for that one.
        let in_file = file.as_ref().and_then(|layer| layer.text("model")).filter(|name| !name.is_empty());
        let model = args.model.as_deref().or(in_file);
        let described = Layer::checkpoint(weights)?;
        layers.extend(described.filter(|layer| model.is_none_or(|name| layer.text("model") == Some(name))));
    }
    if resumed {
        layers.push(Layer::file(&own)?);
    }
    layers.extend(file);
    let recipe = args
        .recipe
        .or_else(|| (!resumed && args.config.is_none() && args.scratch).then_some(RecipeName::Reference));
    if let Some(recipe) = recipe {
        let name = match recipe {
            RecipeName::FineTune => "fine-tune",
            RecipeName::OneCycle => "one-cycle",
            RecipeName::Reference => "reference",
        };
        if let Some(other) =
            layers.iter().rev().find_map(|layer| layer.text("recipe")).filter(|other| *other != name)
        {
            bail!(
                "--recipe {name}: the configuration has the settings of the recipe {other}, which it would not change"
            );
        }
        layers.push(Layer::option("--recipe", &["recipe"], name));
    }
    let absolute = |path: &Path| -> Result<String> {
        let path = std::path::absolute(path)?;
        Ok(path.to_str().with_context(|| format!("{}: a path must be UTF-8", path.display()))?.to_owned())
    };
    let mut option = |option: &str, path: &[&str], value: Option<toml::Value>| {
        layers.extend(value.map(|value| Layer::option(option, path, value)));
    };
    let text = |value: &Option<String>| value.clone().map(toml::Value::from);
    let integer = |value: Option<u32>| value.map(toml::Value::from);
    option("--data", &["data", "root"], args.data.as_deref().map(absolute).transpose()?.map(Into::into));
    option("--format", &["data", "format"], args.format.map(|format| format.to_string().into()));
    option("--train-split", &["data", "train_split"], text(&args.train_split));
    option("--val-split", &["data", "valid_split"], text(&args.val_split));
    option("--model", &["model"], text(&args.model));
    option("--weights", &["weights"], args.weights.as_deref().map(absolute).transpose()?.map(Into::into));
    option("--scratch", &["weights"], args.scratch.then(|| "none".into()));
    option("--epochs", &["train", "epochs"], integer(args.epochs));
    option("--batch-size", &["data", "batch_size"], integer(args.batch_size));
    option("--lr", &["train", "lr"], args.lr.map(Into::into));
    let size = args.image_size.map(|size| vec![size.height as i64, size.width as i64]);
    option("--image-size", &["image_size"], size.map(Into::into));
    option("--seed", &["train", "seed"], integer(args.seed));
    for setting in &args.set {
        layers.push(Layer::setting(setting)?);
    }
    let mut config = RunConfig::from_layers(&layers)?;
    if config.model.is_empty() {
        bail!("name a model with --model; `effdet models` lists them");
    }
    if config.data.root.as_os_str().is_empty() {
        bail!("name the data set with --data and its format with --format");
    }
    if args.pretrained {
        let mut shown = Transfers::new(&config.model);
        let entry = WeightsEntry::named(&config.model)?;
        config.weights = Some(WeightsStore::from_env()?.fetch(entry, &mut |event| shown.show(&event))?);
    }
    let starts = args.scratch || config.weights.is_some() || args.config.is_some() || resumed;
    if !starts {
        bail!("say what to start from: --weights FILE, --pretrained or --scratch");
    }
    Ok(config)
}

/// Refuses another configuration than the run in `folder` has. What may change: where the data are and how they are read;
/// the engine compares the settings of training itself.
fn refuse_changes(folder: &Path, asked: &RunConfig) -> Result<()> {
    const MAY_CHANGE: [&str; 3] = ["data.root", "data.workers", "data.valid_batch_size"];
    let own = folder.join(RunFiles::CONFIG);
    if !own.exists() {
        return Ok(());
    }
    let stored = settings(&RunConfig::from_layers(&[Layer::file(&own)?])?)?;
    let asked = settings(asked)?;
    let keys: BTreeSet<&String> = stored.keys().chain(asked.keys()).collect();
    for key in keys {
        let (was, is) = (stored.get(key), asked.get(key));
        if was != is && !key.starts_with("train.") && !MAY_CHANGE.contains(&key.as_str()) {
            let shown = |value: Option<&toml::Value>| value.map_or("not set".to_owned(), ToString::to_string);
            bail!(
                "{}: {key} was {}, now it is {}: a run goes on as it began",
                own.display(),
                shown(was),
                shown(is)
            );
        }
    }
    Ok(())
}

/// Every setting by its whole name.
fn settings(config: &RunConfig) -> Result<BTreeMap<String, toml::Value>> {
    fn collect(prefix: &str, table: toml::Table, to: &mut BTreeMap<String, toml::Value>) {
        for (key, value) in table {
            let name = format!("{prefix}{key}");
            match value {
                toml::Value::Table(table) => collect(&format!("{name}."), table, to),
                value => {
                    to.insert(name, value);
                }
            }
        }
    }
    let mut all = BTreeMap::new();
    collect("", config.to_toml()?.parse()?, &mut all);
    Ok(all)
}

pub fn write_config(folder: &Path, config: &RunConfig) -> Result<()> {
    let path = folder.join(RunFiles::CONFIG);
    let write = || -> std::io::Result<()> {
        let replacement = Replacement::of(&path)?;
        let mut file = replacement.create()?;
        file.write_all(config.to_toml().map_err(std::io::Error::other)?.as_bytes())?;
        replacement.finish(file)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// A path as a shell takes it.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:\\".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// The first of runs/train, runs/train2, ... that does not exist.
fn free_folder() -> PathBuf {
    let name =
        |n: u32| PathBuf::from(if n == 1 { "runs/train".to_owned() } else { format!("runs/train{n}") });
    (1..).map(name).find(|folder| !folder.exists()).unwrap_or_else(|| name(1))
}

/// What a worker other than the first says.
fn unreadable(event: &Event<'_>) -> Control {
    if let Event::Skipped(skipped) = event {
        for one in *skipped {
            note!("warning: {one}");
        }
    }
    Control::Continue
}

/// Says how a run goes: a bar and a line per epoch on a terminal, else lines.
pub struct Report {
    bar: ProgressBar,
    started: Instant,
    pictures: usize,
    header: bool,
}

impl Default for Report {
    fn default() -> Self {
        Self { bar: ProgressBar::hidden(), started: Instant::now(), pictures: 0, header: false }
    }
}

impl Callback for Report {
    fn on_event(&mut self, event: &Event<'_>) -> Control {
        match event {
            Event::Start { epoch, step, epochs } => {
                if *step > 0 {
                    self.line(&format!("going on after epoch {epoch} of {epochs}, step {step}"));
                }
                (self.started, self.pictures) = (Instant::now(), 0);
            }
            Event::Step(report) => self.step(report),
            Event::Bad(bad) => self.line(&format!("warning: left out: {bad}")),
            Event::Overflow { step, factor } => self.line(&format!(
                "step {}: gradients overflowed, left out; losses are scaled by {factor} from now on",
                step + 1
            )),
            Event::Skipped(skipped) => {
                for one in *skipped {
                    self.line(&format!("warning: {one}"));
                }
            }
            Event::Validating => self.bar.set_message("validating"),
            Event::Epoch(record) => self.epoch(record),
            _ => {}
        }
        Control::Continue
    }
}

impl Report {
    fn line(&self, text: &str) {
        self.bar.suspend(|| note!("{text}"));
    }

    fn step(&mut self, report: &StepReport) {
        self.pictures += report.pictures;
        let per_second = self.pictures as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
        if logging::is_quiet() {
            return;
        }
        if !stderr().is_terminal() {
            let StepReport { step, epoch, epochs, losses, lr, gradient_norm, .. } = report;
            if step.is_multiple_of(10) {
                let remaining = remaining(report, per_second);
                note!(
                    "epoch {}/{epochs} step {}/{}: loss {:.4} (class {:.4}, boxes {:.5}), norm {gradient_norm:.2}, lr {lr:.3e}, \
                     {per_second:.1} pictures/s, {} left",
                    epoch + 1,
                    report.step_in_epoch,
                    report.steps_per_epoch,
                    losses.total,
                    losses.class,
                    losses.boxes,
                    clock(remaining)
                );
            }
            return;
        }
        if self.bar.is_hidden() || self.bar.is_finished() {
            self.bar = ProgressBar::new(report.steps_per_epoch);
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
                self.bar.set_style(style);
            }
        }
        self.bar.set_position(report.step_in_epoch);
        self.bar.set_message(format!(
            "epoch {}/{} loss {:.4} class {:.4} boxes {:.5} lr {:.2e} {per_second:.1} pictures/s {} left",
            report.epoch + 1,
            report.epochs,
            report.losses.total,
            report.losses.class,
            report.losses.boxes,
            report.lr,
            clock(remaining(report, per_second))
        ));
    }

    fn epoch(&mut self, record: &EpochRecord) {
        self.bar.finish_and_clear();
        if !self.header {
            note!(
                "{:>6} {:>9} {:>9} {:>9} {:>9} {:>7} {:>7} {:>7}",
                "epoch",
                "loss",
                "class",
                "boxes",
                "valid",
                "AP",
                "AP50",
                "AP75"
            );
            self.header = true;
        }
        let number = |value: Option<f64>, digits: usize| {
            value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
        };
        note!(
            "{:>6} {:>9.4} {:>9.4} {:>9.5} {:>9} {:>7} {:>7} {:>7}",
            record.epoch,
            record.train.total,
            record.train.class,
            record.train.boxes,
            number(record.valid.map(|valid| valid.total), 4),
            number(record.metric("AP"), 4),
            number(record.metric("AP50"), 4),
            number(record.metric("AP75"), 4),
        );
    }
}

/// Time for the steps that are left, at the rate of those made.
fn remaining(report: &StepReport, per_second: f64) -> Duration {
    let steps = (report.epochs - report.epoch) * report.steps_per_epoch - report.step_in_epoch;
    Duration::from_secs_f64(steps as f64 * report.pictures as f64 / per_second.max(1e-9))
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use effdet::weights::{CheckpointMetadata, NamedTensors, save_named_tensors};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        train: TrainArgs,
    }

    #[test]
    fn what_a_checkpoint_says_of_its_model_lies_below_the_file_of_settings() {
        let folder = tempfile::tempdir().unwrap();
        let [weights, file] = ["start.safetensors", "own.toml"].map(|name| folder.path().join(name));
        let metadata = CheckpointMetadata {
            model: Some("tf_efficientdet_lite0".to_owned()),
            image_size: Some([256, 192]),
            mean: Some([0.25, 0.5, 0.75]),
            std: Some([0.5; 3]),
            ..CheckpointMetadata::default()
        };
        let tensors = NamedTensors::from([("weight".to_owned(), (vec![1], vec![0.0]))]);
        save_named_tensors(&weights, &tensors, &metadata.to_map()).unwrap();
        let configured = |settings: &str| {
            fs::write(&file, format!("{settings}\n[data]\nroot = \"set\"\nformat = \"coco\"\n")).unwrap();
            let line = ["train", "--weights", weights.to_str().unwrap(), "--config", file.to_str().unwrap()];
            configuration(&Line::parse_from(line).train, folder.path()).unwrap()
        };
        let config = configured("std = [0.125, 0.125, 0.125]");
        assert_eq!((config.model.as_str(), config.image_size), ("tf_efficientdet_lite0", [256, 192]));
        assert_eq!((config.mean, config.std), (Some([0.25, 0.5, 0.75]), Some([0.125; 3])));
        let other = configured("model = \"tf_efficientdet_lite1\"");
        assert_eq!((other.image_size, other.mean), ([0, 0], None));
    }

    #[test]
    fn a_folder_to_go_on_with_survives_a_shell() {
        assert_eq!(quoted(Path::new("runs/train2")), "runs/train2");
        assert_eq!(quoted(Path::new("my run/it's")), "'my run/it'\\''s'");
    }
}
