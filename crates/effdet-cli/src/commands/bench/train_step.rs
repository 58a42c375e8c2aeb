//! A training step without the optimiser: forward pass, targets, loss, backward pass.

use std::sync::Arc;

use anyhow::Result;
use burn::tensor::{Device, Distribution, Tensor};
use effdet::core::YxyxBox;
use effdet::heads::{Anchors, BatchTargets, DetectionLoss, DetectionLossConfig, MatchOptions, Truth};
use effdet::model::{EfficientDet, EfficientDetConfig};

/// Objects of every picture.
const OBJECTS: u32 = 8;

/// A network of fresh weights with pictures of noise and their objects.
pub struct TrainStep {
    model: EfficientDet,
    pictures: Tensor<4>,
    objects: Vec<Vec<Truth>>,
    anchors: Arc<Anchors>,
    loss: DetectionLoss,
}

impl TrainStep {
    pub fn new(config: &EfficientDetConfig, batch: usize, device: Device) -> Result<Self> {
        let device = device.autodiff();
        let size = config.image_size;
        let classes = u32::try_from(config.num_classes).unwrap_or(u32::MAX);
        let object = |i: u32| {
            let side = size.height.min(size.width) as f32;
            let (start, length) =
                (side * i as f32 / (OBJECTS + 2) as f32, side * (1 + i) as f32 / (2 * OBJECTS + 4) as f32);
            let bbox = YxyxBox::new(start, start, start + length, start + length);
            Truth::new(bbox, i % classes)
        };
        Ok(Self {
            model: config.init(&device)?,
            pictures: Tensor::random(
                [batch, config.in_channels, size.height, size.width],
                Distribution::Normal(0.0, 1.0),
                &device,
            ),
            objects: vec![(0..OBJECTS).map(object).collect(); batch],
            anchors: Arc::new(Anchors::generate(&config.anchor_config(), size)?),
            loss: DetectionLossConfig::default().init()?,
        })
    }

    pub fn run(&self) -> Result<()> {
        let outputs = self.model.forward(self.pictures.clone());
        let targets = BatchTargets::assign(&self.anchors, &self.objects, &MatchOptions::default())?;
        let parts = self.loss.forward(&outputs.class_logits, &outputs.box_deltas, &targets)?;
        drop(parts.total.backward());
        Ok(self.pictures.device().sync()?)
    }
}
