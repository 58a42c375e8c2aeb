//! VOC annotation folders, split files and `comp4` detections.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use effdet_core::ClassMap;
use effdet_core::label_text::{before_flag, is_set};
use quick_xml::Reader;
use quick_xml::events::Event;
use rayon::prelude::*;

use crate::dataset::{Annotation, PendingBoxes};
use crate::findings::FindingKind;
use crate::{BoxEdges, Category, DetectionRecord, Detections, Error, GroundTruth, Id};

/// Deeper nesting than any VOC file has.
const MAX_DEPTH: usize = 64;

struct VocObject {
    name: String,
    corners: [f64; 4],
    difficult: bool,
}

impl GroundTruth {
    /// Reads VOC annotations: a folder of XML files, a VOC folder with `Annotations` in it, or a split file of
    /// `ImageSets/Main` whose VOC folder holds them.
    ///
    /// Image ids are the names of the files without their ending, which may have blanks in them; a flag behind a name in
    /// a split file (`-1`, `0` or `1`, as in the lists per class) is passed over. Category ids count from 1 in the order of
    /// `classes`, or of the 20 VOC classes if only those occur, or else of the sorted names. Objects marked
    /// difficult have [`Annotation::ignore`] set. Boxes keep their 1-based coordinates; boxes of nested `part`s
    /// are not objects. A picture of a split without an XML file has no objects and is counted in the findings, as is one
    /// that is named twice.
    ///
    /// # Errors
    /// If a file cannot be read, is not XML, or an object has no name or no box of four finite numbers.
    pub fn from_voc(path: impl AsRef<Path>, classes: Option<&ClassMap>) -> Result<Self, Error> {
        let path = path.as_ref();
        let mut pictures = if path.is_dir() {
            let nested = path.join("Annotations");
            pictures_in(if nested.is_dir() { &nested } else { path })?
        } else {
            pictures_of_split(path)?
        };
        let mut pending = PendingBoxes::default();
        let mut seen = HashSet::new();
        pictures.retain(|(stem, _)| {
            let is_new = seen.insert(stem.clone());
            pending.findings.add(FindingKind::DuplicateImageId, usize::from(!is_new), stem);
            is_new
        });
        let parsed: Vec<Option<Vec<VocObject>>> = pictures
            .par_iter()
            .map(|(_, file)| file.as_deref().map(parse_file).transpose())
            .collect::<Result<_, _>>()?;

        let names: BTreeSet<&str> = parsed.iter().flatten().flatten().map(|o| o.name.as_str()).collect();
        let voc = ClassMap::voc();
        let categories: Vec<Category> = match classes {
            Some(classes) => of_class_map(classes),
            None if names.iter().all(|name| voc.id(name).is_some()) => of_class_map(&voc),
            None => (1u32..).zip(&names).map(|(id, name)| Category::new(id, *name)).collect(),
        };
        let ids: HashMap<&str, &Id> = categories.iter().map(|c| (c.name.as_str(), &c.id)).collect();
        for ((stem, _), objects) in pictures.iter().zip(&parsed) {
            let Some(objects) = objects else {
                pending.findings.add(FindingKind::MissingAnnotationFile, 1, stem);
                continue;
            };
            for object in objects {
                let bbox = BoxEdges::from_xyxy(object.corners);
                let category = ids
                    .get(object.name.as_str())
                    .map_or_else(|| Id::Text(object.name.as_str().into()), |id| (*id).clone());
                let annotation = Annotation::new(stem.as_str(), category, bbox);
                pending.push(Annotation { ignore: object.difficult, ..annotation });
            }
        }
        let images: Vec<Id> = pictures.iter().map(|(stem, _)| stem.as_str().into()).collect();
        Self::assemble(images, categories, pending)
    }
}

fn of_class_map(classes: &ClassMap) -> Vec<Category> {
    classes.iter().map(|(id, name)| Category::new(id, name)).collect()
}

fn read_text(path: &Path) -> Result<String, Error> {
    let bytes = fs::read(path).map_err(|source| Error::Read { path: path.into(), source })?;
    // Names in other encodings than UTF-8 occur only in fields that are not used here.
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())
}

/// The files of `folder` with this ending, sorted by name; hidden ones are passed over.
fn files_ending(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Read { path: folder.into(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let matches = path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if matches && !hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// A picture by the name of its annotation without the ending, and that file if there is one.
type Picture = (String, Option<PathBuf>);

fn pictures_in(folder: &Path) -> Result<Vec<Picture>, Error> {
    let files = files_ending(folder, "xml")?;
    if files.is_empty() {
        let reason = "no XML annotation in this folder".into();
        return Err(Error::Layout { path: folder.into(), reason });
    }
    Ok(files.into_iter().map(|file| (stem(&file), Some(file))).collect())
}

fn annotations_of_split(split: &Path) -> Result<PathBuf, Error> {
    // A relative path may begin below the folder.
    let whole = std::path::absolute(split).map_err(|source| Error::Read { path: split.into(), source })?;
    let found =
        whole.ancestors().skip(1).map(|folder| folder.join("Annotations")).find(|folder| folder.is_dir());
    found.ok_or_else(|| Error::Layout {
        path: split.into(),
        reason: "no folder `Annotations` beside or above this split file".into(),
    })
}

/// The pictures of a split file, by whole lines, for names may have blanks in them; a flag (`-1`, `0`, `1`), as behind
/// the names of a per-class split, is passed over unless an annotation is called so.
fn pictures_of_split(split: &Path) -> Result<Vec<Picture>, Error> {
    let text = read_text(split)?;
    let folder = annotations_of_split(split)?;
    let annotation = |stem: &str| {
        let files = ["xml", "XML"].map(|ending| folder.join(format!("{stem}.{ending}")));
        files.into_iter().find(|file| file.is_file())
    };
    let picture = |line: &str| match (annotation(line), before_flag(line)) {
        (None, Some(name)) => (name.to_owned(), annotation(name)),
        (file, _) => (line.to_owned(), file),
    };
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(picture).collect())
}

fn parse_file(path: &Path) -> Result<Vec<VocObject>, Error> {
    parse_annotation(&read_text(path)?, path)
}

/// Reads the objects of one annotation. Elements count by their whole path, so the box of a `part` inside an
/// object does not pass for that of the object.
fn parse_annotation(text: &str, path: &Path) -> Result<Vec<VocObject>, Error> {
    let mut reader = Reader::from_str(text);
    let (mut stack, mut value): (Vec<String>, String) = Default::default();
    let mut objects = Vec::new();
    let mut fields: HashMap<&'static str, String> = HashMap::new();
    let layout = |reason: &str| Error::Layout { path: path.into(), reason: reason.into() };
    loop {
        let event = reader.read_event().map_err(|source| Error::Xml { path: path.into(), source })?;
        match event {
            Event::Start(start) => {
                stack.push(start.local_name().as_ref().to_owned());
                value.clear();
                if stack.len() > MAX_DEPTH {
                    return Err(layout("XML elements are nested too deeply"));
                }
            }
            Event::Text(piece) => value.push_str(&piece.xml10_content()),
            Event::CData(piece) => value.push_str(&piece.xml10_content()),
            Event::GeneralRef(reference) => value.push_str(entity(&reference).as_deref().unwrap_or("?")),
            Event::End(_) => {
                let path_of_element: Vec<&str> = stack.iter().skip(1).map(String::as_str).collect();
                let field = match path_of_element[..] {
                    ["object"] => {
                        objects.push(finish_object(&mut fields, objects.len(), path)?);
                        None
                    }
                    ["object", "name"] => Some("name"),
                    ["object", "difficult"] => Some("difficult"),
                    ["object", "bndbox", side] => SIDES.into_iter().find(|s| *s == side),
                    _ => None,
                };
                if let Some(field) = field {
                    fields.insert(field, value.trim().to_owned());
                }
                stack.pop();
                value.clear();
            }
            Event::Eof if stack.is_empty() => return Ok(objects),
            Event::Eof => return Err(layout("the XML ends inside an element")),
            _ => {}
        }
    }
}

const SIDES: [&str; 4] = ["xmin", "ymin", "xmax", "ymax"];

fn entity(reference: &quick_xml::events::BytesRef<'_>) -> Option<String> {
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        return Some(character.into());
    }
    quick_xml::escape::resolve_predefined_entity(&reference.xml10_content()).map(str::to_owned)
}

fn finish_object(
    fields: &mut HashMap<&'static str, String>,
    index: usize,
    path: &Path,
) -> Result<VocObject, Error> {
    let refuse = |reason: String| Error::VocObject { path: path.into(), index, reason };
    let fields = std::mem::take(fields);
    let name = fields.get("name").filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| refuse("no name".into()))?.clone();
    let mut corners = [0.0; 4];
    for (corner, side) in corners.iter_mut().zip(SIDES) {
        let text = fields.get(side).ok_or_else(|| refuse(format!("the box has no {side}")))?;
        let number = text.parse::<f64>().ok().filter(|v| v.is_finite());
        *corner = number.ok_or_else(|| refuse(format!("{side} `{text}` is not a number")))?;
    }
    let difficult = fields.get("difficult").is_some_and(|flag| is_set(flag));
    Ok(VocObject { name, corners, difficult })
}

impl Detections {
    /// Reads VOC detections: a folder with one text file per class, such as `comp4_det_test_car.txt` or
    /// `car.txt`, each line `image score xmin ymin xmax ymax`.
    ///
    /// # Errors
    /// If a file cannot be read, belongs to no category of `truth` by its name, or a line is not of that form.
    pub fn from_voc(folder: impl AsRef<Path>, truth: &GroundTruth) -> Result<Self, Error> {
        let folder = folder.as_ref();
        let mut detections = Self::new();
        let files = files_ending(folder, "txt")?;
        if files.is_empty() {
            let reason = "no text file of detections in this folder".into();
            return Err(Error::Layout { path: folder.into(), reason });
        }
        for file in files {
            let category =
                category_of_file(&stem(&file), truth.categories()).ok_or_else(|| Error::Layout {
                    path: file.clone(),
                    reason: "the name of the file does not end in the name of a class".into(),
                })?;
            for (line, text) in (1u64..).zip(read_text(&file)?.lines()) {
                if text.trim().is_empty() {
                    continue;
                }
                let record = parse_line(text, &category.id).map_err(|reason| Error::Line {
                    path: file.clone(),
                    line,
                    reason,
                })?;
                detections.push(record);
            }
        }
        Ok(detections)
    }
}

/// The category with the longest name that the file's name is or ends in behind an underscore.
fn category_of_file<'a>(name: &str, categories: &'a [Category]) -> Option<&'a Category> {
    let fits = |category: &&Category| {
        let prefix = name.strip_suffix(category.name.as_str());
        prefix.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('_'))
    };
    categories.iter().filter(fits).max_by_key(|category| category.name.len())
}

fn parse_line(text: &str, category: &Id) -> Result<DetectionRecord, String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [image, numbers @ ..] = &fields[..] else { return Err("empty".into()) };
    let values: Vec<f64> = numbers
        .iter()
        .map(|field| {
            let value: Option<f64> = field.parse().ok().filter(|v: &f64| v.is_finite());
            value.ok_or_else(|| format!("`{field}` is not a number"))
        })
        .collect::<Result<_, _>>()?;
    let [score, x1, y1, x2, y2] = values[..] else {
        return Err(format!("expected `image score xmin ymin xmax ymax`, found {} fields", fields.len()));
    };
    let bbox = BoxEdges::from_xyxy([x1, y1, x2, y2]);
    Ok(DetectionRecord { image_id: Id::from(*image), category_id: category.clone(), bbox, score })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<VocObject>, String> {
        parse_annotation(text, Path::new("a.xml")).map_err(|error| error.to_string())
    }

    #[test]
    fn boxes_of_parts_are_not_boxes_of_the_object() {
        let objects = parse(
            "<annotation><filename>x &amp; y</filename><object><name>dog &amp; cat</name><difficult>1</difficult>
             <bndbox><ymin>45.7</ymin><xmin>1</xmin><xmax>9</xmax><ymax>60</ymax></bndbox>
             <part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part>
             </object></annotation>",
        )
        .unwrap();
        assert_eq!(objects.len(), 1);
        assert_eq!((objects[0].name.as_str(), objects[0].difficult), ("dog & cat", true));
        assert_eq!(objects[0].corners, [1.0, 45.7, 9.0, 60.0]);
    }

    #[test]
    fn an_object_is_difficult_by_a_positive_number_or_the_word_true() {
        // All spellings are in the tests of `is_set`.
        for (flag, difficult) in [("1.0", true), (" TRUE ", true), ("0", false), ("no", false)] {
            let corners = "<xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax>";
            let object = format!("<name>a</name><difficult>{flag}</difficult><bndbox>{corners}</bndbox>");
            let objects = parse(&format!("<annotation><object>{object}</object></annotation>")).unwrap();
            assert_eq!(objects[0].difficult, difficult, "{flag}");
        }
    }

    #[test]
    fn a_picture_is_read_once_whatever_the_split_repeats_and_by_any_case_of_its_ending() {
        let folder = folder_of(&["1.xml", "01.XML"].map(std::ffi::OsStr::new));
        let all = GroundTruth::from_voc(folder.path(), None).unwrap();
        assert_eq!((all.images().len(), all.len(), all.findings().is_empty()), (2, 2, true));
        let split = folder.path().join("split.txt");
        fs::write(&split, "1\n01\n1\n").unwrap();
        let listed = GroundTruth::from_voc(&split, None).unwrap();
        assert_eq!((listed.images().len(), listed.len()), (2, 2));
        let repeated = listed.findings().get(FindingKind::DuplicateImageId).unwrap();
        assert_eq!((repeated.count, &repeated.examples[..]), (1, &["1".to_owned()][..]));
        let absent = GroundTruth::from_voc(folder.path().join("absent.txt"), None).unwrap_err();
        assert!(matches!(absent, Error::Read { .. }), "{absent}");
    }

    /// A VOC folder with one object in each of these annotations.
    fn folder_of(names: &[&std::ffi::OsStr]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let annotations = folder.path().join("Annotations");
        fs::create_dir(&annotations).unwrap();
        let corners = "<xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax>";
        let object = format!("<object><name>dog</name><bndbox>{corners}</bndbox></object>");
        for name in names {
            fs::write(annotations.join(name), format!("<annotation>{object}</annotation>")).unwrap();
        }
        folder
    }

    #[test]
    fn names_of_a_split_may_have_blanks_and_lose_a_flag_only_where_nothing_is_called_so() {
        let folder = folder_of(&["my dog.xml", "a.xml", "b 1.xml"].map(std::ffi::OsStr::new));
        let split = folder.path().join("split.txt");
        fs::write(&split, " my dog \n\na  -1\nb 1\ngone 0\nold dog\n").unwrap();
        let truth = GroundTruth::from_voc(&split, None).unwrap();
        let ids: Vec<String> = truth.images().iter().map(ToString::to_string).collect();
        assert_eq!(ids, ["a", "b 1", "gone", "my dog", "old dog"]);
        assert_eq!(truth.len(), 3);
        let missing = truth.findings().get(FindingKind::MissingAnnotationFile).unwrap();
        assert_eq!(missing.examples, ["gone", "old dog"]);
    }

    // Other systems refuse such names.
    #[cfg(target_os = "linux")]
    #[test]
    fn annotations_whose_names_are_not_utf_8_are_read() {
        use std::os::unix::ffi::OsStrExt;

        let folder = folder_of(&[&b"caf\xe9.xml"[..], b".hidden\xe9.xml"].map(std::ffi::OsStr::from_bytes));
        let truth = GroundTruth::from_voc(folder.path(), None).unwrap();
        assert_eq!((truth.images(), truth.len()), (&[Id::from("caf\u{fffd}")][..], 1));
        assert!(truth.findings().is_empty(), "{}", truth.findings());
    }

    #[test]
    fn broken_annotations_are_errors_that_name_the_object() {
        let object = |inner: &str| format!("<annotation><object>{inner}</object></annotation>");
        let named = "<name>a</name><bndbox><xmin>1</xmin><ymin>1</ymin>";
        for (text, message) in [
            (object("<name> </name>"), "a.xml: object 0: no name"),
            (object("<name>a</name>"), "a.xml: object 0: the box has no xmin"),
            (
                object(&format!("{named}<xmax>nan</xmax></bndbox>")),
                "a.xml: object 0: xmax `nan` is not a number",
            ),
            ("<annotation><object>".into(), "a.xml: the XML ends inside an element"),
            ("<annotation></object>".into(), "a.xml: not well-formed XML"),
            ("<a>".repeat(100), "a.xml: XML elements are nested too deeply"),
        ] {
            assert_eq!(parse(&text).err().as_deref(), Some(message));
        }
    }

    #[test]
    fn a_file_of_detections_belongs_to_the_longest_class_its_name_ends_in() {
        let categories = [Category::new(1i64, "table"), Category::new(2i64, "dining_table")];
        let id = |name| category_of_file(name, &categories).and_then(|c| c.id.as_int());
        assert_eq!(id("comp4_det_test_dining_table"), Some(2));
        assert_eq!((id("table"), id("x_table"), id("vegetable")), (Some(1), Some(1), None));
    }
}
