//! One step of a run: gradients, what is wrong with them, and the update.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use effdet_data::Batch;
use effdet_heads::Normalizer;
use effdet_model::catch_out_of_memory;

use super::{Engine, Output, Phase, merge};
use crate::bad_step::{BadStep, BadStepKind, first_layer, first_not_finite, worst_picture};
use crate::clip::norm;
use crate::model::seeded;
use crate::module::{StepContext, read_numbers};
use crate::parameters::{assign, take_gradients, values};
use crate::schedule::{Position, Rate};
use crate::state::RunState;
use crate::{
    BadStepPolicy, Collective, Control, Error, Event, Hyper, Losses, Named, StepReport, TrainBatch,
    TrainConfig,
};

/// Losses that an explosion is measured against.
const RECENT: usize = 20;
/// Bad steps in a row that end a run.
const MAX_BAD: u64 = 10;

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
    /// One step of the optimiser.
    pub(super) fn step(
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

    pub(super) fn rate(&self, phase: &Phase<'_>) -> Rate {
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
        let plans: BTreeMap<&str, Hyper> = phase
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
}

/// A seed for a step (SplitMix64's finaliser).
fn mix(seed: u64, step: u64) -> u64 {
    let mut z = seed ^ step.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
