//! Writing a module as safetensors.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use serde_json::{Map, Value, json};

use crate::module_io::ModulePath;
use crate::{Error, KeyMap};

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
    let path = path.as_ref();
    let mut values = Values { path: ModulePath::default(), found: Vec::new() };
    module.visit(&mut values);

    let mut tensors = NamedTensors::new();
    let mut counters = BTreeMap::new();
    for (module_path, shape, value) in values.found {
        let name = key_map(&module_path).into_owned();
        if let Some(layer) = name.strip_suffix("running_var") {
            counters.insert(format!("{layer}num_batches_tracked"), ());
        }
        match tensors.entry(name) {
            Entry::Vacant(entry) => entry.insert((shape, value)),
            Entry::Occupied(entry) => {
                return Err(Error::DuplicateName { path: path.into(), name: entry.key().clone() });
            }
        };
    }
    counters.retain(|name, ()| !tensors.contains_key(name));
    write_atomically(path, &tensors, &counters, metadata)
}

/// Shape and values of tensors by name.
pub type NamedTensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Writes tensors under their names, as [`save_safetensors`] does but with nothing added.
///
/// # Errors
/// When the file cannot be written.
pub fn write_safetensors(
    path: impl AsRef<Path>,
    tensors: &NamedTensors,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Error> {
    write_atomically(path.as_ref(), tensors, &BTreeMap::new(), metadata)
}

fn write_atomically(
    path: &Path,
    tensors: &NamedTensors,
    counters: &BTreeMap<String, ()>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let write_error = |source| Error::Write { path: path.into(), source };
    let header = header(tensors, counters.keys(), metadata).map_err(write_error)?;
    let (temporary, file) = create_beside(path).map_err(write_error)?;
    let written = write(file, &header, counters.len(), tensors.values().map(|(_, value)| value.as_slice()))
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_folder(path));
    if written.is_err() {
        // The error that matters is the one above.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(write_error)
}

/// Makes a rename outlast a power cut, where the system lets a folder be opened.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// The header, padded so that the counters, which come first, lie on a multiple of eight bytes.
fn header<'a>(
    tensors: &NamedTensors,
    counters: impl Iterator<Item = &'a String>,
    metadata: &BTreeMap<String, String>,
) -> io::Result<Vec<u8>> {
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".into(), json!(metadata));
    }
    let mut start = 0;
    let mut row = |name: &str, dtype: &str, shape: &[usize], bytes: usize| {
        let offsets = [start, start + bytes];
        start += bytes;
        let row: Value = json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets });
        header.insert(name.to_owned(), row);
    };
    for name in counters {
        row(name, "I64", &[], size_of::<i64>());
    }
    for (name, (shape, value)) in tensors {
        row(name, "F32", shape, size_of_val(value.as_slice()));
    }
    let mut bytes = serde_json::to_vec(&header)?;
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    Ok(bytes)
}

fn write<'a>(
    file: File,
    header: &[u8],
    counters: usize,
    values: impl Iterator<Item = &'a [f32]>,
) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    writer.write_all(&(header.len() as u64).to_le_bytes())?;
    writer.write_all(header)?;
    for _ in 0..counters {
        writer.write_all(&0i64.to_le_bytes())?;
    }
    for value in values {
        for element in value {
            writer.write_all(&element.to_le_bytes())?;
        }
    }
    writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Creates a file in the folder of `path` under a name nothing else uses.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path does not name a file"))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}-{}.tmp", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
    let temporary = path.with_file_name(temporary);
    let file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
    Ok((temporary, file))
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
