use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::{Annotation, BoxEdges, Error, GroundTruth, Id};

/// The tree of OpenImages' labels: which classes a class is a kind of.
///
/// # Reference
/// `bbox_labels_600_hierarchy.json` of OpenImages; only `Subcategory` counts, a `Part` of an object is no kind of
/// it, and the root ("Entity") is no class.
#[derive(Debug, Clone, Default)]
pub struct Hierarchy {
    ancestors: BTreeMap<Id, BTreeSet<Id>>,
    descendants: BTreeMap<Id, BTreeSet<Id>>,
}

#[derive(Deserialize)]
struct Node {
    #[serde(rename = "LabelName")]
    label: String,
    #[serde(rename = "Subcategory", default)]
    children: Vec<Node>,
}

impl Hierarchy {
    /// Reads the hierarchy file of OpenImages.
    ///
    /// # Errors
    /// If the file cannot be read or is no such JSON.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text = fs::read(path).map_err(|source| Error::Read { path: path.into(), source })?;
        let root: Node = serde_json::from_slice(&text).map_err(|source| Error::Json {
            path: path.into(),
            place: "hierarchy".into(),
            source,
        })?;
        let mut hierarchy = Self::default();
        for child in &root.children {
            hierarchy.add(child, &mut Vec::new());
        }
        for (id, above) in &hierarchy.ancestors {
            for ancestor in above {
                hierarchy.descendants.entry(ancestor.clone()).or_default().insert(id.clone());
            }
        }
        Ok(hierarchy)
    }

    // Recursion is bounded by that of the JSON parser.
    fn add(&mut self, node: &Node, above: &mut Vec<Id>) {
        let id = Id::from(node.label.as_str());
        self.ancestors.entry(id.clone()).or_default().extend(above.iter().filter(|a| **a != id).cloned());
        above.push(id);
        for child in &node.children {
            self.add(child, above);
        }
        above.pop();
    }

    /// All labels that this one is a kind of; a label may have several parents.
    pub fn ancestors(&self, label: &Id) -> impl Iterator<Item = &Id> {
        self.ancestors.get(label).into_iter().flatten()
    }

    /// All labels that are a kind of this one.
    pub fn descendants(&self, label: &Id) -> impl Iterator<Item = &Id> {
        self.descendants.get(label).into_iter().flatten()
    }

    /// Labels each box also with all ancestors of its label, as the metric of the OpenImages Challenge asks.
    /// Ancestors that are no categories of `truth` are left out.
    ///
    /// # Errors
    /// None for a ground truth that was made by this crate.
    pub fn expand(&self, truth: &GroundTruth) -> Result<GroundTruth, Error> {
        let known: HashSet<&Id> = truth.categories().iter().map(|category| &category.id).collect();
        let mut annotations = Vec::with_capacity(truth.boxes.len());
        for labelled in &truth.boxes {
            let label = &truth.categories()[labelled.category as usize].id;
            let above = self.ancestors(label).filter(|id| known.contains(id));
            for id in std::iter::once(label).chain(above) {
                let edges: BoxEdges = labelled.edges;
                let image = truth.images()[labelled.image as usize].clone();
                annotations.push(Annotation {
                    id: labelled.id,
                    area: Some(labelled.area),
                    is_crowd: labelled.is_crowd,
                    ignore: labelled.ignore,
                    is_group_of: labelled.is_group_of,
                    ..Annotation::new(image, id.clone(), edges)
                });
            }
        }
        let mut expanded =
            GroundTruth::new(truth.images().to_vec(), truth.categories().to_vec(), annotations)?;
        expanded.findings = truth.findings.clone();
        Ok(expanded)
    }
}
