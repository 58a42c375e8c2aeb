//! The search of a learning rate.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use effdet_viz::{Axis, Line, class_color, save_lines};

use crate::{
    Control, Curve, DataLoader, DetectorModel, Engine, Error, Event, Interval, Schedule, Session,
    TrainConfig, TrainModule,
};

/// How rates are tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrFindOptions {
    /// First rate.
    pub start: f64,
    /// Last rate.
    pub end: f64,
    /// Number of rates.
    pub steps: u64,
}

impl Default for LrFindOptions {
    /// fastai's.
    fn default() -> Self {
        Self { start: 1e-7, end: 10.0, steps: 100 }
    }
}

/// The losses at the rates that were tried, each as the `lr` of settings: what `lr_batch_size` makes of it is not in it.
#[derive(Clone, Debug, PartialEq)]
pub struct LrFind {
    /// Rate and smoothed loss of each step.
    pub points: Vec<(f64, f64)>,
    /// Two thirds into the longest descent, where there is one.
    pub valley: Option<f64>,
}

impl LrFind {
    /// Draws the losses over the rates.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_plot(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let mut lines =
            vec![Line { name: "loss".into(), points: self.points.clone(), color: class_color(1) }];
        if let Some(valley) = self.valley {
            let (low, high) =
                self.points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (_, loss)| {
                    (low.min(*loss), high.max(*loss))
                });
            lines.push(Line {
                name: format!("valley {valley:.1e}"),
                points: vec![(valley, low), (valley, high)],
                color: class_color(3),
            });
        }
        let (x, y) = (Axis::logarithmic("learning rate"), Axis::linear("loss"));
        Ok(save_lines(path, "Search of a learning rate", x, y, &lines)?)
    }
}

/// Smoothing of the losses, and how far beyond the best they end the search.
const BETA: f64 = 0.98;
const DIVERGED: f64 = 4.0;

/// Trains with a rate that grows by equal factors until the loss is four times the best; the model is put back.
///
/// # Reference
/// Smith 2015; fastai `lr_find` and its `valley`.
pub(crate) fn find_rate(
    model: &mut DetectorModel,
    module: &mut dyn TrainModule,
    train: &DataLoader,
    config: &TrainConfig,
    options: LrFindOptions,
) -> Result<LrFind, Error> {
    let LrFindOptions { start, end, steps } = options;
    if !(start > 0.0 && end > start && end.is_finite()) || steps == 0 {
        return Err(Error::setting(
            "the range of rates",
            format!("{start} to {end} in {steps} steps"),
            "a rising range",
        ));
    }
    let before = model.network.clone();
    let points = Arc::new(Mutex::new(Vec::new()));
    let scale = config.lr_scale(train.loader().options().batch_size);
    let mut search =
        Search { average: 0.0, best: f64::INFINITY, count: 0, steps, scale, points: Arc::clone(&points) };
    let config = TrainConfig {
        epochs: steps.div_ceil((train.len() as u64 / config.accumulate.max(1)).max(1)),
        lr: 1.0,
        schedule: Schedule {
            interval: Interval::Step,
            curve: Curve::Exponential { start, end, length: steps },
            ..Schedule::default()
        },
        ema: None,
        validate_every: 0,
        explosion: 0.0,
        ..config.clone()
    };
    let result = Engine {
        model,
        module,
        train,
        valid: None,
        metrics: &[],
        callbacks: vec![Box::new(move |event: &Event<'_>| search.on_event(event))],
        folder: None,
        session: &mut Session::default(),
        collective: None,
    }
    .run(&[config], false);
    model.network = before;
    // A loss that is not finite ends the search as a divergence does.
    match result {
        Err(Error::BadStep(_)) | Ok(_) => {}
        Err(error) => return Err(error),
    }
    let points = std::mem::take(&mut *points.lock().unwrap_or_else(PoisonError::into_inner));
    // fastai leaves out the first tenth and the last five.
    let first = (steps as usize / 10).min(points.len());
    let inner = &points[first..points.len().saturating_sub(5).max(first)];
    Ok(LrFind { valley: valley(inner), points })
}

struct Search {
    average: f64,
    best: f64,
    count: u64,
    steps: u64,
    /// What the engine multiplies rates by.
    scale: f64,
    points: Arc<Mutex<Vec<(f64, f64)>>>,
}

impl Search {
    fn on_event(&mut self, event: &Event<'_>) -> Control {
        let report = match event {
            Event::Step(report) => report,
            Event::Bad(_) => return Control::Stop,
            _ => return Control::Continue,
        };
        self.count += 1;
        self.average = self.average * BETA + report.losses.total * (1.0 - BETA);
        let smooth = self.average / (1.0 - BETA.powf(self.count as f64));
        self.points.lock().unwrap_or_else(PoisonError::into_inner).push((report.lr / self.scale, smooth));
        self.best = self.best.min(smooth);
        if smooth > DIVERGED * self.best || self.count >= self.steps {
            Control::Stop
        } else {
            Control::Continue
        }
    }
}

/// The rate half way through the middle third of the longest falling sequence of losses.
fn valley(points: &[(f64, f64)]) -> Option<f64> {
    let mut lengths = vec![1usize; points.len()];
    let (mut longest, mut start) = (0, 0);
    for i in 1..points.len() {
        for j in 0..i {
            if points[i].1 < points[j].1 && lengths[i] < lengths[j] + 1 {
                lengths[i] = lengths[j] + 1;
            }
            if lengths[longest] < lengths[i] {
                longest = i;
                start = longest.saturating_sub(lengths[longest]);
            }
        }
    }
    let section = (longest - start) as f64 / 3.0;
    points.get(start + section as usize + (section / 2.0) as usize).map(|(rate, _)| *rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_valley_lies_in_the_descent() {
        // flat, down, up: as fastai's `valley` on the same numbers
        let loss = |i: usize| match i {
            0..20 => 2.0 + 0.001 * (i % 2) as f64,
            20..60 => 2.0 - 0.04 * (i - 20) as f64,
            _ => 0.4 + 0.5 * (i - 60) as f64,
        };
        let points: Vec<(f64, f64)> = (0..80).map(|i| (i as f64, loss(i))).collect();
        let valley = valley(&points).unwrap();
        assert!((30.0..45.0).contains(&valley), "{valley}");
        assert_eq!(super::valley(&[]), None);
    }
}
