//! One optimizer update as plain data: its rows, corrupted on the host, and the positions that count.
//!
//! Block diffusion learns p(x) = Π_b p(x^b | x^<b), where each factor is a flow with its own time t_b: the loss of a row is
//! Σ_b λ(t_b) Σ_i CE(x_1^i | x_t^b, x_1^<b), its ELBO if the weights are uncapped (Arriola et al., "Block Diffusion", 2025,
//! section 3). All factors of a row are computed in one pass over [x_t, x_1] (the halves of `crate::backbone`); a block is
//! noisy where it is predicted and clean where a later block looks back. Under a shift the first token of a block is
//! predicted where sampling predicts it: at the last token of the previous block, in the clean half.
//!
//! Everything here is a pure function of (seed, update, rows). Micro-batches only split the rows of an update; the times,
//! the corruption and the divisor of the loss belong to the whole update, so gradient accumulation does not change the
//! loss.

use fmflow_engine::pipeline::config::train::LossDivisor;

use crate::data::packing::{PositionRole, Row};
use crate::flow::loss::{self, LossCoefficients};
use crate::flow::path::Corruption;
use crate::flow::time::draw_update_times;
use crate::rng::{RandomPurpose, derive_stream};
use crate::train::pieces::RowPiece;
pub use crate::train::task::{FlowObjective, StridedObjective, TrainingTask};

/// One position that counts in the loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossTerm {
    /// Index of the hidden state that predicts it, in `0..rows * length` of the micro-batch.
    pub place: u32,
    /// x_1: the token to predict.
    pub target: u32,
    /// x_t: the present token.
    pub present: u32,
    /// The coefficients of its loss.
    pub coefficients: LossCoefficients,
    /// The time of its piece.
    pub t: f64,
}

/// Rows that pass through the backbone together.
#[derive(Clone, Debug, Default)]
pub struct MicroBatch {
    /// Number of its first row within the update.
    pub first: u64,
    /// Number of rows, B.
    pub rows: usize,
    /// Tokens in a row, L; with halves, of both together.
    pub length: usize,
    /// Whether a row is [x_t, x_1], as block diffusion and strides require.
    pub halves: bool,
    /// Masks in a row, if the halves are causal.
    pub stride: Option<usize>,
    /// x_t, row-major [B, L]; with halves, x_t followed by the unchanged x_1.
    pub tokens: Vec<u32>,
    /// Position of each token in its document, [B, L].
    pub positions: Vec<u32>,
    /// Document of each token, [B, L].
    pub segments: Vec<u32>,
    /// Time of each row, `[B]`; used only by a time-conditioned backbone.
    pub times: Vec<f32>,
    /// The positions that count.
    pub terms: Vec<LossTerm>,
}

/// All micro-batches of one update.
#[derive(Clone, Debug)]
pub struct Update {
    /// In the order of rows.
    pub micro_batches: Vec<MicroBatch>,
    /// The divisor of the summed loss, counted over the whole update; at least 1.
    pub divisor: f64,
    /// Tokens of the update, without padding.
    pub tokens: u64,
}

/// Builds update number `step` from its rows, split into micro-batches of `per_device` rows.
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

/// Names the random streams of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoiseStreams {
    /// The seed.
    pub seed: u64,
    /// Purposes of the coins and of the token draws.
    pub purpose: [RandomPurpose; 2],
    /// The first two coordinates; the third is the number of the piece.
    pub at: [u64; 2],
}

/// Draws one time per piece, row by row.
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
    /// Adds a row, corrupted according to `task`, and returns its part of the divisor.
    pub(crate) fn push(
        &mut self,
        row: &Row,
        pieces: &[RowPiece],
        t: &[f64],
        task: &TrainingTask,
        at: &NoiseStreams,
    ) -> u64 {
        let base = self.tokens.len();
        self.rows += 1;
        self.stride = task.stride();
        self.halves = task.block().is_some() || self.stride.is_some();
        let copies = if self.halves { 2 } else { 1 };
        self.length = copies * row.tokens.len();
        self.times.push(t.first().copied().unwrap_or(1.0) as f32);
        if let TrainingTask::Flow(flow) = task
            && let Some(growth) = &flow.growth
        {
            return self.push_grown(row, pieces, t, (flow, growth), at);
        }
        for _ in 0..copies {
            self.tokens.extend_from_slice(&row.tokens);
            self.positions.extend(row.positions());
            self.segments.extend_from_slice(&row.segments);
        }
        let mut divisor = 0;
        for (number, (piece, &t)) in pieces.iter().zip(t).enumerate() {
            divisor += match task {
                TrainingTask::Autoregressive => self.next_tokens(row, piece, (base, 1.0), 1.0),
                TrainingTask::Strided(strided) => self.masks_and_next_tokens(row, piece, base, strided),
                TrainingTask::Flow(flow) => self.posterior(row, piece, base, t, flow, at, number as u64),
            };
        }
        divisor
    }

    /// Adds the terms of the autoregressive objective for hidden states from `base` on, each with this weight, and counts them.
    fn next_tokens(&mut self, row: &Row, document: &RowPiece, (base, weight): (usize, f64), t: f64) -> u64 {
        let before = self.terms.len();
        for next in document.tokens.start + 1..document.tokens.end {
            if row.roles[next] == PositionRole::Supervised {
                self.terms.push(LossTerm {
                    place: (base + next - 1) as u32,
                    target: row.tokens[next],
                    present: row.tokens[next],
                    coefficients: LossCoefficients { cross_entropy: weight, present: 0.0, constant: 0.0 },
                    t,
                });
            }
        }
        (self.terms.len() - before) as u64
    }

    /// Masks a document in the first half and adds the terms of both: the noisy ones count as t = 0, the clean ones as t = 1.
    fn masks_and_next_tokens(
        &mut self,
        row: &Row,
        document: &RowPiece,
        base: usize,
        strided: &StridedObjective,
    ) -> u64 {
        let supervised = |i: &usize| row.roles[*i] == PositionRole::Supervised;
        for place in document.tokens.clone().filter(supervised) {
            self.tokens[base + place] = strided.mask;
        }
        let pairs = self.next_tokens(row, document, (base, 1.0), 0.0);
        if let Some(weight) = strided.clean_weight {
            self.next_tokens(row, document, (base + row.tokens.len(), weight), 1.0);
        }
        match strided.normalise {
            LossDivisor::Corrupted => pairs,
            LossDivisor::Tokens => document.tokens.clone().filter(supervised).count() as u64,
        }
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
        let drawn = flow.corrupt_piece((x_1, &row.roles[piece.tokens.clone()]), t, at, number);
        let first = base + piece.tokens.start;
        self.tokens[first..first + x_1.len()].copy_from_slice(&drawn.x_t);
        // The last token of the previous block, taken from the clean half, because sampling sees it clean too.
        let before = piece.continues.then(|| first + row.tokens.len() - 1);
        let places = HiddenPlaces { first, before };
        self.terms.extend(flow.terms(x_1, &editable, &drawn, t, places));
        flow.count_divisor(&editable, &drawn.corrupted, places)
    }
}

/// Indices of the hidden states of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HiddenPlaces {
    /// Index for its first token; the others follow.
    pub first: usize,
    /// Index of the state that predicts its first token under a shift; `None` if nothing does.
    pub before: Option<usize>,
}

impl FlowObjective {
    /// Corrupts a piece: its tokens, with their roles.
    pub(super) fn corrupt_piece(
        &self,
        (x_1, roles): (&[u32], &[PositionRole]),
        t: f64,
        at: &NoiseStreams,
        number: u64,
    ) -> Corruption {
        let editable: Vec<bool> = roles.iter().map(|&role| role == PositionRole::Supervised).collect();
        let [mut coins, mut draws] =
            at.purpose.map(|p| derive_stream(at.seed, p, [at.at[0], at.at[1], number]));
        self.corruptor.corrupt(x_1, &editable, t, &mut coins, &mut draws)
    }

    /// A piece's part of the divisor.
    pub(super) fn count_divisor(&self, editable: &[bool], corrupted: &[bool], places: HiddenPlaces) -> u64 {
        let (counted, from) = match self.normalise {
            LossDivisor::Tokens => (editable, 0),
            // With a shift, nothing predicts the first token of a document, so it has no term and must not be counted.
            LossDivisor::Corrupted => (corrupted, usize::from(self.shift && places.before.is_none())),
        };
        counted.iter().skip(from).filter(|&&c| c).count() as u64
    }

    /// The terms of a corrupted piece: its positions that count, with their coefficients.
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
            // With a shift the previous position predicts, and the first token of a document has none.
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
