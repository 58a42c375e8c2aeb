//! The error type of this crate.

use effdet_core::ImageSize;

/// What can be wrong with anchors, heads, their outputs or settings.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Settings from which no anchors can be made.
    #[error("invalid anchor configuration: {reason}")]
    AnchorConfig {
        /// What is wrong.
        reason: String,
    },
    /// An image size for which anchors make no sense or do not fit in memory.
    #[error("no anchors for an image of {size}: {reason}")]
    ImageSize {
        /// The size.
        size: ImageSize,
        /// What is wrong.
        reason: String,
    },
    /// The heads returned another number of pyramid levels than the anchors have.
    #[error("head outputs have {actual} levels, but the anchors have {expected}")]
    LevelCount {
        /// Number of levels of the anchors.
        expected: usize,
        /// Number of levels given.
        actual: usize,
    },
    /// A tensor of one level has another number of values than the anchors ask for.
    #[error("{tensor} of level {level} have {actual} values, expected {expected} ({shape})")]
    LevelShape {
        /// Pyramid level, 3 for stride 8.
        level: usize,
        /// Which tensor.
        tensor: &'static str,
        /// Number of values that the anchors ask for.
        expected: usize,
        /// Number of values given.
        actual: usize,
        /// The expected shape in words.
        shape: String,
    },
    /// A setting outside its range.
    #[error("{name} is {value}, expected {expected}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// The range it must lie in.
        expected: &'static str,
    },
    /// Channels that do not divide into the groups of the heads' normalisation.
    #[error(transparent)]
    Norm(#[from] effdet_nn::UnevenGroups),
    /// An object that no anchor can be matched with.
    #[error("object {index}: {reason}")]
    Truth {
        /// Its place in the list of objects.
        index: usize,
        /// What is wrong.
        reason: String,
    },
    /// Something wrong with one picture of a batch.
    #[error("picture {index} of the batch")]
    Picture {
        /// Its place in the batch.
        index: usize,
        /// What is wrong.
        source: Box<Error>,
    },
    /// Labels made for other anchors.
    #[error("picture {picture} has {actual} {what} for {expected} anchors")]
    LabelCount {
        /// Its place in the batch.
        picture: usize,
        /// `labels`, or the `boxes` that belong to them.
        what: &'static str,
        /// Number of anchors.
        expected: usize,
        /// Number of labels or boxes.
        actual: usize,
    },
    /// A label that the class head has no logit for.
    #[error("picture {picture} has an object of class {class}, but the head has {num_classes} classes")]
    ClassRange {
        /// The picture's place in the batch.
        picture: usize,
        /// The class, counted from 0.
        class: i32,
        /// Number of classes.
        num_classes: usize,
    },
    /// Head outputs of another shape than the targets ask for.
    #[error("{tensor} of level {level} have shape {actual:?}, expected {expected}")]
    OutputShape {
        /// Pyramid level, 3 for stride 8.
        level: usize,
        /// Which tensor.
        tensor: &'static str,
        /// Its shape.
        actual: [usize; 4],
        /// The shape that fits.
        expected: String,
    },
    /// The device did not give its results back.
    #[error("cannot read the outputs back from the device: {0}")]
    ReadBack(String),
}
