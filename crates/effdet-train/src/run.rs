//! From a configuration to model and loaders.

use std::collections::HashSet;
use std::path::Path;

use burn::tensor::Device;
use effdet_core::ImageSize;
use effdet_data::loader::OnError;
use effdet_data::transform::{aug_tfms, effdet_eval, effdet_train};
use effdet_data::{
    Dataset, DirtReport, Format, LabelFormat, LoaderOptions, ParseOptions, Pixels, Source, split,
};
use effdet_weights::TransferReport;

use crate::network;
use crate::{Augment, DataConfig, DataLoader, DetectorModel, Error, RunConfig};

/// A run that is ready to start.
pub struct Prepared {
    /// The model, with its weights.
    pub model: DetectorModel,
    /// The training batches.
    pub train: DataLoader,
    /// The validation batches; none where the fraction that validates is 0.
    pub valid: DataLoader,
    /// What was wrong with the labels.
    pub dirt: Vec<DirtReport>,
    /// What became of the checkpoint.
    pub loaded: Option<TransferReport>,
}

impl RunConfig {
    /// Reads the labels and builds the model.
    ///
    /// # Errors
    /// If the labels or the checkpoint cannot be read, there is nothing to train or validate on, or the model does not
    /// exist.
    pub fn prepare(&self, device: &Device) -> Result<Prepared, Error> {
        let mut config = network::configuration(&self.model, &self.network)?;
        if self.image_size != [0, 0] {
            config.image_size = ImageSize { height: self.image_size[0], width: self.image_size[1] };
        }
        if config.image_size.is_empty() {
            return Err(Error::setting("image_size", config.image_size, "two positive sides"));
        }
        config.drop_path_rate = self.drop_path.unwrap_or(config.drop_path_rate);
        config.mean = self.mean.unwrap_or(config.mean);
        config.std = self.std.unwrap_or(config.std);
        let (train, valid, dirt) = self.data.read(self.train.seed)?;
        let wanted = self.data.valid_split.is_some() || self.data.valid_fraction > 0.0;
        if wanted && !valid.records.iter().any(|record| !record.objects.is_empty()) {
            let (name, value) = match &self.data.valid_split {
                Some(split) => ("data.valid_split", split.clone()),
                None => ("data.valid_fraction", self.data.valid_fraction.to_string()),
            };
            let expected = format!(
                "a part with objects: none of its {} pictures has one (a fraction of 0 trains on all pictures and does not \
                 evaluate)",
                valid.records.len()
            );
            return Err(Error::setting(name, value, expected));
        }
        let mut model = DetectorModel::new(config, train.class_map.clone(), self.train.seed, device)?;
        if self.train.gradient_checkpointing {
            model = model.with_gradient_checkpointing();
        }
        let mut loaded = None;
        if let Some(path) = &self.weights {
            let (with_weights, report) = model.load(path)?;
            (model, loaded) = (with_weights, Some(report));
        }
        let (train, valid) = self.data.loaders(train, valid, &model, self.train.seed)?;
        Ok(Prepared { model, train, valid, dirt, loaded })
    }
}

impl DataConfig {
    /// The training and validation records. What validates does not train, unless both splits are named.
    fn read(&self, seed: u64) -> Result<(Dataset, Dataset, Vec<DirtReport>), Error> {
        let Some(format) = self.format else {
            return Err(Error::setting(
                "data.format",
                "not set",
                "coco, voc, pets, via, open-images, yolo or csv",
            ));
        };
        let source = Source::new(&self.root);
        let reference = matches!(format, Format::Voc | Format::Pets).then_some(Pixels::Effdet);
        let options = ParseOptions { pixels: self.pixels.or(reference), ..ParseOptions::default() };
        let of = |split: &String| source.clone().with_split(split);
        let parsed = format.parse(&self.train_split.as_ref().map_or(source.clone(), of), &options)?;
        let (train, dirt) = (parsed.dataset, parsed.dirt);
        let Some(valid_split) = &self.valid_split else {
            let parts = split::random(&train, &[1.0 - self.valid_fraction, self.valid_fraction], seed)?;
            return Ok((train.subset(&parts[0]), train.subset(&parts[1]), vec![dirt]));
        };
        let Some(train_split) = &self.train_split else {
            let (train, valid) = without_split(&train, valid_split)?;
            return Ok((train, valid, vec![dirt]));
        };
        // By name: even two COCO files of one data set may number their classes differently.
        let classes = Some(train.class_map.clone());
        let parsed = format.parse(&of(valid_split), &ParseOptions { classes, ..options })?;
        let valid = parsed.dataset;
        let shared = pictures_in_both(&train, &valid);
        if shared > 0 {
            tracing::warn!(
                "{shared} of the {} pictures of the split `{valid_split}`, which validates, are in `{train_split}`, which \
                 trains: what is measured on them says nothing of other pictures",
                valid.records.len()
            );
        }
        Ok((train, valid, vec![dirt, parsed.dirt]))
    }

    fn loaders(
        &self,
        train: Dataset,
        valid: Dataset,
        model: &DetectorModel,
        seed: u64,
    ) -> Result<(DataLoader, DataLoader), Error> {
        let preprocess = model.preprocess();
        let options = LoaderOptions {
            batch_size: self.batch_size,
            workers: self.workers,
            // Every epoch has the same number of batches, or a resumed one would not find its place.
            on_error: OnError::Replace,
            ..LoaderOptions::train(seed)
        };
        let train = match self.augment {
            Augment::None => DataLoader::new(train, effdet_eval(preprocess), options)?,
            Augment::Reference => DataLoader::new(train, effdet_train(preprocess), options)?,
            Augment::Icevision => {
                let side = preprocess.size.height.max(preprocess.size.width);
                let presize = side + side / 4;
                DataLoader::new(train, aug_tfms(preprocess.size, Some(presize), true), options)?
            }
        };
        let batch_size = if self.valid_batch_size == 0 { self.batch_size } else { self.valid_batch_size };
        let options = LoaderOptions {
            batch_size,
            workers: self.workers,
            on_error: OnError::Skip,
            ..LoaderOptions::eval()
        };
        let valid = DataLoader::new(valid, effdet_eval(preprocess), options)?;
        Ok((train, valid))
    }
}

/// The records of all pictures but those of a split, and the split.
fn without_split(dataset: &Dataset, split: &str) -> Result<(Dataset, Dataset), Error> {
    let members = dataset.subset(split::official(dataset, split)?);
    let others: Vec<usize> = {
        let pictures = pictures(&members);
        let records = (0..).zip(&dataset.records);
        let others = records.filter(|(_, record)| !pictures.contains(record.path.as_path()));
        others.map(|(index, _)| index).collect()
    };
    Ok((dataset.subset(&others), members))
}

fn pictures_in_both(train: &Dataset, valid: &Dataset) -> usize {
    pictures(train).intersection(&pictures(valid)).count()
}

fn pictures(dataset: &Dataset) -> HashSet<&Path> {
    dataset.records.iter().map(|record| record.path.as_path()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use effdet_data::Record;
    use image::RgbImage;
    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;

    /// Writes the COCO file of a split: pictures by name, each with an object of category 1.
    fn write_split(folder: &TempDir, split: &str, pictures: &[&str], categories: &Value) {
        let mut images = Vec::new();
        let mut annotations = Vec::new();
        for (index, name) in pictures.iter().enumerate() {
            let path = folder.path().join("images").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            RgbImage::new(16, 16).save(path).unwrap();
            images.push(json!({"id": index, "file_name": name, "width": 16, "height": 16}));
            annotations.push(json!({"id": index, "image_id": index, "category_id": 1, "bbox": [1, 1, 9, 9]}));
        }
        let labels = json!({"images": images, "annotations": annotations, "categories": categories});
        fs::create_dir_all(folder.path().join("annotations")).unwrap();
        let path = folder.path().join("annotations").join(format!("instances_{split}.json"));
        fs::write(path, labels.to_string()).unwrap();
    }

    fn read(folder: &TempDir, train: Option<&str>, valid: &str) -> (Dataset, Dataset) {
        let config = DataConfig {
            root: folder.path().to_owned(),
            format: Some(Format::Coco),
            train_split: train.map(str::to_owned),
            valid_split: Some(valid.to_owned()),
            ..DataConfig::default()
        };
        let (train, valid, _) = config.read(0).unwrap();
        (train, valid)
    }

    fn names(dataset: &Dataset) -> Vec<String> {
        let name = |record: &Record| record.path.file_name().unwrap().to_str().unwrap().to_owned();
        dataset.records.iter().map(name).collect()
    }

    #[test]
    fn without_a_training_split_everything_trains_but_what_validates() {
        let folder = tempfile::tempdir().unwrap();
        let categories = json!([{"id": 1, "name": "cat"}]);
        write_split(&folder, "test", &["e.png"], &categories);
        write_split(&folder, "train", &["a.png", "b.png"], &categories);
        // One picture is in both.
        write_split(&folder, "val", &["c.png", "b.png"], &categories);
        let (train, valid) = read(&folder, None, "val");
        assert_eq!(names(&train), ["e.png", "a.png"]);
        assert_eq!(names(&valid), ["b.png", "c.png"]);
        assert_eq!(pictures_in_both(&train, &valid), 0);
    }

    #[test]
    fn named_splits_are_taken_as_they_are_and_what_is_in_both_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let categories = json!([{"id": 1, "name": "cat"}]);
        write_split(&folder, "train", &["a.png", "b.png"], &categories);
        write_split(&folder, "val", &["c.png", "b.png"], &categories);
        let (train, valid) = read(&folder, Some("train"), "val");
        assert_eq!((train.records.len(), valid.records.len()), (2, 2));
        assert_eq!(pictures_in_both(&train, &valid), 1);
    }

    #[test]
    fn the_classes_of_both_splits_are_matched_by_name_in_coco_too() {
        let folder = tempfile::tempdir().unwrap();
        // The 0 raises all ids of its file by one.
        let categories = json!([{"id": 0, "name": "dog"}, {"id": 1, "name": "cat"}]);
        write_split(&folder, "train", &["a.png"], &categories);
        write_split(&folder, "val", &["b.png"], &json!([{"id": 1, "name": "cat"}]));
        let (train, valid) = read(&folder, Some("train"), "val");
        let class = |dataset: &Dataset| dataset.records[0].objects[0].class_id;
        assert_eq!((class(&train), class(&valid)), (2, 2));
        assert_eq!(train.class_map, valid.class_map);
    }
}
