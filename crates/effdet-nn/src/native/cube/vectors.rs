//! What an optimiser does to flat parameters, as operations of the framework.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::kernels::vector as kernels;
use super::training::{launcher, new_vector, vector};
use crate::native::AdamStep;

#[backend_extension(Cube, Fusion: cfg(feature = "fusion"))]
trait VectorKernels: Backend {
    /// Returns the value, the average and the average of squares.
    #[fusion(meta = |value, _gradient, average, square, _step| {
        (value.clone(), average.clone(), square.clone())
    })]
    fn adam_update(
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        average: FloatTensor<Self>,
        square: FloatTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    #[fusion(dtype = first, shape = first)]
    fn mixture(first: FloatTensor<Self>, second: FloatTensor<Self>, parts: [f64; 2]) -> FloatTensor<Self>;

    #[fusion(dtype = before, shape = before)]
    fn squares(before: FloatTensor<Self>, values: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl VectorKernels for CubeBackend {
    fn adam_update(
        value: CubeTensor,
        gradient: CubeTensor,
        average: CubeTensor,
        square: CubeTensor,
        step: AdamStep,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let launcher = launcher(&value);
        let length = value.meta.num_elements();
        let results = [(); 3].map(|()| new_vector(&value, length));
        let from = [value, gradient, average, square].map(vector);
        let to = results.each_ref().map(|result| &result.handle);
        kernels::adam(&launcher, from.each_ref(), to, length, step);
        let [value, average, square] = results;
        (value, average, square)
    }

    fn mixture(first: CubeTensor, second: CubeTensor, parts: [f64; 2]) -> CubeTensor {
        let launcher = launcher(&first);
        let length = first.meta.num_elements();
        let result = new_vector(&first, length);
        let [first, second] = [first, second].map(vector);
        kernels::mix(&launcher, [&first, &second, &result.handle], length, parts);
        result
    }

    fn squares(before: CubeTensor, values: CubeTensor) -> CubeTensor {
        let launcher = launcher(&values);
        let length = values.meta.num_elements();
        let result = new_vector(&values, 1);
        let [before, values] = [before, values].map(vector);
        kernels::add_squares(&launcher, [&values, &before, &result.handle], length);
        result
    }
}

/// Whether the kernels take these: flat, plain, of single precision, on a device, all of one length.
fn takes(tensors: &[&Tensor<1>]) -> bool {
    let length = tensors[0].dims()[0];
    !crate::native::is_left_to_framework()
        && (1..=u32::MAX as usize).contains(&length)
        && super::runs_on(&tensors[0].device())
        && tensors
            .iter()
            .all(|tensor| tensor.dtype() == DType::F32 && !tensor.is_autodiff() && tensor.dims()[0] == length)
}

/// As [`native::adam`](crate::native::adam).
pub(in crate::native) fn adam(tensors: [&Tensor<1>; 4], step: AdamStep) -> Option<[Tensor<1>; 3]> {
    if !takes(&tensors) {
        return None;
    }
    let [value, gradient, average, square] = tensors.map(|tensor| tensor.clone().into_dispatch());
    let (value, average, square) = Dispatch::adam_update(value, gradient, average, square, step);
    Some([value, average, square].map(Tensor::from_dispatch))
}

/// As [`native::mix`](crate::native::mix).
pub(in crate::native) fn mix(first: &Tensor<1>, second: &Tensor<1>, parts: [f64; 2]) -> Option<Tensor<1>> {
    if !takes(&[first, second]) {
        return None;
    }
    let [first, second] = [first, second].map(|tensor| tensor.clone().into_dispatch());
    Some(Tensor::from_dispatch(Dispatch::mixture(first, second, parts)))
}

/// As [`native::add_squares`](crate::native::add_squares).
pub(in crate::native) fn add_squares(before: &Tensor<1>, values: &Tensor<1>) -> Option<Tensor<1>> {
    if !takes(&[before]) || !takes(&[values]) {
        return None;
    }
    let [before, values] = [before, values].map(|tensor| tensor.clone().into_dispatch());
    Some(Tensor::from_dispatch(Dispatch::squares(before, values)))
}
