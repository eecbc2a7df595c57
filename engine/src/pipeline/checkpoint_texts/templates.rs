//! Chat templates, which four places can hold.

use serde_json::Value;

use super::{
    CheckpointTexts, Disagreement, TEMPLATE, TEMPLATE_JSON, TOKENIZER_CONFIG, show_place, show_word,
};

/// How to make templates agree.
const ONE_TEMPLATE: &str = "keep the template that the model was trained with, and remove the other";

impl CheckpointTexts {
    /// Names of the templates in the list form of `tokenizer_config.json` that can be names of files.
    pub(super) fn list_template_names(&self) -> Vec<String> {
        let plain =
            |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
        self.list_templates().into_iter().map(|(name, _)| name).filter(plain).map(str::to_owned).collect()
    }

    /// Whether there is a template for turns, where the stages look for it.
    #[must_use]
    pub(crate) fn has_template(&self) -> bool {
        self.find_template().is_some()
    }

    /// The template for turns, where the stages look for it.
    #[must_use]
    pub(crate) fn find_template(&self) -> Option<&str> {
        let listed = || self.list_templates().into_iter().find(|(name, _)| *name == "default");
        self.template.as_deref().or_else(|| listed().map(|(_, text)| text))
    }

    /// (name, text) of the templates in `tokenizer_config.json`; a single one is the default.
    fn list_templates(&self) -> Vec<(&str, &str)> {
        match self.tokenizer_config.get("chat_template") {
            Some(Value::String(text)) => vec![("default", text)],
            Some(Value::Array(list)) => list.iter().filter_map(read_template).collect(),
            _ => Vec::new(),
        }
    }

    /// Templates of one name with different texts.
    pub(super) fn compare_templates(&self) -> Vec<Disagreement> {
        let own = self.list_templates();
        let place = |name: &str| match self.tokenizer_config.get("chat_template") {
            Some(Value::Array(_)) => {
                format!("{} named {}", show_place(TOKENIZER_CONFIG, "chat_template"), show_word(name))
            }
            _ => show_place(TOKENIZER_CONFIG, "chat_template"),
        };
        let mut all: Vec<(&str, String, &str)> =
            own.iter().map(|(name, text)| (*name, place(name), *text)).collect();
        all.extend(self.template.as_deref().map(|text| ("default", format!("`{TEMPLATE}`"), text)));
        let json = self.template_json.get("chat_template").and_then(Value::as_str);
        all.extend(json.map(|text| ("default", show_place(TEMPLATE_JSON, "chat_template"), text)));
        let more = self.more_templates.iter();
        all.extend(more.map(|(name, path, text)| (name.as_str(), format!("`{path}`"), text.as_str())));
        let mut found = Vec::new();
        for (at, (name, first, text)) in all.iter().enumerate() {
            let same =
                |(other, _, other_text): &&(&str, String, &str)| other == name && !is_same(text, other_text);
            found.extend(all[at + 1..].iter().filter(same).map(|(_, second, _)| {
                let what = format!("the chat template of {first} differs from that of {second}");
                Disagreement { what, cure: ONE_TEMPLATE.to_owned() }
            }));
        }
        found
    }
}

/// The name and text of an entry of the list form.
fn read_template(entry: &Value) -> Option<(&str, &str)> {
    Some((entry["name"].as_str()?, entry["template"].as_str()?))
}

/// Jinja drops one line end at the end of a template.
fn is_same(a: &str, b: &str) -> bool {
    let trim = |text: &str| text.strip_suffix('\n').unwrap_or(text).to_owned();
    trim(a) == trim(b)
}
