use serde::Serialize;

/// How average precision is read off a precision-recall curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// The area under the envelope of the curve (VOC 2010 and later, OpenImages).
    #[default]
    AllPoint,
    /// The mean of the envelope at the recalls 0, 0.1, .. 1 (VOC 2007).
    ElevenPoint,
}

impl Interpolation {
    /// Average precision of a curve whose recalls ascend.
    pub(crate) fn average_precision(self, recall: &[f64], precision: &[f64]) -> f64 {
        match self {
            Self::AllPoint => area_under_envelope(recall, precision),
            Self::ElevenPoint => {
                let best = |wanted: f64| {
                    let reached = recall.iter().zip(precision).filter(|(r, _)| **r >= wanted);
                    reached.map(|(_, p)| *p).fold(0.0, f64::max)
                };
                (0..=10).map(|i| best(f64::from(i) * 0.1)).sum::<f64>() / 11.0
            }
        }
    }
}

fn area_under_envelope(recall: &[f64], precision: &[f64]) -> f64 {
    let (mut area, mut envelope) = (0.0, 0.0);
    for i in (0..recall.len()).rev() {
        envelope = f64::max(envelope, precision[i]);
        let before = if i == 0 { 0.0 } else { recall[i - 1] };
        area += (recall[i] - before) * envelope;
    }
    area
}

/// Recall and precision after each detection, from the weight of each hit (0 for a false detection), highest
/// score first.
pub(crate) fn precision_recall(hits: impl IntoIterator<Item = f64>, objects: f64) -> (Vec<f64>, Vec<f64>) {
    let (mut found, mut wrong) = (0.0, 0.0);
    hits.into_iter()
        .map(|weight| {
            found += weight;
            wrong += f64::from(u8::from(weight <= 0.0));
            (found / objects, found / (found + wrong))
        })
        .unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_textbook_curve_has_its_known_areas() {
        let (recall, precision) = precision_recall([1.0, 0.0, 1.0, 0.0], 2.0);
        assert_eq!(recall, [0.5, 0.5, 1.0, 1.0]);
        assert_eq!(precision, [1.0, 0.5, 2.0 / 3.0, 0.5]);
        let all = Interpolation::AllPoint.average_precision(&recall, &precision);
        assert!((all - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-15);
        let eleven = Interpolation::ElevenPoint.average_precision(&recall, &precision);
        assert!((eleven - (6.0 + 5.0 * 2.0 / 3.0) / 11.0).abs() < 1e-15);
        assert_eq!(Interpolation::AllPoint.average_precision(&[], &[]), 0.0);
    }
}
