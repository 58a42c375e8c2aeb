//! One file from one address to one place.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::FetchEvent;
use super::client::{Ask, Client, Failure, network, refusal, server, shown, text};
use crate::Error;
use crate::store::{hash_into, hexadecimal, recorded};

/// Longest file fetched where no length is published.
const LONGEST: u64 = 8 << 30;

/// What a transfer should end in.
pub(super) struct Wanted<'a> {
    /// SHA-256, or its first digits.
    pub(super) hash: &'a str,
    /// Length, where known.
    pub(super) bytes: Option<u64>,
    /// The file written to until it is complete.
    pub(super) part: &'a Path,
    /// Where it goes then.
    pub(super) file: &'a Path,
    /// Whether a note of the hash is put beside it.
    pub(super) record: bool,
}

/// A lock between processes, held while a file is fetched.
pub(super) struct Lock(File);

impl Lock {
    /// Takes the lock, waiting for whoever holds it.
    pub(super) fn take(path: &Path, events: &mut dyn FnMut(FetchEvent<'_>)) -> Result<Self, Error> {
        let failed = |source| Error::Write { path: path.into(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                events(FetchEvent::Waiting);
                file.lock().map_err(failed)?;
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        Ok(Self(file))
    }

    /// Lets the next one in. The file stays: deleting it would give two processes different files to lock.
    pub(super) fn release(self) {
        // Closing the file releases it too.
        let _ = self.0.unlock();
    }
}

/// Fetches `url` until the file is there and right, or there is no hope.
pub(super) fn fetch(
    client: &Client,
    url: &str,
    token: Option<&str>,
    wanted: &Wanted<'_>,
    events: &mut dyn FnMut(FetchEvent<'_>),
) -> Result<(), Error> {
    let events = std::cell::RefCell::new(events);
    let mut most = 0;
    client.persist(
        || attempt(client, url, token, wanted, &mut most, &mut |event| (events.borrow_mut())(event)),
        |error, wait| (events.borrow_mut())(FetchEvent::Retry { error, wait }),
    )
}

/// `most` is how far any attempt came: a server that sends the same part again and again makes no progress.
fn attempt(
    client: &Client,
    url: &str,
    token: Option<&str>,
    wanted: &Wanted<'_>,
    most: &mut u64,
    events: &mut dyn FnMut(FetchEvent<'_>),
) -> Result<(), Failure> {
    let disk = |source: io::Error| Failure::Final(Error::Write { path: wanted.part.into(), source });
    let mut part = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(wanted.part)
        .map_err(disk)?;
    let mut have = part.metadata().map_err(disk)?.len();
    let complete = have > 0 && wanted.bytes == Some(have);
    let resumed = have > 0;
    let mut hasher = Sha256::new();
    if resumed {
        hash_into(&mut part, &mut hasher).map_err(disk)?;
    }
    if !complete {
        let (from, mut response) = client.send(url, Ask { head: false, from: have, token })?;
        let headers = response.headers();
        let length = text(headers, "content-length").and_then(|length| length.parse::<u64>().ok());
        let range = text(headers, "content-range").and_then(content_range);
        let in_chunks = text(headers, "transfer-encoding").is_some();
        let total = match (response.status().as_u16(), range) {
            (200, _) => {
                // No range was asked for, or the server does not know ranges.
                part.set_len(0).and_then(|()| part.rewind()).map_err(disk)?;
                (have, hasher) = (0, Sha256::new());
                length
            }
            (206, Some((Some(start), total))) if start == have => total,
            (416, Some((None, Some(total)))) if total == have => Some(have),
            (206 | 416, _) => {
                start_over(&part, disk)?;
                let error = server(url, "it does not continue where the last transfer stopped".into());
                return Err(Failure::passing(error));
            }
            _ => return Err(refusal(&from, &response, token.is_some())),
        };
        if let (Some(expected), Some(total)) = (wanted.bytes, total)
            && expected != total
        {
            start_over(&part, disk)?;
            let reason = format!("the file has {total} bytes, {expected} were expected");
            return Err(Failure::Final(server(url, reason)));
        }
        if response.status() != 416 {
            let limit = wanted.bytes.or(total).unwrap_or(LONGEST);
            let mut body = response.body_mut().with_config().limit(u64::MAX).reader();
            part.seek(SeekFrom::Start(have)).map_err(disk)?;
            let before = (*most).max(have);
            let mut buffer = vec![0; 1 << 16];
            loop {
                events(FetchEvent::Transfer { url, done: have, total });
                let count = match body.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(source) => {
                        let error = network(url, source);
                        return Err(Failure::Passing { error, wait: None, progressed: have > before });
                    }
                };
                if have + count as u64 > limit {
                    start_over(&part, disk)?;
                    return Err(Failure::Final(server(url, format!("it sends more than {limit} bytes"))));
                }
                part.write_all(&buffer[..count]).map_err(disk)?;
                hasher.update(&buffer[..count]);
                have += count as u64;
                *most = (*most).max(have);
            }
            // An answer in chunks says where it ends; one without a length ends with its connection, whole or not.
            let whole = if in_chunks { total } else { wanted.bytes.or(total) };
            if whole.is_some_and(|whole| have < whole) {
                let source = io::Error::from(io::ErrorKind::UnexpectedEof);
                let error = network(url, source);
                return Err(Failure::Passing { error, wait: None, progressed: have > before });
            }
        }
    }

    let found = hexadecimal(hasher);
    if !found.starts_with(wanted.hash) {
        let hint = look_of(&mut part).map_err(disk)?;
        start_over(&part, disk)?;
        let (file, expected) = (shown(url).to_owned(), wanted.hash.to_owned());
        let error = Error::WrongHash { file, expected, found, hint };
        // What an earlier transfer left may be at fault.
        return Err(if resumed { Failure::passing(error) } else { Failure::Final(error) });
    }
    part.sync_all().map_err(disk)?;
    drop(part);
    let placed = |source| Failure::Final(Error::Write { path: wanted.file.into(), source });
    if wanted.record {
        let name = wanted.file.file_name().unwrap_or_default().to_string_lossy();
        fs::write(recorded(wanted.file), format!("{found}  {name}\n")).map_err(placed)?;
    }
    fs::rename(wanted.part, wanted.file).map_err(placed)
}

fn start_over(part: &File, disk: impl Fn(io::Error) -> Failure) -> Result<(), Failure> {
    part.set_len(0).map_err(disk)
}

/// First byte and length that a `Content-Range` states; `*` is `None`.
fn content_range(value: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-').and_then(|(start, _)| start.parse().ok());
    Some((start, total.parse().ok()))
}

/// What a file that is not the right one looks like, for the error.
fn look_of(file: &mut File) -> io::Result<&'static str> {
    file.rewind()?;
    let mut head = Vec::new();
    file.take(64).read_to_end(&mut head)?;
    Ok(if head.starts_with(b"version https://git-lfs") {
        "; it is a Git LFS pointer, not the file it points to"
    } else if head.starts_with(b"<") {
        "; it looks like a web page"
    } else {
        ""
    })
}
