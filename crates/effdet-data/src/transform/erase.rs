//! Random erasing.

use super::sample::filled;
use super::scale::MEAN_FILL;
use super::{Region, Rng, Sample, Transform};
use crate::transform::sample::paste;
use effdet_core::ImageSize;

/// What erased blocks are filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EraseMode {
    /// The mean colour (0 for the network).
    Const,
    /// One random colour per block.
    Rand,
    /// A random colour per pixel.
    #[default]
    Pixel,
}

/// Erases random blocks of the picture, not of the fill beside it.
///
/// Belongs at the end of a pipeline, behind the letterbox: blocks are placed and sized within [`Sample::content`].
/// Objects keep their boxes.
///
/// # Reference
/// effdet `data.random_erasing.RandomErasing`, the draws in its order. It runs there on the normalised batch; here in the
/// workers on 8-bit levels: the mean for its 0, and for its normal numbers the colour they stand for, so that colours
/// beyond black and white are clipped. effdet rounds `img_size / img_scale` to the size of the content, which is that of
/// the scaled picture or a pixel less.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomErasing {
    /// Probability for a picture. effdet's `--reprob`, 0 there unless asked for.
    pub probability: f64,
    /// Least and largest erased part of the content's area, over all blocks. effdet: 0.02 to 0.25.
    pub area: (f64, f64),
    /// Least and largest ratio of height to width of a block. effdet: 0.3 to 1 / 0.3.
    pub aspect: (f64, f64),
    /// Least and largest number of blocks. effdet: 1 to `--recount`, 1.
    pub count: (usize, usize),
    /// What the blocks are filled with. effdet's `--remode`, pixel.
    pub mode: EraseMode,
    /// Mean of red, green and blue, where levels run from 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation, likewise.
    pub std: [f32; 3],
}

impl RandomErasing {
    /// effdet's, with probability `probability`.
    pub fn new(probability: f64) -> Self {
        Self {
            probability,
            area: (0.02, 0.25),
            aspect: (0.3, 1.0 / 0.3),
            count: (1, 1),
            mode: EraseMode::default(),
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }

    /// A block of `area` square pixels and `aspect` within `content`, at a place given by two numbers in `[0, 1)`;
    /// `None` if it has no room.
    pub fn block(content: Region, area: f64, aspect: f64, (top, left): (f64, f64)) -> Option<Region> {
        let height = (area * aspect).sqrt().round_ties_even() as usize;
        let width = (area / aspect).sqrt().round_ties_even() as usize;
        if width >= content.width || height >= content.height {
            return None;
        }
        let at = |room: usize, draw: f64| ((room + 1) as f64 * draw) as usize;
        let (x, y) =
            (content.x + at(content.width - width, left), content.y + at(content.height - height, top));
        Some(Region { x, y, width, height })
    }

    fn color(&self, normal: impl FnMut() -> f64) -> [u8; 3] {
        let mut normal = normal;
        std::array::from_fn(|channel| {
            let level = f64::from(self.mean[channel]) + f64::from(self.std[channel]) * normal();
            (255.0 * level).round() as u8
        })
    }

    fn fill(&self, sample: &mut Sample, block: Region, rng: &mut Rng) {
        let size = ImageSize::new(block.height, block.width);
        let patch = match self.mode {
            EraseMode::Const => filled(size, self.color(|| 0.0)),
            EraseMode::Rand => filled(size, self.color(|| rng.normal())),
            EraseMode::Pixel => {
                let mut patch = filled(size, MEAN_FILL);
                patch.pixels_mut().for_each(|pixel| pixel.0 = self.color(|| rng.normal()));
                patch
            }
        };
        paste(&mut sample.picture, &patch, Region::whole(size), block.x, block.y);
    }
}

/// Places tried for each block.
const ATTEMPTS: usize = 10;

impl Transform for RandomErasing {
    fn apply(&self, mut sample: Sample, rng: &mut Rng) -> Sample {
        if rng.unit() > self.probability || self.probability <= 0.0 {
            return sample;
        }
        let content = sample.content;
        let area = (content.width * content.height) as f64;
        let count = rng.int(self.count.0 as i64, self.count.1 as i64);
        for _ in 0..count {
            for _ in 0..ATTEMPTS {
                let target = rng.uniform(self.area.0, self.area.1) * area / count as f64;
                let aspect = libm::exp(rng.uniform(libm::log(self.aspect.0), libm::log(self.aspect.1)));
                let place = (rng.unit(), rng.unit());
                if let Some(block) = Self::block(content, target, aspect, place) {
                    self.fill(&mut sample, block, rng);
                    break;
                }
            }
        }
        sample
    }
}
