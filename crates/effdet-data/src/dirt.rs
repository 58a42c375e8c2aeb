//! What is wrong with a data set, what to do about it, and the report of it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;

/// The kinds of dirt that are looked for. The default policy of each stands in [`DirtKind::default_policy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DirtKind {
    /// A box reaches beyond the picture. Fix: clip it; a box wholly outside is left out.
    OutsidePicture,
    /// A box without width or height, as stated in the file. Fix: where both corner pixels belong to the box (Pascal
    /// VOC's convention) it is one pixel long and stays; elsewhere it is left out.
    ZeroArea,
    /// A stated width or height below zero. Fix: the corners are put in order.
    NegativeSize,
    /// A coordinate that is missing, not a number or infinite. Cannot be fixed: the box is left out.
    NonFinite,
    /// The right or lower corner is stated before the left or upper one. Fix: they are exchanged.
    SwappedCorners,
    /// Two pictures, objects or classes with the same id, one picture with two ids, or a picture that a list names twice.
    /// Fix: entries of one picture are joined, with what they both have once (those of different pictures are not: the later
    /// one is left out), both objects stay, the first class stays (a class of another file gets another id). Skip: the later
    /// one is left out.
    DuplicateId,
    /// Two boxes of a picture and class with an IoU above 0.9. Fix: both stay. Skip: the later one is left out.
    DuplicateBox,
    /// A picture that the labels name is not there. Fix: its record stays, without pixels to load; a name in a list that
    /// there are no labels for either is left out.
    MissingPicture,
    /// A picture that should have labels and has none. Fix: it becomes a picture without objects.
    PictureWithoutLabels,
    /// Labels of a picture that is not there or not listed. Fix: a record is made of them, where they say which picture
    /// theirs is; else they are left out.
    LabelsWithoutPicture,
    /// A picture that no list of the data set names, or that lies outside the folders of the splits. Fix: it becomes a
    /// record in no split.
    UnlistedPicture,
    /// A picture whose header cannot be read. Fix: its record stays.
    UnreadablePicture,
    /// The content of a picture is of another format than its name says. Fix: it stays, the content counts.
    WrongExtension,
    /// The stated size is not that of the picture. Fix: the picture's own size counts. Where the stated one is that of the
    /// picture on its side, as it lies in the file before its EXIF orientation is applied, the boxes are turned with it.
    SizeMismatch,
    /// A number written as a string where the format has numeric ids. Fix: it is read as the number. A text that is no
    /// number is an id like any other.
    StringId,
    /// A class that is not declared. Cannot be fixed: the object is left out.
    UnknownClass,
    /// A class with id 0, which is the background. Fix: all ids are raised by one.
    ClassIdZero,
    /// Numbers with a comma for the point; one occurrence per file. Fix: it is read as the point.
    DecimalComma,
    /// An entry that cannot be understood. Cannot be fixed: the entry is left out.
    Malformed,
}

/// What to do about one kind of dirt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Stop with [`Error::Dirt`] at the first.
    Error,
    /// Repair it as the kind says; what cannot be repaired is left out.
    Fix,
    /// Leave the box, entry or record out.
    Skip,
}

/// What became of one occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Repaired, or kept as it is where the kind's fix is to keep it.
    Fixed,
    /// Left out.
    Skipped,
    /// Parsing stopped.
    Refused,
}

/// The policy of each kind of dirt.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Policies(BTreeMap<DirtKind, Policy>);

/// One thing that is wrong with a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dirt {
    /// What it is.
    pub kind: DirtKind,
    /// What became of it.
    pub action: Action,
    /// The label file or picture.
    pub file: PathBuf,
    /// Where in the file: an id, a line, the number of an object; empty for the file as a whole.
    pub at: String,
    /// The values.
    pub detail: String,
}

/// Everything that was found wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DirtReport {
    /// The first [`MAX_KEPT`](Self::MAX_KEPT) occurrences of each kind, in the order of the files.
    pub occurrences: Vec<Dirt>,
    /// Number of occurrences of each kind that occurs.
    counts: BTreeMap<DirtKind, usize>,
}

/// Place in a label file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The file as a whole.
    File,
    /// The entry with this numeric id.
    Id(i64),
    /// The line, from 1.
    Line(u64),
    /// The entry with this index, from 0.
    Entry(usize),
}

impl DirtKind {
    /// All kinds.
    pub const ALL: [Self; 19] = [
        Self::OutsidePicture,
        Self::ZeroArea,
        Self::NegativeSize,
        Self::NonFinite,
        Self::SwappedCorners,
        Self::DuplicateId,
        Self::DuplicateBox,
        Self::MissingPicture,
        Self::PictureWithoutLabels,
        Self::LabelsWithoutPicture,
        Self::UnlistedPicture,
        Self::UnreadablePicture,
        Self::WrongExtension,
        Self::SizeMismatch,
        Self::StringId,
        Self::UnknownClass,
        Self::ClassIdZero,
        Self::DecimalComma,
        Self::Malformed,
    ];

    /// What is done where nothing else is asked for.
    ///
    /// Whatever has one obvious reading is fixed; a box, label or picture that is of no use is skipped; an entry that
    /// cannot be understood stops the parser, for it may mean that the format is another one.
    pub fn default_policy(self) -> Policy {
        match self {
            Self::OutsidePicture
            | Self::SwappedCorners
            | Self::DuplicateId
            | Self::DuplicateBox
            | Self::WrongExtension
            | Self::SizeMismatch
            | Self::StringId
            | Self::ClassIdZero
            | Self::DecimalComma => Policy::Fix,
            Self::ZeroArea
            | Self::NegativeSize
            | Self::NonFinite
            | Self::MissingPicture
            | Self::PictureWithoutLabels
            | Self::LabelsWithoutPicture
            | Self::UnlistedPicture
            | Self::UnreadablePicture
            | Self::UnknownClass => Policy::Skip,
            Self::Malformed => Policy::Error,
        }
    }

    /// Name as in the JSON report, with blanks.
    pub fn name(self) -> &'static str {
        match self {
            Self::OutsidePicture => "outside picture",
            Self::ZeroArea => "zero area",
            Self::NegativeSize => "negative size",
            Self::NonFinite => "non finite",
            Self::SwappedCorners => "swapped corners",
            Self::DuplicateId => "duplicate id",
            Self::DuplicateBox => "duplicate box",
            Self::MissingPicture => "missing picture",
            Self::PictureWithoutLabels => "picture without labels",
            Self::LabelsWithoutPicture => "labels without picture",
            Self::UnlistedPicture => "unlisted picture",
            Self::UnreadablePicture => "unreadable picture",
            Self::WrongExtension => "wrong extension",
            Self::SizeMismatch => "size mismatch",
            Self::StringId => "string id",
            Self::UnknownClass => "unknown class",
            Self::ClassIdZero => "class id zero",
            Self::DecimalComma => "decimal comma",
            Self::Malformed => "malformed",
        }
    }

    fn is_fixable(self) -> bool {
        !matches!(self, Self::NonFinite | Self::UnknownClass | Self::Malformed)
    }
}

impl fmt::Display for DirtKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Policies {
    /// The same policy for every kind.
    pub fn all(policy: Policy) -> Self {
        Self(DirtKind::ALL.into_iter().map(|kind| (kind, policy)).collect())
    }

    /// These policies with another one for `kind`.
    #[must_use]
    pub fn with(mut self, kind: DirtKind, policy: Policy) -> Self {
        self.0.insert(kind, policy);
        self
    }

    /// The policy for `kind`.
    pub fn get(&self, kind: DirtKind) -> Policy {
        self.0.get(&kind).copied().unwrap_or_else(|| kind.default_policy())
    }
}

impl DirtReport {
    /// Occurrences of a kind that are kept. The others are counted only: a table of millions of rows may have one in each.
    pub const MAX_KEPT: usize = 10_000;

    /// Number of occurrences of a kind.
    pub fn count(&self, kind: DirtKind) -> usize {
        self.counts.get(&kind).copied().unwrap_or_default()
    }

    /// The occurrences of a kind that are kept.
    pub fn of(&self, kind: DirtKind) -> impl Iterator<Item = &Dirt> {
        self.occurrences.iter().filter(move |dirt| dirt.kind == kind)
    }

    /// Number of occurrences of each kind that occurs.
    pub fn counts(&self) -> BTreeMap<DirtKind, usize> {
        self.counts.clone()
    }

    /// True if nothing was found.
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    /// Notes one occurrence and tells what to do about it: fix it or skip it.
    ///
    /// # Errors
    /// [`Error::Dirt`] if the policy of the kind is [`Policy::Error`].
    pub fn note(
        &mut self,
        policies: &Policies,
        kind: DirtKind,
        file: &Path,
        at: At,
        detail: impl Into<String>,
    ) -> Result<Action, Error> {
        self.note_if(policies, kind, kind.is_fixable(), file, at, detail.into())
    }

    /// As [`note`](Self::note), for an occurrence that may be beyond repair although its kind is not.
    pub(crate) fn note_if(
        &mut self,
        policies: &Policies,
        kind: DirtKind,
        fixable: bool,
        file: &Path,
        at: At,
        detail: String,
    ) -> Result<Action, Error> {
        let action = match policies.get(kind) {
            Policy::Error => Action::Refused,
            Policy::Fix if fixable => Action::Fixed,
            Policy::Fix | Policy::Skip => Action::Skipped,
        };
        let dirt = || Dirt { kind, action, file: file.to_owned(), at: at.to_string(), detail };
        if action == Action::Refused {
            return Err(Error::Dirt(dirt()));
        }
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= Self::MAX_KEPT {
            self.occurrences.push(dirt());
        }
        Ok(action)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => Ok(()),
            Self::Id(id) => write!(f, "id {id}"),
            Self::Line(line) => write!(f, "line {line}"),
            Self::Entry(index) => write!(f, "entry {index}"),
        }
    }
}

impl fmt::Display for Dirt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if !self.at.is_empty() {
            write!(f, ", {}", self.at)?;
        }
        write!(f, ": {}: {}", self.kind, self.detail)
    }
}

impl fmt::Display for DirtReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return f.write_str("nothing wrong");
        }
        let counts: Vec<String> =
            self.counts().into_iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
        f.write_str(&counts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_occurrence_is_counted_and_the_first_ones_are_kept() {
        let mut report = DirtReport::default();
        let (policies, file) = (Policies::default(), Path::new("boxes.csv"));
        let kept = DirtReport::MAX_KEPT;
        for line in 1..=kept as u64 + 5 {
            report.note(&policies, DirtKind::UnknownClass, file, At::Line(line), "class `cat`").unwrap();
        }
        report.note(&policies, DirtKind::ZeroArea, file, At::Line(7), "corners 1,1 1,9").unwrap();
        assert_eq!((report.count(DirtKind::UnknownClass), report.count(DirtKind::ZeroArea)), (kept + 5, 1));
        assert_eq!(report.occurrences.len(), kept + 1);
        let last = report.of(DirtKind::UnknownClass).last().unwrap();
        assert_eq!(last.at, format!("line {kept}"));
        assert_eq!(report.to_string(), format!("zero area: 1, unknown class: {}", kept + 5));
        assert!(!report.is_clean());
    }
}
