//! The operations that move pixels.

use effdet_core::ImageSize;
use image::RgbImage;

use crate::transform::affine::{Affine, move_boxes, warp_nearest};
use crate::transform::{Sample, flip};

/// The level that empty places get.
pub(crate) const GREY: [u8; 3] = [128; 3];

/// An operation that moves pixels, to the nearest one, and fills empty places with grey.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GeometryOp {
    /// By degrees, counter-clockwise about the centre.
    Rotate(f64),
    /// Left by pixels.
    TranslateX(f64),
    /// Up by pixels.
    TranslateY(f64),
    /// Each row left by its height times this.
    ShearX(f64),
    /// Each column up by its distance from the left times this.
    ShearY(f64),
    /// Left and right exchanged.
    Flip,
}

impl GeometryOp {
    /// Where each pixel of the result comes from, between pixel indices.
    fn backward(self, size: ImageSize) -> Affine {
        match self {
            Self::Rotate(degrees) => {
                let centre = ((size.width as f64 - 1.0) / 2.0, (size.height as f64 - 1.0) / 2.0);
                Affine::rotation(centre, -degrees, 1.0)
            }
            Self::TranslateX(pixels) => Affine([1.0, 0.0, pixels, 0.0, 1.0, 0.0]),
            Self::TranslateY(pixels) => Affine([1.0, 0.0, 0.0, 0.0, 1.0, pixels]),
            Self::ShearX(level) => Affine([1.0, level, 0.0, 0.0, 1.0, 0.0]),
            Self::ShearY(level) => Affine([1.0, 0.0, 0.0, level, 1.0, 0.0]),
            Self::Flip => Affine([-1.0, 0.0, size.width as f64 - 1.0, 0.0, 1.0, 0.0]),
        }
    }

    /// The picture alone.
    pub fn apply_to_picture(self, picture: &RgbImage) -> RgbImage {
        let size = ImageSize::new(picture.height() as usize, picture.width() as usize);
        warp_nearest(picture, self.backward(size), GREY)
    }

    /// Picture and boxes.
    pub fn apply(self, mut sample: Sample) -> Sample {
        if sample.is_empty() {
            return sample;
        }
        if self == Self::Flip {
            return flip(sample, true, false);
        }
        let backward = self.backward(sample.size());
        sample.picture = warp_nearest(&sample.picture, backward, GREY);
        move_boxes(&mut sample, backward.inverse().between_positions());
        sample
    }
}
