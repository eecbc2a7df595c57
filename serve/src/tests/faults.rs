//! Requests that are not answered, each with its reason.

use std::time::Duration;

use super::standin::StandIn;
use super::{Reply, Running};
use crate::limits::Limits;

#[test]
fn what_is_wrong_is_told_and_is_the_fault_of_the_client() {
    let server = Running::start(Limits::USUAL);
    let turns = |turns: &str| format!(r#"{{"messages":{turns}}}"#);
    let long = format!(r#"{{"prompt":"a","stop":"{}"}}"#, "x".repeat(257));
    let deep = "[".repeat(100_000);
    let cases: Vec<(&str, String, &str)> = vec![
        ("/v1/completions", String::new(), "the body is not JSON"),
        ("/v1/completions", "[]".into(), "the body is no JSON object"),
        ("/v1/completions", "{\"prompt\":".into(), "line 1 column"),
        ("/v1/completions", deep, "recursion limit"),
        ("/v1/completions", "{}".into(), "`prompt` is missing"),
        ("/v1/completions", r#"{"prompt":["a"]}"#.into(), "`prompt` must be a text"),
        ("/v1/completions", r#"{"prompt":"a","n":0}"#.into(), "`n` must be a whole number from 1 to 16"),
        ("/v1/completions", r#"{"prompt":"a","n":17}"#.into(), "from 1 to 16, not 17"),
        ("/v1/completions", r#"{"prompt":"a","n":1.5}"#.into(), "not 1.5"),
        ("/v1/completions", r#"{"prompt":"a","max_tokens":-1}"#.into(), "`max_tokens` must be"),
        ("/v1/completions", r#"{"prompt":"a","seed":-1}"#.into(), "`seed` must be"),
        ("/v1/completions", r#"{"prompt":"a","stop":""}"#.into(), "`stop` must be"),
        ("/v1/completions", r#"{"prompt":"a","stop":[1]}"#.into(), "`stop` must be"),
        ("/v1/completions", long, "1 to 256 bytes"),
        ("/v1/completions", r#"{"prompt":"a","stream":"yes"}"#.into(), "`stream` must be true or false"),
        (
            "/v1/completions",
            r#"{"prompt":"a","stream_options":{"include_usage":true}}"#.into(),
            "`stream_options`",
        ),
        ("/v1/completions", r#"{"prompt":"a","temprature":1}"#.into(), "did you mean `temperature`?"),
        ("/v1/completions", r#"{"prompt":"a","temperature":[]}"#.into(), "`temperature` must be a number"),
        ("/v1/completions", r#"{"prompt":"a","temperature":7}"#.into(), "`temperature` must not be 7"),
        ("/v1/completions", r#"{"prompt":"a","suffix":"b"}"#.into(), "needs `max_tokens`"),
        (
            "/v1/completions",
            r#"{"prompt":"a","suffix":["b","c"],"max_tokens":1,"stop":"x"}"#.into(),
            "`stop` ends one text",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"a","suffix":["b","c"],"max_tokens":1,"logprobs":1}"#.into(),
            "`logprobs` of several gaps",
        ),
        ("/v1/completions", r#"{"prompt":"LONG"}"#.into(), "too long (write less)"),
        ("/v1/completions", r#"{"prompt":"LONG","stream":true}"#.into(), "too long (write less)"),
        ("/v1/chat/completions", r#"{"prompt":"a"}"#.into(), "`messages` is missing"),
        ("/v1/chat/completions", turns("{}"), "`messages` must be a list"),
        ("/v1/chat/completions", turns("[]"), "the user does not speak last"),
        ("/v1/chat/completions", turns(r#"[{"role":"user"}]"#), "turn 1: `content` is no text"),
        ("/v1/chat/completions", turns(r#"[{"role":"tool","content":"a"}]"#), "turn 1: `role` is not"),
        (
            "/v1/chat/completions",
            turns(r#"[{"role":"user","content":"a","name":"b"}]"#),
            "`name` is not supported",
        ),
        (
            "/v1/chat/completions",
            turns(r#"[{"role":"user","content":[{"type":"image_url"}]}]"#),
            "is no text",
        ),
        (
            "/v1/chat/completions",
            r#"{"messages":[{"role":"user","content":"a"}],"response_format":{"type":"grammar"}}"#.into(),
            "`response_format` is not supported: its `type` must be text, json_object, json_schema or regex",
        ),
        ("/watch", "{}".into(), "`prompt` is missing"),
        (
            "/v1/completions",
            r#"{"prompt":"a","max_tokens":1,"max_completion_tokens":2}"#.into(),
            "`max_tokens` and `max_completion_tokens` mean the same",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"a","top-p":1,"top_p":0.5}"#.into(),
            "`top-p` and `top_p` mean the same",
        ),
    ];
    refuse_all(&server, cases);
    assert_eq!(server.post("/v1/completions", r#"{"prompt":"a","n":0}"#).json()["error"]["param"], "n");
    server.settle();
}

fn refuse_all(server: &Running, cases: Vec<(&str, String, &str)>) {
    for (path, body, expected) in cases {
        let reply = server.post(path, &body);
        let shown = body.chars().take(80).collect::<String>();
        assert_eq!(reply.status, 400, "{shown}\n{reply:?}");
        assert!(reply.message().contains(expected), "{shown}\n{}", reply.message());
        assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
    }
}

#[test]
fn gaps_and_log_probabilities_that_cannot_be_had_are_told() {
    let server = Running::start(Limits::USUAL);
    let cases: Vec<(&str, String, &str)> = vec![
        (
            "/v1/completions",
            r#"{"prompt":"a","logprobs":21}"#.into(),
            "`logprobs` must be a whole number from 0 to 20",
        ),
        ("/v1/completions", r#"{"prompt":"a","logprobs":true}"#.into(), "`logprobs` must be a whole number"),
        ("/v1/completions", r#"{"prompt":"a","top_logprobs":1}"#.into(), "`top_logprobs` is unknown"),
        ("/watch", r#"{"prompt":"a","logprobs":1}"#.into(), "`logprobs` is not supported"),
        (
            "/v1/chat/completions",
            r#"{"messages":[{"role":"user","content":"a"}],"top_logprobs":2}"#.into(),
            "`top_logprobs` needs",
        ),
        (
            "/v1/chat/completions",
            r#"{"messages":[{"role":"user","content":"a"}],"logprobs":3}"#.into(),
            "`logprobs` must be true or false",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"a","suffix":7,"max_tokens":1}"#.into(),
            "`suffix` must be a text, or a list",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"a","suffix":[],"max_tokens":1}"#.into(),
            "`suffix` must be a text, or a list",
        ),
        (
            "/v1/completions",
            r#"{"prompt":"a","suffix":["","b"],"max_tokens":1}"#.into(),
            "none but the last may be empty",
        ),
        ("/v1/completions", r#"{"prompt":"a","suffix":"b","gap_tokens":"9..3"}"#.into(), "a range such as"),
        ("/v1/completions", r#"{"prompt":"a","suffix":"b","gap_tokens":"0..3"}"#.into(), "a range such as"),
        (
            "/v1/completions",
            r#"{"prompt":"a","suffix":["b","c"],"gap_tokens":"2..3"}"#.into(),
            "or a list of 2",
        ),
        ("/v1/completions", r#"{"prompt":"a","suffix":["b","c"],"gap_tokens":[1]}"#.into(), "or a list of 2"),
        (
            "/v1/completions",
            r#"{"prompt":"a","suffix":"b","gap_tokens":1,"max_tokens":1}"#.into(),
            "mean the same",
        ),
        ("/v1/completions", r#"{"prompt":"a","gap_tokens":1}"#.into(), "`gap_tokens` is unknown"),
        ("/watch", r#"{"prompt":"a","suffix":"b","gap_tokens":"2..3"}"#.into(), "is not watched"),
    ];
    refuse_all(&server, cases);
}

#[test]
fn an_unknown_field_is_told_in_a_few_words() {
    let server = Running::start(Limits::USUAL);
    // What cannot be asked here is not suggested, and no name comes back longer than it is worth.
    let prompt =
        server.post("/v1/chat/completions", r#"{"messages":[{"role":"user","content":"a"}],"prompt":"b"}"#);
    assert!(prompt.status == 400 && !prompt.message().contains("did you mean `prompt`"), "{prompt:?}");
    let long = server.post("/v1/completions", &format!(r#"{{"prompt":"a","{}":1}}"#, "x".repeat(100_000)));
    assert!(long.status == 400 && long.body.len() < 1000, "{}", long.body.len());
}

#[test]
fn paths_methods_types_and_names_are_checked() {
    let server = Running::start(Limits::USUAL);
    let status = |reply: Reply| (reply.status, reply.message());
    assert_eq!(status(server.get("/v1/embeddings")), (404, "there is no path `/v1/embeddings`".into()));
    assert_eq!(status(server.get("/v1/completions")).0, 405);
    assert_eq!(status(server.ask("POST", "/v1/completions", "Content-Type: text/plain\r\n", "{}")).0, 415);
    assert_eq!(status(server.post("/v1/completions", r#"{"model":"x","prompt":"a"}"#)).0, 404);
    let foreign = server.send(b"GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert_eq!(Reply::parse(&foreign).status, 403);
    for (host, status) in [
        ("127.0.0.1:80", 200),
        ("127.0.0.2:80", 200),
        ("LOCALHOST", 200),
        ("[::1]:80", 200),
        ("[::1]", 200),
        ("10.0.0.1", 403),
        ("127.0.0.1.evil.example", 403),
        ("[::1", 403),
    ] {
        let asked = format!("GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(Reply::parse(&server.send(asked.as_bytes())).status, status, "{host}");
    }
}

#[test]
fn a_failure_of_the_model_is_told_as_one() {
    let server = Running::start(Limits::USUAL);
    let reply = server.post("/v1/completions", r#"{"prompt":"FAIL"}"#);
    assert_eq!((reply.status, reply.message()), (500, "the device failed".into()));
    assert_eq!(reply.json()["error"]["type"], "server_error");
}

#[test]
fn a_full_queue_asks_to_come_back() {
    let service = StandIn::new(Duration::from_millis(30), 1);
    let server = Running::with(service, Limits::USUAL, |settings| settings);
    let words = "a ".repeat(200);
    let body = format!(r#"{{"prompt":"{words}","stream":true}}"#);
    // Four are at work, and one waits.
    let busy: Vec<_> = (0..5)
        .map(|_| {
            let mut stream = server.connect();
            let head =
                "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
            let text = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            std::io::Write::write_all(&mut stream, text.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(200));
            stream
        })
        .collect();
    let reply = server.post("/v1/completions", r#"{"prompt":"a"}"#);
    assert_eq!((reply.status, &reply.json()["error"]["type"]), (429, &"rate_limit_error".into()));
    assert!(reply.head.contains("retry-after: 1"), "{reply:?}");
    drop(busy);
    server.settle();
    assert_eq!(server.post("/v1/completions", r#"{"prompt":"a"}"#).status, 200);
}

#[test]
fn a_key_is_needed_where_text_is_made() {
    let folder = std::env::temp_dir().join(format!("fmflow-keys-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("keys");
    // Of "secret" and "other".
    let text = "# people\n2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b  ann\n\
                d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa -\n";
    std::fs::write(&file, text).unwrap();
    let service = StandIn::new(Duration::ZERO, 4);
    let server = Running::with(service, Limits::USUAL, |settings| fmflow_engine::service::ServerSettings {
        keys: Some(file.clone()),
        ..settings
    });
    let ask = |key: &str| {
        let head = format!("Content-Type: application/json\r\n{key}");
        server.ask("POST", "/v1/completions", &head, r#"{"prompt":"a"}"#)
    };
    for key in ["secret", "other"] {
        assert_eq!(ask(&format!("Authorization: Bearer {key}\r\n")).status, 200);
    }
    for head in
        ["", "Authorization: Bearer wrong\r\n", "Authorization: secret\r\n", "Authorization: Bearer \r\n"]
    {
        let reply = ask(head);
        assert_eq!(
            (reply.status, &reply.json()["error"]["code"]),
            (401, &"invalid_api_key".into()),
            "{head}"
        );
    }
    assert_eq!(
        [server.get("/health").status, server.get("/").status, server.get("/metrics").status],
        [200, 200, 401]
    );
    for (text, expected) in [("", "there is no key"), ("abc\n", "line 1 does not begin with a SHA-256")] {
        std::fs::write(&file, text).unwrap();
        assert!(crate::keys::Keys::read(&file).unwrap_err().message.contains(expected));
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(crate::keys::Keys::read(&file).is_err());
}
