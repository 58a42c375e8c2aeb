//! Operations on maps that training needs beside convolutions and norms: means, gates, weighted sums, the focal loss, and
//! the few numbers of a map that a loss names. The framework's own are reductions that are searched anew for every shape.

mod device;
mod recorded;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Int, Tensor};

use crate::native::training::computes_on_device;

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

    #[fusion(dtype = first, shape = first)]
    fn weighted_sum_of_two(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    #[fusion(dtype = first, shape = first)]
    fn weighted_sum_of_three(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// Running statistics after a batch, whose variance is multiplied by `unbias`; all constants.
    #[fusion(meta = |mean, variance, _batch_mean, _batch_variance, _momentum, _unbias| {
        (mean.clone(), variance.clone())
    })]
    fn blended_statistics(
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        batch_mean: FloatTensor<Self>,
        batch_variance: FloatTensor<Self>,
        momentum: f32,
        unbias: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

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

/// `Σ weights · maps` of two or three maps of one shape, weights `[maps, channels or 1, 1, 1]`.
pub(crate) fn sum_of(maps: &[Tensor<4>], weights: &Tensor<4>) -> Option<Tensor<4>> {
    let first = maps.first()?;
    let channels = first.dims()[1];
    let [count, by_channel, ..] = weights.dims();
    let alike = |map: &Tensor<4>| map.dims() == first.dims() && map.dtype() == first.dtype();
    let fits = count == maps.len() && [1, channels].contains(&by_channel) && weights.dtype() == first.dtype();
    if !fits || !maps.iter().all(alike) || !computes_on_device(first) {
        return None;
    }
    let weights = weights.clone().into_dispatch();
    let map = |i: usize| maps[i].clone().into_dispatch();
    let sum = match count {
        2 => Dispatch::weighted_sum_of_two(map(0), map(1), weights),
        3 => Dispatch::weighted_sum_of_three(map(0), map(1), map(2), weights),
        _ => return None,
    };
    Some(Tensor::from_dispatch(sum))
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

/// `(1 - momentum) · running + momentum · batch` of mean and variance, the batch's variance times `unbias`; constants.
pub(crate) fn blend(
    map: &Tensor<4>,
    [mean, variance]: [&Tensor<1>; 2],
    [batch_mean, batch_variance]: [&Tensor<1>; 2],
    momentum: f64,
    unbias: f64,
) -> Option<[Tensor<1>; 2]> {
    let all = [mean, variance, batch_mean, batch_variance];
    if all.iter().any(|tensor| tensor.dtype() != DType::F32) || !computes_on_device(map) {
        return None;
    }
    let [mean, variance, batch_mean, batch_variance] = all.map(|tensor| tensor.clone().into_dispatch());
    let (momentum, unbias) = (momentum as f32, unbias as f32);
    let (mean, variance) =
        Dispatch::blended_statistics(mean, variance, batch_mean, batch_variance, momentum, unbias);
    Some([Tensor::from_dispatch(mean), Tensor::from_dispatch(variance)])
}
