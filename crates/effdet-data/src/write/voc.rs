use std::io::Write;
use std::path::Path;

use quick_xml::escape::escape;

use super::{PictureFiles, all_in_place, create_folder, flat_names, size_of, to_file};
use crate::Error;
use crate::record::Dataset;

/// Writes a Pascal VOC data set: `Annotations`, `JPEGImages`, and `ImageSets/Main` with a list for each split.
///
/// Coordinates are written as pixel numbers from 1 with both ends inside, whole or not, and come back exactly, except for
/// boxes one pixel wide, which a reader takes for slips. Crowds, group-of boxes and ignored objects become difficult
/// ones, which evaluation treats alike; mask areas have no place in it.
///
/// # Errors
/// [`Error::SizeUnknown`] for a picture whose size is neither known nor readable, [`Error::Write`].
/// Pictures that cannot be put into place are told at the end, when all else is written.
pub fn voc(dataset: &Dataset, folder: impl AsRef<Path>, pictures: PictureFiles) -> Result<(), Error> {
    let folder = folder.as_ref();
    let (annotations, images) = (folder.join("Annotations"), folder.join("JPEGImages"));
    let lists = folder.join("ImageSets").join("Main");
    for folder in [&annotations, &images, &lists] {
        create_folder(folder)?;
    }
    let names = flat_names(dataset, &images);
    let mut failed = Vec::new();
    for (record, name) in dataset.records.iter().zip(&names) {
        if let Err(error) = pictures.put(&record.path, &images.join(name)) {
            failed.push((record.path.as_path(), error));
        }
        let size = size_of(record)?;
        to_file(&annotations.join(name).with_extension("xml"), |file| {
            let name = name.to_string_lossy();
            writeln!(file, "<annotation>\n\t<filename>{}</filename>", escape(name.as_ref()))?;
            writeln!(
                file,
                "\t<size>\n\t\t<width>{}</width>\n\t\t<height>{}</height>",
                size.width, size.height
            )?;
            writeln!(file, "\t\t<depth>3</depth>\n\t</size>\n\t<segmented>0</segmented>")?;
            for object in &record.objects {
                let label = dataset.class_map.label(object.class_id);
                let is_difficult =
                    object.is_difficult || object.is_crowd || object.is_group_of || object.is_ignored;
                writeln!(file, "\t<object>\n\t\t<name>{}</name>", escape(label.as_str()))?;
                writeln!(file, "\t\t<truncated>{}</truncated>", u8::from(object.is_truncated))?;
                writeln!(file, "\t\t<occluded>{}</occluded>", u8::from(object.is_occluded))?;
                writeln!(file, "\t\t<difficult>{}</difficult>\n\t\t<bndbox>", u8::from(is_difficult))?;
                let [x1, y1, x2, y2] = <[f32; 4]>::from(object.bbox).map(f64::from);
                for (tag, value) in [("xmin", x1 + 1.0), ("ymin", y1 + 1.0), ("xmax", x2), ("ymax", y2)] {
                    writeln!(file, "\t\t\t<{tag}>{value}</{tag}>")?;
                }
                writeln!(file, "\t\t</bndbox>\n\t</object>")?;
            }
            writeln!(file, "</annotation>")
        })?;
    }
    for (split, members) in &dataset.splits {
        // Splits of a devkit are named `VOC2007/train`.
        let name = split.replace(['/', '\\'], "_");
        // Names have dots: `val2017.filtered` beside `val2017`.
        to_file(&lists.join(format!("{name}.txt")), |file| {
            let stem = |index: &usize| names[*index].file_stem().unwrap_or_default().to_string_lossy();
            members.iter().try_for_each(|index| writeln!(file, "{}", stem(index)))
        })?;
    }
    all_in_place(&images, &failed)
}
