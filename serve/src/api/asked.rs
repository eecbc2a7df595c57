//! From the body of a request to what is asked.

use fmflow_engine::pipeline::config::PromptKind;
use fmflow_engine::pipeline::message::{Message, Speaker, find_fault_of_turns};
use fmflow_engine::service::{MOST_SAMPLES, ServiceRequest, TextService};
use serde_json::{Value, json};

use super::formats::take_constraint;
use super::gaps::{read_suffix, take_gaps, take_growth, take_length};
use crate::fault::Fault;
use crate::fields::{Fields, shorten, unfit};
use crate::limits::{RANKED, STOPS, TURNS};

/// Which of the two forms of OpenAI's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Text,
    /// Both, for those who watch: `messages` or `prompt`.
    Watch,
}

/// What a client asks, and how it wants the answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) request: ServiceRequest,
    /// Strings that end an answer.
    pub(crate) stops: Vec<String>,
    /// Whether the answer comes in pieces.
    pub(crate) stream: bool,
    /// Whether the last piece has the usage.
    pub(crate) usage: bool,
}

impl Form {
    /// Fields of the task, for suggestions.
    fn task_fields(self) -> &'static [&'static str] {
        match self {
            Self::Chat => &["messages", "logprobs", "top_logprobs"],
            Self::Text => &["prompt", "suffix", "gap_tokens", "gap_growth", "logprobs"],
            Self::Watch => &["messages", "prompt", "suffix", "gap_tokens", "gap_growth"],
        }
    }
}

/// Fields that are read beside those of the task, for suggestions.
const KNOWN: &[&str] = &[
    "model",
    "n",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "stream",
    "stream_options",
    "response_format",
    "sampler",
    "temperature",
    "top_p",
    "top_k",
    "passes",
    "threshold",
    "block",
];

/// Reads a body. Every field is read, or is a reason to refuse it.
pub(crate) fn parse_request(form: Form, body: &[u8], service: &dyn TextService) -> Result<Asked, Fault> {
    let mut fields = Fields::parse(body)?;
    let model = find_model(fields.take_text("model")?, service)?;
    let mut kind = take_task(&mut fields, form)?;
    let (shortest, new_tokens, grow) = match &mut kind {
        PromptKind::Infill { more, .. } => {
            let (shortest, tokens) = take_gaps(&mut fields, more)?;
            (shortest, Some(tokens), take_growth(&mut fields)?)
        }
        PromptKind::Chat(_) | PromptKind::Text(_) => (None, take_length(&mut fields)?, None),
    };
    let seed = fields.take_count("seed", 0, u64::MAX)?;
    let samples = fields.take_count("n", 1, MOST_SAMPLES as u64)?.unwrap_or(1);
    let stops = take_stops(&mut fields)?;
    let (stream, usage) = take_stream(&mut fields)?;
    let laws = take_laws(&mut fields, form)?;
    let constraint = take_constraint(&mut fields)?;
    refuse_with_gaps(&kind, &stops, laws)?;
    let sampler = fields.take_text("sampler")?;
    let settings = fields.take_settings(service.sampler_fields())?;
    // It does not change an answer.
    fields.take_text("user")?;
    for (name, neutral) in list_neutral() {
        fields.take_neutral(name, &neutral)?;
    }
    fields.finish(&[KNOWN, form.task_fields()].concat())?;
    let samples = usize::try_from(samples).expect("a bounded number fits");
    let request = ServiceRequest {
        model,
        kind,
        new_tokens,
        shortest,
        grow,
        sampler,
        settings,
        constraint,
        samples,
        seed,
        laws,
    };
    Ok(Asked { request, stops, stream, usage })
}

/// Fields that clients send although they mean nothing by them.
fn list_neutral() -> Vec<(&'static str, Value)> {
    vec![
        ("frequency_penalty", json!(0)),
        ("presence_penalty", json!(0)),
        ("echo", json!(false)),
        ("best_of", json!(1)),
        ("logit_bias", json!({})),
        ("tools", json!([])),
        ("tool_choice", json!("none")),
        ("store", json!(false)),
    ]
}

/// The number of a model that a client names; without a name, of the only one.
pub(crate) fn find_model(name: Option<String>, service: &dyn TextService) -> Result<usize, Fault> {
    let models = service.models();
    let names = || models.iter().map(|model| format!("`{}`", model.id)).collect::<Vec<_>>().join(", ");
    let Some(name) = name else {
        let what = || Fault::field("model", format!("`model` is missing: one of {}", names()));
        return if models.len() == 1 { Ok(0) } else { Err(what()) };
    };
    models.iter().position(|model| model.id == name).ok_or_else(|| {
        let what = format!("there is no model `{}`, only {}", shorten(&name), names());
        Fault { status: axum::http::StatusCode::NOT_FOUND, ..Fault::field("model", what) }
    })
}

fn take_task(fields: &mut Fields, form: Form) -> Result<PromptKind, Fault> {
    let watched = form == Form::Watch;
    if form == Form::Chat || watched {
        match fields.take("messages") {
            Some(turns) => return read_turns(turns).map(PromptKind::Chat),
            None if watched => {}
            None => return Err(Fault::field("messages", "`messages` is missing")),
        }
    }
    let Some(prompt) = fields.take_text("prompt")? else {
        return Err(Fault::field("prompt", "`prompt` is missing"));
    };
    Ok(match fields.take("suffix") {
        None => PromptKind::Text(prompt),
        Some(behind) => read_suffix(prompt, behind)?,
    })
}

fn read_turns(turns: Value) -> Result<Vec<Message>, Fault> {
    let Value::Array(turns) = turns else { return Err(unfit("messages", "a list of turns", &turns)) };
    if turns.len() > TURNS {
        return Err(Fault::field("messages", format!("more than {TURNS} turns")));
    }
    let read = |(at, turn): (usize, &Value)| {
        read_turn(turn).map_err(|what| Fault::field("messages", format!("turn {}: {what}", at + 1)))
    };
    let turns: Vec<Message> = turns.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    match find_fault_of_turns(&turns) {
        None => Ok(turns),
        Some((what, help)) => Err(Fault::field("messages", format!("{what} ({help})"))),
    }
}

fn read_turn(turn: &Value) -> Result<Message, String> {
    let Value::Object(fields) = turn else { return Err("it is no object".to_owned()) };
    let role = match fields.get("role").and_then(Value::as_str) {
        Some("system" | "developer") => Speaker::System,
        Some("user") => Speaker::User,
        Some("assistant") => Speaker::Assistant,
        _ => return Err("`role` is not `system`, `user` or `assistant`".to_owned()),
    };
    let text = match fields.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => join_parts(parts)?,
        _ => return Err("`content` is no text".to_owned()),
    };
    match fields
        .iter()
        .find(|(name, value)| !["role", "content"].contains(&name.as_str()) && !value.is_null())
    {
        None => Ok(Message::new(role, &text)),
        Some((name, _)) => Err(format!("`{}` is not supported", shorten(name))),
    }
}

/// The text of a turn that comes in parts, as OpenAI's client sends it.
fn join_parts(parts: &[Value]) -> Result<String, String> {
    let read = |part: &Value| match (part["type"].as_str(), part["text"].as_str()) {
        (Some("text"), Some(text)) => Ok(text.to_owned()),
        _ => Err("a part of `content` is no text".to_owned()),
    };
    parts.iter().map(read).collect()
}

/// Whether the law of each token is wanted, and with how many of the most probable tokens.
fn take_laws(fields: &mut Fields, form: Form) -> Result<Option<usize>, Fault> {
    let count = |count: u64| usize::try_from(count).expect("a bounded number fits");
    match form {
        Form::Chat => {
            let (wanted, top) =
                (fields.take_flag("logprobs")?, fields.take_count("top_logprobs", 0, RANKED)?);
            match (wanted, top.map_or(0, count)) {
                (true, top) => Ok(Some(top)),
                (false, 0) => Ok(None),
                (false, _) => {
                    Err(Fault::field("top_logprobs", "`top_logprobs` needs `\"logprobs\": true` beside it"))
                }
            }
        }
        Form::Text if fields.take_false("logprobs") => Ok(None),
        Form::Text => Ok(fields.take_count("logprobs", 0, RANKED)?.map(count)),
        Form::Watch => fields.take_neutral("logprobs", &json!(false)).map(|()| None),
    }
}

/// Refuses what is said of one text that is written from its beginning to its end, where several gaps are filled.
fn refuse_with_gaps(kind: &PromptKind, stops: &[String], laws: Option<usize>) -> Result<(), Fault> {
    if kind.further_gaps().is_empty() {
        return Ok(());
    }
    if !stops.is_empty() {
        let what = "`stop` ends one text, and several gaps have what stands between them: leave it out, or fill one gap at a time";
        return Err(Fault::field("stop", what));
    }
    if laws.is_some() {
        return Err(Fault::field(
            "logprobs",
            "`logprobs` of several gaps are not told: fill one gap at a time",
        ));
    }
    Ok(())
}

fn take_stops(fields: &mut Fields) -> Result<Vec<String>, Fault> {
    let (most, bytes) = STOPS;
    let fault = || {
        let what =
            format!("`stop` must be a text, or a list of at most {most} texts, each of 1 to {bytes} bytes");
        Fault::field("stop", what)
    };
    let stops = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::String(stop)) => vec![stop],
        Some(Value::Array(stops)) => {
            let text = |stop: &Value| stop.as_str().map(str::to_owned).ok_or_else(fault);
            stops.iter().map(text).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(fault()),
    };
    let fits = stops.len() <= most && stops.iter().all(|stop| (1..=bytes).contains(&stop.len()));
    if fits { Ok(stops) } else { Err(fault()) }
}

/// Whether the answer comes in pieces, and whether the last has the usage.
fn take_stream(fields: &mut Fields) -> Result<(bool, bool), Fault> {
    let stream = fields.take_flag("stream")?;
    let Some(options) = fields.take("stream_options") else { return Ok((stream, false)) };
    let fault = || unfit("stream_options", "`{\"include_usage\": true}` beside `\"stream\": true`", &options);
    let Value::Object(own) = &options else { return Err(fault()) };
    let known = own.iter().all(|(name, value)| {
        value.is_null()
            || (name == "include_usage" && value.is_boolean())
            || (name == "include_obfuscation" && value == &json!(false))
    });
    if !known || !stream {
        return Err(fault());
    }
    Ok((stream, own.get("include_usage") == Some(&json!(true))))
}
