//! Tests of reading documents from files.

use fmflow_engine::documents::{GROUP_BYTES, LINE_BYTES, is_held_out};
use fmflow_engine::pipeline::config::{DatasetFormat, TurnFields};

use super::*;
use proptest::prelude::*;
use std::fs::File;
use std::path::{Path, PathBuf};

fn write(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    std::fs::write(&file, bytes).unwrap();
    (dir, file)
}

fn chat() -> DatasetFormat {
    DatasetFormat::Chat { turns: TurnFields::pair("q", "a"), system: None, group: Some("kind".into()) }
}

fn read(bytes: &[u8], format: DatasetFormat) -> Result<Vec<Document>, CorpusError> {
    let (_dir, file) = write("x", bytes);
    read_all(vec![file], format)
}

#[test]
fn text_is_cut_at_the_first_blank_line_after_a_kibibyte() {
    let long = "x".repeat(GROUP_BYTES);
    let text = format!("\n\nshort\n\n{long}\n\n\nnext\n  indented\n\n");
    let found = read(text.as_bytes(), DatasetFormat::Text).unwrap();
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
    let text = read(b"{\"t\": \"one\"}\n", DatasetFormat::Jsonl { text: "t".into() }).unwrap();
    assert_eq!(text, [Document::Text("one".into())]);
}

#[test]
fn lists_of_turns_are_taken_whole_or_refused_with_their_line() {
    let format = || DatasetFormat::chat(TurnFields::list("messages"));
    let turn = |role: &str, content: &str| format!("{{\"role\":\"{role}\",\"content\":\"{content}\"}}");
    let line = |turns: &[String]| format!("{{\"messages\":[{}]}}\n", turns.join(","));
    let (user, assistant) = (turn("user", "x"), turn("assistant", "y"));
    let good = line(&[user.clone(), assistant.clone(), turn("user", "z")]);
    let found = read(good.as_bytes(), format()).unwrap();
    assert_eq!(found, [Document::Chat(Conversation::pair("x".into(), "y".into(), String::new()))]);
    let error = read((good + &line(&[assistant, user])).as_bytes(), format()).unwrap_err().to_string();
    assert!(error.contains("x:2: turn 1 of `messages` is the assistant's"), "{error}");
    let error = read(b"{\"conversation\": []}\n", format()).unwrap_err().to_string();
    assert!(error.contains("field `messages` is missing, the line has `conversation`"), "{error}");
}

fn turns(line: &str) -> Result<Vec<Document>, CorpusError> {
    let format =
        DatasetFormat::Chat { turns: TurnFields::list("messages"), system: None, group: Some("kind".into()) };
    read(format!("{}\n", line.replace('\'', "\"")).as_bytes(), format)
}

#[test]
fn a_system_beside_the_turns_is_the_first_turn() {
    let talk = "[{'from':'human','value':'q'},{'from':'gpt','value':'a'},{'from':'human','value':'r'},{'from':'gpt','value':'b'}]";
    let first = "{'from':'system','value':'Be kind.'},";
    let whole = turns(&format!("{{'kind':'k','messages':{}}}", talk.replacen('[', &format!("[{first}"), 1)));
    for key in ["system", "system_prompt"] {
        let beside = turns(&format!("{{'kind':'k','{key}':'Be kind.','messages':{talk}}}"));
        assert_eq!(beside.unwrap(), *whole.as_ref().unwrap(), "{key}");
    }
    let given = talk.replacen("'a'", "'a','weight':0", 1);
    let found = turns(&format!("{{'kind':'k','system':'Be kind.','messages':{given}}}")).unwrap();
    let Document::Chat(talk) = &found[0] else { panic!("a conversation") };
    assert_eq!(talk.chats().map(|chat| chat.answer).collect::<Vec<_>>(), ["b"], "places move with the turn");
}

#[test]
fn keys_of_a_line_that_would_be_lost_are_refused() {
    let talk = "'messages':[{'role':'user','content':'q'},{'role':'assistant','content':'a'}]";
    let ruled = talk.replacen('[', "[{'role':'system','content':'s'},", 1);
    for (line, problem) in [
        (format!("'tools':[{{'name':'f'}}],{talk}"), "field `tools` offers tools; remove conv"),
        (format!("'functions':'[f]',{talk}"), "field `functions` offers tools; remove conv"),
        (format!("'images':['a.png'],{talk}"), "field `images` is not text; remove conv"),
        (
            format!("'system':'s',{ruled}"),
            "both the field `system` and a system turn in `messages`; remove one",
        ),
        (
            format!("'system':'s','system_prompt':'t',{talk}"),
            "fields `system` and `system_prompt`; remove one",
        ),
        (format!("'system':['s'],{talk}"), "field `system` is not a string but a list; "),
    ] {
        let error = turns(&format!("{{'kind':'k',{line}}}")).unwrap_err().to_string();
        assert!(error.contains("x:1: ") && error.contains(problem), "{error}");
    }
    let plain = turns(&format!("{{'kind':'k',{talk}}}")).unwrap();
    for nothing in
        ["'tools':[]", "'tools':null", "'system':''", "'system':null", "'functions':'[]'", "'id':7"]
    {
        assert_eq!(turns(&format!("{{'kind':'k',{nothing},{talk}}}")).unwrap(), plain, "{nothing}");
    }
    let named = DatasetFormat::Chat {
        turns: TurnFields::list("messages"),
        system: None,
        group: Some("system".into()),
    };
    let line = format!("{{'system':'rules of a kind',{talk}}}\n").replace('\'', "\"");
    let found = read(line.as_bytes(), named).unwrap();
    let Document::Chat(talk) = &found[0] else { panic!("a conversation") };
    assert_eq!(talk.messages().len(), 2, "a field that the dataset names has the meaning that it gives");
}

#[test]
fn the_error_about_a_json_array_says_how_to_split_it() {
    for text in ["[{\"q\":\"x\",\"a\":\"y\",\"kind\":\"z\"}]", "\n[\n  {\"q\": \"x\"}\n]\n"] {
        let error = read(text.as_bytes(), chat()).unwrap_err().to_string();
        assert!(error.contains("the file is one JSON array") && error.contains("`jq -c '.[]'`"), "{error}");
    }
}

#[test]
fn a_question_or_answer_of_blanks_is_refused() {
    for line in ["{\"q\":\" \",\"a\":\"y\",\"kind\":\"z\"}", "{\"q\":\"x\",\"a\":\"\\n\",\"kind\":\"z\"}"] {
        let error = read(line.as_bytes(), chat()).unwrap_err().to_string();
        assert!(error.contains("is blank; fill it or remove the line"), "{error}");
    }
    let error = read(b"{\"q\":null,\"a\":\"y\"}", chat()).unwrap_err().to_string();
    assert!(error.ends_with("field `q` is not a string but null; fill it or remove the line"), "{error}");
}

#[test]
fn all_answers_of_a_conversation_are_held_out_together() {
    let rules = |rules: &str, question: &str| {
        let said = |role, content: &str| Message { role, content: content.to_owned() };
        let turns =
            vec![said(Speaker::System, rules), Message::user(question), said(Speaker::Assistant, "a")];
        Document::Chat(Conversation::from_turns(turns, vec![false, false, true], String::new()).unwrap())
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
        (&b"{\"q\":\"x\"}"[..], "field `a` is missing, the line has `q`"),
        (b"{\"q\":\"x\",\"a\":3}", "field `a` is not a string"),
        (b"{\"q\":\"\",\"a\":\"y\"}", "field `q` is empty"),
        (b"{\"q\":\"x\",\"a\":\"y\"}", "field `kind` is missing"),
        (b"{\"q\":\"x\",", "not JSON"),
        (b"[1]", "not an object"),
        (b"{\"q\":\"\0\",\"a\":\"y\"}", "NUL byte at byte 6"),
        (b"{\"q\":\"\xff\",\"a\":\"y\"}", "not UTF-8 at byte 6"),
    ] {
        let error = read(&[good.as_bytes(), line].concat(), chat()).unwrap_err().to_string();
        assert!(error.contains("x:2: ") && error.contains(problem) && error.contains("; "), "{error}");
    }
    let mark = read(b"\xef\xbb\xbftext", DatasetFormat::Text).unwrap_err().to_string();
    assert!(mark.contains("x:1: ") && mark.contains("byte order mark"), "{mark}");
}

#[test]
fn lines_end_in_lf_or_cr_lf_and_nowhere_else() {
    let text = "one\u{2028}two\rthree\n\nfour\n";
    let found = read(text.as_bytes(), DatasetFormat::Text).unwrap();
    assert_eq!(found, [Document::Text(text.trim_end().to_owned())]);
    assert_eq!(read(text.replace('\n', "\r\n").as_bytes(), DatasetFormat::Text).unwrap(), found);
    let line = "{\"t\":\"a\u{2028}b\u{85}c\"}";
    let format = || DatasetFormat::Jsonl { text: "t".into() };
    let found = read(format!("{line}\r\n\r\n{line}\r\n").as_bytes(), format()).unwrap();
    assert_eq!(found, vec![Document::Text("a\u{2028}b\u{85}c".into()); 2]);
}

#[test]
fn a_line_has_an_end() {
    let (_dir, file) = write("x", b"");
    File::options().write(true).open(&file).unwrap().set_len(LINE_BYTES + 2).unwrap();
    let error = read_all(vec![file], DatasetFormat::Text).unwrap_err().to_string();
    assert!(error.contains("x:1: ") && error.contains("begins at byte 0, is longer than 64 MiB"), "{error}");
}

#[test]
fn files_without_documents_are_refused() {
    for bytes in [&b""[..], b"\n \n"] {
        assert!(matches!(read(bytes, DatasetFormat::Text), Err(CorpusError::Empty { .. })));
        assert!(matches!(read(bytes, chat()), Err(CorpusError::Empty { .. })));
    }
    assert!(matches!(read_all(vec!["absent".into()], chat()), Err(CorpusError::Io { .. })));
}

/// Reads files of these lines; `'` stands for `"`.
fn read_files(files: &[&[&str]], dataset: &DatasetConfig) -> Result<Vec<Document>, CorpusError> {
    let folder = tempfile::tempdir().unwrap();
    let write = |(at, lines): (usize, &&[&str])| {
        let file = folder.path().join(format!("{at}.jsonl"));
        std::fs::write(&file, lines.join("\n").replace('\'', "\"")).unwrap();
        file
    };
    let files = files.iter().enumerate().map(write).collect();
    read_documents(
        list_whole_files(files),
        dataset,
        Patience { interrupt: &AtomicBool::new(false), tell: None },
        &AnonymousFiles,
    )
    .collect()
}

#[test]
fn one_error_tells_the_faults_of_all_files() {
    let good = "{'q':'x','a':'y'}";
    let dataset = DatasetConfig::of_format("d", DatasetFormat::chat(TurnFields::pair("q", "a")));
    let files: [&[&str]; 4] = [
        &[good, "{'q':'x'}", good, "{'q':'x',", "", "{'q':7,'a':'y'}"],
        &["[", "1", "]"],
        &[],
        &["{'q':'x','a':' '}", good],
    ];
    let error = read_files(&files, &dataset).unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines[0], "the data have 6 faults");
    let expected = [
        "0.jsonl:2: field `a` is missing",
        "0.jsonl:4: the line is not JSON",
        "0.jsonl:6: field `q` is not a string but a number",
        "1.jsonl:1: the file is one JSON array",
        "2.jsonl` contains no document",
        "3.jsonl:1: field `a` is blank",
    ];
    assert_eq!(lines.len(), 7, "{error}");
    for (line, part) in lines[1..].iter().zip(expected) {
        assert!(line.starts_with("  ") && line.contains(part) && line.contains("; "), "{error}");
    }
}

#[test]
fn the_first_twenty_faults_are_shown_and_all_are_counted() {
    let dataset = DatasetConfig::of_format("d", chat());
    let error = read_files(&[&["{'q':'x','a':'y'}"; 50]], &dataset).unwrap_err().to_string();
    assert!(error.starts_with("the data have 50 faults\n") && error.ends_with("\n  and 30 more"), "{error}");
    assert_eq!(error.lines().count(), 22);
    let forged = read_files(&[&["{'q':'x','a\\nfine':'y'}"; 2]], &dataset).unwrap_err().to_string();
    assert_eq!(forged.lines().count(), 3, "a word of the data begins no line: {forged}");
}

#[test]
fn looking_for_faults_stops_when_it_is_asked_to() {
    let (_dir, file) = write("x", b"{}\n{}\n");
    let (dataset, stop) = (DatasetConfig::of_format("d", chat()), AtomicBool::new(true));
    let mut documents = read_documents(
        vec![file.into()],
        &dataset,
        Patience { interrupt: &stop, tell: None },
        &AnonymousFiles,
    );
    let error = documents.next().unwrap().unwrap_err().to_string();
    assert!(
        error.contains("1 fault found before the search was stopped\n")
            && error.contains("x:1: field `q` is missing"),
        "{error}"
    );
}

#[test]
fn a_named_field_that_no_line_has_is_refused_at_the_end() {
    let turns = TurnFields::Pair { user: "q".into(), input: Some("inptu".into()), assistant: "a".into() };
    let dataset = DatasetConfig::of_format("d", DatasetFormat::chat(turns));
    let line = "{'q':'x','a':'y','input':'z'}";
    let error = read_files(&[&[line, line]], &dataset).unwrap_err().to_string();
    assert!(error.starts_with("no line has the field `inptu`; name another"), "{error}");
    assert!(read_files(&[&[line, "{'q':'x','a':'y','inptu':null}"]], &dataset).is_ok());
}

#[test]
fn what_is_left_over_is_counted_with_its_place() {
    let (_dir, file) =
        write("x", b"{\"q\":\"x\",\"a\":\"y\"}\n\n{\"q\":\"x\",\"a\":\"y\",\"context\":\"z\"}\n");
    let mut dataset = DatasetConfig::of_format("d", DatasetFormat::chat(TurnFields::pair("q", "a")));
    let never = Patience { interrupt: &AtomicBool::new(false), tell: None };
    let mut documents = read_documents(vec![file.clone().into()], &dataset, never, &AnonymousFiles);
    assert_eq!(documents.by_ref().filter_map(Result::ok).count(), 2);
    let told = documents.tally().describe(&dataset.format, "");
    assert!(
        told[0].text.contains("`context`: 1 of 2 documents (50.0 %), first in ")
            && told[0].text.ends_with("x:3")
    );
    dataset.strict = true;
    let error = read_documents(vec![file.into()], &dataset, never, &AnonymousFiles)
        .find_map(Result::err)
        .unwrap()
        .to_string();
    assert!(error.contains("x:3: field `context` has content that no setting reads; write"), "{error}");
}

#[test]
fn an_error_ends_the_documents() {
    let (_dir, file) = write("x", b"[]\n{\"q\":\"x\",\"a\":\"y\"}\n");
    let never = Patience { interrupt: &AtomicBool::new(false), tell: None };
    let dataset = DatasetConfig::of_format("d", chat());
    let mut all = read_documents(vec![file.clone().into(), file.into()], &dataset, never, &AnonymousFiles);
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
    let first = |file: PathBuf| read_all(vec![file], DatasetFormat::Text);
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
        let _ = read(&bytes, DatasetFormat::Text);
        let _ = read(&bytes, chat());
    }
}

fn lines_dataset() -> DatasetConfig {
    let layout = FileLayout::Text(fmflow_engine::pipeline::config::TextDocuments::Lines);
    DatasetConfig { layout, ..DatasetConfig::of_format("d", DatasetFormat::Text) }
}

/// Documents with their lines.
fn read_placed(parts: Vec<CorpusPart>, dataset: &DatasetConfig) -> Vec<(Document, RecordPlace)> {
    let never = AtomicBool::new(false);
    let mut documents =
        read_documents(parts, dataset, Patience { interrupt: &never, tell: None }, &AnonymousFiles)
            .of_a_part();
    let mut found = Vec::new();
    while let Some(document) = documents.next() {
        let (file, place) = documents.place().unwrap();
        found.push((document.unwrap(), place.counted_in(file)));
    }
    found
}

proptest! {
    #[test]
    fn a_file_that_is_cut_anywhere_has_the_same_documents(
        mut lines in proptest::collection::vec("[a-z ]{0,9}\r?", 1..40),
        cuts in proptest::collection::btree_set(1..300_u64, 0..7),
        ended in any::<bool>(),
    ) {
        lines.push("last".into());
        let text = lines.join("\n") + if ended { "\n" } else { "" };
        let (_dir, file) = write("x", text.as_bytes());
        let clean = |line: &str| line.trim_end().to_owned();
        let expected: Vec<_> = lines
            .iter()
            .zip(1..)
            .filter(|(line, _)| !line.trim().is_empty())
            .map(|(line, number)| (Document::Text(clean(line)), RecordPlace::Line(number)))
            .collect();
        let ends = cuts.iter().copied().chain([u64::MAX]);
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let parts: Vec<_> =
            starts.zip(ends).map(|(start, end)| CorpusPart { file: file.clone(), bytes: Some(start..end) }).collect();
        let dataset = lines_dataset();
        prop_assert_eq!(&read_placed(parts.clone(), &dataset), &expected);
        let alone: Vec<_> = parts.into_iter().flat_map(|part| read_placed(vec![part], &dataset)).collect();
        prop_assert_eq!(&alone, &expected);
    }
}

#[test]
fn faults_of_parts_have_the_lines_of_the_file() {
    let mut text: String = (0..50).map(|i| format!("{{\"text\": \"{i}\"}}\n")).collect();
    text += "{\"text\": 3}\n[\n";
    let (_dir, file) = write("x", text.as_bytes());
    let dataset = DatasetConfig::of_format("d", DatasetFormat::Jsonl { text: "text".into() });
    let part = |start, end| CorpusPart { file: file.clone(), bytes: Some(start..end) };
    let error = |parts: Vec<CorpusPart>| {
        let never = AtomicBool::new(false);
        let patience = Patience { interrupt: &never, tell: None };
        read_documents(parts, &dataset, patience, &AnonymousFiles).find_map(Result::err).unwrap().to_string()
    };
    for parts in [vec![part(400, u64::MAX)], vec![part(0, 100), part(100, 790), part(790, u64::MAX)]] {
        let error = error(parts);
        assert!(
            error.contains("x:51: field `text` is not a string but a number") && error.contains("x:52: "),
            "{error}"
        );
    }
    // A file without a record is told once, at its end; a part without one is no fault.
    let (_dir, file) = write("blank", b"\n\n\n\n\n\n");
    let part = |start, end| CorpusPart { file: file.clone(), bytes: Some(start..end) };
    let told = error(vec![part(0, 2), part(2, 4), part(4, u64::MAX)]);
    assert!(told.ends_with("contains no document; fill it or remove it from the dataset"), "{told}");
    assert_eq!(read_placed(vec![part(2, 4)], &dataset), []);
    assert_eq!(read_placed(vec![part(4, u64::MAX)], &dataset), []);
}
