//! What clients are told when something is not answered, in the form of OpenAI's errors.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::service::Refusal;
use serde_json::{Value, json};

use crate::limits::RETRY_SECONDS;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// The field that it is about.
    pub(crate) field: Option<String>,
}

impl Fault {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), field: None }
    }

    /// The request is not one that can be answered.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The same, because of a field.
    pub(crate) fn field(name: &str, message: impl Into<String>) -> Self {
        Self { field: Some(name.to_owned()), ..Self::invalid(message) }
    }

    /// The server stops.
    pub(crate) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is about to stop")
    }

    /// The error object.
    pub(crate) fn to_json(&self) -> Value {
        let (kind, code) = match self.status.as_u16() {
            401 => ("invalid_request_error", Some("invalid_api_key")),
            404 => ("invalid_request_error", Some("not_found")),
            429 => ("rate_limit_error", Some("queue_full")),
            400..500 => ("invalid_request_error", None),
            _ => ("server_error", None),
        };
        json!({ "error": { "message": self.message, "type": kind, "param": self.field, "code": code } })
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid { message, field: None } => Self::invalid(message),
            Refusal::Invalid { message, field: Some(field) } => Self::field(field, message),
            Refusal::Full => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too many requests wait; try again later")
            }
            Refusal::Closed => Self::stopping(),
        }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        let message = match failure.help {
            Some(help) => format!("{} ({help})", failure.message),
            None => failure.message,
        };
        match failure.kind {
            FailureKind::Input => Self::invalid(message),
            FailureKind::Interrupted => Self::stopping(),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, message),
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = respond_json(self.status, &self.to_json());
        let headers = response.headers_mut();
        match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, RETRY_SECONDS.into());
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

/// An answer in JSON.
pub(crate) fn respond_json(status: StatusCode, value: &Value) -> Response {
    respond(status, "application/json", value.to_string())
}

/// An answer of some type, which nobody may keep or take for another type.
pub(crate) fn respond(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
