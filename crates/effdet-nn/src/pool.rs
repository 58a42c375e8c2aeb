//! Spatial pooling.

use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions, PadMode};
use burn::tensor::{Tensor, module};
use serde::{Deserialize, Serialize};

use crate::Padding;

/// What a pool keeps of its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// The largest value; padding never wins.
    Max,
    /// The mean, padding counted as zeros.
    Average,
}

/// Pools with a kernel and stride per axis.
///
/// # Shapes
/// - `input`: `[batch, channels, height, width]`
/// - output: `[batch, channels, out_height, out_width]`
///
/// # Reference
/// timm `create_pool2d`: with [`Padding::Same`] a max pool pads with -∞ and an average pool with zeros that count.
pub fn pool2d(
    input: Tensor<4>,
    pool: Pool,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
) -> Tensor<4> {
    let [_, _, height, width] = input.dims();
    let pads =
        [padding.amount(height, kernel[0], stride[0], 1), padding.amount(width, kernel[1], stride[1], 1)];
    #[cfg(feature = "cube")]
    {
        let pooling =
            crate::native::cube::Pooling { pool, input: input.dims(), kernel, stride, padding: pads };
        if let Some(output) = crate::native::cube::pool(&input, pooling) {
            return output;
        }
    }
    match pool {
        Pool::Max => {
            let mut options = MaxPoolOptions::new(kernel);
            options.stride = stride;
            options.padding = pads;
            module::max_pool2d(input, options)
        }
        Pool::Average => {
            let input = if pads == [(0, 0); 2] { input } else { input.pad(pads, PadMode::Constant(0.0)) };
            let mut options = AvgPoolOptions::new(kernel);
            options.stride = stride;
            module::avg_pool2d(input, options)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn padding_never_wins_a_max_pool_and_counts_in_an_average() {
        let input = Tensor::<4>::full([1, 1, 2, 2], -3.0, &Device::flex());
        let pooled = |pool| pool2d(input.clone(), pool, [3, 3], [2, 2], Padding::Same).into_data();
        assert_eq!(pooled(Pool::Max).try_to_vec::<f32>().unwrap(), [-3.0]);
        let average = pooled(Pool::Average).try_to_vec::<f32>().unwrap();
        assert!((average[0] - -12.0 / 9.0).abs() < 1e-6, "{average:?}");
    }
}
