//! A checkpoint file: its format, its tensors by name, and their values on demand.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pytorch_reader::{PytorchError, PytorchReader};

use crate::convert::to_f32;
use crate::safetensors_file::read_header;
use crate::tensorflow::{TensorFlowLayout, rearrange, shape_here, tensorflow_name};
use crate::{DType, Error, guard, hdf5};

/// How a checkpoint is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// safetensors.
    Safetensors,
    /// `torch.save` since PyTorch 1.6: a zip archive.
    Zip,
    /// `torch.save` before PyTorch 1.6, the form of the published EfficientDet weights: pickles, then raw storages.
    Legacy,
    /// `torch.save` before PyTorch 0.1.10.
    Tar,
    /// Keras weights of the official TensorFlow implementation.
    Hdf5,
}

/// What to read of a file that holds more than one set of weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointOptions {
    /// Prefer the averaged weights of a training dictionary (`state_dict_ema`, `model_ema`).
    pub use_ema: bool,
}

impl Default for CheckpointOptions {
    fn default() -> Self {
        Self { use_ema: true }
    }
}

/// Type and shape of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type in the file.
    pub dtype: DType,
    /// Extents, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
}

/// Where a tensor's bytes are.
#[derive(Debug)]
enum Location {
    File {
        start: u64,
        length: u64,
    },
    /// An array of TensorFlow, with the shape it has there.
    Array {
        start: u64,
        length: u64,
        shape: Vec<usize>,
        layout: TensorFlowLayout,
    },
    /// Scalars that make a vector, in its order.
    Elements(Vec<u64>),
    Torch(pytorch_reader::Tensor),
}

#[derive(Debug)]
struct Entry {
    info: TensorInfo,
    location: Location,
}

/// An open checkpoint. Opening reads names, types and shapes; values are read one tensor at a time.
///
/// Names are those of the network: the prefixes that wrappers add are gone (`module.` of `DataParallel`,
/// `_orig_mod.` of `torch.compile`, `model.` of effdet's training and prediction benches when every tensor has it), and
/// so are the benches' `anchors.boxes`, which anchors are computed from instead.
///
/// # Reference
/// timm `load_state_dict` and `clean_state_dict` for the choice of section and the prefixes. Unlike timm, which goes by
/// the file's extension, the format is told from the content, and no file is trusted: nothing in it is executed and no
/// length it claims is believed before it is compared with the file's.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    format: Format,
    section: Option<String>,
    metadata: BTreeMap<String, String>,
    entries: BTreeMap<String, Entry>,
    file: Mutex<File>,
    file_len: u64,
}

impl Checkpoint {
    /// Opens a checkpoint, taking the averaged weights where there are some.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, &CheckpointOptions::default())
    }

    /// Opens a checkpoint.
    ///
    /// # Errors
    /// When the file cannot be read, is of no known format, is damaged, claims more than it holds, names a function
    /// that has no place in a checkpoint, or holds no tensors.
    pub fn open_with(path: impl AsRef<Path>, options: &CheckpointOptions) -> Result<Self, Error> {
        let path = path.as_ref();
        let unreadable = |source: io::Error| Error::Read { path: path.into(), source };
        let mut file = File::open(path).map_err(unreadable)?;
        let file_len = file.metadata().map_err(unreadable)?.len();
        let format = detect(path, &mut file)?;

        let (section, metadata, tensors) = if format == Format::Safetensors {
            file.rewind().map_err(unreadable)?;
            let header = read_header(path, &mut file, file_len)?;
            let tensors = header.tensors.into_iter().map(|(name, row)| {
                let info = TensorInfo { dtype: row.dtype, shape: row.shape };
                (name, Entry { info, location: Location::File { start: row.start, length: row.length } })
            });
            (None, header.metadata, tensors.collect::<Vec<_>>())
        } else if format == Format::Hdf5 {
            (None, BTreeMap::new(), tensorflow_tensors(path, hdf5::arrays(path, &mut file, file_len)?)?)
        } else {
            guard::check(path, format, &mut file, file_len)?;
            let (section, reader) =
                open_section(path, options).map_err(|source| Error::Pytorch { path: path.into(), source })?;
            let tensors = reader.into_tensors().into_iter().map(|(name, tensor)| {
                let info = TensorInfo { dtype: dtype_of(&tensor), shape: tensor.shape().to_vec() };
                (name, Entry { info, location: Location::Torch(tensor) })
            });
            (section, BTreeMap::new(), tensors.collect())
        };

        let entries = strip_wrappers(path, tensors)?;
        if entries.is_empty() {
            return Err(Error::NoTensors { path: path.into() });
        }
        Ok(Self { path: path.into(), format, section, metadata, entries, file: Mutex::new(file), file_len })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the file is stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The entry of a training dictionary that was read, such as `state_dict_ema`; `None` for bare weights.
    pub fn section(&self) -> Option<&str> {
        self.section.as_deref()
    }

    /// The `__metadata__` of a safetensors file; empty for other formats.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Names of all tensors, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no tensor; [`open`](Self::open) refuses such a file.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Type and shape of a tensor.
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.entries.get(name).map(|entry| &entry.info)
    }

    /// The values of a tensor in row-major order, converted to `f32`.
    ///
    /// # Errors
    /// When there is no such tensor, its type has no conversion, it claims more bytes than the file has, or its bytes
    /// cannot be read.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, Error> {
        let (bytes, dtype) = self.read_bytes(name)?;
        to_f32(&bytes, dtype).ok_or_else(|| Error::UnsupportedDType {
            path: self.path.clone(),
            name: name.into(),
            dtype,
        })
    }

    /// The values of a tensor in row-major order, as little-endian bytes of the type it has in the file.
    ///
    /// # Errors
    /// As [`read_f32`](Self::read_f32), but for the conversion.
    pub fn read_bytes(&self, name: &str) -> Result<(Vec<u8>, DType), Error> {
        let entry = self
            .entries
            .get(name)
            .ok_or_else(|| Error::NoSuchTensor { path: self.path.clone(), name: name.into() })?;
        let unreadable = |source| Error::ReadTensor { path: self.path.clone(), name: name.into(), source };
        let bytes = match &entry.location {
            Location::File { start, length } => self.read_at(*start, *length).map_err(unreadable)?,
            Location::Array { start, length, shape, layout } => {
                let bytes = self.read_at(*start, *length).map_err(unreadable)?;
                rearrange(bytes, shape, entry.info.dtype.bitsize() / 8, *layout)
            }
            Location::Elements(starts) => {
                let size = (entry.info.dtype.bitsize() / 8) as u64;
                let elements = starts.iter().map(|start| self.read_at(*start, size));
                elements.collect::<Result<Vec<_>, _>>().map_err(unreadable)?.concat()
            }
            Location::Torch(tensor) => {
                // An expanded view (stride 0) can claim any number of elements over a storage of one.
                let claimed = tensor.byte_len() as u64;
                if claimed > self.file_len {
                    let what = format!("tensor {name}");
                    return Err(Error::TooLarge {
                        path: self.path.clone(),
                        what,
                        claimed,
                        limit: self.file_len,
                    });
                }
                let mut bytes = tensor.read().map_err(unreadable)?;
                if cfg!(target_endian = "big") {
                    bytes.chunks_exact_mut(tensor.dtype().size()).for_each(<[u8]>::reverse);
                }
                bytes
            }
        };
        Ok((bytes, entry.info.dtype))
    }

    fn read_at(&self, start: u64, length: u64) -> io::Result<Vec<u8>> {
        // A seek and a read under a lock rather than a memory map, which a file cut short while mapped turns into a
        // signal that ends the process.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(start))?;
        // `read_header` checked that the file is this long.
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// Tells the format from the first bytes.
fn detect(path: &Path, file: &mut File) -> Result<Format, Error> {
    const TAR_MAGIC: std::ops::Range<usize> = 257..262;
    // The long integer 0x1950a86a20f9469cfc6c, in binary and in decimal.
    const LEGACY_MAGIC: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
    const LEGACY_MAGIC_TEXT: &[u8] = b"119547037146038801333356";

    let mut head = Vec::new();
    file.take(512).read_to_end(&mut head).map_err(|source| Error::Read { path: path.into(), source })?;
    let contains = |needle: &[u8]| head[..head.len().min(64)].windows(needle.len()).any(|at| at == needle);
    let unknown = |found| Err(Error::UnknownFormat { path: path.into(), found });

    if head.starts_with(hdf5::MAGIC) {
        Ok(Format::Hdf5)
    } else if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        Ok(Format::Zip)
    } else if head.get(TAR_MAGIC) == Some(b"ustar") && head.get(8) != Some(&b'{') {
        Ok(Format::Tar)
    } else if head.get(8) == Some(&b'{') {
        Ok(Format::Safetensors)
    } else if contains(LEGACY_MAGIC) || contains(LEGACY_MAGIC_TEXT) {
        Ok(Format::Legacy)
    } else if head.is_empty() {
        unknown("it is empty")
    } else if head.starts_with(b"version https://git-lfs") {
        unknown("it is a Git LFS pointer, not the file it points to")
    } else if head.starts_with(b"<") {
        unknown("it looks like a web page")
    } else if matches!(head[0], 0x80 | b'(' | b'}' | b']' | b'c') {
        // A pickle by itself holds no tensor this crate reads, but may be an attack worth naming.
        guard::check_plain_pickle(path, file)?;
        unknown("it is a pickle without tensors")
    } else {
        unknown("its first bytes are of no known format")
    }
}

/// Arrays of a Keras file under the names of effdet. What has no name there is left out: the backbone's classifier,
/// counters, the optimiser's state.
fn tensorflow_tensors(path: &Path, arrays: Vec<hdf5::Array>) -> Result<Vec<(String, Entry)>, Error> {
    let mut tensors = Vec::new();
    let mut vectors: BTreeMap<String, (DType, BTreeMap<usize, u64>)> = BTreeMap::new();
    for hdf5::Array { name, dtype, shape, start, length } in arrays {
        let Some(here) = tensorflow_name(&name) else { continue };
        if let (TensorFlowLayout::Element(index), []) = (here.layout, shape.as_slice()) {
            let (first, elements) = vectors.entry(here.name.clone()).or_insert((dtype, BTreeMap::new()));
            if *first != dtype || elements.insert(index, start).is_some() {
                return Err(Error::DuplicateName { path: path.into(), name });
            }
            continue;
        }
        let Some(found) = shape_here(&shape, here.layout) else {
            let reason = format!("variable {name} has the shape {shape:?}");
            return Err(Error::Damaged { path: path.into(), reason });
        };
        let location = Location::Array { start, length, shape, layout: here.layout };
        tensors.push((here.name, Entry { info: TensorInfo { dtype, shape: found }, location }));
    }
    for (name, (dtype, elements)) in vectors {
        if elements.keys().copied().ne(0..elements.len()) {
            let reason = format!("weights of edges that make {name} are missing");
            return Err(Error::Damaged { path: path.into(), reason });
        }
        let shape = vec![elements.len()];
        let location = Location::Elements(elements.into_values().collect());
        tensors.push((name, Entry { info: TensorInfo { dtype, shape }, location }));
    }
    Ok(tensors)
}

/// Opens the part of a PyTorch file that holds the weights.
fn open_section(
    path: &Path,
    options: &CheckpointOptions,
) -> Result<(Option<String>, PytorchReader), PytorchError> {
    let all = PytorchReader::new(path)?;
    let averaged: &[&str] = if options.use_ema { &["state_dict_ema", "model_ema"] } else { &[] };
    for &key in averaged.iter().chain(&["state_dict", "model"]) {
        let inside = |name: &String| name.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
        if !all.tensors().keys().any(inside) {
            continue;
        }
        match PytorchReader::with_top_level_key(path, key) {
            Ok(reader) => return Ok((Some(key.to_owned()), reader)),
            // The dot was part of a tensor's own name, as in `model.backbone.conv_stem.weight`.
            Err(PytorchError::KeyNotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((None, all))
}

fn strip_wrappers(path: &Path, tensors: Vec<(String, Entry)>) -> Result<BTreeMap<String, Entry>, Error> {
    const BENCH: &str = "model.";
    let is_anchor = |name: &str| name.starts_with("anchors.");
    let mut tensors: Vec<_> =
        tensors.into_iter().map(|(name, entry)| (strip_parallel(&name).to_owned(), entry)).collect();
    // A bench may be in another module, as in Lightning's checkpoints of IceVision.
    loop {
        tensors.retain(|(name, _)| name != "anchors.boxes");
        let wrapped = tensors.iter().filter(|(name, _)| name.starts_with(BENCH)).count();
        let anchors = tensors.iter().filter(|(name, _)| is_anchor(name)).count();
        if wrapped == 0 || wrapped + anchors < tensors.len() {
            break;
        }
        for (name, _) in &mut tensors {
            if let Some(inner) = name.strip_prefix(BENCH) {
                *name = strip_parallel(inner).to_owned();
            }
        }
    }
    let mut entries = BTreeMap::new();
    for (name, entry) in tensors {
        if entries.contains_key(&name) {
            return Err(Error::DuplicateName { path: path.into(), name });
        }
        entries.insert(name, entry);
    }
    Ok(entries)
}

/// Removes what `DataParallel` and `torch.compile` put before a name, in whatever order they were nested.
fn strip_parallel(mut name: &str) -> &str {
    while let Some(inner) = name.strip_prefix("module.").or_else(|| name.strip_prefix("_orig_mod.")) {
        name = inner;
    }
    name
}

fn dtype_of(tensor: &pytorch_reader::Tensor) -> DType {
    use pytorch_reader::DType as Torch;
    match tensor.dtype() {
        Torch::F64 => DType::F64,
        Torch::F32 => DType::F32,
        Torch::F16 => DType::F16,
        Torch::BF16 => DType::BF16,
        Torch::I64 => DType::I64,
        Torch::I32 => DType::I32,
        Torch::I16 => DType::I16,
        Torch::I8 => DType::I8,
        Torch::U64 => DType::U64,
        Torch::U32 => DType::U32,
        Torch::U16 => DType::U16,
        Torch::U8 => DType::U8,
        Torch::Bool => DType::BOOL,
    }
}
