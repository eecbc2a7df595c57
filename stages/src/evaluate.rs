//! The evaluation stage: held-out likelihoods and exact match, for every checkpoint it names.

use fmflow_engine::config::EvaluateConfig;
use fmflow_engine::config::sample::{ExactMatch, HeldOut};
use fmflow_engine::execute::{Failure, Job, Progress, Summary};
use indexmap::IndexMap;
use serde::Serialize;

use crate::completion::{Request, complete};
use crate::data::rows::{Rows, Split};
use crate::data::{chat, corpus::Chat};
use crate::failure::{self, input, stage};
use crate::job::{folder, threads};
use crate::model::Model;
use crate::provenance::Kind;
use crate::train::update::Task;
use crate::train::{held_out, setup};

/// Scores of one checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Scores {
    /// Held-out loss per token by dataset: the ELBO (an upper bound) of a flow checkpoint, the likelihood of an
    /// autoregressive one; nats.
    pub held_out: IndexMap<String, f64>,
    /// Share of exact matches by dataset, and by kind of task within it.
    pub exact_match: IndexMap<String, ExactScores>,
}

/// Exact matches of one dataset.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ExactScores {
    /// Prompts asked.
    pub total: usize,
    /// Answers that equal the reference.
    pub passed: usize,
    /// Answers without a token before the end of turn.
    pub empty: usize,
    /// (passed, total) per kind of task, where the dataset names kinds.
    pub by_group: IndexMap<String, (usize, usize)>,
}

impl ExactScores {
    /// Share of exact matches, in [0, 1].
    #[must_use]
    pub fn share(&self) -> f64 {
        self.passed as f64 / self.total.max(1) as f64
    }
}

/// Runs an evaluation stage.
///
/// # Errors
/// Inputs that contradict each other, a failing device, or a required score that is not reached.
pub fn run(job: &Job<'_>, config: &EvaluateConfig) -> Result<Summary, Failure> {
    if !config.benchmarks.is_empty() {
        return Err(stage("code benchmarks are not supported yet"));
    }
    let mut report = IndexMap::new();
    let mut answers = Vec::new();
    for (done, name) in config.checkpoints.iter().enumerate() {
        crate::job::check_interrupt(job)?;
        let progress = Progress {
            done: done as u64,
            total: config.checkpoints.len() as u64,
            unit: "checkpoint",
            text: name,
        };
        job.report.progress(&progress);
        let device = crate::device::open(job.device).map_err(stage)?;
        let model = Model::open(folder(job, &format!("checkpoint/{name}"))?, &device)?;
        report.insert(name.clone(), scores(job, config, name, &model, &mut answers)?);
    }
    let summary = summarise(&report);
    require(config, &report, &summary)?;
    let mut writer = job.slot.artifact().map_err(failure::store)?;
    writer
        .write("report.json", &serde_json::to_vec_pretty(&report).map_err(stage)?)
        .map_err(failure::store)?;
    if !config.exact_match.is_empty() {
        writer.write("answers.jsonl", answers.join("\n").as_bytes()).map_err(failure::store)?;
    }
    writer.publish(&summary, &IndexMap::new()).map_err(failure::store)?;
    Ok(summary)
}

fn scores(
    job: &Job<'_>,
    config: &EvaluateConfig,
    name: &str,
    model: &Model,
    answers: &mut Vec<String>,
) -> Result<Scores, Failure> {
    let mut scores = Scores::default();
    for item in &config.held_out {
        scores.held_out.insert(item.dataset.clone(), likelihood(job, item, model)?);
    }
    for item in &config.exact_match {
        let found = exact_match(job, item, name, model, answers)?;
        scores.exact_match.insert(item.dataset.clone(), found);
    }
    Ok(scores)
}

/// Held-out loss per token: the uncapped bound at stratified times, or the likelihood of an autoregressive checkpoint.
fn likelihood(job: &Job<'_>, item: &HeldOut, model: &Model) -> Result<f64, Failure> {
    let rows = Rows::open(folder(job, &item.role)?).map_err(stage)?;
    let count = rows.len(Split::HeldOut).min(item.rows as u64);
    let held: Vec<_> =
        (0..count).map(|i| rows.row(Split::HeldOut, i)).collect::<Result<_, _>>().map_err(stage)?;
    if held.is_empty() {
        let what = format!("dataset `{}` has no held-out rows", item.dataset);
        return Err(input(what, "raise the dataset's `held-out=`"));
    }
    let task = match model.provenance.kind {
        Kind::Autoregressive => Task::Autoregressive,
        Kind::Flow => setup::likelihood(model)?,
    };
    held_out::loss(&model.backbone, &held, &task, model.attention(), item.times, threads(job)).map_err(stage)
}

/// One answer, for people who look at what went wrong.
#[derive(Serialize)]
struct Answer<'a> {
    checkpoint: &'a str,
    group: &'a str,
    prompt: &'a str,
    expected: &'a str,
    given: &'a str,
    passed: bool,
}

fn exact_match(
    job: &Job<'_>,
    item: &ExactMatch,
    name: &str,
    model: &Model,
    answers: &mut Vec<String>,
) -> Result<ExactScores, Failure> {
    let folder = folder(job, &item.role)?;
    let (rows, mut chats) = (Rows::open(folder).map_err(stage)?, chats(folder)?);
    chats.truncate(item.limit.unwrap_or(usize::MAX));
    if chats.is_empty() {
        let what = format!("dataset `{}` has no held-out conversations", item.dataset);
        return Err(input(what, "raise the dataset's `held-out=`"));
    }
    let tokenizer = model.tokenizer()?;
    let length = rows.summary().canvas.ok_or_else(|| {
        input(
            format!("rows of `{}` have no `canvas=`", item.dataset),
            "say how many tokens an answer may have",
        )
    })?;
    let request = |chat: &Chat| {
        let prefix = chat::prompt(tokenizer, &chat.given()).map_err(stage)?;
        Ok(Request { prefix, length, suffix: Vec::new() })
    };
    let requests: Vec<Request> = chats.iter().map(request).collect::<Result<_, Failure>>()?;
    let found = complete(model, &requests, &item.sampler, job.seed, threads(job))?;
    let mut scores = ExactScores::default();
    for (chat, completion) in chats.iter().zip(&found.completions) {
        let given = tokenizer.decode(completion.until_end(&model.ends()), false);
        let expected = chat::expected(tokenizer, chat).map_err(stage)?;
        let passed = given == chat.answer || given == expected;
        scores.add(&chat.group, passed, given.is_empty());
        let (group, prompt, expected) = (&*chat.group, &*chat.prompt, &*chat.answer);
        let answer = Answer { checkpoint: name, group, prompt, expected, given: &given, passed };
        answers.push(serde_json::to_string(&answer).map_err(stage)?);
    }
    Ok(scores)
}

impl ExactScores {
    fn add(&mut self, group: &str, passed: bool, empty: bool) {
        self.total += 1;
        self.passed += usize::from(passed);
        self.empty += usize::from(empty);
        if group.is_empty() {
            return;
        }
        let own = self.by_group.entry(group.to_owned()).or_default();
        own.0 += usize::from(passed);
        own.1 += 1;
    }

    /// The scores in words.
    fn line(&self, name: &str, dataset: &str) -> String {
        let of = |(group, (passed, total)): (&String, &(usize, usize))| {
            format!("{group} {:.1}", percent(*passed, *total))
        };
        let groups: Vec<String> = self.by_group.iter().map(of).collect();
        let groups = if groups.is_empty() { String::new() } else { format!(" ({})", groups.join(", ")) };
        let (share, empty) = (percent(self.passed, self.total), percent(self.empty, self.total));
        format!("{name}: exact match on {dataset} {share:.1} % of {}{groups}, empty {empty:.1} %", self.total)
    }
}

fn percent(passed: usize, total: usize) -> f64 {
    100.0 * passed as f64 / total.max(1) as f64
}

/// The held-out conversations beside the rows.
fn chats(folder: &std::path::Path) -> Result<Vec<Chat>, Failure> {
    let file = folder.join(crate::data::rows::HELD_OUT);
    let text = std::fs::read_to_string(&file).map_err(|e| {
        input(
            format!("cannot read {}: {e}", file.display()),
            "exact match needs rows of a dataset with `chat`",
        )
    })?;
    text.lines().map(|line| serde_json::from_str(line).map_err(stage)).collect()
}

/// Fails below a required score. Nothing is published then, so the failure tells all scores.
fn require(
    config: &EvaluateConfig,
    report: &IndexMap<String, Scores>,
    summary: &Summary,
) -> Result<(), Failure> {
    for wanted in &config.require {
        let scores = report.get(&wanted.checkpoint).into_iter().flat_map(|s| &s.exact_match);
        for (dataset, found) in scores {
            if found.share() < wanted.at_least {
                let failure = stage(format!(
                    "checkpoint `{}` reaches {:.1} % exact match on `{dataset}`, {:.1} % is required",
                    wanted.checkpoint,
                    100.0 * found.share(),
                    100.0 * wanted.at_least
                ));
                let help = format!(
                    "train it longer, or lower `at-least=`; all scores:\n{}",
                    summary.lines.join("\n")
                );
                return Err(Failure { help: Some(help), ..failure });
            }
        }
    }
    Ok(())
}

/// Lines for people and numbers for machines.
fn summarise(report: &IndexMap<String, Scores>) -> Summary {
    let (mut lines, mut metrics, mut heads) = (Vec::new(), IndexMap::new(), Vec::new());
    for (name, scores) in report {
        for (dataset, loss) in &scores.held_out {
            lines.push(format!("{name}: held-out loss on {dataset} {loss:.3} nats per token"));
            metrics.insert(format!("held_out/{name}/{dataset}"), *loss);
            heads.push(format!("{name} {loss:.2}"));
        }
        for (dataset, found) in &scores.exact_match {
            lines.push(found.line(name, dataset));
            metrics.insert(format!("exact_match/{name}/{dataset}"), found.share());
            for (group, (passed, total)) in &found.by_group {
                metrics.insert(
                    format!("exact_match/{name}/{dataset}/{group}"),
                    percent(*passed, *total) / 100.0,
                );
            }
            heads.push(format!("{name} {:.1} %", percent(found.passed, found.total)));
        }
    }
    Summary { headline: heads.join(" · "), lines, metrics }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_task_are_told_where_there_are_some() {
        let mut scores = ExactScores::default();
        scores.add("", true, false);
        scores.add("", false, true);
        assert_eq!(scores.line("sft", "chat"), "sft: exact match on chat 50.0 % of 2, empty 50.0 %");
        scores.add("sort", true, false);
        let expected = "sft: exact match on chat 66.7 % of 3 (sort 100.0), empty 33.3 %";
        assert_eq!(scores.line("sft", "chat"), expected);
    }
}
