//! The page at `/`: one file, which needs nothing else.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use crate::fault::respond;

const PAGE: &str = include_str!("page/page.html");

/// What the page may do: run what is in it, and ask this server.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) async fn show_page() -> Response {
    let mut response = respond(StatusCode::OK, "text/html; charset=utf-8", PAGE);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}
