//! Text that grows while it is filled in: a place that turns out to be the expand token becomes two masks, and one that turns out to be the
//! delete token is removed (Wu et al., "DreamOn", 2026).

use fmflow_engine::pipeline::config::GrowthTokens;

use super::Canvas;

/// By how much a canvas may still grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Growing {
    /// The tokens that stand for two masks, and for none.
    pub(crate) tokens: GrowthTokens,
    /// Expansions that are left; each adds a place.
    pub(crate) budget: usize,
}

impl Growing {
    /// Forbids the expand token where it may not be written any more, in logits flat [places, `width`].
    pub(super) fn forbid(&self, logits: &mut [f32], width: usize) {
        if self.budget > 0 {
            return;
        }
        for row in logits.chunks_exact_mut(width) {
            if let Some(logit) = row.get_mut(self.tokens.expand as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    /// Replaces what a pass wrote among the editable places: from left to right each expand token by two masks, or by one if nothing is left
    /// of the budget, and each delete token by nothing. Returns where each place was before, or `None` for a mask that is new; nothing if there is
    /// none of either.
    pub(super) fn replace(&mut self, canvas: &mut Canvas, mask: u32) -> Option<Vec<Option<usize>>> {
        let GrowthTokens { expand, delete } = self.tokens;
        let grows = |i: usize| canvas.editable[i] && [expand, delete].contains(&canvas.tokens[i]);
        if !(0..canvas.tokens.len()).any(grows) {
            return None;
        }
        let mut moves = Vec::with_capacity(canvas.tokens.len() + 1);
        for i in 0..canvas.tokens.len() {
            match canvas.tokens[i] {
                _ if !canvas.editable[i] => moves.push(Some(i)),
                token if token == expand => {
                    let masks = 1 + usize::from(self.budget > 0);
                    self.budget -= masks - 1;
                    moves.resize(moves.len() + masks, None);
                }
                token if token == delete => {}
                _ => moves.push(Some(i)),
            }
        }
        let tokens = moves.iter().map(|from| from.map_or(mask, |i| canvas.tokens[i])).collect();
        let editable = moves.iter().map(|from| from.is_none_or(|i| canvas.editable[i])).collect();
        (canvas.tokens, canvas.editable) = (tokens, editable);
        Some(moves)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use fmflow_engine::pipeline::config::train::Scheduler;
    use fmflow_engine::pipeline::config::{Sampler, SamplerKind};

    use super::*;
    use crate::flow::kernel::EulerKernel;
    use crate::flow::sampler::{
        Ask, Nobody, Onlooker, Posterior, SamplerRules, SharedSampler, Writing, write_all,
    };

    const MASK: u32 = 9;
    const TOKENS: GrowthTokens = GrowthTokens { expand: 8, delete: 7 };
    /// Behind every gap.
    const BEHIND: [u32; 2] = [6, 5];

    /// Knows the text of a gap: says expand at the first mask while masks are missing, delete while there are too many, and otherwise what
    /// stands there.
    struct Knowing(Vec<u32>);

    impl Posterior for Knowing {
        type Error = Infallible;

        fn logits(&mut self, asks: &[Ask<'_>]) -> Result<Vec<f32>, Infallible> {
            let mut all = Vec::new();
            for ask in asks {
                let gap = ask.canvas.tokens.len() - 1 - BEHIND.len();
                for (at, place) in ask.places.iter().enumerate() {
                    let mut row = vec![0.0; 10];
                    let token = match gap.cmp(&self.0.len()) {
                        _ if at > 0 && gap != self.0.len() => None,
                        std::cmp::Ordering::Less => Some(TOKENS.expand),
                        std::cmp::Ordering::Greater => Some(TOKENS.delete),
                        std::cmp::Ordering::Equal => Some(self.0[place - 1]),
                    };
                    if let Some(token) = token {
                        row[token as usize] = 20.0;
                    }
                    all.extend(row);
                }
            }
            Ok(all)
        }
    }

    /// Draws by a rule of the canvas, all tokens alike.
    struct Scrambled;

    impl Posterior for Scrambled {
        type Error = Infallible;

        fn logits(&mut self, asks: &[Ask<'_>]) -> Result<Vec<f32>, Infallible> {
            let logit = |ask: &Ask<'_>, place: usize, token: usize| {
                let sum: u32 = ask.canvas.tokens.iter().zip(1..).map(|(token, i)| token * i).sum();
                f32::from(((sum as usize + 31 * place) * (token + 3) % 11) as u8)
            };
            let rows = asks.iter().flat_map(|ask| ask.places.iter().map(move |place| (ask, *place)));
            Ok(rows.flat_map(|(ask, place)| (0..10).map(move |token| logit(ask, place, token))).collect())
        }
    }

    fn write<P: Posterior<Error = Infallible>>(
        (length, budget, number): (usize, usize, u64),
        kind: SamplerKind,
        posterior: &mut P,
        onlooker: &mut dyn Onlooker,
    ) -> Writing {
        let tokens = [&[0][..], &vec![MASK; length], &BEHIND].concat();
        let editable = (0..tokens.len()).map(|i| i > 0 && i <= length).collect();
        let canvas = Canvas { tokens, editable, number };
        let scheduler = Scheduler::Polynomial { exponent: 1.0 };
        let rules = SamplerRules {
            mask: MASK,
            used: 10,
            scheduler,
            mask_share: 1.0,
            kernel: EulerKernel::Exact,
            growth: Some(TOKENS),
            seed: 3,
        };
        let sampler = Sampler { temperature: 1.0, ..Sampler::new("test", kind) };
        let shared = SharedSampler { sampler: sampler.into(), rules, ends: [].into() };
        let blocks = std::iter::once(1..length + 1).collect();
        let writing =
            Writing::new(number, canvas, blocks, &shared, None).growing(Growing { tokens: TOKENS, budget });
        let mut all = [writing];
        write_all(&mut all, posterior, onlooker).unwrap();
        let [writing] = all;
        writing
    }

    fn kinds() -> [SamplerKind; 3] {
        [
            SamplerKind::Threshold { threshold: 0.9 },
            SamplerKind::Threshold { threshold: 0.05 },
            SamplerKind::EntropyBound { bound: 0.1 },
        ]
    }

    #[test]
    fn a_gap_gets_the_length_of_its_text() {
        let text: Vec<u32> = vec![1, 2, 3, 4, 1, 2, 3];
        for (count, length) in (0..=text.len()).flat_map(|count| (1..9).map(move |length| (count, length))) {
            let mut knowing = Knowing(text[..count].to_vec());
            let found = write((length, 8, 0), kinds()[0], &mut knowing, &mut Nobody);
            let expected = [&[0][..], &text[..count], &BEHIND].concat();
            assert_eq!(found.canvas().tokens, expected, "{count} from {length}");
            let editable = |i: usize| i > 0 && i <= count;
            assert!(found.canvas().editable.iter().enumerate().all(|(i, open)| *open == editable(i)));
            assert_eq!(found.passes(), length.abs_diff(count) + usize::from(count > 0));
        }
    }

    #[test]
    fn no_gap_grows_beyond_its_budget_and_nothing_of_growth_is_left() {
        let (mut longer, mut shorter) = (0, 0);
        for (length, budget) in (1..6).flat_map(|length| (0..4).map(move |budget| (length, budget))) {
            for (number, kind) in (0..40).flat_map(|number| kinds().map(|kind| (number, kind))) {
                let found = write((length, budget, number), kind, &mut Scrambled, &mut Nobody);
                let tokens = &found.canvas().tokens;
                assert!(tokens[0] == 0 && tokens.ends_with(&BEHIND));
                let gap = &tokens[1..tokens.len() - BEHIND.len()];
                assert!(gap.len() <= length + budget, "{gap:?} from {length} and {budget}");
                assert!(gap.iter().all(|token| *token < TOKENS.delete), "{gap:?}");
                assert!(found.passes() <= length + 2 * budget);
                longer += usize::from(gap.len() > length);
                shorter += usize::from(gap.len() < length);
            }
        }
        assert!(longer > 0 && shorter > 0, "{longer} {shorter}");
    }

    /// Writes down the text as an onlooker sees it.
    #[derive(Default)]
    struct Follows(Vec<u32>);

    impl Onlooker for Follows {
        fn wants_probabilities(&self) -> bool {
            true
        }

        fn judged(&mut self, canvas: &Canvas, places: &[usize], _: &[f64]) {
            self.0.resize(canvas.tokens.len(), MASK);
            places.iter().for_each(|place| self.0[*place] = canvas.tokens[*place]);
        }

        fn moved(&mut self, canvas: &Canvas, moves: &[Option<usize>]) {
            self.0 = moves.iter().map(|from| from.map_or(MASK, |i| self.0[i])).collect();
            assert_eq!(
                self.0[1..self.0.len() - BEHIND.len()],
                canvas.tokens[1..canvas.tokens.len() - BEHIND.len()]
            );
        }
    }

    #[test]
    fn an_onlooker_can_follow_every_place() {
        for number in 0..60 {
            let mut follows = Follows::default();
            let found = write((4, 3, number), kinds()[0], &mut Scrambled, &mut follows);
            let tokens = &found.canvas().tokens;
            // What was given is not judged.
            assert_eq!(follows.0[1..tokens.len() - BEHIND.len()], tokens[1..tokens.len() - BEHIND.len()]);
        }
    }

    #[test]
    fn a_text_that_keeps_its_length_has_no_token_of_growth() {
        let law = |growing: bool| {
            let rules = |growth| SamplerRules {
                mask: MASK,
                used: 10,
                scheduler: Scheduler::Cosine,
                mask_share: 1.0,
                kernel: EulerKernel::Exact,
                growth,
                seed: 1,
            };
            let sampler = Sampler { temperature: 1.0, ..Sampler::new("test", kinds()[0]) };
            let filter = crate::flow::sampler::LogitFilter::new(&sampler, &rules(Some(TOKENS)));
            let filter = if growing { filter.letting_grow() } else { filter };
            filter.probabilities(&[0.0; 10])
        };
        assert_eq!(law(false)[7..], [0.0; 3]);
        assert_eq!(law(true)[7..9], [1.0 / 9.0; 2]);
        assert_eq!(law(true)[9], 0.0);
    }
}
