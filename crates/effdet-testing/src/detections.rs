//! Matching detections with the reference's.

use effdet_core::iou::iou;
use effdet_core::{Detection, XyxyBox};

/// When two detections are the same.
#[derive(Clone, Copy, Debug)]
pub struct MatchTolerance {
    /// Largest difference of the scores.
    pub score: f32,
    /// Least overlap.
    pub iou: f32,
    /// Or largest distance of any edge, in pixels: the overlap says little about boxes that clipping made thin.
    pub edge: f32,
}

/// How many of `expected` have a partner of their own among `actual`.
pub fn count_matches(expected: &[Detection], actual: &[Detection], tolerance: MatchTolerance) -> usize {
    let mut free: Vec<&Detection> = actual.iter().collect();
    let mut matched = 0;
    for wanted in expected {
        let same = |found: &Detection| {
            found.class_id == wanted.class_id
                && (found.score - wanted.score).abs() <= tolerance.score
                && (iou(&found.bbox, &wanted.bbox) >= tolerance.iou
                    || edge_distance(&found.bbox, &wanted.bbox) <= tolerance.edge)
        };
        // Of several, the nearest, so that near duplicates do not take each other's partners.
        let nearest = free
            .iter()
            .enumerate()
            .filter(|(_, found)| same(found))
            .min_by(|(_, a), (_, b)| {
                edge_distance(&a.bbox, &wanted.bbox).total_cmp(&edge_distance(&b.bbox, &wanted.bbox))
            })
            .map(|(index, _)| index);
        if let Some(index) = nearest {
            free.swap_remove(index);
            matched += 1;
        }
    }
    matched
}

fn edge_distance(a: &XyxyBox, b: &XyxyBox) -> f32 {
    [a.x1 - b.x1, a.y1 - b.y1, a.x2 - b.x2, a.y2 - b.y2].into_iter().fold(0.0, |most, d| most.max(d.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detection_is_matched_once() {
        let detection = |x1, score| Detection {
            bbox: XyxyBox { x1, y1: 0.0, x2: x1 + 10.0, y2: 10.0 },
            score,
            class_id: 1,
        };
        let tolerance = MatchTolerance { score: 0.01, iou: 0.99, edge: 0.5 };
        let expected = [detection(0.0, 0.5), detection(0.0, 0.5)];
        assert_eq!(count_matches(&expected, &[detection(0.1, 0.505)], tolerance), 1);
        assert_eq!(count_matches(&expected, &[detection(1.0, 0.5), detection(0.0, 0.6)], tolerance), 0);
        assert_eq!(count_matches(&expected, &[detection(0.0, 0.5), detection(0.2, 0.5)], tolerance), 2);
    }
}
