//! What is answered as JSON.

use effdet::prelude::*;
use serde::Serialize;

/// The detections of one picture: an entry of `images` in what `effdet predict --json` writes.
#[derive(Debug, Serialize)]
pub(crate) struct ImageReport {
    /// File name that the client gave, else `picture`.
    pub path: String,
    pub width: u32,
    pub height: u32,
    pub detections: Vec<DetectionReport>,
}

/// One detection, in pixels of the picture.
#[derive(Debug, Serialize)]
pub(crate) struct DetectionReport {
    bbox: [f32; 4],
    score: f32,
    class_id: u32,
    label: String,
}

impl DetectionReport {
    pub fn new(detection: &Detection, classes: &ClassMap) -> Self {
        let Detection { bbox, score, class_id } = *detection;
        Self { bbox: [bbox.x1, bbox.y1, bbox.x2, bbox.y2], score, class_id, label: classes.label(class_id) }
    }
}

/// What `/v1/model` says.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ModelReport {
    pub model: String,
    pub image_size: Size,
    pub classes: Vec<Class>,
    pub defaults: Defaults,
    pub limits: Limits,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Size {
    pub height: usize,
    pub width: usize,
}

/// A class and the colour in which it is drawn.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Class {
    pub id: u32,
    pub name: String,
    pub color: String,
}

/// What a request that says nothing gets.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Defaults {
    pub score: f32,
    pub iou: f32,
    pub max_detections: usize,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Limits {
    pub max_body_bytes: usize,
    pub max_pixels: u64,
    pub timeout_seconds: f64,
}

impl ModelReport {
    pub fn new(detector: &Detector, config: &crate::ServeConfig) -> Self {
        let decode = detector.config().decode;
        let size = detector.preprocess().size;
        let class = |(id, name): (u32, &str)| {
            let [red, green, blue] = effdet::viz::class_color(id).0;
            Class { id, name: name.to_owned(), color: format!("#{red:02x}{green:02x}{blue:02x}") }
        };
        Self {
            model: detector.config().name.clone(),
            image_size: Size { height: size.height, width: size.width },
            classes: detector.class_map().iter().map(class).collect(),
            defaults: Defaults {
                score: decode.score_threshold,
                iou: decode.nms.iou_threshold,
                max_detections: decode.max_detections,
            },
            limits: Limits {
                max_body_bytes: config.max_body,
                max_pixels: config.max_pixels,
                timeout_seconds: config.timeout.as_secs_f64(),
            },
        }
    }
}
