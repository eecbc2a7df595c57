//! Text that grows: masks that stand for several tokens, and masks that stand for none (Wu et al., "DreamOn: Diffusion Language Models For
//! Code Infilling Beyond Fixed-size Canvas", 2026; here between any two tokens that are given, with a constant probability).
//!
//! A mask directly behind another one is merged into it with probability `merge`: what is left of such a chain predicts the expand token,
//! which sampling turns into two masks. Behind one run of masks of each piece, drawn uniformly, up to `delete` masks are appended, which
//! predict the delete token. A row keeps its length: pieces move up, and appended masks take the place of padding.

use super::pieces::RowPiece;
use super::task::{FlowObjective, Growth};
use super::update::{HiddenPlaces, LossTerm, MicroBatch, NoiseStreams};
use crate::data::packing::{PADDING, PositionRole, Row};
use crate::flow::path::Corruption;
use crate::rng::{RandomPurpose, RandomStream, derive_stream};

/// A corrupted piece that has grown; all vectors have one entry per token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GrownPiece {
    /// What is to be predicted: x_1, and the tokens of growth.
    pub(super) labels: Vec<u32>,
    /// The present tokens.
    pub(super) x_t: Vec<u32>,
    pub(super) corrupted: Vec<bool>,
    pub(super) roles: Vec<PositionRole>,
}

impl GrownPiece {
    fn insert(&mut self, at: usize, (label, x_t, corrupted, role): (u32, u32, bool, PositionRole)) {
        self.labels.insert(at, label);
        self.x_t.insert(at, x_t);
        self.corrupted.insert(at, corrupted);
        self.roles.insert(at, role);
    }
}

impl Growth {
    /// Merges masks of a piece.
    pub(super) fn merge(
        &self,
        (x_1, roles): (&[u32], &[PositionRole]),
        drawn: &Corruption,
        random: &mut RandomStream,
    ) -> GrownPiece {
        let mut piece = GrownPiece::default();
        for i in 0..x_1.len() {
            let behind_mask = i > 0 && drawn.corrupted[i - 1] && drawn.corrupted[i];
            if behind_mask && random.uniform() < self.merge {
                *piece.labels.last_mut().expect("a mask stands before it") = self.tokens.expand;
                continue;
            }
            let end = piece.labels.len();
            piece.insert(end, (x_1[i], drawn.x_t[i], drawn.corrupted[i], roles[i]));
        }
        piece
    }

    /// Appends masks to a run of them, as many as `room` allows.
    pub(super) fn append(
        &self,
        piece: &mut GrownPiece,
        (mask, room): (u32, usize),
        random: &mut RandomStream,
    ) {
        let masked = |i: usize| piece.corrupted.get(i) == Some(&true);
        let ends: Vec<usize> = (1..=piece.corrupted.len()).filter(|&i| masked(i - 1) && !masked(i)).collect();
        if ends.is_empty() {
            return;
        }
        let count = random.below(self.delete.min(room) as u64 + 1);
        let at = ends[random.below(ends.len() as u64) as usize];
        for _ in 0..count {
            piece.insert(at, (self.tokens.delete, mask, true, PositionRole::Supervised));
        }
    }
}

/// The pieces of a row after their growth. Each has an equal share of the room that is left.
pub(super) fn grow_pieces(
    row: &Row,
    pieces: &[RowPiece],
    t: &[f64],
    (flow, growth): (&FlowObjective, &Growth),
    at: &NoiseStreams,
) -> Vec<GrownPiece> {
    let mut merged = Vec::with_capacity(pieces.len());
    for (number, (piece, &t)) in pieces.iter().zip(t).enumerate() {
        let (x_1, roles) = (&row.tokens[piece.tokens.clone()], &row.roles[piece.tokens.clone()]);
        let drawn = flow.corrupt_piece((x_1, roles), t, at, number as u64);
        let mut random = derive_stream(at.seed, RandomPurpose::Grow, [at.at[0], at.at[1], number as u64]);
        merged.push((growth.merge((x_1, roles), &drawn, &mut random), random));
    }
    let taken: usize = merged.iter().map(|(piece, _)| piece.labels.len()).sum();
    let (mut room, count) = (row.tokens.len() - taken, merged.len());
    for (number, (piece, random)) in merged.iter_mut().enumerate() {
        let before = piece.labels.len();
        growth.append(piece, (flow.corruptor.tokens.mask, room / (count - number)), random);
        room -= piece.labels.len() - before;
    }
    merged.into_iter().map(|(piece, _)| piece).collect()
}

impl MicroBatch {
    /// Adds a row whose text grows, as [`MicroBatch::push`].
    pub(super) fn push_grown(
        &mut self,
        row: &Row,
        pieces: &[RowPiece],
        t: &[f64],
        (flow, growth): (&FlowObjective, &Growth),
        at: &NoiseStreams,
    ) -> u64 {
        let (length, base, mut divisor) = (row.tokens.len(), self.tokens.len(), 0);
        let mut grown = Row::default();
        for (piece, (own, &t)) in
            grow_pieces(row, pieces, t, (flow, growth), at).iter().zip(pieces.iter().zip(t))
        {
            let editable: Vec<bool> = piece.roles.iter().map(|&r| r == PositionRole::Supervised).collect();
            let drawn = Corruption { x_t: piece.x_t.clone(), corrupted: piece.corrupted.clone() };
            let places = HiddenPlaces { first: base + grown.tokens.len(), before: None };
            let terms: Vec<LossTerm> = flow.terms(&piece.labels, &editable, &drawn, t, places);
            divisor += flow.count_divisor(&editable, &drawn.corrupted, places);
            self.terms.extend(terms);
            grown.tokens.extend(&piece.x_t);
            grown.segments.resize(grown.tokens.len(), row.segments[own.tokens.start]);
        }
        // Padding is never learned and never seen: any token of the row does.
        grown.tokens.resize(length, row.tokens.last().copied().unwrap_or(0));
        grown.segments.resize(length, PADDING);
        self.tokens.extend(&grown.tokens);
        self.positions.extend(grown.positions());
        self.segments.extend(&grown.segments);
        divisor
    }
}
