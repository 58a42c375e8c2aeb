//! Nothing is written over what a command reads, and no file is written twice.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Refuses outputs, each with its option, that are one file, by whatever names, or the file of an input, which comes with
/// what it is. What an option did not name is `None`.
///
/// # Errors
/// Names the option and the file at fault.
pub fn refuse<'a>(
    outputs: &[(&str, Option<&Path>)],
    inputs: impl IntoIterator<Item = (Option<&'a Path>, &'a str)>,
) -> Result<()> {
    let mut places = HashMap::new();
    for (option, out) in outputs {
        let Some((out, place)) = out.and_then(|out| Some((out, place_of(out)?))) else { continue };
        if let Some((other, _)) = places.insert(place, (option, out)) {
            bail!("{other} and {option} are both {}: name two files", out.display());
        }
    }
    if places.is_empty() {
        return Ok(());
    }
    for (input, what) in inputs {
        let place = input.and_then(|input| fs::canonicalize(input).ok());
        if let Some((option, out)) = place.and_then(|place| places.get(&place)) {
            bail!("{option} {} is {what}: name another file", out.display());
        }
    }
    Ok(())
}

/// The file that would be written, unless it is standard output, a pipe or a device.
fn place_of(out: &Path) -> Option<PathBuf> {
    if out == Path::new("-") {
        return None;
    }
    match fs::canonicalize(out) {
        Ok(file) => file.is_file().then_some(file),
        Err(_) => {
            let folder = out.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
            Some(fs::canonicalize(folder).ok()?.join(out.file_name()?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_or_written_already_is_refused_by_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("read"), "kept").unwrap();
        fs::create_dir(at("sub")).unwrap();
        let around = at("sub/../read");
        let error =
            refuse(&[("--json", Some(&around))], [(Some(at("read").as_path()), "a source")]).unwrap_err();
        assert!(error.to_string().contains("sub/../read is a source"), "{error}");

        let (new, same) = (at("new"), at("sub/../new"));
        let error = refuse(&[("--json", Some(&new)), ("--jsonl", Some(&same))], []).unwrap_err();
        assert!(error.to_string().starts_with("--json and --jsonl are both"), "{error}");
        let (dash, other) = (Path::new("-"), at("other"));
        refuse(&[("--a", Some(dash)), ("--b", Some(dash)), ("--c", None), ("--d", Some(&new))], []).unwrap();
        refuse(&[("--a", Some(&new)), ("--b", Some(&other))], [(Some(at("read").as_path()), "a source")])
            .unwrap();
        // what does not exist cannot be lost
        refuse(&[("--a", Some(&new))], [(Some(new.as_path()), "a source")]).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_device_takes_everything() {
        let null = Some(Path::new("/dev/null"));
        refuse(&[("--json", null), ("--jsonl", null)], [(null, "a source")]).unwrap();
    }
}
