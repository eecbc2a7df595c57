//! Answers the questions of a probe, with the code of `generate` and `evaluate`.

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::pipeline::config::Prompt;
use fmflow_engine::pipeline::config::sample::BenchmarkSettings;
use fmflow_engine::pipeline::config::train::ProbeSettings;
use fmflow_engine::run::execute::Job;
use serde_json::{Map, Value, json};

use crate::answer::{Asker, display_prompt};
use crate::evaluate::BenchmarkReport;
use crate::job::check_interrupt;
use crate::model::Model;
use crate::train::probing::ProbeAnswers;
use crate::{answer, evaluate};

/// The name of the checkpoint in what is reported.
const NAME: &str = "probe";

/// Answers all questions. Every draw is a function of the pipeline's seed and the question, as in `generate` and `evaluate`:
/// training draws nothing from the same streams.
///
/// # Errors
/// If a question does not fit the checkpoint, the device fails, or a signal requests a stop.
pub(crate) fn answer_probe(
    job: &Job<'_>,
    probe: &ProbeSettings,
    model: &Model,
) -> Result<ProbeAnswers, Failure> {
    let (mut lines, mut record) = (Vec::new(), Map::new());
    let mut samples = Vec::new();
    for prompt in &probe.prompts {
        check_interrupt(job)?;
        samples.push(answer_prompt(job, model, prompt, &mut lines)?);
    }
    if !samples.is_empty() {
        record.insert("samples".into(), samples.into());
    }
    for item in &probe.exact_match {
        check_interrupt(job)?;
        let scores = evaluate::score_exact_match(job, item, NAME, model, &mut Vec::new())?;
        lines.push(scores.line(NAME, &item.dataset));
        record.insert(format!("exact_match/{}", item.dataset), scores.share().into());
        if let Some(changed) = &scores.cache_disagreement {
            record.insert(format!("cache_disagreement/{}", item.dataset), json!(changed));
        }
    }
    for item in &probe.benchmarks {
        check_interrupt(job)?;
        measure_programs(job, item, model, &mut lines, &mut record)?;
    }
    Ok(ProbeAnswers { lines, record: Value::Object(record) })
}

/// Measures a benchmark. It may need more than the model, such as an interpreter: if it fails, this is told and recorded beside the
/// other answers.
fn measure_programs(
    job: &Job<'_>,
    item: &BenchmarkSettings,
    model: &Model,
    lines: &mut Vec<String>,
    record: &mut Map<String, Value>,
) -> Result<(), Failure> {
    let name = &item.name;
    match evaluate::probe_benchmark(job, item, NAME, model) {
        Ok(report) => {
            lines.extend(report.lines().iter().map(|line| format!("{NAME}: {name} {line}")));
            record.insert(format!("benchmark/{name}"), report.scores.pass_at_one().into());
            record.insert(format!("graded/{name}"), describe_report(&report));
        }
        Err(failure) if failure.kind == FailureKind::Interrupted => return Err(failure),
        Err(Failure { message, .. }) => {
            lines.push(format!("warning: benchmark `{name}` failed, and the training goes on: {message}"));
            record.insert(format!("failed/{name}"), message.into());
        }
    }
    Ok(())
}

/// What a probe keeps of a report: what its score depends on, and how answers failed.
fn describe_report(report: &BenchmarkReport) -> Value {
    let BenchmarkReport { scores, prompt, prompt_hash, sampler, samples, new_tokens, length, choice, .. } =
        report;
    let mut described = json!({
        "passed": scores.passed, "total": scores.total, "cut": scores.cut, "empty": scores.empty,
        "timed_out": scores.timed_out, "syntax_errors": scores.syntax_errors, "prompt": prompt,
        "prompt_hash": prompt_hash, "samples": samples,
    });
    if let Some(sampler) = sampler {
        described["sampler"] = sampler.as_str().into();
    }
    if let Some(choice) = choice {
        described["choice"] = json!(choice);
    }
    if let Some(tokens) = new_tokens {
        described["new_tokens"] = (*tokens).into();
    }
    if let Some(length) = length {
        described["length"] = length.as_str().into();
    }
    if let Some(count) = scores.no_number {
        described["no_number"] = count.into();
    }
    described
}

fn answer_prompt(
    job: &Job<'_>,
    model: &Model,
    prompt: &Prompt,
    lines: &mut Vec<String>,
) -> Result<Value, Failure> {
    let asker = Asker { seed: job.seed, samples: 1, threads: 1, listener: None };
    let mut answers = answer::answer_prompt(model, prompt, asker)?;
    let changed = answer::measure_disagreement(model, prompt, &answers, job.seed)?;
    let (shown, text) = (display_prompt(&prompt.kind), answers.answers.remove(0).text);
    let told = changed.as_ref().map(|found| format!(" ({})", found.describe())).unwrap_or_default();
    lines.push(format!("{shown:?} -> {text:?}{told}"));
    let mut sample = json!({ "prompt": shown, "text": text, "sampler": prompt.sampler.name });
    if let Some(changed) = changed {
        sample["cache_disagreement"] = json!(changed);
    }
    Ok(sample)
}
