//! One CSV table of boxes.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use csv::StringRecord;
use effdet_core::ImageSize;
use effdet_core::label_text::is_set;

use super::open_images::csv_error;
use super::{Parsed, parse_number, split_in};
use crate::Error;
use crate::builder::{Corners, DatasetBuilder, Draft, DraftObject};
use crate::dirt::{Action, At, DirtKind};
use crate::files;
use crate::options::{ParseOptions, Pixels, Source};
use crate::record::{Object, RecordId};

const PICTURE: &[&str] =
    &["filename", "file_name", "file", "path", "picture", "image", "image_path", "image_id", "img"];
const CLASS: &[&str] = &["label", "class", "name", "category", "class_name", "cell_type", "label_name"];
const CORNERS: [&[&str]; 4] = [
    &["xmin", "x_min", "x1", "left"],
    &["ymin", "y_min", "y1", "top"],
    &["xmax", "x_max", "x2", "right"],
    &["ymax", "y_max", "y2", "bottom"],
];
const SIZE: [&[&str]; 2] =
    [&["height", "image_height", "img_height"], &["width", "image_width", "img_width"]];
const AREA: &[&str] = &["area"];
const SCORE: &[&str] = &["score", "confidence"];
const FLAGS: [&[&str]; 8] = [
    &["crowd", "iscrowd", "is_crowd"],
    &["difficult", "is_difficult"],
    &["truncated", "is_truncated"],
    &["occluded", "is_occluded"],
    &["group_of", "is_group_of"],
    &["depiction", "is_depiction"],
    &["inside", "is_inside"],
    &["ignored", "ignore", "is_ignored"],
];

/// Reads a CSV table with one box per row.
///
/// [`Source::labels`] is a table or a folder of them; by default every CSV in the root, each a split named by the file (or
/// by `train`, `val`, ... in its name). The first row names the columns, in any order, upper or lower case:
///
/// | column | meaning | also called |
/// |---|---|---|
/// | `filename` | path of the picture below [`Source::pictures`] (the root) | `file`, `path`, `image`, `image_path`, `image_id` |
/// | `xmin`, `ymin`, `xmax`, `ymax` | corners in pixels | `x1 y1 x2 y2`, `left top right bottom` |
/// | `label` | name of the class | `class`, `name`, `category`, `cell_type` |
/// | `width`, `height` | size of the picture, optional | `image_width`, `image_height` |
/// | `area` | area of the mask, optional | |
/// | `score` | confidence of a detector, optional | `confidence` |
/// | `crowd`, `difficult`, `truncated`, `occluded`, `group_of`, `depiction`, `inside`, `ignored` | 1 or `true`, optional | with `is_` before them |
///
/// [`ParseOptions::label_key`] names another column for the class. A row with nothing in the corners and class is a
/// picture without objects. A table whose first row has four numbers, or nothing, after the picture is read as
/// `filename, x1, y1, x2, y2, class` (keras-retinanet's).
///
/// A record's id is the path of its picture as stated; where another table means another picture by that, with the split
/// before it.
///
/// # Errors
/// No table, a table without the columns, and dirt whose policy is an error.
pub fn parse(source: &Source, options: &ParseOptions) -> Result<Parsed, Error> {
    let corners = Corners::Pixels(options.pixels.unwrap_or(Pixels::Continuous));
    let mut builder = DatasetBuilder::new("csv", source, corners, options);
    for table in tables(source, &mut builder)? {
        builder.reads(&table);
        let name = table.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut drafts = read(files::open(&table)?, &table, &mut builder, options)?;
        let folders = match source.pictures_path() {
            Some(folder) => vec![folder],
            None => vec![
                source.base().to_owned(),
                files::folder_of(&table).to_owned(),
                source.base().join("images"),
            ],
        };
        folders.iter().for_each(|folder| builder.reads(folder));
        let has_first = |folder: &&PathBuf| drafts.iter().take(8).any(|d| folder.join(&d.path).is_file());
        let folder = folders.iter().find(has_first).unwrap_or(&folders[0]).clone();
        let split = split_in(&name).unwrap_or(&name);
        for draft in &mut drafts {
            draft.path = folder.join(&draft.path);
            draft.id = builder.distinct_id(draft.id.clone(), &draft.path, split);
        }
        let ids: Vec<RecordId> = drafts.iter().map(|draft| draft.id.clone()).collect();
        // The same picture in two tables: its rows belong together.
        builder.extend(drafts)?;
        builder.split(split, ids);
    }
    builder.finish(source)
}

/// Reads one table from memory; `name` stands in the errors and the report. Pictures are not looked at.
///
/// # Errors
/// As [`parse`].
pub fn parse_bytes(bytes: &[u8], name: &str, options: &ParseOptions) -> Result<Parsed, Error> {
    let source = Source::default();
    let options = ParseOptions { pictures: crate::PictureCheck::None, ..options.clone() };
    let corners = Corners::Pixels(options.pixels.unwrap_or(Pixels::Continuous));
    let mut builder = DatasetBuilder::new("csv", &source, corners, &options);
    let drafts = read(bytes, Path::new(name), &mut builder, &options)?;
    builder.extend(drafts)?;
    builder.finish(&source)
}

fn tables(source: &Source, builder: &mut DatasetBuilder) -> Result<Vec<PathBuf>, Error> {
    let given = source.labels_path().or_else(|| source.root.is_file().then(|| source.root.clone()));
    let folder = given.unwrap_or_else(|| source.root.clone());
    if folder.is_file() {
        return Ok(vec![folder]);
    }
    builder.reads(&folder);
    let found = files::files_in(&folder, &["csv"])?;
    if found.is_empty() {
        return Err(Error::LabelsNotFound { path: folder, what: "no table (.csv) here".to_owned() });
    }
    Ok(found)
}

struct Columns {
    picture: usize,
    class: usize,
    corners: [usize; 4],
    size: [Option<usize>; 2],
    area: Option<usize>,
    score: Option<usize>,
    flags: [Option<usize>; 8],
}

impl Columns {
    const RETINANET: Self = Self {
        picture: 0,
        corners: [1, 2, 3, 4],
        class: 5,
        size: [None; 2],
        area: None,
        score: None,
        flags: [None; 8],
    };

    /// `None` if the row names no columns and its corners are numbers or empty, so that it is one of data. Any other row
    /// has to name the columns.
    fn find(header: &StringRecord, label_key: Option<&str>) -> Result<Option<Self>, String> {
        let at = |names: &[&str]| {
            names.iter().find_map(|name| header.iter().position(|c| c.trim().eq_ignore_ascii_case(name)))
        };
        let corners = CORNERS.map(at);
        let cells: Vec<&str> = header.iter().skip(1).take(4).map(str::trim).collect();
        let is_data = cells.len() == 4
            && (cells.iter().all(|cell| parse_number(cell).is_some())
                || cells.iter().all(|cell| cell.is_empty()));
        if corners.iter().all(Option::is_none) && at(PICTURE).is_none() && is_data {
            return Ok(None);
        }
        let needed = |column: Option<usize>, names: &[&str]| {
            column.ok_or_else(|| format!("no column `{}` (or {})", names[0], names[1..].join(", ")))
        };
        let [x1, y1, x2, y2] = corners;
        let class = match label_key {
            Some(key) => at(&[key]).ok_or_else(|| format!("no column `{key}`"))?,
            None => needed(at(CLASS), CLASS)?,
        };
        Ok(Some(Self {
            picture: needed(at(PICTURE), PICTURE)?,
            class,
            corners: [
                needed(x1, CORNERS[0])?,
                needed(y1, CORNERS[1])?,
                needed(x2, CORNERS[2])?,
                needed(y2, CORNERS[3])?,
            ],
            size: SIZE.map(at),
            area: at(AREA),
            score: at(SCORE),
            flags: FLAGS.map(at),
        }))
    }
}

/// Reads a table; the paths of the drafts are as stated.
fn read(
    reader: impl Read,
    path: &Path,
    builder: &mut DatasetBuilder,
    options: &ParseOptions,
) -> Result<Vec<Draft>, Error> {
    let mut table = csv::ReaderBuilder::new().flexible(true).has_headers(false).from_reader(reader);
    let file: Arc<Path> = path.into();
    let mut columns = None;
    let mut drafts: Vec<Draft> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    let mut commas = 0usize;
    let mut row = StringRecord::new();
    loop {
        match table.read_record(&mut row) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) if error.is_io_error() => return Err(csv_error(path, &error)),
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                builder.dirt(DirtKind::Malformed, path, At::Line(line), error.to_string())?;
                continue;
            }
        }
        let line = row.position().map_or(0, csv::Position::line);
        let columns = match &columns {
            Some(columns) => columns,
            None => {
                let found = Columns::find(&row, options.label_key.as_deref()).map_err(|reason| {
                    Error::Labels { path: path.to_owned(), at: format!("line {line}"), reason }
                })?;
                let has_header = found.is_some();
                let columns = columns.insert(found.unwrap_or(Columns::RETINANET));
                if has_header {
                    continue;
                }
                columns
            }
        };
        let at = At::Line(line);
        let get = |column: usize| row.get(column).map(str::trim).filter(|text| !text.is_empty());
        let Some(picture) = get(columns.picture) else {
            builder.dirt(DirtKind::Malformed, path, at, "a row without a picture")?;
            continue;
        };
        let draft = match index.get(picture) {
            Some(draft) => *draft,
            None => {
                let side =
                    |which: usize| columns.size[which].and_then(get).and_then(|text| text.parse().ok());
                let size = side(0).zip(side(1)).map(|(height, width)| ImageSize::new(height, width));
                index.insert(picture.to_owned(), drafts.len());
                drafts.push(Draft {
                    id: RecordId::from(picture),
                    path: PathBuf::from(picture),
                    size,
                    objects: Vec::new(),
                    file: file.clone(),
                    at,
                    if_absent: DirtKind::LabelsWithoutPicture,
                });
                drafts.len() - 1
            }
        };
        let class = get(columns.class);
        if class.is_none() && columns.corners.iter().all(|column| get(*column).is_none()) {
            continue;
        }
        let mut number = |column: usize| {
            let (number, has_comma) = get(column).and_then(parse_number)?;
            commas += usize::from(has_comma);
            Some(number)
        };
        let corners = columns.corners.map(|column| number(column).unwrap_or(f64::NAN));
        let area = columns.area.and_then(&mut number).map(|area| area as f32);
        let score = columns.score.and_then(&mut number).map(|score| score as f32);
        let Some(class) = builder.class(class.unwrap_or_default(), path, at)? else { continue };
        let is_set = |which: usize| columns.flags[which].and_then(get).is_some_and(is_set);
        let flags = Object {
            score,
            is_crowd: is_set(0),
            is_difficult: is_set(1),
            is_truncated: is_set(2),
            is_occluded: is_set(3),
            is_group_of: is_set(4),
            is_depiction: is_set(5),
            is_inside: is_set(6),
            is_ignored: is_set(7),
            ..Object::default()
        };
        drafts[draft].objects.push(DraftObject { corners, class, area, flags, at });
    }
    if commas > 0 {
        let detail = format!("{commas} numbers");
        if builder.dirt(DirtKind::DecimalComma, path, At::File, detail)? == Action::Skipped {
            drafts.clear();
        }
    }
    Ok(drafts)
}
