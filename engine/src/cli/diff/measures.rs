//! What an evaluation measured, read from its artifact.

use std::path::Path;

use fmflow_grade::sandbox::Isolation;
use indexmap::IndexMap;
use serde_json::Value;

use super::side::Side;
use crate::benchmark::Flips;
use crate::error::{Error, Result};
use crate::store::verify::{VerifyDepth, inspect_folder};
use crate::store::vfs::Disk;
use crate::text::escape::escape_line;

/// Keys of a report on a benchmark that are results, not what they depend on.
const RESULTS: [&str; 13] = [
    "passed",
    "total",
    "pass_at",
    "interval",
    "empty",
    "cut",
    "timed_out",
    "syntax_errors",
    "no_number",
    "problems",
    "accuracy",
    "spread",
    "undecided",
];

/// One measure of one checkpoint.
#[derive(Clone, Debug, Default)]
struct Measured {
    /// Share of what was solved, in [0, 1].
    share: f64,
    /// Whether each problem was solved, by its first sample.
    outcomes: Vec<(String, bool)>,
    /// What the measure depends on.
    facts: IndexMap<String, Value>,
}

/// All measures of an evaluation, by checkpoint and name.
#[derive(Clone, Debug, Default)]
pub(super) struct Measures {
    solved: IndexMap<String, IndexMap<String, Measured>>,
    losses: IndexMap<String, IndexMap<String, f64>>,
}

/// A measure in both evaluations.
#[derive(Clone, Debug)]
pub(super) struct MeasurePair {
    /// Its name.
    pub name: String,
    /// The checkpoints.
    pub checkpoints: [String; 2],
    /// Shares in [0, 1].
    pub shares: [f64; 2],
    /// Which problems only one of the two solves.
    pub flips: Flips,
    /// What it depends on and differs; and that programs ran without a sandbox, even if they did on both sides.
    pub facts: Vec<(String, [Value; 2])>,
}

/// A held-out loss in both evaluations, in nats per token.
#[derive(Clone, Debug)]
pub(super) struct LossPair {
    /// Name of the dataset.
    pub dataset: String,
    /// The checkpoints.
    pub checkpoints: [String; 2],
    /// The losses.
    pub losses: [f64; 2],
}

impl Measures {
    /// Reads the artifact of an evaluation, every byte verified; nothing if it is not finished.
    ///
    /// # Errors
    /// If the artifact is damaged.
    pub(super) fn read(side: &Side) -> Result<Self> {
        let Some(folder) = side.folder.as_deref().filter(|_| side.kind == "evaluate") else {
            return Ok(Self::default());
        };
        let (_, problems) = inspect_folder(&Disk, folder, VerifyDepth::Bytes)?;
        if let Some(problem) = problems.into_iter().next() {
            return Err(Error::Corrupt {
                folder: folder.to_owned(),
                what: problem.to_string(),
                file: problem.file,
            });
        }
        let mut found = Self::default();
        let report = read_lines(folder, "report.json", true)?.pop().unwrap_or_default();
        found.add_report(&report);
        found.add_samples(&read_lines(folder, "samples.jsonl", false)?);
        found.add_exact_matches(&report, &read_lines(folder, "answers.jsonl", false)?);
        match &side.checkpoint {
            Some(name) if !found.checkpoints().any(|known| known == name) => {
                let message = format!("`{}` measures no checkpoint `{}`", side.stage, escape_line(name));
                let names: Vec<&str> = found.checkpoints().collect();
                Err(Error::usage(message, format!("it measures {}", names.join(", "))))
            }
            _ => Ok(found),
        }
    }

    fn checkpoints(&self) -> impl Iterator<Item = &str> {
        self.solved
            .keys()
            .chain(self.losses.keys().filter(|name| !self.solved.contains_key(*name)))
            .map(String::as_str)
    }

    fn add_report(&mut self, report: &Value) {
        for (checkpoint, scores) in report.as_object().into_iter().flatten() {
            let losses = scores["held_out"].as_object().into_iter().flatten();
            let losses = losses.filter_map(|(dataset, loss)| Some((dataset.clone(), loss.as_f64()?)));
            self.losses.insert(checkpoint.clone(), losses.collect());
            for (name, found) in scores["benchmarks"].as_object().into_iter().flatten() {
                let measured = self.measure(checkpoint, name);
                measured.share = found["pass_at"]["1"].as_f64().unwrap_or_default();
                let facts = found.as_object().into_iter().flatten();
                let facts = facts.flat_map(|(key, value)| split_fact(key, value));
                measured.facts = facts.collect();
            }
        }
    }

    /// Exact matches, each with its answers. Evaluations that were made before answers had their dataset have one measure for all datasets.
    fn add_exact_matches(&mut self, report: &Value, answers: &[Value]) {
        let apart = answers.iter().all(|answer| answer["dataset"].is_string());
        for (checkpoint, scores) in report.as_object().into_iter().flatten() {
            let mut counts: IndexMap<String, [u64; 2]> = IndexMap::new();
            for (dataset, found) in scores["exact_match"].as_object().into_iter().flatten() {
                let sum = counts.entry(name_exact_match(apart.then_some(dataset))).or_default();
                // Questions that were never asked count as failed; the lines of answers do not have them.
                let count = |key: &str| found[key].as_u64().unwrap_or_default();
                *sum = [sum[0] + count("passed"), sum[1] + count("total")];
            }
            for (name, [passed, total]) in counts.iter().filter(|(_, [_, total])| *total > 0) {
                self.measure(checkpoint, name).share = *passed as f64 / *total as f64;
            }
        }
        self.add_answers(answers, apart);
    }

    fn add_samples(&mut self, samples: &[Value]) {
        for sample in samples.iter().filter(|sample| sample["sample"] == 0) {
            let text = |key: &str| sample[key].as_str().unwrap_or_default().to_owned();
            let passed = sample["outcome"] == "passed";
            self.measure(&text("checkpoint"), &text("benchmark")).outcomes.push((text("task_id"), passed));
        }
    }

    /// Answers to questions. Equal questions of one measure are numbered.
    fn add_answers(&mut self, answers: &[Value], apart: bool) {
        let mut seen: IndexMap<(String, String, String), usize> = IndexMap::new();
        for answer in answers {
            let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
            let (checkpoint, prompt) = (text("checkpoint"), text("prompt"));
            let asked = match &answer["before"] {
                Value::Null => prompt,
                turns => format!("{prompt} after {turns}"),
            };
            let measure = name_exact_match(apart.then_some(&text("dataset")));
            let count = seen.entry((checkpoint.clone(), measure.clone(), asked.clone())).or_default();
            *count += 1;
            let name = if *count == 1 { asked } else { format!("{asked} #{count}") };
            self.measure(&checkpoint, &measure).outcomes.push((name, answer["passed"] == true));
        }
    }

    fn measure(&mut self, checkpoint: &str, name: &str) -> &mut Measured {
        self.solved.entry(checkpoint.to_owned()).or_default().entry(name.to_owned()).or_default()
    }
}

/// The measure of the exact matches of a dataset; of all datasets without one.
fn name_exact_match(dataset: Option<&String>) -> String {
    match dataset {
        Some(dataset) => format!("exact match on {dataset}"),
        None => "exact match".to_owned(),
    }
}

/// The checkpoints to compare: those that were asked about; else those that both have; else the only one of each.
fn pair_checkpoints(sides: [&Side; 2], measures: [&Measures; 2]) -> Vec<[String; 2]> {
    let all = measures.map(|one| one.checkpoints().map(str::to_owned).collect::<Vec<_>>());
    let asked = [0, 1].map(|at| sides[at].checkpoint.clone());
    match asked {
        [Some(first), Some(second)] => return vec![[first, second]],
        [Some(one), None] => return vec![[one.clone(), find_partner(&one, &all[1])]],
        [None, Some(one)] => return vec![[find_partner(&one, &all[0]), one]],
        [None, None] => {}
    }
    let [first, second] = &all;
    let common: Vec<[String; 2]> =
        first.iter().filter(|name| second.contains(name)).map(|name| [name.clone(), name.clone()]).collect();
    match (common.is_empty(), first.as_slice(), second.as_slice()) {
        (true, [one], [other]) => vec![[one.clone(), other.clone()]],
        _ => common,
    }
}

/// The checkpoint that one of the other evaluation is compared with: that of the same name, or the only one.
fn find_partner(name: &str, names: &[String]) -> String {
    match names {
        [one] => one.clone(),
        _ => name.to_owned(),
    }
}

/// The measures that both evaluations have.
pub(super) fn pair_measures(
    sides: [&Side; 2],
    measures: [&Measures; 2],
) -> (Vec<MeasurePair>, Vec<LossPair>) {
    let (mut pairs, mut losses) = (Vec::new(), Vec::new());
    for checkpoints in pair_checkpoints(sides, measures) {
        let of = |at: usize| measures[at].solved.get(&checkpoints[at]);
        for (name, first) in of(0).into_iter().flatten() {
            let Some(second) = of(1).and_then(|all| all.get(name)) else { continue };
            pairs.push(pair_measure(name, checkpoints.clone(), first, second));
        }
        let of = |at: usize| measures[at].losses.get(&checkpoints[at]);
        for (dataset, first) in of(0).into_iter().flatten() {
            let Some(second) = of(1).and_then(|all| all.get(dataset)) else { continue };
            let (dataset, checkpoints) = (dataset.clone(), checkpoints.clone());
            losses.push(LossPair { dataset, checkpoints, losses: [*first, *second] });
        }
    }
    (pairs, losses)
}

fn pair_measure(name: &str, checkpoints: [String; 2], first: &Measured, second: &Measured) -> MeasurePair {
    let keys = first.facts.keys().chain(second.facts.keys().filter(|key| !first.facts.contains_key(*key)));
    let value = |facts: &IndexMap<String, Value>, key: &String| facts.get(key).cloned().unwrap_or_default();
    let facts = keys.map(|key| (key.clone(), [value(&first.facts, key), value(&second.facts, key)]));
    MeasurePair {
        name: name.to_owned(),
        checkpoints,
        shares: [first.share, second.share],
        flips: Flips::between(&first.outcomes, &second.outcomes),
        facts: facts.filter(|(key, [first, second])| first != second || is_unsafe(key, first)).collect(),
    }
}

/// Whether a fact has to be told wherever it holds.
fn is_unsafe(key: &str, value: &Value) -> bool {
    key == "sandbox" && value.as_str() == Some(Isolation::UnsafeNoSandbox.word())
}

/// The lines of a file of an artifact, each JSON, or its whole text as one value. A file that is absent has none.
fn read_lines(folder: &Path, name: &str, whole: bool) -> Result<Vec<Value>> {
    let path = folder.join(name);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::io("read", &path))?,
    };
    let parts = if whole { vec![text.as_str()] } else { text.lines().collect() };
    let corrupt = |error: serde_json::Error| Error::Corrupt {
        folder: folder.to_owned(),
        file: name.into(),
        what: error.to_string(),
    };
    parts.into_iter().map(|part| serde_json::from_str(part).map_err(corrupt)).collect()
}

/// What a measure depends on, by name: each setting by itself, and no result.
fn split_fact(key: &str, value: &Value) -> Vec<(String, Value)> {
    match value {
        _ if RESULTS.contains(&key) => Vec::new(),
        Value::Object(inner) => inner.iter().flat_map(|(key, value)| split_fact(key, value)).collect(),
        _ => vec![(key.to_owned(), value.clone())],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(dataset: Option<&str>, before: Value, passed: bool) -> Value {
        let mut answer = json!({ "checkpoint": "sft", "prompt": "Why?", "before": before, "expected": "so", "passed": passed });
        if let Some(dataset) = dataset {
            answer["dataset"] = dataset.into();
        }
        answer
    }

    fn names(found: &Measures, measure: &str) -> Vec<String> {
        found.solved["sft"][measure].outcomes.iter().map(|(name, _)| name.clone()).collect()
    }

    #[test]
    fn equal_prompts_after_other_turns_are_other_questions() {
        let mut found = Measures::default();
        let answers = [json!(["a"]), json!(["b"]), Value::Null, Value::Null];
        found.add_answers(&answers.map(|before| answer(Some("tasks"), before, true)), true);
        let expected = ["Why? after [\"a\"]", "Why? after [\"b\"]", "Why?", "Why? #2"];
        assert_eq!(names(&found, "exact match on tasks"), expected);
    }

    #[test]
    fn two_datasets_are_two_measures() {
        let score = |passed: u64, total: u64| json!({ "passed": passed, "total": total });
        let report = json!({ "sft": { "exact_match": { "tasks": score(3, 6), "more": score(1, 4) } } });
        let mut found = Measures::default();
        let answers = [("tasks", true), ("more", false), ("tasks", false)];
        let answers = answers.map(|(dataset, passed)| answer(Some(dataset), Value::Null, passed));
        found.add_exact_matches(&report, &answers);
        let share = |name: &str| found.solved["sft"][name].share;
        // Questions that were never asked count as failed.
        assert_eq!((share("exact match on tasks"), share("exact match on more")), (0.5, 0.25));
        assert_eq!(names(&found, "exact match on tasks"), ["Why?", "Why? #2"]);
        assert_eq!(names(&found, "exact match on more"), ["Why?"]);
    }

    #[test]
    fn that_there_was_no_sandbox_is_told_of_both_sides() {
        let facts = |sandbox: &str| {
            let facts = [("sandbox".to_owned(), sandbox.into()), ("seed".to_owned(), 7.into())];
            Measured { facts: facts.into_iter().collect(), ..Measured::default() }
        };
        let told = |sandboxes: [&str; 2]| {
            let [first, second] = sandboxes.map(facts);
            let pair = pair_measure("humaneval", [String::new(), String::new()], &first, &second);
            pair.facts.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(told(["unsafe-no-sandbox", "unsafe-no-sandbox"]), ["sandbox"]);
        assert_eq!(told(["enforced", "unsafe-no-sandbox"]), ["sandbox"]);
        assert!(told(["enforced", "enforced"]).is_empty());
    }

    #[test]
    fn answers_without_a_dataset_are_one_measure() {
        let score = |passed: u64, total: u64| json!({ "passed": passed, "total": total });
        let report = json!({ "sft": { "exact_match": { "tasks": score(3, 6), "more": score(1, 4) } } });
        let mut found = Measures::default();
        found.add_exact_matches(&report, &[answer(None, Value::Null, true)]);
        assert!((found.solved["sft"]["exact match"].share - 0.4).abs() < 1e-12);
        assert_eq!((found.solved["sft"].len(), names(&found, "exact match")), (1, vec!["Why?".to_owned()]));
    }
}
