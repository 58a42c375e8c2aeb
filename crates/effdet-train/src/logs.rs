//! The numbers of a run in files.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use effdet_core::Replacement;

use crate::{EpochRecord, Error};

/// The table of the epochs. Columns that an epoch has no number for stay empty.
pub(crate) fn metrics_csv(history: &[EpochRecord]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in history.iter().flat_map(|record| &record.metrics) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut text =
        "epoch,step,lr,train_loss,train_class_loss,train_box_loss,valid_loss,valid_class_loss,valid_box_loss"
            .to_owned();
    for name in &names {
        let _ = write!(text, ",{name}");
    }
    text.push('\n');
    for record in history {
        let EpochRecord { epoch, step, lr, train, .. } = record;
        let _ = write!(text, "{epoch},{step},{lr},{},{},{}", train.total, train.class, train.boxes);
        match record.valid {
            Some(valid) => {
                let _ = write!(text, ",{},{},{}", valid.total, valid.class, valid.boxes);
            }
            None => text.push_str(",,,"),
        }
        for name in &names {
            text.push(',');
            if let Some(value) = record.metric(name) {
                let _ = write!(text, "{value}");
            }
        }
        text.push('\n');
    }
    text
}

/// Replaces a file in one go.
pub(crate) fn write_whole(path: &Path, contents: &[u8]) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        let replacement = Replacement::of(path)?;
        let mut file = replacement.create()?;
        file.write_all(contents)?;
        replacement.finish(file)
    };
    write().map_err(Error::file("write", path))
}

/// A TensorBoard event file with scalars.
///
/// The time of an event is its step in seconds, so that the file of a resumed run is that of an uninterrupted one.
///
/// # Reference
/// TensorFlow's record format (`length, masked crc32c, data, masked crc32c`) and `event.proto`.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl EventFile {
    /// Opens the file to go on after its first `length` bytes; from the beginning if there are not as many.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn open(path: impl Into<PathBuf>, length: u64) -> Result<Self, Error> {
        let path = path.into();
        let open = || -> io::Result<(File, u64)> {
            // Not to append: Windows shortens no file that is open for that alone.
            let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(&path)?;
            let length = if file.metadata()?.len() < length { 0 } else { length };
            file.set_len(length)?;
            file.seek(SeekFrom::Start(length))?;
            Ok((file, length))
        };
        let (file, length) = open().map_err(Error::file("write", &path))?;
        let mut events = Self { path, file, length };
        if events.length == 0 {
            let mut event = Vec::new();
            put_double(&mut event, 1, 0.0);
            put_bytes(&mut event, 3, b"brain.Event:2");
            events.append(&event)?;
        }
        Ok(events)
    }

    /// Bytes written.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Adds scalars of a step.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<(), Error> {
        let mut summary = Vec::new();
        for (tag, value) in values {
            let mut one = Vec::new();
            put_bytes(&mut one, 1, tag.as_bytes());
            put_tag(&mut one, 2, 5);
            one.extend((*value as f32).to_le_bytes());
            put_bytes(&mut summary, 1, &one);
        }
        let mut event = Vec::new();
        put_double(&mut event, 1, step as f64);
        put_tag(&mut event, 2, 0);
        put_varint(&mut event, step);
        put_bytes(&mut event, 5, &summary);
        self.append(&event)
    }

    /// Waits until what was added is on the disk.
    ///
    /// # Errors
    /// If it cannot get there.
    pub fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(Error::file("write", &self.path))
    }

    fn append(&mut self, event: &[u8]) -> Result<(), Error> {
        let length = (event.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(event.len() + 16);
        record.extend(length);
        record.extend(masked_crc(&length).to_le_bytes());
        record.extend(event);
        record.extend(masked_crc(event).to_le_bytes());
        self.file.write_all(&record).map_err(Error::file("write", &self.path))?;
        self.length += record.len() as u64;
        Ok(())
    }
}

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn put_tag(to: &mut Vec<u8>, field: u64, wire_type: u64) {
    put_varint(to, field << 3 | wire_type);
}

fn put_bytes(to: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_tag(to, field, 2);
    put_varint(to, bytes.len() as u64);
    to.extend(bytes);
}

fn put_double(to: &mut Vec<u8>, field: u64, value: f64) {
    put_tag(to, field, 1);
    to.extend(value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Losses;

    #[test]
    fn columns_appear_with_their_first_number() {
        let first = EpochRecord { epoch: 1, step: 4, lr: 0.5, ..EpochRecord::default() };
        let second = EpochRecord {
            epoch: 2,
            valid: Some(Losses { total: 1.5, class: 1.0, boxes: 0.01 }),
            metrics: vec![("AP".into(), 0.25)],
            ..first.clone()
        };
        let csv = metrics_csv(&[first, second]);
        let lines: Vec<&str> = csv.lines().collect();
        assert!(lines[0].ends_with("valid_box_loss,AP"));
        assert_eq!(lines[1], "1,4,0.5,0,0,0,,,,");
        assert_eq!(lines[2], "2,4,0.5,0,0,0,1.5,1,0.01,0.25");
    }

    #[test]
    fn records_have_tensorflows_checksums() {
        // RFC 3720: the checksum of 32 zeros is 8a9136aa.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked_crc(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    #[test]
    fn a_file_opened_again_goes_on_where_it_was_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let [once, twice] = ["once", "twice"].map(|name| folder.path().join(name));
        let mut events = EventFile::open(&once, 0).unwrap();
        events.scalars(1, &[("loss", 2.0)]).unwrap();
        events.scalars(300, &[("loss", 1.0), ("lr", 0.1)]).unwrap();
        let mut events = EventFile::open(&twice, 0).unwrap();
        events.scalars(1, &[("loss", 2.0)]).unwrap();
        let length = events.length();
        events.scalars(7, &[("loss", 9.0)]).unwrap();
        EventFile::open(&twice, length).unwrap().scalars(300, &[("loss", 1.0), ("lr", 0.1)]).unwrap();
        assert_eq!(fs::read(once).unwrap(), fs::read(twice).unwrap());
    }
}
