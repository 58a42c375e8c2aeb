//! What is refused, and how: bad pictures, too much, too slow, too many.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::common::{config, detector, encode, head, picture, read_to_end, start, write};
use effdet::prelude::RgbImage;
use effdet_serve::{Error, ServeConfig, Server};
use image::ImageFormat;

/// A PNG whose header claims this size and which holds nothing.
fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut png = encode(&picture(0), ImageFormat::Png);
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&png[12..29]);
    png[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    png
}

#[test]
fn bad_pictures_are_refused_for_what_is_wrong_with_them() {
    let server = start(detector(), config());
    let png = encode(&picture(0), ImageFormat::Png);
    let jpeg = encode(&picture(0), ImageFormat::Jpeg);
    let mut corrupt = png.clone();
    let middle = png.len() / 2;
    corrupt[middle..middle + 20].fill(0xAB);
    let cases: [(&[u8], u16, &str); 9] = [
        (b"", 400, "no_picture"),
        (b"{\"image\": \"cat.png\"}", 415, "not_a_picture"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", 415, "unsupported_picture"),
        (&png[..png.len() / 2], 422, "truncated_picture"),
        (&png[..20], 422, "truncated_picture"),
        (&jpeg[..jpeg.len() / 2], 422, "truncated_picture"),
        (&corrupt, 422, "corrupt_picture"),
        (&bomb(60_000, 60_000), 413, "too_many_pixels"),
        (&bomb(1_000_001, 1), 413, "too_many_pixels"),
    ];
    for (body, status, code) in cases {
        let answer = server.post("/v1/detect", body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
    }
    assert_eq!(server.post("/v1/detect", &png).status, 200);
}

/// A PNG of one pixel with a colour profile of so many zeros.
fn with_profile(zeros: usize) -> Vec<u8> {
    let mut png = encode(&RgbImage::new(1, 1), ImageFormat::Png);
    let mut deflated = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..zeros >> 20 {
        deflated.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let chunk = [b"iCCPx\0\0".as_slice(), &deflated.finish().unwrap()].concat();
    let mut crc = flate2::Crc::new();
    crc.update(&chunk);
    let length = chunk.len() as u32 - 4;
    let chunk = [&length.to_be_bytes(), chunk.as_slice(), &crc.sum().to_be_bytes()].concat();
    // After the header, which ends at byte 33.
    png.splice(33..33, chunk);
    png
}

#[test]
fn a_colour_profile_that_inflates_beyond_its_picture_is_not_read() {
    let server = start(detector(), config());
    let png = with_profile(64 << 20);
    assert!(png.len() < 1 << 20);
    let answer = server.post("/v1/detect", &png);
    assert!(matches!(answer.status, 200 | 413 | 422), "{answer:?}");
    assert_eq!(server.post("/v1/detect", &encode(&picture(0), ImageFormat::Png)).status, 200);
}

#[test]
fn bad_requests_are_refused_for_what_is_wrong_with_them() {
    let server = start(detector(), config());
    let png = encode(&picture(0), ImageFormat::Png);
    for (query, code) in
        [("score=2", "bad_parameter"), ("scor=0.5", "bad_parameter"), ("format=gif", "bad_parameter")]
    {
        let answer = server.post(&format!("/v1/detect?{query}"), &png);
        assert_eq!((answer.status, answer.code().as_str()), (400, code));
    }
    let refused = |headers: &[(&str, &str)], body: &[u8]| {
        let answer = server.post_with("/v1/detect", headers, body);
        (answer.status, answer.code())
    };
    assert_eq!(refused(&[("accept", "text/html")], &png), (406, "not_acceptable".to_owned()));
    assert_eq!(refused(&[("content-type", "multipart/form-data")], &png), (400, "bad_form".to_owned()));
    let form = ("content-type", "multipart/form-data; boundary=x");
    assert_eq!(refused(&[form], &png), (400, "bad_form".to_owned()));
    let other = b"--x\r\ncontent-disposition: form-data; name=\"other\"\r\n\r\n1\r\n--x--\r\n";
    assert_eq!(refused(&[form], other), (400, "no_picture".to_owned()));

    let answer = server.get("/v1/detect");
    assert_eq!(
        (answer.status, answer.code().as_str(), answer.header("allow")),
        (405, "method_not_allowed", "POST")
    );
    assert_eq!(server.post("/v2/detect", &png).code(), "not_found");
}

#[test]
fn a_refusal_is_read_after_a_body_that_nobody_wanted() {
    let server = start(detector(), config());
    let body = vec![0; 16 << 20];
    for (path, status, code) in [
        ("/v1/detect?score=2", 400, "bad_parameter"),
        ("/v2/detect", 404, "not_found"),
        ("/v1/model", 405, "method_not_allowed"),
    ] {
        let answer = server.post(path, &body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
    }
    // One that asks first is refused before it sends.
    let mut stream = server.connect();
    let head = String::from_utf8(head(3_000_000)).unwrap();
    let head = head.replace("/v1/detect", "/v2/detect").replace("host", "expect: 100-continue\r\nhost");
    stream.write_all(head.replace("host", "connection: close\r\nhost").as_bytes()).unwrap();
    assert!(read_to_end(&mut stream).starts_with("HTTP/1.1 404"));
}

#[test]
fn a_body_that_is_too_long_is_refused_whether_it_says_so_or_not() {
    let server = start(detector(), ServeConfig { max_body: 100_000, ..config() });
    let answer = server.post("/v1/detect", &vec![0; 3_000_000]);
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));

    let mut stream = server.connect();
    stream
        .write_all(
            b"POST /v1/detect HTTP/1.1\r\nhost: test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n",
        )
        .unwrap();
    for _ in 0..30 {
        write(&mut stream, &[b"2710\r\n".as_slice(), &[0; 10_000], b"\r\n"].concat());
    }
    write(&mut stream, b"0\r\n\r\n");
    let answer = read_to_end(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body_too_large"), "{answer}");

    // One that asks first is refused before it sends.
    let mut stream = server.connect();
    let head = String::from_utf8(head(3_000_000)).unwrap();
    let head = head.replace("host", "expect: 100-continue\r\nconnection: close\r\nhost");
    stream.write_all(head.as_bytes()).unwrap();
    assert!(read_to_end(&mut stream).starts_with("HTTP/1.1 413"));
}

#[test]
fn a_body_that_breaks_off_is_refused_with_the_reason() {
    let server = start(detector(), config());
    let chunked =
        b"POST /v1/detect HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\nno length\r\n";
    for (request, reason) in [
        ([head(1000), vec![0; 10]].concat(), "end of file before message length reached"),
        (chunked.to_vec(), "Invalid chunk size line"),
    ] {
        let mut stream = server.connect();
        stream.write_all(&request).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = read_to_end(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("incomplete_body"), "{answer}");
        assert!(answer.contains(reason), "{answer}");
    }
}

#[test]
fn bodies_share_a_limit_of_memory() {
    let limits = ServeConfig { max_body: 300_000, body_memory: 300_000, ..config() };
    let server = start(detector(), limits);
    let mut first = server.connect();
    first.write_all(&head(250_000)).unwrap();
    first.write_all(&[0; 200_000]).unwrap();
    server.wait_for("effdet_requests_in_flight", 2.0);
    std::thread::sleep(Duration::from_millis(200));
    let answer = server.post("/v1/detect", &vec![0; 150_000]);
    assert_eq!((answer.status, answer.code().as_str()), (503, "bodies_full"));
    first.write_all(&[0; 50_000]).unwrap();
    drop(first);
    server.wait_for("effdet_requests_in_flight", 1.0);
    assert_eq!(server.post("/v1/detect", &vec![0; 150_000]).code(), "not_a_picture");
}

#[test]
fn slow_senders_are_cut_off() {
    let timeout = Duration::from_millis(300);
    let server = start(detector(), ServeConfig { timeout, header_timeout: timeout, ..config() });
    let start = Instant::now();
    let mut silent = server.connect();
    let mut slow_head = server.connect();
    slow_head.write_all(b"POST /v1/det").unwrap();
    let mut slow_body = server.connect();
    slow_body.write_all(&head(1000)).unwrap();
    slow_body.write_all(&[0; 10]).unwrap();
    let answer = read_to_end(&mut slow_body);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("slow_body"), "{answer}");
    assert_eq!(read_to_end(&mut silent), "");
    assert_eq!(read_to_end(&mut slow_head), "");
    assert!(start.elapsed() < Duration::from_secs(10));
    server.wait_for("effdet_connections", 1.0);
}

#[test]
fn a_full_queue_is_told_with_the_time_to_try_again() {
    let batch_wait = Duration::from_secs(3);
    let server = start(detector(), ServeConfig { queue: 2, batch: 4, batch_wait, ..config() });
    let png = encode(&picture(0), ImageFormat::Png);
    let waiting = [0, 1].map(|_| server.spawn_post("/v1/detect", png.clone()));
    server.wait_for("effdet_queue_depth", 2.0);
    let answer = server.post("/v1/detect", &png);
    assert_eq!((answer.status, answer.code().as_str()), (503, "queue_full"));
    assert_eq!(answer.header("retry-after"), "1");
    for waiting in waiting {
        assert_eq!(waiting.join().unwrap().status, 200);
    }
    assert_eq!(server.post("/v1/detect", &png).status, 200);
}

#[test]
fn an_answer_that_takes_too_long_is_given_up() {
    let (batch_wait, timeout) = (Duration::from_secs(2), Duration::from_millis(100));
    let server = start(detector(), ServeConfig { batch: 2, batch_wait, timeout, ..config() });
    let answer = server.post("/v1/detect", &encode(&picture(0), ImageFormat::Png));
    assert_eq!((answer.status, answer.code().as_str()), (504, "too_slow"));
    // Nobody waits for it any more, so it is not computed.
    server.wait_for("effdet_queue_depth", 0.0);
    assert_eq!(server.metric("effdet_batch_size_count"), Some(0.0));
}

#[test]
fn a_client_that_leaves_is_counted_and_its_place_is_free_again() {
    let batch_wait = Duration::from_millis(500);
    let server = start(detector(), ServeConfig { queue: 1, batch: 2, batch_wait, ..config() });
    let png = encode(&picture(0), ImageFormat::Png);
    let mut stream = server.connect();
    stream.write_all(&[head(png.len()), png.clone()].concat()).unwrap();
    server.wait_for("effdet_queue_depth", 1.0);
    drop(stream);
    server.wait_for("effdet_requests_abandoned_total", 1.0);
    server.wait_for("effdet_queue_depth", 0.0);
    assert_eq!(server.post("/v1/detect", &png).status, 200);
}

#[test]
fn connections_beyond_the_limit_wait_for_one_to_end() {
    let server = start(detector(), ServeConfig { max_connections: 1, ..config() });
    let mut first = server.connect();
    first.write_all(&head(1000)).unwrap();
    let mut second = server.connect();
    second.write_all(b"GET /healthz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
    second.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(std::io::Read::read(&mut second, &mut [0; 1]).is_err());
    drop(first);
    second.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert!(read_to_end(&mut second).contains("alive"));
}

#[test]
fn an_address_that_cannot_be_had_is_named() {
    let server = start(detector(), config());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for address in [server.address.to_string(), "nowhere".to_owned()] {
        let error = runtime.block_on(Server::bind(&address, detector(), config())).unwrap_err();
        assert!(matches!(error, Error::Listen { .. }) && error.to_string().contains(&address));
    }
}
