//! Requests of many clients, and who gets their answers.

use crate::error::Failure;
use crate::pipeline::config::Prompt;

use super::{TextAnswer, TextStep, TokenLaw};

/// A request that waits for its answers.
pub struct TextOrder {
    /// The task, its text and its sampler.
    pub prompt: Prompt,
    /// How many answers, at least one. They differ by their random draws only.
    pub samples: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// Who wants the answers.
    pub customer: Box<dyn TextCustomer>,
}

/// Gets the answers of an order while they are written.
pub trait TextCustomer: Send {
    /// The order is at work, and its prompt takes so many tokens.
    fn begin(&mut self, _prompt_tokens: usize) {}

    /// The next piece of answer number `sample`, as it will stay; of a gap, without the text around it. The pieces of an
    /// answer are its text.
    fn hear(&mut self, sample: usize, piece: &str);

    /// Whether [`TextCustomer::see`] is wanted, which costs time.
    fn wants_steps(&self) -> bool {
        false
    }

    /// What a pass wrote in answer number `sample`. It may still change.
    fn see(&mut self, _sample: usize, _step: &TextStep) {}

    /// Whether [`TextCustomer::weigh`] is wanted, as [`TextListener::wants_laws`](super::TextListener::wants_laws).
    fn wants_laws(&self) -> Option<usize> {
        None
    }

    /// How probable the next tokens of answer number `sample` were, as [`TextListener::weigh`](super::TextListener::weigh).
    fn weigh(&mut self, _sample: usize, _laws: Vec<TokenLaw>) {}

    /// Whether to go on writing answer number `sample`; asked before each pass. Its place is free at once if not.
    fn goes_on(&mut self, sample: usize) -> bool;

    /// Answer number `sample` is finished or was stopped. Its text has what was heard.
    fn take(&mut self, sample: usize, answer: TextAnswer);

    /// The order cannot be answered, or an answer failed. Nothing follows for the others but what they have.
    fn fail(&mut self, failure: Failure);
}

/// Where a checkpoint gets its orders from.
pub trait TextOrders {
    /// Whether an order may take what others before it have in common with it.
    fn are_shared(&self) -> bool;

    /// How many answers are written at once from now on.
    fn note_busy(&mut self, _answers: usize) {}

    /// The next order. If `idle`, waits for one, and `None` says that none will come any more.
    fn next_order(&mut self, idle: bool) -> Option<TextOrder>;
}
