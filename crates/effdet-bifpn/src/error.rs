//! What can be wrong with a feature network's description.

/// Why a graph or a network cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No graph has this name.
    #[error("unknown feature network `{name}`: known are {known}")]
    UnknownName {
        /// The name asked for.
        name: String,
        /// The known names.
        known: String,
    },
    /// The levels are not a range of at least two.
    #[error("levels {min_level} to {max_level} are no pyramid: at least two are needed, counted from 1")]
    Levels {
        /// Finest level.
        min_level: usize,
        /// Coarsest level.
        max_level: usize,
    },
    /// A node that refers to what does not exist, or stands where it cannot.
    #[error("node {node} of the graph: {reason}")]
    Node {
        /// Its index.
        node: usize,
        /// What is wrong.
        reason: String,
    },
    /// The last nodes are not one for each level, finest first.
    #[error(
        "the last {levels} nodes must be the outputs, one for each level, finest first: node {node} is at level {found}, not {expected}"
    )]
    Outputs {
        /// Number of levels.
        levels: usize,
        /// The node at fault.
        node: usize,
        /// Its level.
        found: usize,
        /// The level it should have.
        expected: usize,
    },
    /// More feature maps than levels, or none.
    #[error("{maps} feature maps go in, but the pyramid has {levels} levels")]
    Inputs {
        /// Number of maps.
        maps: usize,
        /// Number of levels.
        levels: usize,
    },
    /// Channels that do not divide into the groups of the normalisation.
    #[error(transparent)]
    Norm(#[from] effdet_nn::UnevenGroups),
    /// A number that must not be zero.
    #[error("{0} must not be zero")]
    Zero(&'static str),
}
