//! Addresses: where a token is valid, where a redirect may lead, and names as parts of a URL.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::Uri;
use ureq::http::uri::Authority;

/// Why there is no answer, and whether a retry may help.
#[derive(Debug)]
pub(super) struct RequestError {
    pub(super) why: String,
    pub(super) again: bool,
}

pub(super) fn permanent_error(why: &str) -> RequestError {
    RequestError { why: why.to_owned(), again: false }
}

/// Scheme, host and port: a token is valid for one such origin.
pub(super) fn parse_origin(url: &str) -> Result<(String, String, u16), RequestError> {
    let uri: Uri = url.parse().map_err(|_| permanent_error("not an http or https address"))?;
    let scheme = uri.scheme_str().unwrap_or_default().to_owned();
    let port = match (scheme.as_str(), uri.port_u16()) {
        (_, Some(port)) => port,
        ("https", None) => 443,
        ("http", None) => 80,
        _ => return Err(permanent_error("not an http or https address")),
    };
    let host = uri.authority().map(Authority::host).unwrap_or_default().to_lowercase();
    Ok((scheme, host, port))
}

/// The target of a redirect. One from `https` to `http` is refused.
pub(super) fn resolve_redirect(url: &str, location: &str) -> Result<String, RequestError> {
    let (scheme, ..) = parse_origin(url)?;
    let target = if location.starts_with('/') && !location.starts_with("//") {
        let uri: Uri = url.parse().map_err(|_| permanent_error("not an http or https address"))?;
        let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
        format!("{scheme}://{authority}{location}")
    } else {
        location.to_owned()
    };
    match parse_origin(&target) {
        Ok((next, ..)) if scheme == "https" && next != "https" => {
            Err(permanent_error("a redirect from `https` to `http`"))
        }
        Ok(_) => Ok(target),
        Err(_) => Err(permanent_error("a redirect to something that is not an http or https address")),
    }
}

/// Characters that are escaped in one part of a URL: all but the unreserved ones (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Encodes text as one part of a URL.
pub(super) fn encode_url_part(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}
