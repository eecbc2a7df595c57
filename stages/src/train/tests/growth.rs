//! Text that grows: what training makes of masks, against a slow writing of its rule.

use fmflow_engine::pipeline::config::GrowthTokens;

use super::*;
use crate::flow::time::draw_update_times;
use crate::rng::{RandomPurpose, derive_stream};
use crate::train::task::Growth;
use crate::train::update::MicroBatch;

const MASK: u32 = 31;
const TOKENS: GrowthTokens = GrowthTokens { expand: 30, delete: 29 };

/// A task whose text grows.
pub(super) fn growing(merge: f64, delete: usize) -> TrainingTask {
    let TrainingTask::Flow(flow) =
        flow(Loss::CrossEntropy, LossPositions::Corrupted, LossDivisor::Corrupted, 1.0)
    else {
        unreachable!("the helper makes a flow task")
    };
    TrainingTask::Flow(FlowObjective { growth: Some(Growth { merge, delete, tokens: TOKENS }), ..flow })
}

/// Two documents of unequal lengths behind a prompt each, and room behind them; no token is one of those of growth.
fn documents() -> Row {
    let lengths = [(0, 11), (1, 6), (u32::MAX, 7)];
    let segments: Vec<u32> = lengths.iter().flat_map(|(segment, n)| vec![*segment; *n]).collect();
    let roles = segments.iter().enumerate().map(|(i, segment)| match (segment, i) {
        (&u32::MAX, _) => PositionRole::Padding,
        (_, 0 | 1 | 11) => PositionRole::Prompt,
        _ => PositionRole::Supervised,
    });
    let tokens = (0..24).map(|i| if i < 17 { 1 + i } else { 0 }).collect();
    Row { tokens, roles: roles.collect(), segments: segments.clone() }
}

/// (label, present token, segment, whether it is learned) of each position of row `row` of update `step`.
type Position = (u32, u32, u32, bool);

/// The rule, position by position: which masks are merged into the one before them is tossed, chains are cut out of a list, and masks are
/// put behind a run.
fn grow_slowly(
    row: &Row,
    (seed, step, number): (u64, u64, u64),
    (merge, delete): (f64, usize),
    times: &[f64],
) -> Vec<Position> {
    let pieces = [0..11, 11..17];
    let mut random: Vec<_> =
        (0..2).map(|piece| derive_stream(seed, RandomPurpose::Grow, [step, number, piece])).collect();
    let mut all: Vec<Vec<Position>> = Vec::new();
    for (piece, range) in pieces.iter().enumerate() {
        let mut coins = derive_stream(seed, RandomPurpose::Corrupt, [step, number, piece as u64]);
        let noise: Vec<bool> = range
            .clone()
            .map(|i| coins.uniform() >= times[piece] && row.roles[i] == PositionRole::Supervised)
            .collect();
        let mut tosses = Vec::new();
        for at in 0..noise.len() {
            let pair = at > 0 && noise[at - 1] && noise[at];
            tosses.push(pair && random[piece].uniform() < merge);
        }
        let mut chains: Vec<Vec<usize>> = Vec::new();
        for (at, i) in range.clone().enumerate() {
            if tosses[at] { chains.last_mut().unwrap().push(i) } else { chains.push(vec![i]) }
        }
        let position = |chain: &Vec<usize>| {
            let i = chain[0];
            let label = if chain.len() > 1 { TOKENS.expand } else { row.tokens[i] };
            let masked = noise[i - range.start];
            (label, if masked { MASK } else { row.tokens[i] }, row.segments[i], masked)
        };
        all.push(chains.iter().map(position).collect());
    }
    let mut room = row.tokens.len() - all.iter().map(Vec::len).sum::<usize>();
    for piece in 0..2 {
        let text = &mut all[piece];
        let last_masks: Vec<usize> =
            (0..text.len()).filter(|&at| text[at].3 && text.get(at + 1).is_none_or(|next| !next.3)).collect();
        if last_masks.is_empty() {
            continue;
        }
        let most = delete.min(room / (2 - piece));
        let count = random[piece].below(most as u64 + 1) as usize;
        let behind = last_masks[random[piece].below(last_masks.len() as u64) as usize] + 1;
        let segment = text[0].2;
        text.splice(behind..behind, vec![(TOKENS.delete, MASK, segment, true); count]);
        room -= count;
    }
    all.concat()
}

fn only_batch(row: &Row, at: (u64, u64), task: &TrainingTask) -> MicroBatch {
    build_update(at.0, at.1, std::slice::from_ref(row), 1, task).micro_batches.remove(0)
}

#[test]
fn corruption_is_that_of_a_slow_writing() {
    let row = documents();
    let (mut merged, mut removed) = (0, 0);
    for step in 0..60 {
        for (merge, delete) in [(0.5, 4), (1.0, 0), (0.0, 9), (0.3, 64)] {
            let task = growing(merge, delete);
            let TrainingTask::Flow(flow) = &task else { unreachable!() };
            let times = draw_update_times(5, step, 2, &flow.time);
            let expected = grow_slowly(&row, (5, step, 0), (merge, delete), &times);
            let batch = only_batch(&row, (5, step), &task);
            assert_eq!((batch.length, batch.tokens.len(), batch.positions.len()), (24, 24, 24));
            let mut own = Vec::new();
            for (i, (label, x_t, segment, masked)) in expected.iter().enumerate() {
                assert_eq!((batch.tokens[i], batch.segments[i]), (*x_t, *segment), "{step} {merge} {delete}");
                if *masked {
                    own.push((i as u32, *label));
                }
            }
            assert!(batch.segments[expected.len()..].iter().all(|segment| *segment == u32::MAX));
            let terms: Vec<_> = batch.terms.iter().map(|term| (term.place, term.target)).collect();
            assert_eq!(terms, own);
            assert!(batch.terms.iter().all(|term| term.present == MASK));
            // Each document counts its positions from 0, in what is left of it.
            let first = expected.iter().filter(|position| position.2 == 0).count();
            let counted: Vec<u32> = (0..first as u32).chain(0..(expected.len() - first) as u32).collect();
            assert_eq!(batch.positions[..expected.len()], counted);
            merged += own.iter().filter(|(_, label)| *label == TOKENS.expand).count();
            removed += own.iter().filter(|(_, label)| *label == TOKENS.delete).count();
        }
    }
    assert!(merged > 100 && removed > 100, "{merged} {removed}");
}

#[test]
fn nothing_that_grows_is_the_plain_task() {
    let row = documents();
    for step in 0..20 {
        let TrainingTask::Flow(flow) = growing(0.0, 0) else { unreachable!() };
        let plain = TrainingTask::Flow(FlowObjective { growth: None, ..flow.clone() });
        let found = [TrainingTask::Flow(flow), plain].map(|task| {
            let update = build_update(7, step, std::slice::from_ref(&row), 1, &task);
            (update.divisor, update.tokens, format!("{:?}", update.micro_batches))
        });
        assert_eq!(found[0], found[1]);
    }
}

/// The positions that count are divided by their own number: masks that were appended are learned, those that were merged are gone.
#[test]
fn the_divisor_counts_what_is_left() {
    let rows = vec![documents(); 6];
    let update = build_update(7, 1, &rows, 2, &growing(0.7, 5));
    let terms: usize = update.micro_batches.iter().map(|batch| batch.terms.len()).sum();
    assert_eq!(update.divisor, terms as f64);
    let tokens = [0, 1].map(|r| &update.micro_batches[0].tokens[r * 24..][..24]);
    assert_ne!(tokens[0], tokens[1], "each row draws for itself");
}
