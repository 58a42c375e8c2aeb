//! The Hugging Face Hub: what it says about a file, and its cache.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::FetchEvent;
use super::client::{Ask, Client, Failure, refusal, server, text};
use super::transfer::{Lock, Wanted, fetch};
use crate::store::{HUB_FILE, HUB_REVISION, is_sha256, partial, with_suffix};
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
        if !blob.is_file() {
            create_folder_of(&blob)?;
            let part = with_suffix(&blob, ".incomplete");
            let wanted =
                Wanted { hash: &stated.sha256, bytes: stated.bytes, part: &part, file: &blob, record: false };
            fetch(client, &url, token, &wanted, events)?;
        }
        let snapshot = cache.join("snapshots").join(&stated.commit).join(HUB_FILE);
        create_folder_of(&snapshot)?;
        link(&blob, &snapshot).map_err(|source| Error::Write { path: snapshot.clone(), source })?;
        // Last, because with it the file counts as being there.
        let note = cache.join("refs").join(HUB_REVISION);
        create_folder_of(&note)?;
        let temporary = with_suffix(&note, ".part");
        fs::write(&temporary, &stated.commit)
            .and_then(|()| fs::rename(&temporary, &note))
            .map_err(|source| Error::Write { path: note, source })?;
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
    match fs::remove_file(snapshot) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    #[cfg(unix)]
    {
        let target = Path::new("../../blobs").join(blob.file_name().unwrap_or_default());
        std::os::unix::fs::symlink(target, snapshot)
    }
    #[cfg(not(unix))]
    fs::copy(blob, snapshot).map(|_| ())
}
