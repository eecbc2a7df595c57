//! The pieces of a row that each have their own time: documents, or blocks of documents.
//!
//! Blocks are counted from the start of each document: token i of a document is in block i / size, as in the mask of
//! block-causal attention and in sampling. If a document continues from the row before, counting starts again.

use std::ops::Range;

use crate::data::packing::{PADDING, Row};

/// Tokens that share a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowPiece {
    /// Range of tokens in the row.
    pub tokens: Range<usize>,
    /// Whether an earlier piece belongs to the same document.
    pub continues: bool,
}

/// The documents of a row, or their blocks of `block` tokens; the last block of a document may be shorter.
#[must_use]
pub(crate) fn split_row_into_pieces(row: &Row, block: Option<usize>) -> Vec<RowPiece> {
    let cut = |document: Range<usize>| {
        let size = block.unwrap_or(document.len()).max(1);
        let starts = document.clone().step_by(size);
        starts.map(move |start| RowPiece {
            tokens: start..document.end.min(start + size),
            continues: start > document.start,
        })
    };
    find_row_documents(row).into_iter().flat_map(cut).collect()
}

/// Runs of equal segment ids that are not padding.
fn find_row_documents(row: &Row) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for run in row.segments.chunk_by(|a, b| a == b) {
        if run[0] != PADDING {
            found.push(start..start + run.len());
        }
        start += run.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::packing::PositionRole;

    #[test]
    fn blocks_are_counted_from_the_start_of_each_document() {
        let segments = [vec![0; 5], vec![1; 4], vec![PADDING; 2]].concat();
        let row = Row { tokens: vec![0; 11], segments, roles: vec![PositionRole::Supervised; 11] };
        let found = |block| {
            let pieces = split_row_into_pieces(&row, block);
            pieces.into_iter().map(|piece| (piece.tokens, piece.continues)).collect::<Vec<_>>()
        };
        assert_eq!(found(None), [(0..5, false), (5..9, false)]);
        assert_eq!(found(Some(9)), found(None));
        assert_eq!(found(Some(2)), [(0..2, false), (2..4, true), (4..5, true), (5..7, false), (7..9, true)]);
    }
}
