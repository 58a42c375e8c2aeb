//! Detections from the outputs of a batch, wherever they were computed.

use burn::tensor::Tensor;
use effdet_core::Detection;
use effdet_nn::device::is_on_host;
use effdet_nn::native::Outputs;
use rayon::prelude::*;

use crate::Error;
use crate::anchors::{AnchorLevel, Anchors};
use crate::decode::{DecodeConfig, Frame, Layout, LevelOutput, check_counts, decode, decode_candidates};
use crate::device_cut::{Candidates, LevelDims, can_cut, highest_logits};

/// Head outputs of a batch on the host.
#[derive(Clone, Debug)]
pub struct HostOutputs {
    /// Number of pictures.
    batch: usize,
    values: Values,
}

#[derive(Clone, Debug)]
enum Values {
    /// For each level the channels-first maps of all pictures after each other.
    Read { class_logits: Vec<Vec<f32>>, box_deltas: Vec<Vec<f32>> },
    /// Class logits of every level, then box codes.
    Native(Outputs),
    /// The highest logits of every picture with the box codes of their anchors, cut on the device.
    Cut { pictures: Vec<Candidates>, levels: Vec<LevelDims>, limit: usize, bytes: usize },
}

/// Detections of every picture, best first, from outputs still on their device.
///
/// The outputs may be part of a graph, which is left as it is: a training step can detect from what its loss is computed
/// from. Without a frame the boxes of a picture stay in pixels of the network input.
///
/// # Shapes
/// - `class_logits`: for each level `[batch, anchors · classes, height, width]`
/// - `box_deltas`: for each level `[batch, anchors · 4, height, width]`
/// - `frames`: one per picture
///
/// # Errors
/// [`Error::ReadBack`] if the device fails; else as [`decode`](fn@decode). Shapes are checked before anything is read.
///
/// # Panics
/// If there are not as many frames as pictures.
///
/// # Reference
/// effdet `DetBenchTrain` in evaluation mode, and `DetBenchPredict`.
pub fn decode_batch(
    class_logits: &[Tensor<4>],
    box_deltas: &[Tensor<4>],
    anchors: &Anchors,
    num_classes: usize,
    config: &DecodeConfig,
    frames: &[Option<Frame>],
) -> Result<Vec<Vec<Detection>>, Error> {
    for outputs in [class_logits, box_deltas].into_iter().flatten() {
        assert_eq!(outputs.dims()[0], frames.len(), "one frame per picture");
    }
    for maps in [class_logits, box_deltas] {
        check_counts(maps.len(), anchors, num_classes)?;
    }
    check_dims(&level_dims(class_logits, box_deltas), anchors, num_classes)?;
    let outputs = match class_logits.first() {
        Some(map) if !is_on_host(&map.device()) => {
            HostOutputs::read_candidates(class_logits, box_deltas, num_classes, config.max_candidates)?
        }
        _ => HostOutputs::read(class_logits, box_deltas)?,
    };
    outputs.decode(anchors, num_classes, config, frames)
}

impl HostOutputs {
    /// Reads the outputs of a batch from their device, channels first.
    ///
    /// # Errors
    /// [`Error::ReadBack`] if the device fails.
    pub fn read(class_logits: &[Tensor<4>], box_deltas: &[Tensor<4>]) -> Result<Self, Error> {
        let read = |tensors: &[Tensor<4>]| tensors.iter().map(read_back).collect::<Result<Vec<_>, _>>();
        let values = Values::Read { class_logits: read(class_logits)?, box_deltas: read(box_deltas)? };
        Ok(Self { batch: class_logits.first().map_or(0, |map| map.dims()[0]), values })
    }

    /// Reads only what [`decode`](fn@decode) with this many candidates can use, in one transfer: the device finds the
    /// highest logits. Where it cannot tell them from others, there are more than 2²⁴ anchors, or the maps do not belong
    /// together (of which [`decode`](Self::decode) will say so), all is read.
    ///
    /// # Errors
    /// [`Error::ReadBack`] if the device fails.
    pub fn read_candidates(
        class_logits: &[Tensor<4>],
        box_deltas: &[Tensor<4>],
        num_classes: usize,
        max_candidates: usize,
    ) -> Result<Self, Error> {
        let levels = level_dims(class_logits, box_deltas);
        let mut batches = class_logits.iter().chain(box_deltas).map(|map| map.dims()[0]);
        let batch = batches.next().unwrap_or(0);
        let belong_together = class_logits.len() == box_deltas.len() && batches.all(|other| other == batch);
        if belong_together
            && can_cut(&levels, num_classes)
            && let Some((pictures, bytes)) =
                highest_logits(class_logits, box_deltas, num_classes, max_candidates)?
        {
            let values = Values::Cut { pictures, levels, limit: max_candidates, bytes };
            return Ok(Self { batch, values });
        }
        Self::read(class_logits, box_deltas)
    }

    /// Number of bytes that were read from the device.
    pub fn bytes_read(&self) -> usize {
        match &self.values {
            Values::Read { class_logits, box_deltas } => {
                let values = class_logits.iter().chain(box_deltas).map(Vec::len).sum::<usize>();
                values * size_of::<f32>()
            }
            Values::Native(_) => 0,
            Values::Cut { bytes, .. } => *bytes,
        }
    }

    /// The outputs of a network's inference form for `batch` pictures: class logits of every level, then box codes.
    pub fn native(outputs: Outputs, batch: usize) -> Self {
        Self { batch, values: Values::Native(outputs) }
    }

    /// Detections of every picture, best first.
    ///
    /// # Errors
    /// As [`decode`](fn@decode), and [`Error::Setting`] if fewer candidates were read than are asked for or there is not
    /// one frame per picture.
    pub fn decode(
        &self,
        anchors: &Anchors,
        num_classes: usize,
        config: &DecodeConfig,
        frames: &[Option<Frame>],
    ) -> Result<Vec<Vec<Detection>>, Error> {
        self.decode_each(anchors, num_classes, &vec![*config; frames.len()], frames)
    }

    /// As [`decode`](Self::decode), every picture with settings of its own.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    ///
    /// # Panics
    /// If there are not as many settings as frames.
    pub fn decode_each(
        &self,
        anchors: &Anchors,
        num_classes: usize,
        configs: &[DecodeConfig],
        frames: &[Option<Frame>],
    ) -> Result<Vec<Vec<Detection>>, Error> {
        assert_eq!(configs.len(), frames.len(), "settings for every picture");
        if frames.len() != self.batch {
            let value = format!("{} for {} pictures", frames.len(), self.batch);
            return Err(Error::Setting { name: "number of frames", value, expected: "one per picture" });
        }
        if let Values::Cut { levels, .. } = &self.values {
            check_counts(levels.len(), anchors, num_classes)?;
            check_dims(levels, anchors, num_classes)?;
        }
        let detect = |(picture, (frame, config)): (usize, (&Option<Frame>, &DecodeConfig))| {
            if let Values::Cut { pictures, limit, .. } = &self.values {
                if config.max_candidates > *limit {
                    return Err(Error::Setting {
                        name: "max_candidates",
                        value: config.max_candidates.to_string(),
                        expected: "no more than were read from the device",
                    });
                }
                let candidates = &pictures[picture];
                return decode_candidates(candidates, anchors, num_classes, config, frame.as_ref());
            }
            let levels = self.picture(picture);
            decode(&levels, anchors, num_classes, config, frame.as_ref())
        };
        let detections: Vec<_> = frames.par_iter().zip(configs).enumerate().map(detect).collect();
        detections.into_iter().collect()
    }

    /// The outputs of one picture.
    fn picture(&self, index: usize) -> Vec<LevelOutput<'_>> {
        match &self.values {
            Values::Read { class_logits, box_deltas } => {
                let levels = class_logits.iter().zip(box_deltas);
                let level = levels.map(|(logits, deltas)| LevelOutput {
                    class_logits: part(logits, index, self.batch),
                    box_deltas: part(deltas, index, self.batch),
                    layout: Layout::ChannelsFirst,
                });
                level.collect()
            }
            Values::Native(outputs) => {
                let levels = outputs.maps() / 2;
                let level = |level| LevelOutput {
                    class_logits: outputs.map(index, level),
                    box_deltas: outputs.map(index, levels + level),
                    layout: Layout::ChannelsLast,
                };
                (0..levels).map(level).collect()
            }
            // has no maps
            Values::Cut { .. } => Vec::new(),
        }
    }
}

fn level_dims(class_logits: &[Tensor<4>], box_deltas: &[Tensor<4>]) -> Vec<LevelDims> {
    let dims = |map: &Tensor<4>| {
        let [_, channels, height, width] = map.dims();
        [channels, height, width]
    };
    class_logits.iter().zip(box_deltas).map(|(logits, deltas)| [dims(logits), dims(deltas)]).collect()
}

/// Checks that the maps of all levels are those of the anchors.
fn check_dims(levels: &[LevelDims], anchors: &Anchors, num_classes: usize) -> Result<(), Error> {
    let anchors_per_cell = anchors.anchors_per_cell();
    for ([logits, deltas], AnchorLevel { level, feature_size, .. }) in levels.iter().zip(anchors.levels()) {
        for (tensor, dims, per_anchor) in [("class logits", logits, num_classes), ("box deltas", deltas, 4)] {
            let channels = anchors_per_cell.saturating_mul(per_anchor);
            if *dims == [channels, feature_size.height, feature_size.width] {
                continue;
            }
            return Err(Error::LevelShape {
                level: *level,
                tensor,
                expected: channels.saturating_mul(feature_size.area()),
                actual: dims.iter().product(),
                shape: format!(
                    "{anchors_per_cell} anchors x {per_anchor} channels x {feature_size} cells, not {dims:?}"
                ),
            });
        }
    }
    Ok(())
}

fn part(values: &[f32], index: usize, batch: usize) -> &[f32] {
    let length = values.len() / batch;
    &values[index * length..(index + 1) * length]
}

fn read_back(tensor: &Tensor<4>) -> Result<Vec<f32>, Error> {
    let data =
        tensor.clone().inner().try_into_data().map_err(|error| Error::ReadBack(format!("{error:?}")))?;
    data.convert::<f32>().try_into_vec::<f32>().map_err(|error| Error::ReadBack(format!("{error:?}")))
}
