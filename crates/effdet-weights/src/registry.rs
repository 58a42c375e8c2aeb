//! The published weights: where they are, what they are, and how a file is known to be the right one.

use std::fmt::Write as _;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::Error;

/// What a set of weights is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightsKind {
    /// A whole detector.
    Detector,
    /// A classifier, whose features are a detector's backbone.
    Backbone,
}

/// A published set of weights: one row of `data/registry.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsEntry {
    /// Name of the detector, or of the backbone with its timm tag, such as `tf_efficientnet_b0.ns_jft_in1k`.
    pub name: String,
    /// Whether the backbone's bare name means this one.
    #[serde(default)]
    pub default: bool,
    /// Repository on the Hugging Face Hub whose `model.safetensors` holds the weights. Only the publisher's own.
    pub hub: Option<String>,
    /// How the file of the Hub is checked: `from-hub`, by the SHA-256 that the Hub states.
    pub hub_hash: Option<String>,
    /// Address of the release file.
    pub url: Option<String>,
    /// SHA-256 of the release file: all 64 digits, or the first ones, which its name carries.
    pub hash: Option<String>,
    /// Length of the release file, where published.
    pub bytes: Option<u64>,
    /// Licence of the weights, as an SPDX identifier.
    pub licence: String,
    /// Whose licence it is, where it is not the file's own.
    pub licence_of: Option<String>,
    /// What the network was trained on.
    pub trained_on: String,
    /// Class map of a detector's outputs.
    pub class_map: Option<String>,
    /// Classes of a classifier.
    pub classes: Option<usize>,
    /// Height and width of the input.
    pub image_size: [usize; 2],
    /// Mean of red, green and blue, where samples run from 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue.
    pub std: [f32; 3],
    /// Resampling filter of pictures.
    pub interpolation: String,
    /// Colour of letterbox margins: `mean`, or a grey level.
    pub fill: Option<String>,
    /// Published average precision on COCO val2017, percent.
    pub published_ap: Option<f64>,
    /// Average precision that this project measured, percent.
    pub measured_ap: Option<f64>,
}

/// The file's own form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registry {
    detector: Vec<WeightsEntry>,
    backbone: Vec<WeightsEntry>,
}

static REGISTRY: LazyLock<Vec<WeightsEntry>> = LazyLock::new(|| {
    // The file is part of the crate, and a test reads it.
    let registry: Registry = toml::from_str(include_str!("../data/registry.toml"))
        .unwrap_or_else(|error| panic!("registry.toml: {}", error.message()));
    registry.detector.into_iter().chain(registry.backbone).collect()
});

/// All published weights: detectors in the reference's order, then backbones.
pub fn registry() -> &'static [WeightsEntry] {
    &REGISTRY
}

impl WeightsEntry {
    /// The published weights of this name: a detector's, a backbone's with its tag, or a backbone's default ones.
    ///
    /// # Errors
    /// [`Error::UnknownWeights`] with the nearest names.
    ///
    /// # Reference
    /// timm's `model.tag` names; effdet's configuration names.
    pub fn named(name: &str) -> Result<&'static Self, Error> {
        let bare = |entry: &&Self| entry.default && entry.network() == name;
        let exact = registry().iter().find(|entry| entry.name == name);
        exact.or_else(|| registry().iter().find(bare)).ok_or_else(|| {
            let names = registry().iter().map(|entry| entry.name.as_str());
            let nearest = effdet_core::suggest::nearest(name, names, 3).into_iter().map(str::to_owned);
            Error::UnknownWeights { name: name.to_owned(), nearest: nearest.collect() }
        })
    }

    /// Whether this is a detector or a backbone.
    pub fn kind(&self) -> WeightsKind {
        if self.class_map.is_some() { WeightsKind::Detector } else { WeightsKind::Backbone }
    }

    /// Name of the network: the name without its tag.
    pub fn network(&self) -> &str {
        self.name.split('.').next().unwrap_or(&self.name)
    }

    /// Name of the release file.
    pub fn release_file(&self) -> Option<&str> {
        self.url.as_deref().and_then(|url| url.rsplit('/').next())
    }

    /// Name of the file where all files lie in one folder, if it comes from the first source; one that comes from the
    /// release although there is a Hub keeps [its name](Self::release_file).
    pub fn file_name(&self) -> String {
        match (&self.hub, self.release_file()) {
            (None, Some(file)) => file.to_owned(),
            _ => format!("{}.safetensors", self.name),
        }
    }

    /// What keeps the entry from being complete: a source that nothing checks, or no source at all.
    pub fn problem(&self) -> Option<&'static str> {
        let hex = |hash: &String| hash.len() >= 8 && hash.len() <= 64 && hash.bytes().all(is_hex);
        if self.hub.is_none() && self.url.is_none() {
            Some("no source")
        } else if self.hub.is_some() != self.hub_hash.is_some()
            || self.hub_hash.as_ref().is_some_and(|hash| hash != "from-hub")
        {
            Some("a file of the Hub that nothing checks")
        } else if self.url.is_some() && !self.hash.as_ref().is_some_and(hex) {
            Some("a release file that nothing checks")
        } else if self.licence.trim().is_empty() {
            Some("no licence")
        } else if self.trained_on.trim().is_empty() {
            Some("no training data")
        } else if self.kind() == WeightsKind::Detector && (self.fill.is_none() || self.published_ap.is_none())
        {
            Some("a detector without fill or average precision")
        } else {
            None
        }
    }
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

/// The page that lists all published weights, in Markdown.
pub fn weights_page() -> String {
    let mut page = String::from(
        "# Published weights\n\n\
         Written by `cargo xtask weights-page` from `crates/effdet-weights/data/registry.toml`, which\n\
         `tools/registry/make_registry.py` makes from what timm and effdet state. No file is part of this repository:\n\
         `effdet weights download NAME` fetches one, checks it and keeps it in the cache.\n\n\
         A hash of 64 digits is the whole SHA-256; one of 8 is its beginning, which the publisher put into the file's name;\n\
         `from-hub` is the SHA-256 that the Hugging Face Hub states for the file, checked and recorded when it is\n\
         downloaded. Licences are those that the publisher states; read them before use.\n\n\
         ## Detectors\n\n\
         No first-party copy of any of them is on the Hugging Face Hub; the release `v0.1` of\n\
         rwightman/efficientdet-pytorch is the source of record. All were trained on COCO train2017 and have its 90 class\n\
         slots. The licence is that of the repository that releases them; the files state none. AP is the published one\n\
         on val2017; ours has not been measured yet where the column is empty.\n\n\
         | name | file | SHA-256 | bytes | licence | size | mean, std | fill | AP | ours |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    // Writing to a string cannot fail.
    for entry in registry().iter().filter(|entry| entry.kind() == WeightsKind::Detector) {
        let file = entry.release_file().unwrap_or_default();
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.1}"));
        let _ = writeln!(
            page,
            "| {} | [{file}]({}) | {} | {} | {} | {} | {} | {} | {} | {} |",
            entry.name,
            entry.url.as_deref().unwrap_or_default(),
            entry.hash.as_deref().unwrap_or_default(),
            entry.bytes.map_or_else(String::new, |bytes| bytes.to_string()),
            entry.licence,
            size(entry.image_size),
            statistics(entry),
            entry.fill.as_deref().unwrap_or_default(),
            number(entry.published_ap),
            number(entry.measured_ap),
        );
    }
    page.push_str(
        "\n## Backbones\n\nA bare name means the tag in bold. The Hub's file is `model.safetensors` at `main`.\n\n\
         | name | Hub, `from-hub` | release file | SHA-256 | licence | trained on | size | mean, std | filter |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for entry in registry().iter().filter(|entry| entry.kind() == WeightsKind::Backbone) {
        let name = if entry.default { format!("**{}**", entry.name) } else { entry.name.clone() };
        let hub = entry.hub.as_ref().map_or_else(
            || "no first-party copy".to_owned(),
            |repository| format!("[{repository}](https://huggingface.co/{repository})"),
        );
        let file = match (entry.release_file(), &entry.url) {
            (Some(file), Some(url)) => format!("[{file}]({url})"),
            _ => String::new(),
        };
        let _ = writeln!(
            page,
            "| {name} | {hub} | {file} | {} | {} | {} | {} | {} | {} |",
            entry.hash.as_deref().unwrap_or_default(),
            entry.licence,
            entry.trained_on,
            size(entry.image_size),
            statistics(entry),
            entry.interpolation,
        );
    }
    page
}

fn size([height, width]: [usize; 2]) -> String {
    if height == width { height.to_string() } else { format!("{height}x{width}") }
}

fn statistics(entry: &WeightsEntry) -> String {
    const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let all = |values: [f32; 3]| values.map(|value| value.to_string()).join(" ");
    if (entry.mean, entry.std) == IMAGENET {
        "ImageNet's".into()
    } else if entry.mean == [entry.mean[0]; 3] && entry.std == [entry.std[0]; 3] {
        format!("{}, {}", entry.mean[0], entry.std[0])
    } else {
        format!("{}, {}", all(entry.mean), all(entry.std))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_entry_has_a_source_a_licence_and_a_check() {
        for entry in registry() {
            assert_eq!(entry.problem(), None, "{}", entry.name);
        }
        let names: HashSet<_> = registry().iter().map(|entry| &entry.name).collect();
        assert_eq!(names.len(), registry().len(), "a name stands twice");
        let files: HashSet<_> = registry().iter().map(WeightsEntry::file_name).collect();
        assert_eq!(files.len(), registry().len(), "two entries share a file name");
    }

    #[test]
    fn an_entry_that_lacks_something_is_not_complete() {
        let whole = WeightsEntry::named("tf_efficientdet_d0").unwrap().clone();
        type Change = fn(&mut WeightsEntry);
        let changes: [Change; 6] = [
            |entry| (entry.url, entry.hash) = (None, None),
            |entry| entry.hash = None,
            |entry| entry.hash = Some("f153".into()),
            |entry| entry.hub = Some("someone/something".into()),
            |entry| entry.licence = " ".into(),
            |entry| entry.published_ap = None,
        ];
        for change in changes {
            let mut entry = whole.clone();
            change(&mut entry);
            assert!(entry.problem().is_some());
        }
    }

    #[test]
    fn bare_names_mean_the_default_and_unknown_ones_get_suggestions() {
        assert_eq!(WeightsEntry::named("tf_efficientnet_b0").unwrap().name, "tf_efficientnet_b0.ns_jft_in1k");
        assert_eq!(
            WeightsEntry::named("tf_efficientnet_b0.aa_in1k").unwrap().network(),
            "tf_efficientnet_b0"
        );
        let error = WeightsEntry::named("tf_efficientdet_d00").unwrap_err().to_string();
        assert!(error.contains("tf_efficientdet_d0"), "{error}");
    }

    #[test]
    fn there_are_32_detectors_and_one_default_for_each_backbone() {
        let of = |kind| registry().iter().filter(move |entry| entry.kind() == kind);
        assert_eq!(of(WeightsKind::Detector).count(), 32);
        let networks: HashSet<_> = of(WeightsKind::Backbone).map(WeightsEntry::network).collect();
        assert_eq!(networks.len(), 117);
        assert_eq!(of(WeightsKind::Backbone).filter(|entry| entry.default).count(), networks.len());
    }
}
