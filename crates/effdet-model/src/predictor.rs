//! The network together with its anchors: normalised pictures in, detections out.

use std::sync::{Arc, Mutex, PoisonError};

use burn::module::Module;
use burn::tensor::Tensor;
use effdet_core::{Detection, ImageSize};
use effdet_heads::{Anchors, DecodeConfig, Frame, HostOutputs};
use effdet_nn::device::{catch_out_of_memory, is_on_host};
use effdet_nn::native::{self, DeviceProgram, Program};

use crate::{EfficientDet, EfficientDetConfig, Error, HeadOutputs, Inference};

/// How many input sizes keep their anchors; a picture of a further size replaces the oldest.
const CACHED_SIZES: usize = 16;

/// What the network gives for a batch, on the host.
#[derive(Clone, Debug)]
pub struct RawOutputs {
    /// Class logits and box codes.
    pub outputs: HostOutputs,
    /// Size of the pictures.
    pub input: ImageSize,
    /// Size of every level, finest first.
    pub levels: Vec<ImageSize>,
    /// Number of pictures.
    pub batch: usize,
}

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
    /// On the CPU, CUDA and wgpu it is computed in its [inference form](Inference) wherever there is one; on the CPU with
    /// as many threads as the processor has cores.
    pub fn new(model: EfficientDet, config: EfficientDetConfig) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let inference = Some(Inference::new(threads));
        Self { model: model.valid(), config, anchors: Mutex::new(Vec::new()), inference }
    }

    /// Sets the number of threads of the inference form on the CPU; with `None` the network runs as a composition of the
    /// framework's operations, on any device.
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
    /// [`Error::OutOfMemory`] if the device has no room for so many pictures; [`Error::Heads`] if it fails otherwise, or
    /// for settings out of range.
    ///
    /// # Panics
    /// If there are not as many frames as pictures, or the pictures have other channels than the network.
    pub fn detect(
        &self,
        pictures: Tensor<4>,
        frames: &[Option<Frame>],
    ) -> Result<Vec<Vec<Detection>>, Error> {
        assert_eq!(frames.len(), pictures.dims()[0], "one frame per picture");
        self.decode(&self.forward(pictures)?, frames)
    }

    /// Raw outputs for normalised pictures, on the host.
    ///
    /// # Shapes
    /// - `pictures`: `[batch, in_channels, height, width]`
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the device has no room for so many pictures; [`Error::Heads`] if it fails otherwise.
    ///
    /// # Panics
    /// If the pictures have other channels than the network.
    pub fn forward(&self, pictures: Tensor<4>) -> Result<RawOutputs, Error> {
        let [batch, ..] = pictures.dims();
        let outputs = catch_out_of_memory(batch, &pictures.device(), |count| {
            let all = pictures.clone();
            if count < batch {
                self.forget_batches();
            }
            self.forward_all(if count == batch { all } else { all.narrow(0, 0, count) })
        });
        if matches!(outputs, Err(Error::OutOfMemory(_))) {
            self.forget_batches();
        }
        outputs
    }

    /// What was compiled for a batch that did not fit holds memory, and will not work when there is more.
    fn forget_batches(&self) {
        self.inference.iter().for_each(Inference::forget_batches);
    }

    fn forward_all(&self, pictures: Tensor<4>) -> Result<RawOutputs, Error> {
        let [batch, _, height, width] = pictures.dims();
        let (input, device) = (ImageSize { height, width }, pictures.device());
        let (outputs, levels) = if let Some((inference, program)) = self.compiled(&pictures) {
            let pictures = pictures.try_into_data().map_err(read_error)?;
            let pictures = pictures.convert::<f32>().try_into_vec::<f32>().map_err(read_error)?;
            inference.forward(&program, &pictures)
        } else {
            let outputs = self.network_outputs(pictures);
            let levels = outputs.level_sizes();
            let HeadOutputs { class_logits, box_deltas } = &outputs;
            let outputs = if is_on_host(&device) {
                HostOutputs::read(class_logits, box_deltas)?
            } else {
                let EfficientDetConfig { num_classes, decode, .. } = &self.config;
                HostOutputs::read_candidates(class_logits, box_deltas, *num_classes, decode.max_candidates)?
            };
            (outputs, levels)
        };
        Ok(RawOutputs { outputs, input, levels, batch })
    }

    /// Detections from raw outputs, best first; the rest of [`detect`](Self::detect).
    ///
    /// # Errors
    /// [`Error::Heads`] for settings out of range.
    ///
    /// # Panics
    /// If there are not as many frames as pictures.
    pub fn decode(&self, raw: &RawOutputs, frames: &[Option<Frame>]) -> Result<Vec<Vec<Detection>>, Error> {
        self.decode_each(raw, frames, &vec![self.config.decode; frames.len()])
    }

    /// As [`decode`](Self::decode), every picture with settings of its own.
    ///
    /// # Errors
    /// [`Error::Heads`] for settings out of range.
    ///
    /// # Panics
    /// If there are not as many frames and settings as pictures.
    pub fn decode_each(
        &self,
        raw: &RawOutputs,
        frames: &[Option<Frame>],
        settings: &[DecodeConfig],
    ) -> Result<Vec<Vec<Detection>>, Error> {
        assert_eq!(frames.len(), raw.batch, "one frame per picture");
        let anchors = self.anchors(raw.input, &raw.levels)?;
        Ok(raw.outputs.decode_each(&anchors, self.config.num_classes, settings, frames)?)
    }

    /// Class logits and box codes as tensors, left on the device.
    ///
    /// # Shapes
    /// - `pictures`: `[batch, in_channels, height, width]`
    ///
    /// # Panics
    /// If the pictures have other channels than the network.
    pub fn network_outputs(&self, pictures: Tensor<4>) -> HeadOutputs {
        match self.device_program(&pictures) {
            Some(program) => Inference::forward_on_device(&program, pictures),
            None => self.model.forward(pictures),
        }
    }

    /// Whether pictures of this shape and device are computed in the inference form.
    pub fn runs_natively(&self, pictures: &Tensor<4>) -> bool {
        self.compiled(pictures).is_some() || self.device_program(pictures).is_some()
    }

    /// The inference form for pictures of this shape on their device, where there is one.
    fn device_program(&self, pictures: &Tensor<4>) -> Option<DeviceProgram> {
        let inference = self.inference.as_ref().filter(|_| DeviceProgram::runs_on(&pictures.device()))?;
        let [_, channels, height, width] = pictures.dims();
        let program = inference.device_program(&self.model, [channels, height, width]).ok()?;
        program.takes(pictures).then_some(program)
    }

    /// The inference form for pictures of this shape, where there is one.
    fn compiled(&self, pictures: &Tensor<4>) -> Option<(&Inference, Arc<Program>)> {
        let inference = self.inference.as_ref().filter(|_| native::runs_on(&pictures.device()))?;
        let [_, channels, height, width] = pictures.dims();
        let program = inference.program(&self.model, [channels, height, width]).ok()?;
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
