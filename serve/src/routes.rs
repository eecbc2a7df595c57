//! Which path is answered by what, and who is let in.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::answers::{Answers, Ending, Event, ask};
use crate::api::{
    Asked, Form, LawTeller, Naming, WholeAnswer, find_model, parse_request, render_answers, render_begin,
    render_end, render_model, render_models, render_piece, render_usage,
};
use crate::fault::{Fault, respond, respond_json};
use crate::page::show_page;
use crate::state::{ServerState, read_clock};
use crate::stream::{Narrator, respond_events};
use crate::watch::StepNarrator;

type Shared = State<Arc<ServerState>>;

/// All paths.
pub(crate) fn build_router(state: Arc<ServerState>) -> Router {
    let guarded = Router::new()
        .route("/v1/models", get(list_models))
        .route("/v1/models/{model}", get(show_model))
        .route("/v1/chat/completions", post(answer_chat))
        .route("/v1/completions", post(answer_text))
        .route("/watch", post(answer_watched))
        .route("/metrics", get(show_metrics))
        .route_layer(from_fn_with_state(state.clone(), admit));
    Router::new()
        .route("/", get(show_page))
        .route("/health", get(show_health))
        .merge(guarded)
        .fallback(refuse_path)
        .method_not_allowed_fallback(refuse_method)
        .layer(from_fn_with_state(state.clone(), check_and_count))
        .with_state(state)
}

/// Refuses pages of others that reach this server by a name of their own, and counts every answer.
async fn check_and_count(State(state): Shared, request: Request, next: Next) -> Response {
    let response = match state.local && !is_local(request.headers()) {
        true => Fault::new(
            StatusCode::FORBIDDEN,
            "the server is this machine's: its name is `localhost` or `127.0.0.1`",
        )
        .into_response(),
        false => next.run(request).await,
    };
    state.metrics.count_response(response.status().as_u16());
    response
}

fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let host = host.to_str().unwrap_or("");
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    is_own_name(name)
}

/// Whether a name, as a `Host` has it, is one by which only this machine is reached.
fn is_own_name(name: &str) -> bool {
    let number = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || number.parse().is_ok_and(|number: IpAddr| number.is_loopback())
}

/// Lets in who has a key, if keys are needed.
async fn admit(State(state): Shared, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    let key = given.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    match &state.keys {
        Some(keys) if !key.is_some_and(|key| keys.admit(key)) => {
            let what = if key.is_some() { "the key is not one of this server's" } else { "a key is missing" };
            Fault::new(StatusCode::UNAUTHORIZED, format!("{what}: send `Authorization: Bearer KEY`"))
                .into_response()
        }
        _ => next.run(request).await,
    }
}

async fn refuse_path(request: Request) -> Response {
    let what = format!("there is no path `{}`", crate::fields::shorten(request.uri().path()));
    Fault::new(StatusCode::NOT_FOUND, what).into_response()
}

async fn refuse_method(method: Method) -> Response {
    let what = format!("this path does not take the method {}", crate::fields::shorten(method.as_str()));
    Fault::new(StatusCode::METHOD_NOT_ALLOWED, what).into_response()
}

async fn show_health(State(state): Shared) -> Response {
    match state.closing.load(Ordering::SeqCst) {
        true => Fault::stopping().into_response(),
        false => respond_json(StatusCode::OK, &json!({ "status": "ok" })),
    }
}

async fn show_metrics(State(state): Shared) -> Response {
    let text = state.metrics.render(&*state.service);
    respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}

async fn list_models(State(state): Shared) -> Response {
    respond_json(StatusCode::OK, &render_models(&*state.service, state.started))
}

async fn show_model(
    State(state): Shared,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Fault> {
    let Path(name) = name.map_err(|error| Fault::invalid(format!("the name of the model: {error}")))?;
    let at = find_model(Some(name), &*state.service)?;
    Ok(respond_json(StatusCode::OK, &render_model(&*state.service, at, state.started)))
}

async fn answer_chat(State(state): Shared, request: Request) -> Result<Response, Fault> {
    answer(&state, Form::Chat, request).await
}

async fn answer_text(State(state): Shared, request: Request) -> Result<Response, Fault> {
    answer(&state, Form::Text, request).await
}

/// Reads a body in JSON, within bounds.
async fn read_body(state: &ServerState, request: Request) -> Result<Bytes, Fault> {
    let (parts, body) = request.into_parts();
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    // A page elsewhere may send other types without asking.
    if !kind.eq_ignore_ascii_case("application/json") {
        let what = "send JSON, with `Content-Type: application/json`";
        return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, what));
    }
    let most = state.limits.body_bytes;
    let read = Limited::new(body, most).collect();
    match timeout(state.limits.body_wait, read).await {
        Err(_) => Err(Fault::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a body of more than {most} bytes")))
        }
        Ok(Err(error)) => Err(Fault::invalid(format!("the body could not be read: {error}"))),
    }
}

async fn answer(state: &Arc<ServerState>, form: Form, request: Request) -> Result<Response, Fault> {
    let body = read_body(state, request).await?;
    let Asked { request, stops, stream, usage } = parse_request(form, &body, &*state.service)?;
    drop(body);
    let naming = Naming {
        form,
        id: state.name_answer(if form == Form::Chat { "chatcmpl" } else { "cmpl" }),
        created: read_clock(),
        model: state.service.models()[request.model].id.clone(),
    };
    let samples = request.samples;
    let laws = request.laws.map(|_| LawTeller::new(form));
    let answers = ask(state, request, &stops, false).await?;
    if stream {
        let narrator = PieceNarrator::new(naming, samples, usage.then_some(answers.prompt_tokens));
        return Ok(respond_events(answers, narrator));
    }
    let (prompt_tokens, found) = (answers.prompt_tokens, collect(answers, samples, laws).await?);
    Ok(respond_json(StatusCode::OK, &render_answers(&naming, prompt_tokens, found)))
}

async fn answer_watched(State(state): Shared, request: Request) -> Result<Response, Fault> {
    let body = read_body(&state, request).await?;
    let asked = parse_request(Form::Watch, &body, &*state.service)?;
    if asked.request.samples != 1 || asked.stream {
        return Err(Fault::invalid(
            "one answer is watched, and comes in pieces anyway: leave `n` and `stream` out",
        ));
    }
    if asked.request.shortest.is_some() {
        return Err(Fault::field(
            "gap_tokens",
            "a gap whose length the model chooses is not watched: send one length",
        ));
    }
    let model = state.service.models()[asked.request.model].id.clone();
    let answers = ask(&state, asked.request, &asked.stops, true).await?;
    let narrator = StepNarrator::new(&answers, &model);
    Ok(respond_events(answers, narrator))
}

/// All answers of a request, with their laws if somebody is there to tell them.
async fn collect(
    mut answers: Answers,
    samples: usize,
    laws: Option<LawTeller>,
) -> Result<Vec<WholeAnswer>, Fault> {
    let mut found = vec![(String::new(), laws, None); samples];
    while found.iter().any(|(_, _, ending)| ending.is_none()) {
        match answers.next().await {
            Some(Event::Piece(sample, text)) => found[sample].0.push_str(&text),
            Some(Event::Laws(sample, new)) => {
                if let Some(own) = &mut found[sample].1 {
                    own.take(new);
                }
            }
            Some(Event::Ended(sample, ending)) => found[sample].2 = Some(ending),
            Some(Event::Failed(failure)) => return Err(failure.into()),
            Some(Event::Begun(_) | Event::Step(_)) => {}
            None => return Err(Fault::stopping()),
        }
    }
    let whole = |(text, laws, ending)| Some(WholeAnswer { text, laws, ending: ending? });
    Ok(found.into_iter().filter_map(whole).collect())
}

/// Tells pieces in OpenAI's form.
struct PieceNarrator {
    naming: Naming,
    samples: usize,
    /// Of each answer.
    laws: Vec<LawTeller>,
    endings: Vec<Ending>,
    /// Tokens of the prompt, if the usage is wanted.
    usage: Option<usize>,
}

impl PieceNarrator {
    fn new(naming: Naming, samples: usize, usage: Option<usize>) -> Self {
        let laws = vec![LawTeller::new(naming.form); samples];
        Self { naming, samples, laws, endings: Vec::new(), usage }
    }
}

impl Narrator for PieceNarrator {
    fn begin(&mut self) -> Vec<Value> {
        (0..self.samples).filter_map(|sample| render_begin(&self.naming, sample)).collect()
    }

    fn tell(&mut self, event: Event) -> Vec<Value> {
        match event {
            Event::Laws(sample, laws) => {
                self.laws[sample].take(laws);
                Vec::new()
            }
            Event::Piece(sample, text) => {
                vec![render_piece(&self.naming, sample, &text, self.laws[sample].tell_new())]
            }
            Event::Ended(sample, ending) => {
                let laws = self.laws[sample].tell_new();
                let mut told = vec![render_end(&self.naming, sample, &ending, laws)];
                self.endings.push(ending);
                if let Some(prompt_tokens) = self.usage.filter(|_| self.is_done()) {
                    told.push(render_usage(&self.naming, prompt_tokens, &self.endings));
                }
                told
            }
            Event::Begun(_) | Event::Step(_) | Event::Failed(_) => Vec::new(),
        }
    }

    fn is_done(&self) -> bool {
        self.endings.len() == self.samples
    }
}
