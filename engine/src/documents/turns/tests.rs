//! Tests of parsing lists of turns.

use serde_json::json;

use super::*;

fn read(list: Value) -> Result<Conversation, String> {
    let found = parse_conversation(&list, "messages", "kind".into());
    found.map(|(talk, _)| talk).map_err(|(problem, fix)| format!("{problem}; {fix}"))
}

fn said(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

#[test]
fn every_answer_of_a_conversation_is_one_chat_with_the_turns_before() {
    let turns = [
        said("system", "Be kind."),
        said("user", "2+2?"),
        said("assistant", "4"),
        said("user", "and 3?"),
        said("user", "well?"),
        said("assistant", "7"),
        said("user", "thanks"),
    ];
    let chats: Vec<_> = read(json!(turns)).unwrap().chats().collect();
    let words: Vec<_> = chats.iter().map(|chat| (chat.prompt.as_str(), chat.answer.as_str())).collect();
    assert_eq!(words, [("2+2?", "4"), ("well?", "7")]);
    let before = chats.iter().map(|chat| chat.before.iter().map(|turn| turn.content.as_str()).collect());
    let before: Vec<Vec<&str>> = before.collect();
    assert_eq!(before, [vec!["Be kind."], vec!["Be kind.", "2+2?", "4", "and 3?"]]);
    assert!(chats.iter().all(|chat| chat.group == "kind"));
}

#[test]
fn of_two_answers_in_a_row_the_second_is_learned_after_the_first() {
    let turns = [
        said("user", "1"),
        said("assistant", "a"),
        said("user", "2"),
        said("assistant", "b"),
        with("weight", &json!(0)),
        said("assistant", "c"),
    ];
    let (talk, counts) = parse_conversation(&json!(turns), "messages", String::new()).unwrap();
    assert_eq!(counts.repeated_roles, [5, 6], "it may be a mistake, so it is told");
    let chats: Vec<_> = talk.chats().collect();
    let answers: Vec<_> = chats.iter().map(|chat| chat.answer.as_str()).collect();
    assert_eq!(answers, ["a", "b", "c"]);
    let last = &chats[2];
    let texts = |turns: &[Message]| turns.iter().map(|turn| turn.content.clone()).collect::<Vec<_>>();
    assert_eq!((texts(&last.before), last.prompt.as_str()), (vec!["1".into(), "a".into()], "2"));
    assert_eq!(texts(&last.after), ["b", "b"]);
    assert_eq!(last.given(), talk.messages()[..5]);
    let line = serde_json::to_string(&chats[1]).unwrap();
    assert!(!line.contains("after"), "{line}");
    let line = serde_json::to_string(last).unwrap();
    assert_eq!(serde_json::from_str::<crate::documents::Chat>(&line).unwrap(), *last);
}

#[test]
fn the_words_of_sharegpt_mean_the_same() {
    let sharegpt = json!([{ "from": "human", "value": "q" }, { "from": "gpt", "value": "a" }]);
    assert_eq!(read(sharegpt), read(json!([said("user", "q"), said("assistant", "a")])));
}

#[test]
fn lists_that_are_not_conversations_are_refused_with_their_turn() {
    let (user, assistant) = (said("user", "q"), said("assistant", "a"));
    let cases = [
        (json!("hi"), "field `messages` is not a list of turns"),
        (json!([]), "no turn of `messages` is the assistant's"),
        (json!([user]), "no turn of `messages` is the assistant's"),
        (json!([assistant]), "turn 1 of `messages` is the assistant's, but there is no question"),
        (
            json!([user, assistant, said("system", "s"), assistant]),
            "turn 4 of `messages` is the assistant's, but does not",
        ),
        (json!([said("system", "s"), assistant]), "turn 2 of `messages` is the assistant's, but does not"),
        (json!([user, "a"]), "turn 2 of `messages` is not an object"),
        (json!([{ "who": "user" }]), "turn 1 of `messages` does not say who speaks"),
        (
            json!([said("developer", "x")]),
            "turn 1 of `messages` has the unknown role `developer`; write `system`",
        ),
        (json!([said("tool", "x")]), "turn 1 of `messages` has the unknown role `tool`"),
        (json!([said("user", "")]), "turn 1 of `messages` has an empty `content`"),
        (json!([{ "role": "user" }]), "turn 1 of `messages` has no `content`"),
        (json!([{ "role": "user", "content": [] }]), "turn 1 of `messages` has a `content` that is not a"),
        (
            json!([user, { "role": "assistant", "content": null, "tool_calls": [{ "id": "1" }] }]),
            "turn 2 of `messages` calls",
        ),
    ];
    for (list, problem) in cases {
        let found = read(list.clone()).unwrap_err();
        assert!(found.starts_with(problem), "{list}: {found}");
    }
}

/// An assistant turn with an additional key.
fn with(key: &str, value: &Value) -> Value {
    let mut turn = said("assistant", "b");
    turn[key] = value.clone();
    turn
}

#[test]
fn an_answer_may_be_given_and_not_learned() {
    for (key, value) in [
        ("weight", json!(0)),
        ("weight", json!(0.0)),
        ("train", json!(false)),
        ("training", json!(false)),
        ("train_turn", json!(0)),
    ] {
        let turns = [
            said("user", "1"),
            with(key, &value),
            said("user", "2"),
            said("assistant", "c"),
            said("user", "3"),
        ];
        let turns = [&turns[..], &[with(key, &value)]].concat();
        let talk = read(json!(turns)).unwrap();
        let chats: Vec<_> = talk.chats().collect();
        assert_eq!(chats.len(), 1, "{key} {value}");
        assert_eq!((chats[0].prompt.as_str(), chats[0].answer.as_str()), ("2", "c"));
        assert_eq!(chats[0].before[1].content, "b", "it is given");
        assert_eq!(talk.messages().len(), 4, "turns after the last learned answer are not used");
    }
}

#[test]
fn keys_that_change_nothing_are_harmless() {
    let plain = read(json!([said("user", "q"), said("assistant", "b")]));
    for (key, value) in [
        ("weight", json!(1)),
        ("weight", json!(1.0)),
        ("weight", json!(null)),
        ("train", json!(true)),
        ("name", json!("Ann")),
        ("tool_calls", json!(null)),
        ("tool_calls", json!([])),
        ("function_call", json!(null)),
        ("reasoning_content", json!("")),
        ("thinking", json!(" \n")),
        ("mask", json!(null)),
    ] {
        assert_eq!(read(json!([said("user", "q"), with(key, &value)])), plain, "{key} {value}");
    }
    let mut user = said("user", "q");
    user["weight"] = json!(0);
    assert_eq!(read(json!([user, said("assistant", "b")])), plain, "a user's turn is given anyway");
}

#[test]
fn keys_that_would_change_what_is_learned_are_refused_with_a_fix() {
    for (key, value, problem) in [
        ("weight", json!(0.5), "has a `weight` of 0.5; write 0 or 1: an answer is either learned or not"),
        ("train", json!("no"), "has a `train` of \"no\"; write 0 or 1: an answer is either learned or not"),
        ("mask", json!(true), "has a `mask`; use `weight` 0 or 1 to say whether it is learned"),
        ("loss_mask", json!(1), "has a `loss_mask`; use `weight` 0 or 1 to say whether it is learned"),
        (
            "train_detail",
            json!([{"begin_offset": 0}]),
            "is to be learned in parts according to `train_detail`; ",
        ),
        ("function_call", json!({"name": "f"}), "calls a tool with `function_call`; remove conv"),
        ("tool_calls", json!([{"id": "1"}]), "calls a tool with `tool_calls`; remove conv"),
        ("reasoning_content", json!("hm"), "has separate reasoning in `reasoning_content`; "),
        ("reasoning", json!("hm"), "has separate reasoning in `reasoning`; "),
        ("thinking", json!("hm"), "has separate reasoning in `thinking`; "),
    ] {
        let found = read(json!([said("user", "q"), with(key, &value)])).unwrap_err();
        assert!(found.starts_with(&format!("turn 2 of `messages` {problem}")), "{found}");
    }
    let mut user = said("user", "q");
    user["train"] = json!(true);
    let found = read(json!([user, said("assistant", "b")])).unwrap_err();
    assert_eq!(
        found,
        "turn 1 of `messages` is marked to be learned by `train`; remove it: only answers are learned"
    );
    let found = read(json!([said("user", "q"), with("weight", &json!(0))])).unwrap_err();
    assert_eq!(found, "no answer of `messages` is learned; give one the `weight` 1, or remove the line");
}

#[test]
fn content_that_is_not_text_gets_a_fitting_fix() {
    let parts = json!([{ "type": "text", "text": "x" }]);
    for (content, problem) in [
        (json!(null), "that is not a string but null; fill it, or remove the turn"),
        (parts, "that is not a string but a list; join the texts of its parts into one string"),
        (json!({ "text": "x" }), "that is not a string but an object; write its text as one string"),
        (json!(7), "that is not a string but a number; put it in quotes"),
        (json!(true), "that is not a string but true or false; put it in quotes"),
    ] {
        let turn = json!({ "role": "user", "content": content });
        let found = read(json!([turn, said("assistant", "b")])).unwrap_err();
        assert_eq!(found, format!("turn 1 of `messages` has a `content` {problem}"));
    }
    let found = read(json!([said("user", " \n\t"), said("assistant", "b")])).unwrap_err();
    assert_eq!(found, "turn 1 of `messages` has a blank `content`; fill it, or remove the turn");
}
