//! Bodies: that of a request, limited in length and time, and the picture in it; that of a drawn picture.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, Request, StatusCode};
use effdet::core::with_causes;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::ServeConfig;
use crate::refusal::Refusal;

/// The name of a picture that came without one.
const UNNAMED: &str = "picture";
/// The field of a form that holds the picture.
const FIELD: &str = "image";
/// How much of a body that is too long is still read, and for how long, so that the client reads the refusal: closing a
/// connection on unread data resets it, and the answer is lost.
const DISCARD_BYTES: usize = 64 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(5);
/// How much of an answer is handed over at once, about what a connection takes in before it is sent.
const PIECE: usize = 64 << 10;

/// A picture as it was sent.
#[derive(Debug)]
pub(crate) struct Upload {
    pub name: String,
    pub bytes: Bytes,
    /// What it takes of the memory for bodies, given back when this is dropped.
    _memory: OwnedSemaphorePermit,
}

/// Reads the picture of a request.
pub(crate) async fn receive(
    headers: &HeaderMap,
    body: Body,
    config: &ServeConfig,
    memory: &Arc<Semaphore>,
) -> Result<Upload, Refusal> {
    let (bytes, permit) = read(headers, body, config, memory).await?;
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_form = content_type.trim_start().to_ascii_lowercase().starts_with("multipart/");
    let (name, bytes) = if is_form { picture_of_form(headers, bytes).await? } else { (None, bytes) };
    if bytes.is_empty() {
        let message = "there is no picture: send one as the body, or as the field `image` of a form";
        return Err(Refusal::bad_request("no_picture", message));
    }
    Ok(Upload { name: name.unwrap_or_else(|| UNNAMED.to_owned()), bytes, _memory: permit })
}

async fn read(
    headers: &HeaderMap,
    mut body: Body,
    config: &ServeConfig,
    memory: &Arc<Semaphore>,
) -> Result<(Bytes, OwnedSemaphorePermit), Refusal> {
    let limit = config.max_body;
    let too_long = || {
        let message = format!("the body is longer than {limit} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    };
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        discard_sent(headers, body).await;
        return Err(too_long());
    }
    let longest = declared.and_then(|length| usize::try_from(length).ok()).unwrap_or(limit);
    let mut received: Vec<u8> = Vec::new();
    let mut held = reserve(memory, 0)?;
    let receiving = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                let message = format!("the body cannot be read to its end: {}", with_causes(&error));
                Refusal::bad_request("incomplete_body", message)
            })?;
            let Ok(data) = frame.into_data() else { continue };
            let needed = received.len() + data.len();
            if needed > limit {
                return Err(too_long());
            }
            // Room is what takes memory, whether it is full or not.
            let room = received.capacity();
            if needed > room {
                let wanted = needed.max((2 * room).min(longest));
                held.merge(reserve(memory, wanted - room)?);
                received.reserve_exact(wanted - received.len());
            }
            received.extend_from_slice(&data);
        }
        Ok(())
    };
    match timeout(config.timeout, receiving).await {
        Ok(Ok(())) => Ok((received.into(), held)),
        Ok(Err(refusal)) => {
            drop((received, held));
            discard(body).await;
            Err(refusal)
        }
        Err(_) => {
            let message = format!("the body did not arrive within {:?}", config.timeout);
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "slow_body", message))
        }
    }
}

fn reserve(memory: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
    let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
    Arc::clone(memory)
        .try_acquire_many_owned(permits)
        .map_err(|_| Refusal::busy("bodies_full", "the memory for bodies is full: try again"))
}

/// Reads past the body of a request that is refused, unless the client asks before it sends one.
pub(crate) async fn discard_sent(headers: &HeaderMap, body: Body) {
    if !headers.contains_key(EXPECT) {
        discard(body).await;
    }
}

async fn discard(mut body: Body) {
    let reading = async {
        let mut left = DISCARD_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // Either way the refusal is sent next.
    let _ = timeout(DISCARD_TIME, reading).await;
}

/// File name and bytes of the field `image`.
async fn picture_of_form(headers: &HeaderMap, bytes: Bytes) -> Result<(Option<String>, Bytes), Refusal> {
    let bad = |reason: String| Refusal::bad_request("bad_form", format!("the form cannot be read: {reason}"));
    let mut request = Request::new(Body::from(bytes));
    if let Some(content_type) = headers.get(CONTENT_TYPE) {
        request.headers_mut().insert(CONTENT_TYPE, content_type.clone());
    }
    // The limit has been kept already.
    DefaultBodyLimit::disable().apply(&mut request);
    let mut form = Multipart::from_request(request, &()).await.map_err(|error| bad(error.body_text()))?;
    while let Some(field) = form.next_field().await.map_err(|error| bad(error.body_text()))? {
        if field.name() == Some(FIELD) {
            let name = field.file_name().filter(|name| !name.is_empty()).map(str::to_owned);
            return Ok((name, field.bytes().await.map_err(|error| bad(error.body_text()))?));
        }
    }
    Err(Refusal::bad_request("no_picture", "the form has no field `image`"))
}

/// A drawn picture on its way to the client. What it takes of the memory for pictures is given back when the last
/// piece is handed over.
#[derive(Debug)]
pub(crate) struct Outgoing {
    bytes: Bytes,
    _memory: Option<OwnedSemaphorePermit>,
}

impl Outgoing {
    pub(crate) fn new(bytes: Vec<u8>, memory: Option<OwnedSemaphorePermit>) -> Self {
        Self { bytes: bytes.into(), _memory: memory }
    }
}

impl hyper::body::Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.bytes.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.bytes.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn an_answer_holds_its_memory_until_the_last_piece_is_taken() {
        let memory = Arc::new(Semaphore::new(3));
        let bytes: Vec<u8> = (0..2 * PIECE + 5).map(|i| i as u8).collect();
        let mut outgoing = Outgoing::new(bytes.clone(), Some(reserve(&memory, 3).unwrap()));
        let mut context = Context::from_waker(Waker::noop());
        let mut taken = Vec::new();
        while !hyper::body::Body::is_end_stream(&outgoing) {
            assert_eq!(memory.available_permits(), 0);
            let left = hyper::body::Body::size_hint(&outgoing).exact().unwrap() as usize;
            assert_eq!(left, bytes.len() - taken.len());
            let piece = hyper::body::Body::poll_frame(Pin::new(&mut outgoing), &mut context);
            let Poll::Ready(Some(Ok(frame))) = piece else { panic!("no piece") };
            taken.extend_from_slice(&frame.into_data().unwrap());
        }
        assert_eq!(taken, bytes);
        drop(outgoing);
        assert_eq!(memory.available_permits(), 3);
    }
}
