//! Weights of one task as the start of another.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};

use crate::classes::{SharedClass, SharedClasses};
use crate::load::is_counter;
use crate::module_io::ModulePath;
use crate::{
    Checkpoint, Error, LoadOptions, LoadReport, Missing, NonFinite, Unexpected, WrongShape, parameter_shapes,
};

/// First convolutions of the networks of this project, whose input channels can be adapted.
const FIRST_CONVOLUTIONS: [&str; 4] =
    ["conv_stem.weight", "conv1.weight", "stem_conv1.conv.weight", "stem.conv1.conv.weight"];
const CLASS_HEAD: &str = "class_net.";
const PREDICT: &str = "class_net.predict.";

/// What becomes of the class head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClassHead {
    /// It is loaded if it has the same number of classes, else all of it starts anew.
    #[default]
    SameCountOrNew,
    /// All of it starts anew.
    New,
    /// It is loaded but for its last layer, which starts anew except for the classes that both tasks have. All of it
    /// starts anew if its last layer has other channels or anchors than the file's.
    KeepShared(SharedClasses),
}

/// How to take weights over.
#[derive(Clone, Debug, Default)]
pub struct TransferOptions {
    /// Prefix, names to pass over and key map as for loading; `strict` has no meaning here.
    pub load: LoadOptions,
    /// What becomes of the class head.
    pub class_head: ClassHead,
}

/// A tensor that was fitted to another shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapted {
    /// Its name in the file.
    pub name: String,
    /// Its shape there.
    pub from: Vec<usize>,
    /// Its shape in the module.
    pub to: Vec<usize>,
}

/// What [`transfer_into`] took over and what starts anew.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TransferReport {
    /// What fits, what the file lacks (it keeps its initial values), what it has in excess, what has another shape.
    pub load: LoadReport,
    /// First convolutions fitted to another number of input channels.
    pub adapted: Vec<Adapted>,
    /// Parameters of the class head that start anew.
    pub reset: Vec<String>,
    /// Classes whose weights the last layer keeps.
    pub kept_classes: Vec<SharedClass>,
    /// Whether the last layer is the file's as it stands, its first class for the first here, with no names compared.
    pub classes_by_place: bool,
}

impl fmt::Display for TransferReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.load)?;
        for Adapted { name, from, to } in &self.adapted {
            write!(f, "\n  input channels adapted: {name} {from:?} to {to:?}")?;
        }
        if !self.kept_classes.is_empty() {
            let classes = self.kept_classes.iter().map(|class| {
                if class.name == class.becomes {
                    class.name.clone()
                } else {
                    format!("{} (as {})", class.name, class.becomes)
                }
            });
            write!(f, "\n  classes kept: {}", classes.collect::<Vec<_>>().join(", "))?;
        }
        if self.classes_by_place {
            write!(f, "\n  classes taken by place, not by name: the file's first for the first here")?;
        }
        if !self.reset.is_empty() {
            write!(f, "\n  {} tensors of the class head start anew", self.reset.len())?;
        }
        Ok(())
    }
}

/// Fills `module` with what of a checkpoint can serve it: tensors of the same name and shape, a first convolution of
/// another number of input channels, and of the class head what `options` say. Everything else keeps its initial values
/// and is in the report.
///
/// # Errors
/// If a tensor cannot be read, or if the class maps do not fit the class heads.
///
/// # Reference
/// effdet `create_model_from_config` with another `num_classes` (`EfficientDet.reset_head`) for the class head; timm
/// `load_pretrained` and `adapt_input_conv` for the input. Keeping the rows of shared classes is ours.
pub fn transfer_into<M: Module>(
    module: M,
    checkpoint: &Checkpoint,
    options: &TransferOptions,
) -> Result<(M, TransferReport), Error> {
    let prefix = options.load.dotted_prefix();
    let parameters: Vec<_> = parameter_shapes(&module)
        .into_iter()
        .map(|(path, shape)| (format!("{prefix}{}", (options.load.key_map)(&path)), path, shape))
        .collect();
    let mut report = TransferReport::default();
    report.load.path = checkpoint.path().into();
    report.load.section = checkpoint.section().map(str::to_owned);

    let new_head = match &options.class_head {
        ClassHead::New => true,
        ClassHead::KeepShared(shared) => parameters.iter().any(|(name, _, shape)| {
            name.contains(PREDICT)
                && has_class_rows(name)
                && checkpoint.get(name).is_some_and(|info| has_other_rows(&info.shape, shape, shared))
        }),
        ClassHead::SameCountOrNew => parameters.iter().any(|(name, _, shape)| {
            name.contains(PREDICT) && checkpoint.get(name).is_none_or(|info| info.shape != *shape)
        }),
    };

    let mut values = HashMap::new();
    let mut used = BTreeSet::new();
    for (name, path, expected) in parameters {
        let info = checkpoint.get(&name);
        if info.is_some() {
            used.insert(name.clone());
        }
        if new_head && name.contains(CLASS_HEAD) {
            report.reset.push(name);
            continue;
        }
        let Some(info) = info else {
            report.load.missing.push(Missing { name, shape: expected });
            continue;
        };
        let found = info.shape.clone();
        if let ClassHead::KeepShared(shared) = &options.class_head
            && name.contains(PREDICT)
            && has_class_rows(&name)
        {
            let rows = Rows::plan(&name, checkpoint.read_f32(&name)?, &found, &expected, shared)?;
            note_non_finite(&mut report.load, &name, rows.copied());
            values.insert(path, Value::Rows(rows));
            continue;
        }
        if found == expected {
            report.classes_by_place |= name.contains(PREDICT) && has_class_rows(&name);
            let value = checkpoint.read_f32(&name)?;
            note_non_finite(&mut report.load, &name, &value);
            report.load.loaded += 1;
            values.insert(path, Value::Whole(value));
        } else if is_first_convolution(&name)
            && let Some(value) = adapt_input_channels(&checkpoint.read_f32(&name)?, &found, &expected)
        {
            note_non_finite(&mut report.load, &name, &value);
            values.insert(path, Value::Whole(value));
            report.adapted.push(Adapted { name, from: found, to: expected });
        } else {
            report.load.wrong_shape.push(WrongShape { name, expected, found });
        }
    }
    if let ClassHead::KeepShared(shared) = &options.class_head
        && !new_head
    {
        report.kept_classes.clone_from(&shared.classes);
    }
    for name in checkpoint.names().filter(|name| !used.contains(*name)) {
        let Some(inner) = name.strip_prefix(prefix.as_str()) else { continue };
        if !is_counter(inner) && !(options.load.ignore)(inner) {
            let shape = checkpoint.get(name).map(|info| info.shape.clone()).unwrap_or_default();
            report.load.unexpected.push(Unexpected { name: name.to_owned(), shape });
        }
    }
    let module = module.map(&mut Filler { path: ModulePath::default(), values });
    Ok((module, report))
}

fn note_non_finite<'a>(report: &mut LoadReport, name: &str, values: impl IntoIterator<Item = &'a f32>) {
    let count = values.into_iter().filter(|value| !value.is_finite()).count();
    if count > 0 {
        report.non_finite.push(NonFinite { name: name.to_owned(), count });
    }
}

/// The kernel of a convolution for another number of input channels: their sum for one, else repeated in turn and scaled
/// so that the response to equal channels stays. `None` if the shapes differ in anything else.
///
/// # Shapes
/// `found`: `[out, in, height, width]`; `wanted`: the same but for `in`.
///
/// # Reference
/// timm `adapt_input_conv`.
pub fn adapt_input_channels(kernel: &[f32], found: &[usize], wanted: &[usize]) -> Option<Vec<f32>> {
    let (&[out, from, height, width], &[out_wanted, to, height_wanted, width_wanted]) = (found, wanted)
    else {
        return None;
    };
    let area = height * width;
    if (out, height, width) != (out_wanted, height_wanted, width_wanted)
        || from == 0
        || to == 0
        || kernel.len() != out * from * area
    {
        return None;
    }
    let mut adapted = Vec::with_capacity(out * to * area);
    for filter in kernel.chunks_exact(from * area) {
        if to == 1 {
            let sum = |at| filter.iter().skip(at).step_by(area).sum::<f32>();
            adapted.extend((0..area).map(sum));
        } else {
            let scale = if from == to { 1.0 } else { from as f32 / to as f32 };
            for channel in 0..to {
                let start = channel % from * area;
                adapted.extend(filter[start..start + area].iter().map(|value| value * scale));
            }
        }
    }
    Some(adapted)
}

fn is_first_convolution(name: &str) -> bool {
    FIRST_CONVOLUTIONS.iter().any(|first| {
        name.strip_suffix(first).is_some_and(|before| before.is_empty() || before == "backbone.")
    })
}

/// Whether the rows of a tensor of the last layer are classes; those of a depthwise kernel are channels.
fn has_class_rows(name: &str) -> bool {
    !name.contains(".conv_dw.")
}

/// Whether a tensor of the last layer has rows for the classes it should have, but of another length or for another
/// number of anchors than the module's.
fn has_other_rows(found: &[usize], expected: &[usize], shared: &SharedClasses) -> bool {
    let (&[rows_found, ref rest @ ..], &[rows, ref rest_wanted @ ..]) = (found, expected) else {
        return false;
    };
    match (anchors(rows_found, shared.from_slots), anchors(rows, shared.to_slots)) {
        (Some(anchors_found), Some(anchors)) => anchors_found != anchors || rest != rest_wanted,
        // The class maps are not those of the heads.
        _ => false,
    }
}

/// Anchors of a place that so many rows are for; `None` if the rows are not those of so many classes.
fn anchors(rows: usize, slots: usize) -> Option<usize> {
    (slots > 0 && rows.is_multiple_of(slots)).then(|| rows / slots)
}

/// Rows of the last layer to copy: of every anchor, those of the shared classes.
struct Rows {
    value: Vec<f32>,
    length: usize,
    /// Row in the file, row in the module.
    pairs: Vec<(usize, usize)>,
}

impl Rows {
    fn plan(
        name: &str,
        value: Vec<f32>,
        found: &[usize],
        expected: &[usize],
        shared: &SharedClasses,
    ) -> Result<Self, Error> {
        let refuse = |reason: String| Err(Error::Transfer { name: name.to_owned(), reason });
        let (&[rows_found, ref rest @ ..], &[rows, ..]) = (found, expected) else {
            return refuse("it has no rows".into());
        };
        let (Some(_), Some(anchors)) =
            (anchors(rows_found, shared.from_slots), anchors(rows, shared.to_slots))
        else {
            return refuse(format!(
                "it has {rows_found} rows for {} classes, and the model {rows} for {}",
                shared.from_slots, shared.to_slots
            ));
        };
        if has_other_rows(found, expected, shared) {
            return refuse(format!("its shape is {found:?}, and {expected:?} in the model"));
        }
        // The outputs of an anchor are neighbours.
        let pair = |anchor: usize, class: &SharedClass| {
            let row = |id: u32, slots: usize| anchor * slots + id as usize - 1;
            (row(class.from, shared.from_slots), row(class.to, shared.to_slots))
        };
        let out_of_range = |class: &&SharedClass| {
            !(1..=shared.from_slots).contains(&(class.from as usize))
                || !(1..=shared.to_slots).contains(&(class.to as usize))
        };
        if let Some(class) = shared.classes.iter().find(out_of_range) {
            return refuse(format!("class `{}` has an id without a slot", class.name));
        }
        let pairs =
            (0..anchors).flat_map(|anchor| shared.classes.iter().map(move |class| pair(anchor, class)));
        Ok(Self { value, length: rest.iter().product(), pairs: pairs.collect() })
    }

    fn range(&self, row: usize) -> Range<usize> {
        row * self.length..(row + 1) * self.length
    }

    /// The values that are copied.
    fn copied(&self) -> impl Iterator<Item = &f32> {
        self.pairs.iter().flat_map(move |&(from, _)| &self.value[self.range(from)])
    }

    fn copy_to(&self, target: &mut [f32]) {
        for &(from, to) in &self.pairs {
            target[self.range(to)].copy_from_slice(&self.value[self.range(from)]);
        }
    }
}

enum Value {
    Whole(Vec<f32>),
    Rows(Rows),
}

struct Filler {
    path: ModulePath,
    values: HashMap<String, Value>,
}

impl ModuleMapper for Filler {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let value = match self.values.remove(&self.path.join()) {
            None => return param,
            Some(Value::Whole(value)) => value,
            Some(Value::Rows(rows)) => {
                let mut value: Vec<f32> = param.val().into_data().iter::<f32>().collect();
                rows.copy_to(&mut value);
                value
            }
        };
        let data = TensorData::new(value, param.lazy_shape());
        let tensor = Tensor::from_data(data, &param.lazy_device());
        let id = param.id;
        param.transform_for_load(tensor, id)
    }
}
