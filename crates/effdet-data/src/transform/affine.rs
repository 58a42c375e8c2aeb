//! Shifting, scaling, rotating and shearing.

use effdet_core::XyxyBox;
use image::RgbImage;

use super::{Region, Rng, Sample, Transform};

/// A map of the plane, `(x, y)` to `(a x + b y + c, d x + e y + f)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Affine(pub [f64; 6]);

impl Affine {
    /// Rotation by `degrees` counter-clockwise about `(x, y)` and scaling by `scale`.
    ///
    /// # Reference
    /// OpenCV `getRotationMatrix2D`.
    pub fn rotation((x, y): (f64, f64), degrees: f64, scale: f64) -> Self {
        let radians = degrees * std::f64::consts::PI / 180.0;
        let (alpha, beta) = (libm::cos(radians) * scale, libm::sin(radians) * scale);
        Self([alpha, beta, (1.0 - alpha) * x - beta * y, -beta, alpha, beta * x + (1.0 - alpha) * y])
    }

    /// The inverse map; the zero map if there is none.
    pub fn inverse(self) -> Self {
        let [a, b, c, d, e, f] = self.0;
        let determinant = a * e - b * d;
        let over = if determinant == 0.0 { 0.0 } else { 1.0 / determinant };
        let (ia, ib, id, ie) = (e * over, -b * over, -d * over, a * over);
        Self([ia, ib, -ia * c - ib * f, id, ie, -id * c - ie * f])
    }

    /// The image of a point.
    pub fn map(self, x: f64, y: f64) -> (f64, f64) {
        let [a, b, c, d, e, f] = self.0;
        (a * x + b * y + c, d * x + e * y + f)
    }

    /// The smallest box around the image of a box.
    pub fn map_box(self, bbox: XyxyBox) -> XyxyBox {
        let corners = [(bbox.x1, bbox.y1), (bbox.x2, bbox.y1), (bbox.x1, bbox.y2), (bbox.x2, bbox.y2)];
        let corners = corners.map(|(x, y)| self.map(f64::from(x), f64::from(y)));
        let least = |pick: fn((f64, f64)) -> f64| corners.map(pick).into_iter().fold(f64::INFINITY, f64::min);
        let most =
            |pick: fn((f64, f64)) -> f64| corners.map(pick).into_iter().fold(f64::NEG_INFINITY, f64::max);
        XyxyBox::new(least(|c| c.0) as f32, least(|c| c.1) as f32, most(|c| c.0) as f32, most(|c| c.1) as f32)
    }

    /// The same map between positions, for a map between pixel indices: pixel `i` is the position `i + 0.5`.
    pub fn between_positions(self) -> Self {
        let [a, b, c, d, e, f] = self.0;
        Self([a, b, c + 0.5 - 0.5 * (a + b), d, e, f + 0.5 - 0.5 * (d + e)])
    }
}

/// What lies outside the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Border {
    /// One colour.
    Color([u8; 3]),
    /// The picture mirrored at its outermost pixels, which are not repeated (OpenCV's `BORDER_REFLECT_101`).
    Reflect,
}

impl Border {
    /// The index that stands for `at` in a row of `length`, if any.
    fn index(self, at: i64, length: usize) -> Option<usize> {
        if (0..length as i64).contains(&at) {
            return Some(at as usize);
        }
        match self {
            Self::Color(_) => None,
            Self::Reflect if length == 1 => Some(0),
            Self::Reflect => {
                let period = 2 * (length as i64 - 1);
                let at = at.rem_euclid(period);
                Some(at.min(period - at) as usize)
            }
        }
    }

    fn pixel(self, picture: &RgbImage, x: i64, y: i64) -> [u8; 3] {
        let found = self.index(x, picture.width() as usize).zip(self.index(y, picture.height() as usize));
        match (found, self) {
            (Some((x, y)), _) => picture.get_pixel(x as u32, y as u32).0,
            (None, Self::Color(color)) => color,
            // A mirrored picture goes on forever.
            (None, Self::Reflect) => [0; 3],
        }
    }
}

/// Bits of the fraction of a position, and of the table of interpolation weights.
const FRACTION: u32 = 5;

/// Linear interpolation of the picture at the positions (in pixel indices) that `backward` gives for each pixel.
///
/// # Reference
/// OpenCV 4 `warpAffine` with `INTER_LINEAR`: positions are rounded to 1/32 pixel, through 1/1024.
pub(crate) fn warp_linear(picture: &RgbImage, backward: Affine, border: Border) -> RgbImage {
    const POSITION: u32 = 10;
    const ONE: i64 = 1 << FRACTION;
    let scale = f64::from(1 << POSITION);
    let [a, b, c, d, e, f] = backward.0;
    let fixed = |value: f64| (value * scale).round_ties_even() as i64;
    let steps: Vec<(i64, i64)> =
        (0..picture.width()).map(|x| (fixed(a * f64::from(x)), fixed(d * f64::from(x)))).collect();
    let round = 1 << (POSITION - FRACTION - 1);
    let (width, height) = (i64::from(picture.width()), i64::from(picture.height()));
    let mut result = RgbImage::new(picture.width(), picture.height());
    let stride = 3 * picture.width() as usize;
    for (y, row) in result.chunks_exact_mut(stride.max(1)).enumerate() {
        let (x0, y0) = (fixed(b * y as f64 + c) + round, fixed(e * y as f64 + f) + round);
        for (pixel, (dx, dy)) in row.as_chunks_mut::<3>().0.iter_mut().zip(&steps) {
            let (x, y) = ((x0 + dx) >> (POSITION - FRACTION), (y0 + dy) >> (POSITION - FRACTION));
            let (fx, fy) = (x & (ONE - 1), y & (ONE - 1));
            let (x, y) = (x >> FRACTION, y >> FRACTION);
            let corners = if (0..width - 1).contains(&x) && (0..height - 1).contains(&y) {
                let first = y as usize * stride + 3 * x as usize;
                let samples = picture.as_raw();
                let at = |at: usize| [samples[at], samples[at + 1], samples[at + 2]];
                [at(first), at(first + 3), at(first + stride), at(first + stride + 3)]
            } else {
                let at = |dx: i64, dy: i64| border.pixel(picture, x + dx, y + dy);
                [at(0, 0), at(1, 0), at(0, 1), at(1, 1)]
            };
            let weights = [(ONE - fx) * (ONE - fy), fx * (ONE - fy), (ONE - fx) * fy, fx * fy];
            for (channel, level) in pixel.iter_mut().enumerate() {
                let sum: i64 = corners.iter().zip(weights).map(|(p, w)| i64::from(p[channel]) * w).sum();
                *level = ((sum + ONE * ONE / 2) >> (2 * FRACTION)) as u8;
            }
        }
    }
    result
}

/// The nearest pixels at the positions (in pixel indices) that `backward` gives for each pixel.
///
/// # Reference
/// tensorflow-addons `image.transform` with `interpolation="NEAREST"`.
pub(crate) fn warp_nearest(picture: &RgbImage, backward: Affine, fill: [u8; 3]) -> RgbImage {
    let border = Border::Color(fill);
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let (x, y) = backward.map(f64::from(x), f64::from(y));
        image::Rgb(border.pixel(picture, x.round() as i64, y.round() as i64))
    })
}

/// Takes the boxes along `forward` (between positions) and says that all of the picture may show content.
pub(crate) fn move_boxes(sample: &mut Sample, forward: Affine) {
    let [a, b, _, d, e, _] = forward.0;
    let growth = (a * e - b * d).abs();
    for object in &mut sample.objects {
        object.bbox = forward.map_box(object.bbox);
        object.area = object.area.map(|area| (f64::from(area) * growth) as f32);
    }
    sample.clip_boxes();
    sample.img_scale /= growth.sqrt();
    sample.content = Region::whole(sample.size());
    sample.mark_moved();
}

/// Random shift, scale and rotation about the centre.
///
/// # Reference
/// albumentations 1.0.3 `ShiftScaleRotate`, the draws in its order (angle, scale, shift along x and y). IceVision applies
/// it with probability 0.5 and 15 degrees. The box around a rotated box is what it is there: the box of the rotated
/// corners, a little too large.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShiftScaleRotate {
    /// Largest shift, as a part of each side. albumentations: 0.0625.
    pub shift: f64,
    /// Largest change of the scale. albumentations: 0.1, so 0.9 to 1.1.
    pub scale: f64,
    /// Largest angle in degrees. albumentations: 45, IceVision: 15.
    pub degrees: f64,
    /// What lies outside the picture. albumentations: [`Border::Reflect`]. What is mirrored into view has no boxes.
    pub border: Border,
}

impl Default for ShiftScaleRotate {
    /// IceVision's.
    fn default() -> Self {
        Self { shift: 0.0625, scale: 0.1, degrees: 15.0, border: Border::Reflect }
    }
}

/// The numbers that [`ShiftScaleRotate`] draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShiftScaleRotateDraw {
    /// Angle in degrees, counter-clockwise.
    pub degrees: f64,
    /// Scale.
    pub scale: f64,
    /// Shift to the right, as a part of the width.
    pub dx: f64,
    /// Shift down, as a part of the height.
    pub dy: f64,
}

impl ShiftScaleRotate {
    /// Draws the numbers for one sample.
    pub fn draw(&self, rng: &mut Rng) -> ShiftScaleRotateDraw {
        ShiftScaleRotateDraw {
            degrees: rng.uniform(-self.degrees, self.degrees),
            scale: rng.uniform(1.0 - self.scale, 1.0 + self.scale),
            dx: rng.uniform(-self.shift, self.shift),
            dy: rng.uniform(-self.shift, self.shift),
        }
    }

    /// The sample for given numbers.
    pub fn apply_drawn(&self, mut sample: Sample, draw: &ShiftScaleRotateDraw) -> Sample {
        if sample.is_empty() {
            return sample;
        }
        let (width, height) = (sample.size().width as f64, sample.size().height as f64);
        let mut forward = Affine::rotation((width / 2.0, height / 2.0), draw.degrees, draw.scale);
        forward.0[2] += draw.dx * width;
        forward.0[5] += draw.dy * height;
        // OpenCV takes the map between positions for one between pixel indices, which moves the picture by up to a few
        // tenths of a pixel against the boxes; kept, as the boxes are not that exact.
        sample.picture = warp_linear(&sample.picture, forward.inverse(), self.border);
        move_boxes(&mut sample, forward);
        sample
    }
}

impl Transform for ShiftScaleRotate {
    fn apply(&self, sample: Sample, rng: &mut Rng) -> Sample {
        let draw = self.draw(rng);
        self.apply_drawn(sample, &draw)
    }
}
