//! The inference form of a network: a list of kernel calls on one block of memory, for one size of input.
//!
//! [`Program::compile`] takes a recorded [`Graph`], folds batch norms and activations into convolutions, residual sums
//! into projections and squeeze-and-excite factors into the weights of the next convolution, sorts what is left into
//! steps whose calls do not depend on each other, and assigns every map a place in memory that is free at the time.

mod call;
mod lower;
mod plan;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use call::{Call, Memory};

use super::workers::{Wait, Workers};
use crate::graph::Graph;

/// A graph has a node that the kernels cannot compute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no native kernel for {0}")]
pub struct NoKernel(pub String);

/// A network compiled for one size of input.
#[derive(Debug)]
pub struct Program {
    steps: Vec<Step>,
    /// Numbers of memory a run needs.
    memory: usize,
    /// Numbers of memory each thread needs besides.
    scratch: usize,
    /// `[batch, channels, height, width]` of the input.
    input: [usize; 4],
    outputs: Vec<(usize, [usize; 4])>,
    /// Memory of runs that have ended.
    idle: Mutex<Vec<Vec<f32>>>,
}

/// Calls that do not depend on each other, each divided into tasks.
#[derive(Debug)]
struct Step {
    calls: Vec<Call>,
    /// For each call the number of its first task; then the number of all.
    first: Vec<usize>,
}

/// A result: a map with channels last.
#[derive(Clone, Debug)]
pub struct Output {
    /// `[batch, height, width, channels]`, row by row.
    pub values: Vec<f32>,
    /// `[batch, channels, height, width]`
    pub shape: [usize; 4],
}

impl Program {
    /// Compiles a graph.
    ///
    /// # Errors
    /// [`NoKernel`] for a node that the kernels cannot compute.
    pub fn compile(graph: &Graph) -> Result<Self, NoKernel> {
        plan::plan(lower::lower(graph)?)
    }

    /// `[batch, channels, height, width]` of the input.
    pub fn input_shape(&self) -> [usize; 4] {
        self.input
    }

    /// Bytes a run holds.
    pub fn memory_bytes(&self) -> usize {
        self.memory * size_of::<f32>()
    }

    /// Computes the outputs.
    ///
    /// # Shapes
    /// - `input`: `[batch, channels, height, width]`, row by row
    ///
    /// # Panics
    /// If `input` has another length.
    pub fn run(&self, input: &[f32], workers: &Workers) -> Vec<Output> {
        assert_eq!(input.len(), self.input.iter().product::<usize>(), "an input of shape {:?}", self.input);
        let scratch = self.scratch * workers.threads();
        let mut block = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        block.resize(self.memory + scratch, 0.0);
        let memory = Memory { start: block.as_mut_ptr(), input: input.as_ptr() };
        self.walk(&memory, workers);
        let outputs = self.outputs.iter().map(|(place, shape)| Output {
            values: block[*place..place + shape.iter().product::<usize>()].to_vec(),
            shape: *shape,
        });
        let outputs = outputs.collect();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(block);
        outputs
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
