//! The highest logits of a picture, out of millions, in one pass.

use std::cmp::Ordering;

/// A logit and its place in the order anchor-major, class-minor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Logit {
    pub(crate) value: f32,
    pub(crate) index: usize,
}

impl Logit {
    /// Descending by value, then ascending by index. Values are never NaN here.
    fn rank(&self, other: &Self) -> Ordering {
        other.value.partial_cmp(&self.value).unwrap_or(Ordering::Equal).then(self.index.cmp(&other.index))
    }
}

/// Keeps the `k` best logits among those pushed.
///
/// A buffer of `2 k` collects what beats the worst known candidate; whenever it is full, a selection cuts it
/// back to `k` and raises the bar. On real outputs almost everything falls below the bar, so the scan is one
/// vector comparison per group of values.
pub(crate) struct TopK {
    k: usize,
    limit: usize,
    /// The worst candidate that may still be selected.
    bar: Logit,
    kept: Vec<Logit>,
}

impl TopK {
    const CHUNK: usize = 32;

    /// For the `k` best of `total` values, none of them below `min_value`.
    pub(crate) fn new(k: usize, total: usize, min_value: f32) -> Self {
        let k = k.min(total);
        let limit = k.saturating_mul(2).max(1024).min(total.max(1));
        Self { k, limit, bar: Logit { value: min_value, index: usize::MAX }, kept: Vec::new() }
    }

    /// Looks at a row of values whose indices start at `first` and grow by `step`. NaN is never selected.
    pub(crate) fn scan(&mut self, values: &[f32], first: usize, step: usize) {
        if self.k == 0 {
            return;
        }
        for (chunk, values) in values.chunks(Self::CHUNK).enumerate() {
            let bar = self.bar.value;
            if !values.iter().fold(false, |any, value| any | (*value >= bar)) {
                continue;
            }
            let first = first + chunk * Self::CHUNK * step;
            for (i, &value) in values.iter().enumerate() {
                let index = first + i * step;
                if value > self.bar.value || (value == self.bar.value && index < self.bar.index) {
                    self.kept.push(Logit { value, index });
                    if self.kept.len() >= self.limit {
                        self.cut();
                    }
                }
            }
        }
    }

    /// The selected logits, best first.
    pub(crate) fn finish(mut self) -> Vec<Logit> {
        self.cut();
        self.kept.sort_unstable_by(Logit::rank);
        self.kept
    }

    fn cut(&mut self) {
        if self.kept.len() > self.k {
            let (_, worst, _) = self.kept.select_nth_unstable_by(self.k - 1, Logit::rank);
            self.bar = *worst;
            self.kept.truncate(self.k);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_sorting(values: &[f32], k: usize, min_value: f32) -> Vec<Logit> {
        let mut all: Vec<Logit> = values
            .iter()
            .enumerate()
            .map(|(index, &value)| Logit { value, index })
            .filter(|logit| logit.value >= min_value)
            .collect();
        all.sort_by(Logit::rank);
        all.truncate(k);
        all
    }

    proptest! {
        #[test]
        fn selection_equals_sorting_also_with_ties_and_nan(
            values in prop::collection::vec(
                prop_oneof![
                    4 => (-3i8..3).prop_map(f32::from),
                    4 => -5f32..5.0,
                    1 => prop::sample::select(&[f32::NAN, f32::NEG_INFINITY]),
                ],
                0..6000,
            ),
            k in 0usize..300,
            min_value in prop_oneof![Just(f32::NEG_INFINITY), Just(0.0f32)],
        ) {
            let mut top = TopK::new(k, values.len(), min_value);
            top.scan(&values, 0, 1);
            prop_assert_eq!(top.finish(), by_sorting(&values, k, min_value));
        }
    }

    #[test]
    fn equal_values_are_selected_in_the_order_of_their_indices_not_of_the_scan() {
        let mut top = TopK::new(3, 4000, f32::NEG_INFINITY);
        top.scan(&[1.0; 2000], 1, 2);
        top.scan(&[1.0; 2000], 0, 2);
        assert_eq!(top.finish().iter().map(|logit| logit.index).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
