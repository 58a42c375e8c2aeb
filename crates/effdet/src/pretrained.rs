//! Weights by name, and weights of one task as the start of another.

use std::path::PathBuf;

use burn::tensor::Device;
use effdet_backbones::{Backbone, BackboneConfig};
use effdet_core::ClassMap;
use effdet_model::{EfficientDet, EfficientDetConfig};
use effdet_weights::{
    Checkpoint, ClassHead, FetchEvent, LoadOptions, LoadReport, TransferOptions, TransferReport,
    WeightsEntry, WeightsKind, WeightsStore, load_into, transfer_into,
};

use crate::{Detector, DetectorOptions, Error};

impl Detector {
    /// The published detector of this name on the processor, such as `tf_efficientdet_d0`. Its weights are fetched if
    /// they are not in the cache yet; [`WeightsStore::from_env`] says which cache.
    ///
    /// # Errors
    /// If no weights are published under this name or they cannot be fetched, and what
    /// [`from_checkpoint`](Self::from_checkpoint) gives.
    pub fn from_pretrained(name: &str) -> Result<Self, Error> {
        let store = WeightsStore::from_env()?;
        let device = crate::device("cpu")?;
        Self::from_pretrained_in(&store, name, &DetectorOptions::default(), &device, &mut |_| {})
    }

    /// The published detector of this name from a store, with options, telling `events` what is being fetched.
    ///
    /// # Errors
    /// As [`from_pretrained`](Self::from_pretrained).
    pub fn from_pretrained_in(
        store: &WeightsStore,
        name: &str,
        options: &DetectorOptions,
        device: &Device,
        events: &mut dyn FnMut(FetchEvent<'_>),
    ) -> Result<Self, Error> {
        let path = fetch(store, name, WeightsKind::Detector, events)?;
        // A bare file does not say which of several models of one shape it is.
        let options = DetectorOptions { model: Some(name.to_owned()), ..options.clone() };
        Self::from_checkpoint(path, &options, device)
    }
}

/// A backbone with its published weights; `name` may carry a timm tag. Nothing of a detector is built.
///
/// # Errors
/// If no weights are published under this name, they cannot be fetched or do not fit.
///
/// # Reference
/// timm `create_model(name, features_only=True, pretrained=True)`.
pub fn backbone_from_pretrained(
    store: &WeightsStore,
    name: &str,
    device: &Device,
    events: &mut dyn FnMut(FetchEvent<'_>),
) -> Result<Backbone, Error> {
    let path = fetch(store, name, WeightsKind::Backbone, events)?;
    let config = effdet_backbones::create(name).map_err(effdet_model::Error::from)?.with_pretrained(true);
    let (backbone, _) = load_backbone(&config, &Checkpoint::open(path)?, device)?;
    Ok(backbone)
}

/// Builds a backbone and loads a classifier's weights into it. A first convolution of another number of input channels
/// is adapted.
///
/// # Errors
/// If the backbone cannot be built or the file does not hold its weights.
pub fn load_backbone(
    config: &BackboneConfig,
    checkpoint: &Checkpoint,
    device: &Device,
) -> Result<(Backbone, LoadReport), Error> {
    let backbone = config.init(device).map_err(effdet_model::Error::from)?;
    let options = LoadOptions::timm_classifier();
    if config.in_channels == 3 {
        return Ok(load_into(backbone, checkpoint, &options)?);
    }
    let (backbone, report) =
        transfer_into(backbone, checkpoint, &TransferOptions { load: options, ..Default::default() })?;
    if report.load.is_complete() {
        Ok((backbone, report.load))
    } else {
        Err(effdet_weights::Error::Mismatch(Box::new(report.load)).into())
    }
}

/// A new detector of this configuration, whose backbone has its published ImageNet weights: what training starts from
/// where no detector's weights are published.
///
/// # Errors
/// As [`backbone_from_pretrained`], and if the configuration is inconsistent.
///
/// # Reference
/// effdet `create_model(..., pretrained_backbone=True)`.
pub fn with_pretrained_backbone(
    config: &EfficientDetConfig,
    store: &WeightsStore,
    device: &Device,
    events: &mut dyn FnMut(FetchEvent<'_>),
) -> Result<EfficientDet, Error> {
    let path = fetch(store, &config.backbone, WeightsKind::Backbone, events)?;
    let mut model = config.init(device)?;
    let (backbone, _) =
        load_backbone(&config.backbone_config()?.with_pretrained(true), &Checkpoint::open(path)?, device)?;
    model.backbone = backbone;
    Ok(model)
}

/// A detector for `classes` that starts from a checkpoint of another task: other classes, input channels, feature
/// network or image size. What fits is taken over; the report says what was adapted and what starts anew.
///
/// The class head keeps the weights of classes that both tasks have by name (`keep_shared`), else all of it starts anew
/// where the number of classes differs. Which classes the checkpoint is for, its metadata says; without, 90 classes are
/// COCO's.
///
/// # Errors
/// If the configuration is inconsistent or the checkpoint cannot be read.
///
/// # Reference
/// effdet `create_model_from_config` with `num_classes`, `EfficientDet.reset_head`. Keeping shared classes is ours.
pub fn transfer(
    config: &EfficientDetConfig,
    checkpoint: &Checkpoint,
    classes: &ClassMap,
    keep_shared: bool,
    device: &Device,
) -> Result<(EfficientDet, TransferReport), Error> {
    let config = config.clone().with_num_classes(classes.len());
    let anchors = config.num_scales * config.aspect_ratios.len();
    let class_head = if keep_shared {
        ClassHead::keeping_shared(checkpoint, anchors, classes)?
    } else {
        ClassHead::SameCountOrNew
    };
    let options = TransferOptions { class_head, ..Default::default() };
    Ok(transfer_into(config.init(device)?, checkpoint, &options)?)
}

fn fetch(
    store: &WeightsStore,
    name: &str,
    kind: WeightsKind,
    events: &mut dyn FnMut(FetchEvent<'_>),
) -> Result<PathBuf, Error> {
    let entry = WeightsEntry::named(name)?;
    if entry.kind() != kind {
        let expected = match kind {
            WeightsKind::Detector => "these are weights of a backbone alone, which detects nothing",
            WeightsKind::Backbone => "these are weights of a whole detector",
        };
        return Err(Error::Setting { name: "the name", value: format!("`{name}`"), expected });
    }
    Ok(store.fetch(entry, events)?)
}
