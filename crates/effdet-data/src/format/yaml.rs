//! The little YAML that describes a data set.

use std::path::Path;

use saphyr_parser::{Event, Parser};

use super::refused;
use crate::Error;

/// Longest file that is read; it holds names and a few paths.
const MAX_BYTES: usize = 1 << 20;

/// Deepest nesting.
const MAX_DEPTH: usize = 16;

/// As much of YAML as there is in a `data.yaml`.
pub(super) enum Yaml {
    Scalar(String),
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>),
}

impl Yaml {
    pub(super) fn scalar(&self) -> Option<&str> {
        match self {
            Self::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// What stands here, unless it is a list, a map or nothing, in any of YAML's spellings of that.
    pub(super) fn stated(&self) -> Option<&str> {
        self.scalar().filter(|text| !matches!(*text, "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The value of a key, if this is a map with it.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }
}

/// Reads a YAML map. References to anchors are refused: they are how a small file becomes a large one.
pub(super) fn read_yaml(text: &str, path: &Path) -> Result<Yaml, Error> {
    if text.len() > MAX_BYTES {
        return Err(Error::LabelsTooLong { path: path.to_owned(), limit: MAX_BYTES as u64 });
    }
    /// A collection that is still open, and in a map the key that waits for its value.
    enum Open {
        List(Vec<Yaml>),
        Map(Vec<(String, Yaml)>, Option<String>),
    }
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Error::Labels {
            path: path.to_owned(),
            at: format!("line {}", error.marker().line()),
            reason: error.info().to_owned(),
        })?;
        let bad = |reason: &str| Error::Labels {
            path: path.to_owned(),
            at: format!("line {}", span.start.line()),
            reason: reason.to_owned(),
        };
        let complete = match event {
            Event::Scalar(text, ..) => Yaml::Scalar(text.into_owned()),
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if open.len() == MAX_DEPTH {
                    return Err(bad("nested too deep"));
                }
                open.push(match event {
                    Event::SequenceStart(..) => Open::List(Vec::new()),
                    _ => Open::Map(Vec::new(), None),
                });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(values)) => Yaml::List(values),
                Some(Open::Map(entries, _)) => Yaml::Map(entries),
                None => return Err(bad("an end without a start")),
            },
            Event::Alias(_) => return Err(bad("references to anchors are not read")),
            _ => continue,
        };
        match open.last_mut() {
            Some(Open::List(values)) => values.push(complete),
            Some(Open::Map(entries, key)) => match (key.take(), complete) {
                (Some(key), value) => entries.push((key, value)),
                (None, Yaml::Scalar(name)) => *key = Some(name),
                (None, _) => return Err(bad("a key that is no text")),
            },
            // The first document is the data set's.
            None => {
                return match complete {
                    Yaml::Map(_) => Ok(complete),
                    _ => Err(bad("not a map")),
                };
            }
        }
    }
    Err(refused(path, "no YAML map"))
}
