//! Files of samples: programs or answers, each for one of the problems.

use std::collections::{HashMap, HashSet};

use fmflow_grade::problem::{Layout, Problem, TaskId};
use serde_json::{Map, Value};

use super::files::{BenchmarkFileError, fault, read_records};
use super::selection::{LeftOut, Marks, WantedSamples};
use crate::text::escape::escape_line;
use crate::text::unpack::DataFile;

/// A program or an answer that somebody or a model wrote for a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The problem.
    pub id: TaskId,
    /// `task_id` as its file writes it.
    pub name: String,
    /// What was written.
    pub source: SampleSource,
}

/// What a sample holds: the two fields of EvalPlus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SampleSource {
    /// `solution`: a whole program or answer.
    Solution(String),
    /// `completion`: what follows the prompt.
    Completion(String),
}

impl Sample {
    /// The program or answer that is graded.
    #[must_use]
    pub fn program(&self, problem: &Problem) -> String {
        match &self.source {
            SampleSource::Solution(text) => text.clone(),
            SampleSource::Completion(text) => problem.complete(text),
        }
    }

    /// Whether nothing was written, as [`is_empty`].
    #[must_use]
    pub fn is_empty(&self, layout: Layout) -> bool {
        let (SampleSource::Solution(text) | SampleSource::Completion(text)) = &self.source;
        super::is_empty(text, layout)
    }
}

/// The samples of a file that are to be graded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleFile {
    /// In the order of the file; at least one.
    pub samples: Vec<Sample>,
    /// The others.
    pub left_out: LeftOut,
}

/// Reads samples for the problems from `file`, which is shown as `shown`. What is wrong with a line that is left out does not matter: it may be
/// of a benchmark that has no programs.
///
/// # Errors
/// If a line or a field is at fault, a sample is for none of the problems, there is no sample, or it is not clear which are meant.
pub fn read_samples(
    file: DataFile,
    shown: &str,
    problems: &[Problem],
    wanted: &WantedSamples<'_>,
) -> Result<SampleFile, BenchmarkFileError> {
    let lines = read_records(file, shown, |place, object| {
        Ok((Marks::read(&object.fields), (place.to_owned(), read_sample(&object.fields))))
    })?;
    if lines.is_empty() {
        return Err(fault(shown, "the file holds no sample", "write one object per line"));
    }
    let (marks, lines): (Vec<Marks>, Vec<_>) = lines.into_iter().unzip();
    let (kept, left_out) = wanted.choose(shown, &marks)?;
    let known = KnownTasks::of(problems);
    let find = |(place, sample): (String, Result<Sample, String>)| {
        let fix = "write {\"task_id\": \"HumanEval/0\", \"completion\": \"...\"} or \"solution\"";
        let sample = sample.map_err(|what| fault(&place, what, fix))?;
        let id = known.find(&sample).map_err(|(what, fix)| fault(&place, what, fix))?.clone();
        Ok(Sample { id, ..sample })
    };
    let kept = lines.into_iter().zip(kept).filter(|(_, kept)| *kept);
    let samples = kept.map(|(line, _)| find(line)).collect::<Result<_, _>>()?;
    Ok(SampleFile { samples, left_out })
}

/// The problems that samples may be for.
struct KnownTasks<'a> {
    all: HashSet<&'a TaskId>,
    /// Those with a number, by it.
    numbered: HashMap<u64, Vec<&'a Problem>>,
}

impl<'a> KnownTasks<'a> {
    fn of(problems: &'a [Problem]) -> Self {
        let mut numbered: HashMap<u64, Vec<&Problem>> = HashMap::new();
        for problem in problems {
            if let Some(number) = problem.id.number() {
                numbered.entry(number).or_default().push(problem);
            }
        }
        Self { all: problems.iter().map(|problem| &problem.id).collect(), numbered }
    }

    /// The problem of a sample: the one of that name, or the only one that the name may be. Else what is wrong, and how to fix it.
    fn find(&self, sample: &Sample) -> Result<&'a TaskId, (String, &'static str)> {
        if let Some(id) = self.all.get(&sample.id).copied() {
            return Ok(id);
        }
        let same = sample.id.number().and_then(|number| self.numbered.get(&number));
        let mut possible =
            same.into_iter().flatten().copied().filter(|problem| sample.id.may_be(&problem.id));
        let name = escape_line(&sample.name);
        match (possible.next(), possible.next()) {
            (Some(one), None) => Ok(&one.id),
            (Some(one), Some(other)) => {
                let (one, other) = (escape_line(&one.name), escape_line(&other.name));
                let what = format!("task {name} may be {one} or {other}");
                Err((what, "write the whole `task_id` that the file of problems has"))
            }
            _ => {
                let what = format!("task {name} is not among the problems");
                Err((what, "name the file of problems that the samples were made for"))
            }
        }
    }
}

fn read_sample(record: &Map<String, Value>) -> Result<Sample, String> {
    let name = match record.get("task_id") {
        Some(Value::String(name)) if !name.is_empty() => name.clone(),
        Some(Value::Number(number)) if number.is_u64() => number.to_string(),
        Some(_) => return Err("`task_id` is neither a text nor a whole number".into()),
        None => return Err("`task_id` is missing".into()),
    };
    let text = |field: &str| match record.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("`{field}` is not a text")),
    };
    let source = match (text("solution")?, text("completion")?) {
        (Some(text), None) => SampleSource::Solution(text),
        (None, Some(text)) => SampleSource::Completion(text),
        (Some(_), Some(_)) => return Err("it has both a `solution` and a `completion`".into()),
        (None, None) => return Err("it has neither a `solution` nor a `completion`".into()),
    };
    Ok(Sample { id: TaskId::from_name(&name), name, source })
}
