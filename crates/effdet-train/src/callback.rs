//! What happens during a run, for those who want to know.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{BadStep, EpochRecord, Losses};

/// A step that was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Steps made in the run.
    pub step: u64,
    /// Epochs completed.
    pub epoch: u64,
    /// Epochs of the whole run.
    pub epochs: u64,
    /// Steps made in this epoch.
    pub step_in_epoch: u64,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// Pictures of the step.
    pub pictures: usize,
    /// Its losses.
    pub losses: Losses,
    /// Its learning rate.
    pub lr: f64,
    /// Norm of all gradients before clipping.
    pub gradient_norm: f64,
}

/// Something that happened.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The run begins or goes on.
    Start {
        /// Epochs completed before.
        epoch: u64,
        /// Steps made before.
        step: u64,
        /// Epochs of the whole run.
        epochs: u64,
    },
    /// A step was made.
    Step(&'a StepReport),
    /// A step was left out.
    Bad(&'a BadStep),
    /// Gradients overflowed in half precision: the step was left out, and losses are scaled by less from now on.
    Overflow {
        /// Steps made before.
        step: u64,
        /// The new factor.
        factor: f64,
    },
    /// Pictures could not be read: in training others took their places, in an evaluation nothing is found in them.
    Skipped(&'a [effdet_data::loader::Skipped]),
    /// The evaluation begins.
    Validating,
    /// An epoch is over.
    Epoch(&'a EpochRecord),
    /// The evaluation was the best so far.
    Best(&'a EpochRecord),
    /// A checkpoint was written.
    Checkpoint(&'a Path),
}

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// It does.
    Continue,
    /// It writes a checkpoint and ends.
    Stop,
}

/// Someone who wants to know. Closures `FnMut(&Event) -> Control` are callbacks, too.
///
/// What is answered to [`Event::Start`] and [`Event::Checkpoint`] is not looked at: they only tell.
pub trait Callback {
    /// Takes note of an event.
    fn on_event(&mut self, event: &Event<'_>) -> Control;
}

impl<F: FnMut(&Event<'_>) -> Control> Callback for F {
    fn on_event(&mut self, event: &Event<'_>) -> Control {
        self(event)
    }
}

/// A flag that another thread or a signal handler sets to end a run after the current step.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks the run to end.
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it was asked to.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Callback for StopFlag {
    fn on_event(&mut self, _event: &Event<'_>) -> Control {
        if self.is_set() { Control::Stop } else { Control::Continue }
    }
}
