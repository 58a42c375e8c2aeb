//! Detections from the outputs of a batch, wherever they were computed.

use burn::tensor::Tensor;
use effdet_core::Detection;
use effdet_nn::device::is_on_host;
use effdet_nn::native::Outputs;
use rayon::prelude::*;

use crate::Error;
use crate::anchors::Anchors;
use crate::decode::{DecodeConfig, Frame, Layout, LevelOutput, decode, decode_candidates};
use crate::device_cut::{Candidates, highest_logits};

/// Head outputs of a batch on the host.
#[derive(Clone, Debug)]
pub struct HostOutputs(Values);

#[derive(Clone, Debug)]
enum Values {
    /// For each level the channels-first maps of all pictures after each other.
    Read { class_logits: Vec<Vec<f32>>, box_deltas: Vec<Vec<f32>> },
    /// Class logits of every level, then box codes.
    Native(Outputs),
    /// The highest logits of every picture with the box codes of their anchors, cut on the device.
    Cut { pictures: Vec<Candidates>, limit: usize, bytes: usize },
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
/// [`Error::ReadBack`] if the device fails; else as [`decode`](fn@decode).
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
        Ok(Self(Values::Read { class_logits: read(class_logits)?, box_deltas: read(box_deltas)? }))
    }

    /// Reads only what [`decode`](fn@decode) with this many candidates can use, in one transfer: the device finds the
    /// highest logits. Where it cannot tell them from others, all is read.
    ///
    /// # Errors
    /// [`Error::ReadBack`] if the device fails.
    pub fn read_candidates(
        class_logits: &[Tensor<4>],
        box_deltas: &[Tensor<4>],
        num_classes: usize,
        max_candidates: usize,
    ) -> Result<Self, Error> {
        match highest_logits(class_logits, box_deltas, num_classes, max_candidates)? {
            Some((pictures, bytes)) => Ok(Self(Values::Cut { pictures, limit: max_candidates, bytes })),
            None => Self::read(class_logits, box_deltas),
        }
    }

    /// Number of bytes that were read from the device.
    pub fn bytes_read(&self) -> usize {
        match &self.0 {
            Values::Read { class_logits, box_deltas } => {
                let values = class_logits.iter().chain(box_deltas).map(Vec::len).sum::<usize>();
                values * size_of::<f32>()
            }
            Values::Native(_) => 0,
            Values::Cut { bytes, .. } => *bytes,
        }
    }

    /// The outputs of a network's inference form: class logits of every level, then box codes.
    pub fn native(outputs: Outputs) -> Self {
        Self(Values::Native(outputs))
    }

    /// Detections of every picture, best first.
    ///
    /// # Errors
    /// As [`decode`](fn@decode), and [`Error::Setting`] if fewer candidates were read than are asked for.
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
    /// As [`decode`](fn@decode).
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
        let detect = |(picture, (frame, config)): (usize, (&Option<Frame>, &DecodeConfig))| {
            if let Values::Cut { pictures, limit, .. } = &self.0 {
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
            let levels = self.picture(picture, frames.len());
            decode(&levels, anchors, num_classes, config, frame.as_ref())
        };
        let detections: Vec<_> = frames.par_iter().zip(configs).enumerate().map(detect).collect();
        detections.into_iter().collect()
    }

    /// The outputs of one of `batch` pictures.
    fn picture(&self, index: usize, batch: usize) -> Vec<LevelOutput<'_>> {
        match &self.0 {
            Values::Read { class_logits, box_deltas } => {
                let levels = class_logits.iter().zip(box_deltas);
                let level = levels.map(|(logits, deltas)| LevelOutput {
                    class_logits: part(logits, index, batch),
                    box_deltas: part(deltas, index, batch),
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

fn part(values: &[f32], index: usize, batch: usize) -> &[f32] {
    let length = values.len() / batch;
    &values[index * length..(index + 1) * length]
}

fn read_back(tensor: &Tensor<4>) -> Result<Vec<f32>, Error> {
    let data =
        tensor.clone().inner().try_into_data().map_err(|error| Error::ReadBack(format!("{error:?}")))?;
    data.convert::<f32>().try_into_vec::<f32>().map_err(|error| Error::ReadBack(format!("{error:?}")))
}
