use std::cmp::Ordering;

use crate::findings::{FindingKind, Findings};
use crate::id::{Interner, check_count};
use crate::{BoxEdges, Error, Id};

/// A class of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Category {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
}

impl Category {
    /// A category from its id and name.
    pub fn new(id: impl Into<Id>, name: impl Into<String>) -> Self {
        Self { id: id.into(), name: name.into() }
    }
}

/// One labelled object, as handed in by a parser or by training.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotation {
    /// Id of the annotation, if it has one. It is told apart from 0 only by
    /// [`CocoParams::pycocotools_quirks`](crate::CocoParams::pycocotools_quirks).
    pub id: Option<i64>,
    /// Id of the image.
    pub image_id: Id,
    /// Id of the category.
    pub category_id: Id,
    /// Where the object is.
    pub bbox: BoxEdges,
    /// Area in square pixels, that of the mask where there is one; the area of the box if `None`.
    pub area: Option<f64>,
    /// A crowd region: detections are measured by the part of them that lies inside, and any number may match.
    pub is_crowd: bool,
    /// An object that is neither a hit nor a miss: `difficult` in VOC, `ignore` in some COCO files.
    pub ignore: bool,
    /// A box around a group of objects (OpenImages).
    pub is_group_of: bool,
}

impl Annotation {
    /// An ordinary object, with the area of its box and no flag set.
    pub fn new(image_id: impl Into<Id>, category_id: impl Into<Id>, bbox: BoxEdges) -> Self {
        Self {
            id: None,
            image_id: image_id.into(),
            category_id: category_id.into(),
            bbox,
            area: None,
            is_crowd: false,
            ignore: false,
            is_group_of: false,
        }
    }
}

/// A labelled object with its image and category as indices.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Labelled {
    pub(crate) edges: BoxEdges,
    pub(crate) area: f64,
    pub(crate) id: Option<i64>,
    pub(crate) image: u32,
    pub(crate) category: u32,
    pub(crate) is_crowd: bool,
    pub(crate) ignore: bool,
    pub(crate) is_group_of: bool,
}

impl Labelled {
    /// Whether it is many objects in one, of which a detection may be any part.
    pub(crate) fn is_region(&self, use_ignore_flag: bool) -> bool {
        self.is_crowd || (use_ignore_flag && self.is_group_of)
    }

    /// Whether it is neither to be found nor to be missed.
    pub(crate) fn is_left_out(&self, use_ignore_flag: bool) -> bool {
        self.is_region(use_ignore_flag) || (use_ignore_flag && self.ignore)
    }
}

/// Images, categories and labelled objects of a data set.
#[derive(Debug, Clone, Default)]
pub struct GroundTruth {
    images: Vec<Id>,
    categories: Vec<Category>,
    pub(crate) boxes: Vec<Labelled>,
    pub(crate) findings: Findings,
}

impl GroundTruth {
    /// A data set from its parts. Images and categories are sorted by id; annotations of others are left out and
    /// counted in [`findings`](Self::findings).
    ///
    /// # Errors
    /// [`Error::NonFiniteAnnotation`] for a box or area that is NaN or infinite.
    pub fn new(
        images: impl IntoIterator<Item = Id>,
        categories: impl IntoIterator<Item = Category>,
        annotations: impl IntoIterator<Item = Annotation>,
    ) -> Result<Self, Error> {
        let mut pending = PendingBoxes::default();
        for (index, annotation) in annotations.into_iter().enumerate() {
            let finite = annotation.bbox.is_finite() && annotation.area.is_none_or(f64::is_finite);
            if !finite {
                return Err(Error::NonFiniteAnnotation { index, image: annotation.image_id.to_string() });
            }
            pending.push(annotation);
        }
        Self::assemble(images.into_iter().collect(), categories.into_iter().collect(), pending)
    }

    pub(crate) fn assemble(
        mut images: Vec<Id>,
        mut categories: Vec<Category>,
        pending: PendingBoxes,
    ) -> Result<Self, Error> {
        let mut findings = pending.findings;
        images.sort_unstable();
        images.dedup_by(|later, first| {
            let same = later == first;
            findings.add(FindingKind::DuplicateImageId, usize::from(same), first);
            same
        });
        categories.sort_by(|a, b| a.id.cmp(&b.id));
        categories.dedup_by(|later, first| {
            let same = later.id == first.id;
            if same {
                findings.add(FindingKind::DuplicateCategoryId, 1, &first.id);
                first.name.clone_from(&later.name);
            }
            same
        });
        check_count(images.len(), "images")?;
        check_count(categories.len(), "categories")?;
        check_count(pending.boxes.len(), "annotations")?;

        let image_index = pending.images.resolve(&images, |id| id);
        let category_index = pending.categories.resolve(&categories, |category| &category.id);
        let mut boxes = pending.boxes;
        count_repeated_ids(&boxes, &mut findings);
        boxes.retain_mut(|labelled| {
            let (image, category) = (labelled.image as usize, labelled.category as usize);
            match (image_index[image], category_index[category]) {
                (Some(image), Some(category)) => {
                    (labelled.image, labelled.category) = (image, category);
                    true
                }
                (None, _) => {
                    findings.add(FindingKind::AnnotationOfUnknownImage, 1, &pending.images.ids()[image]);
                    false
                }
                (_, None) => {
                    let id = &pending.categories.ids()[category];
                    findings.add(FindingKind::AnnotationOfUnknownCategory, 1, id);
                    false
                }
            }
        });
        Ok(Self { images, categories, boxes, findings })
    }

    /// Ids of the images, sorted.
    pub fn images(&self) -> &[Id] {
        &self.images
    }

    /// The categories, sorted by id.
    pub fn categories(&self) -> &[Category] {
        &self.categories
    }

    /// Number of labelled objects, crowds and ignored ones included.
    pub fn len(&self) -> usize {
        self.boxes.len()
    }

    /// True if no object is labelled.
    pub fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }

    /// What was found in the data that a user should know.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Positions of the boxes by category, then image, then their order in the file.
    pub(crate) fn by_category_and_image(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.boxes.len() as u32).collect();
        order.sort_unstable_by_key(|&i| (self.boxes[i as usize].category, self.boxes[i as usize].image, i));
        order
    }

    /// Positions of the boxes by image, then their order in the file, and where each image begins.
    pub(crate) fn by_image(&self) -> (Vec<u32>, Vec<usize>) {
        let mut order: Vec<u32> = (0..self.boxes.len() as u32).collect();
        order.sort_unstable_by_key(|&i| (self.boxes[i as usize].image, i));
        let starts = (0..=self.images.len())
            .map(|image| order.partition_point(|&i| (self.boxes[i as usize].image as usize) < image))
            .collect();
        (order, starts)
    }
}

fn count_repeated_ids(boxes: &[Labelled], findings: &mut Findings) {
    let mut ids: Vec<i64> = boxes.iter().filter_map(|b| b.id).collect();
    ids.sort_unstable();
    for pair in ids.windows(2).filter(|pair| pair[0].cmp(&pair[1]) == Ordering::Equal) {
        findings.add(FindingKind::DuplicateAnnotationId, 1, pair[0]);
    }
}

/// Boxes whose images and categories are not known yet, since a file may list them first.
#[derive(Debug, Default)]
pub(crate) struct PendingBoxes {
    pub(crate) images: Interner,
    pub(crate) categories: Interner,
    boxes: Vec<Labelled>,
    pub(crate) findings: Findings,
}

impl PendingBoxes {
    pub(crate) fn push(&mut self, annotation: Annotation) {
        let edges = annotation.bbox;
        self.boxes.push(Labelled {
            edges,
            area: annotation.area.unwrap_or(edges.area),
            id: annotation.id,
            image: self.images.intern(annotation.image_id),
            category: self.categories.intern(annotation.category_id),
            is_crowd: annotation.is_crowd,
            ignore: annotation.ignore,
            is_group_of: annotation.is_group_of,
        });
    }

    pub(crate) fn append(&mut self, other: Self) {
        if self.boxes.is_empty() {
            let findings = std::mem::take(&mut self.findings);
            *self = other;
            self.findings.extend(&findings);
            return;
        }
        let (images, categories) = (self.images.merge(other.images), self.categories.merge(other.categories));
        self.boxes.extend(other.boxes.into_iter().map(|labelled| Labelled {
            image: images[labelled.image as usize],
            category: categories[labelled.category as usize],
            ..labelled
        }));
        self.findings.extend(&other.findings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotation(image: i64, category: i64) -> Annotation {
        Annotation::new(image, category, BoxEdges::from_xywh([0.0, 0.0, 4.0, 5.0]))
    }

    #[test]
    fn annotations_of_unlisted_images_and_categories_are_counted_not_kept() {
        let truth = GroundTruth::new(
            [2.into(), 1.into(), 2.into()],
            [Category::new(90i64, "late"), Category::new(1i64, "early")],
            [annotation(1, 90), annotation(7, 1), annotation(2, 4), annotation(7, 1)],
        )
        .unwrap();
        assert_eq!((truth.len(), truth.images()), (1, &[Id::Int(1), Id::Int(2)][..]));
        assert_eq!(truth.boxes[0].category, 1);
        assert_eq!(truth.boxes[0].area, 20.0);
        let found = |kind| truth.findings().get(kind).map(|f| (f.count, f.examples.join(",")));
        assert_eq!(found(FindingKind::AnnotationOfUnknownImage), Some((2, "7".into())));
        assert_eq!(found(FindingKind::AnnotationOfUnknownCategory), Some((1, "4".into())));
        assert_eq!(found(FindingKind::DuplicateImageId), Some((1, "2".into())));
    }

    #[test]
    fn a_box_that_is_not_finite_is_refused() {
        let bad = Annotation::new(1i64, 1i64, BoxEdges::from_xywh([0.0, f64::NAN, 1.0, 1.0]));
        let error = GroundTruth::new([], [], [annotation(1, 1), bad]).unwrap_err();
        assert_eq!(error.to_string(), "annotation 1 of image 1: the box or its area is not finite");
    }
}
