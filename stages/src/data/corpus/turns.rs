//! Conversations of several turns: a list of `{"role", "content"}`, or of `{"from", "value"}` as ShareGPT has it.

use serde_json::{Map, Value};

use super::{Conversation, Message, Speaker};

/// What is wrong with a list of turns, and what to do about it.
type Problem = (String, &'static str);

/// The two ways to write a turn: who speaks, and what.
const LAYOUTS: [(&str, &str); 2] = [("role", "content"), ("from", "value")];

/// The conversation in the field `name` of a line.
pub(super) fn conversation(list: &Value, name: &str, group: String) -> Result<Conversation, Problem> {
    let Value::Array(turns) = list else {
        let cure = "write [{\"role\": \"user\", \"content\": \"...\"}, ...]";
        return Err((format!("field `{name}` is not a list of turns"), cure));
    };
    let wrong = |at: usize| move |(problem, cure)| (format!("turn {} of `{name}` {problem}", at + 1), cure);
    let messages = turns.iter().enumerate().map(|(at, turn)| message(turn).map_err(wrong(at)));
    let messages: Vec<Message> = messages.collect::<Result<_, _>>()?;
    for (at, pair) in messages.windows(2).enumerate() {
        check_order(pair).map_err(wrong(at + 1))?;
    }
    if messages.first().is_some_and(|first| first.role == Speaker::Assistant) {
        return Err(wrong(0)(("is the assistant's: it answers nobody".into(), "begin with a user's turn")));
    }
    Conversation::of(messages, group).ok_or_else(|| {
        (format!("no turn of `{name}` is the assistant's"), "add an answer, or remove the line")
    })
}

/// An answer follows a question: what else it would be learnt from is not clear.
fn check_order(pair: &[Message]) -> Result<(), Problem> {
    match pair {
        [Message { role: Speaker::User, .. }, _] => Ok(()),
        [_, Message { role: Speaker::Assistant, .. }] => {
            Err(("is the assistant's and follows no user's turn".into(), "put a user's turn before it"))
        }
        _ => Ok(()),
    }
}

fn message(turn: &Value) -> Result<Message, Problem> {
    let cure = "write {\"role\": \"user\", \"content\": \"...\"}";
    let Value::Object(turn) = turn else { return Err(("is no object".into(), cure)) };
    let layout = LAYOUTS.iter().find(|(role, _)| turn.contains_key(*role));
    let Some((role, content)) = layout else { return Err(("does not say who speaks".into(), cure)) };
    if turn.get("tool_calls").is_some_and(|calls| !calls.is_null()) {
        return Err((
            "calls a tool".into(),
            "leave out conversations with tools: fmflow does not learn them",
        ));
    }
    Ok(Message { role: speaker(text(turn, role)?)?, content: text(turn, content)?.to_owned() })
}

fn text<'a>(turn: &'a Map<String, Value>, key: &str) -> Result<&'a str, Problem> {
    match turn.get(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(Value::String(_)) => Err((format!("has an empty `{key}`"), "fill it, or remove the turn")),
        Some(_) => Err((format!("has a `{key}` that is not a string"), "put its text in quotes")),
        None => Err((format!("has no `{key}`"), "complete it, or remove the turn")),
    }
}

/// Who speaks; `human` and `gpt` are ShareGPT's words.
fn speaker(word: &str) -> Result<Speaker, Problem> {
    match word {
        "system" => Ok(Speaker::System),
        "user" | "human" => Ok(Speaker::User),
        "assistant" | "gpt" => Ok(Speaker::Assistant),
        _ => Err((format!("is of `{word}`"), "name `system`, `user` or `assistant`, or leave the line out")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(list: Value) -> Result<Conversation, String> {
        conversation(&list, "messages", "kind".into()).map_err(|(problem, cure)| format!("{problem}; {cure}"))
    }

    fn said(role: &str, content: &str) -> Value {
        json!({ "role": role, "content": content })
    }

    #[test]
    fn every_answer_of_a_conversation_is_one_chat_with_what_was_said_before() {
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
    fn the_words_of_sharegpt_mean_the_same() {
        let sharegpt = json!([{ "from": "human", "value": "q" }, { "from": "gpt", "value": "a" }]);
        assert_eq!(read(sharegpt), read(json!([said("user", "q"), said("assistant", "a")])));
    }

    #[test]
    fn what_is_no_conversation_is_named_with_its_turn() {
        let (user, assistant) = (said("user", "q"), said("assistant", "a"));
        let cases = [
            (json!("hi"), "field `messages` is not a list of turns"),
            (json!([]), "no turn of `messages` is the assistant's"),
            (json!([user]), "no turn of `messages` is the assistant's"),
            (json!([assistant]), "turn 1 of `messages` is the assistant's: it answers nobody"),
            (json!([user, assistant, assistant]), "turn 3 of `messages` is the assistant's and follows no"),
            (json!([said("system", "s"), assistant]), "turn 2 of `messages` is the assistant's and follows"),
            (json!([user, "a"]), "turn 2 of `messages` is no object"),
            (json!([{ "who": "user" }]), "turn 1 of `messages` does not say who speaks"),
            (json!([said("tool", "x")]), "turn 1 of `messages` is of `tool`"),
            (json!([said("user", "")]), "turn 1 of `messages` has an empty `content`"),
            (json!([{ "role": "user" }]), "turn 1 of `messages` has no `content`"),
            (
                json!([{ "role": "user", "content": [] }]),
                "turn 1 of `messages` has a `content` that is not a",
            ),
            (
                json!([user, { "role": "assistant", "content": null, "tool_calls": [] }]),
                "turn 2 of `messages` calls",
            ),
        ];
        for (list, problem) in cases {
            let found = read(list.clone()).unwrap_err();
            assert!(found.starts_with(problem), "{list}: {found}");
        }
    }
}
