//! Keeps an answer within a constraint, in whatever order its places are written.
//!
//! Before tokens are drawn, those are forbidden after which the open places could not be filled any more. The tokens that one pass
//! draws for several places may exclude each other although each is allowed: they are written in their order, and one that those
//! before it rule out is drawn again from what is left, or stays a mask. So the law of a text is that of the sampler with every draw
//! restricted and renormalized at that moment: not the sampler's law given that the text matches.
//!
//! Trying them in their order takes a look at the whole text for every conflict. Behind a bound of such work, those that are left are
//! written from left to right, in one walk.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use fmflow_constrain::{Reach, TokenConstraint};

use super::method::Setting;
use super::{Canvas, LogitFilter, Pick, SamplerRules};
use crate::rng::{RandomPurpose, RandomStream, derive_stream};

/// Most steps of an automaton with which picks of one pass are tried in their order. A choice, not measured.
const STEPS_OF_A_PASS: usize = 1 << 26;

/// Trials of a pass, however large its automaton and its text.
const LEAST_TRIALS: usize = 8;

/// A token that is to be written.
struct Write {
    /// The number of its pick, which is that of its row of logits.
    pick: usize,
    place: usize,
    before: u32,
    token: u32,
}

/// Writes the first `count`, and takes back the others.
fn place_first(tokens: &mut [u32], writes: &[Write], count: usize) {
    for (at, write) in writes.iter().enumerate() {
        tokens[write.place] = if at < count { write.token } else { write.before };
    }
}

/// A constraint on the answer of one canvas.
#[derive(Clone)]
pub(crate) struct Guard {
    constraint: Arc<TokenConstraint>,
    /// The places of the answer.
    answer: Range<usize>,
    /// Whether the answer may stop at an end, or has to fill its places.
    ends: bool,
    /// What stands where nothing is written yet: the mask, and ids from the second on.
    open: (u32, u32),
    /// How often one pass may look at the whole text, before it goes through it once and for all.
    trials: usize,
}

impl Guard {
    pub(crate) fn new(
        constraint: Arc<TokenConstraint>,
        answer: Range<usize>,
        ends: bool,
        rules: &SamplerRules,
    ) -> Self {
        let steps = answer.len().saturating_mul(constraint.steps_of_a_place()).max(1);
        let trials = (STEPS_OF_A_PASS / steps).max(LEAST_TRIALS);
        Self { constraint, answer, ends, open: (rules.mask, rules.used), trials }
    }

    /// Whether the open places of a canvas that holds `tokens` can be filled.
    pub(crate) fn admits(&self, tokens: &[u32]) -> bool {
        self.reach(tokens, self.answer.start).is_some()
    }

    fn is_open(&self, token: u32) -> bool {
        token == self.open.0 || token >= self.open.1
    }

    fn reach(&self, tokens: &[u32], last: usize) -> Option<Reach> {
        let token = |token: &u32| Some(*token).filter(|token| !self.is_open(*token));
        let text: Vec<Option<u32>> = tokens[self.answer.clone()].iter().map(token).collect();
        self.constraint.reach(&text, last - self.answer.start, self.ends)
    }

    /// Writes as many of the first `writes` as fit together, and counts them; it looks at the first `run` of them first. The others stay
    /// as they were. `None`, with none written, if that takes too many trials.
    fn count_fitting(
        &self,
        tokens: &mut [u32],
        writes: &[Write],
        mut run: usize,
        trials: &mut usize,
    ) -> Option<usize> {
        // So many fit, and so many do not.
        let (mut fitting, mut too_many) = (0, writes.len() + 1);
        while too_many - fitting > 1 {
            if *trials == 0 {
                writes.iter().for_each(|write| tokens[write.place] = write.before);
                return None;
            }
            *trials -= 1;
            let count = match too_many > writes.len() {
                true => (fitting + run).min(writes.len()),
                false => fitting.midpoint(too_many),
            };
            run *= 2;
            place_first(tokens, writes, count);
            *(if self.admits(tokens) { &mut fitting } else { &mut too_many }) = count;
        }
        place_first(tokens, writes, fitting);
        Some(fitting)
    }

    /// Forbids in the logits of open places, flat [places, V], what would leave the rest without a filling.
    fn restrict(&self, tokens: &[u32], places: &[usize], logits: &mut [f32]) {
        let Some(last) = places.last() else { return };
        let reach = self
            .reach(tokens, *last)
            .expect("what is written can be completed: nothing else was let through");
        let width = logits.len() / places.len();
        let open: Vec<usize> = (0..places.len()).filter(|i| self.is_open(tokens[places[*i]])).collect();
        let at: Vec<usize> = open.iter().map(|i| places[*i] - self.answer.start).collect();
        for (i, allowed) in open.iter().zip(self.constraint.allowed(&reach, &at)) {
            self.constraint.keep(&allowed, &mut logits[i * width..][..width]);
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "a constraint on places {:?}", self.answer)
    }
}

impl Setting {
    /// Forbids in the logits of places, in ascending order, flat [places, V], what the constraint does not allow there now.
    pub(super) fn restrict(&self, canvas: &Canvas, places: &[usize], logits: &mut [f32]) {
        if let Some(guard) = &self.guard {
            guard.restrict(&canvas.tokens, places, logits);
        }
    }

    /// Writes picks at their places in this order. Those that a constraint rules out after those before them stay masks; with
    /// the number of the pass and its logits, flat [places, V], they are drawn again.
    pub(super) fn write_picks(
        &self,
        canvas: &mut Canvas,
        (places, picks): (&[usize], &[Pick]),
        order: &[usize],
        again: Option<(usize, &mut [f32])>,
    ) {
        let Some(guard) = &self.guard else {
            return order.iter().for_each(|i| canvas.tokens[places[*i]] = picks[*i].token);
        };
        let write = |i: &usize| {
            let place = places[*i];
            Write { pick: *i, place, before: canvas.tokens[place], token: picks[*i].token }
        };
        let writes: Vec<Write> = order.iter().map(write).collect();
        let mut redraw = again.map(|(pass, logits)| {
            let at = [canvas.number, pass as u64, 3];
            let random = derive_stream(self.rules.seed, RandomPurpose::Sample, at);
            Redraw { width: logits.len() / places.len(), logits, filter: &self.filter, random }
        });
        let left = guard.write_in_order(&mut canvas.tokens, writes, &mut redraw);
        guard.write_in_one_walk(&mut canvas.tokens, left, &mut redraw);
    }
}

/// Draws picks of a pass again.
struct Redraw<'a> {
    /// Flat [picks, V].
    logits: &'a mut [f32],
    width: usize,
    filter: &'a LogitFilter,
    random: RandomStream,
}

impl Redraw<'_> {
    /// Another token for a pick, of those that `restrict` leaves in its row of logits.
    fn draw(&mut self, pick: usize, restrict: impl FnOnce(&mut [f32])) -> u32 {
        let row = &mut self.logits[pick * self.width..][..self.width];
        restrict(row);
        self.filter.pick_token(row, &mut self.random)
    }
}

impl Guard {
    /// Writes picks in their order as long as that takes no more trials than a pass may have. Returns those that are left.
    fn write_in_order(
        &self,
        tokens: &mut [u32],
        mut writes: Vec<Write>,
        redraw: &mut Option<Redraw<'_>>,
    ) -> Vec<Write> {
        let mut trials = self.trials;
        // Mostly all of them fit together.
        let mut run = writes.len();
        while !writes.is_empty() {
            let Some(fitting) = self.count_fitting(tokens, &writes, run, &mut trials) else { break };
            run = 1;
            writes.drain(..fitting);
            if writes.is_empty() {
                break;
            }
            // The next one does not fit.
            let Write { pick, place, .. } = writes.remove(0);
            if let Some(redraw) = redraw {
                tokens[place] = redraw.draw(pick, |row| self.restrict(tokens, &[place], row));
            }
        }
        writes
    }

    /// Writes picks in the order of their places: one walk through the text, whatever excludes what.
    fn write_in_one_walk(&self, tokens: &mut [u32], mut writes: Vec<Write>, redraw: &mut Option<Redraw<'_>>) {
        writes.sort_unstable_by_key(|write| write.place);
        let Some(last) = writes.last().map(|write| write.place) else { return };
        let mut reach = self.reach(tokens, last).expect("what is written can be completed");
        let mut writes = writes.into_iter().peekable();
        for (at, token) in tokens[self.answer.start..=last].iter_mut().enumerate() {
            if let Some(write) = writes.next_if(|write| write.place == self.answer.start + at) {
                if self.constraint.narrow(&mut reach, at, Some(write.token)) {
                    *token = write.token;
                    continue;
                }
                if let Some(redraw) = redraw {
                    let allowed = self.constraint.allowed(&reach, &[at]);
                    *token = redraw.draw(write.pick, |row| self.constraint.keep(&allowed[0], row));
                }
            }
            let known = Some(*token).filter(|token| !self.is_open(*token));
            let fits = self.constraint.narrow(&mut reach, at, known);
            assert!(fits, "what is allowed can be completed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use fmflow_constrain::{Constraint, ConstraintSource};
    use fmflow_engine::pipeline::config::train::Scheduler;
    use fmflow_engine::pipeline::config::{Certainty, Sampler, SamplerKind};

    use super::super::{Ask, Nobody, Posterior, SharedSampler, Writing, write_all};
    use super::*;
    use crate::flow::kernel::EulerKernel;

    /// a, b, ab, the end; then the mask and what is not written yet.
    const WORDS: [&str; 3] = ["a", "b", "ab"];
    const END: u32 = 3;
    const MASK: u32 = 4;

    /// Logits that depend on the place and on what the canvas holds.
    struct Moody;

    impl Posterior for Moody {
        type Error = Infallible;

        fn logits(&mut self, asks: &[Ask<'_>]) -> Result<Vec<f32>, Infallible> {
            let row = |ask: &Ask<'_>, place: usize| -> Vec<f32> {
                let seen: u32 = ask.canvas.tokens.iter().map(|token| token % 7).sum();
                (0..5).map(|id| ((seen + 3 * id + 5 * place as u32) % 11) as f32 / 4.0).collect()
            };
            Ok(asks
                .iter()
                .flat_map(|ask| ask.places.iter().flat_map(move |place| row(ask, *place)))
                .collect())
        }
    }

    fn sampler(kind: SamplerKind) -> Sampler {
        Sampler::new("test", kind)
    }

    fn rules(seed: u64) -> SamplerRules {
        let scheduler = Scheduler::Polynomial { exponent: 1.0 };
        SamplerRules {
            mask: MASK,
            used: 5,
            scheduler,
            mask_share: 1.0,
            kernel: EulerKernel::Exact,
            growth: None,
            seed,
        }
    }

    fn tokens(pattern: &str) -> Arc<TokenConstraint> {
        let constraint = Constraint::new(ConstraintSource::Regex(pattern.to_owned())).unwrap();
        let vocabulary: Vec<Option<Vec<u8>>> =
            WORDS.iter().map(|word| Some(word.as_bytes().to_vec())).chain([None, None]).collect();
        Arc::new(TokenConstraint::new(constraint.automaton().clone(), &vocabulary, &[END]).unwrap())
    }

    /// What a sampler writes behind one given token, in blocks.
    fn write(
        kind: SamplerKind,
        pattern: &str,
        (length, block, ends): (usize, usize, bool),
        seed: u64,
        trials: Option<usize>,
    ) -> Vec<u32> {
        let left_to_right = matches!(kind, SamplerKind::Autoregressive | SamplerKind::Speculative { .. });
        let open = if left_to_right { u32::MAX } else { MASK };
        let mut canvas =
            Canvas { tokens: vec![open; length + 1], editable: vec![true; length + 1], number: seed };
        (canvas.tokens[0], canvas.editable[0]) = (0, false);
        let block = if left_to_right { length } else { block };
        let blocks =
            (1..=length).step_by(block).map(|start| start..(start + block).min(length + 1)).collect();
        let ends_of_blocks = if ends { vec![END] } else { Vec::new() };
        let shared = SharedSampler {
            sampler: Arc::new(sampler(kind)),
            rules: rules(seed),
            ends: ends_of_blocks.into(),
        };
        let mut guard = Guard::new(tokens(pattern), 1..length + 1, ends, &rules(seed));
        guard.trials = trials.unwrap_or(guard.trials);
        assert!(guard.admits(&canvas.tokens), "{pattern} {length}");
        let mut writings = vec![Writing::new(seed, canvas, blocks, &shared, Some(guard))];
        write_all(&mut writings, &mut Moody, &mut Nobody).unwrap();
        writings[0].canvas().tokens[1..].to_vec()
    }

    fn methods() -> Vec<SamplerKind> {
        let revealing = [Certainty::Confidence, Certainty::Entropy, Certainty::Margin];
        let revealing =
            revealing.into_iter().flat_map(|by| [1, 2, 50].map(|passes| SamplerKind::Reveal { passes, by }));
        let others = [
            SamplerKind::Threshold { threshold: 0.1 },
            SamplerKind::Threshold { threshold: 0.999 },
            SamplerKind::EntropyBound { bound: 0.0 },
            SamplerKind::EntropyBound { bound: 9.0 },
            SamplerKind::Edit { threshold: 0.3, revise: 0.4 },
            SamplerKind::Autoregressive,
            SamplerKind::Speculative { stride: 3 },
        ];
        revealing.chain(others).collect()
    }

    #[test]
    fn every_method_keeps_to_the_constraint_whatever_is_drawn() {
        for pattern in ["(?:ab|bbb)+", "a{2,5}b?", "(?:aa|bb|abab)*", "[ab]{4,7}a", "b(?:ab){2}"] {
            let whole = Constraint::new(ConstraintSource::Regex(pattern.to_owned())).unwrap();
            for (kind, (block, seed)) in methods()
                .iter()
                .flat_map(|kind| [2, 6].map(|block| (*kind, block)))
                .flat_map(|(kind, block)| (0..20).map(move |seed| (kind, (block, seed))))
            {
                for (ends, trials) in [(false, None), (true, None), (false, Some(0)), (true, Some(2))] {
                    let length = if ends { 6 } else { 4 };
                    let found = write(kind, pattern, (length, block, ends), seed, trials);
                    let stop = found.iter().position(|token| *token == END).unwrap_or(length);
                    let said: String = found[..stop].iter().map(|token| WORDS[*token as usize]).collect();
                    assert!(
                        whole.automaton().accepts(said.as_bytes()) && (ends || stop == length),
                        "{kind:?} {pattern} {block} {seed}: {found:?}"
                    );
                }
            }
        }
    }

    /// Of a large automaton few trials are made: most of a pass with many conflicts is written in one walk.
    #[test]
    fn a_long_answer_of_one_pass_fits_together() {
        let (pattern, length) = ("(?:ab|b[ab]b){0,2000}", 300);
        let guard = Guard::new(tokens(pattern), 0..length, true, &rules(0));
        assert!(guard.trials < length / 4, "{}", guard.trials);
        let whole = Constraint::new(ConstraintSource::Regex(pattern.to_owned())).unwrap();
        let kind = SamplerKind::Reveal { passes: 1, by: Certainty::Confidence };
        let found = write(kind, pattern, (length, length, true), 3, None);
        let stop = found.iter().position(|token| *token == END).unwrap_or(length);
        let said: String = found[..stop].iter().map(|token| WORDS[*token as usize]).collect();
        assert!(whole.automaton().accepts(said.as_bytes()), "{found:?}");
    }

    /// Two places that only fit together in two ways, drawn in one pass: the law of each is restricted by what was drawn before it.
    #[test]
    fn tokens_of_one_pass_that_exclude_each_other_are_drawn_again_by_the_law_that_is_left() {
        let (n, mut counts) = (20_000, [0_usize; 2]);
        for seed in 0..n {
            let found = write(
                SamplerKind::Reveal { passes: 1, by: Certainty::Confidence },
                "aa|bb",
                (2, 2, false),
                seed,
                None,
            );
            assert!(found == [0, 0] || found == [1, 1], "{found:?}");
            counts[found[0] as usize] += 1;
        }
        // The confidences of both draws decide which place is first: p_i(v) is larger first, so both orders count.
        let filter = LogitFilter::new(&sampler(SamplerKind::Autoregressive), &rules(0));
        let canvas = Canvas { tokens: vec![0, MASK, MASK], editable: vec![false, true, true], number: 0 };
        let logits =
            Moody.logits(&[Ask { canvas: &canvas, row: 0, places: &[1, 2], t: 0.0, settled: 0 }]).unwrap();
        let law = |row: &[f32]| {
            let p = filter.probabilities(row);
            [p[0] / (p[0] + p[1]), p[1] / (p[0] + p[1])]
        };
        let (first, second) = (law(&logits[..5]), law(&logits[5..]));
        let mut expected = 0.0;
        for (a, b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let winner = if first[a] >= second[b] { a } else { b };
            expected += if winner == 0 { first[a] * second[b] } else { 0.0 };
        }
        let deviation = (n as f64 * expected * (1.0 - expected)).sqrt();
        assert!((counts[0] as f64 - n as f64 * expected).abs() <= 5.0 * deviation, "{counts:?} {expected}");
    }
}
