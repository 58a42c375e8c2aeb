//! The network together with its anchors: normalised pictures in, detections out.

use std::sync::{Arc, Mutex, PoisonError};

use burn::module::Module;
use burn::tensor::Tensor;
use effdet_core::{Detection, ImageSize};
use effdet_heads::{Anchors, Frame, decode_batch};

use crate::{EfficientDet, EfficientDetConfig, Error, HeadOutputs};

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
}

impl Predictor {
    /// Puts the network in evaluation mode.
    pub fn new(model: EfficientDet, config: EfficientDetConfig) -> Self {
        Self { model: model.valid(), config, anchors: Mutex::new(Vec::new()) }
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
        let [batch, _, height, width] = pictures.dims();
        assert_eq!(frames.len(), batch, "one frame per picture");
        let outputs = self.model.forward(pictures);
        let anchors = self.anchors(ImageSize { height, width }, &outputs.level_sizes())?;
        let HeadOutputs { class_logits, box_deltas } = outputs;
        let EfficientDetConfig { num_classes, decode, .. } = &self.config;
        Ok(decode_batch(&class_logits, &box_deltas, &anchors, *num_classes, decode, frames)?)
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
