//! What the loader hands out.

use std::fmt;

use effdet_core::{ImageSize, Letterbox, YxyxBox, with_causes};

use crate::{Error, Object, RecordId};

/// Order of the samples of a batch in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// `[batch, height, width, channel]`: nothing is rearranged here, the device permutes while it converts to float.
    #[default]
    Hwc,
    /// `[batch, channel, height, width]`.
    Chw,
}

/// The objects to be found in one picture.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Target {
    /// Boxes in pixels of the network input, row first as the anchors have it.
    pub boxes: Vec<YxyxBox>,
    /// Classes from 1, one per box.
    pub classes: Vec<u32>,
}

impl Target {
    pub(super) fn new(objects: &[Object], keep_crowds: bool) -> Self {
        let is_target =
            |object: &&Object| keep_crowds || !(object.is_crowd || object.is_group_of || object.is_ignored);
        let wanted = objects.iter().filter(is_target);
        let (boxes, classes) = wanted.map(|object| (YxyxBox::from(object.bbox), object.class_id)).unzip();
        Self { boxes, classes }
    }
}

/// A sample that failed.
#[derive(Debug)]
pub struct Skipped {
    /// Index of the sample.
    pub index: usize,
    /// Its path or name.
    pub name: String,
    /// What went wrong.
    pub error: Error,
}

/// Its name and what went wrong, with the causes.
impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = with_causes(&self.error);
        // Most errors begin with the name.
        if told.starts_with(&self.name) { f.write_str(&told) } else { write!(f, "{}: {told}", self.name) }
    }
}

/// Pictures and targets of one step.
#[derive(Debug)]
pub struct Batch<T = ()> {
    /// Levels from 0 to 255, red first, not normalised.
    pub pixels: Vec<u8>,
    /// `[batch, height, width, 3]` or `[batch, 3, height, width]`, as the layout says.
    pub shape: [usize; 4],
    /// Order of `pixels`.
    pub layout: Layout,
    /// The objects of each picture.
    pub targets: Vec<Target>,
    /// Pixels of the file per pixel of the network input, per picture. Detections times this are in pixels of the file
    /// where the picture lies in the top-left corner; [`letterboxes`](Self::letterboxes) take them back from anywhere.
    pub img_scale: Vec<f32>,
    /// Size of the picture in the file, per picture.
    pub img_size: Vec<ImageSize>,
    /// How each picture lies in the network input; `None` where the transforms gave no letterbox
    /// ([`Sample::letterbox`](crate::transform::Sample)) and no detection can be led back.
    pub letterboxes: Vec<Option<Letterbox>>,
    /// Index of each picture in the data set.
    pub indices: Vec<usize>,
    /// Identity of each picture in the data set.
    pub ids: Vec<RecordId>,
    /// Whether each picture is a duplicate that evens out the processes (see [`Position`](super::Position)).
    pub is_padding: Vec<bool>,
    /// What the labelling function made of each picture, if there is one.
    pub labels: Option<Vec<T>>,
    /// Samples that failed since the batch before.
    pub skipped: Vec<Skipped>,
}

/// Targets as arrays of one shape.
#[derive(Debug, Clone, PartialEq)]
pub struct PaddedTargets {
    /// `[batch, max_instances, 4]`, row first, -1 where there is no object.
    pub boxes: Vec<f32>,
    /// `[batch, max_instances]`, -1 where there is no object.
    pub classes: Vec<f32>,
    /// Objects that found no room.
    pub cut_off: usize,
}

impl<T> Batch<T> {
    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// True without pictures.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// The targets in arrays with room for `max_instances` objects per picture.
    ///
    /// # Reference
    /// effdet `data.loader.DetectionFastCollate`, which has room for 100 and drops the others without a word.
    pub fn padded_targets(&self, max_instances: usize) -> PaddedTargets {
        let mut padded = PaddedTargets {
            boxes: vec![-1.0; self.len() * max_instances * 4],
            classes: vec![-1.0; self.len() * max_instances],
            cut_off: 0,
        };
        for (i, target) in self.targets.iter().enumerate() {
            let kept = target.boxes.len().min(max_instances);
            padded.cut_off += target.boxes.len() - kept;
            for (j, (bbox, class)) in target.boxes.iter().zip(&target.classes).take(kept).enumerate() {
                let at = i * max_instances + j;
                padded.boxes[4 * at..4 * at + 4].copy_from_slice(&<[f32; 4]>::from(*bbox));
                padded.classes[at] = *class as f32;
            }
        }
        padded
    }
}
