//! One question over HTTP: patient with a busy server, never with a wrong answer, and careful with the token.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use fmflow_engine::hub::online::{HubError, Secret};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::http::Uri;
use ureq::http::uri::Authority;

use super::certificates::build_tls_config;

/// Most times that one question is asked.
const ATTEMPTS: u32 = 4;

/// Most redirects of one question.
const REDIRECTS: usize = 5;

/// Most bytes of one answer.
const LARGEST: u64 = 64 << 20;

/// Longest wait that a server may ask for, in seconds.
const LONGEST_WAIT: u64 = 60;

/// How long a server is waited for.
pub(super) struct ClientTimeouts {
    /// Time to connect.
    pub(super) connect: Duration,
    /// Time for a whole answer.
    pub(super) answer: Duration,
    /// Pause before the second attempt; each further one is twice as long.
    pub(super) pause: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(10), answer: seconds(30), pause: Duration::from_millis(500) }
    }
}

/// Asks questions.
pub(super) struct HttpClient {
    patience: ClientTimeouts,
    /// File of certificates to trust, instead of those built in.
    certificates: Option<PathBuf>,
    /// Made for the first question: most commands ask none.
    agent: OnceLock<Result<ureq::Agent, String>>,
}

/// What a server answered.
#[derive(Debug, Default)]
pub(super) struct HttpAnswer {
    /// HTTP status.
    pub(super) status: u16,
    /// `X-Error-Code`, the hub's own word for what is wrong.
    pub(super) code: String,
    /// `X-Error-Message`.
    message: String,
    /// `Link`, the next page of a list.
    link: String,
    /// `Location`, of a redirect.
    location: String,
    /// Seconds to wait, of a busy server.
    retry_after: Option<u64>,
    body: Vec<u8>,
}

/// Why there is no answer, and whether it may be asked for again.
struct RequestError {
    why: String,
    again: bool,
}

impl HttpClient {
    pub(super) fn new(patience: ClientTimeouts, certificates: Option<PathBuf>) -> Self {
        Self { patience, certificates, agent: OnceLock::new() }
    }

    fn agent(&self) -> Result<&ureq::Agent, RequestError> {
        let agent = self.agent.get_or_init(|| {
            let config = ureq::Agent::config_builder()
                .http_status_as_error(false)
                // Redirects are followed here, where the token is known.
                .max_redirects(0)
                .max_redirects_will_error(false)
                .timeout_connect(Some(self.patience.connect))
                .timeout_global(Some(self.patience.answer))
                .tls_config(build_tls_config(self.certificates.as_deref())?)
                .user_agent(concat!("fmflow/", env!("CARGO_PKG_VERSION")));
            Ok(config.build().into())
        });
        agent.as_ref().map_err(|why| permanent_error(why))
    }

    /// Asks until there is an answer that is not "later".
    pub(super) fn get(&self, url: &str, token: Option<&Secret>) -> Result<HttpAnswer, HubError> {
        let token = token.map(build_authorization_header).transpose()?;
        let mut why = String::new();
        for attempt in 0..ATTEMPTS {
            let mut wait = self.patience.pause.saturating_mul(1 << attempt);
            match self.follow(url, token.as_deref()) {
                Ok(answer) if !answer.is_busy() => return Ok(answer),
                Ok(answer) => {
                    why = answer.reason();
                    let asked = answer.retry_after.map(|seconds| seconds.min(LONGEST_WAIT));
                    wait = asked.map_or(wait, Duration::from_secs);
                }
                Err(silence) if !silence.again => return Err(HubError::Unreachable(silence.why)),
                Err(silence) => why = silence.why,
            }
            if attempt + 1 < ATTEMPTS {
                std::thread::sleep(wait);
            }
        }
        Err(HubError::Unreachable(why))
    }

    /// Asks once, through redirects. The token goes to the host that was asked, and to no other.
    fn follow(&self, url: &str, token: Option<&str>) -> Result<HttpAnswer, RequestError> {
        let first = parse_origin(url)?;
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS {
            let mine = parse_origin(&url)? == first;
            let answer = self.once(&url, token.filter(|_| mine))?;
            match answer.status {
                301 | 302 | 303 | 307 | 308 => url = resolve_redirect(&url, &answer.location)?,
                _ => return Ok(answer),
            }
        }
        Err(permanent_error("too many redirects"))
    }

    fn once(&self, url: &str, token: Option<&str>) -> Result<HttpAnswer, RequestError> {
        let mut request = self.agent()?.get(url);
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        let mut response = request.call().map_err(|error| to_request_error(&error))?;
        let header = |name: &str| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let mut answer = HttpAnswer {
            status: response.status().as_u16(),
            code: header("x-error-code"),
            message: header("x-error-message"),
            link: header("link"),
            location: header("location"),
            retry_after: header("retry-after").parse().ok(),
            body: Vec::new(),
        };
        let body = response.body_mut().with_config().limit(LARGEST).read_to_vec();
        answer.body = body.map_err(|error| to_request_error(&error))?;
        Ok(answer)
    }
}

impl HttpAnswer {
    /// Whether the same question may be answered later. An error with a code of its own stays.
    fn is_busy(&self) -> bool {
        self.status == 429 || (self.status >= 500 && self.status != 501 && self.code.is_empty())
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Value, HubError> {
        serde_json::from_slice(&self.body)
            .map_err(|_| HubError::Unreachable("an answer that is no JSON".into()))
    }

    /// What the server says about a refusal.
    pub(super) fn reason(&self) -> String {
        let said = serde_json::from_slice::<Value>(&self.body).ok();
        let said = said.as_ref().and_then(|body| body.get("error")).and_then(Value::as_str);
        match said.unwrap_or(&self.message) {
            "" => format!("HTTP {}", self.status),
            said => format!("{said} (HTTP {})", self.status),
        }
    }

    /// The address of the next page, if there is one: on the same host, where the token may go.
    pub(super) fn next(&self, url: &str) -> Result<Option<String>, HubError> {
        let link = self.link.split(',').find(|link| link.contains("rel=\"next\""));
        let Some(next) = link.and_then(|link| link.split_once('<')?.1.split_once('>')) else {
            return Ok(None);
        };
        let (here, there) = (parse_origin(url), parse_origin(next.0));
        match (here, there) {
            (Ok(here), Ok(there)) if here == there => Ok(Some(next.0.to_owned())),
            _ => Err(HubError::Unreachable("a list of files that goes on at another host".into())),
        }
    }
}

/// The value of the header that carries a token.
fn build_authorization_header(token: &Secret) -> Result<String, HubError> {
    let visible = token.reveal().bytes().all(|byte| byte.is_ascii_graphic());
    if visible { Ok(format!("Bearer {}", token.reveal())) } else { Err(HubError::BadToken) }
}

/// Scheme, host and port: whom a token is for.
fn parse_origin(url: &str) -> Result<(String, String, u16), RequestError> {
    let uri: Uri = url.parse().map_err(|_| permanent_error("no address of the web"))?;
    let scheme = uri.scheme_str().unwrap_or_default().to_owned();
    let port = match (scheme.as_str(), uri.port_u16()) {
        (_, Some(port)) => port,
        ("https", None) => 443,
        ("http", None) => 80,
        _ => return Err(permanent_error("no address of the web")),
    };
    let host = uri.authority().map(Authority::host).unwrap_or_default().to_lowercase();
    Ok((scheme, host, port))
}

/// Where a redirect leads; never from `https` to `http`.
fn resolve_redirect(url: &str, location: &str) -> Result<String, RequestError> {
    let (scheme, ..) = parse_origin(url)?;
    let target = if location.starts_with('/') && !location.starts_with("//") {
        let uri: Uri = url.parse().map_err(|_| permanent_error("no address of the web"))?;
        let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
        format!("{scheme}://{authority}{location}")
    } else {
        location.to_owned()
    };
    match parse_origin(&target) {
        Ok((next, ..)) if scheme == "https" && next != "https" => {
            Err(permanent_error("a redirect out of `https`"))
        }
        Ok(_) => Ok(target),
        Err(_) => Err(permanent_error("a redirect to no address")),
    }
}

fn permanent_error(why: &str) -> RequestError {
    RequestError { why: why.to_owned(), again: false }
}

/// Why a connection failed; what may pass is asked again.
fn to_request_error(error: &ureq::Error) -> RequestError {
    use ureq::Error::{BodyExceedsLimit, ConnectionFailed, HostNotFound, Io, Protocol, Timeout};
    match error {
        BodyExceedsLimit(_) => permanent_error("an answer of more than 64 MiB"),
        HostNotFound => permanent_error("its name cannot be resolved"),
        // A certificate that is not trusted arrives as an error of the connection, and does not change.
        Io(error) if error.to_string().contains("certificate") => permanent_error(&error.to_string()),
        Io(error) => RequestError { why: error.to_string(), again: true },
        Timeout(_) | ConnectionFailed | Protocol(_) => RequestError { why: error.to_string(), again: true },
        _ => permanent_error(&error.to_string()),
    }
}

/// What is escaped in one part of an address: all but the unreserved characters (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Text as one part of an address.
pub(super) fn encode_url_part(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}
