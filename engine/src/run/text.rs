//! The seam through which commands ask a checkpoint for text.

use serde::Serialize;

use crate::documents::Chat;
use crate::error::Failure;
use crate::pipeline::config::Prompt;

/// A checkpoint that is open for text. Implemented by the stages package.
pub trait TextModel {
    /// What commands have to know of it.
    fn facts(&self) -> &TextModelFacts;

    /// Answers a request. The first answer has the bytes that a `generate` stage with the same request and seed writes, whatever
    /// the number of samples.
    ///
    /// # Errors
    /// A [`Failure`] if the request does not fit the checkpoint, or the device fails.
    fn answer(
        &self,
        request: &TextRequest<'_>,
        listener: &mut dyn TextListener,
    ) -> Result<TextAnswers, Failure>;

    /// Tokens per second of the same weights that continue the same text from left to right, greedily, with a key-value cache,
    /// as many tokens at once as `answers` have.
    ///
    /// # Errors
    /// As [`TextModel::answer`].
    fn measure_twin(&self, request: &TextRequest<'_>, answers: &TextAnswers) -> Result<f64, Failure>;

    /// Answers questions in batches, with the sampler, the length and the seed of `request`, whose text is not asked.
    ///
    /// # Errors
    /// As [`TextModel::answer`].
    fn score(&self, request: &TextRequest<'_>, questions: &[Chat]) -> Result<TextScores, Failure>;
}

/// Answers to questions, and how many are right.
#[derive(Clone, Debug, PartialEq)]
pub struct TextScores {
    /// One for each question, in order.
    pub answers: TextAnswers,
    /// How many equal the expected answer, as exact match counts them.
    pub exact: usize,
    /// Tokens per second of the autoregressive baseline, as [`TextModel::measure_twin`], in the same batches.
    pub twin: f64,
}

/// What a checkpoint is, as far as text is concerned.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TextModelFacts {
    /// The device: `cpu` or `cuda:<n>`.
    pub device: String,
    /// Number format of the weights in memory.
    pub dtype: &'static str,
    /// Whether it is autoregressive, and no flow model.
    pub autoregressive: bool,
    /// Whether the source of a flow model is the mask alone.
    pub mask_source: bool,
    /// Tokens in a block, if it was trained in blocks.
    pub block: Option<usize>,
    /// Whether a cache can be exact.
    pub exact_cache: bool,
    /// Tokens of the canvas that it was trained with, if any.
    pub canvas: Option<usize>,
    /// Tokens of the context.
    pub context: usize,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct TextRequest<'a> {
    /// The task, its text and its sampler.
    pub prompt: &'a Prompt,
    /// How many answers, at least one. They are written in one batch, and differ by their random draws only.
    pub samples: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// Whether a short run before it warms up, so that the time counts only the work.
    pub warm_up: bool,
}

/// Hears an answer while it is written.
pub trait TextListener {
    /// The next piece of the text, as it will stay. Told only of requests for one answer of known length.
    fn hear(&mut self, piece: &str);

    /// Whether to go on writing; asked before each pass.
    fn goes_on(&mut self) -> bool;
}

/// Answers, and the time that all took together.
#[derive(Clone, Debug, PartialEq)]
pub struct TextAnswers {
    /// One for each sample, in order.
    pub answers: Vec<TextAnswer>,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TextAnswer {
    /// The text up to its end; of an infill, with prefix and suffix around it.
    pub text: String,
    /// All new tokens as text, with special tokens by name.
    pub raw: String,
    /// The new tokens.
    pub ids: Vec<u32>,
    /// New tokens up to and including the end; of an infill, all.
    pub tokens: usize,
    /// Forward passes (NFE); of an infill whose length the model chose, of all lengths.
    pub passes: usize,
    /// The mean log-likelihood of the tokens in nats, if the model chose how many they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_likelihood: Option<f64>,
    /// Whether it was stopped before it was finished.
    pub stopped: bool,
}

impl TextAnswers {
    /// New tokens of all answers.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.answers.iter().map(|answer| answer.tokens).sum()
    }

    /// Forward passes of all answers.
    #[must_use]
    pub fn passes(&self) -> usize {
        self.answers.iter().map(|answer| answer.passes).sum()
    }

    /// New tokens per wall-clock second.
    #[must_use]
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens() as f64 / self.seconds
    }
}
