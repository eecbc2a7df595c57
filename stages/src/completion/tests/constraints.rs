//! Answers that have to match: for every kind of sampler that keeps constraints, with and without a cache, in any batch.

use fmflow_engine::pipeline::config::{Constraint, ConstraintSource};

use super::*;
use crate::data::tokenizer::tests::small;
use crate::model::ModelTokenizer;

/// A model with random weights that writes text, under an attention; if that is causal, with strides.
fn writer(attention: Attention, shift: bool) -> Model {
    let tokenizer = small();
    let rows = tokenizer.rows() as usize;
    let config = Qwen3Config { max_position_embeddings: 256, vocab_size: rows, ..tiny(true) };
    let backbone =
        Backbone::new(&config, TimeConditioning::None, 1, &device::open_device("cpu").unwrap()).unwrap();
    let mask_token = Some(tokenizer.used());
    let stride = (attention == Attention::Causal).then_some(3);
    let contract = Contract {
        kind: ModelKind::Flow,
        mask_token,
        attention,
        shift,
        stride,
        ..Contract::autoregressive()
    };
    let text = Some(ModelTokenizer { tokenizer, files: Vec::new() });
    Model { backbone, contract, origins: Default::default(), text, generation: None, certificate: None }
}

fn constrained(kind: SamplerKind, block: Option<usize>, source: &ConstraintSource) -> Sampler {
    Sampler { constraint: Some(Constraint::new(source.clone()).unwrap()), ..sampler(kind, block) }
}

/// Samplers that keep constraints and fit the model.
fn kinds(model: &Model) -> Vec<SamplerKind> {
    let drafting = model.contract.stride.map(|stride| SamplerKind::Speculative { stride });
    let writers = block_writers().into_iter().filter(|kind| !matches!(kind, SamplerKind::Euler { .. }));
    writers.chain([SamplerKind::Autoregressive]).chain(drafting).collect()
}

fn sources() -> [ConstraintSource; 3] {
    let schema = r#"{"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "é"]}}, "required": ["b"]}"#;
    [
        ConstraintSource::Regex("[0-9]+(?:\\.[0-9]{2})?".to_owned()),
        ConstraintSource::Regex("(?:héllo|😀)( wörld){0,9}".to_owned()),
        ConstraintSource::JsonSchema(schema.to_owned()),
    ]
}

/// Requests of unequal lengths; one has text behind its gap, which it has to fill: 20 tokens of one byte are `héllo` and two `wörld`.
fn asked(model: &Model) -> Vec<CompletionRequest> {
    let encode = |text: &str| model.tokenizer().unwrap().encode_plain(text).unwrap();
    let shapes = [("The river", 40, ""), ("a", 31, ""), ("It is ", 20, " of"), ("0123456789", 50, "")];
    let ask = |(prefix, length, suffix): (&str, usize, &str)| CompletionRequest {
        prefix: encode(prefix),
        length,
        given: Vec::new(),
        grow: None,
        suffix: encode(suffix),
    };
    shapes.into_iter().map(ask).collect()
}

#[test]
fn every_answer_matches_with_and_without_a_cache_in_any_batch() {
    for (attention, shift) in [
        (Attention::Bidirectional, false),
        (Attention::BlockCausal { block: 4 }, true),
        (Attention::Causal, true),
    ] {
        let model = writer(attention, shift);
        let (requests, ends) = (asked(&model), model.ends());
        for (kind, source) in
            kinds(&model).into_iter().flat_map(|kind| sources().map(|source| (kind, source)))
        {
            let sampler = constrained(kind, Some(4), &source);
            let whole = sampler.constraint.as_ref().unwrap().automaton();
            let answer = |cache, asked: &[CompletionRequest]| {
                let sampler = Sampler { cache, ..sampler.clone() };
                complete_requests(&model, asked, &sampler, 5, 1).unwrap().completions
            };
            let all = answer(SamplerCache::None, &requests);
            for (completion, request) in all.iter().zip(&requests) {
                let ends = if request.suffix.is_empty() { ends.as_slice() } else { &[] };
                let text = model.tokenizer().unwrap().decode(completion.until_end(ends), true).unwrap();
                assert!(whole.accepts(text.as_bytes()), "{attention:?} {kind:?} {source:?}: {text:?}");
            }
            for (numbered, completion) in (0..).zip(&requests).zip(&all) {
                let alone = complete_listed(&model, &[numbered], &sampler, (5, 1)).unwrap();
                assert_eq!(alone.first(), Some(completion), "{attention:?} {kind:?} {source:?}");
            }
            if attention != Attention::Bidirectional {
                assert_eq!(answer(SamplerCache::Exact, &requests), all, "{attention:?} {kind:?} {source:?}");
            }
        }
    }
}

#[test]
fn what_cannot_be_kept_is_told_before_the_first_pass() {
    let model = writer(Attention::Bidirectional, false);
    let requests = asked(&model);
    let fail = |kind, pattern: &str, asked: &CompletionRequest| {
        let sampler = constrained(kind, None, &ConstraintSource::Regex(pattern.to_owned()));
        let failure = complete_requests(&model, std::slice::from_ref(asked), &sampler, 1, 1).unwrap_err();
        assert_eq!(failure.kind, fmflow_engine::error::FailureKind::Input);
        failure.message
    };
    let long = "[0-9]{90}x{400}";
    assert_eq!(
        fail(confidence(2), long, &requests[0]),
        "no text of at most 40 tokens matches the constraint of sampler `test`"
    );
    assert_eq!(
        fail(confidence(2), "x", &requests[2]),
        "no text of exactly 20 tokens matches the constraint of sampler `test`"
    );
    let euler = SamplerKind::Euler { passes: 3, kernel: EulerKernel::Exact };
    assert_eq!(
        fail(euler, "x", &requests[0]),
        "sampler `test` rewrites what it has written, so that it keeps no constraint"
    );
    let gaps =
        CompletionRequest { given: vec![GivenTokens { start: 2, tokens: vec![70] }], ..requests[0].clone() };
    assert!(fail(confidence(2), "x*", &gaps).contains("several gaps"));
}
