//! Fetching published weights: from the Hugging Face Hub into its own cache, or a release file into ours.
//!
//! `hf-hub` 1.0 would bring reqwest, tokio and hf-xet (some two hundred crates) and has neither an offline switch nor a
//! word on release files, so the few requests that the Hub's protocol takes are made by a blocking client, which serves
//! release files and mirrors too.

#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod hub;
#[cfg(feature = "hub")]
mod transfer;

use std::path::PathBuf;
use std::time::Duration;

use crate::{Error, WeightsEntry, WeightsStore};

/// What [`WeightsStore::fetch`] is doing.
#[derive(Debug)]
#[non_exhaustive]
pub enum FetchEvent<'a> {
    /// Another process is fetching the same file.
    Waiting,
    /// Bytes arrive.
    Transfer {
        /// Where from.
        url: &'a str,
        /// Bytes of the file that are here.
        done: u64,
        /// Bytes of the file, where stated.
        total: Option<u64>,
    },
    /// Something went wrong that may go away.
    Retry {
        /// What.
        error: &'a Error,
        /// How long the next attempt waits.
        wait: Duration,
    },
}

impl WeightsStore {
    /// The file of an entry, fetched if it is not on this machine yet.
    ///
    /// Sources are tried in the registry's order. A transfer that breaks off resumes where it stopped, also in a later
    /// call; several processes fetch a file once. The file appears under its name only after its hash was found to be
    /// right.
    ///
    /// # Errors
    /// [`Error::NotDownloaded`] when the network is off, [`Error::WrongHash`] for a file that is not the published one,
    /// else what the network, the server or the disk said.
    ///
    /// # Reference
    /// `torch.hub.load_state_dict_from_url` with `check_hash`; `huggingface_hub.hf_hub_download`.
    pub fn fetch(
        &self,
        entry: &WeightsEntry,
        events: &mut dyn FnMut(FetchEvent<'_>),
    ) -> Result<PathBuf, Error> {
        if let Some(path) = self.locate(entry)? {
            return Ok(path);
        }
        let refused = |why| Err(Error::NotDownloaded { name: entry.name.clone(), why });
        if self.offline {
            return refused(", and the network is switched off (EFFDET_OFFLINE or HF_HUB_OFFLINE)");
        }
        #[cfg(not(feature = "hub"))]
        {
            let _ = events;
            refused(", and this build cannot fetch them: build with the cargo feature `hub`")
        }
        #[cfg(feature = "hub")]
        self.fetch_from_sources(entry, events)
    }

    /// Tries the sources of an entry in turn, but stops at a file whose content is not what it should be.
    #[cfg(feature = "hub")]
    fn fetch_from_sources(
        &self,
        entry: &WeightsEntry,
        events: &mut dyn FnMut(FetchEvent<'_>),
    ) -> Result<PathBuf, Error> {
        let client = client::Client::new(self.retry);
        let mut errors = Vec::new();
        if let Some(repository) = &entry.hub {
            match self.fetch_from_hub(&client, entry, repository, events) {
                Err(error @ (Error::Server { .. } | Error::Network { .. })) => errors.push(error),
                other => return other,
            }
        }
        if let (Some(url), Some(hash)) = (&entry.url, &entry.hash) {
            match self.fetch_release(&client, entry, url, hash, events) {
                Err(error) => errors.push(error),
                fetched => return fetched,
            }
        }
        match errors.len() {
            1 => Err(errors.remove(0)),
            _ => Err(Error::NoSource { name: entry.name.clone(), errors }),
        }
    }

    #[cfg(feature = "hub")]
    fn fetch_release(
        &self,
        client: &client::Client,
        entry: &WeightsEntry,
        url: &str,
        hash: &str,
        events: &mut dyn FnMut(FetchEvent<'_>),
    ) -> Result<PathBuf, Error> {
        const RELEASES: &str = "https://github.com/";
        let address = match (&self.mirror, url.strip_prefix(RELEASES)) {
            (Some(mirror), Some(path)) => format!("{mirror}/{path}"),
            _ => url.to_owned(),
        };
        // A pickle under its own name, also where the Hub's file would have another.
        let file =
            self.folder.as_ref().unwrap_or(&self.releases).join(entry.release_file().unwrap_or_default());
        let lock = transfer::Lock::take(&crate::store::with_suffix(&file, ".lock"), events)?;
        // Another process may have fetched it meanwhile.
        if let Some(path) = self.locate(entry)? {
            return Ok(path);
        }
        let part = crate::store::partial(&file);
        let wanted = transfer::Wanted { hash, bytes: entry.bytes, part: &part, file: &file, record: true };
        transfer::fetch(client, &address, None, &wanted, events)?;
        lock.release();
        Ok(file)
    }
}
