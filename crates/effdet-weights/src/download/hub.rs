//! The Hugging Face Hub: what it says about a file, and its cache.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::FetchEvent;
use super::client::{Ask, Client, Failure, refusal, server, text};
use super::transfer::{Lock, Wanted, fetch};
use crate::store::{HUB_FILE, HUB_REVISION, is_sha256, partial, sha256, with_suffix};
use crate::{Error, WeightsEntry, WeightsStore};

/// What the Hub states about a file.
struct Stated {
    commit: String,
    sha256: String,
    bytes: Option<u64>,
}

impl WeightsStore {
    /// Fetches the weights of a repository into the Hub's cache, or into the store's own folder.
    ///
    /// # Reference
    /// `huggingface_hub.file_download`: blobs are called by their ETag, which for large files is their SHA-256;
    /// snapshots hold links to them; `refs` notes the commit of a branch.
    pub(super) fn fetch_from_hub(
        &self,
        client: &Client,
        entry: &WeightsEntry,
        repository: &str,
        events: &mut dyn FnMut(FetchEvent<'_>),
    ) -> Result<PathBuf, Error> {
        let url = format!("{}/{repository}/resolve/{HUB_REVISION}/{HUB_FILE}", self.hub_endpoint);
        let token = self.hub_token.as_deref();
        let stated = client.persist(
            || stated(client, &url, token),
            |error, wait| events(FetchEvent::Retry { error, wait }),
        )?;

        if let Some(folder) = &self.folder {
            let file = folder.join(entry.file_name());
            let lock = Lock::take(&with_suffix(&file, ".lock"), events)?;
            if let Some(path) = self.locate(entry)? {
                return Ok(path);
            }
            let part = partial(&file);
            let wanted =
                Wanted { hash: &stated.sha256, bytes: stated.bytes, part: &part, file: &file, record: true };
            fetch(client, &url, token, &wanted, events)?;
            lock.release();
            return Ok(file);
        }

        let cache = self.hub_repository(repository);
        let blob = cache.join("blobs").join(&stated.sha256);
        let name = cache.file_name().unwrap_or_default();
        let lock = self.hub_cache.join(".locks").join(name).join(format!("{}.lock", stated.sha256));
        let lock = Lock::take(&lock, events)?;
        let right =
            |file: &Path| -> Result<bool, Error> { Ok(file.is_file() && sha256(file)? == stated.sha256) };
        let snapshot = cache.join("snapshots").join(&stated.commit).join(HUB_FILE);
        // Another process may have put it there meanwhile, and reads it now.
        if !right(&snapshot)? {
            if !right(&blob)? {
                create_folder_of(&blob)?;
                let (part, bytes) = (with_suffix(&blob, ".incomplete"), stated.bytes);
                let wanted = Wanted { hash: &stated.sha256, bytes, part: &part, file: &blob, record: false };
                fetch(client, &url, token, &wanted, events)?;
            }
            create_folder_of(&snapshot)?;
            link(&blob, &snapshot).map_err(|source| Error::Write { path: snapshot.clone(), source })?;
        }
        // Last, because with it the file counts as being there.
        let note = cache.join("refs").join(HUB_REVISION);
        create_folder_of(&note)?;
        replace(&note, |temporary| fs::write(temporary, &stated.commit))
            .map_err(|source| Error::Write { path: note.clone(), source })?;
        lock.release();
        Ok(snapshot)
    }
}

/// Asks the Hub for commit, hash and length of a file.
fn stated(client: &Client, url: &str, token: Option<&str>) -> Result<Stated, Failure> {
    let (from, response) = client.send(url, Ask { head: true, from: 0, token })?;
    let status = response.status();
    if !status.is_success() && !status.is_redirection() {
        return Err(refusal(&from, &response, token.is_some()));
    }
    let headers = response.headers();
    let odd = |reason: &str| Failure::Final(server(url, reason.to_owned()));
    let commit = text(headers, "x-repo-commit")
        .filter(|commit| !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .ok_or_else(|| odd("the answer names no commit, so this is no Hugging Face Hub"))?;
    let tag = text(headers, "x-linked-etag").or_else(|| text(headers, "etag")).unwrap_or_default();
    let sha256 = tag.trim_start_matches("W/").trim_matches('"').to_lowercase();
    if !is_sha256(&sha256) {
        return Err(odd("the Hub states no SHA-256 for this file, so nothing could check it"));
    }
    let own_length = || text(headers, "content-length").filter(|_| status.is_success());
    let bytes = text(headers, "x-linked-size").or_else(own_length).and_then(|length| length.parse().ok());
    Ok(Stated { commit: commit.to_owned(), sha256, bytes })
}

fn create_folder_of(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|source| Error::Write { path: folder.into(), source })
}

/// Puts the blob into a snapshot: by a relative link, or by a copy where links are not allowed.
fn link(blob: &Path, snapshot: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let target = Path::new("../../blobs").join(blob.file_name().unwrap_or_default());
        replace(snapshot, |temporary| std::os::unix::fs::symlink(&target, temporary))
    }
    #[cfg(not(unix))]
    replace(snapshot, |temporary| fs::copy(blob, temporary).map(|_| ()))
}

/// Makes a file under a name of this process's own and renames it to `path`, so that there is at no time none.
fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let temporary = with_suffix(path, &format!(".{}-{number}.part", std::process::id()));
    // What a killed process of the same id left would be in the way of a link.
    let _ = fs::remove_file(&temporary);
    let made = make(&temporary).and_then(|()| fs::rename(&temporary, path));
    if made.is_err() {
        // The error that matters is the one above.
        let _ = fs::remove_file(&temporary);
    }
    made
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_is_linked_again_is_there_all_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let blob = folder.path().join("blobs/hash");
        let snapshot = folder.path().join("snapshots/commit").join(HUB_FILE);
        for file in [&blob, &snapshot] {
            create_folder_of(file).unwrap();
        }
        fs::write(&blob, b"weights").unwrap();
        link(&blob, &snapshot).unwrap();
        std::thread::scope(|scope| {
            let linking = scope.spawn(|| (0..2000).try_for_each(|_| link(&blob, &snapshot)));
            while !linking.is_finished() {
                assert_eq!(fs::read(&snapshot).unwrap(), b"weights");
            }
            linking.join().unwrap().unwrap();
        });
        assert_eq!(fs::read_dir(snapshot.parent().unwrap()).unwrap().count(), 1);
    }
}
