//! Training in one line.

use std::path::{Path, PathBuf};

use burn::module::Module;
use effdet_core::Detection;
use effdet_data::{DecodeLimits, decode_file};
use effdet_heads::{Frame, Normalizer};
use effdet_viz::{Style, annotate, grid};
use image::RgbImage;

use crate::bad_step::picture_losses;
use crate::evaluate::{Evaluation, Metric, evaluate_as_set};
use crate::lr_find::{LrFind, LrFindOptions, find_rate};
use crate::module::StepContext;
use crate::parameters::assign;
use crate::run_config::fine_tune_phases;
use crate::{
    Callback, Control, Curve, DataLoader, DefaultModule, DetectorModel, Ending, Engine, EpochRecord, Error,
    Event, Losses, Part, Schedule, Session, TrainConfig, TrainModule,
};

/// A model with its data, ready to be trained.
///
/// ```no_run
/// use burn::tensor::Device;
/// use effdet_core::ImageSize;
/// use effdet_data::{Format, LabelFormat, ParseOptions, Source};
/// use effdet_train::{CocoMetric, DataLoader, DetectorModel, Learner};
///
/// let parsed = Format::Pets.parse(&Source::new("pets"), &ParseOptions::default())?;
/// let parts = effdet_data::split::random(&parsed.dataset, &[0.8, 0.2], 0)?;
/// let (train, valid) = (parsed.dataset.subset(&parts[0]), parsed.dataset.subset(&parts[1]));
///
/// let size = ImageSize::square(384);
/// let model = DetectorModel::named("tf_efficientdet_lite0", &train.class_map, size, &Device::flex())?;
/// let (model, _) = model.load("tf_efficientdet_lite0-dfacfc78.pth")?;
/// let train = DataLoader::train(train, model.preprocess(), 16, 0)?;
/// let valid = DataLoader::valid(valid, model.preprocess(), 16)?;
/// let mut learner = Learner::new(model, train, valid).metrics([CocoMetric::default()]);
/// learner.fine_tune(10, 1e-2, 1)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Reference
/// fastai `Learner`, with IceVision's adapters for EfficientDet.
pub struct Learner {
    model: DetectorModel,
    train: DataLoader,
    valid: DataLoader,
    module: Box<dyn TrainModule>,
    config: TrainConfig,
    metrics: Vec<Box<dyn Metric>>,
    callbacks: Vec<Box<dyn Callback>>,
    folder: Option<PathBuf>,
    session: Session,
}

impl Learner {
    /// A learner with fastai's settings and no metric.
    pub fn new(model: DetectorModel, train: DataLoader, valid: DataLoader) -> Self {
        Self {
            model,
            train,
            valid,
            module: Box::new(DefaultModule),
            config: TrainConfig::fastai(),
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

    /// Computes steps as `module` does.
    #[must_use]
    pub fn module(mut self, module: impl TrainModule + 'static) -> Self {
        self.module = Box::new(module);
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

    /// Trains for `epochs` at a constant rate.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn fit(&mut self, epochs: u64, lr: f64) -> Result<&[EpochRecord], Error> {
        let schedule = Schedule { curve: Curve::Constant, ..Schedule::one_cycle() };
        self.run(&[TrainConfig { epochs, lr, schedule, ..self.config.clone() }])
    }

    /// Trains for `epochs`, the rate going up to `lr` and down to next to nothing.
    ///
    /// # Errors
    /// As [`Engine::run`].
    ///
    /// # Reference
    /// fastai `fit_one_cycle`.
    pub fn fit_one_cycle(&mut self, epochs: u64, lr: f64) -> Result<&[EpochRecord], Error> {
        self.run(&[TrainConfig { epochs, lr, schedule: Schedule::one_cycle(), ..self.config.clone() }])
    }

    /// Trains the heads alone for `freeze_epochs`, then everything for `epochs`, with lower rates towards the picture. What
    /// was frozen before is not any more.
    ///
    /// # Errors
    /// As [`Engine::run`].
    ///
    /// # Reference
    /// fastai `fine_tune`.
    pub fn fine_tune(&mut self, epochs: u64, lr: f64, freeze_epochs: u64) -> Result<&[EpochRecord], Error> {
        // Freezing forgets what the optimiser remembers.
        self.unfreeze();
        let config = TrainConfig { epochs, lr, ..self.config.clone() };
        self.run(&fine_tune_phases(&config, freeze_epochs, 100.0, 0.3, 5.0))
    }

    /// Trains through phases, each with settings of its own.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn run(&mut self, phases: &[TrainConfig]) -> Result<&[EpochRecord], Error> {
        self.run_phases(phases)?;
        Ok(&self.session.state.history)
    }

    fn run_phases(&mut self, phases: &[TrainConfig]) -> Result<Ending, Error> {
        let callbacks = &mut self.callbacks;
        let forward = move |event: &Event<'_>| {
            let stop =
                callbacks.iter_mut().map(|callback| callback.on_event(event)).filter(|c| *c == Control::Stop);
            if stop.count() > 0 { Control::Stop } else { Control::Continue }
        };
        let ending = Engine {
            model: &mut self.model,
            module: &mut *self.module,
            train: &self.train,
            valid: Some(&self.valid),
            metrics: &self.metrics,
            callbacks: vec![Box::new(forward)],
            folder: self.folder.as_deref(),
            session: &mut self.session,
            collective: None,
        }
        .run(phases, true)?;
        // The next fit is another run.
        if ending != Ending::Interrupted {
            self.folder = None;
        }
        Ok(ending)
    }

    /// Keeps these parts as they are from now on, batch norms included, and trains the others.
    pub fn freeze(&mut self, parts: impl IntoIterator<Item = Part>) {
        self.config.freeze = parts.into_iter().collect();
        self.config.train_frozen_norms = false;
        self.session.optimizer = None;
    }

    /// Keeps all but the heads as they are, batch norms excepted.
    ///
    /// # Reference
    /// fastai `freeze`.
    pub fn freeze_to_heads(&mut self) {
        self.freeze([Part::Backbone, Part::FeatureNetwork]);
        self.config.train_frozen_norms = true;
    }

    /// Trains all parts.
    pub fn unfreeze(&mut self) {
        self.freeze([]);
    }

    /// Tries rates from tiny to huge on the training pictures; the weights are as before afterwards.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn lr_find(&mut self, options: LrFindOptions) -> Result<LrFind, Error> {
        find_rate(&mut self.model, &mut *self.module, &self.train, &self.config, options)
    }

    /// What was found in a picture, best first, in its pixels.
    ///
    /// # Errors
    /// If the picture has no pixels or the device fails.
    pub fn predict(&self, picture: &RgbImage) -> Result<Vec<Detection>, Error> {
        let preprocess = self.model.preprocess();
        let prepared = preprocess.apply(picture)?;
        let planes = preprocess.normalize(&prepared);
        let shape = [1, 3, preprocess.size.height, preprocess.size.width];
        let data = burn::tensor::TensorData::new(planes, shape);
        let device = self.model.device().clone().without_autodiff();
        let pictures = burn::tensor::Tensor::from_data(data, &device);
        let predictor = effdet_model::Predictor::new(self.network(), self.model.config().clone());
        let frame = Some(Frame::from(&prepared.letterbox));
        Ok(predictor.detect(pictures, &[frame])?.pop().unwrap_or_default())
    }

    /// Detections, losses and metrics on the validation pictures.
    ///
    /// # Errors
    /// If a picture cannot be read or the device fails.
    pub fn validate(&mut self) -> Result<Evaluation, Error> {
        let criterion = self.config.loss.init()?;
        let (module, averages) = (&mut *self.module, self.session.ema.as_ref());
        let (config, valid, metrics) = (&self.config, &self.valid, &self.metrics);
        evaluate_as_set(&mut self.model, module, config, &criterion, averages, valid, metrics)
    }

    /// The first validation pictures, each with its labels to the left and what was found with a score of at least
    /// `score` to the right.
    ///
    /// # Errors
    /// If a picture cannot be read or the device fails.
    pub fn show_results(&self, count: usize, score: f32) -> Result<RgbImage, Error> {
        let indices: Vec<usize> = (0..count.min(self.valid.dataset().records.len())).collect();
        self.pairs(&indices, score)
    }

    /// The validation pictures with the largest losses, largest first.
    ///
    /// # Errors
    /// If a picture cannot be read or the device fails.
    pub fn top_losses(&mut self, count: usize) -> Result<Vec<TopLoss>, Error> {
        let criterion = self.config.loss.init()?;
        let context = StepContext {
            config: &self.config,
            criterion: &criterion,
            normalizer: &mut Normalizer::default(),
        };
        let network = self.network();
        let mut losses = Vec::new();
        for batch in self.valid.loader().epoch(0) {
            let batch = self.model.batch(&batch?)?;
            let found = picture_losses(&self.model, &network, &batch, &context)?;
            losses.extend(batch.indices.iter().zip(found).map(|(index, losses)| TopLoss {
                index: *index,
                path: self.valid.dataset().records[*index].path.clone(),
                losses,
            }));
        }
        losses.sort_by(|a, b| b.losses.total.total_cmp(&a.losses.total));
        losses.truncate(count);
        Ok(losses)
    }

    /// The pictures of [`top_losses`](Self::top_losses), labels to the left, detections to the right.
    ///
    /// # Errors
    /// If a picture cannot be read or the device fails.
    pub fn plot_top_losses(&mut self, count: usize, score: f32) -> Result<RgbImage, Error> {
        let indices: Vec<usize> = self.top_losses(count)?.into_iter().map(|top| top.index).collect();
        self.pairs(&indices, score)
    }

    fn pairs(&self, indices: &[usize], score: f32) -> Result<RgbImage, Error> {
        let mut pictures = Vec::new();
        for index in indices {
            let record = &self.valid.dataset().records[*index];
            let picture = decode_file(&record.path, &DecodeLimits::default())?;
            let found: Vec<Detection> =
                self.predict(&picture)?.into_iter().filter(|found| found.score >= score).collect();
            pictures.extend(pair(&picture, record, &found, self.valid.class_map()));
        }
        Ok(grid(&pictures, 2))
    }

    /// The network that detects, in evaluation mode: averaged where there is an average.
    fn network(&self) -> effdet_model::EfficientDet {
        let network = self.model.network.valid();
        match &self.session.ema {
            Some(ema) => assign(network, ema.values.clone()),
            None => network,
        }
    }

    /// The model.
    pub fn model(&self) -> &DetectorModel {
        &self.model
    }

    /// Every epoch so far.
    pub fn history(&self) -> &[EpochRecord] {
        &self.session.state.history
    }

    /// Writes the weights that detect, with everything needed to use them.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let metadata = self.model.metadata().to_map();
        Ok(effdet_weights::save_safetensors(&self.network(), path, &metadata, effdet_weights::identity_keys)?)
    }
}

/// A picture with its labels, and with what was found in it.
pub(crate) fn pair(
    picture: &RgbImage,
    record: &effdet_data::Record,
    found: &[Detection],
    classes: &effdet_core::ClassMap,
) -> [RgbImage; 2] {
    let labels: Vec<Detection> = record
        .objects
        .iter()
        .map(|object| Detection { bbox: object.bbox, class_id: object.class_id, score: 1.0 })
        .collect();
    // Labels have no score.
    [(labels.as_slice(), false), (found, true)].map(|(boxes, scores)| {
        let mut picture = picture.clone();
        annotate(&mut picture, boxes, classes, &Style { scores, ..Style::default() });
        picture
    })
}

/// A picture with a large loss.
#[derive(Clone, Debug, PartialEq)]
pub struct TopLoss {
    /// Its place in the validation set.
    pub index: usize,
    /// Its file.
    pub path: PathBuf,
    /// Its losses.
    pub losses: Losses,
}
