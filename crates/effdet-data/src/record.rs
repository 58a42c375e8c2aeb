//! The one form that every label format is read into.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use effdet_core::{ClassMap, ImageSize, XyxyBox};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

/// Identity of a picture or class in its source: the number or the text that stands there.
///
/// In JSON the bare number or string.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordId {
    /// A number, as in COCO.
    Number(i64),
    /// A text: the stem of a file name in Pascal VOC, Pets and YOLO, `ImageID` in Open Images.
    Text(String),
}

/// What is in one picture.
///
/// A record without objects is a picture known to hold none of the classes (a negative), not an unlabelled one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Identity in the source.
    pub id: RecordId,
    /// Where the picture is.
    pub path: PathBuf,
    /// Height and width of the upright picture (EXIF orientation applied), where known.
    pub size: Option<ImageSize>,
    /// The labelled objects, in the order of the source.
    pub objects: Vec<Object>,
}

/// One labelled object.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Object {
    /// Its box in continuous pixel coordinates: the picture's left edge is 0, its right edge the width.
    pub bbox: XyxyBox,
    /// Its class, from 1 (0 is the background).
    pub class_id: u32,
    /// Area of its mask in square pixels, where the format states one (COCO's `area`, which evaluation ranks sizes by).
    pub area: Option<f32>,
    /// Confidence in `[0, 1]`, where a detector found it and no person labelled it.
    pub score: Option<f32>,
    /// A region with many objects of the class that are not told apart (COCO's `iscrowd`).
    pub is_crowd: bool,
    /// Hard to recognise, left out of the evaluation (Pascal VOC).
    pub is_difficult: bool,
    /// Reaches beyond the picture.
    pub is_truncated: bool,
    /// Partly hidden by something.
    pub is_occluded: bool,
    /// One box around five or more touching instances (Open Images).
    pub is_group_of: bool,
    /// A drawing or statue of the thing (Open Images).
    pub is_depiction: bool,
    /// Seen from the inside (Open Images).
    pub is_inside: bool,
    /// Neither to be found nor to be penalised (COCO-style `ignore`).
    pub is_ignored: bool,
}

/// Where a data set comes from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Provenance {
    /// Name of the format.
    pub format: String,
    /// The label files and the folders that were read, pictures that were left out for what their headers say, and what
    /// was looked for and absent.
    pub files: Vec<PathBuf>,
}

/// Records with the names of their classes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Dataset {
    /// The pictures, in the order of the source.
    pub records: Vec<Record>,
    /// Names of the classes.
    pub class_map: ClassMap,
    /// What the source calls each class, where that is not its name: COCO's category ids, Open Images' MIDs.
    pub class_sources: BTreeMap<u32, RecordId>,
    /// Parents of each class (Open Images). A class without an entry is a root.
    pub hierarchy: BTreeMap<u32, Vec<u32>>,
    /// The official splits: indices into `records`, ascending.
    pub splits: BTreeMap<String, Vec<usize>>,
    /// Folder that the data set was read from.
    pub root: PathBuf,
    /// Format and files.
    pub provenance: Provenance,
}

impl Dataset {
    /// The records with these indices and the same classes; indices beyond the end are ignored. Splits shrink with
    /// the records.
    #[must_use]
    pub fn subset(&self, indices: &[usize]) -> Self {
        let mut new_index = vec![usize::MAX; self.records.len()];
        let mut records = Vec::with_capacity(indices.len().min(self.records.len()));
        for &index in indices {
            if let Some(slot) = new_index.get_mut(index).filter(|slot| **slot == usize::MAX) {
                *slot = records.len();
                records.push(self.records[index].clone());
            }
        }
        let kept = |members: &Vec<usize>| {
            let mut kept: Vec<usize> = members
                .iter()
                .filter_map(|&i| new_index.get(i).copied())
                .filter(|i| *i != usize::MAX)
                .collect();
            kept.sort_unstable();
            kept
        };
        let splits = self.splits.iter().map(|(name, members)| (name.clone(), kept(members))).collect();
        Self {
            records,
            splits,
            class_map: self.class_map.clone(),
            class_sources: self.class_sources.clone(),
            hierarchy: self.hierarchy.clone(),
            root: self.root.clone(),
            provenance: self.provenance.clone(),
        }
    }

    /// Number of objects in all records.
    pub fn object_count(&self) -> usize {
        self.records.iter().map(|record| record.objects.len()).sum()
    }

    /// Both data sets as one; classes are matched by name, those only `other` has get the ids after ours.
    ///
    /// Splits of the same name are joined. This is how VOC2007 and VOC2012 become one set.
    ///
    /// # Errors
    /// [`Error::Dirt`] (a duplicate id) if a record id is in both, [`Error::Classes`] if a new class has no room.
    pub fn merge(mut self, other: Self) -> Result<Self, Error> {
        let refused = |source| Error::Classes { path: other.root.clone(), source };
        let next = u32::try_from(self.class_map.len()).unwrap_or(u32::MAX);
        let fresh = other.class_map.iter().filter(|(_, name)| self.class_map.id(name).is_none());
        let added: Vec<(u32, String)> =
            (1u32..).zip(fresh).map(|(i, (_, name))| (next.saturating_add(i), name.to_owned())).collect();
        let known = self.class_map.iter().map(|(id, name)| (id, name.to_owned()));
        let class_map = ClassMap::from_ids(known.chain(added)).map_err(refused)?;
        let renamed = |id: u32| other.class_map.name(id).and_then(|name| class_map.id(name));

        let ids: HashSet<&RecordId> = self.records.iter().map(|r| &r.id).collect();
        if let Some(twice) = other.records.iter().find(|r| ids.contains(&r.id)) {
            return Err(Error::Dirt(crate::Dirt {
                kind: crate::DirtKind::DuplicateId,
                action: crate::Action::Refused,
                file: twice.path.clone(),
                at: String::new(),
                detail: format!("the id {} is in both data sets", twice.id),
            }));
        }
        let offset = self.records.len();
        for (name, members) in &other.splits {
            self.splits.entry(name.clone()).or_default().extend(members.iter().map(|i| i + offset));
        }
        for (id, source) in &other.class_sources {
            if let Some(id) = renamed(*id) {
                self.class_sources.entry(id).or_insert_with(|| source.clone());
            }
        }
        for (id, parents) in &other.hierarchy {
            if let Some(id) = renamed(*id) {
                let parents = parents.iter().filter_map(|p| renamed(*p)).collect();
                self.hierarchy.entry(id).or_insert(parents);
            }
        }
        let relabelled: BTreeMap<u32, u32> =
            other.class_map.iter().filter_map(|(id, _)| Some((id, renamed(id)?))).collect();
        for mut record in other.records {
            for object in &mut record.objects {
                object.class_id = relabelled.get(&object.class_id).copied().unwrap_or(object.class_id);
            }
            self.records.push(record);
        }
        self.class_map = class_map;
        self.provenance.files.extend(other.provenance.files);
        Ok(self)
    }
}

impl RecordId {
    /// The id as a COCO-style number, where it is one.
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Number(n) => Some(*n),
            Self::Text(_) => None,
        }
    }

    /// The id as text.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Number(n) => Cow::Owned(n.to_string()),
            Self::Text(text) => Cow::Borrowed(text),
        }
    }

    /// The stem of a file name, or the whole name if it has no stem.
    pub(crate) fn from_stem(path: &Path) -> Self {
        Self::Text(path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned())
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl From<i64> for RecordId {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for RecordId {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for RecordId {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// The form for serialisations that do not describe themselves.
#[derive(Serialize, Deserialize)]
enum Tagged<'a> {
    Number(i64),
    Text(Cow<'a, str>),
}

impl Serialize for RecordId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self, serializer.is_human_readable()) {
            (Self::Number(n), true) => serializer.serialize_i64(*n),
            (Self::Text(text), true) => serializer.serialize_str(text),
            (Self::Number(n), false) => Tagged::Number(*n).serialize(serializer),
            (Self::Text(text), false) => Tagged::Text(Cow::Borrowed(text)).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for RecordId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_any(IdVisitor);
        }
        Ok(match Tagged::deserialize(deserializer)? {
            Tagged::Number(n) => Self::Number(n),
            Tagged::Text(text) => Self::Text(text.into_owned()),
        })
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = RecordId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id (a whole number or a string)")
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<RecordId, E> {
        Ok(RecordId::Number(n))
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<RecordId, E> {
        Ok(i64::try_from(n).map_or_else(|_| RecordId::Text(n.to_string()), RecordId::Number))
    }

    fn visit_f64<E: de::Error>(self, x: f64) -> Result<RecordId, E> {
        // Tables that went through a spreadsheet or pandas hold 12.0 for 12.
        if x.fract() == 0.0 && x.abs() < 9e15 {
            return Ok(RecordId::Number(x as i64));
        }
        Err(E::invalid_value(de::Unexpected::Float(x), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<RecordId, E> {
        Ok(RecordId::Text(text.to_owned()))
    }
}
