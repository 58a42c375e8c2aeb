//! Names of the classes of a data set.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::Error;

mod tables;

/// Class ids, counted from 1, and their names.
///
/// Ids may have gaps: COCO numbers its 80 classes from 1 to 90, and the networks trained on it have 90
/// outputs. Names are unique and not blank. Serialised as a map from id to name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<u32, String>", into = "BTreeMap<u32, String>")]
pub struct ClassMap {
    names: BTreeMap<u32, String>,
    ids: HashMap<String, u32>,
}

impl ClassMap {
    /// The classes with ids 1, 2, ... in the order given.
    ///
    /// # Errors
    /// If a name is blank or given twice.
    pub fn from_names<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Result<Self, Error> {
        Self::from_ids((1..).zip(names))
    }

    /// The classes with the ids given, such as those of a COCO annotation file.
    ///
    /// # Errors
    /// If an id is 0, or an id or name is given twice, or a name is blank.
    pub fn from_ids<S: Into<String>>(classes: impl IntoIterator<Item = (u32, S)>) -> Result<Self, Error> {
        let mut map = Self::default();
        for (id, name) in classes {
            map.insert(id, name.into())?;
        }
        Ok(map)
    }

    /// The 80 classes of COCO in their 90 slots.
    pub fn coco() -> Self {
        Self::from_table(tables::COCO)
    }

    /// The 20 classes of Pascal VOC in alphabetical order, as effdet and IceVision number them.
    pub fn voc() -> Self {
        Self::from_table(tables::VOC)
    }

    /// `n` classes named by their ids, for networks whose class names are not known.
    pub fn numbered(n: u32) -> Self {
        let names: BTreeMap<_, _> = (1..=n).map(|id| (id, id.to_string())).collect();
        let ids = names.iter().map(|(id, name)| (name.clone(), *id)).collect();
        Self { names, ids }
    }

    /// Reads a labels file: one name per line in the order of the ids, from 1. Blank lines at the end are
    /// ignored.
    ///
    /// # Errors
    /// [`Error::LabelsFile`] with the line number of a blank line between names or of a repeated name.
    pub fn parse_labels_file(text: &str) -> Result<Self, Error> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end();
        let mut map = Self::default();
        for (id, line) in (1u32..).zip(text.lines()) {
            let refused = |reason: String| Error::LabelsFile { line: id as usize, reason };
            match map.insert(id, line.trim().to_owned()) {
                Ok(()) => {}
                Err(Error::BlankClassName { .. }) => {
                    return Err(refused("blank line between class names".into()));
                }
                Err(Error::DuplicateClassName { name, first, .. }) => {
                    return Err(refused(format!("class `{name}` is already on line {first}")));
                }
                Err(error) => return Err(refused(error.to_string())),
            }
        }
        Ok(map)
    }

    /// Name of a class, or `None` for an id without one.
    pub fn name(&self, id: u32) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    /// Name of a class, or its id as text.
    pub fn label(&self, id: u32) -> String {
        self.name(id).map_or_else(|| id.to_string(), str::to_owned)
    }

    /// Id of a class by its exact name.
    pub fn id(&self, name: &str) -> Option<u32> {
        self.ids.get(name).copied()
    }

    /// Number of slots, which is the highest id and the number of outputs that a network needs.
    pub fn len(&self) -> usize {
        self.names.last_key_value().map_or(0, |(id, _)| *id as usize)
    }

    /// True if there is no class.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Ids and names, in the order of the ids, without the gaps.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u32, &str)> {
        self.names.iter().map(|(id, name)| (*id, name.as_str()))
    }

    fn from_table(table: &[(u32, &str)]) -> Self {
        Self {
            names: table.iter().map(|(id, name)| (*id, (*name).to_owned())).collect(),
            ids: table.iter().map(|(id, name)| ((*name).to_owned(), *id)).collect(),
        }
    }

    fn insert(&mut self, id: u32, name: String) -> Result<(), Error> {
        if id == 0 {
            return Err(Error::ClassIdZero { name });
        }
        if name.trim().is_empty() {
            return Err(Error::BlankClassName { id });
        }
        if let Some(first) = self.names.get(&id) {
            return Err(Error::DuplicateClassId { id, first: first.clone(), second: name });
        }
        if let Some(first) = self.ids.get(&name) {
            return Err(Error::DuplicateClassName { first: *first, name, second: id });
        }
        self.ids.insert(name.clone(), id);
        self.names.insert(id, name);
        Ok(())
    }
}

impl TryFrom<BTreeMap<u32, String>> for ClassMap {
    type Error = Error;

    fn try_from(names: BTreeMap<u32, String>) -> Result<Self, Error> {
        Self::from_ids(names)
    }
}

impl From<ClassMap> for BTreeMap<u32, String> {
    fn from(map: ClassMap) -> Self {
        map.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coco_has_eighty_names_in_ninety_slots() {
        let coco = ClassMap::coco();
        assert_eq!((coco.len(), coco.iter().len(), coco.ids.len()), (90, 80, 80));
        assert_eq!((coco.name(1), coco.name(90)), (Some("person"), Some("toothbrush")));
        assert_eq!((coco.id("chair"), coco.id("tv"), coco.id("book")), (Some(62), Some(72), Some(84)));
        let gaps: Vec<u32> = (1..=90).filter(|id| coco.name(*id).is_none()).collect();
        assert_eq!(gaps, [12, 26, 29, 30, 45, 66, 68, 69, 71, 83]);
        assert_eq!((coco.label(12), coco.label(3)), ("12".to_owned(), "car".to_owned()));
    }

    #[test]
    fn voc_has_twenty_names() {
        let voc = ClassMap::voc();
        assert_eq!((voc.len(), voc.iter().len(), voc.ids.len()), (20, 20, 20));
        assert_eq!((voc.id("aeroplane"), voc.id("tvmonitor")), (Some(1), Some(20)));
    }

    #[test]
    fn a_labels_file_gives_ids_in_line_order() {
        let map = ClassMap::parse_labels_file("\u{feff}cat\r\n polar bear \n\n  \n").unwrap();
        assert_eq!(map.iter().collect::<Vec<_>>(), [(1, "cat"), (2, "polar bear")]);
        assert!(ClassMap::parse_labels_file("\n \n").unwrap().is_empty());
    }

    #[test]
    fn a_bad_labels_file_is_refused_with_its_line() {
        let blank = ClassMap::parse_labels_file("cat\n\ndog\n").unwrap_err();
        assert_eq!(blank.to_string(), "line 2 of the labels file: blank line between class names");
        let twice = ClassMap::parse_labels_file("cat\ndog\ncat").unwrap_err();
        assert_eq!(twice.to_string(), "line 3 of the labels file: class `cat` is already on line 1");
        assert!(ClassMap::parse_labels_file("\ncat").is_err());
    }

    #[test]
    fn ids_and_names_are_unique_and_ids_start_at_one() {
        assert!(matches!(ClassMap::from_ids([(0, "cat")]), Err(Error::ClassIdZero { .. })));
        assert!(matches!(
            ClassMap::from_ids([(1, "a"), (1, "b")]),
            Err(Error::DuplicateClassId { id: 1, .. })
        ));
        assert!(matches!(ClassMap::from_names(["a", "a"]), Err(Error::DuplicateClassName { second: 2, .. })));
        assert!(matches!(ClassMap::from_names(["a", " "]), Err(Error::BlankClassName { id: 2 })));
    }

    #[test]
    fn a_huge_id_costs_no_memory() {
        assert_eq!(ClassMap::from_ids([(u32::MAX, "far")]).unwrap().len(), u32::MAX as usize);
    }

    #[test]
    fn json_keeps_ids_names_and_gaps() {
        let json = serde_json::to_string(&ClassMap::from_ids([(1, "cat"), (3, "dog")]).unwrap()).unwrap();
        assert_eq!(json, r#"{"1":"cat","3":"dog"}"#);
        let coco = ClassMap::coco();
        assert_eq!(serde_json::from_str::<ClassMap>(&serde_json::to_string(&coco).unwrap()).unwrap(), coco);
        assert!(serde_json::from_str::<ClassMap>(r#"{"0":"cat"}"#).is_err());
    }

    #[test]
    fn numbered_classes_are_named_by_their_ids() {
        let map = ClassMap::numbered(3);
        assert_eq!(map.iter().collect::<Vec<_>>(), [(1, "1"), (2, "2"), (3, "3")]);
        assert_eq!((map.id("2"), map.len()), (Some(2), 3));
    }
}
