//! The part of HDF5 that Keras weight files are written in: groups of the first version and contiguous arrays.
//!
//! Only addresses and lengths inside the file are followed, blocks are read up to a limit and together no more than the
//! file has, and objects are counted, so that a file can cost no more than its size warrants.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::{DType, Error};

/// First bytes of an HDF5 file.
pub(crate) const MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";
/// Longest block of metadata read at once.
const BLOCK_LIMIT: u64 = 8 << 20;
/// Most groups and arrays of a file; the largest network of this project has some three thousand.
const OBJECT_LIMIT: usize = 1 << 16;
/// Most groups inside each other.
const DEPTH_LIMIT: usize = 64;
/// Most dimensions of an array.
const RANK_LIMIT: usize = 8;
/// Longest name of an array with all its groups.
const NAME_LIMIT: usize = 1 << 12;
/// What may be read beyond the length of the file. Structures do not overlap, so only the heads of symbol nodes are
/// read twice, 24 bytes of some 300.
const READ_SLACK: u64 = 1 << 16;

/// An array of the file.
pub(crate) struct Array {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    pub(crate) start: u64,
    pub(crate) length: u64,
}

/// All arrays of a file whose type has a use here, with the names of their groups before their own.
///
/// # Reference
/// The HDF5 File Format Specification, version 3: superblocks 0 and 1, version 1 B-trees, symbol tables, object headers
/// of version 1; what h5py writes by default.
pub(crate) fn arrays(path: &Path, file: &mut File, file_len: u64) -> Result<Vec<Array>, Error> {
    let unread = file_len.saturating_add(READ_SLACK);
    let mut reader = Reader { file, file_len, unread, base: 0, seen: HashSet::new(), arrays: Vec::new() };
    match reader.read_root() {
        Ok(()) => Ok(reader.arrays),
        Err(Fault::Io(source)) => Err(Error::Read { path: path.into(), source }),
        Err(Fault::Damaged(reason)) => Err(Error::Damaged { path: path.into(), reason: reason.into() }),
    }
}

enum Fault {
    Io(io::Error),
    Damaged(&'static str),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

type Outcome<T> = Result<T, Fault>;

const SHORT: Fault = Fault::Damaged("an HDF5 structure ends in the middle");
const NEWER: Fault = Fault::Damaged("it uses an HDF5 feature that Keras weight files do not");

/// Little-endian fields of a block.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Outcome<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(head)
    }

    fn number(&mut self, bytes: usize) -> Outcome<u64> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn u8(&mut self) -> Outcome<u8> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Outcome<usize> {
        Ok(self.number(2)? as usize)
    }

    fn u64(&mut self) -> Outcome<u64> {
        self.number(8)
    }
}

struct Reader<'a> {
    file: &'a mut File,
    file_len: u64,
    /// Bytes that may still be read: structures that lie over each other would be read again and again.
    unread: u64,
    base: u64,
    /// Addresses of object headers, their continuations and tree nodes, each of which may be met once.
    seen: HashSet<u64>,
    arrays: Vec<Array>,
}

impl Reader<'_> {
    fn block(&mut self, address: u64, length: u64) -> Outcome<Vec<u8>> {
        let start = self.base.checked_add(address).ok_or(SHORT)?;
        let end = start.checked_add(length).ok_or(SHORT)?;
        if end > self.file_len || length > BLOCK_LIMIT {
            return Err(SHORT);
        }
        self.unread = self
            .unread
            .checked_sub(length)
            .ok_or(Fault::Damaged("its HDF5 structures take more bytes than it has"))?;
        self.file.seek(SeekFrom::Start(start))?;
        let mut bytes = vec![0; length as usize];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn meet(&mut self, address: u64) -> Outcome<()> {
        if !self.seen.insert(address) {
            return Err(Fault::Damaged("an HDF5 structure is used twice"));
        }
        if self.seen.len() > OBJECT_LIMIT {
            return Err(Fault::Damaged("it has too many HDF5 objects"));
        }
        Ok(())
    }

    fn read_root(&mut self) -> Outcome<()> {
        let head = self.block(0, self.file_len.min(104))?;
        let mut fields = Fields(&head);
        fields.take(MAGIC.len())?;
        let version = fields.u8()?;
        fields.take(4)?;
        let sizes = (fields.u8()?, fields.u8()?);
        if version > 1 || sizes != (8, 8) {
            return Err(NEWER);
        }
        fields.take(if version == 1 { 13 } else { 9 })?;
        let base = fields.u64()?;
        fields.take(24)?;
        // The root's entry: where its name is, then where it is.
        fields.take(8)?;
        let root = fields.u64()?;
        self.base = base;
        self.read_object(root, String::new(), 0)
    }

    /// The messages of an object header, through its continuations.
    fn messages(&mut self, address: u64) -> Outcome<Vec<(usize, Vec<u8>)>> {
        let head = self.block(address, 16)?;
        let mut fields = Fields(&head);
        if fields.u8()? != 1 {
            return Err(NEWER);
        }
        fields.take(1)?;
        let count = fields.u16()?;
        fields.take(4)?;
        let length = fields.number(4)?;
        let mut blocks = vec![self.block(address + 16, length)?];
        let (mut messages, mut next) = (Vec::new(), 0);
        while next < blocks.len() {
            let block = std::mem::take(&mut blocks[next]);
            next += 1;
            let mut fields = Fields(&block);
            while fields.0.len() >= 8 && messages.len() < count {
                let (kind, length) = (fields.u16()?, fields.u16()?);
                fields.take(4)?;
                let data = fields.take(length)?;
                if kind == 0x10 {
                    let mut data = Fields(data);
                    let (address, length) = (data.u64()?, data.u64()?);
                    if blocks.len() >= 256 {
                        return Err(Fault::Damaged("an HDF5 object header is in too many pieces"));
                    }
                    self.meet(address)?;
                    blocks.push(self.block(address, length)?);
                }
                messages.push((kind, data.to_vec()));
            }
        }
        Ok(messages)
    }

    fn read_object(&mut self, address: u64, name: String, depth: usize) -> Outcome<()> {
        self.meet(address)?;
        if depth > DEPTH_LIMIT || name.len() > NAME_LIMIT {
            return Err(Fault::Damaged("its groups are too deep"));
        }
        let messages = self.messages(address)?;
        let find = |wanted| messages.iter().find(|(kind, _)| *kind == wanted).map(|(_, data)| Fields(data));
        if let Some(mut table) = find(0x11) {
            let (tree, heap) = (table.u64()?, table.u64()?);
            let names = self.heap(heap)?;
            return self.read_tree(tree, &names, &name, depth);
        }
        let (Some(space), Some(kind), Some(layout)) = (find(0x01), find(0x03), find(0x08)) else {
            // An empty group of the newer kind, or a named type: no weights.
            return Ok(());
        };
        let Some(dtype) = dtype(kind)? else { return Ok(()) };
        let shape = dimensions(space)?;
        let (start, length) = contiguous(layout)?;
        let start = start.checked_add(self.base).ok_or(SHORT)?;
        // An extent of zero does not excuse others that are beyond counting.
        let extents =
            shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent.max(1) as u64));
        let elements = extents.map(|product| if shape.contains(&0) { 0 } else { product });
        let claimed = elements.and_then(|count| count.checked_mul((dtype.bitsize() / 8) as u64));
        if claimed != Some(length) || start.checked_add(length).is_none_or(|end| end > self.file_len) {
            return Err(Fault::Damaged("an HDF5 array is longer than the file or than its shape"));
        }
        self.arrays.push(Array { name, dtype, shape, start, length });
        Ok(())
    }

    /// The names of a group's members.
    fn heap(&mut self, address: u64) -> Outcome<Vec<u8>> {
        let head = self.block(address, 32)?;
        let mut fields = Fields(&head);
        if fields.take(4)? != b"HEAP" {
            return Err(Fault::Damaged("an HDF5 group has no names"));
        }
        fields.take(4)?;
        let length = fields.u64()?;
        fields.take(8)?;
        let data = fields.u64()?;
        self.block(data, length)
    }

    fn read_tree(&mut self, address: u64, names: &[u8], group: &str, depth: usize) -> Outcome<()> {
        self.meet(address)?;
        if depth > DEPTH_LIMIT {
            return Err(Fault::Damaged("its groups are too deep"));
        }
        let head = self.block(address, 24)?;
        if head.starts_with(b"SNOD") {
            return self.read_symbols(address, names, group, depth);
        }
        let mut fields = Fields(&head);
        if fields.take(4)? != b"TREE" || fields.u8()? != 0 {
            return Err(Fault::Damaged("an HDF5 group has no tree"));
        }
        fields.take(1)?;
        let count = fields.u16()?;
        let children = self.block(address + 24, count as u64 * 16 + 8)?;
        let mut fields = Fields(&children);
        for _ in 0..count {
            fields.take(8)?;
            let child = fields.u64()?;
            self.read_tree(child, names, group, depth + 1)?;
        }
        Ok(())
    }

    fn read_symbols(&mut self, address: u64, names: &[u8], group: &str, depth: usize) -> Outcome<()> {
        let head = self.block(address, 8)?;
        let mut fields = Fields(&head);
        fields.take(6)?;
        let count = fields.u16()?;
        let entries = self.block(address + 8, count as u64 * 40)?;
        let mut fields = Fields(&entries);
        for _ in 0..count {
            let name = fields.u64()?;
            let object = fields.u64()?;
            fields.take(24)?;
            let name = usize::try_from(name).ok().and_then(|start| names.get(start..)).ok_or(SHORT)?;
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            let name = std::str::from_utf8(name).map_err(|_| Fault::Damaged("a name is not UTF-8"))?;
            let full = if group.is_empty() { name.to_owned() } else { format!("{group}/{name}") };
            self.read_object(object, full, depth + 1)?;
        }
        Ok(())
    }
}

/// A little-endian number, or `None` for text and the like.
fn dtype(mut fields: Fields<'_>) -> Outcome<Option<DType>> {
    let class = fields.u8()? & 0x0f;
    let bits = fields.take(3)?[0];
    let size = fields.number(4)?;
    // For numbers the first bit is the order of bytes; for text it is a part of how the text ends.
    if class <= 1 && bits & 1 != 0 {
        return Err(NEWER);
    }
    Ok(match (class, size) {
        (1, 2) => Some(DType::F16),
        (1, 4) => Some(DType::F32),
        (1, 8) => Some(DType::F64),
        (0, 4) => Some(DType::I32),
        (0, 8) => Some(DType::I64),
        _ => None,
    })
}

fn dimensions(mut fields: Fields<'_>) -> Outcome<Vec<usize>> {
    let version = fields.u8()?;
    let rank = usize::from(fields.u8()?);
    if !(1..=2).contains(&version) || rank > RANK_LIMIT {
        return Err(NEWER);
    }
    fields.take(if version == 1 { 6 } else { 2 })?;
    (0..rank).map(|_| usize::try_from(fields.u64()?).map_err(|_| SHORT)).collect()
}

/// Where the values of a contiguous array are.
fn contiguous(mut fields: Fields<'_>) -> Outcome<(u64, u64)> {
    if (fields.u8()?, fields.u8()?) != (3, 1) {
        return Err(NEWER);
    }
    Ok((fields.u64()?, fields.u64()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of `length` bytes whose root has these continuations, each an address and a length.
    fn with_continuations(length: usize, continuations: &[(u64, u64)]) -> Result<Vec<Array>, Error> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([0, 0, 0, 0, 0, 8, 8]);
        // Up to the root's entry: sizes of nodes, flags, four addresses, where its name is.
        bytes.resize(64, 0);
        bytes.extend(104u64.to_le_bytes());
        bytes.resize(104, 0);
        let header = 24 * continuations.len() as u32;
        bytes.extend([1, 0, 0xff, 0xff, 1, 0, 0, 0]);
        bytes.extend(header.to_le_bytes());
        bytes.extend([0; 4]);
        for (address, length) in continuations {
            bytes.extend([0x10, 0, 16, 0, 0, 0, 0, 0]);
            bytes.extend(address.to_le_bytes());
            bytes.extend(length.to_le_bytes());
        }
        assert!(bytes.len() <= length);
        bytes.resize(length, 0);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("suspect.h5");
        std::fs::write(&path, &bytes).unwrap();
        arrays(&path, &mut File::open(&path).unwrap(), length as u64)
    }

    #[test]
    fn pieces_of_a_header_that_lie_over_each_other_are_refused() {
        let length = 1 << 20;
        let sound: Vec<_> = (0..200).map(|piece| (16_384 + 1024 * piece, 1024)).collect();
        assert!(with_continuations(length, &sound).is_ok());
        for (step, said) in [(0, "used twice"), (8, "more bytes than it has")] {
            let over: Vec<_> = (0..200).map(|piece| (16_384 + step * piece, 1 << 19)).collect();
            let Err(error) = with_continuations(length, &over) else { panic!("{step} was accepted") };
            assert!(error.to_string().contains(said) && error.to_string().contains("suspect.h5"), "{error}");
        }
    }

    #[test]
    fn text_is_no_array_and_no_reason_to_refuse_a_file() {
        let class = |class: u8, bits: u8, size: u8| dtype(Fields(&[0x10 | class, bits, 0, 0, size, 0, 0, 0]));
        // Padded with zeros, and of any length.
        assert!(matches!(class(3, 1, 5), Ok(None)) && matches!(class(9, 1, 16), Ok(None)));
        assert!(matches!(class(1, 0x20, 4), Ok(Some(DType::F32))));
        assert!(matches!(class(1, 0x21, 4), Err(Fault::Damaged(_))));
    }
}
