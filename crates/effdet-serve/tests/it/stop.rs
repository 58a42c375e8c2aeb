//! Stopping answers what was accepted, and nothing else.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::common::{config, detector, encode, head, picture, read_to_end, start};
use effdet_serve::{ServeConfig, Served};
use image::ImageFormat;

/// Waits until no more connections are taken.
fn wait_until_closed(address: std::net::SocketAddr) {
    for _ in 0..2000 {
        if TcpStream::connect(address).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("{address} still takes connections");
}

#[test]
fn every_accepted_request_is_answered_before_the_server_ends() {
    let (batch_wait, stop_grace) = (Duration::from_secs(3), Duration::from_secs(10));
    let mut server = start(detector(), ServeConfig { batch: 8, batch_wait, stop_grace, ..config() });
    let png = encode(&picture(0), ImageFormat::Png);
    let queued = [0, 1, 2].map(|_| server.spawn_post("/v1/detect", png.clone()));
    server.wait_for("effdet_queue_depth", 3.0);
    let mut half_sent = server.connect();
    half_sent.write_all(&[&head(png.len()), &png[..png.len() / 2]].concat()).unwrap();
    server.wait_for("effdet_requests_in_flight", 5.0);
    let mut not_yet_sent = server.connect();

    let address = server.address;
    server.stop();
    wait_until_closed(address);
    not_yet_sent.write_all(&[head(png.len()), png.clone()].concat()).unwrap();
    half_sent.write_all(&png[png.len() / 2..]).unwrap();
    for queued in queued {
        assert_eq!(queued.join().unwrap().status, 200);
    }
    for mut stream in [half_sent, not_yet_sent] {
        let answer = read_to_end(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    }
    let Served { accepted, answered, abandoned, complete } = server.served();
    assert!(complete);
    assert_eq!((answered, abandoned), (accepted, 0));
}

#[test]
fn idle_connections_do_not_hold_the_server() {
    let mut server = start(detector(), config());
    let mut kept = server.connect();
    kept.write_all(b"GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    let unused = server.connect();
    server.wait_for("effdet_connections", 3.0);
    server.stop();
    assert!(server.served().complete);
    assert!(read_to_end(&mut kept).contains("alive"));
    drop(unused);
}
