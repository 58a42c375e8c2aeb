//! The kernels on tensors of CubeCL.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::server::Handle;

use super::super::kernels::depthwise::Sizes;
use super::super::kernels::focal::{Focal, add_at, negatives, take};
use super::super::kernels::fuse::{self, Weights};
use super::super::kernels::pixelwise::{self, FactorsOf, Target};
use super::super::kernels::pool::{self, PoolWindow};
use super::super::kernels::{SINGLE, reduce, resize};
use super::super::training::{channels_last, dims, float, launcher, maps, new_maps, new_vector, pixels};
use super::{MapKernels, Pooling};
use crate::WeightNorm;

fn target(map: &CubeTensor) -> Target {
    let [batch, channels, height, width] = dims(map);
    Target { batch, channels, size: [height, width] }
}

/// Factors `[pictures or 1, channels or 1, 1, 1]`: what is one for all has no step.
fn factors_of(factors: &CubeTensor) -> FactorsOf {
    let (shape, strides) = (factors.meta.shape(), factors.meta.strides());
    let step = |axis: usize| if shape[axis] == 1 { 0 } else { strides[axis] };
    FactorsOf { values: factors.handle.clone(), float: float(factors), strides: [step(0), step(1)] }
}

fn scaled(map: &CubeTensor, factors: &FactorsOf) -> CubeTensor {
    let (output, to) = new_maps(map, dims(map));
    pixelwise::scale(&launcher(map), Some(&channels_last(map)), factors, 1.0, &to, &target(map));
    output
}

/// Sums over what the factors, `[a, b, 1, 1]`, have one of.
fn sum_like(gradient: &CubeTensor, map: &CubeTensor, [pictures, channels]: [usize; 2]) -> Handle {
    let launcher = launcher(gradient);
    let [batch, all_channels, height, width] = dims(gradient);
    let maps = [&channels_last(gradient), &channels_last(map)];
    let (batch, pixels) = if pictures == 1 { (1, batch * height * width) } else { (batch, height * width) };
    if channels == all_channels {
        let output = launcher.client.empty(batch * channels * gradient.dtype.size());
        reduce::sum_products(&launcher, maps, &output, [batch, pixels, channels], launcher.float);
        return output;
    }
    let sums = launcher.client.empty(batch * all_channels * size_of::<f32>());
    reduce::sum_products(&launcher, maps, &sums, [batch, pixels, all_channels], SINGLE);
    let output = launcher.client.empty(batch * gradient.dtype.size());
    reduce::sum_parts(&launcher, sums, output.clone(), [batch, all_channels], launcher.float);
    output
}

fn new_factors(like: &CubeTensor, handle: Handle, shape: [usize; 4]) -> CubeTensor {
    CubeTensor::new_contiguous(
        like.client.clone(),
        like.device.clone(),
        Shape::from(shape),
        handle,
        like.dtype,
    )
}

/// Weights `[maps, channels or 1, 1, 1]`.
fn weights_of(weights: &CubeTensor, norm: WeightNorm) -> Weights {
    let (shape, strides) = (weights.meta.shape(), weights.meta.strides());
    Weights {
        values: weights.handle.clone(),
        float: float(weights),
        strides: [strides[0], strides[1]],
        by_channel: shape[1] > 1,
        norm,
    }
}

fn sum_of(maps: &[CubeTensor], weights: &CubeTensor, norm: WeightNorm) -> CubeTensor {
    let given: Vec<Handle> = maps.iter().map(channels_last).collect();
    let (output, to) = new_maps(&maps[0], dims(&maps[0]));
    fuse::sum(&launcher(&maps[0]), &given, &weights_of(weights, norm), &to, pixels(&maps[0]));
    output
}

/// By the maps, then by the weights.
fn sum_gradients(
    gradient: &CubeTensor,
    maps: &[CubeTensor],
    weights: &CubeTensor,
    norm: WeightNorm,
) -> Vec<CubeTensor> {
    let launcher = launcher(gradient);
    let given: Vec<Handle> = maps.iter().map(channels_last).collect();
    let (mut results, to): (Vec<_>, Vec<_>) = maps.iter().map(|map| new_maps(map, dims(map))).unzip();
    let shape = dims(weights);
    let by_weights = launcher.client.empty(shape.iter().product::<usize>() * weights.dtype.size());
    let weights_of = weights_of(weights, norm);
    let gradient = channels_last(gradient);
    fuse::gradients(&launcher, &gradient, &given, &weights_of, (&to, &by_weights), pixels(&maps[0]));
    results.push(new_factors(weights, by_weights, shape));
    results
}

#[expect(clippy::expect_used, reason = "one for each map, and one for the weights")]
fn array<const N: usize>(tensors: Vec<CubeTensor>) -> [CubeTensor; N] {
    tensors.try_into().expect("as many gradients as tensors")
}

impl Pooling {
    fn window(&self) -> PoolWindow {
        PoolWindow { pool: self.pool, kernel: self.kernel, stride: self.stride }
    }

    fn sizes(&self) -> Sizes {
        let [batch, channels, height, width] = self.input;
        let [_, _, rows, columns] = self.output().unwrap_or_default();
        let pad = [self.padding[0].0, self.padding[1].0];
        Sizes { batch, channels, input: [height, width], output: [rows, columns], pad }
    }
}

/// Maps of one size and of another.
fn resized([batch, channels, height, width]: [usize; 4], output: [usize; 2]) -> Sizes {
    Sizes { batch, channels, input: [height, width], output, pad: [0, 0] }
}

/// Places as the kernels take them.
fn places_of(places: CubeTensor) -> (Handle, usize) {
    let count = places.meta.num_elements();
    let places = burn_cubecl::kernel::into_contiguous(places);
    (burn_cubecl::kernel::cast(places, DType::I32).handle, count)
}

impl MapKernels for CubeBackend {
    fn spatial_mean(map: CubeTensor) -> CubeTensor {
        let launcher = launcher(&map);
        let [batch, channels, height, width] = dims(&map);
        let sizes = [batch, height * width, channels];
        let partial = launcher.client.empty(reduce::partial_sums(sizes) * size_of::<f32>());
        let output = launcher.client.empty(batch * channels * map.dtype.size());
        reduce::mean(&launcher, channels_last(&map), partial, output.clone(), sizes);
        new_factors(&map, output, [batch, channels, 1, 1])
    }

    fn spread_gradient(factors: CubeTensor, shape: [usize; 4], scale: f32) -> CubeTensor {
        let (output, to) = new_maps(&factors, shape);
        let target = target(&output);
        pixelwise::scale(&launcher(&factors), None, &factors_of(&factors), scale, &to, &target);
        output
    }

    fn gated(map: CubeTensor, factors: CubeTensor) -> CubeTensor {
        scaled(&map, &factors_of(&factors))
    }

    fn factors_gradient(gradient: CubeTensor, map: CubeTensor, factors: CubeTensor) -> CubeTensor {
        let shape = dims(&factors);
        let sums = sum_like(&gradient, &map, [shape[0], shape[1]]);
        new_factors(&gradient, sums, shape)
    }

    fn sum_of_two(
        first: CubeTensor,
        second: CubeTensor,
        weights: CubeTensor,
        norm: WeightNorm,
    ) -> CubeTensor {
        sum_of(&[first, second], &weights, norm)
    }

    fn sum_of_three(
        first: CubeTensor,
        second: CubeTensor,
        third: CubeTensor,
        weights: CubeTensor,
        norm: WeightNorm,
    ) -> CubeTensor {
        sum_of(&[first, second, third], &weights, norm)
    }

    fn sum_of_two_gradients(
        gradient: CubeTensor,
        first: CubeTensor,
        second: CubeTensor,
        weights: CubeTensor,
        norm: WeightNorm,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        array::<3>(sum_gradients(&gradient, &[first, second], &weights, norm)).into()
    }

    fn sum_of_three_gradients(
        gradient: CubeTensor,
        first: CubeTensor,
        second: CubeTensor,
        third: CubeTensor,
        weights: CubeTensor,
        norm: WeightNorm,
    ) -> (CubeTensor, CubeTensor, CubeTensor, CubeTensor) {
        array::<4>(sum_gradients(&gradient, &[first, second, third], &weights, norm)).into()
    }

    fn largest_of_windows(map: CubeTensor, pooling: Pooling) -> (CubeTensor, CubeTensor) {
        let shape = pooling.output().unwrap_or_default();
        let ((output, to), (taps, taps_to)) = (new_maps(&map, shape), new_maps(&map, shape));
        let buffers = [&channels_last(&map), &to, &taps_to];
        pool::largest(&launcher(&map), buffers, &pooling.sizes(), pooling.window());
        (output, taps)
    }

    fn mean_of_windows(map: CubeTensor, pooling: Pooling) -> CubeTensor {
        let Sizes { input, pad, .. } = pooling.sizes();
        let (output, to) = new_maps(&map, pooling.output().unwrap_or_default());
        let target = target(&output);
        pool::pool(&launcher(&map), channels_last(&map), input, pad, to, &target, pooling.window());
        output
    }

    fn windows_gradient(gradient: CubeTensor, taps: CubeTensor, pooling: Pooling) -> CubeTensor {
        let (output, to) = new_maps(&gradient, pooling.input);
        let buffers = [&channels_last(&gradient), &channels_last(&taps), &to];
        pool::pool_gradient(&launcher(&gradient), buffers, &pooling.sizes(), pooling.window());
        output
    }

    fn nearest_pixels(map: CubeTensor, size: [usize; 2]) -> CubeTensor {
        let [batch, channels, ..] = dims(&map);
        let (output, to) = new_maps(&map, [batch, channels, size[0], size[1]]);
        resize::nearest_pixels(&launcher(&map), [&channels_last(&map), &to], &resized(dims(&map), size));
        output
    }

    fn nearest_pixels_gradient(gradient: CubeTensor, size: [usize; 2]) -> CubeTensor {
        let [batch, channels, height, width] = dims(&gradient);
        let shape = [batch, channels, size[0], size[1]];
        let (output, to) = new_maps(&gradient, shape);
        let buffers = [&channels_last(&gradient), &to];
        resize::nearest_gradient(&launcher(&gradient), buffers, &resized(shape, [height, width]));
        output
    }

    fn focal_loss(logits: CubeTensor, gamma: f32, half: f32, scale: f32) -> (CubeTensor, CubeTensor) {
        let launcher = launcher(&logits);
        let (gradient, to) = new_maps(&logits, dims(&logits));
        let sum = new_vector(&logits, 1);
        let focal = Focal { gamma, half, scale };
        let length = logits.meta.num_elements();
        negatives(&launcher, &channels_last(&logits), &to, &sum.handle, length, focal);
        (burn_cubecl::kernel::cast(sum, logits.dtype), gradient)
    }

    fn with_gradient_of(_: CubeTensor, value: CubeTensor, _: CubeTensor) -> CubeTensor {
        value
    }

    fn numbers_at(map: CubeTensor, places: CubeTensor) -> CubeTensor {
        let launcher = launcher(&map);
        let shape = places.meta.shape().clone();
        let places = places_of(places);
        let values = launcher.client.empty(places.1 * map.dtype.size());
        let numbers = map.meta.num_elements();
        take(&launcher, (&channels_last(&map), numbers), (&places.0, places.1), &values);
        CubeTensor::new_contiguous(map.client.clone(), map.device.clone(), shape, values, map.dtype)
    }

    fn added_at(map: CubeTensor, places: CubeTensor, values: CubeTensor) -> CubeTensor {
        let launcher = launcher(&map);
        let places = places_of(places);
        let values = burn_cubecl::kernel::into_contiguous(values).handle;
        let numbers = map.meta.num_elements();
        // Someone else may have the map too.
        let (output, to) = new_maps(&map, dims(&map));
        let channels = |map: &Handle| pixelwise::Channels { map: map.clone(), of: numbers, first: 0 };
        pixelwise::copy_channels(&launcher, channels(&channels_last(&map)), channels(&to), 1, numbers);
        add_at(&launcher, (&to, numbers), (&places.0, places.1), &values);
        output
    }

    fn scattered_gradient(values: CubeTensor, places: CubeTensor, shape: [usize; 4]) -> CubeTensor {
        let numbers: usize = shape.iter().product();
        let flat = Shape::from([numbers]);
        let zeros = burn_cubecl::ops::numeric::zeros(values.device.clone(), flat, values.dtype);
        let places = places_of(places);
        let launcher = launcher(&values);
        let given = burn_cubecl::kernel::into_contiguous(values).handle;
        add_at(&launcher, (&zeros.handle, numbers), (&places.0, places.1), &given);
        let handle = zeros.handle.clone();
        maps(&zeros, handle, shape)
    }
}
