//! Decodes the attention of a training stage: its kind, and how it changes over the updates.

use super::{Decoder, unknown_word};
use crate::language::record::Record;
use crate::pipeline::config::{AttentionSchedule, BlockPhase};
use crate::text::diagnostic::{Code, Diagnostic};

impl Decoder<'_> {
    pub(super) fn attention(&mut self, record: &Record) -> Option<AttentionSchedule> {
        let anneal = record.child("anneal").map(|child| child.count("until"));
        let strided = record.child("stride").is_some();
        Some(match (record.text("value")?, anneal) {
            ("causal", _) if strided => AttentionSchedule::Strided { phases: self.phases(record, STRIDES)? },
            ("causal", _) => AttentionSchedule::Causal,
            ("bidirectional", Some(until)) => AttentionSchedule::Annealed { until: until? },
            ("bidirectional", None) => AttentionSchedule::Bidirectional,
            ("block", _) => AttentionSchedule::Block { phases: self.block_phases(record)? },
            (word, _) => unknown_word(word),
        })
    }

    fn block_phases(&mut self, record: &Record) -> Option<Vec<BlockPhase>> {
        match record.size("size") {
            Some(size) => Some(vec![BlockPhase { size, until: None }]),
            None => self.phases(record, BLOCK_SIZES),
        }
    }

    /// The phases of a schedule. Every phase but the last must have an end, and each must end later than the previous one.
    fn phases(&mut self, record: &Record, words: PhaseWords) -> Option<Vec<BlockPhase>> {
        let before = self.sink.errors();
        let (children, mut phases): (Vec<_>, Vec<BlockPhase>) =
            (record.children(words.node).collect(), Vec::new());
        for (at, child) in children.iter().enumerate() {
            let phase = BlockPhase { size: child.size("value")?, until: child.count("until") };
            let previous = at.checked_sub(1).and_then(|at| children.get(at));
            match (at + 1 == children.len(), phase.until) {
                (true, Some(_)) => self.sink.push(words.report_last_with_end(child)),
                (false, None) => self.sink.push(words.report_without_end(child, phase.size)),
                _ => {}
            }
            if let (Some(previous), Some(until)) = (previous, phase.until)
                && let Some(start) = previous.count("until").filter(|start| *start >= until)
            {
                self.sink.push(words.report_early_end(child, previous, start));
            }
            phases.push(phase);
        }
        (self.sink.errors() == before).then_some(phases)
    }
}

/// What the phases of a schedule are called.
#[derive(Clone, Copy)]
struct PhaseWords {
    /// The node of a phase.
    node: &'static str,
    /// One phase, for messages.
    name: &'static str,
}

const BLOCK_SIZES: PhaseWords = PhaseWords { node: "size", name: "block size" };
const STRIDES: PhaseWords = PhaseWords { node: "stride", name: "stride" };

impl PhaseWords {
    fn report_last_with_end(self, child: &Record) -> Diagnostic {
        let Self { node, name } = self;
        let span = child.leaf("until").map_or(&child.span, |leaf| &leaf.span);
        Diagnostic::new(Code::FieldDoesNotApply, format!("the last {name} must not have an end"))
            .at(span, format!("no {node} follows"))
            .help(format!("remove `until=`, or add the {node} that follows: `{node} 32`"))
    }

    fn report_without_end(self, child: &Record, size: usize) -> Diagnostic {
        let Self { node, name } = self;
        Diagnostic::new(Code::MissingField, format!("a {name} that another one follows needs `until`"))
            .at(&child.span, "`until` is missing")
            .help(format!("add the update at which it ends, as in `{node} {size} until=1_000`"))
    }

    fn report_early_end(self, child: &Record, previous: &Record, start: u64) -> Diagnostic {
        let Self { node, name } = self;
        let span = |record: &Record| record.leaf("until").map_or(&record.span, |leaf| &leaf.span).clone();
        Diagnostic::new(Code::OutOfRange, format!("a {name} ends before it begins"))
            .at(&span(child), format!("not after {start}"))
            .also(&span(previous), "it begins here")
            .help(format!("write an update above {start}, or remove this {node}"))
    }
}
