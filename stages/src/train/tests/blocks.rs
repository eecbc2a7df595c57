//! Tests of block diffusion: its two limits, equal logits in training and sampling, and a time for every block.

use burn_tensor::Tensor;

use super::*;
use crate::backbone::AttentionContext;
use crate::flow::time::draw_update_times;
use crate::train::forward::{build_context, to_int_tensor};
use crate::train::update::MicroBatch;

/// Rows of two documents, supervised from their first token on, without padding.
fn text(count: usize) -> Vec<Row> {
    let row = |r: usize| Row {
        tokens: (0..12).map(|i| ((r * 5 + i * 7) % 30) as u32).collect(),
        segments: (0..12).map(|i| u32::from(i >= 7)).collect(),
        roles: vec![PositionRole::Supervised; 12],
    };
    (0..count).map(row).collect()
}

fn elbo() -> TrainingTask {
    flow(Loss::Elbo, LossPositions::Corrupted, LossDivisor::Tokens, 1.0)
}

/// Logits at places, [places, V], row by row.
fn logits(model: &Backbone, tokens: &[u32], places: &[u32], context: &AttentionContext) -> Vec<Vec<f32>> {
    let hidden = model.hidden(model.tokens(tokens, context.batch).unwrap(), context).unwrap();
    let [b, l, d] = hidden.dims();
    let at = to_int_tensor(places.iter().copied(), &model.device());
    let logits: Tensor<2> = model.logits(hidden.reshape([b * l, d]).select(0, at));
    let width = logits.dims()[1];
    logits.try_into_vec_as::<f32>().unwrap().chunks(width).map(<[f32]>::to_vec).collect()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |m, (a, b)| m.max((a - b).abs()))
}

#[test]
fn blocks_as_long_as_documents_are_bidirectional_diffusion() {
    let model = backbone();
    for rows in [rows(6), text(6)] {
        for task in [elbo(), flow(Loss::GeneralizedKl, LossPositions::Supervised, LossDivisor::Tokens, 0.5)] {
            let run = |(task, how): (TrainingTask, ForwardOptions)| {
                let update = build_update(7, 3, &rows, 3, &task);
                let (gradients, sum) = compute_update_gradient(&model, &update, how, 1).unwrap();
                (flat(&gradients), sum.weighted / update.divisor, update)
            };
            let (plain, loss, update) = run((task.clone(), how(Attention::Bidirectional)));
            let (blocks, same, other) = run(in_blocks(task, 12, false));
            let times = |u: &super::super::update::Update| {
                let terms = u.micro_batches.iter().flat_map(|b| &b.terms);
                terms.map(|t| (t.t, t.target, t.present)).collect::<Vec<_>>()
            };
            assert_eq!(times(&update), times(&other), "the same times and the same noise");
            // The clean half adds rows to the matrix products but no terms, so only f32 rounding differs.
            assert!((loss - same).abs() < 1e-5 * loss, "{loss} {same}");
            let largest = plain.iter().fold(0f32, |m, g| m.max(g.abs()));
            assert!(worst(&plain, &blocks) < 1e-5 * largest, "{}", worst(&plain, &blocks));
        }
    }
}

#[test]
fn blocks_of_one_token_predict_autoregressively() {
    let (model, row) = (backbone(), &text(1)[0]);
    let (task, how) = in_blocks(elbo(), 1, false);
    let batch = &build_update(7, 3, std::slice::from_ref(row), 1, &task).micro_batches[0];
    let noisy: Vec<u32> = batch.terms.iter().map(|term| term.place).collect();
    assert!(noisy.len() > 3);
    let found = logits(&model, &batch.tokens, &noisy, &build_context(&model, batch, how.attention, None));
    for (&place, found) in noisy.iter().zip(&found) {
        // The clean tokens before it in the document, then the mask: the input of a causal model for this position.
        let start = if place < 7 { 0 } else { 7 };
        let asked = [&row.tokens[start..place as usize], &[31]].concat();
        let causal = AttentionContext::new(Attention::Causal, 1, asked.len());
        let expected = logits(&model, &asked, &[asked.len() as u32 - 1], &causal);
        assert!(worst(found, &expected[0]) < 1e-5, "{place}");
    }
}

#[test]
fn training_and_sampling_see_the_same_logits() {
    let model = backbone();
    for shift in [false, true] {
        for block in [1, 2, 3, 5] {
            let (task, how) = in_blocks(elbo(), block, shift);
            let rows = text(2);
            let batch = &build_update(3, block as u64, &rows, 2, &task).micro_batches[0];
            let places: Vec<u32> = batch.terms.iter().map(|term| term.place).collect();
            let trained =
                logits(&model, &batch.tokens, &places, &build_context(&model, batch, how.attention, None));
            assert!(places.len() > 5);
            for (term, trained) in batch.terms.iter().zip(&trained) {
                let sampled = sampled(&model, batch, term, block, shift);
                assert!(worst(trained, &sampled) < 1e-5, "block {block}, shift {shift}, {term:?}");
            }
        }
    }
}

/// The logits that sampling would see for a term: its document up to its block, with clean earlier blocks, block-causal.
fn sampled(
    model: &Backbone,
    batch: &MicroBatch,
    term: &super::super::update::LossTerm,
    block: usize,
    shift: bool,
) -> Vec<f32> {
    let (row, predictor) = (term.place as usize / 24, term.place as usize % 24);
    let place = predictor % 12 + usize::from(shift);
    let start = if place < 7 { 0 } else { 7 };
    let tokens = &batch.tokens[row * 24..][..24];
    let first = start + (place - start) / block * block;
    let end = (first + block).min(if place < 7 { 7 } else { 12 });
    let canvas = [&tokens[12 + start..12 + first], &tokens[first..end]].concat();
    let context = AttentionContext::new(Attention::BlockCausal { block }, 1, canvas.len());
    logits(model, &canvas, &[(place - usize::from(shift) - start) as u32], &context).remove(0)
}

#[test]
fn every_block_has_a_time_and_its_least_number_of_masks() {
    let (TrainingTask::Flow(flow), _) = in_blocks(elbo(), 4, false) else { unreachable!("a flow task") };
    let mut flow = FlowObjective { over: LossPositions::Supervised, ..flow };
    flow.corruptor.at_least = 1;
    let rows = text(3);
    let update = build_update(7, 3, &rows, 3, &TrainingTask::Flow(flow.clone()));
    let batch = &update.micro_batches[0];
    // Documents of 7 and 5 tokens: blocks of 4, 3, 4 and 1 tokens.
    let lengths = [4, 3, 4, 1].repeat(3);
    let mut drawn = draw_update_times(7, 3, 12, &flow.time).into_iter();
    let mut terms = batch.terms.iter();
    for length in lengths {
        let (t, block): (_, Vec<_>) = (drawn.next().unwrap(), terms.by_ref().take(length).collect());
        assert!(block.iter().all(|term| term.t == t));
        assert!(block.iter().any(|term| term.present == 31), "at least one mask");
    }
    assert!(terms.next().is_none() && drawn.next().is_none());
    let conditioned =
        build_update(7, 3, &rows, 3, &TrainingTask::Flow(FlowObjective { time_per_row: true, ..flow }));
    for (row, terms) in conditioned.micro_batches[0].terms.chunks(12).enumerate() {
        assert!(terms.iter().all(|term| term.t as f32 == conditioned.micro_batches[0].times[row]));
    }
}

#[test]
fn with_a_shift_the_first_token_of_a_block_is_predicted_from_clean_tokens() {
    let (task, _) =
        in_blocks(flow(Loss::CrossEntropy, LossPositions::Supervised, LossDivisor::Tokens, 1.0), 3, true);
    let update = build_update(1, 0, &text(1), 1, &task);
    let places: Vec<u32> = update.micro_batches[0].terms.iter().map(|term| term.place).collect();
    // Tokens 1, 2 from the noisy 0, 1; token 3 begins a block and is predicted from the clean 2; token 7 begins a document.
    assert_eq!(places, [0, 1, 14, 3, 4, 17, 7, 8, 21, 10]);
}

#[test]
fn another_document_changes_nothing_of_this_one() {
    let model = backbone();
    let batch =
        |rows: &[Row]| build_update(3, 0, rows, 1, &in_blocks(elbo(), 2, false).0).micro_batches.remove(0);
    let how = in_blocks(elbo(), 2, false).1;
    let (one, mut other) = (text(1), text(1));
    other[0].tokens[7..].iter_mut().for_each(|token| *token = (*token + 11) % 30);
    let hidden = |batch: &MicroBatch| {
        let places: Vec<u32> = (0..7).chain(12..19).collect();
        logits(&model, &batch.tokens, &places, &build_context(&model, batch, how.attention, None))
    };
    assert_eq!(hidden(&batch(&one)), hidden(&batch(&other)));
}
