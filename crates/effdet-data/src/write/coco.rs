use std::io::Write;
use std::path::Path;

use effdet_core::XyxyBox;
use serde::Serialize;

use super::{path_below_root, size_of, to_file};
use crate::Error;
use crate::record::Dataset;

#[derive(Serialize)]
struct Image<'a> {
    id: i64,
    file_name: &'a str,
    width: usize,
    height: usize,
}

#[derive(Serialize)]
struct Annotation {
    id: usize,
    image_id: i64,
    category_id: u32,
    bbox: [f64; 4],
    area: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    iscrowd: u8,
    #[serde(skip_serializing_if = "is_zero")]
    ignore: u8,
}

#[derive(Serialize)]
struct Category<'a> {
    id: u32,
    name: &'a str,
}

fn is_zero(flag: &u8) -> bool {
    *flag == 0
}

/// Writes a COCO instances file.
///
/// File names are relative to the root of the data set. Numeric record ids are kept; if one is a text, all are
/// numbered from 1. Category ids are the class ids. Scores go to the annotation's `score`. An object without a mask area gets that of its box. COCO has no
/// place for difficult, truncated, occluded, group-of, depiction and inside; they are lost. Boxes come back exactly.
///
/// # Errors
/// [`Error::SizeUnknown`] for a picture whose size is neither known nor readable, [`Error::Write`].
pub fn coco(dataset: &Dataset, path: impl AsRef<Path>) -> Result<(), Error> {
    let sizes: Vec<_> = dataset.records.iter().map(size_of).collect::<Result<_, _>>()?;
    let has_numbers = dataset.records.iter().all(|record| record.id.number().is_some());
    let id_of = |index: usize| match dataset.records[index].id.number() {
        Some(id) if has_numbers => id,
        _ => index as i64 + 1,
    };
    to_file(path.as_ref(), |file| {
        write!(file, "{{\"info\":{{\"description\":\"{}\"}},\"images\":[", env!("CARGO_PKG_NAME"))?;
        for (index, (record, size)) in dataset.records.iter().zip(sizes).enumerate() {
            let file_name = &path_below_root(dataset, record);
            let image = Image { id: id_of(index), file_name, width: size.width, height: size.height };
            file.write_all(if index == 0 { b"\n" } else { b",\n" })?;
            serde_json::to_writer(&mut *file, &image)?;
        }
        write!(file, "],\n\"annotations\":[")?;
        let mut id = 0;
        for (index, record) in dataset.records.iter().enumerate() {
            for object in &record.objects {
                id += 1;
                let annotation = Annotation {
                    id,
                    image_id: id_of(index),
                    category_id: object.class_id,
                    bbox: xywh(object.bbox),
                    area: object.area.map_or_else(|| shortest(object.bbox.area()), shortest),
                    score: object.score.map(shortest),
                    iscrowd: object.is_crowd.into(),
                    ignore: object.is_ignored.into(),
                };
                file.write_all(if id == 1 { b"\n" } else { b",\n" })?;
                serde_json::to_writer(&mut *file, &annotation)?;
            }
        }
        let categories: Vec<Category> =
            dataset.class_map.iter().map(|(id, name)| Category { id, name }).collect();
        write!(file, "],\n\"categories\":")?;
        serde_json::to_writer(&mut *file, &categories)?;
        writeln!(file, "}}")
    })
}

/// The number with the digits that single precision needs.
fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or_else(|_| f64::from(x))
}

/// `[x, y, width, height]` with few digits, such that corner plus size is the other corner again.
fn xywh(bbox: XyxyBox) -> [f64; 4] {
    let (x, y) = (shortest(bbox.x1), shortest(bbox.y1));
    [x, y, side(x, bbox.x2), side(y, bbox.y2)]
}

fn side(start: f64, end: f32) -> f64 {
    let exact = f64::from(end) - start;
    let rounded = [1e2, 1e4, 1e6, 1e8].map(|scale| (exact * scale).round() / scale);
    rounded.into_iter().find(|side| (start + side) as f32 == end).unwrap_or(exact)
}
