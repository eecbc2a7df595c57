//! The layouts of records.

use super::evalplus::{find_rule, find_shape};
use super::record::{Record, RecordError};
use super::wire::PlusInputs;
use super::{Check, Choices, Layout, Problem, TaskId, encode_problem};
use crate::literal::encode_list;
use crate::number::Decimal;

/// `task_id`, `prompt`, `entry_point`, `canonical_solution`, and `test` or, in EvalPlus, `base_input` and `plus_input`. `own`: whether it is a
/// problem of somebody's own.
pub(super) fn read_humaneval(record: &Record<'_>, own: bool) -> Result<Problem, RecordError> {
    let (prompt, entry) = (record.text("prompt")?, record.text("entry_point")?);
    let solution = record.optional_text("canonical_solution")?;
    let reference = solution.map(|solution| format!("{prompt}{solution}"));
    let rule = find_rule(Layout::HumanEval, entry).filter(|_| !own);
    let wire = match record.inputs()? {
        Some(inputs) => encode_inputs(record, (reference.as_deref(), entry), &inputs, (None, rule))?,
        None => encode_test(record, reference.as_deref(), entry)?,
    };
    build_problem(record, Layout::HumanEval, prompt, reference, Vec::new(), wire)
}

/// As HumanEval, with a `suffix`: `canonical_solution` is what stands between `prompt` and `suffix`.
pub(super) fn read_infilling(record: &Record<'_>) -> Result<Problem, RecordError> {
    let (prompt, suffix) = (record.text("prompt")?, record.text("suffix")?);
    let gap = record.optional_text("canonical_solution")?;
    let reference = gap.map(|gap| format!("{prompt}{gap}{suffix}"));
    let wire = encode_test(record, reference.as_deref(), record.text("entry_point")?)?;
    let problem = build_problem(record, Layout::Infilling, prompt, reference, Vec::new(), wire)?;
    Ok(Problem { suffix: Some(suffix.to_owned()), reference_gap: gap.map(str::to_owned), ..problem })
}

/// `task_id`, `prompt`, `code`, `test_imports`, `test_list`; in EvalPlus as HumanEval, with a program as the solution. `own` as there.
pub(super) fn read_mbpp(record: &Record<'_>, own: bool) -> Result<Problem, RecordError> {
    let prompt = record.text("prompt")?;
    let reference = match record.optional_text("code")? {
        Some(code) => Some(code),
        None => record.optional_text("canonical_solution")?,
    };
    let reference = reference.map(str::to_owned);
    if let Some(inputs) = record.inputs()? {
        let entry = record.text("entry_point")?;
        let number = TaskId::of_problem(Layout::Mbpp, &record.name()?).number();
        let known = (number.and_then(find_shape), find_rule(Layout::Mbpp, entry));
        let known = if own { (None, None) } else { known };
        let wire = encode_inputs(record, (reference.as_deref(), entry), &inputs, known)?;
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
pub(super) fn read_gsm8k(record: &Record<'_>, number: usize) -> Result<Problem, RecordError> {
    let (question, answer) = (record.text("question")?, record.text("answer")?);
    let last = answer.rsplit_once("####").map(|(_, last)| last.trim());
    let expected = last.and_then(Decimal::read);
    let expected =
        expected.ok_or_else(|| RecordError::new("answer", "does not end with `#### ` and a number"))?;
    let name = format!("gsm8k/{number}");
    Ok(new_problem(Layout::Gsm8k, name, question, Some(answer.to_owned()), Check::Number(expected)))
}

/// `prompt`, `answer` (a text, or a list of texts that are all right), and `task_id` where problems have names.
pub(super) fn read_exact(record: &Record<'_>, number: usize) -> Result<Problem, RecordError> {
    let prompt = record.text("prompt")?;
    let answers = record.text_or_texts("answer")?;
    if prompt.is_empty() {
        return Err(RecordError::new("prompt", "is empty"));
    }
    if answers.is_empty() || answers.iter().any(|answer| answer.trim().is_empty()) {
        return Err(RecordError::new("answer", "is empty"));
    }
    let name = record.name_or(number)?;
    Ok(new_problem(Layout::Exact, name, prompt, answers.first().cloned(), Check::Texts(answers)))
}

/// `prompt`, `choices` (two texts or more), `answer` (the right one, as its text or as its number from 0), and `task_id` where problems have
/// names.
pub(super) fn read_choice(record: &Record<'_>, number: usize) -> Result<Problem, RecordError> {
    let (prompt, texts) = (record.text("prompt")?, record.texts("choices")?);
    if prompt.is_empty() {
        return Err(RecordError::new("prompt", "is empty"));
    }
    if texts.len() < 2 {
        return Err(RecordError::new("choices", "has less than two texts"));
    }
    if texts.iter().any(String::is_empty) {
        return Err(RecordError::new("choices", "has an empty text"));
    }
    if (1..texts.len()).any(|at| texts[..at].contains(&texts[at])) {
        return Err(RecordError::new("choices", "has the same text twice"));
    }
    let right = match record.text_or_number("answer")? {
        Ok(text) => texts.iter().position(|choice| choice == text),
        Err(number) => usize::try_from(number).ok().filter(|number| *number < texts.len()),
    };
    let right = right.ok_or_else(|| {
        RecordError::new("answer", "is neither one of the `choices` nor its number, counted from 0")
    })?;
    let name = record.name_or(number)?;
    let check = Check::Texts(vec![texts[right].clone()]);
    let problem = new_problem(Layout::Choice, name, prompt, Some(texts[right].clone()), check);
    Ok(Problem { choices: Some(Choices { texts, right }), ..problem })
}

/// The test of a record, behind its reference if there is one.
fn encode_test(record: &Record<'_>, reference: Option<&str>, entry: &str) -> Result<String, RecordError> {
    let before: Vec<String> = reference.map(str::to_owned).into_iter().collect();
    Ok(encode_problem(&before, &[record.text("test")?.to_owned()], Some(entry), reference.is_some(), None))
}

/// `shape` and `rule` are what EvalPlus does for this problem alone.
fn encode_inputs(
    record: &Record<'_>,
    (reference, entry): (Option<&str>, &str),
    inputs: &[String],
    (shape, rule): (Option<&'static str>, Option<&'static str>),
) -> Result<String, RecordError> {
    let Some(reference) = reference else {
        return Err(RecordError::new(
            "canonical_solution",
            "is missing: the expected outputs are its outputs",
        ));
    };
    let inputs = encode_list(inputs);
    let tolerance = record.optional_number("atol")?.unwrap_or(0.0);
    let plus = PlusInputs { inputs: &inputs, tolerance, shape, rule };
    Ok(encode_problem(&[reference.to_owned()], &[], Some(entry), true, Some(plus)))
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
    let problem = new_problem(layout, record.name()?, prompt, reference, Check::Tests(wire));
    Ok(Problem { shown_tests, ..problem })
}

/// A problem that has nothing which only some layouts have.
fn new_problem(
    layout: Layout,
    name: String,
    prompt: &str,
    reference: Option<String>,
    check: Check,
) -> Problem {
    Problem {
        id: TaskId::of_problem(layout, &name),
        name,
        prompt: prompt.to_owned(),
        suffix: None,
        reference_gap: None,
        reference,
        choices: None,
        shown_tests: Vec::new(),
        layout,
        check,
    }
}
