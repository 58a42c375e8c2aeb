//! Precision at fixed recalls, collected while detections arrive in the order of their scores.

use crate::coco::matching::Outcome;

/// numpy's `spacing(1)`.
const EPSILON: f64 = f64::EPSILON;

/// For `objects` labelled objects, the number of hits at which each recall is reached; `u32::MAX` if never.
pub(crate) fn hits_for_recall(thresholds: &[f64], objects: usize) -> Vec<u32> {
    let total = objects as f64;
    let reached = |hits: usize, threshold: f64| hits as f64 / total >= threshold;
    thresholds
        .iter()
        .map(|&threshold| {
            let mut hits = (threshold * total).ceil() as usize;
            while hits > 0 && reached(hits - 1, threshold) {
                hits -= 1;
            }
            while hits <= objects && !reached(hits, threshold) {
                hits += 1;
            }
            if hits <= objects { hits as u32 } else { u32::MAX }
        })
        .collect()
}

/// Precision and recall of one category, area range and number of detections, at up to 64 IoU thresholds.
///
/// Precision only matters where a hit raises the recall, and the envelope is a maximum over everything behind. So
/// the best precision is kept for each stretch between two recall thresholds, and a maximum from the right
/// finishes the curve; nothing is stored per detection.
///
/// # Reference
/// pycocotools `COCOeval.accumulate`.
pub(crate) struct Curve<'a> {
    /// `[threshold][recall]`.
    precision: &'a mut [f64],
    /// `[threshold]`.
    recall: &'a mut [f64],
    recalls: usize,
    /// Detections that count at every threshold, and in addition at each.
    common: u32,
    extra: [u32; 64],
    hits: [u32; 64],
    stretch: [u32; 64],
}

impl<'a> Curve<'a> {
    pub(crate) fn new(precision: &'a mut [f64], recall: &'a mut [f64]) -> Self {
        let recalls = precision.len() / recall.len().max(1);
        precision.fill(0.0);
        Self { precision, recall, recalls, common: 0, extra: [0; 64], hits: [0; 64], stretch: [0; 64] }
    }

    #[inline(always)]
    pub(crate) fn add_miss(&mut self, at_all: bool) {
        self.common += u32::from(at_all);
    }

    #[inline]
    pub(crate) fn add(&mut self, outcome: Outcome, all: u64, hits_for_recall: &[u32]) {
        if outcome.miss == all {
            self.common += 1;
            return;
        }
        let mut counted = outcome.hit | outcome.miss;
        while counted != 0 {
            let t = counted.trailing_zeros() as usize;
            counted &= counted - 1;
            self.extra[t] += 1;
            if outcome.hit >> t & 1 == 0 {
                continue;
            }
            self.hits[t] += 1;
            let mut stretch = self.stretch[t] as usize;
            while hits_for_recall.get(stretch).is_some_and(|&needed| self.hits[t] >= needed) {
                stretch += 1;
            }
            self.stretch[t] = stretch as u32;
            if stretch > 0 {
                let precision = f64::from(self.hits[t]) / (f64::from(self.common + self.extra[t]) + EPSILON);
                let best = &mut self.precision[t * self.recalls + stretch - 1];
                if precision > *best {
                    *best = precision;
                }
            }
        }
    }

    pub(crate) fn finish(self, objects: usize) {
        for (t, (curve, recall)) in self.precision.chunks_mut(self.recalls).zip(self.recall).enumerate() {
            if objects == 0 {
                curve.fill(-1.0);
                *recall = -1.0;
                continue;
            }
            let mut best = 0.0;
            for value in curve.iter_mut().rev() {
                best = f64::max(best, *value);
                *value = best;
            }
            *recall = f64::from(self.hits[t]) / objects as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_is_reached_at_the_first_quotient_not_below_it() {
        let thresholds: Vec<f64> = (0..=100).map(|i| f64::from(i) * 0.01).collect();
        for objects in 1..400usize {
            for (&threshold, hits) in thresholds.iter().zip(hits_for_recall(&thresholds, objects)) {
                let expected = (0..=objects).find(|&h| h as f64 / objects as f64 >= threshold);
                assert_eq!(Some(hits as usize), expected, "{threshold} of {objects}");
            }
        }
        assert_eq!(hits_for_recall(&[1.0 + 1e-9], 3), [u32::MAX]);
    }
}
