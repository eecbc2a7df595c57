//! Recognizes files in other languages. They get one message for the whole file instead of an error for every line.

use std::sync::Arc;

use super::build_span;
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::place::ConfigFile;

/// The diagnostic for a configuration in JSON or TOML.
pub(super) fn detect_foreign_language(file: &Arc<ConfigFile>) -> Option<Diagnostic> {
    let (offset, first) = find_first_line(&file.text)?;
    let language = detect_json(first).or_else(|| detect_toml(&file.text))?;
    Some(foreign_language(file, offset, first, language))
}

/// The diagnostic for a configuration in YAML.
#[must_use]
pub(crate) fn detect_yaml(file: &Arc<ConfigFile>) -> Option<Diagnostic> {
    let (offset, first) = find_first_line(&file.text)?;
    let key = first.strip_suffix(':').is_some_and(is_plain_word);
    (first == "---" || key || has_only_yaml_settings(&file.text))
        .then(|| foreign_language(file, offset, first, "YAML"))
}

/// Whether all lines without indentation look like `learning_rate: 2e-4`. KDL with stray colons has braces or properties on
/// some of them.
fn has_only_yaml_settings(text: &str) -> bool {
    let bare = |line: &&str| !line.starts_with([' ', '\t', '#']) && !line.trim().is_empty();
    let setting = |line: &str| {
        let (key, value) = line.split_once(':').unwrap_or_default();
        line.starts_with("- ")
            || is_plain_word(key) && matches!(value.as_bytes().first(), None | Some(b' ' | b'\r'))
    };
    let lines = || text.lines().filter(bare);
    lines().nth(1).is_some() && lines().all(|line| setting(line) && !line.contains(['=', '{', '}']))
}

fn foreign_language(file: &Arc<ConfigFile>, offset: usize, first: &str, language: &str) -> Diagnostic {
    let place = build_span(file, offset, first.len());
    let help = "a pipeline is KDL: nodes with values and braces, like `train \"sft\" from=\"flow\" { steps 400 }`; \
                `fmflow init` writes one to start from";
    Diagnostic::new(Code::Syntax, format!("this is {language}, not KDL"))
        .at(&place, "the file starts here")
        .help(help)
}

/// The first line that is neither empty nor a comment.
fn find_first_line(text: &str) -> Option<(usize, &str)> {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        if !bare.is_empty() && !bare.starts_with('#') && !bare.starts_with("//") {
            return Some((offset + line.find(bare)?, bare));
        }
        offset += line.len();
    }
    None
}

fn detect_json(first: &str) -> Option<&'static str> {
    let inside = first.strip_prefix(['{', '['])?.trim_start();
    (inside.is_empty() || inside.starts_with(['"', '{'])).then_some("JSON")
}

fn detect_toml(text: &str) -> Option<&'static str> {
    let heading = |line: &str| {
        let line = line.trim();
        let inside = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        inside.is_some_and(is_plain_word)
    };
    text.lines().any(heading).then_some("TOML")
}

fn is_plain_word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.bytes().all(plain)
}
