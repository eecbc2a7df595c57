//! The seam through which commands ask a checkpoint for text: one request at a time, or orders of many clients.

mod orders;
mod scores;

use serde::Serialize;

use crate::documents::Chat;
use crate::error::Failure;
use crate::pipeline::config::Prompt;
pub use orders::{TextCustomer, TextOrder, TextOrders};
pub use scores::{CacheDisagreement, DISAGREEMENT_TEXTS, TextAnswers, TextScores};

/// A checkpoint that is open for text. Implemented by the stages package.
pub trait TextModel: Send + Sync {
    /// What commands have to know of it.
    fn facts(&self) -> &TextModelFacts;

    /// Answers a request. The first answer has the bytes of a `generate` stage with the same request and seed, however many samples.
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

    /// Joins the constraint of a prompt, if it has one, with the vocabulary, and finds out whether an answer can match. That takes up to some
    /// seconds once, so that it is done before those who answer others get the order, which finds it done. A prompt that does not fit for
    /// other reasons passes: that is told when it is at work.
    ///
    /// # Errors
    /// If the constraint cannot be kept, or no answer can match.
    fn check_constraint(&self, prompt: &Prompt) -> Result<(), Failure>;

    /// How often an approximate cache changed `answers`, of which the first are written again without one; `None` without such a cache.
    ///
    /// # Errors
    /// As [`TextModel::answer`].
    fn measure_disagreement(
        &self,
        request: &TextRequest<'_>,
        answers: &TextAnswers,
    ) -> Result<Option<CacheDisagreement>, Failure>;

    /// Answers orders, many at a time, until there are no more. Each gets the bytes of [`TextModel::answer`], whatever is beside it.
    ///
    /// # Errors
    /// If the device fails. What does not fit the checkpoint is told to who asked for it.
    fn take_orders(&self, orders: &mut dyn TextOrders) -> Result<(), Failure>;

    /// Answers questions in batches, with the sampler, the length and the seed of `request`, whose text is not asked.
    ///
    /// # Errors
    /// As [`TextModel::answer`].
    fn score(&self, request: &TextRequest<'_>, questions: &[Chat]) -> Result<TextScores, Failure>;
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

    /// Whether [`TextListener::see`] is wanted, which costs time.
    fn wants_steps(&self) -> bool {
        false
    }

    /// What a pass wrote. It may still change, in any order.
    fn see(&mut self, _step: &TextStep) {}

    /// Whether [`TextListener::weigh`] is wanted, which costs time, and with how many of the most probable tokens.
    fn wants_laws(&self) -> Option<usize> {
        None
    }

    /// How probable the next tokens of the text were. Told before their text, of samplers that have a law for each token
    /// ([`Sampler::has_token_law`](crate::pipeline::config::Sampler::has_token_law)).
    fn weigh(&mut self, _laws: Vec<TokenLaw>) {}
}

impl<L: TextListener + ?Sized> TextListener for &mut L {
    fn hear(&mut self, piece: &str) {
        (**self).hear(piece);
    }

    fn goes_on(&mut self) -> bool {
        (**self).goes_on()
    }

    fn wants_steps(&self) -> bool {
        (**self).wants_steps()
    }

    fn see(&mut self, step: &TextStep) {
        (**self).see(step);
    }

    fn wants_laws(&self) -> Option<usize> {
        (**self).wants_laws()
    }

    fn weigh(&mut self, laws: Vec<TokenLaw>) {
        (**self).weigh(laws);
    }
}

/// How probable a token of an answer was, given what the pass that wrote it saw: by the checkpoint's law at temperature 1, before a
/// penalty, top-k and top-p, among the tokens that may be written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenLaw {
    /// The token that was written.
    pub token: TokenChance,
    /// Letters of the text that are complete with it; a special token has none, because the text leaves it out.
    pub letters: usize,
    /// The most probable tokens in its place, the most probable first; of equal ones the smallest id.
    pub top: Vec<TokenChance>,
}

/// A token and how probable it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenChance {
    /// Its id.
    pub id: u32,
    /// Its text alone, special tokens by name; what is only a part of a letter is U+FFFD.
    pub text: String,
    /// Its bytes, if the tokenizer tells them.
    pub bytes: Option<Vec<u8>>,
    /// The logarithm of its probability, in nats.
    pub log_probability: f64,
}

/// What one pass changed in an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TextStep {
    /// Number of the pass, from 1 on.
    pub pass: usize,
    /// In ascending order of places.
    pub written: Vec<WrittenToken>,
    /// How many places the answer has now, if text that grows has changed that: tokens behind have moved, which `written` tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub places: Option<usize>,
}

/// A token that a pass wrote, or took back.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WrittenToken {
    /// Its place in the answer, from 0 on.
    pub place: usize,
    /// Its id; `None`: the place is noise again.
    pub id: Option<u32>,
    /// Its text alone, special tokens by name; empty for noise.
    pub text: String,
    /// Its probability in that pass, at temperature 1 and before top-k and top-p; 0 for noise.
    pub probability: f64,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TextAnswer {
    /// The text up to its end; of an infill, with prefix and suffix around it.
    pub text: String,
    /// All new tokens as text, with special tokens by name.
    pub raw: String,
    /// The new tokens; of several gaps, with those of the texts between them.
    pub ids: Vec<u32>,
    /// The text of each gap, if there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<String>,
    /// New tokens up to and including the end; of an infill, all.
    pub tokens: usize,
    /// Forward passes (NFE); of an infill whose length the model chose, of all lengths.
    pub passes: usize,
    /// The mean log-likelihood of the tokens in nats, if the model chose how many they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_likelihood: Option<f64>,
    /// Whether it was stopped before it was finished.
    pub stopped: bool,
    /// Whether the model ended it; a gap that is filled has ended.
    #[serde(skip)]
    pub ended: bool,
}
