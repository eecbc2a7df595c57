//! Keys that change the meaning of a conversation: whether a turn is learned, system rules outside the turns, and keys that
//! are refused because ignoring them would silently change the training data.

use serde_json::{Map, Value};

use super::TurnError;
use crate::documents::Speaker;
use crate::documents::fields::find_field;
use crate::documents::non_text::{describe_non_text, is_blank_value};

/// Keys that say whether a turn is learned: OpenAI's, then axolotl's.
const LEARNED: [&str; 4] = ["weight", "train", "training", "train_turn"];

const TOOLS: &str = "remove conversations that use tools: fmflow cannot train on them";
const THOUGHT: &str = "write it into the text in the form that the chat template uses, or remove it";
const UNCLEAR: &str = "use `weight` 0 or 1 to say whether it is learned";
const PARTS: &str = "remove it: an answer is learned as a whole";
const MEDIA: &str = "remove conversations with images, audio or video: fmflow cannot train on them";

/// Keys of a turn that are refused: key, what it means (the message ends with the key), fix.
const OF_A_TURN: [(&str, &str, &str); 9] = [
    ("tool_calls", "calls a tool with", TOOLS),
    ("function_call", "calls a tool with", TOOLS),
    ("reasoning_content", "has separate reasoning in", THOUGHT),
    ("reasoning", "has separate reasoning in", THOUGHT),
    ("thinking", "has separate reasoning in", THOUGHT),
    ("mask", "has a", UNCLEAR),
    ("loss_mask", "has a", UNCLEAR),
    ("train_detail", "is to be learned in parts according to", PARTS),
    ("training_detail", "is to be learned in parts according to", PARTS),
];

/// Keys of a line that are refused: key, what is wrong, fix.
const OF_A_LINE: [(&str, &str, &str); 5] = [
    ("tools", "offers tools", TOOLS),
    ("functions", "offers tools", TOOLS),
    ("images", "is not text", MEDIA),
    ("audios", "is not text", MEDIA),
    ("videos", "is not text", MEDIA),
];

/// Fields with system rules outside the turns, as in LLaMA-Factory.
const RULES: [&str; 2] = ["system", "system_prompt"];

/// Whether a key says that a turn is learned.
pub(super) fn says_what_is_learned(key: &str) -> bool {
    LEARNED.contains(&key)
}

/// Refuses a turn with a key whose meaning would be lost.
pub(super) fn check_turn_keys(turn: &Map<String, Value>) -> Result<(), TurnError> {
    match OF_A_TURN.iter().find(|(key, ..)| has_value(turn, key)) {
        Some((key, what, fix)) => Err((format!("{what} `{key}`"), fix)),
        None => Ok(()),
    }
}

/// Whether the keys of a turn allow it to be learned. If it has several such keys, all must agree to learn it.
pub(super) fn is_learned(turn: &Map<String, Value>, role: Speaker) -> Result<bool, TurnError> {
    let mut learned = true;
    for (key, value) in LEARNED.iter().filter_map(|key| Some((key, turn.get(*key)?))) {
        let yes = match value {
            Value::Null => continue,
            Value::Bool(yes) => Some(*yes),
            number => number.as_f64().filter(|share| [0.0, 1.0].contains(share)).map(|share| share > 0.0),
        };
        let Some(yes) = yes else {
            let what = format!("has a `{key}` of {value}");
            return Err((what, "write 0 or 1: an answer is either learned or not"));
        };
        if yes && role != Speaker::Assistant {
            return Err((
                format!("is marked to be learned by `{key}`"),
                "remove it: only answers are learned",
            ));
        }
        learned &= yes;
    }
    Ok(learned)
}

/// The system rules of a line outside its turns, with their key: in the field `named` or in a usual one. The fields in `taken`
/// already have another meaning, because the dataset names them.
pub(in crate::documents) fn find_line_rules<'a>(
    line: &Map<String, Value>,
    named: Option<&'a str>,
    taken: &[&str],
) -> Result<Option<(&'a str, String)>, TurnError> {
    let free = |key: &str| !taken.contains(&key) && has_value(line, key);
    if let Some((key, what, fix)) = OF_A_LINE.iter().find(|(key, ..)| free(key)) {
        return Err((format!("field `{key}` {what}"), fix));
    }
    let usual = RULES.into_iter().filter(|key| Some(*key) != named && free(key));
    let found: Vec<&'a str> = named.into_iter().filter(|key| has_value(line, key)).chain(usual).collect();
    match found[..] {
        [] => Ok(None),
        [key] => Ok(Some((key, read_rules_field(line, key)?))),
        [one, other, ..] => {
            Err((format!("the line has both the fields `{one}` and `{other}`"), "remove one of them"))
        }
    }
}

fn read_rules_field(line: &Map<String, Value>, key: &str) -> Result<String, TurnError> {
    match find_field(line, key).expect("a key with a value was found") {
        Value::String(text) => Ok(text.clone()),
        other => {
            let (what, fix) = describe_non_text(other);
            Err((format!("field `{key}` is not a string but {what}"), fix.unwrap_or("remove it")))
        }
    }
}

fn has_value(map: &Map<String, Value>, key: &str) -> bool {
    find_field(map, key).is_some_and(|value| !is_blank_value(value))
}
