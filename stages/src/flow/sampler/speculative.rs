//! Drafts tokens at masks and accepts them by the law of the next token, so that the text has exactly that law.
//!
//! Behind the text x of n tokens stand the drafts of the last pass, d_1 .. d_m, then masks. Under causal attention and a shift one
//! pass gives the law p_i of the token after x, d_1 .. d_(i-1), for i = 1 .. m + 1, and at each mask a law q for the token behind it,
//! which draws the next drafts. Draft d_i, drawn from q_i, is accepted with probability min(1, p_i(d_i) / q_i(d_i)); the first that is not
//! is replaced by a draw from max(p_i - q_i, 0), normalized. Then what is written has law p, whatever q is (Leviathan et al., "Fast
//! Inference from Transformers via Speculative Decoding", 2023, theorem 3.5; drafts from masks of the same model: I-DLM, 2026).

use super::Canvas;
use super::autoregressive::penalize_repetition;
use super::method::{Method, Question, Setting};
use crate::rng::{RandomPurpose, RandomStream, derive_stream};

/// A token that may become part of the text, and the law that it was drawn from, `[V]`.
#[derive(Clone, Debug, PartialEq)]
struct Draft {
    token: u32,
    law: Vec<f64>,
}

/// The method `speculative`. It stops behind an end, and leaves what follows as it was.
pub(super) struct DraftAndAccept {
    setting: Setting,
    /// Masks behind the text and its drafts.
    stride: usize,
    /// The position behind the text, once the first is known.
    next: Option<usize>,
    drafts: Vec<Draft>,
    /// What the canvas held where drafts and masks stand.
    covered: Vec<u32>,
    pass: usize,
}

impl DraftAndAccept {
    pub(super) fn new(setting: Setting, stride: usize) -> Self {
        Self { setting, stride, next: None, drafts: Vec::new(), covered: Vec::new(), pass: 0 }
    }

    /// The law of the token at `place`, after the text before it.
    fn law_at(&self, canvas: &Canvas, place: usize, logits: &mut [f32]) -> Vec<f64> {
        penalize_repetition(logits, &canvas.tokens[..place], self.setting.sampler.repetition_penalty);
        self.setting.restrict(canvas, &[place], logits);
        self.setting.filter.probabilities(logits)
    }

    /// Writes drafts from `next` on as far as they are accepted, and one more token. Returns the position behind, and whether
    /// all drafts were accepted.
    fn accept(
        &self,
        canvas: &mut Canvas,
        next: usize,
        logits: &mut [f32],
        width: usize,
        random: &mut RandomStream,
    ) -> (usize, bool) {
        for (i, draft) in self.drafts.iter().enumerate() {
            let law = self.law_at(canvas, next + i, &mut logits[i * width..][..width]);
            let judged = judge_draft(draft, &law, random);
            let refused = judged.is_err();
            canvas.tokens[next + i] = judged.unwrap_or_else(|rest| draw(&rest, random));
            if refused || self.setting.ends.contains(&canvas.tokens[next + i]) {
                return (next + i + 1, false);
            }
        }
        let place = next + self.drafts.len();
        let law = self.law_at(canvas, place, &mut logits[self.drafts.len() * width..][..width]);
        canvas.tokens[place] = draw(&law, random);
        (place + 1, true)
    }
}

/// The draft's token if it is accepted, else the law of what replaces it, unnormalized.
fn judge_draft(draft: &Draft, law: &[f64], random: &mut RandomStream) -> Result<u32, Vec<f64>> {
    let at = draft.token as usize;
    if random.uniform() * draft.law[at] < law[at] {
        return Ok(draft.token);
    }
    let rest: Vec<f64> = law.iter().zip(&draft.law).map(|(p, q)| (p - q).max(0.0)).collect();
    // Rounding alone can refuse a draft of two equal laws.
    if rest.iter().all(|weight| *weight == 0.0) { Err(law.to_vec()) } else { Err(rest) }
}

/// Draws from weights.
fn draw(weights: &[f64], random: &mut RandomStream) -> u32 {
    let mut target = random.uniform() * weights.iter().sum::<f64>();
    let mut last = 0;
    for (token, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        last = token;
        target -= weight;
        if target < 0.0 {
            break;
        }
    }
    last as u32
}

impl Method for DraftAndAccept {
    fn ask(&mut self, canvas: &mut Canvas) -> Option<Question> {
        let first = || canvas.editable.iter().position(|editable| *editable);
        let next = self.next.or_else(first)?;
        self.next = Some(next);
        let ended = self.pass > 0 && self.setting.ends.contains(&canvas.tokens[next - 1]);
        let room = canvas.editable[next..].iter().take_while(|editable| **editable).count();
        let room = if ended { 0 } else { room }.checked_sub(1)?;
        self.drafts.truncate(room);
        let (drafts, masks) = (self.drafts.len(), self.stride.min(room - self.drafts.len()));
        let places = next..=next + drafts + masks;
        self.covered = canvas.tokens[places.clone()].to_vec();
        let shown =
            self.drafts.iter().map(|draft| draft.token).chain(std::iter::repeat(self.setting.rules.mask));
        canvas.tokens[next..next + drafts + masks].iter_mut().zip(shown).for_each(|(to, token)| *to = token);
        Some(Question { places: places.collect(), t: 1.0 })
    }

    fn write(&mut self, canvas: &mut Canvas, question: &Question, logits: &mut [f32]) {
        let (next, width) = (question.places[0], logits.len() / question.places.len());
        canvas.tokens[next..][..self.covered.len()].copy_from_slice(&self.covered);
        let at = [canvas.number, self.pass as u64, 2];
        let mut random = derive_stream(self.setting.rules.seed, RandomPurpose::Sample, at);
        let (behind, all) = self.accept(canvas, next, logits, width, &mut random);
        let masks = logits.chunks_exact(width).skip(self.drafts.len() + 1);
        let draft = |row: &[f32]| {
            let law = self.setting.filter.probabilities(row);
            Draft { token: draw(&law, &mut random), law }
        };
        self.drafts = if all { masks.map(draft).collect() } else { Vec::new() };
        self.next = Some(behind);
        self.pass += 1;
    }

    fn settled(&self) -> Option<usize> {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20,000 judgments of each pair of laws: within five standard deviations of the law of the next token, whatever drafts it.
    #[test]
    fn what_is_written_has_the_law_of_the_next_token() {
        let laws: [[f64; 4]; 4] =
            [[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0], [0.0, 0.5, 0.5, 0.0], [0.4, 0.3, 0.2, 0.1]];
        let mut random = derive_stream(7, RandomPurpose::Sample, [0; 3]);
        for (p, q) in laws.iter().flat_map(|p| laws.iter().map(move |q| (p, q))) {
            let (n, mut counts) = (20_000, [0_usize; 4]);
            for _ in 0..n {
                let draft = Draft { token: draw(q, &mut random), law: q.to_vec() };
                let token =
                    judge_draft(&draft, p, &mut random).unwrap_or_else(|rest| draw(&rest, &mut random));
                counts[token as usize] += 1;
            }
            for (count, p) in counts.iter().zip(p) {
                let (mean, deviation) = (f64::from(n) * p, (f64::from(n) * p * (1.0 - p)).sqrt());
                assert!((*count as f64 - mean).abs() <= 5.0 * deviation, "{counts:?} {q:?}");
            }
        }
    }
}
