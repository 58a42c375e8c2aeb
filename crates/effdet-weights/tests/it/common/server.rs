//! A web server on loopback that behaves, or misbehaves, as a test says.
#![allow(dead_code, clippy::unwrap_used, reason = "a helper of tests; the command's use a part")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request, header names in lower case.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
}

impl Request {
    /// First byte of the range asked for.
    pub fn from(&self) -> Option<usize> {
        self.headers.get("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// An answer, and how it is sent.
#[derive(Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    pub cut: Option<usize>,
    /// Wait before the body and between its quarters.
    pub pause: Duration,
    /// State this length instead of the body's.
    pub length: Option<usize>,
    /// State no length: the body ends with the connection.
    pub unannounced: bool,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn file(body: &[u8]) -> Self {
        Self { status: 200, body: body.to_vec(), ..Self::default() }
    }

    /// The file, or what the range asks for of it.
    pub fn ranged(body: &[u8], request: &Request) -> Self {
        let total = body.len();
        match request.from() {
            None => Self::file(body),
            Some(start) if start < total => {
                Self { status: 206, body: body[start..].to_vec(), ..Self::default() }
                    .header("Content-Range", format!("bytes {start}-{}/{total}", total - 1))
            }
            Some(_) => Self::status(416).header("Content-Range", format!("bytes */{total}")),
        }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn redirect(status: u16, to: impl Into<String>) -> Self {
        Self::status(status).header("Location", to)
    }
}

type Handler = dyn Fn(&Request, usize) -> Reply + Send + Sync;

/// A running server; it ends with the test process.
pub struct Server {
    pub address: String,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers every request by `handler`, which also gets the number of requests before it.
    pub fn start(handler: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_over("http", |stream| stream, handler)
    }

    /// The same over what `wrap` makes of a connection, by the scheme that this is.
    pub fn start_over<S: Read + Write + 'static>(
        scheme: &str,
        wrap: impl Fn(TcpStream) -> S + Send + Sync + 'static,
        handler: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("{scheme}://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let (wrap, handler, kept): (_, Arc<Handler>, _) = (Arc::new(wrap), Arc::new(handler), log.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (wrap, handler, log) = (wrap.clone(), handler.clone(), kept.clone());
                thread::spawn(move || serve(BufReader::new(wrap(stream)), &handler, &log));
            }
        });
        Self { address, log }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// Requests for content.
    pub fn gets(&self) -> usize {
        self.requests().iter().filter(|request| request.method == "GET").count()
    }
}

/// One connection; an error is that of a client that went away.
fn serve<S: Read + Write>(
    mut reader: BufReader<S>,
    handler: &Arc<Handler>,
    log: &Mutex<Vec<Request>>,
) -> Option<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next()?, words.next()?);
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        if method == "CONNECT" {
            // A proxy that reaches this server whatever the host asked for.
            log.lock().unwrap().push(Request { method, path, headers });
            reader.get_mut().write_all(b"HTTP/1.1 200 connected\r\n\r\n").ok()?;
            continue;
        }
        let request = Request { method, path, headers };
        let before = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            log.len() - 1
        };
        let reply = handler(&request, before);
        let mut head = format!("HTTP/1.1 {} x\r\n", reply.status);
        let stated = reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        if !stated && !reply.unannounced {
            head += &format!("Content-Length: {}\r\n", reply.length.unwrap_or(reply.body.len()));
        }
        for (name, value) in &reply.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let stream = reader.get_mut();
        stream.write_all(head.as_bytes()).ok()?;
        if request.method == "HEAD" {
            continue;
        }
        thread::sleep(reply.pause);
        let end = reply.cut.unwrap_or(reply.body.len());
        for part in reply.body[..end].chunks((end / 4).max(1)) {
            stream.write_all(part).ok()?;
            stream.flush().ok()?;
            thread::sleep(reply.pause);
        }
        if reply.cut.is_some() || reply.length.is_some() || reply.unannounced {
            // The connection closes with it.
            return None;
        }
    }
}
