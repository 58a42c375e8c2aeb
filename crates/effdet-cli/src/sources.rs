//! Which pictures a command line means.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// File names that a folder or glob is searched for, in any case.
const EXTENSIONS: [&str; 11] =
    ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "tif", "tiff", "gif"];

/// Whether the source is the picture on standard input.
pub fn is_stdin(source: &Path) -> bool {
    source == Path::new("-")
}

/// The pictures of all sources in order: `-`, standard input, stays as it is; a file is taken as it is, whatever its name; a folder gives its pictures, not
/// those of its sub-folders, sorted by name; what does not exist and has `*`, `?` or `[` is a glob.
///
/// A file that does not exist stays in the list, to be reported with the pictures that cannot be read.
pub fn expand(sources: &[PathBuf]) -> Result<Vec<PathBuf>> {
    if sources.iter().filter(|source| is_stdin(source)).count() > 1 {
        bail!("- is named twice, and standard input can be read once");
    }
    let mut pictures = Vec::new();
    for source in sources {
        if is_stdin(source) {
            pictures.push(source.clone());
        } else if source.is_dir() {
            pictures.extend(in_folder(source)?);
        } else if !source.exists() && source.to_string_lossy().contains(['*', '?', '[']) {
            pictures.extend(matching(source)?);
        } else {
            pictures.push(source.clone());
        }
    }
    Ok(pictures)
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = || format!("cannot read the folder {}", folder.display());
    let mut pictures = Vec::new();
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if is_picture(&path) {
            pictures.push(path);
        }
    }
    if pictures.is_empty() {
        bail!(
            "the folder {} holds no pictures ({}; sub-folders are not searched)",
            folder.display(),
            EXTENSIONS.map(|extension| format!(".{extension}")).join(" ")
        );
    }
    pictures.sort();
    Ok(pictures)
}

fn matching(pattern: &Path) -> Result<Vec<PathBuf>> {
    let text = pattern.to_str().with_context(|| format!("{}: a glob must be UTF-8", pattern.display()))?;
    let paths = glob::glob(text).with_context(|| format!("{text} is neither a file nor a glob"))?;
    let mut pictures = Vec::new();
    for path in paths {
        let path = path.with_context(|| format!("cannot follow the glob {text}"))?;
        if is_picture(&path) {
            pictures.push(path);
        }
    }
    if pictures.is_empty() {
        bail!("the glob {text} matches no pictures");
    }
    Ok(pictures)
}

/// Whether this is a file with the name of a picture.
pub fn is_picture(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    EXTENSIONS.contains(&extension.as_str()) && !path.is_dir()
}
