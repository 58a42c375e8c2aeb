//! Hundreds of odd, hostile and broken pictures, compared with what Pillow says of them. Reads the shared data set
//! (`EFFDET_SHARED`), skipped where it is absent.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use effdet_data::{DecodeLimits, Error, decode_file};
use serde::Deserialize;

#[derive(Deserialize)]
struct Entry {
    file: String,
    #[serde(default)]
    width: u32,
    #[serde(default)]
    height: u32,
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    exif_orientation: u32,
    pillow: String,
    #[serde(default)]
    mean_rgb: Option<[f64; 3]>,
}

fn shared(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("EFFDET_SHARED").map(PathBuf::from);
    let root = root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let found = root.join(folder);
    if !found.is_dir() {
        println!("skipped: {} is absent", found.display());
        return None;
    }
    Some(found)
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

fn kind(error: &Error) -> String {
    format!("{error:?}").split([' ', '{']).next().unwrap_or_default().to_owned()
}

#[test]
fn no_file_panics_or_exceeds_the_limits() {
    let Some(folder) = shared("data/awkward_images") else { return };
    let mut files = Vec::new();
    files_below(&folder, &mut files);
    let mut outcomes = BTreeMap::<String, usize>::new();
    let mut panicked = Vec::new();
    for file in &files {
        let outcome = match decode_file(file, &DecodeLimits::default()) {
            Ok(_) => "decoded".to_owned(),
            Err(error) => {
                if matches!(error, Error::DecoderPanicked { .. }) {
                    panicked.push(error.to_string());
                }
                kind(&error)
            }
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{} files: {outcomes:?}\npanics caught: {panicked:#?}", files.len());
    assert!(files.len() >= 748);
    assert!(outcomes["decoded"] >= 270);
    // No decoder of this release panics on these files; a caught panic is a fact to know, not a failure of ours.
    assert!(panicked.is_empty());
}

#[test]
fn pictures_that_pillow_decodes_agree_in_size_and_mean_colour() {
    let Some(folder) = shared("data/awkward_images") else { return };
    let manifest = fs::read(folder.join("manifest.json")).unwrap();
    let entries: Vec<Entry> = serde_json::from_slice(&manifest).unwrap();
    let (mut agree, mut only_ours, mut only_theirs, mut differ, mut both_refuse) =
        (0, Vec::new(), Vec::new(), Vec::new(), 0);
    for entry in &entries {
        let result = decode_file(folder.join(&entry.file), &DecodeLimits::default());
        match (result, entry.mean_rgb) {
            (Err(error), Some(_)) => only_theirs.push(format!("{error:?}")),
            (Ok(_), None) => only_ours.push(format!("{}: {}", entry.file, entry.pillow)),
            (Err(_), None) => both_refuse += 1,
            (Ok(picture), Some(mean)) => {
                let turned = (5..=8).contains(&entry.exif_orientation);
                let size = if turned { (entry.height, entry.width) } else { (entry.width, entry.height) };
                let count = f64::from(picture.width()) * f64::from(picture.height());
                let mut sums = [0.0; 3];
                for pixel in picture.pixels() {
                    (0..3).for_each(|c| sums[c] += f64::from(pixel[c]));
                }
                let worst = (0..3).map(|c| (sums[c] / count - mean[c]).abs()).fold(0.0, f64::max);
                if picture.dimensions() != size {
                    differ.push(format!("{}: {:?} instead of {size:?}", entry.file, picture.dimensions()));
                } else if worst > 1.0 {
                    let ours = sums.map(|s| (s / count * 100.0).round() / 100.0);
                    differ
                        .push(format!("{} {:?}: mean {ours:?} instead of {mean:?}", entry.file, entry.mode));
                } else {
                    agree += 1;
                }
            }
        }
    }
    println!("{} files: {agree} agree, {both_refuse} refused by both", entries.len());
    println!("only Pillow decodes {}: {only_theirs:#?}", only_theirs.len());
    println!("only ours decodes {}: {only_ours:#?}", only_ours.len());
    println!("differ {}: {differ:#?}", differ.len());

    // Refused here: a bad checksum in PNG (2), a PNG cut after its pixels, a JPEG with a cut APP14, one with corrupt data,
    // and, without libjpeg-turbo, three with vertically subsampled chroma in scans of its own (one of them fuzzed).
    assert!(only_theirs.len() <= 8);
    // Pillow refuses a PNG for its text chunk and one for its compression method.
    assert!(only_ours.len() <= 2);
    // 16-bit grey, which Pillow clips at 255, is expected to differ. The other is an animated WebP with transparency.
    let differ: Vec<_> = differ.iter().filter(|line| !line.contains("I;16")).collect();
    assert!(differ.len() <= 1, "{differ:#?}");
    assert!(agree >= 232);
}
