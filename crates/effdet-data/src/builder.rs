//! From what a format states to a clean data set: the checks that all formats share.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use effdet_core::iou::iou;
use effdet_core::{ClassMap, ImageSize, XyxyBox};
use rayon::prelude::*;

use crate::dirt::{Action, At, DirtKind, DirtReport};
use crate::files::{self, Listing};
use crate::header::{PictureHeader, read_header};
use crate::options::{ParseOptions, PictureCheck, Pixels, Source};
use crate::record::{Dataset, Object, Provenance, Record, RecordId};
use crate::upright::turned;
use crate::{Error, Parsed};

/// Drafts whose pictures are looked at together.
const CHUNK: usize = 4096;

/// Two boxes of one class above this IoU are one object labelled twice.
const SAME_BOX_IOU: f32 = 0.9;

/// Pictures with more objects are not searched for boxes labelled twice; the search is quadratic.
const MAX_COMPARED: usize = 1000;

/// How the corners of drafts are stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corners {
    /// In pixels.
    Pixels(Pixels),
    /// As fractions of the picture's width and height.
    Fractions,
}

/// A picture and its objects as a label file states them.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Identity in the source.
    pub id: RecordId,
    /// Where the picture should be. Drafts with one path are of one picture, whatever their ids, unless it is empty.
    pub path: PathBuf,
    /// Its size, if stated; one with a side of 0 counts as not stated. Where it is that of the picture on its side, as it
    /// lies in the file, the corners of the objects are, too.
    pub size: Option<ImageSize>,
    /// Its objects.
    pub objects: Vec<DraftObject>,
    /// The label file.
    pub file: Arc<Path>,
    /// Where in the file.
    pub at: At,
    /// What it is if the picture is not there: [`DirtKind::MissingPicture`] for an entry in a list of pictures,
    /// [`DirtKind::LabelsWithoutPicture`] for labels.
    pub if_absent: DirtKind,
}

/// An object as a label file states it.
#[derive(Debug, Clone, Copy)]
pub struct DraftObject {
    /// `[x1, y1, x2, y2]` as stated.
    pub corners: [f64; 4],
    /// Class, as returned by [`DatasetBuilder::class`] or declared by [`DatasetBuilder::declare_classes`] before; an object
    /// of any other is [`DirtKind::UnknownClass`].
    pub class: u32,
    /// Area of its mask.
    pub area: Option<f32>,
    /// All other properties; box, class and area in here are not used.
    pub flags: Object,
    /// Where in the file.
    pub at: At,
}

/// Collects drafts, checks them, and makes the data set of them.
///
/// A format of one's own states its classes and drafts here and gets the same checks, policies and report as ours.
#[derive(Debug)]
pub struct DatasetBuilder<'o> {
    options: &'o ParseOptions,
    corners: Corners,
    /// What a lower-right corner before the upper-left one is.
    inverted: DirtKind,
    report: DirtReport,
    records: Vec<Record>,
    /// The ids of a picture that has several lead to its one record.
    by_id: HashMap<RecordId, usize>,
    /// Records by the hashes of their pictures' paths; the paths themselves stand in the records.
    by_path: HashMap<u64, usize>,
    /// Ids of drafts that became no records, and their pictures: other pictures must not take their place in a split.
    left_out: HashMap<RecordId, PathBuf>,
    classes: Classes,
    class_sources: BTreeMap<u32, RecordId>,
    hierarchy: BTreeMap<u32, Vec<u32>>,
    splits: BTreeMap<String, Vec<RecordId>>,
    files: BTreeSet<PathBuf>,
    listing: Listing,
    format: String,
    root: PathBuf,
    drafts: usize,
    absent: usize,
    first_absent: Option<PathBuf>,
}

#[derive(Debug)]
enum Classes {
    /// Ids are final.
    Declared(ClassMap),
    /// Ids are handles in the order of appearance; the final ones follow the alphabet.
    Found(HashMap<String, u32>),
}

/// What a look at the picture gave.
enum Seen {
    NotLookedAt,
    Absent,
    Present(Option<Result<PictureHeader, Error>>),
}

/// What becomes of a draft for what its picture is.
enum Verdict {
    LeaveOut,
    Keep,
    /// Its boxes are those of the picture on its side.
    Turn(PictureHeader),
}

impl<'o> DatasetBuilder<'o> {
    /// A builder for a format named `format`, whose corners are stated as `corners`.
    pub fn new(format: &str, source: &Source, corners: Corners, options: &'o ParseOptions) -> Self {
        Self {
            options,
            corners,
            inverted: DirtKind::SwappedCorners,
            report: DirtReport::default(),
            records: Vec::new(),
            by_id: HashMap::new(),
            by_path: HashMap::new(),
            left_out: HashMap::new(),
            classes: options
                .classes
                .as_ref()
                .map_or_else(|| Classes::Found(HashMap::new()), |map| Classes::Declared(map.clone())),
            class_sources: BTreeMap::new(),
            hierarchy: BTreeMap::new(),
            splits: BTreeMap::new(),
            files: BTreeSet::new(),
            listing: Listing::default(),
            format: format.to_owned(),
            root: source.base().to_owned(),
            drafts: 0,
            absent: 0,
            first_absent: None,
        }
    }

    /// For formats that state width and height: a lower-right corner before the upper-left one is
    /// [`DirtKind::NegativeSize`].
    #[must_use]
    pub fn states_sizes(mut self) -> Self {
        self.inverted = DirtKind::NegativeSize;
        self
    }

    /// Declares the classes and, where the source names them otherwise, those names. Without effect where
    /// [`ParseOptions::classes`] is set.
    pub fn declare_classes(&mut self, classes: ClassMap, sources: BTreeMap<u32, RecordId>) {
        if self.options.classes.is_none() {
            self.classes = Classes::Declared(classes);
            self.class_sources = sources;
        }
    }

    /// The class called `name`, made if the classes are neither given nor declared; `None` if it is unknown.
    ///
    /// # Errors
    /// [`Error::Dirt`] if it is unknown and that is an error.
    pub fn class(&mut self, name: &str, file: &Path, at: At) -> Result<Option<u32>, Error> {
        let name = name.trim();
        let found = match &mut self.classes {
            Classes::Declared(map) => map.id(name),
            Classes::Found(_) if name.is_empty() => None,
            Classes::Found(ids) => match ids.get(name) {
                Some(id) => Some(*id),
                None => {
                    let id = ids.len() as u32 + 1;
                    ids.insert(name.to_owned(), id);
                    Some(id)
                }
            },
        };
        if found.is_none() {
            self.dirt(DirtKind::UnknownClass, file, at, format!("class `{name}`"))?;
        }
        Ok(found)
    }

    /// What the source calls the classes of [`ParseOptions::classes`].
    pub(crate) fn name_sources(&mut self, sources: BTreeMap<u32, RecordId>) {
        self.class_sources = sources;
    }

    /// The parents of each class, by the declared ids.
    pub fn hierarchy(&mut self, parents: BTreeMap<u32, Vec<u32>>) {
        self.hierarchy = parents;
    }

    /// Adds pictures to an official split.
    pub fn split(&mut self, name: &str, ids: impl IntoIterator<Item = RecordId>) {
        self.splits.entry(name.to_owned()).or_default().extend(ids);
    }

    /// Notes a label file or folder that was read or looked for; a cache is stale when one of them has changed, or has
    /// come to be where it was absent.
    pub fn reads(&mut self, path: impl Into<PathBuf>) {
        self.files.insert(path.into());
    }

    /// Notes dirt that only the format can see, and tells whether it is to be fixed or skipped.
    ///
    /// # Errors
    /// [`Error::Dirt`] if the policy says so.
    pub fn dirt(
        &mut self,
        kind: DirtKind,
        file: &Path,
        at: At,
        detail: impl Into<String>,
    ) -> Result<Action, Error> {
        self.report.note(&self.options.policies, kind, file, at, detail)
    }

    /// Notes dirt that is left out unless its policy is an error: nothing can be made of it, whatever its kind's fix is.
    ///
    /// # Errors
    /// [`Error::Dirt`] if the policy says so.
    pub(crate) fn leave_out(
        &mut self,
        kind: DirtKind,
        file: &Path,
        at: At,
        detail: impl Into<String>,
    ) -> Result<(), Error> {
        self.report.note_if(&self.options.policies, kind, false, file, at, detail.into())?;
        Ok(())
    }

    /// The pictures in a folder and in those below it, sorted within each. All these folders count as read.
    pub(crate) fn pictures_below(&mut self, folder: &Path) -> Result<Vec<PathBuf>, Error> {
        files::pictures_below(folder, &mut self.files)
    }

    /// Number of records so far.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True if there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether a record with this id, or of a picture that has this id, too, is there.
    pub fn contains(&self, id: &RecordId) -> bool {
        self.by_id.contains_key(id)
    }

    /// The id, or with `part` before it (`val/1.jpg`) where another picture has it: label files of several folders name
    /// their pictures alike. An empty `part` tells nothing apart.
    pub(crate) fn distinct_id(&self, id: RecordId, picture: &Path, part: &str) -> RecordId {
        let of_record = self.by_id.get(&id).map(|index| self.records[*index].path.as_path());
        let owner = of_record.or_else(|| self.left_out.get(&id).map(PathBuf::as_path));
        match owner {
            Some(owner) if owner != picture && !part.is_empty() => RecordId::Text(format!("{part}/{id}")),
            _ => id,
        }
    }

    /// Checks drafts and adds them as records; their pictures are looked at in parallel.
    ///
    /// # Errors
    /// [`Error::Dirt`] for dirt whose policy is an error.
    pub fn extend(&mut self, drafts: impl IntoIterator<Item = Draft>) -> Result<(), Error> {
        let mut drafts = drafts.into_iter();
        loop {
            let chunk: Vec<Draft> = drafts.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                return Ok(());
            }
            for (draft, seen) in self.look_at(chunk) {
                self.push(draft, seen)?;
            }
        }
    }

    /// Looks at the extension of pictures that become no records, where headers are checked.
    ///
    /// # Errors
    /// [`Error::Dirt`] for dirt whose policy is an error.
    pub(crate) fn check_extensions<'p>(
        &mut self,
        pictures: impl IntoIterator<Item = &'p PathBuf>,
    ) -> Result<(), Error> {
        if self.options.pictures == PictureCheck::Header {
            for path in pictures {
                self.reads(path);
                if let Ok(header) = read_header(path) {
                    self.check_extension(path, header)?;
                }
            }
        }
        Ok(())
    }

    /// The data set, or the split that `source` asks for.
    ///
    /// # Errors
    /// [`Error::NoPictures`] if there were pictures and none of them is there, [`Error::UnknownSplit`].
    pub fn finish(mut self, source: &Source) -> Result<Parsed, Error> {
        if let (true, Some(first)) =
            (self.records.is_empty() && self.absent == self.drafts, self.first_absent)
        {
            return Err(Error::NoPictures { folder: self.root, listed: self.drafts, first });
        }
        let class_map = match self.classes {
            Classes::Declared(map) => map,
            Classes::Found(handles) => {
                let sorted: BTreeMap<&str, u32> = handles.iter().map(|(n, id)| (n.as_str(), *id)).collect();
                let refused = |source| Error::Classes { path: self.root.clone(), source };
                let map = ClassMap::from_names(sorted.keys().copied()).map_err(refused)?;
                let mut ids = vec![0; handles.len() + 1];
                for (id, handle) in (1..).zip(sorted.values()) {
                    ids[*handle as usize] = id;
                }
                for object in self.records.iter_mut().flat_map(|record| &mut record.objects) {
                    object.class_id = ids[object.class_id as usize];
                }
                map
            }
        };
        let mut splits = BTreeMap::new();
        for (name, ids) in self.splits {
            let found: BTreeSet<usize> = ids.iter().filter_map(|id| self.by_id.get(id).copied()).collect();
            splits.insert(name, found.into_iter().collect());
        }
        // Those that are not there, too: they may be filled later. The current folder's name is empty here.
        let named = |folder: &PathBuf| match folder.as_os_str().is_empty() {
            true => PathBuf::from("."),
            false => folder.clone(),
        };
        self.files.extend(self.listing.folders().map(named));
        let provenance = Provenance { format: self.format, files: self.files.into_iter().collect() };
        let mut dataset = Dataset {
            records: self.records,
            class_map,
            class_sources: self.class_sources,
            hierarchy: self.hierarchy,
            splits,
            root: self.root,
            provenance,
        };
        if let Some(name) = &source.split {
            let members = crate::split::official(&dataset, name)?.to_vec();
            dataset = dataset.subset(&members);
        }
        Ok(Parsed { dataset, dirt: self.report })
    }

    fn look_at(&mut self, drafts: Vec<Draft>) -> Vec<(Draft, Seen)> {
        let check = self.options.pictures;
        let fractions = self.corners == Corners::Fractions;
        let exists: Vec<bool> = drafts
            .iter()
            .map(|draft| check == PictureCheck::None || self.listing.contains(&draft.path))
            .collect();
        drafts
            .into_par_iter()
            .zip(exists)
            .map(|(mut draft, exists)| {
                draft.size = draft.size.filter(|size| !size.is_empty());
                let is_asked = match draft.size {
                    _ if check == PictureCheck::Header => true,
                    // A square on its side is the same square.
                    Some(size) => check != PictureCheck::None && size.height != size.width,
                    None => check != PictureCheck::None || fractions,
                };
                let seen = match exists {
                    false => Seen::Absent,
                    true if is_asked => match read_header(&draft.path) {
                        Err(_) if !draft.path.exists() => Seen::Absent,
                        header => Seen::Present(Some(header)),
                    },
                    true if check == PictureCheck::None => Seen::NotLookedAt,
                    true => Seen::Present(None),
                };
                (draft, seen)
            })
            .collect()
    }

    /// The record of the picture at `path`. Without a path nothing is known to be the same picture.
    fn record_of(&self, path: &Path) -> Option<usize> {
        let index = *self.by_path.get(&hash_of(path))?;
        (!path.as_os_str().is_empty() && self.records[index].path == path).then_some(index)
    }

    fn push(&mut self, mut draft: Draft, seen: Seen) -> Result<(), Error> {
        self.drafts += 1;
        let of_id = self.by_id.get(&draft.id).copied();
        let first = of_id.or_else(|| self.record_of(&draft.path));
        if let Some(first) = first {
            let Record { id, path: earlier, size, .. } = &self.records[first];
            // What is in one picture is not in another.
            let is_same = *earlier == draft.path;
            let detail = match of_id {
                Some(_) => format!("the id {} is that of {}", draft.id, earlier.display()),
                None => format!("{} has the id {id}, too", earlier.display()),
            };
            draft.size = draft.size.or(*size);
            let (policies, kind) = (&self.options.policies, DirtKind::DuplicateId);
            let action = self.report.note_if(policies, kind, is_same, &draft.file, draft.at, detail)?;
            if action == Action::Skipped {
                if of_id.is_none() {
                    self.left_out.insert(draft.id, draft.path);
                }
                return Ok(());
            }
        }
        let was_read = matches!(seen, Seen::Present(Some(_)));
        let upright = match self.check_picture(&mut draft, seen)? {
            Verdict::LeaveOut => {
                if was_read {
                    self.files.insert(draft.path.clone());
                }
                self.left_out.insert(draft.id, draft.path);
                return Ok(());
            }
            Verdict::Keep => None,
            Verdict::Turn(header) => draft.size.map(|lying| (lying, header)),
        };
        // What two files say of one picture is one thing, not two.
        let earlier: HashSet<_> =
            first.into_iter().flat_map(|first| &self.records[first].objects).map(identity).collect();
        let mut objects = Vec::with_capacity(draft.objects.len());
        for stated in &draft.objects {
            let Some(mut object) = self.check_object(stated, &draft)? else { continue };
            if let Some((lying, header)) = upright {
                object.bbox = turned(object.bbox, lying, header.orientation);
            }
            if !earlier.contains(&identity(&object))
                && !self.is_labelled_twice(&object, first, &objects, stated.at, &draft)?
            {
                objects.push(object);
            }
        }
        match first {
            Some(first) => {
                self.records[first].objects.extend(objects);
                // For the splits that name the picture by this id.
                self.by_id.entry(draft.id).or_insert(first);
            }
            None => {
                let size = upright.map(|(_, header)| header.size).or(draft.size);
                self.by_id.insert(draft.id.clone(), self.records.len());
                self.by_path.entry(hash_of(&draft.path)).or_insert(self.records.len());
                self.records.push(Record { id: draft.id, path: draft.path, size, objects });
            }
        }
        Ok(())
    }

    fn check_picture(&mut self, draft: &mut Draft, seen: Seen) -> Result<Verdict, Error> {
        let usable = self.corners != Corners::Fractions || draft.size.is_some() || draft.objects.is_empty();
        let policies = &self.options.policies;
        // Else the header was read for no more than which way up the picture is.
        let is_checked = self.options.pictures == PictureCheck::Header || draft.size.is_none();
        let kept = |action: Action| match action {
            Action::Fixed => Verdict::Keep,
            Action::Skipped | Action::Refused => Verdict::LeaveOut,
        };
        let header = match seen {
            Seen::NotLookedAt | Seen::Present(None) => return Ok(Verdict::Keep),
            Seen::Absent => {
                self.absent += 1;
                self.first_absent.get_or_insert_with(|| draft.path.clone());
                let detail = format!("{} is not there", draft.path.display());
                let action =
                    self.report.note_if(policies, draft.if_absent, usable, &draft.file, draft.at, detail)?;
                return Ok(kept(action));
            }
            Seen::Present(Some(Err(_))) if !is_checked => return Ok(Verdict::Keep),
            Seen::Present(Some(Err(error))) => {
                let kind = DirtKind::UnreadablePicture;
                let detail = error.to_string();
                let action = self.report.note_if(policies, kind, usable, &draft.path, At::File, detail)?;
                return Ok(kept(action));
            }
            Seen::Present(Some(Ok(header))) => header,
        };
        if is_checked && !self.check_extension(&draft.path, header)? {
            return Ok(Verdict::LeaveOut);
        }
        match draft.size {
            Some(stated) if header.is_turned_from(stated) => {
                let (size, exif) = (header.size, header.orientation.to_exif());
                let detail =
                    format!("stated {stated}, the upright picture is {size} (EXIF orientation {exif})");
                let action = self.dirt(DirtKind::SizeMismatch, &draft.file, draft.at, detail)?;
                return Ok(if action == Action::Fixed { Verdict::Turn(header) } else { Verdict::LeaveOut });
            }
            Some(stated) if is_checked && stated != header.size => {
                let detail = format!("stated {stated}, the picture is {}", header.size);
                if self.dirt(DirtKind::SizeMismatch, &draft.file, draft.at, detail)? == Action::Skipped {
                    return Ok(Verdict::LeaveOut);
                }
                draft.size = Some(header.size);
            }
            Some(_) => {}
            None => draft.size = Some(header.size),
        }
        Ok(Verdict::Keep)
    }

    fn check_extension(&mut self, path: &Path, header: PictureHeader) -> Result<bool, Error> {
        if header.matches_extension(path) {
            return Ok(true);
        }
        let detail = format!("the content is {:?}", header.format);
        Ok(self.dirt(DirtKind::WrongExtension, path, At::File, detail)? == Action::Fixed)
    }

    fn check_object(&mut self, stated: &DraftObject, draft: &Draft) -> Result<Option<Object>, Error> {
        let corners = stated.corners;
        let (file, at) = (&*draft.file, stated.at);
        let is_class = match &self.classes {
            Classes::Declared(map) => map.name(stated.class).is_some(),
            Classes::Found(ids) => (1..=ids.len()).contains(&(stated.class as usize)),
        };
        if !is_class {
            self.dirt(DirtKind::UnknownClass, file, at, format!("class id {}", stated.class))?;
            return Ok(None);
        }
        if corners.iter().any(|x| !(*x as f32).is_finite()) {
            self.dirt(DirtKind::NonFinite, file, at, describe(corners))?;
            return Ok(None);
        }
        let [mut x1, mut y1, mut x2, mut y2] = corners;
        let pixels_of_one = self.corners == Corners::Pixels(Pixels::OneBased);
        // Where both ends are inside, up to a pixel less is a box narrower than one.
        let is_inverted = |low: f64, high: f64| if pixels_of_one { high <= low - 1.0 } else { high < low };
        if is_inverted(x1, x2) || is_inverted(y1, y2) {
            if self.dirt(self.inverted, file, at, describe(corners))? == Action::Skipped {
                return Ok(None);
            }
            (x1, x2) = (x1.min(x2), x1.max(x2));
            (y1, y2) = (y1.min(y2), y1.max(y2));
        }
        if x1 as f32 == x2 as f32 || y1 as f32 == y2 as f32 {
            let policies = &self.options.policies;
            let detail = describe(corners);
            let kind = DirtKind::ZeroArea;
            if self.report.note_if(policies, kind, pixels_of_one, file, at, detail)? == Action::Skipped {
                return Ok(None);
            }
        }
        match (self.corners, draft.size) {
            (Corners::Pixels(Pixels::Continuous), _) | (Corners::Fractions, None) => {}
            (Corners::Pixels(Pixels::OneBased), _) => (x1, y1) = (x1 - 1.0, y1 - 1.0),
            (Corners::Pixels(Pixels::Effdet), _) => {
                (x1, y1, x2, y2) = (x1 - 1.0, y1 - 1.0, x2 - 1.0, y2 - 1.0);
            }
            (Corners::Fractions, Some(size)) => {
                let (width, height) = (size.width as f64, size.height as f64);
                (x1, y1, x2, y2) = (x1 * width, y1 * height, x2 * width, y2 * height);
            }
        }
        let mut bbox = XyxyBox::new(x1 as f32, y1 as f32, x2 as f32, y2 as f32);
        if let Some(size) = draft.size {
            let inside = bbox.clip(size);
            let beyond = [
                inside.x1 - bbox.x1,
                inside.y1 - bbox.y1,
                bbox.x2 - inside.x2,
                bbox.y2 - inside.y2,
                bbox.x1 - inside.x1,
                bbox.y1 - inside.y1,
            ];
            if beyond.iter().any(|by| *by > self.options.outside_tolerance) {
                let detail = format!("{} in a picture of {size}", describe(corners));
                let (policies, kind) = (&self.options.policies, DirtKind::OutsidePicture);
                let fixable = !inside.is_empty();
                if self.report.note_if(policies, kind, fixable, file, at, detail)? == Action::Skipped {
                    return Ok(None);
                }
            }
            bbox = inside;
        }
        if bbox.is_empty() {
            // A sliver within the tolerance outside, or too thin for single precision so far from the origin.
            self.report.note_if(
                &self.options.policies,
                DirtKind::ZeroArea,
                false,
                file,
                at,
                describe(corners),
            )?;
            return Ok(None);
        }
        let area = stated.area.filter(|area| area.is_finite() && *area >= 0.0);
        Ok(Some(Object { bbox, class_id: stated.class, area, ..stated.flags }))
    }

    /// True if the object repeats one of `others`, or of the record with the index `first`, and is to be left out.
    fn is_labelled_twice(
        &mut self,
        object: &Object,
        first: Option<usize>,
        others: &[Object],
        at: At,
        draft: &Draft,
    ) -> Result<bool, Error> {
        let earlier = first.map(|first| self.records[first].objects.as_slice()).unwrap_or_default();
        if earlier.len() + others.len() > MAX_COMPARED {
            return Ok(false);
        }
        let same = |other: &&Object| {
            other.class_id == object.class_id
                && other.is_crowd == object.is_crowd
                && iou(&other.bbox, &object.bbox) > SAME_BOX_IOU
        };
        let Some(twin) = earlier.iter().chain(others).find(same) else { return Ok(false) };
        let box_of = |b: XyxyBox| describe([b.x1, b.y1, b.x2, b.y2].map(f64::from));
        let detail = format!("{} and {}", box_of(twin.bbox), box_of(object.bbox));
        Ok(self.dirt(DirtKind::DuplicateBox, &draft.file, at, detail)? == Action::Skipped)
    }
}

/// By which the path of a picture is known again, in less room than the path takes.
fn hash_of(path: &Path) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(path)
}

/// By which an object of one picture is known again in another file.
fn identity(object: &Object) -> (u32, [u32; 4], bool) {
    (object.class_id, <[f32; 4]>::from(object.bbox).map(f32::to_bits), object.is_crowd)
}

fn describe(corners: [f64; 4]) -> String {
    let [x1, y1, x2, y2] = corners;
    format!("corners {x1},{y1} {x2},{y2}")
}
