//! The kernels on tensors of CubeCL.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::server::Handle;

use super::super::kernels::focal::{Focal, add_at, negatives, take};
use super::super::kernels::gemm::{Matrix, Side};
use super::super::kernels::pixelwise::{self, Factors, FactorsOf, Target, Term};
use super::super::kernels::{SINGLE, norm, reduce};
use super::super::training::{channels_last, dims, float, launcher, maps, new_maps, new_vector, vector};
use super::MapKernels;
use crate::Activation;

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
fn weighted_sum(inputs: &[CubeTensor], weights: &CubeTensor) -> CubeTensor {
    let launcher = launcher(&inputs[0]);
    let target = target(&inputs[0]);
    let (shape, strides) = (weights.meta.shape(), weights.meta.strides());
    let step = if shape[1] == 1 { 0 } else { strides[1] };
    let matrix = Matrix {
        values: weights.handle.clone(),
        float: float(weights),
        rows: Side::of(inputs.len(), strides[0]),
        columns: Side::of(target.channels, step),
    };
    let constant = matrix.lay_out(&launcher, SINGLE, [inputs.len(), target.channels]);
    let terms: Vec<Term> =
        inputs.iter().map(|map| Term { map: channels_last(map), size: target.size }).collect();
    let (output, to) = new_maps(&inputs[0], dims(&inputs[0]));
    let factors = Factors { constant, computed: None, bias: None };
    pixelwise::sum(&launcher, &terms, factors, to, &target, Activation::Identity);
    output
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

    fn weighted_sum_of_two(first: CubeTensor, second: CubeTensor, weights: CubeTensor) -> CubeTensor {
        weighted_sum(&[first, second], &weights)
    }

    fn weighted_sum_of_three(
        first: CubeTensor,
        second: CubeTensor,
        third: CubeTensor,
        weights: CubeTensor,
    ) -> CubeTensor {
        weighted_sum(&[first, second, third], &weights)
    }

    fn blended_statistics(
        mean: CubeTensor,
        variance: CubeTensor,
        batch_mean: CubeTensor,
        batch_variance: CubeTensor,
        momentum: f32,
        unbias: f32,
    ) -> (CubeTensor, CubeTensor) {
        let channels = mean.meta.num_elements();
        let (new_mean, new_variance) = (new_vector(&mean, channels), new_vector(&mean, channels));
        let launcher = launcher(&mean);
        let to = [new_mean.handle.clone(), new_variance.handle.clone()];
        let (running, batch) = ([mean, variance].map(vector), [batch_mean, batch_variance].map(vector));
        norm::blend(&launcher, running, batch, to, (momentum, unbias), channels);
        (new_mean, new_variance)
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
