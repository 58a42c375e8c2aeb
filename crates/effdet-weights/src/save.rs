//! Writing a module as safetensors.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use effdet_core::Replacement;
use serde_json::{Map, Value, json};

use crate::convert::{from_f32, is_float, to_f32};
use crate::module_io::ModulePath;
use crate::{Checkpoint, DType, Error, KeyMap};

/// Writes every float parameter and buffer of `module` as `f32` to a safetensors file.
///
/// Beside each `running_var` goes a `num_batches_tracked` of zero, without which PyTorch's strict loading refuses the
/// file. The bytes depend on the values, the names and the metadata alone, so equal models give equal files. The file
/// is written next to `path` under a temporary name and then renamed: whatever stood at `path` stays until the new file
/// is complete.
///
/// # Errors
/// When two parameters map to one name or the file cannot be written.
pub fn save_safetensors<M: Module>(
    module: &M,
    path: impl AsRef<Path>,
    metadata: &BTreeMap<String, String>,
    key_map: KeyMap,
) -> Result<(), Error> {
    save_safetensors_as(module, path, metadata, key_map, DType::F32)
}

/// Writes a module as [`save_safetensors`] does, with values of the type `dtype`: `f32`, `f16` or `bf16`.
///
/// # Errors
/// As there, and when a finite value is beyond the type's range.
pub fn save_safetensors_as<M: Module>(
    module: &M,
    path: impl AsRef<Path>,
    metadata: &BTreeMap<String, String>,
    key_map: KeyMap,
    dtype: DType,
) -> Result<(), Error> {
    let path = path.as_ref();
    let mut values = Values { path: ModulePath::default(), found: Vec::new() };
    module.visit(&mut values);

    let mut tensors: BTreeMap<String, (Vec<usize>, Option<Vec<f32>>)> = BTreeMap::new();
    for (module_path, shape, value) in values.found {
        let name = key_map(&module_path).into_owned();
        if tensors.insert(name.clone(), (shape, Some(value))).is_some() {
            return Err(Error::DuplicateName { path: path.into(), name });
        }
    }
    let layers: Vec<_> = tensors.keys().filter_map(|name| name.strip_suffix("running_var")).collect();
    let counters: Vec<_> = layers.iter().map(|layer| format!("{layer}num_batches_tracked")).collect();
    for name in counters {
        tensors.entry(name).or_insert((Vec::new(), None));
    }

    let rows: Vec<_> = tensors
        .iter()
        .map(|(name, (shape, value))| Row {
            name,
            dtype: if value.is_some() { dtype } else { DType::I64 },
            shape,
        })
        .collect();
    write_safetensors(path, &rows, metadata, |row| match tensors.get(row.name) {
        Some((_, Some(value))) => from_f32(value, dtype).map_err(|_| beyond(path, row)),
        _ => Ok(0i64.to_le_bytes().to_vec()),
    })
}

/// Shape and values of tensors by name.
pub type NamedTensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Writes tensors under their names, whole or not at all, and waits until they are on the disk.
///
/// # Errors
/// When the file cannot be written.
pub fn save_named_tensors(
    path: impl AsRef<Path>,
    tensors: &NamedTensors,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let rows: Vec<_> =
        tensors.iter().map(|(name, (shape, _))| Row { name, dtype: DType::F32, shape }).collect();
    write_safetensors(path.as_ref(), &rows, metadata, |row| {
        let values = tensors.get(row.name).map(|(_, values)| values.as_slice()).unwrap_or_default();
        Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect())
    })
}

/// Writes the tensors of a checkpoint to a safetensors file, one at a time, with floats of the type `dtype` or as they
/// are. Names are those of the network; PyTorch's counters stay, and are added where a file has none. The metadata of
/// the checkpoint is kept where `metadata` says nothing else.
///
/// # Errors
/// When a tensor cannot be read or has no such type, a finite value is beyond the type's range, or the file cannot be
/// written.
pub fn convert_checkpoint(
    checkpoint: &Checkpoint,
    path: impl AsRef<Path>,
    metadata: &BTreeMap<String, String>,
    dtype: Option<DType>,
) -> Result<(), Error> {
    let path = path.as_ref();
    let target = |found: DType| dtype.filter(|_| is_float(found)).unwrap_or(found);
    let counters = missing_counters(checkpoint);
    let mut rows: Vec<_> = checkpoint
        .names()
        .filter_map(|name| {
            let info = checkpoint.get(name)?;
            Some(Row { name, dtype: target(info.dtype), shape: &info.shape })
        })
        .collect();
    rows.extend(counters.iter().map(|name| counter_row(name)));
    let mut all = checkpoint.metadata().clone();
    all.extend(metadata.clone());
    write_safetensors(path, &rows, &all, |row| {
        if checkpoint.get(row.name).is_none() {
            return Ok(COUNTER.to_le_bytes().to_vec());
        }
        let (bytes, found) = checkpoint.read_bytes(row.name)?;
        if found == row.dtype {
            return Ok(bytes);
        }
        let unsupported = || Error::UnsupportedDType {
            path: checkpoint.path().into(),
            name: row.name.into(),
            dtype: found,
        };
        let values = to_f32(&bytes, found).ok_or_else(unsupported)?;
        from_f32(&values, row.dtype).map_err(|_| beyond(path, row))
    })
}

/// Writes the mean of several checkpoints of one network to a safetensors file. Sums are kept in `f64`; integers are
/// those of the first checkpoint. PyTorch's counters are added as in [`convert_checkpoint`].
///
/// # Errors
/// [`Error::Transfer`] when a checkpoint lacks a tensor of the first, has others or other shapes; else as
/// [`convert_checkpoint`].
///
/// # Reference
/// timm `avg_checkpoints.py`.
pub fn average_checkpoints(
    checkpoints: &[Checkpoint],
    path: impl AsRef<Path>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let path = path.as_ref();
    let Some((first, others)) = checkpoints.split_first() else {
        return Err(Error::NoTensors { path: path.into() });
    };
    let target = |found: DType| if is_float(found) { DType::F32 } else { found };
    let names = first.names().filter_map(|name| Some((name, first.get(name)?)));
    let mut rows: Vec<_> =
        names.map(|(name, info)| Row { name, dtype: target(info.dtype), shape: &info.shape }).collect();
    let counters = missing_counters(first);
    rows.extend(counters.iter().map(|name| counter_row(name)));
    for other in others {
        let differs =
            |name: &str| first.get(name).map(|info| &info.shape) != other.get(name).map(|info| &info.shape);
        if let Some(name) = first.names().chain(other.names()).find(|name| differs(name)) {
            let (a, b) = (first.path().display(), other.path().display());
            let reason = format!("it is not the same in {a} and {b}");
            return Err(Error::Transfer { name: name.to_owned(), reason });
        }
    }
    let mut all = first.metadata().clone();
    all.extend(metadata.clone());
    write_safetensors(path, &rows, &all, |row| {
        if first.get(row.name).is_none() {
            return Ok(COUNTER.to_le_bytes().to_vec());
        }
        if row.dtype != DType::F32 {
            return Ok(first.read_bytes(row.name)?.0);
        }
        let mut sum: Vec<f64> = first.read_f32(row.name)?.into_iter().map(f64::from).collect();
        for other in others {
            for (sum, value) in sum.iter_mut().zip(other.read_f32(row.name)?) {
                *sum += f64::from(value);
            }
        }
        let count = checkpoints.len() as f64;
        Ok(sum.iter().flat_map(|sum| ((sum / count) as f32).to_le_bytes()).collect())
    })
}

/// Value of a counter that is added.
const COUNTER: i64 = 0;

/// Names of the counters that PyTorch's strict loading asks for and a checkpoint lacks: TensorFlow keeps none.
fn missing_counters(checkpoint: &Checkpoint) -> Vec<String> {
    checkpoint
        .names()
        .filter_map(|name| Some(format!("{}num_batches_tracked", name.strip_suffix("running_var")?)))
        .filter(|name| checkpoint.get(name).is_none())
        .collect()
}

fn counter_row(name: &str) -> Row<'_> {
    Row { name, dtype: DType::I64, shape: &[] }
}

fn beyond(path: &Path, row: &Row<'_>) -> Error {
    let source = io::Error::new(
        io::ErrorKind::InvalidData,
        format!("tensor {} has values beyond the range of {}", row.name, row.dtype),
    );
    Error::Write { path: path.into(), source }
}

/// A tensor to write.
pub(crate) struct Row<'a> {
    pub(crate) name: &'a str,
    pub(crate) dtype: DType,
    pub(crate) shape: &'a [usize],
}

/// Writes a safetensors file whole or not at all, holding one tensor at a time.
fn write_safetensors(
    path: &Path,
    rows: &[Row<'_>],
    metadata: &BTreeMap<String, String>,
    mut value: impl FnMut(&Row<'_>) -> Result<Vec<u8>, Error>,
) -> Result<(), Error> {
    let write_error = |source| Error::Write { path: path.into(), source };
    // Larger elements first, so that every tensor lies on a multiple of its element's size.
    let mut rows: Vec<&Row<'_>> = rows.iter().collect();
    rows.sort_by_key(|row| (std::cmp::Reverse(row.dtype.bitsize()), row.name));
    let header = header(&rows, metadata).map_err(write_error)?;
    let replacement = Replacement::of(path).map_err(write_error)?;
    let mut writer = BufWriter::with_capacity(1 << 20, replacement.create().map_err(write_error)?);
    writer.write_all(&(header.len() as u64).to_le_bytes()).map_err(write_error)?;
    writer.write_all(&header).map_err(write_error)?;
    for row in rows {
        writer.write_all(&value(row)?).map_err(write_error)?;
    }
    let file = writer.into_inner().map_err(|error| write_error(error.into_error()))?;
    replacement.finish(file).map_err(write_error)?;
    // The file is in its place and whole, so a folder that cannot be flushed does not make the save a failure.
    let _ = sync_folder(path);
    Ok(())
}

/// Makes a rename outlast a power cut, where the system lets a folder be opened.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// The header, padded so that the values start on a multiple of eight bytes.
fn header(rows: &[&Row<'_>], metadata: &BTreeMap<String, String>) -> io::Result<Vec<u8>> {
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".into(), json!(metadata));
    }
    let mut start = 0;
    for Row { name, dtype, shape } in rows {
        let end = start + shape.iter().product::<usize>() * dtype.bitsize() / 8;
        let row: Value = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] });
        header.insert((*name).to_owned(), row);
        start = end;
    }
    let mut bytes = serde_json::to_vec(&header)?;
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    Ok(bytes)
}

struct Values {
    path: ModulePath,
    found: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl ModuleVisitor for Values {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = param.val().into_data();
        let shape = data.shape().to_vec();
        self.found.push((self.path.join(), shape, data.iter::<f32>().collect()));
    }
}
