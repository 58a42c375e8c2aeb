//! Spatial interpolation.

use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use burn::tensor::{Tensor, TensorData, module};
use serde::{Deserialize, Serialize};

use crate::native::DeviceProgram;
use crate::native::pixelwise::AxisTaps;

/// How pixels between pixels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeMode {
    /// The pixel whose cell the point falls in.
    Nearest,
    /// Linear between the four neighbours, pixel centres at halves, no antialiasing.
    Bilinear,
    /// Cubic between the sixteen neighbours, pixel centres at halves, no antialiasing.
    Bicubic,
}

/// Resizes to `size` (`[height, width]`).
///
/// # Shapes
/// - `input`: `[batch, channels, any, any]`
/// - output: `[batch, channels, size[0], size[1]]`
///
/// # Reference
/// PyTorch `F.interpolate(size=.., align_corners=False)`.
pub fn resize(input: Tensor<4>, size: [usize; 2], mode: ResizeMode) -> Tensor<4> {
    let [_, _, height, width] = input.dims();
    if [height, width] == size {
        return input;
    }
    #[cfg(feature = "cube")]
    if mode == ResizeMode::Nearest
        && let Some(output) = crate::native::cube::nearest(&input, size)
    {
        return output;
    }
    // The framework's devices have the gradient of the nearest pixel alone.
    if mode != ResizeMode::Nearest && input.is_autodiff() && DeviceProgram::runs_on(&input.device()) {
        return resize_by_products(input, size, mode == ResizeMode::Bicubic);
    }
    let mode = match mode {
        ResizeMode::Nearest => InterpolateMode::Nearest,
        ResizeMode::Bilinear => InterpolateMode::Bilinear,
        ResizeMode::Bicubic => InterpolateMode::Bicubic,
    };
    let options = InterpolateOptions {
        output_size: Some(size),
        ..InterpolateOptions::new(mode).with_align_corners(false)
    };
    module::interpolate(input, options)
}

/// The same as a product of matrices along each axis, which has a gradient everywhere.
fn resize_by_products(input: Tensor<4>, [height, width]: [usize; 2], cubic: bool) -> Tensor<4> {
    let [_, _, in_height, in_width] = input.dims();
    let device = input.device();
    let weights = |from: usize, to: usize| {
        let taps = AxisTaps::new(from, to, cubic);
        let mut weights = vec![0.0f32; from * to];
        for (tap, (place, weight)) in taps.taps.iter().enumerate() {
            weights[tap / taps.count * from + place] += weight;
        }
        let weights = Tensor::<4>::from_data(TensorData::new(weights, [1, 1, to, from]), &device);
        weights.cast(input.dtype())
    };
    let rows = weights(in_height, height);
    let columns = weights(in_width, width).swap_dims(2, 3);
    rows.matmul(input).matmul(columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn nearest_takes_the_floor_as_pytorch_does() {
        let input = Tensor::<1>::from_floats([0.0, 1.0, 2.0], &Device::flex()).reshape([1, 1, 1, 3]);
        let output = resize(input, [1, 5], ResizeMode::Nearest).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(output, [0.0, 0.0, 1.0, 1.0, 2.0]);
    }

    #[test]
    fn bilinear_has_half_pixel_centres() {
        let input = Tensor::<1>::from_floats([0.0, 1.0], &Device::flex()).reshape([1, 1, 1, 2]);
        let output = resize(input, [1, 4], ResizeMode::Bilinear).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(output, [0.0, 0.25, 0.75, 1.0]);
    }
}
