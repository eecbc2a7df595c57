//! `fmflow graph`: draws the stages and what they read.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::CommandContext;
use super::pipeline_arguments::PipelineArguments;
use crate::error::Result;
use crate::pipeline::Pipeline;
use crate::pipeline::stage::StageId;

#[derive(Debug, Args)]
pub(super) struct GraphArguments {
    #[command(flatten)]
    pub(super) source: PipelineArguments,
    /// Format of the drawing
    #[arg(long, value_enum, default_value = "text")]
    format: GraphFormat,
    /// Answer with one JSON object
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// Format of the drawing.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum GraphFormat {
    /// One line per stage
    Text,
    /// Graphviz
    Dot,
    /// Mermaid, for Markdown
    Mermaid,
}

pub(super) fn run_graph(arguments: &GraphArguments, context: &CommandContext<'_>) -> Result<()> {
    let pipeline = arguments.source.load(context)?;
    match arguments.json {
        true => context.output.json(&render_graph_json(&pipeline)),
        false => context.output.result(&draw_graph(&pipeline, arguments.format)),
    }
}

fn render_graph_json(pipeline: &Pipeline) -> Value {
    let name = |id: StageId| &pipeline.stage(id).name;
    let stages = pipeline.stages.iter().map(|stage| {
        let inputs = stage.inputs.iter();
        let inputs =
            inputs.map(|input| json!({ "role": input.role.to_string(), "stage": name(input.stage) }));
        let sources = stage.sources.iter().map(|source| &source.name);
        json!({
            "name": stage.name, "kind": stage.config.kind(), "inputs": inputs.collect::<Vec<_>>(),
            "sources": sources.collect::<Vec<_>>(),
        })
    });
    json!({ "schema": "fmflow.graph/1", "pipeline": pipeline.name, "stages": stages.collect::<Vec<_>>() })
}

fn draw_graph(pipeline: &Pipeline, drawing: GraphFormat) -> String {
    let name = |id: StageId| pipeline.stage(id).name.as_str();
    let mut text = match drawing {
        GraphFormat::Text => String::new(),
        GraphFormat::Dot => "digraph {\n  rankdir=LR\n".into(),
        GraphFormat::Mermaid => "graph LR\n".into(),
    };
    for stage in &pipeline.stages {
        let kind = stage.config.kind();
        let id = stage.id.0;
        let inputs: Vec<_> = stage.inputs.iter().map(|input| name(input.stage)).collect();
        text += &match drawing {
            GraphFormat::Text if inputs.is_empty() => format!("{} ({kind})\n", stage.name),
            GraphFormat::Text => format!("{} ({kind}) <- {}\n", stage.name, inputs.join(", ")),
            GraphFormat::Dot => format!("  s{id} [label=\"{}\\n{kind}\"]\n", stage.name),
            GraphFormat::Mermaid => format!("  s{id}[\"{}<br/>{kind}\"]\n", stage.name),
        };
        for input in &stage.inputs {
            text += &match drawing {
                GraphFormat::Text => String::new(),
                GraphFormat::Dot => format!("  s{} -> s{id}\n", input.stage.0),
                GraphFormat::Mermaid => format!("  s{} --> s{id}\n", input.stage.0),
            };
        }
    }
    if matches!(drawing, GraphFormat::Dot) { text + "}\n" } else { text }
}
