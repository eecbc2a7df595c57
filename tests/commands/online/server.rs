//! A small local hub: answers by path, and records every request with its token.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Answers by path: status, headers, body.
type Answers = BTreeMap<String, (u16, String, String)>;

/// Requested paths, each with the token of the request.
type Asked = Vec<(String, Option<String>)>;

/// A running hub. Its thread ends with the test process.
pub(crate) struct Server {
    /// Base address, such as `http://127.0.0.1:1234`.
    pub(crate) address: String,
    answers: Arc<Mutex<Answers>>,
    asked: Arc<Mutex<Asked>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { address, answers: Arc::default(), asked: Arc::default() };
        let (answers, asked) = (server.answers.clone(), server.asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(&stream.unwrap(), &answers, &asked);
            }
        });
        server
    }

    /// Sets the answer for a path, including its query.
    pub(crate) fn answer(&self, path: &str, status: u16, headers: &str, body: &str) {
        let answer = (status, headers.to_owned(), body.to_owned());
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// Adds an accessible repository with these files; `path` is like `models/o/m` or `datasets/o/d`.
    pub(crate) fn repository(&self, path: &str, revision: &str, commit: &str, files: &[&str]) {
        let revision = if revision.is_empty() { String::new() } else { format!("/revision/{revision}") };
        self.answer(
            &format!("/api/{path}{revision}"),
            200,
            "",
            &format!(r#"{{"sha":"{commit}","gated":false}}"#),
        );
        self.answer(&format!("/api/{path}/auth-check"), 200, "", "");
        let digest = "ab".repeat(32);
        let files = files.iter().map(|name| match name.ends_with(".safetensors") || name.ends_with(".parquet") {
            true => format!(
                r#"{{"type":"file","oid":"1","size":135,"path":"{name}","lfs":{{"oid":"{digest}","size":1000000,"pointerSize":135}}}}"#
            ),
            false => format!(r#"{{"type":"file","oid":"1","size":700,"path":"{name}"}}"#),
        });
        let files = files.collect::<Vec<_>>().join(",");
        self.answer(&format!("/api/{path}/tree/{commit}?recursive=true"), 200, "", &format!("[{files}]"));
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
        self.asked.lock().unwrap().clone()
    }
}

fn serve(stream: &TcpStream, answers: &Mutex<Answers>, asked: &Mutex<Asked>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let token = lines.filter_map(|line| line.strip_prefix("authorization: ").map(str::to_owned)).last();
    let nothing = || {
        (404, "x-error-code: RepoNotFound\r\n".to_owned(), r#"{"error":"Repository not found"}"#.to_owned())
    };
    let (status, headers, body) = answers.lock().unwrap().get(&path).cloned().unwrap_or_else(nothing);
    asked.lock().unwrap().push((path, token));
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n");
    let _ = (&mut &*stream).write_all((head + &body).as_bytes());
}
