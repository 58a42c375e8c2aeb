//! The inference form of a network: a list of kernel calls on one block of memory, for one size of picture.
//!
//! [`Program::compile`] takes a recorded [`Graph`], folds batch norms and activations into convolutions, residual sums
//! into projections and squeeze-and-excite factors into the weights of the next convolution, sorts what is left into
//! steps whose calls do not depend on each other, and assigns every map a place in memory that is free at the time.

mod call;
pub(super) mod lower;
mod memory;
pub(super) mod places;
mod plan;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use call::Call;
use lower::Expansions;
use memory::{Block, Memory, Pool};

use super::workers::{Wait, Workers};
use crate::graph::{Graph, Op};

/// A graph has a node that the kernels cannot compute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no native kernel for {0}")]
pub struct NoKernel(pub String);

/// A network compiled for one size of picture.
#[derive(Debug)]
pub struct Program {
    steps: Vec<Step>,
    /// Numbers of memory that the maps of a picture need.
    memory: usize,
    /// Numbers of memory each thread needs besides.
    scratch: usize,
    /// Numbers of a picture's results.
    results: usize,
    /// `[1, channels, height, width]` of the input.
    input: [usize; 4],
    /// Of each output, where it begins among the results, and its shape.
    outputs: Vec<(usize, [usize; 4])>,
    pool: Arc<Pool>,
}

/// Calls that do not depend on each other, each divided into tasks.
#[derive(Debug)]
struct Step {
    calls: Vec<Call>,
    /// For each call the number of its first task; then the number of all.
    first: Vec<usize>,
}

/// What a run gives: maps with channels last, for each picture.
#[derive(Clone, Debug)]
pub struct Outputs {
    values: Block,
    /// Numbers of a picture's results.
    results: usize,
    maps: Vec<(usize, [usize; 4])>,
}

impl Outputs {
    /// Number of maps of each picture.
    pub fn maps(&self) -> usize {
        self.maps.len()
    }

    /// `[channels, height, width]` of a map.
    ///
    /// # Panics
    /// If there is no such map.
    pub fn shape(&self, map: usize) -> [usize; 3] {
        let [_, channels, height, width] = self.maps[map].1;
        [channels, height, width]
    }

    /// A picture's map, `[height, width, channels]` row by row.
    ///
    /// # Panics
    /// If there is no such picture or map.
    pub fn map(&self, picture: usize, map: usize) -> &[f32] {
        let (start, shape) = self.maps[map];
        let start = picture * self.results + start;
        &self.values[start..start + shape.iter().product::<usize>()]
    }
}

impl Program {
    /// Compiles a graph of one picture.
    ///
    /// # Errors
    /// [`NoKernel`] for a node that the kernels cannot compute.
    ///
    /// # Panics
    /// If the graph is of a batch of another size than 1.
    pub fn compile(graph: &Graph) -> Result<Self, NoKernel> {
        let inputs = graph.nodes.iter().filter(|node| matches!(node.op, Op::Input)).count();
        if inputs != 1 {
            return Err(NoKernel(format!("{inputs} inputs")));
        }
        let program = plan::plan(lower::lower(graph, Expansions::Fused)?)?;
        assert_eq!(program.input[0], 1, "a graph of one picture");
        Ok(program)
    }

    /// `[channels, height, width]` of a picture.
    pub fn input_shape(&self) -> [usize; 3] {
        let [_, channels, height, width] = self.input;
        [channels, height, width]
    }

    /// Bytes that the maps of a picture take.
    pub fn memory_bytes(&self) -> usize {
        self.memory * size_of::<f32>()
    }

    /// Computes the outputs of any number of pictures.
    ///
    /// Each thread takes a picture for itself as long as there is one for every thread: maps stay in that core's cache,
    /// and nobody waits. The last pictures, if fewer than threads, are computed by all threads together.
    ///
    /// # Shapes
    /// - `pictures`: `[pictures, channels, height, width]`, row by row
    ///
    /// # Panics
    /// If `pictures` is not a number of whole pictures.
    pub fn run(&self, pictures: &[f32], workers: &Workers) -> Outputs {
        let length: usize = self.input.iter().product();
        assert_eq!(pictures.len() % length, 0, "pictures of shape {:?}", self.input);
        let (count, threads) = (pictures.len() / length, workers.threads());
        let alone = count - count % threads;
        let whole = self.memory + self.scratch;
        let room = if alone > 0 { threads * whole } else { self.memory + threads * self.scratch };
        let mut room = self.pool.take(room);
        let mut values = self.pool.take(count * self.results);
        let first = Memory {
            start: room.as_mut_ptr(),
            maps: self.memory,
            results: values.as_mut_ptr(),
            input: pictures.as_ptr(),
        };
        if alone > 0 {
            let next = AtomicUsize::new(0);
            let failed = AtomicBool::new(false);
            workers.run(&|worker| {
                let on_panic = OnPanic(&failed);
                loop {
                    let picture = next.fetch_add(1, Ordering::Relaxed);
                    if picture >= alone {
                        break;
                    }
                    // SAFETY: the blocks were made for so many workers and pictures
                    let memory =
                        unsafe { first.behind(worker * whole, picture * self.results, picture * length) };
                    self.walk_alone(&memory);
                }
                std::mem::forget(on_panic);
            });
            assert!(!failed.into_inner(), "a worker panicked");
        }
        for picture in alone..count {
            // SAFETY: the blocks were made for so many pictures
            let memory = unsafe { first.behind(0, picture * self.results, picture * length) };
            self.walk(&memory, workers);
        }
        Outputs { values, results: self.results, maps: self.outputs.clone() }
    }

    /// One thread does all tasks of all steps.
    fn walk_alone(&self, memory: &Memory) {
        // SAFETY: the scratch lies behind the maps
        let scratch = unsafe { memory.start.add(self.memory) };
        for call in self.steps.iter().flat_map(|step| &step.calls) {
            for task in 0..call.tasks() {
                // SAFETY: nobody else uses this memory
                unsafe { call.run(task, memory, scratch) };
            }
        }
    }

    /// Every thread walks through all steps and takes tasks of each until none is left.
    fn walk(&self, memory: &Memory, workers: &Workers) {
        let progress: Vec<Progress> = self.steps.iter().map(|_| Progress::default()).collect();
        let failed = AtomicBool::new(false);
        workers.run(&|worker| {
            let on_panic = OnPanic(&failed);
            // SAFETY: the scratch of each worker lies behind the maps, one after the other
            let scratch = unsafe { memory.start.add(self.memory + worker * self.scratch) };
            for (step, progress) in self.steps.iter().zip(&progress) {
                let tasks = step.first[step.calls.len()];
                loop {
                    let task = progress.next.fetch_add(1, Ordering::Relaxed);
                    if task >= tasks {
                        break;
                    }
                    let call = step.first.partition_point(|first| *first <= task) - 1;
                    // SAFETY: the plan gives calls of one step separate places to write to, and no place that another
                    // call of the step reads; tasks of a call write to separate parts.
                    unsafe { step.calls[call].run(task - step.first[call], memory, scratch) };
                    progress.done.fetch_add(1, Ordering::Release);
                }
                let mut wait = Wait::default();
                while progress.done.load(Ordering::Acquire) < tasks {
                    if failed.load(Ordering::Relaxed) {
                        return std::mem::forget(on_panic);
                    }
                    wait.pause();
                }
            }
            std::mem::forget(on_panic);
        });
        assert!(!failed.into_inner(), "a worker panicked");
    }
}

/// How far a step is, on a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Progress {
    next: AtomicUsize,
    done: AtomicUsize,
}

/// Says so when a panic drops it.
struct OnPanic<'a>(&'a AtomicBool);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::feature_map::{FeatureMap, record};
    use crate::graph::{ConvOp, Node};
    use crate::{Conv2dConfig, Padding, Pool};

    #[test]
    fn a_max_pool_keeps_what_is_not_a_number() {
        let pool =
            |x: crate::feature_map::Recorded| vec![x.pool2d(Pool::Max, [1, 3], [1, 1], Padding::Symmetric)];
        let program = Program::compile(&record([1, 1, 1, 3], pool).unwrap()).unwrap();
        let workers = Workers::new(1);
        let nan = f32::NAN;
        for (input, is_nan) in [
            ([nan, 1.0, 2.0], [true, true, false]),
            ([1.0, 2.0, nan], [false, true, true]),
            ([1.0, nan, f32::NEG_INFINITY], [true; 3]),
            ([1.0, f32::INFINITY, 2.0], [false; 3]),
        ] {
            let outputs = program.run(&input, &workers);
            let found: Vec<bool> = outputs.map(0, 0).iter().map(|value| value.is_nan()).collect();
            assert_eq!(found, is_nan, "{input:?}");
        }
        assert_eq!(program.run(&[f32::NEG_INFINITY, 2.0, f32::INFINITY], &workers).map(0, 0)[0], 2.0);
    }

    #[test]
    fn a_padded_pointwise_convolution_has_its_bias_in_the_border() {
        let node = |op, inputs: &[usize], shape| Node { op, inputs: inputs.to_vec(), shape };
        let pointwise = ConvOp {
            weight: [1.0, 2.0, 3.0, 4.0].into(),
            bias: Some([0.5, -0.25].into()),
            in_channels: 2,
            out_channels: 2,
            kernel: 1,
            stride: 1,
            dilation: 1,
            groups: 1,
            padding: [(1, 1); 2],
            same: false,
        };
        // Every number as it is.
        let depthwise = ConvOp {
            weight: [1.0; 2].into(),
            bias: None,
            groups: 2,
            padding: [(0, 0); 2],
            ..pointwise.clone()
        };
        let (map, padded) = ([1, 2, 3, 3], [1, 2, 5, 5]);
        let input = node(Op::Input, &[], map);
        let conv = |from| node(Op::Conv(pointwise.clone()), &[from], padded);
        let mean = node(Op::GlobalMean, &[0], [1, 2, 1, 1]);
        let plain = vec![input.clone(), conv(0)];
        let gated = vec![input.clone(), mean, node(Op::Gate, &[0, 1], map), conv(2)];
        let expanded = vec![input, conv(0), node(Op::Conv(depthwise), &[1], padded)];
        let picture: Vec<f32> = (1..=18).map(|number| number as f32).collect();
        for (nodes, factors) in [(plain, [1.0; 2]), (gated, [5.0, 14.0]), (expanded, [1.0; 2])] {
            let outputs = vec![nodes.len() - 1];
            let program = Program::compile(&Graph { nodes, outputs }).unwrap();
            let found = program.run(&picture, &Workers::new(1));
            for (at, found) in found.map(0, 0).iter().enumerate() {
                let (y, x, channel) = (at / 10, at / 2 % 5, at % 2);
                let mut expected = [0.5, -0.25][channel];
                let inside = (1..4).contains(&y) && (1..4).contains(&x);
                if inside {
                    let given = |i: usize| factors[i] * picture[i * 9 + (y - 1) * 3 + x - 1];
                    expected += pointwise.weight[2 * channel] * given(0);
                    expected += pointwise.weight[2 * channel + 1] * given(1);
                }
                let allowed = if inside { 1e-3 } else { 0.0 };
                assert!((found - expected).abs() <= allowed, "{y},{x},{channel}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn a_map_of_other_channels_than_the_layer_has_is_not_compiled() {
        let layer = Conv2dConfig::new(3, 8, 3).init(&Device::flex());
        assert!(record([1, 3, 8, 8], |x| vec![layer.forward(x)]).is_ok());
        for channels in [1, 4] {
            let error = record([1, channels, 8, 8], |x| vec![layer.forward(x)]).unwrap_err();
            assert!(error.to_string().contains("a convolution of 3 channels"), "{error}");
        }
        let mut graph = record([1, 3, 8, 8], |x| vec![layer.forward(x)]).unwrap();
        graph.nodes[0].shape[1] = 4;
        assert!(Program::compile(&graph).is_err());
    }
}
