//! `fmflow bench`: how fast and how good samplers are, beside the autoregressive baseline of the same weights.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};

use super::CommandContext;
use super::asking::{CheckpointArguments, OpenCheckpoint, SamplerWords, Task, build_prompt, read_text};
use super::page_file::{PageKind, refuse_foreign_file, refuse_unwritable_folder, write_page};
use crate::documents::Chat;
use crate::error::{Error, Result};
use crate::pipeline::config::PromptKind;
use crate::pipeline::message::Message;
use crate::report::frontier::{FrontierPoint, draw_frontier};
use crate::run::text::{CacheDisagreement, TextModelFacts, TextRequest, TextScores};
use crate::text::display::{count_noun, render_table};
use crate::text::escape::show_path;

/// Most samplers in a table.
const SAMPLERS: usize = 256;

/// What is measured.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum BenchSubject {
    /// Samplers, on questions with known answers
    Generate,
}

#[derive(Debug, Args)]
pub(super) struct BenchArguments {
    /// What is measured
    subject: BenchSubject,
    #[command(flatten)]
    pub(super) checkpoint: CheckpointArguments,
    /// Questions for the chat template, a JSON object in each line: `{"question": "...", "answer": "..."}`; `-` is stdin
    #[arg(long, value_name = "FILE")]
    questions: PathBuf,
    /// How many of them, from the first
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u32).range(1..))]
    first: u32,
    /// A sampler, as in `generate`; values with commas give all combinations, such as `threshold threshold=0.7,0.9 block=2,4`. May be
    /// repeated [default: what `generate` uses]
    #[arg(long, value_name = "WORDS")]
    sampler: Vec<String>,
    /// Largest number of new tokens [default: the canvas]
    #[arg(long, value_name = "N")]
    new_tokens: Option<u32>,
    /// Seed of the draws [default: that of the pipeline, 1 for a folder]
    #[arg(long)]
    seed: Option<u64>,
    /// Draw the samplers as an SVG: right answers by tokens in a pass, and by speed; a drawing that is there is replaced
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

/// A line of the file of questions.
#[derive(Deserialize)]
struct QuestionLine {
    question: String,
    answer: String,
}

pub(super) fn run_bench(arguments: &BenchArguments, context: &CommandContext<'_>) -> Result<()> {
    let BenchSubject::Generate = arguments.subject;
    let mut questions = read_questions(&arguments.questions)?;
    questions.truncate(arguments.first as usize);
    if let Some(file) = &arguments.svg {
        refuse_foreign_file(file, PageKind::FRONTIER)?;
        refuse_unwritable_folder(file, PageKind::FRONTIER)?;
    }
    let checkpoint = arguments.checkpoint.open(context)?;
    let facts = checkpoint.model.facts();
    let samplers = list_samplers(&arguments.sampler, facts)?;
    let seed = arguments.seed.unwrap_or(checkpoint.seed);
    let mut scores = Vec::new();
    for sampler in &samplers {
        scores.push(score(&checkpoint, sampler, (arguments.new_tokens, seed), &questions, context)?);
    }
    let rows: Vec<(String, &TextScores)> = samplers.iter().map(SamplerWords::describe).zip(&scores).collect();
    // What was measured must not be lost with a drawing that cannot be written, nor the other way round.
    let told = tell_rows(&rows, (questions.len(), seed, facts), arguments.json, context);
    let drawn = arguments.svg.as_ref().map_or(Ok(()), |file| {
        let title = format!("{}, {}", arguments.checkpoint.name(), count_noun(questions.len(), "question"));
        let points: Vec<FrontierPoint> = rows.iter().map(measure_point).collect();
        write_page(file, PageKind::FRONTIER, draw_frontier(&title, &points).as_bytes())
    });
    told.and(drawn)
}

/// Prints the table, or the object in JSON.
fn tell_rows(
    rows: &[(String, &TextScores)],
    (questions, seed, facts): (usize, u64, &TextModelFacts),
    json: bool,
    context: &CommandContext<'_>,
) -> Result<()> {
    if json {
        let rows: Vec<Value> =
            rows.iter().map(|(sampler, scores)| render_row_json(sampler, scores)).collect();
        return context.output.json(&json!({
            "schema": "fmflow.bench/1", "questions": questions, "seed": seed, "checkpoint": facts, "samplers": rows,
        }));
    }
    let told =
        format!("{}, seed {seed}, {}, {}\n", count_noun(questions, "question"), facts.device, facts.dtype);
    context.output.message(&told);
    context.output.result(&render_rows(rows))
}

fn score(
    checkpoint: &OpenCheckpoint,
    sampler: &SamplerWords,
    (new_tokens, seed): (Option<u32>, u64),
    questions: &[Chat],
    context: &CommandContext<'_>,
) -> Result<TextScores> {
    let kind = PromptKind::Chat(vec![Message::user("x")]);
    let task = Task::new(kind, new_tokens.map(|tokens| tokens.to_string()));
    let prompt = build_prompt(&task, sampler, checkpoint, context)?;
    let request = TextRequest { prompt: &prompt, samples: 1, seed, warm_up: true };
    checkpoint.model.score(&request, questions).map_err(|failure| checkpoint.explain(failure))
}

/// All combinations of the samplers that were named.
fn list_samplers(named: &[String], facts: &TextModelFacts) -> Result<Vec<SamplerWords>> {
    if named.is_empty() {
        return Ok(vec![SamplerWords::default_for(facts)]);
    }
    let mut all = Vec::new();
    for words in named {
        let mut partial = vec![Vec::new()];
        for word in words.split_whitespace() {
            let (name, values) =
                word.split_once('=').map_or((None, word), |(name, values)| (Some(name), values));
            let spell = |value: &str| name.map_or_else(|| value.to_owned(), |name| format!("{name}={value}"));
            let extend = |before: &Vec<String>| {
                values
                    .split(',')
                    .map(|value| [before.clone(), vec![spell(value)]].concat())
                    .collect::<Vec<_>>()
            };
            partial = partial.iter().flat_map(extend).collect();
            if partial.len() + all.len() > SAMPLERS {
                let message = format!("more than {SAMPLERS} samplers");
                return Err(Error::usage(message, "write fewer values with commas"));
            }
        }
        all.extend(partial);
    }
    all.iter().map(|words| SamplerWords::parse(words)).collect()
}

fn read_questions(file: &Path) -> Result<Vec<Chat>> {
    let text = read_text(file)?;
    let refused = |line: usize, what: String| Error::Input {
        message: format!("{}:{line}: {what}", show_path(file)),
        help: Some(
            r#"write a JSON object in each line, such as `{"question": "sort: d a c", "answer": "a c d"}`"#
                .into(),
        ),
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(at, line): (usize, &str)| {
        let QuestionLine { question, answer } =
            serde_json::from_str(line).map_err(|error| refused(at + 1, error.to_string()))?;
        Ok(Chat { before: Vec::new(), prompt: question, after: Vec::new(), answer, group: String::new() })
    };
    let questions: Vec<Chat> = lines.map(read).collect::<Result<_>>()?;
    if questions.is_empty() { Err(refused(1, "there are no questions".into())) } else { Ok(questions) }
}

/// Where a sampler is in the drawing.
fn measure_point((sampler, scores): &(String, &TextScores)) -> FrontierPoint {
    let answers = &scores.answers;
    FrontierPoint {
        group: String::new(),
        sampler: sampler.clone(),
        tokens_per_pass: answers.tokens() as f64 / answers.passes().max(1) as f64,
        ratio: answers.tokens_per_second() / scores.twin,
        right: scores.exact as f64 / answers.answers.len().max(1) as f64,
    }
}

fn render_rows(rows: &[(String, &TextScores)]) -> String {
    let mut head = vec!["sampler", "passes", "tokens a pass", "tok/s", "AR tok/s", "ratio", "exact match"];
    let approximate = rows.iter().any(|(_, scores)| scores.disagreement.is_some());
    head.extend(approximate.then_some("changed by the cache"));
    let row = |(sampler, scores): &(String, &TextScores)| {
        let (answers, count) = (&scores.answers, scores.answers.answers.len().max(1) as f64);
        let speed = answers.tokens_per_second();
        let mut cells = vec![
            sampler.clone(),
            format!("{:.2}", answers.passes() as f64 / count),
            format!("{:.2}", answers.tokens() as f64 / answers.passes().max(1) as f64),
            format!("{speed:.0}"),
            format!("{:.0}", scores.twin),
            format!("{:.2}", speed / scores.twin),
            format!("{:.1} %", 100.0 * scores.exact as f64 / count),
        ];
        cells.extend(approximate.then(|| describe_disagreement(scores)));
        cells
    };
    render_table(&head, rows.iter().map(row).collect())
}

fn render_row_json(sampler: &str, scores: &TextScores) -> Value {
    let answers = &scores.answers;
    json!({
        "sampler": sampler,
        "tokens": answers.tokens(),
        "passes": answers.passes(),
        "tokens_per_pass": answers.tokens() as f64 / answers.passes().max(1) as f64,
        "seconds": answers.seconds,
        "tokens_per_second": answers.tokens_per_second(),
        "autoregressive_tokens_per_second": scores.twin,
        "exact": scores.exact,
        "cache_disagreement": scores.disagreement,
    })
}

/// What an approximate cache changed of the first answers, in a cell.
fn describe_disagreement(scores: &TextScores) -> String {
    let cell = |found: &CacheDisagreement| format!("`{}`: {}", found.cache, found.shares().join(", "));
    scores.disagreement.as_ref().map_or_else(|| "-".into(), cell)
}
