//! Pictures to the network's input: letterbox and normalisation.

use effdet_core::{ImageSize, Letterbox, Placement};
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Interpolation, resize};

/// Pixels below which normalisation stays on the calling thread.
const PARALLEL_FROM: usize = 1 << 18;

/// Colour of the part of the network input that the picture does not cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// The mean that is subtracted later, rounded to whole levels, so that the fill is close to 0 for the network.
    #[default]
    Mean,
    /// A colour, red, green, blue.
    Color([u8; 3]),
}

/// What is done to a picture before the network sees it. It belongs to the weights: a network trained with one
/// preprocessing is less accurate with another.
///
/// # Reference
/// effdet `data.transforms.transforms_coco_eval` and `data.loader.PrefetchLoader`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// Size of the network input.
    pub size: ImageSize,
    /// Mean of red, green and blue, where samples run from 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, where samples run from 0 to 1.
    pub std: [f32; 3],
    /// How the picture is resampled.
    pub interpolation: Interpolation,
    /// Colour beside the picture.
    pub fill: Fill,
    /// Where the picture lies in the input.
    pub placement: Placement,
}

/// A picture fitted into the network input, not normalised yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// Samples in `[height, width, channel]` order, red first; height and width are `letterbox.target`.
    pub pixels: Vec<u8>,
    /// How the picture lies in it, which takes boxes back to the picture.
    pub letterbox: Letterbox,
}

impl Preprocess {
    /// effdet's defaults: ImageNet mean and deviation, bilinear, mean fill, top-left.
    pub fn imagenet(size: ImageSize) -> Self {
        Self {
            size,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            interpolation: Interpolation::default(),
            fill: Fill::default(),
            placement: Placement::default(),
        }
    }

    /// Fits `picture` into the network input: aspect-preserving resize, then the fill around it.
    ///
    /// # Errors
    /// [`Error::EmptyResize`] if the picture or the input has no pixels.
    ///
    /// # Reference
    /// effdet `data.transforms.ResizePad`, with the same samples for every picture whose scaled sides are at least 1.
    pub fn apply(&self, picture: &RgbImage) -> Result<Prepared, Error> {
        let source = ImageSize::new(picture.height() as usize, picture.width() as usize);
        let letterbox = Letterbox::new(source, self.size, self.placement)
            .map_err(|_| Error::EmptyResize { source_size: source, target: self.size })?;
        let scaled = resize(picture, letterbox.scaled, self.interpolation)?;
        if letterbox.scaled == self.size {
            return Ok(Prepared { pixels: scaled.into_raw(), letterbox });
        }
        let mut pixels = self.fill_color().repeat(self.size.area());
        let (left, top) = letterbox.offset;
        let width = 3 * letterbox.scaled.width;
        let rows = pixels.chunks_exact_mut(3 * self.size.width).skip(top);
        for (row, line) in rows.zip(scaled.as_raw().chunks_exact(width)) {
            row[3 * left..][..width].copy_from_slice(line);
        }
        Ok(Prepared { pixels, letterbox })
    }

    /// The fill as a colour.
    pub fn fill_color(&self) -> [u8; 3] {
        match self.fill {
            Fill::Mean => self.mean.map(|mean| (255.0 * f64::from(mean)).round_ties_even() as u8),
            Fill::Color(color) => color,
        }
    }

    /// The network's input for one picture, see [`Preprocess::normalize_into`].
    ///
    /// # Shapes
    /// - output: `[3, height, width]`
    pub fn normalize(&self, prepared: &Prepared) -> Vec<f32> {
        let mut planes = vec![0.0; prepared.pixels.len()];
        self.fill_planes(&prepared.pixels, prepared.letterbox.target.width, &mut planes);
        planes
    }

    /// Writes `(x - 255 mean) / (255 std)` for every sample `x`, so that a batch is filled picture by picture without a
    /// copy.
    ///
    /// # Shapes
    /// - `planes`: `[3, height, width]`
    ///
    /// # Errors
    /// [`Error::BufferSize`] if `planes` is not `3 x height x width` long.
    pub fn normalize_into(&self, prepared: &Prepared, planes: &mut [f32]) -> Result<(), Error> {
        let expected = prepared.pixels.len();
        if planes.len() != expected {
            return Err(Error::BufferSize { got: planes.len(), expected });
        }
        self.fill_planes(&prepared.pixels, prepared.letterbox.target.width, planes);
        Ok(())
    }

    /// As [`normalize_into`](Self::normalize_into), of bare samples in `[height, width, channel]` order.
    ///
    /// # Errors
    /// [`Error::BufferSize`] if `planes` is not as long as `pixels`.
    pub fn normalize_pixels_into(
        &self,
        pixels: &[u8],
        width: usize,
        planes: &mut [f32],
    ) -> Result<(), Error> {
        if planes.len() != pixels.len() {
            return Err(Error::BufferSize { got: planes.len(), expected: pixels.len() });
        }
        self.fill_planes(pixels, width, planes);
        Ok(())
    }

    fn fill_planes(&self, pixels: &[u8], width: usize, planes: &mut [f32]) {
        if width == 0 || pixels.is_empty() {
            return;
        }
        let levels = self.normalized_levels();
        let area = planes.len() / 3;
        let (red, rest) = planes.split_at_mut(area);
        let (green, blue) = rest.split_at_mut(area);
        let write = |row: &[u8], red: &mut [f32], green: &mut [f32], blue: &mut [f32]| {
            for (((pixel, r), g), b) in row.chunks_exact(3).zip(red).zip(green).zip(blue) {
                *r = levels[0][usize::from(pixel[0])];
                *g = levels[1][usize::from(pixel[1])];
                *b = levels[2][usize::from(pixel[2])];
            }
        };
        if area < PARALLEL_FROM {
            return write(pixels, red, green, blue);
        }
        let rows = pixels.par_chunks(3 * width).zip(red.par_chunks_mut(width));
        let rows = rows.zip(green.par_chunks_mut(width)).zip(blue.par_chunks_mut(width));
        rows.for_each(|(((row, red), green), blue)| write(row, red, green, blue));
    }

    /// The normalised value of each level of each channel: a lookup is cheaper than the division and gives its bits.
    fn normalized_levels(&self) -> [[f32; 256]; 3] {
        std::array::from_fn(|channel| {
            // The reference scales the decimal constant in double precision. Read back from its shortest text, 0.224 is
            // that constant; widened from f32 it is not, and the last bit of the result differs.
            let scaled = |value: f32| {
                let decimal = value.to_string().parse().unwrap_or(f64::from(value));
                (255.0 * decimal) as f32
            };
            let (mean, std) = (scaled(self.mean[channel]), scaled(self.std[channel]));
            std::array::from_fn(|level| (level as f32 - mean) / std)
        })
    }
}
