//! Parts of a data set.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::files;
use crate::record::{Dataset, Record};
use crate::{Error, RecordId};

/// Indices into [`Dataset::records`] of each part, ascending.
pub type Splits = BTreeMap<String, Vec<usize>>;

/// The members of an official split.
///
/// # Errors
/// [`Error::UnknownSplit`] with the splits there are.
pub fn official<'d>(dataset: &'d Dataset, name: &str) -> Result<&'d [usize], Error> {
    dataset.splits.get(name).map(Vec::as_slice).ok_or_else(|| Error::UnknownSplit {
        name: name.to_owned(),
        known: dataset.splits.keys().cloned().collect(),
    })
}

/// Parts drawn at random with the given proportions, which sum to 1.
///
/// The records are ordered by their ids before they are shuffled, and generator and shuffle are our own, so the same ids
/// and seed give the same parts on every platform and in every version.
///
/// # Errors
/// [`Error::Proportions`] if there is none, one is negative or not finite, or the sum is not 1.
///
/// # Reference
/// IceVision's `RandomSplitter` (its own 0.8 / 0.2 by default), with another generator.
pub fn random(dataset: &Dataset, proportions: &[f64], seed: u64) -> Result<Vec<Vec<usize>>, Error> {
    let refused = |reason| Error::Proportions { given: proportions.to_vec(), reason };
    if proportions.is_empty() {
        return Err(refused("there is none"));
    }
    if proportions.iter().any(|p| !p.is_finite() || *p < 0.0) {
        return Err(refused("one is negative or no number"));
    }
    if (proportions.iter().sum::<f64>() - 1.0).abs() > 1e-6 {
        return Err(refused("they do not sum to 1"));
    }
    let mut order: Vec<usize> = (0..dataset.records.len()).collect();
    order.sort_by(|a, b| dataset.records[*a].id.cmp(&dataset.records[*b].id));
    shuffle(&mut order, seed);
    let mut parts = Vec::with_capacity(proportions.len());
    let (mut start, mut sum) = (0, 0.0);
    for (index, proportion) in proportions.iter().enumerate() {
        sum += proportion;
        let end = match index + 1 == proportions.len() {
            true => order.len(),
            false => ((sum * order.len() as f64).round() as usize).clamp(start, order.len()),
        };
        let mut part = order[start..end].to_vec();
        part.sort_unstable();
        parts.push(part);
        start = end;
    }
    Ok(parts)
}

/// The members that a text file names, one per line: by id, file name, its stem, or path below the root.
///
/// # Errors
/// [`Error::Labels`] with the line of a name that is no record; [`Error::Read`].
pub fn by_file(dataset: &Dataset, list: impl AsRef<Path>) -> Result<Vec<usize>, Error> {
    let list = list.as_ref();
    let mut names: HashMap<String, usize> = HashMap::new();
    for (index, record) in dataset.records.iter().enumerate().rev() {
        let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        let below = record.path.strip_prefix(&dataset.root).unwrap_or(&record.path);
        let below = below.to_string_lossy().replace('\\', "/");
        let of_path = [Some(below), text(record.path.file_stem()), text(record.path.file_name())];
        names.extend(of_path.into_iter().flatten().map(|name| (name, index)));
    }
    // Ids come last because they win.
    names.extend(dataset.records.iter().enumerate().map(|(i, record)| (record.id.to_string(), i)));
    let mut members = Vec::new();
    for (line, text) in (1..).zip(files::read_text(list)?.lines()) {
        // A second column is a flag (Pascal VOC) or a class (Pets).
        let name = text.trim().trim_start_matches("./");
        let first = name.split_whitespace().next().unwrap_or_default();
        if name.is_empty() || name.starts_with('#') {
            continue;
        }
        match names.get(name).or_else(|| names.get(first)) {
            Some(index) => members.push(*index),
            None => {
                return Err(Error::Labels {
                    path: list.to_owned(),
                    at: format!("line {line}"),
                    reason: format!("no record is called `{name}`"),
                });
            }
        }
    }
    members.sort_unstable();
    members.dedup();
    Ok(members)
}

/// Parts by a folder in the path of the picture below the root, such as `train` and `val`.
///
/// # Errors
/// [`Error::SplitMatch`] for a record with none of the folders in its path, or several.
pub fn by_folder(dataset: &Dataset, folders: &[&str]) -> Result<Splits, Error> {
    let mut splits: Splits = folders.iter().map(|name| ((*name).to_owned(), Vec::new())).collect();
    for (index, record) in dataset.records.iter().enumerate() {
        let below = record.path.strip_prefix(&dataset.root).unwrap_or(&record.path);
        let parts = below.parent().unwrap_or(Path::new(""));
        let has = |name: &&&str| parts.iter().any(|part| part == std::ffi::OsStr::new(**name));
        let matching: Vec<String> = folders.iter().filter(has).map(|name| (*name).to_owned()).collect();
        match &matching[..] {
            [only] => splits.entry(only.clone()).or_default().push(index),
            _ => {
                let (id, path) = (record.id.to_string(), record.path.clone());
                return Err(Error::SplitMatch { id, path, matching });
            }
        }
    }
    Ok(splits)
}

/// Parts by the name that a function gives to each record; records without one are in no part.
pub fn by_function(dataset: &Dataset, mut part_of: impl FnMut(&Record) -> Option<String>) -> Splits {
    let mut splits = Splits::new();
    for (index, record) in dataset.records.iter().enumerate() {
        if let Some(name) = part_of(record) {
            splits.entry(name).or_default().push(index);
        }
    }
    splits
}

/// Parts by ids, in the order given.
///
/// # Errors
/// [`Error::SplitMatch`] with the path empty for an id that is no record's.
pub fn by_ids(dataset: &Dataset, ids: &[RecordId]) -> Result<Vec<usize>, Error> {
    let index: HashMap<&RecordId, usize> =
        dataset.records.iter().enumerate().map(|(i, record)| (&record.id, i)).collect();
    ids.iter()
        .map(|id| {
            index.get(id).copied().ok_or_else(|| Error::SplitMatch {
                id: id.to_string(),
                path: Default::default(),
                matching: Vec::new(),
            })
        })
        .collect()
}

/// SplitMix64 (Steele, Lea and Flood 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Fisher and Yates' shuffle; the high half of the product picks the place.
fn shuffle(items: &mut [usize], seed: u64) {
    let mut state = seed;
    for i in (1..items.len()).rev() {
        let place = (u128::from(next(&mut state)) * (i as u128 + 1)) >> 64;
        items.swap(i, place as usize);
    }
}
