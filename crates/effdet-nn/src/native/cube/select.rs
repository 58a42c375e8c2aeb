//! The highest numbers of rows as an operation of the framework.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Int, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::kernels::Launcher;
use super::kernels::select::highest;

#[backend_extension(Cube, Fusion: cfg(feature = "fusion"))]
trait Selection: Backend {
    #[fusion(meta = results)]
    fn highest_places(values: FloatTensor<Self>, count: usize) -> IntTensor<Self>;
}

#[cfg(feature = "fusion")]
fn results(
    values: &burn::backend::fusion::custom::TensorSpec,
    count: &usize,
) -> burn::backend::fusion::custom::TensorSpec {
    let mut spec = values.clone();
    spec.shape = [values.shape[0], *count].into();
    spec.dtype = DType::I32;
    spec
}

impl Selection for CubeBackend {
    fn highest_places(values: FloatTensor<Self>, count: usize) -> IntTensor<Self> {
        let values = burn_cubecl::kernel::into_contiguous(values);
        let float = burn::backend::cubecl::dtype_to_elem_type(values.dtype);
        let launcher = Launcher { client: values.client.clone(), float };
        let (rows, length) = (values.meta.shape()[0], values.meta.shape()[1]);
        let places = launcher.client.empty(rows * count * size_of::<i32>());
        highest(&launcher, &values.handle, &places, [rows, length], count);
        let shape = Shape::from([rows, count]);
        CubeTensor::new_contiguous(values.client.clone(), values.device.clone(), shape, places, DType::I32)
    }
}

/// As [`native::highest_places`](crate::native::highest_places).
pub(in crate::native) fn highest_places(values: Tensor<2>, count: usize) -> Option<Tensor<2, Int>> {
    let [rows, length] = values.dims();
    let fits = rows > 0 && (1..=length).contains(&count) && rows * length <= u32::MAX as usize;
    if values.dtype() != DType::F32 || values.is_autodiff() || !fits || length > i32::MAX as usize {
        return None;
    }
    Some(Tensor::from_dispatch(Dispatch::highest_places(values.into_dispatch(), count)))
}
