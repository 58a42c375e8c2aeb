//! What can be wrong with a detector's description or its use.

/// Why a detector cannot be built or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No configuration has this name.
    #[error("unknown model `{name}`{}", did_you_mean(.nearest))]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// The nearest known names.
        nearest: Vec<String>,
    },
    /// A setting out of its range.
    #[error("{what} of `{model}` is {value}: {expected}")]
    Value {
        /// The model.
        model: String,
        /// The setting.
        what: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// The backbone cannot be built.
    #[error(transparent)]
    Backbone(#[from] effdet_backbones::Error),
    /// The feature network cannot be built.
    #[error(transparent)]
    FeatureNetwork(#[from] effdet_bifpn::Error),
    /// Anchors or decoding.
    #[error(transparent)]
    Heads(#[from] effdet_heads::Error),
    /// A batch was too large for the device.
    #[error(transparent)]
    OutOfMemory(#[from] effdet_nn::OutOfMemory),
}

fn did_you_mean(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!(": did you mean {}?", nearest.join(", ")) }
}
