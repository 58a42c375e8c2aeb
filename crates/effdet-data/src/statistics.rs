//! What is in a data set: objects per class and split, sizes and shapes of pictures and boxes.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Dataset, Object};

/// Areas in square pixels below which COCO calls an object small and medium.
const COCO_AREAS: [f32; 2] = [32.0 * 32.0, 96.0 * 96.0];

/// Counts and distributions of a data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statistics {
    /// Number of pictures.
    pub pictures: usize,
    /// Pictures without objects.
    pub negatives: usize,
    /// Number of objects.
    pub objects: usize,
    /// Objects that are crowds or groups.
    pub crowds: usize,
    /// Objects marked difficult or ignored.
    pub difficult: usize,
    /// Each official split.
    pub splits: BTreeMap<String, SplitCounts>,
    /// Each class, by id; classes without objects too.
    pub classes: Vec<ClassCounts>,
    /// Objects by COCO's ranges of area.
    pub sizes: SizeCounts,
    /// Widths of the pictures whose size is known.
    pub picture_width: Option<Distribution>,
    /// Heights of the pictures whose size is known.
    pub picture_height: Option<Distribution>,
    /// Objects per picture.
    pub objects_per_picture: Option<Distribution>,
    /// Widths of the boxes in pixels.
    pub box_width: Option<Distribution>,
    /// Heights of the boxes in pixels.
    pub box_height: Option<Distribution>,
    /// Width over height of the boxes.
    pub aspect_ratio: Option<Distribution>,
    /// Part of its picture that a box covers, where the picture's size is known.
    pub relative_area: Option<Distribution>,
}

/// Pictures and objects of one split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SplitCounts {
    /// Number of pictures.
    pub pictures: usize,
    /// Pictures without objects.
    pub negatives: usize,
    /// Number of objects.
    pub objects: usize,
}

/// Objects of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCounts {
    /// Id of the class.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Number of objects.
    pub objects: usize,
    /// Pictures with at least one.
    pub pictures: usize,
    /// Objects in each official split.
    pub splits: BTreeMap<String, usize>,
}

/// Objects by COCO's ranges of area, the stated area where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SizeCounts {
    /// Below 32 x 32 pixels.
    pub small: usize,
    /// From 32 x 32 to 96 x 96 pixels.
    pub medium: usize,
    /// From 96 x 96 pixels.
    pub large: usize,
}

/// A distribution by its quantiles, and a histogram.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Distribution {
    /// Least value.
    pub min: f32,
    /// 5 % are below.
    pub p5: f32,
    /// 25 % are below.
    pub p25: f32,
    /// Half are below.
    pub median: f32,
    /// 75 % are below.
    pub p75: f32,
    /// 95 % are below.
    pub p95: f32,
    /// Greatest value.
    pub max: f32,
    /// Arithmetic mean.
    pub mean: f64,
    /// Edges of the bins, one more than there are bins: equal steps, or equal factors where the values span more than
    /// a factor of 10.
    pub edges: Vec<f32>,
    /// Values in each bin: from its lower edge up to its upper, which only the last includes.
    pub counts: Vec<usize>,
}

/// Bins of a histogram.
const BINS: usize = 24;

impl Distribution {
    /// The distribution of these values; `None` of nothing. Values that are not finite are left out.
    pub fn of(values: impl IntoIterator<Item = f32>) -> Option<Self> {
        let mut values: Vec<f32> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_unstable_by(f32::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        // The nearest rank, so that every quantile is a value that occurs.
        let quantile = |part: f64| values[((values.len() - 1) as f64 * part).round() as usize];
        let edges = edges(min, max);
        let mut counts = vec![0; edges.len() - 1];
        let mut bin = 0;
        for value in &values {
            while bin + 1 < counts.len() && *value >= edges[bin + 1] {
                bin += 1;
            }
            counts[bin] += 1;
        }
        Some(Self {
            min,
            p5: quantile(0.05),
            p25: quantile(0.25),
            median: quantile(0.5),
            p75: quantile(0.75),
            p95: quantile(0.95),
            max,
            mean: values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64,
            edges,
            counts,
        })
    }
}

fn edges(min: f32, max: f32) -> Vec<f32> {
    let (low, high) = (f64::from(min), f64::from(max));
    if low == high {
        return vec![min, max];
    }
    let at = |bin: usize| {
        let part = bin as f64 / BINS as f64;
        if low > 0.0 && high / low > 10.0 { low * (high / low).powf(part) } else { low + (high - low) * part }
    };
    let mut edges: Vec<f32> = (0..=BINS).map(|bin| at(bin) as f32).collect();
    (edges[0], edges[BINS]) = (min, max);
    edges
}

impl Statistics {
    /// Counts what is in `dataset`.
    pub fn of(dataset: &Dataset) -> Self {
        let objects = || dataset.records.iter().flat_map(|record| &record.objects);
        let sizes = || dataset.records.iter().filter_map(|record| record.size);
        let relative = dataset.records.iter().flat_map(|record| {
            let area = record.size.map_or(f32::NAN, |size| size.area() as f32);
            record.objects.iter().map(move |object| object.bbox.area() / area)
        });
        let boxed = || objects().filter(|object| !object.bbox.is_empty());
        Self {
            pictures: dataset.records.len(),
            negatives: dataset.records.iter().filter(|record| record.objects.is_empty()).count(),
            objects: dataset.object_count(),
            crowds: objects().filter(|object| object.is_crowd || object.is_group_of).count(),
            difficult: objects().filter(|object| object.is_difficult || object.is_ignored).count(),
            splits: dataset
                .splits
                .iter()
                .map(|(name, members)| (name.clone(), split(dataset, members)))
                .collect(),
            classes: classes(dataset),
            sizes: size_counts(objects()),
            picture_width: Distribution::of(sizes().map(|size| size.width as f32)),
            picture_height: Distribution::of(sizes().map(|size| size.height as f32)),
            objects_per_picture: Distribution::of(dataset.records.iter().map(|r| r.objects.len() as f32)),
            box_width: Distribution::of(objects().map(|object| object.bbox.width())),
            box_height: Distribution::of(objects().map(|object| object.bbox.height())),
            aspect_ratio: Distribution::of(boxed().map(|object| object.bbox.width() / object.bbox.height())),
            relative_area: Distribution::of(relative),
        }
    }
}

fn split(dataset: &Dataset, members: &[usize]) -> SplitCounts {
    let records = || members.iter().filter_map(|&index| dataset.records.get(index));
    SplitCounts {
        pictures: records().count(),
        negatives: records().filter(|record| record.objects.is_empty()).count(),
        objects: records().map(|record| record.objects.len()).sum(),
    }
}

fn classes(dataset: &Dataset) -> Vec<ClassCounts> {
    let mut classes: BTreeMap<u32, ClassCounts> = dataset
        .class_map
        .iter()
        .map(|(id, name)| {
            let splits = dataset.splits.keys().map(|split| (split.clone(), 0)).collect();
            (id, ClassCounts { id, name: name.to_owned(), objects: 0, pictures: 0, splits })
        })
        .collect();
    let mut splits_of: Vec<Vec<&str>> = vec![Vec::new(); dataset.records.len()];
    for (name, members) in &dataset.splits {
        for &index in members {
            if let Some(splits) = splits_of.get_mut(index) {
                splits.push(name);
            }
        }
    }
    for (record, splits) in dataset.records.iter().zip(&splits_of) {
        let mut here: BTreeMap<u32, usize> = BTreeMap::new();
        for object in &record.objects {
            *here.entry(object.class_id).or_default() += 1;
        }
        for (id, count) in here {
            let Some(class) = classes.get_mut(&id) else { continue };
            class.objects += count;
            class.pictures += 1;
            for split in splits {
                *class.splits.entry((*split).to_owned()).or_default() += count;
            }
        }
    }
    classes.into_values().collect()
}

fn size_counts<'o>(objects: impl Iterator<Item = &'o Object>) -> SizeCounts {
    let mut counts = SizeCounts::default();
    for object in objects {
        let area = object.area.unwrap_or_else(|| object.bbox.area());
        *match COCO_AREAS.iter().filter(|limit| area >= **limit).count() {
            0 => &mut counts.small,
            1 => &mut counts.medium,
            _ => &mut counts.large,
        } += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use effdet_core::{ClassMap, ImageSize, XyxyBox};

    use super::*;
    use crate::{Record, RecordId};

    fn record(objects: &[(u32, f32, f32)]) -> Record {
        let object = |&(class_id, width, height): &(u32, f32, f32)| Object {
            bbox: XyxyBox::from([1.0, 2.0, 1.0 + width, 2.0 + height]),
            class_id,
            ..Object::default()
        };
        Record {
            id: RecordId::Number(1),
            path: "a.png".into(),
            size: Some(ImageSize::new(100, 200)),
            objects: objects.iter().map(object).collect(),
        }
    }

    #[test]
    fn objects_are_counted_by_class_split_and_size() {
        let mut dataset = Dataset {
            records: vec![
                record(&[(1, 10.0, 20.0), (1, 40.0, 40.0)]),
                record(&[]),
                record(&[(3, 100.0, 96.0)]),
            ],
            class_map: ClassMap::from_names(["cat", "cow", "dog"]).unwrap(),
            splits: [("train".into(), vec![0, 1]), ("val".into(), vec![2])].into(),
            ..Dataset::default()
        };
        dataset.records[2].objects[0].is_crowd = true;
        let statistics = Statistics::of(&dataset);
        assert_eq!((statistics.pictures, statistics.negatives, statistics.objects), (3, 1, 3));
        assert_eq!((statistics.crowds, statistics.difficult), (1, 0));
        assert_eq!(statistics.splits["train"], SplitCounts { pictures: 2, negatives: 1, objects: 2 });
        assert_eq!(statistics.sizes, SizeCounts { small: 1, medium: 1, large: 1 });
        let [cat, cow, dog] = &statistics.classes[..] else { panic!("{:?}", statistics.classes) };
        assert_eq!((cat.objects, cat.pictures, cat.splits["train"], cat.splits["val"]), (2, 1, 2, 0));
        assert_eq!((cow.name.as_str(), cow.objects, cow.splits["val"]), ("cow", 0, 0));
        assert_eq!((dog.id, dog.objects, dog.splits["val"]), (3, 1, 1));
        assert_eq!(statistics.aspect_ratio.unwrap().min, 0.5);
        assert_eq!(statistics.relative_area.unwrap().max, 0.48);
        assert_eq!(statistics.picture_width.unwrap().median, 200.0);
    }

    #[test]
    fn a_distribution_has_every_value_in_one_bin() {
        let values = (1..=1000).map(|value| value as f32);
        let distribution = Distribution::of(values.chain([f32::NAN])).unwrap();
        assert_eq!((distribution.min, distribution.median, distribution.max), (1.0, 501.0, 1000.0));
        assert_eq!(distribution.mean, 500.5);
        assert_eq!(distribution.counts.iter().sum::<usize>(), 1000);
        assert_eq!(distribution.edges.len(), distribution.counts.len() + 1);
        assert!(distribution.edges.is_sorted());
        // Equal factors: the values of the upper bins outnumber those of the lower.
        assert!(distribution.counts[0] < 5 && distribution.counts[BINS - 1] > 100);
        let same = Distribution::of([4.0, 4.0]).unwrap();
        assert_eq!((same.edges, same.counts), (vec![4.0, 4.0], vec![2]));
        assert_eq!(Distribution::of([f32::NAN]), None);
    }
}
