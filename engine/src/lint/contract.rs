//! What a checkpoint is when a stage takes it: facts of the stages before it, or of a folder that says so itself.

use super::{Graph, field, place};
use crate::config::train::{Objective, Scheduler};
use crate::config::{ConvertConfig, StageConfig, TimeConditioning, TrainConfig};
use crate::contract::{Kind, Stored};
use crate::diagnostic::Diagnostic;
use crate::pipeline::{Span, Stage};

/// A fact and its place.
#[derive(Clone, Debug)]
pub(super) struct Fact<'a, T> {
    /// What is so.
    pub(super) value: T,
    span: &'a Span,
    stored: Option<(&'a Stored, &'static str)>,
}

/// The facts of one checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Contract<'a> {
    /// What the logits mean.
    pub(super) kind: Fact<'a, Kind>,
    /// Whether position i predicts token i + 1.
    pub(super) shift: Fact<'a, bool>,
    /// Share of the mask in the source that it was trained with.
    pub(super) source: Option<Fact<'a, f64>>,
    /// The scheduler that it was trained with.
    pub(super) scheduler: Option<Fact<'a, Scheduler>>,
    /// The name of that path, where this file declares it.
    pub(super) path: Option<&'a str>,
    /// Tokens of the blocks that it was last trained with.
    pub(super) block: Option<Fact<'a, usize>>,
    /// Whether it is told the time.
    pub(super) timed: Fact<'a, bool>,
    /// Digest of its tokenizer, where that is known.
    pub(super) tokenizer: Option<Fact<'a, String>>,
}

impl<'a, T> Fact<'a, T> {
    fn here(value: T, span: &'a Span) -> Self {
        Self { value, span, stored: None }
    }

    /// Adds the other half of a contradiction: the place in this file, or what the folder says and who set it.
    pub(super) fn tell(&self, diagnostic: Diagnostic, label: impl Into<String>) -> Diagnostic {
        let Some((stored, fact)) = self.stored else { return diagnostic.also(self.span, label) };
        let diagnostic = diagnostic.also(self.span, stored.say(fact));
        let Some(origin) = stored.origins.facts.get(fact) else { return diagnostic };
        let line = format!("{} line {}: {}", origin.file, origin.line, origin.text);
        let help = diagnostic.help.as_ref().map_or_else(|| line.clone(), |help| format!("{help}\n{line}"));
        diagnostic.help(help)
    }
}

impl<'a> Contract<'a> {
    /// Of a folder, taken in at `span`.
    fn stored(stored: &'a Stored, span: &'a Span) -> Self {
        fn fact<'a, T>(value: T, name: &'static str, span: &'a Span, stored: &'a Stored) -> Fact<'a, T> {
            Fact { value, span, stored: Some((stored, name)) }
        }
        let path = stored.path.as_ref();
        Self {
            kind: fact(stored.kind, "kind", span, stored),
            shift: fact(stored.shift, "shift", span, stored),
            source: path.map(|path| fact(path.mask_share, "source", span, stored)),
            scheduler: path.map(|path| fact(path.scheduler, "scheduler", span, stored)),
            path: None,
            block: stored.block.map(|size| fact(size, "block", span, stored)),
            timed: fact(stored.timed(), "time-conditioning", span, stored),
            tokenizer: stored.tokenizer.clone().map(|digest| fact(digest, "tokenizer", span, stored)),
        }
    }

    /// Of weights that nobody has converted.
    fn autoregressive(root: &'a Stage) -> Self {
        let span = &root.span;
        Self {
            kind: Fact::here(Kind::Autoregressive, span),
            shift: Fact::here(true, span),
            source: None,
            scheduler: None,
            path: None,
            block: None,
            timed: Fact::here(false, span),
            tokenizer: None,
        }
    }

    fn converted(stage: &'a Stage, config: &ConvertConfig) -> Self {
        let timed = config.time_conditioning != TimeConditioning::None;
        Self {
            kind: Fact::here(Kind::Flow, &stage.span),
            shift: Fact::here(config.shift, place(stage, "shift")),
            source: None,
            scheduler: None,
            path: None,
            block: None,
            timed: Fact::here(timed, place(stage, "time-conditioning")),
            tokenizer: None,
        }
    }

    /// After a training. A flow that was trained without a conversion counts as one: its fault is told once.
    fn trained(self, stage: &'a Stage, config: &TrainConfig) -> Self {
        let size = config.attention.block_at(u64::MAX);
        let block = size.map(|size| Fact::here(size, place(stage, "attention")));
        let Objective::Flow { path, .. } = &config.objective else { return Self { block, ..self } };
        let span = place(stage, "objective.path");
        let kind =
            if self.kind.value == Kind::Flow { self.kind } else { Fact::here(Kind::Flow, &stage.span) };
        Self {
            kind,
            block,
            path: field(stage, "objective.path").and_then(|field| field.value.as_str()),
            source: Some(Fact::here(path.mask_share, span)),
            scheduler: Some(Fact::here(path.scheduler, span)),
            ..self
        }
    }
}

impl<'a> Graph<'a> {
    /// What the checkpoint made by `maker` is; `None` where part of its history is broken.
    pub(super) fn contract(&'a self, maker: &'a Stage) -> Option<Contract<'a>> {
        let mut trainings = Vec::new();
        for stage in self.ancestors(maker) {
            let start = match (self.stored.get(&stage.id.0), &stage.config) {
                (Some(stored), _) => Contract::stored(stored, place(stage, "from")),
                (None, StageConfig::RandomInit(_) | StageConfig::Fetch(_)) => Contract::autoregressive(stage),
                (None, StageConfig::Convert(config)) => Contract::converted(stage, config),
                (None, StageConfig::Train(config)) => {
                    trainings.push((stage, &**config));
                    continue;
                }
                _ => return None,
            };
            let train = |contract: Contract<'a>, (stage, config)| contract.trained(stage, config);
            return Some(trainings.into_iter().rev().fold(start, train));
        }
        None
    }
}
