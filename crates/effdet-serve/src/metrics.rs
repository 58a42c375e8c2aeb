//! What the server counts, for Prometheus.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::prometheus_text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Type of what [`Metrics::text`] returns.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds in seconds: a millisecond to half a minute.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Upper bounds of a batch's size.
const PICTURES: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    endpoint: String,
    status: u16,
}

/// Counters and the registry that writes them.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    abandoned: Counter,
    in_flight: Gauge,
    pub connections: Gauge,
    pub queue_depth: Gauge,
    detect_seconds: Histogram,
    pub queue_seconds: Histogram,
    pub network_seconds: Histogram,
    pub batch_size: Histogram,
    resident: Gauge,
    accepted: AtomicU64,
    answered: AtomicU64,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("accepted", &self.accepted).finish_non_exhaustive()
    }
}

impl Metrics {
    pub fn new(queue: usize) -> Self {
        let mut registry = Registry::default();
        let resident = Gauge::default();
        registry.register("process_resident_memory_bytes", "Memory of the process", resident.clone());

        let ours = registry.sub_registry_with_prefix("effdet");
        let mut gauge = |name: &str, help: &str| {
            let gauge: Gauge = Gauge::default();
            ours.register(name, help, gauge.clone());
            gauge
        };
        let in_flight = gauge("requests_in_flight", "Requests being served");
        let connections = gauge("connections", "Open connections");
        let queue_depth = gauge("queue_depth", "Requests waiting for the network");
        gauge("queue_capacity", "Requests that may wait for the network")
            .set(i64::try_from(queue).unwrap_or(i64::MAX));

        let mut histogram = |name: &str, help: &str, bounds: &[f64]| {
            let histogram = Histogram::new(bounds.iter().copied());
            ours.register(name, help, histogram.clone());
            histogram
        };
        let detect_seconds = histogram(
            "detect_duration_seconds",
            "Time from the head of a detection request to its answer",
            &SECONDS,
        );
        let queue_seconds =
            histogram("queue_duration_seconds", "Time a decoded picture waited for the network", &SECONDS);
        let network_seconds =
            histogram("network_duration_seconds", "Time of a batch in the network", &SECONDS);
        let batch_size = histogram("batch_size", "Pictures of a batch", &PICTURES);

        let (requests, abandoned) = (Family::default(), Counter::default());
        ours.register("requests", "Requests answered", requests.clone());
        ours.register("requests_abandoned", "Requests whose client went away", abandoned.clone());
        Self {
            registry,
            requests,
            abandoned,
            in_flight,
            connections,
            queue_depth,
            detect_seconds,
            queue_seconds,
            network_seconds,
            batch_size,
            resident,
            accepted: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        }
    }

    /// A request's head has been read.
    pub fn accept(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.in_flight.inc();
    }

    /// Its answer is on its way.
    pub fn answer(&self, endpoint: &str, status: u16, took: Duration) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.in_flight.dec();
        self.requests.get_or_create(&Labels { endpoint: endpoint.to_owned(), status }).inc();
        if endpoint == crate::app::DETECT {
            self.detect_seconds.observe(took.as_secs_f64());
        }
    }

    /// Its client went away.
    pub fn abandon(&self) {
        self.in_flight.dec();
        self.abandoned.inc();
    }

    /// Requests accepted, answered, abandoned.
    pub fn totals(&self) -> [u64; 3] {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [load(&self.accepted), load(&self.answered), self.abandoned.get()]
    }

    /// All of it in Prometheus' text format.
    pub fn text(&self) -> Result<String, fmt::Error> {
        if let Some(bytes) = resident_memory() {
            self.resident.set(bytes);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Bytes of memory of this process; only Linux says.
fn resident_memory() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}
