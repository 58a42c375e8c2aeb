//! The operations of training on tensors of CubeCL.
//!
//! Maps are channels-last in memory, whatever their shape says; one that is not is copied. So the framework's fused
//! operations in between see, and keep, that order.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::server::Handle;
use cubecl::zspace::metadata::Metadata;

use super::kernels::depthwise::{Filter, Sizes, depthwise};
use super::kernels::depthwise_gradient::{self, Window};
use super::kernels::gemm::{Matrix, Operands, Product, Side, product};
use super::kernels::norm::{self, Blend, Pixels};
use super::kernels::pixelwise::{self, Given, Target};
use super::kernels::{Launcher, SINGLE, gemm_gradient, reduce, window};
use crate::Activation;
use crate::batch_norm::unbias;
use crate::native::training::{BatchNormalisation, Convolution, Normalised, TrainingKernels};

/// Whether the kernels take such a convolution: pointwise and depthwise ones and those in one group, of maps whose numbers
/// have an index in 32 bits.
pub(in crate::native) fn convolves(sizes: &Convolution) -> bool {
    let Some(output) = sizes.output() else { return false };
    let [out_channels, channels, rows, columns] = sizes.weight();
    // What a dense convolution lays out for its gradients.
    let windows = output.iter().product::<usize>() / out_channels * channels * rows * columns;
    let largest = windows.max(output.iter().product()).max(sizes.input.iter().product());
    let dense = sizes.groups == 1 && rows == columns;
    (dense || sizes.is_depthwise()) && largest <= u32::MAX as usize
}

pub(super) fn launcher(tensor: &CubeTensor) -> Launcher {
    Launcher { client: tensor.client.clone(), float: float(tensor) }
}

pub(super) fn float(tensor: &CubeTensor) -> ElemType {
    burn::backend::cubecl::dtype_to_elem_type(tensor.dtype)
}

/// Steps in memory of maps `[pictures, channels, height, width]` that are channels-last.
fn channels_last_strides([_, channels, height, width]: [usize; 4]) -> [usize; 4] {
    [channels * height * width, 1, width * channels, channels]
}

pub(super) fn dims(map: &CubeTensor) -> [usize; 4] {
    let shape = map.meta.shape();
    [shape[0], shape[1], shape[2], shape[3]]
}

/// The numbers of maps, channels last.
pub(super) fn channels_last(map: &CubeTensor) -> Handle {
    let [batch, channels, height, width] = dims(map);
    let strides = map.meta.strides();
    let strides = [strides[0], strides[1], strides[2], strides[3]];
    let wanted = channels_last_strides([batch, channels, height, width]);
    // The step along an axis of one is never taken.
    let lies_so = (dims(map).iter().zip(strides).zip(wanted)).all(|((size, a), b)| *size == 1 || a == b);
    if lies_so {
        return map.handle.clone();
    }
    let launcher = launcher(map);
    let output = launcher.client.empty(batch * channels * height * width * launcher.float.size());
    let target = Target { batch, channels, size: [height, width] };
    let given = Given { map: map.handle.clone(), float: launcher.float, strides, channels };
    pixelwise::import(&launcher, given, output.clone(), &target);
    output
}

/// Maps that are channels-last in memory.
pub(super) fn maps(like: &CubeTensor, handle: Handle, shape: [usize; 4]) -> CubeTensor {
    let mut tensor = CubeTensor::new_contiguous(
        like.client.clone(),
        like.device.clone(),
        Shape::from(shape),
        handle,
        like.dtype,
    );
    *tensor.meta = Metadata::new(shape, channels_last_strides(shape));
    tensor
}

/// Maps to be written, with their memory.
pub(super) fn new_maps(like: &CubeTensor, shape: [usize; 4]) -> (CubeTensor, Handle) {
    let handle = like.client.empty(shape.iter().product::<usize>() * like.dtype.size());
    (maps(like, handle.clone(), shape), handle)
}

/// A vector of single precision to be written.
pub(super) fn new_vector(like: &CubeTensor, length: usize) -> CubeTensor {
    let handle = like.client.empty(length * size_of::<f32>());
    CubeTensor::new_contiguous(
        like.client.clone(),
        like.device.clone(),
        Shape::from([length]),
        handle,
        DType::F32,
    )
}

/// The numbers of a vector, one after the other.
pub(super) fn vector(tensor: CubeTensor) -> Handle {
    burn_cubecl::kernel::into_contiguous(tensor).handle
}

/// A dense convolution's weight as a matrix of windows, channels within taps, by outputs.
fn filter(weight: CubeTensor) -> Matrix {
    // The taps of a row and the rows are one axis then.
    let weight =
        if weight.meta.shape()[3] == 1 { weight } else { burn_cubecl::kernel::into_contiguous(weight) };
    let (shape, strides) = (weight.meta.shape(), weight.meta.strides());
    let rows = Side { lengths: [shape[2] * shape[3], shape[1]], strides: [strides[3], strides[1]] };
    let columns = Side::of(shape[0], strides[0]);
    Matrix { float: float(&weight), values: weight.handle, rows, columns }
}

fn transposed(matrix: Matrix) -> Matrix {
    Matrix { rows: matrix.columns, columns: matrix.rows, ..matrix }
}

fn row(vector: CubeTensor) -> Matrix {
    let columns = Side::of(vector.meta.shape()[0], vector.meta.strides()[0]);
    Matrix { float: float(&vector), values: vector.handle, rows: Side::of(1, 0), columns }
}

/// A depthwise convolution's weight as its kernels take it: `[taps, channels]` of single precision.
fn depthwise_weight(launcher: &Launcher, weight: CubeTensor, sizes: &Convolution) -> Handle {
    let [channels, _, rows, columns] = sizes.weight();
    let taps = rows * columns;
    // Rows may lie apart: what comes from the host has them aligned.
    let strides = weight.meta.strides();
    let (rows, columns) = (
        Side { lengths: [rows, columns], strides: [strides[2], strides[3]] },
        Side::of(channels, strides[0]),
    );
    let matrix = Matrix { float: float(&weight), values: weight.handle, rows, columns };
    matrix.lay_out(launcher, SINGLE, [taps, channels])
}

/// Convolves with a filter of windows by outputs.
fn dense(
    launcher: &Launcher,
    map: Handle,
    filter: &Matrix,
    bias: Option<Handle>,
    output: Handle,
    (sizes, window, padded): (&Sizes, Window, bool),
) {
    let [_, channels] = filter.shape();
    let kind = Product {
        kernel: window.kernel,
        stride: window.stride,
        dilation: window.dilation,
        padded,
        gated: false,
        biased: bias.is_some(),
        residual: false,
        activation: Activation::Identity,
    };
    let weight = filter.as_filter(launcher);
    let operands = Operands { input: map, gate: None, weight, bias, residual: None, output };
    product(launcher, operands, sizes, channels, kind);
}

/// A product with every pixel.
const PIXEL: Window = Window { kernel: 1, stride: 1, dilation: 1 };

fn pixel_sizes(pixels: usize, channels: usize) -> Sizes {
    Sizes { batch: 1, channels, input: [1, pixels], output: [1, pixels], pad: [0, 0] }
}

fn window_sizes(sizes: &Convolution) -> Sizes {
    let [batch, channels, height, width] = sizes.input;
    let [_, _, out_height, out_width] = sizes.output().unwrap_or_default();
    let pad = [sizes.padding[0].0, sizes.padding[1].0];
    Sizes { batch, channels, input: [height, width], output: [out_height, out_width], pad }
}

fn window(sizes: &Convolution) -> Window {
    Window { kernel: sizes.kernel[0], stride: sizes.stride, dilation: sizes.dilation }
}

fn convolve(
    input: &CubeTensor,
    weight: CubeTensor,
    bias: Option<CubeTensor>,
    sizes: &Convolution,
) -> CubeTensor {
    let launcher = launcher(input);
    let map = channels_last(input);
    let (output, to) = new_maps(input, sizes.output().unwrap_or_default());
    let (lengths, window) = (window_sizes(sizes), window(sizes));
    if sizes.is_depthwise() {
        let weight = depthwise_weight(&launcher, weight, sizes);
        let filter = Filter {
            kernel: window.kernel,
            stride: window.stride,
            dilation: window.dilation,
            biased: bias.is_some(),
            activation: Activation::Identity,
        };
        let bias = bias.map(|bias| row(bias).lay_out(&launcher, SINGLE, [1, sizes.out_channels]));
        depthwise(&launcher, [map, weight, to], bias, &lengths, filter);
    } else {
        let bias = bias.map(|bias| row(bias).as_bias(&launcher));
        let padded = sizes.padding != [(0, 0); 2];
        dense(&launcher, map, &filter(weight), bias, to, (&lengths, window, padded));
    }
    output
}

impl TrainingKernels for CubeBackend {
    fn convolution(input: CubeTensor, weight: CubeTensor, sizes: Convolution) -> CubeTensor {
        convolve(&input, weight, None, &sizes)
    }

    fn biased_convolution(
        input: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        sizes: Convolution,
    ) -> CubeTensor {
        convolve(&input, weight, Some(bias), &sizes)
    }

    fn convolution_input_gradient(
        gradient: CubeTensor,
        weight: CubeTensor,
        sizes: Convolution,
    ) -> CubeTensor {
        let launcher = launcher(&gradient);
        let map = channels_last(&gradient);
        let (output, to) = new_maps(&gradient, sizes.input);
        let (lengths, window) = (window_sizes(&sizes), window(&sizes));
        if sizes.is_depthwise() {
            let weight = depthwise_weight(&launcher, weight, &sizes);
            depthwise_gradient::input_gradient(&launcher, [&map, &weight, &to], &lengths, window);
            return output;
        }
        let filter = transposed(filter(weight));
        let pixels = pixels(&gradient);
        let by_pixel = pixel_sizes(pixels.count, pixels.channels);
        if sizes.is_pointwise() {
            dense(&launcher, map, &filter, None, to, (&by_pixel, PIXEL, false));
        } else {
            let [_, depth] = filter.shape();
            let windows = launcher.client.empty(pixels.count * depth * launcher.float.size());
            dense(&launcher, map, &filter, None, windows.clone(), (&by_pixel, PIXEL, false));
            window::fold(&launcher, [&windows, &to], &lengths, window);
        }
        output
    }

    fn convolution_weight_gradient(
        gradient: CubeTensor,
        input: CubeTensor,
        sizes: Convolution,
    ) -> CubeTensor {
        let launcher = launcher(&gradient);
        let [out_channels, channels, rows, columns] = sizes.weight();
        let taps = rows * columns;
        let output = launcher.client.empty(out_channels * channels * taps * gradient.dtype.size());
        let (by_output, map) = (channels_last(&gradient), channels_last(&input));
        let mut result = CubeTensor::new_contiguous(
            gradient.client.clone(),
            gradient.device.clone(),
            Shape::from(sizes.weight()),
            output.clone(),
            gradient.dtype,
        );
        let (lengths, window) = (window_sizes(&sizes), window(&sizes));
        if sizes.is_depthwise() {
            let buffers = [&map, &by_output, &output];
            depthwise_gradient::weight_gradient(&launcher, buffers, &lengths, window, launcher.float);
            // the taps come first in memory
            *result.meta = Metadata::new(sizes.weight(), [1, 1, columns * out_channels, out_channels]);
            return result;
        }
        let count = pixels(&gradient).count;
        let windows = if sizes.is_pointwise() {
            map
        } else {
            let windows = launcher.client.empty(count * taps * channels * launcher.float.size());
            window::unfold(&launcher, [&map, &windows], &lengths, window);
            windows
        };
        let counts = [count, out_channels, taps * channels];
        gemm_gradient::weight_gradient(&launcher, [&by_output, &windows, &output], counts, launcher.float);
        // the channels come last in memory
        *result.meta = Metadata::new(sizes.weight(), [taps * channels, 1, columns * channels, channels]);
        result
    }

    fn convolution_bias_gradient(gradient: CubeTensor, sizes: Convolution) -> CubeTensor {
        let [batch, channels, height, width] = sizes.output().unwrap_or_default();
        let sums = new_vector(&gradient, channels);
        let launcher = launcher(&gradient);
        let map = channels_last(&gradient);
        reduce::sum_pixels(&launcher, &map, &sums.handle, batch * height * width, channels);
        burn_cubecl::kernel::cast(sums, gradient.dtype)
    }

    fn batch_normalisation(
        input: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        running_mean: CubeTensor,
        running_variance: CubeTensor,
        norm: BatchNormalisation,
        momentum: f64,
    ) -> Normalised<Self> {
        let pixels = pixels(&input);
        let new = [(); 4].map(|()| new_vector(&input, pixels.channels));
        let [mean, variance, blended_mean, blended_variance] = new.each_ref().map(|new| new.handle.clone());
        let (launcher, map) = (launcher(&input), channels_last(&input));
        let statistics = [mean, variance];
        let blend = Blend {
            from: [running_mean, running_variance].map(vector),
            to: [blended_mean, blended_variance],
            momentum: momentum as f32,
            unbias: unbias(pixels.count) as f32,
        };
        norm::statistics(&launcher, &map, statistics.clone(), blend, pixels);
        let output = normalised(&launcher, &input, &map, statistics, [weight, bias], norm);
        let [mean, variance, running_mean, running_variance] = new;
        (output, mean, variance, running_mean, running_variance)
    }

    fn fixed_normalisation(
        input: CubeTensor,
        mean: CubeTensor,
        variance: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        norm: BatchNormalisation,
    ) -> CubeTensor {
        let statistics = [mean, variance].map(vector);
        normalised(&launcher(&input), &input, &channels_last(&input), statistics, [weight, bias], norm)
    }

    fn normalisation_gradients(
        gradient: CubeTensor,
        input: CubeTensor,
        mean: CubeTensor,
        variance: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        norm: BatchNormalisation,
        fixed: bool,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let launcher = launcher(&input);
        let channels = dims(&input)[1];
        let (by_weight, by_bias) = (new_vector(&input, channels), new_vector(&input, channels));
        let (output, to) = new_maps(&input, dims(&input));
        norm::gradients(
            &launcher,
            [&channels_last(&input), &channels_last(&gradient), &to],
            [mean, variance].map(vector),
            [weight, bias].map(vector),
            [by_weight.handle.clone(), by_bias.handle.clone()],
            (norm.epsilon as f32, fixed),
            norm.activation,
            pixels(&input),
        );
        (output, by_weight, by_bias)
    }

    fn activation(input: CubeTensor, activation: Activation) -> CubeTensor {
        let (output, to) = new_maps(&input, dims(&input));
        let pixels = pixels(&input);
        norm::activate(&launcher(&input), [&channels_last(&input), &to], activation, pixels);
        output
    }

    fn activation_gradient(gradient: CubeTensor, input: CubeTensor, activation: Activation) -> CubeTensor {
        let (output, to) = new_maps(&input, dims(&input));
        let buffers = [&channels_last(&input), &channels_last(&gradient), &to];
        norm::activation_gradient(&launcher(&input), buffers, activation, pixels(&input));
        output
    }
}

pub(super) fn pixels(map: &CubeTensor) -> Pixels {
    let [batch, channels, height, width] = dims(map);
    Pixels { count: batch * height * width, channels }
}

fn normalised(
    launcher: &Launcher,
    input: &CubeTensor,
    map: &Handle,
    statistics: [Handle; 2],
    affine: [CubeTensor; 2],
    norm: BatchNormalisation,
) -> CubeTensor {
    let (output, to) = new_maps(input, dims(input));
    let epsilon = norm.epsilon as f32;
    norm::normalize(
        launcher,
        [map, &to],
        statistics,
        affine.map(vector),
        epsilon,
        norm.activation,
        pixels(input),
    );
    output
}
