//! Tests of block-by-block writing: where blocks begin and end, and that later blocks do not change earlier ones.

mod constraints;
mod frozen;
mod growing;

use std::ops::Range;

use super::canvases::split_answer_into_blocks;
use super::*;
use crate::answer::choose_length;
use crate::backbone::tests::tiny;
use crate::backbone::{Attention, Backbone, Parameter, Qwen3Config, TimeConditioning};
use crate::device;
use crate::flow::kernel::EulerKernel;
use crate::flow::sampler::{Ask, Canvas, Posterior, RankedLaw};
use fmflow_engine::pipeline::config::{Certainty, SamplerCache, SamplerKind};
use fmflow_engine::pipeline::contract::{Contract, ModelKind};

fn model(attention: Attention, shift: bool) -> Model {
    let config = Qwen3Config { max_position_embeddings: 64, ..tiny(true) };
    let backbone =
        Backbone::new(&config, TimeConditioning::None, 1, &device::open_device("cpu").unwrap()).unwrap();
    let contract = Contract::autoregressive();
    let contract = Contract { kind: ModelKind::Flow, mask_token: Some(39), attention, shift, ..contract };
    Model { backbone, contract, origins: Default::default(), text: None, generation: None, certificate: None }
}

fn request(prefix: usize, length: usize) -> CompletionRequest {
    let prefix = (0..prefix as u32).map(|i| (i * 5 + 1) % 39).collect();
    CompletionRequest { prefix, length, ..CompletionRequest::default() }
}

pub(super) fn sampler(kind: SamplerKind, block: Option<usize>) -> Sampler {
    Sampler { block, ..Sampler::new("test", kind) }
}

pub(super) fn confidence(passes: usize) -> SamplerKind {
    SamplerKind::Reveal { passes, by: Certainty::Confidence }
}

#[test]
fn blocks_are_those_of_the_document_or_of_the_answer() {
    let own = model(Attention::BlockCausal { block: 4 }, false);
    let found =
        |prefix, length, size, model| split_answer_into_blocks(&request(prefix, length), Some(size), model);
    assert_eq!(found(6, 7, 4, &own), [6..8, 8..12, 12..13]);
    assert_eq!(found(8, 5, 4, &own), [8..12, 12..13]);
    assert_eq!(found(5, 6, 2, &own), [5..6, 6..8, 8..10, 10..11]);
    assert_eq!(found(5, 0, 4, &own), Vec::<Range<usize>>::new());
    let free = model(Attention::Bidirectional, false);
    assert_eq!(found(6, 7, 4, &free), [6..10, 10..13]);
}

#[test]
fn later_blocks_do_not_change_finished_ones() {
    for shift in [false, true] {
        let model = model(Attention::BlockCausal { block: 4 }, shift);
        for kind in [confidence(2), SamplerKind::Euler { passes: 3, kernel: EulerKernel::Exact }] {
            for block in [None, Some(2)] {
                let tokens = |length| {
                    let sampler = sampler(kind, block);
                    let answers = complete_requests(&model, &[request(6, length)], &sampler, 1, 1).unwrap();
                    answers.completions.into_iter().next().unwrap().tokens
                };
                let long = tokens(15);
                assert_eq!(long.len(), 15);
                assert!(long.iter().all(|token| *token < 39));
                // Two tokens complete the prompt's block and four make the next. Later tokens change neither.
                for length in [2, 6, 10, 14] {
                    assert_eq!(tokens(length), long[..length], "{kind:?} {block:?} {length}");
                }
            }
        }
    }
}

#[test]
fn blocks_that_the_checkpoint_was_not_trained_on_are_refused() {
    let model = model(Attention::BlockCausal { block: 4 }, false);
    let ask = |block| {
        let sampler = sampler(confidence(2), Some(block));
        complete_requests(&model, &[request(6, 8)], &sampler, 1, 1)
    };
    assert!(ask(4).is_ok() && ask(1).is_ok());
    for block in [3, 8] {
        let failure = ask(block).unwrap_err();
        assert!(failure.message.contains("blocks of 4"), "{}", failure.message);
    }
}

/// Requests of unequal lengths, some with text behind their gap.
fn requests() -> Vec<CompletionRequest> {
    let shapes = [(6, 15, 0), (1, 9, 0), (13, 4, 0), (5, 11, 7), (8, 12, 0), (3, 1, 2), (4, 30, 0)];
    let build = |(number, (prefix, length, suffix)): (usize, (usize, usize, usize))| CompletionRequest {
        prefix: (0..prefix as u32).map(|i| (i * 5 + 3 * number as u32) % 39).collect(),
        length,
        given: Vec::new(),
        grow: None,
        suffix: (0..suffix as u32).map(|i| (i * 7 + number as u32) % 39).collect(),
    };
    shapes.into_iter().enumerate().map(build).collect()
}

/// Samplers that write blocks.
fn block_writers() -> Vec<SamplerKind> {
    vec![
        confidence(3),
        SamplerKind::Reveal { passes: 2, by: Certainty::Margin },
        SamplerKind::Reveal { passes: 2, by: Certainty::Entropy },
        SamplerKind::Threshold { threshold: 0.4 },
        SamplerKind::EntropyBound { bound: 1.0 },
        SamplerKind::Edit { threshold: 0.4, revise: 0.1 },
        SamplerKind::Euler { passes: 3, kernel: EulerKernel::Exact },
    ]
}

#[test]
fn an_exact_cache_changes_no_token_of_any_sampler_in_any_batch() {
    let kinds: Vec<_> = block_writers().into_iter().chain([SamplerKind::Autoregressive]).collect();
    for (attention, shift) in [
        (Attention::BlockCausal { block: 4 }, false),
        (Attention::BlockCausal { block: 4 }, true),
        (Attention::BlockCausal { block: 1 }, false),
        (Attention::Causal, true),
    ] {
        let model = model(attention, shift);
        for (kind, block) in kinds.iter().flat_map(|kind| [(*kind, None), (*kind, Some(1))]) {
            let answer = |cache, seed, asked: &[CompletionRequest]| {
                let sampler = Sampler { cache, ..sampler(kind, block) };
                complete_requests(&model, asked, &sampler, seed, 1).unwrap().completions
            };
            for seed in [1, 2] {
                let (all, cached) = (
                    answer(SamplerCache::None, seed, &requests()),
                    answer(SamplerCache::Exact, seed, &requests()),
                );
                assert_eq!(all, cached, "{attention:?} {shift} {kind:?} {block:?}");
                // The first request alone, and among others: its number is 0 in both.
                let alone = answer(SamplerCache::Exact, seed, &requests()[..1]);
                assert_eq!(alone[0], all[0], "{attention:?} {shift} {kind:?} {block:?}");
            }
        }
    }
}

#[test]
fn the_default_keeps_what_an_exact_cache_may_keep() {
    let keeps = |attention, kind, cache| {
        let sampler = Sampler { cache, ..sampler(kind, None) };
        find_cache(&model(attention, true), &sampler) == KeptCache::Exact
    };
    let own = Attention::BlockCausal { block: 4 };
    for attention in [own, Attention::Causal, Attention::Bidirectional] {
        let exact = attention != Attention::Bidirectional;
        assert_eq!(keeps(attention, confidence(2), SamplerCache::Auto), exact, "{attention:?}");
        assert!(keeps(attention, SamplerKind::Autoregressive, SamplerCache::Auto));
        assert!(!keeps(attention, confidence(2), SamplerCache::None));
    }
}

/// Logits of a posterior at all places of each block in turn, each of them asked twice: with noise behind it, and finished.
fn walk(model: &Model, tokens: &[Vec<u32>], size: usize, cached: bool) -> Vec<Vec<u32>> {
    let posterior = BackbonePosterior::new(&model.backbone, model.attention(), model.contract.shift);
    let mut posterior = if cached { posterior.with_cache().unwrap() } else { posterior };
    let longest = tokens.iter().map(Vec::len).max().unwrap();
    let mut found = Vec::new();
    for start in (0..longest).step_by(size) {
        for noisy in [true, false] {
            let canvas = |(number, tokens): (usize, &Vec<u32>)| {
                let noise = |i: usize, token: u32| if noisy && i >= start + size / 2 { 39 } else { token };
                let tokens: Vec<u32> = tokens.iter().enumerate().map(|(i, t)| noise(i, *t)).collect();
                Canvas { editable: vec![true; tokens.len()], tokens, number: number as u64 }
            };
            let canvases: Vec<Canvas> = tokens.iter().enumerate().map(canvas).collect();
            let open = canvases.iter().filter(|canvas| canvas.tokens.len() > start);
            let places: Vec<Vec<usize>> =
                open.clone().map(|c| (start..c.tokens.len().min(start + size)).collect()).collect();
            let asks = open.zip(&places).map(|(canvas, places)| Ask {
                canvas,
                row: canvas.number,
                places,
                t: 0.5,
                settled: start,
            });
            let logits = posterior.logits(&asks.collect::<Vec<_>>()).unwrap();
            found.push(logits.iter().map(|logit| logit.to_bits()).collect());
        }
    }
    found
}

#[test]
fn logits_with_a_cache_are_those_without_bit_by_bit() {
    // Rows longer than two tiles of keys, so that prefixes end within tiles and at their ends.
    for (attention, size) in [
        (Attention::BlockCausal { block: 4 }, 4),
        (Attention::BlockCausal { block: 32 }, 32),
        (Attention::BlockCausal { block: 32 }, 8),
        (Attention::Causal, 5),
    ] {
        for shift in [false, true] {
            let model = model(attention, shift);
            let row = |number: u32, length: u32| (0..length).map(|i| (i * i + number * 11) % 39).collect();
            let tokens: Vec<Vec<u32>> = vec![row(0, 150), row(1, 37), row(2, 128), row(3, 1)];
            let (whole, cached) = (walk(&model, &tokens, size, false), walk(&model, &tokens, size, true));
            assert!(whole == cached, "{attention:?}, {size} places at once, shift {shift}");
            let alone = walk(&model, &tokens[..1], size, true);
            let width = 40 * size;
            for (all, alone) in cached.iter().zip(alone) {
                assert!(all[..width.min(alone.len())] == alone[..width.min(alone.len())]);
            }
        }
    }
}

#[test]
fn a_cache_takes_no_more_memory_than_its_rows_need() {
    let backbone = model(Attention::Causal, true).backbone;
    let arrange = |[rows, room]: [usize; 2], next: &[Option<(usize, usize)>], most| {
        let before = KeyValueCache::new(&backbone, rows, room);
        let cache = KeyValueCache::arrange(Some(before), &backbone, next, most);
        (cache.size(), cache.lengths().to_vec())
    };
    // A long row has left, and short ones join: at its length they would take more than the two before.
    assert_eq!(arrange([2, 20], &[Some((1, 5)), None, None], 6), ([3, 6], vec![5, 0, 0]));
    assert_eq!(arrange([3, 20], &[Some((2, 5)), None], 6), ([2, 20], vec![5, 0]));
    assert_eq!(arrange([2, 6], &[Some((0, 6)), None], 9), ([2, 9], vec![6, 0]));
    assert_eq!(arrange([9, 9], &[None], 4), ([1, 4], vec![0]));
}

/// Stops after a number of passes.
struct Patience(usize);

impl Onlooker for Patience {
    fn goes_on(&mut self) -> bool {
        self.0 = self.0.wrapping_sub(1);
        self.0 > 0
    }
}

/// Some of `count` requests join before each pass, up to `arrivals`. `case` says of each its sampler, itself, its seed, and whether it leaves
/// before it is finished; all others get the tokens that they get alone.
fn assert_alone<'r>(
    model: &Model,
    mut work: Together<'_, (usize, Patience)>,
    (count, arrivals): (usize, usize),
    case: impl Fn(usize) -> (Sampler, &'r CompletionRequest, u64, bool),
) {
    let (mut came, mut answered) = (0, 0);
    while answered < count {
        let arrived = (came + 1 + came % arrivals).min(count);
        for i in came..arrived {
            let (sampler, request, seed, impatient) = case(i);
            let patience = Patience(if impatient { 2 + i % 3 } else { usize::MAX });
            work.join((i as u64, request.clone()), (&sampler, seed), (i, patience)).unwrap();
        }
        came = arrived;
        let mut left = Vec::new();
        work.pass(&mut left).unwrap();
        for Left { onlooker: (i, _), completion } in left {
            let (sampler, request, seed, impatient) = case(i);
            let alone = complete_numbered(model, &[(i as u64, request)], &sampler, seed).unwrap();
            assert!(impatient || completion.unwrap() == alone[0], "{i} of {arrivals}: {sampler:?}");
            answered += 1;
        }
    }
    assert_eq!((work.len(), came), (0, count));
}

/// Requests with samplers and seeds of their own join while others are at work, and some leave before they are finished.
#[test]
fn requests_that_join_and_leave_change_no_token_of_others() {
    let kinds = [
        confidence(3),
        SamplerKind::Threshold { threshold: 0.4 },
        SamplerKind::Edit { threshold: 0.4, revise: 0.1 },
        SamplerKind::Euler { passes: 3, kernel: EulerKernel::Exact },
        SamplerKind::Autoregressive,
    ];
    let caches = [SamplerCache::None, SamplerCache::Exact];
    let model = model(Attention::BlockCausal { block: 4 }, true);
    for arrivals in 1..6_usize {
        let requests = requests();
        let case = |i: usize| {
            let sampler = Sampler { cache: caches[i / 3 % 2], ..sampler(kinds[i % kinds.len()], None) };
            (sampler, &requests[i % requests.len()], (i * i) as u64, i % 4 == 3)
        };
        assert_alone(&model, Together::new(&model), (40, arrivals), case);
    }
}

/// Requests that begin alike, together and one after the other: what is shared is not computed again, changes no token, and is bounded.
#[test]
fn beginnings_are_shared_between_requests_and_change_no_token() {
    let body: Vec<u32> = (0..24).map(|i| (i * 11 + 2) % 39).collect();
    let requests: Vec<CompletionRequest> = (0..10_u32)
        .map(|i| {
            let own = (0..i % 4).map(|k| (7 * i + k) % 39);
            let begin = body.iter().copied().take([24, 17, 12, 24, 5][i as usize % 5]);
            let prefix = begin.chain(own).collect();
            CompletionRequest { prefix, length: 5 + i as usize % 6, ..CompletionRequest::default() }
        })
        .collect();
    for (attention, shift) in [
        (Attention::Causal, true),
        (Attention::BlockCausal { block: 4 }, false),
        (Attention::BlockCausal { block: 4 }, true),
        (Attention::BlockCausal { block: 1 }, true),
    ] {
        let model = model(attention, shift);
        let token = KeyValueCache::count_bytes(model.backbone.config());
        for (bytes, room) in [(1 << 20, true), (40 * token, true), (0, false)] {
            let mut work = Together::with_prefixes(&model, bytes);
            let (mut came, mut left) = (0, Vec::new());
            // Two at a time, then one after the other, then all at once.
            for wave in [2, 1, 1, 1, 1, 1, 1, 1, 10, 10] {
                for _ in 0..wave {
                    let kind =
                        [SamplerKind::Autoregressive, SamplerKind::Threshold { threshold: 0.4 }][came % 2];
                    let sampler = Sampler { cache: SamplerCache::Exact, ..sampler(kind, None) };
                    let numbered = (came as u64, requests[came % requests.len()].clone());
                    let onlooker = (came, Patience(usize::MAX));
                    work.join(numbered.clone(), (&sampler, 5), onlooker).unwrap();
                    came += 1;
                }
                // The last wave comes while the one before it is at work.
                let passes = if wave == 10 && came < 29 { 2 } else { usize::MAX };
                for _ in 0..passes {
                    if work.len() == 0 {
                        break;
                    }
                    work.pass(&mut left).unwrap();
                    assert!(work.prefixes().count_tokens() * token <= bytes);
                }
            }
            assert_eq!(left.len(), came);
            for Left { onlooker: (i, _), completion } in left {
                let kind = [SamplerKind::Autoregressive, SamplerKind::Threshold { threshold: 0.4 }][i % 2];
                let request = (i as u64, &requests[i % requests.len()]);
                let alone = complete_numbered(&model, &[request], &sampler(kind, None), 5).unwrap();
                assert_eq!(completion.unwrap(), alone[0], "{attention:?} {shift} {bytes} {i}");
            }
            // Without room something is shared nevertheless: with those at work.
            let shared = work.prefixes().shared();
            assert!(shared > if room { 100 } else { 0 }, "{attention:?} {shift} {bytes}: {shared}");
        }
    }
}

impl<O: Onlooker> Onlooker for (usize, O) {
    fn goes_on(&mut self) -> bool {
        self.1.goes_on()
    }
}

/// The mean log-likelihood of the most probable tokens of a gap of masks, in one pass over the whole text.
fn judge_masks(model: &Model, request: &CompletionRequest) -> (Vec<u32>, f64) {
    let prefix = request.prefix.len();
    let tokens = [request.prefix.as_slice(), &vec![39; request.length], &request.suffix].concat();
    let gap = |i: &usize| (prefix..prefix + request.length).contains(i);
    let places: Vec<usize> = (0..tokens.len()).filter(gap).collect();
    let canvas = Canvas { editable: (0..tokens.len()).map(|i| gap(&i)).collect(), tokens, number: 0 };
    let ask = Ask { canvas: &canvas, row: canvas.number, places: &places, t: 0.0, settled: prefix };
    let mut posterior = BackbonePosterior::new(&model.backbone, model.attention(), model.contract.shift);
    let logits = posterior.logits(&[ask]).unwrap();
    let rows = logits.chunks_exact(40).map(|row| {
        // The mask, 39, is not among the tokens that may be written.
        let best = (0..39).fold(0, |best, i| if row[i] > row[best] { i } else { best });
        let all: f64 = row[..39].iter().map(|logit| f64::from(*logit).exp()).sum();
        (best as u32, f64::from(row[best]) - all.ln())
    });
    let (tokens, logs): (Vec<u32>, Vec<f64>) = rows.unzip();
    (tokens, logs.iter().sum::<f64>() / logs.len() as f64)
}

#[test]
fn a_length_is_chosen_by_the_likelihood_of_a_token() {
    let model = model(Attention::Bidirectional, false);
    let sampler = Sampler { temperature: 0.0, ..sampler(confidence(1), None) };
    let mut chosen = std::collections::BTreeSet::new();
    for number in 0..6u32 {
        let request = CompletionRequest {
            prefix: (0..3 + number).map(|i| (i * 5 + 3 * number) % 39).collect(),
            length: 0,
            given: Vec::new(),
            grow: None,
            suffix: (0..number).map(|i| (i * 7 + number) % 39).collect(),
        };
        let judged =
            (2..=9).map(|length| judge_masks(&model, &CompletionRequest { length, ..request.clone() }));
        let (tokens, expected) = judged
            .fold((Vec::new(), f64::NEG_INFINITY), |best, other| if other.1 > best.1 { other } else { best });
        for (first, threads) in [(0, 1), (7, 1), (0, 2)] {
            let found = choose_length(&model, (first, &request), 2..=9, &sampler, (1, threads)).unwrap();
            assert_eq!(found.completion.tokens, tokens, "request {number}");
            assert_eq!(found.completion.passes, 8, "one pass for each length");
            assert!((found.log_likelihood - expected).abs() < 1e-6, "{} {expected}", found.log_likelihood);
        }
        chosen.insert(tokens.len());
    }
    assert!(chosen.len() > 1, "not always the same length: {chosen:?}");
}

#[test]
fn looking_on_changes_no_token() {
    for kind in [
        confidence(3),
        SamplerKind::Threshold { threshold: 0.4 },
        SamplerKind::Edit { threshold: 0.4, revise: 0.1 },
    ] {
        let model = model(Attention::BlockCausal { block: 4 }, false);
        let sampler = sampler(kind, None);
        let request = request(6, 9);
        let alone = complete_requests(&model, std::slice::from_ref(&request), &sampler, 3, 1).unwrap();
        let judged = choose_length(&model, (0, &request), 9..=9, &sampler, (3, 1)).unwrap();
        assert_eq!(judged.completion, alone.completions[0], "{kind:?}");
        assert!(judged.log_likelihood < 0.0 && judged.log_likelihood.is_finite());
    }
}

/// The laws of written tokens, by the number of the canvas and the place.
#[derive(Clone, Debug, Default, PartialEq)]
struct LawBook(std::collections::BTreeMap<(u64, usize), RankedLaw>);

impl Onlooker for LawBook {
    fn wants_laws(&self) -> Option<usize> {
        Some(3)
    }

    fn ranked(&mut self, canvas: &Canvas, place: usize, law: RankedLaw) {
        assert_eq!(canvas.tokens[place], law.token);
        self.0.insert((canvas.number, place), law);
    }
}

/// The log-probabilities of what may be written at `place` behind `text`, by a pass over nothing but that.
fn compute_law(model: &Model, text: &[u32], next: bool) -> Vec<f64> {
    let place = text.len();
    let canvas = Canvas { tokens: [text, &[39]].concat(), editable: vec![false; place + 1], number: 0 };
    let ask = Ask { canvas: &canvas, row: 0, places: &[place], t: 0.0, settled: 0 };
    let attention = if next { Attention::Causal } else { model.attention() };
    let shift = next || model.contract.shift;
    let logits = BackbonePosterior::new(&model.backbone, attention, shift).logits(&[ask]).unwrap();
    let all: f64 = logits[..39].iter().map(|logit| f64::from(*logit).exp()).sum();
    logits[..39].iter().map(|logit| f64::from(*logit) - all.ln()).collect()
}

#[test]
fn laws_are_those_of_a_pass_over_the_text_before_in_any_batch() {
    let strides = {
        let mut model = model(Attention::Causal, true);
        model.contract.stride = Some(3);
        model
    };
    let single = model(Attention::BlockCausal { block: 1 }, false);
    let (next, drafted) = (SamplerKind::Autoregressive, SamplerKind::Speculative { stride: 3 });
    for (model, kind, temperature) in [
        (&strides, next, 1.0),
        (&strides, drafted, 1.0),
        (&strides, drafted, 0.0),
        (&single, SamplerKind::Threshold { threshold: 0.9 }, 1.0),
        (&single, confidence(2), 1.0),
    ] {
        let numbered: Vec<CompletionRequest> = requests();
        let numbered: Vec<(u64, &CompletionRequest)> = (0..).zip(&numbered).collect();
        let ask = |cache, asked: &[(u64, &CompletionRequest)]| {
            let sampler = Sampler { cache, temperature, top_k: Some(5), ..sampler(kind, None) };
            assert!(sampler.has_token_law(model.block()));
            let found = complete_batches(model, asked, &sampler, (3, 1), LawBook::default).unwrap();
            found.into_iter().next().unwrap()
        };
        let (completions, book) = ask(SamplerCache::None, &numbered);
        assert_eq!(book, ask(SamplerCache::Exact, &numbered).1, "{kind:?}");
        let mut written = 0;
        for ((number, request), completion) in numbered.iter().zip(&completions) {
            let alone = ask(SamplerCache::Exact, &[(*number, *request)]).1;
            let own = |place: &usize| book.0.get(&(*number, *place)).cloned();
            let text = [request.prefix.as_slice(), &completion.tokens].concat();
            for place in request.prefix.len()..text.len() {
                let law = own(&place).unwrap();
                assert_eq!(alone.0[&(*number, place)], law, "{kind:?}");
                let direct = compute_law(model, &text[..place], model.contract.stride.is_some());
                assert_eq!(law.token, text[place]);
                assert!((direct[text[place] as usize] - law.log_probability).abs() < 1e-9, "{kind:?}");
                let larger = direct.iter().filter(|log| **log > law.top[2].1 + 1e-9).count();
                assert!(law.top.len() == 3 && larger == 2 && law.top.is_sorted_by(|a, b| a.1 >= b.1));
                written += 1;
            }
        }
        assert_eq!(book.0.len(), written, "laws of nothing else: {kind:?}");
        if temperature == 0.0 {
            // Greedy text and its laws do not depend on drafts.
            let plain = Sampler { temperature, ..sampler(next, None) };
            let plain = complete_batches(model, &numbered, &plain, (9, 1), LawBook::default).unwrap();
            assert_eq!(plain[0].1, book);
        }
    }
}

/// Stops after a number of passes, and notes what is settled.
struct Stopper {
    passes: usize,
    settled: Vec<usize>,
}

impl Onlooker for Stopper {
    fn goes_on(&mut self) -> bool {
        self.passes = self.passes.saturating_sub(1);
        self.passes > 0
    }

    fn settled(&mut self, _: &Canvas, end: usize) {
        self.settled.push(end);
    }
}

#[test]
fn what_is_settled_when_an_answer_is_stopped_stays() {
    let model = model(Attention::BlockCausal { block: 4 }, false);
    for kind in [confidence(3), SamplerKind::Threshold { threshold: 0.9 }, SamplerKind::Autoregressive] {
        let (sampler, request) = (sampler(kind, None), request(6, 15));
        let ask = |passes| {
            let mut stopper = Stopper { passes, settled: Vec::new() };
            let found = complete_watched(&model, (0, &request), &sampler, 1, &mut stopper).unwrap();
            (found.tokens, stopper.settled)
        };
        let (whole, all) = ask(usize::MAX);
        assert_eq!(all.last(), Some(&21), "{kind:?}");
        assert!(all.is_sorted_by(|a, b| a < b) && all.len() > 3, "{kind:?} {all:?}");
        for passes in 2..8 {
            let (tokens, settled) = ask(passes);
            assert_eq!(settled, all[..settled.len()], "{kind:?} {passes}");
            let count = settled.last().map_or(0, |end| end - 6);
            assert!(count < 15 && tokens[..count] == whole[..count], "{kind:?} {passes}");
        }
    }
}

#[test]
fn packed_weights_change_no_bit() {
    let model = model(Attention::BlockCausal { block: 4 }, true);
    let row = |number: u32, length: u32| (0..length).map(|i| (i * i + number * 11) % 39).collect();
    let tokens: Vec<Vec<u32>> = vec![row(0, 61), row(1, 37), row(2, 2)];
    let packed = model.clone().for_text();
    for cached in [false, true] {
        assert!(walk(&model, &tokens, 4, cached) == walk(&packed, &tokens, 4, cached));
    }
}

#[test]
fn a_cache_that_cannot_be_exact_is_refused() {
    let ask = |attention, time| {
        let model = Model {
            backbone: Backbone::new(&tiny(true), time, 1, &device::open_device("cpu").unwrap()).unwrap(),
            ..model(attention, false)
        };
        let sampler = Sampler { cache: SamplerCache::Exact, ..sampler(confidence(2), None) };
        complete_requests(&model, &[request(6, 8)], &sampler, 1, 1).map(|_| ()).map_err(|e| e.message)
    };
    let block = Attention::BlockCausal { block: 4 };
    assert_eq!(ask(block, TimeConditioning::None), Ok(()));
    assert!(ask(Attention::Bidirectional, TimeConditioning::None).unwrap_err().contains("both directions"));
    assert!(ask(block, TimeConditioning::AdaLn { rank: 2 }).unwrap_err().contains("conditioned on the time"));
}

#[test]
fn logits_that_are_not_finite_are_an_error_that_names_the_request() {
    let config = Qwen3Config { max_position_embeddings: 64, ..tiny(false) };
    let cpu = device::open_device("cpu").unwrap();
    let backbone = Backbone::new(&config, TimeConditioning::None, 1, &cpu).unwrap();
    // Only texts with token 38 see it: the head is not tied.
    let backbone = backbone.map(|name, parameter| {
        let mut values: Vec<f32> = parameter.flat().try_into_vec_as().unwrap();
        if name == "model.embed_tokens.weight" {
            values[38 * 16..39 * 16].fill(f32::NAN);
        }
        Parameter::new(&parameter.shape(), values, &cpu).unwrap()
    });
    let model = Model { backbone: backbone.unwrap(), ..model(Attention::BlockCausal { block: 4 }, false) };
    let mut asked = vec![request(6, 8), request(5, 8), request(6, 8)];
    asked[1].prefix[2] = 38;
    for (kind, cache) in [
        (confidence(2), SamplerCache::None),
        (confidence(2), SamplerCache::Exact),
        (SamplerKind::Autoregressive, SamplerCache::Exact),
    ] {
        let sampler = Sampler { cache, ..sampler(kind, None) };
        let failure = complete_requests(&model, &asked, &sampler, 1, 1).unwrap_err();
        assert!(failure.message.contains("not finite for request 2"), "{}", failure.message);
        // Together with others, only that request fails.
        let mut work = Together::new(&model);
        for (number, request) in asked.iter().enumerate() {
            let onlooker = (number, Patience(usize::MAX));
            work.join((number as u64, request.clone()), (&sampler, 1), onlooker).unwrap();
        }
        let mut found = Vec::new();
        while work.len() > 0 {
            let mut left = Vec::new();
            work.pass(&mut left).unwrap();
            found.extend(left.into_iter().map(|left| (left.onlooker.0, left.completion.is_ok())));
        }
        found.sort_unstable();
        assert_eq!(found, [(0, true), (1, false), (2, true)], "{kind:?} {cache:?}");
    }
}
