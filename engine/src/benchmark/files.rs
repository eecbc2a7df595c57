//! Files of problems, read whole or refused with a place.

use std::collections::HashMap;

use fmflow_grade::problem::{Layout, Problem, TaskId};
use serde_json::{Map, Value};

use crate::documents::{LineFault, ObjectReader, PlacedObject, RecordFault, RecordPlace};
use crate::text::escape::escape_line;
use crate::text::unpack::DataFile;

/// Most samples and problems of one file: more than any benchmark has, few enough for the memory.
const MAX_RECORDS: usize = 200_000;

/// Most bytes of the fields of a file that are kept.
const MAX_BYTES: usize = 1 << 30;

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct BenchmarkFileError {
    /// File and line.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// How to fix it.
    pub fix: String,
}

/// Reads the problems of a benchmark from its files, each with the text by which it is shown. One file is read in its order; several are
/// parts of a repository, whose problems are put in the order of their numbers; several of an own benchmark are read one after the other.
///
/// # Errors
/// If a line or a field is at fault, a task appears twice, or a file has no problem.
pub fn read_problems(
    files: Vec<(DataFile, String)>,
    layout: Layout,
) -> Result<Vec<Problem>, BenchmarkFileError> {
    Ok(read_placed_problems(files, layout)?.into_iter().map(|(_, problem)| problem).collect())
}

/// As [`read_problems`], each with its file and line.
///
/// # Errors
/// As [`read_problems`].
pub fn read_placed_problems(
    files: Vec<(DataFile, String)>,
    layout: Layout,
) -> Result<Vec<(String, Problem)>, BenchmarkFileError> {
    let (mut seen, mut all, parts) = (HashMap::new(), Vec::new(), files.len());
    for (file, shown) in files {
        all.extend(read_problem_file(file, &shown, layout, &mut seen)?);
    }
    refuse_mixture(&all)?;
    if parts > 1 && !layout.has_only_known_fields() {
        // A stable sort: what has no number stays in the order of the files, behind the others.
        all.sort_by_key(|(_, problem)| problem.id.number().unwrap_or(u64::MAX));
    }
    Ok(all)
}

/// The first field of the first `most` problems of an own benchmark that nothing reads, with its place.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn find_unread_field(
    file: DataFile,
    shown: &str,
    layout: Layout,
    most: usize,
) -> Result<Option<(String, String)>, BenchmarkFileError> {
    let faulty = |cause: RecordFault| explain_fault(shown, cause);
    let mut reader = ObjectReader::open(file, shown).map_err(faulty)?;
    for _ in 0..most {
        let Some(object) = reader.next_object().map_err(faulty)? else { break };
        if let Some(name) = object.fields.keys().find(|name| !layout.reads(name)) {
            return Ok(Some((object.place.in_file(shown), name.clone())));
        }
    }
    Ok(None)
}

/// Reads at most `most` problems from the beginning of a file, each with its place.
///
/// # Errors
/// If one of them is at fault.
pub(crate) fn read_first_problems(
    file: DataFile,
    shown: &str,
    layout: Layout,
    most: usize,
) -> Result<Vec<(String, Problem)>, BenchmarkFileError> {
    let faulty = |cause: RecordFault| explain_fault(shown, cause);
    let mut reader = ObjectReader::open(file, shown).map_err(faulty)?;
    let mut all = Vec::new();
    while all.len() < most
        && let Some(object) = reader.next_object().map_err(faulty)?
    {
        let place = object.place.in_file(shown);
        let problem = read_problem(layout, (&place, all.len()), &object)?;
        all.push((place, problem));
    }
    Ok(all)
}

/// What to do about a problem that is not laid out as it should be.
fn advise(layout: Layout) -> &'static str {
    match layout {
        Layout::HumanEval | Layout::Mbpp | Layout::Gsm8k => {
            "use the benchmark's own file, and the name that fits its layout"
        }
        Layout::Code => {
            "write `task_id`, `prompt`, and either `entry_point` with `test`, as HumanEval has them, or `test_list`, as MBPP does"
        }
        Layout::Infilling => {
            "write `task_id`, `prompt`, `suffix`, `entry_point` and `test`, as HumanEval-Infilling has them"
        }
        Layout::Choice => "write `prompt`, `choices` and `answer`, and `task_id` where problems have names",
        Layout::Exact => "write `prompt` and `answer`, and `task_id` where problems have names",
    }
}

/// `number` counts the problems of all files from 0.
fn read_problem(
    layout: Layout,
    (place, number): (&str, usize),
    object: &PlacedObject,
) -> Result<Problem, BenchmarkFileError> {
    let read = Problem::from_numbered(layout, &object.fields, object.line.as_deref(), number);
    read.map_err(|error| fault(place, error.to_string(), advise(layout)))
}

/// The prompts of a benchmark have one form, and so have its problems.
fn refuse_mixture(all: &[(String, Problem)]) -> Result<(), BenchmarkFileError> {
    let other = all.iter().find(|(_, problem)| problem.layout() != all[0].1.layout());
    let Some((place, _)) = other else { return Ok(()) };
    let what = format!("only one of this problem and the first one, in {}, has `test_list`", all[0].0);
    Err(fault(place, what, "make two benchmarks of them"))
}

/// `seen` are the problems of the files before, with their places.
fn read_problem_file(
    file: DataFile,
    shown: &str,
    layout: Layout,
    seen: &mut HashMap<TaskId, String>,
) -> Result<Vec<(String, Problem)>, BenchmarkFileError> {
    let problems = read_records(file, shown, |place, object| {
        let problem = read_problem(layout, (place, seen.len()), object)?;
        match seen.insert(problem.id.clone(), place.to_owned()) {
            None => Ok((place.to_owned(), problem)),
            Some(first) => {
                let what = format!("task {} appears twice: first in {first}", escape_line(&problem.name));
                Err(fault(place, what, "remove one of the two"))
            }
        }
    })?;
    match problems.is_empty() {
        true => Err(fault(shown, "the file holds no problem", advise(layout))),
        false => Ok(problems),
    }
}

pub(super) fn read_records<T>(
    file: DataFile,
    shown: &str,
    mut read: impl FnMut(&str, &PlacedObject) -> Result<T, BenchmarkFileError>,
) -> Result<Vec<T>, BenchmarkFileError> {
    let faulty = |cause: RecordFault| explain_fault(shown, cause);
    let mut reader = ObjectReader::open(file, shown).map_err(faulty)?;
    let (mut all, mut bytes) = (Vec::new(), 0);
    while let Some(object) = reader.next_object().map_err(faulty)? {
        let place = object.place.in_file(shown);
        bytes += count_bytes(&object.fields);
        if all.len() >= MAX_RECORDS || bytes > MAX_BYTES {
            let what = format!("the file holds more than {MAX_RECORDS} records or 1 GiB of text");
            return Err(fault(&place, what, "grade it in parts"));
        }
        all.push(read(&place, &object)?);
    }
    Ok(all)
}

/// Bytes of the texts of a record, its nested values roughly.
fn count_bytes(record: &Map<String, Value>) -> usize {
    record.values().map(|value| value.as_str().map_or_else(|| value.to_string().len(), str::len)).sum()
}

fn explain_fault(shown: &str, cause: RecordFault) -> BenchmarkFileError {
    // Files of benchmarks have lines, and no `format`.
    let explain = |place: &str, found: LineFault| match found.is_one_array() {
        true => fault(place, found.problem, "write one object per line, as `jq -c '.[]'` does"),
        false => fault(place, found.problem, found.fix),
    };
    match cause {
        RecordFault::Unreadable(error) => {
            fault(shown, error.to_string(), "check the file, or fetch it again")
        }
        RecordFault::Unfit(found) => explain(shown, found),
        RecordFault::Record { place, fault, .. } => explain(&RecordPlace::in_file(place, shown), fault),
    }
}

pub(super) fn fault(place: &str, what: impl Into<String>, fix: impl Into<String>) -> BenchmarkFileError {
    BenchmarkFileError { place: place.to_owned(), what: what.into(), fix: fix.into() }
}
