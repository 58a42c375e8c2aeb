//! How convolutions and pools pad their input.

use serde::{Deserialize, Serialize};

/// The two padding conventions of the published weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// PyTorch's: the same number of pixels on each side, from the kernel and stride alone.
    #[default]
    Symmetric,
    /// TensorFlow's `SAME`: as many as make the output `ceil(input / stride)`, the odd one at the end.
    Same,
}

impl Padding {
    /// The pixels to add before and after an axis of `input` pixels.
    ///
    /// # Reference
    /// timm `layers/padding.py`: `get_padding`, `get_same_padding`.
    pub fn amount(self, input: usize, kernel: usize, stride: usize, dilation: usize) -> (usize, usize) {
        match self {
            Padding::Symmetric => {
                let side = ((stride - 1) + dilation * (kernel - 1)) / 2;
                (side, side)
            }
            Padding::Same => {
                let last_start = input.div_ceil(stride).saturating_sub(1) * stride;
                let total = (last_start + (kernel - 1) * dilation + 1).saturating_sub(input);
                (total / 2, total - total / 2)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_puts_the_odd_pixel_last() {
        assert_eq!(Padding::Same.amount(512, 3, 2, 1), (0, 1));
        assert_eq!(Padding::Same.amount(5, 3, 2, 1), (1, 1));
        assert_eq!(Padding::Same.amount(512, 5, 2, 1), (1, 2));
        assert_eq!(Padding::Same.amount(7, 3, 1, 2), (2, 2));
        assert_eq!(Padding::Same.amount(1, 2, 2, 1), (0, 1));
        assert_eq!(Padding::Same.amount(4, 1, 2, 1), (0, 0));
    }

    #[test]
    fn symmetric_padding_ignores_the_input_size() {
        assert_eq!(Padding::Symmetric.amount(512, 3, 2, 1), (1, 1));
        assert_eq!(Padding::Symmetric.amount(9, 7, 4, 1), (4, 4));
        assert_eq!(Padding::Symmetric.amount(9, 3, 1, 2), (2, 2));
        assert_eq!(Padding::Symmetric.amount(9, 1, 1, 1), (0, 0));
    }
}
