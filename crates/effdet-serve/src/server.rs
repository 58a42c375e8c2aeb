//! Connections: accepting them, limiting them, and stopping without losing a request.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use effdet::Detector;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use crate::app::App;
use crate::{Error, ServeConfig};

/// Most bytes of a request's head, and of what is read from a connection at once.
const CONNECTION_BUFFER: usize = 64 << 10;
/// Pause after the system refused a connection, as when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often the end of the open connections is looked for.
const STOP_STEP: Duration = Duration::from_millis(10);

/// The client of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub SocketAddr);

/// A detector that listens for requests.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    network: JoinHandle<()>,
}

/// What a server has done by the time it stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Requests whose head was read.
    pub accepted: u64,
    /// Requests that got an answer, refusals included.
    pub answered: u64,
    /// Requests whose client went away before there was an answer.
    pub abandoned: u64,
    /// Whether every connection came to its end; false if clients still held some when the time for stopping was over.
    pub complete: bool,
}

impl Server {
    /// Listens on `address`, such as `127.0.0.1:8080`; port 0 is one that is free. Clients may connect from now on, and
    /// are served once the server [runs](Self::run).
    ///
    /// # Errors
    /// [`Error::Listen`] if the address cannot be had, [`Error::Setting`] for a setting out of range.
    pub async fn bind(address: &str, detector: Detector, config: ServeConfig) -> Result<Self, Error> {
        config.validate()?;
        let failed = |source| Error::Listen { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let (app, network) = App::new(detector, config)?;
        Ok(Self { listener, address: bound, app: Arc::new(app), network })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` completes, then takes no more connections, answers the requests it has accepted, and returns.
    ///
    /// A connection that is already established counts as accepted, and what arrives over an open one within
    /// [`ServeConfig::stop_grace`] is answered too.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Served {
        let Self { listener, app, network, .. } = self;
        let config = app.config;
        let connections = Connections {
            router: app.router(),
            app: Arc::clone(&app),
            places: Arc::new(Semaphore::new(config.max_connections)),
            graceful: GracefulShutdown::new(),
        };
        let mut stop = pin!(stop);
        tokio::select! {
            () = &mut stop => {}
            () = connections.accept(&listener) => {}
        }

        app.stopping.store(true, Ordering::Relaxed);
        tracing::info!(connections = connections.graceful.count(), "stopping");
        if let Err(error) = connections.accept_rest(listener) {
            tracing::warn!(%error, "connections in the backlog may be lost");
        }
        let Connections { graceful, app: shared, router, .. } = connections;
        drop((shared, router));
        let until = Instant::now() + config.stop_grace;
        while graceful.count() > 0 && Instant::now() < until {
            sleep(STOP_STEP).await;
        }
        // A request takes a body, an answer and its sending, each limited; a client that takes its answer byte by byte is
        // not waited for longer.
        let complete = timeout(3 * config.timeout, graceful.shutdown()).await.is_ok();
        let metrics = Arc::clone(&app.metrics);
        // With the last handle to the queue the detector's thread ends.
        drop(app);
        if complete && !matches!(tokio::task::spawn_blocking(|| network.join()).await, Ok(Ok(()))) {
            tracing::error!("the detector's thread panicked");
        }
        let [accepted, answered, abandoned] = metrics.totals();
        let served = Served { accepted, answered, abandoned, complete };
        tracing::info!(accepted, answered, abandoned, complete, "stopped");
        served
    }
}

struct Connections {
    app: Arc<App>,
    router: Router,
    places: Arc<Semaphore>,
    graceful: GracefulShutdown,
}

impl Connections {
    /// Accepts and serves, as many at a time as there are places.
    async fn accept(&self, listener: &TcpListener) {
        while let Ok(place) = Arc::clone(&self.places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, peer)) => self.serve(stream, peer, Some(place)),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    if !is_of_one_connection(&error) {
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }

    /// Serves the connections that the system has established already, and closes the listener.
    fn accept_rest(&self, listener: TcpListener) -> io::Result<()> {
        let listener = listener.into_std()?;
        loop {
            match listener.accept() {
                Ok((stream, peer)) => {
                    stream.set_nonblocking(true)?;
                    self.serve(TcpStream::from_std(stream)?, peer, None);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, place: Option<OwnedSemaphorePermit>) {
        let connection =
            connection(Arc::clone(&self.app), self.router.clone(), self.graceful.watcher(), stream, peer);
        tokio::spawn(async move {
            connection.await;
            drop(place);
        });
    }
}

/// Serves one connection to its end.
async fn connection(app: Arc<App>, router: Router, watcher: Watcher, stream: TcpStream, peer: SocketAddr) {
    let config = app.config;
    // Answers are written whole, and none should wait for the one before to be acknowledged.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "no TCP_NODELAY");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(config.timeout));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(CONNECTION_BUFFER)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    app.metrics.connections.inc();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%peer, %error, "connection ended");
    }
    app.metrics.connections.dec();
}

/// Whether the next connection can be accepted at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
