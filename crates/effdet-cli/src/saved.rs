//! Detections as data sets in the formats of labels.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use effdet::data::write::{self, PictureFiles};
use effdet::data::{Dataset, Object, Record};
use effdet::prelude::*;

use crate::args::SaveArgs;
use crate::output::describe;

/// Collects detections until all are there.
#[derive(Debug, Default)]
pub struct Saved {
    records: Vec<Record>,
    index: HashMap<PathBuf, usize>,
    coco: Option<PathBuf>,
    csv: Option<PathBuf>,
    yolo: Option<PathBuf>,
    voc: Option<PathBuf>,
}

impl Saved {
    /// Looks at the places before the work begins.
    pub fn new(args: &SaveArgs) -> Result<Self> {
        let SaveArgs { save_coco: coco, save_csv: csv, save_yolo: yolo, save_voc: voc } = args;
        for path in [coco, csv].into_iter().flatten() {
            let folder = path.parent().filter(|folder| *folder != Path::new(""));
            if path.is_dir() || folder.is_some_and(|folder| !folder.is_dir()) {
                bail!("{}: expected the name of a file in a folder that exists", path.display());
            }
        }
        for folder in [yolo, voc].into_iter().flatten() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
            if fs::read_dir(folder)?.next().is_some() {
                bail!("{} is not empty: name another folder", folder.display());
            }
        }
        let (coco, csv, yolo, voc) = (coco.clone(), csv.clone(), yolo.clone(), voc.clone());
        Ok(Self { coco, csv, yolo, voc, ..Self::default() })
    }

    /// Whether anything is to be written.
    pub fn is_wanted(&self) -> bool {
        [&self.coco, &self.csv, &self.yolo, &self.voc].iter().any(|place| place.is_some())
    }

    /// Adds a picture. Boxes that clipping left without area are no labels and are left out.
    pub fn add(&mut self, path: &Path, size: ImageSize, detections: &[Detection]) -> Result<()> {
        if !self.is_wanted() {
            return Ok(());
        }
        let object = |found: &Detection| Object {
            bbox: found.bbox.clip(size),
            class_id: found.class_id,
            score: Some(found.score),
            ..Object::default()
        };
        let objects = detections.iter().map(object).filter(|object| !object.bbox.is_empty()).collect();
        let path = std::path::absolute(path)?;
        // A picture that was detected again, such as a replaced one, is in a data set once.
        let index = *self.index.entry(path.clone()).or_insert(self.records.len());
        let record = Record { id: (index as i64 + 1).into(), path, size: Some(size), objects };
        match self.records.get_mut(index) {
            Some(earlier) => *earlier = record,
            None => self.records.push(record),
        }
        Ok(())
    }

    /// Writes all files; what is wrong with one does not keep the others from it.
    pub fn write(self, classes: &ClassMap) -> Result<()> {
        if !self.is_wanted() {
            return Ok(());
        }
        let dataset = Dataset {
            root: common_folder(&self.records),
            class_map: with_unnamed(classes, &self.records)?,
            records: self.records,
            ..Dataset::default()
        };
        let written = [
            self.coco.map(|path| write::coco(&dataset, path)),
            self.csv.map(|path| write::csv(&dataset, path)),
            self.yolo.map(|folder| write::yolo(&dataset, folder, PictureFiles::Link)),
            self.voc.map(|folder| write::voc(&dataset, folder, PictureFiles::Link)),
        ];
        let errors = written.into_iter().flatten().filter_map(Result::err);
        let errors: Vec<String> = errors.map(|error| describe(&error.into())).collect();
        if errors.is_empty() { Ok(()) } else { bail!(errors.join("\n")) }
    }
}

/// The deepest folder that holds all pictures, which their paths are then relative to.
fn common_folder(records: &[Record]) -> PathBuf {
    let mut folders = records.iter().filter_map(|record| record.path.parent());
    let Some(first) = folders.next() else { return PathBuf::new() };
    folders.fold(first.to_owned(), |common, folder| {
        let shared = common.components().zip(folder.components()).take_while(|(a, b)| a == b);
        shared.map(|(component, _)| component).collect()
    })
}

/// With the slots of a network that no class has, where it found something in them all the same.
fn with_unnamed(classes: &ClassMap, records: &[Record]) -> Result<ClassMap> {
    let found = records.iter().flat_map(|record| &record.objects).map(|object| object.class_id);
    let mut unnamed: Vec<u32> = found.filter(|id| classes.name(*id).is_none()).collect();
    unnamed.sort_unstable();
    unnamed.dedup();
    let named = classes.iter().map(|(id, name)| (id, name.to_owned()));
    Ok(ClassMap::from_ids(named.chain(unnamed.into_iter().map(|id| (id, classes.label(id)))))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_is_gone_by_then_is_named_and_loses_no_labels() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let args = SaveArgs {
            save_coco: Some(at("found.json")),
            save_csv: Some(at("found.csv")),
            save_yolo: Some(at("yolo")),
            save_voc: Some(at("voc")),
        };
        let mut saved = Saved::new(&args).unwrap();
        let found = Detection { bbox: XyxyBox::new(1.0, 1.0, 5.0, 5.0), score: 0.5, class_id: 1 };
        for name in ["gone.png", "here.png"] {
            saved.add(&at(name), ImageSize::square(8), &[found]).unwrap();
        }
        RgbImage::new(8, 8).save(at("here.png")).unwrap();
        let error = saved.write(&ClassMap::from_names(["cat"]).unwrap()).unwrap_err().to_string();
        assert_eq!(error.matches("gone.png").count(), 2, "{error}");
        assert!(!error.contains("here.png"), "{error}");
        for written in [
            "found.json",
            "found.csv",
            "yolo/data.yaml",
            "yolo/labels/gone.txt",
            "yolo/labels/here.txt",
            "yolo/images/here.png",
            "voc/Annotations/gone.xml",
            "voc/Annotations/here.xml",
            "voc/JPEGImages/here.png",
        ] {
            assert!(at(written).is_file(), "{written}");
        }
    }

    #[test]
    fn the_common_folder_is_the_deepest_that_holds_all() {
        let record = |path: &str| Record { id: 1.into(), path: path.into(), size: None, objects: Vec::new() };
        let folder = |paths: &[&str]| {
            common_folder(&paths.iter().map(|path| record(path)).collect::<Vec<_>>()).display().to_string()
        };
        assert_eq!(folder(&["/a/b/1.png", "/a/b/2.png"]), "/a/b");
        assert_eq!(folder(&["/a/b/1.png", "/a/bc/2.png", "/a/b/c/3.png"]), "/a");
        assert_eq!(folder(&["/a/1.png", "/b/2.png"]), "/");
        assert_eq!(folder(&[]), "");
    }
}
