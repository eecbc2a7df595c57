//! A server with a stand-in for checkpoints, and clients that write bytes to a socket.

mod faults;
mod hostile;
mod standin;
mod texts;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fmflow_engine::service::{ServerEnd, ServerSettings};
use serde_json::Value;

use crate::connections::listen;
use crate::limits::Limits;
use standin::StandIn;

/// A server that runs.
struct Running {
    address: String,
    service: Arc<StandIn>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<ServerEnd>>,
}

/// What a server answered.
#[derive(Clone, Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Running {
    fn start(limits: Limits) -> Self {
        Self::with(StandIn::new(Duration::ZERO, 64), limits, |settings| settings)
    }

    fn with(service: StandIn, limits: Limits, change: impl FnOnce(ServerSettings) -> ServerSettings) -> Self {
        let settings = change(ServerSettings {
            host: "127.0.0.1".into(),
            port: 0,
            keys: None,
            grace: Duration::from_secs(5),
        });
        let (service, stop) = (Arc::new(service), Arc::new(AtomicBool::new(false)));
        let (sender, ready) = mpsc::channel();
        let (own, flag) = (service.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut told = |address: &str| sender.send(address.to_owned()).unwrap();
            listen(&settings, own, &flag, &mut told, limits).unwrap()
        });
        let address = ready.recv_timeout(Duration::from_secs(10)).unwrap();
        let address = address.strip_prefix("http://").unwrap().to_owned();
        Self { address, service, stop, thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes and reads until the server closes.
    fn send(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // A server may refuse before it has read everything.
        let _ = stream.write_all(bytes);
        let mut found = Vec::new();
        let _ = stream.read_to_end(&mut found);
        String::from_utf8_lossy(&found).into_owned()
    }

    fn ask(&self, method: &str, path: &str, head: &str, body: &str) -> Reply {
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n{body}"
        );
        Reply::parse(&self.send(text.as_bytes()))
    }

    fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "", "")
    }

    fn post(&self, path: &str, body: &str) -> Reply {
        self.ask("POST", path, "Content-Type: application/json\r\n", body)
    }

    /// A number of `/metrics`.
    fn metric(&self, line: &str) -> i64 {
        let text = self.get("/metrics").body;
        let value = text.lines().find_map(|found| found.strip_prefix(&format!("{line} ")));
        value.unwrap_or_else(|| panic!("{line} in\n{text}")).parse().unwrap()
    }

    /// Waits until no request waits or is at work.
    fn settle(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        let busy = || {
            let line = |name: &str| self.metric(name);
            line("fmflow_requests")
                + line("fmflow_waiting{model=\"m\"}")
                + line("fmflow_answers{model=\"m\"}")
        };
        while busy() > 0 {
            assert!(Instant::now() < end, "gauges return to zero");
            std::thread::sleep(Duration::from_millis(20));
        }
        // The connection that asks is the only one.
        while self.metric("fmflow_connections") > 1 {
            assert!(Instant::now() < end, "connections are closed");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(mut self) -> ServerEnd {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.service.close();
    }
}

impl Reply {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { join_chunks(body) } else { body.to_owned() };
        Self { status: status.unwrap_or_else(|| panic!("a status in {text:?}")), head: head.to_owned(), body }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }

    /// The messages of a stream, which ends as it has to.
    fn events(&self) -> Vec<Value> {
        assert!(self.head.contains("text/event-stream"), "{self:?}");
        let told: Vec<&str> = self.body.split("\n\n").filter(|event| !event.is_empty()).collect();
        let data: Vec<&str> = told.iter().map(|event| event.strip_prefix("data: ").unwrap()).collect();
        assert_eq!(data.last(), Some(&"[DONE]"));
        data[..data.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect()
    }
}

fn join_chunks(mut rest: &str) -> String {
    let mut text = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size, 16) else { break };
        if size == 0 || after.len() < size {
            break;
        }
        text += &after[..size];
        rest = after[size..].strip_prefix("\r\n").unwrap_or("");
    }
    text
}

/// Leaves at once, without a farewell.
fn leave(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Both);
}
