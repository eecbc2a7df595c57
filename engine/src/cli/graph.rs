//! `fmflow graph`: the stages and what they read.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Context;
use super::source::Source;
use crate::error::Result;
use crate::pipeline::Pipeline;
use crate::pipeline::stage::StageId;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// How it is drawn
    #[arg(long, value_enum, default_value = "text")]
    format: Drawing,
    /// Answer with one JSON object
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// How a graph is drawn.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Drawing {
    /// One line per stage
    Text,
    /// Graphviz
    Dot,
    /// Mermaid, for Markdown
    Mermaid,
}

pub(super) fn graph(arguments: &Arguments, context: &Context<'_>) -> Result<()> {
    let pipeline = arguments.source.load(context)?;
    match arguments.json {
        true => context.output.json(&json_of(&pipeline)),
        false => context.output.result(&draw(&pipeline, arguments.format)),
    }
}

fn json_of(pipeline: &Pipeline) -> Value {
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

fn draw(pipeline: &Pipeline, drawing: Drawing) -> String {
    let name = |id: StageId| pipeline.stage(id).name.as_str();
    let mut text = match drawing {
        Drawing::Text => String::new(),
        Drawing::Dot => "digraph {\n  rankdir=LR\n".into(),
        Drawing::Mermaid => "graph LR\n".into(),
    };
    for stage in &pipeline.stages {
        let kind = stage.config.kind();
        let id = stage.id.0;
        let inputs: Vec<_> = stage.inputs.iter().map(|input| name(input.stage)).collect();
        text += &match drawing {
            Drawing::Text if inputs.is_empty() => format!("{} ({kind})\n", stage.name),
            Drawing::Text => format!("{} ({kind}) <- {}\n", stage.name, inputs.join(", ")),
            Drawing::Dot => format!("  s{id} [label=\"{}\\n{kind}\"]\n", stage.name),
            Drawing::Mermaid => format!("  s{id}[\"{}<br/>{kind}\"]\n", stage.name),
        };
        for input in &stage.inputs {
            text += &match drawing {
                Drawing::Text => String::new(),
                Drawing::Dot => format!("  s{} -> s{id}\n", input.stage.0),
                Drawing::Mermaid => format!("  s{} --> s{id}\n", input.stage.0),
            };
        }
    }
    if matches!(drawing, Drawing::Dot) { text + "}\n" } else { text }
}
