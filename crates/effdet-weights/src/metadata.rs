//! What a checkpoint says about itself besides its weights.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Checkpoint, Error};

/// Everything needed to use a checkpoint, kept in its safetensors metadata under keys that start with `effdet.`.
///
/// Every field is optional: files from elsewhere have none. Text fields are stored as they are, the others as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckpointMetadata {
    /// Name of the model's configuration, such as `tf_efficientdet_d0`.
    pub model: Option<String>,
    /// The whole configuration, where it differs from the named one or has no name.
    pub config: Option<Value>,
    /// Class names in the order of the class head's outputs.
    pub class_names: Option<Vec<String>>,
    /// Height and width of the network's input.
    pub image_size: Option<[usize; 2]>,
    /// Mean of the red, green and blue channel, subtracted from pixels scaled to 0..1.
    pub mean: Option<[f32; 3]>,
    /// Standard deviation of the red, green and blue channel.
    pub std: Option<[f32; 3]>,
    /// Resampling filter used to fit a picture to the input, such as `bilinear`.
    pub interpolation: Option<String>,
    /// Colour of the border around a fitted picture: `mean`, or a number; the level of red where `fill_color` says more.
    pub fill: Option<String>,
    /// The border's red, green and blue; of no account where `fill` is `mean`.
    pub fill_color: Option<[u8; 3]>,
    /// Where a fitted picture lies in the input: `top_left` or `center`.
    pub placement: Option<String>,
    /// How the weights came about: data set, epochs, code version, the checkpoint they started from.
    pub training: Option<BTreeMap<String, Value>>,
}

/// What every key starts with.
const PREFIX: &str = "effdet.";
/// Fields stored as plain text.
const TEXT: [&str; 4] = ["model", "interpolation", "fill", "placement"];
/// Fields stored as JSON.
const JSON: [&str; 7] = ["config", "class_names", "image_size", "mean", "std", "fill_color", "training"];

impl CheckpointMetadata {
    /// Reads the `effdet.` keys of a checkpoint. Keys this version does not know are left alone.
    ///
    /// # Errors
    /// When a value is not of its key's kind.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Self, Error> {
        Self::from_map(checkpoint.metadata())
    }

    /// Reads the `effdet.` keys of a metadata map.
    ///
    /// # Errors
    /// When a value is not of its key's kind.
    pub fn from_map(map: &BTreeMap<String, String>) -> Result<Self, Error> {
        let mut metadata = Self::default();
        for (key, text) in map {
            let Some(field) = key.strip_prefix(PREFIX) else { continue };
            let unreadable = |source| Error::Metadata { key: key.clone(), source };
            let value = if TEXT.contains(&field) {
                Value::String(text.clone())
            } else if JSON.contains(&field) {
                serde_json::from_str(text).map_err(unreadable)?
            } else {
                continue;
            };
            // One field at a time, so that the error can name it.
            let one: Self = serde_json::from_value(Map::from_iter([(field.to_owned(), value)]).into())
                .map_err(unreadable)?;
            metadata = metadata.or(one);
        }
        Ok(metadata)
    }

    /// The metadata map to store in a safetensors file.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        // Through text, because a JSON value would show an f32 of 0.485 with the digits of the nearest f64. Plain fields
        // and JSON values always serialise.
        let text = serde_json::to_string(self).unwrap_or_default();
        let fields: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
        fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(field, value)| {
                let text = match value {
                    Value::String(text) if TEXT.contains(&field.as_str()) => text,
                    other => other.to_string(),
                };
                (format!("{PREFIX}{field}"), text)
            })
            .collect()
    }

    fn or(self, other: Self) -> Self {
        Self {
            model: self.model.or(other.model),
            config: self.config.or(other.config),
            class_names: self.class_names.or(other.class_names),
            image_size: self.image_size.or(other.image_size),
            mean: self.mean.or(other.mean),
            std: self.std.or(other.std),
            interpolation: self.interpolation.or(other.interpolation),
            fill: self.fill.or(other.fill),
            fill_color: self.fill_color.or(other.fill_color),
            placement: self.placement.or(other.placement),
            training: self.training.or(other.training),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> CheckpointMetadata {
        CheckpointMetadata {
            model: Some("tf_efficientdet_d0".into()),
            config: Some(serde_json::json!({ "fpn_channels": 64 })),
            class_names: Some(vec!["cat".into(), "dog \"two\"".into()]),
            image_size: Some([512, 640]),
            mean: Some([0.485, 0.456, 0.406]),
            std: Some([0.229, 0.224, 0.225]),
            interpolation: Some("bilinear".into()),
            fill: Some("0".into()),
            fill_color: Some([0, 128, 255]),
            placement: Some("center".into()),
            training: Some([("epochs".to_owned(), 60.into())].into()),
        }
    }

    #[test]
    fn metadata_survives_the_round_trip_through_text() {
        assert_eq!(CheckpointMetadata::from_map(&sample().to_map()).unwrap(), sample());
    }

    #[test]
    fn absent_fields_leave_no_keys_and_foreign_keys_are_left_alone() {
        assert!(CheckpointMetadata::default().to_map().is_empty());
        let map = [("format", "pt"), ("effdet.from_the_future", "not JSON"), ("effdet.model", "x")];
        let map = map.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let read = CheckpointMetadata::from_map(&map).unwrap();
        assert_eq!(read, CheckpointMetadata { model: Some("x".into()), ..Default::default() });
    }

    #[test]
    fn a_value_of_the_wrong_kind_names_its_key() {
        for (key, bad) in
            [("mean", "[1,2"), ("mean", "[1]"), ("mean", "\"x\""), ("fill_color", "[0, 0, 256]")]
        {
            let key = format!("effdet.{key}");
            let map = [(key.clone(), bad.to_owned())].into();
            let error = CheckpointMetadata::from_map(&map).unwrap_err();
            assert!(error.to_string().contains(&key), "{error}");
        }
    }
}
