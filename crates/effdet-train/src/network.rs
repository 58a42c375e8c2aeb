//! The network of a run as settings: a named configuration and what is changed of it.

use std::path::Path;

use effdet_model::EfficientDetConfig;
use effdet_weights::CheckpointMetadata;
use serde_json::Value;
use toml::Table;

use crate::Error;
use crate::run_config::config_error;

/// Fields that are no part of the network, or that settings of their own decide.
const ELSEWHERE: [&str; 7] = ["name", "num_classes", "image_size", "mean", "std", "drop_path_rate", "decode"];

/// The configuration of this name with `changes`.
///
/// # Errors
/// If there is no such model, or a change is no field of it or no value of that field.
pub(crate) fn configuration(model: &str, changes: &Table) -> Result<EfficientDetConfig, Error> {
    let config = EfficientDetConfig::described_by(model)?;
    if changes.is_empty() {
        return Ok(config);
    }
    let mut fields = fields(&config);
    for (key, value) in changes {
        let name = format!("network.{key}");
        let value = serde_json::to_value(value).map_err(|error| config_error(&name, error))?;
        if ELSEWHERE.contains(&key.as_str()) || !fields.contains_key(key) {
            let known = fields.keys().map(String::as_str).filter(|known| !ELSEWHERE.contains(known));
            let nearest = effdet_core::suggest::nearest(key, known, 3).join(", ");
            return Err(Error::setting(name, "no setting of a network", format!("one such as {nearest}")));
        }
        fields.insert(key.clone(), value);
        // One at a time, so that the error can name it.
        let _: EfficientDetConfig = serde_json::from_value(Value::Object(fields.clone()))
            .map_err(|error| config_error(&name, error))?;
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| config_error("network", error))
}

/// What a checkpoint says of its network, as settings of a run; `None` if it names no model.
///
/// # Errors
/// If it describes a network that settings cannot.
pub(crate) fn settings(metadata: &CheckpointMetadata, path: &Path) -> Result<Option<Table>, Error> {
    let unusable = |error: String| config_error(&path.display().to_string(), error);
    let mut table = Table::new();
    if let Some(config) = &metadata.config {
        let stored: EfficientDetConfig =
            serde_json::from_value(config.clone()).map_err(|error| unusable(error.to_string()))?;
        let named = fields(&EfficientDetConfig::described_by(&stored.name)?);
        let changed = fields(&stored)
            .into_iter()
            .filter(|(key, value)| !ELSEWHERE.contains(&key.as_str()) && named.get(key) != Some(value));
        let mut network = Table::new();
        for (key, value) in changed {
            let refuse = |error: toml::ser::Error| unusable(format!("{key}: {error}"));
            network.insert(key.clone(), toml::Value::try_from(&value).map_err(refuse)?);
        }
        table.insert("model".into(), stored.name.into());
        if !network.is_empty() {
            table.insert("network".into(), network.into());
        }
    } else if let Some(model) = &metadata.model {
        table.insert("model".into(), model.clone().into());
    } else {
        return Ok(None);
    }
    if let Some(size) = metadata.image_size {
        table.insert("image_size".into(), size.map(|side| side as i64).to_vec().into());
    }
    for (key, channels) in [("mean", metadata.mean), ("std", metadata.std)] {
        if let Some(channels) = channels {
            // The digits that single precision needs.
            let channels =
                channels.map(|level| level.to_string().parse().unwrap_or_else(|_| f64::from(level)));
            table.insert(key.into(), channels.to_vec().into());
        }
    }
    Ok(Some(table))
}

/// The fields of a configuration; it is a plain record.
fn fields(config: &EfficientDetConfig) -> serde_json::Map<String, Value> {
    match serde_json::to_value(config) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoints_description_gives_its_network_back() {
        let mut config = EfficientDetConfig::described_by("efficientdet-lcnet_050").unwrap();
        (config.channels, config.cells, config.repeats) = (40, 2, 1);
        config.aspect_ratios.truncate(1);
        let metadata = CheckpointMetadata {
            model: Some(config.name.clone()),
            config: serde_json::to_value(&config).ok(),
            image_size: Some([256, 192]),
            mean: Some([0.485, 0.456, 0.406]),
            ..CheckpointMetadata::default()
        };
        let table = settings(&metadata, Path::new("x.safetensors")).unwrap().unwrap();
        let text = toml::to_string(&table).unwrap();
        assert!(
            text.contains("image_size = [256, 192]") && text.contains("mean = [0.485, 0.456, 0.406]"),
            "{text}"
        );
        let network = table["network"].as_table().unwrap();
        assert_eq!(network.keys().collect::<Vec<_>>(), ["aspect_ratios", "cells", "channels", "repeats"]);
        assert_eq!(configuration("efficientdet-lcnet_050", network).unwrap(), config);
        assert_eq!(settings(&CheckpointMetadata::default(), Path::new("x")).unwrap(), None);
    }

    #[test]
    fn a_change_that_cannot_be_made_is_named() {
        let change = |key: &str, value: toml::Value| {
            let table = Table::from_iter([(key.to_owned(), value)]);
            configuration("efficientdet_d0", &table).unwrap_err().to_string()
        };
        let error = change("chanels", 40.into());
        assert!(error.contains("network.chanels") && error.contains("channels"), "{error}");
        assert!(change("num_classes", 3.into()).contains("network.num_classes"));
        assert!(change("channels", "wide".into()).contains("network.channels"));
    }
}
