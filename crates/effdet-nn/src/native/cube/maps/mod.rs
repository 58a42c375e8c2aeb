//! Operations on maps that training needs beside convolutions and norms: means, gates, weighted sums, pools, nearest pixels,
//! the focal loss, and the few numbers of a map that a loss names. Of the framework's own, reductions are searched anew for
//! every shape, and a padded pool makes its padding on the host, a whole map for each.

mod device;
mod recorded;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Int, Tensor};

use crate::graph::window_outputs;
use crate::native::training::computes_on_device;
use crate::{Pool, WeightNorm};

/// Sizes of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pooling {
    pub pool: Pool,
    /// `[pictures, channels, height, width]`
    pub input: [usize; 4],
    /// Rows and columns.
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// Before and after, for rows and for columns.
    pub padding: [(usize, usize); 2],
}

/// Taps of a window whose numbers every float type has.
const MOST_TAPS: usize = 256;

impl Pooling {
    /// `[pictures, channels, height, width]` of the output, unless it is empty or the kernels do not compute it.
    fn output(&self) -> Option<[usize; 4]> {
        let [pictures, channels, height, width] = self.input;
        let out = |size: usize, axis: usize| {
            let (padding, kernel) = (self.padding[axis], self.kernel[axis]);
            // no window lies in the padding alone
            let outputs = window_outputs(size, padding, kernel, self.stride[axis])?;
            let last = (outputs - 1) * self.stride[axis];
            (padding.0 < kernel && last < size + padding.0).then_some(outputs)
        };
        let few = self.kernel[0].checked_mul(self.kernel[1])? <= MOST_TAPS;
        let output = [pictures, channels, out(height, 0)?, out(width, 1)?];
        (few && !self.input.contains(&0)).then_some(output)
    }
}

/// Maps are `[pictures, channels, height, width]`, factors `[pictures or 1, channels or 1, 1, 1]`. Those that end in
/// `gradient` are for the backward pass; they are not recorded.
#[backend_extension(Cube, Fusion: cfg(feature = "fusion"), Autodiff)]
pub(super) trait MapKernels: Backend {
    #[fusion(dtype = map, shape = per_picture(map))]
    fn spatial_mean(map: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `scale · factors` as maps of this shape.
    #[fusion(dtype = factors, shape = shape.into())]
    fn spread_gradient(factors: FloatTensor<Self>, shape: [usize; 4], scale: f32) -> FloatTensor<Self>;

    #[fusion(dtype = map, shape = map)]
    fn gated(map: FloatTensor<Self>, factors: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Sums of products, as the factors.
    #[fusion(meta = |_gradient, _map, factors| factors.clone())]
    fn factors_gradient(
        gradient: FloatTensor<Self>,
        map: FloatTensor<Self>,
        factors: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Of maps of one shape, with the factors that `weights` become.
    #[fusion(dtype = first, shape = first)]
    fn sum_of_two(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        norm: WeightNorm,
    ) -> FloatTensor<Self>;

    #[fusion(dtype = first, shape = first)]
    fn sum_of_three(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        norm: WeightNorm,
    ) -> FloatTensor<Self>;

    /// By the maps and by the weights.
    #[fusion(meta = |_gradient, first, second, weights, _norm| (first.clone(), second.clone(), weights.clone()))]
    fn sum_of_two_gradients(
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        norm: WeightNorm,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(meta = |_gradient, first, second, third, weights, _norm| {
        (first.clone(), second.clone(), third.clone(), weights.clone())
    })]
    #[allow(clippy::type_complexity, reason = "an operation of the framework has tensors one by one")]
    fn sum_of_three_gradients(
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        norm: WeightNorm,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// The largest values of windows, and which taps they are.
    #[fusion(meta = of_windows)]
    fn largest_of_windows(map: FloatTensor<Self>, pooling: Pooling)
    -> (FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(dtype = map, shape = pooling.output().unwrap_or_default().into())]
    fn mean_of_windows(map: FloatTensor<Self>, pooling: Pooling) -> FloatTensor<Self>;

    /// `taps` are those of the largest values; of means they do not matter.
    #[fusion(dtype = gradient, shape = pooling.input.into())]
    fn windows_gradient(
        gradient: FloatTensor<Self>,
        taps: FloatTensor<Self>,
        pooling: Pooling,
    ) -> FloatTensor<Self>;

    #[fusion(dtype = map, shape = [map[0], map[1], size[0], size[1]].into())]
    fn nearest_pixels(map: FloatTensor<Self>, size: [usize; 2]) -> FloatTensor<Self>;

    /// By maps of `size`.
    #[fusion(dtype = gradient, shape = [gradient[0], gradient[1], size[0], size[1]].into())]
    fn nearest_pixels_gradient(gradient: FloatTensor<Self>, size: [usize; 2]) -> FloatTensor<Self>;

    /// The loss, `[1]`, and its derivative by every logit.
    #[fusion(meta = losses)]
    fn focal_loss(
        logits: FloatTensor<Self>,
        gamma: f32,
        half: f32,
        scale: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// `value` as a function of `map` that has this gradient.
    #[fusion(meta = |_map, value, _gradient| value.clone())]
    fn with_gradient_of(
        map: FloatTensor<Self>,
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Numbers at places in the order of pictures, rows, columns, channels.
    #[fusion(meta = |map, places| burn::backend::fusion::custom::TensorSpec { dtype: map.dtype, ..places.clone() })]
    fn numbers_at(map: FloatTensor<Self>, places: IntTensor<Self>) -> FloatTensor<Self>;

    /// Adds to numbers at places that are all different.
    #[fusion(dtype = map, shape = map)]
    fn added_at(
        map: FloatTensor<Self>,
        places: IntTensor<Self>,
        values: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Maps of zeros but for these numbers.
    #[fusion(dtype = values, shape = shape.into())]
    fn scattered_gradient(
        values: FloatTensor<Self>,
        places: IntTensor<Self>,
        shape: [usize; 4],
    ) -> FloatTensor<Self>;
}

#[cfg(feature = "fusion")]
fn per_picture(map: &burn::tensor::Shape) -> burn::tensor::Shape {
    [map[0], map[1], 1, 1].into()
}

#[cfg(feature = "fusion")]
fn losses(
    logits: &burn::backend::fusion::custom::TensorSpec,
    _gamma: &f32,
    _half: &f32,
    _scale: &f32,
) -> (burn::backend::fusion::custom::TensorSpec, burn::backend::fusion::custom::TensorSpec) {
    let mut sum = logits.clone();
    sum.shape = [1].into();
    (sum, logits.clone())
}

#[cfg(feature = "fusion")]
fn of_windows(
    map: &burn::backend::fusion::custom::TensorSpec,
    pooling: &Pooling,
) -> (burn::backend::fusion::custom::TensorSpec, burn::backend::fusion::custom::TensorSpec) {
    let mut output = map.clone();
    output.shape = pooling.output().unwrap_or_default().into();
    (output.clone(), output)
}

/// The mean of every channel, `[pictures, channels, 1, 1]`.
pub(crate) fn global_mean(map: &Tensor<4>) -> Option<Tensor<4>> {
    if !computes_on_device(map) {
        return None;
    }
    Some(Tensor::from_dispatch(Dispatch::spatial_mean(map.clone().into_dispatch())))
}

/// `factors · map`, factors `[pictures or 1, channels or 1, 1, 1]`.
pub(crate) fn gate(map: &Tensor<4>, factors: &Tensor<4>) -> Option<Tensor<4>> {
    let [pictures, channels, ..] = map.dims();
    let [a, b, height, width] = factors.dims();
    let fits = [height, width] == [1, 1] && [1, pictures].contains(&a) && [1, channels].contains(&b);
    // factors for each picture and not for each channel have no sum of their own
    let summed = b == channels || a == 1;
    if !fits || !summed || factors.dtype() != map.dtype() || !computes_on_device(map) {
        return None;
    }
    let [map, factors] = [map, factors].map(|tensor| tensor.clone().into_dispatch());
    Some(Tensor::from_dispatch(Dispatch::gated(map, factors)))
}

/// The sum of two or three maps of one shape, with the factors that `weights`, `[maps, channels or 1, 1, 1]`, become.
pub(crate) fn weighted_sum(maps: &[Tensor<4>], weights: &Tensor<4>, norm: WeightNorm) -> Option<Tensor<4>> {
    let first = maps.first()?;
    let channels = first.dims()[1];
    let [count, by_channel, height, width] = weights.dims();
    let alike = |map: &Tensor<4>| map.dims() == first.dims() && map.dtype() == first.dtype();
    let fits = count == maps.len()
        && [1, channels].contains(&by_channel)
        && [height, width] == [1, 1]
        && weights.dtype() == first.dtype();
    if !fits || !maps.iter().all(alike) || !computes_on_device(first) {
        return None;
    }
    let weights = weights.clone().into_dispatch();
    let map = |i: usize| maps[i].clone().into_dispatch();
    let sum = match count {
        2 => Dispatch::sum_of_two(map(0), map(1), weights, norm),
        3 => Dispatch::sum_of_three(map(0), map(1), map(2), weights, norm),
        _ => return None,
    };
    Some(Tensor::from_dispatch(sum))
}

/// Pools.
pub(crate) fn pool(map: &Tensor<4>, pooling: Pooling) -> Option<Tensor<4>> {
    if pooling.output().is_none() || !computes_on_device(map) {
        return None;
    }
    let map = map.clone().into_dispatch();
    Some(Tensor::from_dispatch(match pooling.pool {
        Pool::Max => Dispatch::largest_of_windows(map, pooling).0,
        Pool::Average => Dispatch::mean_of_windows(map, pooling),
    }))
}

/// The nearest pixels of maps of another size, `[height, width]`.
pub(crate) fn nearest(map: &Tensor<4>, size: [usize; 2]) -> Option<Tensor<4>> {
    let [pictures, channels, ..] = map.dims();
    let numbers = [pictures, channels, size[0], size[1]].iter().product::<usize>();
    if !(1..=i32::MAX as usize).contains(&numbers) || !computes_on_device(map) {
        return None;
    }
    Some(Tensor::from_dispatch(Dispatch::nearest_pixels(map.clone().into_dispatch(), size)))
}

/// As [`native::focal_negatives`](crate::native::focal_negatives).
pub(crate) fn focal_negatives(
    logits: &Tensor<4>,
    gamma: f64,
    half: f64,
    scale: f64,
) -> Option<(Tensor<1>, Tensor<4>)> {
    if logits.is_autodiff() || logits.dtype() != DType::F32 || !computes_on_device(logits) {
        return None;
    }
    let logits = logits.clone().into_dispatch();
    let (sum, gradient) = Dispatch::focal_loss(logits, gamma as f32, half as f32, scale as f32);
    Some((Tensor::from_dispatch(sum), Tensor::from_dispatch(gradient)))
}

/// As [`native::with_gradient`](crate::native::with_gradient).
pub(crate) fn with_gradient(input: &Tensor<4>, value: &Tensor<1>, gradient: &Tensor<4>) -> Option<Tensor<1>> {
    let same = input.dtype() == value.dtype() && input.dtype() == gradient.dtype();
    if !input.is_autodiff() || !same || !computes_on_device(input) {
        return None;
    }
    let (input, value) = (input.clone().into_dispatch(), value.clone().into_dispatch());
    let gradient = gradient.clone().into_dispatch();
    Some(Tensor::from_dispatch(Dispatch::with_gradient_of(input, value, gradient)))
}

/// As [`native::numbers_at`](crate::native::numbers_at).
pub(crate) fn numbers_at(map: &Tensor<4>, places: &Tensor<1, Int>) -> Option<Tensor<1>> {
    if places.dims() == [0] || !computes_on_device(map) {
        return None;
    }
    let places = places.clone().into_dispatch();
    Some(Tensor::from_dispatch(Dispatch::numbers_at(map.clone().into_dispatch(), places)))
}

/// As [`native::added_at`](crate::native::added_at).
pub(crate) fn added_at(map: &Tensor<4>, places: &Tensor<1, Int>, values: &Tensor<1>) -> Option<Tensor<4>> {
    let fits = values.dtype() == map.dtype() && values.dims() == places.dims() && places.dims() != [0];
    if map.is_autodiff() || !fits || !computes_on_device(map) {
        return None;
    }
    let (map, places) = (map.clone().into_dispatch(), places.clone().into_dispatch());
    Some(Tensor::from_dispatch(Dispatch::added_at(map, places, values.clone().into_dispatch())))
}
