//! The detector's inference form: compiled for the processor it runs on.

use std::sync::{Arc, Mutex, PoisonError};

use effdet_core::ImageSize;
use effdet_heads::{HostOutputs, Layout};
use effdet_nn::native::{Output, Program, Workers};
use effdet_nn::record;

use crate::EfficientDet;

/// How many input shapes stay compiled; a further one replaces the oldest.
const CACHED_SHAPES: usize = 4;

/// A network compiled for each shape of input it has seen.
///
/// Batch norms are folded into convolutions, fusion weights are constants, maps are channels-last and share one block of
/// memory. The parameters are read when a shape is first seen; later changes of the model are not.
#[derive(Debug)]
pub struct Inference {
    workers: Workers,
    programs: Mutex<Vec<Arc<Program>>>,
}

impl Inference {
    /// An inference form that runs on this many threads.
    pub fn new(threads: usize) -> Self {
        Self { workers: Workers::new(threads), programs: Mutex::default() }
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.workers.threads()
    }

    /// The network compiled for inputs of `shape`, `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// What has no native form, in words.
    pub fn program(&self, model: &EfficientDet, shape: [usize; 4]) -> Result<Arc<Program>, String> {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = programs.iter().find(|program| program.input_shape() == shape) {
            return Ok(Arc::clone(program));
        }
        let graph = record(shape, |input| {
            let outputs = model.forward(input);
            outputs.class_logits.into_iter().chain(outputs.box_deltas).collect()
        });
        let graph = graph.map_err(|error| error.to_string())?;
        let program = Arc::new(Program::compile(&graph).map_err(|error| error.to_string())?);
        if programs.len() == CACHED_SHAPES {
            programs.remove(0);
        }
        programs.push(Arc::clone(&program));
        Ok(program)
    }

    /// Class logits and box codes of normalised pictures, and the size of every level.
    ///
    /// # Shapes
    /// - `pictures`: the program's input, row by row
    ///
    /// # Panics
    /// If `pictures` has another length.
    pub fn forward(&self, program: &Program, pictures: &[f32]) -> (HostOutputs, Vec<ImageSize>) {
        let outputs = program.run(pictures, &self.workers);
        let levels = outputs.len() / 2;
        let size = |output: &Output| ImageSize { height: output.shape[2], width: output.shape[3] };
        let sizes = outputs[..levels].iter().map(size).collect();
        let mut maps = outputs.into_iter().map(|output| output.values);
        let class_logits = maps.by_ref().take(levels).collect();
        (HostOutputs { class_logits, box_deltas: maps.collect(), layout: Layout::ChannelsLast }, sizes)
    }
}
