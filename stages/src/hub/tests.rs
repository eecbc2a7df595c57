//! Tests the client against local servers that are busy, slow, cut off, endless, or redirect elsewhere.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;

/// A server that sends the given raw answers in order, then repeats the last one, and records all requests.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(answers: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let requests = asked.clone();
        std::thread::spawn(move || {
            for (at, stream) in listener.incoming().enumerate() {
                let stream = stream.unwrap();
                let answer = answers[at.min(answers.len() - 1)].clone();
                serve(stream, &answer, &requests);
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, answer: &[u8], requests: &Mutex<Vec<String>>) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        request.push(byte[0]);
    }
    requests.lock().unwrap().push(String::from_utf8(request).unwrap());
    if answer == b"hang" {
        std::thread::sleep(Duration::from_secs(5));
    }
    let _ = stream.write_all(answer);
}

fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}")
        .into()
}

fn impatient() -> HttpClient {
    let short = Duration::from_millis(300);
    HttpClient::new(
        ClientTimeouts { connect: short, answer: short, body: short, pause: Duration::from_millis(1) },
        None,
    )
}

fn why(result: Result<HttpAnswer, HubError>) -> String {
    match result {
        Err(HubError::Unreachable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_busy_server_is_asked_again() {
    let busy = answer("503 Service Unavailable", "", "");
    let slow_down = answer("429 Too Many Requests", "retry-after: 0\r\n", "");
    let server = Server::new(vec![busy.clone(), slow_down, answer("200 OK", "", "{}")]);
    assert_eq!(impatient().get(&server.address, None).unwrap().status, 200);
    assert_eq!(server.asked().len(), 3);
    let server = Server::new(vec![busy]);
    assert_eq!(why(impatient().get(&server.address, None)), "HTTP 503");
    assert_eq!(server.asked().len(), 4, "but not forever");
}

#[test]
fn an_error_of_its_own_is_not_asked_for_again() {
    let error =
        answer("500 Internal Server Error", "x-error-code: FeaturesError\r\n", r#"{"error":"no rows"}"#);
    let server = Server::new(vec![error]);
    let answer = impatient().get(&server.address, None).unwrap();
    assert_eq!((answer.reason().as_str(), server.asked().len()), ("no rows (HTTP 500)", 1));
}

#[test]
fn a_silent_or_broken_server_does_not_hold_the_check() {
    let start = Instant::now();
    let hung = Server::new(vec![b"hang".to_vec()]);
    assert!(why(impatient().get(&hung.address, None)).contains("timeout"));
    let cut = Server::new(vec![b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec()]);
    why(impatient().get(&cut.address, None));
    let noise = Server::new(vec![b"\x00\xff\x01".to_vec()]);
    why(impatient().get(&noise.address, None));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(why(impatient().get(&format!("http://{closed}"), None)).contains("refused"));
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn an_endless_answer_is_cut() {
    let mut endless = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
    endless.resize(endless.len() + (65 << 20), b' ');
    let server = Server::new(vec![endless]);
    let patient = HttpClient::new(ClientTimeouts::default(), None);
    assert_eq!(why(patient.get(&server.address, None)), "the answer is larger than 64 MiB");
}

#[test]
fn the_token_goes_to_the_host_that_was_asked_and_to_no_other() {
    let other = Server::new(vec![answer("200 OK", "", "{}")]);
    let away = answer("302 Found", &format!("location: {}/there\r\n", other.address), "");
    let here = Server::new(vec![answer("307 Temporary Redirect", "location: /renamed\r\n", ""), away]);
    let token = Secret::new("hf_canary".to_owned());
    assert_eq!(impatient().get(&here.address, Some(&token)).unwrap().status, 200);
    let (here, there) = (here.asked(), other.asked());
    assert!(here.iter().all(|asked| asked.contains("authorization: Bearer hf_canary")), "{here:?}");
    assert!(here[1].starts_with("GET /renamed ") && there[0].starts_with("GET /there "), "{here:?}");
    assert!(!there[0].contains("hf_canary"), "{there:?}");
}

#[test]
fn redirects_end() {
    let server = Server::new(vec![answer("302 Found", "location: /again\r\n", "")]);
    assert_eq!(why(impatient().get(&server.address, None)), "too many redirects");
    assert_eq!(server.asked().len(), 6);
    let server = Server::new(vec![answer("302 Found", "location: file:///etc/passwd\r\n", "")]);
    assert_eq!(
        why(impatient().get(&server.address, None)),
        "a redirect to something that is not an http or https address"
    );
}

#[test]
fn a_token_that_cannot_be_a_header_is_not_sent() {
    let server = Server::new(vec![answer("200 OK", "", "{}")]);
    let token = Secret::new("hf_canary\r\nx-evil: 1".to_owned());
    assert_eq!(impatient().get(&server.address, Some(&token)).unwrap_err(), HubError::BadToken);
    assert!(server.asked().is_empty());
}

#[test]
fn unusable_certificates_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    for (file, what) in
        [(folder.path().join("absent.pem"), "cannot be read"), (empty, "contains no certificate")]
    {
        let client = HttpClient::new(ClientTimeouts::default(), Some(file));
        let error = why(client.get("https://127.0.0.1:1", None));
        assert!(error.contains("SSL_CERT_FILE") && error.contains(what), "{error}");
    }
}

#[test]
fn an_endpoint_that_is_not_an_address_is_reported() {
    for address in ["nonsense", "ftp://x", "http:/x", "", "http://a b/"] {
        let hub = RemoteHub::new(impatient(), Some(address.to_owned()), None);
        let asked = RepositoryRequest { kind: RepositoryKind::Model, name: "o/m".to_owned(), revision: None };
        assert!(matches!(hub.commit(&asked, None), Err(HubError::Unreachable(_))), "{address}");
    }
}

#[test]
fn lists_go_on_at_the_same_host_only() {
    let files = r#"[{"type":"file","path":"a","size":1},{"type":"directory","path":"d"}]"#;
    let asked = RepositoryRequest { kind: RepositoryKind::Dataset, name: "o/d".to_owned(), revision: None };
    let next = |address: &str| format!("link: <{address}/page2>; rel=\"next\"\r\n");
    let away = Server::new(vec![answer("200 OK", &next("http://127.0.0.1:1"), files)]);
    let hub = |server: &Server| RemoteHub::new(impatient(), Some(server.address.clone()), None);
    assert!(matches!(hub(&away).files(&asked, "c", None), Err(HubError::Unreachable(_))));
    assert_eq!(away.asked().len(), 1);
}

#[test]
fn a_list_without_an_end_is_not_read_to_it() {
    let asked = RepositoryRequest { kind: RepositoryKind::Model, name: "o/m".to_owned(), revision: None };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let page = answer("200 OK", &format!("link: <{address}/same>; rel=\"next\"\r\n"), "[]");
    let asked_for = Arc::new(Mutex::new(Vec::new()));
    let requests = asked_for.clone();
    std::thread::spawn(move || {
        listener.incoming().for_each(|stream| serve(stream.unwrap(), &page, &requests));
    });
    let hub = RemoteHub::new(impatient(), Some(address), None);
    let error = hub.files(&asked, "c", None).unwrap_err();
    let why = "the file list of `o/m` leads back to a page that was read".to_owned();
    assert_eq!((error, asked_for.lock().unwrap().len()), (HubError::Unreachable(why), 2));
    assert_eq!(refuse_list(MOST_PAGES, MOST_FILES, false), None);
    assert_eq!(refuse_list(MOST_PAGES + 1, 0, false).as_deref(), Some("has more than 1000 pages"));
    assert_eq!(refuse_list(2, MOST_FILES + 1, false).as_deref(), Some("has more than 1000000 files"));
}

#[test]
fn addresses_are_written_so_that_nothing_escapes_its_part() {
    assert_eq!(encode_url_part("refs/pr/1?x#y é\r\n"), "refs%2Fpr%2F1%3Fx%23y%20%C3%A9%0D%0A");
    let hub = RemoteHub::new(impatient(), Some("https://huggingface.co/".to_owned()), None);
    assert_eq!(hub.datasets, "https://datasets-server.huggingface.co");
    assert_eq!(hub.address(), "https://huggingface.co");
}
