//! Tests of the samplers against posteriors with a known answer.

use std::convert::Infallible;

use fmflow_engine::pipeline::config::{FilterOrder, RemaskSettings};

use super::*;

const MASK: u32 = 4;

/// A posterior that does not depend on x_t: the same logits everywhere.
struct Fixed([f32; 5]);

impl Posterior for Fixed {
    type Error = Infallible;

    fn logits(&mut self, _: &[Canvas], places: &[(usize, usize)], _: f64) -> Result<Vec<f32>, Infallible> {
        Ok(places.iter().flat_map(|_| self.0).collect())
    }
}

/// A uniform posterior that passes its inputs to a closure.
struct Watch<F>(F);

impl<F: FnMut(&[Canvas], &[(usize, usize)])> Posterior for Watch<F> {
    type Error = Infallible;

    fn logits(&mut self, c: &[Canvas], places: &[(usize, usize)], _: f64) -> Result<Vec<f32>, Infallible> {
        (self.0)(c, places);
        Ok(vec![0.0; places.len() * 5])
    }
}

fn sampler(kind: SamplerKind, temperature: f64) -> Sampler {
    Sampler {
        name: "test".into(),
        kind,
        temperature,
        top_k: None,
        top_p: None,
        order: FilterOrder::TopKFirst,
        block: None,
    }
}

fn euler(steps: usize) -> SamplerKind {
    SamplerKind::Euler { steps, kernel: EulerKernel::Exact }
}

fn rules(mask_source: bool) -> SamplerRules {
    let scheduler = Scheduler::Polynomial { exponent: 1.0 };
    let mask_share = f64::from(u8::from(mask_source));
    SamplerRules { mask: MASK, used: 5, scheduler, mask_share, kernel: EulerKernel::Exact, seed: 1 }
}

fn canvas(number: u64, length: usize) -> Canvas {
    let mut canvas = Canvas { tokens: vec![MASK; length], editable: vec![true; length], number };
    (canvas.tokens[0], canvas.editable[0]) = (3, false);
    canvas
}

#[test]
fn every_method_fills_what_is_editable_and_nothing_else() {
    for kind in [
        SamplerKind::Confidence { steps: 1 },
        SamplerKind::Confidence { steps: 3 },
        SamplerKind::Confidence { steps: 50 },
        euler(1),
        euler(7),
    ] {
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
    let look = |c: &[Canvas], places: &[(usize, usize)]| {
        assert!(places.iter().all(|&(canvas, i)| c[canvas].tokens[i] == MASK));
        let now: Vec<Vec<u32>> = c.iter().map(|c| c.tokens.clone()).collect();
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
    let count = |c: &[Canvas]| c.iter().flat_map(|c| &c.tokens).filter(|&&t| t == MASK).count();
    let look = |c: &[Canvas], _: &[(usize, usize)]| seen.push(count(c));
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
    let masks = |canvas: &Canvas| canvas.tokens.iter().filter(|&&t| t == MASK).count();
    let look = |c: &[Canvas], _: &[(usize, usize)]| seen.push([masks(&c[0]), masks(&c[1])]);
    let sampler = sampler(SamplerKind::Confidence { steps: 4 }, 0.0);
    sample_canvases(&mut canvases, &sampler, &rules(true), &mut Watch(look)).unwrap();
    assert_eq!(seen, [[10, 2], [7, 1], [5, 1], [2, 0]]);
}

/// Records every canvas that it receives.
struct Seen(Vec<Vec<Canvas>>);

impl Posterior for Seen {
    type Error = Infallible;

    fn logits(&mut self, c: &[Canvas], places: &[(usize, usize)], _: f64) -> Result<Vec<f32>, Infallible> {
        self.0.push(c.to_vec());
        Ok(vec![0.0; places.len() * 5])
    }
}

#[test]
fn blocks_are_written_from_left_to_right_and_then_stay() {
    for kind in [SamplerKind::Confidence { steps: 3 }, euler(3)] {
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
        assert_eq!(passes, seen.0.len());
        assert!(passes > 3 && passes <= 9, "{kind:?} {passes}");
        for (row, blocks) in blocks.iter().enumerate() {
            let last = &canvases[row].tokens;
            for shown in &seen.0 {
                let masked = |range: &Range<usize>| shown[row].tokens[range.clone()].contains(&MASK);
                let open = blocks.iter().position(masked).unwrap_or(blocks.len());
                for (number, range) in blocks.iter().enumerate() {
                    let now = &shown[row].tokens[range.clone()];
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
    for kind in [SamplerKind::Confidence { steps: 4 }, euler(4)] {
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
    let sampler = sampler(SamplerKind::Confidence { steps: 2 }, 0.0);
    let passes =
        sample_canvases_in_blocks(&mut canvases, &blocks, &[2], &sampler, &rules(true), &mut posterior)
            .unwrap();
    assert_eq!(passes, 6, "the second canvas takes three blocks of two steps");
    assert_eq!(canvases[0].tokens, [3, 2, 2, 2, MASK, MASK, MASK, MASK, MASK, MASK]);
    assert_eq!(canvases[1].tokens, [3, 2, 2, 2, 2, 2, 2, 2, 2, 3]);
}
