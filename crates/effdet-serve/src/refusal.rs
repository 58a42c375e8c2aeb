//! The answer to a request that is not served.

use axum::Json;
use axum::http::header::{CONNECTION, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use effdet::core::with_causes;
use serde::Serialize;

/// Seconds after which a client that met a full queue may try again.
const RETRY_SECONDS: u16 = 1;

/// A status, a code for programs and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
}

#[derive(Serialize)]
struct Wrapper<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    status: u16,
    code: &'static str,
    message: &'a str,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub fn busy(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "detector_failed", message)
    }

    /// What is wrong with a picture.
    pub fn picture(error: &effdet::data::Error) -> Self {
        use effdet::data::Error as E;
        let (status, code) = match error {
            E::NotAPicture { .. } => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_a_picture"),
            E::Unsupported { .. } => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_picture"),
            E::TooManyPixels { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_many_pixels"),
            E::TooMuchMemory { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_much_memory"),
            E::Truncated { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "truncated_picture"),
            E::Empty { .. } | E::NoPixels { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "empty_picture"),
            _ => (StatusCode::UNPROCESSABLE_ENTITY, "corrupt_picture"),
        };
        Self::new(status, code, with_causes(error))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, code, message } = self;
        let body = Wrapper { error: Inner { status: status.as_u16(), code, message: &message } };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, RETRY_SECONDS.into());
        }
        if status == StatusCode::REQUEST_TIMEOUT {
            // The rest of the body may still come, and would be read as another request.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
