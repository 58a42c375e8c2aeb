//! The folders in which downloaded weights lie, shared with Python where it has a layout of its own.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::{Error, WeightsEntry};

/// File of a timm repository that holds the weights.
pub(crate) const HUB_FILE: &str = "model.safetensors";
/// End of the name of a blob that is being fetched.
pub(crate) const INCOMPLETE: &str = ".incomplete";
/// What timm's repositories are read at.
pub(crate) const HUB_REVISION: &str = "main";

/// How often and how patiently a transfer is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts that may fail one after the other without a byte received.
    pub attempts: u32,
    /// Wait after the first failure; it doubles with each.
    pub first_wait: Duration,
    /// Longest wait, and the longest that a server may ask for.
    pub longest_wait: Duration,
    /// How long a connection may stay silent.
    pub silence: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(60),
            silence: Duration::from_secs(30),
        }
    }
}

/// Where published weights are kept, and where they are fetched from.
///
/// Files of the Hugging Face Hub lie in its own cache as `huggingface_hub` lays it out, so that a file is on the disk
/// once, whoever fetched it. Release files lie in `releases` of this project's cache; `torch.hub`'s folder, where the
/// reference keeps its own downloads, is looked into as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightsStore {
    /// One folder for all files, in place of the caches.
    pub folder: Option<PathBuf>,
    /// Folder of release files.
    pub releases: PathBuf,
    /// The Hub's cache.
    pub hub_cache: PathBuf,
    /// Where `torch.hub` puts files; read only.
    pub torch_hub: Option<PathBuf>,
    /// Address of the Hub.
    pub hub_endpoint: String,
    /// Access token of the Hub.
    pub hub_token: Option<String>,
    /// What stands in place of `https://github.com` for release files.
    pub mirror: Option<String>,
    /// Whether the network must not be used.
    pub offline: bool,
    /// How patient to be.
    pub retry: Retry,
}

impl WeightsStore {
    /// The store that the environment describes.
    ///
    /// `EFFDET_CACHE` (else `effdet` in the system's folder of caches) for release files, `EFFDET_MIRROR` in place of
    /// `https://github.com`, `EFFDET_OFFLINE=1`; the Hub's `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`,
    /// `HF_TOKEN_PATH`, `HF_HUB_DISABLE_IMPLICIT_TOKEN`, `HF_HUB_OFFLINE`; `TORCH_HOME`. Proxies are those of
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`. Servers are trusted by the certificates (PEM) of the file in
    /// `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE` or `CURL_CA_BUNDLE`, else by Mozilla's, which are built in.
    ///
    /// # Errors
    /// [`Error::NoCacheFolder`] where none of these and no home folder is known.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_variables(&environment)
    }

    /// A store that keeps all files in `folder`; the environment says the rest as for [`from_env`](Self::from_env). No
    /// cache is used, so there need not be one.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self::in_folder_by(folder.into(), &environment)
    }

    fn from_variables(variable: &Variables<'_>) -> Result<Self, Error> {
        let folder = |name: &str| folder(variable, name);
        let ours =
            folder("EFFDET_CACHE").or_else(|| cache(variable, "effdet")).ok_or(Error::NoCacheFolder)?;
        let hub_cache = folder("HF_HUB_CACHE")
            .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(hub_home(variable)?.join("hub")))
            .ok_or(Error::NoCacheFolder)?;
        let torch = folder("TORCH_HOME").or_else(|| cache(variable, "torch"));
        Ok(Self {
            folder: None,
            releases: ours.join("releases"),
            hub_cache,
            torch_hub: torch.map(|torch| torch.join("hub").join("checkpoints")),
            ..Self::in_folder_by(PathBuf::new(), variable)
        })
    }

    fn in_folder_by(own: PathBuf, variable: &Variables<'_>) -> Self {
        let on = |name: &str| {
            variable(name)
                .is_some_and(|value| matches!(value.to_lowercase().as_str(), "1" | "on" | "yes" | "true"))
        };
        let stored_token = || {
            let named = folder(variable, "HF_TOKEN_PATH");
            let file = named.or_else(|| Some(hub_home(variable)?.join("token")))?;
            (!on("HF_HUB_DISABLE_IMPLICIT_TOKEN")).then(|| fs::read_to_string(file).ok()).flatten()
        };
        let token = variable("HF_TOKEN").or_else(stored_token).map(|token| token.trim().to_owned());
        let address = |name: &str| variable(name).map(|url| url.trim_end_matches('/').to_owned());
        Self {
            releases: own.clone(),
            hub_cache: own.clone(),
            folder: Some(own),
            torch_hub: None,
            hub_endpoint: address("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into()),
            hub_token: token.filter(|token| !token.is_empty()),
            mirror: address("EFFDET_MIRROR"),
            offline: on("EFFDET_OFFLINE") || on("HF_HUB_OFFLINE"),
            retry: Retry::default(),
        }
    }

    /// The file of an entry if it is on this machine. Nothing is fetched; only a file that another program put there is
    /// read, to compare its hash: one without a note beside it of the hash that it was fetched with.
    ///
    /// # Errors
    /// If such a file cannot be read.
    pub fn locate(&self, entry: &WeightsEntry) -> Result<Option<PathBuf>, Error> {
        if let Some(folder) = &self.folder {
            for path in places(folder, entry).into_iter().filter_map(existing) {
                // Without a note it need not have been fetched, and may be a part or another file of that name.
                let right = match release_hash(entry, &path) {
                    Some(hash) if !recorded(&path).is_file() => sha256(&path)?.starts_with(hash),
                    _ => true,
                };
                if right {
                    return Ok(Some(path));
                }
            }
            return Ok(None);
        }
        if let Some(repository) = &entry.hub
            && let Some(path) = self.hub_snapshot(repository)
        {
            return Ok(Some(path));
        }
        let (Some(file), Some(hash)) = (entry.release_file(), &entry.hash) else { return Ok(None) };
        if let Some(path) = existing(self.releases.join(file)) {
            return Ok(Some(path));
        }
        match self.torch_hub.as_ref().and_then(|folder| existing(folder.join(file))) {
            Some(path) if sha256(&path)?.starts_with(hash.as_str()) => Ok(Some(path)),
            _ => Ok(None),
        }
    }

    /// Compares the file of an entry with its hash: the registry's, else the one recorded when it was downloaded.
    /// `None` if the file is not on this machine.
    ///
    /// # Errors
    /// [`Error::WrongHash`] if they differ, [`Error::NoHash`] if there is nothing to compare with, or if the file cannot
    /// be read.
    pub fn verify(&self, entry: &WeightsEntry) -> Result<Option<Verified>, Error> {
        let path = match &self.folder {
            // Also one that `locate` does not take: here it is told what is wrong with it.
            Some(folder) => places(folder, entry).into_iter().find_map(existing),
            None => self.locate(entry)?,
        };
        let Some(path) = path else { return Ok(None) };
        let expected = release_hash(entry, &path).map(str::to_owned).or_else(|| recorded_hash(&path));
        let expected = expected.ok_or_else(|| Error::NoHash { path: path.clone() })?;
        let found = sha256(&path)?;
        if !found.starts_with(expected.as_str()) {
            return Err(Error::WrongHash { file: path.display().to_string(), expected, found, hint: "" });
        }
        Ok(Some(Verified { path, sha256: found, compared: expected.len() }))
    }

    /// Deletes the file of an entry and what transfers left of it; gives the paths that are gone. What `torch.hub`
    /// fetched stays, and so does a blob of the Hub's cache that another snapshot links to.
    ///
    /// # Errors
    /// If a file cannot be deleted.
    pub fn remove(&self, entry: &WeightsEntry) -> Result<Vec<PathBuf>, Error> {
        let mut files = Vec::new();
        let beside = |path: PathBuf| [recorded(&path), partial(&path), path];
        if let Some(folder) = &self.folder {
            files.extend(places(folder, entry).into_iter().flat_map(beside));
        } else {
            files.extend(entry.release_file().into_iter().flat_map(|file| beside(self.releases.join(file))));
            if let Some(repository) = &entry.hub {
                let folder = self.hub_repository(repository);
                files.extend(incomplete(&folder.join("blobs")));
                if let Some(path) = self.hub_snapshot(repository) {
                    // The link, and what it points to unless another snapshot has it too; the cache itself may be
                    // reached through links. A copy has a note of what it is a copy of.
                    let blobs = fs::canonicalize(folder.join("blobs")).ok();
                    let blob = if path.is_symlink() {
                        fs::canonicalize(&path).ok()
                    } else {
                        recorded_hash(&path).zip(blobs.as_ref()).map(|(hash, blobs)| blobs.join(hash))
                    };
                    let blob = blob.filter(|blob| {
                        blobs.as_ref().is_some_and(|blobs| blob.starts_with(blobs))
                            && !is_linked(&folder.join("snapshots"), blob, &path)
                    });
                    files.extend(blob);
                    files.extend([recorded(&path), path]);
                }
            }
        }
        let mut removed = Vec::new();
        for path in files {
            match fs::remove_file(&path) {
                Ok(()) => removed.push(path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::Write { path, source }),
            }
        }
        Ok(removed)
    }

    /// Folder of a repository in the Hub's cache.
    pub(crate) fn hub_repository(&self, repository: &str) -> PathBuf {
        self.hub_cache.join(format!("models--{}", repository.replace('/', "--")))
    }

    /// The file in the snapshot that the cache's own note of the revision names.
    fn hub_snapshot(&self, repository: &str) -> Option<PathBuf> {
        let folder = self.hub_repository(repository);
        let commit = fs::read_to_string(folder.join("refs").join(HUB_REVISION)).ok()?;
        let commit = commit.trim();
        let plain = !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_alphanumeric());
        plain.then(|| folder.join("snapshots").join(commit).join(HUB_FILE)).and_then(existing)
    }
}

/// Where the file of an entry may lie in a folder for all files: each source has a name of its own for it.
fn places(folder: &Path, entry: &WeightsEntry) -> Vec<PathBuf> {
    let mut places = vec![folder.join(entry.file_name())];
    let release = entry.release_file().map(|file| folder.join(file));
    places.extend(release.filter(|release| *release != places[0]));
    places
}

/// What transfers into a folder of blobs left when they broke off.
fn incomplete(blobs: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(blobs).into_iter().flatten().flatten();
    let is_incomplete =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(INCOMPLETE));
    entries.map(|entry| entry.path()).filter(is_incomplete).collect()
}

/// Whether anything below `folder` but `except` leads to `blob`. What cannot be looked into counts as such.
fn is_linked(folder: &Path, blob: &Path, except: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return true };
    entries.into_iter().any(|entry| {
        let Ok(entry) = entry else { return true };
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            return is_linked(&path, blob, except);
        }
        path != except && fs::canonicalize(&path).is_ok_and(|found| found == blob)
    })
}

/// A file whose hash was found to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The file.
    pub path: PathBuf,
    /// Its SHA-256.
    pub sha256: String,
    /// How many digits of it were known before.
    pub compared: usize,
}

/// Gives the value of an environment variable, if it has one.
pub(crate) type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

pub(crate) fn environment(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// The folder that a variable names, in which a leading `~` stands for the home folder.
///
/// # Reference
/// `os.path.expanduser`, without the homes of others.
fn folder(variable: &Variables<'_>, name: &str) -> Option<PathBuf> {
    let value = variable(name)?;
    let below_home = value
        .strip_prefix('~')
        .map(Path::new)
        .and_then(|rest| if rest.as_os_str().is_empty() { Some(rest) } else { rest.strip_prefix("/").ok() });
    if let Some(rest) = below_home
        && let Some(home) = home(variable)
    {
        return Some(home.join(rest));
    }
    Some(value.into())
}

fn home(variable: &Variables<'_>) -> Option<PathBuf> {
    variable("HOME").or_else(|| variable("USERPROFILE")).map(PathBuf::from)
}

/// A program's folder in the system's folder of caches.
fn cache(variable: &Variables<'_>, program: &str) -> Option<PathBuf> {
    let caches = folder(variable, "XDG_CACHE_HOME").or_else(|| Some(home(variable)?.join(".cache")));
    caches.map(|caches| caches.join(program))
}

/// Where the Hub's programs keep their files.
fn hub_home(variable: &Variables<'_>) -> Option<PathBuf> {
    folder(variable, "HF_HOME").or_else(|| cache(variable, "huggingface"))
}

/// The published hash, or its first digits, where `path` has the name of the release file: a file of the Hub has a hash
/// that the Hub alone states.
fn release_hash<'a>(entry: &'a WeightsEntry, path: &Path) -> Option<&'a str> {
    let released = path.file_name().is_some_and(|name| entry.release_file().is_some_and(|file| name == file));
    entry.hash.as_deref().filter(|_| released)
}

fn existing(path: PathBuf) -> Option<PathBuf> {
    path.is_file().then_some(path)
}

/// The note beside a file that says which hash it was checked with, in the form of `sha256sum`.
pub(crate) fn recorded(path: &Path) -> PathBuf {
    with_suffix(path, ".sha256")
}

/// The file that a transfer in progress writes to.
pub(crate) fn partial(path: &Path) -> PathBuf {
    with_suffix(path, ".part")
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn recorded_hash(path: &Path) -> Option<String> {
    // In the Hub's cache a blob is called by its hash.
    let blob = fs::canonicalize(path).ok()?.file_name()?.to_str()?.to_owned();
    let note = || fs::read_to_string(recorded(path)).ok()?.split_whitespace().next().map(str::to_owned);
    Some(blob).filter(|name| is_sha256(name)).or_else(note).filter(|hash| is_sha256(hash))
}

pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// SHA-256 of a file in hexadecimal.
///
/// # Errors
/// If the file cannot be read.
pub fn sha256(path: &Path) -> Result<String, Error> {
    let unreadable = |source| Error::Read { path: path.into(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut hasher = Sha256::new();
    hash_into(&mut file, &mut hasher).map_err(unreadable)?;
    Ok(hexadecimal(hasher))
}

pub(crate) fn hash_into(reader: &mut impl Read, hasher: &mut Sha256) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                total += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

pub(crate) fn hexadecimal(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(variables: &[(&str, &str)]) -> WeightsStore {
        let find = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        WeightsStore::from_variables(&find).unwrap()
    }

    #[test]
    fn the_environment_says_where_files_lie_as_it_does_for_python() {
        let plain = store(&[("HOME", "/home/ann")]);
        assert_eq!(plain.releases, Path::new("/home/ann/.cache/effdet/releases"));
        assert_eq!(plain.hub_cache, Path::new("/home/ann/.cache/huggingface/hub"));
        assert_eq!(plain.torch_hub.as_deref(), Some(Path::new("/home/ann/.cache/torch/hub/checkpoints")));
        assert_eq!(plain.hub_endpoint, "https://huggingface.co");
        assert!(!plain.offline && plain.mirror.is_none() && plain.hub_token.is_none());

        let set = store(&[
            ("HF_HOME", "/hf"),
            ("EFFDET_CACHE", "/ours"),
            ("HF_ENDPOINT", "https://hub.example/"),
            ("HF_TOKEN", " hf_secret\n"),
            ("EFFDET_MIRROR", "https://mirror.example/gh/"),
            ("EFFDET_OFFLINE", "1"),
        ]);
        assert_eq!(
            (set.hub_cache.as_path(), set.releases.as_path()),
            (Path::new("/hf/hub"), Path::new("/ours/releases"))
        );
        assert_eq!(set.hub_endpoint, "https://hub.example");
        assert_eq!(set.mirror.as_deref(), Some("https://mirror.example/gh"));
        assert_eq!(set.hub_token.as_deref(), Some("hf_secret"));
        assert!(set.offline);
        assert_eq!(store(&[("HOME", "/h"), ("HF_HUB_CACHE", "/cache")]).hub_cache, Path::new("/cache"));
        assert!(store(&[("HOME", "/h"), ("HF_HUB_OFFLINE", "true")]).offline);
        assert!(!store(&[("HOME", "/h"), ("EFFDET_OFFLINE", "0")]).offline);
        assert!(matches!(WeightsStore::from_variables(&|_| None), Err(Error::NoCacheFolder)));
    }

    #[test]
    fn a_tilde_stands_for_the_home_folder_and_none_is_needed_where_all_folders_are_named() {
        let set = store(&[
            ("HOME", "/home/ann"),
            ("HF_HOME", "~/hf"),
            ("EFFDET_CACHE", "~"),
            ("TORCH_HOME", "~bob"),
        ]);
        assert_eq!(set.hub_cache, Path::new("/home/ann/hf/hub"));
        assert_eq!(set.releases, Path::new("/home/ann/releases"));
        assert_eq!(set.torch_hub.as_deref(), Some(Path::new("~bob/hub/checkpoints")));
        let homeless = store(&[("HF_HUB_CACHE", "/hub"), ("EFFDET_CACHE", "/ours")]);
        assert_eq!((homeless.hub_cache.as_path(), homeless.torch_hub), (Path::new("/hub"), None));
    }

    #[test]
    fn a_folder_of_its_own_needs_no_home() {
        let store = WeightsStore::in_folder_by("/mine".into(), &|_| None);
        assert_eq!(store.folder.as_deref(), Some(Path::new("/mine")));
        assert_eq!((store.hub_token, store.torch_hub, store.offline), (None, None, false));
        let set = |name: &str| (name == "EFFDET_MIRROR").then(|| "https://mirror.example".to_owned());
        let store = WeightsStore::in_folder_by("/mine".into(), &set);
        assert_eq!(store.mirror.as_deref(), Some("https://mirror.example"));
    }

    #[test]
    fn a_stored_token_is_used_unless_that_is_switched_off() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        fs::write(folder.path().join("token"), "hf_stored\n").unwrap();
        let base = [("HOME", "/h"), ("HF_HOME", home)];
        assert_eq!(store(&base).hub_token.as_deref(), Some("hf_stored"));
        let off = [base[0], base[1], ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")];
        assert_eq!(store(&off).hub_token, None);
    }
}
