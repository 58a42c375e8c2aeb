//! Rendered pictures on the disk, in COCO's layout.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use effdet::data::transform::Rng;
use effdet::data::{Dataset, Record, RecordId, write as labels};
use effdet::prelude::*;
use effdet::viz::save_jpeg;
use rayon::prelude::*;

use super::scene::Layout;
use super::shape::SHAPES;

const JPEG_QUALITY: u8 = 92;

/// What a data set is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// Every pixel is a function of it.
    pub seed: u64,
    /// Pictures of the training split.
    pub train: usize,
    /// Pictures of the validation split.
    pub val: usize,
    /// Classes, the first of [`SHAPES`].
    pub classes: usize,
}

/// Writes the pictures into `train` and `val` below `root` and their labels into `annotations`.
pub fn write(root: &Path, recipe: Recipe) -> Result<()> {
    let names = SHAPES.iter().take(recipe.classes).map(|shape| shape.name);
    let class_map = ClassMap::from_names(names)?;
    fs::create_dir_all(root.join("annotations"))
        .with_context(|| format!("cannot create {}", root.display()))?;
    // Ids of the second split go on after those of the first.
    for (number, name, first, count) in
        [(0, "train", 1, recipe.train), (1, "val", recipe.train + 1, recipe.val)]
    {
        let folder = root.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let record = |index: usize| -> Result<Record> {
            let mut rng = Rng::for_sample(recipe.seed, number, index as u64);
            let scene = Layout::new(&mut rng, recipe.classes).render();
            let path = folder.join(format!("{index:05}.jpg"));
            save_jpeg(&path, &scene.picture, JPEG_QUALITY)?;
            let size =
                ImageSize { height: scene.picture.height() as usize, width: scene.picture.width() as usize };
            let id = RecordId::Number((first + index) as i64);
            Ok(Record { id, path, size: Some(size), objects: scene.objects })
        };
        let records = (0..count).into_par_iter().map(record).collect::<Result<Vec<_>>>()?;
        // Names in the label file are relative to the folder of the pictures.
        let dataset = Dataset { records, class_map: class_map.clone(), root: folder, ..Dataset::default() };
        labels::coco(&dataset, root.join("annotations").join(format!("instances_{name}.json")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::KNOWN;
    use effdet::data::{Format, LabelFormat, ParseOptions, Source};

    fn checksum(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    #[test]
    fn a_seed_gives_the_same_files_wherever_it_runs() {
        let recipe = Recipe { seed: 5, train: 3, val: 2, classes: KNOWN };
        let [a, b] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for folder in [&a, &b] {
            write(folder.path(), recipe).unwrap();
        }
        let names = ["annotations/instances_train.json", "train/00002.jpg", "val/00001.jpg"];
        for name in names {
            let [a, b] = [&a, &b].map(|folder| fs::read(folder.path().join(name)).unwrap());
            assert_eq!(a, b, "{name}");
        }
        // Changed when the renderer changes on purpose: then the checkpoint's recipe is to be run again, too.
        let labels = fs::read(a.path().join("annotations/instances_val.json")).unwrap();
        assert_eq!(checksum(&labels), 0x5270_f9ca_adc3_9d18, "{}", String::from_utf8_lossy(&labels));
        let other = tempfile::tempdir().unwrap();
        write(other.path(), Recipe { seed: 6, ..recipe }).unwrap();
        assert_ne!(
            fs::read(other.path().join(names[1])).unwrap(),
            fs::read(a.path().join(names[1])).unwrap()
        );
    }

    #[test]
    fn the_data_set_reads_back_with_its_splits_and_classes() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), Recipe { seed: 1, train: 12, val: 4, classes: 6 }).unwrap();
        let parsed = Format::Coco.parse(&Source::new(folder.path()), &ParseOptions::default()).unwrap();
        assert!(parsed.dirt.is_clean(), "{}", parsed.dirt);
        assert_eq!(parsed.dataset.records.len(), 16);
        assert_eq!(parsed.dataset.splits["train"].len(), 12);
        assert_eq!(parsed.dataset.splits["val"].len(), 4);
        assert_eq!(parsed.dataset.class_map.len(), 6);
    }
}
