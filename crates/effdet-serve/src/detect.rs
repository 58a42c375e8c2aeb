//! `POST /v1/detect`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use effdet::data::{Prepared, decode_bytes, header_of_bytes};
use effdet::prelude::*;
use image::ImageError;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::app::App;
use crate::batcher::{Admission, Found};
use crate::body::{Outgoing, Upload, discard_sent, receive};
use crate::options::{DetectOptions, Format};
use crate::refusal::Refusal;
use crate::report::{DetectionReport, ImageReport};

const JPEG_QUALITY: u8 = 95;
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Pixels in one permit of the memory for pictures.
pub(crate) const PIXELS_PER_PERMIT: u64 = 1024;

/// Bytes a decoder may hold for each pixel: 16-bit colour with alpha, and its conversion.
const BYTES_PER_PIXEL: u64 = 16;
/// Bytes a decoder may hold beside the pixels and the file, such as a colour profile.
const BYTES_BESIDE: u64 = 1 << 20;

/// Detects objects in the picture of a request.
pub(crate) async fn detect(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let options = match DetectOptions::parse(&head.uri, &head.headers, app.decode) {
        Ok(options) => options,
        Err(refusal) => {
            discard_sent(&head.headers, body).await;
            return Err(refusal);
        }
    };
    let upload = receive(&head.headers, body, &app.config, &app.bodies).await?;
    // Before anything is computed for it, so that a server that is behind does not fall farther behind.
    let admission = app.batcher.admit()?;
    timeout(app.config.timeout, answer(&app, upload, options, admission)).await.unwrap_or_else(|_| {
        let message = format!("there was no answer within {:?}", app.config.timeout);
        Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, "too_slow", message))
    })
}

async fn answer(
    app: &Arc<App>,
    upload: Upload,
    options: DetectOptions,
    admission: Admission,
) -> Result<Response, Refusal> {
    let Decoded { picture, prepared, admission, took, name, pixels } =
        decode(app, upload, options, admission).await?;
    let Found { detections, waited, computed, batch } =
        app.batcher.detect(prepared, options.decode, admission).await?;
    let timing = timing(&[("decode", took), ("queue", waited), ("network", computed)], batch);

    let mut response = match (options.format, picture) {
        (format @ (Format::Jpeg | Format::Png), Picture::Kept(mut picture)) => {
            let style = Style { labels: options.labels, ..Style::default() };
            let drawing = Arc::clone(app);
            // The pixels are held by the work, as in `decode`.
            let encoded = on_a_core(app, move || {
                annotate(&mut picture, &detections, &drawing.classes, &style);
                encode(&picture, format).map(|encoded| (encoded, pixels))
            });
            let (encoded, pixels) = encoded.await?.map_err(|error| {
                let code = "cannot_encode";
                Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, code, format!("{name}: {error}"))
            })?;
            let mime = HeaderValue::from_static(format.mime());
            // The picture is gone, and what is left of it takes less.
            let share = encoded.len().div_ceil(PIXELS_PER_PERMIT as usize * BYTES_PER_PIXEL as usize);
            let memory = pixels.and_then(|mut pixels| pixels.split(share.min(pixels.num_permits())));
            ([(CONTENT_TYPE, mime)], Body::new(Outgoing::new(encoded, memory))).into_response()
        }
        (_, picture) => {
            let (width, height) = picture.size();
            let detections = detections.iter().map(|found| DetectionReport::new(found, &app.classes));
            Json(ImageReport { path: name, width, height, detections: detections.collect() }).into_response()
        }
    };
    if let Ok(timing) = HeaderValue::from_str(&timing) {
        response.headers_mut().insert(SERVER_TIMING, timing);
    }
    Ok(response)
}

/// A decoded picture, kept only to be drawn on.
enum Picture {
    Kept(RgbImage),
    Gone { width: u32, height: u32 },
}

impl Picture {
    fn size(&self) -> (u32, u32) {
        match self {
            Self::Kept(picture) => picture.dimensions(),
            Self::Gone { width, height } => (*width, *height),
        }
    }
}

struct Decoded {
    picture: Picture,
    prepared: Prepared,
    admission: Admission,
    took: Duration,
    name: String,
    /// The picture's part of the memory for pictures, as long as it is kept.
    pixels: Option<OwnedSemaphorePermit>,
}

async fn decode(
    app: &Arc<App>,
    upload: Upload,
    options: DetectOptions,
    admission: Admission,
) -> Result<Decoded, Refusal> {
    let Upload { name, bytes, .. } = &upload;
    let size = header_of_bytes(bytes, name).map_err(|error| Refusal::picture(&error))?.size;
    let max_pixels = app.config.max_pixels;
    let area = (size.height as u64).saturating_mul(size.width as u64);
    if area > max_pixels {
        let (width, height) = (size.width as u32, size.height as u32);
        let error = effdet::data::Error::TooManyPixels { name: name.clone(), width, height, max_pixels };
        return Err(Refusal::picture(&error));
    }
    // Pixels before a core: who has a core never waits for pixels, so those who have pixels get on.
    let permits = u32::try_from(area.div_ceil(PIXELS_PER_PERMIT)).unwrap_or(u32::MAX);
    let pixels = acquire(&app.pixels, permits).await?;
    let preprocess = app.preprocess;
    let limits = DecodeLimits { max_pixels, max_alloc: max_alloc(area, bytes.len()) };
    // What is held is held by the work, which goes on if the client goes away.
    on_a_core(app, move || {
        let start = Instant::now();
        let Upload { name, bytes, .. } = &upload;
        let picture = decode_bytes(bytes, name, &limits).map_err(|error| Refusal::picture(&error))?;
        let prepared = preprocess.apply(&picture).map_err(|error| Refusal::picture(&error))?;
        let (width, height) = picture.dimensions();
        let (picture, pixels) = match options.format {
            Format::Json => (Picture::Gone { width, height }, None),
            Format::Jpeg | Format::Png => (Picture::Kept(picture), Some(pixels)),
        };
        Ok(Decoded { picture, prepared, admission, took: start.elapsed(), name: name.clone(), pixels })
    })
    .await?
}

/// Bytes that decoding a picture of `area` pixels from `file` bytes may take. It goes by the picture's own area, for
/// which it has permits: a small one could else have a profile inflated to the memory of the largest.
fn max_alloc(area: u64, file: usize) -> u64 {
    // A decoder may copy the file.
    let file = (file as u64).saturating_mul(2);
    area.saturating_mul(BYTES_PER_PIXEL).saturating_add(file).saturating_add(BYTES_BESIDE)
}

async fn acquire(semaphore: &Arc<Semaphore>, permits: u32) -> Result<OwnedSemaphorePermit, Refusal> {
    let permit = Arc::clone(semaphore).acquire_many_owned(permits).await;
    permit.map_err(|_| Refusal::internal("the server is gone"))
}

/// Runs work for the processor where it holds up no other request, on as many threads as there are cores.
async fn on_a_core<T: Send + 'static>(
    app: &App,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let core = acquire(&app.cores, 1).await?;
    let work = move || {
        let result = work();
        drop(core);
        result
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::internal("the work on a picture panicked"))
}

fn encode(picture: &RgbImage, format: Format) -> Result<Vec<u8>, ImageError> {
    let mut encoded = Vec::new();
    match format {
        Format::Png => picture.write_with_encoder(PngEncoder::new(&mut encoded))?,
        _ => picture.write_with_encoder(JpegEncoder::new_with_quality(&mut encoded, JPEG_QUALITY))?,
    }
    Ok(encoded)
}

/// The stages in milliseconds, as browsers show them.
fn timing(stages: &[(&str, Duration)], batch: usize) -> String {
    let mut text = String::new();
    for (name, took) in stages {
        let _ = write!(text, "{name};dur={:.1}, ", 1000.0 * took.as_secs_f64());
    }
    let _ = write!(text, "batch;desc=\"{batch}\"");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_picture_gets_little_memory_and_a_large_one_what_it_needs() {
        assert!(max_alloc(1, 820_000) < 3 << 20);
        assert!(max_alloc(50_000_000, 20 << 20) >= 50_000_000 * BYTES_PER_PIXEL + (40 << 20));
        assert_eq!(max_alloc(u64::MAX, usize::MAX), u64::MAX);
    }
}
