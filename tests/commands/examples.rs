//! The frozen data of the quickstart match their generators in `examples/`.

#[allow(dead_code, reason = "`main` writes the file, the test only compares")]
#[path = "../../examples/make_corpus.rs"]
mod make_corpus;
#[allow(dead_code, reason = "`main` writes the file, the test only compares")]
#[path = "../../examples/make_tasks.rs"]
mod make_tasks;

fn frozen(name: &str) -> String {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart").join(name);
    std::fs::read_to_string(file).expect("the frozen file is part of the repository")
}

#[test]
fn the_stories_match_their_generator() {
    assert!(frozen("corpus/tales.txt") == make_corpus::tales(), "run `cargo run --example make_corpus`");
}

#[test]
fn the_instructions_match_their_generator() {
    let found = frozen("tasks/instructions.jsonl");
    assert!(found == make_tasks::instructions(), "run `cargo run --example make_tasks`");
}

#[test]
fn the_answers_are_correct() {
    for line in frozen("tasks/instructions.jsonl").lines() {
        let field = |name: &str| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()[name].as_str().unwrap().to_owned()
        };
        let question = field("question");
        let (kind, items) = question.split_once(": ").unwrap();
        let items: Vec<&str> = items.split(' ').collect();
        let mut sorted = items.clone();
        sorted.sort_by_key(|item| item.as_bytes()[0]);
        let expected = match kind {
            "repeat" => items.join(" "),
            "reverse" => items.iter().rev().copied().collect::<Vec<_>>().join(" "),
            "sort" => sorted.join(" "),
            "first" => items[0].to_owned(),
            "last" => items[items.len() - 1].to_owned(),
            "count" => format!("{}", items.len()),
            other => panic!("unknown kind {other}"),
        };
        assert_eq!((field("answer"), field("task")), (expected, kind.to_owned()), "{line}");
    }
}
