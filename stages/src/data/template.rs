//! Chat templates: Jinja from `chat_template.jinja` or `tokenizer_config.json`, rendered as transformers renders it.
//!
//! Blocks are trimmed, strings have Python's methods, `tojson` writes what Python's `json.dumps` writes, `raise_exception`
//! refuses, and `{% generation %}` only groups. `strftime_now` is deliberately missing: rows are cached by their inputs, so a
//! conversation must not depend on the day. Templates that test whether it is defined fall back to a fixed date; others fail
//! when they call it.
//!
//! A template comes with a checkpoint and is not trusted: it can read only its inputs, and its number of instructions is
//! limited.

mod python;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde_json::Value as Json;
use std::path::Path;

use super::tokenizer_error::{TokenizerError, read_tokenizer_file};

/// The file to which transformers writes a template since 4.51; it takes precedence over `tokenizer_config.json`.
pub(crate) const TEMPLATE_FILE: &str = "chat_template.jinja";
const CONFIG_FILE: &str = "tokenizer_config.json";

/// Instructions that one rendering may execute: enough for long conversations, but an endless loop is stopped.
const FUEL: u64 = 50_000_000;

/// Special tokens that a template may refer to.
const TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A parsed chat template.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    file: &'static str,
    tokens: Vec<(&'static str, String)>,
    digest: String,
}

/// The inputs of a rendering besides the messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TemplateOptions {
    /// Whether the text ends where the assistant's answer begins.
    pub add_generation_prompt: bool,
    /// Further variables by name, such as `enable_thinking` or `tools`.
    pub variables: serde_json::Map<String, Json>,
}

impl ChatTemplate {
    /// The template beside `tokenizer.json` in `folder`; `None` if there is none.
    ///
    /// # Errors
    /// If a file cannot be read or parsed.
    pub(crate) fn open(folder: &Path) -> Result<Option<Self>, TokenizerError> {
        let (beside, config) = (folder.join(TEMPLATE_FILE), folder.join(CONFIG_FILE));
        let config: Json = match config.exists() {
            true => serde_json::from_slice(&read_tokenizer_file(&config)?)
                .map_err(|e| TokenizerError::Malformed { file: CONFIG_FILE.into(), cause: e.to_string() })?,
            false => Json::Null,
        };
        let tokens = read_special_tokens(&config);
        if beside.exists() {
            let source = String::from_utf8(read_tokenizer_file(&beside)?)
                .map_err(|_| template_error(TEMPLATE_FILE, "is not UTF-8"))?;
            return Self::parse(TEMPLATE_FILE, &source, tokens).map(Some);
        }
        let Some(source) = find_default_template(&config["chat_template"])? else { return Ok(None) };
        Self::parse(CONFIG_FILE, source, tokens).map(Some)
    }

    fn parse(
        file: &'static str,
        source: &str,
        tokens: Vec<(&'static str, String)>,
    ) -> Result<Self, TokenizerError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| template_error(file, &e))?);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_formatter(python::format_like_python);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", python::to_python_json);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment
            .add_template_owned("chat", replace_generation_tags(source))
            .map_err(|e| template_error(file, &format_args!("cannot be parsed: {e}")))?;
        let digest = blake3::hash(source.as_bytes()).to_hex().to_string();
        Ok(Self { environment, file, tokens, digest })
    }

    /// BLAKE3 of the template's text, in hexadecimal.
    #[must_use]
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// Renders a conversation as text. Every message is an object with at least `role` and `content`.
    ///
    /// # Errors
    /// If the template refuses the conversation, fails, or takes too long.
    pub fn render(&self, messages: &[Json], options: &TemplateOptions) -> Result<String, TokenizerError> {
        let own = [
            ("messages", messages.iter().map(python::to_template_value).collect::<Value>()),
            ("add_generation_prompt", options.add_generation_prompt.into()),
            ("tools", ().into()),
            ("documents", ().into()),
        ];
        let tokens = self.tokens.iter().map(|(name, token)| (*name, Value::from(token.as_str())));
        let given =
            options.variables.iter().map(|(name, value)| (name.as_str(), python::to_template_value(value)));
        let all = Value::from_pairs(own.into_iter().chain(tokens).chain(given));
        let template = self.environment.get_template("chat").map_err(|e| template_error(self.file, &e))?;
        template.render(context! { ..all }).map_err(|error| match error.kind() {
            ErrorKind::OutOfFuel => template_error(self.file, "takes too long"),
            _ => template_error(self.file, &format_args!("refuses the conversation: {error}")),
        })
    }

    /// An error about this template.
    pub(super) fn to_error(&self, cause: &str) -> TokenizerError {
        template_error(self.file, cause)
    }
}

fn template_error(file: &str, cause: &(impl std::fmt::Display + ?Sized)) -> TokenizerError {
    TokenizerError::Template { file: file.into(), cause: cause.to_string() }
}

/// The template in a config: a string, or the entry called `default` in a list.
fn find_default_template(entry: &Json) -> Result<Option<&str>, TokenizerError> {
    match entry {
        Json::Null => Ok(None),
        Json::String(text) => Ok(Some(text)),
        Json::Array(list) => {
            let default = list.iter().find(|one| one["name"] == "default");
            let text = default.and_then(|one| one["template"].as_str());
            text.map(Some)
                .ok_or_else(|| template_error(CONFIG_FILE, "is a list without a template named `default`"))
        }
        _ => Err(template_error(CONFIG_FILE, "is neither a string nor a list")),
    }
}

/// The special tokens of a config, each a string or an object with `content`.
fn read_special_tokens(config: &Json) -> Vec<(&'static str, String)> {
    let content = |name: &&'static str| {
        let entry = &config[*name];
        let text = entry.as_str().or_else(|| entry["content"].as_str());
        text.map(|text| (*name, text.to_owned()))
    };
    TOKENS.iter().filter_map(content).collect()
}

/// `{% generation %}` marks for transformers what the assistant said. minijinja does not know the tag, so it becomes a
/// block that is always rendered.
fn replace_generation_tags(source: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(source.len()), source);
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else { break };
        let (before, tag) = (&rest[..start], &rest[start..start + length]);
        out.push_str(before);
        match tag[2..].trim_matches(|c: char| c.is_whitespace() || "-+".contains(c)) {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = &rest[start + length..];
    }
    out + rest
}

#[cfg(test)]
pub(super) mod tests;
