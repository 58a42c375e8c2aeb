//! A detector in training.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use effdet_core::{ClassMap, Detection, ImageSize};
use effdet_data::{Batch, Fill, Interpolation, Preprocess, RecordId};
use effdet_heads::{Anchors, Frame, Truth, decode_batch};
use effdet_model::{EfficientDet, EfficientDetConfig, HeadOutputs, Predictor};
use effdet_weights::{
    Checkpoint, CheckpointMetadata, ClassHead, LoadOptions, TransferOptions, TransferReport, identity_keys,
    save_safetensors, transfer_into,
};
use rayon::prelude::*;

use crate::parameters::{assign, in_context_of, parameters, values};
use crate::{Error, Parameter};

/// Seeds the generator and draws from it before anyone else seeds it: there is one for all devices of a backend.
pub(crate) fn seeded(device: &Device, seed: u64, draw: impl FnOnce()) {
    static GENERATOR: Mutex<()> = Mutex::new(());
    let _one = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    device.seed(seed);
    draw();
}

/// How a backbone alone is read: as a classifier of timm, or under our own names.
fn backbone_options(checkpoint: &Checkpoint) -> LoadOptions {
    let timm = LoadOptions::timm_classifier();
    let ours = |name: &str| name.starts_with("stem_") || name.starts_with("stages_");
    if checkpoint.names().any(ours) { LoadOptions { key_map: identity_keys, ..timm } } else { timm }
}

/// A network on a device that records gradients, with everything that belongs to its weights.
#[derive(Debug)]
pub struct DetectorModel {
    /// The network.
    pub network: EfficientDet,
    config: EfficientDetConfig,
    class_map: ClassMap,
    preprocess: Preprocess,
    device: Device,
    anchors: AnchorCache,
}

impl DetectorModel {
    /// The network of a configuration, its weights drawn with `seed`.
    ///
    /// The number of classes is that of `class_map`. The device has one generator: training runs in other threads wait for
    /// the draws and do not change them, other draws from it do.
    ///
    /// # Errors
    /// If the configuration is inconsistent.
    pub fn new(
        config: EfficientDetConfig,
        class_map: ClassMap,
        seed: u64,
        device: &Device,
    ) -> Result<Self, Error> {
        let config = config.with_num_classes(class_map.len());
        let device = device.clone().autodiff();
        let network = config.init(&device)?;
        seeded(&device, seed, || {
            // Weights are drawn when first looked at.
            values(&network);
        });
        let preprocess = Preprocess {
            mean: config.mean,
            std: config.std,
            fill: config.fill.map_or(Fill::Mean, Fill::Color),
            ..Preprocess::imagenet(config.image_size)
        };
        Ok(Self { network, config, class_map, preprocess, device, anchors: AnchorCache::default() })
    }

    /// The published configuration of this name, its weights drawn with seed 0.
    ///
    /// # Errors
    /// If there is no such configuration.
    pub fn named(name: &str, class_map: &ClassMap, size: ImageSize, device: &Device) -> Result<Self, Error> {
        let config = EfficientDetConfig::named(name)?.with_image_size(size);
        Self::new(config, class_map.clone(), 0, device)
    }

    /// Recomputes activations in the backward pass where that is cheap, for less memory and more time.
    #[must_use]
    pub fn with_gradient_checkpointing(mut self) -> Self {
        self.device = self.device.clone().gradient_checkpointing();
        self.network = in_context_of(self.network, &self.device);
        self
    }

    /// The same model on another device, or once more on this one, for a worker of its own: with the same weights and
    /// statistics, of which neither changes the other's.
    #[must_use]
    pub fn replica(&self, device: &Device) -> Self {
        let device = match self.device.gradient_checkpointing_strategy() {
            Some(_) => device.clone().with_autodiff_context_from(&self.device),
            None => device.clone().autodiff(),
        };
        let plain = device.clone().without_autodiff();
        let weights = values(&self.network).into_iter();
        let weights = weights.map(|(name, value)| (name, value.to_device(&plain))).collect();
        let network = self.network.clone().to_device(&device);
        Self {
            network: assign(network, weights),
            config: self.config.clone(),
            class_map: self.class_map.clone(),
            preprocess: self.preprocess,
            device,
            anchors: AnchorCache::default(),
        }
    }

    /// Sets what pictures are normalised with.
    #[must_use]
    pub fn with_normalization(mut self, mean: [f32; 3], std: [f32; 3]) -> Self {
        (self.preprocess.mean, self.preprocess.std) = (mean, std);
        (self.config.mean, self.config.std) = (mean, std);
        self
    }

    /// Normalises pictures as a checkpoint says that its own were. One that says nothing, such as a `.pth`, changes nothing.
    ///
    /// # Errors
    /// If the file cannot be read, or describes itself in a way that is not understood.
    pub fn with_normalization_of(self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let described = CheckpointMetadata::from_checkpoint(&Checkpoint::open(path)?)?;
        let mean = described.mean.unwrap_or(self.preprocess.mean);
        let std = described.std.unwrap_or(self.preprocess.std);
        Ok(self.with_normalization(mean, std))
    }

    /// Takes over the weights of a checkpoint: of a detector, whose class head keeps the rows of classes that both know by
    /// name and starts anew for others, or of a backbone alone. What does not fit stays as drawn and is in the report.
    ///
    /// # Errors
    /// If the file cannot be read, or nothing in it fits.
    pub fn load(mut self, path: impl AsRef<Path>) -> Result<(Self, TransferReport), Error> {
        let checkpoint = Checkpoint::open(path)?;
        let anchors = self.config.num_scales * self.config.aspect_ratios.len();
        let class_head = ClassHead::keeping_shared(&checkpoint, anchors, &self.class_map)?;
        let options = TransferOptions { class_head, ..TransferOptions::default() };
        let is_detector = checkpoint.names().any(|name| name.starts_with("backbone."));
        let report = if is_detector {
            let (network, report) = transfer_into(self.network, &checkpoint, &options)?;
            self.network = network;
            report
        } else {
            let options = TransferOptions { load: backbone_options(&checkpoint), ..options };
            let (backbone, report) = transfer_into(self.network.backbone, &checkpoint, &options)?;
            self.network.backbone = backbone;
            report
        };
        if report.load.loaded == 0 {
            return Err(effdet_weights::Error::Mismatch(Box::new(report.load)).into());
        }
        Ok((self, report))
    }

    /// The configuration.
    pub fn config(&self) -> &EfficientDetConfig {
        &self.config
    }

    /// The configuration, for what may change after building: how outputs become detections.
    pub fn config_mut(&mut self) -> &mut EfficientDetConfig {
        &mut self.config
    }

    /// The names of the classes.
    pub fn class_map(&self) -> &ClassMap {
        &self.class_map
    }

    /// What is done to pictures.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// The device, which records gradients.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The parameters and buffers by their checkpoint names.
    pub fn parameters(&self) -> Vec<Parameter> {
        parameters(&self.network)
    }

    /// The network ready for detection, a copy.
    pub fn predictor(&self) -> Predictor {
        Predictor::new(self.network.clone(), self.config.clone())
    }

    /// What a checkpoint of this model says about itself.
    pub fn metadata(&self) -> CheckpointMetadata {
        let names = (1..=self.config.num_classes).map(|id| {
            let id = u32::try_from(id).unwrap_or(u32::MAX);
            self.class_map.name(id).unwrap_or_default().to_owned()
        });
        let name = |value: serde_json::Result<serde_json::Value>| -> Option<String> {
            value.ok().and_then(|value| value.as_str().map(str::to_owned))
        };
        CheckpointMetadata {
            model: Some(self.config.name.clone()),
            config: serde_json::to_value(&self.config).ok(),
            class_names: Some(names.collect()),
            image_size: Some([self.config.image_size.height, self.config.image_size.width]),
            mean: Some(self.preprocess.mean),
            std: Some(self.preprocess.std),
            interpolation: name(serde_json::to_value(self.preprocess.interpolation)),
            fill: Some(match self.preprocess.fill {
                Fill::Mean => "mean".to_owned(),
                Fill::Color([level, ..]) => level.to_string(),
            }),
            fill_color: match self.preprocess.fill {
                Fill::Color(color) => Some(color),
                Fill::Mean => None,
            },
            placement: name(serde_json::to_value(self.preprocess.placement)),
            training: None,
        }
    }

    /// Writes the weights with [`metadata`](Self::metadata), so that nothing else is needed to use them.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        Ok(save_safetensors(&self.network, path, &self.metadata().to_map(), identity_keys)?)
    }

    /// A batch as the network takes it.
    ///
    /// # Errors
    /// If the pixels do not fit the shape.
    pub fn batch(&self, batch: &Batch) -> Result<TrainBatch, Error> {
        let [count, height, width, channels] = batch.shape;
        let length = height * width * channels;
        let mut planes = vec![0.0; count * length];
        planes
            .par_chunks_exact_mut(length.max(1))
            .zip(batch.pixels.par_chunks_exact(length.max(1)))
            .try_for_each(|(planes, pixels)| self.preprocess.normalize_pixels_into(pixels, width, planes))?;
        let data = TensorData::new(planes, [count, channels, height, width]);
        let truths = batch.targets.iter().map(|target| {
            let boxes = target.boxes.iter().zip(&target.classes);
            boxes.map(|(bbox, class)| Truth::new(*bbox, class.saturating_sub(1))).collect()
        });
        let sizes = batch.img_size.iter().zip(&batch.img_scale);
        let frames = sizes.zip(&batch.letterboxes).map(|((size, scale), letterbox)| {
            // Without a letterbox, as after a training transform, what there is: a scale from the top left corner.
            let corner = || Frame { scale: *scale, size: Some(*size), offset: (0.0, 0.0) };
            Some(letterbox.as_ref().map_or_else(corner, Frame::from))
        });
        Ok(TrainBatch {
            pictures: Tensor::from_data(data, &self.device),
            truths: truths.collect(),
            frames: frames.collect(),
            indices: batch.indices.clone(),
            ids: batch.ids.clone(),
        })
    }

    /// The anchors of outputs for inputs of `size`.
    ///
    /// # Errors
    /// If the size is empty.
    pub fn anchors(&self, size: ImageSize, outputs: &HeadOutputs) -> Result<Arc<Anchors>, Error> {
        self.anchors.get(&self.config, size, outputs)
    }

    /// Detections from outputs, in pixels of the pictures where `batch` knows their frames.
    ///
    /// # Errors
    /// If the device fails.
    pub fn detections(
        &self,
        outputs: &HeadOutputs,
        batch: &TrainBatch,
    ) -> Result<Vec<Vec<Detection>>, Error> {
        let anchors = self.anchors(batch.size(), outputs)?;
        let HeadOutputs { class_logits, box_deltas } = outputs;
        let (classes, decode) = (self.config.num_classes, &self.config.decode);
        Ok(decode_batch(class_logits, box_deltas, &anchors, classes, decode, &batch.frames)?)
    }

    /// How pictures are resampled.
    pub fn interpolation(&self) -> Interpolation {
        self.preprocess.interpolation
    }
}

/// Pictures and targets of a step, on the device.
#[derive(Debug, Clone)]
pub struct TrainBatch {
    /// Normalised pictures, `[batch, 3, height, width]`.
    pub pictures: Tensor<4>,
    /// The objects of each picture, in pixels of the input.
    pub truths: Vec<Vec<Truth>>,
    /// Where each picture lies in the input.
    pub frames: Vec<Option<Frame>>,
    /// Index of each picture in the data set.
    pub indices: Vec<usize>,
    /// Identity of each picture.
    pub ids: Vec<RecordId>,
}

impl TrainBatch {
    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// True without pictures.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// The first `count` pictures, or all if there are fewer.
    #[must_use]
    pub fn first(mut self, count: usize) -> Self {
        if count < self.len() {
            self.pictures = self.pictures.narrow(0, 0, count);
            self.truths.truncate(count);
            self.frames.truncate(count);
            self.indices.truncate(count);
            self.ids.truncate(count);
        }
        self
    }

    /// Height and width of the input.
    pub fn size(&self) -> ImageSize {
        let [_, _, height, width] = self.pictures.dims();
        ImageSize { height, width }
    }
}

/// The anchors of the last input size.
#[derive(Debug, Default)]
struct AnchorCache(Mutex<Option<Arc<Anchors>>>);

impl AnchorCache {
    fn get(
        &self,
        config: &EfficientDetConfig,
        size: ImageSize,
        outputs: &HeadOutputs,
    ) -> Result<Arc<Anchors>, Error> {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(anchors) = cache.as_ref().filter(|anchors| anchors.image_size() == size) {
            return Ok(Arc::clone(anchors));
        }
        let anchors = Arc::new(Anchors::for_features(&config.anchor_config(), size, &outputs.level_sizes())?);
        *cache = Some(Arc::clone(&anchors));
        Ok(anchors)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering};

    use effdet_weights::{NamedTensors, save_named_tensors};

    use super::*;

    #[test]
    fn a_backbone_alone_is_read_under_timms_names_and_under_ours() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["stem.conv1.conv.weight", "stem_conv1.conv.weight"] {
            let path = folder.path().join(name);
            let tensors = NamedTensors::from([(name.to_owned(), (vec![1], vec![0.0]))]);
            save_named_tensors(&path, &tensors, &BTreeMap::new()).unwrap();
            let options = backbone_options(&Checkpoint::open(&path).unwrap());
            assert_eq!((options.key_map)("stem_conv1.conv.weight"), name);
            assert!((options.ignore)("fc.weight"));
        }
    }

    #[test]
    fn normalisation_is_that_of_a_checkpoint_which_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, metadata: &CheckpointMetadata| {
            let path = folder.path().join(name);
            let tensors = NamedTensors::from([("a".to_owned(), (vec![1], vec![0.0]))]);
            save_named_tensors(&path, &tensors, &metadata.to_map()).unwrap();
            path
        };
        let (mean, std) = ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]);
        let said = CheckpointMetadata { mean: Some(mean), std: Some(std), ..CheckpointMetadata::default() };
        let said = write("said.safetensors", &said);
        let silent = write("silent.safetensors", &CheckpointMetadata::default());

        let (classes, size) = (ClassMap::from_names(["cell"]).unwrap(), ImageSize::square(64));
        let model = DetectorModel::named("tf_efficientdet_lite0", &classes, size, &Device::flex()).unwrap();
        let own = (model.preprocess().mean, model.preprocess().std);
        let model = model.with_normalization_of(silent).unwrap();
        assert_eq!((model.preprocess().mean, model.preprocess().std), own);
        let model = model.with_normalization_of(said).unwrap();
        assert_eq!((model.preprocess().mean, model.preprocess().std), (mean, std));
        assert_eq!((model.config().mean, model.config().std), (mean, std));
    }

    #[test]
    fn weights_are_those_of_their_seed_beside_others_that_seed() {
        let device = Device::flex();
        let numbers = || {
            let drawn = Tensor::<1>::random([4096], burn::tensor::Distribution::Default, &device);
            drawn.into_data().try_to_vec::<f32>().unwrap()
        };
        let mut alone = Vec::new();
        seeded(&device, 3, || alone = numbers());
        let done = AtomicBool::new(false);
        let same = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    seeded(&device, 5, || ());
                }
            });
            let mut same = 0;
            for _ in 0..200 {
                seeded(&device, 3, || same += usize::from(numbers() == alone));
            }
            done.store(true, Ordering::Relaxed);
            same
        });
        assert_eq!(same, 200, "others seeded between seed and draw");
    }
}
