//! Clients that mean no good, or have no patience.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::standin::StandIn;
use super::{Reply, Running, leave};
use crate::limits::Limits;

const SHORT: Limits = Limits {
    connections: 8,
    head_wait: Duration::from_millis(400),
    body_wait: Duration::from_millis(400),
    body_bytes: 4096,
    ..Limits::USUAL
};

#[test]
fn bytes_that_are_no_http_end_the_connection_and_nothing_else() {
    let server = Running::start(SHORT);
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(200));
    let large = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(100_000));
    let cases: [&[u8]; 8] = [
        b"\0\0\0\0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\nzz\r\n",
        many.as_bytes(),
        large.as_bytes(),
    ];
    for bytes in cases {
        let found = server.send(bytes);
        let fits = found.is_empty() || found.starts_with("HTTP/1.1 4");
        assert!(fits, "{:?} {found:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(60)]));
    }
    assert_eq!(server.get("/health").status, 200);
    server.settle();
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let server = Running::start(SHORT);
    let reply = server.post("/v1/completions", &format!("{{\"prompt\":\"{}\"}}", "a".repeat(5000)));
    assert_eq!((reply.status, reply.message()), (413, "a body of more than 4096 bytes".into()));
    let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let endless = format!("{head}Content-Length: 1000000000000\r\n\r\n{}", "a".repeat(5000));
    assert_eq!(Reply::parse(&server.send(endless.as_bytes())).status, 413);
    let chunk = format!("1000\r\n{}\r\n", "a".repeat(4096));
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(3));
    assert_eq!(Reply::parse(&server.send(chunked.as_bytes())).status, 413);
}

#[test]
fn slow_clients_lose_their_connection() {
    let server = Running::start(SHORT);
    let begun = Instant::now();
    let mut streams: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for (at, stream) in streams.iter_mut().enumerate() {
        let part: &[u8] = match at % 4 {
            0 => b"",
            1 => b"GET /health HT",
            2 => b"GET /health HTTP/1.1\r\nHost: localhost\r\n",
            _ => b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
        };
        stream.write_all(part).unwrap();
    }
    // All places are taken, until the slow ones lose theirs.
    assert_eq!(server.get("/health").status, 200);
    for stream in &mut streams {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    server.settle();
}

#[test]
fn an_idle_connection_takes_several_requests_and_is_closed() {
    let server = Running::start(SHORT);
    let mut stream = server.connect();
    for _ in 0..3 {
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut found = [0; 4096];
        let count = stream.read(&mut found).unwrap();
        assert!(found[..count].starts_with(b"HTTP/1.1 200"));
    }
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}

#[test]
fn clients_that_leave_at_random_leave_nothing_behind() {
    let service = StandIn::new(Duration::from_millis(3), 64);
    let server = Running::with(service, Limits::USUAL, |settings| settings);
    let words: Vec<String> = (0..20).map(|word| format!("w{word}")).collect();
    let expected: String = words.iter().rev().map(|word| format!("{word} ")).collect();
    let stayed = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..64_u64)
            .map(|client| {
                let (server, prompt) = (&server, words.join(" "));
                scope.spawn(move || {
                    let stream = client % 2 == 0;
                    let body = format!("{{\"prompt\":\"{prompt}\",\"stream\":{stream},\"n\":{}}}", 1 + client % 3);
                    // A third stays; the others leave after a time of their own.
                    let Some(patience) = (client % 3 != 0).then(|| client * 37 % 400) else {
                        let reply = server.post("/v1/completions", &body);
                        return Some((reply, stream));
                    };
                    let mut socket = server.connect();
                    let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
                    let text = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
                    socket.write_all(text.as_bytes()).unwrap();
                    std::thread::sleep(Duration::from_millis(patience));
                    leave(&socket);
                    None
                })
            })
            .collect();
        clients.into_iter().filter_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(stayed.len(), 22);
    for (reply, stream) in stayed {
        assert_eq!(reply.status, 200, "{reply:?}");
        let text = match stream {
            true => {
                let own = |event: &serde_json::Value| event["choices"][0]["index"] == 0;
                let events = reply.events();
                let texts = events.iter().filter(|event| own(event));
                texts.map(|event| event["choices"][0]["text"].as_str().unwrap()).collect()
            }
            false => reply.json()["choices"][0]["text"].as_str().unwrap().to_owned(),
        };
        assert_eq!(text, expected);
    }
    server.settle();
}

#[test]
fn a_server_that_stops_lets_answers_end_and_cuts_those_that_take_too_long() {
    for (grace, cut, expected) in [(10_000, 0, "a a a"), (200, 1, "stop")] {
        let service = StandIn::new(Duration::from_millis(50), 4);
        let server = Running::with(service, Limits::USUAL, |settings| {
            let grace = Duration::from_millis(grace);
            fmflow_engine::service::ServerSettings { grace, ..settings }
        });
        let mut idle = server.connect();
        let mut busy = server.connect();
        let body = format!(r#"{{"prompt":"{}"}}"#, "a ".repeat(30));
        let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
        let text = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        busy.write_all(text.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(150));
        let begun = Instant::now();
        let end = server.stop();
        assert_eq!(end.cut, cut);
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
        let mut found = String::new();
        busy.read_to_string(&mut found).unwrap();
        assert!(found.contains(expected), "{found}");
        assert_eq!(Reply::parse(&found).status, if cut == 0 { 200 } else { 503 });
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
    }
}

/// Steps and laws are many, so they do not pile up for somebody who does not read them.
#[test]
fn who_asks_for_much_and_does_not_read_is_given_up() {
    let words = "word ".repeat(300_000);
    for (path, more, what, event) in [
        ("/watch", "", "steps", "\"step\""),
        ("/v1/completions", ",\"stream\":true,\"logprobs\":3", "log-probabilities", "\"token_logprobs\""),
    ] {
        let server = Running::start(Limits::USUAL);
        let mut stream = server.connect();
        let body = format!(r#"{{"prompt":"{words}"{more}}}"#);
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        let busy =
            || ["answers", "waiting"].map(|what| server.metric(&format!("fmflow_{what}{{model=\"m\"}}")));
        while busy() != [0, 0] {
            assert!(Instant::now() < end, "the answer is given up");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut found = String::new();
        stream.read_to_string(&mut found).unwrap();
        let told = format!("the client reads too slowly: 1024 {what} wait for it");
        assert!(found.contains(&told), "{}", found.len());
        assert!(found.matches(event).count() < 300_000);
        server.settle();
    }
}
