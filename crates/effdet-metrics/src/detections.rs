use effdet_core::Detection;

use crate::findings::{FindingKind, Findings};
use crate::id::{Interner, check_count, padded_number};
use crate::{BoxEdges, Category, Error, GroundTruth, Id};

/// One detected object on one image.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectionRecord {
    /// Id of the image.
    pub image_id: Id,
    /// Id of the category.
    pub category_id: Id,
    /// Where the object is.
    pub bbox: BoxEdges,
    /// Confidence; any finite number.
    pub score: f64,
}

/// Detections on any number of images, in the order in which they were added.
///
/// The order matters only between equal scores: the earlier one ranks higher.
#[derive(Debug, Clone, Default)]
pub struct Detections {
    images: Interner,
    categories: Interner,
    pub(crate) entries: Vec<Entry>,
    findings: Findings,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) edges: BoxEdges,
    pub(crate) score: f64,
    pub(crate) image: u32,
    pub(crate) category: u32,
}

impl Detections {
    /// No detections.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one. A box or score that is NaN or infinite is left out and counted in the report.
    pub fn push(&mut self, record: DetectionRecord) {
        if !(record.bbox.is_finite() && record.score.is_finite()) {
            self.findings.add(FindingKind::NonFiniteDetection, 1, &record.image_id);
            return;
        }
        let image = self.images.intern(record.image_id);
        let category = self.categories.intern(record.category_id);
        self.entries.push(Entry { edges: record.bbox, score: record.score, image, category });
    }

    /// Adds what a detector found on one image. Class ids are taken as category ids.
    pub fn push_image(&mut self, image_id: impl Into<Id>, detections: &[Detection]) {
        let image_id = image_id.into();
        for detection in detections {
            self.push(DetectionRecord {
                image_id: image_id.clone(),
                category_id: detection.class_id.into(),
                bbox: detection.bbox.into(),
                score: detection.score.into(),
            });
        }
    }

    /// Moves all boxes right and down by `pixels`.
    pub(crate) fn translate(&mut self, pixels: f64) {
        for Entry { edges, .. } in &mut self.entries {
            for edge in [&mut edges.x1, &mut edges.y1, &mut edges.x2, &mut edges.y2] {
                *edge += pixels;
            }
        }
    }

    /// Names categories by their ids and images by their names without the ending, where the file did it the other
    /// way: `{"image_id": "2007_000027.jpg", "category_id": "dog"}`.
    pub(crate) fn adapt_ids(&mut self, truth: &GroundTruth) {
        let by_name = |name: &str| truth.categories().iter().find(|c| c.name == name).map(|c| c.id.clone());
        self.categories.map_ids(|id| match id {
            Id::Text(name) if truth.categories().iter().all(|c| c.id != *id) => by_name(name),
            _ => None,
        });
        let known = |id: &Id| truth.images().binary_search(id).is_ok();
        self.images.map_ids(|id| match id {
            Id::Text(name) if !known(id) => {
                let (stem, _) = name.rsplit_once('.')?;
                let unpadded = padded_number(stem).map(Id::Int);
                [Some(Id::from(stem)), unpadded].into_iter().flatten().find(known)
            }
            _ => None,
        });
    }

    /// Number of detections.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn append_all(&mut self, other: Self) {
        if self.entries.is_empty() {
            let findings = std::mem::take(&mut self.findings);
            *self = other;
            self.findings.extend(&findings);
            return;
        }
        let (images, categories) = (self.images.merge(other.images), self.categories.merge(other.categories));
        self.entries.extend(other.entries.into_iter().map(|entry| Entry {
            image: images[entry.image as usize],
            category: categories[entry.category as usize],
            ..entry
        }));
        self.findings.extend(&other.findings);
    }

    /// Sorts the detections by category of `truth`, keeping their order, and finds the image of each. Those on
    /// images or of categories that `truth` does not have are counted as findings.
    pub(crate) fn against(&self, truth: &GroundTruth) -> Result<Located<'_>, Error> {
        check_count(self.entries.len(), "detections")?;
        let images = self.images.resolve(truth.images(), |id| id);
        let categories = self.categories.resolve(truth.categories(), |category: &Category| &category.id);
        let mut findings = self.findings.clone();

        let mut unknown_images = vec![0usize; images.len()];
        let mut unknown_categories = vec![0usize; categories.len()];
        let mut starts = vec![0usize; truth.categories().len() + 1];
        for entry in &self.entries {
            match (images[entry.image as usize], categories[entry.category as usize]) {
                (Some(_), Some(category)) => starts[category as usize + 1] += 1,
                (None, _) => unknown_images[entry.image as usize] += 1,
                (_, None) => unknown_categories[entry.category as usize] += 1,
            }
        }
        for (&count, id) in unknown_images.iter().zip(self.images.ids()) {
            findings.add(FindingKind::DetectionOfUnknownImage, count, id);
        }
        for (&count, id) in unknown_categories.iter().zip(self.categories.ids()) {
            findings.add(FindingKind::DetectionOfUnknownCategory, count, id);
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut next = starts.clone();
        let mut order = vec![0u32; starts.last().copied().unwrap_or(0)];
        for (i, entry) in self.entries.iter().enumerate() {
            let known = images[entry.image as usize].and(categories[entry.category as usize]);
            if let Some(category) = known {
                order[next[category as usize]] = i as u32;
                next[category as usize] += 1;
            }
        }
        let or_none =
            |indices: Vec<Option<u32>>| indices.into_iter().map(|i| i.unwrap_or(u32::MAX)).collect();
        let (images, categories) = (or_none(images), or_none(categories));
        Ok(Located { entries: &self.entries, images, categories, order, starts, findings })
    }
}

/// Detections by category of a ground truth.
pub(crate) struct Located<'a> {
    pub(crate) entries: &'a [Entry],
    /// For each image number of the entries, that of the ground truth.
    images: Vec<u32>,
    categories: Vec<u32>,
    /// Positions of the entries, by category.
    pub(crate) order: Vec<u32>,
    /// Where each category begins in `order`, and the end.
    pub(crate) starts: Vec<usize>,
    pub(crate) findings: Findings,
}

impl Located<'_> {
    /// The detections of a category, as positions in `entries`.
    pub(crate) fn of_category(&self, category: usize) -> &[u32] {
        &self.order[self.starts[category]..self.starts[category + 1]]
    }

    /// Index in the ground truth of the image of the entry at `position`.
    pub(crate) fn image_of(&self, position: u32) -> u32 {
        self.images[self.entries[position as usize].image as usize]
    }

    /// Index in the ground truth of the category of the entry at `position`.
    pub(crate) fn category_of(&self, position: u32) -> usize {
        self.categories[self.entries[position as usize].category as usize] as usize
    }

    /// The entries at `positions` as `(entry position, image)`, highest score first. Equal scores go by image and
    /// then by their order in `positions`: a stable sort of lists that were joined image after image.
    pub(crate) fn ranked(&self, positions: &[u32]) -> Vec<(u32, u32)> {
        let mut keys: Vec<u128> = positions
            .iter()
            .enumerate()
            .map(|(i, &p)| {
                let score = descending(self.entries[p as usize].score);
                (u128::from(score) << 64) | (u128::from(self.image_of(p)) << 32) | i as u128
            })
            .collect();
        keys.sort_unstable();
        keys.into_iter().map(|key| (positions[key as u32 as usize], (key >> 32) as u32)).collect()
    }

    /// As [`ranked`](Self::ranked), but equal scores go by their order in `positions` alone.
    pub(crate) fn ranked_in_order(&self, positions: &[u32]) -> Vec<(u32, u32)> {
        let mut ranked: Vec<_> = positions.iter().map(|&p| (p, self.image_of(p))).collect();
        ranked.sort_by_key(|&(p, _)| descending(self.entries[p as usize].score));
        ranked
    }
}

/// Maps a score to an integer that sorts the other way round; both zeros map to one.
fn descending(score: f64) -> u64 {
    let bits = (-score + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_scores_sort_first_and_zeros_are_equal() {
        let scores = [1e300, 2.0, 0.5, 1e-310, 0.0, -1e-310, -3.0];
        assert!(scores.windows(2).all(|pair| descending(pair[0]) < descending(pair[1])));
        assert_eq!(descending(0.0), descending(-0.0));
    }

    #[test]
    fn detections_off_the_ground_truth_are_counted() {
        let truth = GroundTruth::new([1.into()], [Category::new(1i64, "a")], []).unwrap();
        let mut detections = Detections::new();
        let bbox = BoxEdges::from_xywh([0.0, 0.0, 1.0, 1.0]);
        for (image, category, score) in [(1, 1, 0.5), (2, 1, 0.5), (1, 9, 0.5), (1, 1, f64::NAN)] {
            let (image_id, category_id) = (Id::Int(image), Id::Int(category));
            detections.push(DetectionRecord { image_id, category_id, bbox, score });
        }
        let located = detections.against(&truth).unwrap();
        assert_eq!(located.of_category(0), [0]);
        for kind in [
            FindingKind::DetectionOfUnknownImage,
            FindingKind::DetectionOfUnknownCategory,
            FindingKind::NonFiniteDetection,
        ] {
            assert_eq!(located.findings.get(kind).map(|f| f.count), Some(1), "{kind}");
        }
    }
}
