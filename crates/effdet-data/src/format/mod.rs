//! Label formats: one file each, all read into [`Dataset`].

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::dirt::DirtReport;
use crate::options::{ParseOptions, Source};
use crate::record::Dataset;

pub mod coco;
mod coco_json;
pub mod csv;
mod json_stream;
pub mod open_images;
pub mod pets;
pub mod via;
pub mod voc;
mod xml;
mod yaml;
pub mod yolo;

/// A data set and what was wrong with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parsed {
    /// What could be read.
    pub dataset: Dataset,
    /// What was wrong with it.
    pub dirt: DirtReport,
}

/// A way of writing down what is in pictures.
///
/// Implement it for a format of one's own: state classes and drafts to a [`DatasetBuilder`](crate::DatasetBuilder), which
/// does the checks that all formats share.
///
/// ```
/// use std::{fs, path::Path, sync::Arc};
///
/// use effdet_data::{
///     At, Corners, DatasetBuilder, DirtKind, Draft, DraftObject, Error, LabelFormat, Object, ParseOptions, Parsed,
///     PictureCheck, Pixels, RecordId, Source,
/// };
///
/// /// Lines of `picture x1 y1 x2 y2 class`.
/// struct Lines;
///
/// impl LabelFormat for Lines {
///     fn name(&self) -> &str {
///         "lines"
///     }
///
///     fn parse(&self, source: &Source, options: &ParseOptions) -> Result<Parsed, Error> {
///         let path = source.root.join("boxes.txt");
///         let text = fs::read_to_string(&path)
///             .map_err(|source| Error::Read { name: path.display().to_string(), source })?;
///         let mut builder =
///             DatasetBuilder::new(self.name(), source, Corners::Pixels(Pixels::Continuous), options);
///         builder.reads(&path);
///         let file: Arc<Path> = path.into();
///         for (line, text) in (1..).zip(text.lines()) {
///             let at = At::Line(line);
///             let [picture, x1, y1, x2, y2, class] = text.split(' ').collect::<Vec<_>>()[..] else {
///                 builder.dirt(DirtKind::Malformed, &file, at, "not six columns")?;
///                 continue;
///             };
///             let corners = [x1, y1, x2, y2].map(|x| x.parse().unwrap_or(f64::NAN));
///             let Some(class) = builder.class(class, &file, at)? else { continue };
///             let object = DraftObject { corners, class, area: None, flags: Object::default(), at };
///             builder.extend([Draft {
///                 id: RecordId::from(picture),
///                 path: source.root.join(picture),
///                 size: None,
///                 objects: vec![object],
///                 file: file.clone(),
///                 at,
///                 if_absent: DirtKind::LabelsWithoutPicture,
///             }])?;
///         }
///         builder.finish(source)
///     }
/// }
///
/// let folder = std::env::temp_dir().join("effdet-data-lines");
/// fs::create_dir_all(&folder)?;
/// fs::write(folder.join("boxes.txt"), "a.png 1 2 30 40 cat\nb.png 0 0 nan 9 dog\n")?;
/// let options = ParseOptions { pictures: PictureCheck::None, ..ParseOptions::default() };
/// let Parsed { dataset, dirt } = Lines.parse(&Source::new(&folder), &options)?;
/// assert_eq!((dataset.records.len(), dataset.object_count()), (2, 1));
/// assert_eq!(dirt.count(DirtKind::NonFinite), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait LabelFormat {
    /// Name of the format.
    fn name(&self) -> &str;

    /// Reads the data set at `source`.
    ///
    /// # Errors
    /// Files that are missing or cannot be understood, and dirt whose policy is an error.
    fn parse(&self, source: &Source, options: &ParseOptions) -> Result<Parsed, Error>;
}

/// The label formats that are known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// COCO instances JSON, see [`coco::parse`].
    Coco,
    /// Pascal VOC XML, see [`voc::parse`].
    Voc,
    /// Oxford-IIIT Pets, see [`pets::parse`].
    Pets,
    /// VGG Image Annotator JSON, see [`via::parse`].
    Via,
    /// Open Images CSV, see [`open_images::parse`].
    OpenImages,
    /// YOLO text files, see [`yolo::parse`].
    Yolo,
    /// One CSV table, see [`csv::parse`].
    Csv,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 7] =
        [Self::Coco, Self::Voc, Self::Pets, Self::Via, Self::OpenImages, Self::Yolo, Self::Csv];
}

impl LabelFormat for Format {
    fn name(&self) -> &str {
        match self {
            Self::Coco => "coco",
            Self::Voc => "voc",
            Self::Pets => "pets",
            Self::Via => "via",
            Self::OpenImages => "open-images",
            Self::Yolo => "yolo",
            Self::Csv => "csv",
        }
    }

    fn parse(&self, source: &Source, options: &ParseOptions) -> Result<Parsed, Error> {
        match self {
            Self::Coco => coco::parse(source, options),
            Self::Voc => voc::parse(source, options),
            Self::Pets => pets::parse(source, options),
            Self::Via => via::parse(source, options),
            Self::OpenImages => open_images::parse(source, options),
            Self::Yolo => yolo::parse(source, options),
            Self::Csv => csv::parse(source, options),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = Error;

    /// Reads a name; case, `-` and `_` do not matter.
    fn from_str(text: &str) -> Result<Self, Error> {
        let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
        Self::ALL.into_iter().find(|format| plain(format.name()) == plain(text)).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(LabelFormat::name).collect();
            Error::UnknownFormat { name: text.to_owned(), known: known.join(", ") }
        })
    }
}

/// A label file that cannot be understood, without a place in it.
fn refused(path: &Path, reason: impl Into<String>) -> Error {
    Error::Labels { path: path.to_owned(), at: "as a whole".to_owned(), reason: reason.into() }
}

/// The name of a split that a file name speaks of, such as `train` of `oidv6-train-annotations-bbox`.
fn split_in(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    ["trainval", "train", "validation", "val", "test"]
        .into_iter()
        .find(|split| name.split(|c: char| !c.is_alphanumeric()).any(|word| word == *split))
}

/// Reads a number with a decimal point, or one with a decimal comma, and says which it was.
fn parse_number(text: &str) -> Option<(f64, bool)> {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return Some((number, false));
    }
    if text.matches(',').count() == 1 && !text.contains('.') {
        return text.replace(',', ".").parse().ok().map(|number| (number, true));
    }
    None
}
