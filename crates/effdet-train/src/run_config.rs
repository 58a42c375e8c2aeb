//! A whole run as one file: data, model, recipe, settings.

use std::path::{Path, PathBuf};

use effdet_data::{Format, Pixels};
use effdet_weights::{Checkpoint, CheckpointMetadata};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::network;
use crate::{Curve, Error, Part, Schedule, TrainConfig, Warmup};

/// A way to train.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recipe {
    /// The heads alone, then everything with lower rates towards the picture: fastai's `fine_tune`.
    #[default]
    FineTune,
    /// One cycle over everything: fastai's `fit_one_cycle`.
    OneCycle,
    /// AdamW, warm-up and cosine by steps, averaged weights: for training from random weights.
    Reference,
}

/// What `config.toml` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// The recipe that the settings started from; `fine-tune` also decides the phases.
    pub recipe: Recipe,
    /// Name of the model: a published one, or `efficientdet-` and a backbone.
    pub model: String,
    /// Checkpoint to start from; without it the weights are drawn.
    pub weights: Option<PathBuf>,
    /// Height and width of the input; the model's own if 0.
    pub image_size: [usize; 2],
    /// Mean of the channels, where samples run from 0 to 1; the model's own if absent.
    pub mean: Option<[f32; 3]>,
    /// Deviation of the channels.
    pub std: Option<[f32; 3]>,
    /// Largest probability of dropping a backbone block; the model's own if absent.
    pub drop_path: Option<f64>,
    /// Epochs with all but the heads frozen (`fine-tune`).
    pub freeze_epochs: u64,
    /// What is changed of the model, by the names of [`EfficientDetConfig`](effdet_model::EfficientDetConfig)'s fields,
    /// such as `channels`.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub network: Table,
    /// The data.
    pub data: DataConfig,
    /// The settings.
    pub train: TrainConfig,
}

/// Which data, and how they become batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Folder of the data set.
    pub root: PathBuf,
    /// Format of its labels.
    pub format: Option<Format>,
    /// The official split to train on; all records that do not validate if absent.
    pub train_split: Option<String>,
    /// The official split to validate on.
    pub valid_split: Option<String>,
    /// Part of the training records that validates where no split is named.
    pub valid_fraction: f64,
    /// What pixel coordinates mean; as the reference reads them if absent.
    pub pixels: Option<Pixels>,
    /// Pictures of a training batch.
    pub batch_size: usize,
    /// Pictures of a validation batch; `batch_size` if 0.
    pub valid_batch_size: usize,
    /// Threads that read pictures.
    pub workers: usize,
    /// What is done to training pictures.
    pub augment: Augment,
}

/// What is done to training pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Augment {
    /// Only what evaluation does.
    None,
    /// Flip and scale jitter: effdet's `transforms_coco_train`.
    #[default]
    Reference,
    /// IceVision's `aug_tfms`.
    Icevision,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            root: PathBuf::new(),
            format: None,
            train_split: None,
            valid_split: None,
            valid_fraction: 0.2,
            pixels: None,
            batch_size: 8,
            valid_batch_size: 0,
            workers: 2,
            augment: Augment::default(),
        }
    }
}

impl Default for RunConfig {
    fn default() -> Self {
        Self::of_recipe(Recipe::default())
    }
}

/// Keys that say what a table is: with another of these, the rest of the table is another's.
const TAGS: [&str; 3] = ["name", "mode", "kind"];

impl RunConfig {
    /// The defaults of a recipe.
    pub fn of_recipe(recipe: Recipe) -> Self {
        let train = match recipe {
            Recipe::FineTune => TrainConfig { lr: 2e-3, ..TrainConfig::default() },
            Recipe::OneCycle => TrainConfig::default(),
            Recipe::Reference => TrainConfig::reference(),
        };
        // Whatever the model's own, the recipe has ImageNet's.
        let imagenet =
            (recipe == Recipe::Reference).then_some(([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]));
        Self {
            recipe,
            model: String::new(),
            weights: None,
            image_size: [0, 0],
            mean: imagenet.map(|(mean, _)| mean),
            std: imagenet.map(|(_, std)| std),
            drop_path: None,
            freeze_epochs: 1,
            network: Table::new(),
            data: DataConfig::default(),
            train,
        }
    }

    /// The phases of the run.
    ///
    /// # Reference
    /// fastai `fine_tune`: the frozen phase rises for 0.99 of its steps, the second one has half the rate, divided by 100
    /// at the backbone and by 10 at the feature network, rises for 0.3 and starts from a fifth.
    pub fn phases(&self) -> Vec<TrainConfig> {
        match self.recipe {
            Recipe::FineTune => fine_tune_phases(&self.train, self.freeze_epochs, 100.0, 0.3, 5.0),
            Recipe::OneCycle | Recipe::Reference => vec![self.train.clone()],
        }
    }

    /// Reads a configuration: the recipe's defaults, with what the layers say on top, each as TOML.
    ///
    /// # Errors
    /// [`Error::Config`] for what is no TOML or no setting, [`Error::Setting`] for values out of range.
    pub fn from_layers(layers: &[Layer]) -> Result<Self, Error> {
        let recipe = layers.iter().rev().find_map(|layer| layer.table.get("recipe")).cloned();
        let recipe = match recipe {
            Some(value) => value.try_into().map_err(|error| config_error("recipe", error))?,
            None => Recipe::default(),
        };
        let mut table = to_table(&Self::of_recipe(recipe))?;
        for layer in layers {
            overlay(&mut table, &layer.table);
            // One layer at a time, so that the error can name it.
            let _: Self =
                Value::Table(table.clone()).try_into().map_err(|error| config_error(&layer.origin, error))?;
        }
        let config: Self =
            Value::Table(table).try_into().map_err(|error| config_error("the configuration", error))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Error> {
        self.train.check()?;
        let default = TrainConfig::default();
        if self.recipe == Recipe::FineTune {
            let own = "that of the recipe `fine-tune`, whose phases have their own: set it with the recipe `one-cycle`";
            if self.train.schedule != default.schedule {
                return Err(Error::setting("train.schedule", "set", own));
            }
            if self.train.group_lr != default.group_lr {
                return Err(Error::setting("train.group_lr", format!("{:?}", self.train.group_lr), own));
            }
        }
        Ok(())
    }

    /// The configuration as TOML. What the recipe sets and this configuration does not is `"none"`, so that
    /// [`from_layers`](Self::from_layers) reads the same configuration back.
    ///
    /// # Errors
    /// For numbers that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String, Error> {
        let mut table = to_table(self)?;
        spell_out_none(&mut table, &to_table(&Self::of_recipe(self.recipe))?);
        toml::to_string(&table).map_err(|error| config_error("the configuration", error))
    }
}

/// The two phases of fastai's `fine_tune`.
pub(crate) fn fine_tune_phases(
    train: &TrainConfig,
    freeze_epochs: u64,
    lr_mult: f64,
    pct_start: f64,
    div: f64,
) -> Vec<TrainConfig> {
    let cycle = |pct_start: f64, div: f64| {
        let one_cycle = Schedule::one_cycle();
        let Curve::OneCycle { div_final, moms, .. } = one_cycle.curve else { return one_cycle };
        Schedule {
            warmup: Warmup::default(),
            curve: Curve::OneCycle { pct_start, div, div_final, moms },
            ..one_cycle
        }
    };
    let frozen = TrainConfig {
        epochs: freeze_epochs,
        freeze: [Part::Backbone, Part::FeatureNetwork]
            .into_iter()
            .chain(train.freeze.iter().copied())
            .collect(),
        train_frozen_norms: true,
        group_lr: [0.1, 0.1, 1.0],
        schedule: cycle(0.99, 25.0),
        ..train.clone()
    };
    let full = TrainConfig {
        lr: train.lr / 2.0,
        group_lr: [1.0 / lr_mult, 1.0 / lr_mult.sqrt(), 1.0],
        schedule: cycle(pct_start, div),
        ..train.clone()
    };
    if freeze_epochs == 0 { vec![full] } else { vec![frozen, full] }
}

/// A part of a configuration and where it comes from.
#[derive(Clone, Debug)]
pub struct Layer {
    origin: String,
    table: Table,
}

impl Layer {
    /// What a file says.
    ///
    /// # Errors
    /// If it cannot be read or is no TOML.
    pub fn file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
        let origin = path.display().to_string();
        let table = text.parse::<Table>().map_err(|error| config_error(&origin, error))?;
        Ok(Self { origin, table })
    }

    /// One setting as `key=value`, such as `train.lr=0.01`; `train.` may be left out. The value is TOML, or a text as it
    /// stands; `none` takes a setting away.
    ///
    /// # Errors
    /// If it has no `=`.
    pub fn setting(text: &str) -> Result<Self, Error> {
        let origin = format!("--set {text}");
        let refuse = |reason: &str| Error::Config { origin: origin.clone(), reason: reason.to_owned() };
        let (key, value) = text.split_once('=').ok_or_else(|| refuse("expected key=value"))?;
        let (key, value) = (key.trim(), value.trim());
        let mut path: Vec<&str> = key.split('.').collect();
        if path.iter().any(|part| part.is_empty()) {
            return Err(refuse("expected key=value"));
        }
        if !to_table(&RunConfig::default())?.contains_key(path[0]) && !OPTIONAL.contains(&path[0]) {
            path.insert(0, "train");
        }
        let value = format!("value = {value}")
            .parse::<Table>()
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| Value::String(value.to_owned()));
        Ok(Self { table: nest(&path, value), origin })
    }

    /// The model that a checkpoint describes, with its input size and normalisation; `None` if it describes none.
    ///
    /// # Errors
    /// If the file cannot be read, or its description is none that settings can express.
    pub fn checkpoint(path: impl AsRef<Path>) -> Result<Option<Self>, Error> {
        let path = path.as_ref();
        let metadata = CheckpointMetadata::from_checkpoint(&Checkpoint::open(path)?)?;
        let table = network::settings(&metadata, path)?;
        Ok(table.map(|table| Self { origin: path.display().to_string(), table }))
    }

    /// What this layer says of a setting that is text, such as `model`.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.table.get(key).and_then(Value::as_str)
    }

    /// A setting given as an option of the command line.
    pub fn option(option: &str, path: &[&str], value: impl Into<Value>) -> Self {
        Self { origin: option.to_owned(), table: nest(path, value.into()) }
    }
}

/// Keys of [`RunConfig`] that its defaults do not show.
const OPTIONAL: [&str; 5] = ["weights", "mean", "std", "drop_path", "network"];

/// Settings that need not be there, wherever they are.
const REMOVABLE: [&str; 13] = [
    "weights",
    "mean",
    "std",
    "drop_path",
    "network",
    "format",
    "train_split",
    "valid_split",
    "pixels",
    "ema",
    "loss_scaling",
    "from",
    "noise",
];

/// Writes `"none"` where `table` lacks what `defaults` has.
fn spell_out_none(table: &mut Table, defaults: &Table) {
    if TAGS.iter().any(|tag| table.get(*tag) != defaults.get(*tag)) {
        return;
    }
    for (key, default) in defaults {
        match (table.get_mut(key), default) {
            (None, _) => {
                table.insert(key.clone(), "none".into());
            }
            (Some(Value::Table(table)), Value::Table(defaults)) => spell_out_none(table, defaults),
            _ => {}
        }
    }
}

fn nest(path: &[&str], value: Value) -> Table {
    let mut value = value;
    for key in path.iter().skip(1).rev() {
        value = Value::Table(Table::from_iter([((*key).to_owned(), value)]));
    }
    Table::from_iter(path.first().map(|key| ((*key).to_owned(), value)))
}

fn to_table(config: &RunConfig) -> Result<Table, Error> {
    match Value::try_from(config).map_err(|error| config_error("the configuration", error))? {
        Value::Table(table) => Ok(table),
        other => Err(config_error("the configuration", other.type_str())),
    }
}

fn overlay(base: &mut Table, over: &Table) {
    for tag in TAGS {
        if let (Some(old), Some(new)) = (base.get(tag), over.get(tag))
            && old != new
        {
            base.clear();
        }
    }
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Table(base)), Value::Table(over)) => overlay(base, over),
            (_, Value::String(text)) if text == "none" && key == "clip" => {
                base.insert(key.clone(), Table::from_iter([("mode".to_owned(), value.clone())]).into());
            }
            (_, Value::String(text)) if text == "none" && REMOVABLE.contains(&key.as_str()) => {
                base.remove(key);
            }
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

pub(crate) fn config_error(origin: &str, error: impl ToString) -> Error {
    Error::Config { origin: origin.to_owned(), reason: error.to_string().trim().replace('\n', " ") }
}
