//! The context of the model that a checkpoint's weights start from, as far as it is known before the run.

use crate::check::lint::lineage::Lineages;

use crate::pipeline::checkpoint_headers;
use crate::pipeline::config::{FetchConfig, StageConfig};
use crate::pipeline::field_path::random_init;
use crate::pipeline::shape::ModelShape;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::Diagnostic;
use crate::text::place::Span;

/// The longest row that a model takes, and what says so.
#[derive(Clone, Copy)]
pub(super) struct KnownContext<'a> {
    /// In tokens.
    pub(super) tokens: usize,
    /// The stage that the weights start from.
    pub(super) root: &'a Stage,
    /// The setting, or the folder or repository that says it.
    place: &'a Span,
}

impl<'a> KnownContext<'a> {
    /// The context of the checkpoint made by `checkpoint`; `None` if it is not known before the run.
    pub(super) fn find(lineages: &Lineages<'a>, checkpoint: &Stage) -> Option<Self> {
        let root = lineages.root(checkpoint);
        let (tokens, place) = match &root.config {
            StageConfig::RandomInit(model) => (model.context, root.place(random_init::CONTEXT)),
            StageConfig::Fetch(FetchConfig::Folder(folder)) => {
                (checkpoint_headers::read_context(&folder.join("config.json"))?, root.parent_place())
            }
            StageConfig::Fetch(FetchConfig::Hub { from, .. }) => {
                (ModelShape::published_context(from)?, root.parent_place())
            }
            _ => return None,
        };
        Some(Self { tokens, root, place })
    }

    /// Adds the place that sets it to `diagnostic`.
    pub(super) fn show(&self, diagnostic: Diagnostic) -> Diagnostic {
        diagnostic.also(self.place, format!("the model's context: {}", self.tokens))
    }

    /// What to write for a longer context; `None` if it belongs to weights that are trained already.
    pub(super) fn suggest_longer(&self, tokens: usize) -> Option<String> {
        matches!(self.root.config, StageConfig::RandomInit(_))
            .then(|| format!("write `context={tokens}` in the shape"))
    }
}
