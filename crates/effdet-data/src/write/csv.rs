use std::io;
use std::path::Path;

use super::{path_below_root, to_file};
use crate::Error;
use crate::record::Dataset;

const HEADER: [&str; 18] = [
    "filename",
    "xmin",
    "ymin",
    "xmax",
    "ymax",
    "label",
    "width",
    "height",
    "area",
    "score",
    "crowd",
    "difficult",
    "truncated",
    "occluded",
    "group_of",
    "depiction",
    "inside",
    "ignored",
];

/// Writes a CSV table with everything that is known of each object; see [`csv::parse`](crate::format::csv::parse) for the
/// columns. A picture without objects has a row without box. Boxes come back exactly.
///
/// # Errors
/// [`Error::Write`].
pub fn csv(dataset: &Dataset, path: impl AsRef<Path>) -> Result<(), Error> {
    to_file(path.as_ref(), |file| {
        let mut table = csv::Writer::from_writer(file);
        table.write_record(HEADER).map_err(io::Error::from)?;
        for record in &dataset.records {
            let name = path_below_root(dataset, record);
            let sides = record.size.map(|size| [size.width.to_string(), size.height.to_string()]);
            let [width, height] = sides.unwrap_or_default();
            if record.objects.is_empty() {
                let row = [&name, "", "", "", "", "", &width, &height];
                let rest = [""; HEADER.len() - 8];
                table.write_record(row.into_iter().chain(rest)).map_err(io::Error::from)?;
            }
            for object in &record.objects {
                let mut row = vec![name.clone()];
                row.extend(<[f32; 4]>::from(object.bbox).map(|x| x.to_string()));
                row.extend([dataset.class_map.label(object.class_id), width.clone(), height.clone()]);
                row.extend([object.area, object.score].map(|x| x.map(|x| x.to_string()).unwrap_or_default()));
                let flags = [
                    object.is_crowd,
                    object.is_difficult,
                    object.is_truncated,
                    object.is_occluded,
                    object.is_group_of,
                    object.is_depiction,
                    object.is_inside,
                    object.is_ignored,
                ];
                row.extend(flags.map(|flag| u8::from(flag).to_string()));
                table.write_record(&row).map_err(io::Error::from)?;
            }
        }
        table.flush()
    })
}
