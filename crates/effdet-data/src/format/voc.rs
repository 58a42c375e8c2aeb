//! Pascal VOC XML.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use effdet_core::ImageSize;
use effdet_core::label_text::{before_flag, is_set};
use rayon::prelude::*;

use super::xml::{self, Item};
use super::{Parsed, parse_number};
use crate::Error;
use crate::builder::{Corners, DatasetBuilder, Draft, DraftObject};
use crate::dirt::{Action, At, DirtKind};
use crate::files::{self, PicturesByStem};
use crate::options::{ParseOptions, Pixels, Source};
use crate::record::{Object, RecordId};

/// Reads one XML file per picture in the layout of Pascal VOC 2007 and 2012.
///
/// The root has `Annotations`, `JPEGImages` and `ImageSets/Main`, or is a `VOCdevkit` with several folders of this kind
/// (`VOC2007`, `VOC2012`), which become one set: its splits `train`, `val`, `trainval` and `test` join theirs, and
/// `VOC2007/trainval` and so on keep them apart. XML files beside the pictures, or in [`Source::labels`] with the
/// pictures in [`Source::pictures`], will do as well.
///
/// A record's id is the stem of its XML file; where an earlier year has that stem, with the year before it
/// (`VOC2012/000001`). Its picture has the name that the XML states, or else that stem. Only the
/// boxes of objects count, not those of parts inside them. Coordinates may be fractions and in any order. By
/// default they are pixel numbers from 1, both ends inside ([`Pixels::OneBased`]); a box with `xmin == xmax` is
/// reported as without area all the same, for nobody labels single pixels on purpose. `difficult` objects are kept and
/// marked. Lists with a flag on each line (one per class in the original) are no splits and are passed over.
///
/// # Errors
/// No XML file, and dirt whose policy is an error; XML that is not well-formed is [`DirtKind::Malformed`].
///
/// # Reference
/// The VOC2012 development kit. effdet's `VocParser` rounds to whole pixels and subtracts 1 from all corners; that is
/// [`Pixels::Effdet`].
pub fn parse(source: &Source, options: &ParseOptions) -> Result<Parsed, Error> {
    let corners = Corners::Pixels(options.pixels.unwrap_or(Pixels::OneBased));
    let mut builder = DatasetBuilder::new("voc", source, corners, options);
    let years = devkit_years(source, &mut builder)?;
    if years.is_empty() {
        add(source, "", &mut builder)?;
    }
    for year in years {
        let name = year.file_name().unwrap_or_default().to_string_lossy().into_owned();
        add(&Source::new(year), &name, &mut builder)?;
    }
    builder.finish(source)
}

/// Reads one XML file from memory as the labels of the picture `name`. The picture is not looked at.
///
/// # Errors
/// As [`parse`].
pub fn parse_bytes(bytes: &[u8], name: &str, options: &ParseOptions) -> Result<Parsed, Error> {
    let source = Source::default();
    let options = ParseOptions { pictures: crate::PictureCheck::None, ..options.clone() };
    let corners = Corners::Pixels(options.pixels.unwrap_or(Pixels::OneBased));
    let mut builder = DatasetBuilder::new("voc", &source, corners, &options);
    let path: Arc<Path> = Path::new(name).into();
    match read_xml(bytes) {
        Ok(xml) => {
            let draft = draft(&mut builder, xml, RecordId::from_stem(&path), path.to_path_buf(), &path)?;
            builder.extend([draft])?;
        }
        Err(reason) => drop(builder.dirt(DirtKind::Malformed, &path, At::File, reason)?),
    }
    builder.finish(&source)
}

/// What an XML file says.
#[derive(Debug, Default)]
pub(super) struct Annotation {
    pub filename: String,
    pub size: Option<ImageSize>,
    pub objects: Vec<XmlObject>,
}

#[derive(Debug)]
pub(super) struct XmlObject {
    pub name: String,
    /// `[xmin, ymin, xmax, ymax]`, NaN where absent or no number.
    pub corners: [f64; 4],
    pub has_box: bool,
    pub flags: Object,
}

pub(super) fn read_xml(bytes: &[u8]) -> Result<Annotation, String> {
    let text =
        std::str::from_utf8(bytes).map_err(|error| format!("byte {}: not UTF-8", error.valid_up_to()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut annotation = Annotation::default();
    let (mut width, mut height) = (0.0, 0.0);
    let mut root = None;
    let number = |text: &str| parse_number(text).map_or(f64::NAN, |(number, _)| number);
    xml::walk(text, |item| match item {
        Item::Start([top]) => root = Some(top.clone()),
        Item::Start([_, object]) if object == "object" => annotation.objects.push(XmlObject {
            name: String::new(),
            corners: [f64::NAN; 4],
            has_box: false,
            flags: Object::default(),
        }),
        Item::Text([_, tag], text) if tag == "filename" => annotation.filename = text.to_owned(),
        Item::Text([_, parent, tag], text) if parent == "size" => match tag.as_str() {
            "width" => width = number(text),
            "height" => height = number(text),
            _ => {}
        },
        Item::Text([_, parent, tag], text) if parent == "object" => {
            if let Some(object) = annotation.objects.last_mut() {
                let is_set = is_set(text);
                match tag.as_str() {
                    "name" => object.name = text.to_owned(),
                    "difficult" => object.flags.is_difficult = is_set,
                    "truncated" => object.flags.is_truncated = is_set,
                    "occluded" => object.flags.is_occluded = is_set,
                    _ => {}
                }
            }
        }
        Item::Text([_, parent, bndbox, tag], text) if parent == "object" && bndbox == "bndbox" => {
            if let Some(object) = annotation.objects.last_mut() {
                object.has_box = true;
                let which = ["xmin", "ymin", "xmax", "ymax"].iter().position(|name| name == tag);
                if let Some(which) = which {
                    object.corners[which] = number(text);
                }
            }
        }
        _ => {}
    })
    .map_err(|(byte, reason)| format!("byte {byte}: {reason}"))?;
    if root.as_deref() != Some("annotation") {
        return Err(format!("the root element is <{}>, not <annotation>", root.unwrap_or_default()));
    }
    let side = |x: f64| (x >= 1.0 && x <= f64::from(u32::MAX)).then_some(x as usize);
    annotation.size = side(height).zip(side(width)).map(|(height, width)| ImageSize::new(height, width));
    Ok(annotation)
}

pub(super) fn draft(
    builder: &mut DatasetBuilder,
    annotation: Annotation,
    id: RecordId,
    picture: PathBuf,
    file: &Arc<Path>,
) -> Result<Draft, Error> {
    let mut objects = Vec::with_capacity(annotation.objects.len());
    for (index, object) in annotation.objects.into_iter().enumerate() {
        let at = At::Entry(index);
        if !object.has_box {
            builder.dirt(
                DirtKind::Malformed,
                file,
                at,
                format!("the object `{}` has no box", object.name),
            )?;
            continue;
        }
        let Some(class) = builder.class(&object.name, file, at)? else { continue };
        objects.push(DraftObject { corners: object.corners, class, area: None, flags: object.flags, at });
    }
    Ok(Draft {
        id,
        path: picture,
        size: annotation.size,
        objects,
        file: file.clone(),
        at: At::File,
        if_absent: DirtKind::LabelsWithoutPicture,
    })
}

/// Reads and parses XML files in parallel, keeping their order.
pub(super) fn read_files(paths: &[PathBuf]) -> Vec<Result<Result<Annotation, String>, Error>> {
    paths.par_iter().map(|path| files::read(path).map(|bytes| read_xml(&bytes))).collect()
}

/// The folders of a `VOCdevkit` that have annotations.
fn devkit_years(source: &Source, builder: &mut DatasetBuilder) -> Result<Vec<PathBuf>, Error> {
    let devkit = source.folder(&["VOCdevkit"]).unwrap_or_else(|| source.root.clone());
    if source.labels.is_some() || source.folder(&["Annotations", "annotations"]).is_some() {
        return Ok(Vec::new());
    }
    builder.reads(&devkit);
    let entries = std::fs::read_dir(&devkit).map_err(files::unreadable(&devkit))?;
    let mut years: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("Annotations").is_dir())
        .collect();
    years.sort_unstable();
    Ok(years)
}

/// Adds one folder of XML files; `year` tells several of them apart.
fn add(source: &Source, year: &str, builder: &mut DatasetBuilder) -> Result<(), Error> {
    let labels = source.labels_path().or_else(|| source.folder(&["Annotations", "annotations"]));
    let labels = labels.unwrap_or_else(|| source.root.clone());
    let folder = source.pictures_path().or_else(|| source.folder(&["JPEGImages", "images", "Images"]));
    let folder = folder.unwrap_or_else(|| match labels.is_file() {
        true => files::folder_of(&labels).to_owned(),
        false => labels.clone(),
    });
    let paths = if labels.is_file() { vec![labels.clone()] } else { files::files_in(&labels, &["xml"])? };
    if paths.is_empty() {
        return Err(Error::LabelsNotFound {
            path: labels,
            what: "no Pascal VOC file (.xml) here".to_owned(),
        });
    }
    builder.reads(&labels);
    let pictures = builder.pictures_below(&folder)?;
    let by_name: BTreeMap<_, _> =
        pictures.iter().filter_map(|path| Some((path.file_name()?.to_owned(), path))).collect();
    let by_stem = PicturesByStem::new(&pictures);

    let mut drafts = Vec::with_capacity(paths.len());
    let mut named: BTreeSet<PathBuf> = BTreeSet::new();
    let mut labelled: BTreeSet<String> = BTreeSet::new();
    // Of this year, by stem.
    let mut ids: HashMap<String, RecordId> = HashMap::with_capacity(paths.len());
    for (path, read) in paths.iter().zip(read_files(&paths)) {
        builder.reads(path);
        let file: Arc<Path> = path.as_path().into();
        let stem = path.file_stem().unwrap_or_default();
        labelled.insert(stem.to_string_lossy().into_owned());
        let annotation = match read? {
            Ok(annotation) => annotation,
            Err(reason) => {
                builder.dirt(DirtKind::Malformed, path, At::File, reason)?;
                named.extend(by_stem.get(stem).cloned());
                continue;
            }
        };
        // Some tools write paths of their own machine, with either slash.
        let stated = annotation.filename.rsplit(['/', '\\']).next().unwrap_or_default();
        let picture = by_name.get(std::ffi::OsStr::new(stated)).copied().or_else(|| by_stem.get(stem));
        let picture = picture.cloned().unwrap_or_else(|| match stated {
            "" => folder.join(format!("{}.jpg", stem.to_string_lossy())),
            stated => folder.join(stated),
        });
        named.insert(picture.clone());
        let id = builder.distinct_id(RecordId::from_stem(path), &picture, year);
        ids.insert(stem.to_string_lossy().into_owned(), id.clone());
        drafts.push(draft(builder, annotation, id, picture, &file)?);
    }
    builder.extend(drafts)?;

    let mut unlabelled = Vec::new();
    for path in pictures.iter().filter(|path| !named.contains(*path)) {
        let detail = "no XML file is about it";
        if builder.dirt(DirtKind::PictureWithoutLabels, path, At::File, detail)? == Action::Fixed {
            let id = builder.distinct_id(RecordId::from_stem(path), path, year);
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            ids.entry(stem).or_insert_with(|| id.clone());
            unlabelled.push(Draft {
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
    builder.extend(unlabelled)?;

    let lists = read_lists(source, year, &labelled, &ids, builder)?;
    // Pictures that a list names, by stem, and the first list that does.
    let mut listed: BTreeMap<&str, &Path> = BTreeMap::new();
    for (path, stems) in &lists {
        for stem in stems {
            listed.entry(stem).or_insert(path);
        }
    }
    for (stem, list) in listed {
        if !labelled.contains(stem) && by_stem.get(stem).is_none() {
            let detail = format!("`{stem}` has neither picture nor XML file");
            builder.leave_out(DirtKind::MissingPicture, list, At::File, detail)?;
        }
    }
    Ok(())
}

/// The split files, which are made known to the builder, and the stems in each.
fn read_lists(
    source: &Source,
    year: &str,
    labelled: &BTreeSet<String>,
    ids: &HashMap<String, RecordId>,
    builder: &mut DatasetBuilder,
) -> Result<Vec<(PathBuf, Vec<String>)>, Error> {
    let folder = source.root.join("ImageSets/Main");
    builder.reads(&folder);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut lists = Vec::new();
    for path in files::files_in(&folder, &["txt"])? {
        builder.reads(&path);
        let text = files::read_text(&path)?;
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
        let has_flag = |line: &str| before_flag(line).is_some() && !labelled.contains(line);
        if lines().next().is_some() && lines().all(has_flag) {
            continue;
        }
        let stems: Vec<String> = lines().map(str::to_owned).collect();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        // A stem that is nothing of this year must not lead to a record of another year.
        let members: Vec<RecordId> = stems.iter().filter_map(|stem| ids.get(stem).cloned()).collect();
        if !year.is_empty() {
            builder.split(&format!("{year}/{name}"), members.iter().cloned());
        }
        builder.split(&name, members);
        lists.push((path, stems));
    }
    Ok(lists)
}
