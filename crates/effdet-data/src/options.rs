//! Where a data set is and how it is to be read.

use std::path::{Path, PathBuf};

use effdet_core::ClassMap;
use serde::{Deserialize, Serialize};

use crate::{Policies, files};

/// Where a data set is.
///
/// The root alone is enough for a data set in its format's usual layout, which each [`Format`](crate::Format) describes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Source {
    /// Folder of the data set.
    pub root: PathBuf,
    /// The label file, or the folder of the label files, where it is not in the usual place. A relative path is below
    /// the root.
    pub labels: Option<PathBuf>,
    /// Folder of the pictures, where it is not the usual one. A relative path is below the root.
    pub pictures: Option<PathBuf>,
    /// The only official split to keep.
    pub split: Option<String>,
}

impl Source {
    /// The data set in `root`, all splits.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), ..Self::default() }
    }

    /// With the label file or folder at `path`.
    #[must_use]
    pub fn with_labels(mut self, path: impl Into<PathBuf>) -> Self {
        self.labels = Some(path.into());
        self
    }

    /// With the pictures in `folder`.
    #[must_use]
    pub fn with_pictures(mut self, folder: impl Into<PathBuf>) -> Self {
        self.pictures = Some(folder.into());
        self
    }

    /// Only the official split `name`.
    #[must_use]
    pub fn with_split(mut self, name: impl Into<String>) -> Self {
        self.split = Some(name.into());
        self
    }

    pub(crate) fn labels_path(&self) -> Option<PathBuf> {
        self.labels.as_ref().map(|path| self.root.join(path))
    }

    pub(crate) fn pictures_path(&self) -> Option<PathBuf> {
        self.pictures.as_ref().map(|path| self.root.join(path))
    }

    /// The first of `names` that is a folder below the root.
    pub(crate) fn folder(&self, names: &[&str]) -> Option<PathBuf> {
        names.iter().map(|name| self.root.join(name)).find(|path| path.is_dir())
    }

    /// The folder that the paths of the labels start from.
    pub(crate) fn base(&self) -> &Path {
        if self.root.is_file() { files::folder_of(&self.root) } else { &self.root }
    }
}

/// How a data set is to be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ParseOptions {
    /// What to do about dirt.
    pub policies: Policies,
    /// How closely the pictures are looked at.
    pub pictures: PictureCheck,
    /// The classes to use, matched by name; others are [`DirtKind::UnknownClass`](crate::DirtKind). By default those
    /// of the data set: as declared, or in alphabetical order where a format declares none.
    pub classes: Option<ClassMap>,
    /// Whether declared class ids are kept or counted from 1 without gaps.
    pub class_ids: ClassIds,
    /// The convention of pixel coordinates, where it is not the format's own: [`Pixels::OneBased`] for Pascal VOC and
    /// Pets, [`Pixels::Continuous`] for the others.
    pub pixels: Option<Pixels>,
    /// The attribute (VIA) or column (CSV) that holds the class. By default the first of `label`, `class`, `name`,
    /// `category` and a few more.
    pub label_key: Option<String>,
    /// What the classes of Oxford-IIIT Pets are.
    pub pets: PetsLabels,
    /// Pixels by which a box may reach beyond the picture without being dirt; rounding in the labels does that.
    /// Default 0.01.
    pub outside_tolerance: f32,
}

impl Default for ParseOptions {
    fn default() -> Self {
        Self {
            policies: Policies::default(),
            pictures: PictureCheck::default(),
            classes: None,
            class_ids: ClassIds::default(),
            pixels: None,
            label_key: None,
            pets: PetsLabels::default(),
            outside_tolerance: 0.01,
        }
    }
}

/// How closely the pictures are looked at while the labels are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PictureCheck {
    /// Not at all, except where the labels need a size that they do not state. Boxes stay as stated, also those of the
    /// picture on its side, before its EXIF orientation is applied; [`Record::objects_in`](crate::Record::objects_in) turns
    /// them.
    None,
    /// Whether each is there, and which way up: sizes that the labels do not state are read, and where the stated one is
    /// that of the picture on its side, the boxes are turned with it.
    #[default]
    Exists,
    /// The header of each: size and format, too.
    Header,
}

/// Numbering of the classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassIds {
    /// The ids of the source, gaps included: COCO's 80 classes lie in 90 slots, and so do the outputs of the networks
    /// trained on it.
    #[default]
    AsStated,
    /// 1, 2, ... in the order of the source's ids. [`Dataset::class_sources`](crate::Dataset) leads back.
    Contiguous,
}

/// What stated pixel coordinates mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pixels {
    /// Positions on the picture plane, 0 to the width, as stated.
    Continuous,
    /// Numbers of pixels counted from 1, both corner pixels inside the box, as Pascal VOC's annotators wrote them:
    /// `[xmin - 1, xmax]`.
    OneBased,
    /// All four minus 1, which makes boxes a pixel shorter: what effdet's `VocParser` does.
    Effdet,
}

/// What the classes of Oxford-IIIT Pets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PetsLabels {
    /// The breed, from the file name.
    #[default]
    Breed,
    /// `cat` or `dog`, as the XML files say.
    Species,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_of_labels_start_from_the_folder_of_a_file_that_is_the_root() {
        // Tests run in the folder of the crate.
        for (root, base) in
            [("Cargo.toml", "."), ("./Cargo.toml", "."), ("src/lib.rs", "src"), ("src", "src"), ("", "")]
        {
            let source = Source::new(root);
            assert_eq!(source.base(), Path::new(base), "{root:?}");
            assert!(root.is_empty() || source.base().is_dir());
        }
    }
}
