//! Where published weights are.

use effdet_model::ModelSpec;

/// Address of the weights that the reference published for a configuration, if it did.
///
/// # Reference
/// effdet `model_config.py`, `url`: the release `v0.1` of rwightman/efficientdet-pytorch.
pub fn weights_url(spec: &ModelSpec) -> Option<String> {
    const RELEASE: &str = "https://github.com/rwightman/efficientdet-pytorch/releases/download/v0.1";
    spec.weights.map(|file| format!("{RELEASE}/{file}"))
}
