//! VGG Image Annotator JSON.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::Parsed;
use crate::Error;
use crate::builder::{Corners, DatasetBuilder, Draft, DraftObject};
use crate::dirt::{At, DirtKind};
use crate::files;
use crate::options::{ParseOptions, Pixels, Source};
use crate::record::{Object, RecordId};

/// Attributes that hold the class where none is asked for.
const LABEL_KEYS: [&str; 8] = ["label", "class", "name", "category", "type", "object", "Label", "Class"];

/// Reads the JSON of the VGG Image Annotator, version 1 or 2: exported annotations or a whole project.
///
/// [`Source::labels`] is the file; by default every JSON in the root, each a split, `via_region_data.json` in the
/// folders below it included. Pictures lie beside the file, in `images`, or in [`Source::pictures`]. A record's id is the
/// file name of its picture; where another folder has a picture of that name already, with the split before it
/// (`val/1.jpg`). Rectangles are taken as they are, of polygons, polylines, circles and ellipses the enclosing box; points are [`DirtKind::ZeroArea`]. The class is the
/// region attribute [`ParseOptions::label_key`]; of a group of check boxes the one that is set. A picture without
/// regions is a negative.
///
/// # Errors
/// No file, a file that is not VIA's, and dirt whose policy is an error.
///
/// # Reference
/// IceVision's `VIABBoxParser`, which takes rectangles and polygons.
pub fn parse(source: &Source, options: &ParseOptions) -> Result<Parsed, Error> {
    let pixels = options.pixels.unwrap_or(Pixels::Continuous);
    let mut builder = DatasetBuilder::new("via", source, Corners::Pixels(pixels), options).states_sizes();
    for path in label_files(source, &mut builder)? {
        builder.reads(&path);
        let bytes = files::read(&path)?;
        let beside = files::folder_of(&path).to_owned();
        let folders = match source.pictures_path() {
            Some(folder) => vec![folder],
            None => vec![beside.clone(), beside.join("images"), source.base().join("images")],
        };
        let split = match path.file_stem().unwrap_or_default().to_string_lossy().as_ref() {
            "via_region_data" => beside.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            stem => stem.to_owned(),
        };
        folders.iter().for_each(|folder| builder.reads(folder));
        let ids = add(&bytes, &path, &folders, &split, &mut builder, options)?;
        builder.split(&split, ids);
    }
    builder.finish(source)
}

/// Reads one file from memory; `name` stands in the errors and the report. Pictures are not looked at.
///
/// # Errors
/// As [`parse`].
pub fn parse_bytes(bytes: &[u8], name: &str, options: &ParseOptions) -> Result<Parsed, Error> {
    let source = Source::default();
    let options = ParseOptions { pictures: crate::PictureCheck::None, ..options.clone() };
    let pixels = options.pixels.unwrap_or(Pixels::Continuous);
    let mut builder = DatasetBuilder::new("via", &source, Corners::Pixels(pixels), &options).states_sizes();
    add(bytes, Path::new(name), &[PathBuf::new()], "", &mut builder, &options)?;
    builder.finish(&source)
}

fn label_files(source: &Source, builder: &mut DatasetBuilder) -> Result<Vec<PathBuf>, Error> {
    let given = source.labels_path().or_else(|| source.root.is_file().then(|| source.root.clone()));
    let folder = given.unwrap_or_else(|| source.root.clone());
    if folder.is_file() {
        return Ok(vec![folder]);
    }
    builder.reads(&folder);
    let mut found = files::files_in(&folder, &["json"])?;
    let entries = std::fs::read_dir(&folder).map_err(files::unreadable(&folder))?;
    let below = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    for path in below.map(|folder| folder.join("via_region_data.json")) {
        builder.reads(&path);
        if path.is_file() {
            found.push(path);
        }
    }
    found.sort_unstable();
    if found.is_empty() {
        return Err(Error::LabelsNotFound { path: folder, what: "no VIA file (.json) here".to_owned() });
    }
    Ok(found)
}

#[derive(Deserialize)]
struct Project {
    #[serde(rename = "_via_img_metadata")]
    metadata: Option<Entries<Picture>>,
}

#[derive(Deserialize)]
struct Picture {
    filename: String,
    #[serde(default)]
    regions: Entries<Region>,
}

#[derive(Deserialize)]
struct Region {
    shape_attributes: Map<String, Value>,
    #[serde(default)]
    region_attributes: Value,
}

/// The values of a list, or of a map in the order of the file; each on its own may be wrong.
struct Entries<T>(Vec<Result<T, String>>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: DeserializeOwned> Visitor<'de> for EntriesVisitor<T> {
            type Value = Entries<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list or a map")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(value) = list.next_element::<Value>()? {
                    entries.push(T::deserialize(value).map_err(|error| error.to_string()));
                }
                Ok(Entries(entries))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some((_, value)) = map.next_entry::<IgnoredAny, Value>()? {
                    entries.push(T::deserialize(value).map_err(|error| error.to_string()));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_any(EntriesVisitor(std::marker::PhantomData))
    }
}

fn add(
    bytes: &[u8],
    path: &Path,
    folders: &[PathBuf],
    split: &str,
    builder: &mut DatasetBuilder,
    options: &ParseOptions,
) -> Result<Vec<RecordId>, Error> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let refused = |error: serde_json::Error| Error::Labels {
        path: path.to_owned(),
        at: format!("line {}", error.line()),
        reason: error.to_string(),
    };
    let project: Project = serde_json::from_slice(bytes).map_err(refused)?;
    let entries = match project.metadata {
        Some(entries) => entries,
        None => serde_json::from_slice(bytes).map_err(refused)?,
    };
    let file: Arc<Path> = path.into();
    let mut ids = Vec::new();
    let mut drafts = Vec::new();
    for (index, entry) in entries.0.into_iter().enumerate() {
        let at = At::Entry(index);
        let picture: Picture = match entry {
            Ok(picture) => picture,
            Err(reason) => {
                builder.dirt(DirtKind::Malformed, path, at, reason)?;
                continue;
            }
        };
        let mut objects = Vec::new();
        for (number, region) in picture.regions.0.into_iter().enumerate() {
            let place = |reason: &str| format!("{}, region {number}: {reason}", picture.filename);
            let region: Region = match region {
                Ok(region) => region,
                Err(reason) => {
                    builder.dirt(DirtKind::Malformed, path, at, place(&reason))?;
                    continue;
                }
            };
            let Some(corners) = corners(&region.shape_attributes) else {
                builder.dirt(DirtKind::Malformed, path, at, place("no shape of a known kind"))?;
                continue;
            };
            let name = label(&region.region_attributes, options.label_key.as_deref()).unwrap_or_default();
            if let Some(class) = builder.class(&name, path, at)? {
                let at = At::Entry(number);
                objects.push(DraftObject { corners, class, area: None, flags: Object::default(), at });
            }
        }
        let found = folders.iter().map(|folder| folder.join(&picture.filename));
        let picture_path = match folders {
            [only] => only.join(&picture.filename),
            _ => {
                found.clone().find(|path| path.is_file()).or_else(|| found.clone().next()).unwrap_or_default()
            }
        };
        let id = builder.distinct_id(RecordId::from(picture.filename), &picture_path, split);
        ids.push(id.clone());
        drafts.push(Draft {
            id,
            path: picture_path,
            size: None,
            objects,
            file: file.clone(),
            at,
            if_absent: DirtKind::LabelsWithoutPicture,
        });
    }
    builder.extend(drafts)?;
    Ok(ids)
}

/// The box around a shape.
fn corners(shape: &Map<String, Value>) -> Option<[f64; 4]> {
    let number = |key: &str| shape.get(key).map(|value| value.as_f64().unwrap_or(f64::NAN));
    let around = |x: f64, y: f64, rx: f64, ry: f64| [x - rx, y - ry, x + rx, y + ry];
    Some(match shape.get("name")?.as_str()? {
        "rect" => {
            let (x, y) = (number("x")?, number("y")?);
            [x, y, x + number("width")?, y + number("height")?]
        }
        "circle" => around(number("cx")?, number("cy")?, number("r")?, number("r")?),
        "ellipse" => {
            // The half axes of the box around a turned ellipse.
            let (rx, ry) = (number("rx")?, number("ry")?);
            let (sin, cos) = number("theta").unwrap_or(0.0).sin_cos();
            around(number("cx")?, number("cy")?, (rx * cos).hypot(ry * sin), (rx * sin).hypot(ry * cos))
        }
        "point" => around(number("cx")?, number("cy")?, 0.0, 0.0),
        "polygon" | "polyline" => {
            let range = |key: &str| {
                let values = shape.get(key)?.as_array().filter(|values| !values.is_empty())?;
                let values = values.iter().map(|value| value.as_f64().unwrap_or(f64::NAN));
                let start = (f64::INFINITY, f64::NEG_INFINITY);
                // Unlike f64::min, a missing number must stay visible.
                Some(values.fold(start, |(low, high), x| match x.is_nan() || low.is_nan() {
                    true => (f64::NAN, f64::NAN),
                    false => (low.min(x), high.max(x)),
                }))
            };
            let ((x1, x2), (y1, y2)) = (range("all_points_x")?, range("all_points_y")?);
            [x1, y1, x2, y2]
        }
        _ => return None,
    })
}

/// The class of a region: the asked-for attribute, or the first of the usual ones, or the only one.
fn label(attributes: &Value, key: Option<&str>) -> Option<String> {
    let attributes = attributes.as_object()?;
    let value = match key {
        Some(key) => attributes.get(key)?,
        None => {
            let usual = LABEL_KEYS.iter().find_map(|key| attributes.get(*key));
            usual.or_else(|| attributes.values().next().filter(|_| attributes.len() == 1))?
        }
    };
    match value {
        Value::String(name) => Some(name.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Object(boxes) => {
            boxes.iter().find(|(_, set)| set.as_bool() == Some(true)).map(|(n, _)| n.clone())
        }
        _ => None,
    }
}
