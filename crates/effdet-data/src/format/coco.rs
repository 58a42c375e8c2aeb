//! COCO instances JSON.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use effdet_core::{ClassMap, ImageSize};

use super::coco_json::{AnnotationJson, CategoryJson, ImageJson, elements, stream_error};
use super::json_stream::Stream;
use super::{Parsed, refused};
use crate::Error;
use crate::builder::{Corners, DatasetBuilder, Draft, DraftObject};
use crate::dirt::{Action, At, DirtKind};
use crate::files;
use crate::options::{ClassIds, ParseOptions, Pixels, Source};
use crate::record::{Object, RecordId};

/// Reads COCO instances files.
///
/// [`Source::labels`] is a file or a folder of them; by default `annotations/instances_*.json`, else any JSON with
/// `images` in `annotations`, in the root, or `_annotations.coco.json` in the folders of the splits. Several files make one
/// data set, each a split: `instances_train2017.json` is `train2017`. Pictures are looked for in the folder of the
/// split, below `images` or not, in `images`, beside the file and in the root. Where two files give different pictures
/// one id, that of the later file becomes a text with the split before it (`val/1`). A picture that two files describe is
/// one record in both splits, with what they both say of it once, and [`DirtKind::DuplicateId`]; so is one that a file lists
/// under two ids.
///
/// Category ids are those of their file, and classes are told apart by their names. A class has the id of the first file
/// that names it. Where that is another class's it has one that a later file gives it, or the next one above all that are
/// stated; this, too, and another id for a class that was named before, is [`DirtKind::DuplicateId`].
///
/// Crowds are kept and marked; `ignore` is kept as [`Object::is_ignored`]; polygons and masks are passed over, of them
/// only `area` is taken. Category ids keep their gaps unless [`ClassIds::Contiguous`] is asked for. Files are
/// read in pieces, so that memory goes with the number of boxes.
///
/// # Errors
/// No file, a file that is no JSON object with `images` and arrays of objects, and dirt whose policy is an error.
///
/// # Reference
/// pycocotools `COCO` (which keeps the polygons) and effdet's `CocoParser` (which drops `ignore`d objects and those
/// narrower than one pixel; here the first are marked and the second kept).
pub fn parse(source: &Source, options: &ParseOptions) -> Result<Parsed, Error> {
    let pixels = options.pixels.unwrap_or(Pixels::Continuous);
    let mut builder = DatasetBuilder::new("coco", source, Corners::Pixels(pixels), options).states_sizes();
    let mut paths = label_files(source, &mut builder)?;
    if let Some(wanted) = &source.split
        && paths.iter().any(|path| split_name(path) == *wanted)
    {
        paths.retain(|path| split_name(path) == *wanted);
    }
    let mut files = Vec::new();
    for path in paths {
        builder.reads(&path);
        let reader = files::open(&path)?;
        files.push(read(reader, &path, &mut builder)?);
    }
    let classes = declare_classes(&mut builder, &mut files, options)?;
    for (file, classes) in files.into_iter().zip(&classes) {
        add(&mut builder, file, classes, source)?;
    }
    builder.finish(source)
}

/// Reads one instances file from memory; `name` stands in the errors and the report. Pictures are not looked at.
///
/// # Errors
/// As [`parse`].
pub fn parse_bytes(bytes: &[u8], name: &str, options: &ParseOptions) -> Result<Parsed, Error> {
    let source = Source::default();
    let options = ParseOptions { pictures: crate::PictureCheck::None, ..options.clone() };
    let pixels = options.pixels.unwrap_or(Pixels::Continuous);
    let mut builder = DatasetBuilder::new("coco", &source, Corners::Pixels(pixels), &options).states_sizes();
    let mut files = vec![read(bytes, Path::new(name), &mut builder)?];
    let classes = declare_classes(&mut builder, &mut files, &options)?;
    for (file, classes) in files.into_iter().zip(&classes) {
        add(&mut builder, file, classes, &source)?;
    }
    builder.finish(&source)
}

/// The key that makes a JSON an instances file.
const IMAGES: &str = "images";

/// The useful part of one file.
struct File {
    path: Arc<Path>,
    images: Vec<(RecordId, Image)>,
    annotations: Vec<Annotation>,
    /// Category ids and names, as stated.
    categories: Vec<(i64, String)>,
    /// The ids that annotations refer to pictures by; [`Annotation::image`] is an index.
    image_ids: Vec<RecordId>,
}

struct Image {
    file_name: String,
    size: Option<ImageSize>,
}

/// An annotation in few bytes; there are millions.
struct Annotation {
    /// Own id, or the position in the file if it has none.
    id: Result<i64, u32>,
    corners: [f32; 4],
    area: Option<f32>,
    score: Option<f32>,
    image: u32,
    category: i64,
    is_crowd: bool,
    is_ignored: bool,
}

fn read(reader: impl Read, path: &Path, builder: &mut DatasetBuilder) -> Result<File, Error> {
    let mut file = File {
        path: path.into(),
        images: Vec::new(),
        annotations: Vec::new(),
        categories: Vec::new(),
        image_ids: Vec::new(),
    };
    let failed = |error| stream_error(error, path);
    let mut handles: HashMap<RecordId, u32> = HashMap::new();
    let mut stream = Stream::new(reader);
    stream.open().map_err(failed)?;
    let mut first = true;
    let mut has_images = false;
    while let Some(key) = stream.key(first).map_err(failed)? {
        first = false;
        match key.as_str() {
            IMAGES => {
                has_images = true;
                elements(&mut stream, &key, path, builder, |builder, index, json: ImageJson| {
                    let at = place(Some(&json.id), index);
                    let Some(id) = number_of(builder, json.id, path, at)? else { return Ok(()) };
                    let size = size(json.width, json.height);
                    file.images.push((id, Image { file_name: json.file_name, size }));
                    Ok(())
                })?;
            }
            "categories" => {
                elements(&mut stream, &key, path, builder, |builder, index, json: CategoryJson| {
                    let at = place(Some(&json.id), index);
                    match number_of(builder, json.id, path, at)? {
                        Some(RecordId::Number(id)) => file.categories.push((id, json.name)),
                        Some(RecordId::Text(id)) => {
                            let detail = format!("category id `{id}` is no number");
                            builder.dirt(DirtKind::Malformed, path, at, detail)?;
                        }
                        None => {}
                    }
                    Ok(())
                })?;
            }
            "annotations" => {
                elements(&mut stream, &key, path, builder, |builder, index, json: AnnotationJson| {
                    let at = place(json.id.as_ref(), index);
                    let own = match json.id {
                        Some(id) => number_of(builder, id, path, at)?.and_then(|id| id.number()),
                        None => None,
                    };
                    let Some(image) = number_of(builder, json.image_id, path, at)? else { return Ok(()) };
                    let Some(category) = number_of(builder, json.category_id, path, at)? else {
                        return Ok(());
                    };
                    let RecordId::Number(category) = category else {
                        builder.dirt(
                            DirtKind::UnknownClass,
                            path,
                            at,
                            format!("category id `{category}`"),
                        )?;
                        return Ok(());
                    };
                    let next = handles.len() as u32;
                    let handle = match handles.get(&image) {
                        Some(handle) => *handle,
                        None => {
                            file.image_ids.push(image.clone());
                            handles.insert(image, next);
                            next
                        }
                    };
                    let [x, y, w, h] = json.bbox.map(|x| x.unwrap_or(f64::NAN));
                    file.annotations.push(Annotation {
                        id: own.ok_or(index.min(u32::MAX as usize) as u32),
                        corners: [x, y, x + w, y + h].map(|x| x as f32),
                        area: json.area.map(|area| area as f32),
                        score: json.score.map(|score| score as f32),
                        image: handle,
                        category,
                        is_crowd: json.iscrowd.0,
                        is_ignored: json.ignore.0,
                    });
                    Ok(())
                })?;
            }
            _ => stream.skip().map_err(failed)?,
        }
    }
    if has_images { Ok(file) } else { Err(refused(path, "no `images`; is this an instances file?")) }
}

/// Whether a file can be an instances file. One that is damaged before it says so is an error, and not taken for another
/// kind of JSON.
fn can_be_instances(path: &Path) -> Result<bool, Error> {
    let failed = |error| stream_error(error, path);
    let mut stream = Stream::new(files::open(path)?);
    if let Err(error) = stream.open() {
        // A list, of results for example.
        return if stream.enter_array().map_err(failed)? { Ok(false) } else { Err(failed(error)) };
    }
    let mut first = true;
    while let Some(key) = stream.key(first).map_err(failed)? {
        if key == IMAGES {
            return Ok(true);
        }
        first = false;
        stream.skip().map_err(failed)?;
    }
    Ok(false)
}

fn place(id: Option<&RecordId>, index: usize) -> At {
    id.and_then(RecordId::number).map_or(At::Entry(index), At::Id)
}

/// The id, with a number in a string read as the number; `None` if it is to be skipped. With zeros in front it stays a
/// text: `1` and `001` are two pictures.
fn number_of(
    builder: &mut DatasetBuilder,
    id: RecordId,
    path: &Path,
    at: At,
) -> Result<Option<RecordId>, Error> {
    if let RecordId::Text(text) = &id
        && let Ok(number) = text.parse::<i64>()
        && number.to_string() == *text
    {
        let action = builder.dirt(DirtKind::StringId, path, at, format!("\"{text}\" for {number}"))?;
        return Ok((action == Action::Fixed).then_some(RecordId::Number(number)));
    }
    Ok(Some(id))
}

fn size(width: Option<f64>, height: Option<f64>) -> Option<ImageSize> {
    let side = |x: f64| (x.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(&x)).then_some(x as usize);
    Some(ImageSize::new(side(height?)?, side(width?)?))
}

/// The classes by the category ids of one file, or their names where there are no such classes.
type Classes = HashMap<i64, Result<u32, String>>;

/// A class as the files name it.
struct Named {
    name: String,
    /// The ids that files give it, the first one first.
    stated: Vec<i64>,
    /// The first file that names it.
    file: Arc<Path>,
}

/// Declares the classes of all files; returns them for each file.
fn declare_classes(
    builder: &mut DatasetBuilder,
    files: &mut [File],
    options: &ParseOptions,
) -> Result<Vec<Classes>, Error> {
    let mut named: Vec<Named> = Vec::new();
    let mut by_name: HashMap<String, usize> = HashMap::new();
    // Classes by the ids that are theirs.
    let mut owners: BTreeMap<i64, usize> = BTreeMap::new();
    let mut of_files: Vec<HashMap<i64, usize>> = Vec::with_capacity(files.len());
    for file in files.iter_mut() {
        let path = file.path.clone();
        let mut here: HashMap<i64, usize> = HashMap::new();
        for (id, name) in std::mem::take(&mut file.categories) {
            let name = name.trim();
            if let Some(first) = here.get(&id) {
                let detail = format!("category `{name}` has the id of `{}`", named[*first].name);
                builder.dirt(DirtKind::DuplicateId, &path, At::Id(id), detail)?;
                continue;
            }
            let known = by_name.get(name).copied();
            let detail = match (known, owners.get(&id).copied()) {
                (Some(class), Some(owner)) if class == owner => None,
                (_, Some(owner)) => {
                    Some(format!("category `{name}` has the id of `{}` of another file", named[owner].name))
                }
                (Some(class), None) => {
                    Some(format!("category `{name}` has the id {}, too", named[class].stated[0]))
                }
                (None, None) => None,
            };
            if let Some(detail) = detail
                && builder.dirt(DirtKind::DuplicateId, &path, At::Id(id), detail)? == Action::Skipped
            {
                continue;
            }
            let class = known.unwrap_or(named.len());
            if known.is_none() {
                by_name.insert(name.to_owned(), class);
                owners.entry(id).or_insert(class);
                named.push(Named { name: name.to_owned(), stated: Vec::new(), file: path.clone() });
            }
            named[class].stated.push(id);
            here.insert(id, class);
        }
        of_files.push(here);
    }
    give_ids(&named, &mut owners);

    let mut classes: Vec<Option<Result<u32, String>>> = vec![None; named.len()];
    match &options.classes {
        Some(map) => {
            let mut sources = BTreeMap::new();
            for (id, class) in owners {
                let name = &named[class].name;
                let found = map.id(name).ok_or_else(|| name.clone());
                if let Ok(found) = &found {
                    sources.insert(*found, RecordId::Number(id));
                }
                classes[class] = Some(found);
            }
            builder.name_sources(sources);
        }
        None => {
            let mut shift = 0;
            if options.class_ids == ClassIds::AsStated
                && let Some(zero) = owners.get(&0)
            {
                let Named { name, file, .. } = &named[*zero];
                let detail = format!("category `{name}`");
                match builder.dirt(DirtKind::ClassIdZero, file, At::Id(0), detail)? {
                    Action::Fixed => shift = 1,
                    _ => {
                        owners.remove(&0);
                    }
                }
            }
            let mut declared = Vec::with_capacity(owners.len());
            let mut sources = BTreeMap::new();
            for (index, (source_id, class)) in (1u32..).zip(owners) {
                let id = match options.class_ids {
                    ClassIds::Contiguous => Some(index),
                    ClassIds::AsStated => source_id
                        .checked_add(shift)
                        .and_then(|id| u32::try_from(id).ok())
                        .filter(|id| *id > 0),
                };
                let Named { name, file, .. } = &named[class];
                let Some(id) = id else {
                    return Err(Error::Labels {
                        path: file.to_path_buf(),
                        at: format!("category {source_id}"),
                        reason: "the id is no class id; ask for contiguous ones".to_owned(),
                    });
                };
                classes[class] = Some(Ok(id));
                sources.insert(id, RecordId::Number(source_id));
                declared.push((id, name.clone()));
            }
            let path = files.first().map_or_else(PathBuf::new, |file| file.path.to_path_buf());
            let map = ClassMap::from_ids(declared).map_err(|source| Error::Classes { path, source })?;
            builder.declare_classes(map, sources);
        }
    }
    let of_file = |here: HashMap<i64, usize>| -> Classes {
        here.into_iter().filter_map(|(id, class)| Some((id, classes[class].clone()?))).collect()
    };
    Ok(of_files.into_iter().map(of_file).collect())
}

/// Gives an id to each class whose first one is another class's: the first of its others that is free, or else the next one
/// above all that are stated.
fn give_ids(named: &[Named], owners: &mut BTreeMap<i64, usize>) {
    let highest = named.iter().flat_map(|class| &class.stated).max().copied().unwrap_or_default().max(0);
    // What is free below serves where they reach the end of the numbers.
    let mut fresh = (highest.saturating_add(1)..=i64::MAX).chain(1..=highest);
    for (class, Named { stated, .. }) in named.iter().enumerate() {
        if owners.get(&stated[0]) != Some(&class) {
            let own = stated.iter().copied().find(|id| !owners.contains_key(id));
            if let Some(id) = own.or_else(|| fresh.find(|id| !owners.contains_key(id))) {
                owners.insert(id, class);
            }
        }
    }
}

/// Hands the pictures of one file, each with its annotations, to the builder.
fn add(
    builder: &mut DatasetBuilder,
    mut file: File,
    classes: &Classes,
    source: &Source,
) -> Result<(), Error> {
    let path = file.path.clone();
    let split = split_name(&path);
    drop_repeated_ids(builder, &mut file)?;

    let mut index: HashMap<&RecordId, usize> = HashMap::with_capacity(file.images.len());
    for (i, (id, _)) in file.images.iter().enumerate() {
        index.entry(id).or_insert(i);
    }
    let image_of: Vec<Option<usize>> = file.image_ids.iter().map(|id| index.get(id).copied()).collect();
    drop(index);

    // Sorted by picture, in the order of the file within each.
    let mut starts = vec![0usize; file.images.len() + 1];
    for annotation in &file.annotations {
        match image_of.get(annotation.image as usize).copied().flatten() {
            Some(image) => starts[image + 1] += 1,
            None => {
                let id = &file.image_ids[annotation.image as usize];
                let detail = format!("no picture has the id {id}");
                builder.leave_out(DirtKind::LabelsWithoutPicture, &path, at_of(annotation), detail)?;
            }
        }
    }
    for i in 1..starts.len() {
        starts[i] += starts[i - 1];
    }
    let mut order = vec![0u32; starts.last().copied().unwrap_or(0)];
    let mut next = starts.clone();
    for (i, annotation) in file.annotations.iter().enumerate() {
        if let Some(image) = image_of.get(annotation.image as usize).copied().flatten() {
            order[next[image]] = i as u32;
            next[image] += 1;
        }
    }

    let folder = picture_folder(source, &path, &split, &file.images, builder);
    let distinct = |(id, image): &(RecordId, Image)| {
        builder.distinct_id(id.clone(), &folder.join(&image.file_name), &split)
    };
    let ids: Vec<RecordId> = file.images.iter().map(distinct).collect();
    let mut unknown = Vec::new();
    let annotations = &file.annotations;
    let drafts = std::mem::take(&mut file.images).into_iter().enumerate().map(|(i, (id, image))| {
        let members = &order[starts[i]..starts[i + 1]];
        let objects = members.iter().filter_map(|&member| {
            let annotation = &annotations[member as usize];
            match classes.get(&annotation.category) {
                Some(Ok(class)) => Some(DraftObject {
                    corners: annotation.corners.map(f64::from),
                    class: *class,
                    area: annotation.area,
                    flags: Object {
                        score: annotation.score,
                        is_crowd: annotation.is_crowd,
                        is_ignored: annotation.is_ignored,
                        ..Object::default()
                    },
                    at: at_of(annotation),
                }),
                other => {
                    unknown.push((member, other.and_then(|name| name.clone().err())));
                    None
                }
            }
        });
        let at = place(Some(&id), i);
        let objects = objects.collect();
        Draft {
            id: ids[i].clone(),
            path: folder.join(image.file_name),
            size: image.size,
            objects,
            file: path.clone(),
            at,
            if_absent: DirtKind::MissingPicture,
        }
    });
    builder.extend(drafts)?;
    for (member, name) in unknown {
        let annotation = &annotations[member as usize];
        let name = name.map_or_else(String::new, |name| format!(" (`{name}`)"));
        let detail = format!("category {}{name}", annotation.category);
        builder.dirt(DirtKind::UnknownClass, &path, at_of(annotation), detail)?;
    }
    builder.split(&split, ids);
    Ok(())
}

fn at_of(annotation: &Annotation) -> At {
    annotation.id.map_or_else(|index| At::Entry(index as usize), At::Id)
}

fn drop_repeated_ids(builder: &mut DatasetBuilder, file: &mut File) -> Result<(), Error> {
    let mut ids: Vec<i64> = file.annotations.iter().filter_map(|a| a.id.ok()).collect();
    ids.sort_unstable();
    let mut repeated: Vec<i64> =
        ids.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    repeated.dedup();
    if repeated.is_empty() {
        return Ok(());
    }
    let mut seen = vec![false; repeated.len()];
    let mut kept = Vec::with_capacity(file.annotations.len());
    for annotation in std::mem::take(&mut file.annotations) {
        let which = annotation.id.ok().and_then(|id| repeated.binary_search(&id).ok());
        if let Some(which) = which
            && std::mem::replace(&mut seen[which], true)
        {
            let at = at_of(&annotation);
            let detail = "an earlier annotation has this id";
            if builder.dirt(DirtKind::DuplicateId, &file.path, at, detail)? == Action::Skipped {
                continue;
            }
        }
        kept.push(annotation);
    }
    file.annotations = kept;
    Ok(())
}

fn label_files(source: &Source, builder: &mut DatasetBuilder) -> Result<Vec<PathBuf>, Error> {
    // JSON files of other kinds that were found in search of instances files.
    let mut others = Vec::new();
    let given = source.labels_path().or_else(|| source.root.is_file().then(|| source.root.clone()));
    if let Some(path) = given {
        builder.reads(&path);
        if !path.is_dir() {
            return Ok(vec![path]);
        }
        let found = instances_among(files::files_in(&path, &["json"])?, builder, &mut others)?;
        return if found.is_empty() { Err(not_found(&path, &others)) } else { Ok(found) };
    }
    for folder in [source.root.join("annotations"), source.root.clone()] {
        builder.reads(&folder);
        if !folder.is_dir() {
            continue;
        }
        let mut found = files::files_in(&folder, &["json"])?;
        if found.iter().any(|path| is_called_instances(path)) {
            found.retain(|path| is_called_instances(path));
        }
        let found = instances_among(found, builder, &mut others)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let mut found = Vec::new();
    let entries = fs::read_dir(&source.root).map_err(files::unreadable(&source.root))?;
    for folder in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        let path = folder.join("_annotations.coco.json");
        builder.reads(&path);
        if path.is_file() {
            found.push(path);
        }
    }
    found.sort_unstable();
    if found.is_empty() { Err(not_found(&source.root, &others)) } else { Ok(found) }
}

fn is_called_instances(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("instances"))
}

/// The instances files among JSON files; the rest goes to `others`. What is called one is taken for one unseen, and an
/// error later if it is none.
fn instances_among(
    paths: Vec<PathBuf>,
    builder: &mut DatasetBuilder,
    others: &mut Vec<PathBuf>,
) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for path in paths {
        if is_called_instances(&path) || can_be_instances(&path)? {
            found.push(path);
        } else {
            builder.reads(&path);
            others.push(path);
        }
    }
    Ok(found)
}

fn not_found(path: &Path, others: &[PathBuf]) -> Error {
    /// Names that a message has room for.
    const NAMED: usize = 5;
    let mut what = "no COCO instances file (.json) here".to_owned();
    if !others.is_empty() {
        let mut names: Vec<String> =
            others.iter().take(NAMED).map(|path| path.display().to_string()).collect();
        if others.len() > NAMED {
            names.push(format!("{} more", others.len() - NAMED));
        }
        what = format!("{what}; without `images`: {}", names.join(", "));
    }
    Error::LabelsNotFound { path: path.to_owned(), what }
}

/// `train2017` of `instances_train2017.json`, `train` of `train/_annotations.coco.json`.
fn split_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    if stem.starts_with("_annotations") {
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
        return folder.to_string_lossy().into_owned();
    }
    stem.strip_prefix("instances_").unwrap_or(&stem).to_owned()
}

/// The first folder of the usual ones that has one of the first pictures, else the first that is there.
fn picture_folder(
    source: &Source,
    labels: &Path,
    split: &str,
    images: &[(RecordId, Image)],
    builder: &mut DatasetBuilder,
) -> PathBuf {
    let base = source.base();
    let mut folders = match source.pictures_path() {
        Some(folder) => vec![folder.join(split), folder],
        None => vec![base.join(split), base.join("images").join(split), base.join("images")],
    };
    if source.pictures.is_none() {
        folders.push(files::folder_of(labels).to_owned());
        folders.push(base.to_owned());
    }
    let has_picture =
        |folder: &PathBuf| images.iter().take(8).any(|(_, image)| folder.join(&image.file_name).is_file());
    let first = folders.iter().position(has_picture);
    let looked_at = first.map_or(folders.len(), |first| first + 1);
    folders[..looked_at].iter().for_each(|folder| builder.reads(folder));
    let found = match first {
        Some(first) => folders.get(first),
        None => folders.iter().find(|folder| folder.is_dir()),
    };
    found.cloned().unwrap_or_else(|| base.to_owned())
}
