//! Cutting a large picture into overlapping tiles.

use serde::{Deserialize, Serialize};

use crate::{Error, ImageSize};

/// Most tiles of one picture.
const MAX_TILES: usize = 1 << 16;

/// A rectangle of whole pixels inside a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tile {
    /// Left edge.
    pub x: usize,
    /// Top edge.
    pub y: usize,
    /// Height and width.
    pub size: ImageSize,
}

impl Tile {
    /// The tile that is the whole picture.
    pub const fn whole(picture: ImageSize) -> Self {
        Self { x: 0, y: 0, size: picture }
    }
}

/// Tiles of size `tile` that cover the picture, row by row. Neighbours share `overlap`, a fraction of the tile's side;
/// the last of a row and column are moved back to end with the picture, and share more. A picture that is smaller than
/// the tile along a side is not cut along it.
///
/// # Errors
/// [`Error::Tiles`] if a side of either is 0, if `overlap` is not in `[0, 1)`, and for more than 65,536 tiles.
///
/// # Reference
/// SAHI `slicing.get_slice_bboxes`.
pub fn tiles(picture: ImageSize, tile: ImageSize, overlap: f64) -> Result<Vec<Tile>, Error> {
    let refused = |reason: String| Error::Tiles { picture, tile, reason };
    if picture.is_empty() || tile.is_empty() {
        return Err(refused("a side is 0".into()));
    }
    if !(0.0..1.0).contains(&overlap) {
        return Err(refused(format!("the overlap is {overlap}, not at least 0 and less than 1")));
    }
    let (rows, columns) =
        (Starts::new(picture.height, tile.height, overlap), Starts::new(picture.width, tile.width, overlap));
    if rows.count.saturating_mul(columns.count) > MAX_TILES {
        return Err(refused(format!("these are {} x {}, more than {MAX_TILES}", rows.count, columns.count)));
    }
    let size = ImageSize::new(tile.height.min(picture.height), tile.width.min(picture.width));
    let row = |y| columns.iter().map(move |x| Tile { x, y, size });
    Ok(rows.iter().flat_map(row).collect())
}

/// Where the tiles along one side begin.
#[derive(Clone, Copy)]
struct Starts {
    count: usize,
    step: usize,
    last: usize,
}

impl Starts {
    fn new(length: usize, tile: usize, overlap: f64) -> Self {
        let shared = (tile as f64 * overlap) as usize;
        let step = (tile - shared.min(tile - 1)).max(1);
        let last = length.saturating_sub(tile);
        Self { count: 1 + last.div_ceil(step), step, last }
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        (0..self.count).map(move |i| (i * self.step).min(self.last))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_tiles_end_with_the_picture() {
        let tiles = tiles(ImageSize::new(100, 250), ImageSize::square(100), 0.2).unwrap();
        let starts: Vec<_> = tiles.iter().map(|tile| (tile.x, tile.y, tile.size)).collect();
        let size = ImageSize::square(100);
        assert_eq!(starts, [(0, 0, size), (80, 0, size), (150, 0, size)]);
    }

    #[test]
    fn a_picture_smaller_than_a_tile_is_not_cut() {
        let picture = ImageSize::new(40, 30);
        assert_eq!(tiles(picture, ImageSize::square(64), 0.5), Ok(vec![Tile::whole(picture)]));
    }

    #[test]
    fn what_gives_no_tiles_is_refused() {
        let picture = ImageSize::new(5000, 5000);
        for (tile, overlap, reason) in [
            (ImageSize::new(0, 5), 0.2, "a side is 0"),
            (ImageSize::square(64), 1.0, "the overlap is 1"),
            (ImageSize::square(64), f64::NAN, "the overlap is NaN"),
            (ImageSize::square(1), 0.0, "5000 x 5000"),
        ] {
            let message = tiles(picture, tile, overlap).unwrap_err().to_string();
            assert!(message.contains(reason), "{message}");
        }
    }

    proptest! {
        #[test]
        fn tiles_cover_the_picture_and_share_at_least_the_overlap(
            length in 1usize..3000, side in 1usize..800, overlap in 0.0f64..0.9,
        ) {
            let picture = ImageSize::new(1, length);
            let tiles = tiles(picture, ImageSize::new(1, side), overlap).unwrap();
            prop_assert_eq!(tiles[0].x, 0);
            let end = |tile: &Tile| tile.x + tile.size.width;
            prop_assert_eq!(tiles.last().map(end), Some(length));
            for pair in tiles.windows(2) {
                prop_assert!(pair[0].x < pair[1].x);
                prop_assert!(end(&pair[0]) >= pair[1].x + (side as f64 * overlap) as usize);
            }
        }
    }
}
