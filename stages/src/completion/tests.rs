//! Tests of block-by-block writing: where blocks begin and end, and that later blocks do not change earlier ones.

use super::*;
use crate::backbone::tests::tiny;
use crate::backbone::{Attention, Backbone, Qwen3Config, TimeConditioning};
use crate::device;
use fmflow_engine::pipeline::config::FilterOrder;
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
    CompletionRequest { prefix, length, suffix: Vec::new() }
}

fn sampler(kind: SamplerKind, block: Option<usize>) -> Sampler {
    Sampler {
        name: "test".into(),
        kind,
        temperature: 1.0,
        top_k: None,
        top_p: None,
        order: FilterOrder::TopKFirst,
        block,
    }
}

#[test]
fn blocks_are_those_of_the_document_or_of_the_answer() {
    let own = model(Attention::BlockCausal { block: 4 }, false);
    let found = |prefix, length, size, model| split_answer_into_blocks(&request(prefix, length), size, model);
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
        for kind in [
            SamplerKind::Confidence { steps: 2 },
            SamplerKind::Euler { steps: 3, kernel: EulerKernel::Exact },
        ] {
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
        let sampler = sampler(SamplerKind::Confidence { steps: 2 }, Some(block));
        complete_requests(&model, &[request(6, 8)], &sampler, 1, 1)
    };
    assert!(ask(4).is_ok() && ask(1).is_ok());
    for block in [3, 8] {
        let failure = ask(block).unwrap_err();
        assert!(failure.message.contains("blocks of 4"), "{}", failure.message);
    }
}
