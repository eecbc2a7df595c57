//! From the command line to a request, by way of the language: a `generate` stage in a text of its own, so that the field table gives
//! defaults and ranges, and the lints speak.

use std::path::{Path, PathBuf};

use crate::check::{CheckOptions, check_text};
use crate::cli::CommandContext;
use crate::cli::asking::checkpoint::{CheckpointPlace, OpenCheckpoint};
use crate::cli::asking::sampler_words::SamplerWords;
use crate::error::{Error, Result};
use crate::pipeline::config::{
    Constraint, ConstraintSource, FurtherGap, Prompt, PromptKind, Sampler, StageConfig,
};
use crate::text::diagnostic::{Diagnostic, Label, Severity};
use crate::text::{environment, read, render};

/// How the text is called in messages.
const TEXT_NAME: &str = "command line";

/// The stage in the text.
const STAGE: &str = "command-line-answer";

/// What is asked.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Task {
    /// The task and its text.
    pub(in crate::cli) kind: PromptKind,
    /// Largest number of new tokens, or the length of a gap as it was written, such as `8..64`.
    pub(in crate::cli) length: Option<String>,
    /// By how many tokens a gap may grow.
    pub(in crate::cli) grow: Option<u32>,
    /// What the answer has to match, instead of what the sampler says of all answers.
    pub(in crate::cli) constraint: Option<Constraint>,
}

impl Task {
    /// A task without a constraint of its own, whose gap does not grow.
    pub(in crate::cli) fn new(kind: PromptKind, length: Option<String>) -> Self {
        Self { kind, length, grow: None, constraint: None }
    }

    /// What the language says of a request, with its own text and constraint.
    pub(in crate::cli) fn put_into(&self, prompt: Prompt) -> Prompt {
        let constraint = self.constraint.clone().or(prompt.sampler.constraint);
        Prompt { kind: self.kind.clone(), sampler: Sampler { constraint, ..prompt.sampler }, ..prompt }
    }
}

/// A constraint that was given as `what`.
pub(in crate::cli) fn read_constraint(what: &str, source: ConstraintSource) -> Result<Constraint> {
    Constraint::new(source).map_err(|error| {
        let message = format!("{what} is no constraint: {error}");
        Error::Input { message, help: Some(error.help()) }
    })
}

/// Why there is no request.
#[derive(Debug)]
pub(in crate::cli) enum PromptFault {
    /// The command line, or a file.
    Error(Error),
    /// What `check` finds.
    Findings(Vec<Diagnostic>),
}

/// The request that `task` and `sampler` describe. Warnings are printed.
pub(in crate::cli) fn build_prompt(
    task: &Task,
    sampler: &SamplerWords,
    checkpoint: &OpenCheckpoint,
    context: &CommandContext<'_>,
) -> Result<Prompt> {
    match find_prompt(task, sampler, (&checkpoint.place, &checkpoint.folder)) {
        Ok((prompt, warnings)) => {
            context.output.message(&render::render_concise_lines(&warnings));
            Ok(prompt)
        }
        Err(PromptFault::Error(error)) => Err(error),
        Err(PromptFault::Findings(errors)) => {
            context.output.drawings(&errors);
            Err(Error::Config)
        }
    }
}

/// The request that `task` and `sampler` describe, of the checkpoint at a place and in a folder; with warnings about it.
pub(in crate::cli) fn find_prompt(
    task: &Task,
    sampler: &SamplerWords,
    (place, folder): (&CheckpointPlace, &Path),
) -> std::result::Result<(Prompt, Vec<Diagnostic>), PromptFault> {
    let (name, before, paths, settings) =
        find_declarations(sampler, (place, folder)).map_err(PromptFault::Error)?;
    let text = format!("{before}\n{}", write_stage(task, sampler, place));
    let options =
        CheckOptions { secrets: environment::list_variable_names(), settings, ..CheckOptions::default() };
    let checked = check_text(&name, &text, &paths, &options);
    let (errors, warnings): (Vec<_>, Vec<_>) =
        checked.diagnostics.into_iter().partition(|finding| finding.severity == Severity::Error);
    // Warnings about other stages of the file are for `check`.
    let own = |label: &Label| label.span.file.number == 0 && label.span.offset > before.len();
    let about_stage: Vec<_> = warnings.into_iter().filter(|finding| finding.labels.iter().any(own)).collect();
    let stage = checked.pipeline.as_ref().and_then(|pipeline| pipeline.stage_named(STAGE));
    let (Some(stage), true) = (stage, errors.is_empty()) else {
        return Err(PromptFault::Findings(errors));
    };
    let StageConfig::Generate(config) = &stage.config else { unreachable!("the text declares a `generate`") };
    let prompt = config.prompts.first().expect("the text has one request").clone();
    Ok((task.put_into(prompt), about_stage))
}

/// What stands before the stage: the file whose sampler is named, or a checkpoint and the sampler that is described. Returns the name of
/// the text, the text, the folder of its paths, and settings.
fn find_declarations(
    sampler: &SamplerWords,
    (place, folder): (&CheckpointPlace, &Path),
) -> Result<(String, String, PathBuf, Vec<String>)> {
    match (sampler, place) {
        (SamplerWords::Named(_), CheckpointPlace::Stage { source, .. }) => {
            let text = read::read_config_text(&source.file)
                .map_err(|found| Error::Input { message: found.message, help: found.help })?;
            let name = format!("{} and {TEXT_NAME}", read::display_path(&source.file));
            Ok((name, text, read::find_parent_folder(&source.file), source.settings.set.clone()))
        }
        (SamplerWords::Named(name), CheckpointPlace::Folder) => Err(Error::usage(
            format!("a folder has no sampler `{name}`"),
            "describe it: `--sampler confidence passes=16`; or name the pipeline file and its stage",
        )),
        (SamplerWords::Described(fields), _) => {
            let folder = quote(&folder.to_string_lossy());
            let fields: String =
                fields.iter().map(|(name, value)| format!(" {name}={}", quote_value(value))).collect();
            let text = format!(
                "pipeline \"command-line\" seed=1\nfetch \"checkpoint\" from={folder}\nsampler \"sampler\"{fields}"
            );
            Ok((TEXT_NAME.to_owned(), text, read::to_absolute_path(".".as_ref()), Vec::new()))
        }
    }
}

/// The stage. The texts of the request itself and its constraint are long and have no settings, so that a letter stands for each.
fn write_stage(task: &Task, sampler: &SamplerWords, place: &CheckpointPlace) -> String {
    let letter = |text: &str| if text.is_empty() { "\"\"" } else { "\"x\"" };
    let length = |word: &str| {
        let length = task.length.as_deref().map(quote_value);
        length.map(|length| format!(" {word}={length}")).unwrap_or_default()
    };
    let constraint = if task.constraint.is_some() { "constraint regex=\"x\"; " } else { "" };
    let request = match &task.kind {
        PromptKind::Chat(_) => format!("chat \"x\"{} {{ {constraint}}}", length("new-tokens")),
        PromptKind::Text(text) => {
            format!("prompt {}{} {{ {constraint}}}", letter(text), length("new-tokens"))
        }
        PromptKind::Infill { prefix, more, suffix } => {
            let gap = |gap: &FurtherGap| format!("gap after={} length={}; ", letter(&gap.before), gap.tokens);
            let more: String = more.iter().map(gap).collect();
            format!(
                "infill prefix={} suffix={}{}{} {{ {constraint}{more}}}",
                letter(prefix),
                letter(suffix),
                length("length"),
                task.grow.map(|tokens| format!(" grow={tokens}")).unwrap_or_default()
            )
        }
    };
    let (from, name) = match (sampler, place) {
        (SamplerWords::Named(name), CheckpointPlace::Stage { stage, .. }) => (stage.as_str(), name.as_str()),
        _ => ("checkpoint", "sampler"),
    };
    let (from, name) = (quote(from), quote(name));
    format!("generate \"{STAGE}\" from={from} sampler={name} {{ {request} }}\n")
}

/// A value as KDL: numbers and truth values as they are, anything else as a string.
fn quote_value(value: &str) -> String {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let number = digits.starts_with(|letter: char| letter.is_ascii_digit()) && digits.parse::<f64>().is_ok();
    if number { value.to_owned() } else { quote(value) }
}

/// A string of KDL.
fn quote(text: &str) -> String {
    let escape = |letter: char| match letter {
        '"' | '\\' => format!("\\{letter}"),
        _ if letter.is_control() || crate::text::escape::is_acting(letter) => {
            format!("\\u{{{:x}}}", u32::from(letter))
        }
        _ => letter.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_unless_they_are_numbers() {
        let cases = [
            ("0.9", "0.9"),
            ("-1", "-1"),
            ("1e-4", "1e-4"),
            ("8..64", "\"8..64\""),
            ("inf", "\"inf\""),
            ("a\"b\\c\n", "\"a\\\"b\\\\c\\u{a}\""),
        ];
        for (value, expected) in cases {
            assert_eq!(quote_value(value), expected);
        }
    }
}
