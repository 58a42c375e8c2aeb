//! Files that are written whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Names tried for a temporary file.
const NAMES: usize = 1000;
/// Symbolic links followed from one to the next, as many as Linux follows.
const LINKS: usize = 40;

/// A file that is being made beside the one it replaces.
///
/// What stands at the path stays until [`place`](Self::place), which renames the new file to it; dropped before that,
/// the new file goes. A process that is killed leaves a hidden file, see [`replaced_name`](Self::replaced_name).
///
/// A symbolic link stays, and the file that it leads to is replaced. A pipe or a device cannot be replaced and takes the
/// bytes as they come.
///
/// ```
/// use std::io::Write;
///
/// use effdet_core::Replacement;
///
/// # let path = std::env::temp_dir().join(format!("effdet-replacement-{}.txt", std::process::id()));
/// let replacement = Replacement::of(&path)?;
/// let mut file = replacement.create()?;
/// file.write_all(b"all of it")?;
/// replacement.finish(file)?;
/// assert_eq!(std::fs::read(&path)?, b"all of it");
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "the file gets its name by `place`"]
pub struct Replacement {
    path: PathBuf,
    /// The new file, or none where `path` itself is written to.
    temporary: Option<PathBuf>,
    is_placed: bool,
}

impl Replacement {
    /// Makes an empty file beside the one at `path`.
    ///
    /// # Errors
    /// If `path` does not name a file, no name is free, or the system refuses.
    pub fn of(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            return Ok(Self { path: path.to_owned(), temporary: None, is_placed: false });
        }
        Self::numbered(&followed(path)?, next_number, make_file)
    }

    /// Makes a symbolic link to `target` that replaces what stands at `path`, also where that is a link.
    ///
    /// # Errors
    /// As [`of`](Self::of), and where the file system has no links.
    #[cfg(unix)]
    pub fn by_link(path: impl AsRef<Path>, target: impl AsRef<Path>) -> io::Result<Self> {
        let target = target.as_ref();
        Self::numbered(path.as_ref(), next_number, |link| std::os::unix::fs::symlink(target, link))
    }

    /// Tries names until one is free: a process that was killed may have left a file, and in a container the next
    /// process has its id. `make` is what takes a name, so that two processes never have the same.
    fn numbered(
        path: &Path,
        mut number: impl FnMut() -> u64,
        make: impl Fn(&Path) -> io::Result<()>,
    ) -> io::Result<Self> {
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the path does not name a file"))?;
        for _ in 0..NAMES {
            let mut temporary = OsString::from(".");
            temporary.push(name);
            temporary.push(format!(".{}-{}.tmp", std::process::id(), number()));
            let temporary = path.with_file_name(temporary);
            match make(&temporary) {
                Ok(()) => {
                    return Ok(Self { path: path.to_owned(), temporary: Some(temporary), is_placed: false });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(ErrorKind::AlreadyExists, "no name is free for a temporary file"))
    }

    /// Opens the file, empty.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn create(&self) -> io::Result<File> {
        OpenOptions::new().write(true).truncate(true).open(self.temporary())
    }

    /// Where the file is until it is placed, for what fills files by their paths.
    pub fn temporary(&self) -> &Path {
        self.temporary.as_deref().unwrap_or(&self.path)
    }

    /// Gives the file its name. Close it first: Windows does not rename what is open.
    ///
    /// # Errors
    /// If the system refuses; then what stood at the path is still there, and the new file is gone.
    pub fn place(mut self) -> io::Result<()> {
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.path)?;
        }
        self.is_placed = true;
        Ok(())
    }

    /// Waits until the bytes of `file`, which [`create`](Self::create) gave, are on the disk, closes it and gives it its
    /// name.
    ///
    /// # Errors
    /// As [`place`](Self::place).
    pub fn finish(self, file: File) -> io::Result<()> {
        // Pipes and devices refuse.
        if self.temporary.is_some() {
            file.sync_all()?;
        }
        drop(file);
        self.place()
    }

    /// The name of the file that one called `name` was to replace: of a replacement in progress, or of one that a killed
    /// process left. `None` for any other name.
    pub fn replaced_name(name: &str) -> Option<&str> {
        let (replaced, numbers) = name.strip_prefix('.')?.strip_suffix(".tmp")?.rsplit_once('.')?;
        let (process, number) = numbers.split_once('-')?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        (is_number(process) && is_number(number)).then_some(replaced)
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.as_ref().filter(|_| !self.is_placed) {
            // What led here is the error that matters.
            let _ = fs::remove_file(temporary);
        }
    }
}

fn next_number() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    COUNTER.fetch_add(1, Ordering::Relaxed)
}

fn make_file(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path).map(drop)
}

/// Where symbolic links lead; one to nothing leads to the file that writing to it would make.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&path) {
            // A relative target is one from the folder of the link.
            Ok(target) => path = path.with_file_name(target),
            // No link, or nothing.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links lead from one to the next"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_stood_there_stays_until_the_new_file_is_placed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(&path, b"old").unwrap();
        let given_up = Replacement::of(&path).unwrap();
        given_up.create().unwrap().write_all(b"half").unwrap();
        assert_eq!(names(folder.path()).len(), 2);
        drop(given_up);
        assert_eq!(names(folder.path()), ["a.json"]);
        assert_eq!(fs::read(&path).unwrap(), b"old");

        let replacement = Replacement::of(&path).unwrap();
        replacement.create().unwrap().write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        replacement.place().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a.json"]);
    }

    #[test]
    fn a_folder_in_the_way_is_an_error_that_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        let replacement = Replacement::of(&path).unwrap();
        replacement.create().unwrap();
        assert!(replacement.place().is_err());
        assert_eq!(names(folder.path()), ["taken"]);
        assert_eq!(Replacement::of("/").unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn two_that_replace_one_file_do_not_write_to_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        let [a, b] = [Replacement::of(&path).unwrap(), Replacement::of(&path).unwrap()];
        assert_ne!(a.temporary(), b.temporary());
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn what_a_killed_process_left_is_known_and_does_not_block_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let left = |from: u64| {
            let mut numbers = from..;
            let replacement = Replacement::numbered(&path, || numbers.next().unwrap(), make_file)?;
            let left = replacement.temporary().to_owned();
            std::mem::forget(replacement);
            io::Result::Ok(left)
        };
        let left: Vec<_> = (0..3).map(|_| left(0).unwrap()).collect();
        let name = format!(".model.safetensors.{}-2.tmp", std::process::id());
        assert_eq!(left[2], folder.path().join(&name));
        assert_eq!(names(folder.path()).len(), 3);
        let error = Replacement::numbered(&path, || 0, make_file).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        // What others made is not removed.
        assert_eq!(names(folder.path()).len(), 3);

        assert_eq!(Replacement::replaced_name(&name), Some("model.safetensors"));
        for other in [".tmp", ".a.tmp", ".a.1-.tmp", "a.1-2.tmp", ".a.1-2", ".a.safetensors.x-2.tmp", ""] {
            assert_eq!(Replacement::replaced_name(other), None, "{other}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_and_what_it_leads_to_is_replaced() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let write = |path: &Path, text: &[u8]| -> io::Result<()> {
            let replacement = Replacement::of(path)?;
            let mut file = replacement.create()?;
            file.write_all(text)?;
            replacement.finish(file)
        };
        fs::create_dir(at("there")).unwrap();
        symlink("there/file", at("first")).unwrap();
        symlink(at("first"), at("second")).unwrap();
        for text in [b"made by way of a link to nothing".as_slice(), b"replaced"] {
            write(&at("second"), text).unwrap();
            assert_eq!(fs::read(at("there/file")).unwrap(), text);
            assert!(at("first").is_symlink() && at("second").is_symlink());
        }
        symlink("round", at("round")).unwrap();
        assert!(write(&at("round"), b"").is_err());

        Replacement::by_link(at("second"), "there/other").unwrap().place().unwrap();
        assert_eq!(fs::read_link(at("second")).unwrap(), Path::new("there/other"));
        assert_eq!(names(folder.path()).len(), 4);
    }

    #[cfg(unix)]
    #[test]
    fn a_device_takes_the_bytes_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nothing");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        let replacement = Replacement::of(&path).unwrap();
        assert_eq!(replacement.temporary(), path);
        let mut file = replacement.create().unwrap();
        file.write_all(b"gone").unwrap();
        replacement.finish(file).unwrap();
        drop(Replacement::of(&path).unwrap());
        assert!(path.is_symlink() && !fs::metadata(&path).unwrap().is_file());
        assert_eq!(names(folder.path()), ["nothing"]);
    }
}
