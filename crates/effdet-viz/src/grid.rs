//! Several pictures in one.

use image::{Rgb, RgbImage, imageops};

/// Space between pictures.
const GAP: u32 = 6;

/// The pictures side by side in rows of `columns`, white around them.
pub fn grid(pictures: &[RgbImage], columns: usize) -> RgbImage {
    let columns = columns.max(1).min(pictures.len().max(1));
    let rows = pictures.len().div_ceil(columns);
    let width =
        |column: usize| pictures.iter().skip(column).step_by(columns).map(RgbImage::width).max().unwrap_or(0);
    let widths: Vec<u32> = (0..columns).map(width).collect();
    let heights: Vec<u32> =
        pictures.chunks(columns).map(|row| row.iter().map(RgbImage::height).max().unwrap_or(0)).collect();
    let total = |sides: &[u32], count: usize| sides.iter().sum::<u32>() + GAP * (count as u32 + 1);
    let size = (total(&widths, columns), total(&heights, rows));
    let mut sheet = RgbImage::from_pixel(size.0, size.1, Rgb([255; 3]));
    let mut top = GAP;
    for (row, height) in pictures.chunks(columns).zip(&heights) {
        let mut left = GAP;
        for (picture, width) in row.iter().zip(&widths) {
            imageops::replace(&mut sheet, picture, i64::from(left), i64::from(top));
            left += width + GAP;
        }
        top += height + GAP;
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_has_its_place() {
        let pictures: Vec<RgbImage> =
            (0..3).map(|level| RgbImage::from_pixel(10 + u32::from(level), 8, Rgb([level; 3]))).collect();
        let sheet = grid(&pictures, 2);
        assert_eq!(sheet.dimensions(), (12 + 11 + 3 * GAP, 2 * 8 + 3 * GAP));
        assert_eq!(sheet.get_pixel(GAP, GAP).0, [0; 3]);
        assert_eq!(sheet.get_pixel(GAP + 12 + GAP, GAP).0, [1; 3]);
        assert_eq!(sheet.get_pixel(GAP, GAP + 8 + GAP).0, [2; 3]);
        assert_eq!(grid(&[], 4).dimensions(), (2 * GAP, GAP));
    }
}
