//! What has to fit into something: answers into rows, requests into the model's context.

use super::{Graph, place};
use crate::config::{GenerateConfig, RowsConfig, StageConfig};
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::pipeline::Stage;

/// A canvas that leaves no room for a prompt.
pub(super) fn canvas(stage: &Stage, config: &RowsConfig, sink: &mut Sink) {
    let Some(canvas) = config.canvas.filter(|canvas| *canvas >= config.length) else { return };
    let message =
        format!("a canvas of {canvas} tokens and a prompt do not fit into rows of {}", config.length);
    sink.push(
        Diagnostic::new(Code::OutOfRange, message)
            .at(place(stage, "canvas"), "no room for a prompt")
            .also(place(stage, "length"), "tokens in a row")
            .help(format!("write a canvas below {}, or longer rows", config.length)),
    );
}

/// Requests of more tokens than the model can see.
pub(super) fn prompts(graph: &Graph<'_>, stage: &Stage, config: &GenerateConfig, sink: &mut Sink) {
    let Some(root) = graph.input(stage, "from").and_then(|from| graph.ancestors(from).last()) else { return };
    let StageConfig::RandomInit(model) = &root.config else { return };
    let longest = config.prompts.iter().filter_map(|prompt| prompt.new_tokens).max();
    let Some(longest) = longest.filter(|tokens| *tokens >= model.context) else { return };
    let message = format!(
        "`{}` asks for {longest} new tokens; the context of `{}` is {}",
        stage.name, root.name, model.context
    );
    sink.push(
        Diagnostic::new(Code::RowOverContext, message)
            .at(&stage.span, "asks for too many tokens")
            .also(place(root, "shape.context"), "the model's context")
            .help(format!("ask for fewer than {} tokens, prompt included", model.context)),
    );
}
