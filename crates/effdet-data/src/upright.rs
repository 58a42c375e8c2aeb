//! Boxes of labels that state another size than the decoded picture has.

use effdet_core::{ImageSize, XyxyBox};
use image::metadata::Orientation;

use crate::Error;
use crate::header::read_header;
use crate::record::{Object, Record};

/// The part of a side by which a stated one may differ before boxes are taken for those of another picture.
const TOLERANCE: f32 = 0.02;

/// A box of the picture as it lies in the file, of size `lying`, in the upright one.
///
/// Only for the orientations that exchange the sides; the others do not show in a stated size.
pub(crate) fn turned(bbox: XyxyBox, lying: ImageSize, orientation: Orientation) -> XyxyBox {
    let XyxyBox { x1, y1, x2, y2 } = bbox;
    let (width, height) = (lying.width as f32, lying.height as f32);
    match orientation {
        Orientation::Rotate90 => XyxyBox::new(height - y2, x1, height - y1, x2),
        Orientation::Rotate270 => XyxyBox::new(y1, width - x2, y2, width - x1),
        Orientation::Rotate90FlipH => XyxyBox::new(y1, x1, y2, x2),
        Orientation::Rotate270FlipH => XyxyBox::new(height - y2, width - x2, height - y1, width - x1),
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => bbox,
    }
}

impl Record {
    /// The objects in pixels of the decoded picture, whose size is `found`.
    ///
    /// They are those of the record, except where the picture was not looked at
    /// ([`PictureCheck::None`](crate::PictureCheck)) and the labels state the size that it has in the file, before its EXIF
    /// orientation is applied: then the boxes are turned with it.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] if the boxes are those of a picture of another size: it was scaled, or they reach beyond it.
    pub fn objects_in(&self, found: ImageSize) -> Result<Vec<Object>, Error> {
        let mut objects = self.objects.clone();
        let Some(stated) = self.size.filter(|stated| *stated != found && !objects.is_empty()) else {
            return Ok(objects);
        };
        if let Ok(header) = read_header(&self.path)
            && header.is_turned_from(stated)
        {
            for object in &mut objects {
                object.bbox = turned(object.bbox, stated, header.orientation);
            }
        } else if are_of_another(&objects, stated, found) {
            let name = self.path.display().to_string();
            return Err(Error::SizeMismatch { name, stated, found });
        }
        Ok(objects)
    }
}

/// Whether boxes of a picture of `stated` size are not those of one of size `found`. A stated size may be wrong and the
/// boxes right, so it is not enough that the sizes differ.
fn are_of_another(objects: &[Object], stated: ImageSize, found: ImageSize) -> bool {
    let (width, height) = (found.width as f32, found.height as f32);
    let (x, y) = (stated.width as f32 / width, stated.height as f32 / height);
    let is_scaled = (x / y - 1.0).abs() < TOLERANCE && (x - 1.0).abs() > TOLERANCE;
    let (right, bottom) = (width * (1.0 + TOLERANCE) + 1.0, height * (1.0 + TOLERANCE) + 1.0);
    is_scaled || objects.iter().any(|object| object.bbox.x2 > right || object.bbox.y2 > bottom)
}
