//! Tests buckets and streams against local servers that are slow, cut off, or send too much.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fmflow_engine::hub::online::{Secret, StorageKeys};

use super::*;
use crate::hub::client::{ClientTimeouts, HttpClient};

fn keys(key: &str) -> StorageKeys {
    let secret = |text: &str| Secret::new(text.to_owned());
    StorageKeys { id: secret("ID"), key: secret(key), session: Some(secret("T")) }
}

#[test]
fn a_bucket_is_where_the_server_has_it() {
    let url = |bucket: Option<Bucket>| bucket.unwrap().request("a b/ü+~", UNIX_EPOCH).url;
    let amazon = url(Bucket::of_amazon("softwareheritage", "us-east-1"));
    assert_eq!(amazon, "https://softwareheritage.s3.us-east-1.amazonaws.com/a%20b/%C3%BC%2B~");
    // A name with a point does not fit the certificate of the host.
    let dotted = url(Bucket::of_amazon("my.data", "eu-west-3"));
    assert_eq!(dotted, "https://s3.eu-west-3.amazonaws.com/my.data/a%20b/%C3%BC%2B~");
    let china = url(Bucket::of_amazon("data", "cn-north-1"));
    assert_eq!(china, "https://data.s3.cn-north-1.amazonaws.com.cn/a%20b/%C3%BC%2B~");
    for (endpoint, expected) in [
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000/b/a%20b/%C3%BC%2B~"),
        ("https://Example.org:443/s3/", "https://example.org/s3/b/a%20b/%C3%BC%2B~"),
        ("http://user:word@example.org:80", "http://example.org/b/a%20b/%C3%BC%2B~"),
    ] {
        assert_eq!(url(Bucket::at(endpoint, "b", "us-east-1")), expected);
    }
    for wrong in ["", "example.org", "127.0.0.1:9", "ftp://example.org", "file:///x"] {
        assert!(Bucket::at(wrong, "b", "us-east-1").is_none(), "{wrong}");
    }
}

#[test]
fn only_a_bucket_with_keys_signs() {
    let bucket = || Bucket::at("http://127.0.0.1:9000", "b", "us-east-1").unwrap();
    let names = |bucket: &Bucket| -> Vec<&str> {
        bucket.request("k", SystemTime::now()).headers.iter().map(|(name, _)| *name).collect()
    };
    assert_eq!(names(&bucket()), ["accept-encoding"]);
    let signed = bucket().signed_by(Some(&keys("K"))).ok().unwrap();
    let expected =
        ["accept-encoding", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token", "authorization"];
    assert_eq!(names(&signed), expected);
    assert_eq!(signed.hide_keys("ID and K, T"), "... and ..., ...");
    assert!(bucket().signed_by(Some(&keys("K\r\nx-forged: 1"))).is_err());
}

/// Answers each request by its path, on a thread of its own.
fn serve(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            std::thread::spawn(move || {
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let path = head[0].split(' ').nth(1).unwrap().to_owned();
                answer(&path, &mut stream);
            });
        }
    });
    address
}

fn send(stream: &mut TcpStream, status: &str, length: Option<usize>, body: &[u8]) {
    let length = length.map_or(String::new(), |length| format!("content-length: {length}\r\n"));
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{length}\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

fn stream(address: &str, most: u64) -> ObjectStream {
    let short = Duration::from_millis(500);
    let timeouts =
        ClientTimeouts { connect: short, answer: short, body: short, pause: Duration::from_millis(1) };
    let bucket = Bucket::at(address, "b", "us-east-1").unwrap();
    ObjectStream::with_client(HttpClient::new(timeouts, None), bucket, most)
}

fn take_all(stream: &mut ObjectStream, keys: &[&str]) -> Vec<Result<Fetched, StorageError>> {
    keys.iter().for_each(|key| stream.ask(key));
    keys.iter().map(|_| stream.take(&AtomicBool::new(false))).collect()
}

/// What a server says of an object that does not exist.
const NO_KEY: &[u8] = b"<Error><Code>NoSuchKey</Code></Error>";

/// Sends chunks of ten bytes, with a pause before each.
fn send_chunks(stream: &mut TcpStream, count: usize, pause: Duration) {
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let _ = stream.write_all(head.as_bytes());
    for _ in 0..count {
        std::thread::sleep(pause);
        let _ = stream.write_all(b"a\r\n0123456789\r\n");
    }
    let _ = stream.write_all(b"0\r\n\r\n");
}

#[test]
fn a_slow_object_arrives_and_one_of_unknown_length_does_not() {
    let address = serve(|path, stream| match path {
        // Longer than the 500 ms in which something has to come.
        "/b/slow" => send_chunks(stream, 10, Duration::from_millis(150)),
        _ => send(stream, "200 OK", None, b"0123456789"),
    });
    let mut stream = stream(&address, 100);
    let found = take_all(&mut stream, &["slow", "unknown"]);
    assert_eq!(found[0], Ok(Fetched::Bytes(b"0123456789".repeat(10))));
    assert!(
        matches!(&found[1], Err(StorageError::Unreachable(why)) if why.contains("neither a length nor chunks")),
        "{:?}",
        found[1]
    );
}

#[test]
fn a_refusal_is_read_up_to_a_bound_and_nothing_of_it_becomes_a_command() {
    const LONG: usize = 100 << 20;
    let address = serve(|path, stream| {
        let region = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>x; rm -rf ~</Region></Error>";
        match path {
            "/b/long" => {
                let body = [b"<Error><Code>AccessDenied</Code>".to_vec(), vec![b' '; LONG]].concat();
                send(stream, "403 Forbidden", Some(body.len()), &body);
            }
            "/b/region" => send(stream, "400 Bad Request", Some(region.len()), region.as_bytes()),
            "/b/redirect" => {
                let head =
                    "HTTP/1.1 301 Moved\r\nx-amz-bucket-region: $(reboot)\r\nconnection: close\r\n\r\n";
                let _ = stream.write_all(head.as_bytes());
            }
            // A proxy, or a server of something else.
            _ => send(stream, "404 Not Found", Some(5), b"hello"),
        }
    });
    let mut stream = stream(&address, 100);
    let refused =
        |status, reason: &str| Err(StorageError::Refused { status, reason: reason.to_owned(), region: None });
    let expected = [
        refused(403, "AccessDenied (HTTP 403)"),
        refused(400, "AuthorizationHeaderMalformed (HTTP 400)"),
        refused(301, "HTTP 301"),
        refused(404, "HTTP 404 without a code of S3"),
    ];
    assert_eq!(take_all(&mut stream, &["long", "region", "redirect", "other"]), expected);
}

#[test]
fn objects_come_in_the_order_of_the_questions() {
    let address = serve(|path, stream| {
        let number: u64 = path.rsplit('/').next().unwrap().parse().unwrap();
        std::thread::sleep(Duration::from_millis(5 * (50 - number % 50)));
        send(stream, "200 OK", Some(path.len()), path.as_bytes());
    });
    let mut stream = stream(&address, 100);
    let keys: Vec<String> = (0..120).map(|number| number.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let found = take_all(&mut stream, &keys);
    let expected: Vec<_> =
        keys.iter().map(|key| Ok(Fetched::Bytes(format!("/b/{key}").into_bytes()))).collect();
    assert_eq!(found, expected);
}

#[test]
fn large_missing_and_stalled_objects_are_told_apart() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    let address = serve(move |path, stream| {
        let count = {
            let mut seen = seen.lock().unwrap();
            seen.push(path.to_owned());
            seen.iter().filter(|other| *other == path).count()
        };
        match path {
            "/b/large" => send(stream, "200 OK", Some(1 << 40), b"x"),
            "/b/endless" => send_chunks(stream, 100, Duration::ZERO),
            "/b/missing" => send(stream, "404 Not Found", Some(NO_KEY.len()), NO_KEY),
            "/b/stalled" if count == 1 => {
                send(stream, "200 OK", Some(10), b"01234");
                std::thread::sleep(Duration::from_secs(20));
            }
            "/b/silent" => std::thread::sleep(Duration::from_secs(20)),
            _ => send(stream, "200 OK", Some(10), b"0123456789"),
        }
    });
    let mut stream = stream(&address, 100);
    let found = take_all(&mut stream, &["large", "endless", "missing", "stalled", "exact"]);
    let whole = || Ok(Fetched::Bytes(b"0123456789".to_vec()));
    assert_eq!(found, [Ok(Fetched::TooLarge), Ok(Fetched::TooLarge), Ok(Fetched::Missing), whole(), whole()]);
    let silent = take_all(&mut stream, &["silent"]).remove(0);
    assert!(matches!(silent, Err(StorageError::Unreachable(_))), "{silent:?}");
    let asked = asked.lock().unwrap();
    assert_eq!(asked.iter().filter(|path| *path == "/b/silent").count(), 5, "but not for ever");
}

#[test]
fn a_signal_ends_the_wait_at_once() {
    let address = serve(|_, _| std::thread::sleep(Duration::from_secs(20)));
    let mut stream = stream(&address, 100);
    stream.ask("x");
    assert_eq!(stream.take(&AtomicBool::new(true)), Err(StorageError::Interrupted));
}

#[test]
fn what_waits_to_be_taken_is_bounded() {
    const OBJECT: usize = 8 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let address = serve(move |_, stream| {
        count.fetch_add(1, Ordering::SeqCst);
        send(stream, "200 OK", Some(OBJECT), &vec![0; OBJECT]);
    });
    let bucket = Bucket::at(&address, "b", "us-east-1").unwrap();
    let client = HttpClient::new(ClientTimeouts::default(), None);
    let mut stream = ObjectStream::with_client(client, bucket, OBJECT as u64);
    (0..100).for_each(|number| stream.ask(&number.to_string()));
    std::thread::sleep(Duration::from_millis(1500));
    let ahead = sent.load(Ordering::SeqCst);
    assert!(ahead <= 8 + 32, "64 MiB and one for each thread: {ahead}");
    for _ in 0..100 {
        assert!(
            matches!(stream.take(&AtomicBool::new(false)), Ok(Fetched::Bytes(bytes)) if bytes.len() == OBJECT)
        );
    }
}
