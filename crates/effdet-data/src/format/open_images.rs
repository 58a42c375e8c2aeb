//! Open Images CSV.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use csv::StringRecord;
use effdet_core::ClassMap;
use effdet_core::label_text::is_set;
use serde::Deserialize;

use super::{Parsed, parse_number, split_in};
use crate::Error;
use crate::builder::{Corners, DatasetBuilder, Draft, DraftObject};
use crate::dirt::{Action, At, DirtKind};
use crate::files::{self, PicturesByStem};
use crate::options::{ParseOptions, Source};
use crate::record::{Object, RecordId};

/// Reads the box tables of Open Images V5 and later and of the 2019 challenge.
///
/// [`Source::labels`] is a table or a folder of them; by default every `*bbox*.csv` in the root, `annotations` or
/// `labels`; the split is the one in the file's name (`train`, `validation`, `test`). Columns are found by their names:
/// `ImageID, LabelName, XMin, XMax, YMin, YMax` are needed; `IsOccluded, IsTruncated, IsGroupOf, IsDepiction, IsInside`
/// are read where present (1, `1.0` and `true` are yes; 0, -1 and empty are no). Coordinates are fractions and become pixels with
/// the size in the picture's header. Decimal commas are read as points.
///
/// Classes are the rows of `class-descriptions-boxable.csv`, or of `challenge-2019-classes-description-500.csv` for tables of
/// the challenge, in their order from 1; [`Dataset::class_sources`](crate::Dataset) holds their MIDs. Without that
/// file they are the label names of the tables. `*hierarchy*.json` becomes [`Dataset::hierarchy`](crate::Dataset).
///
/// Pictures are looked for below the folder of the split, `images` or the root, at any depth, by their id, which is the
/// record's; where another table has it for another picture, with the split before it (`validation/0a`). A picture
/// of the folder of the split, or of any folder if there is one table only, that no row names is
/// [`DirtKind::PictureWithoutLabels`]. A picture with rows of other classes only is a negative.
///
/// # Errors
/// No table, a table without the columns, and dirt whose policy is an error.
///
/// # Reference
/// effdet's `OpenImagesParser`, which drops group-of boxes (here they are marked, and the loader leaves them out) and
/// pictures without boxes.
pub fn parse(source: &Source, options: &ParseOptions) -> Result<Parsed, Error> {
    let mut builder = DatasetBuilder::new("open-images", source, Corners::Fractions, options);
    let tables = tables(source, &mut builder)?;
    declare_classes(&mut builder, &tables, source)?;
    let names = match class_file(&tables, source, &mut builder)? {
        Some(path) => read_classes(&path)?.into_iter().collect(),
        None => HashMap::new(),
    };
    let is_only_table = tables.len() == 1;
    for table in tables {
        builder.reads(&table);
        let name = table.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let split = split_in(&name);
        let part = split.unwrap_or(&name);
        let mut rows = read(files::open(&table)?, &table, &names, &mut builder)?;
        let folder = picture_folder(source, split);
        builder.reads(&folder);
        let pictures = builder.pictures_below(&folder)?;
        let by_stem = PicturesByStem::new(&pictures);
        let mut named = HashSet::new();
        for draft in &mut rows {
            let id = Path::new(draft.path.as_os_str());
            let stem = if files::is_picture_name(id) { id.with_extension("") } else { id.to_owned() };
            let found = by_stem.get(stem.file_name().unwrap_or_default()).cloned();
            draft.path = found.unwrap_or_else(|| folder.join(format!("{}.jpg", stem.display())));
            draft.id = builder.distinct_id(draft.id.clone(), &draft.path, part);
            named.insert(draft.path.clone());
        }
        let mut ids: Vec<RecordId> = rows.iter().map(|draft| draft.id.clone()).collect();
        builder.extend(rows)?;
        let mut negatives = Vec::new();
        // Without a folder of its own, other tables' pictures are among them.
        let owns_folder = split.is_some_and(|split| folder.ends_with(split)) || is_only_table;
        for path in pictures.iter().filter(|path| owns_folder && !named.contains(*path)) {
            let detail = "no row is about it";
            if builder.dirt(DirtKind::PictureWithoutLabels, path, At::File, detail)? == Action::Fixed {
                let id = builder.distinct_id(RecordId::from_stem(path), path, part);
                ids.push(id.clone());
                negatives.push(Draft {
                    id,
                    path: path.clone(),
                    size: None,
                    objects: Vec::new(),
                    file: path.as_path().into(),
                    at: At::File,
                    if_absent: DirtKind::MissingPicture,
                });
            }
        }
        builder.extend(negatives)?;
        builder.split(part, ids);
    }
    builder.finish(source)
}

/// Reads one table from memory; `name` stands in the errors and the report. The pictures, whose sizes are needed, are
/// looked for beside it.
///
/// # Errors
/// As [`parse`].
pub fn parse_bytes(bytes: &[u8], name: &str, options: &ParseOptions) -> Result<Parsed, Error> {
    let source = Source::default();
    let mut builder = DatasetBuilder::new("open-images", &source, Corners::Fractions, options);
    let rows = read(bytes, Path::new(name), &HashMap::new(), &mut builder)?;
    builder.extend(rows)?;
    builder.finish(&source)
}

/// Where the columns are.
struct Columns {
    image: usize,
    label: usize,
    corners: [usize; 4],
    flags: [Option<usize>; 5],
}

impl Columns {
    fn find(header: &StringRecord) -> Result<Self, &'static str> {
        let at = |name: &str| header.iter().position(|column| column.trim().eq_ignore_ascii_case(name));
        Ok(Self {
            image: at("ImageID").ok_or("no column ImageID")?,
            label: at("LabelName").ok_or("no column LabelName")?,
            corners: [
                at("XMin").ok_or("no column XMin")?,
                at("YMin").ok_or("no column YMin")?,
                at("XMax").ok_or("no column XMax")?,
                at("YMax").ok_or("no column YMax")?,
            ],
            flags: ["IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside"].map(at),
        })
    }
}

/// Reads a table; the paths of the drafts are the bare image ids.
fn read(
    reader: impl Read,
    path: &Path,
    names: &HashMap<String, String>,
    builder: &mut DatasetBuilder,
) -> Result<Vec<Draft>, Error> {
    let mut table = csv::ReaderBuilder::new().flexible(true).from_reader(reader);
    let header = table.headers().map_err(|error| csv_error(path, &error))?;
    let columns = Columns::find(header).map_err(|reason| Error::Labels {
        path: path.to_owned(),
        at: "line 1".to_owned(),
        reason: reason.to_owned(),
    })?;
    let file: Arc<Path> = path.into();
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
        let at = At::Line(row.position().map_or(0, csv::Position::line));
        let get = |column: usize| row.get(column).map(str::trim);
        let (Some(image), Some(label)) = (get(columns.image).filter(|id| !id.is_empty()), get(columns.label))
        else {
            builder.dirt(DirtKind::Malformed, path, at, "a row without ImageID or LabelName")?;
            continue;
        };
        let corners = columns.corners.map(|column| match get(column).and_then(parse_number) {
            Some((number, has_comma)) => {
                commas += usize::from(has_comma);
                number
            }
            None => f64::NAN,
        });
        // Before the class, so that a picture of unknown classes only is a negative.
        let draft = match index.get(image) {
            Some(draft) => *draft,
            None => {
                index.insert(image.to_owned(), drafts.len());
                drafts.push(Draft {
                    id: RecordId::from(image),
                    path: PathBuf::from(image),
                    size: None,
                    objects: Vec::new(),
                    file: file.clone(),
                    at,
                    if_absent: DirtKind::LabelsWithoutPicture,
                });
                drafts.len() - 1
            }
        };
        let name = names.get(label).map_or(label, String::as_str);
        let Some(class) = builder.class(name, path, at)? else { continue };
        let is_set = |which: usize| columns.flags[which].and_then(get).is_some_and(is_set);
        let flags = Object {
            is_occluded: is_set(0),
            is_truncated: is_set(1),
            is_group_of: is_set(2),
            is_depiction: is_set(3),
            is_inside: is_set(4),
            ..Object::default()
        };
        drafts[draft].objects.push(DraftObject { corners, class, area: None, flags, at });
    }
    if commas > 0 {
        let detail = format!("{commas} numbers");
        if builder.dirt(DirtKind::DecimalComma, path, At::File, detail)? == Action::Skipped {
            drafts.clear();
        }
    }
    Ok(drafts)
}

pub(super) fn csv_error(path: &Path, error: &csv::Error) -> Error {
    let line = error.position().map_or(1, csv::Position::line);
    Error::Labels { path: path.to_owned(), at: format!("line {line}"), reason: error.to_string() }
}

fn is_box_table(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    name.contains("bbox") || name.contains("bounding_box")
}

fn tables(source: &Source, builder: &mut DatasetBuilder) -> Result<Vec<PathBuf>, Error> {
    let not_found = |path: &Path| Error::LabelsNotFound {
        path: path.to_owned(),
        what: "no Open Images box table (*bbox*.csv) here".to_owned(),
    };
    let given = source.labels_path().or_else(|| source.root.is_file().then(|| source.root.clone()));
    let folders = match given {
        Some(path) if path.is_dir() => vec![path],
        Some(path) => return Ok(vec![path]),
        None => folders(source),
    };
    for folder in folders {
        builder.reads(&folder);
        if !folder.is_dir() {
            continue;
        }
        let mut found = files::files_in(&folder, &["csv"])?;
        found.retain(|path| is_box_table(path));
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err(not_found(&source.root))
}

fn folders(source: &Source) -> Vec<PathBuf> {
    let base = source.base();
    vec![base.to_owned(), base.join("annotations"), base.join("labels"), base.join("csv_folder")]
}

/// The first file near the tables that `wanted` accepts.
fn find_beside(
    tables: &[PathBuf],
    source: &Source,
    extension: &str,
    builder: &mut DatasetBuilder,
    wanted: impl Fn(&str) -> bool,
) -> Result<Option<PathBuf>, Error> {
    let beside = tables.first().map(|path| files::folder_of(path).to_owned());
    for folder in beside.into_iter().chain(folders(source)) {
        builder.reads(&folder);
        if !folder.is_dir() {
            continue;
        }
        let found = files::files_in(&folder, &[extension])?;
        let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if let Some(path) = found.into_iter().find(|path| wanted(&name(path))) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn class_file(
    tables: &[PathBuf],
    source: &Source,
    builder: &mut DatasetBuilder,
) -> Result<Option<PathBuf>, Error> {
    let is_challenge = tables.iter().any(|path| path.to_string_lossy().to_lowercase().contains("challenge"));
    let is_class_file =
        |name: &str| name.contains("class-descriptions") || name.contains("classes-description");
    let exact = |name: &str| is_class_file(name) && name.contains("challenge") == is_challenge;
    match find_beside(tables, source, "csv", builder, exact)? {
        Some(path) => Ok(Some(path)),
        None => find_beside(tables, source, "csv", builder, is_class_file),
    }
}

/// MIDs and names, in the order of the rows; a name that occurs again is followed by its MID.
fn read_classes(path: &Path) -> Result<Vec<(String, String)>, Error> {
    let mut table =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(files::open(path)?);
    let mut classes = Vec::new();
    let mut seen = HashSet::new();
    for row in table.records() {
        let row = row.map_err(|error| csv_error(path, &error))?;
        let (Some(mid), Some(name)) = (row.get(0), row.get(1)) else { continue };
        let (mid, name) = (mid.trim(), name.trim());
        // V6 and later have a header.
        if mid.eq_ignore_ascii_case("LabelName") || mid.is_empty() {
            continue;
        }
        let unique = if seen.insert(name.to_owned()) { name.to_owned() } else { format!("{name} ({mid})") };
        classes.push((mid.to_owned(), unique));
    }
    Ok(classes)
}

fn declare_classes(builder: &mut DatasetBuilder, tables: &[PathBuf], source: &Source) -> Result<(), Error> {
    let Some(path) = class_file(tables, source, builder)? else { return Ok(()) };
    builder.reads(&path);
    let classes = read_classes(&path)?;
    let map = ClassMap::from_names(classes.iter().map(|(_, name)| name.clone()))
        .map_err(|source| Error::Classes { path: path.clone(), source })?;
    let ids: HashMap<&str, u32> = (1..).zip(&classes).map(|(id, (mid, _))| (mid.as_str(), id)).collect();
    let sources = (1..).zip(&classes).map(|(id, (mid, _))| (id, RecordId::from(mid.as_str()))).collect();
    builder.declare_classes(map, sources);
    if let Some(path) = find_beside(tables, source, "json", builder, |name| name.contains("hierarchy"))? {
        builder.reads(&path);
        let root: Node = serde_json::from_slice(&files::read(&path)?).map_err(|error| Error::Labels {
            path: path.clone(),
            at: format!("line {}", error.line()),
            reason: error.to_string(),
        })?;
        let mut parents = BTreeMap::new();
        root.collect(None, &ids, &mut parents);
        builder.hierarchy(parents);
    }
    Ok(())
}

/// A class and those below it.
#[derive(Deserialize)]
struct Node {
    #[serde(rename = "LabelName")]
    label: String,
    #[serde(rename = "Subcategory", default)]
    subcategories: Vec<Node>,
}

impl Node {
    /// Notes the parents of each class; the root of the hierarchy ("Entity") is none of the classes. The depth is
    /// bounded by the JSON parser.
    fn collect(&self, parent: Option<u32>, ids: &HashMap<&str, u32>, parents: &mut BTreeMap<u32, Vec<u32>>) {
        let id = ids.get(self.label.as_str()).copied();
        if let (Some(id), Some(parent)) = (id, parent) {
            let known: &mut Vec<u32> = parents.entry(id).or_default();
            if !known.contains(&parent) {
                known.push(parent);
            }
        }
        for node in &self.subcategories {
            node.collect(id.or(parent), ids, parents);
        }
    }
}

fn picture_folder(source: &Source, split: Option<&str>) -> PathBuf {
    let base = source.pictures_path().unwrap_or_else(|| source.base().to_owned());
    let mut folders = Vec::new();
    if let Some(split) = split {
        folders.extend([base.join(split), base.join("images").join(split)]);
    }
    folders.push(base.join("images"));
    folders.into_iter().find(|folder| folder.is_dir()).unwrap_or(base)
}
