//! `POST /v1/detect` with pictures that are well: what comes back, and in which batches.

use std::time::Duration;

use crate::common::{config, detector, encode, picture, start};
use effdet::prelude::*;
use effdet_serve::ServeConfig;
use image::ImageFormat;
use serde_json::{Value, json};

/// The number that a JSON with the shortest decimals holds.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap()
}

/// The JSON of what a detector finds.
fn expected(found: &[Detection], classes: &ClassMap) -> Value {
    let detection = |Detection { bbox, score, class_id }: &Detection| {
        let corners = [bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(decimal);
        json!({
            "bbox": corners,
            "score": decimal(*score),
            "class_id": class_id,
            "label": classes.label(*class_id),
        })
    };
    found.iter().map(detection).collect()
}

/// Batches of other sizes may round the last bits otherwise.
fn assert_alike(found: &Value, expected: &Value) {
    let (found, expected) = (found.as_array().unwrap(), expected.as_array().unwrap());
    assert_eq!(found.len(), expected.len());
    let near = |a: &Value, b: &Value| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-3;
    for (a, b) in found.iter().zip(expected).take(5) {
        assert!(near(&a["score"], &b["score"]) && a["label"] == b["label"], "{a} {b}");
        assert!((0..4).all(|i| near(&a["bbox"][i], &b["bbox"][i])), "{a} {b}");
    }
}

fn form(boundary: &str, fields: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, bytes) in fields {
        let head = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\r\n"
        );
        body.extend([head.as_bytes(), bytes, b"\r\n"].concat());
    }
    body.extend(format!("--{boundary}--\r\n").into_bytes());
    body
}

#[test]
fn a_picture_gets_the_detections_of_the_detector() {
    let (detector, picture) = (detector(), picture(0));
    let found = expected(&detector.detect(&picture).unwrap(), detector.class_map());
    let server = start(detector, config());
    let png = encode(&picture, ImageFormat::Png);
    let answer = server.post("/v1/detect", &png);
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let report = answer.json();
    assert_eq!(report, json!({ "path": "picture", "width": 90, "height": 70, "detections": found }));
    assert!(answer.header("server-timing").contains("batch;desc=\"1\""), "{answer:?}");

    let boundary = "x-a-boundary";
    let body = form(boundary, &[("note", "", b"of no interest"), ("image", "cells.png", &png)]);
    let content_type = format!("multipart/form-data; boundary={boundary}");
    let answer = server.post_with("/v1/detect", &[("content-type", &content_type)], &body);
    assert_eq!(answer.json(), json!({ "path": "cells.png", "width": 90, "height": 70, "detections": found }));
}

#[test]
fn parameters_are_those_of_one_request() {
    let mut detector = detector();
    let picture = picture(1);
    let all = detector.config().decode;
    let few = DecodeConfig { max_detections: 7, nms: NmsConfig { iou_threshold: 0.25, ..all.nms }, ..all };
    detector.set_decode(few).unwrap();
    let found = expected(&detector.detect(&picture).unwrap(), detector.class_map());
    detector.set_decode(all).unwrap();
    let server = start(detector, config());
    let png = encode(&picture, ImageFormat::Png);
    assert_eq!(server.post("/v1/detect?iou=0.25&max_detections=7", &png).json()["detections"], found);
    assert_eq!(server.post("/v1/detect?score=1", &png).json()["detections"], json!([]));
    assert_eq!(server.post("/v1/detect", &png).json()["detections"].as_array().unwrap().len(), 100);
}

#[test]
fn the_picture_comes_back_drawn_in_the_format_asked_for() {
    let picture = picture(2);
    let server = start(detector(), config());
    let png = encode(&picture, ImageFormat::Png);
    let accept = [("accept", "image/png")];
    let drawn = server.post_with("/v1/detect?max_detections=3", &accept, &png);
    assert_eq!((drawn.status, drawn.header("content-type")), (200, "image/png"));
    let with_labels = image::load_from_memory(&drawn.body).unwrap().into_rgb8();
    assert_eq!(with_labels.dimensions(), picture.dimensions());
    assert_ne!(with_labels, picture);
    let bare = server.post("/v1/detect?max_detections=3&labels=false&format=png", &png);
    assert_ne!(image::load_from_memory(&bare.body).unwrap().into_rgb8(), with_labels);
    let jpeg = server.post("/v1/detect?format=jpeg", &png);
    assert_eq!(jpeg.header("content-type"), "image/jpeg");
    assert_eq!(image::guess_format(&jpeg.body).unwrap(), ImageFormat::Jpeg);
}

#[test]
fn concurrent_requests_go_through_the_network_together_and_each_gets_its_own_answer() {
    let detector = detector();
    let pictures = [0, 1, 2, 3].map(picture);
    let expected = pictures.each_ref().map(|p| expected(&detector.detect(p).unwrap(), detector.class_map()));
    let batch_wait = Duration::from_secs(20);
    let server = start(detector, ServeConfig { batch: 4, batch_wait, ..config() });
    let answers = pictures.map(|p| server.spawn_post("/v1/detect", encode(&p, ImageFormat::Png)));
    for (answer, expected) in answers.into_iter().zip(&expected) {
        let answer = answer.join().unwrap();
        assert!(answer.header("server-timing").ends_with("batch;desc=\"4\""), "{answer:?}");
        assert_alike(&answer.json()["detections"], expected);
    }
    assert_eq!(server.metric("effdet_batch_size_sum"), Some(4.0));
    assert_eq!(server.metric("effdet_batch_size_count"), Some(1.0));
}

#[test]
fn the_model_its_classes_and_its_limits_are_told() {
    let server = start(detector(), config());
    let model = server.get("/v1/model").json();
    assert_eq!(model["model"], "efficientdet-lcnet_035");
    assert_eq!(model["image_size"], json!({ "height": 64, "width": 64 }));
    assert_eq!(model["classes"].as_array().unwrap().len(), 3);
    let [red, green, blue] = effdet::viz::class_color(1).0;
    assert_eq!(model["classes"][0]["color"], format!("#{red:02x}{green:02x}{blue:02x}"));
    assert_eq!(model["limits"]["max_pixels"], 1_000_000);
    assert_eq!(model["defaults"]["max_detections"], 100);
}

#[test]
fn the_page_loads_nothing_from_elsewhere() {
    let server = start(detector(), config());
    let page = server.get("/");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    let text = String::from_utf8(page.body).unwrap();
    assert!(text.contains("v1/detect") && !text.contains("http://") && !text.contains("https://"));
}

#[test]
fn requests_are_counted() {
    let server = start(detector(), config());
    let png = encode(&picture(0), ImageFormat::Png);
    for _ in 0..3 {
        assert_eq!(server.post("/v1/detect", &png).status, 200);
    }
    assert_eq!(server.post("/v1/detect", b"no picture at all").status, 415);
    assert_eq!(server.get("/nothing").status, 404);
    let requests =
        |endpoint, status| format!("effdet_requests_total{{endpoint=\"{endpoint}\",status=\"{status}\"}}");
    assert_eq!(server.metric(&requests("/v1/detect", 200)), Some(3.0));
    assert_eq!(server.metric(&requests("/v1/detect", 415)), Some(1.0));
    assert_eq!(server.metric(&requests("other", 404)), Some(1.0));
    assert_eq!(server.metric("effdet_detect_duration_seconds_count"), Some(4.0));
    assert_eq!(server.metric("effdet_network_duration_seconds_count"), Some(3.0));
    assert_eq!(server.metric("effdet_queue_depth"), Some(0.0));
    // The one that asks.
    assert_eq!(server.metric("effdet_requests_in_flight"), Some(1.0));
    if cfg!(target_os = "linux") {
        assert!(server.metric("process_resident_memory_bytes").unwrap() > 1e6);
    }
    assert_eq!(server.get("/metrics").header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(server.get("/healthz").json(), json!({ "status": "alive" }));
    assert_eq!(server.get("/readyz").json(), json!({ "status": "ready" }));
}
