//! What a user may change about training.

use burn::tensor::Tensor;
use effdet_core::Detection;
use effdet_heads::{BatchTargets, DetectionLoss, Normalizer};
use effdet_model::{EfficientDet, HeadOutputs};
use effdet_nn::Collective;

use crate::{DetectorModel, Error, Losses, Parameter, Rule, TrainBatch, TrainConfig};

/// The steps of training and validation, each with a default: implement only what differs.
///
/// ```
/// use effdet_train::{OptimizerPlan, Parameter, Rule, TrainConfig, TrainModule};
///
/// /// Plain gradient descent.
/// struct Sgd;
///
/// impl TrainModule for Sgd {
///     fn configure_optimizers(&self, parameters: &[Parameter], config: &TrainConfig) -> OptimizerPlan {
///         let rule = Rule::Sgd { momentum: 0.0, dampening: 0.0, nesterov: false };
///         OptimizerPlan { rule, ..OptimizerPlan::new(parameters, &TrainConfig { lr: 1e-4, ..config.clone() }) }
///     }
/// }
/// ```
pub trait TrainModule {
    /// The loss of a batch; its `total` is differentiated.
    ///
    /// # Errors
    /// Ends the run.
    fn training_step(
        &mut self,
        model: &DetectorModel,
        batch: &TrainBatch,
        context: &mut StepContext<'_>,
    ) -> Result<StepLoss, Error> {
        let outputs = model.network.forward(batch.pictures.clone());
        context.loss(model, &outputs, batch)
    }

    /// Losses and detections of a batch. `network` is the one to evaluate: in evaluation mode, with averaged weights where
    /// there are some.
    ///
    /// # Errors
    /// Ends the run.
    fn validation_step(
        &mut self,
        model: &DetectorModel,
        network: &EfficientDet,
        batch: &TrainBatch,
        context: &StepContext<'_>,
    ) -> Result<ValidationOutput, Error> {
        let outputs = network.forward(batch.pictures.clone());
        let targets = context.targets(model, &outputs, batch)?;
        let normalizer = targets.num_positives() as f64 + 1.0;
        let loss = context.criterion.forward_normalized(
            &outputs.class_logits,
            &outputs.box_deltas,
            &targets,
            normalizer,
        )?;
        let loss = StepLoss { total: loss.total, class: loss.class, boxes: loss.boxes };
        Ok(ValidationOutput { losses: loss.read()?, detections: model.detections(&outputs, batch)? })
    }

    /// The update rule and the rate and decay of every parameter.
    fn configure_optimizers(&self, parameters: &[Parameter], config: &TrainConfig) -> OptimizerPlan {
        OptimizerPlan::new(parameters, config)
    }
}

/// All defaults.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultModule;

impl TrainModule for DefaultModule {}

/// What a step may use besides model and batch.
pub struct StepContext<'a> {
    /// The settings.
    pub config: &'a TrainConfig,
    /// The loss.
    pub criterion: &'a DetectionLoss,
    /// What training losses are divided by.
    pub normalizer: &'a mut Normalizer,
}

impl StepContext<'_> {
    /// What the anchors of a batch are to learn.
    ///
    /// # Errors
    /// For boxes that are not finite.
    pub fn targets(
        &self,
        model: &DetectorModel,
        outputs: &HeadOutputs,
        batch: &TrainBatch,
    ) -> Result<BatchTargets, Error> {
        let anchors = model.anchors(batch.size(), outputs)?;
        Ok(BatchTargets::assign(&anchors, &batch.truths, &self.config.matching)?)
    }

    /// The detection loss of outputs. With several workers it is divided by their share of all positive anchors, so that
    /// the mean of the workers' losses is the loss of the batch that they have together.
    ///
    /// # Errors
    /// If the labels do not fit the outputs, or another worker has ended.
    pub fn loss(
        &mut self,
        model: &DetectorModel,
        outputs: &HeadOutputs,
        batch: &TrainBatch,
    ) -> Result<StepLoss, Error> {
        let targets = self.targets(model, outputs, batch)?;
        let normalizer = match Collective::current() {
            None => self.normalizer.next(&targets),
            Some(group) => {
                let [positives] = group.sum("the positive anchors", [targets.num_positives() as f64])?;
                self.normalizer.next_count(positives) / group.world_size() as f64
            }
        };
        let loss = self.criterion.forward_normalized(
            &outputs.class_logits,
            &outputs.box_deltas,
            &targets,
            normalizer,
        )?;
        Ok(StepLoss { total: loss.total, class: loss.class, boxes: loss.boxes })
    }
}

/// The loss of a step, each part `[1]`.
#[derive(Clone, Debug)]
pub struct StepLoss {
    /// What is differentiated.
    pub total: Tensor<1>,
    /// The class loss.
    pub class: Tensor<1>,
    /// The box loss, without its weight.
    pub boxes: Tensor<1>,
}

impl StepLoss {
    /// The numbers, read back together.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read(&self) -> Result<Losses, Error> {
        let numbers = read_numbers(&self.parts())?;
        Ok(Losses { total: numbers[0], class: numbers[1], boxes: numbers[2] })
    }

    /// The parts in the order of [`Losses`], without the graph.
    pub(crate) fn parts(&self) -> [Tensor<1>; 3] {
        [&self.total, &self.class, &self.boxes].map(|part| part.clone().without_autodiff())
    }
}

/// Reads several one-element tensors back at once: a device is waited for a single time.
pub(crate) fn read_numbers(numbers: &[Tensor<1>]) -> Result<Vec<f64>, Error> {
    let Some(first) = numbers.first() else { return Ok(Vec::new()) };
    let dtype = first.dtype();
    let parts = numbers.iter().map(|number| number.clone().cast(dtype)).collect();
    let data = Tensor::cat(parts, 0).try_into_data();
    let data = data.map_err(|error| Error::ReadBack(format!("{error:?}")))?;
    let values: Vec<f64> = data.iter::<f64>().collect();
    if values.len() != numbers.len() {
        return Err(Error::ReadBack(format!("{} numbers for {}", values.len(), numbers.len())));
    }
    Ok(values)
}

/// What validation makes of a batch.
#[derive(Clone, Debug)]
pub struct ValidationOutput {
    /// The losses.
    pub losses: Losses,
    /// The detections of each picture, in pixels of its file.
    pub detections: Vec<Vec<Detection>>,
}

/// How parameters are updated.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerPlan {
    /// The rule.
    pub rule: Rule,
    /// Learning rate before the schedule and the factors.
    pub lr: f64,
    /// Every parameter that trains.
    pub parameters: Vec<ParameterPlan>,
}

/// How one parameter is updated.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterPlan {
    /// Its name.
    pub name: String,
    /// Factor of the learning rate.
    pub lr_scale: f64,
    /// Its weight decay.
    pub weight_decay: f64,
}

impl OptimizerPlan {
    /// The plan that the settings describe: frozen parts left out, decay masked, rates lower towards the picture where
    /// there is layer decay.
    pub fn new(parameters: &[Parameter], config: &TrainConfig) -> Self {
        let depths = crate::groups::depths(parameters);
        let deepest = depths.iter().copied().max().unwrap_or(0);
        let trains = crate::groups::trainable(parameters, config);
        let plans = parameters.iter().zip(depths).filter(|(parameter, _)| trains.contains(&parameter.name));
        let plans = plans.map(|(parameter, depth)| ParameterPlan {
            name: parameter.name.clone(),
            lr_scale: config.layer_decay.powi(i32::try_from(deepest - depth).unwrap_or(i32::MAX))
                * crate::groups::group_factor(&parameter.name, config.group_lr),
            weight_decay: if config.decay.decays(parameter) { config.weight_decay } else { 0.0 },
        });
        Self { rule: config.optimizer, lr: config.lr, parameters: plans.collect() }
    }
}
