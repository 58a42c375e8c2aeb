//! Downsampling that low-passes first.

use burn::tensor::ops::{AvgPoolOptions, ConvOptions};
use burn::tensor::{Tensor, module};

use crate::feature_map::FeatureMap;

/// The kinds of anti-aliased downsampling in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AntiAliasKind {
    /// A 3×3 binomial filter on the zero-padded input, then every `stride`-th pixel.
    Blur,
    /// The mean of each `stride`×`stride` block.
    Average,
}

impl AntiAliasKind {
    /// A downsampling by `stride`.
    pub fn init(self, stride: usize) -> AntiAlias {
        AntiAlias { kind: self, stride }
    }
}

/// Low-passes and downsamples; has no parameters.
///
/// # Reference
/// Zhang 2019, "Making Convolutional Networks Shift-Invariant Again"; timm `BlurPool2d` with constant padding and
/// `AvgPool2d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AntiAlias {
    kind: AntiAliasKind,
    stride: usize,
}

impl AntiAlias {
    /// Downsamples.
    ///
    /// # Shapes
    /// - `input`: `[batch, channels, height, width]`
    /// - output: `[batch, channels, ⌈height / stride⌉, ⌈width / stride⌉]` for the blur, `⌊ ⌋` for the average
    pub fn forward<M: FeatureMap>(&self, input: M) -> M {
        let [output] = input.opaque("anti-aliased downsampling", |input| [self.downsample(input)]);
        output
    }

    fn downsample(&self, input: Tensor<4>) -> Tensor<4> {
        let [_, channels, _, _] = input.dims();
        match self.kind {
            AntiAliasKind::Average => module::avg_pool2d(input, AvgPoolOptions::new([self.stride; 2])),
            AntiAliasKind::Blur => {
                let tap = |k: usize| [0.25, 0.5, 0.25][k];
                let filter: Vec<f32> = (0..9).map(|i| tap(i / 3) * tap(i % 3)).collect();
                let weight = Tensor::<1>::from_data(filter.as_slice(), (&input.device(), input.dtype()))
                    .reshape([1, 1, 3, 3])
                    .expand([channels, 1, 3, 3]);
                // timm pads ((stride - 1) + (3 - 1)) / 2 on each side
                let pad = self.stride.div_ceil(2);
                let options = ConvOptions::new([self.stride; 2], [pad; 2], [1; 2], channels);
                module::conv2d(input, weight, None, options)
            }
        }
    }
}
