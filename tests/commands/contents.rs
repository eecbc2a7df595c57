//! Datasets whose records name objects in a local look-alike of S3: what is made of them, what is kept, what is refused.

#![cfg(all(feature = "cpu", feature = "hub"))]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod sha256;
pub(crate) mod storage;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{Project, Ran, TINY_TRAINING, gzip};
use storage::{Account, Odd, Storage};

const ACCOUNT: Account =
    Account { id: "AKIDCANARYEXAMPLE", key: "s3cr3t/canary+key", session: Some("session/canary==") };

/// `contents` of objects that everybody may read.
const PUBLIC: &str =
    "contents from=\"s3://some-bucket/content/{blob_id}\" compression=\"gzip\" encoding=\"src_encoding\"";

const SECRETS: &str =
    "secret \"AWS_ACCESS_KEY_ID\"\nsecret \"AWS_SECRET_ACCESS_KEY\"\nsecret \"AWS_SESSION_TOKEN\"\n";

const PIPELINE: &str = r#"pipeline "c" seed=1
dataset "words" from="words.txt" format="text"
dataset "code" from="ids*.jsonl" format="jsonl" held-out="10%" { CONTENTS }
tokenizer "t" kind="byte-level-bpe" vocabulary=320 { dataset "words" }
rows "r" tokenizer="t" length=64 packing="concat"
mixture "m" { dataset "code" }
"#;

/// A project whose documents are in a server.
struct Place {
    project: Project,
    storage: Storage,
    account: Option<Account>,
}

/// The key of a document, with letters that have to be encoded.
fn key(number: usize) -> String {
    format!("{:02x}/blob {number}+é~", number % 7)
}

fn text(number: usize) -> String {
    let marks = ["ß", "ж", "é"];
    format!("fn number_{number}() {{ // {} }}\n", marks[number % 3].repeat(1 + number % 50))
}

/// A document in its own encoding, with the name that it has in the data.
fn encode(number: usize) -> (&'static str, Vec<u8>) {
    let of = |letter: char, byte: u8| -> Vec<u8> {
        text(number).chars().map(|l| if l == letter { byte } else { u8::try_from(l).unwrap() }).collect()
    };
    match number % 3 {
        0 => ("ISO-8859-1", of('ß', 0xdf)),
        1 => ("WINDOWS-1251", of('ж', 0xe6)),
        _ => ("UTF-8", text(number).into_bytes()),
    }
}

impl Place {
    /// A project with files of ids, of so many documents each; `contents` is the node in the dataset.
    fn new(contents: &str, account: Option<Account>, files: &[usize], delay: fn(&str) -> u64) -> Self {
        let (project, storage) = (Project::empty(), Storage::start(account.clone(), delay));
        let secrets = if account.is_some() { SECRETS } else { "" };
        project.write("c.kdl", &(PIPELINE.replace("CONTENTS", contents) + TINY_TRAINING + secrets));
        project.write("words.txt", &(0..60).map(text).collect::<String>());
        let mut number = 0;
        for (file, documents) in files.iter().enumerate() {
            let mut lines = String::new();
            for _ in 0..*documents {
                let (encoding, bytes) = encode(number);
                storage.put(&format!("some-bucket/content/{}", key(number)), gzip(&bytes));
                let record = json!({"blob_id": key(number), "src_encoding": encoding, "path": "a.rs"});
                lines += &format!("{record}\n");
                number += 1;
            }
            project.write(&format!("ids{file}.jsonl"), &lines);
        }
        Self { project, storage, account }
    }

    fn public(documents: usize) -> Self {
        Self::new(PUBLIC, None, &[documents], |_| 0)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.project.command(arguments);
        for name in ["AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "HTTP_PROXY", "http_proxy"] {
            command.env_remove(name);
        }
        let account = self.account.clone().unwrap_or(ACCOUNT);
        command
            .env("AWS_ENDPOINT_URL_S3", &self.storage.address)
            .env("AWS_ACCESS_KEY_ID", account.id)
            .env("AWS_SECRET_ACCESS_KEY", account.key)
            .env("AWS_SESSION_TOKEN", account.session.unwrap_or_default())
            .env("NO_PROXY", "127.0.0.1");
        command
    }

    #[track_caller]
    fn run(&self, command: &mut Command) -> Ran {
        let mut ran = Ran::from(command.output().unwrap());
        let said = (ran.stdout.clone() + &ran.stderr).to_lowercase();
        assert!(!said.contains("canary"), "a secret leaked: {}", ran.stderr);
        let folder = self.project.path().to_str().unwrap();
        ran.stderr = ran.stderr.replace(&self.storage.address, "http://s3").replace(folder, "/project");
        ran
    }

    #[track_caller]
    fn fmflow(&self, arguments: &[&str]) -> Ran {
        self.run(&mut self.command(arguments))
    }

    /// Makes the rows of the dataset.
    #[track_caller]
    fn rows(&self) -> Ran {
        self.fmflow(&["run", "c.kdl", "--until", "r/code"])
    }

    /// A file of the rows.
    #[track_caller]
    fn row_file(&self, name: &str) -> Vec<u8> {
        let ran = self.fmflow(&["show", "c.kdl", "r/code", "--path"]).ok();
        fs::read(Path::new(ran.stdout.trim_end()).join(name)).unwrap()
    }
}

#[test]
fn contents_are_the_documents_of_their_records() {
    // The first ones take longest, so that they arrive in another order.
    let signed = format!("{PUBLIC} secret=\"AWS_ACCESS_KEY_ID\"");
    let delay = |path: &str| 3 * (40 - (path.len() as u64 + u64::from(path.as_bytes()[20])) % 40);
    let place = Place::new(&signed, Some(ACCOUNT), &[250, 50], delay);
    place.rows().ok();
    let asked: Vec<String> = place.storage.asked();
    assert_eq!(asked.len(), 300, "each is asked for once");
    assert!(place.storage.most_open() > 8, "several at a time: {}", place.storage.most_open());
    // The same documents in a file of their own.
    let near = Project::empty();
    let lines = |range: std::ops::Range<usize>| -> String {
        range.map(|number| format!("{}\n", json!({ "text": text(number) }))).collect()
    };
    near.write("ids0.jsonl", &lines(0..250));
    near.write("ids1.jsonl", &lines(250..300));
    near.write("words.txt", &(0..60).map(text).collect::<String>());
    near.write("tiny.kdl", &(PIPELINE.replace("{ CONTENTS }", "") + TINY_TRAINING));
    near.fmflow(&["run", "tiny.kdl", "--until", "r/code"]).ok();
    for name in ["rows.bin", "held-out.bin", "rows.json"] {
        assert_eq!(place.row_file(name), fs::read(near.artifact("r/code").join(name)).unwrap(), "{name}");
    }
    // What is finished needs no network, and holds no secret.
    let offline = |arguments: &[&str]| {
        place.run(place.command(arguments).env("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9"))
    };
    offline(&["run", "c.kdl", "--until", "r/code"]).ok().says("nothing to do");
    offline(&["run", "c.kdl"]).ok();
    offline(&["data", "show", "c.kdl", "r/code"]).ok().says("number_");
    assert_eq!(place.storage.count_asked(), 0);
    let canary = |bytes: &[u8]| bytes.windows(6).any(|part| part.eq_ignore_ascii_case(b"canary"));
    let files = walkdir::WalkDir::new(place.project.path()).into_iter().map(Result::unwrap);
    let leaks: Vec<_> = files
        .filter(|entry| entry.file_type().is_file() && canary(&fs::read(entry.path()).unwrap()))
        .collect();
    assert!(leaks.is_empty(), "{leaks:?}");
}

#[test]
fn the_pattern_counts_and_the_server_does_not() {
    let place = Place::public(10);
    let fingerprint = || {
        let ran = place.fmflow(&["plan", "c.kdl", "--json"]).ok();
        let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
        let stages = answer["stages"].as_array().unwrap();
        stages.iter().find(|stage| stage["name"] == "r/code").unwrap()["fingerprint"].clone()
    };
    let first = fingerprint();
    place.project.edit(
        "c.kdl",
        "encoding=\"src_encoding\"",
        "encoding=\"src_encoding\" secret=\"AWS_ACCESS_KEY_ID\"",
    );
    let text = fs::read_to_string(place.project.path().join("c.kdl")).unwrap();
    place.project.write("c.kdl", &(text + SECRETS));
    assert_eq!(fingerprint(), first, "who asks does not count");
    for (from, to) in
        [("content/", "other/"), ("some-bucket", "another"), ("gzip", "none"), ("src_encoding", "path")]
    {
        place.project.edit("c.kdl", from, to);
        assert_ne!(fingerprint(), first, "{to}");
        place.project.edit("c.kdl", to, from);
    }
    assert_eq!(fingerprint(), first);
    assert_eq!(place.storage.count_asked(), 0, "only stages ask");
}

#[test]
fn what_a_server_refuses_is_told_with_a_cure() {
    let mut told = String::new();
    let mut case = |name: &str, place: &Place| {
        let ran = place.rows();
        let lines: Vec<&str> = ran.stderr.lines().skip_while(|line| !line.starts_with("error")).collect();
        told += &format!("=== {name}: exit {}\n{}\n", ran.code, lines.join("\n"));
    };
    let first = format!("some-bucket/content/{}", key(0));
    let odd = |status, headers, body| {
        let place = Place::public(10);
        place.storage.misbehave(&first, &[Odd::Status(status, headers, body)]);
        place
    };
    case("not public", &Place::new(PUBLIC, Some(ACCOUNT), &[10], |_| 0));
    let signed = format!("{PUBLIC} secret=\"AWS_ACCESS_KEY_ID\"");
    let mut wrong = Place::new(&signed, Some(ACCOUNT), &[10], |_| 0);
    wrong.account = Some(Account { key: "another-canary", ..ACCOUNT });
    case("another key", &wrong);
    let undeclared = Place::new(&signed, Some(ACCOUNT), &[10], |_| 0);
    undeclared.project.edit("c.kdl", "secret \"AWS_SESSION_TOKEN\"\n", "");
    case("a session that is not declared", &undeclared);
    case(
        "another region",
        &odd(301, "x-amz-bucket-region: eu-north-1\r\n", "<Error><Code>PermanentRedirect</Code></Error>"),
    );
    case(
        "another region, in a signature",
        &odd(
            400,
            "",
            "<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region is wrong</Message><Region>eu-west-3</Region></Error>",
        ),
    );
    case(
        "no bucket",
        &odd(404, "", "<Error><Code>NoSuchBucket</Code><Message>no such\u{1b}bucket</Message></Error>"),
    );
    case("a server of something else", &odd(404, "", "<html>not here</html>"));
    case("a server that is none", &odd(405, "", "<html>hello</html>"));
    case(
        "asks to wait for a day",
        &odd(503, "retry-after: 86400\r\n", "<Error><Code>SlowDown</Code></Error>"),
    );
    insta::assert_snapshot!(told);
    // Without the keys, nothing is sent and nothing begins.
    let place = Place::new(&signed, Some(ACCOUNT), &[10], |_| 0);
    place
        .run(place.command(&["run", "c.kdl"]).env_remove("AWS_SECRET_ACCESS_KEY"))
        .exits(2)
        .says("AWS_SECRET_ACCESS_KEY");
    assert_eq!(place.storage.count_asked(), 0);
}

#[test]
fn a_busy_server_is_asked_again() {
    let place = Place::public(40);
    let path = |number| format!("some-bucket/content/{}", key(number));
    place.storage.misbehave(&path(0), &[Odd::Status(503, "", "<Error><Code>SlowDown</Code></Error>")]);
    place.storage.misbehave(&path(7), &[Odd::Cut(3), Odd::Cut(9)]);
    place
        .storage
        .misbehave(&path(9), &[Odd::Status(500, "retry-after: 1\r\n", ""), Odd::Status(429, "", "")]);
    place.rows().ok();
    assert_eq!(place.storage.asked().len(), 45);
    let all = Place::public(40);
    all.rows().ok();
    assert_eq!(place.row_file("rows.bin"), all.row_file("rows.bin"));
}

#[test]
fn without_a_network_it_says_what_it_needs() {
    let place = Place::public(10);
    place.run(&mut place.command(&["plan", "c.kdl"])).ok().says("its disk counts the records alone");
    let mut command = place.command(&["run", "c.kdl", "--until", "r/code"]);
    let ran = place.run(command.env("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")).exits(1);
    ran.says("cannot be fetched from http://127.0.0.1:9")
        .says("dataset `code` needs http://127.0.0.1:9 until all of its contents are here");
    let mut command = place.command(&["run", "c.kdl", "--until", "r/code"]);
    let ran = place.run(command.env("AWS_ENDPOINT_URL_S3", "127.0.0.1:9")).exits(8);
    ran.says("`AWS_ENDPOINT_URL_S3` is not an http or https address");
    let mut command = place.command(&["run", "c.kdl", "--until", "r/code"]);
    place.run(command.env("AWS_REGION", "us east")).exits(8).says("is not the name of a region");
    let mut command = place.command(&["run", "c.kdl", "--until", "r/code"]);
    let ran = place.run(command.env("HF_HUB_OFFLINE", "1")).exits(1).says("`HF_HUB_OFFLINE` is set");
    ran.says("unset `HF_HUB_OFFLINE` until all contents of dataset `code` are here");
    // The general variable is asked second.
    let mut command = place.command(&["run", "c.kdl", "--until", "r/code"]);
    command.env_remove("AWS_ENDPOINT_URL_S3").env("AWS_ENDPOINT_URL", &place.storage.address);
    place.run(&mut command).ok();
}

#[test]
fn a_content_that_is_no_text_is_a_fault_of_its_record() {
    let place = Place::public(400);
    let put = |number: usize, bytes: Vec<u8>| {
        place.storage.put(&format!("some-bucket/content/{}", key(number)), bytes);
    };
    put(3, b"not packed".to_vec());
    let told = std::cell::RefCell::new(String::new());
    let tell = |ran: Ran| {
        let lines: Vec<&str> = ran.stderr.lines().skip_while(|line| !line.starts_with("error")).collect();
        *told.borrow_mut() += &format!("exit {}\n{}\n", ran.code, lines.join("\n"));
    };
    tell(place.rows());
    place.project.edit("c.kdl", "{ contents", "{ on-bad-record \"skip\" max=\"2%\"; contents");
    put(5, gzip(b"\xff\xfe\xfa"));
    put(8, gzip(b"not UTF-8: \xff"));
    put(11, gzip(b""));
    put(12, gzip(&vec![b' '; 100 << 20]));
    put(13, vec![0; (16 << 20) + 1]);
    let packed = gzip(text(14).as_bytes());
    put(14, packed[..packed.len() - 4].to_vec());
    let skipped = place.rows().ok();
    let note = skipped.stderr.lines().find(|line| line.contains("are at fault")).unwrap().to_owned();
    *told.borrow_mut() += &format!("{}\n", note.trim());
    place.project.edit("c.kdl", "max=\"2%\"", "max=\"0.1%\"");
    tell(place.rows());
    place.project.edit("ids0.jsonl", "\"WINDOWS-1251\"", "\"klingon\"");
    tell(place.rows());
    place.project.edit("ids0.jsonl", "\"UTF-8\"", "null");
    place.project.edit("c.kdl", "on-bad-record \"skip\" max=\"0.1%\"; ", "");
    tell(place.rows());
    insta::assert_snapshot!(told.into_inner());
}

#[test]
fn missing_contents_are_counted_and_many_are_an_error() {
    let place = Place::public(300);
    let remove = |numbers: &[usize]| {
        for number in numbers {
            place.storage.remove(&format!("some-bucket/content/{}", key(*number)));
        }
    };
    remove(&[4, 100, 299]);
    let told =
        "contents: 3 of 300 contents (1.000 %) are missing, the first: s3://some-bucket/content/04/blob 4+é~";
    place.rows().ok().says(told);
    place.fmflow(&["show", "c.kdl", "r/code"]).ok().says(told);
    remove(&[1, 2, 3, 5]);
    place.project.edit("c.kdl", "length=64", "length=32");
    let ran = place.rows().exits(8);
    insta::assert_snapshot!(
        ran.stderr.lines().skip_while(|line| !line.starts_with("error")).collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn a_server_that_was_repaired_is_asked_again() {
    let place = Place::public(300);
    let path = |number: usize| format!("some-bucket/content/{}", key(number));
    let repair = |number: usize| place.storage.put(&path(number), gzip(&encode(number).1));
    let missing = [3, 50, 120, 299];
    missing.iter().for_each(|number| place.storage.remove(&path(*number)));
    place.rows().exits(8).says("4 of 300 contents (1.333 %) are missing");
    place.rows().exits(8).says("4 of 300 contents (1.333 %) are missing");
    missing.iter().for_each(|number| repair(*number));
    place.storage.asked();
    place.rows().ok();
    let asked: BTreeSet<String> = place.storage.asked().into_iter().collect();
    assert_eq!(asked, missing.iter().map(|number| path(*number)).collect(), "the others are kept");
    // What a portal sends in place of everything, what was cut when it was written, what is too large.
    let portal = b"<html>log in first</html>".to_vec();
    let cut = gzip(&encode(5).1);
    for (length, number, bad) in
        [(32, 4, portal), (48, 5, cut[..cut.len() - 4].to_vec()), (80, 6, vec![0; (16 << 20) + 1])]
    {
        let pipeline = PIPELINE.replace("CONTENTS", PUBLIC).replace("length=64", &format!("length={length}"))
            + TINY_TRAINING;
        place.project.write("c.kdl", &pipeline);
        place.storage.put(&path(number), bad);
        place.rows().exits(8);
        repair(number);
        place.storage.asked();
        place.rows().ok();
        let asked: BTreeSet<String> = place.storage.asked().into_iter().collect();
        assert!(asked.contains(&path(number)) && !asked.contains(&path(number - 1)), "{number}");
        let whole = Place::public(300);
        whole.project.write("c.kdl", &pipeline);
        whole.rows().ok();
        assert_eq!(place.row_file("rows.bin"), whole.row_file("rows.bin"), "{number}");
    }
}

#[test]
fn a_smoke_run_generates_documents_for_records_that_a_command_makes() {
    let place = Place::public(3);
    place.project.edit(
        "c.kdl",
        "from=\"ids*.jsonl\" format=\"jsonl\"",
        "from=\"ids/*.jsonl\" format=\"jsonl\"",
    );
    let text = fs::read_to_string(place.project.path().join("c.kdl")).unwrap();
    let command = "command \"ids\" run=\"cp inputs/raw/* ids.jsonl\" { input \"raw\" files=\"ids0.jsonl\"; output \"ids.jsonl\"; }\n";
    place.project.write("c.kdl", &(text + command));
    let ran = place.fmflow(&["run", "c.kdl", "--smoke", "--allow-commands"]).ok();
    ran.says("dataset `code`: generated documents");
    assert_eq!(place.storage.count_asked(), 0);
}

#[test]
fn a_killed_stage_does_not_fetch_again_what_is_here() {
    let files = [80, 80, 80, 80, 80];
    let place = Place::new(PUBLIC, None, &files, |_| 10);
    let start = Instant::now();
    let mut child =
        place.command(&["run", "c.kdl", "--until", "r/code"]).stderr(Stdio::null()).spawn().unwrap();
    // The contents of two files at least are here once so many are asked for.
    while place.storage.count_asked() < 250 {
        assert!(start.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before: BTreeSet<String> = place.storage.asked().into_iter().collect();
    place.rows().ok();
    let again = place.storage.asked();
    let twice = again.iter().filter(|path| before.contains(*path)).count();
    assert!(again.len() < 400 - 160 && twice <= before.len() - 160, "{} again, {twice} twice", again.len());
    let whole = Place::new(PUBLIC, None, &files, |_| 0);
    whole.rows().ok();
    assert_eq!(place.row_file("rows.bin"), whole.row_file("rows.bin"));
    // A server that refuses leaves less to do.
    place.project.edit("c.kdl", "length=64", "length=32");
    for number in 130..400 {
        place.storage.misbehave(
            &format!("some-bucket/content/{}", key(number)),
            &[Odd::Status(403, "", "<Error><Code>AccessDenied</Code></Error>")],
        );
    }
    place.rows().exits(8);
    place.storage.asked();
    let kept =
        walkdir::WalkDir::new(place.project.path().join(".fmflow/work")).into_iter().map(Result::unwrap);
    let segments: Vec<_> = kept.filter(|entry| entry.file_name() == "000000").collect();
    assert_eq!(segments.len(), 2, "of the first file, and of the one that was interrupted");
    for number in 130..400 {
        place.storage.misbehave(&format!("some-bucket/content/{}", key(number)), &[]);
    }
    place.rows().ok();
    assert_eq!(place.storage.asked().len(), 270, "no more than was missing");
    assert_eq!(walkdir::WalkDir::new(place.project.path().join(".fmflow/work")).into_iter().count(), 1);
}

#[test]
fn what_was_kept_and_is_damaged_is_fetched_again() {
    let place = Place::new(PUBLIC, None, &[50, 50], |_| 0);
    let path = format!("some-bucket/content/{}", key(70));
    place.storage.misbehave(&path, &[Odd::Status(403, "", "")]);
    place.rows().exits(8);
    let work = place.project.path().join(".fmflow/work");
    let files = walkdir::WalkDir::new(&work).into_iter().map(Result::unwrap);
    let first = files
        .filter(|entry| entry.file_name() == "000000")
        .min_by_key(|entry| entry.metadata().unwrap().modified().unwrap());
    let first = first.unwrap().into_path();
    let mut bytes = fs::read(&first).unwrap();
    bytes[100] ^= 1;
    fs::write(&first, bytes).unwrap();
    place.storage.asked();
    place.rows().ok().says("was damaged, and is fetched again");
    let asked = place.storage.asked();
    assert_eq!(asked.len(), 80, "the first file, and the rest of the second");
}

#[test]
fn check_compares_the_fields_that_an_address_names() {
    let place = Place::public(3);
    place.fmflow(&["check", "c.kdl", "--runnable"]).ok();
    place.project.edit("c.kdl", "{blob_id}", "{blobid}");
    let ran = place.fmflow(&["check", "c.kdl", "--format", "concise"]).exits(2);
    ran.says("the lines of `ids0.jsonl` have no field `blobid`")
        .says("the fields are `blob_id`, `src_encoding`, `path`");
    place.project.edit("c.kdl", "{blobid}", "{blob_id}");
    place.project.edit("ids0.jsonl", &key(2), "a/../../b");
    let ran = place.fmflow(&["check", "c.kdl", "--format", "concise"]).exits(8);
    ran.says("ids0.jsonl:3: the key `content/a/../../b` leads to another folder");
    place.project.edit("ids0.jsonl", "a/../../b", &key(2));
    let ran = place.fmflow(&["run", "c.kdl", "--smoke"]).ok();
    ran.says("dataset `code`: generated documents");
    assert_eq!(place.storage.count_asked(), 0, "a smoke run needs no network");
}
