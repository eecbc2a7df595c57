//! Tests of the samplers against posteriors with a known answer.

use std::convert::Infallible;

use fmflow_engine::pipeline::config::{Certainty, RemaskSettings, SamplerKind};

use super::*;

const MASK: u32 = 4;

/// A posterior that does not depend on x_t: the same logits everywhere.
struct Fixed([f32; 5]);

impl Posterior for Fixed {
    type Error = Infallible;

    fn logits(&mut self, asks: &[Ask<'_>]) -> Result<Vec<f32>, Infallible> {
        Ok(asks.iter().flat_map(|ask| ask.places).flat_map(|_| self.0).collect())
    }
}

/// A uniform posterior that passes its inputs to a closure.
struct Watch<F>(F);

impl<F: FnMut(&[Ask<'_>])> Posterior for Watch<F> {
    type Error = Infallible;

    fn logits(&mut self, asks: &[Ask<'_>]) -> Result<Vec<f32>, Infallible> {
        (self.0)(asks);
        Ok(vec![0.0; 5 * asks.iter().map(|ask| ask.places.len()).sum::<usize>()])
    }
}

fn sampler(kind: SamplerKind, temperature: f64) -> Sampler {
    Sampler { temperature, ..Sampler::new("test", kind) }
}

fn confidence(passes: usize) -> SamplerKind {
    SamplerKind::Reveal { passes, by: Certainty::Confidence }
}

/// Every method that fills masks.
fn methods() -> Vec<SamplerKind> {
    let revealing = [Certainty::Confidence, Certainty::Entropy, Certainty::Margin];
    let revealing =
        revealing.into_iter().flat_map(|by| [1, 3, 50].map(|passes| SamplerKind::Reveal { passes, by }));
    let others = [
        SamplerKind::Threshold { threshold: 0.3 },
        SamplerKind::Threshold { threshold: 0.999 },
        SamplerKind::EntropyBound { bound: 0.0 },
        SamplerKind::EntropyBound { bound: 2.5 },
        SamplerKind::Edit { threshold: 0.3, revise: 0.2 },
        SamplerKind::Edit { threshold: 0.999, revise: 0.9 },
        euler(1),
        euler(7),
    ];
    revealing.chain(others).collect()
}

fn euler(passes: usize) -> SamplerKind {
    SamplerKind::Euler { passes, kernel: EulerKernel::Exact }
}

fn rules(mask_source: bool) -> SamplerRules {
    let scheduler = Scheduler::Polynomial { exponent: 1.0 };
    let mask_share = f64::from(u8::from(mask_source));
    SamplerRules {
        mask: MASK,
        used: 5,
        scheduler,
        mask_share,
        kernel: EulerKernel::Exact,
        growth: None,
        seed: 1,
    }
}

fn canvas(number: u64, length: usize) -> Canvas {
    let mut canvas = Canvas { tokens: vec![MASK; length], editable: vec![true; length], number };
    (canvas.tokens[0], canvas.editable[0]) = (3, false);
    canvas
}

#[test]
fn every_method_fills_what_is_editable_and_nothing_else() {
    for kind in methods() {
        let mut canvases = vec![canvas(0, 9), canvas(1, 4)];
        // The mask has by far the largest logit, but must never be emitted.
        let mut posterior = Fixed([0.0, 1.0, 0.5, -1.0, 50.0]);
        let passes =
            sample_canvases(&mut canvases, &sampler(kind, 1.0), &rules(true), &mut posterior).unwrap();
        assert!(passes >= 1);
        for canvas in &canvases {
            assert_eq!(canvas.tokens[0], 3, "{kind:?}");
            assert!(canvas.tokens.iter().all(|&t| t != MASK), "{kind:?} {canvas:?}");
        }
    }
}

#[test]
fn every_kernel_leaves_prompts_alone_and_no_mask_behind() {
    let kernels = [
        EulerKernel::Exact,
        EulerKernel::Rate { div_free: 0.0 },
        EulerKernel::Rate { div_free: 3.0 },
        EulerKernel::Remask(RemaskSettings::Cap(0.5)),
        EulerKernel::Remask(RemaskSettings::Rescale(1.0)),
    ];
    for kernel in kernels {
        for steps in [1, 2, 9] {
            let rules = SamplerRules { kernel, ..rules(true) };
            let mut canvases = vec![canvas(0, 40)];
            // A prompt position in the middle that itself holds the mask.
            (canvases[0].tokens[20], canvases[0].editable[20]) = (MASK, false);
            let mut posterior = Fixed([0.0, 1.0, 0.5, -1.0, 50.0]);
            sample_canvases(&mut canvases, &sampler(euler(steps), 1.0), &rules, &mut posterior).unwrap();
            let tokens = &canvases[0].tokens;
            assert_eq!((tokens[0], tokens[20]), (3, MASK), "{kernel:?}");
            assert_eq!(tokens.iter().filter(|&&t| t == MASK).count(), 1, "{kernel:?} {tokens:?}");
        }
    }
}

#[test]
fn remasking_keeps_the_schedule_and_takes_tokens_back() {
    let rules = SamplerRules { kernel: EulerKernel::Remask(RemaskSettings::Cap(0.2)), ..rules(true) };
    let mut canvases: Vec<Canvas> = (0..400).map(|n| canvas(n, 26)).collect();
    // Number of masks, and of positions that went back to the mask since the previous pass.
    let (mut seen, mut last) = (Vec::new(), Vec::<Vec<u32>>::new());
    let look = |asks: &[Ask<'_>]| {
        assert!(asks.iter().all(|ask| ask.places.iter().all(|i| ask.canvas.tokens[*i] == MASK)));
        // A canvas that is finished early does not ask any more.
        let mut now = if last.is_empty() { vec![Vec::new(); 400] } else { last.clone() };
        asks.iter().for_each(|ask| now[ask.canvas.number as usize].clone_from(&ask.canvas.tokens));
        let masks = now.iter().flatten().filter(|&&t| t == MASK).count();
        let pairs = last.iter().flatten().zip(now.iter().flatten());
        seen.push((masks, pairs.filter(|(before, now)| **before != MASK && **now == MASK).count()));
        last = now;
    };
    sample_canvases(&mut canvases, &sampler(euler(4), 1.0), &rules, &mut Watch(look)).unwrap();
    // 10,000 positions: 1 - t of them are masks, and a fifth of the t written ones went back; limit 5 standard deviations.
    for ((masks, back), expected) in
        seen.iter().zip([(10_000usize, 0usize), (7_500, 0), (5_000, 500), (2_500, 1_000)])
    {
        assert!(masks.abs_diff(expected.0) < 250 && back.abs_diff(expected.1) < 150, "{seen:?}");
    }
}

#[test]
fn a_draw_is_a_function_of_seed_and_number() {
    let run = |number| {
        let mut canvases = vec![canvas(number, 30)];
        let kind = euler(5);
        sample_canvases(&mut canvases, &sampler(kind, 1.0), &rules(true), &mut Fixed([0.0; 5])).unwrap();
        canvases.remove(0).tokens
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn euler_draws_from_the_posterior_for_both_sources() {
    for mask_source in [true, false] {
        let mut canvases: Vec<Canvas> = (0..400).map(|n| canvas(n, 26)).collect();
        let kind = euler(8);
        let mut posterior = Fixed([0.0, (2.0f32).ln(), (3.0f32).ln(), (4.0f32).ln(), f32::NEG_INFINITY]);
        sample_canvases(&mut canvases, &sampler(kind, 1.0), &rules(mask_source), &mut posterior).unwrap();
        let mut counts = [0usize; 5];
        canvases.iter().flat_map(|c| &c.tokens[1..]).for_each(|&t| counts[t as usize] += 1);
        // 10,000 draws with shares .1 .2 .3 .4: standard deviations up to 49; limit 5 of them.
        for (count, expected) in counts.iter().zip([1000, 2000, 3000, 4000, 0]) {
            assert!(count.abs_diff(expected) <= if expected == 0 { 0 } else { 245 }, "{counts:?}");
        }
    }
}

#[test]
fn euler_follows_the_schedule() {
    let mut canvases: Vec<Canvas> = (0..400).map(|n| canvas(n, 26)).collect();
    let mut seen = Vec::new();
    let count = |asks: &[Ask<'_>]| asks.iter().flat_map(|a| &a.canvas.tokens).filter(|t| **t == MASK).count();
    let look = |asks: &[Ask<'_>]| seen.push(count(asks));
    sample_canvases(&mut canvases, &sampler(euler(4), 1.0), &rules(true), &mut Watch(look)).unwrap();
    // 10,000 positions; the noise left is 1 - kappa(t) = 1 - t; standard deviation at most 50, limit 5 of them.
    for (left, expected) in seen.iter().zip([10_000usize, 7_500, 5_000, 2_500]) {
        assert!(left.abs_diff(expected) < 250, "{seen:?}");
    }
}

#[test]
fn confidence_reveals_an_even_share_of_every_canvas_each_step() {
    let mut canvases = vec![canvas(0, 11), canvas(1, 3)];
    let mut seen = Vec::new();
    let masks = |ask: &Ask<'_>| ask.canvas.tokens.iter().filter(|t| **t == MASK).count();
    let look = |asks: &[Ask<'_>]| seen.push(asks.iter().map(masks).collect::<Vec<_>>());
    let sampler = sampler(confidence(4), 0.0);
    sample_canvases(&mut canvases, &sampler, &rules(true), &mut Watch(look)).unwrap();
    // The second canvas has nothing to reveal in its second and fourth step, which take no pass.
    assert_eq!(seen, [vec![10, 2], vec![7, 1], vec![5], vec![2]]);
}

/// Records every canvas that it receives.
struct Seen(Vec<Vec<Canvas>>);

impl Posterior for Seen {
    type Error = Infallible;

    fn logits(&mut self, asks: &[Ask<'_>]) -> Result<Vec<f32>, Infallible> {
        self.0.push(asks.iter().map(|ask| ask.canvas.clone()).collect());
        for ask in asks {
            let first = ask.canvas.editable.iter().position(|editable| *editable).unwrap();
            assert_eq!(ask.settled, first, "what is before the open block is settled");
        }
        Ok(vec![0.0; 5 * asks.iter().map(|ask| ask.places.len()).sum::<usize>()])
    }
}

#[test]
fn blocks_are_written_from_left_to_right_and_then_stay() {
    let others = [SamplerKind::Threshold { threshold: 0.9 }, SamplerKind::EntropyBound { bound: 1.0 }];
    for kind in [confidence(3), euler(3)].into_iter().chain(others) {
        let mut canvases = vec![canvas(0, 11), canvas(1, 4)];
        let blocks = [vec![1..4, 4..8, 8..10], vec![1..2, 2..4]];
        let mut seen = Seen(Vec::new());
        let passes = sample_canvases_in_blocks(
            &mut canvases,
            &blocks,
            &[],
            &sampler(kind, 1.0),
            &rules(true),
            &mut seen,
        )
        .unwrap();
        let of_row = |row: u64| seen.0.iter().filter(|shown| shown.iter().any(|c| c.number == row)).count();
        assert_eq!(passes, [of_row(0), of_row(1)]);
        assert!(passes[0] >= 3 && passes[0] <= 9, "{kind:?} {passes:?}");
        for (row, blocks) in blocks.iter().enumerate() {
            let last = &canvases[row].tokens;
            for shown in seen.0.iter().filter_map(|shown| shown.iter().find(|c| c.number == row as u64)) {
                let masked = |range: &Range<usize>| shown.tokens[range.clone()].contains(&MASK);
                let open = blocks.iter().position(masked).unwrap_or(blocks.len());
                for (number, range) in blocks.iter().enumerate() {
                    let now = &shown.tokens[range.clone()];
                    assert!(number <= open || now.iter().all(|t| *t == MASK), "{kind:?}: a later block");
                    assert!(number >= open || *now == last[range.clone()], "{kind:?}: a finished block");
                }
            }
        }
        assert_eq!(canvases[0].tokens[10], MASK, "outside all blocks");
        assert!(canvases[0].tokens[..10].iter().chain(&canvases[1].tokens).all(|t| *t != MASK));
        assert_eq!(canvases[0].editable, canvas(0, 11).editable);
    }
}

#[test]
fn one_block_is_the_whole_canvas_and_blocks_draw_other_numbers() {
    for kind in [confidence(4), euler(4)] {
        let (mut whole, mut one, mut two) = (vec![canvas(0, 41)], vec![canvas(0, 41)], vec![canvas(0, 41)]);
        let run = |canvases: &mut Vec<Canvas>, blocks: Vec<Range<usize>>| {
            let mut posterior = Fixed([0.0, 0.0, 0.0, 0.0, f32::NEG_INFINITY]);
            sample_canvases_in_blocks(
                canvases,
                &[blocks],
                &[],
                &sampler(kind, 1.0),
                &rules(true),
                &mut posterior,
            )
            .unwrap()
        };
        let mut posterior = Fixed([0.0, 0.0, 0.0, 0.0, f32::NEG_INFINITY]);
        sample_canvases(&mut whole, &sampler(kind, 1.0), &rules(true), &mut posterior).unwrap();
        run(&mut one, std::iter::once(0..41).collect());
        assert_eq!(whole, one);
        run(&mut two, vec![1..21, 21..41]);
        assert_ne!(two[0].tokens[1..21], two[0].tokens[21..41], "{kind:?}");
    }
}

#[test]
fn an_answer_ends_with_the_block_of_its_end() {
    // The posterior always gives token 2, which is an end. The second canvas has a suffix after its answer.
    let mut canvases = vec![canvas(0, 10), canvas(1, 10)];
    (canvases[1].tokens[9], canvases[1].editable[9]) = (3, false);
    let blocks = [vec![1..4, 4..7, 7..10], vec![1..4, 4..7, 7..9]];
    let mut posterior = Fixed([0.0, 0.0, 9.0, 0.0, f32::NEG_INFINITY]);
    let sampler = sampler(confidence(2), 0.0);
    let passes =
        sample_canvases_in_blocks(&mut canvases, &blocks, &[2], &sampler, &rules(true), &mut posterior)
            .unwrap();
    assert_eq!(passes, [2, 6], "the first canvas takes one block of two steps, the second three");
    assert_eq!(canvases[0].tokens, [3, 2, 2, 2, MASK, MASK, MASK, MASK, MASK, MASK]);
    assert_eq!(canvases[1].tokens, [3, 2, 2, 2, 2, 2, 2, 2, 2, 3]);
}

/// A posterior in which the certainty of a position grows with its number: token 1 has logit i, the others 0.
struct Growing;

impl Posterior for Growing {
    type Error = Infallible;

    fn logits(&mut self, asks: &[Ask<'_>]) -> Result<Vec<f32>, Infallible> {
        let row = |i: &usize| [0.0, *i as f32, 0.0, 0.0, 99.0];
        Ok(asks.iter().flat_map(|ask| ask.places).flat_map(row).collect())
    }
}

/// What is on the canvas after each pass of a method that takes the most probable tokens.
fn trace<P: Posterior<Error = Infallible>>(kind: SamplerKind, length: usize, posterior: P) -> Vec<Vec<u32>> {
    struct Tracing<P>(P, Vec<Vec<u32>>);
    impl<P: Posterior<Error = Infallible>> Posterior for Tracing<P> {
        type Error = Infallible;
        fn logits(&mut self, asks: &[Ask<'_>]) -> Result<Vec<f32>, Infallible> {
            self.1.push(asks[0].canvas.tokens.clone());
            self.0.logits(asks)
        }
    }
    let (mut canvases, mut tracing) = (vec![canvas(0, length)], Tracing(posterior, Vec::new()));
    sample_canvases(&mut canvases, &sampler(kind, 0.0), &rules(true), &mut tracing).unwrap();
    tracing.1.push(canvases.remove(0).tokens);
    tracing.1.split_off(1)
}

#[test]
fn a_threshold_reveals_what_reaches_it_and_at_least_one() {
    // p(1) at position i is e^i / (e^i + 3): .475, .711, .870, .948, .980 for i = 1..5.
    let threshold = |threshold| trace(SamplerKind::Threshold { threshold }, 6, Growing);
    assert_eq!(threshold(0.7), [[3, MASK, 1, 1, 1, 1], [3, 1, 1, 1, 1, 1]]);
    assert_eq!(threshold(0.9).len(), 4, "two at once, then one by one");
    let all = threshold(0.99);
    assert_eq!(all[0], [3, MASK, MASK, MASK, MASK, 1]);
    assert_eq!(all.len(), 5, "one by one, the most confident first");
}

#[test]
fn an_entropy_bound_reveals_the_surest_within_it() {
    let passes = |bound| trace(SamplerKind::EntropyBound { bound }, 6, Growing).len();
    assert_eq!((passes(0.0), passes(100.0)), (5, 1));
    assert!(passes(0.5) > 1 && passes(0.5) < 5);
}

#[test]
fn all_certainties_agree_where_one_token_stands_out() {
    let by = |by| trace(SamplerKind::Reveal { passes: 5, by }, 6, Growing);
    assert_eq!(by(Certainty::Confidence), by(Certainty::Entropy));
    assert_eq!(by(Certainty::Confidence), by(Certainty::Margin));
    assert_eq!(by(Certainty::Margin)[1], [3, MASK, MASK, MASK, 1, 1]);
}

/// Gives token 1 while position 1 is a mask; afterwards the token 2 at position 2 and, elsewhere, what is there.
struct Regret;

impl Posterior for Regret {
    type Error = Infallible;

    fn logits(&mut self, asks: &[Ask<'_>]) -> Result<Vec<f32>, Infallible> {
        let row = |tokens: &[u32], i: usize| {
            let token = match (tokens[i], tokens[1]) {
                (_, MASK) => 1,
                _ if i == 2 => 2,
                (MASK, _) => 1,
                (token, _) => token,
            };
            let mut row = [0.0; 5];
            row[token as usize] = if tokens[1] == MASK && i > 2 { 0.5 } else { 9.0 };
            row
        };
        Ok(asks.iter().flat_map(|ask| ask.places.iter().flat_map(|i| row(&ask.canvas.tokens, *i))).collect())
    }
}

#[test]
fn an_edit_masks_again_what_became_improbable_but_only_once() {
    let found = trace(SamplerKind::Edit { threshold: 0.9, revise: 0.2 }, 5, Regret);
    assert_eq!(found, [vec![3, 1, 1, MASK, MASK], vec![3, 1, MASK, 1, 1], vec![3, 1, 2, 1, 1],]);
    // A posterior that finds every written token improbable still ends: each position goes back once.
    struct Never;
    impl Posterior for Never {
        type Error = Infallible;
        fn logits(&mut self, asks: &[Ask<'_>]) -> Result<Vec<f32>, Infallible> {
            let row = |token: u32| {
                let mut row = [0.0f32; 5];
                if token != MASK {
                    row[token as usize] = -9.0;
                }
                row
            };
            let tokens = asks.iter().flat_map(|ask| ask.places.iter().map(|i| ask.canvas.tokens[*i]));
            Ok(tokens.flat_map(row).collect())
        }
    }
    let found = trace(SamplerKind::Edit { threshold: 0.9, revise: 0.2 }, 9, Never);
    assert!(found.len() <= 16 && !found.last().unwrap().contains(&MASK), "{found:?}");
}

/// The joint law of the tokens of two positions, by enumerating every order: position 1 prefers token 0 with probability 0.8;
/// position 2 copies position 1 with probability 0.9 once that is written, and is even before.
struct Copying;

impl Posterior for Copying {
    type Error = Infallible;

    fn logits(&mut self, asks: &[Ask<'_>]) -> Result<Vec<f32>, Infallible> {
        let law = |tokens: &[u32], i: usize| match (i, tokens[1]) {
            (1, _) => [0.8, 0.2],
            (_, 0) => [0.9, 0.1],
            (_, 1) => [0.1, 0.9],
            _ => [0.5, 0.5],
        };
        let row = |tokens: &[u32], i: usize| {
            let [a, b] = law(tokens, i).map(|p: f64| p.ln() as f32);
            [a, b, f32::NEG_INFINITY, f32::NEG_INFINITY, 3.0]
        };
        Ok(asks.iter().flat_map(|ask| ask.places.iter().flat_map(|i| row(&ask.canvas.tokens, *i))).collect())
    }
}

#[test]
fn draws_follow_the_law_of_their_method() {
    // One after the other, in the order of certainty: entropy and margin see the law, so position 1 (0.8) comes first and
    // the law is the chain rule. All at once it is the product of .8 .2 and .5 .5.
    let chain: [f64; 4] = [0.8 * 0.9, 0.8 * 0.1, 0.2 * 0.1, 0.2 * 0.9];
    let product: [f64; 4] = [0.4, 0.4, 0.1, 0.1];
    for (kind, law) in [
        (SamplerKind::Reveal { passes: 2, by: Certainty::Entropy }, chain),
        (SamplerKind::Reveal { passes: 2, by: Certainty::Margin }, chain),
        (SamplerKind::EntropyBound { bound: 0.1 }, chain),
        (SamplerKind::Reveal { passes: 1, by: Certainty::Margin }, product),
        (SamplerKind::EntropyBound { bound: 5.0 }, product),
        (SamplerKind::Threshold { threshold: 0.1 }, product),
    ] {
        let mut canvases: Vec<Canvas> = (0..10_000).map(|number| canvas(number, 3)).collect();
        sample_canvases(&mut canvases, &sampler(kind, 1.0), &rules(true), &mut Copying).unwrap();
        let mut counts = [0.0f64; 4];
        canvases.iter().for_each(|c| counts[(2 * c.tokens[1] + c.tokens[2]) as usize] += 1.0);
        for (count, p) in counts.into_iter().zip(law) {
            // Five standard deviations of a binomial.
            let limit = 5.0 * (10_000.0 * p * (1.0 - p)).sqrt();
            assert!((count - 10_000.0 * p).abs() < limit, "{kind:?}: {counts:?}, expected {law:?}");
        }
    }
}

#[test]
fn the_confidence_of_the_drawn_token_decides_the_law_of_a_threshold() {
    // Both are drawn at once: (x, y) with .8 .2 and .5 .5. A token is kept if its probability reaches .6, that is x = 0, else
    // the more confident one: y (.5) against x = 1 (.2). Then the other is drawn anew, given what is kept.
    // x = 0 (.8): y from .9 .1. x = 1 (.2): y is kept (.5 .5), then x from .8 .2.
    let law: [f64; 4] = [0.8 * 0.9 + 0.2 * 0.5 * 0.8, 0.8 * 0.1 + 0.2 * 0.5 * 0.8, 0.02, 0.02];
    let mut canvases: Vec<Canvas> = (0..10_000).map(|number| canvas(number, 3)).collect();
    let kind = SamplerKind::Threshold { threshold: 0.6 };
    sample_canvases(&mut canvases, &sampler(kind, 1.0), &rules(true), &mut Copying).unwrap();
    let mut counts = [0.0f64; 4];
    canvases.iter().for_each(|c| counts[(2 * c.tokens[1] + c.tokens[2]) as usize] += 1.0);
    for (count, p) in counts.into_iter().zip(law) {
        let limit = 5.0 * (10_000.0 * p * (1.0 - p)).sqrt();
        assert!((count - 10_000.0 * p).abs() < limit, "{counts:?}, expected {law:?}");
    }
}

#[test]
fn a_text_depends_on_no_other_canvas() {
    for kind in methods().into_iter().chain([SamplerKind::Autoregressive]) {
        let draw = |numbers: &[u64]| {
            let mut canvases: Vec<Canvas> = numbers.iter().map(|n| canvas(*n, 5 + *n as usize)).collect();
            sample_canvases(&mut canvases, &sampler(kind, 1.0), &rules(true), &mut Copying).unwrap();
            canvases
        };
        let all = draw(&[0, 1, 2, 3]);
        for (number, together) in all.iter().enumerate() {
            assert_eq!(draw(&[number as u64])[0], *together, "{kind:?}");
        }
        let mut back = draw(&[3, 2, 1, 0]);
        back.reverse();
        assert_eq!(back, all, "{kind:?}");
    }
}

#[test]
fn the_next_token_is_the_only_question_of_an_autoregressive_sampler() {
    let mut asked = Vec::new();
    let mut canvases = vec![canvas(0, 5)];
    let look = |asks: &[Ask<'_>]| asked.push((asks[0].places.to_vec(), asks[0].settled));
    let sampler = sampler(SamplerKind::Autoregressive, 1.0);
    sample_canvases(&mut canvases, &sampler, &rules(true), &mut Watch(look)).unwrap();
    assert_eq!(asked, [(vec![1], 1), (vec![2], 2), (vec![3], 3), (vec![4], 4)]);
}

/// A causal posterior: logits at a place depend on all tokens before it, masks included, and on nothing else.
struct Prefix;

impl Prefix {
    fn logits_after(text: &[u32]) -> [f32; 5] {
        let state = text
            .iter()
            .fold(7_u64, |h, t| (h ^ u64::from(*t)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23));
        std::array::from_fn(|token| ((state >> (8 * token)) & 0xff) as f32 / 80.0)
    }
}

impl Posterior for Prefix {
    type Error = Infallible;

    fn logits(&mut self, asks: &[Ask<'_>]) -> Result<Vec<f32>, Infallible> {
        let places = asks.iter().flat_map(|ask| ask.places.iter().map(|place| &ask.canvas.tokens[..*place]));
        Ok(places.flat_map(Self::logits_after).collect())
    }
}

/// A prompt of one token and room for `room`, as text that is written from left to right has it.
fn room(number: u64, room: usize) -> Canvas {
    let tokens = [vec![3], vec![u32::MAX; room]].concat();
    Canvas { editable: (0..=room).map(|i| i > 0).collect(), tokens, number }
}

/// Writes canvases of these numbers together, stopping at token 2 if `ends`.
fn write_rooms(
    kind: SamplerKind,
    temperature: f64,
    numbers: &[u64],
    length: usize,
    ends: bool,
) -> (Vec<Canvas>, Vec<usize>) {
    let mut canvases: Vec<Canvas> = numbers.iter().map(|number| room(*number, length)).collect();
    let blocks = vec![std::iter::once(1..length + 1).collect::<Vec<_>>(); canvases.len()];
    let ends: &[u32] = if ends { &[2] } else { &[] };
    let (sampler, rules) = (sampler(kind, temperature), rules(true));
    let passes =
        sample_canvases_in_blocks(&mut canvases, &blocks, ends, &sampler, &rules, &mut Prefix).unwrap();
    (canvases, passes)
}

#[test]
fn drafts_change_no_greedy_token_and_save_passes() {
    let numbers = [0, 1, 2];
    for ends in [false, true] {
        let (expected, alone) = write_rooms(SamplerKind::Autoregressive, 0.0, &numbers, 24, ends);
        for stride in [1, 2, 3, 7, 40] {
            let (found, passes) = write_rooms(SamplerKind::Speculative { stride }, 0.0, &numbers, 24, ends);
            assert_eq!(found, expected, "stride {stride}");
            assert!(passes.iter().zip(&alone).all(|(with, without)| with <= without), "{passes:?} {alone:?}");
        }
    }
}

/// 20,000 texts of three tokens against their law by enumeration: within five standard deviations each.
#[test]
fn drafted_texts_have_the_law_of_texts_that_are_written_token_by_token() {
    let n = 20_000;
    let filter = LogitFilter::new(&sampler(SamplerKind::Autoregressive, 1.0), &rules(true));
    let numbers: Vec<u64> = (0..n).collect();
    for stride in [1, 2, 3] {
        let (found, _) = write_rooms(SamplerKind::Speculative { stride }, 1.0, &numbers, 3, false);
        let mut counts = std::collections::HashMap::new();
        for canvas in &found {
            *counts.entry(canvas.tokens[1..].to_vec()).or_insert(0_u32) += 1;
        }
        for text in (0..64_u32).map(|i| vec![i / 16, i / 4 % 4, i % 4]) {
            let p: f64 = (0..3)
                .map(|i| {
                    let before = [&[3], &text[..i]].concat();
                    filter.probabilities(&Prefix::logits_after(&before))[text[i] as usize]
                })
                .product();
            let (mean, deviation) = (n as f64 * p, (n as f64 * p * (1.0 - p)).sqrt());
            let count = f64::from(counts.get(&text).copied().unwrap_or(0));
            assert!(
                (count - mean).abs() <= 5.0 * deviation + 1.0,
                "stride {stride}, {text:?}: {count}, expected {mean}"
            );
        }
        // Alone, a text is the same as among others.
        assert_eq!(write_rooms(SamplerKind::Speculative { stride }, 1.0, &[77], 3, false).0[0], found[77]);
    }
}
