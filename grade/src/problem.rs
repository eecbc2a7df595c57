//! Problems of benchmarks: a record of a file becomes what the interpreters and a model need.

mod inputs;
mod json_text;
mod record;
mod wire;

use std::fmt;

pub use record::RecordError;
pub(crate) use wire::encode_problem;

use record::Record;
use serde_json::{Map, Value};

use crate::literal::encode_list;
use crate::number::Decimal;

/// How the records of a benchmark are laid out, and how a program is made from a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// HumanEval and HumanEval+: the prompt is the beginning of the program.
    HumanEval,
    /// MBPP (sanitized) and MBPP+: the prompt describes the program.
    Mbpp,
    /// GSM8K: a question whose answer ends with a number.
    Gsm8k,
}

/// What identifies a problem: 2, "2" and "Mbpp/2" are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(String);

/// A problem that programs or answers can be graded on.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Its identity.
    pub id: TaskId,
    /// `task_id` as its file writes it.
    pub name: String,
    /// What a model reads.
    pub prompt: String,
    /// The reference solution, as a whole program or answer.
    pub reference: Option<String>,
    /// Tests that a prompt may show.
    pub shown_tests: Vec<String>,
    layout: Layout,
    pub(crate) check: Check,
}

/// What decides whether an answer is right.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    /// Tests, as the judge reads them.
    Tests(String),
    /// The last number of the answer has to be this one.
    Number(Decimal),
}

/// Names of the benchmarks whose layout is known.
pub const NAMES: [&str; 5] = ["humaneval", "humaneval+", "mbpp", "mbpp+", "gsm8k"];

impl Layout {
    /// The layout of a benchmark by its name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "humaneval" | "humaneval+" => Some(Self::HumanEval),
            "mbpp" | "mbpp+" => Some(Self::Mbpp),
            "gsm8k" => Some(Self::Gsm8k),
            _ => None,
        }
    }

    /// Whether answers are programs, so that grading needs an interpreter.
    #[must_use]
    pub fn runs_programs(self) -> bool {
        matches!(self, Self::HumanEval | Self::Mbpp)
    }

    /// Whether an answer gives a number.
    #[must_use]
    pub fn finds_numbers(self) -> bool {
        self == Self::Gsm8k
    }
}

impl TaskId {
    /// From the text or number of a `task_id`: what follows the last `/` if that is a number.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let last = name.rsplit('/').next().unwrap_or(name);
        let number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
        let own = if number { last.trim_start_matches('0') } else { name };
        Self(if own.is_empty() { "0".into() } else { own.to_owned() })
    }

    /// The number, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.0.parse().ok()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Problem {
    /// Reads a record, the first of its benchmark.
    ///
    /// # Errors
    /// If a field is missing or of the wrong type.
    pub fn from_record(layout: Layout, record: &Map<String, Value>) -> Result<Self, RecordError> {
        Self::from_numbered(layout, record, None, 0)
    }

    /// Reads a record and the line of JSON that it was parsed from, if there is one: numbers in inputs of tests keep all their digits.
    /// `number` counts the records of the benchmark from 0; it is the name of a problem whose layout has none.
    ///
    /// # Errors
    /// As [`Self::from_record`].
    pub fn from_numbered(
        layout: Layout,
        fields: &Map<String, Value>,
        line: Option<&str>,
        number: usize,
    ) -> Result<Self, RecordError> {
        let record = &Record { fields, line };
        match layout {
            Layout::HumanEval => read_humaneval(record),
            Layout::Mbpp => read_mbpp(record),
            Layout::Gsm8k => read_gsm8k(record, number),
        }
    }

    /// What is graded of a completion: HumanEval continues the prompt, the others do not.
    #[must_use]
    pub fn complete(&self, completion: &str) -> String {
        match self.layout {
            Layout::HumanEval => format!("{}{completion}", self.prompt),
            Layout::Mbpp | Layout::Gsm8k => completion.to_owned(),
        }
    }
}

/// `task_id`, `prompt`, `entry_point`, `canonical_solution`, and `test` or, in EvalPlus, `base_input` and `plus_input`.
fn read_humaneval(record: &Record<'_>) -> Result<Problem, RecordError> {
    let (prompt, entry) = (record.text("prompt")?, record.text("entry_point")?);
    let solution = record.optional_text("canonical_solution")?;
    let reference = solution.map(|solution| format!("{prompt}{solution}"));
    let wire = match record.inputs()? {
        Some(inputs) => encode_inputs(record, reference.as_deref(), entry, &inputs)?,
        None => {
            // Without a solution, the tests still see what the prompt defines.
            let before = reference.clone().unwrap_or_else(|| prompt.to_owned());
            let before = if solution.is_some() { vec![before] } else { Vec::new() };
            encode_problem(&before, &[record.text("test")?.to_owned()], Some(entry), solution.is_some(), None)
        }
    };
    build_problem(record, Layout::HumanEval, prompt, reference, Vec::new(), wire)
}

/// `task_id`, `prompt`, `code`, `test_imports`, `test_list`; in EvalPlus as HumanEval, with a program as the solution.
fn read_mbpp(record: &Record<'_>) -> Result<Problem, RecordError> {
    let prompt = record.text("prompt")?;
    let reference = match record.optional_text("code")? {
        Some(code) => Some(code),
        None => record.optional_text("canonical_solution")?,
    };
    let reference = reference.map(str::to_owned);
    if let Some(inputs) = record.inputs()? {
        let wire = encode_inputs(record, reference.as_deref(), record.text("entry_point")?, &inputs)?;
        return build_problem(record, Layout::Mbpp, prompt, reference, Vec::new(), wire);
    }
    let tests = record.texts("test_list")?;
    if tests.is_empty() {
        return Err(RecordError::new("test_list", "has no test"));
    }
    let imports = record.optional_texts("test_imports")?;
    let before: Vec<String> = reference.iter().cloned().chain(imports).collect();
    let wire = encode_problem(&before, &tests, None, reference.is_some(), None);
    build_problem(record, Layout::Mbpp, prompt, reference, tests, wire)
}

/// `question` and `answer`, whose last line is `#### ` and a number. Its file has no names of problems, so they are numbered.
fn read_gsm8k(record: &Record<'_>, number: usize) -> Result<Problem, RecordError> {
    let (question, answer) = (record.text("question")?, record.text("answer")?);
    let last = answer.rsplit_once("####").map(|(_, last)| last.trim());
    let expected = last.and_then(Decimal::read);
    let expected =
        expected.ok_or_else(|| RecordError::new("answer", "does not end with `#### ` and a number"))?;
    let name = format!("gsm8k/{number}");
    Ok(Problem {
        id: TaskId::from_name(&name),
        name,
        prompt: question.to_owned(),
        reference: Some(answer.to_owned()),
        shown_tests: Vec::new(),
        layout: Layout::Gsm8k,
        check: Check::Number(expected),
    })
}

fn encode_inputs(
    record: &Record<'_>,
    reference: Option<&str>,
    entry: &str,
    inputs: &[String],
) -> Result<String, RecordError> {
    let Some(reference) = reference else {
        return Err(RecordError::new(
            "canonical_solution",
            "is missing: the expected outputs are its outputs",
        ));
    };
    let inputs = encode_list(inputs);
    let tolerance = record.optional_number("atol")?.unwrap_or(0.0);
    Ok(encode_problem(&[reference.to_owned()], &[], Some(entry), true, Some((&inputs, tolerance))))
}

fn build_problem(
    record: &Record<'_>,
    layout: Layout,
    prompt: &str,
    reference: Option<String>,
    shown_tests: Vec<String>,
    wire: String,
) -> Result<Problem, RecordError> {
    if wire.len() > crate::literal::MAX_PROBLEM_BYTES {
        return Err(RecordError::new("task_id", "belongs to a problem that is too large"));
    }
    let name = record.name()?;
    let id = TaskId::from_name(&name);
    Ok(Problem {
        id,
        name,
        prompt: prompt.to_owned(),
        reference,
        shown_tests,
        layout,
        check: Check::Tests(wire),
    })
}

#[cfg(test)]
mod tests;
