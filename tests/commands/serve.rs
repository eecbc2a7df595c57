//! `serve` answers over HTTP with the bytes of `generate`, whatever else it answers.

#![cfg(all(feature = "cpu", feature = "serve"))]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Child;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::common::{Project, send_signal};
use serde_json::{Value, json};

const SCHEMA: &str = r#"{"type": "object", "properties": {"size": {"type": "integer", "minimum": 1, "maximum": 12},
    "name": {"type": "string", "maxLength": 5}}, "required": ["size"]}"#;

/// A project that has run once for all tests of this module.
static RAN: LazyLock<Project> = LazyLock::new(|| {
    let project = Project::tiny();
    project.append("tiny.kdl", "sampler \"drawn\" kind=\"threshold\" threshold=0.3 temperature=1 block=4\n");
    project.write("order.schema.json", SCHEMA);
    project.fmflow(&["run", "tiny.kdl", "--until", "sft"]).ok();
    project
});

/// A server that runs.
pub(crate) struct Server {
    child: Child,
    address: String,
    told: Vec<String>,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        Self::start_in(&RAN, arguments)
    }

    pub(crate) fn start_in(project: &Project, arguments: &[&str]) -> Self {
        let child = project.spawn(&[&["serve"], arguments, &["--port", "0"]].concat());
        let mut server = Self { child, address: String::new(), told: Vec::new() };
        let mut lines = BufReader::new(server.child.stderr.take().unwrap()).lines();
        while server.address.is_empty() {
            let line = lines.next().unwrap_or_else(|| panic!("no address in {:#?}", server.told)).unwrap();
            if let Some(rest) = line.strip_prefix("listening at http://") {
                rest.split(' ').next().unwrap().clone_into(&mut server.address);
            }
            server.told.push(line);
        }
        // What it says later is read, so that it never waits for a reader.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        server
    }

    fn send(&self, path: &str, body: &Value) -> (u16, String) {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let (method, length) = (if body == "null" { "GET" } else { "POST" }, body.len());
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).unwrap();
        let mut found = String::new();
        stream.read_to_string(&mut found).unwrap();
        let (head, body) = found.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn ask(&self, path: &str, body: &Value) -> Value {
        let (status, found) = self.send(path, body);
        assert_eq!(status, 200, "{body}\n{found}");
        serde_json::from_str(&found).unwrap()
    }

    /// The messages of a stream.
    pub(crate) fn stream(&self, path: &str, mut body: Value) -> Vec<Value> {
        if path != "/watch" {
            body["stream"] = json!(true);
        }
        let (status, found) = self.send(path, &body);
        assert_eq!(status, 200, "{body}\n{found}");
        assert!(found.contains("data: [DONE]\n\n"), "{found}");
        let lines = found.lines().filter_map(|line| line.strip_prefix("data: {"));
        lines.map(|line| serde_json::from_str(&format!("{{{line}")).unwrap()).collect()
    }

    pub(crate) fn refuse(&self, path: &str, body: &Value) -> String {
        let (status, found) = self.send(path, body);
        assert_eq!(status, 400, "{body}\n{found}");
        let found: Value = serde_json::from_str(&found).unwrap();
        found["error"]["message"].as_str().unwrap().to_owned()
    }

    fn signal(&self, name: &str) {
        send_signal(self.child.id(), name);
    }

    /// The exit code, within ten seconds.
    fn end(mut self) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not end")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn generate(arguments: &[&str]) -> Vec<String> {
    generate_in(&RAN, arguments)
}

/// The texts that `generate` writes.
pub(crate) fn generate_in(project: &Project, arguments: &[&str]) -> Vec<String> {
    let ran = project.fmflow(&[&["generate"], arguments, &["--json", "--no-twin"]].concat()).ok();
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    let texts = found["answers"].as_array().unwrap().iter();
    texts.map(|answer| answer["text"].as_str().unwrap().to_owned()).collect()
}

/// The texts of a body, and of the stream of the same request.
pub(crate) fn texts(server: &Server, path: &str, body: &Value) -> Vec<String> {
    let read = |choice: &Value| {
        let text = choice["text"].as_str().or(choice["message"]["content"].as_str());
        text.or(choice["delta"]["content"].as_str()).unwrap_or("").to_owned()
    };
    let whole = server.ask(path, body);
    let whole: Vec<String> = whole["choices"].as_array().unwrap().iter().map(read).collect();
    let mut pieces = vec![String::new(); whole.len()];
    for event in server.stream(path, body.clone()) {
        let choice = &event["choices"][0];
        pieces[usize::try_from(choice["index"].as_u64().unwrap()).unwrap()] += &read(choice);
    }
    assert_eq!(pieces, whole, "{body}");
    whole
}

/// Requests: path and body, and what `generate` is asked for the same.
fn list_requests() -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let text = "/v1/completions";
    let turns =
        json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "first: a b c"}]);
    let drawn = ["--sampler", "threshold", "threshold=0.3", "temp=1", "block=4"];
    vec![
        (
            text,
            json!({"model": "sft", "prompt": "The river", "max_tokens": 9, "sampler": "drawn", "seed": 4, "n": 3}),
            vec![
                "sft",
                "--prompt",
                "The river",
                "--new-tokens",
                "9",
                "--sampler",
                "drawn",
                "--seed",
                "4",
                "-n",
                "3",
            ],
        ),
        (
            text,
            json!({"model": "sft", "prompt": "The model", "max_tokens": 30, "sampler": "euler", "passes": 6,
                "temperature": 1, "seed": 18446744073709551615_u64}),
            vec![
                "sft",
                "--prompt",
                "The model",
                "--new-tokens",
                "30",
                "--seed",
                "18446744073709551615",
                "--sampler",
                "euler passes=6 temperature=1",
            ],
        ),
        (
            "/v1/chat/completions",
            json!({"model": "sft", "messages": turns, "max_tokens": 12, "sampler": "threshold", "threshold": 0.3,
                "temperature": 1, "block": 4}),
            [
                &["sft", "--chat", "--prompt", "first: a b c", "--system", "Be brief.", "--new-tokens", "12"]
                    [..],
                &drawn,
            ]
            .concat(),
        ),
        (
            text,
            json!({"model": "ar", "prompt": "The river", "max_tokens": 20, "temperature": 1, "top_p": 0.9}),
            vec![
                "ar",
                "--prompt",
                "The river",
                "--new-tokens",
                "20",
                "--sampler",
                "autoregressive cache=exact temperature=1 top-p=0.9",
            ],
        ),
        (text, json!({"model": "ar", "prompt": "A"}), vec!["ar", "--prompt", "A"]),
        (text, json!({"model": "sft", "prompt": "The"}), vec!["sft", "--prompt", "The"]),
    ]
}

/// The same for answers that have to match something.
fn list_constrained_requests() -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let text = "/v1/completions";
    vec![
        (
            text,
            json!({"model": "sft", "prompt": "An order: ", "max_tokens": 40, "sampler": "drawn", "seed": 3, "n": 2,
                "response_format": {"type": "json_schema", "json_schema": {"name": "order", "strict": true,
                    "schema": serde_json::from_str::<Value>(SCHEMA).unwrap()}}}),
            vec![
                "sft",
                "--prompt",
                "An order: ",
                "--new-tokens",
                "40",
                "--sampler",
                "drawn",
                "--seed",
                "3",
                "-n",
                "2",
                "--json-schema",
                "order.schema.json",
            ],
        ),
        (
            text,
            json!({"model": "ar", "prompt": "The", "max_tokens": 14, "temperature": 1, "seed": 2,
                "response_format": {"type": "regex", "regex": "[0-9]{2,9}"}}),
            vec![
                "ar",
                "--prompt",
                "The",
                "--new-tokens",
                "14",
                "--sampler",
                "autoregressive cache=exact temperature=1",
                "--seed",
                "2",
                "--regex",
                "[0-9]{2,9}",
            ],
        ),
    ]
}

#[test]
fn many_clients_at_once_get_the_bytes_of_generate() {
    let (text, cases) = ("/v1/completions", [list_requests(), list_constrained_requests()].concat());
    let expected: Vec<Vec<String>> =
        cases.iter().map(|(_, _, asked)| generate(&[&["tiny.kdl"], &asked[..]].concat())).collect();
    let server = Server::start(&["tiny.kdl", "sft", "tiny.kdl", "ar"]);
    std::thread::scope(|scope| {
        for round in 0..4 {
            for (at, (path, body, _)) in cases.iter().enumerate() {
                let (server, expected) = (&server, &expected[at]);
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(7 * round * at as u64));
                    assert_eq!(&texts(server, path, body), expected, "{body}");
                });
            }
        }
    });
    // A gap: `generate` prints the text around it, too.
    let gap = json!({"model": "sft", "prompt": "The ", "suffix": " end", "max_tokens": 6});
    let filled = texts(&server, text, &gap).remove(0);
    let whole = generate(&["tiny.kdl", "sft", "--prefix", "The ", "--suffix", " end", "--length", "6"]);
    assert_eq!(format!("The {filled} end"), whole[0]);
    // Several gaps, and a gap whose length the model chooses, at any concurrency.
    let several =
        json!({"model": "sft", "prompt": "The ", "suffix": [" meets\n the ", " end"], "gap_tokens": [3, 4]});
    let chosen = json!({"model": "sft", "prompt": "The ", "suffix": " end", "gap_tokens": "2..6", "sampler": "drawn",
        "n": 3, "seed": 3});
    let gap = ["tiny.kdl", "sft", "--prefix", "The ", "--suffix", " end"];
    let filled = generate(&[&gap[..], &["--between", " meets\n the ", "--length", "3,4"]].concat());
    let lengths =
        generate(&[&gap[..], &["--length", "2..6", "--sampler", "drawn", "-n", "3", "--seed", "3"]].concat());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (server, several, chosen, filled, lengths) = (&server, &several, &chosen, &filled, &lengths);
            scope.spawn(move || {
                assert_eq!(format!("The {} end", texts(server, text, several)[0]), filled[0]);
                let found = texts(server, text, chosen);
                let found: Vec<String> = found.iter().map(|gap| format!("The {gap} end")).collect();
                assert_eq!(&found, lengths);
            });
        }
    });
    let gaps = server.ask(text, &several)["choices"][0].clone();
    let [first, second] = [0, 1].map(|at| gaps["gaps"][at].as_str().unwrap());
    assert_eq!(gaps["text"], format!("{first} meets\n the {second}"));
    // A stop: what stands before it.
    let long = &expected[3][0];
    let stop: String = long.chars().skip(long.chars().count() / 2).take(3).collect();
    let body = json!({"model": "ar", "prompt": "The river", "max_tokens": 20, "temperature": 1, "top_p": 0.9, "stop": stop});
    assert_eq!(texts(&server, text, &body)[0], long[..long.find(&stop).unwrap()]);
    // An answer that a stop string cut is given up between two passes, a little after its client has it.
    let start = Instant::now();
    for zero in ["requests", "waiting{model=\"sft\"}", "answers{model=\"sft\"}", "answers{model=\"ar\"}"] {
        while !server.send("/metrics", &Value::Null).1.contains(&format!("fmflow_{zero} 0\n")) {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{zero}: {}",
                server.send("/metrics", &Value::Null).1
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    server.signal("TERM");
    assert_eq!(server.end(), Some(0));
}

#[test]
fn log_probabilities_are_those_of_the_law_at_any_concurrency() {
    let server = Server::start(&["tiny.kdl", "ar", "tiny.kdl", "sft"]);
    let drawn = json!({"model": "ar", "prompt": "The river", "max_tokens": 20, "temperature": 1, "top_p": 0.9,
        "logprobs": 4, "n": 2, "seed": 5});
    let turns = json!({"model": "ar", "messages": [{"role": "user", "content": "first: a b c"}], "max_tokens": 12,
        "logprobs": true, "top_logprobs": 2});
    let ask = |path: &str, body: &Value| -> Vec<Value> {
        let whole = server.ask(path, body)["choices"].as_array().unwrap().clone();
        let whole: Vec<Value> = whole.iter().map(|choice| choice["logprobs"].clone()).collect();
        let list = if body["messages"].is_null() { "token_logprobs" } else { "content" };
        let mut pieces = vec![Vec::new(); whole.len()];
        for event in server.stream(path, body.clone()) {
            let choice = &event["choices"][0];
            let new = choice["logprobs"][list].as_array().into_iter().flatten().cloned();
            pieces[usize::try_from(choice["index"].as_u64().unwrap()).unwrap()].extend(new);
        }
        for (pieces, whole) in pieces.iter().zip(&whole) {
            assert_eq!(&json!(pieces), &whole[list], "{body}");
        }
        whole
    };
    let (text, chat) = ("/v1/completions", "/v1/chat/completions");
    let alone = (ask(text, &drawn), ask(chat, &turns));
    std::thread::scope(|scope| {
        for round in 0..6 {
            let (ask, alone, drawn, turns) = (&ask, &alone, &drawn, &turns);
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(5 * round));
                assert!(ask(text, drawn) == alone.0 && ask(chat, turns) == alone.1);
            });
        }
    });
    for laws in &alone.0 {
        for (token, (top, own)) in laws["tokens"].as_array().unwrap().iter().zip(
            laws["top_logprobs"].as_array().unwrap().iter().zip(laws["token_logprobs"].as_array().unwrap()),
        ) {
            // Parts of letters have one text: then the most probable is told.
            assert!(top[token.as_str().unwrap()].as_f64() >= own.as_f64());
            assert!(!top.as_object().unwrap().is_empty() && own.as_f64().unwrap() < 0.0);
        }
    }
    // Greedy: each token is the most probable one, and the tokens are the text.
    let plain = json!({"model": "ar", "prompt": "The river", "max_tokens": 20, "logprobs": 1});
    let choice = server.ask(text, &plain)["choices"][0].clone();
    let list = |name: &str| choice["logprobs"][name].as_array().unwrap().clone();
    let tokens: String = list("tokens").iter().map(|token| token.as_str().unwrap().to_owned()).collect();
    assert_eq!(tokens, choice["text"].as_str().unwrap());
    let starts = list("tokens").into_iter().scan(0, |letters, token| {
        let start = *letters;
        *letters += token.as_str().unwrap().chars().count();
        Some(json!(start))
    });
    assert_eq!(starts.collect::<Vec<_>>(), list("text_offset"));
    for law in alone.1[0]["content"].as_array().unwrap() {
        assert_eq!(
            (&law["token"], &law["logprob"]),
            (&law["top_logprobs"][0]["token"], &law["top_logprobs"][0]["logprob"])
        );
    }
    let told = server.refuse(text, &json!({"model": "sft", "prompt": "The", "max_tokens": 4, "logprobs": 1}));
    assert!(told.contains("this sampler has none"), "{told}");
    let single = json!({"model": "sft", "prompt": "The ", "suffix": " end", "max_tokens": 4, "logprobs": 1, "block": 1});
    assert_eq!(server.ask(text, &single)["choices"][0]["logprobs"]["tokens"].as_array().unwrap().len(), 4);
}

#[test]
fn what_is_watched_is_the_answer() {
    let server = Server::start(&["tiny.kdl", "sft"]);
    assert!(
        server.told[0].starts_with("sft: cpu, f32; sampler: threshold threshold=0.9; seed 3"),
        "{:?}",
        server.told
    );
    for sampler in
        ["threshold threshold=0.3", "confidence passes=4", "edit threshold=0.3 revise=0.2", "euler passes=5"]
    {
        let body = json!({"prompt": "The river", "max_tokens": 12, "sampler": sampler});
        let events = server.stream("/watch", body.clone());
        let text: String = events.iter().filter_map(|event| event["text"].as_str()).collect();
        assert_eq!(text, texts(&server, "/v1/completions", &body)[0], "{sampler}");
        let mut canvas = vec![Value::Null; 12];
        let steps: Vec<&Value> = events.iter().filter(|event| event["type"] == "step").collect();
        for (pass, step) in steps.iter().enumerate() {
            assert_eq!(step["pass"], pass + 1);
            for written in step["written"].as_array().unwrap() {
                let chance = written["probability"].as_f64().unwrap();
                assert_eq!(chance > 0.0, written["id"].is_number(), "{written}");
                canvas[usize::try_from(written["place"].as_u64().unwrap()).unwrap()] =
                    written["text"].clone();
            }
        }
        let end = events.last().unwrap();
        assert_eq!(end["passes"], steps.len(), "{sampler}");
        let written: String = canvas.iter().map(|token| token.as_str().unwrap()).collect();
        assert!(written.starts_with(&text), "{written:?} {text:?}");
    }
}

#[test]
fn what_does_not_fit_the_checkpoint_is_told() {
    let server = Server::start(&["tiny.kdl", "sft"]);
    let text = |more: Value| {
        let mut body = json!({"prompt": "The river", "max_tokens": 4});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.refuse("/v1/completions", &body)
    };
    for (more, expected) in [
        (json!({"max_tokens": 4096}), "context"),
        (json!({"prompt": ""}), "at least one letter"),
        (json!({"prompt": "river ".repeat(200)}), "but the context has 128"),
        (json!({"sampler": "confidence"}), "passes"),
        (json!({"sampler": "nobody"}), "nobody"),
        (json!({"sampler": "confidence", "passes": 4, "steps": 8}), "`passes` of a sampler is set twice"),
        (json!({"threshold": 7}), "must be"),
        (json!({"temperature": -1}), "temperature"),
        (json!({"sampler": "threshold a;fetch=1"}), "a sampler has no setting `a;fetch`"),
        (json!({"sampler": format!("threshold threshold={}", "1".repeat(2000))}), "letters"),
        (json!({"sampler": "autoregressive", "suffix": "x"}), "predicts each token in place"),
        (json!({"top_k": "a\" b=\"c"}), "top-k"),
        (json!({"max_tokens": null, "suffix": "x", "gap_tokens": "1..65"}), "65 lengths of the gap"),
        (json!({"max_tokens": null, "suffix": "x", "gap_tokens": "1..22", "n": 3}), "66 lengths of the gap"),
        (json!({"max_tokens": null, "suffix": ["x", "y"], "gap_tokens": [70, 70]}), "context"),
        (
            json!({"sampler": "confidence", "steps": 1_000_000}),
            "1000000 for an answer, and a server makes at most",
        ),
        (json!({"sampler": "euler", "passes": 9000, "block": 2}), "in each of 2 blocks: 18000 for an answer"),
    ] {
        let found = text(more.clone());
        assert!(found.contains(expected), "{more}\n{found}");
    }
    for (more, expected) in [
        (
            json!({"response_format": {"type": "regex", "regex": "x{300}"}}),
            "no text of at most 4 tokens matches",
        ),
        (json!({"response_format": {"type": "regex", "regex": "a("}}), "unclosed group"),
        (
            json!({"response_format": {"type": "regex", "regex": "a"}, "sampler": "euler", "passes": 3}),
            "rewrites",
        ),
        (
            json!({"response_format": {"type": "regex", "regex": "a*"}, "suffix": "x", "max_tokens": null,
                "gap_tokens": "2..4"}),
            "one gap of one length",
        ),
        (
            json!({"response_format": {"type": "regex", "regex": "a*"}, "suffix": ["x", "y"], "max_tokens": null,
                "gap_tokens": [2, 2]}),
            "one gap of one length",
        ),
    ] {
        let mut body = json!({"prompt": "The river", "max_tokens": 4, "stream": false});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        // A stream is refused before its first event, too.
        for stream in [false, true] {
            body["stream"] = json!(stream);
            let (status, found) = server.send("/v1/completions", &body);
            let fault: Value = serde_json::from_str(&found).unwrap_or_else(|_| panic!("{body}\n{found}"));
            assert_eq!(
                (status, &fault["error"]["param"]),
                (400, &json!("response_format")),
                "{body}\n{found}"
            );
            assert!(found.contains(expected), "{body}\n{found}");
        }
    }
    let other = json!({"prompt": "The river", "max_tokens": 4096, "response_format": {"type": "regex", "regex": "a*"}});
    let (_, found) = server.send("/v1/completions", &other);
    assert!(found.contains("\"param\":null") && found.contains("context"), "{found}");
    let turns = json!({"messages": [{"role": "user", "content": "first: a"}], "cache": "exact"});
    let found = server.refuse("/v1/chat/completions", &turns);
    assert!(found.contains("sees every token from every other"), "{found}");
}

/// Requests with more answers than share a pass hold up nobody: a short one is answered while they are at work.
#[test]
fn a_short_answer_does_not_wait_for_long_ones() {
    let server = Server::start(&["tiny.kdl", "sft"]);
    // Not in blocks: none of them ends early.
    let long =
        json!({"prompt": "The river", "max_tokens": 110, "n": 16, "sampler": "confidence", "passes": 110});
    let short = json!({"prompt": "The river", "max_tokens": 4, "sampler": "drawn", "seed": 4});
    let alone = server.ask("/v1/completions", &short)["choices"].clone();
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..5).map(|_| scope.spawn(|| server.send("/v1/completions", &long).0)).collect();
        while !server.send("/metrics", &Value::Null).1.contains("fmflow_answers{model=\"sft\"} 80\n") {
            assert!(!asked.iter().any(|asked| asked.is_finished()), "all of them are at work first");
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(server.ask("/v1/completions", &short)["choices"], alone);
        assert!(!asked.iter().any(|asked| asked.is_finished()), "nobody has waited for them");
        assert!(asked.into_iter().all(|asked| asked.join().unwrap() == 200));
    });
}

#[test]
fn answers_that_take_too_long_are_cut_and_told() {
    let server = Server::start(&["tiny.kdl", "sft", "--grace", "0"]);
    let body =
        json!({"prompt": "The river", "max_tokens": 110, "n": 16, "sampler": "confidence", "steps": 110});
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| server.send("/v1/completions", &body));
        // The answers take long: there are many of them, with 110 passes each.
        while server.send("/metrics", &Value::Null).1.contains("fmflow_requests 0\n") {
            assert!(!asked.is_finished(), "{:?}", asked.join());
            std::thread::sleep(Duration::from_millis(2));
        }
        server.signal("INT");
        let (status, found) = asked.join().unwrap();
        assert_eq!(status, 503, "{found}");
    });
    assert_eq!(server.end(), Some(75));
}

#[test]
fn what_cannot_be_served_is_told_at_once() {
    RAN.write("no-keys", "abc");
    for (arguments, code, expected) in [
        (&["tiny.kdl"][..], 2, "which of its stages?"),
        (&["nowhere"], 2, "there is no folder or file nowhere"),
        (&["tiny.kdl", "sft", "tiny.kdl", "sft"], 2, "two checkpoints are called `sft`"),
        (&["tiny.kdl", "sft", "--sampler", "confidence"], 2, "passes"),
        (&["tiny.kdl", "sft", "--keys", "no-keys"], 8, "line 1 does not begin with a SHA-256"),
        (&["tiny.kdl", "sft", "--keys", "no-file"], 8, "no-file"),
        (&["tiny.kdl", "sft", "--host", "256.0.0.1"], 8, "cannot find the address"),
        (&["tiny.kdl", "sft", "--queue", "0"], 2, "--queue"),
    ] {
        let ran = RAN.fmflow(&[&["serve"], arguments].concat()).exits(code).says(expected);
        assert!(!ran.stderr.contains("bug"), "{}", ran.stderr);
    }
    let server = Server::start(&["tiny.kdl", "sft"]);
    let port = server.address.rsplit(':').next().unwrap();
    RAN.fmflow(&["serve", "tiny.kdl", "sft", "--port", port]).exits(8).says("cannot listen at 127.0.0.1");
}
