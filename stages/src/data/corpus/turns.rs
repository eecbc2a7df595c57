//! Conversations of several turns: a list of `{"role", "content"}`, or of `{"from", "value"}` as ShareGPT has it.

mod keys;

use serde_json::{Map, Value};

use super::non_text::describe_non_text;
use super::{Conversation, Message, Speaker};
pub(super) use keys::find_line_rules;

/// What is wrong with a list of turns, and what to do about it.
pub(super) type TurnError = (String, &'static str);

/// The two ways to write a turn: who speaks, and what.
const LAYOUTS: [(&str, &str); 2] = [("role", "content"), ("from", "value")];

/// A turn, and whether it is an answer that is learnt.
type LearntTurn = (Message, bool);

/// The conversation in the field `name` of a line.
pub(super) fn parse_conversation(list: &Value, name: &str, group: String) -> Result<Conversation, TurnError> {
    let Value::Array(turns) = list else {
        let cure = "write [{\"role\": \"user\", \"content\": \"...\"}, ...]";
        return Err((format!("field `{name}` is not a list of turns"), cure));
    };
    let wrong = |at: usize| move |(problem, cure)| (format!("turn {} of `{name}` {problem}", at + 1), cure);
    let turns = turns.iter().enumerate().map(|(at, turn)| parse_turn(turn).map_err(wrong(at)));
    let (messages, learnt): (Vec<Message>, Vec<bool>) =
        turns.collect::<Result<Vec<LearntTurn>, _>>()?.into_iter().unzip();
    for (at, pair) in messages.windows(2).enumerate() {
        check_turn_order(pair).map_err(wrong(at + 1))?;
    }
    if messages.first().is_some_and(|first| first.role == Speaker::Assistant) {
        return Err(wrong(0)(("is the assistant's: it answers nobody".into(), "begin with a user's turn")));
    }
    if !messages.iter().any(|turn| turn.role == Speaker::Assistant) {
        return Err((format!("no turn of `{name}` is the assistant's"), "add an answer, or remove the line"));
    }
    Conversation::from_turns(messages, learnt, group).ok_or_else(|| {
        (format!("no answer of `{name}` is learnt"), "give one the `weight` 1, or remove the line")
    })
}

/// A conversation whose rules stand beside its turns, in the field `key` of the line.
pub(super) fn add_system_rules(
    talk: Conversation,
    name: &str,
    rules: Option<(&str, String)>,
) -> Result<Conversation, TurnError> {
    let Some((key, rules)) = rules else { return Ok(talk) };
    if talk.messages().iter().any(|turn| turn.role == Speaker::System) {
        let what = format!("there are the field `{key}` and a system's turn in `{name}`");
        return Err((what, "remove one of them"));
    }
    Ok(talk.with_rules(rules))
}

/// An answer follows a question: what else it would be learnt from is not clear.
fn check_turn_order(pair: &[Message]) -> Result<(), TurnError> {
    match pair {
        [Message { role: Speaker::User, .. }, _] => Ok(()),
        [_, Message { role: Speaker::Assistant, .. }] => {
            Err(("is the assistant's and follows no user's turn".into(), "put a user's turn before it"))
        }
        _ => Ok(()),
    }
}

fn parse_turn(turn: &Value) -> Result<LearntTurn, TurnError> {
    let cure = "write {\"role\": \"user\", \"content\": \"...\"}";
    let Value::Object(turn) = turn else { return Err(("is no object".into(), cure)) };
    let layout = LAYOUTS.iter().find(|(role, _)| turn.contains_key(*role));
    let Some((role, content)) = layout else { return Err(("does not say who speaks".into(), cure)) };
    keys::check_turn_keys(turn)?;
    let message = Message {
        role: parse_speaker(read_turn_text(turn, role)?)?,
        content: read_turn_text(turn, content)?.to_owned(),
    };
    let learnt = keys::is_learnt(turn, message.role)? && message.role == Speaker::Assistant;
    Ok((message, learnt))
}

fn read_turn_text<'a>(turn: &'a Map<String, Value>, key: &str) -> Result<&'a str, TurnError> {
    let fill = "fill it, or remove the turn";
    match turn.get(key) {
        Some(Value::String(text)) if text.is_empty() => Err((format!("has an empty `{key}`"), fill)),
        Some(Value::String(text)) if text.trim().is_empty() => {
            Err((format!("has a `{key}` of blanks only"), fill))
        }
        Some(Value::String(text)) => Ok(text),
        Some(other) => {
            let (what, cure) = describe_non_text(other);
            Err((format!("has a `{key}` that is not a string but {what}"), cure.unwrap_or(fill)))
        }
        None => Err((format!("has no `{key}`"), "complete it, or remove the turn")),
    }
}

/// Who speaks; `human` and `gpt` are ShareGPT's words.
fn parse_speaker(word: &str) -> Result<Speaker, TurnError> {
    match word {
        "system" => Ok(Speaker::System),
        "user" | "human" => Ok(Speaker::User),
        "assistant" | "gpt" => Ok(Speaker::Assistant),
        _ => Err((format!("is of `{word}`"), "name `system`, `user` or `assistant`, or leave the line out")),
    }
}

#[cfg(test)]
mod tests;
