//! A small detector and pictures that it can learn in seconds.

use std::path::Path;

use burn::tensor::Device;
use effdet_core::{ClassMap, ImageSize, XyxyBox};
use effdet_data::transform::Rng;
use effdet_data::{Dataset, Object, Record, RecordId};
use effdet_model::EfficientDetConfig;
use effdet_train::DetectorModel;
use image::{Rgb, RgbImage};

/// Side of pictures and network input.
pub const SIDE: usize = 64;

/// A detector of two classes with a few thousand parameters in neck and heads.
pub fn model(seed: u64) -> DetectorModel {
    DetectorModel::new(config(), classes(), seed, &Device::flex()).unwrap()
}

pub fn config() -> EfficientDetConfig {
    let mut config = EfficientDetConfig::with_backbone_named("lcnet_050").unwrap();
    config.channels = 16;
    config.cells = 1;
    config.repeats = 1;
    config.image_size = ImageSize::square(SIDE);
    config
}

pub fn classes() -> ClassMap {
    ClassMap::from_names(["square", "bar"]).unwrap()
}

/// Pictures of red squares and blue bars on grey, written to `folder`.
pub fn pictures(folder: &Path, count: usize) -> Dataset {
    let records = (0..count).map(|index| {
        let mut rng = Rng::new(index as u64);
        let mut picture = RgbImage::from_pixel(SIDE as u32, SIDE as u32, Rgb([110, 110, 110]));
        let objects = (0..2).map(|slot| {
            let class = rng.below(2) as u32;
            let (width, height) = if class == 0 { (27, 27) } else { (30, 19) };
            let x = slot * SIDE as i64 / 2 + rng.int(0, 2);
            let y = rng.int(2, SIDE as i64 - height - 2);
            let color = if class == 0 { Rgb([220, 40, 40]) } else { Rgb([40, 40, 230]) };
            for py in y..y + height {
                for px in x..x + width {
                    picture.put_pixel(px as u32, py as u32, color);
                }
            }
            let bbox = XyxyBox::new(x as f32, y as f32, (x + width) as f32, (y + height) as f32);
            Object { bbox, class_id: class + 1, ..Object::default() }
        });
        let objects = objects.collect();
        let path = folder.join(format!("{index}.png"));
        picture.save(&path).unwrap();
        Record { id: RecordId::Number(index as i64), path, size: Some(ImageSize::square(SIDE)), objects }
    });
    let records = records.collect();
    Dataset { records, class_map: classes(), root: folder.to_owned(), ..Dataset::default() }
}
