//! Weights that are pure functions of a seed, a name and a shape.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use burn::module::Module;
use effdet_weights::parameter_shapes;
use safetensors::tensor::{Dtype, TensorView};
use sha2::{Digest, Sha256};

/// Values in [-1, 1) on a grid of 2⁻²²: SplitMix64 in counter mode, keyed by the SHA-256 of `seed:name`.
pub fn uniform(seed: u64, name: &str, count: usize) -> impl Iterator<Item = f32> + use<> {
    let digest = Sha256::digest(format!("{seed}:{name}"));
    let key = digest[..8].iter().rev().fold(0u64, |key, byte| key << 8 | u64::from(*byte));
    (1..=count as u64).map(move |i| {
        let z = key.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let z = z ^ (z >> 31);
        ((z >> 41) as f64 * 2f64.powi(-22) - 1.0) as f32
    })
}

/// The weight of this name and shape.
///
/// Ranges are chosen so that activations neither vanish nor explode and every branch of the code shows: some fusion
/// weights are negative, gates stay near one half, class logits around -4.
pub fn tensor(seed: u64, name: &str, shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    let values = uniform(seed, name, count);
    let affine = |offset: f32, scale: f32| values.map(|u| offset + scale * u).collect();
    if name.ends_with("edge_weights") {
        return affine(0.6, 0.8);
    }
    if shape.len() <= 1 {
        return if name.ends_with("weight") || name.ends_with("running_var") {
            affine(1.0, 0.25)
        } else if name.contains("class_net.predict") {
            affine(-4.0, 1.0)
        } else {
            affine(0.0, 0.1)
        };
    }
    let fan_in: usize = shape[1..].iter().product();
    let last = name.contains("predict") && (name.contains("conv_pw") || name.contains("predict.conv.weight"));
    let gain = match (last, name.starts_with("class_net"), name.contains(".se.")) {
        (true, true, _) => 0.5,
        (true, false, _) => 0.1,
        (false, _, true) => 0.1,
        (false, _, false) => 2.0,
    };
    affine(0.0, (3.0 * gain / fan_in as f64).sqrt() as f32)
}

/// Running statistics that are stored instead of computed, by tensor name.
pub type RunningStatistics = HashMap<String, Vec<f32>>;

/// Mean and variance that a batch norm's running statistics scatter around, by the layer's name.
pub type Moments = HashMap<String, [f32; 2]>;

/// Running statistics scattered around one mean and variance for all channels of a layer.
pub fn scattered_statistics<M: Module>(module: &M, seed: u64, moments: &Moments) -> RunningStatistics {
    let scattered = parameter_shapes(module).into_iter().filter_map(|(name, shape)| {
        let (layer, kind) = name.rsplit_once('.')?;
        let [mean, variance] = *moments.get(layer)?;
        let values = uniform(seed, &name, shape.iter().product());
        let values: Vec<f32> = match kind {
            "running_mean" => values.map(|u| mean + variance.sqrt() * (0.1 * u)).collect(),
            "running_var" => values.map(|u| variance * (1.0 + 0.25 * u)).collect(),
            _ => return None,
        };
        Some((name, values))
    });
    scattered.collect()
}

/// The digest of all names and shapes of a module's tensors.
pub fn state_dict_digest<M: Module>(module: &M) -> String {
    let mut lines: Vec<String> =
        parameter_shapes(module).into_iter().map(|(name, shape)| format!("{name} {shape:?}\n")).collect();
    lines.sort_unstable();
    Sha256::digest(lines.concat()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a checkpoint for `module` with synthetic weights, as the reference would save it.
///
/// # Errors
/// If the file cannot be written or a stored statistic has another length than its tensor.
pub fn write_checkpoint<M: Module>(
    module: &M,
    seed: u64,
    running: &RunningStatistics,
    path: &Path,
) -> Result<()> {
    let mut tensors = Vec::new();
    for (name, shape) in parameter_shapes(module) {
        let values = match running.get(&name) {
            Some(values) => values.clone(),
            None => tensor(seed, &name, &shape),
        };
        let expected: usize = shape.iter().product();
        anyhow::ensure!(values.len() == expected, "{name}: {} stored values, not {expected}", values.len());
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors.push((name, shape, bytes));
    }
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>>>()?;
    safetensors::serialize_to_file(views, None, path).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_python_definition() {
        // numpy: uniform(11, "conv_stem.weight", (4,)), tools/golden/synthetic.py
        let values: Vec<f32> = uniform(11, "conv_stem.weight", 4).collect();
        assert_eq!(values, [-0.757_043_36, -0.761_047_6, -0.879_905_46, 0.944_574_1]);
    }
}
