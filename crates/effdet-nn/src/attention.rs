//! Attention over the pixels of a feature map.

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};

use crate::count::add_multiply_adds;
use crate::{Activation, Conv2d, Conv2dConfig, Initializer, NormAct, NormConfig, Padding};

/// Sizes of a [`MultiQueryAttention`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MultiQueryAttentionConfig {
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// Number of query heads.
    pub heads: usize,
    /// Channels of each query and of the one key and value.
    pub head_channels: usize,
    /// Keys and values are downsampled by this.
    pub key_value_stride: usize,
    /// Side of the depthwise kernel that downsamples them.
    pub kernel: usize,
    /// How that convolution pads.
    pub padding: Padding,
    /// The normalisation after it.
    pub norm: NormConfig,
}

impl MultiQueryAttentionConfig {
    /// Builds the layer.
    pub fn init(&self, device: &Device) -> MultiQueryAttention {
        let proj = |from, to| {
            Conv2dConfig::new(from, to, 1).with_initializer(Initializer::XavierUniform).init(device)
        };
        let reduced = || {
            let strided = self.key_value_stride > 1;
            ReducedProjection {
                down_conv: strided.then(|| {
                    Conv2dConfig::depthwise(self.in_channels, self.kernel)
                        .with_stride(self.key_value_stride)
                        .with_padding(self.padding)
                        .with_initializer(Initializer::XavierUniform)
                        .init(device)
                }),
                norm: strided.then(|| self.norm.init(self.in_channels, Activation::Identity, device)),
                proj: proj(self.in_channels, self.head_channels),
            }
        };
        MultiQueryAttention {
            query: Projection { proj: proj(self.in_channels, self.heads * self.head_channels) },
            key: reduced(),
            value: reduced(),
            output: Projection { proj: proj(self.heads * self.head_channels, self.out_channels) },
            heads: self.heads,
            head_channels: self.head_channels,
        }
    }
}

/// Attention of many query heads to one shared key and value head, optionally on downsampled keys and values.
///
/// # Reference
/// Shazeer 2019, "Fast Transformer Decoding"; Qin et al. 2024, "MobileNetV4"; timm `MultiQueryAttention2d` without
/// query strides, biases or dropout, which no supported network sets.
#[derive(Module, Debug)]
pub struct MultiQueryAttention {
    /// Queries of all heads.
    pub query: Projection,
    /// The shared key.
    pub key: ReducedProjection,
    /// The shared value.
    pub value: ReducedProjection,
    /// From the heads to the output channels.
    pub output: Projection,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    head_channels: usize,
}

/// A pointwise projection.
#[derive(Module, Debug)]
pub struct Projection {
    /// The projection.
    pub proj: Conv2d,
}

/// A pointwise projection of a possibly downsampled map.
#[derive(Module, Debug)]
pub struct ReducedProjection {
    /// Depthwise downsampling.
    pub down_conv: Option<Conv2d>,
    /// Normalisation of the downsampled map.
    pub norm: Option<NormAct>,
    /// The projection.
    pub proj: Conv2d,
}

impl ReducedProjection {
    /// `[batch, channels, height, width]` to `[batch, head_channels, reduced pixels]`.
    fn forward(&self, input: Tensor<4>) -> Tensor<3> {
        let mut reduced = input;
        if let Some(conv) = &self.down_conv {
            reduced = conv.forward(reduced);
        }
        if let Some(norm) = &self.norm {
            reduced = norm.forward(reduced);
        }
        self.proj.forward(reduced).flatten(2, 3)
    }
}

impl MultiQueryAttention {
    /// Attends.
    ///
    /// # Shapes
    /// - `input`: `[batch, in_channels, height, width]`
    /// - output: `[batch, out_channels, height, width]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let [batch, _, height, width] = input.dims();
        let (heads, channels, pixels) = (self.heads, self.head_channels, height * width);
        // All heads attend to the same keys, so they fold into the query rows of one product.
        let queries = self.query.proj.forward(input.clone()).reshape([batch, heads, channels, pixels]);
        let queries = queries.swap_dims(2, 3).reshape([batch, heads * pixels, channels]);
        let keys = self.key.forward(input.clone());
        let values = self.value.forward(input);
        let [_, _, reduced] = keys.dims();
        add_multiply_adds(2 * heads * pixels * channels * reduced);
        let scores = queries.mul_scalar((channels as f64).powf(-0.5)).matmul(keys);
        let attended = activation::softmax(scores, 2).matmul(values.swap_dims(1, 2));
        let merged = attended.reshape([batch, heads, pixels, channels]).swap_dims(2, 3).reshape([
            batch,
            heads * channels,
            height,
            width,
        ]);
        self.output.proj.forward(merged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// timm 1.0.31, `mobilenetv4_hybrid_medium`: 0.0643 is the largest number of `blocks.2.4.attn.key.down_conv`, 0.1637
    /// that of `blocks.2.4.attn.value.proj`.
    #[test]
    fn weights_start_within_the_range_of_timm_s() {
        let config = MultiQueryAttentionConfig {
            in_channels: 160,
            out_channels: 160,
            heads: 4,
            head_channels: 64,
            key_value_stride: 2,
            kernel: 3,
            padding: Padding::Symmetric,
            norm: NormConfig::default(),
        };
        let attention = config.init(&Device::flex());
        let check = |conv: &Conv2d, expected: f32| {
            let largest = conv.weight.val().abs().max().into_scalar::<f32>();
            assert!((largest / expected - 1.0).abs() < 0.02, "{largest}, not {expected}");
        };
        check(attention.key.down_conv.as_ref().unwrap(), 0.0643);
        check(attention.value.down_conv.as_ref().unwrap(), 0.0643);
        check(&attention.value.proj, 0.1637);
    }
}
