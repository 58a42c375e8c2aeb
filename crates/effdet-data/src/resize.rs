//! Resampling of RGB8 pictures, equal to Pillow's.

use std::ops::Range;

use effdet_core::ImageSize;
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::transform::{Region, crop};

const CHANNELS: usize = 3;
/// Weights are fixed-point numbers with this many fraction bits: 8 bits for the sample and 2 for the overshoot of
/// negative lobes are left of an `i32`.
const FRACTION_BITS: u32 = 22;
/// Rows that are filtered side by side.
const ROWS: usize = 8;
/// Sums held at a time: few enough to stay in registers.
const STRIP: usize = 4 * ROWS;
/// Multiplications below which threads cost more than they bring.
const PARALLEL_FROM: usize = 1 << 20;

/// How a picture is resampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// Nearest sample, Pillow's `NEAREST`.
    Nearest,
    /// Triangle filter, widened when shrinking: Pillow's `BILINEAR`.
    #[default]
    Bilinear,
    /// Cubic filter (a = -0.5), widened when shrinking: Pillow's `BICUBIC`.
    Bicubic,
    /// Windowed sinc of three lobes, widened when shrinking: Pillow's `LANCZOS`.
    Lanczos,
    /// Linear interpolation between the two nearest samples at half-pixel centres, also when shrinking: `tf.image.resize`
    /// with `method="bilinear", antialias=False`, rounded to the nearest level.
    TfBilinear,
}

/// Resamples `picture` to `size`.
///
/// The separable filters run in Pillow's order and fixed-point arithmetic (rows first, an 8-bit picture between the two
/// passes), so that the result equals Pillow's to the last bit. Large pictures are split over rayon's threads.
///
/// # Errors
/// [`Error::EmptyResize`] if the picture or `size` has no pixels.
///
/// # Reference
/// Pillow `Image.resize(size, resample)`; [`Interpolation::TfBilinear`] is `tf.image.resize`.
pub fn resize(picture: &RgbImage, size: ImageSize, interpolation: Interpolation) -> Result<RgbImage, Error> {
    resize_part(picture, size, Region::whole(size), interpolation, true)
}

/// The pixels of `part` of the resized picture, to the same bits, without computing the others. `parallel` allows
/// rayon's threads.
pub(crate) fn resize_part(
    picture: &RgbImage,
    size: ImageSize,
    part: Region,
    interpolation: Interpolation,
    parallel: bool,
) -> Result<RgbImage, Error> {
    let source = ImageSize::new(picture.height() as usize, picture.width() as usize);
    let too_long = |n: usize| u32::try_from(n).is_err();
    if source.is_empty() || size.is_empty() || too_long(size.height) || too_long(size.width) {
        return Err(Error::EmptyResize { source_size: source, target: size });
    }
    let part = part.intersection(Region::whole(size));
    if part.width == 0 || part.height == 0 {
        return Err(Error::EmptyResize { source_size: source, target: part.size() });
    }
    if source == size {
        return Ok(crop(picture, part));
    }
    let samples = picture.as_raw();
    let job = Job { from: source, to: size, part, parallel };
    let resized = match interpolation {
        Interpolation::Nearest => nearest(samples, &job),
        Interpolation::Bilinear => separable(samples, &job, &TRIANGLE),
        Interpolation::Bicubic => separable(samples, &job, &CUBIC),
        Interpolation::Lanczos => separable(samples, &job, &LANCZOS),
        Interpolation::TfBilinear => linear(samples, &job),
    };
    let empty = Error::EmptyResize { source_size: source, target: part.size() };
    RgbImage::from_raw(part.width as u32, part.height as u32, resized).ok_or(empty)
}

/// A resize of which only `part` of the result is wanted.
struct Job {
    from: ImageSize,
    to: ImageSize,
    part: Region,
    parallel: bool,
}

struct Filter {
    radius: f64,
    value: fn(f64) -> f64,
}

const TRIANGLE: Filter = Filter { radius: 1.0, value: |x| (1.0 - x.abs()).max(0.0) };

const CUBIC: Filter = Filter {
    radius: 2.0,
    value: |x| {
        const A: f64 = -0.5;
        let x = x.abs();
        if x < 1.0 {
            ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
        } else if x < 2.0 {
            (((x - 5.0) * x + 8.0) * x - 4.0) * A
        } else {
            0.0
        }
    },
};

const LANCZOS: Filter = Filter {
    radius: 3.0,
    value: |x| {
        let sinc = |x: f64| {
            let x = x * std::f64::consts::PI;
            if x == 0.0 { 1.0 } else { x.sin() / x }
        };
        if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
    },
};

/// The source samples that make one sample of the result, and their fixed-point weights.
struct Window {
    first: usize,
    weights: Vec<i32>,
}

fn windows(from: usize, to: usize, wanted: Range<usize>, filter: &Filter) -> Vec<Window> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let radius = filter.radius * stretch;
    let shrink = 1.0 / stretch;
    wanted
        .map(|i| {
            let centre = (i as f64 + 0.5) * scale;
            // Casts clip negative values to 0.
            let first = (centre - radius + 0.5) as usize;
            let end = ((centre + radius + 0.5) as usize).min(from);
            let weights: Vec<f64> =
                (first..end).map(|x| (filter.value)((x as f64 - centre + 0.5) * shrink)).collect();
            let sum: f64 = weights.iter().sum();
            let fixed = |w: f64| {
                let w = if sum == 0.0 { w } else { w / sum };
                // `round` sends halves away from zero, as adding a signed half and truncating does.
                (w * f64::from(1 << FRACTION_BITS)).round() as i32
            };
            Window { first, weights: weights.into_iter().map(fixed).collect() }
        })
        .collect()
}

fn to_level(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

fn separable(samples: &[u8], job: &Job, filter: &Filter) -> Vec<u8> {
    let Job { from, to, part, parallel } = *job;
    let lines = windows(from.height, to.height, part.y..part.y + part.height, filter);
    // The source rows that the wanted rows are made of; the others are not narrowed.
    let used = if from.height == to.height {
        part.y..part.y + part.height
    } else {
        let end = |window: &Window| window.first + window.weights.len();
        lines.iter().map(|window| window.first).min().unwrap_or(0)..lines.iter().map(end).max().unwrap_or(0)
    };
    let columns = windows(from.width, to.width, part.x..part.x + part.width, filter);
    let stride = CHANNELS * part.width;
    let mut narrowed = vec![0; used.len() * stride];
    let from_stride = CHANNELS * from.width;
    let samples = &samples[used.start * from_stride..used.end * from_stride];
    if from.width == to.width {
        for (row, line) in narrowed.chunks_exact_mut(stride).zip(samples.chunks_exact(from_stride)) {
            row.copy_from_slice(&line[CHANNELS * part.x..][..stride]);
        }
    } else {
        let cost = narrowed.len() * columns.first().map_or(0, |window| window.weights.len());
        each_row(&mut narrowed, ROWS * stride, parallel.then_some(cost), |group, rows| {
            let lines = &samples[group * ROWS * from_stride..][..rows.len() / stride * from_stride];
            filter_rows(lines, &columns, rows);
        });
    }
    if from.height == to.height {
        return narrowed;
    }
    let mut rows = vec![0; part.height * stride];
    let cost = rows.len() * lines.first().map_or(0, |window| window.weights.len());
    each_row(&mut rows, stride, parallel.then_some(cost), |y, row| {
        filter_column(&narrowed, used.start, &lines[y], row);
    });
    rows
}

/// Calls `fill` with the index and the samples of every row (or group of rows, the last one may be shorter), on several threads if a `cost` is given and worth it.
fn each_row(rows: &mut [u8], stride: usize, cost: Option<usize>, fill: impl Fn(usize, &mut [u8]) + Sync) {
    if cost.is_none_or(|cost| cost < PARALLEL_FROM) {
        rows.chunks_mut(stride).enumerate().for_each(|(y, row)| fill(y, row));
    } else {
        rows.par_chunks_mut(stride).enumerate().for_each(|(y, row)| fill(y, row));
    }
}

fn filter_rows(lines: &[u8], windows: &[Window], rows: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { filter_rows_avx2(lines, windows, rows) };
    }
    filter_rows_anywhere(lines, windows, rows);
}

fn filter_column(samples: &[u8], start: usize, window: &Window, row: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { filter_column_avx2(samples, start, window, row) };
    }
    filter_column_anywhere(samples, start, window, row);
}

// The same code, compiled for processors that multiply eight integers at a time.

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn filter_rows_avx2(lines: &[u8], windows: &[Window], rows: &mut [u8]) {
    filter_rows_anywhere(lines, windows, rows);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn filter_column_avx2(samples: &[u8], start: usize, window: &Window, row: &mut [u8]) {
    filter_column_anywhere(samples, start, window, row);
}

/// Filters up to [`ROWS`] rows side by side.
#[inline(always)]
fn filter_rows_anywhere(lines: &[u8], windows: &[Window], rows: &mut [u8]) {
    let stride = CHANNELS * windows.len();
    let count = rows.len() / stride;
    let width = lines.len() / (CHANNELS * count);
    // Per column of the picture the three channels of each row, and a fourth to fill up the vector.
    let mut columns = vec![[0; STRIP]; width];
    for (r, line) in lines.chunks_exact(CHANNELS * width).enumerate() {
        for (column, pixel) in columns.iter_mut().zip(line.as_chunks::<CHANNELS>().0) {
            column[4 * r..4 * r + CHANNELS].copy_from_slice(pixel);
        }
    }
    let mut filtered = vec![[0; STRIP]; windows.len()];
    for (strip, window) in filtered.iter_mut().zip(windows) {
        weighted_sum(columns.as_flattened(), window.first * STRIP, STRIP, &window.weights, strip);
    }
    for (r, row) in rows.chunks_exact_mut(stride).enumerate() {
        for (pixel, strip) in row.as_chunks_mut::<CHANNELS>().0.iter_mut().zip(&filtered) {
            pixel.copy_from_slice(&strip[4 * r..4 * r + CHANNELS]);
        }
    }
}

/// Sums [`STRIP`] neighbours, and those `stride`, 2 `stride`, .. further, each by its weight.
#[inline(always)]
fn weighted_sum(samples: &[u8], mut at: usize, stride: usize, weights: &[i32], strip: &mut [u8; STRIP]) {
    let mut sums = [1 << (FRACTION_BITS - 1); STRIP];
    for &weight in weights {
        for (sum, &sample) in sums.iter_mut().zip(&samples[at..at + STRIP]) {
            *sum += i32::from(sample) * weight;
        }
        at += stride;
    }
    *strip = sums.map(to_level);
}

/// `samples` are the rows from `start`.
#[inline(always)]
fn filter_column_anywhere(samples: &[u8], start: usize, window: &Window, row: &mut [u8]) {
    let stride = row.len();
    let first = (window.first - start) * stride;
    let (strips, rest) = row.as_chunks_mut::<STRIP>();
    let after = strips.len() * STRIP;
    for (s, strip) in strips.iter_mut().enumerate() {
        weighted_sum(samples, first + s * STRIP, stride, &window.weights, strip);
    }
    for (i, to) in rest.iter_mut().enumerate() {
        let column = samples[first + after + i..].iter().step_by(stride);
        let sum: i32 = column.zip(&window.weights).map(|(&sample, weight)| i32::from(sample) * weight).sum();
        *to = to_level(sum + (1 << (FRACTION_BITS - 1)));
    }
}

fn nearest(samples: &[u8], job: &Job) -> Vec<u8> {
    let Job { from, to, part, .. } = *job;
    // The position is accumulated, not multiplied out: Pillow's rounding, which decides between two samples now and then.
    let sources = |from: usize, to: usize, first: usize, count: usize| -> Vec<usize> {
        let scale = from as f64 / to as f64;
        let positions = std::iter::successors(Some(scale * 0.5), move |x| Some(x + scale));
        positions.skip(first).take(count).map(|x| (x as usize).min(from - 1)).collect()
    };
    let columns = sources(from.width, to.width, part.x, part.width);
    let lines = sources(from.height, to.height, part.y, part.height);
    let mut result = Vec::with_capacity(part.height * part.width * CHANNELS);
    for y in lines {
        let line = &samples[y * from.width * CHANNELS..][..from.width * CHANNELS];
        for &x in &columns {
            result.extend_from_slice(&line[x * CHANNELS..][..CHANNELS]);
        }
    }
    result
}

/// The two samples around a position, as indices, and how far the position lies between them.
struct Neighbours {
    low: usize,
    high: usize,
    fraction: f32,
}

fn neighbours(from: usize, to: usize, wanted: Range<usize>) -> Vec<Neighbours> {
    let scale = from as f32 / to as f32;
    wanted
        .map(|i| {
            let position = (i as f32 + 0.5) * scale - 0.5;
            let low = position.floor();
            // Beyond the outermost centres both neighbours are the border sample. Casts clip at 0.
            Neighbours {
                low: (low as usize).min(from - 1),
                high: ((low + 1.0) as usize).min(from - 1),
                fraction: position - low,
            }
        })
        .collect()
}

fn linear(samples: &[u8], job: &Job) -> Vec<u8> {
    let Job { from, to, part, parallel } = *job;
    let columns = neighbours(from.width, to.width, part.x..part.x + part.width);
    let lines = neighbours(from.height, to.height, part.y..part.y + part.height);
    let between = |low: f32, high: f32, fraction: f32| low + (high - low) * fraction;
    let mut rows = vec![0; part.height * part.width * CHANNELS];
    let cost = rows.len();
    each_row(&mut rows, CHANNELS * part.width, parallel.then_some(cost), |y, row| {
        let at = |y: usize, x: usize, c: usize| f32::from(samples[(y * from.width + x) * CHANNELS + c]);
        let line = &lines[y];
        for (pixel, column) in row.chunks_exact_mut(CHANNELS).zip(&columns) {
            for (c, to) in pixel.iter_mut().enumerate() {
                let row_at = |y| between(at(y, column.low, c), at(y, column.high, c), column.fraction);
                *to = between(row_at(line.low), row_at(line.high), line.fraction).round() as u8;
            }
        }
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::Rng;

    fn noise(length: usize) -> Vec<u8> {
        let mut rng = Rng::new(3);
        (0..length).map(|_| rng.next_u64() as u8).collect()
    }

    #[test]
    fn vector_instructions_do_not_change_the_result() {
        let (from, to, count) = (53, 31, 5);
        let windows = windows(from, to, 0..to, &CUBIC);
        let lines = noise(CHANNELS * from * count);
        let [mut here, mut anywhere] = [(); 2].map(|()| vec![0; CHANNELS * to * count]);
        filter_rows(&lines, &windows, &mut here);
        filter_rows_anywhere(&lines, &windows, &mut anywhere);
        assert_eq!(here, anywhere);
        let [mut here, mut anywhere] = [(); 2].map(|()| vec![0; 3 * STRIP + 7]);
        let samples = noise(here.len() * from);
        filter_column(&samples, 0, &windows[4], &mut here);
        filter_column_anywhere(&samples, 0, &windows[4], &mut anywhere);
        assert_eq!(here, anywhere);
    }

    #[test]
    fn a_part_of_the_result_has_the_samples_of_the_whole() {
        let picture = RgbImage::from_raw(37, 29, noise(3 * 37 * 29)).unwrap();
        let part = Region { x: 11, y: 5, width: 20, height: 17 };
        for size in
            [ImageSize::new(60, 80), ImageSize::new(23, 33), ImageSize::new(29, 50), ImageSize::new(40, 37)]
        {
            for interpolation in [
                Interpolation::Nearest,
                Interpolation::Bilinear,
                Interpolation::Bicubic,
                Interpolation::Lanczos,
                Interpolation::TfBilinear,
            ] {
                let whole = resize(&picture, size, interpolation).unwrap();
                let alone = resize_part(&picture, size, part, interpolation, false).unwrap();
                assert_eq!(alone, crop(&whole, part), "{interpolation:?} to {size}");
            }
        }
    }
}
