//! How large a network is and how much it computes.

use burn::tensor::{Device, Tensor};
use effdet_backbones::BackboneConfig;
use effdet_core::ImageSize;
use effdet_nn::{count_multiply_adds, count_parameters};
use serde::Serialize;

use crate::{EfficientDetConfig, Error};

/// One part of a network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartSummary {
    /// Its name in the network.
    pub name: String,
    /// Trainable parameters.
    pub parameters: usize,
    /// Multiply-adds for one picture.
    pub multiply_adds: u64,
    /// Channels, height and width of each map it gives.
    pub outputs: Vec<[usize; 3]>,
}

/// A network's parts and their sum.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Name of the configuration or backbone.
    pub name: String,
    /// Input size.
    pub image_size: ImageSize,
    /// Trainable parameters.
    pub parameters: usize,
    /// Multiply-adds for one picture: convolutions, linear layers and attention products.
    pub multiply_adds: u64,
    /// The parts.
    pub parts: Vec<PartSummary>,
}

impl Summary {
    fn new(name: &str, image_size: ImageSize, parts: Vec<PartSummary>) -> Self {
        Self {
            name: name.to_owned(),
            image_size,
            parameters: parts.iter().map(|part| part.parameters).sum(),
            multiply_adds: parts.iter().map(|part| part.multiply_adds).sum(),
            parts,
        }
    }
}

/// The summary of a detector for an input size. Sizes are followed through the network with an empty batch, so nothing
/// is computed.
///
/// # Errors
/// What building the detector gives.
pub fn summarize(config: &EfficientDetConfig, size: ImageSize, device: &Device) -> Result<Summary, Error> {
    let model = config.init(device)?;
    let (features, backbone) = part("backbone", count_parameters(&model.backbone), || {
        model.backbone.forward(empty(config.in_channels, size, device))
    });
    let (levels, fpn) = part("fpn", count_parameters(&model.fpn), || model.fpn.forward(features));
    let (_, class_net) =
        part("class_net", count_parameters(&model.class_net), || model.class_net.forward(&levels));
    let (_, box_net) = part("box_net", count_parameters(&model.box_net), || model.box_net.forward(&levels));
    Ok(Summary::new(&config.name, size, vec![backbone, fpn, class_net, box_net]))
}

/// The summary of a backbone alone for an input size.
///
/// # Errors
/// What building the backbone gives.
pub fn summarize_backbone(
    config: &BackboneConfig,
    size: ImageSize,
    device: &Device,
) -> Result<Summary, Error> {
    let model = config.init(device)?;
    let input = empty(config.in_channels, size, device);
    let (_, backbone) = part("backbone", count_parameters(&model), || model.forward(input));
    Ok(Summary::new(config.name, size, vec![backbone]))
}

fn empty(channels: usize, size: ImageSize, device: &Device) -> Tensor<4> {
    Tensor::zeros([0, channels, size.height, size.width], device)
}

fn part(
    name: &str,
    parameters: usize,
    forward: impl FnOnce() -> Vec<Tensor<4>>,
) -> (Vec<Tensor<4>>, PartSummary) {
    let (maps, multiply_adds) = count_multiply_adds(forward);
    let outputs = maps.iter().map(|map| {
        let [_, channels, height, width] = map.dims();
        [channels, height, width]
    });
    let outputs = outputs.collect();
    (maps, PartSummary { name: name.to_owned(), parameters, multiply_adds, outputs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d0_has_the_published_size() {
        let config = EfficientDetConfig::named("tf_efficientdet_d0").unwrap();
        let summary = summarize(&config, config.image_size, &Device::flex()).unwrap();
        // "EfficientDet", table 2: 3.9 M parameters and 2.5 B multiply-adds
        assert_eq!(summary.parameters, 3_880_067);
        assert!((2.4e9..2.6e9).contains(&(summary.multiply_adds as f64)), "{}", summary.multiply_adds);
    }
}
