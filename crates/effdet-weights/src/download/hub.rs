//! The Hugging Face Hub: what it says about a file, and its cache.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use effdet_core::Replacement;

use super::FetchEvent;
use super::client::{Ask, Client, Failure, refusal, server, text};
use super::transfer::{Lock, Wanted, fetch};
use crate::store::{HUB_FILE, HUB_REVISION, INCOMPLETE, is_sha256, partial, recorded, sha256, with_suffix};
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
                let (part, bytes) = (with_suffix(&blob, INCOMPLETE), stated.bytes);
                let wanted = Wanted { hash: &stated.sha256, bytes, part: &part, file: &blob, record: false };
                fetch(client, &url, token, &wanted, events)?;
            }
            create_folder_of(&snapshot)?;
            link(&blob, &snapshot).map_err(|source| Error::Write { path: snapshot.clone(), source })?;
        }
        // Last, because with it the file counts as being there.
        let note = cache.join("refs").join(HUB_REVISION);
        create_folder_of(&note)?;
        write(&note, &stated.commit).map_err(|source| Error::Write { path: note.clone(), source })?;
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

/// Writes a note whole or not at all.
fn write(note: &Path, text: &str) -> io::Result<()> {
    let replacement = Replacement::of(note)?;
    fs::write(replacement.temporary(), text)?;
    replacement.place()
}

/// Puts the blob into a snapshot: by a relative link, or by a copy where the file system has none.
fn link(blob: &Path, snapshot: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let target = Path::new("../../blobs").join(blob.file_name().unwrap_or_default());
        if Replacement::by_link(snapshot, target).and_then(Replacement::place).is_ok() {
            return Ok(());
        }
    }
    copy(blob, snapshot)
}

/// Copies the blob into a snapshot, with a note of its hash, which its name says no more.
fn copy(blob: &Path, snapshot: &Path) -> io::Result<()> {
    let replacement = Replacement::of(snapshot)?;
    fs::copy(blob, replacement.temporary())?;
    let hash = blob.file_name().unwrap_or_default().to_string_lossy();
    write(&recorded(snapshot), &format!("{hash}  {HUB_FILE}\n"))?;
    replacement.place()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_is_a_copy_can_be_verified_and_goes_with_its_blob() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = WeightsStore::in_folder(folder.path());
        store.folder = None;
        let entry = WeightsEntry::named("tf_efficientnet_b0").unwrap();
        let cache = store.hub_repository(entry.hub.as_deref().unwrap());
        let source = folder.path().join("source");
        fs::write(&source, b"weights").unwrap();
        let blob = cache.join("blobs").join(sha256(&source).unwrap());
        let snapshot = cache.join("snapshots/commit").join(HUB_FILE);
        let note = cache.join("refs").join(HUB_REVISION);
        for file in [&blob, &snapshot, &note] {
            create_folder_of(file).unwrap();
        }
        fs::rename(&source, &blob).unwrap();
        copy(&blob, &snapshot).unwrap();
        fs::write(&note, "commit").unwrap();
        let left = cache.join("blobs/other.incomplete");
        fs::write(&left, b"half").unwrap();

        assert_eq!(store.verify(entry).unwrap().unwrap().compared, 64);
        fs::write(&snapshot, b"changed").unwrap();
        assert!(matches!(store.verify(entry), Err(Error::WrongHash { .. })));
        store.remove(entry).unwrap();
        for file in [&blob, &snapshot, &recorded(&snapshot), &left] {
            assert!(!file.exists(), "{}", file.display());
        }
    }

    #[cfg(unix)]
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
