//! The kernels. Maps are channels-last, of any float type; sums are of single precision.
//!
//! Only what changes the code is a constant of a kernel (the window, the activation, what is fused); sizes are arguments,
//! so that a network has few kernels to compile.

mod activation;
pub mod depthwise;
pub mod depthwise_gradient;
pub mod focal;
pub mod fuse;
pub mod gemm;
pub mod gemm_gradient;
pub mod norm;
pub mod pixelwise;
pub mod pool;
pub mod reduce;
pub mod resize;
pub mod select;
pub mod vector;
pub mod window;

use cubecl::client::Client;
use cubecl::ir::features::MmaConfig;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::*;

use crate::native::allows_tf32;

pub(super) const SINGLE: ElemType = ElemType::Float(FloatKind::F32);

/// Threads of a cube where each computes for itself.
pub(super) const THREADS: u32 = 256;

/// The most cubes along one axis that every runtime has.
const MOST: u32 = 65_535;

/// Cubes for so many, in two dimensions if they are more than one can have: a kernel looks at `CUBE_POS`.
pub(super) fn cubes(count: usize) -> CubeCount {
    let count = count as u32;
    if count <= MOST {
        return CubeCount::Static(count.max(1), 1, 1);
    }
    let rows = count.div_ceil(MOST);
    CubeCount::Static(count.div_ceil(rows), rows, 1)
}

/// Cubes and threads for so many threads that compute for themselves: a kernel looks at `ABSOLUTE_POS`.
pub(super) fn threads(count: usize) -> (CubeCount, CubeDim) {
    (cubes(count.div_ceil(THREADS as usize)), CubeDim::new_1d(THREADS))
}

/// Picture, row, column and vector of channels of the thread's number in a map.
#[cube]
pub(super) fn place(at: u32, height: u32, width: u32, vectors: u32) -> (u32, u32, u32, u32) {
    let pixel = at / vectors;
    let line = pixel / width;
    (line / height, line % height, pixel % width, at % vectors)
}

/// The widest vector of channels, at most four, that all of these numbers are multiples of.
pub(super) fn width(channels: &[usize]) -> usize {
    [4, 2].into_iter().find(|width| channels.iter().all(|c| c.is_multiple_of(*width))).unwrap_or(1)
}

/// What kernels are launched with: where, and the type of maps.
#[derive(Clone)]
pub struct Launcher {
    pub client: Client,
    pub float: ElemType,
}

impl Launcher {
    /// Depth of the instructions of the matrix units with 16 by 16 results, if the device has them, and the type of the
    /// operands: single precision goes through ten bits of mantissa where that is allowed.
    pub(super) fn matrix(&self) -> (Option<usize>, ElemType) {
        let single = ElemType::Float(FloatKind::F32);
        if self.float == single && !allows_tf32() {
            return (None, single);
        }
        let (operand, depth) =
            if self.float == single { (ElemType::Float(FloatKind::TF32), 8) } else { (self.float, 16) };
        let wanted =
            MmaConfig { a_type: operand, b_type: operand, cd_type: single, m: 16, n: 16, k: depth as u32 };
        let features = self.client.features();
        let hardware = &self.client.properties().hardware;
        let planes = hardware.plane_size_min == 32 && hardware.plane_size_max == 32;
        if planes && features.matmul.cmma.contains(&wanted) { (Some(depth), operand) } else { (None, single) }
    }
}
