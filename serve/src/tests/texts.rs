//! What a client of OpenAI's API gets.

use serde_json::{Value, json};

use super::{Reply, Running};
use crate::limits::Limits;

fn text_of(reply: &Reply) -> String {
    reply.json()["choices"][0]["text"].as_str().unwrap().to_owned()
}

/// The pieces of answer 0, joined.
fn join(events: &[Value], sample: u64) -> String {
    let choices = events.iter().filter_map(|event| event["choices"].get(0));
    let own = choices.filter(|choice| choice["index"] == sample);
    own.map(|choice| choice["text"].as_str().or(choice["delta"]["content"].as_str()).unwrap_or("")).collect()
}

#[test]
fn texts_are_continued_whole_and_in_pieces() {
    let server = Running::start(Limits::USUAL);
    let whole = server.post("/v1/completions", r#"{"model":"m","prompt":"a b c"}"#);
    assert_eq!(whole.status, 200, "{whole:?}");
    let body = whole.json();
    assert_eq!(text_of(&whole), "c b a ");
    assert_eq!((&body["object"], &body["model"]), (&json!("text_completion"), &json!("m")));
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6, "passes": 3});
    assert_eq!((&body["usage"], &body["choices"][0]["finish_reason"]), (&usage, &json!("stop")));
    let options = r#"{"prompt":"a b c","stream":true,"stream_options":{"include_usage":true}}"#;
    let events = server.post("/v1/completions", options).events();
    assert_eq!(join(&events, 0), "c b a ");
    assert_eq!(events[3]["choices"][0]["finish_reason"], "stop");
    assert_eq!((&events[4]["usage"], &events[4]["choices"]), (&usage, &json!([])));
    assert!(events.iter().all(|event| event["id"] == events[0]["id"] && event["id"] != body["id"]));
    server.settle();
    assert_eq!(server.metric("fmflow_tokens_total"), 6);
    assert!(server.metric("fmflow_http_responses_total{status=\"200\"}") > 2);
}

#[test]
fn conversations_are_answered_whole_and_in_pieces() {
    let server = Running::start(Limits::USUAL);
    let turns = r#"[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"a "},
        {"type":"text","text":"b"}]}]"#;
    let body = server.post("/v1/chat/completions", &format!("{{\"messages\":{turns}}}")).json();
    let message = json!({"role": "assistant", "content": "b a ", "refusal": null});
    assert_eq!((&body["object"], &body["choices"][0]["message"]), (&json!("chat.completion"), &message));
    let events =
        server.post("/v1/chat/completions", &format!("{{\"stream\":true,\"messages\":{turns}}}")).events();
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(join(&events, 0), "b a ");
    let last = events.last().unwrap();
    assert_eq!((&last["object"], last.get("usage")), (&json!("chat.completion.chunk"), None));
    assert_eq!(
        last["choices"][0],
        json!({"index": 0, "delta": {}, "logprobs": null, "finish_reason": "stop"})
    );
}

#[test]
fn an_answer_ends_at_its_length_or_at_a_stop() {
    let server = Running::start(Limits::USUAL);
    let ask = |more: &str| {
        let plain = server.post("/v1/completions", &format!("{{\"prompt\":\"a b c d\"{more}}}"));
        let events = server
            .post("/v1/completions", &format!("{{\"prompt\":\"a b c d\",\"stream\":true{more}}}"))
            .events();
        let (text, reason) = (text_of(&plain), plain.json()["choices"][0]["finish_reason"].clone());
        assert_eq!(join(&events, 0), text, "{more}");
        assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], reason, "{more}");
        (text, reason.as_str().unwrap().to_owned(), plain.json()["usage"]["completion_tokens"].clone())
    };
    let found = |text: &str, reason: &str, tokens: u64| (text.to_owned(), reason.to_owned(), json!(tokens));
    assert_eq!(ask(",\"max_tokens\":2"), found("d c ", "length", 2));
    assert_eq!(ask(",\"max_completion_tokens\":9"), found("d c b a ", "stop", 4));
    // A stop across two pieces, and one that never comes. Nothing is computed behind it.
    assert_eq!(ask(",\"stop\":\" b\""), found("d c", "stop", 3));
    assert_eq!(ask(",\"stop\":[\"x\",\"a y\"]"), found("d c b a ", "stop", 4));
}

#[test]
fn several_answers_and_gaps() {
    let server = Running::start(Limits::USUAL);
    let body = server.post("/v1/completions", r#"{"prompt":"a b","n":3,"stop":"zz"}"#).json();
    let texts: Vec<&Value> =
        body["choices"].as_array().unwrap().iter().map(|choice| &choice["text"]).collect();
    assert_eq!((texts, &body["usage"]["completion_tokens"]), (vec![&json!("b a "); 3], &json!(6)));
    let events = server.post("/v1/completions", r#"{"prompt":"a b","n":3,"stream":true}"#).events();
    assert_eq!([0, 1, 2].map(|sample| join(&events, sample)), ["b a "; 3]);
    let gap = server.post("/v1/completions", r#"{"prompt":"before","suffix":"after","max_tokens":2}"#);
    assert_eq!(text_of(&gap), "before after ");
    // Each gap has its length; the stand-in says them.
    let lengths = |fields: &str| {
        let body = format!(r#"{{"prompt":"a","suffix":["b","c"],{fields}}}"#);
        let mut words: Vec<String> =
            text_of(&server.post("/v1/completions", &body)).split_whitespace().map(str::to_owned).collect();
        words.sort();
        words
    };
    assert_eq!(lengths(r#""max_tokens":9"#), ["a", "b:9", "c"]);
    assert_eq!(lengths(r#""gap_tokens":[7,8]"#), ["a", "b:8", "c"]);
    assert_eq!(lengths(r#""gap_tokens":6"#), ["a", "b:6", "c"]);
}

#[test]
fn log_probabilities_come_with_their_tokens_whole_and_in_pieces() {
    let server = Running::start(Limits::USUAL);
    let turns = r#"{"messages":[{"role":"user","content":"ä b"}],"logprobs":true,"top_logprobs":2"#;
    let body = server.post("/v1/chat/completions", &format!("{turns}}}")).json();
    let laws = &body["choices"][0]["logprobs"]["content"];
    let word = |text: &str, log: f64| json!({"token": text, "logprob": log, "bytes": text.as_bytes()});
    let told = |text: &str| {
        let mut told = word(text, -0.5);
        told["top_logprobs"] = json!([word("0", -1.0), word("1", -2.0)]);
        told
    };
    assert_eq!(laws, &json!([told("b "), told("ä ")]));
    let events = server.post("/v1/chat/completions", &format!("{turns},\"stream\":true}}")).events();
    let pieces = events.iter().filter_map(|event| event["choices"][0]["logprobs"]["content"].as_array());
    assert_eq!(&json!(pieces.flatten().collect::<Vec<_>>()), laws);
    let text = server.post("/v1/completions", r#"{"prompt":"ä b","n":2,"logprobs":1}"#).json();
    for choice in text["choices"].as_array().unwrap() {
        assert_eq!(
            choice["logprobs"],
            json!({"tokens": ["b ", "ä "], "token_logprobs": [-0.5, -0.5], "text_offset": [0, 2],
                "top_logprobs": [{"0": -1.0, "b ": -0.5}, {"0": -1.0, "ä ": -0.5}]})
        );
    }
    // A stop holds text back: the laws of its tokens come with what follows, and none is lost.
    let stopped = r#"{"prompt":"a b c","stop":" a x","logprobs":0"#;
    let events = server.post("/v1/completions", &format!("{stopped},\"stream\":true}}")).events();
    let offsets = events.iter().filter_map(|event| event["choices"][0]["logprobs"]["text_offset"].as_array());
    assert_eq!(json!(offsets.flatten().collect::<Vec<_>>()), json!([0, 2, 4]));
    let whole = server.post("/v1/completions", &format!("{stopped}}}")).json();
    assert_eq!(whole["choices"][0]["logprobs"]["text_offset"], json!([0, 2, 4]));
    let none = server.post("/v1/completions", r#"{"prompt":"a","logprobs":false}"#).json();
    assert_eq!(none["choices"][0]["logprobs"], Value::Null);
}

#[test]
fn fields_that_mean_nothing_are_taken() {
    let server = Running::start(Limits::USUAL);
    let body = r#"{"prompt":"a","frequency_penalty":0.0,"presence_penalty":0,"logit_bias":null,"user":"u",
        "response_format":{"type":"text"},"logprobs":null,"temperature":0.5,"top_p":1,"steps":3,"best_of":1}"#;
    assert_eq!(server.post("/v1/completions", body).status, 200);
}

#[test]
fn those_who_watch_see_every_pass() {
    let server = Running::start(Limits::USUAL);
    let events = server.post("/watch", r#"{"prompt":"a b","stop":"zz"}"#).events();
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["begin", "step", "text", "step", "text", "end"]);
    assert_eq!(events[1]["written"][0], json!({"place": 0, "id": 0, "text": "b ", "probability": 0.5}));
    assert_eq!((&events[5]["tokens"], &events[5]["finish_reason"]), (&json!(2), &json!("stop")));
    let events = server.post("/watch", r#"{"messages":[{"role":"user","content":"a b"}]}"#).events();
    assert_eq!(events.len(), 6);
    assert_eq!(server.post("/watch", r#"{"prompt":"a","n":2}"#).status, 400);
}

#[test]
fn models_health_and_page() {
    let server = Running::start(Limits::USUAL);
    let models = server.get("/v1/models").json();
    assert_eq!((&models["data"][0]["id"], &models["data"][0]["sampler"]), (&json!("m"), &json!("backwards")));
    assert_eq!(server.get("/v1/models/m").json(), models["data"][0]);
    for (path, status) in [("/v1/models/nobody", 404), ("/v1/models/%ff", 400)] {
        let reply = server.get(path);
        assert_eq!((reply.status, &reply.json()["error"]["type"]), (status, &json!("invalid_request_error")));
    }
    assert_eq!(server.get("/v1/models/nobody").json()["error"]["param"], "model");
    assert_eq!(server.get("/health").json(), json!({"status": "ok"}));
    let page = server.get("/");
    assert!(
        page.status == 200 && page.head.contains("content-security-policy: default-src 'none'"),
        "{page:?}"
    );
    // Nothing of it comes from elsewhere.
    let text = page.body;
    assert!(text.contains("<title>") && !text.contains("https://") && !text.contains("src="), "{text}");
}
