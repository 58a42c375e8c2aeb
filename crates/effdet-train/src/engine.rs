//! The loop that the learner, the trainer and the command share.

mod epoch;
mod files;
mod step;

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::GradientCheckpointingStrategy;
use effdet_core::XyxyBox;
use effdet_data::loader::{OnError, Skipped};
use effdet_data::{Dataset, Preprocess};
use effdet_heads::{DetectionLoss, Normalizer};
use effdet_metrics::Detections;
use effdet_nn::CollectiveError;

use crate::evaluate::{Metric, ground_truth};
use crate::groups::{layer_trains, norm_layers, stages, trainable};
use crate::logs::EventFile;
use crate::module::{OptimizerPlan, TrainModule};
use crate::parameters::{assign, set_trainable, values};
use crate::state::{self, RunState, RunTensors};
use crate::{
    Callback, Collective, Control, Curve, DataLoader, DetectorModel, Ema, Error, Event, LossScale, Named,
    Optimizer, Plateau, TrainConfig,
};

/// What outlives a run: the next one of the same learner goes on from it.
#[derive(Debug, Default)]
pub struct Session {
    /// The optimiser, once there was a step.
    pub optimizer: Option<Optimizer>,
    /// The averaged weights.
    pub ema: Option<Ema>,
    /// Numbers.
    pub state: RunState,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All epochs were made.
    Finished,
    /// The metric did not improve any more in the last phase.
    EarlyStop,
    /// A callback asked for it; the run can be resumed.
    Interrupted,
}

/// The parts of a run.
pub struct Engine<'a> {
    /// The model.
    pub model: &'a mut DetectorModel,
    /// The steps.
    pub module: &'a mut dyn TrainModule,
    /// What it is trained on.
    pub train: &'a DataLoader,
    /// What it is judged on.
    pub valid: Option<&'a DataLoader>,
    /// How it is judged.
    pub metrics: &'a [Box<dyn Metric>],
    /// Who wants to know.
    pub callbacks: Vec<Box<dyn Callback + 'a>>,
    /// Where its files go; without it, none are written.
    pub folder: Option<&'a Path>,
    /// Optimiser, averages and numbers.
    pub session: &'a mut Session,
    /// The others, where several workers train together, each with an engine, a replica of the model and a part of the
    /// training pictures of its own; see [`run_workers`](crate::run_workers). The first one evaluates and writes the
    /// files; all read the checkpoint that they go on from.
    pub collective: Option<&'a Collective>,
}

/// Names of the files of a run.
pub struct RunFiles;

impl RunFiles {
    /// The whole state of a run.
    pub const STATE: &'static str = "checkpoint.safetensors";
    /// The weights of the last epoch.
    pub const LAST: &'static str = "last.safetensors";
    /// The weights of the best evaluation.
    pub const BEST: &'static str = "best.safetensors";
    /// The numbers of all epochs.
    pub const METRICS: &'static str = "metrics.csv";
    /// TensorBoard's events.
    pub const EVENTS: &'static str = "events.out.tfevents.0";
    /// The configuration.
    pub const CONFIG: &'static str = "config.toml";
    /// The page that shows all of it.
    pub const REPORT: &'static str = "report.html";
    /// The folder of charts and pictures.
    pub const PLOTS: &'static str = "plots";
}

/// What does not change within a phase.
struct Phase<'p> {
    config: &'p TrainConfig,
    plan: OptimizerPlan,
    criterion: DetectionLoss,
    parameters: Vec<crate::Parameter>,
    lr: f64,
    steps_per_epoch: u64,
    epochs_in_all: u64,
}

/// Refuses what waits for metrics that are never measured, or measured at the end alone.
fn refuse_waiting(config: &TrainConfig, measured_at_the_end: bool) -> Result<(), Error> {
    let expected =
        "a run that is evaluated after its epochs: pictures that validate, a metric, validate_every above 0";
    if config.early_stop > 0 {
        return Err(Error::setting("early_stop", config.early_stop, expected));
    }
    if matches!(config.schedule.curve, Curve::Plateau { .. }) {
        return Err(Error::setting("schedule.curve.kind", "plateau", expected));
    }
    if config.checkpoint.top_k > 0 && !measured_at_the_end {
        return Err(Error::setting("checkpoint.top_k", config.checkpoint.top_k, expected));
    }
    Ok(())
}

/// What does not belong to the state.
struct Output {
    folder: PathBuf,
    events: EventFile,
    saved: Instant,
}

impl Engine<'_> {
    /// Runs the phases one after the other, each with settings of its own; with `resume`, from the checkpoint in the
    /// folder if there is one.
    ///
    /// # Errors
    /// For settings out of range or that the model or the loader cannot follow, a training set none of whose pictures can
    /// be used, a folder with weights of another run, a device or disk that fails, and bad steps where the policy says so.
    pub fn run(self, phases: &[TrainConfig], resume: bool) -> Result<Ending, Error> {
        let ending = self.run_phases(phases, resume);
        // What is kept from step to step may be gigabytes, and there is no next step.
        effdet_nn::native::release_memory();
        ending
    }

    fn run_phases(mut self, phases: &[TrainConfig], resume: bool) -> Result<Ending, Error> {
        for phase in phases {
            phase.check()?;
            if !phase.precision.runs_on(self.model.device()) {
                let precision = format!("{:?}", phase.precision).to_lowercase();
                return Err(Error::setting("precision", precision, "one that the device computes in"));
            }
        }
        if self.train.is_empty() {
            let pictures = self.train.dataset().records.len();
            let batch_size = self.train.loader().options().batch_size;
            return Err(Error::NoBatches { pictures, batch_size });
        }
        // The place of a run in an epoch is a number of batches.
        if self.folder.is_some() && self.train.loader().options().on_error == OnError::Skip {
            let expected = "`Replace` or `Fail` for a run in a folder: a batch that lost a picture moves the \
                            later ones, and a resumed run would not find its place";
            return Err(Error::setting("on_error", "`Skip`", expected));
        }
        for phase in phases {
            self.check_against_model(phase)?;
        }
        let fingerprint = self.fingerprint(phases)?;
        let mut output = self.open(&fingerprint, resume)?;
        if let Some(group) = self.collective {
            // Nobody writes while another still reads.
            group.all_gather("the start of a run", ())?;
        }
        let RunState { epoch, step, .. } = self.session.state;
        self.tell(&Event::Start { epoch, step, epochs: self.epochs_in_all(phases) });

        while let Some(config) = phases.get(self.session.state.phase) {
            let phase = self.begin_phase(config, self.epochs_in_all(phases))?;
            while self.session.state.phase_epoch < config.epochs && !self.session.state.stopped_early {
                let control = self.run_epoch(&phase, output.as_mut())?;
                let state = &self.session.state;
                let is_over = state.phase_epoch >= config.epochs || state.stopped_early;
                // There is nothing to go on with after the end of the last epoch.
                if control == Control::Stop && !(is_over && state.phase + 1 == phases.len()) {
                    self.publish(output.as_mut())?;
                    return Ok(Ending::Interrupted);
                }
            }
            let state = &mut self.session.state;
            if state.stopped_early && state.phase + 1 == phases.len() {
                return Ok(Ending::EarlyStop);
            }
            (state.phase, state.phase_epoch, state.phase_step) = (state.phase + 1, 0, 0);
            // What waits for the metric begins anew, as fastai's callbacks do with each fit.
            (state.phase_best, state.since_best, state.stopped_early) = (None, 0, false);
            state.plateau = Plateau::default();
        }
        Ok(Ending::Finished)
    }

    /// Epochs until the end of the last phase. A learner that was trained before counts on, and a phase that ended early
    /// counts with the epochs it made.
    fn epochs_in_all(&self, phases: &[TrainConfig]) -> u64 {
        let RunState { epoch, phase, phase_epoch, .. } = self.session.state;
        epoch.saturating_sub(phase_epoch) + phases.iter().skip(phase).map(|phase| phase.epochs).sum::<u64>()
    }

    /// Refuses what names no part of this model, and no number of these metrics, and what the model was not made for.
    fn check_against_model(&self, config: &TrainConfig) -> Result<(), Error> {
        let strategy = self.model.device().gradient_checkpointing_strategy();
        if config.gradient_checkpointing && strategy != Some(GradientCheckpointingStrategy::Balanced) {
            let expected = "false, or a model made with `DetectorModel::with_gradient_checkpointing`";
            return Err(Error::setting("gradient_checkpointing", true, expected));
        }
        let parameters = self.model.parameters();
        for part in &config.freeze {
            if !parameters.iter().any(|parameter| part.contains(&parameter.name)) {
                let stages = stages(&parameters);
                let expected = format!("stem, stage0 to stage{}, backbone, fpn or heads", stages.max(1) - 1);
                return Err(Error::setting("freeze", part, expected));
            }
        }
        let Some(valid) = self.valid.filter(|_| !self.metrics.is_empty()) else {
            // Other workers are told what the first one measures.
            return if self.is_first() { refuse_waiting(config, false) } else { Ok(()) };
        };
        if config.validate_every == 0 {
            refuse_waiting(config, true)?;
        }
        let truth = ground_truth(valid.dataset())?;
        let mut names = Vec::new();
        for metric in self.metrics {
            // One that has nothing to say of no detections tells its names with the first evaluation.
            let Ok(numbers) = metric.evaluate(&truth, &Detections::new()) else { return Ok(()) };
            names.extend(numbers.into_iter().map(|(name, _)| name));
        }
        if !names.contains(&config.monitor) {
            let expected = format!("a metric of this run: {}", names.join(", "));
            return Err(Error::setting("monitor", &config.monitor, expected));
        }
        Ok(())
    }

    /// What the weights depend on, a line each: a run goes on where all of it is as it was.
    fn fingerprint(&self, phases: &[TrainConfig]) -> Result<String, Error> {
        let mut text = phases.iter().map(TrainConfig::fingerprint).collect::<Vec<_>>().join("\n");
        let Preprocess { size, mean, std, .. } = self.model.preprocess();
        let dataset = self.train.dataset();
        let classes: Vec<&str> = dataset.class_map.iter().map(|(_, name)| name).collect();
        let set = |dataset: &Dataset| format!("{}, labels {:08x}", dataset.records.len(), checksum(dataset));
        let mut validation = self.valid.map(|valid| set(valid.dataset()));
        if let Some(group) = self.collective {
            // The others need not have one.
            validation = group.broadcast("the validation set", validation)?;
        }
        let lines = [
            format!("workers = {}", self.world_size()),
            format!("batch_size = {}", self.train.loader().options().batch_size),
            format!("input = {size}, mean {mean:?}, std {std:?}"),
            format!("classes = {classes:?}"),
            format!("pictures = {}", set(dataset)),
            format!("pictures to validate = {}", validation.unwrap_or_else(|| "none".to_owned())),
        ];
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        Ok(text)
    }

    /// Makes the folder and takes up a checkpoint in it.
    fn open(&mut self, fingerprint: &str, resume: bool) -> Result<Option<Output>, Error> {
        let past = &self.session.state;
        // A session that was trained before counts on: epochs and steps are what order and augmentation are drawn by.
        let fresh = RunState {
            history: past.history.clone(),
            epoch: past.epoch,
            step: past.step,
            lr_factor: 1.0,
            config: fingerprint.to_owned(),
            ..RunState::default()
        };
        let Some(folder) = self.folder else {
            self.session.state = fresh;
            return Ok(None);
        };
        fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        let path = folder.join(RunFiles::STATE);
        if resume && path.exists() {
            let (state, tensors) = state::load(&path, self.model.device())?;
            if state.config != fingerprint {
                let reason = difference(&state.config, fingerprint);
                return Err(Error::Resume { path, reason });
            }
            self.take_up(state, tensors, &path)?;
        } else if path.exists() {
            let reason = "there is a run in this folder: resume it, or name another folder".to_owned();
            return Err(Error::Resume { path, reason });
        } else {
            // With `resume`, too: a run writes no weights before its first checkpoint.
            RunFiles::refuse_foreign_weights(folder)?;
            self.session.state = fresh;
        }
        if !self.is_first() {
            return Ok(None);
        }
        self.remove_unkept(folder)?;
        let events = EventFile::open(folder.join(RunFiles::EVENTS), self.session.state.events)?;
        Ok(Some(Output { folder: folder.to_owned(), events, saved: Instant::now() }))
    }

    fn take_up(&mut self, state: RunState, tensors: RunTensors, path: &Path) -> Result<(), Error> {
        let expected = values(&self.model.network);
        let fits = |found: &Named| {
            found.len() == expected.len()
                && expected
                    .iter()
                    .all(|(name, value)| found.get(name).is_some_and(|f| f.dims() == value.dims()))
        };
        if !fits(&tensors.weights) {
            let reason = "it is of another model".to_owned();
            return Err(Error::Resume { path: path.into(), reason });
        }
        let network = self.model.network.clone();
        self.model.network = assign(network, tensors.weights);
        // The rule and the decay come with the phase.
        self.session.optimizer = Some(Optimizer { rule: crate::Rule::adam_w(), state: tensors.optimizer });
        self.session.ema = tensors.ema.map(|values| Ema::new(Default::default(), values));
        self.session.state = state;
        Ok(())
    }

    fn begin_phase<'p>(&mut self, config: &'p TrainConfig, epochs_in_all: u64) -> Result<Phase<'p>, Error> {
        let parameters = self.model.parameters();
        let plan = self.module.configure_optimizers(&parameters, config);
        let (trains, norms) = (trainable(&parameters, config), norm_layers(&parameters));
        let planned = |name: &str| trains.contains(name) && plan.parameters.iter().any(|p| p.name == name);
        let network = self.model.network.clone();
        self.model.network = set_trainable(network, planned, |flag| layer_trains(flag, &norms, config));

        let state = &mut self.session.state;
        let fresh = state.phase_step == 0 && state.phase > 0;
        let optimizer = self.session.optimizer.take().filter(|_| !fresh);
        let optimizer_state = optimizer.map(|optimizer| optimizer.state).unwrap_or_default();
        self.session.optimizer = Some(Optimizer { rule: plan.rule, state: optimizer_state });
        self.session.ema = config.ema.map(|ema| {
            let averages = self.session.ema.take().map(|ema| ema.values);
            Ema::new(ema, averages.unwrap_or_else(|| values(&self.model.network)))
        });
        state.loss_scale =
            config.scaling().map(|scaling| state.loss_scale.unwrap_or(LossScale::new(&scaling)));
        let average = state.normalizer.average;
        state.normalizer = Normalizer { average, ..Normalizer::with_momentum(config.normalizer_momentum)? };

        let batch_size = self.train.loader().options().batch_size * self.world_size();
        Ok(Phase {
            config,
            criterion: config.loss.init()?,
            parameters,
            lr: plan.lr * config.lr_scale(batch_size),
            plan,
            steps_per_epoch: (self.train.len() as u64).div_ceil(config.accumulate),
            epochs_in_all,
        })
    }

    fn run_epoch(&mut self, phase: &Phase<'_>, mut output: Option<&mut Output>) -> Result<Control, Error> {
        let config = phase.config;
        let state = &self.session.state;
        let mut batches =
            self.train.loader().epoch_from(state.epoch, usize::try_from(state.batch).unwrap_or(usize::MAX));
        loop {
            let mut micro = Vec::new();
            while (micro.len() as u64) < config.accumulate
                && let Some(batch) = batches.next()
            {
                micro.push(batch?);
            }
            // The epoch ends for all when it ends for one.
            if self.anywhere("a batch", micro.is_empty())? {
                break;
            }
            let count = micro.len() as u64;
            let control = self.step(phase, &micro, output.as_deref_mut())?;
            self.session.state.batch += count;
            if let Some(output) = output.as_deref_mut()
                && (self.checkpoint_due(phase, output) || control == Control::Stop)
            {
                self.save_state(output)?;
            }
            if control == Control::Stop {
                return Ok(Control::Stop);
            }
        }
        let skipped = batches.take_skipped_at_end();
        drop(batches);
        if self.session.state.batch == 0 {
            return Err(self.no_batch(skipped));
        }
        let told = if skipped.is_empty() { Control::Continue } else { self.tell(&Event::Skipped(&skipped)) };
        if let Some(output) = output.as_deref_mut()
            && !output.folder.join(RunFiles::STATE).exists()
        {
            // The weights of an epoch come before its checkpoint. Without one beside them they are of another run.
            self.save_state(output)?;
        }
        let control = self.end_epoch(phase, output)?;
        // A worker may have left out pictures that another one has not.
        Ok(merge(control, self.agree(told)?))
    }

    /// Why an epoch had no batch, though there are pictures.
    fn no_batch(&self, skipped: Vec<Skipped>) -> Error {
        let attempts = skipped.len();
        match skipped.into_iter().next() {
            Some(Skipped { name, error, .. }) => {
                Error::NothingReadable { attempts, name, source: Box::new(error) }
            }
            // Another worker has the reason.
            None if self.collective.is_some() => CollectiveError::Left.into(),
            None => Error::NoBatches {
                pictures: self.train.dataset().records.len(),
                batch_size: self.train.loader().options().batch_size,
            },
        }
    }

    fn tell(&mut self, event: &Event<'_>) -> Control {
        self.callbacks
            .iter_mut()
            .fold(Control::Continue, |control, callback| merge(control, callback.on_event(event)))
    }

    fn world_size(&self) -> usize {
        self.collective.map_or(1, Collective::world_size)
    }

    /// Whether this worker evaluates and writes.
    fn is_first(&self) -> bool {
        self.collective.is_none_or(Collective::is_first)
    }

    /// Whether it is so on any worker.
    fn anywhere(&self, what: &'static str, here: bool) -> Result<bool, Error> {
        Ok(match self.collective {
            Some(group) => group.any(what, here)?,
            None => here,
        })
    }

    /// What all workers do next: they stop when one does.
    fn agree(&self, control: Control) -> Result<Control, Error> {
        let stop = self.anywhere("whether to stop", control == Control::Stop)?;
        Ok(if stop { Control::Stop } else { control })
    }

    fn checkpoint_due(&self, phase: &Phase<'_>, output: &Output) -> bool {
        let policy = phase.config.checkpoint;
        let by_steps = policy.every_steps > 0 && self.session.state.step.is_multiple_of(policy.every_steps);
        let by_time = policy.every_seconds > 0 && output.saved.elapsed().as_secs() >= policy.every_seconds;
        by_steps || by_time
    }
}

fn merge(a: Control, b: Control) -> Control {
    if a == Control::Stop { a } else { b }
}

/// Of the identities and labels of a data set, in their order.
fn checksum(dataset: &Dataset) -> u32 {
    let mut sum = 0;
    let mut add = |bytes: &[u8]| sum = crc32c::crc32c_append(sum, bytes);
    for record in &dataset.records {
        add(record.id.to_string().as_bytes());
        for object in &record.objects {
            let XyxyBox { x1, y1, x2, y2 } = object.bbox;
            add(&object.class_id.to_le_bytes());
            [x1, y1, x2, y2].iter().for_each(|edge| add(&edge.to_le_bytes()));
        }
    }
    sum
}

/// The first line in which two configurations differ.
fn difference(stored: &str, asked: &str) -> String {
    let (mut stored, mut asked): (VecDeque<&str>, VecDeque<&str>) =
        (stored.lines().collect(), asked.lines().collect());
    while let (Some(a), Some(b)) = (stored.front(), asked.front())
        && a == b
    {
        stored.pop_front();
        asked.pop_front();
    }
    let line =
        |lines: &VecDeque<&str>| lines.front().map_or("nothing".to_owned(), |line| format!("`{line}`"));
    format!("it was made with {}, now there is {}", line(&stored), line(&asked))
}
