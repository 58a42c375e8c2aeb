//! Filling a module from a checkpoint.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};

use crate::module_io::ModulePath;
use crate::{
    Checkpoint, Error, KeyMap, LoadReport, Missing, NonFinite, Unexpected, WrongShape, identity_keys,
    parameter_shapes,
};

/// How to match a checkpoint with a module.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Refuse to load unless every parameter gets a tensor and no tensor is left over.
    pub strict: bool,
    /// Load only the tensors under this prefix, such as `backbone.`, and leave the others out of the report.
    pub prefix: Option<String>,
    /// Names (without the prefix) that may be in the checkpoint without a place in the module, such as the classifier
    /// of a network whose features alone are wanted.
    pub ignore: fn(&str) -> bool,
    /// From the module's paths to the checkpoint's names (without the prefix).
    pub key_map: KeyMap,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { strict: true, prefix: None, ignore: |_| false, key_map: identity_keys }
    }
}

impl LoadOptions {
    /// For the features of an image classifier of timm: its head is passed over, and its names are those of the whole
    /// network, which the feature networks of `cspnet` flatten (`stem.conv1`, `stages.0` there, `stem_conv1`, `stages_0`
    /// here).
    ///
    /// # Reference
    /// timm `create_model(..., features_only=True, pretrained=True)`, `FeatureListNet`.
    pub fn timm_classifier() -> Self {
        const HEADS: [&str; 7] =
            ["conv_head.", "norm_head.", "bn2.", "classifier.", "head.", "fc.", "global_pool."];
        let key_map = |path: &str| match path.split_once('_') {
            Some((part @ ("stem" | "stages"), rest)) => Cow::Owned(format!("{part}.{rest}")),
            _ => Cow::Owned(path.to_owned()),
        };
        Self { ignore: |name| HEADS.iter().any(|head| name.starts_with(head)), key_map, ..Self::default() }
    }

    /// The prefix with one dot at its end, or nothing.
    pub(crate) fn dotted_prefix(&self) -> String {
        match self.prefix.as_deref() {
            None | Some("") => String::new(),
            Some(prefix) => format!("{}.", prefix.trim_end_matches('.')),
        }
    }
}

/// Loads every float parameter and buffer of `module` from `checkpoint`, each on the device it is on.
///
/// Parameters keep their identity and whether they require gradients; those not initialised yet go straight to the
/// loaded value. Values take the device's float type. The counters `num_batches_tracked` have no place in a module and
/// are passed over.
///
/// All names and shapes are compared and all values read before the module is touched. Without
/// [`strict`](LoadOptions::strict), what fits is loaded and the report lists the rest.
///
/// A `RunningState` of Burn shares its value between clones of a module, so loading into one reaches the others;
/// `effdet_nn::Buffer` does not.
///
/// # Errors
/// [`Error::Mismatch`] when loading strictly and anything is missing, left over or of another shape; otherwise when a
/// tensor cannot be read.
///
/// # Reference
/// PyTorch `Module.load_state_dict`.
pub fn load_into<M: Module>(
    module: M,
    checkpoint: &Checkpoint,
    options: &LoadOptions,
) -> Result<(M, LoadReport), Error> {
    let prefix = options.dotted_prefix();
    let mut report = LoadReport {
        path: checkpoint.path().into(),
        section: checkpoint.section().map(str::to_owned),
        ..LoadReport::default()
    };

    let mut used = BTreeSet::new();
    let mut fitting = Vec::new();
    for (path, expected) in parameter_shapes(&module) {
        let name = format!("{prefix}{}", (options.key_map)(&path));
        match checkpoint.get(&name) {
            None => report.missing.push(Missing { name, shape: expected }),
            Some(info) if info.shape == expected => {
                used.insert(name.clone());
                fitting.push((path, name));
            }
            Some(info) => {
                used.insert(name.clone());
                report.wrong_shape.push(WrongShape { name, expected, found: info.shape.clone() });
            }
        }
    }
    report.loaded = fitting.len();
    for name in checkpoint.names().filter(|name| !used.contains(*name)) {
        let Some(inner) = name.strip_prefix(prefix.as_str()) else { continue };
        if is_counter(inner) || (options.ignore)(inner) {
            continue;
        }
        let shape = checkpoint.get(name).map(|info| info.shape.clone()).unwrap_or_default();
        report.unexpected.push(Unexpected { name: name.to_owned(), shape });
    }
    report.guess_cause(anchors_per_position(checkpoint, &prefix));
    if options.strict && !report.is_complete() {
        return Err(Error::Mismatch(Box::new(report)));
    }

    let mut values = HashMap::with_capacity(fitting.len());
    for (path, name) in fitting {
        let value = checkpoint.read_f32(&name)?;
        let count = value.iter().filter(|value| !value.is_finite()).count();
        if count > 0 {
            report.non_finite.push(NonFinite { name, count });
        }
        values.insert(path, value);
    }
    let module = module.map(&mut Loader { path: ModulePath::default(), values });
    Ok((module, report))
}

pub(crate) fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some("num_batches_tracked")
}

/// Anchors per position in a detector's file: its box head has four outputs for each.
fn anchors_per_position(checkpoint: &Checkpoint, prefix: &str) -> Option<usize> {
    ["conv_pw", "conv"]
        .iter()
        .find_map(|conv| checkpoint.get(&format!("{prefix}box_net.predict.{conv}.weight")))
        .and_then(|info| info.shape.first())
        .map(|outputs| outputs / 4)
}

/// Replaces the parameters that have a value, in the module's own order.
struct Loader {
    path: ModulePath,
    values: HashMap<String, Vec<f32>>,
}

impl ModuleMapper for Loader {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(value) = self.values.remove(&self.path.join()) else { return param };
        let data = TensorData::new(value, param.lazy_shape());
        let tensor = Tensor::from_data(data, &param.lazy_device());
        let id = param.id;
        param.transform_for_load(tensor, id)
    }
}
