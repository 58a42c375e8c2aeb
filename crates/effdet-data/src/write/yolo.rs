use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::Path;

use super::{PictureFiles, all_in_place, create_folder, flat_names, size_of, to_file};
use crate::Error;
use crate::record::Dataset;

/// Writes a YOLO data set: `data.yaml`, `images`, `labels`, and a list of pictures for each split.
///
/// Splits whose names begin with `train`, `val` and `test` become those of the `data.yaml`, several of a kind together.
/// Without a training split a `trainval` is it, and without that all records, but for what validates and tests. Crowds and ignored objects are left out, as in the YOLO form of COCO;
/// the other marks and mask areas have no place in it. Fractions have eight digits. Pictures get unique names in one
/// folder. Ultralytics asks for both `train` and `val`: split a data set that has one of them alone before it is written
/// for its programs.
///
/// Classes are numbered from 0 in the order of their ids and without gaps, which Ultralytics refuses: COCO's 80 come back
/// with the ids 1 to 80. A class that an object has and the data set does not name is named by its id.
///
/// # Errors
/// [`Error::SizeUnknown`] for a picture with objects whose size is neither known nor readable, [`Error::Write`].
/// Pictures that cannot be put into place are told at the end, when all else is written.
pub fn yolo(dataset: &Dataset, folder: impl AsRef<Path>, pictures: PictureFiles) -> Result<(), Error> {
    let folder = folder.as_ref();
    let (images, labels) = (folder.join("images"), folder.join("labels"));
    create_folder(&images)?;
    create_folder(&labels)?;
    let classes = classes(dataset);
    let numbers: HashMap<u32, usize> = (0..).zip(&classes).map(|(number, id)| (*id, number)).collect();
    let names = flat_names(dataset, &images);
    let mut failed = Vec::new();
    for (record, name) in dataset.records.iter().zip(&names) {
        let kept: Vec<_> = record.objects.iter().filter(|o| !o.is_crowd && !o.is_ignored).collect();
        if let Err(error) = pictures.put(&record.path, &images.join(name)) {
            failed.push((record.path.as_path(), error));
        }
        let mut text = String::new();
        if !kept.is_empty() {
            let size = size_of(record)?;
            let (width, height) = (size.width as f64, size.height as f64);
            for object in kept {
                let [x1, y1, x2, y2] = <[f32; 4]>::from(object.bbox).map(f64::from);
                let (x, y) = ((x1 + x2) / 2.0 / width, (y1 + y2) / 2.0 / height);
                let (w, h) = ((x2 - x1) / width, (y2 - y1) / height);
                let Some(class) = numbers.get(&object.class_id) else { continue };
                text.push_str(&format!("{class} {x:.8} {y:.8} {w:.8} {h:.8}\n"));
            }
        }
        to_file(&labels.join(name).with_extension("txt"), |file| file.write_all(text.as_bytes()))?;
    }
    let splits = splits(dataset);
    for (split, members) in &splits {
        to_file(&folder.join(split).with_extension("txt"), |file| {
            members.iter().try_for_each(|index| writeln!(file, "./images/{}", names[*index].display()))
        })?;
    }
    to_file(&folder.join("data.yaml"), |file| {
        // Without a `path` the others start from this file; Ultralytics would take one of `.` for its own folder.
        for split in splits.keys() {
            writeln!(file, "{split}: {split}.txt")?;
        }
        writeln!(file, "names:")?;
        for (number, id) in classes.iter().enumerate() {
            // A JSON string is a YAML string.
            writeln!(file, "  {number}: {}", serde_json::Value::from(dataset.class_map.label(*id)))?;
        }
        Ok(())
    })?;
    all_in_place(&images, &failed)
}

/// The ids of all classes, those of objects that have no name among them.
fn classes(dataset: &Dataset) -> BTreeSet<u32> {
    let named = dataset.class_map.iter().map(|(id, _)| id);
    let found = dataset.records.iter().flat_map(|record| &record.objects).map(|object| object.class_id);
    named.chain(found).collect()
}

fn splits(dataset: &Dataset) -> BTreeMap<&'static str, BTreeSet<usize>> {
    const TRAINVAL: &str = "trainval";
    let members = |part: &str| {
        let is_part = |name: &str| {
            let letters: String = name.chars().filter(|letter| letter.is_alphanumeric()).collect();
            letters.starts_with(part) && (part == TRAINVAL || !letters.starts_with(TRAINVAL))
        };
        let mut found = dataset.splits.iter().filter(|(name, _)| is_part(name)).peekable();
        found.peek()?;
        Some(found.flat_map(|(_, members)| members).copied().collect::<BTreeSet<usize>>())
    };
    let parts = ["train", "val", "test"].into_iter();
    let mut splits: BTreeMap<_, _> = parts.filter_map(|part| Some((part, members(part)?))).collect();
    if !splits.contains_key("train") {
        let mut rest = members(TRAINVAL).unwrap_or_else(|| (0..dataset.records.len()).collect());
        for taken in splits.values().flatten() {
            rest.remove(taken);
        }
        splits.insert("train", rest);
    }
    splits
}
