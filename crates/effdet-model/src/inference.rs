//! The detector's inference form: compiled for the processor it runs on.

use std::sync::{Arc, Mutex, PoisonError};

use effdet_core::ImageSize;
use effdet_heads::HostOutputs;
use effdet_nn::native::{Program, Workers};
use effdet_nn::record;

use crate::EfficientDet;

/// How many picture sizes stay compiled; a further one replaces the oldest.
const CACHED_SHAPES: usize = 4;

/// A network compiled for each size of picture it has seen.
///
/// Batch norms are folded into convolutions, fusion weights are constants, maps are channels-last and share one block of
/// memory. The parameters are read when a size is first seen; later changes of the model are not.
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

    /// The network compiled for pictures of `shape`, `[channels, height, width]`.
    ///
    /// # Errors
    /// What has no native form, in words.
    pub fn program(&self, model: &EfficientDet, shape: [usize; 3]) -> Result<Arc<Program>, String> {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = programs.iter().find(|program| program.input_shape() == shape) {
            return Ok(Arc::clone(program));
        }
        let [channels, height, width] = shape;
        let graph = record([1, channels, height, width], |input| {
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
    /// - `pictures`: any number of the program's pictures, row by row
    ///
    /// # Panics
    /// If `pictures` is not a number of whole pictures.
    pub fn forward(&self, program: &Program, pictures: &[f32]) -> (HostOutputs, Vec<ImageSize>) {
        let outputs = program.run(pictures, &self.workers);
        let size = |map: usize| {
            let [_, height, width] = outputs.shape(map);
            ImageSize { height, width }
        };
        let sizes = (0..outputs.maps() / 2).map(size).collect();
        (HostOutputs::native(outputs), sizes)
    }
}
