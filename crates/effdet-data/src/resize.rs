//! Resampling of RGB8 pictures, equal to Pillow's.

use effdet_core::ImageSize;
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Error;

const CHANNELS: usize = 3;
/// Weights are fixed-point numbers with this many fraction bits: 8 bits for the sample and 2 for the overshoot of
/// negative lobes are left of an `i32`.
const FRACTION_BITS: u32 = 22;
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
    let source = ImageSize::new(picture.height() as usize, picture.width() as usize);
    let too_long = |n: usize| u32::try_from(n).is_err();
    if source.is_empty() || size.is_empty() || too_long(size.height) || too_long(size.width) {
        return Err(Error::EmptyResize { source_size: source, target: size });
    }
    let samples = picture.as_raw();
    let resized = match interpolation {
        _ if source == size => samples.clone(),
        Interpolation::Nearest => nearest(samples, source, size),
        Interpolation::Bilinear => separable(samples, source, size, &TRIANGLE),
        Interpolation::Bicubic => separable(samples, source, size, &CUBIC),
        Interpolation::Lanczos => separable(samples, source, size, &LANCZOS),
        Interpolation::TfBilinear => linear(samples, source, size),
    };
    let mut result = RgbImage::new(size.width as u32, size.height as u32);
    result.copy_from_slice(&resized);
    Ok(result)
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

fn windows(from: usize, to: usize, filter: &Filter) -> Vec<Window> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let radius = filter.radius * stretch;
    let shrink = 1.0 / stretch;
    (0..to)
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

fn separable(samples: &[u8], from: ImageSize, to: ImageSize, filter: &Filter) -> Vec<u8> {
    let narrowed = if from.width == to.width {
        None
    } else {
        let windows = windows(from.width, to.width, filter);
        let mut rows = vec![0; from.height * to.width * CHANNELS];
        let cost = rows.len() * windows[0].weights.len();
        each_row(&mut rows, to.width, cost, |y, row| {
            let line = &samples[y * from.width * CHANNELS..][..from.width * CHANNELS];
            filter_row(line, &windows, row);
        });
        Some(rows)
    };
    let samples = narrowed.as_deref().unwrap_or(samples);
    if from.height == to.height {
        return samples.to_vec();
    }
    let windows = windows(from.height, to.height, filter);
    let mut rows = vec![0; to.height * to.width * CHANNELS];
    let cost = rows.len() * windows[0].weights.len();
    each_row(&mut rows, to.width, cost, |y, row| filter_column(samples, &windows[y], row));
    rows
}

/// Calls `fill` with the index and the samples of every row.
fn each_row(rows: &mut [u8], width: usize, cost: usize, fill: impl Fn(usize, &mut [u8]) + Sync) {
    if cost < PARALLEL_FROM {
        rows.chunks_exact_mut(width * CHANNELS).enumerate().for_each(|(y, row)| fill(y, row));
    } else {
        rows.par_chunks_exact_mut(width * CHANNELS).enumerate().for_each(|(y, row)| fill(y, row));
    }
}

fn filter_row(line: &[u8], windows: &[Window], row: &mut [u8]) {
    let (line, _) = line.as_chunks::<CHANNELS>();
    let (row, _) = row.as_chunks_mut::<CHANNELS>();
    for (pixel, window) in row.iter_mut().zip(windows) {
        let [mut red, mut green, mut blue] = [1 << (FRACTION_BITS - 1); CHANNELS];
        for (source, &weight) in line[window.first..].iter().zip(&window.weights) {
            red += i32::from(source[0]) * weight;
            green += i32::from(source[1]) * weight;
            blue += i32::from(source[2]) * weight;
        }
        *pixel = [red, green, blue].map(to_level);
    }
}

fn filter_column(samples: &[u8], window: &Window, row: &mut [u8]) {
    /// Sums held at a time: few enough to stay in the nearest cache.
    const STRIP: usize = 1024;
    let stride = row.len();
    let mut sums = [0; STRIP];
    for (s, strip) in row.chunks_mut(STRIP).enumerate() {
        let sums = &mut sums[..strip.len()];
        sums.fill(1 << (FRACTION_BITS - 1));
        for (y, &weight) in (window.first..).zip(&window.weights) {
            let line = &samples[y * stride + s * STRIP..][..sums.len()];
            for (sum, &sample) in sums.iter_mut().zip(line) {
                *sum += i32::from(sample) * weight;
            }
        }
        for (to, &sum) in strip.iter_mut().zip(&*sums) {
            *to = to_level(sum);
        }
    }
}

fn nearest(samples: &[u8], from: ImageSize, to: ImageSize) -> Vec<u8> {
    // The position is accumulated, not multiplied out: Pillow's rounding, which decides between two samples now and then.
    let sources = |from: usize, to: usize| -> Vec<usize> {
        let scale = from as f64 / to as f64;
        let positions = std::iter::successors(Some(scale * 0.5), move |x| Some(x + scale));
        positions.take(to).map(|x| (x as usize).min(from - 1)).collect()
    };
    let columns = sources(from.width, to.width);
    let lines = sources(from.height, to.height);
    let mut result = Vec::with_capacity(to.height * to.width * CHANNELS);
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

fn neighbours(from: usize, to: usize) -> Vec<Neighbours> {
    let scale = from as f32 / to as f32;
    (0..to)
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

fn linear(samples: &[u8], from: ImageSize, to: ImageSize) -> Vec<u8> {
    let columns = neighbours(from.width, to.width);
    let lines = neighbours(from.height, to.height);
    let between = |low: f32, high: f32, fraction: f32| low + (high - low) * fraction;
    let mut rows = vec![0; to.height * to.width * CHANNELS];
    let cost = rows.len();
    each_row(&mut rows, to.width, cost, |y, row| {
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
