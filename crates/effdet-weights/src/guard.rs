//! Checks made on a PyTorch file before `pytorch-reader` sees it.
//!
//! `pytorch-reader` 0.22.1 runs no code and checks most lengths. What it does not bound: memory spent on a pickle
//! ([`pickle_scan`](crate::pickle_scan)), entries that decompress to far more than the file (a window of up to the
//! declared size is read), sparse tar entries (they expand to any number of zeros), and the table the `zip` crate
//! reserves for as many entries as a zip64 record claims.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use zip::ZipArchive;

use crate::Error;
use crate::checkpoint::Format;
use crate::pickle_scan::{Refusal, scan};

/// Memory the objects of a checkpoint's pickle may take. The pickle of the largest network of this project, with its
/// optimizer's state, comes to about a third of it.
const PICKLE_BUDGET: u64 = 256 << 20;
/// The same for the few fixed pickles around it.
const SMALL_PICKLE_BUDGET: u64 = 1 << 20;
/// Largest tar checkpoint. The format was abandoned in 2017, before EfficientDet; its many small pickles are read
/// without a scan, at up to a hundred times their size in memory.
const TAR_LIMIT: u64 = 64 << 20;
/// Bytes a zip entry takes in the central directory at least.
const ZIP_DIRECTORY_ENTRY: u64 = 46;

/// Refuses a PyTorch file that would have its reader allocate without bound, or Python run code.
pub(crate) fn check(path: &Path, format: Format, file: &mut File, file_len: u64) -> Result<(), Error> {
    file.rewind().map_err(|source| Error::Read { path: path.into(), source })?;
    match format {
        Format::Zip => check_zip(path, file, file_len),
        Format::Tar => check_tar(path, file, file_len),
        Format::Legacy => {
            let mut reader = BufReader::new(file);
            // Magic number, protocol version, system information, the checkpoint, the storage keys.
            for budget in [SMALL_PICKLE_BUDGET; 3].into_iter().chain([PICKLE_BUDGET; 2]) {
                check_pickle(path, &mut reader, budget)?;
            }
            Ok(())
        }
        Format::Safetensors | Format::Hdf5 => Ok(()),
    }
}

/// Scans one pickle and names what is wrong with it.
pub(crate) fn check_pickle(path: &Path, reader: &mut impl BufRead, budget: u64) -> Result<(), Error> {
    scan(reader, budget).map_err(|refusal| match refusal {
        Refusal::Io(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
            damaged(path, "the pickle ends in the middle")
        }
        Refusal::Io(source) => Error::Read { path: path.into(), source },
        Refusal::Malformed(reason) => damaged(path, format!("the pickle is malformed: {reason}")),
        Refusal::Calls(function) => Error::UnsafePickle { path: path.into(), function },
        Refusal::TooCostly => damaged(path, format!("the pickle's objects take more than {budget} bytes")),
    })
}

/// Scans a file that is a single pickle.
pub(crate) fn check_plain_pickle(path: &Path, file: &mut File) -> Result<(), Error> {
    file.rewind().map_err(|source| Error::Read { path: path.into(), source })?;
    check_pickle(path, &mut BufReader::new(file), PICKLE_BUDGET)
}

fn damaged(path: &Path, reason: impl Into<String>) -> Error {
    Error::Damaged { path: path.into(), reason: reason.into() }
}

fn check_zip(path: &Path, file: &mut File, file_len: u64) -> Result<(), Error> {
    let zip_error = |error: zip::result::ZipError| damaged(path, error.to_string());
    check_zip64_records(file, file_len)
        .map_err(|source| Error::Read { path: path.into(), source })?
        .map_err(|reason| damaged(path, reason))?;
    let mut archive = ZipArchive::new(BufReader::new(&mut *file)).map_err(zip_error)?;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(zip_error)?;
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        let size = entry.size();
        drop(entry);
        if size > file_len {
            let what = format!("zip entry {name}");
            return Err(Error::TooLarge { path: path.into(), what, claimed: size, limit: file_len });
        }
        // Every file the reader might take for the pickle, whichever it picks.
        if name.ends_with("data.pkl") {
            let entry = archive.by_index(index).map_err(zip_error)?;
            check_pickle(path, &mut BufReader::new(entry.take(size)), PICKLE_BUDGET)?;
        }
    }
    Ok(())
}

/// Checks the entry count of a zip64 archive, for which the `zip` crate reserves a table before it reads an entry.
///
/// The crate looks for a record anywhere in the file, so there may be one only, and it must stand where every writer
/// puts it: right before its locator, which stands right before the end record. The outer result is of reading.
fn check_zip64_records(file: &mut File, file_len: u64) -> io::Result<Result<(), &'static str>> {
    const RECORD: u64 = 56;
    const LOCATOR: u64 = 20;
    let Some((position, count)) = find_zip64_locators(file)? else { return Ok(Ok(())) };
    if count > 1 {
        return Ok(Err("it has more than one zip64 directory"));
    }
    let Some(record_start) = position.checked_sub(RECORD) else {
        return Ok(Err("its zip64 record lies before the file"));
    };
    file.seek(SeekFrom::Start(record_start))?;
    let mut bytes = [0; (RECORD + LOCATOR) as usize];
    file.read_exact(&mut bytes)?;
    let number = |at: usize| {
        let mut field = [0; 8];
        field.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(field)
    };
    if !bytes.starts_with(b"PK\x06\x06") || number(RECORD as usize + 8) != record_start {
        return Ok(Err("its zip64 record is not where its locator says"));
    }
    let entries = number(24).max(number(32));
    if entries > file_len / ZIP_DIRECTORY_ENTRY {
        return Ok(Err("its zip64 record claims more entries than fit in the file"));
    }
    Ok(Ok(()))
}

/// Position of the last zip64 locator that an end record follows, and how many there are.
fn find_zip64_locators(file: &mut File) -> io::Result<Option<(u64, usize)>> {
    const CHUNK: usize = 1 << 20;
    const LOCATOR: usize = 20;
    file.rewind()?;
    let mut window: Vec<u8> = Vec::new();
    let mut window_start = 0u64;
    let mut found = None;
    loop {
        let read = file.take(CHUNK as u64).read_to_end(&mut window)?;
        if read == 0 {
            return Ok(found);
        }
        for (at, end_record) in window.windows(4).enumerate().skip(LOCATOR) {
            if end_record == b"PK\x05\x06" && window[at - LOCATOR..].starts_with(b"PK\x06\x07") {
                let count = found.map_or(0, |(_, count)| count);
                found = Some((window_start + (at - LOCATOR) as u64, count + 1));
            }
        }
        // Keep the bytes a match across the border starts in: a locator and all but one byte of the signature.
        let kept = window.len().min(LOCATOR + 3);
        window_start += (window.len() - kept) as u64;
        window.drain(..window.len() - kept);
    }
}

fn check_tar(path: &Path, file: &mut File, file_len: u64) -> Result<(), Error> {
    if file_len > TAR_LIMIT {
        let what = "the tar archive".to_owned();
        return Err(Error::TooLarge { path: path.into(), what, claimed: file_len, limit: TAR_LIMIT });
    }
    let unreadable = |source: io::Error| damaged(path, source.to_string());
    let mut archive = tar::Archive::new(BufReader::new(file));
    for entry in archive.entries().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = entry.header().entry_type();
        if !kind.is_file() && !kind.is_dir() {
            return Err(damaged(path, format!("tar entry {name} is neither a plain file nor a folder")));
        }
        let size = entry.size();
        if size > file_len {
            let what = format!("tar entry {name}");
            return Err(Error::TooLarge { path: path.into(), what, claimed: size, limit: file_len });
        }
        let budget = match name.trim_start_matches("./") {
            "pickle" => PICKLE_BUDGET,
            "sys_info" => SMALL_PICKLE_BUDGET,
            _ => continue,
        };
        check_pickle(path, &mut BufReader::new(entry), budget)?;
    }
    Ok(())
}
