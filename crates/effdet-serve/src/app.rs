//! The endpoints, and what they share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use effdet::prelude::*;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::batcher::Batcher;
use crate::body::discard_sent;
use crate::detect::{PIXELS_PER_PERMIT, detect};
use crate::metrics::{CONTENT_TYPE as METRICS_TYPE, Metrics};
use crate::refusal::Refusal;
use crate::report::ModelReport;
use crate::server::Peer;
use crate::{Error, ServeConfig};

/// Path of the endpoint that all the others are for.
pub(crate) const DETECT: &str = "/v1/detect";
/// Asked by machines every few seconds, so not worth a line each.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

const PAGE: &str = include_str!("page.html");
/// The page loads nothing and talks to this server alone.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                           img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'";

/// What requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub config: ServeConfig,
    pub preprocess: Preprocess,
    pub classes: ClassMap,
    /// Settings of a request that has none.
    pub decode: DecodeConfig,
    pub batcher: Batcher,
    /// Bytes of bodies.
    pub bodies: Arc<Semaphore>,
    /// Pixels of pictures that are decoded or kept, see [`PIXELS_PER_PERMIT`].
    pub pixels: Arc<Semaphore>,
    /// Processor cores for decoding and drawing.
    pub cores: Arc<Semaphore>,
    pub metrics: Arc<Metrics>,
    pub stopping: AtomicBool,
    model: ModelReport,
}

impl App {
    /// Takes the detector to its thread.
    pub fn new(detector: Detector, config: ServeConfig) -> Result<(Self, JoinHandle<()>), Error> {
        let metrics = Arc::new(Metrics::new(config.queue));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        // Room for two of the largest pictures, so that one does not hold up all others.
        let pixels = usize::try_from(2 * config.max_pixels.div_ceil(PIXELS_PER_PERMIT)).unwrap_or(usize::MAX);
        let (preprocess, classes) = (*detector.preprocess(), detector.class_map().clone());
        let decode = detector.config().decode;
        let model = ModelReport::new(&detector, &config);
        let (batcher, thread) = Batcher::start(detector, &config, Arc::clone(&metrics))?;
        let app = Self {
            config,
            preprocess,
            classes,
            decode,
            batcher,
            bodies: Arc::new(Semaphore::new(config.body_memory)),
            pixels: Arc::new(Semaphore::new(pixels.min(Semaphore::MAX_PERMITS))),
            cores: Arc::new(Semaphore::new(cores)),
            metrics,
            stopping: AtomicBool::new(false),
            model,
        };
        Ok((app, thread))
    }

    /// The endpoints.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/", get(page))
            .route(DETECT, post(detect))
            .route("/v1/model", get(model))
            .route("/healthz", get(alive))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .fallback(unknown)
            .method_not_allowed_fallback(wrong_method)
            .layer(middleware::from_fn_with_state(Arc::clone(self), watch))
            .with_state(Arc::clone(self))
    }
}

async fn page() -> impl IntoResponse {
    let policy = HeaderValue::from_static(PAGE_POLICY);
    ([(CONTENT_SECURITY_POLICY, policy)], Html(PAGE))
}

async fn model(State(app): State<Arc<App>>) -> Json<ModelReport> {
    Json(app.model.clone())
}

async fn alive() -> Response {
    Json(json!({ "status": "alive" })).into_response()
}

/// Whether a balancer should send requests here.
async fn ready(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    if app.stopping.load(Ordering::Relaxed) {
        return Err(Refusal::busy("stopping", "the server is stopping"));
    }
    Ok(Json(json!({ "status": "ready" })).into_response())
}

async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    app.metrics.queue_depth.set(i64::try_from(app.batcher.depth()).unwrap_or(i64::MAX));
    let text = app.metrics.text().map_err(|error| Refusal::internal(error.to_string()))?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static(METRICS_TYPE))], text).into_response())
}

async fn unknown(request: Request) -> Refusal {
    let (head, body) = request.into_parts();
    discard_sent(&head.headers, body).await;
    let message = format!("there is nothing at {}", head.uri.path());
    Refusal::new(StatusCode::NOT_FOUND, "not_found", message)
}

async fn wrong_method(request: Request) -> Refusal {
    let (head, body) = request.into_parts();
    discard_sent(&head.headers, body).await;
    let message = format!("{} is not for {}", head.method, head.uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

/// Counts a request that is dropped without an answer: its client went away.
struct InFlight<'a> {
    metrics: &'a Metrics,
    answered: bool,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.metrics.abandon();
        }
    }
}

/// Counts and logs every request.
async fn watch(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let peer = request.extensions().get::<Peer>().copied();
    let endpoint = request.extensions().get::<MatchedPath>().cloned();
    let endpoint = endpoint.as_ref().map_or("other", MatchedPath::as_str);
    app.metrics.accept();
    let mut in_flight = InFlight { metrics: &app.metrics, answered: false };

    let mut response = next.run(request).await;

    in_flight.answered = true;
    let (status, took) = (response.status().as_u16(), start.elapsed());
    app.metrics.answer(endpoint, status, took);
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if app.stopping.load(Ordering::Relaxed) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let milliseconds = (took.as_secs_f64() * 1e4).round() / 10.0;
    let peer = peer.map(|Peer(address)| address.to_string()).unwrap_or_default();
    if PROBES.contains(&endpoint) {
        tracing::debug!(%method, path, status, milliseconds, peer, "request");
    } else {
        tracing::info!(%method, path, status, milliseconds, peer, "request");
    }
    response
}
