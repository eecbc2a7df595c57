//! The checkpoint folders that a file names: opened once, at the cost of their headers, and what is wrong with them.

use indexmap::IndexMap;

use crate::check::lint::lineage::{Lineages, StoredContracts};
use crate::pipeline::checkpoint_folder::{CheckpointFolder, FaultKind, FolderFault};
use crate::pipeline::checkpoint_headers::TokenTable;
use crate::pipeline::config::{FetchConfig, StageConfig, TokenizerChoice};
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::{Stage, StageId, Stages};
use crate::text::diagnostic::{Code, Diagnostic, Sink};

/// The opened folder of every `fetch` of a local one, with its faults.
pub(super) struct CheckpointFolders(IndexMap<StageId, OpenedFolder>);

struct OpenedFolder {
    folder: CheckpointFolder,
    faults: Vec<FolderFault>,
}

impl CheckpointFolders {
    /// Opens the folders of all stages.
    pub(super) fn open(stages: &Stages) -> Self {
        Self(stages.iter().filter_map(|stage| Some((stage.id, open_folder(stage)?))).collect())
    }

    /// Reports every fault of every folder.
    pub(super) fn report_faults(&self, stages: &Stages, sink: &mut Sink) {
        for (id, opened) in &self.0 {
            sink.extend(opened.faults.iter().map(|fault| describe_fault(&stages[*id], opened, fault)));
        }
    }

    /// The contracts in the folders; `None` for one that cannot be read.
    pub(super) fn contracts(&self) -> StoredContracts {
        let contract = |(id, opened): (&StageId, &OpenedFolder)| {
            let lost = opened.faults.iter().any(|fault| fault.kind == FaultKind::Contract);
            let stored = opened.folder.stored_contract().cloned();
            (lost || stored.is_some()).then_some((*id, stored.filter(|_| !lost)))
        };
        self.0.iter().filter_map(contract).collect()
    }

    /// Whether a stage fetches a folder that cannot be used, so that what else is said of it would follow from that.
    pub(super) fn is_unfit(&self, stage: &Stage) -> bool {
        self.0.get(&stage.id).is_some_and(|opened| opened.faults.iter().any(FolderFault::is_certain))
    }

    /// The ids of the tokenizer in the folder that a stage fetches, if they can be read.
    pub(super) fn tokens(&self, stage: &Stage) -> Option<&TokenTable> {
        self.0.get(&stage.id)?.folder.tokens()
    }

    /// The opened folder that a stage fetches, if it is fit for use.
    pub(super) fn fit(&self, stage: &Stage) -> Option<&CheckpointFolder> {
        self.0.get(&stage.id).filter(|_| !self.is_unfit(stage)).map(|opened| &opened.folder)
    }

    /// Reports folders without a tokenizer, each at the first stage that works with its text.
    pub(super) fn check_tokenizers(&self, lineages: &Lineages<'_>, sink: &mut Sink) {
        let mut reported: Vec<StageId> = Vec::new();
        for stage in lineages.stages {
            for source in find_tokenizer_sources(lineages, stage) {
                if reported.contains(&source.id) || self.is_unfit(source) {
                    continue;
                }
                if let Some(diagnostic) = self.missing_tokenizer(stage, source) {
                    reported.push(source.id);
                    sink.push(diagnostic);
                }
            }
        }
    }

    fn missing_tokenizer(&self, stage: &Stage, source: &Stage) -> Option<Diagnostic> {
        let opened = self.0.get(&source.id)?;
        let fault = opened.folder.find_missing_tokenizer()?;
        let work = format!("`{}` needs its tokenizer", stage.name);
        Some(describe_fault(source, opened, &fault).also(&stage.span, work))
    }
}

fn open_folder(stage: &Stage) -> Option<OpenedFolder> {
    let StageConfig::Fetch(FetchConfig::Folder(folder)) = &stage.config else { return None };
    // An absent folder is an error already, unless something takes its place.
    if stage.all_sources().all(|source| source.files.is_empty()) {
        return None;
    }
    let written = stage.field_at("from").and_then(|field| field.value.as_str());
    let folder = CheckpointFolder::open(folder, written.expect("a fetch has the text of its `from`"));
    let faults = folder.find_faults();
    Some(OpenedFolder { folder, faults })
}

fn describe_fault(stage: &Stage, opened: &OpenedFolder, fault: &FolderFault) -> Diagnostic {
    let shown = opened.folder.shown();
    let (code, message) = match fault.kind {
        FaultKind::Unfit => {
            (Code::UnfitCheckpoint, format!("the checkpoint folder `{shown}` cannot be used: {fault}"))
        }
        FaultKind::Contract => (
            Code::InvalidContract,
            format!("the contract of checkpoint `{}` is invalid: {fault}", stage.name),
        ),
        FaultKind::Unread => (Code::UnreadSetting, format!("in the checkpoint folder `{shown}`: {fault}")),
        FaultKind::Doubtful => (Code::TiedHead, format!("in the checkpoint folder `{shown}`: {fault}")),
    };
    Diagnostic::new(code, message).at(stage.parent_place(), "in this folder").help(fault.cure.as_str())
}

/// The stages whose tokenizers `stage` itself needs.
fn find_tokenizer_sources<'a>(lineages: &Lineages<'a>, stage: &Stage) -> Vec<&'a Stage> {
    let inputs = stage.inputs.iter().filter(|input| match (&stage.config, &input.role) {
        (StageConfig::Rows(_) | StageConfig::RandomInit(_), InputRole::Tokenizer) => true,
        (StageConfig::Convert(config), InputRole::From) => config.tokenizer == TokenizerChoice::Beside,
        (StageConfig::Convert(config), InputRole::Tokenizer) => config.tokenizer == TokenizerChoice::Named,
        (StageConfig::Generate(_), InputRole::From)
        | (StageConfig::Frontier(_), InputRole::Checkpoint(_)) => true,
        (StageConfig::Evaluate(config), InputRole::Checkpoint(_)) => {
            !config.exact_match.is_empty() || !config.benchmarks.is_empty()
        }
        _ => false,
    });
    inputs.filter_map(|input| find_tokenizer_source(lineages, &lineages.stages[input.stage])).collect()
}

/// The stage that the tokenizer of a checkpoint comes from; `None` if it has none on purpose.
pub(super) fn find_tokenizer_source<'a>(lineages: &Lineages<'a>, stage: &'a Stage) -> Option<&'a Stage> {
    let mut stage = stage;
    loop {
        let role = match &stage.config {
            StageConfig::Convert(config) => match config.tokenizer {
                TokenizerChoice::None => return None,
                TokenizerChoice::Named => InputRole::Tokenizer,
                TokenizerChoice::Beside => InputRole::From,
            },
            StageConfig::Train(_) | StageConfig::Average(_) => InputRole::From,
            StageConfig::RandomInit(_) => InputRole::Tokenizer,
            _ => return Some(stage),
        };
        stage = lineages.input(stage, &role)?;
    }
}
