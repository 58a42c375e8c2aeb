//! A picture with its objects on the way to the network.

use std::path::PathBuf;

use effdet_core::{ImageSize, Letterbox, XyxyBox};
use image::RgbImage;

use crate::{Object, RecordId};

/// A rectangle of whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Region {
    /// Left column.
    pub x: usize,
    /// Top row.
    pub y: usize,
    /// Number of columns.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
}

impl Region {
    /// All of a picture.
    pub fn whole(size: ImageSize) -> Self {
        Self { x: 0, y: 0, width: size.width, height: size.height }
    }

    /// Its height and width.
    pub fn size(self) -> ImageSize {
        ImageSize::new(self.height, self.width)
    }

    /// The common part of two regions. Where there is none it has no pixels and lies at the edge of `other`, so that it is
    /// always inside of that.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        let x = self.x.clamp(other.x, other.x + other.width);
        let y = self.y.clamp(other.y, other.y + other.height);
        let right = (self.x + self.width).min(other.x + other.width);
        let bottom = (self.y + self.height).min(other.y + other.height);
        Self { x, y, width: right.saturating_sub(x), height: bottom.saturating_sub(y) }
    }

    /// The whole pixels that a box touches, within a picture.
    pub(crate) fn around(bbox: XyxyBox, size: ImageSize) -> Self {
        let clipped = bbox.clip(size);
        let (x, y) = (clipped.x1 as usize, clipped.y1 as usize);
        let (right, bottom) = (clipped.x2.ceil() as usize, clipped.y2.ceil() as usize);
        Self { x, y, width: right.saturating_sub(x), height: bottom.saturating_sub(y) }
    }
}

/// A picture, what is in it, and how it relates to the file it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The pixels.
    pub picture: RgbImage,
    /// The objects, their boxes in pixels of `picture`.
    pub objects: Vec<Object>,
    /// Identity in the data set.
    pub id: RecordId,
    /// File of the picture, empty if it has none.
    pub path: PathBuf,
    /// Size of the picture in the file, upright.
    pub source_size: ImageSize,
    /// Pixels of the file per pixel of `picture` (effdet's `img_scale`). Where the two axes were scaled differently,
    /// their geometric mean.
    pub img_scale: f64,
    /// The part of `picture` that shows the file and not the fill beside it.
    pub content: Region,
    /// How the file lies in `picture`, if a letterbox is all that happened to it. It takes detections back.
    pub letterbox: Option<Letterbox>,
    /// Whether the picture was scaled, moved or mixed with others, so that a letterbox from here on does not lead back to
    /// the file. Transforms of one's own that move pixels have to set it and take [`letterbox`](Self::letterbox) away.
    pub is_moved: bool,
}

impl Sample {
    /// An untouched picture.
    pub fn new(picture: RgbImage, objects: Vec<Object>) -> Self {
        let source_size = ImageSize::new(picture.height() as usize, picture.width() as usize);
        Self {
            picture,
            objects,
            id: RecordId::Number(0),
            path: PathBuf::new(),
            source_size,
            img_scale: 1.0,
            content: Region::whole(source_size),
            letterbox: None,
            is_moved: false,
        }
    }

    /// Notes that pixels lie elsewhere than in the file.
    pub(super) fn mark_moved(&mut self) {
        self.letterbox = None;
        self.is_moved = true;
    }

    /// Height and width of the picture now.
    pub fn size(&self) -> ImageSize {
        ImageSize::new(self.picture.height() as usize, self.picture.width() as usize)
    }

    /// True for a picture without pixels, which every transform leaves as it is.
    pub(crate) fn is_empty(&self) -> bool {
        self.size().is_empty()
    }

    /// Multiplies the boxes by `sx` and `sy` and moves them by `(dx, dy)`; areas of masks follow.
    pub(crate) fn map_boxes(&mut self, sx: f32, sy: f32, dx: f32, dy: f32) {
        for object in &mut self.objects {
            object.bbox = object.bbox.scale(sx, sy).translate(dx, dy);
            object.area = object.area.map(|area| area * sx * sy);
        }
    }

    /// Clips the boxes to the picture, see [`Sample::clip_boxes_to`].
    pub fn clip_boxes(&mut self) {
        self.clip_boxes_to(Region::whole(self.size()));
    }

    /// Clips the boxes to `region` and drops those of which nothing (or nothing finite) is left.
    pub fn clip_boxes_to(&mut self, region: Region) {
        let bounds = XyxyBox::new(
            region.x as f32,
            region.y as f32,
            (region.x + region.width) as f32,
            (region.y + region.height) as f32,
        );
        self.objects.retain_mut(|object| {
            let inside = object.bbox.is_finite().then(|| object.bbox.intersection(&bounds)).flatten();
            object.bbox = inside.unwrap_or_default();
            inside.is_some()
        });
    }
}

/// Copies `region` of `from` to `(x, y)` of `to`; what would lie outside either is left out.
pub(crate) fn paste(to: &mut RgbImage, from: &RgbImage, region: Region, x: usize, y: usize) {
    let (to_width, to_height) = (to.width() as usize, to.height() as usize);
    let from_size = ImageSize::new(from.height() as usize, from.width() as usize);
    let region = region.intersection(Region::whole(from_size));
    let columns = 3 * region.width.min(to_width.saturating_sub(x));
    let rows = region.height.min(to_height.saturating_sub(y));
    for row in 0..rows {
        let source = 3 * ((region.y + row) * from_size.width + region.x);
        let target = 3 * ((y + row) * to_width + x);
        to.as_flat_samples_mut().samples[target..][..columns]
            .copy_from_slice(&from.as_raw()[source..][..columns]);
    }
}

/// A picture of one colour.
pub(crate) fn filled(size: ImageSize, color: [u8; 3]) -> RgbImage {
    RgbImage::from_pixel(size.width as u32, size.height as u32, image::Rgb(color))
}

/// The pixels of `region`.
pub(crate) fn crop(picture: &RgbImage, region: Region) -> RgbImage {
    let mut part = RgbImage::new(region.width as u32, region.height as u32);
    paste(&mut part, picture, region, 0, 0);
    part
}
