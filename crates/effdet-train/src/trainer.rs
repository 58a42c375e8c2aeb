//! Training with a user's own steps.

use std::path::PathBuf;

use crate::evaluate::Metric;
use crate::{
    Callback, Control, Curve, DataLoader, DetectorModel, Ending, Engine, EpochRecord, Error, Event, Schedule,
    Session, TrainConfig, TrainModule,
};

/// Runs a module's steps over data.
///
/// ```no_run
/// # use effdet_train::*;
/// # fn demo(mut model: DetectorModel, train: DataLoader, valid: DataLoader) -> Result<(), Error> {
/// struct LightModel;
///
/// impl TrainModule for LightModel {
///     fn configure_optimizers(&self, parameters: &[Parameter], config: &TrainConfig) -> OptimizerPlan {
///         OptimizerPlan { rule: Rule::sgd(), lr: 1e-4, ..OptimizerPlan::new(parameters, config) }
///     }
/// }
///
/// let mut trainer = Trainer::new(10).metrics([CocoMetric::default()]);
/// trainer.fit(&mut LightModel, &mut model, &train, &valid)?;
/// # Ok(())
/// # }
/// ```
///
/// # Reference
/// PyTorch Lightning's `Trainer`, with IceVision's `ModelAdapter` as the defaults of [`TrainModule`].
pub struct Trainer {
    config: TrainConfig,
    metrics: Vec<Box<dyn Metric>>,
    callbacks: Vec<Box<dyn Callback>>,
    folder: Option<PathBuf>,
    session: Session,
}

impl Trainer {
    /// A trainer for this many epochs at a constant rate.
    pub fn new(max_epochs: u64) -> Self {
        let schedule = Schedule { curve: Curve::Constant, ..Schedule::one_cycle() };
        Self {
            config: TrainConfig { epochs: max_epochs, schedule, ..TrainConfig::default() },
            metrics: Vec::new(),
            callbacks: Vec::new(),
            folder: None,
            session: Session::default(),
        }
    }

    /// Judges by these, too.
    #[must_use]
    pub fn metrics<M: Metric + 'static>(mut self, metrics: impl IntoIterator<Item = M>) -> Self {
        self.metrics.extend(metrics.into_iter().map(|metric| Box::new(metric) as Box<dyn Metric>));
        self
    }

    /// Tells this one, too.
    #[must_use]
    pub fn callback(mut self, callback: impl Callback + 'static) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// Changes the settings.
    #[must_use]
    pub fn config(mut self, change: impl FnOnce(&mut TrainConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Writes checkpoints, weights and numbers of the next fit into `folder`; those after it write nothing. A run in there
    /// that was not finished goes on.
    #[must_use]
    pub fn save_to(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Trains. Each fit is a run of its own, with an optimiser, averages and numbers of its own.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn fit(
        &mut self,
        module: &mut dyn TrainModule,
        model: &mut DetectorModel,
        train: &DataLoader,
        valid: &DataLoader,
    ) -> Result<Ending, Error> {
        // It is of the model that was trained before.
        self.session = Session::default();
        let callbacks = &mut self.callbacks;
        let forward = move |event: &Event<'_>| {
            let stop =
                callbacks.iter_mut().map(|callback| callback.on_event(event)).filter(|c| *c == Control::Stop);
            if stop.count() > 0 { Control::Stop } else { Control::Continue }
        };
        let ending = Engine {
            model,
            module,
            train,
            valid: Some(valid),
            metrics: &self.metrics,
            callbacks: vec![Box::new(forward)],
            folder: self.folder.as_deref(),
            session: &mut self.session,
            collective: None,
        }
        .run(std::slice::from_ref(&self.config), true)?;
        // The next fit is another run.
        if ending != Ending::Interrupted {
            self.folder = None;
        }
        Ok(ending)
    }

    /// Every epoch of the last fit.
    pub fn history(&self) -> &[EpochRecord] {
        &self.session.state.history
    }
}
