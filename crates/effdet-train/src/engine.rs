//! The loop that the learner, the trainer and the command share.

mod files;

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::Tensor;
use effdet_data::Batch;
use effdet_heads::{DetectionLoss, Normalizer};
use effdet_model::catch_out_of_memory;

use crate::bad_step::{BadStep, BadStepKind, first_layer, first_not_finite, worst_picture};
use crate::clip::norm;
use crate::evaluate::{Evaluation, Metric, evaluate};
use crate::groups::{layer_trains, norm_layers, trainable};
use crate::logs::EventFile;
use crate::model::seeded;
use crate::module::{OptimizerPlan, StepContext, TrainModule, read_numbers};
use crate::parameters::{assign, set_trainable, take_gradients, values};
use crate::schedule::{Position, Rate};
use crate::state::{self, Best, EpochRecord, RunState, RunTensors};
use crate::{
    BadStepPolicy, Callback, Collective, Control, DataLoader, DetectorModel, Ema, Error, Event, Hyper,
    LossScale, Losses, Named, Optimizer, StepReport, TrainBatch, TrainConfig,
};

/// Losses that an explosion is measured against.
const RECENT: usize = 20;
/// Bad steps in a row that end a run.
const MAX_BAD: u64 = 10;

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
    /// The metric did not improve any more.
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

/// What does not belong to the state.
struct Output {
    folder: PathBuf,
    events: EventFile,
    saved: Instant,
}

/// The summed gradients of a step and what led to them.
struct Gradients {
    sum: Named,
    /// The parts of the loss of each batch, and the share that a batch has in the step.
    losses: Vec<[Tensor<1>; 3]>,
    share: f64,
    pictures: usize,
    batches: Vec<TrainBatch>,
}

/// The numbers of a step on the host.
#[derive(Clone, Copy)]
struct StepNumbers {
    losses: Losses,
    norm: f64,
    pictures: usize,
}

impl Gradients {
    /// The means over the workers.
    fn reduce(&mut self, group: &Collective) {
        if self.sum.is_empty() {
            return;
        }
        // One exchange for all: a copy costs less than a meeting of the workers for each tensor.
        let all = Tensor::cat(self.sum.values().cloned().collect(), 0);
        let all = group.all_reduce(all).mul_scalar(1.0 / group.world_size() as f64);
        let mut start = 0;
        for gradient in self.sum.values_mut() {
            let length = gradient.dims()[0];
            *gradient = all.clone().narrow(0, start, length);
            start += length;
        }
    }

    /// The losses and the norm, waiting for the device once.
    fn read(&self, group: Option<&Collective>) -> Result<StepNumbers, Error> {
        let parts = self.losses.iter().flatten().cloned().chain(norm(&self.sum));
        let values = read_numbers(&parts.collect::<Vec<_>>())?;
        let (losses, norm) = values.split_at(3 * self.losses.len());
        let part = |at: usize| losses.iter().skip(at).step_by(3).sum::<f64>() * self.share;
        let numbers = [part(0), part(1), part(2), self.pictures as f64];
        let (numbers, share) = match group {
            Some(group) => (group.sum("the losses of a step", numbers)?, 1.0 / group.world_size() as f64),
            None => (numbers, 1.0),
        };
        let [total, class, boxes, pictures] = numbers;
        Ok(StepNumbers {
            losses: Losses { total: total * share, class: class * share, boxes: boxes * share },
            norm: norm.first().copied().unwrap_or_default(),
            pictures: pictures as usize,
        })
    }
}

impl Engine<'_> {
    /// Runs the phases one after the other, each with settings of its own; with `resume`, from the checkpoint in the
    /// folder if there is one.
    ///
    /// # Errors
    /// For settings out of range, pictures that cannot be read, a device or disk that fails, and bad steps where the
    /// policy says so.
    pub fn run(mut self, phases: &[TrainConfig], resume: bool) -> Result<Ending, Error> {
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
        let mut fingerprint = phases.iter().map(TrainConfig::fingerprint).collect::<Vec<_>>().join("\n");
        if self.world_size() > 1 {
            fingerprint.push_str(&format!("workers = {}\n", self.world_size()));
        }
        let mut output = self.open(&fingerprint, resume)?;
        if let Some(group) = self.collective {
            // Nobody writes while another still reads.
            group.all_gather("the start of a run", ())?;
        }
        let epochs_in_all = phases.iter().map(|phase| phase.epochs).sum();
        let RunState { epoch, step, .. } = self.session.state;
        self.tell(&Event::Start { epoch, step, epochs: epochs_in_all });

        while let Some(config) = phases.get(self.session.state.phase) {
            let phase = self.begin_phase(config, epochs_in_all)?;
            while self.session.state.phase_epoch < config.epochs && !self.session.state.stopped_early {
                if self.run_epoch(&phase, output.as_mut())? == Control::Stop {
                    self.publish(output.as_mut())?;
                    return Ok(Ending::Interrupted);
                }
            }
            if self.session.state.stopped_early {
                return Ok(Ending::EarlyStop);
            }
            let state = &mut self.session.state;
            (state.phase, state.phase_epoch, state.phase_step) = (state.phase + 1, 0, 0);
        }
        Ok(Ending::Finished)
    }

    /// Makes the folder and takes up a checkpoint in it.
    fn open(&mut self, fingerprint: &str, resume: bool) -> Result<Option<Output>, Error> {
        let Some(folder) = self.folder else {
            self.session.state = RunState {
                history: std::mem::take(&mut self.session.state.history),
                epoch: self.session.state.epoch,
                step: self.session.state.step,
                lr_factor: 1.0,
                config: fingerprint.to_owned(),
                ..RunState::default()
            };
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
            self.session.state =
                RunState { lr_factor: 1.0, config: fingerprint.to_owned(), ..RunState::default() };
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
        if state.normalizer.average.is_none() {
            state.normalizer = Normalizer::with_momentum(config.normalizer_momentum)?;
        }

        let batch_size = self.train.loader().options().batch_size * self.world_size();
        let per_step = batch_size as f64 * config.accumulate as f64;
        let scale = if config.lr_batch_size == 0 { 1.0 } else { per_step / config.lr_batch_size as f64 };
        Ok(Phase {
            config,
            criterion: config.loss.init()?,
            parameters,
            lr: plan.lr * scale,
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
        drop(batches);
        self.end_epoch(phase, output)
    }

    /// One step of the optimiser.
    fn step(
        &mut self,
        phase: &Phase<'_>,
        batches: &[Batch],
        output: Option<&mut Output>,
    ) -> Result<Control, Error> {
        let config = phase.config;
        let mut control = Control::Continue;
        for batch in batches.iter().filter(|batch| !batch.skipped.is_empty()) {
            control = merge(control, self.tell(&Event::Skipped(&batch.skipped)));
        }
        // Dropped paths are a function of the seed and the step.
        let step = self.session.state.step;
        seeded(self.model.device(), mix(config.seed, step), || ());
        let before = (self.model.network.clone(), self.session.state.normalizer);
        let device = self.model.device().clone();
        let whole = batches.iter().map(Batch::len).max().unwrap_or(0);
        // Devices compute behind: a lack of memory shows at the latest when the norm is read.
        let (gradients, numbers) = catch_out_of_memory(whole, &device, |pictures| {
            // Fewer pictures are an attempt of this worker, after a failure that ends the run.
            let together = self.collective.filter(|_| pictures == whole);
            if let (Some(group), None) = (self.collective, together) {
                group.leave();
            }
            let mut gradients = self.gradients(phase, batches, pictures, together)?;
            if let Some(group) = together {
                gradients.reduce(group);
            }
            let numbers = gradients.read(together)?;
            Ok::<_, Error>((gradients, numbers))
        })?;
        let StepNumbers { losses, norm, pictures } = numbers;
        let rate = self.rate(phase);
        let scaling = config.scaling();
        if let (Some(scaling), Some(scale)) = (&scaling, &mut self.session.state.loss_scale)
            && losses.total.is_finite()
            && !norm.is_finite()
            && scale.is_suspect()
        {
            scale.overflowed(scaling);
            let event = Event::Overflow { step, factor: scale.factor };
            (self.model.network, self.session.state.normalizer) = before;
            self.session.state.step += 1;
            self.session.state.phase_step += 1;
            control = merge(control, self.tell(&event));
            return self.agree(control);
        }
        if let Some(kind) = self.judge(config, losses, norm) {
            let bad = self.diagnose(phase, kind, &gradients, losses)?;
            (self.model.network, self.session.state.normalizer) = before;
            control = merge(control, self.leave_out(config, bad)?);
            return self.agree(control);
        }

        if !gradients.sum.is_empty() {
            let weights = values(&self.model.network);
            let clipped = config.clip.apply(gradients.sum, norm, &weights, &phase.parameters);
            self.update(phase, rate, &weights, clipped);
        }
        let state = &mut self.session.state;
        if let (Some(scaling), Some(scale)) = (&scaling, &mut state.loss_scale) {
            scale.kept(scaling);
        }
        state.bad_in_row = 0;
        state.recent.push(losses.total);
        if state.recent.len() > RECENT {
            state.recent.remove(0);
        }
        state.sums.total += losses.total;
        state.sums.class += losses.class;
        state.sums.boxes += losses.boxes;
        state.counted += 1;
        state.step += 1;
        state.phase_step += 1;
        let step = state.step;
        if let Some(ema) = &mut self.session.ema {
            ema.update(values(&self.model.network), step);
        }

        let report = StepReport {
            step,
            epoch: self.session.state.epoch,
            epochs: phase.epochs_in_all,
            step_in_epoch: self.session.state.batch / config.accumulate + 1,
            steps_per_epoch: phase.steps_per_epoch,
            pictures,
            losses,
            lr: rate.lr,
            gradient_norm: norm,
        };
        if let Some(output) = output
            && config.log_every > 0
            && step.is_multiple_of(config.log_every)
        {
            let scalars = [
                ("train/loss", losses.total),
                ("train/class_loss", losses.class),
                ("train/box_loss", losses.boxes),
                ("train/gradient_norm", norm),
                ("lr", rate.lr),
            ];
            output.events.scalars(step, &scalars)?;
        }
        let control = merge(control, self.tell(&Event::Step(&report)));
        self.agree(control)
    }

    /// The averaged gradients of the batches of a step, of no more than `pictures` of each.
    fn gradients(
        &mut self,
        phase: &Phase<'_>,
        batches: &[Batch],
        pictures: usize,
        together: Option<&Collective>,
    ) -> Result<Gradients, Error> {
        let share = 1.0 / batches.len() as f64;
        let mut all =
            Gradients { sum: Named::new(), losses: Vec::new(), share, pictures: 0, batches: Vec::new() };
        // A power of two, unless asked otherwise: nothing is rounded by it.
        let scale = self.session.state.loss_scale.map_or(1.0, |scale| scale.factor);
        let _precision = phase.config.precision.enter();
        let _entered = together.map(|group| group.enter(mix(phase.config.seed, self.session.state.step)));
        for batch in batches {
            let batch = self.model.batch(batch)?.first(pictures);
            let mut context = StepContext {
                config: phase.config,
                criterion: &phase.criterion,
                normalizer: &mut self.session.state.normalizer,
            };
            let loss = self.module.training_step(self.model, &batch, &mut context)?;
            let scaled = loss.total.clone();
            let scaled = if scale == 1.0 { scaled } else { scaled.mul_scalar(scale) };
            let mut found = scaled.backward();
            all.losses.push(loss.parts());
            for (name, gradient) in take_gradients(&self.model.network, &mut found) {
                let factor = share / scale;
                let gradient = if factor == 1.0 { gradient } else { gradient.mul_scalar(factor) };
                let sum = match all.sum.remove(&name) {
                    Some(sum) => sum + gradient,
                    None => gradient,
                };
                all.sum.insert(name, sum);
            }
            all.pictures += batch.len();
            all.batches.push(batch);
        }
        Ok(all)
    }

    fn rate(&self, phase: &Phase<'_>) -> Rate {
        let state = &self.session.state;
        let at = Position {
            step: state.phase_step,
            epoch: state.phase_epoch,
            total_steps: phase.steps_per_epoch * phase.config.epochs,
            total_epochs: phase.config.epochs,
        };
        let rate = phase.config.schedule.rate(phase.lr, at, &state.plateau, phase.config.seed);
        Rate { lr: rate.lr * state.lr_factor, ..rate }
    }

    fn update(&mut self, phase: &Phase<'_>, rate: Rate, weights: &Named, gradients: Named) {
        let Some(optimizer) = &mut self.session.optimizer else { return };
        optimizer.rule = match rate.momentum {
            Some(momentum) => phase.plan.rule.with_momentum(momentum),
            None => phase.plan.rule,
        };
        let plans: std::collections::BTreeMap<&str, Hyper> = phase
            .plan
            .parameters
            .iter()
            .map(|p| (p.name.as_str(), Hyper { lr: rate.lr * p.lr_scale, weight_decay: p.weight_decay }))
            .collect();
        let planned = |name: &str| plans.get(name).copied();
        let gradients = gradients.into_iter().filter(|(name, _)| planned(name).is_some()).collect();
        let still = Hyper { lr: 0.0, weight_decay: 0.0 };
        let updated = optimizer.step(weights, gradients, |name| planned(name).unwrap_or(still));
        let network = self.model.network.clone();
        self.model.network = assign(network, updated);
    }

    fn judge(&self, config: &TrainConfig, losses: Losses, norm: f64) -> Option<BadStepKind> {
        if !losses.total.is_finite() {
            return Some(BadStepKind::Loss);
        }
        if !norm.is_finite() {
            return Some(BadStepKind::Gradient);
        }
        let recent = &self.session.state.recent;
        let mean = recent.iter().sum::<f64>() / recent.len().max(1) as f64;
        let exploded =
            config.explosion > 0.0 && recent.len() == RECENT && losses.total > config.explosion * mean;
        exploded.then_some(BadStepKind::Explosion)
    }

    fn diagnose(
        &mut self,
        phase: &Phase<'_>,
        kind: BadStepKind,
        gradients: &Gradients,
        losses: Losses,
    ) -> Result<BadStep, Error> {
        let context = StepContext {
            config: phase.config,
            criterion: &phase.criterion,
            normalizer: &mut Normalizer::default(),
        };
        let mut layer = None;
        let mut picture: Option<(f64, String)> = None;
        for batch in &gradients.batches {
            if layer.is_none() {
                layer = first_layer(&self.model.network, batch);
            }
            if picture.is_none()
                && let Some((worst, loss)) = worst_picture(self.model, batch, &context)?
            {
                let record = self.train.dataset().records.get(batch.indices[worst]);
                picture = record.map(|record| (loss, record.path.display().to_string()));
            }
        }
        if layer.is_none() {
            layer = first_not_finite(&gradients.sum).map(|name| format!("the gradient of {name}"));
        }
        if let Some(group) = self.collective {
            let all = group.all_gather("the cause of a bad step", (picture, layer))?;
            let pictures = all.iter().filter_map(|found| found.0.clone());
            picture = pictures.max_by(|a, b| a.0.total_cmp(&b.0));
            layer = all.iter().find_map(|found| found.1.clone());
        }
        let RunState { epoch, step, .. } = self.session.state;
        let picture = picture.map(|(_, name)| name);
        Ok(BadStep { kind, epoch, step, losses, picture, layer })
    }

    fn leave_out(&mut self, config: &TrainConfig, bad: BadStep) -> Result<Control, Error> {
        let state = &mut self.session.state;
        state.bad += 1;
        state.bad_in_row += 1;
        if config.bad_step == BadStepPolicy::Stop || state.bad_in_row >= MAX_BAD {
            return Err(Error::BadStep(Box::new(bad)));
        }
        if config.bad_step == BadStepPolicy::Halve {
            state.lr_factor /= 2.0;
        }
        state.step += 1;
        state.phase_step += 1;
        Ok(self.tell(&Event::Bad(&bad)))
    }

    fn end_epoch(&mut self, phase: &Phase<'_>, mut output: Option<&mut Output>) -> Result<Control, Error> {
        let config = phase.config;
        let lr = self.session.state.phase_step.checked_sub(1).map_or(phase.lr, |_| {
            self.session.state.phase_step -= 1;
            let lr = self.rate(phase).lr;
            self.session.state.phase_step += 1;
            lr
        });
        let state = &mut self.session.state;
        let share = if state.counted == 0 { 0.0 } else { 1.0 / state.counted as f64 };
        let train = Losses {
            total: state.sums.total * share,
            class: state.sums.class * share,
            boxes: state.sums.boxes * share,
        };
        state.epoch += 1;
        state.phase_epoch += 1;
        (state.batch, state.sums, state.counted) = (0, Losses::default(), 0);
        let mut record =
            EpochRecord { epoch: state.epoch, step: state.step, lr, train, valid: None, metrics: Vec::new() };

        let is_last = state.phase_epoch == config.epochs && state.epoch == phase.epochs_in_all;
        let epoch = state.epoch;
        let due = config.validate_every > 0 && epoch.is_multiple_of(config.validate_every);
        let mut is_best = false;
        let mut found = None;
        let mut control = Control::Continue;
        if due || is_last {
            control = self.tell(&Event::Validating);
            let mut numbers = None;
            if let Some(evaluation) = self.evaluate(phase)? {
                numbers = Some((evaluation.losses, evaluation.metrics));
                found = Some(evaluation.detections);
            }
            if let Some(group) = self.collective {
                numbers = group.broadcast("an evaluation", numbers)?;
            }
            if let Some((losses, metrics)) = numbers {
                record.valid = Some(losses);
                record.metrics = metrics;
                is_best = self.rank(config, &record);
            }
        }
        if let Some(output) = output.as_deref_mut() {
            let mut scalars = vec![("epoch/train_loss", train.total)];
            scalars.extend(record.valid.map(|valid| ("epoch/valid_loss", valid.total)));
            let named: Vec<(String, f64)> =
                record.metrics.iter().map(|(name, value)| (format!("valid/{name}"), *value)).collect();
            scalars.extend(named.iter().map(|(name, value)| (name.as_str(), *value)));
            output.events.scalars(record.step, &scalars)?;
        }
        self.session.state.history.push(record.clone());
        if let Some((output, valid, found)) = output
            .as_deref()
            .zip(self.valid)
            .zip(found)
            .map(|((output, valid), found)| (output, valid, found))
        {
            self.save_page(phase, &output.folder, valid.dataset(), &found)?;
        }
        control = merge(control, self.tell(&Event::Epoch(&record)));
        if is_best {
            control = merge(control, self.tell(&Event::Best(&record)));
        }
        let every = config.checkpoint.every_epochs;
        let save = every > 0 && epoch.is_multiple_of(every);
        if is_best && let Some(output) = output.as_deref_mut() {
            self.save_weights(&output.folder.join(RunFiles::BEST))?;
        }
        if let Some(output) = output.as_deref_mut() {
            self.keep_top(config, &record, output)?;
        }
        if save || is_best || is_last || self.session.state.stopped_early {
            self.publish(output)?;
        }
        self.agree(control)
    }

    fn evaluate(&mut self, phase: &Phase<'_>) -> Result<Option<Evaluation>, Error> {
        let Some(loader) = self.valid.filter(|_| self.is_first()) else { return Ok(None) };
        let training = self.model.network.clone();
        if let Some(ema) = &self.session.ema {
            self.model.network = assign(training.clone(), ema.values.clone());
        }
        let decode = self.model.config().decode;
        self.model.config_mut().decode.score_threshold = phase.config.score_threshold;
        let context = StepContext {
            config: phase.config,
            criterion: &phase.criterion,
            normalizer: &mut Normalizer::default(),
        };
        let result = evaluate(self.model, self.module, &context, loader, self.metrics);
        self.model.network = training;
        self.model.config_mut().decode = decode;
        result.map(Some)
    }

    /// Takes note of an evaluation; true if it is the best so far.
    fn rank(&mut self, config: &TrainConfig, record: &EpochRecord) -> bool {
        let state = &mut self.session.state;
        let Some(value) = record.metric(&config.monitor).filter(|value| value.is_finite()) else {
            return false;
        };
        state.plateau.update(&config.schedule.curve, value);
        let is_best = state.best.as_ref().is_none_or(|best| value > best.value);
        if is_best {
            state.best = Some(Best { value, epoch: record.epoch });
            state.since_best = 0;
        } else {
            state.since_best += 1;
            state.stopped_early = config.early_stop > 0 && state.since_best >= config.early_stop;
        }
        is_best
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

/// A seed for a step (SplitMix64's finaliser).
fn mix(seed: u64, step: u64) -> u64 {
    let mut z = seed ^ step.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
