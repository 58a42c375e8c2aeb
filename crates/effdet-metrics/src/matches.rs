//! The matches of COCO's rule at one IoU threshold, as the diagnoses need them.

use rayon::prelude::*;

use crate::GroundTruth;
use crate::coco::AreaRange;
use crate::coco::matching::{ImageTable, Matcher, Target};
use crate::detections::Located;

/// A detection that counts, highest score first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    /// Position among the detections.
    pub(crate) position: u32,
    pub(crate) image: u32,
    pub(crate) score: f64,
    pub(crate) hit: bool,
}

/// What became of the detections of one category.
pub(crate) struct Matches {
    pub(crate) counted: Vec<Counted>,
    /// Objects that count.
    pub(crate) objects: usize,
    /// Positions of the objects that were found.
    pub(crate) found: Vec<u32>,
}

/// Matches the detections of every category. With `use_ignore_flag`, objects with `ignore` set and group-of boxes count
/// as little as crowds.
pub(crate) fn match_categories(
    truth: &GroundTruth,
    located: &Located<'_>,
    iou: f64,
    max_detections: usize,
    use_ignore_flag: bool,
) -> Vec<Matches> {
    let order = truth.by_category_and_image();
    let target_of = if use_ignore_flag { Target::with_ignore_flag } else { Target::of };
    let targets: Vec<Target> = order.iter().map(|&p| target_of(&truth.boxes[p as usize], p)).collect();
    let everything = [AreaRange::new("all", f64::NEG_INFINITY, f64::INFINITY)];
    let category_of = |p: &u32| truth.boxes[*p as usize].category as usize;
    let table = || ImageTable::new(truth.images().len());
    (0..truth.categories().len())
        .into_par_iter()
        .map_init(table, |table, category| {
            let range = order.partition_point(|p| category_of(p) < category)
                ..order.partition_point(|p| category_of(p) <= category);
            let targets = &targets[range];
            table.set(targets);
            let mut matcher = Matcher::new(targets, &everything, &[iou]);
            let ranked = located.ranked(located.of_category(category));
            let (mut counted, mut found) = (Vec::with_capacity(ranked.len()), Vec::new());
            for &(position, image) in &ranked {
                if table.rank(image) >= max_detections {
                    continue;
                }
                let entry = &located.entries[position as usize];
                let mut outcome = (0, 1);
                if matcher.look(&entry.edges, table.targets_of(image)) {
                    let settled = matcher.settle(0, entry.edges.area, |target| found.push(target));
                    outcome = (settled.hit, settled.miss);
                }
                if outcome != (0, 0) {
                    counted.push(Counted { position, image, score: entry.score, hit: outcome.0 != 0 });
                }
            }
            table.clear(targets, ranked.iter().map(|&(_, image)| image));
            Matches { counted, objects: matcher.countable(0), found }
        })
        .collect()
}
