//! Convolutions of maps `[pictures, channels, height, width]` on the host and their gradients, by whichever kernels fit.

use super::buffer::{Buffer, zeros};
use super::depthwise::{self, Depthwise};
use super::gemm::{Left, Right, Stack, inner_products, product};
use super::norm::{Planes, channel_sums};
use super::parallel::{Shared, for_each};
use super::patches::Patches;
use super::sizes::Convolution;

enum Form {
    Pointwise,
    Depthwise(Depthwise),
    Dense,
}

impl Convolution {
    fn form(&self) -> Form {
        let [pictures, channels, height, width] = self.input;
        let [_, _, out_height, out_width] = self.output().unwrap_or_default();
        let [rows, _] = self.kernel;
        if self.is_pointwise() {
            return Form::Pointwise;
        }
        let plain = self.dilation == 1 && self.stride <= 2;
        let reaches = self.padding.iter().all(|(before, _)| *before <= rows);
        if self.is_depthwise() && plain && reaches && depthwise::supports(rows) {
            return Form::Depthwise(Depthwise {
                pictures,
                channels,
                height,
                width,
                out_height,
                out_width,
                kernel: rows,
                stride: self.stride,
                padding: [self.padding[0].0, self.padding[1].0],
            });
        }
        Form::Dense
    }

    /// Whether the kernels are better than what the framework would do.
    pub(super) fn is_supported_on_host(&self) -> bool {
        let few_groups = self.groups * 4 <= self.input[1].max(4);
        self.output().is_some() && (few_groups || !matches!(self.form(), Form::Dense))
    }

    fn patches(&self) -> Patches {
        let [_, _, height, width] = self.input;
        let [_, _, out_height, out_width] = self.output().unwrap_or_default();
        Patches {
            height,
            width,
            out_height,
            out_width,
            kernel: self.kernel,
            stride: self.stride,
            dilation: self.dilation,
            padding: [self.padding[0].0, self.padding[1].0],
            transposed: false,
        }
    }

    fn inputs(&self) -> usize {
        self.input[2] * self.input[3]
    }

    fn outputs(&self) -> usize {
        self.output().map_or(0, |[_, _, height, width]| height * width)
    }

    /// Weights of an output.
    fn depth(&self) -> usize {
        self.input[1] / self.groups * self.kernel[0] * self.kernel[1]
    }

    /// The convolution of `input` by `weight`.
    pub(super) fn forward(&self, input: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Buffer {
        let [pictures, channels, ..] = self.input;
        let (inputs, outputs, groups) = (self.inputs(), self.outputs(), self.groups);
        let mut output = Buffer::new(pictures * self.out_channels * outputs);
        match self.form() {
            Form::Depthwise(sizes) => sizes.forward(input, weight, bias, &mut output),
            Form::Pointwise => {
                let left = Left::new(weight, self.out_channels, channels);
                let right =
                    |picture| Right::Plane(&input[picture * channels * inputs..][..channels * inputs]);
                product(&left, pictures, inputs, right, bias, &mut output, self.out_channels * inputs);
            }
            Form::Dense => {
                let (depth, part, out_part) = (self.depth(), channels / groups, self.out_channels / groups);
                let patches = self.patches();
                for group in 0..groups {
                    let left = Left::new(&weight[group * out_part * depth..], out_part, depth);
                    let right = |picture| {
                        let from = (picture * channels + group * part) * inputs;
                        Right::Patches(&patches, &input[from..][..part * inputs])
                    };
                    let bias = bias.map(|bias| &bias[group * out_part..][..out_part]);
                    let output = &mut output[group * out_part * outputs..];
                    product(&left, pictures, outputs, right, bias, output, self.out_channels * outputs);
                }
            }
        }
        output
    }

    /// The gradient by the input, from `gradient`, that by the output.
    pub(super) fn input_gradient(&self, gradient: &[f32], weight: &[f32]) -> Buffer {
        let [pictures, channels, height, width] = self.input;
        let (inputs, outputs, groups) = (self.inputs(), self.outputs(), self.groups);
        let mut result = Buffer::new(pictures * channels * inputs);
        match self.form() {
            Form::Depthwise(sizes) => sizes.input_gradient(gradient, weight, &mut result),
            Form::Pointwise => {
                let left = Left::transposed(weight, channels, self.out_channels);
                let size = self.out_channels * outputs;
                let right = |picture| Right::Plane(&gradient[picture * size..][..size]);
                product(&left, pictures, inputs, right, None, &mut result, channels * inputs);
            }
            Form::Dense => {
                let (part, out_part) = (channels / groups, self.out_channels / groups);
                let taps = self.kernel[0] * self.kernel[1];
                let forward = self.patches();
                let patches = Patches {
                    height: forward.out_height,
                    width: forward.out_width,
                    out_height: height,
                    out_width: width,
                    transposed: true,
                    ..forward
                };
                for group in 0..groups {
                    let weight = &weight[group * out_part * part * taps..];
                    let left = Left::from_fn(part, out_part * taps, |channel, d| {
                        weight[(d / taps * part + channel) * taps + d % taps]
                    });
                    let right = |picture| {
                        let from = (picture * self.out_channels + group * out_part) * outputs;
                        Right::Patches(&patches, &gradient[from..][..out_part * outputs])
                    };
                    let result = &mut result[group * part * inputs..];
                    product(&left, pictures, inputs, right, None, result, channels * inputs);
                }
            }
        }
        result
    }

    /// The gradient by the weight.
    pub(super) fn weight_gradient(&self, input: &[f32], gradient: &[f32]) -> Buffer {
        let [pictures, channels, ..] = self.input;
        let (inputs, outputs, groups) = (self.inputs(), self.outputs(), self.groups);
        let mut result = zeros(self.out_channels * self.depth());
        match self.form() {
            Form::Depthwise(sizes) => sizes.weight_gradient(input, gradient, &mut result),
            Form::Pointwise => {
                let left = Stack {
                    values: gradient,
                    rows: self.out_channels,
                    picture_stride: self.out_channels * outputs,
                };
                let right = Stack { values: input, rows: channels, picture_stride: channels * inputs };
                inner_products(left, right, pictures, inputs, &mut result);
            }
            Form::Dense => {
                let (depth, part, out_part) = (self.depth(), channels / groups, self.out_channels / groups);
                let patches = self.patches();
                let mut seen = Buffer::new(depth * outputs);
                for group in 0..groups {
                    let result = &mut result[group * out_part * depth..][..out_part * depth];
                    for picture in 0..pictures {
                        let from = (picture * channels + group * part) * inputs;
                        let planes = &input[from..][..part * inputs];
                        let to = Shared::new(&mut seen);
                        for_each(depth, |row| {
                            // SAFETY: rows are different places
                            let to = unsafe { std::slice::from_raw_parts_mut(to.at(row * outputs), outputs) };
                            patches.copy(planes, row, 0, to);
                        });
                        let from = (picture * self.out_channels + group * out_part) * outputs;
                        let left = Stack { values: &gradient[from..], rows: out_part, picture_stride: 0 };
                        let right = Stack { values: &seen, rows: depth, picture_stride: 0 };
                        inner_products(left, right, 1, outputs, result);
                    }
                }
            }
        }
        result
    }

    /// The gradient by the bias.
    pub(super) fn bias_gradient(&self, gradient: &[f32]) -> Buffer {
        let planes = Planes { pictures: self.input[0], channels: self.out_channels, pixels: self.outputs() };
        let mut sums = zeros(self.out_channels);
        channel_sums(planes, gradient, &mut sums);
        sums
    }
}
