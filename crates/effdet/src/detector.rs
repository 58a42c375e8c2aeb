//! Pictures in, detections out.

use std::path::Path;
use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use effdet_core::{ClassMap, Detection};
use effdet_data::{DecodeLimits, Prepared, Preprocess, decode_file};
use effdet_heads::{DecodeConfig, Frame};
use effdet_model::{EfficientDetConfig, Predictor};
use effdet_weights::{Checkpoint, CheckpointMetadata, LoadOptions, LoadReport, load_into};
use image::RgbImage;
use rayon::prelude::*;

use crate::identify::{fitting, identify};
use crate::{DetectorOptions, Error, resolve};

/// A detector with its weights and all that belongs to them: preprocessing, class names, post-processing.
#[derive(Debug)]
pub struct Detector {
    predictor: Predictor,
    preprocess: Preprocess,
    class_map: ClassMap,
    device: Device,
    load_report: Option<LoadReport>,
}

impl Detector {
    /// The detector in a checkpoint.
    ///
    /// # Errors
    /// If the file cannot be read or is not trusted, if neither `options` nor its metadata name the model
    /// ([`Error::UnnamedModel`] says which it looks like), if it is of another model ([`Error::OtherModel`]) or
    /// otherwise does not fit, and for settings out of range.
    pub fn from_checkpoint(
        path: impl AsRef<Path>,
        options: &DetectorOptions,
        device: &Device,
    ) -> Result<Self, Error> {
        Self::from_opened(&Checkpoint::open(path)?, options, device)
    }

    /// The detector in a checkpoint that is open already, such as the current weights of a training dictionary that
    /// has averaged ones too.
    ///
    /// # Errors
    /// As [`from_checkpoint`](Self::from_checkpoint).
    pub fn from_opened(
        checkpoint: &Checkpoint,
        options: &DetectorOptions,
        device: &Device,
    ) -> Result<Self, Error> {
        let metadata = CheckpointMetadata::from_checkpoint(checkpoint)
            .map_err(|source| Error::Metadata { path: checkpoint.path().into(), source: source.into() })?;
        let config = resolve::configuration(checkpoint, &metadata, options, device)?;
        let mut preprocess = resolve::preprocess(&config);
        resolve::apply_metadata(&mut preprocess, &metadata, checkpoint)?;

        let (model, report) = load_into(config.init(device)?, checkpoint, &LoadOptions::default())
            .map_err(|error| explain(error, &config, checkpoint, device))?;
        // Only now is the number of classes backed by values.
        let class_map = resolve::class_map(&config, &metadata, options, checkpoint)?;
        tracing::info!(
            path = %checkpoint.path().display(), model = %config.name, classes = config.num_classes,
            size = %config.image_size, "loaded a checkpoint"
        );
        let predictor = Predictor::new(model, config);
        Ok(Self { predictor, preprocess, class_map, device: device.clone(), load_report: Some(report) })
    }

    /// A detector with random weights, for trying out and for tests.
    ///
    /// # Errors
    /// If the configuration is inconsistent or out of range.
    pub fn random(config: EfficientDetConfig, device: &Device) -> Result<Self, Error> {
        resolve::check(&config)?;
        Ok(Self {
            preprocess: resolve::preprocess(&config),
            class_map: resolve::default_class_map(config.num_classes),
            predictor: Predictor::new(config.init(device)?, config),
            device: device.clone(),
            load_report: None,
        })
    }

    /// Detections in a picture, best first, in its pixels.
    ///
    /// # Errors
    /// If the picture has no pixels or the device fails.
    pub fn detect(&self, picture: &RgbImage) -> Result<Vec<Detection>, Error> {
        let prepared = self.preprocess.apply(picture)?;
        Ok(self.detect_prepared(&[prepared])?.pop().unwrap_or_default())
    }

    /// Detections in each of several pictures, computed together.
    ///
    /// # Errors
    /// If a picture has no pixels or the device fails.
    pub fn detect_batch(&self, pictures: &[RgbImage]) -> Result<Vec<Vec<Detection>>, Error> {
        let prepared = pictures.par_iter().map(|picture| self.preprocess.apply(picture));
        self.detect_prepared(&prepared.collect::<Result<Vec<_>, _>>()?)
    }

    /// Detections in a picture file.
    ///
    /// # Errors
    /// If the file is no readable picture or the device fails.
    pub fn detect_file(&self, path: impl AsRef<Path>) -> Result<Vec<Detection>, Error> {
        self.detect(&decode_file(path, &DecodeLimits::default())?)
    }

    /// Detections in pictures that went through [`preprocess`](Self::preprocess) already, on another thread for
    /// example. They go to the device together.
    ///
    /// # Errors
    /// If a picture was prepared for another size or the device fails.
    pub fn detect_prepared(&self, pictures: &[Prepared]) -> Result<Vec<Vec<Detection>>, Error> {
        self.detect_prepared_each(pictures, &vec![self.config().decode; pictures.len()])
    }

    /// As [`detect_prepared`](Self::detect_prepared), where every picture has its own settings for how outputs become
    /// detections: one pass of the network serves requests that ask for different things.
    ///
    /// # Errors
    /// If a picture was prepared for another size, a setting is out of range or the device fails.
    ///
    /// # Panics
    /// If there are not as many settings as pictures.
    pub fn detect_prepared_each(
        &self,
        pictures: &[Prepared],
        settings: &[DecodeConfig],
    ) -> Result<Vec<Vec<Detection>>, Error> {
        self.detect_prepared_with(pictures, &self.preprocess, settings)
    }

    /// Detections in pictures prepared by `preprocess`, with settings for each.
    pub(crate) fn detect_prepared_with(
        &self,
        pictures: &[Prepared],
        preprocess: &Preprocess,
        settings: &[DecodeConfig],
    ) -> Result<Vec<Vec<Detection>>, Error> {
        assert_eq!(pictures.len(), settings.len(), "settings for every picture");
        let size = preprocess.size;
        if pictures.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(other) = pictures.iter().find(|picture| picture.letterbox.target != size) {
            let value = other.letterbox.target.to_string();
            let expected = "prepare pictures with the detector's own preprocessing";
            return Err(Error::Setting { name: "the size of a prepared picture", value, expected });
        }
        let mut values = vec![0.0; pictures.len() * 3 * size.area()];
        values
            .par_chunks_exact_mut(3 * size.area())
            .zip(pictures)
            .try_for_each(|(planes, picture)| preprocess.normalize_into(picture, planes))?;
        let data = TensorData::new(values, [pictures.len(), 3, size.height, size.width]);
        let frames: Vec<_> = pictures.iter().map(|picture| Some(Frame::from(&picture.letterbox))).collect();
        let begun = Instant::now();
        let raw = self.predictor.forward(Tensor::from_data(data, &self.device))?;
        let network = begun.elapsed();
        let detections = self.predictor.decode_each(&raw, &frames, settings)?;
        let decoding = begun.elapsed() - network;
        tracing::debug!(pictures = pictures.len(), %size, ?network, ?decoding, "detected");
        Ok(detections)
    }

    /// The configuration.
    pub fn config(&self) -> &EfficientDetConfig {
        self.predictor.config()
    }

    /// The names of the classes.
    pub fn class_map(&self) -> &ClassMap {
        &self.class_map
    }

    /// What is done to pictures.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// The network with its anchors.
    pub fn predictor(&self) -> &Predictor {
        &self.predictor
    }

    /// What loading the checkpoint found, such as weights that are not finite.
    pub fn load_report(&self) -> Option<&LoadReport> {
        self.load_report.as_ref()
    }

    /// Sets the number of threads of the network's inference form on the CPU, by default as many as there are cores. CUDA
    /// and wgpu compute that form, too, whatever the number; with `None` the network runs as the framework's operations, on
    /// any device.
    pub fn set_inference(&mut self, threads: Option<usize>) {
        self.predictor.set_inference(threads);
    }

    /// Changes how outputs become detections.
    ///
    /// # Errors
    /// If a setting is out of range.
    pub fn set_decode(&mut self, decode: DecodeConfig) -> Result<(), Error> {
        decode.validate().map_err(effdet_model::Error::from)?;
        self.predictor.config_mut().decode = decode;
        Ok(())
    }

    /// Changes what is done to pictures; the network takes any size.
    ///
    /// # Errors
    /// If the size, the mean or the deviation is out of range.
    pub fn set_preprocess(&mut self, preprocess: Preprocess) -> Result<(), Error> {
        let mut config = self.config().clone();
        (config.image_size, config.mean, config.std) = (preprocess.size, preprocess.mean, preprocess.std);
        resolve::check(&config)?;
        *self.predictor.config_mut() = config;
        self.preprocess = preprocess;
        Ok(())
    }
}

/// Names the model that a file is of, where that is not the one it should have been.
fn explain(
    error: effdet_weights::Error,
    config: &EfficientDetConfig,
    checkpoint: &Checkpoint,
    device: &Device,
) -> Error {
    if !matches!(error, effdet_weights::Error::Mismatch(_)) {
        return error.into();
    }
    let looks_like = identify(checkpoint, device).map(|candidates| fitting(&candidates)).unwrap_or_default();
    if looks_like.is_empty() || looks_like.contains(&config.name.as_str()) {
        return error.into();
    }
    let (path, model) = (checkpoint.path().into(), config.name.clone());
    Error::OtherModel { path, model, looks_like, source: Box::new(error) }
}
