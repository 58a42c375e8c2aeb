//! OpenImages: CSV files, the label hierarchy and the V2 and Challenge metrics.

mod evaluate;
mod hierarchy;
mod read;

pub use evaluate::{OpenImagesClass, OpenImagesOptions, OpenImagesReport, evaluate_openimages};
pub use hierarchy::Hierarchy;
pub use read::VerifiedLabels;
