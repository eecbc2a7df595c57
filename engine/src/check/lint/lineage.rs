//! What is known of the checkpoint of every stage, from the stages before it or from the contract in its folder.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use crate::pipeline::config::train::Objective;
use crate::pipeline::config::{
    ConvertConfig, FetchConfig, GrowthTokens, StageConfig, TimeConditioning, TrainConfig,
};
use crate::pipeline::contract::{Contract, ModelKind};
use crate::pipeline::field_path::{convert, rows, train};
use crate::pipeline::origins::{ContractFact, StoredContract};
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::{Stage, StageId, Stages};
use crate::text::diagnostic::Diagnostic;
use crate::text::place::Span;

/// Contracts read from checkpoint folders, by the id of the stage that makes or fetches the folder.
pub(super) type StoredContracts = IndexMap<StageId, Option<StoredContract>>;

/// What is known of the checkpoint of every stage.
///
/// Built in one pass from the first stage to the last: a stage's lineage is its parent's plus what it adds. Walking up
/// from every stage would be quadratic in the length of the chain.
pub(super) struct Lineages<'a> {
    pub(super) stages: &'a Stages,
    /// Indexed by stage id.
    all: Vec<Lineage<'a>>,
    roots: Vec<StageId>,
}

/// What is known of one stage's checkpoint.
#[derive(Clone)]
struct Lineage<'a> {
    /// `None` if part of its history is broken.
    contract: Option<KnownContract<'a>>,
    canvas: TrainedCanvas<'a>,
}

/// The canvas that a checkpoint was trained to fill.
#[derive(Clone, Copy)]
pub(super) enum TrainedCanvas<'a> {
    /// Set here, with this many tokens.
    Known(&'a Span, usize),
    /// None: it was never trained with one.
    None,
    /// Part of its history is broken or outside of this file.
    Unknown,
}

impl<'a> TrainedCanvas<'a> {
    /// Tokens of an answer that is `written` tokens long, else as long as the canvas, and then the place of that; `None` if they are not
    /// known before the run.
    pub(super) fn find_answer_length(self, written: Option<usize>) -> Option<(usize, Option<&'a Span>)> {
        match (written, self) {
            (Some(tokens), _) => Some((tokens, None)),
            (None, Self::Known(place, tokens)) => Some((tokens, Some(place))),
            (None, Self::None | Self::Unknown) => None,
        }
    }
}

impl<'a> Lineages<'a> {
    pub(super) fn new(stages: &'a Stages, stored: &'a StoredContracts) -> Self {
        let mut lineages = Self { stages, all: Vec::with_capacity(stages.len()), roots: stages.roots() };
        for stage in stages {
            let parent = stage.parent().map(|id| &lineages.all[id.index()]);
            let lineage = Lineage {
                contract: derive_contract(
                    stage,
                    stored.get(&stage.id),
                    parent.and_then(|parent| parent.contract.as_ref()),
                ),
                canvas: find_trained_canvas(
                    stages,
                    stage,
                    stored.get(&stage.id),
                    parent.map_or(TrainedCanvas::Unknown, |parent| parent.canvas),
                ),
            };
            lineages.all.push(lineage);
        }
        lineages
    }

    /// The stage that makes the input in this role.
    pub(super) fn input(&self, stage: &Stage, role: &InputRole) -> Option<&'a Stage> {
        stage.input(role).map(|id| &self.stages[id])
    }

    /// The stage that makes the checkpoint that `stage` starts from.
    pub(super) fn parent(&self, stage: &Stage) -> Option<&'a Stage> {
        self.stages.parent(stage)
    }

    /// The stages that make the rows that `stage` reads.
    pub(super) fn rows(&self, stage: &Stage) -> impl Iterator<Item = &'a Stage> {
        stage.rows().map(|id| &self.stages[id])
    }

    /// The contract of the checkpoint made by `maker`; `None` if part of its history is broken.
    pub(super) fn contract(&self, maker: &Stage) -> Option<&KnownContract<'a>> {
        self.all[maker.id.index()].contract.as_ref()
    }

    /// The stage that the weights of `stage` start from.
    pub(super) fn root(&self, stage: &Stage) -> &'a Stage {
        &self.stages[self.roots[stage.id.index()]]
    }

    /// The canvas that the checkpoint made by `maker` was trained to fill.
    pub(super) fn canvas(&self, maker: &Stage) -> TrainedCanvas<'a> {
        self.all[maker.id.index()].canvas
    }
}

fn derive_contract<'a>(
    stage: &'a Stage,
    stored: Option<&'a Option<StoredContract>>,
    parent: Option<&KnownContract<'a>>,
) -> Option<KnownContract<'a>> {
    match (stored, &stage.config) {
        (Some(stored), _) => Some(KnownContract::from_stored(stored.as_ref()?, stage.parent_place())),
        (None, StageConfig::RandomInit(_) | StageConfig::Fetch(_)) => {
            Some(KnownContract::autoregressive(stage))
        }
        (None, StageConfig::Convert(config)) => Some(KnownContract::after_conversion(stage, config)),
        (None, StageConfig::Train(config)) => parent.map(|parent| parent.after_training(stage, config)),
        (None, StageConfig::Average(_)) => parent.cloned(),
        _ => None,
    }
}

fn find_trained_canvas<'a>(
    stages: &'a Stages,
    stage: &'a Stage,
    stored: Option<&'a Option<StoredContract>>,
    before: TrainedCanvas<'a>,
) -> TrainedCanvas<'a> {
    let canvas = |id: StageId| match &stages[id].config {
        StageConfig::Rows(config) => Some((stages[id].place(rows::CANVAS), config.canvas?)),
        _ => None,
    };
    if let Some(stored) = stored {
        let Some(stored) = stored else { return TrainedCanvas::Unknown };
        let known = |canvas| TrainedCanvas::Known(stage.parent_place(), canvas);
        return stored.contract.canvas.map_or(TrainedCanvas::None, known);
    }
    match (&stage.config, stage.rows().filter_map(canvas).max_by_key(|(_, canvas)| *canvas)) {
        // Some rows could not be decoded and may have had a canvas.
        (StageConfig::Train(config), _) if stage.rows().count() < config.parts.len() => {
            TrainedCanvas::Unknown
        }
        (_, Some((place, canvas))) => TrainedCanvas::Known(place, canvas),
        (StageConfig::RandomInit(_) | StageConfig::Fetch(FetchConfig::Folder(_)), None) => {
            TrainedCanvas::None
        }
        _ => before,
    }
}

/// A checkpoint's contract, and where each fact of it is set.
#[derive(Clone)]
pub(super) struct KnownContract<'a> {
    /// What is known of the checkpoint.
    pub(super) contract: Contract,
    /// Name of its probability path, if this file declares it.
    pub(super) path_name: Option<&'a str>,
    places: BTreeMap<ContractFact, FactPlace<'a>>,
}

/// Where a fact is set.
#[derive(Clone, Copy)]
enum FactPlace<'a> {
    /// In this file.
    Here(&'a Span),
    /// In the contract of a folder; this file names the folder at the given place.
    Stored(&'a StoredContract, &'a Span),
}

impl<'a> KnownContract<'a> {
    /// The contract of a folder that this file names at `span`.
    fn from_stored(stored: &'a StoredContract, span: &'a Span) -> Self {
        let place = |fact| (fact, FactPlace::Stored(stored, span));
        let facts = [
            ContractFact::Kind,
            ContractFact::Growth,
            ContractFact::Shift,
            ContractFact::TimeConditioning,
            ContractFact::Source,
            ContractFact::Scheduler,
            ContractFact::Block,
            ContractFact::Attention,
        ];
        let places = facts.into_iter().chain([ContractFact::Tokenizer]).map(place).collect();
        Self { contract: stored.contract.clone(), path_name: None, places }
    }

    /// The contract of weights that were never converted.
    fn autoregressive(root: &'a Stage) -> Self {
        let facts = [
            ContractFact::Kind,
            ContractFact::Growth,
            ContractFact::Shift,
            ContractFact::TimeConditioning,
            ContractFact::Attention,
        ];
        let places = facts.map(|fact| (fact, FactPlace::Here(&root.span))).into();
        Self { contract: Contract::autoregressive(), path_name: None, places }
    }

    fn after_conversion(stage: &'a Stage, config: &ConvertConfig) -> Self {
        let places = [
            (ContractFact::Kind, &stage.span),
            (ContractFact::Growth, &stage.span),
            (ContractFact::Shift, stage.place(convert::SHIFT)),
            (ContractFact::TimeConditioning, stage.place(convert::TIME_CONDITIONING)),
            (ContractFact::Attention, &stage.span),
        ];
        let contract = Contract::after_conversion(config, None);
        let places = places.map(|(fact, span)| (fact, FactPlace::Here(span))).into();
        Self { contract, path_name: None, places }
    }

    /// The contract after `stage` has trained the checkpoint.
    ///
    /// A flow objective on an unconverted checkpoint counts as a flow from here on, so that its error is reported once and
    /// not for every stage after it.
    fn after_training(&self, stage: &'a Stage, config: &TrainConfig) -> Self {
        let mut known = self.clone();
        let grows = config.objective.growth().is_some();
        let growth = grows.then_some(GrowthTokens::UNREAD);
        known.contract = self.contract.after_training(config, config.steps, (None, growth));
        let path = if grows { train::GROW_MERGE } else { train::OBJECTIVE };
        known.places.insert(ContractFact::Growth, FactPlace::Here(stage.place(path)));
        let attention = FactPlace::Here(stage.place(train::ATTENTION));
        known.places.extend([(ContractFact::Block, attention), (ContractFact::Attention, attention)]);
        if let Objective::Flow { .. } = &config.objective {
            let path = FactPlace::Here(stage.place(train::OBJECTIVE_PATH));
            known.places.extend([(ContractFact::Source, path), (ContractFact::Scheduler, path)]);
            known.path_name = stage.field(train::OBJECTIVE_PATH).and_then(|field| field.value.as_str());
            if self.contract.kind == ModelKind::Autoregressive {
                known.contract.kind = ModelKind::Flow;
                known.places.insert(ContractFact::Kind, FactPlace::Here(&stage.span));
            }
        }
        known
    }

    /// Whether the model is given the time t.
    pub(super) fn knows_time(&self) -> bool {
        self.contract.time_conditioning != TimeConditioning::None
    }

    /// Adds the other half of a contradiction to `diagnostic`: where this file sets `fact`, or what the folder says and who
    /// set it there.
    pub(super) fn show_fact(
        &self,
        fact: ContractFact,
        diagnostic: Diagnostic,
        label: impl Into<String>,
    ) -> Diagnostic {
        let (stored, span) = match self.places[&fact] {
            FactPlace::Here(span) => return diagnostic.also(span, label),
            FactPlace::Stored(stored, span) => (stored, span),
        };
        let diagnostic = diagnostic.also(span, stored.describe_fact(fact));
        let Some(origin) = stored.origins.facts.get(&fact) else { return diagnostic };
        let line = format!("{} line {}: {}", origin.file, origin.line, origin.text);
        diagnostic.help_line(&line)
    }
}
