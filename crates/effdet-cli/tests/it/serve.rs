//! `effdet serve` as a process: it answers what `effdet predict` writes, and ends when told to.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use crate::common::{self, Fixture, fails};
use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

/// A server, its output and its address.
struct Server {
    child: Child,
    output: BufReader<ChildStderr>,
    url: String,
}

impl Server {
    fn start(fixture: &Fixture, options: &[&str]) -> Self {
        let mut command = Command::new(cargo_bin("effdet"));
        command.current_dir(fixture.path("")).args(["serve", "--listen", "127.0.0.1:0"]);
        command.args(["--weights", "tiny.safetensors", "--score", "0"]).args(options);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let url = line.trim().split_once(" on ").unwrap_or_else(|| panic!("{line}")).1.to_owned();
        Self { child, output, url }
    }

    /// Status and text of an answer.
    fn post(&self, path: &str, body: &[u8]) -> Value {
        let mut response = ureq::post(format!("{}{path}", self.url)).send(body).unwrap();
        serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap()
    }

    /// Exit status and what was logged, after a signal.
    fn end(mut self, signal: &str) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let mut log = String::new();
        self.output.read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().code(), log)
    }
}

/// A test that fails leaves no server behind.
impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[test]
fn the_server_answers_what_predict_writes_and_stops_at_a_signal() {
    let fixture = Fixture::new();
    let path = fixture.picture("cat.png", 80, 64);
    let mut expected = fixture.json(&["cat.png"], &[])["images"][0].take();
    expected["path"] = "picture".into();
    for signal in ["-TERM", "-INT"] {
        let server = Server::start(&fixture, &[]);
        assert_eq!(server.post("/v1/detect", &std::fs::read(&path).unwrap()), expected);
        let (status, log) = server.end(signal);
        assert_eq!(status, Some(0), "{log}");
        assert!(log.contains("path=\"/v1/detect\" status=200") && !log.contains('\u{1b}'), "{log}");
        assert!(log.contains("1 requests, 1 answered, 0 left"), "{log}");
    }
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let fixture = Fixture::new();
    let server = Server::start(&fixture, &[]);
    let address = server.url.strip_prefix("http://").unwrap();
    let mut command = common::effdet();
    command.current_dir(fixture.path("")).args([
        "serve",
        "--weights",
        "tiny.safetensors",
        "--listen",
        address,
    ]);
    let stderr = fails(&mut command, 2);
    assert!(stderr.contains(&format!("cannot listen on {address}")), "{stderr}");
    for (option, value) in [("--batch", "0"), ("--timeout", "0"), ("--max-body", "0"), ("--queue", "many")] {
        let stderr = fails(common::effdet().args(["serve", option, value]), 2);
        assert!(stderr.contains(option), "{stderr}");
    }
    server.end("-TERM");
}
