//! Training of EfficientDet detectors: learner, trainer, optimisers, schedules, exact resume.
//!
//! Use it for detectors of `effdet-model`, with data of `effdet-data` or a loader of one's own; its optimisers and
//! schedules, which go by the names of tensors, serve any Burn module:
//!
//! ```
//! use effdet_train::{Curve, Interval, Plateau, Position, Schedule, Warmup};
//!
//! let schedule = Schedule {
//!     interval: Interval::Step,
//!     warmup: Warmup { length: 10, ..Warmup::default() },
//!     curve: Curve::Cosine { min: 0.0, lift: 0.0 },
//!     ..Schedule::default()
//! };
//! let at = |step| Position { step, epoch: 0, total_steps: 100, total_epochs: 1 };
//! let rate = |step| schedule.rate(2e-3, at(step), &Plateau::default(), 0).lr;
//! assert!(rate(0) < rate(9) && rate(9) > rate(50) && rate(99) < 1e-5);
//! ```
//!
//! [`Learner`] trains in one line, [`Trainer`] runs the steps of a [`TrainModule`] of one's own, [`RunConfig`] is a run as a
//! file; all three go through [`Engine`]. For a loop by hand there are [`DetectorModel::batch`], [`take_gradients`],
//! [`Optimizer`] and [`assign`]. Parameters, optimiser state, averages and checkpoints go by the names of the checkpoint.
//!
//! Order, augmentation and dropped paths are functions of seed, epoch and step, and a checkpoint holds all that a run
//! remembers, so a run that was stopped goes on to the bytes of one that was not.

mod bad_step;
mod callback;
mod clip;
mod config;
mod ema;
mod engine;
mod error;
mod evaluate;
mod groups;
mod learner;
mod loader;
mod logs;
mod loss_scale;
mod lr_find;
mod model;
mod module;
mod network;
mod optimizer;
mod parameters;
mod plots;
mod report;
mod run;
mod run_config;
mod schedule;
mod state;
mod trainer;
mod workers;

pub use effdet_nn::{Collective, Precision};

pub use bad_step::{BadStep, BadStepKind};
pub use callback::{Callback, Control, Event, StepReport, StopFlag};
pub use clip::{Clip, norm};
pub use config::{BadStepPolicy, CheckpointPolicy, TrainConfig};
pub use ema::{Ema, EmaConfig};
pub use engine::{Ending, Engine, RunFiles, Session};
pub use error::Error;
pub use evaluate::{
    CocoMetric, Evaluation, Losses, Metric, NamedMetric, coco_numbers, detections, evaluate, ground_truth,
    image_id,
};
pub use groups::{DecayMask, GROUPS, Part};
pub use learner::{Learner, TopLoss};
pub use loader::DataLoader;
pub use logs::EventFile;
pub use loss_scale::{LossScale, LossScaling};
pub use lr_find::{LrFind, LrFindOptions};
pub use model::{DetectorModel, TrainBatch};
pub use module::{
    DefaultModule, OptimizerPlan, ParameterPlan, StepContext, StepLoss, TrainModule, ValidationOutput,
};
pub use optimizer::{AdamConstants, Hyper, Optimizer, ParameterState, Rule};
pub use parameters::{Named, Parameter, assign, parameters, take_gradients, values};
pub use plots::{save_diagnosis, save_history, save_predictions};
pub use report::{ClassNumber, ClassTable, Report, save_report};
pub use run::Prepared;
pub use run_config::{Augment, DataConfig, Layer, Recipe, RunConfig};
pub use schedule::{Curve, Interval, Noise, Plateau, Position, Rate, Schedule, Warmup};
pub use state::{Best, EpochRecord, RunState};
pub use trainer::Trainer;
pub use workers::run_workers;
