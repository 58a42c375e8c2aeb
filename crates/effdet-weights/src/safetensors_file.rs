//! The header of a safetensors file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use safetensors::tensor::Metadata;

use crate::{DType, Error};

/// Longest header read. The largest network of this project needs 0.3 MB; the format allows 100 MB, which takes
/// gigabytes to parse.
const HEADER_LIMIT: u64 = 16 << 20;

/// One tensor of the file: type, shape, first byte in the file, length in bytes.
pub(crate) struct Row {
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    pub(crate) start: u64,
    pub(crate) length: u64,
}

/// What a safetensors header says.
pub(crate) struct Header {
    pub(crate) tensors: Vec<(String, Row)>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// Reads and checks the header: every tensor has as many bytes as its shape and type need, the tensors follow each
/// other without gap or overlap, and the last one ends where the file does.
pub(crate) fn read_header(path: &Path, file: &mut File, file_len: u64) -> Result<Header, Error> {
    let invalid = |reason: String| Error::Safetensors { path: path.into(), reason };
    let unreadable = |source: io::Error| Error::Read { path: path.into(), source };

    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(unreadable)?;
    let length = u64::from_le_bytes(length);
    let available = file_len.saturating_sub(8);
    if length > available {
        return Err(invalid(format!(
            "its header claims {length} bytes and {available} are left in the file"
        )));
    }
    if length > HEADER_LIMIT {
        return Err(Error::TooLarge {
            path: path.into(),
            what: "the header".into(),
            claimed: length,
            limit: HEADER_LIMIT,
        });
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).map_err(unreadable)?;
    let header: Metadata = serde_json::from_slice(&header).map_err(|error| invalid(error.to_string()))?;

    let data_start = 8 + length;
    let data_len = available - length;
    if header.data_len() as u64 != data_len {
        return Err(invalid(format!(
            "its tensors take {} bytes and the file has {data_len} after the header",
            header.data_len()
        )));
    }
    let tensors = header
        .tensors()
        .into_iter()
        .map(|(name, info)| {
            // The offsets were checked against each other and their end against the file.
            let (start, end) = info.data_offsets;
            let row = Row {
                dtype: info.dtype,
                shape: info.shape.clone(),
                start: data_start + start as u64,
                length: (end - start) as u64,
            };
            (name, row)
        })
        .collect();
    let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok(Header { tensors, metadata })
}
