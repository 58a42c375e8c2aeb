//! What the operations are told about maps, whichever kernels compute them.

use crate::Activation;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Convolution {
    /// `[pictures, channels, height, width]`
    pub input: [usize; 4],
    /// Channels out.
    pub out_channels: usize,
    /// Rows and columns.
    pub kernel: [usize; 2],
    /// Along both axes.
    pub stride: usize,
    /// Along both axes.
    pub dilation: usize,
    /// Parts that the channels are divided into.
    pub groups: usize,
    /// Before and after, for rows and for columns.
    pub padding: [(usize, usize); 2],
}

impl Convolution {
    /// `[pictures, channels, height, width]` of the output, unless it is empty.
    pub(crate) fn output(&self) -> Option<[usize; 4]> {
        let [pictures, _, height, width] = self.input;
        let out = |size: usize, axis: usize| {
            let (before, after) = self.padding[axis];
            let reach = (self.kernel[axis] - 1) * self.dilation + 1;
            Some((size + before + after).checked_sub(reach)? / self.stride + 1)
        };
        let output = [pictures, self.out_channels, out(height, 0)?, out(width, 1)?];
        (!self.input.contains(&0) && !output.contains(&0)).then_some(output)
    }

    /// `[out_channels, channels / groups, rows, columns]`
    pub(crate) fn weight(&self) -> [usize; 4] {
        [self.out_channels, self.input[1] / self.groups, self.kernel[0], self.kernel[1]]
    }

    /// Whether it is a matrix product of pixels and weights as they lie.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == 1 && self.groups == 1 && self.padding == [(0, 0); 2]
    }

    /// Whether every channel is convolved on its own, by a square window.
    pub(crate) fn is_depthwise(&self) -> bool {
        let [_, channels, ..] = self.input;
        self.groups == channels && self.out_channels == channels && self.kernel[0] == self.kernel[1]
    }
}

/// `activation((x - mean) / √(variance + ε) · weight + bias)` of each channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchNormalisation {
    pub epsilon: f64,
    pub activation: Activation,
}
