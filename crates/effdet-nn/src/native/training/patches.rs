//! The pixels that a kernel's taps see, as the rows of a matrix.

/// A convolution's sizes along both axes, as its patches need them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patches {
    pub height: usize,
    pub width: usize,
    pub out_height: usize,
    pub out_width: usize,
    pub kernel: [usize; 2],
    pub stride: usize,
    pub dilation: usize,
    /// Before the first row and column.
    pub padding: [usize; 2],
    /// Whether output pixels are the convolution's *inputs*: patches of the transposed convolution, where a tap sees
    /// every `stride`th pixel only.
    pub transposed: bool,
}

impl Patches {
    /// Copies numbers from `start` of row `row` of the matrix `[channels · kernel rows · kernel columns, out pixels]`.
    pub(super) fn copy(&self, picture: &[f32], row: usize, start: usize, to: &mut [f32]) {
        let [_, columns] = self.kernel;
        let taps = self.kernel[0] * columns;
        let (channel, tap) = (row / taps, row % taps);
        let (ky, kx) = (tap / columns, tap % columns);
        let plane = &picture[channel * self.height * self.width..][..self.height * self.width];
        let (mut y, mut x) = (start / self.out_width, start % self.out_width);
        let mut done = 0;
        while done < to.len() {
            let count = (self.out_width - x).min(to.len() - done);
            let part = &mut to[done..done + count];
            match self.source(y, ky, self.padding[0], self.height) {
                None => part.fill(0.0),
                Some(iy) => self.copy_row(&plane[iy * self.width..][..self.width], x, kx, part),
            }
            done += count;
            (y, x) = (y + 1, 0);
        }
    }

    /// The pixel that a tap sees, along one axis.
    fn source(&self, out: usize, tap: usize, padding: usize, size: usize) -> Option<usize> {
        let position = if self.transposed {
            let position = (out + padding).checked_sub(tap * self.dilation)?;
            if position % self.stride != 0 {
                return None;
            }
            position / self.stride
        } else {
            (out * self.stride + tap * self.dilation).checked_sub(padding)?
        };
        (position < size).then_some(position)
    }

    fn copy_row(&self, row: &[f32], first: usize, kx: usize, to: &mut [f32]) {
        if self.stride > 1 {
            for (i, to) in to.iter_mut().enumerate() {
                *to = self.source(first + i, kx, self.padding[1], self.width).map_or(0.0, |x| row[x]);
            }
            return;
        }
        // A run of neighbours, with zeros where it leaves the row on either side.
        let reach = kx * self.dilation;
        let from = if self.transposed {
            (first + self.padding[1]) as isize - reach as isize
        } else {
            (first + reach) as isize - self.padding[1] as isize
        };
        let before = ((-from).max(0) as usize).min(to.len());
        let from = from.max(0) as usize;
        let inside = (self.width.saturating_sub(from)).min(to.len() - before);
        to[..before].fill(0.0);
        to[before..before + inside].copy_from_slice(&row[from.min(row.len())..][..inside]);
        to[before + inside..].fill(0.0);
    }
}
