//! A server with a small detector on a port of its own, and clients.

use std::io::{Cursor, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use effdet::prelude::*;
use effdet_serve::{ServeConfig, Served, Server};
use image::ImageFormat;
use serde_json::Value;
use tokio::sync::oneshot;

/// A detector of 64x64 with random weights; it finds 100 objects in everything.
pub fn detector() -> Detector {
    let config = EfficientDetConfig::with_backbone_named("lcnet_035").unwrap();
    let config = config.with_num_classes(3).with_image_size(ImageSize::square(64));
    Detector::random(config, &effdet::device("cpu").unwrap()).unwrap()
}

/// Limits as small as the tests need them.
pub fn config() -> ServeConfig {
    ServeConfig { max_body: 1 << 20, max_pixels: 1_000_000, ..ServeConfig::default() }
}

/// A picture that differs with `seed`.
pub fn picture(seed: u32) -> RgbImage {
    RgbImage::from_fn(90 + seed, 70, |x, y| {
        let square = (x / 13 + 3 * (y / 11) + seed) % 7;
        image::Rgb([square * 36, (x * 5 * (seed + 1)) % 256, 255 - square * 30].map(|level| level as u8))
    })
}

pub fn encode(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A running server; dropping it stops it.
pub struct Running {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Served>>,
}

pub fn start(detector: Detector, config: ServeConfig) -> Running {
    let (stop, stopped) = oneshot::channel::<()>();
    let (bound, address) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(async {
            let server = Server::bind("127.0.0.1:0", detector, config).await.unwrap();
            bound.send(server.local_addr()).unwrap();
            server.run(async { stopped.await.unwrap_or_default() }).await
        })
    });
    Running { address: address.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The code of a refusal, whose form is checked.
    pub fn code(&self) -> String {
        let error = &self.json()["error"];
        assert_eq!(error["status"], self.status, "{error}");
        assert!(error["message"].as_str().unwrap().len() > 10, "{error}");
        error["code"].as_str().unwrap().to_owned()
    }
}

impl Running {
    /// Begins to stop.
    pub fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// What the server did, once it has stopped.
    pub fn served(mut self) -> Served {
        self.thread.take().unwrap().join().unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn get(&self, path: &str) -> Answer {
        read(agent().get(self.url(path)).call().unwrap())
    }

    pub fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.post_with(path, &[], body)
    }

    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        post(&self.url(path), headers, body)
    }

    /// Posts in the background.
    pub fn spawn_post(&self, path: &str, body: Vec<u8>) -> JoinHandle<Answer> {
        let url = self.url(path);
        thread::spawn(move || post(&url, &[], &body))
    }

    /// A connection to write on by hand.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// The value of a metric's line, labels included in its name.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let text = String::from_utf8(self.get("/metrics").body).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        Some(value.parse().unwrap())
    }

    /// Waits for a metric to reach a value.
    pub fn wait_for(&self, name: &str, value: f64) {
        let start = Instant::now();
        while self.metric(name) != Some(value) {
            assert!(start.elapsed() < Duration::from_secs(20), "{name}: {:?}", self.metric(name));
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn agent() -> ureq::Agent {
    let timeout = Some(Duration::from_secs(60));
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(timeout).build().into()
}

fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut request = agent().post(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    read(request.send(body).unwrap())
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Answer {
    let body = response.body_mut().read_to_vec().unwrap();
    Answer { status: response.status().as_u16(), headers: response.headers().clone(), body }
}

/// The head of a detection request.
pub fn head(length: usize) -> Vec<u8> {
    format!("POST /v1/detect HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n").into_bytes()
}

/// Everything the server sends until it closes the connection.
pub fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Writes, where the server may have closed the connection already.
pub fn write(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}
