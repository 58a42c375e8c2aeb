//! The thread that owns the detector, and the queue before it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use effdet::data::Prepared;
use effdet::prelude::*;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::{Error, ServeConfig};

/// What the network found, and what it took.
#[derive(Debug)]
pub(crate) struct Found {
    pub detections: Vec<Detection>,
    pub waited: Duration,
    pub computed: Duration,
    /// Pictures that went through the network together.
    pub batch: usize,
}

/// A picture ready for the network.
#[derive(Debug)]
pub(crate) struct Job {
    prepared: Prepared,
    settings: DecodeConfig,
    admission: Admission,
    since: Instant,
    reply: oneshot::Sender<Result<Found, Refusal>>,
}

/// A place in the queue, from the arrival of a picture until the network takes it.
#[derive(Debug)]
pub(crate) struct Admission {
    _place: OwnedSemaphorePermit,
}

/// Where requests hand in their pictures. The detector's thread ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Batcher {
    jobs: Sender<Job>,
    places: Arc<Semaphore>,
    capacity: usize,
}

impl Batcher {
    /// Starts the detector's thread.
    pub fn start(
        detector: Detector,
        config: &ServeConfig,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, JoinHandle<()>), Error> {
        let (jobs, queue) = channel();
        let (most, wait) = (config.batch, config.batch_wait);
        let work = move || work(&detector, &queue, most, wait, &metrics);
        let thread =
            thread::Builder::new().name("effdet-network".to_owned()).spawn(work).map_err(Error::Thread)?;
        let places = Arc::new(Semaphore::new(config.queue));
        Ok((Self { jobs, places, capacity: config.queue }, thread))
    }

    /// Takes a place in the queue.
    pub fn admit(&self) -> Result<Admission, Refusal> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        place.map(|place| Admission { _place: place }).map_err(|_| {
            let message = format!("{} requests are waiting already: try again", self.capacity);
            Refusal::busy("queue_full", message)
        })
    }

    /// Number of places taken.
    pub fn depth(&self) -> usize {
        self.capacity.saturating_sub(self.places.available_permits())
    }

    /// Detections of a picture.
    pub async fn detect(
        &self,
        prepared: Prepared,
        settings: DecodeConfig,
        admission: Admission,
    ) -> Result<Found, Refusal> {
        let (reply, answer) = oneshot::channel();
        let job = Job { prepared, settings, admission, since: Instant::now(), reply };
        let gone = || Refusal::internal("the detector's thread has ended");
        self.jobs.send(job).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn work(detector: &Detector, queue: &Receiver<Job>, most: usize, wait: Duration, metrics: &Metrics) {
    while let Ok(first) = queue.recv() {
        let mut jobs = vec![first];
        let until = Instant::now() + wait;
        while jobs.len() < most
            && let Ok(job) = queue.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            jobs.push(job);
        }
        // Those whose client went away, or whose time is over, are not computed.
        jobs.retain(|job| !job.reply.is_closed());
        if !jobs.is_empty() {
            compute(detector, jobs, metrics);
        }
    }
}

fn compute(detector: &Detector, jobs: Vec<Job>, metrics: &Metrics) {
    let start = Instant::now();
    let batch = jobs.len();
    let (mut pictures, mut settings, mut replies) = (Vec::new(), Vec::new(), Vec::new());
    for Job { prepared, settings: of_this, admission, since, reply } in jobs {
        pictures.push(prepared);
        settings.push(of_this);
        replies.push((reply, start.saturating_duration_since(since)));
        drop(admission);
    }
    // A panic for one batch must not end the server.
    let detect = || detector.detect_prepared_each(&pictures, &settings);
    let result = match catch_unwind(AssertUnwindSafe(detect)) {
        Ok(Ok(detections)) => Ok(detections),
        Ok(Err(error)) => Err(Refusal::internal(error.to_string())),
        Err(_) => Err(Refusal::internal("the detector panicked")),
    };
    let computed = start.elapsed();
    metrics.batch_size.observe(batch as f64);
    metrics.network_seconds.observe(computed.as_secs_f64());
    if let Err(refusal) = &result {
        tracing::error!(batch, "{}", refusal.message);
    }
    let results: Vec<_> = match result {
        Ok(detections) => detections.into_iter().map(Ok).collect(),
        Err(refusal) => vec![Err(refusal); batch],
    };
    for ((reply, waited), result) in replies.into_iter().zip(results) {
        metrics.queue_seconds.observe(waited.as_secs_f64());
        // A client that has gone away meanwhile is no failure.
        let _ = reply.send(result.map(|detections| Found { detections, waited, computed, batch }));
    }
}
