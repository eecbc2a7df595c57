//! Gaps that grow, of a backbone that draws the tokens of growth.

use fmflow_engine::pipeline::config::GrowthTokens;

use super::*;

/// A checkpoint whose text grows, in which nothing was learned.
fn growing() -> Model {
    let mut model = model(Attention::Bidirectional, false);
    model.contract.growth = Some(GrowthTokens { expand: 38, delete: 37 });
    model
}

fn requests() -> Vec<CompletionRequest> {
    let shape = |(number, (length, suffix)): (usize, (usize, usize))| CompletionRequest {
        prefix: (0..3 + number as u32).map(|i| (i * 5 + 3 * number as u32) % 37).collect(),
        length,
        given: Vec::new(),
        grow: Some(12),
        suffix: (0..suffix as u32).map(|i| (i * 7 + number as u32) % 37).collect(),
    };
    [(9, 4), (14, 0), (3, 6), (20, 2), (1, 1), (16, 3)].into_iter().enumerate().map(shape).collect()
}

#[test]
fn a_gap_grows_alike_alone_and_among_others() {
    let (model, requests) = (growing(), requests());
    let (mut longer, mut shorter) = (0, 0);
    for kind in [SamplerKind::Threshold { threshold: 0.05 }, SamplerKind::EntropyBound { bound: 9.0 }] {
        let sampler = Sampler { temperature: 1.0, ..sampler(kind, None) };
        for seed in 1..7 {
            let all = complete_requests(&model, &requests, &sampler, seed, 1).unwrap().completions;
            let mut work = Together::new(&model);
            for (number, request) in requests.iter().enumerate() {
                work.join((number as u64, request.clone()), (&sampler, seed), number_of(number)).unwrap();
                let mut left = Vec::new();
                work.pass(&mut left).unwrap();
                assert_alike(&all, left);
            }
            while work.len() > 0 {
                let mut left = Vec::new();
                work.pass(&mut left).unwrap();
                assert_alike(&all, left);
            }
            for (number, (request, found)) in requests.iter().zip(&all).enumerate() {
                let alone = complete_numbered(&model, &[(number as u64, request)], &sampler, seed).unwrap();
                assert_eq!(alone[0], *found);
                assert!(found.tokens.len() <= request.length + 12);
                assert!(found.tokens.iter().all(|token| *token < 37), "{:?}", found.tokens);
                longer += usize::from(found.tokens.len() > request.length);
                shorter += usize::from(found.tokens.len() < request.length);
            }
        }
    }
    assert!(longer > 3 && shorter > 0, "{longer} {shorter}");
}

/// Who looks on at a request.
struct Number(usize);

impl crate::flow::sampler::Onlooker for Number {}

fn number_of(number: usize) -> Number {
    Number(number)
}

fn assert_alike(all: &[Completion], left: Vec<Left<Number>>) {
    for Left { onlooker, completion } in left {
        assert_eq!(completion.unwrap(), all[onlooker.0], "request {}", onlooker.0);
    }
}

#[test]
fn what_cannot_grow_is_refused() {
    let ask = |model: &Model, kind, block| {
        let sampler = sampler(kind, block);
        complete_requests(model, &requests(), &sampler, 1, 1).map(drop).map_err(|failure| failure.message)
    };
    let threshold = SamplerKind::Threshold { threshold: 0.5 };
    assert_eq!(ask(&growing(), threshold, None), Ok(()));
    for (kind, block) in [
        (threshold, Some(4)),
        (confidence(3), None),
        (SamplerKind::Edit { threshold: 0.5, revise: 0.1 }, None),
    ] {
        assert!(ask(&growing(), kind, block).unwrap_err().contains("no gap of this text can grow"));
    }
    let untrained = model(Attention::Bidirectional, false);
    assert!(ask(&untrained, threshold, None).unwrap_err().contains("was not trained for text that grows"));
}

/// Without a budget such a checkpoint keeps the lengths that are asked for, with every sampler.
#[test]
fn a_known_length_is_kept() {
    let model = growing();
    let fixed = requests().into_iter().map(|request| CompletionRequest { grow: None, ..request });
    let fixed: Vec<CompletionRequest> = fixed.collect();
    for kind in block_writers() {
        let sampler = Sampler { temperature: 1.0, ..sampler(kind, None) };
        let found = complete_requests(&model, &fixed, &sampler, 1, 1).unwrap().completions;
        for (request, found) in fixed.iter().zip(&found) {
            assert_eq!(found.tokens.len(), request.length);
            assert!(found.tokens.iter().all(|token| *token < 37), "{kind:?} {:?}", found.tokens);
        }
    }
}
