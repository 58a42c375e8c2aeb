//! A compiled network as an operation of the framework, so that it takes and gives tensors wherever they are fused.

use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, DispatchDevice, ExtensionType, backend_extension};
use burn::tensor::{Device, Tensor};
use burn_cubecl::CubeBackend;

use super::program::CubeProgram;

/// What a network is given: a picture, or the maps of three to five levels.
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
enum Inputs<B: Backend> {
    One(FloatTensor<B>),
    Three(FloatTensor<B>, FloatTensor<B>, FloatTensor<B>),
    Four(FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>),
    Five(FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>),
}

#[backend_extension(Cube, Fusion: cfg(feature = "fusion"))]
trait CompiledNetwork: Backend {
    #[fusion(meta = results)]
    fn compiled_network(
        #[extension_type] inputs: Inputs<Self>,
        batch: usize,
        program: Arc<CubeProgram>,
    ) -> FloatTensor<Self>;
}

#[cfg(feature = "fusion")]
fn results(
    inputs: &InputsMetadata,
    batch: &usize,
    program: &Arc<CubeProgram>,
) -> burn::backend::fusion::custom::TensorSpec {
    let (InputsMetadata::One(first)
    | InputsMetadata::Three(first, ..)
    | InputsMetadata::Four(first, ..)
    | InputsMetadata::Five(first, ..)) = inputs;
    let mut spec = first.clone();
    spec.shape = [program.results(*batch)].into();
    spec
}

impl CompiledNetwork for CubeBackend {
    fn compiled_network(inputs: Inputs<Self>, batch: usize, program: Arc<CubeProgram>) -> FloatTensor<Self> {
        match inputs {
            Inputs::One(a) => program.run(batch, &[a]),
            Inputs::Three(a, b, c) => program.run(batch, &[a, b, c]),
            Inputs::Four(a, b, c, d) => program.run(batch, &[a, b, c, d]),
            Inputs::Five(a, b, c, d, e) => program.run(batch, &[a, b, c, d, e]),
        }
    }
}

/// Numbers of inputs that a network may have.
pub(super) const INPUTS: [usize; 4] = [1, 3, 4, 5];

/// Whether tensors of this device are CubeCL's.
pub(in crate::native) fn runs_on(device: &Device) -> bool {
    matches!(device.clone().inner().as_dispatch(), DispatchDevice::Cube(_))
}

/// Runs a compiled network. `None` for another number of inputs than it has.
pub(in crate::native) fn forward(
    program: &Arc<CubeProgram>,
    inputs: Vec<Tensor<4>>,
) -> Option<Vec<Tensor<4>>> {
    let batch = inputs.first()?.dims()[0];
    let mut inputs = inputs.into_iter().map(Tensor::into_dispatch);
    let mut next = || inputs.next();
    let inputs = match program.inputs() {
        1 => Inputs::One(next()?),
        3 => Inputs::Three(next()?, next()?, next()?),
        4 => Inputs::Four(next()?, next()?, next()?, next()?),
        5 => Inputs::Five(next()?, next()?, next()?, next()?, next()?),
        _ => return None,
    };
    let results = Dispatch::compiled_network(inputs, batch, Arc::clone(program));
    let results = Tensor::<1>::from_dispatch(results);
    let maps = program.maps(batch).into_iter().map(|(start, [batch, channels, height, width])| {
        let map = results.clone().narrow(0, start, batch * channels * height * width);
        map.reshape([batch, height, width, channels]).permute([0, 3, 1, 2])
    });
    Some(maps.collect())
}
