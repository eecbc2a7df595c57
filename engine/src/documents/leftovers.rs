//! What of a line no document uses: fields with content that no setting reads, turns after the last answer, turns of one role
//! in a row, keys that appear twice.

use serde_json::{Map, Value};

use super::fields::find_field;
use super::line::LineFault;
use super::non_text::is_blank_value;
use super::turns::{find_content_key, is_turn_key};
use super::{Document, Speaker};
use crate::pipeline::config::{DatasetFormat, TurnFields};

/// Names under which data sets keep a part of the prompt. Any content in them counts, however short.
pub(super) const PROMPT_FIELDS: [&str; 16] = [
    "input",
    "context",
    "query",
    "question",
    "instruction",
    "prompt",
    "passage",
    "background",
    "system",
    "system_prompt",
    "history",
    "tools",
    "functions",
    "images",
    "audios",
    "videos",
];

/// Fields that hold system rules.
const RULES_FIELDS: [&str; 2] = ["system", "system_prompt"];

/// Fields that are not text, or speak of more than text.
const UNTRAINED_FIELDS: [&str; 5] = ["tools", "functions", "images", "audios", "videos"];

/// A string with this many words, or letters of a script without blanks, is text. Shorter ones are names, dates, categories.
const TEXT_WORDS: usize = 3;
const TEXT_LETTERS: usize = 10;

/// What of a line is not part of its document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Fields with content that no setting reads.
    pub unread: Vec<String>,
    /// Fields that the dataset names and the line lacks, although it need not have them.
    pub absent: Vec<String>,
    /// Turns after the last answer.
    pub later_turns: usize,
    /// Numbers, from 1, of the turns that have the role of the turn before them.
    pub repeated_roles: Vec<usize>,
    /// Keys that appear twice in one object.
    pub repeated_keys: Vec<String>,
}

impl Leftovers {
    /// The fault of a line with leftovers, for datasets that accept none.
    pub(super) fn to_fault(&self, format: &DatasetFormat) -> Option<LineFault> {
        if let Some(name) = self.unread.first() {
            let problem = format!("field `{name}` has content that no setting reads");
            return Some(LineFault::new(problem, suggest_setting(name, format)));
        }
        if self.later_turns > 0 {
            let problem = format!("{} after the last answer", count_turns(self.later_turns));
            return Some(LineFault::new(problem, LATER_TURNS_FIX));
        }
        if let Some(turn) = self.repeated_roles.first() {
            let problem = format!("turn {turn} has the role of the turn before it");
            return Some(LineFault::new(problem, REPEATED_ROLES_FIX));
        }
        let key = self.repeated_keys.first()?;
        Some(LineFault::new(format!("the key `{key}` appears twice"), REPEATED_KEYS_FIX))
    }
}

pub(super) const LATER_TURNS_FIX: &str =
    "an answer has the role `assistant`: correct the role, or remove the turns";
pub(super) const REPEATED_ROLES_FIX: &str = "correct the role, or join the turns into one";
pub(super) const REPEATED_KEYS_FIX: &str = "write each key once: only the last one is read";

fn count_turns(turns: usize) -> String {
    if turns == 1 { "1 turn is".to_owned() } else { format!("{turns} turns are") }
}

/// What to write so that the field `name` is read, or left out on purpose.
#[must_use]
pub(super) fn suggest_setting(name: &str, format: &DatasetFormat) -> String {
    let rules = RULES_FIELDS.contains(&name);
    let read = match format {
        _ if UNTRAINED_FIELDS.contains(&name) => {
            "remove the lines that have it, because fmflow trains on text alone".to_owned()
        }
        DatasetFormat::Chat { system: None, turns: TurnFields::Pair { .. }, .. } if rules => {
            format!("write `system={name:?}` in `chat`")
        }
        DatasetFormat::Chat { turns: TurnFields::Pair { .. }, .. } if name == "history" => {
            "write all turns of a line as one list, and name it with `messages=`".to_owned()
        }
        DatasetFormat::Chat { turns: TurnFields::Pair { input: None, .. }, .. } if !rules => {
            format!("write `input={name:?}` in `chat`, so that it follows the question")
        }
        DatasetFormat::Chat { .. } => "put it into a turn that is read".to_owned(),
        DatasetFormat::Contents(_) => "put it into the content".to_owned(),
        DatasetFormat::Jsonl { .. } | DatasetFormat::Text => {
            "put it into the text, or write a `chat` that reads it".to_owned()
        }
    };
    format!("{read}; to leave it out on purpose, write `unread {name:?}` in the dataset")
}

/// The fields with content that no setting reads. A field that repeats what is read is no loss.
pub(super) fn find_unread_fields(
    format: &DatasetFormat,
    ignored: &[String],
    filtered: &[&str],
    fields: &Map<String, Value>,
    document: &Document,
) -> Vec<String> {
    let read = list_read_fields(format);
    let lost = |name: &str, value: &Value| {
        !read.contains(&name)
            && !filtered.contains(&name)
            && !read.iter().any(|path| path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
            && !ignored.iter().any(|field| field == name)
            && has_content(name, value)
            && !repeats_what_is_read(value, format, fields, document)
    };
    let beside = fields.iter().filter(|(name, value)| lost(name, value)).map(|(name, _)| name.clone());
    let inside = match format {
        DatasetFormat::Chat { turns: TurnFields::List { messages }, .. } => {
            find_unread_turn_keys(messages, find_field(fields, messages).expect("turns were read"))
        }
        _ => Vec::new(),
    };
    beside.chain(inside.into_iter().filter(|name| !ignored.contains(name))).collect()
}

/// Keys of turns with content that is not read, each once, as `messages.context`.
fn find_unread_turn_keys(messages: &str, list: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for turn in list.as_array().into_iter().flatten().filter_map(Value::as_object) {
        let content = find_content_key(turn).and_then(|key| turn[key].as_str());
        for (key, value) in turn.iter().filter(|(key, _)| !is_turn_key(turn, key)) {
            let repeated = value.as_str().is_some_and(|text| content.is_some_and(|all| all.contains(text)));
            let name = format!("{messages}.{key}");
            if has_content(key, value) && !repeated && !found.contains(&name) {
                found.push(name);
            }
        }
    }
    found
}

/// The fields that the settings of a dataset read.
pub(super) fn list_read_fields(format: &DatasetFormat) -> Vec<&str> {
    match format {
        DatasetFormat::Text => vec![],
        DatasetFormat::Jsonl { text } => vec![text],
        DatasetFormat::Contents(contents) => contents.fields().collect(),
        DatasetFormat::Chat { turns, system, group } => {
            let mut read: Vec<&str> = [system, group].into_iter().flatten().map(String::as_str).collect();
            match turns {
                TurnFields::Pair { user, input, assistant } => {
                    read.extend(
                        [Some(user), input.as_ref(), Some(assistant)]
                            .into_iter()
                            .flatten()
                            .map(String::as_str),
                    );
                }
                TurnFields::List { messages } => {
                    read.push(messages);
                    read.extend(RULES_FIELDS);
                }
            }
            read
        }
    }
}

fn has_content(name: &str, value: &Value) -> bool {
    let usual = PROMPT_FIELDS.contains(&name);
    match value {
        Value::String(text) if usual => !text.trim().is_empty(),
        Value::Array(_) | Value::Object(_) if usual => !is_blank_value(value),
        _ => holds_text(value),
    }
}

/// Whether a value is text, or a list in which there is text.
fn holds_text(value: &Value) -> bool {
    match value {
        Value::String(text) => is_text(text),
        Value::Array(items) => items.iter().any(|item| match item {
            Value::Object(fields) => fields.values().any(holds_text),
            item => holds_text(item),
        }),
        _ => false,
    }
}

fn is_text(text: &str) -> bool {
    let letters = || text.chars().filter(|letter| letter.is_alphabetic() && *letter > '\u{2e80}');
    text.split_whitespace().nth(TEXT_WORDS - 1).is_some() || letters().nth(TEXT_LETTERS - 1).is_some()
}

/// Whether a text is part of a given turn, or contains all of the conversation: some data sets keep such a `prompt` or `text`
/// beside the turns.
fn repeats_what_is_read(
    value: &Value,
    format: &DatasetFormat,
    fields: &Map<String, Value>,
    document: &Document,
) -> bool {
    let Value::String(text) = value else { return false };
    let part_of = |whole: &str| whole == text || is_text(text) && whole.contains(text.as_str());
    let talk = match document {
        Document::Text(whole) => return part_of(whole),
        Document::Chat(talk) => talk,
    };
    let has_all = match format {
        DatasetFormat::Chat { turns: TurnFields::Pair { user, assistant, .. }, .. } => {
            [user, assistant].iter().all(|name| {
                find_field(fields, name).and_then(Value::as_str).is_some_and(|part| text.contains(part))
            })
        }
        _ => talk.messages().iter().all(|turn| text.contains(&turn.content)),
    };
    let mut given = talk.messages().iter().filter(|turn| turn.role != Speaker::Assistant);
    has_all || given.any(|turn| part_of(&turn.content))
}

/// Whether a field has one of the names of prompts, or the dataset consists of conversations: only then `check` warns of it,
/// because text in other fields of documents is usually a title or a source.
#[must_use]
pub(super) fn is_prompt_part(name: &str, format: &DatasetFormat) -> bool {
    matches!(format, DatasetFormat::Chat { .. }) || PROMPT_FIELDS.contains(&name)
}
