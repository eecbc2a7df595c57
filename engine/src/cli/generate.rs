//! `fmflow generate`: asks a checkpoint for text.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::asking::{
    CheckpointArguments, MeasuredBeside, OpenCheckpoint, Printer, SamplerWords, Task, build_prompt,
    describe_answers, read_constraint, read_text, read_turns, render_answers_json,
};
use super::{CommandContext, signals};
use crate::error::{Error, Failure, FailureKind, Result};
use crate::pipeline::config::{Constraint, ConstraintSource, FurtherGap, PromptKind};
use crate::pipeline::message::{Message, Speaker};
use crate::run::text::{TextAnswers, TextRequest};
use crate::text::escape::show_path;

#[derive(Debug, Args)]
pub(super) struct GenerateArguments {
    #[command(flatten)]
    pub(super) checkpoint: CheckpointArguments,
    #[command(flatten)]
    asked: AskedText,
    /// The prompt is a user's turn, for the chat template
    #[arg(long, conflicts_with_all = ["prefix", "suffix"])]
    chat: bool,
    /// A system turn before it
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
    /// How text is sampled: a kind and its settings, or a sampler of the file [default: threshold 0.9 for masks, euler with 64 passes for
    /// other sources, autoregressive for a model that is]
    #[arg(long, value_name = "WORDS", num_args = 1..)]
    sampler: Vec<String>,
    /// Largest number of new tokens [default: the canvas of a chat, 64 for other prompts]
    #[arg(long, value_name = "N", conflicts_with_all = ["prefix", "suffix"])]
    new_tokens: Option<u32>,
    /// Tokens of a gap; of a range such as 8..64 the most likely length is kept. Several gaps have this length each, or one each, such as 4,8
    #[arg(long, value_name = "N")]
    length: Option<String>,
    /// Let the gap grow by so many tokens beyond its length at most, and shrink; of a checkpoint that was trained with `grow`
    #[arg(long, value_name = "N", requires = "length", conflicts_with_all = ["between", "regex", "json_schema"])]
    grow: Option<u32>,
    /// A regular expression that every answer matches as a whole
    #[arg(long, value_name = "PATTERN", conflicts_with = "json_schema")]
    regex: Option<String>,
    /// A file with a JSON Schema that every answer satisfies; `-` is stdin
    #[arg(long, value_name = "FILE")]
    json_schema: Option<PathBuf>,
    /// Number of answers, in one batch
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=4096))]
    n: u32,
    /// Seed of the draws [default: that of the pipeline, 1 for a folder]
    #[arg(long)]
    seed: Option<u64>,
    /// Do not measure the autoregressive baseline
    #[arg(long)]
    no_twin: bool,
    /// Do not write the answers again without their approximate cache, to see how often it changes them
    #[arg(long)]
    no_disagreement: bool,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

/// Where the text of the request comes from.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct AskedText {
    /// The prompt
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["file", "turns", "prefix", "suffix"])]
    prompt: Option<String>,
    /// A file with the prompt; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["turns", "prefix", "suffix"])]
    file: Option<PathBuf>,
    /// A JSON file with the turns of a conversation, such as `[{"role": "user", "content": "..."}]`; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prefix", "suffix", "system", "chat"])]
    turns: Option<PathBuf>,
    /// The text before a gap
    #[arg(long, value_name = "TEXT", requires = "length")]
    prefix: Option<String>,
    /// The text behind a gap
    #[arg(long, value_name = "TEXT", requires = "length")]
    suffix: Option<String>,
    /// A text with a gap on both sides, between the two; may be repeated
    #[arg(long, value_name = "TEXT", requires = "length", conflicts_with_all = ["prompt", "file", "turns", "chat"])]
    between: Vec<String>,
}

pub(super) fn run_generate(arguments: &GenerateArguments, context: &CommandContext<'_>) -> Result<()> {
    arguments.refuse_second_stdin()?;
    let constraint = arguments.constraint()?;
    let task = Task { constraint, ..arguments.task()? };
    let checkpoint = arguments.checkpoint.open(context)?;
    let sampler = match arguments.sampler.as_slice() {
        [] => SamplerWords::default_for(checkpoint.model.facts()),
        words => SamplerWords::parse(words)?,
    };
    let prompt = build_prompt(&task, &sampler, &checkpoint, context)?;
    let seed = arguments.seed.unwrap_or(checkpoint.seed);
    let request = TextRequest { prompt: &prompt, samples: arguments.n as usize, seed, warm_up: true };
    // Several answers, or one of several lengths, are heard only when all are there: a signal ends the process then.
    let heard = request.samples == 1 && prompt.shortest.is_none();
    let interrupt = if heard { signals::install_interrupt_flag()? } else { Arc::default() };
    let mut printer = Printer::new(context.output, arguments.json, interrupt);
    let found = checkpoint.model.answer(&request, &mut printer).map_err(|e| checkpoint.explain(e))?;
    let texts: Vec<&str> = found.answers.iter().map(|answer| answer.text.as_str()).collect();
    printer.finish(&texts)?;
    if found.answers.iter().any(|answer| answer.stopped) {
        return Err(stopped(&checkpoint));
    }
    let beside = arguments.measure_beside(&checkpoint, &request, &found)?;
    let (facts, how) = (checkpoint.model.facts(), (sampler.describe(), seed));
    let how = (how.0.as_str(), how.1);
    if arguments.json {
        return context.output.json(&render_answers_json(&found, facts, how, &beside));
    }
    context.output.message(&describe_answers(&found, facts, how, &beside));
    Ok(())
}

impl GenerateArguments {
    /// The autoregressive baseline, and how often an approximate cache changes an answer.
    fn measure_beside(
        &self,
        checkpoint: &OpenCheckpoint,
        request: &TextRequest<'_>,
        found: &TextAnswers,
    ) -> Result<MeasuredBeside> {
        let model = &checkpoint.model;
        let disagreement = match self.no_disagreement {
            true => None,
            false => model.measure_disagreement(request, found).map_err(|e| checkpoint.explain(e))?,
        };
        let twin = match self.no_twin {
            true => None,
            false => Some(model.measure_twin(request, found).map_err(|e| checkpoint.explain(e))?),
        };
        Ok(MeasuredBeside { cache: request.prompt.sampler.cache, twin, disagreement })
    }

    /// The gaps between texts.
    fn gaps(&self) -> Result<Task> {
        let AskedText { prefix, suffix, between, .. } = &self.asked;
        let written = self.length.as_deref().expect("a gap needs a length");
        let (length, others) = read_lengths(written, between.len() + 1)?;
        let gap = |(before, tokens): (&String, usize)| FurtherGap { before: before.clone(), tokens };
        let more = between.iter().zip(others).map(gap).collect();
        let (prefix, suffix) = (prefix.clone().unwrap_or_default(), suffix.clone().unwrap_or_default());
        let task = Task::new(PromptKind::Infill { prefix, more, suffix }, Some(length));
        Ok(Task { grow: self.grow, ..task })
    }

    /// Refuses two files that are stdin: the second one would be empty.
    fn refuse_second_stdin(&self) -> Result<()> {
        let AskedText { file, turns, .. } = &self.asked;
        let files = [("--file", file), ("--turns", turns), ("--json-schema", &self.json_schema)];
        let is_stdin = |file: &Option<PathBuf>| file.as_deref() == Some(Path::new("-"));
        let read: Vec<&str> =
            files.into_iter().filter(|(_, file)| is_stdin(file)).map(|(flag, _)| flag).collect();
        match read.as_slice() {
            [first, second, ..] => Err(Error::usage(
                format!("`{first} -` and `{second} -` would both read stdin"),
                "name a file for one of them",
            )),
            _ => Ok(()),
        }
    }

    /// What the answers have to match.
    fn constraint(&self) -> Result<Option<Constraint>> {
        if let Some(pattern) = &self.regex {
            return read_constraint("`--regex`", ConstraintSource::Regex(pattern.clone())).map(Some);
        }
        let Some(file) = &self.json_schema else { return Ok(None) };
        read_constraint(&show_path(file), ConstraintSource::JsonSchema(read_text(file)?)).map(Some)
    }

    fn task(&self) -> Result<Task> {
        let AskedText { prompt, file, turns, prefix, suffix, between } = &self.asked;
        if prefix.is_some() || suffix.is_some() || !between.is_empty() {
            return self.gaps();
        }
        if self.length.is_some() {
            let help = "write `--new-tokens` for a prompt, or `--prefix` and `--suffix` for a gap";
            return Err(Error::usage("`--length` is that of a gap", help));
        }
        let length = self.new_tokens.map(|tokens| tokens.to_string());
        if let Some(file) = turns {
            return Ok(Task::new(PromptKind::Chat(read_turns(file)?), length));
        }
        let text = match (prompt, file) {
            (Some(text), _) => text.clone(),
            (None, Some(file)) => read_text(file)?,
            (None, None) => unreachable!("one of the texts is required"),
        };
        let mut turns: Vec<Message> =
            self.system.iter().map(|text| Message::new(Speaker::System, text)).collect();
        let kind = match self.chat {
            false => PromptKind::Text(text),
            true => {
                turns.push(Message::user(&text));
                PromptKind::Chat(turns)
            }
        };
        Ok(Task::new(kind, length))
    }
}

/// Reads the lengths of so many gaps: one for all of them, or one each. Of a single gap as it was written, which the language reads.
fn read_lengths(written: &str, gaps: usize) -> Result<(String, Vec<usize>)> {
    if gaps == 1 {
        return Ok((written.to_owned(), Vec::new()));
    }
    let fault = || {
        let message = format!("`--length {written}` is not the length of {gaps} gaps");
        Error::usage(
            message,
            format!("write one number for all of them, or {gaps} with commas, such as `--length 4,8`"),
        )
    };
    let parse = |word: &str| word.trim().parse::<usize>().ok().filter(|tokens| *tokens > 0).ok_or_else(fault);
    let mut lengths: Vec<usize> = written.split(',').map(parse).collect::<Result<_>>()?;
    if lengths.len() == 1 {
        lengths = vec![lengths[0]; gaps];
    }
    if lengths.len() != gaps {
        return Err(fault());
    }
    Ok((lengths[0].to_string(), lengths[1..].to_vec()))
}

fn stopped(checkpoint: &OpenCheckpoint) -> Error {
    let message = "stopped before the answer was finished".to_owned();
    checkpoint.explain(Failure { kind: FailureKind::Interrupted, message, help: None })
}
