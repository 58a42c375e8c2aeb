//! A detector written to a file.

use std::path::Path;

use burn::module::Module;
use effdet_data::Fill;
use effdet_weights::{CheckpointMetadata, DType, identity_keys, save_safetensors_as};
use serde::Serialize;
use serde_json::Value;

use crate::{Detector, Error};

impl Detector {
    /// What a file of this detector says about itself, so that it can be used without naming anything.
    pub fn metadata(&self) -> CheckpointMetadata {
        let (config, preprocess) = (self.config(), self.preprocess());
        let names = (1..=u32::try_from(config.num_classes).unwrap_or(u32::MAX))
            .map(|id| self.class_map().name(id).unwrap_or_default().to_owned());
        let (fill, fill_color) = match preprocess.fill {
            Fill::Mean => ("mean".to_owned(), None),
            // Versions that know no `fill_color` read one level, which is right for grey.
            Fill::Color(color) => (color[0].to_string(), Some(color)),
        };
        CheckpointMetadata {
            model: Some(config.name.clone()),
            config: serde_json::to_value(config).ok(),
            class_names: Some(names.collect()),
            image_size: Some([preprocess.size.height, preprocess.size.width]),
            mean: Some(preprocess.mean),
            std: Some(preprocess.std),
            interpolation: name_of(preprocess.interpolation),
            fill: Some(fill),
            fill_color,
            placement: name_of(preprocess.placement),
            training: None,
        }
    }

    /// Writes the detector as a self-describing `.safetensors` file with values of the type `dtype` (`f32`, `f16` or
    /// `bf16`). Tensors have the names and order of the reference, which reads the file too.
    ///
    /// # Errors
    /// If the file cannot be written, or a value is beyond the type's range.
    pub fn save_safetensors(&self, path: impl AsRef<Path>, dtype: DType) -> Result<(), Error> {
        let metadata = self.metadata().to_map();
        Ok(save_safetensors_as(self.predictor().model(), path, &metadata, identity_keys, dtype)?)
    }

    /// Writes the network in Burn's own format, which `config.init(&device)?.try_load_file(path)` reads back. It holds
    /// values alone: configuration, classes and preprocessing are not in it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_burn(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        self.predictor().model().clone().save_file(path).map_err(|error| {
            let source = std::io::Error::other(error.to_string());
            effdet_weights::Error::Write { path: path.into(), source }.into()
        })
    }
}

/// The name of a variant, as metadata has it.
fn name_of(variant: impl Serialize) -> Option<String> {
    match serde_json::to_value(variant) {
        Ok(Value::String(name)) => Some(name),
        _ => None,
    }
}
