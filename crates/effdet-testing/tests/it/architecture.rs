//! The repository keeps to its own rules.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file under the `src` of every library crate, with its text.
fn library_sources() -> Vec<(PathBuf, String)> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(crates()).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if name != "effdet-cli" && name != "effdet-testing" {
            collect(&folder.join("src"), &mut sources);
        }
    }
    assert!(sources.len() > 60, "{} files found", sources.len());
    sources
}

fn collect(folder: &Path, sources: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push((path.clone(), fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Whether a line, comments aside, contains any of the patterns.
fn contains(text: &str, patterns: &[&str]) -> bool {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .any(|line| patterns.iter().any(|pattern| line.contains(pattern)))
}

/// The files in which a line, comments aside, contains any of the patterns.
fn files_with(patterns: &[&str]) -> Vec<String> {
    let mut files: Vec<String> = library_sources()
        .into_iter()
        .filter(|(_, text)| contains(text, patterns))
        .map(|(path, _)| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    files.sort();
    files
}

#[test]
fn there_is_one_iou_one_nms_and_one_box_coder() {
    // effdet-metrics has the evaluator's own: double precision, and a crowd's rule.
    assert_eq!(files_with(&["fn iou("]), ["iou.rs", "overlap.rs"]);
    assert_eq!(files_with(&["pub fn nms("]), ["nms.rs"]);
    assert_eq!(files_with(&["fn encode(anchor"]), ["box_coder.rs"]);
}

#[test]
fn only_operations_added_to_the_framework_are_generic_over_a_backend() {
    let generic =
        library_sources().into_iter().filter(|(_, text)| contains(text, &["B: Backend", "Tensor<B"]));
    let mut operations = 0;
    for (path, text) in generic {
        let operation = contains(&text, &["#[backend_extension(", "for Autodiff<B, C>"]);
        assert!(operation, "{} neither declares an operation nor records one", path.display());
        assert!(
            path.components().any(|part| part.as_os_str() == "native"),
            "{} is no kernel's",
            path.display()
        );
        operations += 1;
    }
    assert!(operations > 0);
}

#[test]
fn libraries_do_not_print() {
    assert_eq!(files_with(&["println!(", "eprintln!(", "print!(", "dbg!("]), [""; 0]);
}

#[test]
fn dependencies_follow_the_arrows() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("effdet-core", &[][..]),
        ("effdet-nn", &[][..]),
        ("effdet-backbones", &["core", "nn"][..]),
        ("effdet-bifpn", &["nn"][..]),
        ("effdet-heads", &["core", "nn"][..]),
        ("effdet-model", &["backbones", "bifpn", "core", "heads", "nn"][..]),
        ("effdet-data", &["core"][..]),
        ("effdet-metrics", &["core"][..]),
        ("effdet-viz", &["core"][..]),
        ("effdet-weights", &["core", "model", "nn"][..]),
        ("effdet-export", &["core", "heads", "model", "nn"][..]),
        ("effdet-train", &["core", "data", "heads", "metrics", "model", "nn", "viz", "weights"][..]),
        // The facade and nothing behind it.
        ("effdet-serve", &[][..]),
    ]);
    for (name, allowed) in allowed {
        let Ok(manifest) = fs::read_to_string(crates().join(name).join("Cargo.toml")) else { continue };
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap_or_default();
        for line in dependencies.lines() {
            let dependency = line.split([' ', '.', '=']).next().unwrap_or_default();
            if let Some(ours) = dependency.strip_prefix("effdet-") {
                assert!(allowed.contains(&ours), "{name} depends on effdet-{ours}");
            }
        }
        let burn = dependencies.lines().any(|line| line.starts_with("burn"));
        let without_burn = ["effdet-core", "effdet-data", "effdet-export", "effdet-metrics", "effdet-viz"];
        assert!(!burn || !without_burn.contains(&name), "{name} depends on Burn");
    }
}
