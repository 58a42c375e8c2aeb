//! Changes of colour and sharpness, which leave the boxes alone.

use image::RgbImage;

use super::{Rng, Sample, Transform};

/// Replaces every level of each channel by its entry in a table.
pub(crate) fn look_up(picture: &mut RgbImage, tables: &[[u8; 256]; 3]) {
    let samples: &mut [u8] = picture;
    for pixel in samples.as_chunks_mut::<3>().0 {
        for (level, table) in pixel.iter_mut().zip(tables) {
            *level = table[usize::from(*level)];
        }
    }
}

/// The same table for the three channels.
pub(crate) fn look_up_all(picture: &mut RgbImage, level: impl Fn(u8) -> u8) {
    let table: [u8; 256] = std::array::from_fn(|i| level(i as u8));
    look_up(picture, &[table; 3]);
}

/// `a + factor (b - a)` for levels, cut off at whole levels.
fn blend(a: f32, b: f32, factor: f64) -> u8 {
    // The cast clips at 0 and 255.
    (factor as f32 * b + (1.0 - factor) as f32 * a) as u8
}

/// Adds a random number to each channel.
///
/// # Reference
/// albumentations 1.0.3 `RGBShift`, the draws in the order red, green, blue; 20 levels there, 10 in IceVision, applied
/// with probability 0.5.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RgbShift {
    /// Largest change of red, green and blue, in levels of 255.
    pub limit: [f64; 3],
}

impl Default for RgbShift {
    /// IceVision's.
    fn default() -> Self {
        Self { limit: [10.0; 3] }
    }
}

impl RgbShift {
    /// The sample with `shift` added.
    pub fn apply_drawn(&self, mut sample: Sample, shift: [f64; 3]) -> Sample {
        let tables = shift.map(|shift| std::array::from_fn(|level| (level as f32 + shift as f32) as u8));
        look_up(&mut sample.picture, &tables);
        sample
    }
}

impl Transform for RgbShift {
    fn apply(&self, sample: Sample, rng: &mut Rng) -> Sample {
        let shift = self.limit.map(|limit| rng.uniform(-limit, limit));
        self.apply_drawn(sample, shift)
    }
}

/// Multiplies the levels by a random contrast and adds a random brightness.
///
/// # Reference
/// albumentations 1.0.3 `RandomBrightnessContrast` with `brightness_by_max`, contrast drawn first; IceVision applies it
/// with probability 0.5.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BrightnessContrast {
    /// Largest brightness added, as a part of 255. albumentations: 0.2.
    pub brightness: f64,
    /// Largest change of the factor from 1. albumentations: 0.2.
    pub contrast: f64,
}

impl Default for BrightnessContrast {
    fn default() -> Self {
        Self { brightness: 0.2, contrast: 0.2 }
    }
}

impl BrightnessContrast {
    /// The sample with its levels times `contrast`, plus `brightness` times 255.
    pub fn apply_drawn(&self, mut sample: Sample, contrast: f64, brightness: f64) -> Sample {
        let added = (brightness * 255.0) as f32;
        look_up_all(&mut sample.picture, |level| (f32::from(level) * contrast as f32 + added) as u8);
        sample
    }
}

impl Transform for BrightnessContrast {
    fn apply(&self, sample: Sample, rng: &mut Rng) -> Sample {
        let contrast = 1.0 + rng.uniform(-self.contrast, self.contrast);
        let brightness = rng.uniform(-self.brightness, self.brightness);
        self.apply_drawn(sample, contrast, brightness)
    }
}

/// Mean over a square around each pixel, the picture mirrored at its border.
///
/// # Reference
/// albumentations 1.0.3 `Blur`; IceVision draws the side from 1 (no blur) and 3, with probability 0.5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blur {
    /// The sides to choose from, odd numbers of pixels; even ones count as the next odd one.
    pub sides: Vec<usize>,
}

impl Default for Blur {
    /// IceVision's.
    fn default() -> Self {
        Self { sides: vec![1, 3] }
    }
}

impl Transform for Blur {
    fn apply(&self, mut sample: Sample, rng: &mut Rng) -> Sample {
        if let Some(&side) = rng.choose(&self.sides).filter(|side| **side > 1 && !sample.is_empty()) {
            sample.picture = box_blur(&sample.picture, side / 2);
        }
        sample
    }
}

fn box_blur(picture: &RgbImage, radius: usize) -> RgbImage {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let mirrored = |at: usize, offset: usize, length: usize| -> usize {
        let period = 2 * (length as i64 - 1).max(1);
        let at = (at as i64 + offset as i64 - radius as i64).rem_euclid(period);
        (at.min(period - at) as usize).min(length - 1)
    };
    let side = 2 * radius + 1;
    let samples = picture.as_raw();
    let mut rows = vec![0u32; samples.len()];
    for (sums, line) in rows.chunks_exact_mut(3 * width).zip(samples.chunks_exact(3 * width)) {
        for (x, sum) in sums.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            for source in (0..side).map(|offset| 3 * mirrored(x, offset, width)) {
                for channel in 0..3 {
                    sum[channel] += u32::from(line[source + channel]);
                }
            }
        }
    }
    let area = (side * side) as u32;
    let mut result = RgbImage::new(picture.width(), picture.height());
    for (y, row) in result.chunks_exact_mut(3 * width).enumerate() {
        let lines: Vec<&[u32]> =
            (0..side).map(|offset| &rows[3 * width * mirrored(y, offset, height)..][..3 * width]).collect();
        for (x, level) in row.iter_mut().enumerate() {
            let sum: u32 = lines.iter().map(|line| line[x]).sum();
            *level = ((2 * sum + area) / (2 * area)) as u8;
        }
    }
    result
}

/// Random brightness, contrast, saturation and hue, in random order.
///
/// # Reference
/// torchvision `ColorJitter` on uint8 tensors. effdet has a `--color-jitter 0.4` that is not wired to anything; timm's
/// meaning of it, used here as default, is brightness, contrast and saturation 0.4 without hue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColorJitter {
    /// Largest change of the brightness factor from 1.
    pub brightness: f64,
    /// Largest change of the contrast factor from 1.
    pub contrast: f64,
    /// Largest change of the saturation factor from 1.
    pub saturation: f64,
    /// Largest rotation of the hue, as a part of the circle, up to 0.5.
    pub hue: f64,
}

impl Default for ColorJitter {
    fn default() -> Self {
        Self { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.0 }
    }
}

/// One step of [`ColorJitter`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ColorStep {
    /// Factor on the distance from black.
    Brightness(f64),
    /// Factor on the distance from the mean grey.
    Contrast(f64),
    /// Factor on the distance from the pixel's grey.
    Saturation(f64),
    /// Rotation of the hue, as a part of the circle.
    Hue(f64),
}

impl ColorJitter {
    /// Draws the steps and their order.
    pub fn draw(&self, rng: &mut Rng) -> Vec<ColorStep> {
        let mut factor = |limit: f64| (limit > 0.0).then(|| rng.uniform((1.0 - limit).max(0.0), 1.0 + limit));
        let steps = [
            factor(self.brightness).map(ColorStep::Brightness),
            factor(self.contrast).map(ColorStep::Contrast),
            factor(self.saturation).map(ColorStep::Saturation),
            (self.hue > 0.0).then(|| ColorStep::Hue(rng.uniform(-self.hue, self.hue))),
        ];
        let mut steps: Vec<ColorStep> = steps.into_iter().flatten().collect();
        rng.shuffle(&mut steps);
        steps
    }

    /// The sample after given steps.
    pub fn apply_drawn(&self, mut sample: Sample, steps: &[ColorStep]) -> Sample {
        for step in steps {
            adjust(&mut sample.picture, *step);
        }
        sample
    }
}

impl Transform for ColorJitter {
    fn apply(&self, sample: Sample, rng: &mut Rng) -> Sample {
        let steps = self.draw(rng);
        self.apply_drawn(sample, &steps)
    }
}

/// Luma of a pixel, not rounded (ITU-R 601 with torchvision's digits).
fn luma(pixel: [u8; 3]) -> f32 {
    let [red, green, blue] = pixel.map(f32::from);
    0.2989 * red + 0.587 * green + 0.114 * blue
}

fn adjust(picture: &mut RgbImage, step: ColorStep) {
    let samples: &mut [u8] = picture;
    let pixels = samples.as_chunks_mut::<3>().0;
    match step {
        ColorStep::Brightness(factor) => {
            look_up_all(picture, |level| (factor as f32 * f32::from(level)) as u8)
        }
        ColorStep::Contrast(factor) => {
            let sum: u64 = pixels.iter().map(|pixel| luma(*pixel) as u64).sum();
            let mean = sum as f64 / pixels.len().max(1) as f64;
            look_up_all(picture, |level| blend(mean as f32, f32::from(level), factor));
        }
        ColorStep::Saturation(factor) => {
            for pixel in pixels {
                let grey = luma(*pixel).floor();
                *pixel = pixel.map(|level| blend(grey, f32::from(level), factor));
            }
        }
        ColorStep::Hue(turn) => pixels.iter_mut().for_each(|pixel| *pixel = turn_hue(*pixel, turn as f32)),
    }
}

/// Through hue, saturation and value, as torchvision converts them.
fn turn_hue(pixel: [u8; 3], turn: f32) -> [u8; 3] {
    let [r, g, b] = pixel.map(|level| f32::from(level) / 255.0);
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    let range = most - least;
    if range == 0.0 {
        return pixel;
    }
    let saturation = range / most;
    let [rc, gc, bc] = [r, g, b].map(|level| (most - level) / range);
    let sector = if most == r {
        bc - gc
    } else if most == g {
        2.0 + rc - bc
    } else {
        4.0 + gc - rc
    };
    let hue = (sector / 6.0 + 1.0).fract();
    let hue = (hue + turn).rem_euclid(1.0) * 6.0;
    let fraction = hue - hue.floor();
    let p = (most * (1.0 - saturation)).clamp(0.0, 1.0);
    let q = (most * (1.0 - saturation * fraction)).clamp(0.0, 1.0);
    let t = (most * (1.0 - saturation * (1.0 - fraction))).clamp(0.0, 1.0);
    let color = match hue as usize % 6 {
        0 => [most, t, p],
        1 => [q, most, p],
        2 => [p, most, t],
        3 => [p, q, most],
        4 => [t, p, most],
        _ => [most, p, q],
    };
    color.map(|level| (level * 255.999) as u8)
}
