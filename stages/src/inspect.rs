//! `fmflow data`: rows as people read them, and what is in all of them.

mod shards;

use std::collections::BTreeMap;
use std::path::Path;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::train::{ProbabilityPath, Scheduler};
use fmflow_engine::run::rows_view::{
    LengthCount, PartStatistics, PiecePart, PieceRole, RowPiece, RowsRequest, RowsStatistics, RowsView,
    ViewedRow,
};

use crate::data::dropped::RowsShape;
use crate::data::packing::{PADDING, Packing, PositionRole, Row};
use crate::data::rows::{Rows, RowsSummary, Split};
use crate::data::tokenizer::Tokenizer;
use crate::failure::{input_failure, stage_failure};
use crate::flow::path::{Corruptor, SourceTokens};
use crate::rng::{RandomPurpose, derive_stream};
use shards::SeenShards;

/// The rows in `folder` that `request` asks for, as text.
///
/// # Errors
/// If the folder has no rows or is damaged, or there is no such row.
pub(crate) fn view_rows(folder: &Path, request: &RowsRequest) -> Result<RowsView, Failure> {
    let (rows, tokenizer) = open_rows(folder)?;
    let split = if request.held_out { Split::HeldOut } else { Split::Train };
    let seen = match !request.held_out && rows.summary().shards.is_window() {
        true => Some(SeenShards::new(&request.window, rows.summary())?),
        false => None,
    };
    let total = seen.as_ref().map_or_else(|| rows.len(split), SeenShards::count_rows);
    if request.first >= total {
        let what =
            format!("there is no row {}: the rows are numbered from 0, and there are {total}", request.first);
        return Err(input_failure(what, "choose a smaller `--row`, or another part of the data"));
    }
    let numbers = request.first..request.first.saturating_add(request.count).min(total);
    let view = |number| {
        let (shard, row) = match &seen {
            Some(seen) => seen.read(number).map(|(place, row)| (Some(place), row))?,
            None => (None, rows.row(split, number).map_err(stage_failure)?),
        };
        let noise = request.at.map(|t| corrupt_row(&row, (t, number, request.seed)));
        let pieces = cut_into_pieces(&row, &noise.unwrap_or_default(), &tokenizer)?;
        Ok(ViewedRow { row: number, shard, pieces })
    };
    let found = numbers.map(view).collect::<Result<_, Failure>>()?;
    let window = seen.as_ref().map(SeenShards::describe);
    Ok(RowsView { total, length: rows.summary().length, window, rows: found })
}

/// The rows in a folder, with the tokenizer that made them.
fn open_rows(folder: &Path) -> Result<(Rows, Tokenizer), Failure> {
    let rows = Rows::open(folder).map_err(stage_failure)?;
    let json = std::fs::read(folder.join("tokenizer.json")).map_err(stage_failure)?;
    let tokenizer = Tokenizer::from_bytes("tokenizer.json", json).map_err(stage_failure)?;
    let tokenizer = tokenizer.with_rows(rows.summary().vocabulary).map_err(stage_failure)?;
    Ok((rows, tokenizer))
}

/// Which positions of a row noise takes at time `t`, with a linear scheduler; each document has coins of its own.
fn corrupt_row(row: &Row, (t, number, seed): (f64, u64, u64)) -> Vec<bool> {
    let path = ProbabilityPath { mask_share: 1.0, scheduler: Scheduler::Polynomial { exponent: 1.0 } };
    let corruptor = Corruptor { path, tokens: SourceTokens { mask: 0, used: 0 }, at_least: 0 };
    let (mut start, mut noise) = (0, Vec::new());
    for (document, segment) in row.segments.chunk_by(|a, b| a == b).enumerate() {
        let part = start..start + segment.len();
        let editable: Vec<_> =
            row.roles[part.clone()].iter().map(|role| *role == PositionRole::Supervised).collect();
        let stream = || derive_stream(seed, RandomPurpose::Validate, [number, 0, document as u64]);
        let found = corruptor.corrupt(&row.tokens[part.clone()], &editable, t, &mut stream(), &mut stream());
        noise.extend(found.corrupted);
        start = part.end;
    }
    noise
}

/// Cuts a row where its document or its role changes. `noise` is empty or has an entry for every position.
fn cut_into_pieces(row: &Row, noise: &[bool], tokenizer: &Tokenizer) -> Result<Vec<RowPiece>, Failure> {
    let positions: Vec<usize> = (0..row.tokens.len()).collect();
    let corrupted = |at: usize| noise.get(at).copied().unwrap_or(false);
    let same = |a: &usize, b: &usize| (row.segments[*a], row.roles[*a]) == (row.segments[*b], row.roles[*b]);
    let part = |positions: &[usize]| {
        let ids: Vec<u32> = positions.iter().map(|at| row.tokens[*at]).collect();
        let text = tokenizer.decode(&ids, true).map_err(stage_failure)?;
        Ok(PiecePart { text, tokens: ids.len(), corrupted: corrupted(positions[0]) })
    };
    let piece = |positions: &[usize]| {
        let parts = positions.chunk_by(|a, b| corrupted(*a) == corrupted(*b)).map(part);
        let segment = row.segments[positions[0]];
        Ok(RowPiece {
            document: (segment != PADDING).then(|| segment + 1),
            role: to_piece_role(row.roles[positions[0]]),
            tokens: positions.len(),
            parts: parts.collect::<Result<_, Failure>>()?,
        })
    };
    positions.chunk_by(same).map(piece).collect()
}

fn to_piece_role(role: PositionRole) -> PieceRole {
    match role {
        PositionRole::Prompt => PieceRole::Given,
        PositionRole::Supervised => PieceRole::Learned,
        PositionRole::Padding => PieceRole::Padding,
    }
}

/// What is in the rows in `folder`. Of more than `most` rows of a part, as many are read, evenly spaced.
///
/// # Errors
/// If the folder has no rows or is damaged.
pub(crate) fn measure_rows(folder: &Path, most: u64) -> Result<RowsStatistics, Failure> {
    let (rows, tokenizer) = open_rows(folder)?;
    let mut counts = RowCounts::new(&tokenizer);
    for split in [Split::Train, Split::HeldOut] {
        for number in choose_evenly(rows.len(split), most) {
            counts.add(&rows.row(split, number).map_err(stage_failure)?);
        }
    }
    let summary = rows.summary();
    let RowsSummary { length, canvas, packing, chats, .. } = *summary;
    Ok(RowsStatistics {
        length,
        packing: match packing {
            Packing::Concat => "concat",
            Packing::FirstFit => "first-fit",
        },
        unit: RowsShape { length, canvas, packing, chats }.unit(),
        window: summary.shards.is_window(),
        train: describe_part(summary, Split::Train),
        held_out: describe_part(summary, Split::HeldOut),
        rows_read: counts.rows,
        lengths: counts.list_lengths(length),
        special_tokens: counts.list_special_tokens(),
    })
}

fn describe_part(summary: &RowsSummary, split: Split) -> PartStatistics {
    let counts = summary.split(split);
    PartStatistics {
        documents: counts.documents,
        rows: counts.rows,
        tokens: counts.tokens,
        learned: counts.supervised,
        efficiency: summary.efficiency(split),
        too_long: counts.too_long,
        beyond_canvas: counts.beyond_canvas,
    }
}

/// At most `most` of the numbers below `total`, evenly spaced.
fn choose_evenly(total: u64, most: u64) -> impl Iterator<Item = u64> {
    let count = total.min(most);
    // The product can be larger than 64 bits, the quotient is below `total`.
    (0..count).map(move |at| (u128::from(at) * u128::from(total) / u128::from(count)) as u64)
}

/// Counts over rows.
struct RowCounts {
    rows: u64,
    /// Documents by the number of binary digits of their length.
    lengths: BTreeMap<u32, u64>,
    /// Names of special tokens by id, with how often they occur outside padding.
    special: BTreeMap<u32, (String, u64)>,
}

impl RowCounts {
    fn new(tokenizer: &Tokenizer) -> Self {
        let names = tokenizer.special_names();
        let special = names.filter_map(|found| Some((tokenizer.id(&found.name)?, (found.name, 0)))).collect();
        Self { rows: 0, lengths: BTreeMap::new(), special }
    }

    fn add(&mut self, row: &Row) {
        self.rows += 1;
        for segment in row.segments.chunk_by(|a, b| a == b).filter(|segment| segment[0] != PADDING) {
            *self.lengths.entry(segment.len().ilog2()).or_default() += 1;
        }
        let used = row.tokens.iter().zip(&row.segments).filter(|(_, segment)| **segment != PADDING);
        for (id, _) in used {
            if let Some((_, count)) = self.special.get_mut(id) {
                *count += 1;
            }
        }
    }

    /// Ranges of lengths up to the `longest` that is possible, each twice as long as the one before it, without empty ones at the
    /// ends.
    fn list_lengths(&self, longest: usize) -> Vec<LengthCount> {
        let (first, last) = (self.lengths.keys().next(), self.lengths.keys().next_back());
        let digits = first.zip(last).into_iter().flat_map(|(first, last)| *first..=*last);
        let range = |digits: u32| LengthCount {
            from: 1 << digits,
            to: ((2 << digits) - 1).min(longest),
            documents: self.lengths.get(&digits).copied().unwrap_or(0),
        };
        digits.map(range).collect()
    }

    fn list_special_tokens(&self) -> Vec<(String, u64)> {
        let mut found: Vec<_> = self.special.values().filter(|(_, count)| *count > 0).cloned().collect();
        found.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tokenizer::tests::small;

    fn row(text: &[(&str, PositionRole)]) -> Row {
        let tokenizer = small();
        let mut row = Row::default();
        for (at, (text, role)) in text.iter().enumerate() {
            for id in tokenizer.encode(text).unwrap() {
                row.tokens.push(id);
                row.roles.push(*role);
                row.segments.push(if *role == PositionRole::Padding { PADDING } else { at as u32 / 2 });
            }
        }
        row
    }

    fn two_answers() -> Row {
        row(&[
            ("a b", PositionRole::Prompt),
            (" c d<|im_end|>", PositionRole::Supervised),
            ("e", PositionRole::Prompt),
            (" f<|im_end|>", PositionRole::Supervised),
            ("<|endoftext|>", PositionRole::Padding),
        ])
    }

    #[test]
    fn pieces_are_cut_at_documents_and_roles_and_give_the_row_again() {
        let found = cut_into_pieces(&two_answers(), &[], &small()).unwrap();
        let said: Vec<_> =
            found.iter().map(|piece| (piece.document, piece.role, piece.parts[0].text.as_str())).collect();
        let (given, learned) = (PieceRole::Given, PieceRole::Learned);
        assert_eq!(
            said,
            [
                (Some(1), given, "a b"),
                (Some(1), learned, " c d<|im_end|>"),
                (Some(2), given, "e"),
                (Some(2), learned, " f<|im_end|>"),
                (None, PieceRole::Padding, "<|endoftext|>"),
            ]
        );
        assert!(found.iter().all(|piece| piece.parts.len() == 1 && !piece.parts[0].corrupted));
    }

    #[test]
    fn noise_takes_only_what_is_learned_and_the_share_of_its_time() {
        let long = row(&[
            ("a b c d e f g h i j", PositionRole::Prompt),
            (&" a b c d".repeat(500), PositionRole::Supervised),
        ]);
        for (t, share) in [(0.0, 1.0), (0.25, 0.75), (1.0, 0.0)] {
            let noise = corrupt_row(&long, (t, 3, 1));
            assert_eq!(noise.len(), long.tokens.len());
            let given = long.roles.iter().filter(|role| **role == PositionRole::Prompt).count();
            assert!(noise[..given].iter().all(|corrupted| !corrupted));
            let many = noise.iter().filter(|corrupted| **corrupted).count() as f64;
            let learned = (noise.len() - given) as f64;
            // Five standard deviations of a share of 2,000 coins are below 0.05.
            assert!((many / learned - share).abs() < 0.05, "{t}: {many} of {learned}");
        }
        assert_eq!(corrupt_row(&long, (0.5, 3, 1)), corrupt_row(&long, (0.5, 3, 1)));
        assert_ne!(corrupt_row(&long, (0.5, 3, 1)), corrupt_row(&long, (0.5, 4, 1)));
        let found = cut_into_pieces(&long, &corrupt_row(&long, (0.5, 3, 1)), &small()).unwrap();
        let tokens: usize = found.iter().flat_map(|piece| &piece.parts).map(|part| part.tokens).sum();
        assert!(tokens == long.tokens.len() && found[1].parts.len() > 100);
    }

    #[test]
    fn rows_are_chosen_evenly() {
        let chosen = |total, most| choose_evenly(total, most).collect::<Vec<_>>();
        assert_eq!(chosen(5, 9), [0, 1, 2, 3, 4]);
        assert_eq!(chosen(10, 4), [0, 2, 5, 7]);
        assert!(chosen(0, 4).is_empty());
        assert_eq!(choose_evenly(u64::MAX, 2).last(), Some(u64::MAX / 2));
    }

    #[test]
    fn lengths_and_special_tokens_are_counted_without_padding() {
        let mut counts = RowCounts::new(&small());
        counts.add(&two_answers());
        let lengths = counts.list_lengths(64);
        assert_eq!(lengths.iter().map(|range| range.documents).sum::<u64>(), 2);
        assert!(lengths.iter().all(|range| range.to == 2 * range.from - 1));
        assert_eq!(counts.list_lengths(5).last().map(|range| range.to), Some(5));
        assert_eq!(counts.list_special_tokens(), [("<|im_end|>".to_owned(), 2)]);
    }
}
