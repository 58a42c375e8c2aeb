//! GridMask.

use super::{Rng, Sample, Transform};

/// Blacks out a rotated grid of squares. Boxes stay.
///
/// # Reference
/// Chen et al., *GridMask Data Augmentation* (2020), in the form of google/automl `aug/gridmask.py`: spacing between
/// 0.3 of the width and 0.5 of the height, `ratio` of each spacing kept, angle `degrees` times a normal number of mean -1.
/// automl compares a normal number with the probability, which makes 0.5 mean 0.69; here it is the probability. The mask
/// is not interpolated at the squares' edges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GridMask {
    /// Probability for a picture. automl: 0.5.
    pub probability: f64,
    /// Part of the spacing that is kept, along each axis. automl: 0.6.
    pub ratio: f64,
    /// Size of the angle in degrees. automl: 10.
    pub degrees: f64,
    /// Colour of the squares. automl: black.
    pub fill: [u8; 3],
}

impl Default for GridMask {
    fn default() -> Self {
        Self { probability: 0.5, ratio: 0.6, degrees: 10.0, fill: [0; 3] }
    }
}

impl Transform for GridMask {
    fn apply(&self, mut sample: Sample, rng: &mut Rng) -> Sample {
        let happens = rng.chance(self.probability);
        let (width, height) = (f64::from(sample.picture.width()), f64::from(sample.picture.height()));
        let (low, high) = ((height * 0.5).min(width * 0.3) as i64, (height * 0.5).max(width * 0.3) as i64);
        let spacing = rng.int(low, high).max(2);
        let kept = ((spacing as f64 * self.ratio + 0.5) as i64).clamp(1, spacing - 1);
        let start = (rng.int(0, spacing), rng.int(0, spacing));
        let angle = self.degrees * (rng.normal() - 1.0) * std::f64::consts::PI / 180.0;
        if !happens {
            return sample;
        }
        let (sin, cos) = (libm::sin(angle), libm::cos(angle));
        for (x, y, pixel) in sample.picture.enumerate_pixels_mut() {
            let (dx, dy) = (f64::from(x) - width / 2.0, f64::from(y) - height / 2.0);
            let along =
                |position: f64, start: i64| (position.round() as i64 - start).rem_euclid(spacing) < kept;
            if !along(cos * dx - sin * dy, start.0) && !along(sin * dx + cos * dy, start.1) {
                pixel.0 = self.fill;
            }
        }
        sample
    }
}
