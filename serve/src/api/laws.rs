//! Log-probabilities in OpenAI's form.

use fmflow_engine::run::text::{TokenChance, TokenLaw};
use serde_json::{Map, Value, json};

use super::Form;

/// Tells the laws of an answer, as its pieces come.
#[derive(Clone, Debug)]
pub(crate) struct LawTeller {
    form: Form,
    /// Those that are not told yet.
    waiting: Vec<TokenLaw>,
    /// Letters of the text before them.
    letters: usize,
}

impl LawTeller {
    pub(crate) fn new(form: Form) -> Self {
        Self { form, waiting: Vec::new(), letters: 0 }
    }

    /// Takes the laws of the next tokens.
    pub(crate) fn take(&mut self, laws: Vec<TokenLaw>) {
        self.waiting.extend(laws);
    }

    /// The laws that were not told yet, for a piece: `null` if there are none.
    pub(crate) fn tell_new(&mut self) -> Value {
        if self.waiting.is_empty() { Value::Null } else { self.tell() }
    }

    /// The laws that were not told yet.
    pub(crate) fn tell(&mut self) -> Value {
        let laws = std::mem::take(&mut self.waiting);
        match self.form {
            Form::Chat => {
                json!({ "content": laws.iter().map(tell_turn).collect::<Vec<_>>(), "refusal": null })
            }
            Form::Text | Form::Watch => self.tell_text(&laws),
        }
    }

    fn tell_text(&mut self, laws: &[TokenLaw]) -> Value {
        let mut offsets = Vec::new();
        for law in laws {
            offsets.push(self.letters);
            self.letters += law.letters;
        }
        let tokens: Vec<&str> = laws.iter().map(|law| law.token.text.as_str()).collect();
        let chances: Vec<f64> = laws.iter().map(|law| law.token.log_probability).collect();
        let top: Vec<Value> = laws.iter().map(tell_top).collect();
        json!({ "tokens": tokens, "token_logprobs": chances, "top_logprobs": top, "text_offset": offsets })
    }
}

fn tell_turn(law: &TokenLaw) -> Value {
    let mut told = tell_chance(&law.token);
    told["top_logprobs"] = law.top.iter().map(tell_chance).collect();
    told
}

fn tell_chance(chance: &TokenChance) -> Value {
    json!({ "token": chance.text, "logprob": chance.log_probability, "bytes": chance.bytes })
}

/// The most probable tokens and the one that was written. Of several with the same text the most probable.
fn tell_top(law: &TokenLaw) -> Value {
    let mut top = Map::new();
    for chance in law.top.iter().chain([&law.token]) {
        top.entry(chance.text.clone()).or_insert(json!(chance.log_probability));
    }
    Value::Object(top)
}
