//! Matrix products of maps whose pixels lie next to each other.
//!
//! A pointwise convolution of a picture is `Y = W · X` with a row per channel and a column per pixel, its input gradient
//! `Wᵀ · dY`, and its weight gradient `dY · Xᵀ`. The first two are [`product`], where columns are pixels; the third is
//! [`inner_products`], where pixels are what is summed over. Other convolutions are the same products with [`Right`]'s
//! patches instead of `X`.

use super::parallel::{Shared, for_each, with_scratch};
use super::patches::Patches;
use crate::native::simd::{Simd, dispatch, isa};

/// Rows of the left matrix that one tile multiplies.
fn strip() -> usize {
    if isa().lanes() == 16 { 8 } else { 4 }
}

/// A left matrix in strips of rows, each `[depth, strip]`, the last padded with zeros.
pub(super) struct Left {
    data: Vec<f32>,
    rows: usize,
    depth: usize,
}

impl Left {
    /// Packs `weight`, `[rows, depth]`.
    pub(super) fn new(weight: &[f32], rows: usize, depth: usize) -> Self {
        Self::from_fn(rows, depth, |row, d| weight[row * depth + d])
    }

    /// Packs the transpose of `weight`, `[depth, rows]`.
    pub(super) fn transposed(weight: &[f32], rows: usize, depth: usize) -> Self {
        Self::from_fn(rows, depth, |row, d| weight[d * rows + row])
    }

    /// Packs what `value` says.
    pub(super) fn from_fn(rows: usize, depth: usize, value: impl Fn(usize, usize) -> f32) -> Self {
        let strip = strip();
        let mut data = Vec::with_capacity(rows.div_ceil(strip) * strip * depth);
        for first in (0..rows).step_by(strip) {
            for d in 0..depth {
                data.extend((first..first + strip).map(|row| if row < rows { value(row, d) } else { 0.0 }));
            }
        }
        Self { data, rows, depth }
    }
}

/// The right matrix of one picture, `[depth, columns]`.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    /// Rows that lie in memory as they are, one after the other.
    Plane(&'a [f32]),
    /// The pixels that the taps of a kernel see.
    Patches(&'a Patches, &'a [f32]),
}

/// Vectors of a panel of columns.
const WIDE: usize = 3;
/// Numbers that a block of packed columns may have.
const BLOCK: usize = 1 << 16;

/// `output[i] = left · right(i) + bias` for every picture `i`; `output` is `[pictures, rows, columns]` with
/// `picture_stride` numbers between pictures.
pub(super) fn product<'a>(
    left: &Left,
    pictures: usize,
    columns: usize,
    right: impl Fn(usize) -> Right<'a> + Sync + Send,
    bias: Option<&[f32]>,
    output: &mut [f32],
    picture_stride: usize,
) {
    assert!(output.len() >= (pictures - 1) * picture_stride + left.rows * columns, "room for the product");
    assert!(bias.is_none_or(|bias| bias.len() == left.rows), "a bias per row");
    let panel = WIDE * isa().lanes();
    let block = (BLOCK / left.depth.max(1) / panel).clamp(1, 16) * panel;
    let blocks = columns.div_ceil(block);
    let to = Shared::new(output);
    for_each(pictures * blocks, |unit| {
        let (picture, first) = (unit / blocks, unit % blocks * block);
        let count = block.min(columns - first);
        let right = right(picture);
        if let Right::Plane(plane) = right {
            assert!(plane.len() >= left.depth * columns, "a right matrix of that size");
        }
        with_scratch(block * left.depth, |packed| {
            // SAFETY: the sizes are checked above; units write different columns
            unsafe { pack(&right, left.depth, columns, first, count, packed.as_mut_ptr()) };
            let bias = bias.map_or(std::ptr::null(), <[f32]>::as_ptr);
            // SAFETY: as above
            unsafe {
                let to = to.at(picture * picture_stride + first);
                multiply(&left.data, left.rows, left.depth, packed.as_ptr(), count, bias, to, columns);
            }
        });
    });
}

dispatch! {
    unsafe fn pack(
        right: &Right<'_>, depth: usize, columns: usize, first: usize, count: usize, packed: *mut f32
    ) = pack_with
}

/// Panels `[depth, vectors · lanes]` of the columns from `first`, the last padded.
#[inline(always)]
unsafe fn pack_with<S: Simd>(
    right: &Right<'_>,
    depth: usize,
    columns: usize,
    first: usize,
    count: usize,
    packed: *mut f32,
) {
    let panel = WIDE * S::LANES;
    for d in 0..depth {
        let mut done = 0;
        while done < count {
            let here = panel.min(count - done);
            let width = here.next_multiple_of(S::LANES);
            // SAFETY: panels before this one are full, and this one has `depth` rows of `width`
            unsafe {
                let to = packed.add(done * depth + d * width);
                match right {
                    Right::Plane(plane) => {
                        let from = plane.as_ptr().add(d * columns + first + done);
                        let mut i = 0;
                        while i < here {
                            let n = S::LANES.min(here - i);
                            let value = if n == S::LANES {
                                S::load(from.add(i))
                            } else {
                                S::load_partial(from.add(i), n)
                            };
                            S::store(to.add(i), value);
                            i += S::LANES;
                        }
                    }
                    Right::Patches(patches, picture) => {
                        let to = std::slice::from_raw_parts_mut(to, width);
                        patches.copy(picture, d, first + done, &mut to[..here]);
                        to[here..].fill(0.0);
                    }
                }
            }
            done += here;
        }
    }
}

dispatch! {
    unsafe fn multiply(
        left: &[f32], rows: usize, depth: usize, packed: *const f32, count: usize, bias: *const f32, to: *mut f32,
        stride: usize
    ) = multiply_with
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "a kernel")]
unsafe fn multiply_with<S: Simd>(
    left: &[f32],
    rows: usize,
    depth: usize,
    packed: *const f32,
    count: usize,
    bias: *const f32,
    to: *mut f32,
    stride: usize,
) {
    let panel = WIDE * S::LANES;
    let strip = if S::LANES == 16 { 8 } else { 4 };
    let mut done = 0;
    while done < count {
        let here = panel.min(count - done);
        let vectors = here.div_ceil(S::LANES);
        let mut row = 0;
        while row < rows {
            let some = strip.min(rows - row);
            // SAFETY: the caller's
            unsafe {
                let a = left.as_ptr().add(row * depth);
                let b = packed.add(done * depth);
                let bias = if bias.is_null() { bias } else { bias.add(row) };
                let to = to.add(row * stride + done);
                match (S::LANES, vectors) {
                    (16, 1) => tile::<S, 8, 1>(a, b, depth, some, here, bias, to, stride),
                    (16, 2) => tile::<S, 8, 2>(a, b, depth, some, here, bias, to, stride),
                    (16, _) => tile::<S, 8, 3>(a, b, depth, some, here, bias, to, stride),
                    (_, 1) => tile::<S, 4, 1>(a, b, depth, some, here, bias, to, stride),
                    (_, 2) => tile::<S, 4, 2>(a, b, depth, some, here, bias, to, stride),
                    _ => tile::<S, 4, 3>(a, b, depth, some, here, bias, to, stride),
                }
            }
            row += strip;
        }
        done += here;
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "a kernel")]
unsafe fn tile<S: Simd, const R: usize, const V: usize>(
    a: *const f32,
    b: *const f32,
    depth: usize,
    rows: usize,
    columns: usize,
    bias: *const f32,
    to: *mut f32,
    stride: usize,
) {
    // SAFETY: the caller's; the strip has `R` rows and the panel `V` vectors
    unsafe {
        let mut sums = [[S::splat(0.0); V]; R];
        if !bias.is_null() {
            for (r, sums) in sums.iter_mut().enumerate() {
                *sums = [S::splat(if r < rows { *bias.add(r) } else { 0.0 }); V];
            }
        }
        for d in 0..depth {
            let right: [S::V; V] = std::array::from_fn(|v| S::load(b.add((d * V + v) * S::LANES)));
            for (r, sums) in sums.iter_mut().enumerate() {
                let left = S::splat(*a.add(d * R + r));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = S::mul_add(left, right, *sum);
                }
            }
        }
        let last = columns - (V - 1) * S::LANES;
        for (r, sums) in sums.iter().enumerate() {
            if r < rows {
                let to = to.add(r * stride);
                for (v, sum) in sums.iter().enumerate() {
                    if v + 1 == V && last < S::LANES {
                        S::store_partial(to.add(v * S::LANES), *sum, last);
                    } else {
                        S::store(to.add(v * S::LANES), *sum);
                    }
                }
            }
        }
    }
}

/// A matrix of several pictures: rows of `length` numbers, `picture_stride` numbers from a picture to the next.
#[derive(Clone, Copy)]
pub(super) struct Stack<'a> {
    pub values: &'a [f32],
    pub rows: usize,
    pub picture_stride: usize,
}

/// Numbers summed in vector registers before their lanes are.
const RUN: usize = 1024;

/// Adds to `output`, `[left.rows, right.rows]`, the sums over pictures and columns of products of rows.
pub(super) fn inner_products(
    left: Stack<'_>,
    right: Stack<'_>,
    pictures: usize,
    length: usize,
    output: &mut [f32],
) {
    for stack in [left, right] {
        assert!(
            stack.values.len() >= (pictures - 1) * stack.picture_stride + stack.rows * length,
            "pictures of that size"
        );
    }
    assert_eq!(output.len(), left.rows * right.rows, "a sum per pair of rows");
    // Each element is summed in the same order however the rows are dealt out.
    let parts = 2 * rayon::current_num_threads();
    let by_left = left.rows >= right.rows;
    let rows = if by_left { left.rows } else { right.rows };
    let unit = if by_left { 8 } else { 3 };
    let share = rows.div_ceil(parts).next_multiple_of(unit);
    let to = Shared::new(output);
    for_each(rows.div_ceil(share), |part| {
        let range = (part * share, rows.min((part + 1) * share));
        let (lefts, rights) = if by_left { (range, (0, right.rows)) } else { ((0, left.rows), range) };
        // SAFETY: the sizes are checked above, and parts write different elements
        unsafe { inner_block(&left, &right, pictures, length, lefts, rights, to.at(0)) };
    });
}

dispatch! {
    unsafe fn inner_block(
        left: &Stack<'_>, right: &Stack<'_>, pictures: usize, length: usize, lefts: (usize, usize),
        rights: (usize, usize), output: *mut f32
    ) = inner_block_with
}

#[inline(always)]
unsafe fn inner_block_with<S: Simd>(
    left: &Stack<'_>,
    right: &Stack<'_>,
    pictures: usize,
    length: usize,
    lefts: (usize, usize),
    rights: (usize, usize),
    output: *mut f32,
) {
    let together = (RUN / length).max(1);
    let mut picture = 0;
    while picture < pictures {
        let count = together.min(pictures - picture);
        let mut start = 0;
        while start < length {
            let run = Run {
                pictures: count,
                length: RUN.min(length - start),
                row_stride: length,
                left_stride: left.picture_stride,
                right_stride: right.picture_stride,
            };
            let mut i = lefts.0;
            while i < lefts.1 {
                // As many as leave the sums, three columns and a row in registers.
                let rows = if S::LANES == 16 && lefts.1 - i >= 8 {
                    8
                } else if lefts.1 - i >= 4 {
                    4
                } else {
                    1
                };
                let mut j = rights.0;
                while j < rights.1 {
                    let columns = 3.min(rights.1 - j);
                    // SAFETY: the caller's
                    unsafe {
                        let a = left.values.as_ptr().add(picture * left.picture_stride + i * length + start);
                        let b =
                            right.values.as_ptr().add(picture * right.picture_stride + j * length + start);
                        let to = output.add(i * right.rows + j);
                        match (rows, columns) {
                            (8, 3) => inner_tile::<S, 8, 3>(&run, a, b, to, right.rows),
                            (8, 2) => inner_tile::<S, 8, 2>(&run, a, b, to, right.rows),
                            (8, _) => inner_tile::<S, 8, 1>(&run, a, b, to, right.rows),
                            (4, 3) => inner_tile::<S, 4, 3>(&run, a, b, to, right.rows),
                            (4, 2) => inner_tile::<S, 4, 2>(&run, a, b, to, right.rows),
                            (4, _) => inner_tile::<S, 4, 1>(&run, a, b, to, right.rows),
                            (_, 3) => inner_tile::<S, 1, 3>(&run, a, b, to, right.rows),
                            (_, 2) => inner_tile::<S, 1, 2>(&run, a, b, to, right.rows),
                            _ => inner_tile::<S, 1, 1>(&run, a, b, to, right.rows),
                        }
                    }
                    j += columns;
                }
                i += rows;
            }
            start += run.length;
        }
        picture += count;
    }
}

/// What a tile sums over.
struct Run {
    pictures: usize,
    length: usize,
    row_stride: usize,
    left_stride: usize,
    right_stride: usize,
}

#[inline(always)]
unsafe fn inner_tile<S: Simd, const R: usize, const C: usize>(
    run: &Run,
    a: *const f32,
    b: *const f32,
    to: *mut f32,
    stride: usize,
) {
    // SAFETY: the caller's
    unsafe {
        let mut sums = [[S::splat(0.0); C]; R];
        for picture in 0..run.pictures {
            let a = a.add(picture * run.left_stride);
            let b = b.add(picture * run.right_stride);
            let mut i = 0;
            while i + S::LANES <= run.length {
                let right: [S::V; C] = std::array::from_fn(|c| S::load(b.add(c * run.row_stride + i)));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let left = S::load(a.add(r * run.row_stride + i));
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = S::mul_add(left, right, *sum);
                    }
                }
                i += S::LANES;
            }
            if i < run.length {
                let n = run.length - i;
                let right: [S::V; C] =
                    std::array::from_fn(|c| S::load_partial(b.add(c * run.row_stride + i), n));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let left = S::load_partial(a.add(r * run.row_stride + i), n);
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = S::mul_add(left, right, *sum);
                    }
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (c, sum) in sums.iter().enumerate() {
                *to.add(r * stride + c) += S::sum(*sum);
            }
        }
    }
}
