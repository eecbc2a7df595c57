//! One optimizer update as data: its rows, corrupted on the host, and the positions that count.
//!
//! Block diffusion learns p(x) = Π_b p(x^b | x^<b), each factor a flow of its own with a time t_b of its own: the loss of a row is
//! Σ_b λ(t_b) Σ_i CE(x_1^i | x_t^b, x_1^<b), its ELBO with the weights uncapped (Arriola et al., "Block Diffusion", 2025, section 3).
//! All factors of a row are computed in one pass over [x_t, x_1] (`crate::backbone`'s halves); a block is noisy where it is
//! predicted and clean where a later one looks back. Under a shift the first token of a block is predicted where sampling predicts
//! it: at the last token of the block before, in the clean half.
//!
//! Everything here is a pure function of (seed, update, rows). Micro-batches only cut the rows of an update into pieces; the
//! times, the corruption and the divisor of the loss belong to the whole update, so that accumulation changes nothing.

use fmflow_engine::pipeline::config::train::{Loss, LossDivisor, LossPositions, TimeSettings};

use crate::data::packing::{PositionRole, Row};
use crate::flow::loss::{self, LossCoefficients};
use crate::flow::path::{Corruption, Corruptor};
use crate::flow::time::draw_update_times;
use crate::rng::{RandomPurpose, derive_stream};
use crate::train::pieces::{RowPiece, split_row_into_pieces};

/// What is learnt, with everything that corruption needs.
#[derive(Clone, Debug)]
pub enum TrainingTask {
    /// Position i predicts token i + 1.
    Autoregressive,
    /// The posterior p(x_1 | x_t, t).
    Flow(FlowObjective),
}

/// The flow objective.
#[derive(Clone, Debug)]
pub struct FlowObjective {
    /// Draws x_t.
    pub corruptor: Corruptor,
    /// The loss.
    pub loss: Loss,
    /// Which positions contribute.
    pub over: LossPositions,
    /// What the sum is divided by.
    pub normalise: LossDivisor,
    /// Cap of the weight.
    pub max_weight: Option<f64>,
    /// Law of the times.
    pub time: TimeSettings,
    /// Whether position i - 1 predicts position i.
    pub shift: bool,
    /// Whether the backbone is told one time per row; then all pieces of a row share it.
    pub time_per_row: bool,
    /// Tokens in a block of block diffusion. Every block then has a time of its own, and a row goes through the backbone as
    /// [x_t, x_0].
    pub block: Option<usize>,
}

impl TrainingTask {
    /// The pieces of a row that have a time of their own.
    #[must_use]
    pub fn pieces(&self, row: &Row) -> Vec<RowPiece> {
        split_row_into_pieces(row, self.block())
    }

    /// Tokens in a block of block diffusion.
    #[must_use]
    pub fn block(&self) -> Option<usize> {
        match self {
            Self::Autoregressive => None,
            Self::Flow(flow) => flow.block,
        }
    }
}

/// A position that counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossTerm {
    /// Place of the hidden state, in `0..rows * length` of the micro-batch.
    pub place: u32,
    /// x_1: the token to predict.
    pub target: u32,
    /// x_t: the token that stands there now.
    pub present: u32,
    /// Its share of the loss.
    pub coefficients: LossCoefficients,
    /// Its time.
    pub t: f64,
}

/// Rows that go through the backbone together.
#[derive(Clone, Debug, Default)]
pub struct MicroBatch {
    /// Number of its first row in the update.
    pub first: u64,
    /// Number of rows, B.
    pub rows: usize,
    /// Tokens in a row, L; of both halves together.
    pub length: usize,
    /// Whether a row is [x_t, x_0], as block diffusion needs it.
    pub halves: bool,
    /// x_t, row-major [B, L]; with halves x_t and then x_1, unchanged.
    pub tokens: Vec<u32>,
    /// Position of each token in its document, [B, L].
    pub positions: Vec<u32>,
    /// Document of each token, [B, L].
    pub segments: Vec<u16>,
    /// Time of each row, `[B]`; of use to a conditioned backbone only.
    pub times: Vec<f32>,
    /// The positions that count.
    pub terms: Vec<LossTerm>,
}

/// All micro-batches of one update.
#[derive(Clone, Debug)]
pub struct Update {
    /// In the order of rows.
    pub micro_batches: Vec<MicroBatch>,
    /// What the summed loss is divided by, over the whole update; at least 1.
    pub divisor: f64,
    /// Tokens that are not padding.
    pub tokens: u64,
}

/// Builds update number `step` from its rows, cut into micro-batches of `per_device` rows.
#[must_use]
pub fn build_update(seed: u64, step: u64, rows: &[Row], per_device: usize, task: &TrainingTask) -> Update {
    let pieces: Vec<Vec<RowPiece>> = rows.iter().map(|row| task.pieces(row)).collect();
    let drawn = draw_piece_times(seed, step, &pieces, task);
    let mut divisor = 0;
    let mut micro_batches = Vec::with_capacity(rows.len().div_ceil(per_device));
    for (first, chunk) in rows.chunks(per_device).enumerate().map(|(i, c)| (i * per_device, c)) {
        let mut batch = MicroBatch { first: first as u64, ..MicroBatch::default() };
        for (i, row) in chunk.iter().enumerate() {
            let number = first + i;
            let at = NoiseStreams {
                seed,
                purpose: [RandomPurpose::Corrupt, RandomPurpose::Source],
                at: [step, number as u64],
            };
            divisor += batch.push(row, &pieces[number], &drawn[number], task, &at);
        }
        micro_batches.push(batch);
    }
    let tokens =
        rows.iter().map(|r| r.roles.iter().filter(|&&r| r != PositionRole::Padding).count() as u64).sum();
    Update { micro_batches, divisor: divisor.max(1) as f64, tokens }
}

/// Where the random numbers of a row come from.
#[derive(Clone, Copy, Debug)]
pub struct NoiseStreams {
    /// The seed.
    pub seed: u64,
    /// Purposes of the coins and of the draws.
    pub purpose: [RandomPurpose; 2],
    /// First coordinates; the third is the piece.
    pub at: [u64; 2],
}

/// One time per piece, row by row.
fn draw_piece_times(seed: u64, step: u64, pieces: &[Vec<RowPiece>], task: &TrainingTask) -> Vec<Vec<f64>> {
    let TrainingTask::Flow(flow) = task else {
        return pieces.iter().map(|row| vec![1.0; row.len()]).collect();
    };
    let per_row = |n: usize| if flow.time_per_row { 1 } else { n };
    let count = pieces.iter().map(|row| per_row(row.len())).sum();
    let mut drawn = draw_update_times(seed, step, count, &flow.time).into_iter();
    let mut take = |row: &Vec<RowPiece>| -> Vec<f64> {
        let mut own: Vec<f64> = drawn.by_ref().take(per_row(row.len())).collect();
        own.resize(row.len(), own.first().copied().unwrap_or(1.0));
        own
    };
    pieces.iter().map(&mut take).collect()
}

impl MicroBatch {
    /// Adds a row, corrupted as `task` says, and returns its part of the divisor.
    pub fn push(
        &mut self,
        row: &Row,
        pieces: &[RowPiece],
        t: &[f64],
        task: &TrainingTask,
        at: &NoiseStreams,
    ) -> u64 {
        let base = self.tokens.len();
        self.rows += 1;
        self.halves = task.block().is_some();
        let copies = if self.halves { 2 } else { 1 };
        self.length = copies * row.tokens.len();
        for _ in 0..copies {
            self.tokens.extend_from_slice(&row.tokens);
            self.positions.extend(row.positions());
            self.segments.extend_from_slice(&row.segments);
        }
        self.times.push(t.first().copied().unwrap_or(1.0) as f32);
        let mut divisor = 0;
        for (number, (piece, &t)) in pieces.iter().zip(t).enumerate() {
            divisor += match task {
                TrainingTask::Autoregressive => self.next_tokens(row, piece, base),
                TrainingTask::Flow(flow) => self.posterior(row, piece, base, t, flow, at, number as u64),
            };
        }
        divisor
    }

    /// Terms of the autoregressive objective.
    fn next_tokens(&mut self, row: &Row, document: &RowPiece, base: usize) -> u64 {
        let before = self.terms.len();
        for next in document.tokens.start + 1..document.tokens.end {
            if row.roles[next] == PositionRole::Supervised {
                self.terms.push(LossTerm {
                    place: (base + next - 1) as u32,
                    target: row.tokens[next],
                    present: row.tokens[next],
                    coefficients: LossCoefficients { cross_entropy: 1.0, present: 0.0, constant: 0.0 },
                    t: 1.0,
                });
            }
        }
        (self.terms.len() - before) as u64
    }

    /// Corrupts a piece and adds the terms of the flow objective.
    #[expect(
        clippy::too_many_arguments,
        reason = "the coordinates of a piece; a struct would only be unpacked again"
    )]
    fn posterior(
        &mut self,
        row: &Row,
        piece: &RowPiece,
        base: usize,
        t: f64,
        flow: &FlowObjective,
        at: &NoiseStreams,
        number: u64,
    ) -> u64 {
        let x_1 = &row.tokens[piece.tokens.clone()];
        let editable: Vec<bool> =
            row.roles[piece.tokens.clone()].iter().map(|&r| r == PositionRole::Supervised).collect();
        let [mut coins, mut draws] =
            at.purpose.map(|p| derive_stream(at.seed, p, [at.at[0], at.at[1], number]));
        let drawn = flow.corruptor.corrupt(x_1, &editable, t, &mut coins, &mut draws);
        let first = base + piece.tokens.start;
        self.tokens[first..first + x_1.len()].copy_from_slice(&drawn.x_t);
        // The last token of the block before, as sampling knows it: clean.
        let before = piece.continues.then(|| first + row.tokens.len() - 1);
        self.terms.extend(flow.terms(x_1, &editable, &drawn, t, HiddenPlaces { first, before }));
        let (counted, from) = match flow.normalise {
            LossDivisor::Tokens => (&editable, 0),
            // With a shift the first token of a document has no position that predicts it, and so no term.
            LossDivisor::Corrupted => (&drawn.corrupted, usize::from(flow.shift && before.is_none())),
        };
        counted.iter().skip(from).filter(|&&c| c).count() as u64
    }
}

/// Where the hidden states of a piece are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HiddenPlaces {
    /// Of its first token; the others follow.
    pub first: usize,
    /// Of what predicts its first token under a shift; `None` where nothing does.
    pub before: Option<usize>,
}

impl FlowObjective {
    /// The positions of a corrupted piece that count, with their shares of the loss.
    #[must_use]
    pub fn terms(
        &self,
        x_1: &[u32],
        editable: &[bool],
        drawn: &Corruption,
        t: f64,
        places: HiddenPlaces,
    ) -> Vec<LossTerm> {
        let weight = loss::compute_capped_weight(self.corruptor.path.scheduler, t, self.max_weight);
        let counts = |i: usize| editable[i] && loss::is_in_loss(self.over, drawn.corrupted[i]);
        let term = |i: usize| {
            // With a shift the position before predicts, which the first token of a document does not have.
            let place = match i.checked_sub(usize::from(self.shift)) {
                Some(from) => places.first + from,
                None => places.before?,
            };
            Some(LossTerm {
                place: place as u32,
                target: x_1[i],
                present: drawn.x_t[i],
                coefficients: loss::compute_coefficients(self.loss, weight, drawn.x_t[i] == x_1[i]),
                t,
            })
        };
        (0..x_1.len()).filter(|&i| counts(i)).filter_map(term).collect()
    }
}
