//! The entries of a COCO file, parsed in parallel.

use std::fmt;
use std::io::Read;
use std::path::Path;

use effdet_core::label_text::without_non_finite;
use rayon::prelude::*;
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};

use super::json_stream::{Stream, StreamError};
use crate::builder::DatasetBuilder;
use crate::dirt::{At, DirtKind};
use crate::record::RecordId;
use crate::{Error, files};

/// Elements that one task parses.
const ELEMENTS_PER_TASK: usize = 128;

#[derive(Deserialize)]
pub(super) struct ImageJson {
    pub id: RecordId,
    pub file_name: String,
    #[serde(default)]
    pub width: Option<f64>,
    #[serde(default)]
    pub height: Option<f64>,
}

#[derive(Deserialize)]
pub(super) struct CategoryJson {
    pub id: RecordId,
    pub name: String,
}

#[derive(Deserialize)]
pub(super) struct AnnotationJson {
    #[serde(default)]
    pub id: Option<RecordId>,
    pub image_id: RecordId,
    pub category_id: RecordId,
    /// `[x, y, width, height]`; a null is what remains of a NaN.
    pub bbox: [Option<f64>; 4],
    #[serde(default)]
    pub area: Option<f64>,
    #[serde(default)]
    pub score: Option<f64>,
    #[serde(default)]
    pub iscrowd: Flag,
    #[serde(default)]
    pub ignore: Flag,
}

/// 0, 1, true, false or null.
#[derive(Default)]
pub(super) struct Flag(pub bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FlagVisitor;
        impl Visitor<'_> for FlagVisitor {
            type Value = Flag;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("0 or 1")
            }
            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Flag, E> {
                Ok(Flag(flag))
            }
            fn visit_u64<E: de::Error>(self, flag: u64) -> Result<Flag, E> {
                Ok(Flag(flag != 0))
            }
            fn visit_i64<E: de::Error>(self, flag: i64) -> Result<Flag, E> {
                Ok(Flag(flag != 0))
            }
            fn visit_f64<E: de::Error>(self, flag: f64) -> Result<Flag, E> {
                Ok(Flag(flag != 0.0))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Flag, E> {
                Ok(Flag(false))
            }
        }
        deserializer.deserialize_any(FlagVisitor)
    }
}

pub(super) fn stream_error(error: StreamError, path: &Path) -> Error {
    match error {
        StreamError::Read(source) => files::unreadable(path)(source),
        StreamError::Json { offset, reason } => {
            Error::Labels { path: path.to_owned(), at: format!("byte {offset}"), reason: reason.to_owned() }
        }
    }
}

/// Parses the elements of the array that comes next in parallel, and hands them over in order.
pub(super) fn elements<T: DeserializeOwned + Send>(
    stream: &mut Stream<impl Read>,
    key: &str,
    path: &Path,
    builder: &mut DatasetBuilder,
    mut take: impl FnMut(&mut DatasetBuilder, usize, T) -> Result<(), Error>,
) -> Result<(), Error> {
    let failed = |error| match stream_error(error, path) {
        Error::Labels { path, at, reason } => Error::Labels { path, at, reason: format!("{key}: {reason}") },
        error => error,
    };
    if !stream.enter_array().map_err(failed)? {
        return Err(failed(stream.error("not an array")));
    }
    let mut index = 0;
    while let Some(batch) = stream.batch(index == 0).map_err(failed)? {
        let parsed: Vec<Result<T, String>> = batch
            .elements
            .par_iter()
            .with_min_len(ELEMENTS_PER_TASK)
            .map(|range| element(&batch.bytes[range.clone()]))
            .collect();
        for json in parsed {
            match json {
                Ok(json) => take(builder, index, json)?,
                Err(reason) => {
                    let detail = format!("{key}: {reason}");
                    builder.dirt(DirtKind::Malformed, path, At::Entry(index), detail)?;
                }
            }
            index += 1;
        }
    }
    Ok(())
}

fn element<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).or_else(|error| match without_non_finite(bytes) {
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
        None => Err(error.to_string()),
    })
}
