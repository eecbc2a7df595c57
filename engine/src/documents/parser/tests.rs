//! Tests of documents, of what they leave unused, and of how that is told.

use super::*;
use crate::documents::{Remark, Tally};

fn pair(input: Option<&str>, system: Option<&str>) -> DatasetFormat {
    DatasetFormat::Chat {
        turns: TurnFields::Pair { user: "q".into(), input: input.map(str::to_owned), assistant: "a".into() },
        system: system.map(str::to_owned),
        group: None,
    }
}

fn list() -> DatasetFormat {
    DatasetFormat::chat(TurnFields::list("messages"))
}

fn parser(format: DatasetFormat) -> DocumentParser {
    DocumentParser::new(&DatasetConfig::of_format("d", format))
}

/// Parses a line in which `'` stands for `"`.
fn parse(format: DatasetFormat, line: &str) -> Result<ParsedDocument, String> {
    parse_with(&parser(format), line)
}

fn parse_with(parser: &DocumentParser, line: &str) -> Result<ParsedDocument, String> {
    match parser.parse(&line.replace('\'', "\""), true) {
        Ok(ParsedRecord::Document(parsed)) => Ok(*parsed),
        Ok(ParsedRecord::FilteredOut) => Err("it is filtered out".to_owned()),
        Ok(ParsedRecord::Named(_)) => panic!("its document lies elsewhere: {line}"),
        Err(fault) => Err(format!("{}; {}", fault.problem, fault.fix)),
    }
}

fn turns(format: DatasetFormat, line: &str) -> Vec<String> {
    let parsed = parse(format, line).unwrap_or_else(|fault| panic!("{line}: {fault}"));
    let Document::Chat(talk) = parsed.document else { panic!("a conversation") };
    talk.messages().iter().map(|turn| format!("{:?}: {}", turn.role, turn.content)).collect()
}

fn leftovers(format: DatasetFormat, line: &str) -> Leftovers {
    parse(format, line).unwrap_or_else(|fault| panic!("{line}: {fault}")).leftovers
}

#[test]
fn an_input_follows_the_question_on_a_new_line() {
    let line = "{'q': 'Sort.', 'i': 'c b a', 'a': 'a b c'}";
    assert_eq!(turns(pair(Some("i"), None), line), ["User: Sort.\nc b a", "Assistant: a b c"]);
    for nothing in ["'i': '', ", "'i': ' \\n', ", "'i': null, ", ""] {
        let line = format!("{{'q': 'Sort.', {nothing}'a': 'b'}}");
        assert_eq!(turns(pair(Some("i"), None), &line), ["User: Sort.", "Assistant: b"], "{line}");
    }
    let kept = turns(pair(Some("i"), None), "{'q': 'Is it JSON?', 'i': '[]', 'a': 'yes'}");
    assert_eq!(kept[0], "User: Is it JSON?\n[]", "only blanks are no input");
    let fault = parse(pair(Some("i"), None), "{'q': 'x', 'i': ['c'], 'a': 'b'}").err().unwrap_or_default();
    assert!(fault.starts_with("field `i` is not a string but a list; join"), "{fault}");
}

#[test]
fn a_system_field_is_the_first_turn() {
    let line = "{'q': 'x', 'a': 'y', 's': 'Be kind.'}";
    assert_eq!(turns(pair(None, Some("s")), line), ["System: Be kind.", "User: x", "Assistant: y"]);
    assert_eq!(turns(pair(None, Some("s")), "{'q': 'x', 'a': 'y', 's': ''}").len(), 2);
    let named = DatasetFormat::Chat {
        turns: TurnFields::list("messages"),
        system: Some("persona".into()),
        group: None,
    };
    let talk = "'messages': [{'role': 'user', 'content': 'x'}, {'role': 'assistant', 'content': 'y'}]";
    let found = turns(named.clone(), &format!("{{'persona': 'Be kind.', {talk}}}"));
    assert_eq!(found, ["System: Be kind.", "User: x", "Assistant: y"]);
    assert_eq!(turns(named.clone(), &format!("{{'system': 'Be kind.', {talk}}}")), found);
    let both = parse(named, &format!("{{'persona': 'a', 'system': 'b', {talk}}}")).err().unwrap_or_default();
    assert_eq!(both, "the line has both the fields `persona` and `system`; remove one of them");
}

#[test]
fn content_that_no_setting_reads_is_noticed() {
    let unread = |format: DatasetFormat, rest: &str| {
        let line = format!("{{'q': 'Sort these words now.', 'a': 'b', {rest}}}");
        leftovers(format, &line).unread
    };
    for name in ["input", "context", "query", "system", "passage"] {
        assert_eq!(
            unread(pair(None, None), &format!("'{name}': 'b'")),
            [name],
            "short, but part of a prompt"
        );
        assert!(unread(pair(None, None), &format!("'{name}': ' '")).is_empty());
        assert!(unread(pair(None, None), &format!("'{name}': null")).is_empty());
        assert!(unread(pair(Some(name), None), &format!("'{name}': 'b'")).is_empty(), "it is read");
    }
    for content in [
        "'history': [['a', 'b']]",
        "'images': ['a.png']",
        "'notes': 'three words here'",
        "'notes': ['of a list of texts']",
        "'notes': [{'body': 'in a list of objects'}]",
        "'notes': '这是一段没有空格的文字'",
    ] {
        assert_eq!(unread(pair(None, None), content).len(), 1, "{content}");
    }
    for harmless in [
        "'id': 'a-1'",
        "'id': 7",
        "'source': 'web crawl'",
        "'url': 'https://example.org/x'",
        "'date': '2020-01-01 10:00'",
        "'meta': {'title': 'of an object'}",
        "'question': 'Sort these words now.'",
        "'part': 'Sort these words'",
        "'text': 'Q: Sort these words now. A: b'",
        "'history': []",
    ] {
        assert!(unread(pair(None, None), harmless).is_empty(), "{harmless}");
    }
}

#[test]
fn content_beside_turns_and_texts_is_noticed_too() {
    let talk = "'messages': [{'role': 'user', 'content': 'x'}, {'role': 'assistant', 'content': 'y'}]";
    let unread = |rest: &str| leftovers(list(), &format!("{{{rest}, {talk}}}")).unread;
    assert_eq!(unread("'context': 'the sea'"), ["context"]);
    assert!(unread("'system': 'Be kind.'").is_empty(), "it is the first turn");
    assert!(unread("'prompt': 'x'").is_empty(), "it repeats a turn");
    let inside = |rest: &str| {
        let line = talk.replacen("'content': 'x'", &format!("'content': 'x', {rest}"), 1);
        leftovers(list(), &format!("{{{line}}}")).unread
    };
    assert_eq!(inside("'context': 'the sea'"), ["messages.context"]);
    assert_eq!(inside("'value': 'in the other layout'"), ["messages.value"]);
    for harmless in ["'name': 'Ann'", "'weight': 0", "'id': 7", "'context': ''", "'input': 'x'"] {
        assert!(inside(harmless).is_empty(), "{harmless}");
    }
    let text = DatasetFormat::Jsonl { text: "text".into() };
    let line = "{'text': 'y', 'instruction': 'x', 'title': 'three words here'}";
    assert_eq!(leftovers(text, line).unread, ["instruction", "title"]);
}

#[test]
fn a_field_can_be_left_out_on_purpose() {
    let mut dataset = DatasetConfig::of_format("d", pair(None, None));
    dataset.strict = true;
    let line = "{'q': 'x', 'a': 'y', 'context': 'z'}";
    let fault = parse_with(&DocumentParser::new(&dataset), line).err().unwrap_or_default();
    assert_eq!(
        fault,
        "field `context` has content that no setting reads; write `input=\"context\"` in `chat`, so that it follows the \
        question; to leave it out on purpose, write `unread \"context\"` in the dataset"
    );
    dataset.unread = vec!["context".into()];
    assert!(parse_with(&DocumentParser::new(&dataset), line).is_ok());
}

/// A line of turns with these roles, `u` and `a`.
fn talk(roles: &str) -> String {
    let turn = |role| match role {
        'u' => "{'role': 'user', 'content': 'x'}",
        _ => "{'role': 'assistant', 'content': 'y'}",
    };
    format!("{{'messages': [{}]}}", roles.chars().map(turn).collect::<Vec<_>>().join(", "))
}

#[test]
fn turns_that_are_not_used_and_roles_in_a_row_are_counted() {
    let found = |roles: &str| {
        let Leftovers { later_turns, repeated_roles, .. } = leftovers(list(), &talk(roles));
        (later_turns, repeated_roles)
    };
    assert_eq!(found("uaua"), (0, vec![]));
    assert_eq!(found("uauu"), (2, vec![4]));
    assert_eq!(found("uuauuua"), (0, vec![2, 5, 6]));
}

#[test]
fn a_strict_dataset_has_no_leftovers() {
    let strict = |format: DatasetFormat, line: &str| {
        let mut dataset = DatasetConfig::of_format("d", format);
        dataset.strict = true;
        parse_with(&DocumentParser::new(&dataset), line).err()
    };
    assert_eq!(strict(list(), &talk("ua")), None);
    for (roles, problem) in [
        ("uau", "1 turn is after the last answer; an answer has the role `assistant`: correct"),
        ("uauu", "2 turns are after the last answer; an answer has"),
        ("uua", "turn 2 has the role of the turn before it; correct the role, or join the turns"),
    ] {
        let fault = strict(list(), &talk(roles)).unwrap_or_default();
        assert!(fault.starts_with(problem), "{fault}");
    }
    let fault = strict(pair(None, None), "{'q': 'x', 'a': 'y', 'q': 'z'}");
    assert_eq!(
        fault.as_deref(),
        Some("the key `q` appears twice; write each key once: only the last one is read")
    );
}

#[test]
fn leftovers_are_counted_with_their_share_and_first_place() {
    let mut tally = Tally::default();
    let lines = [
        "{'q': 'x', 'a': 'y', 'input': ''}",
        "{'q': 'x', 'a': 'y', 'input': 'z'}",
        "{'q':'x','a':'y','a':'z'}",
    ];
    for (at, line) in lines.iter().cycle().take(6).enumerate() {
        tally.add(&leftovers(pair(None, None), line), || format!("d.jsonl:{}", at + 1));
    }
    let told: Vec<Remark> = tally.describe(&pair(None, None), "");
    let texts: Vec<&str> = told.iter().map(|remark| remark.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "no setting reads the content of `input`: 2 of 6 documents (33.3 %), first in d.jsonl:2",
            "keys appear twice: 2 of 6 lines (33.3 %), first `a` in d.jsonl:3",
        ]
    );
    let mut tally = Tally::default();
    for roles in ["ua", "uauu"] {
        tally.add(&leftovers(list(), &talk(roles)), || roles.to_owned());
    }
    let texts: Vec<String> =
        tally.describe(&list(), "the first ").into_iter().map(|remark| remark.text).collect();
    assert_eq!(
        texts,
        [
            "turns after the last answer are not used: 2 in 1 of the first 2 conversations (50.0 %), first in uauu",
            "turns have the role of the turn before: 1 in 1 of the first 2 conversations (50.0 %), first in uauu",
        ]
    );
}

#[test]
fn a_field_that_no_line_has_is_found() {
    let mut tally = Tally::default();
    let format = pair(Some("inptu"), Some("s"));
    for line in ["{'q': 'x', 'a': 'y', 'input': 'z'}", "{'q': 'x', 'a': 'y', 's': 'z'}"] {
        tally.add(&leftovers(format.clone(), line), String::new);
    }
    assert_eq!(tally.find_absent_field(), Some("inptu"));
    tally.add(&leftovers(format, "{'q': 'x', 'a': 'y', 'inptu': ''}"), String::new);
    assert_eq!(tally.find_absent_field(), None);
}

#[test]
fn a_stranger_cannot_make_the_tally_grow() {
    let mut tally = Tally::default();
    for at in 0..1000 {
        let line = format!("{{'q': 'x', 'a': 'y', 'field {at}': 'three words here'}}");
        tally.add(&leftovers(pair(None, None), &line), String::new);
    }
    let told = tally.describe(&pair(None, None), "");
    assert_eq!(told.len(), 33);
    assert!(
        told[32]
            .text
            .starts_with("no setting reads the content of `(other fields)`: 968 of 1000 documents (96.8 %)")
    );
}
