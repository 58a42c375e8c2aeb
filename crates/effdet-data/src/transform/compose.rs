//! Transforms made of transforms.

use super::{Rng, Sample};

/// Something that changes a picture and its objects together.
///
/// Closures `Fn(Sample, &mut Rng) -> Sample` are transforms, too. All randomness has to come from `rng`: then the
/// result does not depend on the thread that runs it. Boxes of the result should lie in the picture and have an area,
/// which [`Sample::clip_boxes`] sees to.
///
/// ```
/// use effdet_data::transform::{Compose, Flip, Rng, Sample, Transform};
///
/// let darker = |mut sample: Sample, rng: &mut Rng| {
///     let factor = rng.uniform(0.5, 1.0);
///     sample.picture.iter_mut().for_each(|level| *level = (f64::from(*level) * factor) as u8);
///     sample
/// };
/// let pipeline = Compose::new().then(Flip::horizontal(0.5)).then(darker);
/// let sample = Sample::new(image::RgbImage::new(4, 3), Vec::new());
/// assert_eq!(pipeline.apply(sample, &mut Rng::new(0)).picture.dimensions(), (4, 3));
/// ```
pub trait Transform: Send + Sync {
    /// The transformed sample.
    fn apply(&self, sample: Sample, rng: &mut Rng) -> Sample;
}

impl<F> Transform for F
where
    F: Fn(Sample, &mut Rng) -> Sample + Send + Sync,
{
    fn apply(&self, sample: Sample, rng: &mut Rng) -> Sample {
        self(sample, rng)
    }
}

/// Transforms one after the other; without any, the identity.
#[derive(Default)]
pub struct Compose {
    transforms: Vec<Box<dyn Transform>>,
}

impl Compose {
    /// The identity.
    pub fn new() -> Self {
        Self::default()
    }

    /// With `transform` at the end.
    #[must_use]
    pub fn then(mut self, transform: impl Transform + 'static) -> Self {
        self.transforms.push(Box::new(transform));
        self
    }

    /// Number of transforms.
    pub fn len(&self) -> usize {
        self.transforms.len()
    }

    /// True for the identity.
    pub fn is_empty(&self) -> bool {
        self.transforms.is_empty()
    }
}

impl Transform for Compose {
    fn apply(&self, sample: Sample, rng: &mut Rng) -> Sample {
        self.transforms.iter().fold(sample, |sample, transform| transform.apply(sample, rng))
    }
}

/// A transform that happens with some probability.
pub struct Probability {
    probability: f64,
    transform: Box<dyn Transform>,
}

impl Probability {
    /// `transform` with probability `probability`.
    pub fn new(probability: f64, transform: impl Transform + 'static) -> Self {
        Self { probability, transform: Box::new(transform) }
    }
}

impl Transform for Probability {
    fn apply(&self, sample: Sample, rng: &mut Rng) -> Sample {
        if rng.chance(self.probability) { self.transform.apply(sample, rng) } else { sample }
    }
}

/// One of several transforms; without any, the identity.
#[derive(Default)]
pub struct OneOf {
    choices: Vec<(f64, Box<dyn Transform>)>,
}

impl OneOf {
    /// No choices yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With `transform` as one more choice, taken in proportion to `weight`. Weights that are not positive never win.
    #[must_use]
    pub fn or(mut self, weight: f64, transform: impl Transform + 'static) -> Self {
        self.choices.push((if weight > 0.0 { weight } else { 0.0 }, Box::new(transform)));
        self
    }

    /// `first` with probability `probability`, else `other`.
    ///
    /// # Reference
    /// albumentations `OneOrOther`.
    pub fn either(
        probability: f64,
        first: impl Transform + 'static,
        other: impl Transform + 'static,
    ) -> Self {
        Self::new().or(probability, first).or(1.0 - probability, other)
    }
}

impl Transform for OneOf {
    fn apply(&self, sample: Sample, rng: &mut Rng) -> Sample {
        let total: f64 = self.choices.iter().map(|(weight, _)| weight).sum();
        let mut drawn = rng.unit() * total;
        for (weight, transform) in &self.choices {
            if drawn < *weight {
                return transform.apply(sample, rng);
            }
            drawn -= weight;
        }
        sample
    }
}
