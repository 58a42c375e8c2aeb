//! Convolutions: plain, mixed and conditionally parameterised.

use burn::module::{Module, Param};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, assert_shape, module};

use crate::count::add_multiply_adds;
use crate::feature_map::FeatureMap;
use crate::graph::window_outputs;
#[cfg(any(feature = "flex", feature = "cube"))]
use crate::native::training::{self, Convolution};
use crate::{Initializer, Padding, precision};

/// Sizes of a [`Conv2d`]. Kernels, strides and dilations are square: no supported network has others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2dConfig {
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step between outputs.
    pub stride: usize,
    /// Step between the kernel's taps.
    pub dilation: usize,
    /// Number of groups; `in_channels` of them is a depthwise convolution.
    pub groups: usize,
    /// How the input is padded.
    pub padding: Padding,
    /// Whether a bias is added.
    pub bias: bool,
    /// How the weight is drawn.
    pub initializer: Initializer,
    /// What the bias starts as.
    pub bias_value: f64,
}

impl Conv2dConfig {
    /// A convolution of stride 1 without bias, symmetrically padded.
    pub fn new(in_channels: usize, out_channels: usize, kernel: usize) -> Self {
        Self {
            in_channels,
            out_channels,
            kernel,
            stride: 1,
            dilation: 1,
            groups: 1,
            padding: Padding::Symmetric,
            bias: false,
            initializer: Initializer::FanOutNormal,
            bias_value: 0.0,
        }
    }

    /// A depthwise convolution: one filter per channel.
    pub fn depthwise(channels: usize, kernel: usize) -> Self {
        Self::new(channels, channels, kernel).with_groups(channels)
    }

    /// Sets the stride.
    pub fn with_stride(mut self, stride: usize) -> Self {
        self.stride = stride;
        self
    }

    /// Sets the dilation.
    pub fn with_dilation(mut self, dilation: usize) -> Self {
        self.dilation = dilation;
        self
    }

    /// Sets the number of groups.
    pub fn with_groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Sets the padding convention.
    pub fn with_padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// Sets whether a bias is added.
    pub fn with_bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Sets how the weight is drawn.
    pub fn with_initializer(mut self, initializer: Initializer) -> Self {
        self.initializer = initializer;
        self
    }

    /// Sets what the bias starts as.
    pub fn with_bias_value(mut self, value: f64) -> Self {
        self.bias_value = value;
        self
    }

    /// Builds the layer.
    ///
    /// # Panics
    /// If the groups do not divide the channels.
    pub fn init(&self, device: &Device) -> Conv2d {
        let Self { in_channels, out_channels, kernel, groups, .. } = *self;
        assert!(
            groups > 0 && in_channels % groups == 0 && out_channels % groups == 0,
            "{groups} groups do not divide {in_channels} channels in and {out_channels} out"
        );
        let shape = [out_channels, in_channels / groups, kernel, kernel];
        Conv2d {
            weight: self.initializer.init(shape, groups, device),
            bias: self.bias.then(|| Initializer::Constant(self.bias_value).init([out_channels], 1, device)),
            stride: self.stride,
            dilation: self.dilation,
            groups,
            padding: self.padding,
        }
    }
}

/// A two-dimensional convolution whose padding is computed from each input.
///
/// # Reference
/// PyTorch `Conv2d`; timm `create_conv2d` and `Conv2dSame`.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// Filters, `[out_channels, in_channels / groups, kernel, kernel]`.
    pub weight: Param<Tensor<4>>,
    /// Bias, `[out_channels]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    dilation: usize,
    #[module(skip)]
    groups: usize,
    #[module(skip)]
    padding: Padding,
}

impl Conv2d {
    /// Convolves.
    ///
    /// # Shapes
    /// - `input`: `[batch, in_channels, height, width]`
    /// - output: `[batch, out_channels, ⌈height / stride⌉, ⌈width / stride⌉]` (for the kernels in use, with either
    ///   padding)
    ///
    /// # Panics
    /// If `input` has another number of channels.
    pub fn forward<M: FeatureMap>(&self, input: M) -> M {
        input.conv2d(self)
    }

    pub(crate) fn convolve(&self, input: Tensor<4>) -> Tensor<4> {
        let (mut weight, mut bias) = (self.weight.val(), self.bias.as_ref().map(Param::val));
        let mut input = input;
        let (dtype, lowered) = (input.dtype(), precision::lowered(&input));
        if let Some(half) = lowered {
            (input, weight, bias) = (input.cast(half), weight.cast(half), bias.map(|bias| bias.cast(half)));
        }
        let output = self.convolve_natively(&input, &weight, bias.as_ref()).unwrap_or_else(|| {
            let options = self.options(&input);
            module::conv2d(input, weight, bias, options)
        });
        let [_, _, height, width] = output.dims();
        add_multiply_adds(height * width * self.weight.lazy_shape().num_elements());
        if lowered.is_some() { output.cast(dtype) } else { output }
    }

    #[cfg(any(feature = "flex", feature = "cube"))]
    fn convolve_natively(
        &self,
        input: &Tensor<4>,
        weight: &Tensor<4>,
        bias: Option<&Tensor<1>>,
    ) -> Option<Tensor<4>> {
        let [_, channels, height, width] = input.dims();
        if channels != self.in_channels() {
            return None;
        }
        let pad = |size| self.padding.amount(size, self.kernel(), self.stride, self.dilation);
        let sizes = Convolution {
            input: input.dims(),
            out_channels: self.out_channels(),
            kernel: [self.kernel(); 2],
            stride: self.stride,
            dilation: self.dilation,
            groups: self.groups,
            padding: [pad(height), pad(width)],
        };
        training::convolve(input, weight, bias, sizes)
    }

    #[cfg(not(any(feature = "flex", feature = "cube")))]
    fn convolve_natively(&self, _: &Tensor<4>, _: &Tensor<4>, _: Option<&Tensor<1>>) -> Option<Tensor<4>> {
        None
    }

    /// Channels the layer takes.
    pub fn in_channels(&self) -> usize {
        self.weight.lazy_shape()[1] * self.groups
    }

    /// Channels the layer gives.
    pub fn out_channels(&self) -> usize {
        self.weight.lazy_shape()[0]
    }

    /// Side of the kernel.
    pub fn kernel(&self) -> usize {
        self.weight.lazy_shape()[3]
    }

    /// Step between outputs.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Step between the kernel's taps.
    pub fn dilation(&self) -> usize {
        self.dilation
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// How the input is padded.
    pub fn padding(&self) -> Padding {
        self.padding
    }

    fn options(&self, input: &Tensor<4>) -> ConvOptions<2> {
        let [_, _, height, width] = input.dims();
        let kernel = self.kernel();
        let pad = |size| self.padding.amount(size, kernel, self.stride, self.dilation);
        ConvOptions::new_with_padding(
            [self.stride; 2],
            [pad(height), pad(width)],
            [self.dilation; 2],
            self.groups,
        )
    }
}

/// A convolution as a block holds it: one, or several side by side on slices of the channels.
///
/// The slices are MixNet's mixed convolution: channels are split as evenly as possible, the first slice taking the
/// remainder, and each is convolved with its own kernel size.
///
/// # Reference
/// Tan and Le 2019, "MixConv"; timm `MixedConv2d`.
#[derive(Module, Debug)]
pub enum ConvLayer {
    /// One convolution.
    Plain(Conv2d),
    /// One per slice of the channels.
    Mixed(Vec<Conv2d>),
}

impl ConvLayer {
    /// Builds one convolution per kernel size; `groups` of the configuration is kept for a single kernel, while
    /// with several a depthwise configuration stays depthwise and any other has one group.
    pub fn init(config: &Conv2dConfig, kernels: &[usize], device: &Device) -> Self {
        if let [kernel] = kernels {
            return ConvLayer::Plain(Conv2dConfig { kernel: *kernel, ..*config }.init(device));
        }
        let depthwise = config.groups > 1;
        let ins = split_channels(config.in_channels, kernels.len());
        let outs = split_channels(config.out_channels, kernels.len());
        let convs = kernels.iter().zip(ins).zip(outs).map(|((&kernel, in_channels), out_channels)| {
            let groups = if depthwise { in_channels } else { 1 };
            Conv2dConfig { kernel, in_channels, out_channels, groups, ..*config }.init(device)
        });
        ConvLayer::Mixed(convs.collect())
    }

    /// Convolves.
    ///
    /// # Shapes
    /// - `input`: `[batch, in_channels, height, width]`
    /// - output: `[batch, out_channels, out_height, out_width]`
    pub fn forward<M: FeatureMap>(&self, input: M) -> M {
        match self {
            ConvLayer::Plain(conv) => conv.forward(input),
            ConvLayer::Mixed(convs) => {
                let mut start = 0;
                let outputs = convs.iter().map(|conv| {
                    let slice = input.clone().narrow_channels(start, conv.in_channels());
                    start += conv.in_channels();
                    conv.forward(slice)
                });
                M::cat_channels(outputs.collect())
            }
        }
    }
}

fn split_channels(channels: usize, parts: usize) -> Vec<usize> {
    let mut split = vec![channels / parts; parts];
    split[0] += channels % parts;
    split
}

/// A convolution whose filters are, for every picture, a mixture of experts.
///
/// # Reference
/// Yang et al. 2019, "CondConv"; timm `CondConv2d`.
#[derive(Module, Debug)]
pub struct CondConv2d {
    /// The experts' filters, `[experts, out_channels · in_channels / groups · kernel · kernel]`.
    pub weight: Param<Tensor<2>>,
    #[module(skip)]
    config: Conv2dConfig,
}

impl CondConv2d {
    /// Builds the layer; a bias in the configuration is ignored, as no supported network has one.
    pub fn init(config: &Conv2dConfig, experts: usize, device: &Device) -> Self {
        let Conv2dConfig { in_channels, out_channels, kernel, groups, .. } = *config;
        let size = out_channels * (in_channels / groups) * kernel * kernel;
        // Normal with the spread that one expert's filters would have on their own.
        let std = (2.0 / (kernel * kernel * out_channels / groups).max(1) as f64).sqrt();
        Self { weight: Initializer::Normal(std).init([experts, size], 1, device), config: *config }
    }

    /// Convolves every picture with its own mixture.
    ///
    /// # Shapes
    /// - `input`: `[batch, in_channels, height, width]`
    /// - `routing`: `[batch, experts]`
    /// - output: `[batch, out_channels, out_height, out_width]`
    ///
    /// # Panics
    /// If the batches differ.
    pub fn forward(&self, input: Tensor<4>, routing: Tensor<2>) -> Tensor<4> {
        let [batch, channels, height, width] = input.dims();
        assert_shape!(routing, [batch, _]);
        let Conv2dConfig { in_channels, out_channels, kernel, stride, dilation, groups, padding, .. } =
            self.config;
        let weight = routing.matmul(self.weight.val()).reshape([
            batch * out_channels,
            in_channels / groups,
            kernel,
            kernel,
        ]);
        let pad = |size| padding.amount(size, kernel, stride, dilation);
        // A batch of none still tells how much is computed, see `count`; but no convolution has no groups.
        if batch == 0 {
            let reach = (kernel - 1) * dilation + 1;
            let out = |size| window_outputs(size, pad(size), reach, stride).unwrap_or(0);
            let (out_height, out_width) = (out(height), out(width));
            add_multiply_adds(out_height * out_width * out_channels * in_channels / groups * kernel * kernel);
            return Tensor::zeros([0, out_channels, out_height, out_width], (&input.device(), input.dtype()));
        }
        let options = ConvOptions::new_with_padding(
            [stride; 2],
            [pad(height), pad(width)],
            [dilation; 2],
            groups * batch,
        );
        // One convolution for the batch: pictures become groups.
        let dtype = input.dtype();
        let input = input.reshape([1, batch * channels, height, width]);
        let output = match precision::lowered(&input) {
            Some(half) => module::conv2d(input.cast(half), weight.cast(half), None, options).cast(dtype),
            None => module::conv2d(input, weight, None, options),
        };
        let [_, _, out_height, out_width] = output.dims();
        add_multiply_adds(out_height * out_width * out_channels * in_channels / groups * kernel * kernel);
        output.reshape([batch, out_channels, out_height, out_width])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_convolution_gives_the_first_slice_the_remainder() {
        assert_eq!(split_channels(120, 3), [40, 40, 40]);
        assert_eq!(split_channels(118, 4), [31, 29, 29, 29]);
    }

    #[test]
    fn same_padding_follows_each_input() {
        let device = Device::flex();
        let conv = Conv2dConfig::new(1, 1, 3).with_stride(2).with_padding(Padding::Same).init(&device);
        for (height, width) in [(8usize, 8usize), (7, 9), (1, 2)] {
            let output = conv.forward(Tensor::zeros([1, 1, height, width], &device));
            assert_eq!(output.dims(), [1, 1, height.div_ceil(2), width.div_ceil(2)]);
        }
    }

    #[test]
    fn each_picture_has_its_own_mixture_of_experts() {
        let device = Device::flex();
        let config = Conv2dConfig::new(1, 1, 1);
        let conv =
            CondConv2d { weight: Param::from_tensor(Tensor::from_floats([[2.0], [10.0]], &device)), config };
        let input = Tensor::<4>::ones([2, 1, 1, 1], &device);
        let output = conv.forward(input, Tensor::from_floats([[1.0, 0.0], [0.5, 1.0]], &device));
        assert_eq!(output.into_data().try_to_vec::<f32>().unwrap(), [2.0, 11.0]);
    }
}
