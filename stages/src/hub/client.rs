//! Sends one HTTP request: retries if the server is busy, fails on any other bad answer, and sends the token to one host
//! only.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use fmflow_engine::hub::online::{HubError, Secret};
use serde_json::Value;

use super::address::{RequestError, parse_origin, permanent_error, resolve_redirect};
use super::certificates::build_tls_config;

/// The most times that one request is sent.
pub(super) const ATTEMPTS: u32 = 4;

/// The most redirects that one request follows.
const REDIRECTS: usize = 5;

/// The largest accepted answer, in bytes.
const LARGEST: u64 = 64 << 20;

/// The longest wait that a server can impose, in seconds.
const LONGEST_WAIT: u64 = 60;

/// The most that is read of the body of a refusal, in bytes: it only explains it.
const LARGEST_REFUSAL: u64 = 64 << 10;

/// Connections that are kept for the next request: as many as objects are fetched at once.
pub(super) const IDLE: usize = 32;

/// How long to wait for a server.
pub(super) struct ClientTimeouts {
    /// Time to connect.
    pub(super) connect: Duration,
    /// Time for the whole answer.
    pub(super) answer: Duration,
    /// Time for as much of a file as comes in one piece: a longer one goes on where it stopped. Also the time in which nothing at all
    /// may come of an object.
    pub(super) body: Duration,
    /// Pause before the second attempt; it doubles for each further one.
    pub(super) pause: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let pause = Duration::from_millis(500);
        Self { connect: seconds(10), answer: seconds(30), body: seconds(60), pause }
    }
}

/// An HTTP client with retries.
pub(super) struct HttpClient {
    pub(super) timeouts: ClientTimeouts,
    /// Whether no request may be sent.
    pub(super) offline: bool,
    /// File of certificates to trust instead of the built-in ones.
    certificates: Option<PathBuf>,
    /// For answers, files and objects. Each is created for its first request, because most commands send none.
    agents: [OnceLock<Result<ureq::Agent, String>>; 3],
}

/// What is asked for: an answer that comes as a whole; a file, which comes in pieces that each have a time limit; or an object, which comes
/// as a whole and may take as long as it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Answer,
    File,
    Object,
}

/// The answer of a server.
#[derive(Debug, Default)]
pub(super) struct HttpAnswer {
    /// HTTP status.
    pub(super) status: u16,
    /// `X-Error-Code`, the hub's own code for the error.
    pub(super) code: String,
    /// `X-Error-Message`.
    message: String,
    /// `Link`, which names the next page of a list.
    link: String,
    /// `Retry-After` of a busy server, in seconds.
    pub(super) retry_after: Option<u64>,
    body: Vec<u8>,
}

impl HttpClient {
    pub(super) fn new(timeouts: ClientTimeouts, certificates: Option<PathBuf>) -> Self {
        Self { timeouts, offline: false, certificates, agents: Default::default() }
    }

    fn agent(&self, wanted: Wanted) -> Result<&ureq::Agent, RequestError> {
        if self.offline {
            return Err(permanent_error("`HF_HUB_OFFLINE` is set"));
        }
        let ClientTimeouts { connect, answer, body, .. } = self.timeouts;
        let whole = (wanted == Wanted::Answer).then_some(answer);
        let (piece, silence) = match wanted {
            Wanted::Object => (None, Some(body)),
            Wanted::Answer | Wanted::File => (Some(body), None),
        };
        let agent = self.agents[wanted as usize].get_or_init(|| {
            let config = ureq::Agent::config_builder()
                .http_status_as_error(false)
                // `follow` handles redirects, because a token must not go to another host.
                .max_redirects(0)
                .max_redirects_will_error(false)
                .timeout_connect(Some(connect))
                .timeout_global(whole)
                .timeout_recv_response(Some(answer))
                .timeout_recv_body(piece)
                .timeout_per_read(silence)
                .tls_config(build_tls_config(self.certificates.as_deref())?)
                .max_idle_connections_per_host(IDLE)
                .max_idle_connections(IDLE)
                .user_agent(concat!("fmflow/", env!("CARGO_PKG_VERSION")));
            Ok(config.build().into())
        });
        agent.as_ref().map_err(|why| permanent_error(why))
    }

    /// Sends the request, with retries while the server is busy or the connection fails.
    pub(super) fn get(&self, url: &str, token: Option<&Secret>) -> Result<HttpAnswer, HubError> {
        let token = token.map(build_authorization_header).transpose()?;
        let mut why = String::new();
        for attempt in 0..ATTEMPTS {
            let mut wait = self.timeouts.pause.saturating_mul(1 << attempt);
            match self.follow(url, token.as_deref()) {
                Ok(answer) if !answer.is_busy() => return Ok(answer),
                Ok(answer) => {
                    why = answer.reason();
                    let asked = answer.retry_after.map(|seconds| seconds.min(LONGEST_WAIT));
                    wait = asked.map_or(wait, Duration::from_secs);
                }
                Err(error) if !error.again => return Err(HubError::Unreachable(error.why)),
                Err(error) => why = error.why,
            }
            if attempt + 1 < ATTEMPTS {
                std::thread::sleep(wait);
            }
        }
        Err(HubError::Unreachable(why))
    }

    /// Sends the request once and reads the answer.
    fn follow(&self, url: &str, token: Option<&str>) -> Result<HttpAnswer, RequestError> {
        HttpAnswer::read(self.open(Wanted::Answer, url, token, &[])?)
    }

    /// Sends the request once and follows redirects. The token goes only to the host of the original URL.
    pub(super) fn open(
        &self,
        wanted: Wanted,
        url: &str,
        token: Option<&str>,
        headers: &[(&str, String)],
    ) -> Result<Response, RequestError> {
        let first = parse_origin(url)?;
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS {
            let same_origin = parse_origin(&url)? == first;
            let token = token.filter(|_| same_origin).map(|token| ("authorization", token.to_owned()));
            let headers: Vec<(&str, String)> = headers.iter().cloned().chain(token).collect();
            let response = self.ask(wanted, &url, &headers)?;
            match response.status().as_u16() {
                301 | 302 | 303 | 307 | 308 => {
                    url = resolve_redirect(&url, &read_header(&response, "location"))?
                }
                _ => return Ok(response),
            }
        }
        Err(permanent_error("too many redirects"))
    }

    /// Sends the request once and follows no redirect.
    pub(super) fn ask(
        &self,
        wanted: Wanted,
        url: &str,
        headers: &[(&str, String)],
    ) -> Result<Response, RequestError> {
        let request = self.agent(wanted)?.get(url);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        request.call().map_err(|error| to_request_error(&error))
    }
}

/// An answer whose body has not been read.
pub(super) type Response = ureq::http::Response<ureq::Body>;

/// The text of a header; empty if it is absent or no text.
pub(super) fn read_header(response: &Response, name: &str) -> String {
    let value = response.headers().get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

impl HttpAnswer {
    /// Reads the whole answer.
    pub(super) fn read(mut response: Response) -> Result<Self, RequestError> {
        let header = |name: &str| read_header(&response, name);
        let mut answer = Self {
            status: response.status().as_u16(),
            code: header("x-error-code"),
            message: header("x-error-message"),
            link: header("link"),
            retry_after: header("retry-after").parse().ok(),
            body: Vec::new(),
        };
        let body = response.body_mut().with_config();
        if answer.status >= 300 {
            let mut start = body.limit(u64::MAX).reader().take(LARGEST_REFUSAL);
            // The head of a refusal says what to do; of its body, as much is used as comes.
            let _ = start.read_to_end(&mut answer.body);
            return Ok(answer);
        }
        answer.body = body.limit(LARGEST).read_to_vec().map_err(|error| to_request_error(&error))?;
        Ok(answer)
    }

    /// The body as text.
    pub(super) fn text(&self) -> Result<&str, HubError> {
        std::str::from_utf8(&self.body).map_err(|_| HubError::Unreachable("the answer is not UTF-8".into()))
    }

    /// Whether a retry may succeed. An error with the hub's own code is permanent.
    pub(super) fn is_busy(&self) -> bool {
        self.status == 429 || (self.status >= 500 && self.status != 501 && self.code.is_empty())
    }

    /// The body.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Value, HubError> {
        serde_json::from_slice(&self.body).map_err(|_| HubError::Unreachable("the answer is not JSON".into()))
    }

    /// The server's own explanation of a refusal.
    pub(super) fn reason(&self) -> String {
        let body = serde_json::from_slice::<Value>(&self.body).ok();
        let error = body.as_ref().and_then(|body| body.get("error")).and_then(Value::as_str);
        match error.unwrap_or(&self.message) {
            "" => format!("HTTP {}", self.status),
            error => format!("{error} (HTTP {})", self.status),
        }
    }

    /// The URL of the next page, if there is one. It must be on the same host, because the token is sent to it.
    pub(super) fn next(&self, url: &str) -> Result<Option<String>, HubError> {
        let link = self.link.split(',').find(|link| link.contains("rel=\"next\""));
        let Some(next) = link.and_then(|link| link.split_once('<')?.1.split_once('>')) else {
            return Ok(None);
        };
        let (here, there) = (parse_origin(url), parse_origin(next.0));
        match (here, there) {
            (Ok(here), Ok(there)) if here == there => Ok(Some(next.0.to_owned())),
            _ => Err(HubError::Unreachable("the next page of the file list is on another host".into())),
        }
    }
}

/// The value of the `Authorization` header. A token with line breaks or other control characters could forge headers and is
/// refused.
pub(super) fn build_authorization_header(token: &Secret) -> Result<String, HubError> {
    let visible = token.reveal().bytes().all(|byte| byte.is_ascii_graphic());
    if visible { Ok(format!("Bearer {}", token.reveal())) } else { Err(HubError::BadToken) }
}

/// Why a connection failed, and whether a retry may help.
fn to_request_error(error: &ureq::Error) -> RequestError {
    use ureq::Error::{BodyExceedsLimit, ConnectionFailed, HostNotFound, Io, Protocol, Timeout};
    match error {
        BodyExceedsLimit(_) => permanent_error("the answer is larger than 64 MiB"),
        HostNotFound => permanent_error("the host name cannot be resolved"),
        // An untrusted certificate also arrives as an I/O error, but retrying cannot help.
        Io(error) if error.to_string().contains("certificate") => permanent_error(&error.to_string()),
        Io(error) => RequestError { why: error.to_string(), again: true },
        Timeout(_) | ConnectionFailed | Protocol(_) => RequestError { why: error.to_string(), again: true },
        _ => permanent_error(&error.to_string()),
    }
}
