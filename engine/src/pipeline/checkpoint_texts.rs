//! The small files of a checkpoint that speak of the same things: tokens and their ids, special tokens, chat templates.
//!
//! Programs differ in which file they believe. If two files disagree, the text that a model sees depends on the program, and a row
//! that one file gives to a token may be the mask of another. Such a folder is refused with both places.

mod claims;
mod special_tokens;
mod templates;
mod tokens;

use std::fmt;

use serde_json::{Map, Value};

use crate::pipeline::checkpoint_config::{UnreadSetting, cut, parse_unique_object, show_value};
use crate::text::escape::escape_line;
use tokens::TokenizerTokens;

/// Files that are read if they exist.
pub(crate) const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const ADDED_TOKENS: &str = "added_tokens.json";
const SPECIAL_TOKENS: &str = "special_tokens_map.json";
const TEMPLATE: &str = "chat_template.jinja";
const TEMPLATE_JSON: &str = "chat_template.json";
const SLOW_VOCABULARY: &str = "vocab.json";
const SLOW_MERGES: &str = "merges.txt";

/// The folder of templates besides the default one, as `NAME.jinja`.
pub(crate) const MORE_TEMPLATES: &str = "additional_chat_templates";

/// Settings of `tokenizer_config.json` that nothing reads, and what that means.
const UNREAD_TEXT_SETTINGS: [(&str, &str); 5] = [
    ("add_bos_token", "is not read: fmflow begins a text with no token but those of the chat template"),
    ("add_eos_token", "is not read: `end-of-document` of `rows` says whether a document ends with a token"),
    ("add_prefix_space", "is not read: only tokenizer.json says what is done to a text before it is split"),
    ("do_lower_case", "is not read: only tokenizer.json says what is done to a text before it is split"),
    ("split_special_tokens", "is not read: the name of a special token in a prompt is that token"),
];

/// Stands for the folder in a cure.
pub(super) const FOLDER: &str = "FOLDER";

/// What happens to the templates in [`MORE_TEMPLATES`].
#[must_use]
pub(crate) fn describe_left_templates() -> String {
    format!("the templates in `{MORE_TEMPLATES}` are left behind: only the default chat template is used")
}

/// Two files that say different things of the same, or one file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// What they say, with both places.
    pub what: String,
    /// How to make them agree. Its word FOLDER stands for the folder.
    pub cure: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// How to repair an entry about a token: all files of the tokenizer are written anew from what transformers makes of them.
fn save_again(place: &str) -> String {
    format!(
        "let transformers write the files anew: `AutoTokenizer.from_pretrained('{FOLDER}').save_pretrained('{FOLDER}')`; or remove {place}, if it is wrong"
    )
}

/// How to repair a file that is not JSON.
const RESTORE: &str = "restore the file from the model's repository, or remove it";

/// The small files of a checkpoint, parsed. What is absent is empty.
#[derive(Debug, Default)]
pub struct CheckpointTexts {
    config: Map<String, Value>,
    generation: Map<String, Value>,
    tokenizer: Option<TokenizerTokens>,
    tokenizer_config: Map<String, Value>,
    added_tokens: Map<String, Value>,
    special_tokens: Map<String, Value>,
    template: Option<String>,
    template_json: Map<String, Value>,
    /// Name, path and text of further templates that `tokenizer_config.json` names too.
    more_templates: Vec<(String, String, String)>,
    slow_vocabulary: Option<Map<String, Value>>,
    slow_merges: Option<String>,
}

impl CheckpointTexts {
    /// Reads the files through `read`, which returns the bytes of a file by its name, or why it cannot be read; `None` if there
    /// is no such file.
    ///
    /// # Errors
    /// If a file cannot be read or is malformed.
    pub fn read(read: impl Fn(&str) -> Option<Result<Vec<u8>, String>>) -> Result<Self, Disagreement> {
        let text = |name: &str| read(name).map(|bytes| read_text(name, bytes)).transpose();
        let object = |name: &str| match text(name)? {
            None => Ok(None),
            Some(text) => parse_unique_object(&text).map(Some).map_err(|why| malformed(name, &why)),
        };
        // One that cannot be parsed here is left to the library, which reads every kind of model or says what is wrong.
        let tokenizer = read(TOKENIZER).and_then(|bytes| TokenizerTokens::parse(&bytes.ok()?).ok());
        let mut texts = Self {
            config: object(CONFIG)?.unwrap_or_default(),
            generation: object(GENERATION)?.unwrap_or_default(),
            tokenizer,
            tokenizer_config: object(TOKENIZER_CONFIG)?.unwrap_or_default(),
            added_tokens: object(ADDED_TOKENS)?.unwrap_or_default(),
            special_tokens: object(SPECIAL_TOKENS)?.unwrap_or_default(),
            template: text(TEMPLATE)?,
            template_json: object(TEMPLATE_JSON)?.unwrap_or_default(),
            more_templates: Vec::new(),
            slow_vocabulary: object(SLOW_VOCABULARY)?,
            slow_merges: text(SLOW_MERGES)?,
        };
        for name in texts.list_template_names() {
            let path = format!("{MORE_TEMPLATES}/{name}.jinja");
            if let Some(text) = text(&path)? {
                texts.more_templates.push((name, path, text));
            }
        }
        Ok(texts)
    }

    /// Settings of `tokenizer_config.json` that change what transformers makes of a text, and that nothing reads here.
    #[must_use]
    pub fn list_unread_settings(&self) -> Vec<UnreadSetting> {
        let set = UNREAD_TEXT_SETTINGS.iter().filter_map(|(key, meaning)| {
            let value = self.tokenizer_config.get(*key).filter(|value| **value == true)?;
            Some(UnreadSetting {
                file: TOKENIZER_CONFIG,
                key: (*key).into(),
                value: show_value(value),
                meaning,
            })
        });
        set.collect()
    }

    /// Every disagreement, in the order of the files above.
    #[must_use]
    pub fn find_disagreements(&self) -> Vec<Disagreement> {
        let mut found = self.compare_special_ids();
        if let Some(tokens) = &self.tokenizer {
            found.extend(self.compare_added_tokens(tokens));
            found.extend(self.compare_named_tokens(tokens));
            found.extend(self.compare_slow_files(tokens));
        }
        found.extend(self.compare_templates());
        found
    }
}

/// The text of a file from its bytes.
fn read_text(name: &str, bytes: Result<Vec<u8>, String>) -> Result<String, Disagreement> {
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned()));
    text.map_err(|why| malformed(name, &why))
}

fn malformed(name: &str, why: &str) -> Disagreement {
    Disagreement { what: format!("`{name}` cannot be read: {why}"), cure: RESTORE.to_owned() }
}

/// A place in a file, for messages.
fn show_place(file: &str, key: &str) -> String {
    format!("`{}` in `{file}`", escape_line(&cut(key)))
}

/// A word of a file, for messages.
fn show_word(word: &str) -> String {
    show_value(&Value::from(word))
}

#[cfg(test)]
mod tests;
