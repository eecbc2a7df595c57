//! `fmflow show --resolved`: prints every setting with its origin.

use serde_json::{Value, json};

use super::CommandContext;
use super::pipeline_arguments::PipelineArguments;
use crate::error::Result;
use crate::pipeline::stage::Stage;
use crate::text::display::render_table;
use crate::text::place::Origin;

/// Prints the settings of one stage, or of all stages.
pub(super) fn show_resolved_settings(
    source: &PipelineArguments,
    stage: Option<&str>,
    as_json: bool,
    context: &CommandContext<'_>,
) -> Result<()> {
    let pipeline = source.load(context)?;
    let only = stage.map(|name| pipeline.find_stage(name)).transpose()?.map(|stage| stage.id);
    let stages: Vec<_> =
        pipeline.stages.iter().filter(|stage| only.is_none_or(|id| id == stage.id)).collect();
    if as_json {
        let stages: Vec<_> = stages.into_iter().map(render_settings_json).collect();
        let answer = json!({ "schema": "fmflow.show/1", "pipeline": pipeline.name, "resolved": stages });
        return context.output.json(&answer);
    }
    let stages: Vec<_> = stages.into_iter().map(render_settings_table).collect();
    context.output.result(&stages.join("\n"))
}

fn render_settings_table(stage: &Stage) -> String {
    let rows = stage.fields.iter().map(|field| {
        let value = field.value.to_string();
        let note = if field.semantic { "" } else { ", not in the fingerprint" };
        vec![format!("  {}", field.path), value, format!("{}{note}", field.describe_origin())]
    });
    format!(
        "{} ({})\n{}",
        stage.name,
        stage.config.kind(),
        render_table(&["  field", "value", "from"], rows.collect())
    )
}

fn render_settings_json(stage: &Stage) -> Value {
    let fields = stage.fields.iter().map(|field| {
        let (origin, recipe) = match &field.origin {
            Origin::Written => ("written", None),
            Origin::Recipe(name) => ("recipe", Some(name)),
            Origin::Default => ("default", None),
            Origin::Set => ("set", None),
            Origin::Lock => ("lock", None),
        };
        let place = (field.origin != Origin::Default).then(|| field.span.to_string());
        json!({
            "path": field.path, "value": field.value, "origin": origin, "recipe": recipe, "place": place,
            "counts": field.semantic,
        })
    });
    json!({ "name": stage.name, "kind": stage.config.kind(), "fields": fields.collect::<Vec<_>>() })
}
