//! What can be wrong with a backbone's description.

/// Why a backbone cannot be built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No backbone has this name.
    #[error("unknown backbone `{name}`{}", did_you_mean(.nearest))]
    UnknownName {
        /// The name asked for.
        name: String,
        /// The nearest known names.
        nearest: Vec<String>,
    },
    /// A feature index beyond what the backbone has, or not in increasing order.
    #[error("feature indices {indices:?} of `{name}`: they must increase and be below {available}")]
    OutIndices {
        /// The backbone.
        name: String,
        /// The indices asked for.
        indices: Vec<usize>,
        /// How many feature maps it has.
        available: usize,
    },
    /// The backbone cannot give features from inside its blocks.
    #[error("`{name}` gives features at block outputs only, not at the expansion")]
    FeatureLocation {
        /// The backbone.
        name: String,
    },
    /// A value outside its range.
    #[error("{what} of `{name}` is {value}: {expected}")]
    Value {
        /// The backbone.
        name: String,
        /// The setting.
        what: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A block string that does not follow the grammar.
    #[error("block `{block}`: {reason}")]
    Grammar {
        /// The string.
        block: String,
        /// What is wrong with it.
        reason: String,
    },
}

fn did_you_mean(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!(": did you mean {}?", nearest.join(", ")) }
}
