//! From one level of the pyramid to another.

use burn::module::Module;
use burn::tensor::Device;
use effdet_nn::{
    Conv2dConfig, ConvNormAct, ConvNormActConfig, FeatureMap, Initializer, Padding, Pool, ResizeMode,
};

use crate::BiFpnConfig;

/// How a map is made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downsample {
    /// By pooling, with a kernel one larger than the stride.
    Pool(Pool),
    /// By interpolation.
    Resize(ResizeMode),
}

/// Brings a map to another level: a 1×1 convolution where the channels differ, then pooling or interpolation where
/// the size does.
///
/// # Reference
/// effdet `ResampleFeatureMap`. There sizes are fixed when the network is built; here they are those of each call.
#[derive(Module, Debug)]
pub struct Resample {
    /// The projection to the network's channels.
    pub conv: Option<ConvNormAct>,
    #[module(skip)]
    downsample: Downsample,
    #[module(skip)]
    upsample: ResizeMode,
    #[module(skip)]
    padding: Padding,
    #[module(skip)]
    conv_after_downsample: bool,
}

impl Resample {
    pub(crate) fn init(in_channels: usize, config: &BiFpnConfig, device: &Device) -> Self {
        let conv = Conv2dConfig::new(in_channels, config.channels, 1)
            .with_padding(config.padding)
            .with_bias(config.redundant_bias || !config.resample_norm)
            .with_initializer(Initializer::GlorotUniform);
        let conv = ConvNormActConfig {
            norm: config.resample_norm.then_some(config.norm),
            ..ConvNormActConfig::new(conv, config.norm)
        };
        Self {
            conv: (in_channels != config.channels).then(|| conv.init(device)),
            downsample: config.downsample,
            upsample: config.upsample,
            padding: config.padding,
            conv_after_downsample: config.conv_after_downsample,
        }
    }

    /// Brings a map to `size` (`[height, width]`).
    ///
    /// # Shapes
    /// - `input`: `[batch, in_channels, any, any]`
    /// - output: `[batch, channels, size[0], size[1]]`
    pub fn forward<M: FeatureMap>(&self, input: M, size: [usize; 2]) -> M {
        let [_, _, height, width] = input.dims();
        let shrinks = size[0] < height || size[1] < width;
        if self.conv_after_downsample && shrinks {
            self.project(self.resize(input, size))
        } else {
            self.resize(self.project(input), size)
        }
    }

    fn project<M: FeatureMap>(&self, input: M) -> M {
        match &self.conv {
            Some(conv) => conv.forward(input),
            None => input,
        }
    }

    fn resize<M: FeatureMap>(&self, input: M, size: [usize; 2]) -> M {
        let [_, _, height, width] = input.dims();
        if [height, width] == size {
            return input;
        }
        if size[0] > height || size[1] > width {
            return input.resize(size, self.upsample);
        }
        match self.downsample {
            Downsample::Resize(mode) => input.resize(size, mode),
            Downsample::Pool(pool) => {
                // An axis that already fits is left alone: a one-pixel-wide map has nothing to pool across.
                let stride = [(height, size[0]), (width, size[1])].map(|(from, to)| (from - 1) / to + 1);
                let kernel = stride.map(|stride| if stride == 1 { 1 } else { stride + 1 });
                let pooled = input.pool2d(pool, kernel, stride, self.padding);
                // A user's graph may skip levels, where the strides do not always land on the size.
                pooled.resize(size, ResizeMode::Nearest)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FpnGraph;
    use burn::tensor::Tensor;

    #[test]
    fn any_size_reaches_any_size() {
        let device = Device::flex();
        let graph = FpnGraph::named("bifpn_sum", 3, 7).unwrap();
        let kinds = [
            Downsample::Pool(Pool::Max),
            Downsample::Pool(Pool::Average),
            Downsample::Resize(ResizeMode::Bilinear),
        ];
        for downsample in kinds {
            for padding in [Padding::Same, Padding::Symmetric] {
                let config =
                    BiFpnConfig { channels: 2, downsample, padding, ..BiFpnConfig::new(graph.clone(), [2]) };
                let layer = Resample::init(2, &config, &device);
                for (from, to) in [
                    ([12, 20], [6, 10]),
                    ([2, 1], [1, 1]),
                    ([3, 5], [6, 10]),
                    ([9, 4], [2, 4]),
                    ([2, 8], [4, 4]),
                ] {
                    let output = layer.forward(Tensor::ones([1, 2, from[0], from[1]], &device), to);
                    assert_eq!(output.dims(), [1, 2, to[0], to[1]]);
                }
            }
        }
    }
}
