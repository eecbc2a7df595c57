//! Settings of benchmarks, in `evaluate` and in probes.

use fmflow_grade::problem::Layout;

use crate::pipeline::config::Sampler;

/// A benchmark. Its problems are the source that [`BenchmarkSettings::source`] names.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchmarkSettings {
    /// Its name: one of the words of the field table, or that of an own one.
    pub name: String,
    /// How its problems are laid out.
    pub layout: Layout,
    /// Number of problems; the first ones are used. `None`: all.
    pub problems: Option<usize>,
    /// What is asked of a checkpoint.
    pub asking: Asking,
}

/// What a benchmark asks of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum Asking {
    /// It writes answers.
    Write(WritingSettings),
    /// It finds one of several answers the likeliest.
    Choose(ChoosingSettings),
}

/// How answers to a benchmark are written.
#[derive(Clone, Debug, PartialEq)]
pub struct WritingSettings {
    /// How problems are asked.
    pub mode: AskingMode,
    /// How answers are sampled.
    pub sampler: Sampler,
    /// Answers to each problem.
    pub samples: usize,
    /// How long an answer is.
    pub length: AnswerLength,
}

/// How the likelihoods of several answers are measured and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChoosingSettings {
    /// What the log-likelihood of an answer is divided by.
    pub normalise: ChoiceDivisor,
    /// Times t for each answer, where its likelihood is a bound.
    pub times: usize,
    /// Independent draws of times and noise, where its likelihood is a bound.
    pub draws: usize,
}

/// What the log-likelihood of an answer is divided by before answers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChoiceDivisor {
    /// Nothing.
    None,
    /// Its tokens.
    Tokens,
    /// Its bytes.
    Bytes,
}

impl ChoiceDivisor {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Tokens, Self::Bytes];

    /// Its word in the field table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Tokens => "tokens",
            Self::Bytes => "bytes",
        }
    }
}

/// How long an answer to a benchmark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerLength {
    /// It ends by itself, after at most this many tokens.
    AtMost(usize),
    /// It fills a gap.
    Gap(GapLength),
}

/// Tokens of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapLength {
    /// So many.
    Known(usize),
    /// As many as the model chooses between the two, both included.
    Chosen(usize, usize),
    /// As many as the reference solution has there.
    Reference,
}

impl AnswerLength {
    /// The longest answer, if it does not depend on the problem.
    #[must_use]
    pub fn most(self) -> Option<usize> {
        match self {
            Self::AtMost(tokens)
            | Self::Gap(GapLength::Known(tokens))
            | Self::Gap(GapLength::Chosen(_, tokens)) => Some(tokens),
            Self::Gap(GapLength::Reference) => None,
        }
    }
}

impl std::fmt::Display for GapLength {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(tokens) => tokens.fmt(f),
            Self::Chosen(shortest, longest) => write!(f, "{shortest}..{longest}"),
            Self::Reference => f.write_str("reference"),
        }
    }
}

/// How a benchmark asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskingMode {
    /// The model continues a text.
    Base,
    /// The model answers a turn of a conversation.
    Chat,
}

impl BenchmarkSettings {
    /// How answers are written, if some are.
    #[must_use]
    pub fn writing(&self) -> Option<&WritingSettings> {
        match &self.asking {
            Asking::Write(writing) => Some(writing),
            Asking::Choose(_) => None,
        }
    }

    /// The name of the source with its problems.
    #[must_use]
    pub fn source(&self) -> String {
        format!("benchmark/{}", self.name)
    }
}
