//! Convolution as matrix products on channels-last maps: pixels by input channels times input by output channels.
//!
//! A row of the left matrix is an output pixel. Its numbers lie in the input map as they are: for each row of the kernel,
//! the window's pixels are next to each other, so a k×k convolution is k runs of `k · channels` numbers and a pointwise
//! one is a single run. The right matrix is the filter, packed once into panels a few vectors wide.

use super::activate::{self, Tile};
use super::simd::{Simd, dispatch, isa};
use crate::Activation;

/// A filter in the order in which the product reads it.
#[derive(Clone, Debug)]
pub struct PackedFilter {
    /// Panels one after the other, each `[depth, vectors · lanes]`.
    data: Vec<f32>,
    /// Padded with zeros to whole vectors.
    bias: Vec<f32>,
    depth: usize,
    outputs: usize,
}

/// Vectors in the panel that starts when this many are left: pairs, and three where pairs would leave one over.
#[inline(always)]
fn panel_vectors(left: usize) -> usize {
    match left {
        1 => 1,
        3 => 3,
        _ => 2,
    }
}

impl PackedFilter {
    /// Packs `weight`, `[outputs, depth]`, the depth in the order of the input: kernel rows, kernel columns, channels.
    pub fn new(weight: impl Fn(usize, usize) -> f32, bias: &[f32], depth: usize) -> Self {
        let lanes = isa().lanes();
        let outputs = bias.len();
        let vectors = outputs.div_ceil(lanes);
        let mut data = Vec::with_capacity(vectors * lanes * depth);
        let mut vector = 0;
        while vector < vectors {
            let wide = panel_vectors(vectors - vector);
            for d in 0..depth {
                for column in vector * lanes..(vector + wide) * lanes {
                    data.push(if column < outputs { weight(column, d) } else { 0.0 });
                }
            }
            vector += wide;
        }
        let mut bias = bias.to_vec();
        bias.resize(vectors * lanes, 0.0);
        Self { data, bias, depth, outputs }
    }

    /// Channels out.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Numbers in a row of the left matrix.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Number of panels, the units that a product's columns can be divided into.
    pub fn panels(&self) -> usize {
        let vectors = self.bias.len() / isa().lanes();
        // pairs, and three instead of two and one
        (vectors / 2).max(1)
    }

    /// The output channels of a panel.
    pub fn panel_columns(&self, panel: usize) -> std::ops::Range<usize> {
        let wide = 2 * isa().lanes();
        let end = if panel + 1 == self.panels() { self.outputs } else { (panel + 1) * wide };
        panel * wide..end
    }

    /// Numbers of the packed weights.
    pub fn weights(&self) -> usize {
        self.data.len()
    }

    /// The packed weights.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Writes the weights, each row of the depth multiplied by its factor, in the same order.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn scaled_into(&self, factors: &[f32], scaled: &mut [f32]) {
        assert!(
            factors.len() == self.depth && scaled.len() == self.data.len(),
            "one factor per input channel"
        );
        let lanes = isa().lanes();
        let (mut from, mut left) = (0, self.bias.len() / lanes);
        while left > 0 {
            let wide = panel_vectors(left) * lanes;
            for factor in factors {
                for (to, value) in scaled[from..from + wide].iter_mut().zip(&self.data[from..from + wide]) {
                    *to = value * factor;
                }
                from += wide;
            }
            left -= wide / lanes;
        }
    }
}

/// Where the left matrix lies.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The first number of the first row.
    pub start: *const f32,
    /// From one row to the next.
    pub stride: usize,
    /// Number of rows.
    pub count: usize,
    /// Where each run of a row starts, from the row's start.
    pub runs: &'a [usize],
    /// Numbers in a run.
    pub run_length: usize,
}

/// What is done with the product before it is written.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// The first number of the first row.
    pub start: *mut f32,
    /// From one row to the next.
    pub stride: usize,
    /// Added, row by row, with this stride; null for nothing.
    pub residual: *const f32,
    /// From one row of it to the next.
    pub residual_stride: usize,
    /// Applied last.
    pub activation: Activation,
}

/// `activation(rows · filter + bias + residual)` for some of the filter's panels; `weights` are those of `filter`, scaled
/// perhaps.
///
/// # Safety
/// The rows, the output and the residual must lie in memory that may be read or written so, `weights` must have the
/// filter's length, and `panels` be among the filter's.
pub unsafe fn gemm(
    rows: &Rows<'_>,
    filter: &PackedFilter,
    weights: *const f32,
    panels: std::ops::Range<usize>,
    output: &Output,
) {
    debug_assert_eq!(rows.runs.len() * rows.run_length, filter.depth);
    // SAFETY: the caller's
    unsafe { product(rows, weights, filter.bias.as_ptr(), filter.outputs, panels, output) }
}

dispatch! {
    unsafe fn product(
        rows: &Rows<'_>, weights: *const f32, bias: *const f32, outputs: usize, panels: std::ops::Range<usize>,
        output: &Output
    ) = some_panels
}

#[inline(always)]
unsafe fn some_panels<S: Simd>(
    rows: &Rows<'_>,
    weights: *const f32,
    bias: *const f32,
    outputs: usize,
    panels: std::ops::Range<usize>,
    output: &Output,
) {
    let vectors = outputs.div_ceil(S::LANES);
    let depth = rows.runs.len() * rows.run_length;
    // All panels but the last are pairs of vectors.
    let mut vector = panels.start * 2;
    // SAFETY: within the packed weights
    let mut panel = unsafe { weights.add(vector * S::LANES * depth) };
    for _ in panels {
        let wide = panel_vectors(vectors - vector);
        let column = vector * S::LANES;
        let last = (outputs - column).min(wide * S::LANES) - (wide - 1) * S::LANES;
        // SAFETY: the caller's; the panel has `depth` rows of `wide` vectors
        unsafe {
            let bias = bias.add(column);
            // As many rows as leave the accumulators, the panel's row and one broadcast in registers.
            match (S::LANES, wide) {
                (16, 1) => panel_rows::<S, 16, 1>(rows, panel, bias, column, last, output),
                (16, 2) => panel_rows::<S, 12, 2>(rows, panel, bias, column, last, output),
                (16, _) => panel_rows::<S, 8, 3>(rows, panel, bias, column, last, output),
                (_, 1) => panel_rows::<S, 8, 1>(rows, panel, bias, column, last, output),
                (_, 2) => panel_rows::<S, 6, 2>(rows, panel, bias, column, last, output),
                _ => panel_rows::<S, 4, 3>(rows, panel, bias, column, last, output),
            }
            panel = panel.add(depth * wide * S::LANES);
        }
        vector += wide;
    }
}

/// All rows times one panel.
#[inline(always)]
unsafe fn panel_rows<S: Simd, const ROWS: usize, const VECTORS: usize>(
    rows: &Rows<'_>,
    panel: *const f32,
    bias: *const f32,
    column: usize,
    last: usize,
    output: &Output,
) {
    let mut row = 0;
    // SAFETY: the caller's
    unsafe {
        while row + ROWS <= rows.count {
            tile::<S, ROWS, VECTORS>(rows, row, panel, bias, column, last, output);
            row += ROWS;
        }
        while row + 4 <= rows.count {
            tile::<S, 4, VECTORS>(rows, row, panel, bias, column, last, output);
            row += 4;
        }
        while row < rows.count {
            tile::<S, 1, VECTORS>(rows, row, panel, bias, column, last, output);
            row += 1;
        }
    }
}

#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
    rows: &Rows<'_>,
    row: usize,
    panel: *const f32,
    bias: *const f32,
    column: usize,
    last: usize,
    output: &Output,
) {
    // SAFETY: the caller's
    unsafe {
        // The bias comes last: products added to a large number would lose their digits.
        let mut sums = [[S::splat(0.0); VECTORS]; ROWS];
        let mut weights = panel;
        let start = rows.start.add(row * rows.stride);
        let stride = rows.stride;
        for run in rows.runs {
            let inputs = start.add(*run);
            for d in 0..rows.run_length {
                let weight: [S::V; VECTORS] = std::array::from_fn(|v| S::load(weights.add(v * S::LANES)));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let input = S::splat(*inputs.add(r * stride + d));
                    for (sum, weight) in sums.iter_mut().zip(weight) {
                        *sum = S::mul_add(input, weight, *sum);
                    }
                }
                weights = weights.add(VECTORS * S::LANES);
            }
        }
        let bias: [S::V; VECTORS] = std::array::from_fn(|v| S::load(bias.add(v * S::LANES)));
        for sums in &mut sums {
            for (sum, bias) in sums.iter_mut().zip(bias) {
                *sum = S::add(*sum, bias);
            }
        }
        let plain = output.residual.is_null() && output.activation == Activation::Identity;
        if plain && last == S::LANES {
            for (r, sums) in sums.iter().enumerate() {
                let to = output.start.wrapping_add((row + r) * output.stride + column);
                for (v, sum) in sums.iter().enumerate() {
                    S::store(to.add(v * S::LANES), *sum);
                }
            }
            return;
        }
        let mut tile = Tile::new();
        let values = tile.start();
        for (r, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                S::store(values.add((r * VECTORS + v) * S::LANES), *sum);
            }
        }
        finish::<S>(values, row, ROWS, VECTORS, column, last, output);
    }
}

/// Adds the residual, activates and writes a tile of sums.
#[inline(always)]
unsafe fn finish<S: Simd>(
    values: *mut f32,
    row: usize,
    rows: usize,
    vectors: usize,
    column: usize,
    last: usize,
    output: &Output,
) {
    let count = |v: usize| if v + 1 == vectors { last } else { S::LANES };
    // SAFETY: the caller's
    unsafe {
        if !output.residual.is_null() {
            for r in 0..rows {
                let from = output.residual.add((row + r) * output.residual_stride + column);
                for v in 0..vectors {
                    let at = values.add((r * vectors + v) * S::LANES);
                    let residual = S::load_partial(from.add(v * S::LANES), count(v));
                    S::store(at, S::add(S::load(at), residual));
                }
            }
        }
        activate::vectors::<S>(output.activation, values, rows * vectors);
        for r in 0..rows {
            let to = output.start.wrapping_add((row + r) * output.stride + column);
            for v in 0..vectors {
                let value = S::load(values.add((r * vectors + v) * S::LANES));
                S::store_partial(to.add(v * S::LANES), value, count(v));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn a_product_of_any_size_equals_the_sum_of_products() {
        for (count, depth, outputs) in
            [(1, 1, 1), (5, 3, 16), (29, 24, 40), (33, 17, 112), (13, 8, 33), (7, 5, 130), (48, 9, 8)]
        {
            let (a, w, bias) = (noise(count * depth, 1), noise(depth * outputs, 2), noise(outputs, 3));
            let residual = noise(count * outputs, 4);
            let filter = PackedFilter::new(|o, d| w[o * depth + d], &bias, depth);
            let mut result = vec![f32::NAN; count * outputs];
            let rows = Rows { start: a.as_ptr(), stride: depth, count, runs: &[0], run_length: depth };
            let output = Output {
                start: result.as_mut_ptr(),
                stride: outputs,
                residual: residual.as_ptr(),
                residual_stride: outputs,
                activation: Activation::Relu,
            };
            // SAFETY: the sizes are those of the vectors
            unsafe {
                // in two parts, as threads do
                let middle = filter.panels() / 2;
                gemm(&rows, &filter, filter.data().as_ptr(), 0..middle, &output);
                gemm(&rows, &filter, filter.data().as_ptr(), middle..filter.panels(), &output);
            }
            for r in 0..count {
                for o in 0..outputs {
                    let exact: f32 = (0..depth).map(|d| a[r * depth + d] * w[o * depth + d]).sum();
                    let exact = (exact + bias[o] + residual[r * outputs + o]).max(0.0);
                    let found = result[r * outputs + o];
                    assert!((found - exact).abs() < 1e-5, "{count}x{depth}x{outputs}: {found} {exact}");
                }
            }
        }
    }

    #[test]
    fn scaled_weights_are_the_products_of_row_and_factor() {
        let (depth, outputs) = (7, 50);
        let w = noise(depth * outputs, 5);
        let factors = noise(depth, 6);
        let bias = vec![0.0; outputs];
        let filter = PackedFilter::new(|o, d| w[o * depth + d], &bias, depth);
        let expected = PackedFilter::new(|o, d| w[o * depth + d] * factors[d], &bias, depth);
        let mut scaled = vec![0.0; filter.weights()];
        filter.scaled_into(&factors, &mut scaled);
        assert_eq!(scaled, expected.data());
    }
}
