//! Which classes two data sets have in common.

use effdet_core::ClassMap;

/// Names of one class in COCO and in Pascal VOC.
const SYNONYMS: [[&str; 2]; 6] = [
    ["airplane", "aeroplane"],
    ["couch", "sofa"],
    ["dining table", "diningtable"],
    ["motorcycle", "motorbike"],
    ["potted plant", "pottedplant"],
    ["tv", "tvmonitor"],
];

/// A class that two class maps have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedClass {
    /// Its name in the map that weights come from.
    pub name: String,
    /// Its name in the map that they go to.
    pub becomes: String,
    /// Its id in the first.
    pub from: u32,
    /// Its id in the second.
    pub to: u32,
}

/// What two class maps have in common, and how many slots each has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedClasses {
    /// Slots of the map that weights come from.
    pub from_slots: usize,
    /// Slots of the map that they go to.
    pub to_slots: usize,
    /// The classes, in the order of the second map.
    pub classes: Vec<SharedClass>,
}

impl SharedClasses {
    /// Matches classes by name, without regard to case, `_` and `-`, and through the names that COCO and VOC give to the
    /// same things.
    pub fn between(from: &ClassMap, to: &ClassMap) -> Self {
        let source: Vec<_> = from.iter().map(|(id, name)| (id, name, canonical(name))).collect();
        let classes = to.iter().filter_map(|(to, becomes)| {
            let wanted = canonical(becomes);
            let (from, name, _) = source.iter().find(|(_, _, known)| *known == wanted)?;
            Some(SharedClass { name: (*name).into(), becomes: becomes.into(), from: *from, to })
        });
        Self { from_slots: from.len(), to_slots: to.len(), classes: classes.collect() }
    }

    /// Whether both maps are one.
    pub fn is_identity(&self) -> bool {
        self.from_slots == self.to_slots && self.classes.iter().all(|class| class.from == class.to)
    }
}

fn canonical(name: &str) -> String {
    let plain = name.trim().to_lowercase().replace(['_', '-'], " ");
    let synonym = SYNONYMS.iter().find(|names| names.contains(&plain.as_str()));
    synonym.map_or(plain, |[first, _]| (*first).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_classes_of_voc_are_in_coco() {
        let shared = SharedClasses::between(&ClassMap::coco(), &ClassMap::voc());
        assert_eq!((shared.from_slots, shared.to_slots, shared.classes.len()), (90, 20, 20));
        let motorbike = shared.classes.iter().find(|class| class.becomes == "motorbike").unwrap();
        assert_eq!((motorbike.name.as_str(), motorbike.from), ("motorcycle", 4));
        let back = SharedClasses::between(&ClassMap::voc(), &ClassMap::coco());
        assert_eq!(back.classes.len(), 20);
    }

    #[test]
    fn cats_and_dogs_are_found_whatever_their_case() {
        let pets = ClassMap::from_names(["Dog", "hamster", "CAT", "Teddy_Bear"]).unwrap();
        let shared = SharedClasses::between(&ClassMap::coco(), &pets);
        let found: Vec<_> = shared.classes.iter().map(|c| (c.name.as_str(), c.from, c.to)).collect();
        assert_eq!(found, [("dog", 18, 1), ("cat", 17, 3), ("teddy bear", 88, 4)]);
        assert!(!shared.is_identity());
        assert!(SharedClasses::between(&pets, &pets).is_identity());
    }
}
