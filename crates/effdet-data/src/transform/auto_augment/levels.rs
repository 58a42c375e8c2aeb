//! The operations on levels alone, in TensorFlow's arithmetic.

use image::RgbImage;

use crate::transform::color::{look_up, look_up_all};

/// An operation that changes levels and keeps every pixel in place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LevelOp {
    /// Stretches each channel to 0 to 255.
    AutoContrast,
    /// Gives each channel a flat histogram.
    Equalize,
    /// Keeps so many of the 8 bits, at least one.
    Posterize(u32),
    /// Inverts levels from the threshold on.
    Solarize(u32),
    /// Adds to levels below 128.
    SolarizeAdd(i32),
    /// Factor on the distance from the pixel's grey.
    Color(f32),
    /// Factor on the distance from the mean grey.
    Contrast(f32),
    /// Factor on the distance from black.
    Brightness(f32),
    /// Factor on the distance from the smoothed picture.
    Sharpness(f32),
}

impl LevelOp {
    /// Changes `picture`.
    pub fn apply(self, picture: &mut RgbImage) {
        if picture.is_empty() {
            return;
        }
        match self {
            Self::AutoContrast => look_up_each(picture, auto_contrast),
            Self::Equalize => look_up_each(picture, equalize),
            Self::Posterize(bits) => {
                // TensorFlow shifts by at most 7.
                let shift = (8 - bits.min(8)).min(7);
                look_up_all(picture, |level| level >> shift << shift);
            }
            Self::Solarize(threshold) => {
                look_up_all(picture, |level| if u32::from(level) < threshold { level } else { 255 - level });
            }
            Self::SolarizeAdd(added) => look_up_all(picture, |level| {
                if level < 128 { (i32::from(level) + added).clamp(0, 255) as u8 } else { level }
            }),
            Self::Color(factor) => {
                let samples: &mut [u8] = picture;
                for pixel in samples.as_chunks_mut::<3>().0 {
                    let grey = grey(*pixel);
                    *pixel = pixel.map(|level| blend(grey, level, factor));
                }
            }
            Self::Contrast(factor) => {
                let pixels = picture.as_raw().as_chunks::<3>().0;
                let sum: u64 = pixels.iter().map(|pixel| u64::from(grey(*pixel))).sum();
                let mean = (sum as f64 / pixels.len() as f64) as u8;
                look_up_all(picture, |level| blend(mean, level, factor));
            }
            Self::Brightness(factor) => look_up_all(picture, |level| blend(0, level, factor)),
            Self::Sharpness(factor) => sharpen(picture, factor),
        }
    }
}

/// Looks each channel up in a table made from its histogram.
fn look_up_each(picture: &mut RgbImage, table: fn(&[u32; 256]) -> [u8; 256]) {
    let mut histograms = [[0u32; 256]; 3];
    for pixel in picture.as_raw().as_chunks::<3>().0 {
        for (histogram, level) in histograms.iter_mut().zip(pixel) {
            histogram[usize::from(*level)] += 1;
        }
    }
    let tables = [table(&histograms[0]), table(&histograms[1]), table(&histograms[2])];
    look_up(picture, &tables);
}

fn identity() -> [u8; 256] {
    std::array::from_fn(|level| level as u8)
}

fn auto_contrast(histogram: &[u32; 256]) -> [u8; 256] {
    let used = |(_, count): &(usize, &u32)| **count > 0;
    let low = histogram.iter().enumerate().find(used).map_or(0, |(level, _)| level) as f32;
    let high = histogram.iter().enumerate().rfind(used).map_or(0, |(level, _)| level) as f32;
    if high <= low {
        return identity();
    }
    let scale = 255.0 / (high - low);
    let offset = -low * scale;
    std::array::from_fn(|level| (level as f32 * scale + offset) as u8)
}

fn equalize(histogram: &[u32; 256]) -> [u8; 256] {
    let last = histogram.iter().rev().find(|count| **count > 0).copied().unwrap_or(0);
    let step = (histogram.iter().sum::<u32>() - last) / 255;
    if step == 0 {
        return identity();
    }
    let mut below = 0;
    std::array::from_fn(|level| {
        let value = if level == 0 { 0 } else { (below + step / 2) / step };
        below += histogram[level];
        value.min(255) as u8
    })
}

/// `tf.image.rgb_to_grayscale` of a uint8 pixel.
fn grey(pixel: [u8; 3]) -> u8 {
    let [red, green, blue] = pixel.map(|level| f32::from(level) * (1.0 / 255.0));
    ((0.2989 * red + 0.587 * green + 0.114 * blue) * 255.5) as u8
}

/// `a + factor (b - a)`, cut off at whole levels and at 0 and 255.
fn blend(a: u8, b: u8, factor: f32) -> u8 {
    if factor == 1.0 {
        return b;
    }
    (f32::from(a) + factor * (f32::from(b) - f32::from(a))) as u8
}

fn sharpen(picture: &mut RgbImage, factor: f32) {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    if width < 3 || height < 3 {
        return;
    }
    let source = picture.as_raw().clone();
    let stride = 3 * width;
    for y in 1..height - 1 {
        for at in y * stride + 3..(y + 1) * stride - 3 {
            let row =
                |at: usize| u32::from(source[at - 3]) + u32::from(source[at]) + u32::from(source[at + 3]);
            let sum = row(at - stride) + row(at) + row(at + stride) + 4 * u32::from(source[at]);
            let smooth = (sum / 13) as u8;
            picture.as_flat_samples_mut().samples[at] = blend(smooth, source[at], factor);
        }
    }
}
