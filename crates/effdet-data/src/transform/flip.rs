//! Mirror images.

use super::{Rng, Sample, Transform};

/// Random mirror images, left to right, top to bottom or both.
///
/// # Reference
/// effdet `data.transforms.RandomFlip`, to the same samples and boxes; it draws the horizontal flip first. Its training
/// pipeline flips horizontally with probability 0.5.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Flip {
    /// Probability of exchanging left and right.
    pub horizontal: f64,
    /// Probability of exchanging top and bottom.
    pub vertical: f64,
}

impl Flip {
    /// Exchanges left and right with a probability.
    pub fn horizontal(probability: f64) -> Self {
        Self { horizontal: probability, vertical: 0.0 }
    }

    /// Exchanges top and bottom with a probability.
    pub fn vertical(probability: f64) -> Self {
        Self { horizontal: 0.0, vertical: probability }
    }
}

impl Transform for Flip {
    fn apply(&self, sample: Sample, rng: &mut Rng) -> Sample {
        // A flip that is switched off draws nothing, as in the reference.
        let horizontal = self.horizontal > 0.0 && rng.chance(self.horizontal);
        let vertical = self.vertical > 0.0 && rng.chance(self.vertical);
        flip(sample, horizontal, vertical)
    }
}

/// Bytes of five pixels, which fit one 128-bit number.
const BLOCK: usize = 15;

/// Reverses the order of the RGB pixels of a row.
fn reverse_pixels(row: &mut [u8]) {
    let mut rest = row;
    while rest.len() >= 2 * BLOCK {
        let (left, inner) = rest.split_at_mut(BLOCK);
        let (inner, right) = inner.split_at_mut(inner.len() - BLOCK);
        let (first, last) = (reversed_block(left), reversed_block(right));
        left.copy_from_slice(&last[..BLOCK]);
        right.copy_from_slice(&first[..BLOCK]);
        rest = inner;
    }
    rest.as_chunks_mut::<3>().0.reverse();
}

/// Five RGB pixels in reverse, and a byte of no meaning.
fn reversed_block(pixels: &[u8]) -> [u8; 16] {
    #[allow(clippy::unusual_byte_groupings, reason = "groups are pixels")]
    const RED: u128 = 0xff_0000_ff_0000_ff_0000_ff_0000_ff;
    let mut block = [0; 16];
    block[..BLOCK].copy_from_slice(pixels);
    // All bytes in reverse, then red and blue of each pixel exchanged.
    let reversed = u128::from_le_bytes(block).swap_bytes() >> 8;
    let green = reversed & (RED << 8);
    (green | (reversed & RED) << 16 | (reversed >> 16) & RED).to_le_bytes()
}

/// The mirror image along the axes named.
pub fn flip(mut sample: Sample, horizontal: bool, vertical: bool) -> Sample {
    let size = sample.size();
    if sample.is_empty() || !(horizontal || vertical) {
        return sample;
    }
    if horizontal {
        for row in sample.picture.chunks_exact_mut(3 * size.width) {
            reverse_pixels(row);
        }
        sample.content.x = size.width - sample.content.x - sample.content.width;
    }
    if vertical {
        let stride = 3 * size.width;
        let samples: &mut [u8] = &mut sample.picture;
        let (upper, lower) = samples.split_at_mut(stride * (size.height / 2));
        for (row, mirrored) in upper.chunks_exact_mut(stride).zip(lower.rchunks_exact_mut(stride)) {
            row.swap_with_slice(mirrored);
        }
        sample.content.y = size.height - sample.content.y - sample.content.height;
    }
    for object in &mut sample.objects {
        let bbox = &mut object.bbox;
        if horizontal {
            (bbox.x1, bbox.x2) = (size.width as f32 - bbox.x2, size.width as f32 - bbox.x1);
        }
        if vertical {
            (bbox.y1, bbox.y2) = (size.height as f32 - bbox.y2, size.height as f32 - bbox.y1);
        }
    }
    sample.mark_moved();
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_of_rows_of_any_length_are_reversed() {
        for pixels in 0..40 {
            let row: Vec<u8> = (0..3 * pixels).map(|i| (i * 37 % 251) as u8).collect();
            let expected: Vec<u8> = row.chunks_exact(3).rev().flatten().copied().collect();
            let mut reversed = row;
            reverse_pixels(&mut reversed);
            assert_eq!(reversed, expected);
        }
    }
}
