//! Answers in OpenAI's form, whole and in pieces.

use fmflow_engine::service::TextService;
use serde_json::{Value, json};

use super::{Form, LawTeller};
use crate::answers::Ending;

/// What all pieces of an answer have.
#[derive(Clone, Debug)]
pub(crate) struct Naming {
    pub(crate) form: Form,
    /// Name of the answer.
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// Name of the model.
    pub(crate) model: String,
}

impl Naming {
    /// An object of these answers with `choices`.
    fn wrap(&self, piece: bool, choices: Value) -> Value {
        let object = match (self.form, piece) {
            (Form::Chat, false) => "chat.completion",
            (Form::Chat, true) => "chat.completion.chunk",
            _ => "text_completion",
        };
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices,
        })
    }

    /// A choice of a piece: what it adds to a conversation, or to a text.
    fn choice(
        &self,
        sample: usize,
        (delta, text): (Value, &str),
        laws: Value,
        reason: Option<&str>,
    ) -> Value {
        match self.form {
            Form::Chat => {
                json!({ "index": sample, "delta": delta, "logprobs": laws, "finish_reason": reason })
            }
            _ => json!({ "index": sample, "text": text, "logprobs": laws, "finish_reason": reason }),
        }
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct WholeAnswer {
    pub(crate) text: String,
    /// Its laws, if they are wanted.
    pub(crate) laws: Option<LawTeller>,
    pub(crate) ending: Ending,
}

/// The first piece of an answer, which OpenAI sends for conversations only.
pub(crate) fn render_begin(naming: &Naming, sample: usize) -> Option<Value> {
    let delta = json!({ "role": "assistant", "content": "" });
    let piece = || naming.wrap(true, json!([naming.choice(sample, (delta, ""), Value::Null, None)]));
    (naming.form == Form::Chat).then(piece)
}

/// A piece of an answer, with the laws of its tokens or `null`.
pub(crate) fn render_piece(naming: &Naming, sample: usize, text: &str, laws: Value) -> Value {
    naming.wrap(true, json!([naming.choice(sample, (json!({ "content": text }), text), laws, None)]))
}

/// The end of an answer, with the laws of tokens that are in no piece.
pub(crate) fn render_end(naming: &Naming, sample: usize, ending: &Ending, laws: Value) -> Value {
    let mut choice = naming.choice(sample, (json!({}), ""), laws, Some(ending.reason));
    add_gaps(&mut choice, ending);
    naming.wrap(true, json!([choice]))
}

/// Adds the text of each gap to a choice, if there are several: `text` has what stands between them, too.
fn add_gaps(choice: &mut Value, ending: &Ending) {
    if !ending.gaps.is_empty() {
        choice["gaps"] = json!(ending.gaps);
    }
}

/// What answers cost.
pub(crate) fn count_usage(prompt_tokens: usize, endings: &[Ending]) -> Value {
    let tokens: usize = endings.iter().map(|ending| ending.tokens).sum();
    let passes: usize = endings.iter().map(|ending| ending.passes).sum();
    json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": tokens,
        "total_tokens": prompt_tokens + tokens,
        "passes": passes,
    })
}

/// The piece behind the last, with the usage.
pub(crate) fn render_usage(naming: &Naming, prompt_tokens: usize, endings: &[Ending]) -> Value {
    let mut piece = naming.wrap(true, json!([]));
    piece["usage"] = count_usage(prompt_tokens, endings);
    piece
}

/// Whole answers.
pub(crate) fn render_answers(naming: &Naming, prompt_tokens: usize, answers: Vec<WholeAnswer>) -> Value {
    let endings: Vec<Ending> = answers.iter().map(|answer| answer.ending.clone()).collect();
    let choice = |(sample, answer): (usize, WholeAnswer)| {
        let (text, reason) = (answer.text, answer.ending.reason);
        let laws = answer.laws.map(|mut laws| laws.tell());
        let mut choice = match naming.form {
            Form::Chat => json!({
                "index": sample,
                "message": { "role": "assistant", "content": text, "refusal": null },
                "logprobs": laws,
                "finish_reason": reason,
            }),
            _ => json!({ "index": sample, "text": text, "logprobs": laws, "finish_reason": reason }),
        };
        add_gaps(&mut choice, &answer.ending);
        choice
    };
    let choices: Vec<Value> = answers.into_iter().enumerate().map(choice).collect();
    let mut body = naming.wrap(false, json!(choices));
    body["usage"] = count_usage(prompt_tokens, &endings);
    body
}

/// The list of models.
pub(crate) fn render_models(service: &dyn TextService, started: u64) -> Value {
    let models: Vec<Value> =
        (0..service.models().len()).map(|at| render_model(service, at, started)).collect();
    json!({ "object": "list", "data": models })
}

/// A model, by its number.
pub(crate) fn render_model(service: &dyn TextService, at: usize, started: u64) -> Value {
    let model = &service.models()[at];
    json!({
        "id": model.id, "object": "model", "created": started, "owned_by": "fmflow",
        "sampler": model.sampler, "seed": model.seed, "checkpoint": model.facts,
    })
}
