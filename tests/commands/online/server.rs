//! A small local hub: answers by path, sends files by ranges, and records every request with its token and its range. It can be
//! told to cut, to stall, to lie, and to send elsewhere.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Answers by path: status, headers, body.
type Answers = BTreeMap<String, (u16, String, String)>;

/// Requested paths, each with the token of the request.
type Asked = Vec<(String, Option<String>)>;

/// A file of a repository, as a test publishes it.
#[derive(Clone)]
pub(crate) struct Published {
    path: String,
    bytes: Vec<u8>,
    lfs: bool,
}

/// A file that the hub has in git.
pub(crate) fn small(path: &str, bytes: impl Into<Vec<u8>>) -> Published {
    Published { path: path.to_owned(), bytes: bytes.into(), lfs: false }
}

/// A file that the hub has in LFS.
pub(crate) fn large(path: &str, bytes: impl Into<Vec<u8>>) -> Published {
    Published { lfs: true, ..small(path, bytes) }
}

/// What the hub does once, in place of sending a file.
#[derive(Clone)]
pub(crate) enum Odd {
    /// Sends this many bytes, then closes.
    Cut(usize),
    /// Sends this many bytes, then nothing for a long time.
    Stall(usize),
    /// Sends other bytes.
    Other(Vec<u8>),
    /// Answers with a status and headers.
    Status(u16, &'static str),
    /// Redirects to an address.
    Elsewhere(String),
}

#[derive(Default)]
struct Contents {
    answers: Answers,
    files: BTreeMap<String, Vec<u8>>,
    odd: BTreeMap<String, VecDeque<Odd>>,
    asked: Asked,
    ranges: Vec<String>,
}

/// A running hub. Its threads end with the test process.
pub(crate) struct Server {
    /// Base address, such as `http://127.0.0.1:1234`.
    pub(crate) address: String,
    contents: Arc<Mutex<Contents>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { address, contents: Arc::default() };
        let contents = server.contents.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let contents = contents.clone();
                std::thread::spawn(move || serve(&stream.unwrap(), &contents));
            }
        });
        server
    }

    /// Lets a command take this server for the hub, with a token and a folder of its own.
    pub(crate) fn be_the_hub_of(&self, command: &mut Command, home: &Path, token: &str) {
        let others =
            ["HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "XDG_CACHE_HOME", "HTTP_PROXY", "http_proxy"];
        others.into_iter().for_each(|name| _ = command.env_remove(name));
        command
            .env("HF_ENDPOINT", &self.address)
            .env("HF_DATASETS_SERVER", &self.address)
            .env("HF_HOME", home)
            .env("HF_TOKEN", token)
            .env("NO_PROXY", "127.0.0.1");
    }

    /// Sets the answer for a path, including its query.
    pub(crate) fn answer(&self, path: &str, status: u16, headers: &str, body: &str) {
        let answer = (status, headers.to_owned(), body.to_owned());
        self.contents.lock().unwrap().answers.insert(path.to_owned(), answer);
    }

    /// Adds an accessible repository with these files, of which only the names are known; `path` is like `models/o/m` or
    /// `datasets/o/d`.
    pub(crate) fn repository(&self, path: &str, revision: &str, commit: &str, files: &[&str]) {
        let (digest, blob) = ("ab".repeat(32), "cd".repeat(20));
        let files = files.iter().map(|name| match name.ends_with(".safetensors") || name.ends_with(".parquet") {
            true => format!(
                r#"{{"type":"file","oid":"{blob}","size":135,"path":"{name}","lfs":{{"oid":"{digest}","size":1000000,"pointerSize":135}}}}"#
            ),
            false => format!(r#"{{"type":"file","oid":"{blob}","size":700,"path":"{name}"}}"#),
        });
        self.list(path, revision, commit, &files.collect::<Vec<_>>().join(","));
    }

    fn list(&self, path: &str, revision: &str, commit: &str, files: &str) {
        let revision = match revision {
            "" => String::new(),
            revision => format!("/revision/{}", revision.replace('/', "%2F")),
        };
        self.answer(
            &format!("/api/{path}{revision}"),
            200,
            "",
            &format!(r#"{{"sha":"{commit}","gated":false}}"#),
        );
        self.answer(&format!("/api/{path}/auth-check"), 200, "", "");
        self.answer(&format!("/api/{path}/tree/{commit}?recursive=true"), 200, "", &format!("[{files}]"));
    }

    /// Adds an accessible repository with the contents of its files, hashed by other programs.
    pub(crate) fn publish(&self, path: &str, revision: &str, commit: &str, files: &[Published]) {
        let entry = |file: &Published| {
            let Published { path, bytes, lfs } = file;
            let blob = [format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat();
            let (blob, size) = (digest("sha1sum", &blob), bytes.len());
            let lfs = match lfs {
                true => format!(
                    r#","lfs":{{"oid":"{}","size":{size},"pointerSize":130}}"#,
                    digest("sha256sum", bytes)
                ),
                false => String::new(),
            };
            format!(r#"{{"type":"file","oid":"{blob}","size":{size},"path":"{path}"{lfs}}}"#)
        };
        self.list(path, revision, commit, &files.iter().map(entry).collect::<Vec<_>>().join(","));
        let mut contents = self.contents.lock().unwrap();
        for file in files {
            contents.files.insert(to_address(path, commit, &file.path), file.bytes.clone());
        }
    }

    /// What happens to the next requests for a file, one after another; then it is sent as it is.
    pub(crate) fn misbehave(&self, path: &str, commit: &str, file: &str, odd: &[Odd]) {
        let mut contents = self.contents.lock().unwrap();
        contents.odd.insert(to_address(path, commit, file), odd.iter().cloned().collect());
    }

    /// Sends bytes at an address of its own, which is no repository.
    pub(crate) fn place(&self, address: &str, bytes: &[u8]) {
        self.contents.lock().unwrap().files.insert(address.to_owned(), bytes.to_vec());
    }

    /// Sets the columns of a dataset, by subset.
    pub(crate) fn columns(&self, dataset: &str, subsets: &[(&str, &[&str])]) {
        let subset = |(name, columns): &(&str, &[&str])| {
            let columns =
                columns.iter().map(|column| format!(r#""{column}":{{"dtype":"string","_type":"Value"}}"#));
            format!(r#""{name}":{{"features":{{{}}}}}"#, columns.collect::<Vec<_>>().join(","))
        };
        let info = subsets.iter().map(subset).collect::<Vec<_>>().join(",");
        let body = format!(r#"{{"dataset_info":{{{info}}},"pending":[],"failed":[],"partial":false}}"#);
        self.answer(&format!("/info?dataset={}", dataset.replace('/', "%2F")), 200, "", &body);
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Asked {
        self.contents.lock().unwrap().asked.clone()
    }

    /// The requests for files so far: `PATH FIRST-BYTE IF-RANGE`.
    pub(crate) fn ranges(&self) -> Vec<String> {
        self.contents.lock().unwrap().ranges.clone()
    }

    /// Forgets the requests so far.
    pub(crate) fn forget(&self) {
        let mut contents = self.contents.lock().unwrap();
        contents.asked.clear();
        contents.ranges.clear();
    }
}

/// Where the hub sends a file from.
fn to_address(repository: &str, commit: &str, file: &str) -> String {
    format!("/{}/resolve/{commit}/{file}", repository.trim_start_matches("models/"))
}

/// The digest that a program of coreutils gives.
fn digest(program: &str, bytes: &[u8]) -> String {
    let mut child =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("coreutils");
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

fn serve(stream: &TcpStream, contents: &Mutex<Contents>) {
    let lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let lines: Vec<String> = lines.collect();
    let Some(first) = lines.first() else { return };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let header = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let range = header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    let from = range.and_then(|from| from.parse::<usize>().ok());
    let (file, odd) = {
        let mut open = contents.lock().unwrap();
        open.asked.push((path.clone(), header("authorization").map(str::to_owned)));
        let file = open.files.get(&path).cloned();
        if file.is_some() {
            let condition = header("if-range").unwrap_or("-");
            open.ranges.push(format!("{path} {} {condition}", from.unwrap_or(0)));
        }
        (file, open.odd.get_mut(&path).and_then(VecDeque::pop_front))
    };
    match file {
        Some(bytes) => send_file(stream, &bytes, from, odd),
        None => send_answer(stream, &path, contents),
    }
}

fn send_file(stream: &TcpStream, bytes: &[u8], from: Option<usize>, odd: Option<Odd>) {
    let send = |bytes: &[u8]| _ = (&mut &*stream).write_all(bytes);
    let (bytes, most, stall) = match &odd {
        Some(Odd::Status(status, headers)) => {
            return send(
                format!("HTTP/1.1 {status} X\r\n{headers}connection: close\r\ncontent-length: 0\r\n\r\n")
                    .as_bytes(),
            );
        }
        Some(Odd::Elsewhere(address)) => {
            return send(
                format!(
                    "HTTP/1.1 302 X\r\nlocation: {address}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
                )
                .as_bytes(),
            );
        }
        Some(Odd::Other(other)) => (&other[..], usize::MAX, false),
        Some(Odd::Cut(most)) => (bytes, *most, false),
        Some(Odd::Stall(most)) => (bytes, *most, true),
        None => (bytes, usize::MAX, false),
    };
    let (start, total) = (from.unwrap_or(0).min(bytes.len()), bytes.len());
    let (status, range) = match from {
        Some(_) => (206, format!("content-range: bytes {start}-{}/{total}\r\n", total.max(1) - 1)),
        None => (200, String::new()),
    };
    let length = total - start;
    send(format!("HTTP/1.1 {status} X\r\netag: \"v1\"\r\n{range}connection: close\r\ncontent-length: {length}\r\n\r\n").as_bytes());
    send(&bytes[start..][..length.min(most)]);
    if stall {
        std::thread::sleep(Duration::from_secs(120));
    }
}

fn send_answer(stream: &TcpStream, path: &str, contents: &Mutex<Contents>) {
    let nothing = || {
        (404, "x-error-code: RepoNotFound\r\n".to_owned(), r#"{"error":"Repository not found"}"#.to_owned())
    };
    let (status, headers, body) = contents.lock().unwrap().answers.get(path).cloned().unwrap_or_else(nothing);
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n");
    let _ = (&mut &*stream).write_all((head + &body).as_bytes());
}
