//! Lengths of a smoke run: small, and still multiples of every block.

use crate::pipeline::Pipeline;
use crate::pipeline::config::{
    AttentionSchedule, EndOfTurn, Packing, RowsConfig, StageConfig, TokenizerConfig,
};
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::{SourceFiles, Stage};
use crate::smoke::changes::Changes;

/// Largest block, in tokens, unless an odd number of the pipeline is larger.
const BLOCK: usize = 32;
/// Tokens of a row, unless blocks need more.
const ROW: usize = 128;
/// Most tokens of a row of conversations that are on disk: such a row holds whole conversations.
const LONG_ROW: usize = 4096;
/// As many tokens of the generated tokenizer stand for one of a real one, at most.
const MORE_TOKENS: usize = 3;

/// What the lengths of a pipeline depend on.
pub(super) struct Sizes<'a> {
    pipeline: &'a Pipeline,
    /// Whether the tokenizers of checkpoints are replaced, and with them all that come from files.
    pub(super) replaces_tokenizers: bool,
    /// A length that all small blocks divide.
    unit: usize,
}

impl<'a> Sizes<'a> {
    pub(super) fn of(pipeline: &'a Pipeline) -> Self {
        let absent = |sources: &[SourceFiles]| sources.iter().any(|source| source.files.is_empty());
        let replaces_tokenizers = pipeline.stages.iter().any(|stage| match &stage.config {
            StageConfig::Fetch(_) => true,
            StageConfig::Tokenizer(TokenizerConfig::File(_)) => absent(&stage.sources),
            _ => false,
        });
        let blocks = pipeline.stages.iter().flat_map(|stage| list_blocks(&stage.config));
        let unit = blocks.map(shrink_block).fold(1, find_common_multiple);
        Self { pipeline, replaces_tokenizers, unit }
    }

    /// Whether a stage of the pipeline gets its texts from a tokenizer that is replaced.
    fn has_other_tokenizer(&self, stage: &Stage) -> bool {
        let role = match &stage.config {
            StageConfig::Fetch(_) => return true,
            StageConfig::Tokenizer(TokenizerConfig::File(_)) => return self.replaces_tokenizers,
            StageConfig::Tokenizer(TokenizerConfig::ByteLevelBpe { .. }) => return false,
            StageConfig::Rows(_) | StageConfig::RandomInit(_) => InputRole::Tokenizer,
            _ => InputRole::From,
        };
        stage.input(&role).is_some_and(|id| self.has_other_tokenizer(self.pipeline.stage(id)))
    }

    /// Shortens rows. Conversations that are on disk keep room for as many words as they had.
    pub(super) fn shrink_rows(
        &self,
        stage: &Stage,
        rows: &mut RowsConfig,
        generated: bool,
        changes: &mut Changes,
    ) {
        if rows.packing == Packing::FirstFit && !generated {
            let factor = if self.has_other_tokenizer(stage) { MORE_TOKENS } else { 1 };
            let length = rows.length.saturating_mul(factor);
            let length = if length > LONG_ROW { self.round_up(LONG_ROW).min(length) } else { length };
            changes.set("length", &mut rows.length, length);
            if let Some(canvas) = &mut rows.canvas {
                changes.set("canvas", canvas, canvas.saturating_mul(factor).min(length / 2));
            }
        } else {
            changes.lower("length", &mut rows.length, self.round_up(ROW));
            if let Some(canvas) = &mut rows.canvas {
                changes.set("canvas", canvas, shrink_block(*canvas).min(self.round_up(ROW)));
            }
        }
        if let Some(EndOfTurn::ToBlockBoundary { block }) = &mut rows.end_of_turn {
            changes.set("end-of-turn block", block, shrink_block(*block));
        }
    }

    fn round_up(&self, length: usize) -> usize {
        length.div_ceil(self.unit) * self.unit
    }
}

/// A block of at most [`BLOCK`] tokens that divides `size`, or its odd part.
pub(super) fn shrink_block(size: usize) -> usize {
    let mut size = size;
    while size > BLOCK && size.is_multiple_of(2) {
        size /= 2;
    }
    size
}

/// Tokens to write: at most [`BLOCK`], in whole blocks.
pub(super) fn shrink_answer(tokens: usize, block: Option<usize>) -> usize {
    tokens.min(BLOCK.next_multiple_of(block.unwrap_or(1).max(1)))
}

fn list_blocks(config: &StageConfig) -> Vec<usize> {
    match config {
        StageConfig::Train(train) => match &train.attention {
            AttentionSchedule::Block { phases } => phases.iter().map(|phase| phase.size).collect(),
            _ => Vec::new(),
        },
        StageConfig::Rows(rows) => rows.end_of_turn.and_then(EndOfTurn::block).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The least common multiple; if it is beyond every row, the larger number.
fn find_common_multiple(a: usize, b: usize) -> usize {
    let (mut divisor, mut rest) = (a, b);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    let multiple = (a / divisor.max(1)).saturating_mul(b);
    if multiple > LONG_ROW { a.max(b) } else { multiple }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_blocks_divide_large_ones() {
        for size in 1..3000 {
            let small = shrink_block(size);
            assert!(size.is_multiple_of(small) && small <= size, "{size} {small}");
            assert!(small <= BLOCK || small % 2 == 1, "{size} {small}");
        }
        assert_eq!([4, 32, 48, 64, 1024, 33].map(shrink_block), [4, 32, 24, 32, 32, 33]);
    }

    #[test]
    fn answers_are_whole_blocks() {
        assert_eq!(shrink_answer(512, Some(32)), 32);
        assert_eq!(shrink_answer(512, Some(24)), 48);
        assert_eq!(shrink_answer(5, Some(32)), 5, "what is short stays");
        assert_eq!(shrink_answer(512, None), 32);
    }

    #[test]
    fn the_unit_of_blocks_stays_below_a_row() {
        assert_eq!(find_common_multiple(1, 32), 32);
        assert_eq!(find_common_multiple(24, 32), 96);
        assert_eq!(find_common_multiple(1023, 1021), 1023);
    }
}
