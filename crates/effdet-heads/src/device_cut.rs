//! The cut to candidates where the outputs lie, so that little crosses to the host.
//!
//! A picture has millions of logits, of which some thousand go on to non-maximum suppression. Off the host, reading them
//! all takes longer than the network. Here the device finds the highest and only these are read, with their box codes, in
//! one transfer for the whole batch. Frameworks sort on the host, so the highest are found without sorting: by a kernel where
//! there is one, else the least of them by bisection, then their places from running counts.

use burn::tensor::{DType, FloatDType, Int, Tensor, TensorData};

use crate::Error;
use crate::top_k::Logit;

/// Groups fill rows of vectors.
const VECTOR: usize = 4;
/// Logits that are selected together at first. The highest logits of a map lie in at most as many groups.
const GROUP: usize = 32;
/// Stands for what is never a candidate: NaN, and the filling of the last group.
const LOWEST: f32 = -1e4;
/// Parts of an interval in one step of the bisection.
const PARTS: usize = 8;
/// Steps, after which the interval is 2⁻⁴⁸ of what it was.
const STEPS: usize = 16;

/// Up to here single precision, in which places cross to the host, has every whole number.
const EXACT: usize = 1 << 24;

/// `[channels, height, width]` of the class logits and of the box codes of a level.
pub(crate) type LevelDims = [[usize; 3]; 2];

/// Whether the maps of all levels belong together, so that [`highest_logits`] can take them.
pub(crate) fn can_cut(levels: &[LevelDims], num_classes: usize) -> bool {
    let fits = |[[channels, rows, columns], deltas]: &LevelDims| {
        channels.is_multiple_of(num_classes) && *deltas == [channels / num_classes * 4, *rows, *columns]
    };
    let anchors = |[_, [channels, rows, columns]]: &LevelDims| channels / 4 * rows * columns;
    !levels.is_empty()
        && (1..=EXACT).contains(&num_classes)
        && levels.iter().all(fits)
        && levels.iter().map(anchors).sum::<usize>() <= EXACT
}

/// The highest logits of a picture and the box codes of their anchors.
pub(crate) type Candidates = Vec<(Logit, [f32; 4])>;

/// The `count` highest logits of every picture, in the order of their indices; equal ones by the lowest indices. With
/// the number of bytes that were read. `None` where they cannot be told apart from others: a value below -10⁴ or NaN is
/// among them, or values closer to each other than 2⁻⁴⁸ of their range.
///
/// # Shapes
/// As [`can_cut`] wants them, all of one batch:
/// - `class_logits`: for each level `[batch, anchors · classes, height, width]`
/// - `box_deltas`: for each level `[batch, anchors · 4, height, width]`
///
/// # Errors
/// [`Error::ReadBack`] if the device fails.
pub(crate) fn highest_logits(
    class_logits: &[Tensor<4>],
    box_deltas: &[Tensor<4>],
    num_classes: usize,
    count: usize,
) -> Result<Option<(Vec<Candidates>, usize)>, Error> {
    let logits = in_order(class_logits, 1).squeeze_dim::<2>(2);
    let deltas = in_order(box_deltas, 4);
    let [batch, total] = logits.dims();
    let count = count.min(total);
    if count == 0 || batch == 0 {
        return Ok(Some((vec![Vec::new(); batch], 0)));
    }
    let usable = logits.clone().greater_elem(LOWEST);
    let logits = logits.mask_fill(usable.bool_not(), LOWEST);
    let filling = total.next_multiple_of(GROUP * VECTOR) - total;
    let logits = if filling > 0 {
        let lowest = logits.clone().narrow(1, 0, filling).zeros_like().add_scalar(LOWEST);
        Tensor::cat(vec![logits, lowest], 1)
    } else {
        logits
    };
    let groups: Tensor<3> = logits.reshape([batch, (total + filling) / GROUP, GROUP]);
    let [_, all_groups, _] = groups.dims();

    // Were a group of the highest logits not among the groups with the highest maxima, each of those had a better one.
    let best_of_group = groups.clone().max_dim(2).squeeze_dim::<2>(2);
    let chosen_groups = count.min(all_groups);
    let (rows, groups_exact) = highest(best_of_group, chosen_groups);
    let spread = rows.clone().unsqueeze_dim::<3>(2).repeat_dim(2, GROUP);
    let values = groups.gather(1, spread).reshape([batch, chosen_groups * GROUP]);
    let (places, exact) = highest(values.clone(), count);
    let value = values.gather(1, places.clone());
    let row = rows.gather(1, places.clone().div_scalar(GROUP as i64));
    let index = row.mul_scalar(GROUP as i64) + places.remainder_scalar(GROUP as i64);
    let anchor = index.clone().div_scalar(num_classes as i64);
    let class = index.remainder_scalar(num_classes as i64);
    let deltas = deltas.gather(1, anchor.clone().unsqueeze_dim::<3>(2).repeat_dim(2, 4));

    // Anchors and classes are small enough for single precision (`can_cut`), their product is not.
    let number = |tensor: Tensor<2, Int>| tensor.cast(FloatDType::F32).unsqueeze_dim::<3>(2);
    let rows = Tensor::cat(vec![value.unsqueeze_dim::<3>(2), number(anchor), number(class), deltas], 2);
    let exact = (groups_exact * exact).unsqueeze_dim::<3>(2).repeat_dim(2, 7);
    let data = Tensor::cat(vec![rows, exact], 1).try_into_data().map_err(failed)?;
    unpack(data, count, num_classes)
}

/// What was read: for every picture a row for each candidate, and one of ones if they are exact.
fn unpack(
    data: TensorData,
    count: usize,
    num_classes: usize,
) -> Result<Option<(Vec<Candidates>, usize)>, Error> {
    let bytes = data.num_elements() * size_of::<f32>();
    let values = data.convert_dtype(DType::F32).try_into_vec::<f32>().map_err(failed)?;
    let pictures = values.chunks_exact((count + 1) * 7).map(|rows| {
        let (rows, [exact]) = rows.as_chunks::<7>().0.split_last_chunk::<1>().map(|(a, [b])| (a, [b[0]]))?;
        let candidate = |[value, anchor, class, ty, tx, th, tw]: &[f32; 7]| {
            let index = *anchor as usize * num_classes + *class as usize;
            (Logit { value: *value, index }, [*ty, *tx, *th, *tw])
        };
        let usable = exact == 1.0 && rows.iter().all(|[value, ..]| *value > LOWEST);
        usable.then(|| rows.iter().map(candidate).collect())
    });
    Ok(pictures.collect::<Option<Vec<_>>>().map(|pictures| (pictures, bytes)))
}

fn failed(error: impl std::fmt::Debug) -> Error {
    Error::ReadBack(format!("{error:?}"))
}

/// Maps of all levels in the order of the anchors, in single precision: `[batch, values / width, width]`.
fn in_order(maps: &[Tensor<4>], width: usize) -> Tensor<3> {
    let levels = maps.iter().map(|map| {
        let [batch, channels, height, columns] = map.dims();
        let map = map.clone().inner().cast(FloatDType::F32).permute([0, 2, 3, 1]);
        map.reshape([batch, height * columns * channels / width, width])
    });
    Tensor::cat(levels.collect(), 1)
}

/// Indices of the `count` highest values of every row, ascending; equal values by the lowest indices. With 1 where they
/// are that and 0 where the bisection did not get there.
///
/// # Shapes
/// - `values`: `[batch, n]`, none NaN, `count` at most `n`
/// - output: `[batch, count]`, `[batch, 1]`
fn highest(values: Tensor<2>, count: usize) -> (Tensor<2, Int>, Tensor<2>) {
    let [batch, n] = values.dims();
    let device = values.device();
    if let Some(places) = effdet_nn::native::highest_places(&values, count) {
        return (places, Tensor::ones([batch, 1], (&device, DType::F32)));
    }
    let (mut low, mut high) = (values.clone().min_dim(1), values.clone().max_dim(1));
    let parts: Vec<f32> = (1..PARTS).map(|i| i as f32 / PARTS as f32).collect();
    let parts = Tensor::<2>::from_data(TensorData::new(parts, [1, PARTS - 1]), (&device, DType::F32));
    for _ in 0..STEPS {
        // At least `count` values reach `low`, fewer are above `high`.
        let bars = low.clone() + (high.clone() - low.clone()) * parts.clone();
        let reached = values.clone().unsqueeze_dim::<3>(1).greater_equal(bars.clone().unsqueeze_dim::<3>(2));
        let reached = reached.int().sum_dim(2).squeeze_dim::<2>(2);
        let enough = reached.greater_equal_elem(count as i64);
        let (at_least, at_most) = (
            low.repeat_dim(1, PARTS - 1).mask_where(enough.clone(), bars.clone()),
            bars.mask_where(enough, high.repeat_dim(1, PARTS - 1)),
        );
        (low, high) = (at_least.max_dim(1), at_most.min_dim(1));
    }
    let below = values.clone().lower(low);
    let top = values.clone().max_dim(1).repeat_dim(1, n);
    let least = values.clone().mask_where(below, top).min_dim(1);

    let above = values.clone().greater(least.clone()).int();
    let equal = values.equal(least.clone()).int();
    let counts = running_count(Tensor::cat(vec![above, equal], 0));
    let (above, equal) = (counts.clone().narrow(0, 0, batch), counts.narrow(0, batch, batch));
    let above_in_all = above.clone().narrow(1, n - 1, 1);
    let exact = above_in_all.clone().lower_elem(count as i64).int().cast(FloatDType::F32);
    let room = above_in_all.neg().add_scalar(count as i64).repeat_dim(1, n);
    let taken = above + equal.clone().mask_where(equal.greater(room.clone()), room);
    (place_of_each(taken, count), exact)
}

/// The number of ones so far, itself included, by adding ever longer runs.
fn running_count(ones: Tensor<2, Int>) -> Tensor<2, Int> {
    let [batch, n] = ones.dims();
    let mut counts = ones;
    let mut length = 1;
    while length < n {
        let before = counts.clone().narrow(1, 0, n - length);
        let none = Tensor::<2, Int>::zeros([batch, length], &counts.device());
        counts = counts + Tensor::cat(vec![none, before], 1);
        length *= 2;
    }
    counts
}

/// Where a running count first reaches 1, 2, ..., `count`, by bisection.
fn place_of_each(counts: Tensor<2, Int>, count: usize) -> Tensor<2, Int> {
    let [batch, n] = counts.dims();
    let device = counts.device();
    let wanted = Tensor::<1, Int>::arange(1..count as i64 + 1, &device).unsqueeze::<2>().repeat_dim(0, batch);
    let mut first = wanted.zeros_like();
    let mut last = first.clone().add_scalar(n as i64 - 1);
    for _ in 0..n.next_power_of_two().ilog2() {
        let middle = (first.clone() + last.clone()).div_scalar(2);
        let reached = counts.clone().gather(1, middle.clone()).greater_equal(wanted.clone());
        // Where both have met, the middle is them.
        let after = middle.clone().add_scalar(1).mask_where(first.clone().equal(last.clone()), first.clone());
        first = after.mask_where(reached.clone(), first);
        last = last.mask_where(reached, middle);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_maps_that_belong_together_and_whose_anchors_can_be_numbered_are_cut() {
        let level = |anchors: usize, side: usize| [[anchors * 7, side, side], [anchors * 4, side, side]];
        assert!(can_cut(&[level(9, 8), level(9, 4)], 7));
        assert!(!can_cut(&[level(9, 8)], 0) && !can_cut(&[level(9, 8)], 8) && !can_cut(&[], 7));
        assert!(!can_cut(&[[[63, 8, 8], [36, 8, 4]]], 7) && !can_cut(&[[[63, 8, 8], [32, 8, 8]]], 7));
        assert!(can_cut(&[level(1, 4096)], 7) && !can_cut(&[level(1, 4096), level(1, 1)], 7));
    }
}
