//! Where samples come from.

use std::path::Path;

use effdet_core::ImageSize;

use crate::transform::Sample;
use crate::{DecodeLimits, Error, Record, decode_file};

/// Samples by index, for the loader and for the transforms that mix several.
pub trait Samples: Send + Sync {
    /// Number of samples.
    fn len(&self) -> usize;

    /// Sample `index`, as it is in the file.
    ///
    /// # Errors
    /// If the picture cannot be read or is not the one that was labelled, or there is no such index.
    fn get(&self, index: usize) -> Result<Sample, Error>;

    /// What messages call sample `index`: its path.
    fn name(&self, index: usize) -> String;

    /// True without samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The pictures of a data set, decoded when asked for, each with the objects that lie in it as it was decoded
/// ([`Record::objects_in`]).
#[derive(Debug, Clone, Default)]
pub struct Pictures {
    /// The records.
    pub records: Vec<Record>,
    /// How large a picture may be.
    pub limits: DecodeLimits,
}

impl Pictures {
    /// The pictures of `records`.
    pub fn new(records: Vec<Record>) -> Self {
        Self { records, limits: DecodeLimits::default() }
    }

    fn record(&self, index: usize) -> Result<&Record, Error> {
        self.records.get(index).ok_or(Error::NoSuchSample { index, count: self.records.len() })
    }
}

impl Samples for Pictures {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn get(&self, index: usize) -> Result<Sample, Error> {
        let record = self.record(index)?;
        let picture = decode_file(&record.path, &self.limits)?;
        let size = ImageSize::new(picture.height() as usize, picture.width() as usize);
        let mut sample = Sample::new(picture, record.objects_in(size)?);
        sample.id = record.id.clone();
        sample.path = record.path.clone();
        Ok(sample)
    }

    fn name(&self, index: usize) -> String {
        let path = self.records.get(index).map(|record| record.path.as_path());
        path.unwrap_or(Path::new("")).display().to_string()
    }
}

/// Samples in memory.
impl Samples for Vec<Sample> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn get(&self, index: usize) -> Result<Sample, Error> {
        let sample = self.as_slice().get(index).cloned();
        sample.ok_or(Error::NoSuchSample { index, count: self.as_slice().len() })
    }

    fn name(&self, index: usize) -> String {
        match self.as_slice().get(index) {
            Some(sample) if !sample.path.as_os_str().is_empty() => sample.path.display().to_string(),
            _ => format!("sample {index}"),
        }
    }
}
