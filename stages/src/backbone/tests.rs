//! Tests of properties of the forward pass that need no reference implementation.

use super::*;
use crate::device;

pub(crate) fn tiny(tied: bool) -> Qwen3Config {
    Qwen3Config {
        vocab_size: 40,
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        rms_norm_eps: 1e-6,
        rope_theta: 1e4,
        tie_word_embeddings: tied,
        max_position_embeddings: 2048,
        // Large enough for attention and feed-forward to make a visible difference in the tests below.
        initializer_range: 0.3,
        bos_token_id: None,
        eos_token_ids: Vec::new(),
        pad_token_id: None,
    }
}

fn model(time: TimeConditioning) -> Backbone {
    Backbone::new(&tiny(true), time, 1, &device::open_device("cpu").unwrap()).unwrap()
}

fn ids(batch: usize, length: usize) -> Vec<u32> {
    (0..batch * length).map(|i| (i * 7 + i / 5) as u32 % 40).collect()
}

fn hidden(model: &Backbone, ids: &[u32], context: &AttentionContext) -> Vec<f32> {
    let tokens = model.tokens(ids, context.batch).unwrap();
    model.hidden(tokens, context).unwrap().try_into_vec_as().unwrap()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

#[test]
fn a_check_knows_the_parameters_and_their_groups() {
    use fmflow_engine::check::lint::{PARAMETER_GROUPS, TIME_PARAMETER_GROUPS};
    let config = Qwen3Config { num_hidden_layers: 1, ..tiny(false) };
    let mut known: Vec<_> =
        PARAMETER_GROUPS.iter().chain(TIME_PARAMETER_GROUPS).map(|(name, group)| (*name, *group)).collect();
    let names = build_layout(&config, TimeConditioning::AdaLn { rank: 2 });
    let mut there: Vec<_> = names
        .iter()
        .map(|(name, _)| (name.as_str(), crate::train::adamw::find_parameter_group(name)))
        .collect();
    known.sort_unstable();
    there.sort_unstable();
    assert_eq!(known, there);
}

#[test]
fn a_causal_position_ignores_what_follows() {
    let (model, mut ids) = (model(TimeConditioning::None), ids(1, 12));
    let context = AttentionContext::new(Attention::Causal, 1, 12);
    let before = hidden(&model, &ids, &context);
    ids[8] = 39;
    let after = hidden(&model, &ids, &context);
    assert_eq!(distance(&before[..8 * 16], &after[..8 * 16]), 0.0);
    assert!(distance(&before[8 * 16..], &after[8 * 16..]) > 0.01);
    // Blocks of 4 tokens see all of themselves and nothing later; blocks of 1 are causal.
    let blocks = AttentionContext::new(Attention::BlockCausal { block: 4 }, 1, 12);
    let seen = hidden(&model, &ids, &blocks);
    ids[3] = 38;
    let changed = hidden(&model, &ids, &blocks);
    assert!(distance(&seen[..16], &changed[..16]) > 1e-4);
    let single = AttentionContext::new(Attention::BlockCausal { block: 1 }, 1, 12);
    assert_eq!(hidden(&model, &ids, &single), hidden(&model, &ids, &context));
}

#[test]
fn segments_are_separate_documents_and_padding_is_invisible() {
    let (model, ids) = (model(TimeConditioning::None), ids(1, 12));
    let segments: Vec<u32> = [[0; 5].as_slice(), &[1; 4], &[PADDING; 3]].concat();
    let positions = vec![0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 0, 0];
    let packed = AttentionContext::new(Attention::Bidirectional, 1, 12)
        .with_segments(segments)
        .with_positions(positions);
    let packed = hidden(&model, &ids, &packed);
    assert!(packed.iter().all(|x| x.is_finite()));
    for (start, end) in [(0, 5), (5, 9)] {
        let alone = AttentionContext::new(Attention::Bidirectional, 1, end - start);
        let alone = hidden(&model, &ids[start..end], &alone);
        assert!(distance(&packed[start * 16..end * 16], &alone) < 1e-5);
    }
}

#[test]
fn a_long_row_in_query_blocks_equals_its_short_form() {
    // 600 tokens in documents of 200: several tiles of queries and keys; 200 alone: fewer, cut elsewhere.
    let (model, ids) = (model(TimeConditioning::None), ids(1, 600));
    for attention in [Attention::Causal, Attention::Bidirectional] {
        let segments = (0..600).map(|i| (i / 200) as u32).collect();
        let positions = (0..600).map(|i| i % 200).collect();
        let packed =
            AttentionContext::new(attention, 1, 600).with_segments(segments).with_positions(positions);
        let packed = hidden(&model, &ids, &packed);
        for start in [0, 200, 400] {
            let alone = hidden(&model, &ids[start..start + 200], &AttentionContext::new(attention, 1, 200));
            assert!(distance(&packed[start * 16..(start + 200) * 16], &alone) < 1e-4);
        }
    }
}

#[test]
fn time_conditioning_starts_as_the_identity_and_learns() {
    let plain = model(TimeConditioning::None);
    let timed = model(TimeConditioning::AdaLn { rank: 4 });
    let (ids, context) = (ids(2, 6), AttentionContext::new(Attention::Bidirectional, 2, 6));
    let at = context.clone().with_time(vec![0.1, 0.9]);
    assert_eq!(hidden(&plain, &ids, &context), hidden(&timed, &ids, &at));
    let moved = timed.map(|name, p| match name.starts_with("time.layers") {
        true => p.map(|x| x + 0.5),
        false => p,
    });
    assert!(distance(&hidden(&plain, &ids, &context), &hidden(&moved.unwrap(), &ids, &at)) > 0.01);
}

#[test]
fn every_parameter_has_a_gradient_under_its_name() {
    for tied in [true, false] {
        let time = TimeConditioning::AdaLn { rank: 4 };
        let device = device::open_device("cpu").unwrap();
        let model = Backbone::new(&tiny(tied), time, 1, &device).unwrap().trainable().unwrap();
        let context = AttentionContext::new(Attention::Causal, 2, 6).with_time(vec![0.2, 0.7]);
        let hidden = model.hidden(model.tokens(&ids(2, 6), 2).unwrap(), &context).unwrap();
        let logits = model.logits(hidden.reshape([12, 16]));
        let mut gradients = (logits.clone() * logits).sum_dim(1).sum_dim(0).backward();
        let names: Vec<String> = build_layout(&tiny(tied), time).into_iter().map(|(name, _)| name).collect();
        assert!(model.parameters().map(|(name, _)| name).eq(names.iter().map(String::as_str)));
        for (name, parameter) in model.parameters() {
            let gradient = parameter.take_gradient(&mut gradients).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(gradient.dims(), [parameter.count()], "{name}");
        }
        let before = model.parameter("model.norm.weight").unwrap().values().unwrap();
        let next = model.map(|_, p| p.map(|x| x * 2.0)).unwrap();
        let after = next.parameter("model.norm.weight").unwrap();
        assert_eq!(after.values().unwrap(), before.iter().map(|x| 2.0 * x).collect::<Vec<_>>());
        assert!(matches!(after, Parameter::Vector(x) if x.is_require_grad()));
    }
}

#[test]
fn initial_weights_are_a_function_of_the_seed() {
    let device = device::open_device("cpu").unwrap();
    let values = |seed| {
        let model = Backbone::new(&tiny(false), TimeConditioning::None, seed, &device).unwrap();
        model.parameters().map(|(_, p)| p.values().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(values(1), values(1));
    assert_ne!(values(1), values(2));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let model = model(TimeConditioning::None);
    assert_eq!(model.tokens(&[40], 1).err(), Some(BackboneError::Token { id: 40, vocab: 40 }));
    assert!(model.tokens(&[1, 2, 3], 2).is_err());
    let plain = AttentionContext::new(Attention::Causal, 1, 3);
    for context in [
        AttentionContext::new(Attention::Causal, 1, 0),
        AttentionContext::new(Attention::Causal, 2, 3),
        AttentionContext::new(Attention::BlockCausal { block: 0 }, 1, 3),
        plain.clone().with_segments(vec![0; 4]),
        plain.clone().with_positions(vec![0; 2]),
        plain.clone().with_opened(vec![0; 2]),
        AttentionContext::new(Attention::Bidirectional, 1, 3).with_opened(vec![0; 3]),
        plain.clone().with_positions(vec![0; 3]).with_halves(),
        AttentionContext::new(Attention::BlockCausal { block: 1 }, 1, 3).with_halves(),
        AttentionContext::new(Attention::BlockCausal { block: 1 }, 1, 3)
            .with_positions(vec![0, 1, 2])
            .with_halves(),
        plain.with_time(vec![0.5]),
    ] {
        assert!(model.hidden(model.tokens(&[1, 2, 3], 1).unwrap(), &context).is_err(), "{context:?}");
    }
}

#[test]
fn threads_with_their_own_leaves_agree_bit_for_bit() {
    // Shared leaves deadlock within a few dozen rounds; see the top of `backbone.rs`.
    let model = model(TimeConditioning::None).trainable().unwrap();
    let round = |model: &Backbone| {
        let context = AttentionContext::new(Attention::Bidirectional, 2, 16);
        let hidden = model.hidden(model.tokens(&ids(2, 16), 2).unwrap(), &context).unwrap();
        let logits = model.logits(hidden.reshape([32, 16]));
        let mut gradients = (logits.clone() * logits).sum_dim(1).sum_dim(0).backward();
        let taken = model.parameters().map(|(_, p)| p.take_gradient(&mut gradients).unwrap());
        taken.map(|gradient| gradient.try_into_vec_as::<f32>().unwrap()).collect::<Vec<_>>()
    };
    let alone = round(&model);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let own = model.clone().trainable().unwrap();
                (0..60).for_each(|_| assert_eq!(round(&own), alone));
            });
        }
    });
}
