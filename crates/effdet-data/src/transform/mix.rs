//! Transforms that take other samples in.

use std::sync::Arc;

use effdet_core::ImageSize;
use image::RgbImage;

use super::crop::cut;
use super::sample::{crop, filled, paste};
use super::scale::{MEAN_FILL, stretch};
use super::{Region, Rng, Sample, Transform};
use crate::{Interpolation, Samples};

/// Partners tried before the sample is left alone; the loader reports unreadable ones in their own turn.
const ATTEMPTS: usize = 4;

/// Another sample, if one can be read.
fn partner(source: &dyn Samples, rng: &mut Rng) -> Option<Sample> {
    // Every attempt draws, so that what follows does not depend on which files can be read.
    let indices: [usize; ATTEMPTS] = std::array::from_fn(|_| rng.below(source.len()));
    indices.into_iter().filter_map(|index| source.get(index).ok()).find(|sample| !sample.is_empty())
}

/// The sample as a new picture with these pixels: what came before is no longer one file.
fn remade(sample: Sample, picture: RgbImage, objects: Vec<crate::Object>) -> Sample {
    let (id, path) = (sample.id, sample.path);
    let mut sample = Sample { id, path, ..Sample::new(picture, objects) };
    sample.mark_moved();
    sample.clip_boxes();
    sample
}

/// How a picture gets the shape of its part of a mosaic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MosaicFit {
    /// A random crop of the picture scaled to cover the part, aspect ratio kept (YOLO's way, which keeps the shapes).
    #[default]
    Cover,
    /// Stretched (google/automl's way).
    Stretch,
}

/// Four pictures around a random point.
///
/// # Reference
/// google/automl `aug/mosaic.py` (not wired to its data loader), which draws the point between 25 and 75 % of each side
/// and stretches; mosaics come from YOLOv4 (Bochkovskiy et al., 2020). automl exchanges height and width when it scales
/// boxes; not copied.
#[derive(Clone)]
pub struct Mosaic {
    /// Size of the result.
    pub size: ImageSize,
    /// The other pictures.
    pub source: Arc<dyn Samples>,
    /// Where the point may lie, as parts of each side. automl: 0.25 to 0.75.
    pub point: (f64, f64),
    /// How pictures are fitted.
    pub fit: MosaicFit,
    /// How pictures are resampled.
    pub interpolation: Interpolation,
    /// Part of an object's box that has to be left by a crop for the object to count.
    pub min_visible: f32,
}

impl Mosaic {
    /// Mosaics of `size` with pictures of `source`: point from 25 to 75 %, [`MosaicFit::Cover`], bilinear, a tenth of
    /// an object visible.
    pub fn new(size: ImageSize, source: Arc<dyn Samples>) -> Self {
        let (fit, interpolation) = (MosaicFit::default(), Interpolation::default());
        Self { size, source, point: (0.25, 0.75), fit, interpolation, min_visible: 0.1 }
    }

    /// Fits `sample` to the size of a part.
    fn fitted(&self, sample: Sample, size: ImageSize, rng: &mut Rng) -> Sample {
        let draws = (rng.unit(), rng.unit());
        if self.fit == MosaicFit::Stretch {
            return stretch(sample, size, self.interpolation);
        }
        let before = sample.size();
        let along = |part: usize, side: usize| part as f64 / side as f64;
        let scale = along(size.height, before.height).max(along(size.width, before.width));
        // What shows through the part, in whole pixels of the picture.
        let seen = |part: usize, side: usize| ((part as f64 / scale).round() as usize).clamp(1, side);
        let (height, width) = (seen(size.height, before.height), seen(size.width, before.width));
        let at = |room: usize, draw: f64| ((room + 1) as f64 * draw) as usize;
        let (x, y) = (at(before.width - width, draws.0), at(before.height - height, draws.1));
        let areas: Vec<f32> = sample.objects.iter().map(|object| object.bbox.area()).collect();
        let region = Region { x, y, width, height };
        let mut sample = sample;
        let mut areas = areas.into_iter();
        sample.objects.retain(|object| {
            let moved = object.bbox.translate(-(x as f32), -(y as f32)).clip(ImageSize::new(height, width));
            areas.next().is_some_and(|area| moved.area() >= self.min_visible * area)
        });
        stretch(cut(sample, region), size, self.interpolation)
    }
}

impl Transform for Mosaic {
    fn apply(&self, sample: Sample, rng: &mut Rng) -> Sample {
        let mut place = |side: usize| {
            let at = (side as f64 * rng.uniform(self.point.0, self.point.1)) as usize;
            at.clamp(1.min(side), side.saturating_sub(1))
        };
        let (x, y) = (place(self.size.width), place(self.size.height));
        let (width, height) = (self.size.width - x, self.size.height - y);
        let parts = [(0, 0, y, x), (x, 0, y, width), (0, y, height, x), (x, y, height, width)];
        if sample.is_empty() || x == 0 || y == 0 {
            return sample;
        }
        let mut picture = filled(self.size, MEAN_FILL);
        let mut objects = Vec::new();
        for (i, (x, y, height, width)) in parts.into_iter().enumerate() {
            let part = if i == 0 { Some(sample.clone()) } else { partner(&*self.source, rng) };
            let Some(part) = part else { continue };
            let mut part = self.fitted(part, ImageSize::new(height, width), rng);
            paste(&mut picture, &part.picture, Region::whole(part.size()), x, y);
            part.map_boxes(1.0, 1.0, x as f32, y as f32);
            objects.append(&mut part.objects);
        }
        remade(sample, picture, objects)
    }
}

/// Two pictures shining through each other, with the objects of both.
///
/// Both lie in the top-left corner of a picture as large as the larger of each side; the rest is the mean colour. The
/// objects count fully, whatever the share of their picture.
///
/// # Reference
/// Zhang et al., *Bag of Freebies for Training Object Detection Neural Networks* (2019), section 3.1: the share is
/// beta(1.5, 1.5) distributed and the pictures keep their shapes. The paper weights the loss with the share.
#[derive(Clone)]
pub struct MixUp {
    /// The other pictures.
    pub source: Arc<dyn Samples>,
    /// Both parameters of the beta distribution. The paper: 1.5.
    pub alpha: f64,
}

impl MixUp {
    /// The paper's, with pictures of `source`.
    pub fn new(source: Arc<dyn Samples>) -> Self {
        Self { source, alpha: 1.5 }
    }
}

impl Transform for MixUp {
    fn apply(&self, sample: Sample, rng: &mut Rng) -> Sample {
        let share = rng.beta(self.alpha) as f32;
        let Some(other) = partner(&*self.source, rng).filter(|_| !sample.is_empty()) else {
            return sample;
        };
        let (a, b) = (sample.size(), other.size());
        let size = ImageSize::new(a.height.max(b.height), a.width.max(b.width));
        let mut picture = filled(size, MEAN_FILL);
        let mut second = picture.clone();
        paste(&mut picture, &sample.picture, Region::whole(a), 0, 0);
        paste(&mut second, &other.picture, Region::whole(b), 0, 0);
        for (level, other) in picture.iter_mut().zip(second.iter()) {
            *level = (share * f32::from(*level) + (1.0 - share) * f32::from(*other)).round() as u8;
        }
        let objects = [sample.objects.clone(), other.objects].concat();
        remade(sample, picture, objects)
    }
}

/// Objects of another picture pasted at random places, as rectangles.
///
/// Objects that a pasted one hides too much of are dropped. Crowds are not copied.
///
/// # Reference
/// Ghiasi et al., *Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation* (2021): a random
/// subset of the objects of one other picture, and hidden objects removed. The paper cuts along masks, which detection
/// data sets do not have; here the whole box is copied.
#[derive(Clone)]
pub struct CopyPaste {
    /// The other pictures.
    pub source: Arc<dyn Samples>,
    /// Probability that an object of the other picture is copied.
    pub probability: f64,
    /// Least and largest factor by which a copy is scaled.
    pub scale: (f64, f64),
    /// Part of a box that may be hidden before its object is dropped.
    pub max_hidden: f32,
    /// How copies are resampled.
    pub interpolation: Interpolation,
}

impl CopyPaste {
    /// Half of the objects, scaled by 0.5 to 1.5; objects that are hidden by more than 70 % go.
    pub fn new(source: Arc<dyn Samples>) -> Self {
        let interpolation = Interpolation::default();
        Self { source, probability: 0.5, scale: (0.5, 1.5), max_hidden: 0.7, interpolation }
    }
}

impl Transform for CopyPaste {
    fn apply(&self, mut sample: Sample, rng: &mut Rng) -> Sample {
        let Some(other) = partner(&*self.source, rng).filter(|_| !sample.is_empty()) else {
            return sample;
        };
        let size = sample.size();
        for object in &other.objects {
            let (wanted, scale) = (rng.chance(self.probability), rng.uniform(self.scale.0, self.scale.1));
            let place = (rng.unit(), rng.unit());
            let region = Region::around(object.bbox, other.size());
            if !wanted || object.is_crowd || region.width == 0 || region.height == 0 {
                continue;
            }
            let mut alone = Sample::new(crop(&other.picture, region), vec![*object]);
            alone.map_boxes(1.0, 1.0, -(region.x as f32), -(region.y as f32));
            let fit =
                (size.width as f64 / region.width as f64).min(size.height as f64 / region.height as f64);
            let side = |side: usize| ((side as f64 * scale.min(fit)) as usize).max(1);
            let scaled = ImageSize::new(side(region.height), side(region.width));
            let mut alone = stretch(alone, scaled, self.interpolation);
            let at = |room: usize, draw: f64| ((room + 1) as f64 * draw) as usize;
            let (x, y) = (at(size.width - scaled.width, place.0), at(size.height - scaled.height, place.1));
            paste(&mut sample.picture, &alone.picture, Region::whole(scaled), x, y);
            alone.map_boxes(1.0, 1.0, x as f32, y as f32);
            let Some(pasted) = alone.objects.pop() else { continue };
            sample.objects.retain(|object| {
                let hidden = object.bbox.intersection(&pasted.bbox).map_or(0.0, |common| common.area());
                hidden <= self.max_hidden * object.bbox.area()
            });
            sample.objects.push(pasted);
        }
        sample.clip_boxes();
        sample
    }
}
