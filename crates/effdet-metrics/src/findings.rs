use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// Examples kept of each kind of finding.
const EXAMPLES: usize = 10;

/// What was found in the input that does not take part in the evaluation as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// An annotation whose image is not listed; left out.
    AnnotationOfUnknownImage,
    /// An annotation whose category is not listed; left out.
    AnnotationOfUnknownCategory,
    /// An annotation id that occurs more than once; every annotation counts.
    DuplicateAnnotationId,
    /// An image id that occurs more than once; one image.
    DuplicateImageId,
    /// A category id that occurs more than once; the last name counts.
    DuplicateCategoryId,
    /// An annotation without `area`; width times height was taken.
    MissingArea,
    /// An annotation with `ignore` set. It counts as an ordinary one, as in pycocotools, unless
    /// [`CocoParams::use_ignore_flag`](crate::CocoParams::use_ignore_flag) is set.
    IgnoreFlag,
    /// An image named in a split file that has no annotation file; it counts as a picture without objects.
    MissingAnnotationFile,
    /// A detection on an image that is not part of the ground truth; left out.
    DetectionOfUnknownImage,
    /// A detection of a category that is not part of the ground truth; left out.
    DetectionOfUnknownCategory,
    /// A detection with a NaN or infinite score or coordinate; left out.
    NonFiniteDetection,
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AnnotationOfUnknownImage => "annotations of unknown images left out",
            Self::AnnotationOfUnknownCategory => "annotations of unknown categories left out",
            Self::DuplicateAnnotationId => "annotations whose id is taken",
            Self::DuplicateImageId => "images whose id is taken",
            Self::DuplicateCategoryId => "categories whose id is taken",
            Self::MissingArea => "annotations without area (width times height taken)",
            Self::IgnoreFlag => "annotations with the ignore flag",
            Self::MissingAnnotationFile => "images of the split without an annotation file",
            Self::DetectionOfUnknownImage => "detections of unknown images left out",
            Self::DetectionOfUnknownCategory => "detections of unknown categories left out",
            Self::NonFiniteDetection => "detections that are not finite left out",
        })
    }
}

/// How often something was found, and where first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How often.
    pub count: usize,
    /// The first few: ids of images, categories or annotations, each once.
    pub examples: Vec<String>,
}

impl Finding {
    /// Keeps an example where there is room for it and it is none of those that are there.
    fn keep(&mut self, example: impl fmt::Display) {
        if self.examples.len() < EXAMPLES {
            let example = example.to_string();
            if !self.examples.contains(&example) {
                self.examples.push(example);
            }
        }
    }
}

/// Everything found in the input, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Findings(BTreeMap<FindingKind, Finding>);

impl Findings {
    /// True if there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was found of one kind.
    pub fn get(&self, kind: FindingKind) -> Option<&Finding> {
        self.0.get(&kind)
    }

    /// All kinds that were found.
    pub fn iter(&self) -> impl Iterator<Item = (FindingKind, &Finding)> {
        self.0.iter().map(|(kind, finding)| (*kind, finding))
    }

    pub(crate) fn add(&mut self, kind: FindingKind, count: usize, example: impl fmt::Display) {
        if count == 0 {
            return;
        }
        let finding = self.0.entry(kind).or_default();
        finding.count += count;
        finding.keep(example);
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        for (kind, finding) in &other.0 {
            let ours = self.0.entry(*kind).or_default();
            ours.count += finding.count;
            finding.examples.iter().for_each(|example| ours.keep(example));
        }
    }
}

impl fmt::Display for Findings {
    /// One line per kind: `3 detections of unknown images left out (17, 18, 21)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, finding) in &self.0 {
            writeln!(f, "{} {kind} ({})", finding.count, finding.examples.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_stand_once_each_however_findings_come_together() {
        let kind = FindingKind::MissingArea;
        let found = |ids: std::ops::Range<usize>| {
            let mut findings = Findings::default();
            ids.for_each(|id| findings.add(kind, 1, id));
            findings
        };
        let mut all = found(0..3);
        all.extend(&found(1..4));
        let finding = all.get(kind).unwrap();
        assert_eq!((finding.count, finding.examples.join(" ")), (6, "0 1 2 3".to_owned()));
        all.extend(&found(100..120));
        assert_eq!(all.get(kind).unwrap().examples.len(), EXAMPLES);
    }
}
