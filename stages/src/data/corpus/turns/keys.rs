//! Keys that change what a conversation means: whether a turn is learnt, rules beside the turns, and what is not learnt here.

use serde_json::{Map, Value};

use super::TurnError;
use crate::data::corpus::Speaker;
use crate::data::corpus::non_text::{describe_non_text, is_blank_value};

/// Whether a turn is learnt: OpenAI's key, and those of axolotl.
const LEARNT: [&str; 4] = ["weight", "train", "training", "train_turn"];

const TOOLS: &str = "leave out conversations with tools: fmflow does not learn them";
const THOUGHT: &str = "write it into the text as the chat template has it, or remove it";
const UNCLEAR: &str = "say whether it is learnt by `weight`, 0 or 1";
const PARTS: &str = "remove that: an answer is learnt as a whole";
const MEDIA: &str = "leave out conversations with pictures, sound or films: fmflow does not learn them";

/// Keys of a turn that are refused: key, what it does, cure.
const OF_A_TURN: [(&str, &str, &str); 9] = [
    ("tool_calls", "calls a tool by its", TOOLS),
    ("function_call", "calls a tool by its", TOOLS),
    ("reasoning_content", "keeps what is thought apart in", THOUGHT),
    ("reasoning", "keeps what is thought apart in", THOUGHT),
    ("thinking", "keeps what is thought apart in", THOUGHT),
    ("mask", "has a", UNCLEAR),
    ("loss_mask", "has a", UNCLEAR),
    ("train_detail", "is learnt in parts by its", PARTS),
    ("training_detail", "is learnt in parts by its", PARTS),
];

/// Keys of a line that are refused: key, what it is, cure.
const OF_A_LINE: [(&str, &str, &str); 5] = [
    ("tools", "offers tools", TOOLS),
    ("functions", "offers tools", TOOLS),
    ("images", "is more than text", MEDIA),
    ("audios", "is more than text", MEDIA),
    ("videos", "is more than text", MEDIA),
];

/// Rules that stand beside the turns, as LLaMA-Factory has them.
const RULES: [&str; 2] = ["system", "system_prompt"];

/// Refuses a turn with keys whose meaning would be lost.
pub(super) fn check_turn_keys(turn: &Map<String, Value>) -> Result<(), TurnError> {
    match OF_A_TURN.iter().find(|(key, ..)| has_value(turn, key)) {
        Some((key, what, cure)) => Err((format!("{what} `{key}`"), cure)),
        None => Ok(()),
    }
}

/// Whether a turn is learnt, as far as its keys say; not if one of several says no.
pub(super) fn is_learnt(turn: &Map<String, Value>, role: Speaker) -> Result<bool, TurnError> {
    let mut learnt = true;
    for (key, value) in LEARNT.iter().filter_map(|key| Some((key, turn.get(*key)?))) {
        let yes = match value {
            Value::Null => continue,
            Value::Bool(yes) => Some(*yes),
            number => number.as_f64().filter(|share| [0.0, 1.0].contains(share)).map(|share| share > 0.0),
        };
        let Some(yes) = yes else {
            let what = format!("has a `{key}` of {value}");
            return Err((what, "an answer is learnt or not: write 0 or 1"));
        };
        if yes && role != Speaker::Assistant {
            return Err((format!("is to be learnt, by its `{key}`"), "remove that: only answers are learnt"));
        }
        learnt &= yes;
    }
    Ok(learnt)
}

/// The rules beside the turns of a line, with their key. Fields that the dataset names are `taken`.
pub(in crate::data::corpus) fn find_line_rules(
    line: &Map<String, Value>,
    taken: &[&str],
) -> Result<Option<(&'static str, String)>, TurnError> {
    let free = |key: &str| !taken.contains(&key) && has_value(line, key);
    if let Some((key, what, cure)) = OF_A_LINE.iter().find(|(key, ..)| free(key)) {
        return Err((format!("field `{key}` {what}"), cure));
    }
    let found: Vec<&'static str> = RULES.into_iter().filter(|key| free(key)).collect();
    match found[..] {
        [] => Ok(None),
        [key] => read_rules_field(line, key),
        _ => Err(("the line has the fields `system` and `system_prompt`".into(), "remove one of them")),
    }
}

fn read_rules_field(
    line: &Map<String, Value>,
    key: &'static str,
) -> Result<Option<(&'static str, String)>, TurnError> {
    match line.get(key) {
        Some(Value::String(text)) => Ok(Some((key, text.clone()))),
        Some(other) => {
            let (what, cure) = describe_non_text(other);
            Err((format!("field `{key}` is not a string but {what}"), cure.unwrap_or("remove it")))
        }
        None => Ok(None),
    }
}

fn has_value(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key).is_some_and(|value| !is_blank_value(value))
}
