//! The operations of the policies and what a level means for each.

use image::RgbImage;

use super::geometry::{GREY, GeometryOp};
use super::levels::LevelOp;
use crate::transform::sample::{crop, filled, paste};
use crate::transform::{Region, Rng, Sample};
use effdet_core::ImageSize;

/// An operation of a policy. In google/automl's names those that move boxes end in `_BBox`, those inside boxes in
/// `_Only_BBoxes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Each channel stretched to the full range.
    AutoContrast,
    /// Each channel's histogram flattened.
    Equalize,
    /// Fewer bits.
    Posterize,
    /// Bright levels inverted.
    Solarize,
    /// Dark levels made brighter.
    SolarizeAdd,
    /// Saturation.
    Color,
    /// Contrast.
    Contrast,
    /// Brightness.
    Brightness,
    /// Sharpness.
    Sharpness,
    /// A grey square at a random place.
    Cutout,
    /// A grey rectangle in one of the boxes (`BBox_Cutout`).
    CutoutInBox,
    /// Picture and boxes rotated.
    Rotate,
    /// Picture and boxes moved sideways.
    TranslateX,
    /// Picture and boxes moved up or down.
    TranslateY,
    /// Picture and boxes sheared sideways.
    ShearX,
    /// Picture and boxes sheared up or down.
    ShearY,
    /// The content of boxes rotated.
    RotateOnlyBoxes,
    /// The content of boxes moved sideways.
    TranslateXOnlyBoxes,
    /// The content of boxes moved up or down.
    TranslateYOnlyBoxes,
    /// The content of boxes sheared sideways.
    ShearXOnlyBoxes,
    /// The content of boxes sheared up or down.
    ShearYOnlyBoxes,
    /// The content of boxes mirrored.
    FlipOnlyBoxes,
    /// Bright levels inverted in boxes.
    SolarizeOnlyBoxes,
    /// Histograms flattened in boxes.
    EqualizeOnlyBoxes,
    /// A grey square in boxes.
    CutoutOnlyBoxes,
}

/// An operation with its strength.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Action {
    Levels(LevelOp),
    Geometry(GeometryOp),
    /// Half the side of the square in pixels.
    Cutout(usize),
    /// Part of the box's sides.
    CutoutInBox(f64),
}

/// automl divides the probability of operations inside boxes by this.
const BOXES_PROBABILITY: f64 = 3.0;

impl Op {
    /// Applies the operation with a probability and a strength from 0 to 10 (beyond 10 for RandAugment).
    ///
    /// Operations inside boxes draw for each box, with a third of the probability.
    pub fn apply_with(self, mut sample: Sample, probability: f64, level: f64, rng: &mut Rng) -> Sample {
        let action = self.action(level, rng);
        if self.only_boxes() {
            let mut boxes: Vec<_> = sample.objects.iter().map(|object| object.bbox).collect();
            rng.shuffle(&mut boxes);
            for bbox in boxes {
                if rng.chance(probability / BOXES_PROBABILITY) {
                    let region = box_pixels(&sample, bbox);
                    let content = crop(&sample.picture, region);
                    let changed = apply_to_picture(action, content, rng);
                    paste(&mut sample.picture, &changed, Region::whole(region.size()), region.x, region.y);
                }
            }
            return sample;
        }
        if !rng.chance(probability) || sample.is_empty() {
            return sample;
        }
        match action {
            Action::Geometry(op) => op.apply(sample),
            Action::CutoutInBox(share) => {
                let bbox = sample.objects.get(rng.below(sample.objects.len())).map(|object| object.bbox);
                if let Some(region) = bbox.map(|bbox| box_pixels(&sample, bbox)) {
                    let centre = (region.x + rng.below(region.width), region.y + rng.below(region.height));
                    let half = |side: usize| (share * side as f64 / 2.0) as usize;
                    cut_out(&mut sample.picture, centre, (half(region.width), half(region.height)));
                }
                sample
            }
            action => {
                let picture = std::mem::take(&mut sample.picture);
                sample.picture = apply_to_picture(action, picture, rng);
                sample
            }
        }
    }

    fn only_boxes(self) -> bool {
        matches!(
            self,
            Self::RotateOnlyBoxes
                | Self::TranslateXOnlyBoxes
                | Self::TranslateYOnlyBoxes
                | Self::ShearXOnlyBoxes
                | Self::ShearYOnlyBoxes
                | Self::FlipOnlyBoxes
                | Self::SolarizeOnlyBoxes
                | Self::EqualizeOnlyBoxes
                | Self::CutoutOnlyBoxes
        )
    }

    /// The operation with the strength of `level`, its sign drawn where it has one.
    fn action(self, level: f64, rng: &mut Rng) -> Action {
        use GeometryOp as G;
        use LevelOp as L;
        let part = level / 10.0;
        let enhance = (part * 1.8 + 0.1) as f32;
        let mut signed = |most: f64| if rng.chance(0.5) { part * most } else { -part * most };
        match self {
            Self::AutoContrast => Action::Levels(L::AutoContrast),
            Self::Equalize | Self::EqualizeOnlyBoxes => Action::Levels(L::Equalize),
            Self::Posterize => Action::Levels(L::Posterize((part * 4.0) as u32)),
            Self::Solarize | Self::SolarizeOnlyBoxes => Action::Levels(L::Solarize((part * 256.0) as u32)),
            Self::SolarizeAdd => Action::Levels(L::SolarizeAdd((part * 110.0) as i32)),
            Self::Color => Action::Levels(L::Color(enhance)),
            Self::Contrast => Action::Levels(L::Contrast(enhance)),
            Self::Brightness => Action::Levels(L::Brightness(enhance)),
            Self::Sharpness => Action::Levels(L::Sharpness(enhance)),
            Self::Cutout => Action::Cutout((part * 100.0) as usize),
            Self::CutoutOnlyBoxes => Action::Cutout((part * 50.0) as usize),
            Self::CutoutInBox => Action::CutoutInBox(part * 0.75),
            Self::Rotate | Self::RotateOnlyBoxes => Action::Geometry(G::Rotate(signed(30.0))),
            Self::TranslateX => Action::Geometry(G::TranslateX(signed(250.0))),
            Self::TranslateY => Action::Geometry(G::TranslateY(signed(250.0))),
            Self::TranslateXOnlyBoxes => Action::Geometry(G::TranslateX(signed(120.0))),
            Self::TranslateYOnlyBoxes => Action::Geometry(G::TranslateY(signed(120.0))),
            Self::ShearX | Self::ShearXOnlyBoxes => Action::Geometry(G::ShearX(signed(0.3))),
            Self::ShearY | Self::ShearYOnlyBoxes => Action::Geometry(G::ShearY(signed(0.3))),
            Self::FlipOnlyBoxes => Action::Geometry(G::Flip),
        }
    }
}

fn apply_to_picture(action: Action, mut picture: RgbImage, rng: &mut Rng) -> RgbImage {
    match action {
        Action::Levels(op) => op.apply(&mut picture),
        Action::Geometry(op) => return op.apply_to_picture(&picture),
        Action::Cutout(half) => {
            let centre = (rng.below(picture.width() as usize), rng.below(picture.height() as usize));
            cut_out(&mut picture, centre, (half, half));
        }
        Action::CutoutInBox(_) => {}
    }
    picture
}

/// Greys out the rectangle that reaches `half` to each side of `centre`.
fn cut_out(picture: &mut RgbImage, centre: (usize, usize), half: (usize, usize)) {
    let (x, y) = (centre.0.saturating_sub(half.0), centre.1.saturating_sub(half.1));
    let size = ImageSize::new(centre.1 + half.1 - y, centre.0 + half.0 - x);
    let size = ImageSize::new(
        size.height.min((picture.height() as usize).saturating_sub(y)),
        size.width.min((picture.width() as usize).saturating_sub(x)),
    );
    paste(picture, &filled(size, GREY), Region::whole(size), x, y);
}

/// The whole pixels that automl takes for a box: from its rounded-down top-left to its rounded-down bottom-right
/// corner, both included.
fn box_pixels(sample: &Sample, bbox: effdet_core::XyxyBox) -> Region {
    let size = sample.size();
    let bbox = bbox.clip(size);
    let span = |low: f32, high: f32, side: usize| {
        let low = (low as usize).min(side.saturating_sub(1));
        (low, ((high as usize).min(side.saturating_sub(1)) + 1).saturating_sub(low))
    };
    let (x, width) = span(bbox.x1, bbox.x2, size.width);
    let (y, height) = span(bbox.y1, bbox.y2, size.height);
    Region { x, y, width, height }
}
