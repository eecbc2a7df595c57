//! Writes the next token, again and again, under a causal mask.

use std::collections::BTreeSet;

use super::Canvas;
use super::method::{Method, Question, Setting};
use crate::rng::{RandomPurpose, derive_stream};

/// The method `autoregressive`. It stops behind an end, and leaves what follows as it was.
pub(super) struct NextToken {
    setting: Setting,
    /// The position of the next token, once the first is known.
    next: Option<usize>,
    /// Tokens written.
    step: usize,
}

impl NextToken {
    pub(super) fn new(setting: Setting) -> Self {
        Self { setting, next: None, step: 0 }
    }
}

impl Method for NextToken {
    fn ask(&mut self, canvas: &mut Canvas) -> Option<Question> {
        let first = || canvas.editable.iter().position(|editable| *editable);
        let next = self.next.or_else(first)?;
        self.next = Some(next);
        let ended = self.step > 0 && self.setting.ends.contains(&canvas.tokens[next - 1]);
        let open = !ended && canvas.editable.get(next) == Some(&true);
        open.then(|| Question { places: vec![next], t: 1.0 })
    }

    fn write(&mut self, canvas: &mut Canvas, question: &Question, logits: &mut [f32]) {
        let place = question.places[0];
        penalize_repetition(logits, &canvas.tokens[..place], self.setting.sampler.repetition_penalty);
        self.setting.restrict(canvas, &question.places, logits);
        let at = [canvas.number, self.step as u64, 1];
        let mut random = derive_stream(self.setting.rules.seed, RandomPurpose::Sample, at);
        canvas.tokens[place] = self.setting.filter.pick_token(logits, &mut random);
        self.next = Some(place + 1);
        self.step += 1;
    }

    fn settled(&self) -> Option<usize> {
        self.next
    }
}

/// Makes tokens that the text has less likely, each once: a positive logit is divided by the penalty, another multiplied
/// (Keskar et al., "CTRL", 2019, as in transformers).
pub(super) fn penalize_repetition(logits: &mut [f32], text: &[u32], penalty: f64) {
    if penalty == 1.0 {
        return;
    }
    let penalty = penalty as f32;
    for token in text.iter().collect::<BTreeSet<_>>() {
        if let Some(logit) = logits.get_mut(*token as usize) {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_penalty_counts_every_token_once() {
        let mut logits = [2.0, -2.0, 1.0, 4.0];
        penalize_repetition(&mut logits, &[0, 1, 0, 1, 9], 2.0);
        assert_eq!(logits, [1.0, -4.0, 1.0, 4.0]);
        penalize_repetition(&mut logits, &[2, 3], 1.0);
        assert_eq!(logits, [1.0, -4.0, 1.0, 4.0]);
    }
}
