//! The highest logits of a picture, out of millions, in one pass.

/// A logit and its place in the order anchor-major, class-minor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Logit {
    pub(crate) value: f32,
    pub(crate) index: usize,
}

/// A logit as one number: larger for a larger value, and for a smaller index among equal values. Comparing two is free of
/// branches, which is what selecting and sorting spend their time on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u128);

impl Key {
    /// The value is no NaN.
    fn new(value: f32, index: usize) -> Self {
        // both zeros are one value
        let bits = (value + 0.0).to_bits();
        let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
        Self(u128::from(ordered) << 64 | u128::from(!(index as u64)))
    }

    fn logit(self) -> Logit {
        let ordered = (self.0 >> 64) as u32;
        let bits = if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered };
        Logit { value: f32::from_bits(bits), index: !(self.0 as u64) as usize }
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
    kept: Vec<Key>,
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
                    self.kept.push(Key::new(value, index));
                    if self.kept.len() >= self.limit {
                        self.cut();
                    }
                }
            }
        }
    }

    /// The best of both, for values that none of both has seen twice.
    pub(crate) fn merge(mut self, mut other: Self) -> Self {
        self.kept.append(&mut other.kept);
        self.cut();
        self
    }

    /// The selected logits, best first.
    pub(crate) fn finish(mut self) -> Vec<Logit> {
        self.cut();
        self.kept.sort_unstable_by(|a, b| b.cmp(a));
        self.kept.into_iter().map(Key::logit).collect()
    }

    fn cut(&mut self) {
        if self.kept.len() > self.k {
            let (_, worst, _) = self.kept.select_nth_unstable_by(self.k - 1, |a, b| b.cmp(a));
            self.bar = worst.logit();
            self.kept.truncate(self.k);
        }
    }
}

/// A value that about twice `k` of the `total` values in `rows` reach, by a sample of them; negative infinity where a
/// sample says little. It is a guess: fewer than `k` may reach it.
///
/// Selecting above it spares raising the bar from the bottom, which takes longer than reading the values.
pub(crate) fn guess_bar<'a>(k: usize, total: usize, rows: impl Iterator<Item = &'a [f32]>) -> f32 {
    /// Of so many chunks one is looked at.
    const EVERY: usize = 128;
    let rank = k.saturating_mul(2).div_ceil(EVERY);
    if rank < 16 {
        return f32::NEG_INFINITY;
    }
    let mut sample = TopK::new(rank, total, f32::NEG_INFINITY);
    let mut skip = 0;
    for row in rows {
        let chunks = row.chunks(TopK::CHUNK);
        let count = chunks.len();
        chunks.skip(skip).step_by(EVERY).for_each(|chunk| sample.scan(chunk, 0, 1));
        skip = (skip + EVERY - count % EVERY) % EVERY;
    }
    let found = sample.finish();
    found.get(rank - 1).map_or(f32::NEG_INFINITY, |last| last.value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
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
        all.sort_by(|a, b| b.value.partial_cmp(&a.value).unwrap().then(a.index.cmp(&b.index)));
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
                    1 => prop::sample::select(&[f32::NAN, f32::NEG_INFINITY, -0.0]),
                ],
                0..6000,
            ),
            k in 0usize..300,
            min_value in prop_oneof![Just(f32::NEG_INFINITY), Just(0.0f32)],
        ) {
            let new = || TopK::new(k, values.len(), min_value);
            let expected = by_sorting(&values, k, min_value);
            let mut top = new();
            top.scan(&values, 0, 1);
            prop_assert_eq!(top.finish(), expected.clone());

            let (mut left, mut right) = (new(), new());
            let half = values.len() / 2;
            left.scan(&values[half..], half, 1);
            right.scan(&values[..half], 0, 1);
            prop_assert_eq!(left.merge(right).finish(), expected);
        }
    }

    #[test]
    fn a_guessed_bar_is_reached_by_more_than_the_selected_and_not_by_many_more() {
        // A walk, so that neighbours are alike, in rows of many lengths.
        let mut x = 1u64;
        let mut value = 0f32;
        let values: Vec<f32> = (0..1_000_000)
            .map(|_| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                value = 0.9 * value + (x >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
                value
            })
            .collect();
        for length in [40, 4096, 100_000] {
            let bar = guess_bar(5000, values.len(), values.chunks(length));
            let above = values.iter().filter(|value| **value >= bar).count();
            assert!((5000..20_000).contains(&above), "rows of {length}: {above}");
        }
        assert_eq!(guess_bar(100, values.len(), values.chunks(4096)), f32::NEG_INFINITY);
        assert_eq!(guess_bar(5000, 3000, values[..3000].chunks(4096)), f32::NEG_INFINITY);
    }

    #[test]
    fn equal_values_are_selected_in_the_order_of_their_indices_not_of_the_scan() {
        let mut top = TopK::new(3, 4000, f32::NEG_INFINITY);
        top.scan(&[1.0; 2000], 1, 2);
        top.scan(&[1.0; 2000], 0, 2);
        assert_eq!(top.finish().iter().map(|logit| logit.index).collect::<Vec<_>>(), [0, 1, 2]);
    }
}
