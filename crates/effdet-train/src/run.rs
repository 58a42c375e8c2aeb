//! From a configuration to model and loaders.

use burn::tensor::Device;
use effdet_core::ImageSize;
use effdet_data::loader::OnError;
use effdet_data::transform::{aug_tfms, effdet_eval, effdet_train};
use effdet_data::{
    Dataset, DirtReport, Format, LabelFormat, LoaderOptions, ParseOptions, Pixels, Source, split,
};
use effdet_weights::TransferReport;

use crate::network;
use crate::{Augment, DataConfig, DataLoader, DetectorModel, Error, RunConfig};

/// A run that is ready to start.
pub struct Prepared {
    /// The model, with its weights.
    pub model: DetectorModel,
    /// The training batches.
    pub train: DataLoader,
    /// The validation batches; none where the fraction that validates is 0.
    pub valid: DataLoader,
    /// What was wrong with the labels.
    pub dirt: Vec<DirtReport>,
    /// What became of the checkpoint.
    pub loaded: Option<TransferReport>,
}

impl RunConfig {
    /// Reads the labels and builds the model.
    ///
    /// # Errors
    /// If the labels or the checkpoint cannot be read, there is nothing to train or validate on, or the model does not
    /// exist.
    pub fn prepare(&self, device: &Device) -> Result<Prepared, Error> {
        let mut config = network::configuration(&self.model, &self.network)?;
        if self.image_size != [0, 0] {
            config.image_size = ImageSize { height: self.image_size[0], width: self.image_size[1] };
        }
        if config.image_size.is_empty() {
            return Err(Error::setting("image_size", config.image_size, "two positive sides"));
        }
        config.drop_path_rate = self.drop_path.unwrap_or(config.drop_path_rate);
        config.mean = self.mean.unwrap_or(config.mean);
        config.std = self.std.unwrap_or(config.std);
        let (train, valid, dirt) = self.data.read(self.train.seed)?;
        let wanted = self.data.valid_split.is_some() || self.data.valid_fraction > 0.0;
        if wanted && !valid.records.iter().any(|record| !record.objects.is_empty()) {
            let (name, value) = match &self.data.valid_split {
                Some(split) => ("data.valid_split", split.clone()),
                None => ("data.valid_fraction", self.data.valid_fraction.to_string()),
            };
            let expected = format!(
                "a part with objects: none of its {} pictures has one (a fraction of 0 trains on all pictures and does not \
                 evaluate)",
                valid.records.len()
            );
            return Err(Error::setting(name, value, expected));
        }
        let mut model = DetectorModel::new(config, train.class_map.clone(), self.train.seed, device)?;
        if self.train.gradient_checkpointing {
            model = model.with_gradient_checkpointing();
        }
        let mut loaded = None;
        if let Some(path) = &self.weights {
            let (with_weights, report) = model.load(path)?;
            (model, loaded) = (with_weights, Some(report));
        }
        let (train, valid) = self.data.loaders(train, valid, &model, self.train.seed)?;
        Ok(Prepared { model, train, valid, dirt, loaded })
    }
}

impl DataConfig {
    /// The training and validation records.
    fn read(&self, seed: u64) -> Result<(Dataset, Dataset, Vec<DirtReport>), Error> {
        let Some(format) = self.format else {
            return Err(Error::setting(
                "data.format",
                "not set",
                "coco, voc, pets, via, open-images, yolo or csv",
            ));
        };
        let source = |split: &Option<String>| {
            let source = Source::new(&self.root);
            split.iter().fold(source, |source, split| source.with_split(split))
        };
        let reference = matches!(format, Format::Voc | Format::Pets).then_some(Pixels::Effdet);
        let options = ParseOptions { pixels: self.pixels.or(reference), ..ParseOptions::default() };
        let parsed = format.parse(&source(&self.train_split), &options)?;
        let (train, mut dirt) = (parsed.dataset, vec![parsed.dirt]);
        if self.valid_split.is_some() {
            // Ids of COCO's own are the same in both splits; elsewhere the names decide.
            let classes = (format != Format::Coco).then(|| train.class_map.clone());
            let parsed = format.parse(&source(&self.valid_split), &ParseOptions { classes, ..options })?;
            dirt.push(parsed.dirt);
            return Ok((train, parsed.dataset, dirt));
        }
        let parts = split::random(&train, &[1.0 - self.valid_fraction, self.valid_fraction], seed)?;
        Ok((train.subset(&parts[0]), train.subset(&parts[1]), dirt))
    }

    fn loaders(
        &self,
        train: Dataset,
        valid: Dataset,
        model: &DetectorModel,
        seed: u64,
    ) -> Result<(DataLoader, DataLoader), Error> {
        let preprocess = model.preprocess();
        let options = LoaderOptions {
            batch_size: self.batch_size,
            workers: self.workers,
            // Every epoch has the same number of batches, or a resumed one would not find its place.
            on_error: OnError::Replace,
            ..LoaderOptions::train(seed)
        };
        let train = match self.augment {
            Augment::None => DataLoader::new(train, effdet_eval(preprocess), options)?,
            Augment::Reference => DataLoader::new(train, effdet_train(preprocess), options)?,
            Augment::Icevision => {
                let side = preprocess.size.height.max(preprocess.size.width);
                let presize = side + side / 4;
                DataLoader::new(train, aug_tfms(preprocess.size, Some(presize), true), options)?
            }
        };
        let batch_size = if self.valid_batch_size == 0 { self.batch_size } else { self.valid_batch_size };
        let options = LoaderOptions {
            batch_size,
            workers: self.workers,
            on_error: OnError::Skip,
            ..LoaderOptions::eval()
        };
        let valid = DataLoader::new(valid, effdet_eval(preprocess), options)?;
        Ok((train, valid))
    }
}
