//! One pass over the samples: the workers and the order of their results.

use std::any::Any;
use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use effdet_core::{ImageSize, Letterbox};
use image::RgbImage;

use super::{Batch, Labeller, Layout, LoaderOptions, OnError, Position, Samples, Skipped, Target};
use crate::transform::{Rng, Transform};
use crate::{Error, RecordId};

/// Samples tried in the place of one that failed.
const REPLACEMENTS: u64 = 16;

/// What the workers share and do not change.
pub(super) struct Work<T> {
    pub samples: Arc<dyn Samples>,
    pub transform: Arc<dyn Transform>,
    pub labeller: Option<Arc<Labeller<T>>>,
    pub options: LoaderOptions,
    pub epoch: u64,
    pub positions: Vec<Position>,
    /// Place to begin at.
    pub first: usize,
}

/// A sample ready for its batch.
struct Item<T> {
    pixels: Vec<u8>,
    size: ImageSize,
    target: Target,
    img_scale: f32,
    img_size: ImageSize,
    letterbox: Option<Letterbox>,
    position: Position,
    id: RecordId,
    label: Option<T>,
}

/// The outcome of one place of the epoch: an item unless nothing could be read, and what failed on the way.
struct Outcome<T> {
    item: Option<Item<T>>,
    skipped: Vec<Skipped>,
}

impl<T> Work<T> {
    fn outcome(&self, place: usize) -> Outcome<T> {
        let position = self.positions[place];
        let mut skipped = Vec::new();
        let draws = Rng::for_sample(self.options.seed, self.epoch, place as u64);
        let attempts = if self.options.on_error == OnError::Replace { REPLACEMENTS } else { 0 };
        for attempt in 0..=attempts {
            let index = match attempt {
                0 => position.index,
                attempt => draws.keyed(attempt).below(self.samples.len()),
            };
            match self.item(Position { index, ..position }) {
                Ok(item) => return Outcome { item: Some(item), skipped },
                Err(error) => skipped.push(Skipped { index, name: self.name(index), error }),
            }
        }
        Outcome { item: None, skipped }
    }

    fn item(&self, position: Position) -> Result<Item<T>, Error> {
        // Transforms and labellers may be a user's own; one bad sample must not end a training run.
        catch_unwind(AssertUnwindSafe(|| self.try_item(position))).unwrap_or_else(|payload| {
            let name = self.name(position.index);
            Err(Error::WorkerPanicked { name, message: panic_message(payload.as_ref()) })
        })
    }

    /// A name also where a user's own samples panic: a worker that died would leave its place empty for ever.
    fn name(&self, index: usize) -> String {
        catch_unwind(AssertUnwindSafe(|| self.samples.name(index)))
            .unwrap_or_else(|_| format!("sample {index}"))
    }

    fn try_item(&self, position: Position) -> Result<Item<T>, Error> {
        let sample = self.samples.get(position.index)?;
        let mut rng = Rng::for_sample(self.options.seed, self.epoch, position.index as u64);
        let sample = self.transform.apply(sample, &mut rng);
        let label = self.labeller.as_ref().map(|label| label(&sample));
        Ok(Item {
            size: sample.size(),
            target: Target::new(&sample.objects, self.options.keep_crowds),
            img_scale: sample.img_scale as f32,
            img_size: sample.source_size,
            letterbox: sample.letterbox,
            position,
            id: sample.id,
            label,
            pixels: arranged(sample.picture, self.options.layout),
        })
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text =
        payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("panic without a message").to_owned()
}

fn arranged(picture: RgbImage, layout: Layout) -> Vec<u8> {
    let samples = picture.into_raw();
    if layout == Layout::Hwc {
        return samples;
    }
    let mut planes = vec![0; samples.len()];
    let (red, rest) = planes.split_at_mut(samples.len() / 3);
    let (green, blue) = rest.split_at_mut(samples.len() / 3);
    for (((pixel, red), green), blue) in samples.as_chunks::<3>().0.iter().zip(red).zip(green).zip(blue) {
        (*red, *green, *blue) = (pixel[0], pixel[1], pixel[2]);
    }
    planes
}

/// Outcomes that wait for their turn.
struct Queue<T> {
    /// Place of the first outcome in `ready`.
    next: usize,
    /// Outcomes from `next` on; `None` where a worker is still busy.
    ready: VecDeque<Option<Outcome<T>>>,
    /// First place that no worker has taken.
    free: usize,
    stopped: bool,
}

struct Shared<T> {
    work: Work<T>,
    queue: Mutex<Queue<T>>,
    /// Signalled when an outcome arrives.
    arrived: Condvar,
    /// Signalled when there is room ahead, or nothing more to do.
    room: Condvar,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        // Nothing panics while the lock is held; a poisoned queue is still whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many outcomes may be ahead.
    fn ahead(&self) -> usize {
        self.work.options.prefetch.saturating_mul(self.work.options.batch_size)
    }

    fn run_worker(&self) {
        let mut queue = self.lock();
        loop {
            if queue.stopped || queue.free >= self.work.positions.len() {
                return;
            }
            if queue.free - queue.next >= self.ahead() {
                queue = self.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let place = queue.free;
            queue.free += 1;
            queue.ready.push_back(None);
            drop(queue);
            let outcome = self.work.outcome(place);
            queue = self.lock();
            let slot = place - queue.next;
            if let Some(slot) = queue.ready.get_mut(slot) {
                *slot = Some(outcome);
            }
            self.arrived.notify_one();
        }
    }

    /// The outcome of the next place, or `None` after the last.
    fn take_next(&self) -> Option<Outcome<T>> {
        let mut queue = self.lock();
        if queue.next >= self.work.positions.len() || queue.stopped {
            return None;
        }
        loop {
            if let Some(outcome) = queue.ready.front_mut().and_then(Option::take) {
                queue.ready.pop_front();
                queue.next += 1;
                self.room.notify_one();
                return Some(outcome);
            }
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.room.notify_all();
    }
}

/// The batches of one epoch, in order.
///
/// With [`OnError::Fail`] the first failure is given in its turn and ends the epoch, as does [`Error::UnevenBatch`]
/// always.
pub struct Epoch<T> {
    shared: Arc<Shared<T>>,
    workers: Vec<JoinHandle<()>>,
    /// Next place, where there are no workers.
    place: usize,
    ended: bool,
    skipped: usize,
    last_skipped: Vec<Skipped>,
}

impl<T: Send + 'static> Epoch<T> {
    pub(super) fn start(work: Work<T>) -> Self {
        let first = work.first;
        let wanted = work.options.workers.min(work.positions.len() - first);
        let queue = Queue { next: first, ready: VecDeque::new(), free: first, stopped: false };
        let (arrived, room) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { work, queue: Mutex::new(queue), arrived, room });
        let spawn = |i: usize| {
            let shared = Arc::clone(&shared);
            Builder::new().name(format!("loader-{i}")).spawn(move || shared.run_worker())
        };
        // Fewer workers than asked for, down to none, do the same work.
        let workers = (0..wanted).map_while(|i| spawn(i).ok()).collect();
        Self { shared, workers, place: first, ended: false, skipped: 0, last_skipped: Vec::new() }
    }
}

impl<T> Epoch<T> {
    /// Samples that failed so far.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Samples that failed after the last batch, which no batch lists.
    pub fn skipped_at_end(&self) -> &[Skipped] {
        &self.last_skipped
    }

    /// Takes out what [`skipped_at_end`](Self::skipped_at_end) lists.
    pub fn take_skipped_at_end(&mut self) -> Vec<Skipped> {
        std::mem::take(&mut self.last_skipped)
    }

    fn next_outcome(&mut self) -> Option<Outcome<T>> {
        if !self.workers.is_empty() {
            return self.shared.take_next();
        }
        let place = self.place;
        self.place += 1;
        (place < self.shared.work.positions.len()).then(|| self.shared.work.outcome(place))
    }

    fn fail(&mut self, error: Error) -> Option<Result<Batch<T>, Error>> {
        self.ended = true;
        self.shared.stop();
        Some(Err(error))
    }
}

impl<T> Iterator for Epoch<T> {
    type Item = Result<Batch<T>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let options = self.shared.work.options;
        let mut batch = Assembly::new(&options, self.shared.work.positions.len());
        while batch.items() < options.batch_size {
            let Some(outcome) = self.next_outcome() else {
                self.ended = true;
                break;
            };
            self.skipped += outcome.skipped.len();
            for skipped in outcome.skipped {
                if options.on_error == OnError::Fail {
                    return self.fail(skipped.error);
                }
                batch.skipped.push(skipped);
            }
            let Some(item) = outcome.item else { continue };
            if let Err(error) = batch.push(item, &*self.shared.work.samples) {
                return self.fail(error);
            }
        }
        let is_short = batch.items() < options.batch_size;
        if batch.items() == 0 || is_short && options.drop_last {
            self.last_skipped = batch.skipped;
            return None;
        }
        Some(Ok(batch.finish()))
    }
}

impl<T> FusedIterator for Epoch<T> {}

impl<T> Drop for Epoch<T> {
    fn drop(&mut self) {
        self.shared.stop();
        for worker in self.workers.drain(..) {
            // Workers catch panics; were there one, this epoch is over anyway.
            let _ = worker.join();
        }
    }
}

/// A batch that is being filled.
struct Assembly<T> {
    batch: Batch<T>,
    size: ImageSize,
    capacity: usize,
    labels: Vec<T>,
    skipped: Vec<Skipped>,
}

impl<T> Assembly<T> {
    fn new(options: &LoaderOptions, positions: usize) -> Self {
        let batch = Batch {
            pixels: Vec::new(),
            shape: [0; 4],
            layout: options.layout,
            targets: Vec::new(),
            img_scale: Vec::new(),
            img_size: Vec::new(),
            letterboxes: Vec::new(),
            indices: Vec::new(),
            ids: Vec::new(),
            is_padding: Vec::new(),
            labels: None,
            skipped: Vec::new(),
        };
        let (size, capacity) = (ImageSize::default(), options.batch_size.min(positions));
        Self { batch, size, capacity, labels: Vec::new(), skipped: Vec::new() }
    }

    fn items(&self) -> usize {
        self.batch.len()
    }

    fn push(&mut self, item: Item<T>, samples: &dyn Samples) -> Result<(), Error> {
        let batch = &mut self.batch;
        if batch.is_empty() {
            self.size = item.size;
            batch.pixels.reserve_exact(item.pixels.len().saturating_mul(self.capacity));
        } else if self.size != item.size {
            let name = samples.name(item.position.index);
            return Err(Error::UnevenBatch { name, got: item.size, expected: self.size });
        }
        batch.pixels.extend_from_slice(&item.pixels);
        batch.targets.push(item.target);
        batch.img_scale.push(item.img_scale);
        batch.img_size.push(item.img_size);
        batch.letterboxes.push(item.letterbox);
        batch.indices.push(item.position.index);
        batch.ids.push(item.id);
        batch.is_padding.push(item.position.is_padding);
        self.labels.extend(item.label);
        Ok(())
    }

    fn finish(mut self) -> Batch<T> {
        let (count, ImageSize { height, width }) = (self.batch.len(), self.size);
        self.batch.shape = match self.batch.layout {
            Layout::Hwc => [count, height, width, 3],
            Layout::Chw => [count, 3, height, width],
        };
        self.batch.labels = (self.labels.len() == count).then_some(self.labels);
        self.batch.skipped = self.skipped;
        self.batch
    }
}
