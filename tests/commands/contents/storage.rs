//! A small local server that speaks as S3 does: sends objects, verifies signatures with an implementation of its own, and can be told
//! to be slow, to cut, to refuse.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::sha256::{hex, hmac_sha256, sha256};

/// What the server does once, in place of sending an object.
#[derive(Clone)]
pub(crate) enum Odd {
    /// Answers with a status, headers and a body.
    Status(u16, &'static str, &'static str),
    /// Sends this many bytes of it, then closes.
    Cut(usize),
}

/// Who may read.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) id: &'static str,
    pub(crate) key: &'static str,
    pub(crate) session: Option<&'static str>,
}

#[derive(Default)]
struct Objects {
    objects: BTreeMap<String, Vec<u8>>,
    odd: BTreeMap<String, VecDeque<Odd>>,
    asked: Vec<String>,
    /// Requests that arrived and were not answered, and the most at any time.
    open: usize,
    most_open: usize,
}

/// A running server with one bucket. Its threads end with the test process.
pub(crate) struct Storage {
    /// Base address, such as `http://127.0.0.1:1234`.
    pub(crate) address: String,
    objects: Arc<Mutex<Objects>>,
}

impl Storage {
    /// A server whose requests must be signed by the account, or not at all; each object takes `delay` milliseconds, given its key.
    pub(crate) fn start(account: Option<Account>, delay: fn(&str) -> u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let storage = Self { address, objects: Arc::default() };
        let objects = storage.objects.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (objects, account) = (objects.clone(), account.clone());
                std::thread::spawn(move || serve(&stream.unwrap(), &objects, account.as_ref(), delay));
            }
        });
        storage
    }

    /// Adds an object, by its path: bucket and key.
    pub(crate) fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.objects.lock().unwrap().objects.insert(format!("/{path}"), bytes.into());
    }

    /// Removes an object.
    pub(crate) fn remove(&self, path: &str) {
        assert!(self.objects.lock().unwrap().objects.remove(&format!("/{path}")).is_some(), "{path}");
    }

    /// What happens to the next requests for an object, one after another; then it is sent as it is.
    pub(crate) fn misbehave(&self, path: &str, odd: &[Odd]) {
        self.objects.lock().unwrap().odd.insert(format!("/{path}"), odd.iter().cloned().collect());
    }

    /// The paths that were asked for since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.objects.lock().unwrap().asked)
    }

    /// How many were asked for since the last call of [`Self::asked`].
    pub(crate) fn count_asked(&self) -> usize {
        self.objects.lock().unwrap().asked.len()
    }

    /// The most requests at one time.
    pub(crate) fn most_open(&self) -> usize {
        self.objects.lock().unwrap().most_open
    }
}

fn serve(stream: &TcpStream, objects: &Mutex<Objects>, account: Option<&Account>, delay: fn(&str) -> u64) {
    let lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let lines: Vec<String> = lines.collect();
    let Some(target) = lines.first().and_then(|line| line.split(' ').nth(1)) else { return };
    let path = decode(target);
    let (object, odd) = {
        let mut objects = objects.lock().unwrap();
        objects.asked.push(path.trim_start_matches('/').to_owned());
        objects.open += 1;
        objects.most_open = objects.most_open.max(objects.open);
        (objects.objects.get(&path).cloned(), objects.odd.get_mut(&path).and_then(VecDeque::pop_front))
    };
    std::thread::sleep(Duration::from_millis(delay(&path)));
    objects.lock().unwrap().open -= 1;
    let headers: BTreeMap<String, &str> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value))
        .collect();
    let refused = verify(target, &headers, account).err();
    match (refused, odd, object) {
        (Some((code, words)), ..) => {
            // As Amazon's, it repeats who asks.
            let id =
                account.filter(|_| headers.contains_key("authorization")).map_or("", |account| account.id);
            let body = format!("<Error><Code>{code}</Code><Message>{words} {id}</Message></Error>");
            send(stream, 403, "", body.as_bytes(), usize::MAX);
        }
        (None, Some(Odd::Status(status, headers, body)), _) => {
            send(stream, status, headers, body.as_bytes(), usize::MAX);
        }
        (None, Some(Odd::Cut(most)), Some(object)) => send(stream, 200, "", &object, most),
        (None, _, Some(object)) => send(stream, 200, "etag: \"x\"\r\n", &object, usize::MAX),
        (None, _, None) => {
            let body =
                "<?xml version=\"1.0\"?>\n<Error><Code>NoSuchKey</Code><Message>none</Message></Error>";
            send(stream, 404, "", body.as_bytes(), usize::MAX);
        }
    }
}

fn send(mut stream: &TcpStream, status: u16, headers: &str, body: &[u8], most: usize) {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n");
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&body[..length.min(most)]);
}

/// The letters that a path stands for.
fn decode(path: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), path.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        match (*first, tail) {
            (b'%', [a, b, after @ ..]) => {
                let digits = [*a, *b];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Whether a request may be answered: code and words if not.
fn verify(
    target: &str,
    headers: &BTreeMap<String, &str>,
    account: Option<&Account>,
) -> Result<(), (&'static str, &'static str)> {
    let given = headers.get("authorization");
    let Some(Account { id, key, session }) = account else {
        return if given.is_none() { Ok(()) } else { Err(("InvalidAccessKeyId", "nobody is known here")) };
    };
    let given = given.ok_or(("AccessDenied", "Access Denied"))?;
    let part = |name: &str| {
        let (_, rest) = given.split_once(&format!("{name}="))?;
        rest.split([',', ' ']).next()
    };
    let wrong = ("SignatureDoesNotMatch", "The signature does not match");
    let [credential, names, signature] =
        ["Credential", "SignedHeaders", "Signature"].map(|name| part(name).unwrap_or_default());
    let scope: Vec<&str> = credential.split('/').collect();
    let [asker, day, region, "s3", "aws4_request"] = scope[..] else { return Err(wrong) };
    if asker != *id {
        return Err(("InvalidAccessKeyId", "The key is not known"));
    }
    let time = *headers.get("x-amz-date").ok_or(wrong)?;
    let token = headers.get("x-amz-security-token").copied();
    let names: Vec<&str> = names.split(';').collect();
    let must = ["host", "x-amz-content-sha256", "x-amz-date"];
    let all = must.iter().copied().chain(token.map(|_| "x-amz-security-token"));
    if !all.clone().all(|name| names.contains(&name)) || !names.is_sorted() || !time.starts_with(day) {
        return Err(wrong);
    }
    if token != *session {
        return Err(("InvalidToken", "The token is not valid"));
    }
    let lines: String = names.iter().map(|name| format!("{name}:{}\n", headers[*name])).collect();
    let body = headers["x-amz-content-sha256"];
    assert_eq!(body, hex(&sha256(b"")));
    let request = format!("GET\n{target}\n\n{lines}\n{}\n{body}", names.join(";"));
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{day}/{region}/s3/aws4_request\n{}",
        hex(&sha256(request.as_bytes()))
    );
    let mut signing = hmac_sha256(format!("AWS4{key}").as_bytes(), day.as_bytes());
    for part in [region, "s3", "aws4_request"] {
        signing = hmac_sha256(&signing, part.as_bytes());
    }
    if hex(&hmac_sha256(&signing, text.as_bytes())) == signature { Ok(()) } else { Err(wrong) }
}
