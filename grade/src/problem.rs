//! Problems of benchmarks: a record of a file becomes what the interpreters and a model need.

mod evalplus;
mod inputs;
mod json_text;
mod layouts;
mod record;
mod task_id;
mod wire;

pub use record::RecordError;
pub use task_id::TaskId;
pub(crate) use wire::encode_problem;

use layouts::{read_choice, read_exact, read_gsm8k, read_humaneval, read_infilling, read_mbpp};
use record::Record;
use serde_json::{Map, Value};

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
    /// HumanEval-Infilling, and gaps in programs of somebody's own: the prompt comes before the gap, the suffix behind it.
    Infilling,
    /// Programs of somebody's own: as `Mbpp` if the record has `test_list`, else as `HumanEval`.
    Code,
    /// Questions of somebody's own, whose answer is known word by word.
    Exact,
    /// Questions of somebody's own with several answers, one of which is right. Nothing is written: the model finds one the likeliest.
    Choice,
}

/// A problem that programs or answers can be graded on.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Its identity.
    pub id: TaskId,
    /// `task_id` as its file writes it.
    pub name: String,
    /// What a model reads.
    pub prompt: String,
    /// What comes behind the answer, of a gap in a program.
    pub suffix: Option<String>,
    /// The reference solution, as a whole program or answer.
    pub reference: Option<String>,
    /// The part of the reference solution that fills the gap.
    pub reference_gap: Option<String>,
    /// The answers to choose from, of a question that has some.
    pub choices: Option<Choices>,
    /// Tests that a prompt may show.
    pub shown_tests: Vec<String>,
    layout: Layout,
    pub(crate) check: Check,
}

/// Several answers to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choices {
    /// What may follow the prompt; at least two texts, all different.
    pub texts: Vec<String>,
    /// Which of them is right.
    pub right: usize,
}

/// What decides whether an answer is right.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    /// Tests, as the judge reads them.
    Tests(String),
    /// The last number of the answer has to be this one.
    Number(Decimal),
    /// The answer has to be one of these texts, blanks around it aside.
    Texts(Vec<String>),
}

/// The layouts of benchmarks by their names, and of kinds of own ones. The last one is that to which no answers are written.
const LAYOUTS: [(&str, Layout); 14] = [
    ("humaneval", Layout::HumanEval),
    ("humaneval+", Layout::HumanEval),
    ("mbpp", Layout::Mbpp),
    ("mbpp+", Layout::Mbpp),
    ("gsm8k", Layout::Gsm8k),
    ("humaneval-infilling", Layout::Infilling),
    ("humaneval-single-line", Layout::Infilling),
    ("humaneval-multi-line", Layout::Infilling),
    ("humaneval-random-span", Layout::Infilling),
    ("humaneval-random-span-light", Layout::Infilling),
    ("code", Layout::Code),
    ("exact", Layout::Exact),
    ("infill", Layout::Infilling),
    ("choice", Layout::Choice),
];

/// Names of the benchmarks whose layout is known, and of the kinds of own ones to which answers are written.
pub const NAMES: [&str; LAYOUTS.len() - 1] = {
    let mut names = [""; LAYOUTS.len() - 1];
    let mut at = 0;
    while at < names.len() {
        names[at] = LAYOUTS[at].0;
        at += 1;
    }
    names
};

/// Whether one of [`NAMES`] is a kind of own benchmarks, and none that everybody knows.
#[must_use]
pub fn is_own_kind(name: &str) -> bool {
    matches!(name, "code" | "exact" | "infill")
}

/// The fields of HumanEval-Infilling.
const INFILLING_FIELDS: [&str; 6] =
    ["task_id", "prompt", "suffix", "entry_point", "canonical_solution", "test"];

/// The fields of HumanEval, MBPP and EvalPlus that are read, or that the benchmarks' own tools do not need either.
const CODE_FIELDS: [&str; 14] = [
    "task_id",
    "prompt",
    "entry_point",
    "canonical_solution",
    "test",
    "base_input",
    "plus_input",
    "atol",
    "contract",
    "code",
    "test_imports",
    "test_list",
    "source_file",
    "assertion",
];

impl Layout {
    /// The layout of a benchmark by its name, or of a kind of own ones.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        LAYOUTS.iter().find(|(known, _)| *known == name).map(|(_, layout)| *layout)
    }

    /// Whether answers are programs, so that grading needs an interpreter.
    #[must_use]
    pub fn runs_programs(self) -> bool {
        matches!(self, Self::HumanEval | Self::Mbpp | Self::Infilling | Self::Code)
    }

    /// Whether every field of a problem has a meaning, or is reported: of somebody's own, and of HumanEval-Infilling, whose files have no
    /// other fields.
    #[must_use]
    pub fn has_only_known_fields(self) -> bool {
        matches!(self, Self::Code | Self::Exact | Self::Choice | Self::Infilling)
    }

    /// Whether a field of an own problem has a meaning.
    #[must_use]
    pub fn reads(self, field: &str) -> bool {
        match self {
            Self::Exact => ["task_id", "prompt", "answer"].contains(&field),
            Self::Choice => ["task_id", "prompt", "choices", "answer"].contains(&field),
            Self::Code => CODE_FIELDS.contains(&field),
            Self::Infilling => INFILLING_FIELDS.contains(&field),
            Self::HumanEval | Self::Mbpp | Self::Gsm8k => true,
        }
    }

    /// The benchmark whose numbers its problems have, if names are numbers alone.
    fn numbers(self) -> Option<&'static str> {
        match self {
            Self::HumanEval => Some("HumanEval"),
            Self::Mbpp => Some("Mbpp"),
            Self::Gsm8k => Some("gsm8k"),
            Self::Infilling | Self::Code | Self::Exact | Self::Choice => None,
        }
    }

    /// Whether an answer gives a number.
    #[must_use]
    pub fn finds_numbers(self) -> bool {
        self == Self::Gsm8k
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
    /// `number` counts the records of the benchmark from 0; it is the name of a problem that has none.
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
            Layout::HumanEval => read_humaneval(record, false),
            Layout::Mbpp => read_mbpp(record, false),
            Layout::Gsm8k => read_gsm8k(record, number),
            Layout::Exact => read_exact(record, number),
            Layout::Choice => read_choice(record, number),
            Layout::Infilling => read_infilling(record),
            Layout::Code if fields.get("test_list").is_some_and(|tests| !tests.is_null()) => {
                read_mbpp(record, true)
            }
            Layout::Code => read_humaneval(record, true),
        }
    }

    /// How its record is laid out; never [`Layout::Code`], which is one of two.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Whether a right answer has several lines; programs have.
    #[must_use]
    pub fn has_long_answer(&self) -> bool {
        match &self.check {
            Check::Texts(texts) => texts.iter().any(|text| text.trim().contains('\n')),
            Check::Tests(_) | Check::Number(_) => true,
        }
    }

    /// The program that a block of code makes: of HumanEval, what the prompt has before the function that it asks for, then the block,
    /// because answers leave its imports and helpers out.
    #[must_use]
    pub fn complete_block(&self, block: &str) -> String {
        match self.layout {
            Layout::HumanEval => {
                let function = self.prompt.rfind("\ndef ").map_or(0, |at| at + 1);
                format!("{}{block}\n", &self.prompt[..function])
            }
            _ => block.to_owned(),
        }
    }

    /// What is graded of a completion: HumanEval continues the prompt, a gap is between prompt and suffix, the others stand alone.
    #[must_use]
    pub fn complete(&self, completion: &str) -> String {
        match self.layout {
            Layout::HumanEval | Layout::Infilling => {
                format!("{}{completion}{}", self.prompt, self.suffix.as_deref().unwrap_or_default())
            }
            _ => completion.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
