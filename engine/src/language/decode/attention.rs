//! Decodes the attention of a training stage: its kind, and how it changes over the updates.

use super::{Decoder, unknown_word};
use crate::language::record::Record;
use crate::pipeline::config::{AttentionSchedule, BlockPhase};
use crate::text::diagnostic::{Code, Diagnostic};

impl Decoder<'_> {
    pub(super) fn attention(&mut self, record: &Record) -> Option<AttentionSchedule> {
        let anneal = record.child("anneal").map(|child| child.count("until"));
        Some(match (record.text("value")?, anneal) {
            ("causal", _) => AttentionSchedule::Causal,
            ("bidirectional", Some(until)) => AttentionSchedule::Annealed { until: until? },
            ("bidirectional", None) => AttentionSchedule::Bidirectional,
            ("block", _) => AttentionSchedule::Block { phases: self.phases(record)? },
            (word, _) => unknown_word(word),
        })
    }

    /// The block-size phases. Every phase but the last must have an end, and each must end later than the previous one.
    fn phases(&mut self, record: &Record) -> Option<Vec<BlockPhase>> {
        if let Some(size) = record.size("size") {
            return Some(vec![BlockPhase { size, until: None }]);
        }
        let before = self.sink.errors();
        let (children, mut phases): (Vec<_>, Vec<BlockPhase>) =
            (record.children("size").collect(), Vec::new());
        for (at, child) in children.iter().enumerate() {
            let phase = BlockPhase { size: child.size("value")?, until: child.count("until") };
            let previous = at.checked_sub(1).and_then(|at| children.get(at));
            match (at + 1 == children.len(), phase.until) {
                (true, Some(_)) => self.sink.push(last_size_with_end(child)),
                (false, None) => self.sink.push(size_without_end(child, phase.size)),
                _ => {}
            }
            if let (Some(previous), Some(until)) = (previous, phase.until)
                && let Some(start) = previous.count("until").filter(|start| *start >= until)
            {
                self.sink.push(size_ending_too_early(child, previous, start));
            }
            phases.push(phase);
        }
        (self.sink.errors() == before).then_some(phases)
    }
}

fn last_size_with_end(child: &Record) -> Diagnostic {
    let span = child.leaf("until").map_or(&child.span, |leaf| &leaf.span);
    Diagnostic::new(Code::FieldDoesNotApply, "the last block size must not have an end")
        .at(span, "no size follows")
        .help("remove `until=`, or add the size that follows: `size 32`")
}

fn size_without_end(child: &Record, size: usize) -> Diagnostic {
    Diagnostic::new(Code::MissingField, "a block size that another one follows needs `until`")
        .at(&child.span, "`until` is missing")
        .help(format!("add the update at which it ends, as in `size {size} until=1_000`"))
}

fn size_ending_too_early(child: &Record, previous: &Record, start: u64) -> Diagnostic {
    let span = |record: &Record| record.leaf("until").map_or(&record.span, |leaf| &leaf.span).clone();
    Diagnostic::new(Code::OutOfRange, "a block size ends before it begins")
        .at(&span(child), format!("not after {start}"))
        .also(&span(previous), "it begins here")
        .help(format!("write an update above {start}, or remove this size"))
}
