//! The geometry of fitting a picture into a network input without changing its aspect ratio.

use serde::{Deserialize, Serialize};

use crate::{Error, ImageSize, XyxyBox};

/// Where the scaled picture lies in the network input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// In the top-left corner, the fill to its right or below, as effdet does.
    #[default]
    TopLeft,
    /// In the middle, the fill on both sides, as YOLO pipelines do.
    Center,
}

/// How a picture of one size is fitted into another.
///
/// The picture is scaled by `scale = min(target / source)` over both sides, its scaled sides are truncated to
/// whole pixels and are at least 1, and the rest of the target is fill.
///
/// # Reference
/// effdet `data.transforms.ResizePad`, which knows `Placement::TopLeft` only and lets a side become 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Letterbox {
    /// Size of the picture.
    pub source: ImageSize,
    /// Size of the network input.
    pub target: ImageSize,
    /// Factor from source to target pixels.
    pub scale: f64,
    /// Size of the scaled picture inside the target.
    pub scaled: ImageSize,
    /// Left and top margin `(x, y)` of the scaled picture inside the target.
    pub offset: (usize, usize),
}

impl Letterbox {
    /// The geometry for a picture of size `source` in an input of size `target`.
    ///
    /// # Errors
    /// [`Error::EmptyImage`] if a side of either is 0.
    pub fn new(source: ImageSize, target: ImageSize, placement: Placement) -> Result<Self, Error> {
        if source.is_empty() || target.is_empty() {
            return Err(Error::EmptyImage { source_size: source, target });
        }
        let scale =
            f64::min(target.height as f64 / source.height as f64, target.width as f64 / source.width as f64);
        let fit = |side: usize, limit: usize| ((side as f64 * scale) as usize).clamp(1, limit);
        let scaled = ImageSize::new(fit(source.height, target.height), fit(source.width, target.width));
        let offset = match placement {
            Placement::TopLeft => (0, 0),
            Placement::Center => ((target.width - scaled.width) / 2, (target.height - scaled.height) / 2),
        };
        Ok(Self { source, target, scale, scaled, offset })
    }

    /// Factor from target to source pixels, effdet's `img_scale`.
    pub fn img_scale(&self) -> f64 {
        1.0 / self.scale
    }

    /// A box of the network input in pixels of the picture. Not clipped.
    pub fn to_source(&self, bbox: XyxyBox) -> XyxyBox {
        let factor = self.img_scale() as f32;
        bbox.translate(-(self.offset.0 as f32), -(self.offset.1 as f32)).scale(factor, factor)
    }

    /// A box of the picture in pixels of the network input. Not clipped.
    pub fn to_target(&self, bbox: XyxyBox) -> XyxyBox {
        let factor = self.scale as f32;
        bbox.scale(factor, factor).translate(self.offset.0 as f32, self.offset.1 as f32)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longer_side_fills_the_target() {
        let letterbox =
            Letterbox::new(ImageSize::new(480, 640), ImageSize::square(512), Placement::TopLeft).unwrap();
        assert_eq!((letterbox.scale, letterbox.img_scale()), (0.8, 1.25));
        assert_eq!((letterbox.scaled, letterbox.offset), (ImageSize::new(384, 512), (0, 0)));
    }

    #[test]
    fn centering_splits_the_margin_rounding_down() {
        let letterbox =
            Letterbox::new(ImageSize::new(101, 200), ImageSize::square(200), Placement::Center).unwrap();
        assert_eq!((letterbox.scaled, letterbox.offset), (ImageSize::new(101, 200), (0, 49)));
        let corner = letterbox.to_target(XyxyBox::default());
        assert_eq!(corner, XyxyBox::new(0.0, 49.0, 0.0, 49.0));
    }

    #[test]
    fn a_sliver_keeps_one_pixel() {
        let letterbox =
            Letterbox::new(ImageSize::new(1, 10_000), ImageSize::square(320), Placement::Center).unwrap();
        assert_eq!(letterbox.scaled, ImageSize::new(1, 320));
    }

    #[test]
    fn an_empty_picture_is_refused() {
        let error =
            Letterbox::new(ImageSize::new(0, 5), ImageSize::square(320), Placement::TopLeft).unwrap_err();
        assert_eq!(error.to_string(), "cannot fit an image of 0x5 into 320x320: a side is 0");
    }

    proptest! {
        #[test]
        fn to_source_undoes_to_target(
            height in 1usize..4000, width in 1usize..4000, target in 32usize..1600, center: bool,
            (x, y, w, h) in (0f32..1.0, 0f32..1.0, 0f32..1.0, 0f32..1.0),
        ) {
            let placement = if center { Placement::Center } else { Placement::TopLeft };
            let source = ImageSize::new(height, width);
            let letterbox = Letterbox::new(source, ImageSize::square(target), placement).unwrap();
            let (sx, sy) = (width as f32, height as f32);
            let truth = XyxyBox::new(x * sx, y * sy, (x + w).min(1.0) * sx, (y + h).min(1.0) * sy);
            let back = letterbox.to_source(letterbox.to_target(truth));
            let tolerance = 1e-6 * (height.max(width) as f32) + 1e-6 * target as f32 / letterbox.scale as f32;
            for (a, b) in <[f32; 4]>::from(truth).into_iter().zip(<[f32; 4]>::from(back)) {
                prop_assert!((a - b).abs() <= tolerance, "{a} != {b}");
            }
        }

        #[test]
        fn the_scaled_picture_lies_inside_the_target(
            (height, width) in (1usize..9000, 1usize..9000), (th, tw) in (1usize..2000, 1usize..2000),
        ) {
            let (source, target) = (ImageSize::new(height, width), ImageSize::new(th, tw));
            let letterbox = Letterbox::new(source, target, Placement::Center).unwrap();
            prop_assert!(letterbox.offset.0 + letterbox.scaled.width <= tw);
            prop_assert!(letterbox.offset.1 + letterbox.scaled.height <= th);
            // truncation loses at most one pixel of the side that fills the target
            prop_assert!(letterbox.scaled.height + 1 >= th || letterbox.scaled.width + 1 >= tw);
        }
    }
}
