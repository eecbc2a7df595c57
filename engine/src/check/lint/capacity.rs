//! Lints of lengths: a canvas must fit into its rows, a request into the model's context.

use crate::check::lint::lineage::Lineages;

use crate::pipeline::config::{GenerateConfig, RowsConfig, StageConfig};
use crate::pipeline::field_path::{random_init, rows};
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};

/// Reports a canvas that leaves no room for a prompt.
pub(super) fn check_canvas_length(stage: &Stage, config: &RowsConfig, sink: &mut Sink) {
    let Some(canvas) = config.canvas.filter(|canvas| *canvas >= config.length) else { return };
    let message =
        format!("a canvas of {canvas} tokens and a prompt do not fit into rows of {}", config.length);
    sink.push(
        Diagnostic::new(Code::OutOfRange, message)
            .at(stage.place(rows::CANVAS), "no room for a prompt")
            .also(stage.place(rows::LENGTH), "tokens in a row")
            .help(format!("write a `canvas` below {}, or use longer rows", config.length)),
    );
}

/// Reports requests for more tokens than the model's context holds. Only a `random-init` root states its context here.
pub(super) fn check_prompt_lengths(
    lineages: &Lineages<'_>,
    stage: &Stage,
    config: &GenerateConfig,
    sink: &mut Sink,
) {
    let Some(root) = lineages.parent(stage).map(|from| lineages.root(from)) else { return };
    let StageConfig::RandomInit(model) = &root.config else { return };
    let longest = config.prompts.iter().filter_map(|prompt| prompt.new_tokens).max();
    let Some(longest) = longest.filter(|tokens| *tokens >= model.context) else { return };
    let message = format!(
        "`{}` asks for {longest} new tokens, but the context of `{}` is {}",
        stage.name, root.name, model.context
    );
    sink.push(
        Diagnostic::new(Code::RowOverContext, message)
            .at(&stage.span, "asks for too many tokens")
            .also(root.place(random_init::CONTEXT), "the model's context")
            .help(format!("ask for fewer than {} tokens, prompt included", model.context)),
    );
}
