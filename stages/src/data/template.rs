//! Chat templates: Jinja from `chat_template.jinja` or `tokenizer_config.json`, rendered as transformers renders it.
//!
//! A template comes with a checkpoint and is not trusted. It can read only its inputs, but Jinja lets a few lines take all memory,
//! all time or all of the stack, and no setting of the library prevents that. The program therefore renders in a process of its own
//! with limits ([`isolate_templates`]), which a template can only end.

mod child;
mod jinja;
mod python;
mod server;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::path::Path;
use std::sync::Arc;

use super::tokenizer_error::{TokenizerError, read_tokenizer_file};
use child::{RenderingFault, TemplateChild};
use jinja::JinjaTemplate;
pub(crate) use jinja::{GENERATION_END, GENERATION_START};
pub use server::isolate_templates;

/// The file to which transformers writes a template since 4.51; it takes precedence over `tokenizer_config.json`.
pub(crate) const TEMPLATE_FILE: &str = "chat_template.jinja";
const CONFIG_FILE: &str = "tokenizer_config.json";

/// Plain ChatML, the layout of `data::chat`, as a template: what `tokenizer` stages write.
pub(crate) const CHAT_TEMPLATE: &str = "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}";

/// The longest template, in bytes; the longest published ones have some 30,000.
const MAX_SOURCE_BYTES: usize = 1 << 20;

/// Special tokens that a template may refer to.
const TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A parsed chat template.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    renderer: Renderer,
    file: &'static str,
    digest: String,
}

/// What renders a template.
#[derive(Clone, Debug)]
enum Renderer {
    /// A process with limits.
    Child(Arc<TemplateChild>),
    /// This process: for this program's own template, and for programs that do not call [`isolate_templates`], such as tests.
    Here(Arc<JinjaTemplate>),
}

/// A template as its files give it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct TemplateSource {
    text: String,
    /// (name, text) of special tokens.
    tokens: Vec<(String, String)>,
}

/// A conversation to be rendered, as it is sent.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct TemplateRequest<'a> {
    pub messages: &'a [Json],
    pub options: &'a TemplateOptions,
    /// Whether the text has marks around each `{% generation %}` block.
    pub marked: bool,
}

/// A conversation to be rendered, as it is received.
#[derive(Debug, Deserialize)]
struct ReceivedRequest {
    messages: Vec<Json>,
    options: TemplateOptions,
    marked: bool,
}

/// The inputs of a rendering besides the messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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

    fn parse(file: &'static str, text: &str, tokens: Vec<(String, String)>) -> Result<Self, TokenizerError> {
        if text.len() > MAX_SOURCE_BYTES {
            return Err(template_error(file, "is longer than 1 MiB"));
        }
        let source = TemplateSource { text: text.to_owned(), tokens };
        // The template that this program writes is as trusted as the program.
        let renderer = match server::is_isolated() && text != CHAT_TEMPLATE {
            true => Renderer::Child(Arc::new(TemplateChild::new(source))),
            false => {
                let template = JinjaTemplate::parse(source).map_err(|cause| template_error(file, &cause))?;
                Renderer::Here(Arc::new(template))
            }
        };
        Ok(Self { renderer, file, digest: blake3::hash(text.as_bytes()).to_hex().to_string() })
    }

    /// BLAKE3 of the template's text, in hexadecimal.
    #[must_use]
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// Parses the template now and not at the first rendering. Most stages open a tokenizer and never render, so its process is
    /// started only when it is needed.
    ///
    /// # Errors
    /// If the template cannot be parsed within the limits.
    pub(crate) fn prepare(&self) -> Result<(), TokenizerError> {
        let prepared = match &self.renderer {
            Renderer::Child(child) => child.prepare(),
            Renderer::Here(_) => Ok(()),
        };
        prepared.map_err(|fault| self.explain_fault(fault))
    }

    /// Renders a conversation as text. Every message is an object with at least `role` and `content`.
    ///
    /// # Errors
    /// If the template refuses the conversation, fails, or takes too much time, memory or stack.
    pub fn render(&self, messages: &[Json], options: &TemplateOptions) -> Result<String, TokenizerError> {
        Ok(self.render_all(&[TemplateRequest { messages, options, marked: false }])?.swap_remove(0))
    }

    /// Renders several conversations at once. What belongs together is rendered together: a way to another process and back
    /// takes longer than most renderings.
    ///
    /// # Errors
    /// As [`Self::render`], for the first that fails.
    pub(crate) fn render_all(&self, requests: &[TemplateRequest<'_>]) -> Result<Vec<String>, TokenizerError> {
        let rendered = match &self.renderer {
            Renderer::Child(child) => child.render_all(requests),
            Renderer::Here(template) => {
                let render = |request: &TemplateRequest<'_>| {
                    template.render(request.messages, request.options, request.marked)
                };
                requests.iter().map(render).collect::<Result<_, _>>().map_err(RenderingFault::Template)
            }
        };
        rendered.map_err(|fault| self.explain_fault(fault))
    }

    fn explain_fault(&self, fault: RenderingFault) -> TokenizerError {
        match fault {
            RenderingFault::Template(cause) => template_error(self.file, &cause),
            RenderingFault::NoProcess(source) => {
                let action = "start a process for the chat template in";
                TokenizerError::NoProcess(fmflow_engine::error::Error::Io {
                    action,
                    path: self.file.into(),
                    source,
                })
            }
        }
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
fn read_special_tokens(config: &Json) -> Vec<(String, String)> {
    let content = |name: &&'static str| {
        let entry = &config[*name];
        let text = entry.as_str().or_else(|| entry["content"].as_str());
        text.map(|text| ((*name).to_owned(), text.to_owned()))
    };
    TOKENS.iter().filter_map(content).collect()
}

#[cfg(test)]
pub(super) mod tests;
