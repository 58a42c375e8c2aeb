//! Parts of a detector that train at rates of their own.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Parameter, TrainConfig};

/// A part of a detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Part {
    /// The backbone's first convolution.
    Stem,
    /// A stage of the backbone, from 0.
    Stage(usize),
    /// All of the backbone.
    Backbone,
    /// The feature network.
    FeatureNetwork,
    /// Class and box head.
    Heads,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Stem => f.write_str("stem"),
            Part::Stage(index) => write!(f, "stage{index}"),
            Part::Backbone => f.write_str("backbone"),
            Part::FeatureNetwork => f.write_str("fpn"),
            Part::Heads => f.write_str("heads"),
        }
    }
}

impl From<Part> for String {
    fn from(part: Part) -> Self {
        part.to_string()
    }
}

impl FromStr for Part {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let stage = text.strip_prefix("stage").and_then(|index| index.parse().ok());
        match (text, stage) {
            ("stem", _) => Ok(Part::Stem),
            ("backbone", _) => Ok(Part::Backbone),
            ("fpn", _) => Ok(Part::FeatureNetwork),
            ("heads", _) => Ok(Part::Heads),
            (_, Some(index)) => Ok(Part::Stage(index)),
            _ => Err(Error::Setting {
                name: "the part".into(),
                value: text.to_owned(),
                expected: "stem, stage0, stage1, ..., backbone, fpn or heads".into(),
            }),
        }
    }
}

impl TryFrom<String> for Part {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl Part {
    /// Whether a parameter belongs to this part.
    pub fn contains(self, name: &str) -> bool {
        let Some(inner) = name.strip_prefix("backbone.") else {
            return match self {
                Part::FeatureNetwork => name.starts_with("fpn."),
                Part::Heads => name.starts_with("class_net.") || name.starts_with("box_net."),
                _ => false,
            };
        };
        match self {
            Part::Backbone => true,
            Part::Stem => stage(inner).is_none(),
            Part::Stage(index) => stage(inner) == Some(index),
            _ => false,
        }
    }

    /// The part of fastai's three groups that a parameter belongs to.
    pub fn of(name: &str) -> Self {
        [Part::Backbone, Part::FeatureNetwork]
            .into_iter()
            .find(|part| part.contains(name))
            .unwrap_or(Part::Heads)
    }
}

/// The three groups that a learner tells apart, from the picture on.
///
/// # Reference
/// IceVision's `param_groups` of effdet.
pub const GROUPS: [Part; 3] = [Part::Backbone, Part::FeatureNetwork, Part::Heads];

/// The factor of the group that a parameter belongs to.
pub(crate) fn group_factor(name: &str, factors: [f64; 3]) -> f64 {
    let group = Part::of(name);
    GROUPS.iter().zip(factors).find(|(part, _)| **part == group).map_or(1.0, |(_, factor)| factor)
}

/// Stage of a backbone parameter: `blocks.N`, `stages.N`, CSPNet's `stages_N` or ResNet's `layerN`.
fn stage(inner: &str) -> Option<usize> {
    let mut path = inner.split('.');
    let first = path.next()?;
    match first {
        "blocks" | "stages" => path.next()?.parse().ok(),
        _ => match first.strip_prefix("stages_") {
            Some(stage) => stage.parse().ok(),
            None => first.strip_prefix("layer")?.parse::<usize>().ok()?.checked_sub(1),
        },
    }
}

/// Number of stages of the backbone.
pub(crate) fn stages(parameters: &[Parameter]) -> usize {
    let stages = parameters.iter().filter_map(|parameter| stage(parameter.name.strip_prefix("backbone.")?));
    stages.max().map_or(0, |last| last + 1)
}

/// Distance of a parameter from the picture, for layer-wise decay: 0 the stem, then the stages, then the feature
/// network, then the heads.
pub(crate) fn depths(parameters: &[Parameter]) -> Vec<usize> {
    let stages = stages(parameters);
    let depth = |parameter: &Parameter| match parameter.name.strip_prefix("backbone.") {
        Some(inner) => stage(inner).map_or(0, |stage| stage + 1),
        None if Part::FeatureNetwork.contains(&parameter.name) => stages + 1,
        None => stages + 2,
    };
    parameters.iter().map(depth).collect()
}

/// Which parameters decay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecayMask {
    /// All, as a PyTorch optimiser over `model.parameters()` has it.
    All,
    /// Not those with one dimension or none: biases, norms and edge weights.
    ///
    /// # Reference
    /// timm `param_groups_weight_decay`.
    #[default]
    Weights,
}

impl DecayMask {
    /// Whether a parameter decays.
    pub fn decays(self, parameter: &Parameter) -> bool {
        self == Self::All || parameter.shape.len() > 1 && !parameter.name.ends_with(".bias")
    }
}

/// Whether the layer that a training flag belongs to trains, by the flag's path.
pub(crate) fn layer_trains(flag: &str, norms: &BTreeSet<String>, config: &TrainConfig) -> bool {
    let layer = flag.rsplit_once('.').map_or(flag, |(layer, _)| layer);
    if config.freeze_batch_norm && norms.contains(layer) {
        return false;
    }
    config.train_frozen_norms || !config.freeze.iter().any(|part| part.contains(flag))
}

/// The layers with running statistics.
pub(crate) fn norm_layers(parameters: &[Parameter]) -> BTreeSet<String> {
    let names = parameters.iter().filter_map(|parameter| parameter.name.strip_suffix(".running_mean"));
    names.map(str::to_owned).collect()
}

/// The parameters that train.
pub(crate) fn trainable(parameters: &[Parameter], config: &TrainConfig) -> BTreeSet<String> {
    let frozen = |name: &str| config.freeze.iter().any(|part| part.contains(name));
    let norms = norm_layers(parameters);
    let in_norm = |name: &str| name.rsplit_once('.').is_some_and(|(layer, _)| norms.contains(layer));
    let trains = |parameter: &&Parameter| {
        let name = parameter.name.as_str();
        !parameter.is_buffer && (!frozen(name) || config.train_frozen_norms && in_norm(name))
    };
    parameters.iter().filter(trains).map(|parameter| parameter.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_told_by_every_family_of_names() {
        for (name, expected) in [
            ("backbone.blocks.3.0.conv_pw.weight", Some(3)),
            ("backbone.stages.2.blocks.1.conv.weight", Some(2)),
            ("backbone.stages_4.blocks.1.conv.weight", Some(4)),
            ("backbone.layer1.0.conv1.weight", Some(0)),
            ("backbone.conv_stem.weight", None),
            ("backbone.stem.0.conv.weight", None),
        ] {
            let parts: Vec<usize> = (0..6).filter(|stage| Part::Stage(*stage).contains(name)).collect();
            assert_eq!(parts, expected.into_iter().collect::<Vec<_>>(), "{name}");
            assert_eq!(Part::Stem.contains(name), expected.is_none(), "{name}");
        }
    }
}
