//! Options for making rows.

use fmflow_engine::pipeline::config::{SpecialNames, TokenCap};
use fmflow_engine::pipeline::shards::ShardPlan;

use super::error::{BuildError, options_error};
use super::shard_counts::{RowsProgress, ShardCounts};
use crate::data::chat::AnswerRoom;
use crate::data::packing::{MAX_LENGTH, Packing};
use crate::data::rows::ShardsSummary;

/// Options for making rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RowsOptions {
    /// Tokens in a row, 1 to [`MAX_LENGTH`].
    pub length: usize,
    /// How rows are filled. With [`Packing::Concat`], whole conversations are learned, like text.
    pub packing: Packing,
    /// Whether a document of text ends with an end-of-document token.
    pub end_of_document: bool,
    /// Tokens of an answer including its padding; `None` leaves answers at their own length.
    pub canvas: Option<usize>,
    /// Tokens of the blocks to whose end answers are filled; `None` does not fill them.
    pub answer_block: Option<usize>,
    /// What becomes of names of special tokens; `None` makes them tokens in conversations and text in documents.
    pub specials: Option<SpecialNames>,
    /// Share of documents that is held out, in [0, 1).
    pub held_out: f64,
    /// Where reading stops.
    pub cap: Option<TokenCap>,
}

impl RowsOptions {
    /// How much room an answer takes.
    pub(super) fn answer_room(&self) -> AnswerRoom {
        match (self.canvas, self.answer_block) {
            (Some(canvas), _) => AnswerRoom::Canvas(canvas),
            (None, Some(block)) => AnswerRoom::Blocks(block),
            (None, None) => AnswerRoom::Own,
        }
    }
}

/// The shards whose documents are built into rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BuiltShards<'a> {
    /// All shards of the dataset.
    pub plan: &'a ShardPlan,
    /// Whether only the first ones are built, as the plan of a window.
    pub window: bool,
    /// What an earlier run has made of them.
    pub made: Option<&'a RowsProgress>,
}

impl BuiltShards<'_> {
    /// Number of the first shards whose held-out documents are kept.
    pub(super) fn opening(&self) -> usize {
        self.plan.opening()
    }

    /// Whether the last document of the dataset is among those that are built.
    pub(super) fn reaches_the_end(&self) -> bool {
        !self.window || self.opening() == self.plan.len()
    }

    /// What `rows.json` says of the shards.
    pub(super) fn summarize(&self, counts: &ShardCounts, capped: bool) -> ShardsSummary {
        let (opening_rows, opening_tokens) = counts.opening_counts;
        let mut rows = counts.rows.clone();
        rows.resize(self.plan.len(), 0);
        ShardsSummary {
            count: self.plan.len() as u64,
            per_group: self.plan.per_group() as u64,
            in_order: capped,
            opening_rows,
            opening_tokens,
            held_out_later: counts.held_out_later,
            rows: (!self.window).then_some(rows),
        }
    }
}

/// Refuses options that no data fit.
pub(super) fn check_rows_options(wanted: &RowsOptions) -> Result<(), BuildError> {
    if !(1..=MAX_LENGTH).contains(&wanted.length) {
        let problem = format!("rows of {} tokens cannot be made", wanted.length);
        return Err(options_error(problem, "choose a length from 1 to 1048576"));
    }
    if !(0.0..1.0).contains(&wanted.held_out) {
        let problem = format!("a held-out share of {} is out of range", wanted.held_out);
        return Err(options_error(problem, "choose a number from 0 to below 1"));
    }
    if wanted.canvas.is_some_and(|canvas| canvas == 0 || canvas >= wanted.length) {
        return Err(options_error(
            "the canvas leaves no room for the prompt or the answer",
            "choose a canvas from 1 to below the length of a row",
        ));
    }
    Ok(())
}
