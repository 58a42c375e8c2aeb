//! From checkpoint, metadata and options to a configuration.

use burn::tensor::Device;
use effdet_core::{ClassMap, ImageSize, Placement};
use effdet_data::{Fill, Interpolation, Preprocess};
use effdet_model::EfficientDetConfig;
use effdet_weights::{Checkpoint, CheckpointMetadata, class_slots};
use serde_json::Value;

use crate::identify::{hint, identify};
use crate::{DetectorOptions, Error};

/// Most classes of a detector made from a file.
const MAX_CLASSES: usize = 1 << 20;
/// Most inputs of all nodes in all cells of a feature network, each of which may be a layer.
const MAX_EDGES: usize = 1 << 16;
/// Most pixels of a network input.
const MAX_PIXELS: usize = 1 << 26;

/// The configuration of this name: see [`EfficientDetConfig::described_by`].
///
/// # Errors
/// The unknown name, with the nearest ones.
pub fn configuration_named(name: &str) -> Result<EfficientDetConfig, Error> {
    Ok(EfficientDetConfig::described_by(name)?)
}

/// Refuses input sizes that are empty or beyond any use.
///
/// # Errors
/// [`Error::Setting`] with the size.
pub fn check_image_size(size: ImageSize) -> Result<(), Error> {
    if size.is_empty() || size.area() > MAX_PIXELS {
        let expected = "both sides must be at least 1 and their product at most 2^26";
        return Err(Error::Setting { name: "the image size", value: size.to_string(), expected });
    }
    Ok(())
}

/// The whole configuration of the detector in a checkpoint.
pub(crate) fn configuration(
    checkpoint: &Checkpoint,
    metadata: &CheckpointMetadata,
    options: &DetectorOptions,
    device: &Device,
) -> Result<EfficientDetConfig, Error> {
    let mut config = architecture(checkpoint, metadata, options, device)?;
    if let Some([height, width]) = metadata.image_size {
        config.image_size = ImageSize { height, width };
    }
    config.mean = options.mean.or(metadata.mean).unwrap_or(config.mean);
    config.std = options.std.or(metadata.std).unwrap_or(config.std);
    config.image_size = options.image_size.unwrap_or(config.image_size);
    config.decode = options.decode.unwrap_or(config.decode);

    let anchors = config.num_scales.saturating_mul(config.aspect_ratios.len());
    let asked = options.labels.as_ref().map(ClassMap::len).or(options.num_classes);
    let stored = metadata.class_names.as_ref().map(Vec::len);
    let in_file = class_slots(checkpoint, anchors);
    config.num_classes = asked.or(in_file).or(stored).unwrap_or(config.num_classes);
    if let (Some(labels), Some(classes)) = (&options.labels, in_file)
        && labels.len() != classes
    {
        let path = checkpoint.path().into();
        return Err(Error::ClassCount { path, origin: "the labels file", names: labels.len(), classes });
    }
    check(&config)?;
    Ok(config)
}

/// The network's description: named by the user, else by the file.
fn architecture(
    checkpoint: &Checkpoint,
    metadata: &CheckpointMetadata,
    options: &DetectorOptions,
    device: &Device,
) -> Result<EfficientDetConfig, Error> {
    let stored = metadata.config.as_ref().map(|config| stored_configuration(checkpoint, config));
    match (&options.model, &options.backbone, stored, &metadata.model) {
        // The file may hold a variant of the named model.
        (Some(name), _, Some(Ok(config)), _) if config.name == *name => Ok(config),
        (Some(name), ..) => configuration_named(name),
        (None, Some(backbone), ..) => Ok(EfficientDetConfig::with_backbone_named(backbone)?),
        (None, None, Some(config), _) => config,
        (None, None, None, Some(name)) => configuration_named(name),
        (None, None, None, None) => {
            let hint = hint(&identify(checkpoint, device)?);
            Err(Error::UnnamedModel { path: checkpoint.path().into(), hint })
        }
    }
}

fn stored_configuration(checkpoint: &Checkpoint, config: &Value) -> Result<EfficientDetConfig, Error> {
    serde_json::from_value(config.clone())
        .map_err(|source| Error::Metadata { path: checkpoint.path().into(), source: source.into() })
}

/// Bounds far beyond any detector, because a configuration can come from a file and is built before its tensors are
/// compared with it.
pub(crate) fn check(config: &EfficientDetConfig) -> Result<(), Error> {
    let anchors = config.num_scales.saturating_mul(config.aspect_ratios.len());
    let at_most = [
        ("the number of classes", config.num_classes, MAX_CLASSES, "it must be between 1 and 2^20"),
        ("the number of channels", config.channels, 1 << 14, "it must be between 1 and 2^14"),
        ("the number of cells", config.cells, 256, "it must be between 1 and 256"),
        ("the number of anchors per cell", anchors, 1 << 10, "it must be between 1 and 2^10"),
        ("the number of pyramid levels", config.fpn.max_level, 30, "levels go up to 30"),
    ];
    for (name, value, limit, expected) in at_most {
        if value == 0 || value > limit {
            return Err(Error::Setting { name, value: value.to_string(), expected });
        }
    }
    let refuse = |name, value, expected| Err(Error::Setting { name, value, expected });
    if config.repeats > 256 {
        return refuse(
            "the number of head convolutions",
            config.repeats.to_string(),
            "it must be at most 256",
        );
    }
    if config.in_channels != 3 {
        let value = config.in_channels.to_string();
        return refuse("the number of picture channels", value, "pictures are read as red, green and blue");
    }
    if config.mean.iter().any(|mean| !mean.is_finite()) {
        return refuse("the mean", format!("{:?}", config.mean), "three numbers are needed");
    }
    if config.std.iter().any(|std| !(std.is_finite() && *std > 0.0)) {
        return refuse("the std", format!("{:?}", config.std), "three positive numbers are needed");
    }
    config.fpn.validate().map_err(effdet_model::Error::from)?;
    let edges: usize = config.fpn.nodes.iter().map(|node| node.inputs.len()).sum();
    let edges = edges.saturating_mul(config.cells);
    if edges > MAX_EDGES {
        return refuse("the number of edges in all cells", edges.to_string(), "it must be at most 2^16");
    }
    config.decode.validate().map_err(effdet_model::Error::from)?;
    check_image_size(config.image_size)
}

/// What is done to pictures for this configuration: letterbox top-left, bilinear.
pub(crate) fn preprocess(config: &EfficientDetConfig) -> Preprocess {
    Preprocess {
        mean: config.mean,
        std: config.std,
        fill: config.fill.map_or(Fill::Mean, Fill::Color),
        ..Preprocess::imagenet(config.image_size)
    }
}

/// Changes `preprocess` to what the checkpoint was trained with.
pub(crate) fn apply_metadata(
    preprocess: &mut Preprocess,
    metadata: &CheckpointMetadata,
    checkpoint: &Checkpoint,
) -> Result<(), Error> {
    let unusable = |source: String| Error::Metadata { path: checkpoint.path().into(), source: source.into() };
    if let Some(name) = &metadata.interpolation {
        preprocess.interpolation = serde_json::from_value::<Interpolation>(Value::String(name.clone()))
            .map_err(|error| unusable(format!("effdet.interpolation: {error}")))?;
    }
    if let Some(fill) = &metadata.fill {
        preprocess.fill = match (fill.as_str(), fill.parse::<u8>()) {
            ("mean", _) => Fill::Mean,
            (_, Ok(level)) => Fill::Color([level; 3]),
            _ => return Err(unusable(format!("effdet.fill is `{fill}`, neither `mean` nor 0 to 255"))),
        };
    }
    if let Some(color) = metadata.fill_color
        && metadata.fill.as_deref() != Some("mean")
    {
        preprocess.fill = Fill::Color(color);
    }
    if let Some(name) = &metadata.placement {
        preprocess.placement = serde_json::from_value::<Placement>(Value::String(name.clone()))
            .map_err(|error| unusable(format!("effdet.placement: {error}")))?;
    }
    Ok(())
}

/// The names of the classes: the user's, else the checkpoint's, else COCO's for its 90 classes, else numbers.
pub(crate) fn class_map(
    config: &EfficientDetConfig,
    metadata: &CheckpointMetadata,
    options: &DetectorOptions,
    checkpoint: &Checkpoint,
) -> Result<ClassMap, Error> {
    let classes = config.num_classes;
    if let Some(labels) = &options.labels {
        return Ok(labels.clone());
    }
    let Some(names) = &metadata.class_names else { return Ok(default_class_map(classes)) };
    let path = checkpoint.path();
    if names.len() != classes {
        let origin = "the metadata";
        return Err(Error::ClassCount { path: path.into(), origin, names: names.len(), classes });
    }
    // A blank name stands for a slot without a class, as COCO has them.
    let named = (1..).zip(names).filter(|(_, name)| !name.trim().is_empty());
    ClassMap::from_ids(named.map(|(id, name)| (id, name.clone())))
        .map_err(|source| Error::Metadata { path: path.into(), source: source.into() })
}

/// COCO's names for 90 classes, else numbers.
pub(crate) fn default_class_map(classes: usize) -> ClassMap {
    if classes == 90 {
        ClassMap::coco()
    } else {
        ClassMap::numbered(u32::try_from(classes).unwrap_or(u32::MAX))
    }
}
