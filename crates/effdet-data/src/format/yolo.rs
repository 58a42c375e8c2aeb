//! YOLO text files.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use effdet_core::ClassMap;
use rayon::prelude::*;

use super::yaml::{Yaml, read_yaml};
use super::{Parsed, refused};
use crate::Error;
use crate::builder::{Corners, DatasetBuilder, Draft, DraftObject};
use crate::dirt::{Action, At, DirtKind};
use crate::files;
use crate::options::{ParseOptions, Source};
use crate::record::{Object, RecordId};

/// The keys of a description and the splits that they name.
const SPLITS: [(&str, &str); 4] = [("train", "train"), ("val", "val"), ("valid", "val"), ("test", "test")];

/// Most classes that are made without names for them.
const MAX_UNNAMED: u32 = 10_000;

/// Reads one text file per picture: lines of `class x y width height`, centre and size as fractions of the picture.
///
/// The root, or [`Source::labels`], is a `data.yaml` or a folder with one, of that or any other name: its `train`, `val` (or
/// `valid`) and `test` are folders of pictures, text files listing pictures, or lists of these, relative to its `path`;
/// `names` is a list or a map. A picture that a text file lists again (to train on it more often) is
/// [`DirtKind::DuplicateId`] and one record all the same. Darknet's `.data` files will do as well, and so will a bare
/// folder with `images`, `labels` and `classes.txt`: all of `images` is `train`, unless there is a folder in it whose name
/// begins with `train`, `val` or `test`. Then every folder in it is a split, and pictures beside them are
/// [`DirtKind::UnlistedPicture`].
///
/// The labels of `images/a/b.jpg` are in `labels/a/b.txt`, else beside the picture. A picture without a label file or
/// with an empty one is a negative, as in YOLO's trainers. Lines with seven or more columns are polygons, of
/// which the enclosing box is taken. Classes are numbered from 0 in the files and from 1 here. Sizes come from the
/// headers of the pictures. YOLO has no crowds and no difficult objects.
///
/// # Errors
/// None of these files, a `data.yaml` that is no YAML map, one (or a `.data` file) that names no split or what is not there,
/// and dirt whose policy is an error.
///
/// # Reference
/// Ultralytics' data set format.
pub fn parse(source: &Source, options: &ParseOptions) -> Result<Parsed, Error> {
    let mut builder = DatasetBuilder::new("yolo", source, Corners::Fractions, options);
    let layout = Layout::find(source, &mut builder)?;
    let lines = read_labels(&layout.pictures, &mut builder)?;
    let names = match &layout.names {
        Some(names) => names.clone(),
        None => {
            let highest = lines.iter().flatten().map(|line| line.class).filter(|c| *c < MAX_UNNAMED).max();
            (0..highest.map_or(0, |class| class + 1)).map(|class| (class, class.to_string())).collect()
        }
    };
    declare_classes(&mut builder, &layout.file, &names)?;

    // The stem is the id where it is unique.
    let mut stems: HashMap<&std::ffi::OsStr, usize> = HashMap::new();
    for picture in &layout.pictures {
        *stems.entry(picture.path.file_stem().unwrap_or_default()).or_default() += 1;
    }
    let base = layout.file.parent().unwrap_or(&layout.file);
    let id_of = |path: &Path| match stems.get(path.file_stem().unwrap_or_default()) {
        Some(1) => RecordId::from_stem(path),
        _ => {
            let below = path.strip_prefix(base).unwrap_or(path).with_extension("");
            RecordId::Text(below.to_string_lossy().replace('\\', "/"))
        }
    };
    let mut drafts = Vec::with_capacity(layout.pictures.len());
    for (picture, lines) in layout.pictures.iter().zip(lines) {
        drafts.push(Draft {
            id: id_of(&picture.path),
            path: picture.path.clone(),
            size: None,
            objects: objects(lines, &names, &picture.labels, &mut builder)?,
            file: picture.labels.as_path().into(),
            at: At::File,
            if_absent: DirtKind::MissingPicture,
        });
    }
    builder.extend(drafts)?;
    for (split, members) in &layout.splits {
        builder.split(split, members.iter().map(|i| id_of(&layout.pictures[*i].path)));
    }
    report_labels_without_picture(&layout, &mut builder)?;
    builder.finish(source)
}

/// Reads one label file from memory; `name`, with the extension of a picture, stands for the picture beside it, whose
/// size is needed where there are boxes.
///
/// # Errors
/// As [`parse`].
pub fn parse_bytes(bytes: &[u8], name: &str, options: &ParseOptions) -> Result<Parsed, Error> {
    let source = Source::default();
    let mut builder = DatasetBuilder::new("yolo", &source, Corners::Fractions, options);
    let path = Path::new(name);
    let lines = read_lines(bytes, path, &mut builder)?;
    let highest = lines.iter().map(|line| line.class).filter(|class| *class < MAX_UNNAMED).max();
    let names = (0..highest.map_or(0, |class| class + 1)).map(|class| (class, class.to_string())).collect();
    declare_classes(&mut builder, path, &names)?;
    let draft = Draft {
        id: RecordId::from_stem(path),
        path: path.to_owned(),
        size: None,
        objects: objects(lines, &names, path, &mut builder)?,
        file: path.into(),
        at: At::File,
        if_absent: DirtKind::MissingPicture,
    };
    builder.extend([draft])?;
    builder.finish(&source)
}

/// Reads the names of a `data.yaml` from memory, by YOLO's class numbers (from 0); `name` stands in the errors.
///
/// # Errors
/// [`Error::Labels`] if it is no YAML map or its `names` are neither a list nor a map of numbers.
pub fn names_of_yaml(bytes: &[u8], name: &str) -> Result<BTreeMap<u32, String>, Error> {
    let path = Path::new(name);
    let text = std::str::from_utf8(bytes).map_err(|error| refused(path, error.to_string()))?;
    names_of(&read_yaml(text, path)?, path)
}

/// A picture and where its labels are, if it has any.
struct Picture {
    path: PathBuf,
    labels: PathBuf,
}

/// Which pictures there are.
struct Layout {
    /// The file that describes the data set, or its folder.
    file: PathBuf,
    names: Option<BTreeMap<u32, String>>,
    pictures: Vec<Picture>,
    /// The pictures' indices by their paths.
    known: HashMap<PathBuf, usize>,
    splits: BTreeMap<String, Vec<usize>>,
    lists: BTreeSet<PathBuf>,
}

impl Layout {
    fn find(source: &Source, builder: &mut DatasetBuilder) -> Result<Self, Error> {
        let given = source.labels_path().unwrap_or_else(|| source.root.clone());
        let file = match given.is_file() {
            true => given,
            false => description_in(&given, builder)?.unwrap_or(given),
        };
        let mut layout = Self {
            file,
            names: None,
            pictures: Vec::new(),
            known: HashMap::new(),
            splits: BTreeMap::new(),
            lists: BTreeSet::new(),
        };
        builder.reads(&layout.file);
        if !layout.file.is_file() {
            layout.find_bare(source, builder)?;
            return Ok(layout);
        }
        match is_darknet(&layout.file) {
            true => layout.find_darknet(source, builder)?,
            false => layout.find_yaml(source, builder)?,
        }
        if layout.splits.is_empty() {
            return Err(refused(&layout.file, "it names no pictures: no train, val (or valid) or test"));
        }
        Ok(layout)
    }

    fn find_yaml(&mut self, source: &Source, builder: &mut DatasetBuilder) -> Result<(), Error> {
        let yaml = read_yaml(&files::read_text(&self.file)?, &self.file)?;
        self.names = Some(names_of(&yaml, &self.file)?).filter(|names| !names.is_empty());
        let beside = self.file.parent().unwrap_or(Path::new("")).to_owned();
        let stated = yaml.get("path").and_then(Yaml::stated).map(|path| beside.join(path));
        let base = stated.filter(|path| path.is_dir()).unwrap_or(beside);
        for (key, split) in SPLITS {
            let places: Vec<&str> = match yaml.get(key) {
                Some(Yaml::List(places)) => places.iter().filter_map(Yaml::stated).collect(),
                place => place.and_then(Yaml::stated).into_iter().collect(),
            };
            for place in places {
                // Roboflow writes `../train/images` for what lies beside the file.
                let below = place.trim_start_matches("../").trim_start_matches("./");
                let candidates = [base.join(place), base.join(below)];
                let place = existing(candidates, key, &self.file)?;
                self.add(&place, split, &base, source, builder)?;
            }
        }
        Ok(())
    }

    fn find_darknet(&mut self, source: &Source, builder: &mut DatasetBuilder) -> Result<(), Error> {
        let text = files::read_text(&self.file)?;
        let beside = self.file.parent().unwrap_or(Path::new("")).to_owned();
        let file = self.file.clone();
        let values = darknet_values(&text);
        // Stated paths start from wherever darknet is run.
        let find = |key: &str| {
            let Some(place) = values.get(key) else { return Ok(None) };
            let name = Path::new(place).file_name().unwrap_or_default();
            existing([beside.join(place), beside.join(name)], key, &file).map(Some)
        };
        if let Some(path) = find("names")? {
            builder.reads(&path);
            self.names = Some(names_by_line(&files::read_text(&path)?));
        }
        for (key, split) in SPLITS {
            if let Some(path) = find(key)? {
                self.add(&path, split, &beside, source, builder)?;
            }
        }
        Ok(())
    }

    fn find_bare(&mut self, source: &Source, builder: &mut DatasetBuilder) -> Result<(), Error> {
        let folder = self.file.clone();
        for name in ["classes.txt", "obj.names", "labels/classes.txt"] {
            let path = folder.join(name);
            if path.is_file() {
                builder.reads(&path);
                self.names = Some(names_by_line(&files::read_text(&path)?));
                break;
            }
        }
        let images = source.pictures_path().unwrap_or_else(|| folder.join("images"));
        if !images.is_dir() {
            let what = "no data.yaml, no .data file and no folder `images` here".to_owned();
            return Err(Error::LabelsNotFound { path: folder, what });
        }
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_split =
            |path: &PathBuf| ["train", "val", "test"].iter().any(|split| name(path).starts_with(split));
        let folders = files::folders_in(&images)?;
        if !folders.iter().any(is_split) {
            return self.add(&images, "train", &folder, source, builder);
        }
        builder.reads(&images);
        for path in folders {
            self.add(&path, &name(&path), &folder, source, builder)?;
        }
        self.splits.retain(|_, members| !members.is_empty());
        for path in files::pictures_in(&images)? {
            let detail = "it is in the folder of no split";
            if builder.dirt(DirtKind::UnlistedPicture, &path, At::File, detail)? == Action::Fixed {
                self.known.insert(path.clone(), self.pictures.len());
                self.pictures.push(Picture { labels: labels_of(&path, &folder), path });
            }
        }
        Ok(())
    }

    /// Adds the pictures in a folder or list to a split.
    fn add(
        &mut self,
        place: &Path,
        split: &str,
        base: &Path,
        source: &Source,
        builder: &mut DatasetBuilder,
    ) -> Result<(), Error> {
        builder.reads(place);
        let pictures: Vec<(At, Picture)> = if place.is_dir() {
            let paths = builder.pictures_below(place)?;
            // In parallel, for the label files are looked for.
            paths
                .into_par_iter()
                .map(|path| (At::File, Picture { labels: labels_of(&path, base), path }))
                .collect()
        } else {
            self.lists.insert(place.to_owned());
            let text = files::read_text(place)?;
            let lines = (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.is_empty());
            lines.map(|(number, line)| (At::Line(number), listed(line, place, base, source))).collect()
        };
        let members = self.splits.entry(split.to_owned()).or_default();
        let mut here = HashSet::with_capacity(pictures.len());
        for (at, picture) in pictures {
            let index = *self.known.entry(picture.path.clone()).or_insert(self.pictures.len());
            if !here.insert(index) {
                let detail = format!("{} is listed before", picture.path.display());
                builder.dirt(DirtKind::DuplicateId, place, at, detail)?;
                continue;
            }
            members.push(index);
            if index == self.pictures.len() {
                self.pictures.push(picture);
            }
        }
        Ok(())
    }
}

/// The `data.yaml`, or another description of a data set, in a folder. Files of other names may be about anything and are
/// taken only if they speak of pictures or classes.
fn description_in(folder: &Path, builder: &mut DatasetBuilder) -> Result<Option<PathBuf>, Error> {
    let usual = ["data.yaml", "data.yml", "dataset.yaml"].iter().map(|name| folder.join(name));
    if let Some(path) = usual.into_iter().find(|path| path.is_file()) {
        return Ok(Some(path));
    }
    let mut found = files::files_in(folder, &["yaml", "yml"])?;
    found.extend(files::files_in(folder, &["data"])?);
    for path in found {
        builder.reads(&path);
        let text = files::read_text(&path)?;
        let mut keys = SPLITS.iter().map(|(key, _)| *key).chain(["names"]);
        let is_description = match is_darknet(&path) {
            true => {
                let values = darknet_values(&text);
                keys.any(|key| values.contains_key(key))
            }
            false => {
                let yaml = read_yaml(&text, &path)?;
                keys.any(|key| yaml.get(key).is_some())
            }
        };
        if is_description {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn is_darknet(path: &Path) -> bool {
    files::has_extension(path, &["data"])
}

/// What the keys of a `.data` file stand for, where something is stated.
fn darknet_values(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines.map(|(key, value)| (key.trim(), value.trim())).filter(|(_, value)| !value.is_empty()).collect()
}

/// The first of the places that is there, of those that may be meant by a `key` of a description.
fn existing(places: [PathBuf; 2], key: &str, description: &Path) -> Result<PathBuf, Error> {
    let [first, second] = places;
    match (first.exists(), second.exists()) {
        (true, _) => Ok(first),
        (false, true) => Ok(second),
        (false, false) => {
            let what = format!("the `{key}` of {} is not there", description.display());
            Err(Error::LabelsNotFound { path: first, what })
        }
    }
}

/// The label file of a picture of the data set in `base`: where the last `images` of its path becomes `labels`, or beside
/// the picture.
fn labels_of(picture: &Path, base: &Path) -> PathBuf {
    let beside = picture.with_extension("txt");
    // Below the data set, for a folder `images` that it happens to lie in says nothing of its labels.
    let usual = match picture.strip_prefix(base) {
        Ok(below) => in_labels(below).map(|below| base.join(below)),
        Err(_) => in_labels(picture),
    };
    let usual = usual.unwrap_or_else(|| beside.clone());
    // Unless there are none elsewhere: the `path` of a `data.yaml` may itself lie below `images`.
    let mut candidates = [Some(usual.clone()), Some(beside), in_labels(picture)].into_iter().flatten();
    candidates.find(|path| path.is_file()).unwrap_or(usual)
}

/// The label file in the folders of labels; `None` for a picture that is not below a folder `images`.
fn in_labels(picture: &Path) -> Option<PathBuf> {
    let parts: Vec<Component> = picture.components().collect();
    let folders = parts.len().saturating_sub(1);
    let last = parts[..folders].iter().rposition(|part| part.as_os_str() == "images")?;
    let path: PathBuf = parts
        .iter()
        .enumerate()
        .map(|(i, part)| if i == last { Component::Normal("labels".as_ref()) } else { *part })
        .collect();
    Some(path.with_extension("txt"))
}

/// A line of a list of pictures. Lists are written for one machine and read on others, so several readings are tried.
fn listed(line: &str, list: &Path, base: &Path, source: &Source) -> Picture {
    let line = line.replace('\\', "/");
    let beside = list.parent().unwrap_or(base);
    let path = Path::new(line.trim_start_matches("./"));
    let mut candidates = vec![base.join(path), beside.join(path)];
    // `data/obj_train_data/a.jpg` in darknet's own folder is `obj_train_data/a.jpg` in the data set.
    let inner: PathBuf = path.components().skip(1).collect();
    candidates.push(base.join(inner));
    let is_there = |path: &&PathBuf| path.is_file() || labels_of(path, base).is_file();
    let found = candidates.iter().find(is_there).unwrap_or(&candidates[0]).clone();
    let labels = labels_of(&found, base);
    let path = match (source.pictures_path(), found.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => found,
    };
    Picture { path, labels }
}

/// One box as stated.
struct Line {
    number: u64,
    class: u32,
    corners: [f64; 4],
}

fn read_labels(pictures: &[Picture], builder: &mut DatasetBuilder) -> Result<Vec<Vec<Line>>, Error> {
    let texts: Vec<Option<Result<Vec<u8>, Error>>> = pictures
        .par_iter()
        .map(|picture| picture.labels.is_file().then(|| files::read(&picture.labels)))
        .collect();
    let mut labels = Vec::with_capacity(pictures.len());
    for (picture, text) in pictures.iter().zip(texts) {
        labels.push(match text {
            Some(bytes) => {
                builder.reads(&picture.labels);
                read_lines(&bytes?, &picture.labels, builder)?
            }
            None => Vec::new(),
        });
    }
    Ok(labels)
}

fn read_lines(bytes: &[u8], path: &Path, builder: &mut DatasetBuilder) -> Result<Vec<Line>, Error> {
    let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes));
    let mut lines = Vec::new();
    for (number, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        match read_line(text) {
            Ok((class, corners)) => lines.push(Line { number, class, corners }),
            Err(reason) => drop(builder.dirt(DirtKind::Malformed, path, At::Line(number), reason)?),
        }
    }
    Ok(lines)
}

fn read_line(text: &str) -> Result<(u32, [f64; 4]), String> {
    let mut columns = text.split_whitespace();
    let class = columns.next().unwrap_or_default();
    let number: f64 = class.parse().map_err(|_| format!("class `{class}` is no number"))?;
    if number.fract() != 0.0 || !(0.0..f64::from(u32::MAX)).contains(&number) {
        return Err(format!("class `{class}` is no class number"));
    }
    let mut values = Vec::new();
    for column in columns {
        values.push(column.parse::<f64>().map_err(|_| format!("`{column}` is no number"))?);
    }
    let corners = match values[..] {
        [x, y, width, height] => [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0],
        _ if values.len() >= 6 && values.len() % 2 == 0 => {
            let range = |start: usize| {
                let ends = (f64::INFINITY, f64::NEG_INFINITY);
                values.iter().skip(start).step_by(2).fold(ends, |(low, high), x| match x.is_nan() {
                    true => (f64::NAN, f64::NAN),
                    false => (low.min(*x), high.max(*x)),
                })
            };
            let ((x1, x2), (y1, y2)) = (range(0), range(1));
            [x1, y1, x2, y2]
        }
        _ => return Err(format!("{} columns, not class, x, y, width and height", values.len() + 1)),
    };
    Ok((number as u32, corners))
}

fn objects(
    lines: Vec<Line>,
    names: &BTreeMap<u32, String>,
    file: &Path,
    builder: &mut DatasetBuilder,
) -> Result<Vec<DraftObject>, Error> {
    let mut objects = Vec::with_capacity(lines.len());
    for line in lines {
        let at = At::Line(line.number);
        let class = match names.get(&line.class) {
            Some(name) => builder.class(name, file, at)?,
            None => {
                builder.dirt(DirtKind::UnknownClass, file, at, format!("class {}", line.class))?;
                None
            }
        };
        if let Some(class) = class {
            let (corners, flags) = (line.corners, Object::default());
            objects.push(DraftObject { corners, class, area: None, flags, at });
        }
    }
    Ok(objects)
}

fn declare_classes(
    builder: &mut DatasetBuilder,
    path: &Path,
    names: &BTreeMap<u32, String>,
) -> Result<(), Error> {
    let ids = names.iter().map(|(id, name)| (id.saturating_add(1), name.trim().to_owned()));
    let map = ClassMap::from_ids(ids).map_err(|source| Error::Classes { path: path.to_owned(), source })?;
    let sources = names.keys().map(|id| (id.saturating_add(1), RecordId::Number((*id).into()))).collect();
    builder.declare_classes(map, sources);
    Ok(())
}

/// Label files in the folders of labels whose picture is in no split.
fn report_labels_without_picture(layout: &Layout, builder: &mut DatasetBuilder) -> Result<(), Error> {
    let known: BTreeSet<&Path> = layout.pictures.iter().map(|picture| picture.labels.as_path()).collect();
    let folders: BTreeSet<&Path> =
        layout.pictures.iter().filter_map(|picture| picture.labels.parent()).collect();
    for folder in folders {
        builder.reads(folder);
        if !folder.is_dir() {
            continue;
        }
        for path in files::files_in(folder, &["txt"])? {
            let is_labels = path.file_name().is_none_or(|name| name != "classes.txt");
            if is_labels && !known.contains(path.as_path()) && !layout.lists.contains(&path) {
                builder.leave_out(
                    DirtKind::LabelsWithoutPicture,
                    &path,
                    At::File,
                    "its picture is in no split",
                )?;
            }
        }
    }
    Ok(())
}

fn names_by_line(text: &str) -> BTreeMap<u32, String> {
    (0..).zip(text.trim_end().lines().map(|line| line.trim().to_owned())).collect()
}

fn names_of(yaml: &Yaml, path: &Path) -> Result<BTreeMap<u32, String>, Error> {
    let text = |value: &Yaml| value.scalar().map(str::to_owned);
    let bad = || refused(path, "`names` is neither a list of names nor a map of numbers to names");
    match yaml.get("names") {
        None => Ok(BTreeMap::new()),
        Some(Yaml::List(names)) => {
            (0..).zip(names).map(|(id, name)| Ok((id, text(name).ok_or_else(bad)?))).collect()
        }
        Some(Yaml::Map(names)) => names
            .iter()
            .map(|(id, name)| Ok((id.parse().map_err(|_| bad())?, text(name).ok_or_else(bad)?)))
            .collect(),
        Some(Yaml::Scalar(_)) => Err(bad()),
    }
}
