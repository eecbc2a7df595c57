//! Packs examples into rows of one length.
//!
//! `concat` lays examples end to end and cuts every `length` tokens; only the last row has padding. `first-fit` keeps
//! examples whole: each goes into the first open row with room, and one longer than a row is counted and left
//! out, never cut.

use std::collections::VecDeque;

pub(crate) use fmflow_engine::pipeline::config::Packing;

/// `first-fit` keeps at most this many rows open and closes the oldest beyond that. More would fill rows slightly better,
/// but the bound keeps memory and search time constant.
const OPEN_ROWS: usize = 64;

/// Open rows have at most this many tokens together, so that long ones are fewer.
const OPEN_TOKENS: usize = 1 << 22;

/// The segment number of padding.
pub const PADDING: u32 = u32::MAX;

/// The longest row, in tokens: that of the field table.
pub(crate) const MAX_LENGTH: usize = 1 << 20;

/// The role of a position. The discriminants are stored in `rows.bin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PositionRole {
    /// Given: never corrupted, never in the loss.
    Prompt = 0,
    /// Learned: may be corrupted, and counts in the loss.
    Supervised = 1,
    /// Filler that belongs to no segment.
    Padding = 2,
}

/// Tokens that belong together. Both vectors have one entry per token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Example {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// The role of each position.
    pub roles: Vec<PositionRole>,
}

/// A row. All vectors have `length` entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Segment numbers, from 0 in each row; [`PADDING`] for padding. Segments do not attend to each other.
    pub segments: Vec<u32>,
    /// The role of each position.
    pub roles: Vec<PositionRole>,
}

impl Row {
    /// Position of each token within its segment, from 0. Padding counts as a segment.
    #[must_use]
    pub(crate) fn positions(&self) -> Vec<u32> {
        self.segments.chunk_by(|a, b| a == b).flat_map(|segment| 0..segment.len() as u32).collect()
    }

    /// Number of positions with the given role.
    #[must_use]
    pub(crate) fn count(&self, role: PositionRole) -> usize {
        self.roles.iter().filter(|&&r| r == role).count()
    }

    /// Adds a segment after the others.
    fn add(&mut self, tokens: &[u32], roles: &[PositionRole]) {
        let segment = self.segments.last().map_or(0, |last| last + 1);
        self.tokens.extend(tokens);
        self.roles.extend(roles);
        self.segments.resize(self.tokens.len(), segment);
    }

    fn padded(mut self, length: usize, pad: u32) -> Self {
        self.tokens.resize(length, pad);
        self.segments.resize(length, PADDING);
        self.roles.resize(length, PositionRole::Padding);
        self
    }
}

/// Fills rows and returns each one as soon as it is finished.
#[derive(Debug)]
pub(crate) struct Packer {
    packing: Packing,
    length: usize,
    pad: u32,
    open: VecDeque<Row>,
    most_open: usize,
    too_long: u64,
}

impl Packer {
    /// A packer for rows of `length` tokens (1 to [`MAX_LENGTH`]), padded with `pad`.
    #[must_use]
    pub(crate) fn new(packing: Packing, length: usize, pad: u32) -> Self {
        assert!((1..=MAX_LENGTH).contains(&length), "the options were checked");
        let most_open = (OPEN_TOKENS / length).clamp(1, OPEN_ROWS);
        Self { packing, length, pad, open: VecDeque::new(), most_open, too_long: 0 }
    }

    /// Examples left out because they are longer than a row.
    #[must_use]
    pub(crate) fn too_long(&self) -> u64 {
        self.too_long
    }

    /// Adds an example; returns the rows that it completes. An example without tokens changes nothing.
    pub(crate) fn push(&mut self, example: &Example) -> Vec<Row> {
        match self.packing {
            Packing::Concat => self.concat(example),
            Packing::FirstFit => self.first_fit(example).into_iter().collect(),
        }
    }

    /// The rows that are still open, padded.
    #[must_use]
    pub(crate) fn finish(self) -> Vec<Row> {
        self.open.into_iter().map(|row| row.padded(self.length, self.pad)).collect()
    }

    fn concat(&mut self, example: &Example) -> Vec<Row> {
        let (mut tokens, mut roles) = (&example.tokens[..], &example.roles[..]);
        let mut full = Vec::new();
        while !tokens.is_empty() {
            let mut row = self.open.pop_front().unwrap_or_default();
            let count = tokens.len().min(self.length - row.tokens.len());
            row.add(&tokens[..count], &roles[..count]);
            (tokens, roles) = (&tokens[count..], &roles[count..]);
            if row.tokens.len() == self.length {
                full.push(row);
            } else {
                self.open.push_front(row);
            }
        }
        full
    }

    fn first_fit(&mut self, example: &Example) -> Option<Row> {
        let count = example.tokens.len();
        if count > self.length {
            self.too_long += 1;
            return None;
        }
        if count == 0 {
            return None;
        }
        let fits = |row: &Row| row.tokens.len() + count <= self.length;
        let at = self.open.iter().position(fits).unwrap_or(self.open.len());
        if at == self.open.len() {
            self.open.push_back(Row::default());
        }
        self.open[at].add(&example.tokens, &example.roles);
        let close = if self.open[at].tokens.len() == self.length {
            self.open.remove(at)
        } else if self.open.len() > self.most_open {
            self.open.pop_front()
        } else {
            None
        };
        close.map(|row| row.padded(self.length, self.pad))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example(tokens: &[u32]) -> Example {
        Example { tokens: tokens.to_vec(), roles: vec![PositionRole::Supervised; tokens.len()] }
    }

    fn pack(packing: Packing, length: usize, examples: &[Example]) -> (Vec<Row>, u64) {
        let mut packer = Packer::new(packing, length, 99);
        let mut rows: Vec<Row> = examples.iter().flat_map(|example| packer.push(example)).collect();
        let too_long = packer.too_long();
        rows.extend(packer.finish());
        (rows, too_long)
    }

    #[test]
    fn concat_cuts_and_numbers_segments_per_row() {
        let examples = [example(&[1, 2, 3]), example(&[4]), example(&[5, 6, 7, 8, 9, 10])];
        let (rows, _) = pack(Packing::Concat, 4, &examples);
        let expect = |tokens: [u32; 4], segments: [u32; 4]| (tokens.to_vec(), segments.to_vec());
        let found: Vec<_> = rows.iter().map(|row| (row.tokens.clone(), row.segments.clone())).collect();
        let last = expect([9, 10, 99, 99], [0, 0, PADDING, PADDING]);
        assert_eq!(found, [expect([1, 2, 3, 4], [0, 0, 0, 1]), expect([5, 6, 7, 8], [0; 4]), last]);
        assert_eq!(rows[0].positions(), [0, 1, 2, 0]);
        assert_eq!(rows[2].positions(), [0, 1, 0, 1]);
        assert_eq!(rows[2].roles[1..3], [PositionRole::Supervised, PositionRole::Padding]);
    }

    #[test]
    fn first_fit_keeps_examples_whole() {
        let examples =
            [example(&[1; 3]), example(&[2; 3]), example(&[3]), example(&[4; 6]), example(&[5; 2])];
        let (rows, too_long) = pack(Packing::FirstFit, 5, &examples);
        let tokens: Vec<_> = rows.iter().map(|row| row.tokens.clone()).collect();
        // 3 goes into the first row, whose last place stays empty; 5 fills the second.
        assert_eq!(tokens, [vec![2, 2, 2, 5, 5], vec![1, 1, 1, 3, 99]]);
        assert_eq!(too_long, 1);
    }

    #[test]
    fn open_rows_are_bounded() {
        let mut packer = Packer::new(Packing::FirstFit, 10, 99);
        for at in 0..1000 {
            packer.push(&example(&[at; 6]));
            assert!(packer.open.len() <= OPEN_ROWS);
        }
        assert_eq!(packer.open.len(), OPEN_ROWS);
        let most = |length| Packer::new(Packing::FirstFit, length, 99).most_open;
        assert_eq!([1, 65_535, 1 << 18, MAX_LENGTH].map(most), [64, 64, 16, 4]);
    }

    fn examples() -> impl Strategy<Value = Vec<Example>> {
        let one = proptest::collection::vec(
            (0..50u32, prop_oneof![Just(PositionRole::Prompt), Just(PositionRole::Supervised)]),
            0..30,
        );
        let split = |pairs: Vec<(u32, PositionRole)>| {
            let (tokens, roles) = pairs.into_iter().unzip();
            Example { tokens, roles }
        };
        proptest::collection::vec(one.prop_map(split), 0..40)
    }

    proptest! {
        #[test]
        fn concat_loses_and_invents_nothing(examples in examples(), length in 1..20usize) {
            let (rows, too_long) = pack(Packing::Concat, length, &examples);
            let kept = |row: &Row| -> Vec<(u32, PositionRole)> {
                let all = row.tokens.iter().copied().zip(row.roles.iter().copied());
                all.filter(|(_, role)| *role != PositionRole::Padding).collect()
            };
            let found: Vec<_> = rows.iter().flat_map(kept).collect();
            let given: Vec<_> =
                examples.iter().flat_map(|e| e.tokens.iter().copied().zip(e.roles.iter().copied())).collect();
            prop_assert_eq!(found, given);
            prop_assert_eq!(too_long, 0);
            for (at, row) in rows.iter().enumerate() {
                prop_assert_eq!((row.tokens.len(), row.segments.len(), row.roles.len()), (length, length, length));
                prop_assert!(at + 1 == rows.len() || row.count(PositionRole::Padding) == 0);
            }
        }

        #[test]
        fn first_fit_holds_each_example_once(examples in examples(), length in 1..20usize) {
            let (rows, too_long) = pack(Packing::FirstFit, length, &examples);
            let mut found = Vec::new();
            for row in &rows {
                prop_assert_eq!((row.tokens.len(), row.segments.len(), row.roles.len()), (length, length, length));
                let mut at = 0;
                for segment in row.segments.chunk_by(|a, b| a == b) {
                    let span = at..at + segment.len();
                    at = span.end;
                    prop_assert_eq!(segment[0] == PADDING, row.roles[span.start] == PositionRole::Padding);
                    if segment[0] != PADDING {
                        found.push((row.tokens[span.clone()].to_vec(), row.roles[span].iter().map(|&r| r as u8).collect()));
                    }
                }
            }
            let fits = examples.iter().filter(|e| (1..=length).contains(&e.tokens.len()));
            let mut given: Vec<(Vec<u32>, Vec<u8>)> =
                fits.map(|e| (e.tokens.clone(), e.roles.iter().map(|&r| r as u8).collect())).collect();
            found.sort();
            given.sort();
            prop_assert_eq!(found, given);
            prop_assert_eq!(too_long, examples.iter().filter(|e| e.tokens.len() > length).count() as u64);
        }
    }
}
