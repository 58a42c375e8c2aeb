//! Folders looked at again and again.
//!
//! The system's notifications do not cross network mounts, so folders are listed instead.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::logging::note;
use crate::sources::is_picture;

/// Folders and what was last seen in them.
#[derive(Debug)]
pub struct Watch {
    folders: Vec<Folder>,
    seen: HashMap<PathBuf, Seen>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Whether the last look failed, which is told once.
    is_lost: bool,
}

#[derive(Debug, PartialEq)]
struct Seen {
    length: u64,
    changed: Option<SystemTime>,
    is_taken: bool,
}

impl Watch {
    /// Watches folders; `out` must not be one of them.
    pub fn new(folders: &[PathBuf], out: Option<&Path>) -> Result<Self> {
        for folder in folders {
            if !folder.is_dir() {
                bail!("--watch {}: this is no folder", folder.display());
            }
            let canonical = |path: &Path| {
                fs::canonicalize(path).with_context(|| format!("cannot read the folder {}", path.display()))
            };
            if let Some(out) = out.filter(|out| out.exists())
                && canonical(out)? == canonical(folder)?
            {
                bail!("--out {} is the folder that is watched: name another", out.display());
            }
        }
        let folder = |path: &PathBuf| Folder { path: path.clone(), is_lost: false };
        Ok(Self { folders: folders.iter().map(folder).collect(), seen: HashMap::new() })
    }

    /// The pictures that are new, or changed, and were the same at the last look: what is being copied still grows.
    pub fn look(&mut self) -> Vec<PathBuf> {
        let mut ready = Vec::new();
        let mut present = HashSet::new();
        for folder in &mut self.folders {
            let entries = match fs::read_dir(&folder.path) {
                Ok(entries) => entries,
                Err(error) => {
                    if !folder.is_lost {
                        note!("warning: {}: {error}; still looking", folder.path.display());
                    }
                    folder.is_lost = true;
                    // A mount that comes back has the pictures that were there before.
                    present.extend(self.seen.keys().filter(|path| path.starts_with(&folder.path)).cloned());
                    continue;
                }
            };
            folder.is_lost = false;
            for path in entries.flatten().map(|entry| entry.path()).filter(|path| is_wanted(path)) {
                let Ok(metadata) = fs::metadata(&path) else { continue };
                let now = Seen { length: metadata.len(), changed: metadata.modified().ok(), is_taken: false };
                match self.seen.get_mut(&path) {
                    Some(before) if (before.length, before.changed) == (now.length, now.changed) => {
                        if !before.is_taken && now.length > 0 {
                            before.is_taken = true;
                            ready.push(path.clone());
                        }
                    }
                    _ => {
                        self.seen.insert(path.clone(), now);
                    }
                }
                present.insert(path);
            }
        }
        self.seen.retain(|path, _| present.contains(path));
        ready.sort();
        ready
    }
}

/// Programs that copy begin with a hidden name.
fn is_wanted(path: &Path) -> bool {
    let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    is_picture(path) && !is_hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_ready_once_it_stops_growing_and_again_when_it_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(&[folder.path().to_owned()], None).unwrap();
        let path = folder.path().join("a.png");
        let none: [PathBuf; 0] = [];
        assert_eq!(watch.look(), none);
        fs::write(folder.path().join("notes.txt"), "text").unwrap();
        fs::write(folder.path().join(".b.png"), "copied").unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!((watch.look(), watch.look()), (vec![], vec![]), "it is empty");
        for content in ["half", "half and half"] {
            fs::write(&path, content).unwrap();
            assert_eq!(watch.look(), none);
        }
        assert_eq!(watch.look(), std::slice::from_ref(&path));
        assert_eq!(watch.look(), none);
        fs::write(&path, "another").unwrap();
        assert_eq!((watch.look(), watch.look()), (vec![], vec![path.clone()]));
        fs::remove_file(&path).unwrap();
        assert_eq!(watch.look(), none);
        fs::write(&path, "another").unwrap();
        assert_eq!((watch.look(), watch.look()), (vec![], vec![path]));
    }

    #[test]
    fn a_folder_that_goes_away_is_waited_for() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("in");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.png"), "picture").unwrap();
        let mut watch = Watch::new(std::slice::from_ref(&folder), None).unwrap();
        assert_eq!((watch.look().len(), watch.look().len()), (0, 1));
        fs::rename(&folder, parent.path().join("gone")).unwrap();
        assert_eq!(watch.look().len(), 0);
        fs::rename(parent.path().join("gone"), &folder).unwrap();
        assert_eq!((watch.look().len(), watch.look().len()), (0, 0), "seen before");
        fs::write(folder.join("b.png"), "picture").unwrap();
        assert_eq!((watch.look().len(), watch.look()), (0, vec![folder.join("b.png")]));
    }

    #[test]
    fn the_folder_of_the_results_is_not_watched() {
        let folder = tempfile::tempdir().unwrap();
        let error = Watch::new(&[folder.path().to_owned()], Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains("name another"), "{error}");
        assert!(Watch::new(&[folder.path().join("none")], None).is_err());
    }
}
