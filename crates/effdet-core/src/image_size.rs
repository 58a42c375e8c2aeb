//! Height and width of a picture or feature map.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Height and width in pixels, in this order, as in tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct ImageSize {
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
}

impl ImageSize {
    /// A size from its height and width.
    pub const fn new(height: usize, width: usize) -> Self {
        Self { height, width }
    }

    /// A size with equal sides.
    pub const fn square(side: usize) -> Self {
        Self { height: side, width: side }
    }

    /// Number of pixels, saturating.
    pub const fn area(self) -> usize {
        self.height.saturating_mul(self.width)
    }

    /// True if a side is 0.
    pub const fn is_empty(self) -> bool {
        self.height == 0 || self.width == 0
    }

    /// Size of the feature map at a pyramid level: every level halves both sides, rounding up.
    ///
    /// # Reference
    /// effdet `get_feat_sizes`, whose `(s - 1) // 2 + 1` is the same number.
    pub fn feature_size(self, level: usize) -> Self {
        (0..level.min(usize::BITS as usize))
            .fold(self, |size, _| Self::new(size.height.div_ceil(2), size.width.div_ceil(2)))
    }
}

impl fmt::Display for ImageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

impl FromStr for ImageSize {
    type Err = Error;

    /// Reads `320` (a square) or `192x256` (height x width).
    fn from_str(text: &str) -> Result<Self, Error> {
        let error = |reason: String| Error::ImageSize { text: text.to_owned(), reason };
        let side = |part: &str, what: &str| {
            let part = part.trim();
            match part.parse::<usize>() {
                Ok(0) => Err(error(format!("the {what} is 0"))),
                Ok(side) => Ok(side),
                Err(_) if part.is_empty() => Err(error(format!("the {what} is missing"))),
                Err(_) => Err(error(format!("the {what} `{part}` is not a whole number"))),
            }
        };
        match text.split_once(['x', 'X']) {
            Some((height, width)) => Ok(Self::new(side(height, "height")?, side(width, "width")?)),
            None => Ok(Self::square(side(text, "side")?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_a_side_or_as_height_by_width() {
        assert_eq!("320".parse(), Ok(ImageSize::square(320)));
        assert_eq!("192x256".parse(), Ok(ImageSize::new(192, 256)));
        assert_eq!(" 192 X 256 ".parse(), Ok(ImageSize::new(192, 256)));
        assert_eq!(ImageSize::new(192, 256).to_string(), "192x256");
    }

    #[test]
    fn a_bad_size_is_refused_with_its_text_and_reason() {
        for (text, reason) in [
            ("", "the side is missing"),
            ("0", "the side is 0"),
            ("-3", "the side `-3` is not a whole number"),
            ("320x", "the width is missing"),
            ("3x4x5", "the width `4x5` is not a whole number"),
            ("99999999999999999999999", "is not a whole number"),
        ] {
            let message = text.parse::<ImageSize>().unwrap_err().to_string();
            assert!(message.contains(reason) && message.contains(&format!("`{text}`")), "{message}");
        }
    }

    #[test]
    fn feature_size_halves_rounding_up() {
        let size = ImageSize::new(300, 401);
        assert_eq!(size.feature_size(0), size);
        assert_eq!(size.feature_size(3), ImageSize::new(38, 51));
        assert_eq!(size.feature_size(8), ImageSize::new(2, 2));
        assert_eq!(size.feature_size(usize::MAX), ImageSize::square(1));
        assert_eq!(ImageSize::new(0, 5).feature_size(1), ImageSize::new(0, 3));
    }
}
