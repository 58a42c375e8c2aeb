//! The detector's inference form: compiled for the processor or device it runs on.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use burn::tensor::Tensor;
use effdet_core::ImageSize;
use effdet_heads::HostOutputs;
use effdet_nn::graph::Graph;
use effdet_nn::native::{DeviceProgram, Program, Workers};
use effdet_nn::record;

use crate::{EfficientDet, HeadOutputs};

/// How many picture sizes stay compiled; a further one replaces the oldest. With fewer than the views of a picture in
/// different sizes have, every view would be compiled again.
const CACHED_SHAPES: usize = 16;

/// A network compiled for each size of picture it has seen.
///
/// Batch norms are folded into convolutions, fusion weights are constants, maps are channels-last and share one block of
/// memory. The parameters are read when a size is first seen; later changes of the model are not.
#[derive(Debug)]
pub struct Inference {
    workers: Workers,
    programs: Cache<Arc<Program>>,
    device_programs: Cache<DeviceProgram>,
}

/// Programs by `[channels, height, width]` of a picture, or why there is none: that is not found out again for every batch.
type Cache<T> = Mutex<Vec<([usize; 3], Slot<T>)>>;

/// Filled by the first who needs it, while others go on with other sizes.
type Slot<T> = Arc<OnceLock<Result<T, String>>>;

fn cached<T: Clone>(
    cache: &Cache<T>,
    shape: [usize; 3],
    compile: impl FnOnce() -> Result<T, String>,
) -> Result<T, String> {
    slot(cache, shape).get_or_init(compile).clone()
}

/// The place of a size in the cache, made where there is none.
fn slot<T>(cache: &Cache<T>, shape: [usize; 3]) -> Slot<T> {
    let mut programs = cache.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, slot)) = programs.iter().find(|(of, _)| *of == shape) {
        return Arc::clone(slot);
    }
    if programs.len() == CACHED_SHAPES {
        drop(programs.remove(0));
    }
    let slot = Slot::default();
    programs.push((shape, Arc::clone(&slot)));
    slot
}

/// Class logits of every level, then box codes.
fn graph(model: &EfficientDet, [channels, height, width]: [usize; 3]) -> Result<Graph, String> {
    let graph = record([1, channels, height, width], |input| {
        let outputs = model.forward(input);
        outputs.class_logits.into_iter().chain(outputs.box_deltas).collect()
    });
    graph.map_err(|error| error.to_string())
}

impl Inference {
    /// An inference form that runs on this many threads.
    pub fn new(threads: usize) -> Self {
        Self { workers: Workers::new(threads), programs: Mutex::default(), device_programs: Mutex::default() }
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
        cached(&self.programs, shape, || {
            let program = Program::compile(&graph(model, shape)?).map_err(|error| error.to_string())?;
            Ok(Arc::new(program))
        })
    }

    /// Gives back the memory that batches hold on devices.
    pub fn forget_batches(&self) {
        let programs = self.device_programs.lock().unwrap_or_else(PoisonError::into_inner);
        let compiled = programs.iter().filter_map(|(_, slot)| slot.get()?.as_ref().ok());
        compiled.for_each(DeviceProgram::forget);
    }

    /// The same for a device that is not the processor.
    ///
    /// # Errors
    /// What has no form on devices, in words.
    pub fn device_program(&self, model: &EfficientDet, shape: [usize; 3]) -> Result<DeviceProgram, String> {
        cached(&self.device_programs, shape, || {
            DeviceProgram::compile(&graph(model, shape)?).map_err(|error| error.to_string())
        })
    }

    /// Class logits and box codes of normalised pictures on a device.
    ///
    /// # Shapes
    /// - `pictures`: `[batch, channels, height, width]`, of the program's size
    ///
    /// # Panics
    /// As [`DeviceProgram::forward`].
    pub fn forward_on_device(program: &DeviceProgram, pictures: Tensor<4>) -> HeadOutputs {
        let mut class_logits = program.forward(vec![pictures]);
        let box_deltas = class_logits.split_off(class_logits.len() / 2);
        HeadOutputs { class_logits, box_deltas }
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
        let batch = pictures.len() / program.input_shape().iter().product::<usize>().max(1);
        (HostOutputs::native(outputs, batch), sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_sizes_in_turn_are_compiled_once_each() {
        let cache: Cache<usize> = Mutex::default();
        let mut compiled = 0;
        for _ in 0..2 {
            for side in 0..16 {
                let program = cached(&cache, [3, side, side], || {
                    compiled += 1;
                    Ok(side)
                });
                assert_eq!(program, Ok(side));
            }
        }
        assert_eq!(compiled, 16);
    }
}
