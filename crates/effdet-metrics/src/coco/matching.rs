//! Which detection finds which object, for all IoU thresholds and area ranges at once.

use crate::BoxEdges;
use crate::coco::params::AreaRange;
use crate::dataset::Labelled;

/// Thresholds matched at once: one bit each.
pub(crate) const BITS: usize = 64;

/// A labelled object as the matching sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) edges: BoxEdges,
    pub(crate) area: f64,
    pub(crate) image: u32,
    /// Position among the boxes of the ground truth.
    pub(crate) position: u32,
    pub(crate) is_crowd: bool,
    pub(crate) ignore: bool,
    /// Any number of detections may match it.
    pub(crate) unlimited: bool,
    /// Annotation id 0 under `pycocotools_quirks`: it is taken, but its detection stays unmatched.
    pub(crate) unmarked: bool,
}

impl Target {
    /// The object at `position` of the ground truth, counting all but crowds.
    pub(crate) fn of(labelled: &Labelled, position: u32) -> Self {
        Self {
            edges: labelled.edges,
            area: labelled.area,
            image: labelled.image,
            position,
            is_crowd: labelled.is_crowd,
            ignore: labelled.is_crowd,
            unlimited: labelled.is_crowd,
            unmarked: false,
        }
    }

    /// As [`of`](Self::of), but neither objects with `ignore` set nor group-of boxes count either. Groups are measured
    /// as crowds are, and all of these take any number of detections, as in the metrics of VOC and OpenImages.
    pub(crate) fn with_ignore_flag(labelled: &Labelled, position: u32) -> Self {
        let left_out = labelled.is_left_out(true);
        Self {
            is_crowd: labelled.is_region(true),
            ignore: left_out,
            unlimited: left_out,
            ..Self::of(labelled, position)
        }
    }
}

/// What became of one detection in one area range; bit `t` speaks of IoU threshold `t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) hit: u64,
    pub(crate) miss: u64,
}

/// Matches detections in the order of their scores to the targets of one category.
///
/// For one threshold and area range, a detection takes the free target of the highest IoU at or above the
/// threshold, the last one among equals; targets that count come before ignored ones; crowds are never used up.
/// That order of preference does not depend on the threshold, so one pass over the candidates serves all of them.
///
/// # Reference
/// pycocotools `COCOeval.evaluateImg`.
pub(crate) struct Matcher<'a> {
    targets: &'a [Target],
    ranges: &'a [AreaRange],
    thresholds: Vec<f64>,
    floor: f64,
    all: u64,
    /// Whether each target is ignored in each area range, and at which thresholds it is taken.
    ignored: Vec<bool>,
    taken: Vec<u64>,
    candidates: Vec<Candidate>,
}

#[derive(Clone, Copy)]
struct Candidate {
    overlap: f64,
    target: usize,
    reached: u64,
}

impl<'a> Matcher<'a> {
    /// `thresholds` are at most [`BITS`].
    pub(crate) fn new(targets: &'a [Target], ranges: &'a [AreaRange], thresholds: &[f64]) -> Self {
        // Overlaps of equal boxes may come out a little below 1.
        let thresholds: Vec<f64> = thresholds.iter().map(|t| t.min(1.0 - 1e-10)).collect();
        let floor = thresholds.iter().copied().fold(f64::INFINITY, f64::min);
        let all = if thresholds.len() == BITS { u64::MAX } else { (1 << thresholds.len()) - 1 };
        let ignored = |target: &Target, range: &AreaRange| target.ignore || range.excludes(target.area);
        Self {
            ignored: targets.iter().flat_map(|t| ranges.iter().map(move |r| ignored(t, r))).collect(),
            taken: vec![0; targets.len() * ranges.len()],
            candidates: Vec::new(),
            targets,
            ranges,
            thresholds,
            floor,
            all,
        }
    }

    /// All bits that stand for a threshold.
    pub(crate) fn all(&self) -> u64 {
        self.all
    }

    /// Targets that count in area range `a`.
    pub(crate) fn countable(&self, a: usize) -> usize {
        self.ignored.iter().skip(a).step_by(self.ranges.len()).filter(|ignored| !**ignored).count()
    }

    /// Finds the targets in `of_image` that the detection reaches at any threshold. False if there are none.
    #[inline]
    pub(crate) fn look(&mut self, detection: &BoxEdges, of_image: std::ops::Range<usize>) -> bool {
        self.candidates.clear();
        for target in of_image {
            let Target { edges, is_crowd, .. } = &self.targets[target];
            let overlap = if *is_crowd { detection.ioa(edges) } else { detection.iou(edges) };
            if overlap >= self.floor {
                let bits = self.thresholds.iter().enumerate();
                let reached =
                    bits.fold(0, |mask, (t, &threshold)| mask | (u64::from(overlap >= threshold) << t));
                self.candidates.push(Candidate { overlap, target, reached });
            }
        }
        if self.candidates.len() > 1 {
            let key = |c: &Candidate| (c.overlap, c.target);
            self.candidates.sort_unstable_by(|a, b| {
                let ((x, i), (y, j)) = (key(a), key(b));
                y.total_cmp(&x).then(j.cmp(&i))
            });
        }
        !self.candidates.is_empty()
    }

    /// Matches the detection of the last [`look`](Self::look) in area range `a`. `taken_now` is called with the
    /// position of each target that it takes.
    #[inline]
    pub(crate) fn settle(&mut self, a: usize, area: f64, mut taken_now: impl FnMut(u32)) -> Outcome {
        let (mut hit, mut ignored) = (0, 0);
        let mut open = self.all;
        for pass_ignored in [false, true] {
            for candidate in &self.candidates {
                let slot = candidate.target * self.ranges.len() + a;
                if self.ignored[slot] != pass_ignored {
                    continue;
                }
                let target = &self.targets[candidate.target];
                let free = if target.unlimited { u64::MAX } else { !self.taken[slot] };
                let matched = open & candidate.reached & free;
                if matched == 0 {
                    continue;
                }
                open &= !matched;
                self.taken[slot] |= matched;
                taken_now(target.position);
                if pass_ignored {
                    ignored |= matched;
                } else if !target.unmarked {
                    hit |= matched;
                }
            }
        }
        Outcome { hit, miss: self.unmatched(a, area) & !(hit | ignored) }
    }

    /// The misses of a detection that matches nothing: none if its own area lies outside the range.
    #[inline]
    pub(crate) fn unmatched(&self, a: usize, area: f64) -> u64 {
        if self.ranges[a].excludes(area) { 0 } else { self.all }
    }
}

/// Where the targets of each image lie in a list sorted by image, and how many detections an image has had.
///
/// One is kept per thread and cleared through what was touched, since most images lack most categories.
#[derive(Debug, Clone)]
pub(crate) struct ImageTable {
    ranges: Vec<(u32, u32)>,
    seen: Vec<u32>,
}

impl ImageTable {
    pub(crate) fn new(images: usize) -> Self {
        Self { ranges: vec![(0, 0); images], seen: vec![0; images] }
    }

    pub(crate) fn set(&mut self, targets: &[Target]) {
        for (i, target) in (0u32..).zip(targets) {
            let range = &mut self.ranges[target.image as usize];
            if range.1 == 0 {
                range.0 = i;
            }
            range.1 = i + 1;
        }
    }

    pub(crate) fn clear(&mut self, targets: &[Target], images: impl Iterator<Item = u32>) {
        for target in targets {
            self.ranges[target.image as usize] = (0, 0);
        }
        for image in images {
            self.seen[image as usize] = 0;
        }
    }

    #[inline]
    pub(crate) fn targets_of(&self, image: u32) -> std::ops::Range<usize> {
        let (from, to) = self.ranges[image as usize];
        from as usize..to as usize
    }

    /// How many detections of the image came before this one.
    #[inline]
    pub(crate) fn rank(&mut self, image: u32) -> usize {
        let seen = &mut self.seen[image as usize];
        *seen += 1;
        *seen as usize - 1
    }
}
