//! The network together with its anchors: normalised pictures in, detections out.

use std::sync::{Arc, Mutex, PoisonError};

use burn::module::Module;
use burn::tensor::Tensor;
use effdet_core::{Detection, ImageSize};
use effdet_heads::{Anchors, Frame, decode_batch};
use effdet_nn::native::{self, Program};

use crate::{EfficientDet, EfficientDetConfig, Error, HeadOutputs, Inference};

/// How many input sizes keep their anchors; a picture of a further size replaces the oldest.
const CACHED_SIZES: usize = 8;

/// A network in evaluation mode, with anchors for the sizes it sees.
///
/// # Reference
/// effdet `DetBenchPredict`. Differs: accepts any input size, and returns as many detections as there are.
#[derive(Debug)]
pub struct Predictor {
    model: EfficientDet,
    config: EfficientDetConfig,
    anchors: Mutex<Vec<Arc<Anchors>>>,
    inference: Option<Inference>,
}

impl Predictor {
    /// Puts the network in evaluation mode.
    ///
    /// On the CPU it is computed in its [inference form](Inference) wherever there is one, with as many threads as the
    /// processor has cores.
    pub fn new(model: EfficientDet, config: EfficientDetConfig) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let inference = Some(Inference::new(threads));
        Self { model: model.valid(), config, anchors: Mutex::new(Vec::new()), inference }
    }

    /// Sets the number of threads of the inference form; with `None` the network runs as a composition of the
    /// framework's operations.
    pub fn set_inference(&mut self, threads: Option<usize>) {
        self.inference = threads.map(Inference::new);
    }

    /// The inference form.
    pub fn inference(&self) -> Option<&Inference> {
        self.inference.as_ref()
    }

    /// The configuration.
    pub fn config(&self) -> &EfficientDetConfig {
        &self.config
    }

    /// The configuration, for what may change after building: how outputs become detections.
    pub fn config_mut(&mut self) -> &mut EfficientDetConfig {
        &mut self.config
    }

    /// The network.
    pub fn model(&self) -> &EfficientDet {
        &self.model
    }

    /// Detections of normalised pictures, best first.
    ///
    /// `frames` says where each picture lies in the input; without one, boxes stay in pixels of the input and are not
    /// clipped.
    ///
    /// # Shapes
    /// - `pictures`: `[batch, in_channels, height, width]`
    /// - `frames`: one per picture
    ///
    /// # Errors
    /// [`Error::Heads`] if the device fails, or for settings out of range.
    ///
    /// # Panics
    /// If there are not as many frames as pictures, or the pictures have other channels than the network.
    pub fn detect(
        &self,
        pictures: Tensor<4>,
        frames: &[Option<Frame>],
    ) -> Result<Vec<Vec<Detection>>, Error> {
        let shape = pictures.dims();
        assert_eq!(frames.len(), shape[0], "one frame per picture");
        let size = ImageSize { height: shape[2], width: shape[3] };
        let EfficientDetConfig { num_classes, decode, .. } = &self.config;
        if let Some((inference, program)) = self.compiled(&pictures) {
            let pictures = pictures.try_into_data().map_err(read_error)?;
            let pictures = pictures.convert::<f32>().try_into_vec::<f32>().map_err(read_error)?;
            let (outputs, sizes) = inference.forward(&program, &pictures);
            let anchors = self.anchors(size, &sizes)?;
            return Ok(outputs.decode(&anchors, *num_classes, decode, frames)?);
        }
        let outputs = self.model.forward(pictures);
        let anchors = self.anchors(size, &outputs.level_sizes())?;
        let HeadOutputs { class_logits, box_deltas } = outputs;
        Ok(decode_batch(&class_logits, &box_deltas, &anchors, *num_classes, decode, frames)?)
    }

    /// The inference form for pictures of this shape, where there is one.
    fn compiled(&self, pictures: &Tensor<4>) -> Option<(&Inference, Arc<Program>)> {
        let inference = self.inference.as_ref().filter(|_| native::runs_on(&pictures.device()))?;
        let program = inference.program(&self.model, pictures.dims()).ok()?;
        Some((inference, program))
    }

    /// The anchors of an input size and the feature maps it gives, made once.
    fn anchors(&self, size: ImageSize, levels: &[ImageSize]) -> Result<Arc<Anchors>, Error> {
        let mut cache = self.anchors.lock().unwrap_or_else(PoisonError::into_inner);
        // The network is one, so its feature maps follow from the input size.
        if let Some(anchors) = cache.iter().find(|anchors| anchors.image_size() == size) {
            return Ok(Arc::clone(anchors));
        }
        let anchors = Arc::new(Anchors::for_features(&self.config.anchor_config(), size, levels)?);
        if cache.len() == CACHED_SIZES {
            cache.remove(0);
        }
        cache.push(Arc::clone(&anchors));
        Ok(anchors)
    }
}

fn read_error(error: impl std::fmt::Debug) -> Error {
    Error::Heads(effdet_heads::Error::ReadBack(format!("{error:?}")))
}
