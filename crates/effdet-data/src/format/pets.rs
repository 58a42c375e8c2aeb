//! Oxford-IIIT Pets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use effdet_core::ClassMap;

use super::voc::{draft, read_files};
use super::{Parsed, voc};
use crate::Error;
use crate::builder::{Corners, DatasetBuilder};
use crate::dirt::{Action, At, DirtKind};
use crate::files::{self, PicturesByStem};
use crate::options::{ClassIds, ParseOptions, PetsLabels, Pixels, Source};
use crate::record::RecordId;

/// Reads the layout of the Oxford-IIIT Pet data set: `images`, `annotations/xmls` with the boxes of the heads, and
/// `annotations/{list,trainval,test}.txt`.
///
/// The breed is the file name up to its last `_`, for the XML files name the species only; [`PetsLabels::Species`] takes
/// those. Class ids are those of the lists, 1 to 37, with gaps where breeds are absent; [`ClassIds::Contiguous`] closes
/// them. The official split is `trainval`. The pictures of `test.txt` have no boxes upstream: they become no records,
/// nor are they dirt. Trimaps are not read.
///
/// # Errors
/// No list and no XML file, a line of a list that is none, and dirt whose policy is an error.
///
/// # Reference
/// Parkhi et al. 2012; IceVision's `PetsBBoxParser` for the breed.
pub fn parse(source: &Source, options: &ParseOptions) -> Result<Parsed, Error> {
    let corners = Corners::Pixels(options.pixels.unwrap_or(Pixels::OneBased));
    let mut builder = DatasetBuilder::new("pets", source, corners, options);
    let annotations = source.folder(&["annotations"]).unwrap_or_else(|| source.root.clone());
    let xmls = source.labels_path().unwrap_or_else(|| annotations.join("xmls"));
    let images = source.pictures_path().unwrap_or_else(|| source.root.join("images"));

    let mut lists: BTreeMap<&str, Vec<Entry>> = BTreeMap::new();
    for name in ["list", "trainval", "test"] {
        let path = list_path(&annotations, name);
        builder.reads(&path);
        if path.is_file() {
            lists.insert(name, read_list(&path, &mut builder)?);
        }
    }
    let paths = files::files_in(&xmls, &["xml"])?;
    builder.reads(&xmls);
    if paths.is_empty() {
        let what = "no XML file of the Oxford-IIIT Pets here".to_owned();
        return Err(Error::LabelsNotFound { path: xmls, what });
    }
    let pictures = builder.pictures_below(&images)?;
    let by_stem = PicturesByStem::new(&pictures);
    declare_classes(&mut builder, &lists, &paths, options, &annotations)?;

    let mut drafts = Vec::with_capacity(paths.len());
    let mut labelled: BTreeSet<String> = BTreeSet::new();
    for (path, read) in paths.iter().zip(read_files(&paths)) {
        builder.reads(path);
        let file: Arc<Path> = path.as_path().into();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let picture = by_stem.get(&stem).cloned().unwrap_or_else(|| images.join(format!("{stem}.jpg")));
        match read? {
            Ok(mut annotation) => {
                if options.pets == PetsLabels::Breed {
                    for object in &mut annotation.objects {
                        breed(&stem).clone_into(&mut object.name);
                    }
                }
                drafts.push(draft(&mut builder, annotation, RecordId::from_stem(path), picture, &file)?);
            }
            Err(reason) => drop(builder.dirt(DirtKind::Malformed, path, At::File, reason)?),
        }
        labelled.insert(stem);
    }
    builder.extend(drafts)?;

    let empty = Vec::new();
    let trainval = lists.get("trainval").unwrap_or(&empty);
    let in_trainval: BTreeSet<&str> = trainval.iter().map(|entry| entry.name.as_str()).collect();
    let mut negatives = Vec::new();
    for entry in trainval.iter().filter(|entry| !labelled.contains(&entry.name)) {
        let Some(picture) = by_stem.get(&entry.name) else { continue };
        let detail = "it is in trainval.txt and has no XML file";
        if builder.dirt(DirtKind::PictureWithoutLabels, picture, At::File, detail)? == Action::Fixed {
            let (id, file) = (RecordId::from(entry.name.as_str()), Arc::from(picture.as_path()));
            negatives.push(draft(&mut builder, voc::Annotation::default(), id, picture.clone(), &file)?);
        }
    }
    builder.extend(negatives)?;
    builder.split("trainval", in_trainval.iter().map(|name| RecordId::from(*name)));

    let mut listed: BTreeMap<&str, (&str, u64)> = BTreeMap::new();
    for (list, entries) in &lists {
        for entry in entries {
            listed.entry(&entry.name).or_insert((list, entry.line));
        }
    }
    for (name, (list, line)) in &listed {
        if by_stem.get(name).is_none() && !labelled.contains(*name) {
            let path = list_path(&annotations, list);
            let detail = format!("{} is not there", images.join(format!("{name}.jpg")).display());
            builder.leave_out(DirtKind::MissingPicture, &path, At::Line(*line), detail)?;
        }
    }
    let mut unlisted = Vec::new();
    for path in &pictures {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let is_known = listed.contains_key(&*stem) || labelled.contains(&*stem);
        if !lists.is_empty()
            && !is_known
            && builder.dirt(DirtKind::UnlistedPicture, path, At::File, "no list names it")? == Action::Fixed
        {
            let (id, file) = (RecordId::from_stem(path), Arc::from(path.as_path()));
            unlisted.push(draft(&mut builder, voc::Annotation::default(), id, path.clone(), &file)?);
        }
    }
    builder.extend(unlisted)?;
    let is_record = |path: &PathBuf| builder.contains(&RecordId::from_stem(path));
    let not_records: Vec<&PathBuf> = pictures.iter().filter(|path| !is_record(path)).collect();
    builder.check_extensions(not_records)?;
    builder.finish(source)
}

/// A line of a list.
struct Entry {
    name: String,
    class: u32,
    species: u32,
    line: u64,
}

fn list_path(annotations: &Path, name: &str) -> PathBuf {
    annotations.join(format!("{name}.txt"))
}

fn breed(stem: &str) -> &str {
    stem.rsplit_once('_').map_or(stem, |(breed, _)| breed)
}

fn read_list(path: &Path, builder: &mut DatasetBuilder) -> Result<Vec<Entry>, Error> {
    let text = files::read_text(path)?;
    let mut entries = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let columns: Vec<&str> = text.split_whitespace().collect();
        let entry = match columns[..] {
            [] => continue,
            [first, ..] if first.starts_with('#') => continue,
            [name, class, species, ..] => match (class.parse(), species.parse()) {
                (Ok(class), Ok(species)) if class > 0 => {
                    Some(Entry { name: name.to_owned(), class, species, line })
                }
                _ => None,
            },
            _ => None,
        };
        match entry {
            Some(entry) => entries.push(entry),
            None => {
                let detail = format!("`{text}` is not a name, a class and a species");
                builder.dirt(DirtKind::Malformed, path, At::Line(line), detail)?;
            }
        }
    }
    Ok(entries)
}

/// Declares the classes of the lists; without lists they are found in alphabetical order.
fn declare_classes(
    builder: &mut DatasetBuilder,
    lists: &BTreeMap<&str, Vec<Entry>>,
    xmls: &[PathBuf],
    options: &ParseOptions,
    annotations: &Path,
) -> Result<(), Error> {
    let mut names: BTreeMap<u32, String> = BTreeMap::new();
    let entries = lists.iter().flat_map(|(list, entries)| entries.iter().map(move |entry| (*list, entry)));
    for (list, entry) in entries {
        match options.pets {
            PetsLabels::Breed => {
                let name = breed(&entry.name);
                let first = names.entry(entry.class).or_insert_with(|| name.to_owned());
                if first != name {
                    let detail = format!("class {} is `{first}` and `{name}`", entry.class);
                    let path = list_path(annotations, list);
                    builder.dirt(DirtKind::DuplicateId, &path, At::Line(entry.line), detail)?;
                }
            }
            PetsLabels::Species => {
                if let Some(name) = [(1, "cat"), (2, "dog")].into_iter().find(|(id, _)| *id == entry.species)
                {
                    names.insert(name.0, name.1.to_owned());
                }
            }
        }
    }
    // An XML file of a breed that no list knows would lose its objects.
    let is_complete = options.pets == PetsLabels::Species
        || xmls.iter().all(|path| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            names.values().any(|name| name == breed(&stem))
        });
    if names.is_empty() || !is_complete {
        return Ok(());
    }
    let sources = names.keys().map(|id| RecordId::Number((*id).into())).collect::<Vec<_>>();
    let refused = |source| Error::Classes { path: annotations.to_owned(), source };
    let map = match options.class_ids {
        ClassIds::AsStated => ClassMap::from_ids(names),
        ClassIds::Contiguous => ClassMap::from_names(names.into_values()),
    };
    let map = map.map_err(refused)?;
    let sources = map.iter().map(|(id, _)| id).zip(sources).collect();
    builder.declare_classes(map, sources);
    Ok(())
}
