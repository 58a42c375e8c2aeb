//! The end of an epoch: evaluation, what is best, and when to stop.

use super::{Engine, Output, Phase, RunFiles, merge};
use crate::evaluate::{Evaluation, evaluate_as_set};
use crate::state::{Best, EpochRecord};
use crate::{Control, Error, Event, Losses, TrainConfig};

impl Engine<'_> {
    /// Evaluates where it is due, and writes what an epoch leaves.
    pub(super) fn end_epoch(
        &mut self,
        phase: &Phase<'_>,
        mut output: Option<&mut Output>,
    ) -> Result<Control, Error> {
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
                if !evaluation.skipped.is_empty() {
                    control = merge(control, self.tell(&Event::Skipped(&evaluation.skipped)));
                }
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
        let averages = self.session.ema.as_ref();
        let (config, criterion) = (phase.config, &phase.criterion);
        evaluate_as_set(self.model, self.module, config, criterion, averages, loader, self.metrics).map(Some)
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
        }
        if state.phase_best.is_none_or(|best| value > best) {
            state.phase_best = Some(value);
            state.since_best = 0;
        } else {
            state.since_best += 1;
            state.stopped_early = config.early_stop > 0 && state.since_best >= config.early_stop;
        }
        is_best
    }
}
