//! A small module with the shapes of the fixtures, and the values `tools/golden/make_checkpoints.py` gave them.

#[cfg(feature = "hub")]
pub mod server;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use burn::module::{Flag, Module, Param, ParamId, RunningState};
use burn::tensor::{Device, Tensor};

/// Name and shape of every tensor of the fixtures but the counter of batches, in the module's order.
pub const SHAPES: [(&str, &[usize]); 8] = [
    ("conv_stem.weight", &[4, 3, 3, 3]),
    ("bn1.weight", &[4]),
    ("bn1.bias", &[4]),
    ("bn1.running_mean", &[4]),
    ("bn1.running_var", &[4]),
    ("blocks.0.0.conv_dw.weight", &[4, 1, 3, 3]),
    ("blocks.0.1.conv_pw.weight", &[2, 4, 1, 1]),
    ("stages_0.weight", &[2, 2]),
];

/// The values of a fixture's tensor.
pub fn expected(name: &str, shape: &[usize]) -> Vec<f32> {
    let count: usize = shape.iter().product();
    (0..count).map(|i| (name.len() + i) as f32 / 8.0).collect()
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[derive(Module, Debug)]
pub struct Weight<const D: usize> {
    pub weight: Param<Tensor<D>>,
}

#[derive(Module, Debug)]
pub struct Norm {
    pub weight: Param<Tensor<1>>,
    pub bias: Param<Tensor<1>>,
    pub running_mean: RunningState<Tensor<1>>,
    pub running_var: RunningState<Tensor<1>>,
    pub training: Param<Flag>,
}

#[derive(Module, Debug)]
pub struct Depthwise {
    pub conv_dw: Weight<4>,
}

#[derive(Module, Debug)]
pub struct Pointwise {
    pub conv_pw: Weight<4>,
}

#[derive(Module, Debug)]
pub enum Block {
    Depthwise(Depthwise),
    Pointwise(Pointwise),
}

#[derive(Module, Debug)]
pub struct Tiny {
    pub conv_stem: Weight<4>,
    pub bn1: Norm,
    pub blocks: Vec<Vec<Block>>,
    pub stages: Vec<Weight<2>>,
    pub absent: Option<Weight<2>>,
}

/// A parameter that fails the test when something initialises it.
fn untouchable<const D: usize>(shape: [usize; D], device: &Device) -> Weight<D> {
    let weight = Param::uninitialized(
        ParamId::new(),
        |_, _| panic!("a parameter was initialised on the way to being loaded"),
        device.clone(),
        true,
        shape.into(),
    );
    Weight { weight }
}

/// The fixtures' network, with convolutions that must not be initialised.
pub fn tiny(device: &Device) -> Tiny {
    let vector = |value: f32| Tensor::<1>::full([4], value, device);
    Tiny {
        conv_stem: untouchable([4, 3, 3, 3], device),
        bn1: Norm {
            weight: Param::from_tensor(vector(1.0)),
            bias: Param::from_tensor(vector(0.0)),
            running_mean: RunningState::new(vector(0.0)),
            running_var: RunningState::new(vector(1.0)),
            training: Param::from_bool(false),
        },
        blocks: vec![vec![
            Block::Depthwise(Depthwise { conv_dw: untouchable([4, 1, 3, 3], device) }),
            Block::Pointwise(Pointwise { conv_pw: untouchable([2, 4, 1, 1], device) }),
        ]],
        stages: vec![untouchable([2, 2], device)],
        absent: None,
    }
}

/// timm writes `stages_0` where the module has the first of `stages`.
pub fn keys(path: &str) -> Cow<'_, str> {
    match path.strip_prefix("stages.") {
        Some(rest) => Cow::Owned(format!("stages_{rest}")),
        None => Cow::Borrowed(path),
    }
}
