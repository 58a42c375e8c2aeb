//! Which classes two data sets have in common.

use effdet_core::ClassMap;

use crate::{Checkpoint, CheckpointMetadata, ClassHead, Error};

/// Number of classes of the class head in a checkpoint whose network has `anchors` at a place of a map; `None` if it has
/// no such head.
pub fn class_slots(checkpoint: &Checkpoint, anchors: usize) -> Option<usize> {
    let head = ["class_net.predict.conv_pw.weight", "class_net.predict.conv.weight"];
    let rows = *head.iter().find_map(|name| checkpoint.get(name))?.shape.first()?;
    (anchors > 0 && rows > 0 && rows % anchors == 0).then(|| rows / anchors)
}

impl ClassHead {
    /// Keeps the weights of the classes that a checkpoint shares with `classes` by name, if there are any; else
    /// [`SameCountOrNew`](Self::SameCountOrNew). `anchors` is as for [`class_slots`].
    ///
    /// Which classes the checkpoint is for, its metadata says; without, 90 classes are COCO's.
    ///
    /// # Errors
    /// If the metadata is unreadable.
    pub fn keeping_shared(
        checkpoint: &Checkpoint,
        anchors: usize,
        classes: &ClassMap,
    ) -> Result<Self, Error> {
        let metadata = CheckpointMetadata::from_checkpoint(checkpoint)?;
        let known = match (class_slots(checkpoint, anchors), &metadata.class_names) {
            (Some(slots), Some(names)) if names.len() == slots => {
                // A blank name stands for a slot without a class, as COCO has them.
                let named = (1..).zip(names).filter(|(_, name)| !name.trim().is_empty());
                ClassMap::from_ids(named.map(|(id, name)| (id, name.clone()))).ok()
            }
            (Some(90), None) => Some(ClassMap::coco()),
            _ => None,
        };
        // The last slots may have no class, and then the map is shorter than the head.
        let known = known.filter(|known| class_slots(checkpoint, anchors) == Some(known.len()));
        let shared = known.map(|known| SharedClasses::between(&known, classes)).unwrap_or_default();
        Ok(if shared.classes.is_empty() { Self::SameCountOrNew } else { Self::KeepShared(shared) })
    }
}

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
