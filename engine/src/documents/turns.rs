//! Reads conversations of several turns: a list of `{"role", "content"}`, or of `{"from", "value"}` as in ShareGPT.

mod keys;

use serde_json::{Map, Value};

use super::non_text::describe_non_text;
use super::{Conversation, Message, Speaker};
pub(super) use keys::find_line_rules;

/// What is wrong with a list of turns, and how to fix it.
pub(super) type TurnError = (String, &'static str);

/// The two ways to write a turn: the keys of the speaker and of the text.
const LAYOUTS: [(&str, &str); 2] = [("role", "content"), ("from", "value")];

/// A turn, and whether it is an answer to learn.
type LearnedTurn = (Message, bool);

/// What is peculiar about a list of turns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TurnCounts {
    /// Turns after the last answer.
    pub later: usize,
    /// Numbers, from 1, of the turns that have the role of the turn before them.
    pub repeated_roles: Vec<usize>,
}

/// Parses `list`, the field `name` of a line, as a conversation.
pub(super) fn parse_conversation(
    list: &Value,
    name: &str,
    group: String,
) -> Result<(Conversation, TurnCounts), TurnError> {
    let Value::Array(turns) = list else {
        let fix = "write [{\"role\": \"user\", \"content\": \"...\"}, ...]";
        return Err((format!("field `{name}` is not a list of turns"), fix));
    };
    let wrong = |at: usize| move |(problem, fix)| (format!("turn {} of `{name}` {problem}", at + 1), fix);
    let turns = turns.iter().enumerate().map(|(at, turn)| parse_turn(turn).map_err(wrong(at)));
    let (messages, learned): (Vec<Message>, Vec<bool>) =
        turns.collect::<Result<Vec<LearnedTurn>, _>>()?.into_iter().unzip();
    for (at, pair) in messages.windows(2).enumerate() {
        check_turn_order(pair).map_err(wrong(at + 1))?;
    }
    if messages.first().is_some_and(|first| first.role == Speaker::Assistant) {
        return Err(wrong(0)((
            "is the assistant's, but there is no question before it".into(),
            "begin with a user turn",
        )));
    }
    if !messages.iter().any(|turn| turn.role == Speaker::Assistant) {
        return Err((format!("no turn of `{name}` is the assistant's"), "add an answer, or remove the line"));
    }
    let counts = count_turns(&messages);
    let talk = Conversation::from_turns(messages, learned, group).ok_or_else(|| {
        (format!("no answer of `{name}` is learned"), "give one the `weight` 1, or remove the line")
    })?;
    Ok((talk, counts))
}

fn count_turns(messages: &[Message]) -> TurnCounts {
    let later = messages.iter().rev().take_while(|turn| turn.role != Speaker::Assistant).count();
    let pairs = messages.windows(2).zip(2..).filter(|(pair, _)| pair[0].role == pair[1].role);
    TurnCounts { later, repeated_roles: pairs.map(|(_, number)| number).collect() }
}

/// Adds the system rules that a line has outside its turns, given as (field, text).
pub(super) fn add_system_rules(
    talk: Conversation,
    name: &str,
    rules: Option<(&str, String)>,
) -> Result<Conversation, TurnError> {
    let Some((key, rules)) = rules else { return Ok(talk) };
    if talk.messages().iter().any(|turn| turn.role == Speaker::System) {
        let what = format!("the line has both the field `{key}` and a system turn in `{name}`");
        return Err((what, "remove one of them"));
    }
    Ok(talk.with_rules(rules))
}

/// The key of a turn's text.
pub(super) fn find_content_key(turn: &Map<String, Value>) -> Option<&'static str> {
    let layout = LAYOUTS.iter().find(|(role, _)| turn.contains_key(*role));
    layout.map(|(_, content)| *content)
}

/// Whether a key of a turn has a meaning: who speaks, the text, or whether it is learned.
pub(super) fn is_turn_key(turn: &Map<String, Value>, key: &str) -> bool {
    let layout = LAYOUTS.iter().find(|(role, _)| turn.contains_key(*role));
    layout.is_some_and(|(role, content)| [role, content].contains(&&key)) || keys::says_what_is_learned(key)
}

/// Requires every answer to follow a user turn, or another answer. Otherwise it is unclear which prompt it should be learned from.
fn check_turn_order(pair: &[Message]) -> Result<(), TurnError> {
    match pair {
        [Message { role: Speaker::User | Speaker::Assistant, .. }, _] => Ok(()),
        [_, Message { role: Speaker::Assistant, .. }] => {
            Err(("is the assistant's, but does not follow a user turn".into(), "put a user turn before it"))
        }
        _ => Ok(()),
    }
}

fn parse_turn(turn: &Value) -> Result<LearnedTurn, TurnError> {
    let fix = "write {\"role\": \"user\", \"content\": \"...\"}";
    let Value::Object(turn) = turn else { return Err(("is not an object".into(), fix)) };
    let layout = LAYOUTS.iter().find(|(role, _)| turn.contains_key(*role));
    let Some((role, content)) = layout else { return Err(("does not say who speaks".into(), fix)) };
    keys::check_turn_keys(turn)?;
    let message = Message {
        role: parse_speaker(read_turn_text(turn, role)?)?,
        content: read_turn_text(turn, content)?.to_owned(),
    };
    let learned = keys::is_learned(turn, message.role)? && message.role == Speaker::Assistant;
    Ok((message, learned))
}

fn read_turn_text<'a>(turn: &'a Map<String, Value>, key: &str) -> Result<&'a str, TurnError> {
    let fill = "fill it, or remove the turn";
    match turn.get(key) {
        Some(Value::String(text)) if text.is_empty() => Err((format!("has an empty `{key}`"), fill)),
        Some(Value::String(text)) if text.trim().is_empty() => Err((format!("has a blank `{key}`"), fill)),
        Some(Value::String(text)) => Ok(text),
        Some(other) => {
            let (what, fix) = describe_non_text(other);
            Err((format!("has a `{key}` that is not a string but {what}"), fix.unwrap_or(fill)))
        }
        None => Err((format!("has no `{key}`"), "complete it, or remove the turn")),
    }
}

/// The speaker; `human` and `gpt` are ShareGPT's names.
fn parse_speaker(word: &str) -> Result<Speaker, TurnError> {
    match word {
        "system" => Ok(Speaker::System),
        "user" | "human" => Ok(Speaker::User),
        "assistant" | "gpt" => Ok(Speaker::Assistant),
        "developer" => {
            Err(("has the unknown role `developer`".into(), "write `system`, which means the same"))
        }
        _ => Err((
            format!("has the unknown role `{word}`"),
            "write `system`, `user` or `assistant`, or remove the line",
        )),
    }
}

#[cfg(test)]
mod tests;
