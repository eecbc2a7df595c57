//! Parses and renders a template in this process.
//!
//! Blocks are trimmed, strings have Python's methods, `tojson` writes what Python's `json.dumps` writes, `raise_exception`
//! refuses, and `{% generation %}` only groups, or marks what it groups. `strftime_now` is deliberately missing: rows are cached by their inputs, so a
//! conversation must not depend on the day. Templates that test whether it is defined fall back to a fixed date; others fail
//! when they call it.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};

use serde_json::Value as Json;

use crate::data::tokenizer_error::REFUSES;

use super::{TemplateOptions, TemplateSource, python};

/// Instructions that one rendering may execute: enough for long conversations, but an endless loop is stopped.
const FUEL: u64 = 50_000_000;

/// The longest text that a template may render, in bytes.
const MAX_OUTPUT_BYTES: usize = 64 << 20;

/// The longest reason that is passed on, in characters: a template can refuse with a text of any length.
const MAX_CAUSE_CHARS: usize = 400;

/// Before and after a `{% generation %}` block, where marks are wanted: code points that Unicode sets apart for such use.
pub(crate) const GENERATION_START: char = '\u{FDD2}';
/// After the block.
pub(crate) const GENERATION_END: char = '\u{FDD3}';

/// Name of the template whose `{% generation %}` blocks are marked; absent if there are none.
const MARKED: &str = "marked";

/// A parsed template. Errors are predicates of a sentence about the template.
#[derive(Debug)]
pub(super) struct JinjaTemplate {
    environment: Environment<'static>,
    tokens: Vec<(String, String)>,
}

impl JinjaTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// If it is not Jinja.
    pub(super) fn parse(source: TemplateSource) -> Result<Self, String> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| e.to_string())?);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_formatter(python::format_like_python);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", python::to_python_json);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment
            .add_filter("generation", |text: String| format!("{GENERATION_START}{text}{GENERATION_END}"));
        let mut add = |name, text| {
            let added = environment.add_template_owned(name, text);
            added.map_err(|e| shorten(format!("cannot be parsed: {e}")))
        };
        let grouped = replace_generation_tags(&source.text, "if true", "endif");
        let has_generation = grouped != source.text;
        add("chat", grouped)?;
        if has_generation {
            add(MARKED, replace_generation_tags(&source.text, "filter generation", "endfilter"))?;
        }
        Ok(Self { environment, tokens: source.tokens })
    }

    /// Renders a conversation, with marks around `{% generation %}` blocks if they are wanted.
    ///
    /// # Errors
    /// If the template refuses the conversation, fails, or takes too long.
    pub(super) fn render(
        &self,
        messages: &[Json],
        options: &TemplateOptions,
        marked: bool,
    ) -> Result<String, String> {
        let own = [
            ("messages", messages.iter().map(python::to_template_value).collect::<Value>()),
            ("add_generation_prompt", options.add_generation_prompt.into()),
            ("tools", ().into()),
            ("documents", ().into()),
        ];
        let tokens = self.tokens.iter().map(|(name, token)| (name.as_str(), Value::from(token.as_str())));
        let given = &options.variables;
        let given = given.iter().map(|(name, value)| (name.as_str(), python::to_template_value(value)));
        let all = Value::from_pairs(own.into_iter().chain(tokens).chain(given));
        let marked = marked.then(|| self.environment.get_template(MARKED).ok()).flatten();
        let template = marked.map_or_else(|| self.environment.get_template("chat"), Ok);
        let template = template.map_err(|e| e.to_string())?;
        match template.render(context! { ..all }) {
            Ok(text) if text.len() > MAX_OUTPUT_BYTES => Err("writes more than 64 MiB".into()),
            Ok(text) => Ok(text),
            Err(error) if error.kind() == ErrorKind::OutOfFuel => Err("takes too long".into()),
            Err(error) => Err(shorten(format!("{REFUSES}: {error}"))),
        }
    }
}

fn shorten(cause: String) -> String {
    match cause.char_indices().nth(MAX_CAUSE_CHARS) {
        Some((end, _)) => format!("{}…", &cause[..end]),
        None => cause,
    }
}

/// `{% generation %}` marks for transformers what the assistant said. minijinja does not know the tag, so it becomes a
/// block with other tags.
fn replace_generation_tags(source: &str, start_tag: &str, end_tag: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(source.len()), source);
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else { break };
        let (before, tag) = (&rest[..start], &rest[start..start + length]);
        out.push_str(before);
        match tag[2..].trim_matches(|c: char| c.is_whitespace() || "-+".contains(c)) {
            "generation" => out.push_str(&tag.replace("generation", start_tag)),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", end_tag)),
            _ => out.push_str(tag),
        }
        rest = &rest[start + length..];
    }
    out + rest
}
