//! Tests of the readers.

use super::*;
use proptest::prelude::*;
use std::fs::File;
use std::path::Path;

fn write(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    std::fs::write(&file, bytes).unwrap();
    (dir, file)
}

fn chat() -> Format {
    Format::Chat { user: "q".into(), assistant: "a".into(), group: Some("kind".into()) }
}

fn read(bytes: &[u8], format: Format) -> Result<Vec<Document>, CorpusError> {
    let (_dir, file) = write("x", bytes);
    documents(vec![file], format).collect()
}

#[test]
fn text_is_cut_at_the_first_blank_line_after_a_kibibyte() {
    let long = "x".repeat(GROUP_BYTES);
    let text = format!("\n\nshort\n\n{long}\n\n\nnext\n  indented\n\n");
    let found = read(text.as_bytes(), Format::Text).unwrap();
    let expected = [format!("short\n\n{long}"), "next\n  indented".to_owned()];
    assert_eq!(found, expected.map(Document::Text));
}

#[test]
fn fields_are_taken_by_name() {
    let lines =
        b"{\"a\": \"2\", \"q\": \"1+1?\", \"kind\": \"sum\"}\n\n{\"q\":\"x\",\"a\":\"y\",\"kind\":\"z\"}";
    let found = read(lines, chat()).unwrap();
    let expect = |prompt: &str, answer: &str, group: &str| {
        Document::Chat(Conversation::pair(prompt.into(), answer.into(), group.into()))
    };
    assert_eq!(found, [expect("1+1?", "2", "sum"), expect("x", "y", "z")]);
    let text = read(b"{\"t\": \"one\"}\n", Format::Lines { text: "t".into() }).unwrap();
    assert_eq!(text, [Document::Text("one".into())]);
}

#[test]
fn lists_of_turns_are_taken_whole_or_refused_with_their_line() {
    let format = || Format::Turns { messages: "messages".into(), group: None };
    let turn = |role: &str, content: &str| format!("{{\"role\":\"{role}\",\"content\":\"{content}\"}}");
    let line = |turns: &[String]| format!("{{\"messages\":[{}]}}\n", turns.join(","));
    let (user, assistant) = (turn("user", "x"), turn("assistant", "y"));
    let good = line(&[user.clone(), assistant.clone(), turn("user", "z")]);
    let found = read(good.as_bytes(), format()).unwrap();
    assert_eq!(found, [Document::Chat(Conversation::pair("x".into(), "y".into(), String::new()))]);
    let error = read((good + &line(&[assistant, user])).as_bytes(), format()).unwrap_err().to_string();
    assert!(error.contains("x:2: turn 1 of `messages` is the assistant's"), "{error}");
    let error = read(b"{\"conversation\": []}\n", format()).unwrap_err().to_string();
    assert!(error.contains("field `messages` is missing, there is `conversation`"), "{error}");
}

#[test]
fn all_answers_of_a_conversation_are_held_out_together() {
    let rules = |rules: &str, question: &str| {
        let said = |role, content: &str| Message { role, content: content.to_owned() };
        let turns =
            vec![said(Speaker::System, rules), Message::user(question), said(Speaker::Assistant, "a")];
        Document::Chat(Conversation::of(turns, String::new()).unwrap())
    };
    for i in 0..50 {
        let question = format!("question {i}");
        let held_out = is_held_out(&question, 0.3);
        assert_eq!(rules("be kind", &question).is_held_out(0.3), held_out, "by the first question alone");
        assert_eq!(rules("be brief", &question).is_held_out(0.3), held_out);
    }
}

#[test]
fn damaged_lines_are_refused_with_their_place() {
    let good = "{\"q\":\"x\",\"a\":\"y\",\"kind\":\"z\"}\n";
    for (line, problem) in [
        (&b"{\"q\":\"x\"}"[..], "field `a` is missing, there is `q`"),
        (b"{\"q\":\"x\",\"a\":3}", "field `a` is not a string"),
        (b"{\"q\":\"\",\"a\":\"y\"}", "field `q` is empty"),
        (b"{\"q\":\"x\",\"a\":\"y\"}", "field `kind` is missing"),
        (b"{\"q\":\"x\",", "not JSON"),
        (b"[1]", "not an object"),
        (b"{\"q\":\"x\",\"a\":\"y\"}\r\n", "CR LF"),
        (b"{\"q\":\"\0\",\"a\":\"y\"}", "NUL"),
        (b"{\"q\":\"\xff\",\"a\":\"y\"}", "not UTF-8 at byte 6"),
    ] {
        let error = read(&[good.as_bytes(), line].concat(), chat()).unwrap_err().to_string();
        assert!(error.contains("x:2: ") && error.contains(problem) && error.contains("; "), "{error}");
    }
    let mark = read(b"\xef\xbb\xbftext", Format::Text).unwrap_err().to_string();
    assert!(mark.contains("x:1: ") && mark.contains("byte order mark"), "{mark}");
}

#[test]
fn a_line_has_an_end() {
    let (_dir, file) = write("x", b"");
    File::options().write(true).open(&file).unwrap().set_len(LINE_BYTES + 2).unwrap();
    let error = documents(vec![file], Format::Text).next().unwrap().unwrap_err().to_string();
    assert!(error.contains("64 MiB"), "{error}");
}

#[test]
fn files_without_documents_are_refused() {
    for bytes in [&b""[..], b"\n \n"] {
        assert!(matches!(read(bytes, Format::Text), Err(CorpusError::Empty { .. })));
        assert!(matches!(read(bytes, chat()), Err(CorpusError::Empty { .. })));
    }
    assert!(matches!(documents(vec!["absent".into()], chat()).next(), Some(Err(CorpusError::Io { .. }))));
}

#[test]
fn an_error_ends_the_documents() {
    let (_dir, file) = write("x", b"[]\n{\"q\":\"x\",\"a\":\"y\"}\n");
    let mut all = documents(vec![file.clone(), file], chat());
    assert!(all.next().unwrap().is_err());
    assert!(all.next().is_none());
}

#[cfg(unix)]
#[test]
fn only_regular_files_are_opened() {
    let (dir, inside) = write("in.txt", b"inside");
    let (_other, outside) = write("out.txt", b"outside");
    let link = |target: &Path, name: &str| {
        std::os::unix::fs::symlink(target, dir.path().join(name)).unwrap();
        dir.path().join(name)
    };
    let first = |file: PathBuf| documents(vec![file], Format::Text).next().unwrap();
    assert!(first(link(&inside, "inner")).is_ok());
    assert!(matches!(first(link(&outside, "outer")), Err(CorpusError::Escape { .. })));
    assert!(matches!(first(dir.path().to_owned()), Err(CorpusError::NotAFile { what: "a folder", .. })));
    assert!(matches!(first("/dev/null".into()), Err(CorpusError::NotAFile { .. })));
    let pipe = dir.path().join("pipe");
    if std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
        assert!(matches!(first(pipe), Err(CorpusError::NotAFile { .. })));
    }
}

#[test]
fn a_conversation_is_held_out_by_its_prompt() {
    let make = |answer: &str| Document::Chat(Conversation::pair("p".into(), answer.into(), String::new()));
    assert_ne!(make("1").id(), make("2").id());
    for percent in 0..100 {
        let fraction = f64::from(percent) / 100.0;
        assert_eq!(make("1").is_held_out(fraction), make("2").is_held_out(fraction));
    }
}

#[test]
fn the_held_out_share_is_the_stated_one() {
    // 20,000 draws at 5 %: standard deviation 31; limit 5 of them.
    let count = (0..20_000).filter(|i| is_held_out(&format!("document {i}"), 0.05)).count();
    assert!(count.abs_diff(1000) < 155, "{count}");
}

proptest! {
    #[test]
    fn a_larger_fraction_holds_out_more(text in ".*", a in 0.0..1.0f64, b in 0.0..1.0f64) {
        let (low, high) = (a.min(b), a.max(b));
        prop_assert!(!is_held_out(&text, low) || is_held_out(&text, high));
        prop_assert!(!is_held_out(&text, 0.0) && is_held_out(&text, 1.0));
    }

    #[test]
    fn any_bytes_give_documents_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes, Format::Text);
        let _ = read(&bytes, chat());
    }
}
