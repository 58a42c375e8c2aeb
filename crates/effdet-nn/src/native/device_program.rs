//! The inference form off the processor.

use burn::tensor::{Device, Tensor};

use super::NoKernel;
use crate::graph::Graph;

/// A network compiled for a device of CubeCL and one size of picture.
///
/// Maps are of the type that the device computes in, sums of single precision. Constants go to the device once for
/// each thread that meets a new size of batch, and launches are recorded for each of the eight sizes that were used last.
#[derive(Clone, Debug)]
pub struct DeviceProgram {
    #[cfg(feature = "cube")]
    program: std::sync::Arc<super::cube::CubeProgram>,
    #[cfg(not(feature = "cube"))]
    never: std::convert::Infallible,
}

impl DeviceProgram {
    /// Whether tensors of this device can be computed with such programs.
    pub fn runs_on(device: &Device) -> bool {
        #[cfg(feature = "cube")]
        return super::cube::runs_on(device);
        #[cfg(not(feature = "cube"))]
        {
            let _ = device;
            false
        }
    }

    /// Compiles a graph of one picture, for batches of any size.
    ///
    /// # Errors
    /// [`NoKernel`] for a node that the kernels cannot compute, and in a build without such devices.
    pub fn compile(graph: &Graph) -> Result<Self, NoKernel> {
        #[cfg(feature = "cube")]
        return Ok(Self { program: std::sync::Arc::new(super::cube::CubeProgram::compile(graph)?) });
        #[cfg(not(feature = "cube"))]
        {
            let _ = graph;
            Err(NoKernel("devices of CubeCL: they are not part of this build".to_owned()))
        }
    }

    /// Gives back the memory that sizes of batch hold; they are compiled anew when they are met again.
    pub fn forget(&self) {
        #[cfg(feature = "cube")]
        self.program.forget();
        #[cfg(not(feature = "cube"))]
        match self.never {}
    }

    /// `[channels, height, width]` of every input.
    pub fn input_shapes(&self) -> Vec<[usize; 3]> {
        #[cfg(feature = "cube")]
        return (0..self.program.inputs()).map(|input| self.program.input_shape(input)).collect();
        #[cfg(not(feature = "cube"))]
        match self.never {}
    }

    /// Whether the kernels can compute such a batch: floats of single or half precision, and no map of more numbers than
    /// have an index in 32 bits.
    pub fn takes(&self, input: &Tensor<4>) -> bool {
        #[cfg(feature = "cube")]
        {
            use burn::tensor::DType;
            let [batch, ..] = input.dims();
            batch > 0
                && matches!(input.dtype(), DType::F32 | DType::F16 | DType::BF16)
                && self.program.holds(batch)
        }
        #[cfg(not(feature = "cube"))]
        {
            let _ = input;
            match self.never {}
        }
    }

    /// The graph's outputs for a batch, without a record of gradients.
    ///
    /// # Shapes
    /// - `inputs`: for each input of the graph `[batch, channels, height, width]`, of the size that the graph is of
    /// - outputs: `[batch, channels, height, width]`, channels last in memory
    ///
    /// # Panics
    /// If inputs have other sizes, are not what the program [`takes`](Self::takes), or are on a device that [`runs_on`](Self::runs_on) does not name.
    pub fn forward(&self, inputs: Vec<Tensor<4>>) -> Vec<Tensor<4>> {
        let shapes: Vec<_> = inputs.iter().map(|input| input.dims()).collect();
        let fits = |(shape, of): (&[usize; 4], [usize; 3])| shape[0] == shapes[0][0] && shape[1..] == of;
        let sizes = self.input_shapes();
        assert!(
            shapes.len() == sizes.len() && shapes.iter().zip(sizes).all(fits),
            "inputs of shape {shapes:?} for a program of {:?}",
            self.input_shapes()
        );
        assert!(
            inputs.iter().all(|input| self.takes(input)),
            "floats that the kernels take, and not too many"
        );
        #[cfg(feature = "cube")]
        {
            let inputs = inputs.into_iter().map(Tensor::inner).collect();
            #[expect(clippy::expect_used, reason = "their number was compared above")]
            super::cube::forward(&self.program, inputs).expect("as many inputs as the program has")
        }
        #[cfg(not(feature = "cube"))]
        match self.never {}
    }
}
