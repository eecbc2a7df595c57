//! Transfers from servers that cut, stall, lie, or know no ranges.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use fmflow_engine::pipeline::repository::PinnedFile;

use super::super::client::ClientTimeouts;
use super::*;

/// A file in memory.
#[derive(Default)]
struct Memory {
    bytes: Vec<u8>,
    tag: Option<String>,
}

impl Part for Memory {
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.bytes.extend(bytes);
        Ok(())
    }

    fn restart(&mut self) -> Result<(), StoreError> {
        *self = Self::default();
        Ok(())
    }

    fn tag(&self) -> Option<String> {
        self.tag.clone()
    }

    fn set_tag(&mut self, tag: &str) -> Result<(), StoreError> {
        self.tag = Some(tag.to_owned());
        Ok(())
    }
}

#[derive(Default)]
struct Watcher {
    stop: AtomicBool,
    stop_at: u64,
    notes: Mutex<Vec<String>>,
}

impl Watch for Watcher {
    fn interrupted(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn arrived(&self, bytes: u64) {
        self.stop.fetch_or(self.stop_at > 0 && bytes >= self.stop_at, Ordering::SeqCst);
    }

    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }
}

/// How a server answers one request: the head, how many bytes of the body, and whether it then stays silent.
#[derive(Clone)]
struct Reply {
    head: &'static str,
    /// `None`: from the byte that was asked for; with the length and the range of that.
    from: Option<usize>,
    most: usize,
    hang: bool,
}

const RANGE: Reply =
    Reply { head: "206 Partial Content\r\netag: \"v1\"\r\n", from: None, most: usize::MAX, hang: false };
const WHOLE: Reply =
    Reply { head: "200 OK\r\netag: \"v1\"\r\n", from: Some(0), most: usize::MAX, hang: false };

/// A server that answers with these replies in turn, then repeats the last; returns its address and the requests.
fn serve(content: Vec<u8>, replies: Vec<Reply>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/file", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let reply = replies[at.min(replies.len() - 1)].clone();
            let (content, log) = (content.clone(), log.clone());
            // A silent answer must not keep the next one waiting.
            std::thread::spawn(move || answer(&stream.unwrap(), &content, &reply, &log));
        }
    });
    (address, asked)
}

fn answer(mut stream: &TcpStream, content: &[u8], reply: &Reply, log: &Mutex<Vec<String>>) {
    let lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let lines: Vec<String> = lines.collect();
    let range = lines.iter().find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-'));
    let asked = range.and_then(|range| range.parse::<usize>().ok()).unwrap_or(0);
    let condition = lines.iter().find_map(|line| line.strip_prefix("if-range: "));
    log.lock().unwrap().push(format!("{asked} {}", condition.unwrap_or("-")));
    let from = reply.from.unwrap_or(asked).min(content.len());
    let (rest, total) = (&content[from..], content.len());
    let range = match reply.head.starts_with("206") {
        true => format!("content-range: bytes {from}-{}/{total}\r\n", total - 1),
        false => String::new(),
    };
    let length = match reply.head.contains("content-length") {
        true => String::new(),
        false => format!("content-length: {}\r\n", rest.len()),
    };
    let head = format!("HTTP/1.1 {}{range}{length}connection: close\r\n\r\n", reply.head);
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&rest[..rest.len().min(reply.most)]);
    if reply.hang {
        std::thread::sleep(Duration::from_secs(3));
    }
}

fn content() -> Vec<u8> {
    (0..1_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Runs a transfer of `content` into `part`; returns the outcome, the requests and what was noted.
fn run(replies: Vec<Reply>, part: &mut Memory, watch: &Watcher) -> (Result<(), TransferError>, Vec<String>) {
    let content = content();
    let (url, asked) = serve(content.clone(), replies);
    let short = Duration::from_millis(400);
    let timeouts =
        ClientTimeouts { connect: short, answer: short, body: short, pause: Duration::from_millis(1) };
    let client = HttpClient::new(timeouts, None);
    let digest = ring::digest::digest(&ring::digest::SHA256, &content);
    let sha256 = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let size = content.len() as u64;
    let pinned = PinnedFile { path: "file".to_owned(), size, sha256: Some(sha256), blob: None };
    let mut hash = ContentHash::of(&pinned).unwrap();
    hash.update(&part.bytes);
    let ran = Transfer { client: &client, url: &url, token: None, size, watch }.run(part, &mut hash);
    if ran.is_ok() {
        assert!(part.bytes == content && hash.matches(), "what arrived is the file");
    }
    let asked = asked.lock().unwrap().clone();
    (ran, asked)
}

#[test]
fn a_transfer_goes_on_where_it_was_cut() {
    let cut = |reply: Reply| Reply { most: 300_000, ..reply };
    let mut part = Memory::default();
    let (ran, asked) = run(vec![cut(WHOLE), cut(RANGE), RANGE], &mut part, &Watcher::default());
    ran.unwrap();
    assert_eq!(asked, ["0 -", "300000 \"v1\"", "600000 \"v1\""]);
}

#[test]
fn a_transfer_of_an_earlier_run_goes_on() {
    let mut part = Memory { bytes: content()[..70_000].to_vec(), tag: Some("W/\"weak\"".to_owned()) };
    let (ran, asked) = run(vec![RANGE], &mut part, &Watcher::default());
    ran.unwrap();
    assert_eq!(asked, ["70000 -"], "a weak tag is no condition");
}

#[test]
fn a_server_that_knows_no_ranges_sends_the_whole_file_again() {
    let mut part = Memory::default();
    let (ran, asked) = run(vec![Reply { most: 300_000, ..WHOLE }, WHOLE], &mut part, &Watcher::default());
    ran.unwrap();
    assert_eq!(asked.len(), 2);
    let gone = Reply { head: "416 Range Not Satisfiable\r\n", ..WHOLE };
    let mut part = Memory { bytes: vec![0; 10], tag: None };
    let (ran, asked) = run(vec![gone, WHOLE], &mut part, &Watcher::default());
    ran.unwrap();
    assert_eq!(asked, ["10 -", "0 -"]);
}

#[test]
fn a_stall_ends() {
    let start = Instant::now();
    let stall = |reply: Reply| Reply { most: 100_000, hang: true, ..reply };
    let (ran, asked) = run(vec![stall(WHOLE), RANGE], &mut Memory::default(), &Watcher::default());
    ran.unwrap();
    assert_eq!(asked, ["0 -", "100000 \"v1\""], "what had arrived is kept");
    let mute = Reply { most: 0, hang: true, ..WHOLE };
    let (ran, asked) = run(vec![mute], &mut Memory::default(), &Watcher::default());
    assert!(matches!(ran, Err(TransferError::Hub(HubError::Unreachable(_)))), "{ran:?}");
    assert!(asked.len() <= 4 && start.elapsed() < Duration::from_secs(30), "{asked:?}");
}

#[test]
fn a_hub_that_lies_about_a_size_is_not_believed() {
    let lies = [
        Reply { head: "200 OK\r\ncontent-length: 2000000\r\n", ..WHOLE },
        Reply { head: "200 OK\r\ncontent-length: 10\r\n", ..WHOLE },
        Reply {
            head: "206 Partial Content\r\ncontent-range: bytes 0-9/2000000\r\ncontent-length: 1\r\n",
            from: Some(0),
            ..RANGE
        },
    ];
    let mut told = Vec::new();
    for lie in lies {
        let (ran, asked) = run(vec![lie], &mut Memory::default(), &Watcher::default());
        let Err(TransferError::Other(why)) = ran else { panic!("{ran:?}") };
        assert_eq!(asked.len(), 1, "it is not asked again");
        told.push(why);
    }
    let other = |found| format!("the lock file lists 1000000 bytes, but the hub sends {found}");
    assert_eq!(told, [other(2_000_000), other(10), other(2_000_000)]);
    let other = Reply { from: Some(5), ..RANGE };
    let mut part = Memory { bytes: vec![0; 10], tag: None };
    let (ran, _) = run(vec![other], &mut part, &Watcher::default());
    assert!(matches!(ran, Err(TransferError::Other(_))), "another range: {ran:?}");
}

#[test]
fn no_byte_beyond_the_listed_size_is_kept() {
    // Without a length, the body ends with the connection.
    let endless =
        Reply { head: "200 OK\r\ntransfer-encoding: identity\r\nx-content-length: none\r\n", ..WHOLE };
    let (url, _) = serve([content(), vec![7; 5_000_000]].concat(), vec![endless]);
    let client = HttpClient::new(ClientTimeouts::default(), None);
    let pinned =
        PinnedFile { path: "file".to_owned(), size: 1_000_000, sha256: Some("0".repeat(64)), blob: None };
    let (mut part, mut hash) = (Memory::default(), ContentHash::of(&pinned).unwrap());
    let watch = Watcher::default();
    let transfer = Transfer { client: &client, url: &url, token: None, size: 1_000_000, watch: &watch };
    let ran = transfer.run(&mut part, &mut hash);
    assert!(matches!(ran, Err(TransferError::Other(_))), "{ran:?}");
    assert!(part.bytes.len() <= 1_000_000, "{}", part.bytes.len());
}

#[test]
fn a_busy_hub_is_waited_for_and_told() {
    let busy = Reply { head: "429 Too Many Requests\r\nretry-after: 1\r\n", most: 0, ..WHOLE };
    let watch = Watcher::default();
    let (ran, asked) = run(vec![busy, WHOLE], &mut Memory::default(), &watch);
    ran.unwrap();
    assert_eq!(asked.len(), 2);
    assert_eq!(*watch.notes.lock().unwrap(), ["the hub asks to wait 1 s (HTTP 429)"]);
    let long = Reply { head: "429 Too Many Requests\r\nretry-after: 86400\r\n", most: 0, ..WHOLE };
    let (ran, asked) = run(vec![long], &mut Memory::default(), &watch);
    let Err(TransferError::Hub(HubError::Unreachable(why))) = ran else { panic!("{ran:?}") };
    assert_eq!((why.as_str(), asked.len()), ("HTTP 429; the hub asks to wait 86400 s", 1));
    let down = Reply { head: "503 Service Unavailable\r\n", most: 0, ..WHOLE };
    let (ran, asked) = run(vec![down], &mut Memory::default(), &watch);
    assert!(ran.is_err() && asked.len() == 4, "{asked:?}");
}

#[test]
fn a_signal_stops_a_transfer_and_keeps_what_arrived() {
    let (mut part, watch) = (Memory::default(), Watcher { stop_at: 1, ..Watcher::default() });
    let (ran, _) = run(vec![WHOLE], &mut part, &watch);
    assert!(matches!(ran, Err(TransferError::Interrupted)), "{ran:?}");
    assert!(!part.bytes.is_empty() && content().starts_with(&part.bytes));
}
