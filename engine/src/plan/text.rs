//! Renders the plan as text, for people.

use std::fmt::Write as _;

use indexmap::IndexMap;

use crate::pipeline::Pipeline;
use crate::pipeline::config::StageConfig;
use crate::pipeline::cost::{LEARNING_RATE_PERCENTAGES, TrainingCost};
use crate::pipeline::stage::Stage;
use crate::plan::approximate::render_cache_lines;
use crate::plan::measured::TimeEstimate;
use crate::plan::passes::{render_first_passes, render_unknown_sizes};
use crate::plan::planned::{Plan, PlanState};
use crate::plan::refusals::{list_refusals, render_refusals};
use crate::text::display::{count_noun, format_bytes, format_count, format_duration, render_table};
use crate::text::wrap::fit_sentences;

/// What a plan says of commands: those of others, and the one to type next.
#[derive(Debug, Default)]
pub struct PlannedCommands {
    /// Those that `run` executes, as lines; empty if there are none.
    pub shown: String,
    /// Why `run` refuses them, or else what they ask for.
    pub refused: Vec<String>,
    /// The command that the plan suggests at its end.
    pub next: String,
}

/// The whole plan as text.
#[must_use]
pub fn render_plan_text(pipeline: &Pipeline, plan: &Plan, commands: &PlannedCommands) -> String {
    let mut text = format!("pipeline `{}`, seed {}\n\n", pipeline.name, pipeline.seed);
    text += &render_stage_table(plan);
    text += &render_pin_table(pipeline);
    text += &render_first_passes(find_unmade_stages(pipeline, plan));
    text += &render_unknown_sizes(find_unmade_stages(pipeline, plan));
    text += &render_training_table(plan);
    text += &render_memory_table(plan);
    text += &render_mixture_tables(pipeline, plan);
    text += &render_model_lines(plan);
    text += &render_average_lines(pipeline, plan);
    text += &fit_sentences(&render_cache_lines(find_wanted_stages(pipeline, plan)));
    if !commands.shown.is_empty() {
        text += &format!("\n{}", commands.shown);
    }
    let mut refused = list_refusals(pipeline, find_wanted_stages(pipeline, plan));
    refused.extend(commands.refused.clone());
    text += &render_plan_refusals(&refused);
    text += &render_plan_end(plan, refused.is_empty().then_some(commands.next.as_str()));
    text
}

fn render_stage_table(plan: &Plan) -> String {
    let mut rows = Vec::new();
    for planned in plan.wanted() {
        let mut reasons = planned.reasons.iter();
        let first = reasons.next().map_or("", String::as_str);
        rows.push(vec![planned.key.name.clone(), planned.state.word().into(), first.into()]);
        rows.extend(reasons.map(|reason| vec![String::new(), String::new(), reason.clone()]));
    }
    render_table(&["stage", "state", "why"], rows)
}

/// The repositories that the lock file pins.
fn render_pin_table(pipeline: &Pipeline) -> String {
    let rows = pipeline.pins.iter().map(|pin| {
        let revision = pin.asked.revision.as_deref().unwrap_or("default branch");
        vec![format!("{} {}", pin.asked.kind.word(), pin.asked.name), revision.into(), pin.commit.clone()]
    });
    let rows: Vec<_> = rows.collect();
    match rows.is_empty() {
        true => String::new(),
        false => format!("\n{}", render_table(&["repository", "revision", "commit in the lock file"], rows)),
    }
}

fn render_training_table(plan: &Plan) -> String {
    let rows = plan.wanted().filter_map(|planned| Some((planned, planned.cost.training.as_ref()?)));
    let rows = rows.map(|(planned, training)| {
        let disk = planned.cost.artifact_bytes.saturating_add(planned.cost.work_bytes);
        vec![
            planned.key.name.clone(),
            training.updates.to_string(),
            format_count(training.tokens as f64),
            training
                .flops
                .map_or_else(|| "?".into(), |flops| format_count(flops / (training.tokens as f64).max(1.0))),
            training.flops.map_or_else(|| "?".into(), format_count),
            training.seconds.map_or_else(String::new, format_duration),
            format_bytes(disk),
            training.attention.to_string(),
            format_rates(training),
        ]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    let shown: Vec<_> = LEARNING_RATE_PERCENTAGES.iter().map(u64::to_string).collect();
    let rate = format!("learning rate at {} %", shown.join(" / "));
    format!(
        "\n{}",
        render_table(
            &["training", "updates", "tokens", "FLOP/token", "FLOP", "time", "disk", "attention", &rate],
            rows
        )
    )
}

/// How long every unfinished training takes, where that is from, and how it compares with the budget.
#[must_use]
pub(crate) fn render_times(pipeline: &Pipeline, times: &IndexMap<String, TimeEstimate>) -> String {
    if times.is_empty() {
        return "\nno training is left to run\n".to_owned();
    }
    let rows = times.iter().map(|(name, time)| {
        let seconds = time.seconds.map_or_else(|| "?".to_owned(), format_duration);
        vec![name.clone(), time.updates.to_string(), seconds, time.source.clone()]
    });
    let table = render_table(&["training", "updates left", "time left", "from"], rows.collect());
    let known: Vec<f64> = times.values().filter_map(|time| time.seconds).collect();
    let all: f64 = known.iter().sum();
    let unknown = times.len() - known.len();
    let mut end = match known.is_empty() {
        true => "all trainings: unknown; run one, or write `machine gpu= mfu=`".to_owned(),
        false => format!("all trainings: {}, without validation and checkpoints", format_duration(all)),
    };
    if unknown > 0 && !known.is_empty() {
        let _ = write!(end, "; {} of unknown speed not counted", count_noun(unknown, "training"));
    }
    if let Some(budget) = pipeline.budget.seconds.filter(|budget| all > *budget) {
        let _ = write!(end, "; more than the budget of {}", format_duration(budget));
    }
    format!("\n{table}{}\n", fit_sentences(&end))
}

/// The time left of all trainings in one line, if their speed was measured; that of an assumed machine is in the table.
#[must_use]
pub(crate) fn summarize_times(times: &IndexMap<String, TimeEstimate>) -> Option<String> {
    let seconds: Vec<f64> = times.values().map(|time| time.seconds).collect::<Option<_>>()?;
    let measured = times.values().filter(|time| time.measured).count();
    let whence = match times.len() - measured {
        _ if measured == 0 => return None,
        0 => "as measured in this store".to_owned(),
        rest => format!("as measured in this store, {rest} of {} as assumed by `machine`", times.len()),
    };
    let all = format_duration(seconds.iter().sum());
    let line = format!("time left of all trainings: {all}, {whence}; `plan --measured` has each of them");
    Some(fit_sentences(&line))
}

/// Peak memory of every stage that holds a model, and what takes it.
fn render_memory_table(plan: &Plan) -> String {
    let rows = plan.wanted().filter_map(|planned| Some((planned, planned.cost.memory?)));
    let rows: Vec<_> = rows
        .map(|(planned, memory)| {
            let parts = [memory.weights, memory.moments, memory.gradients, memory.activations, memory.logits];
            let parts = parts.map(|bytes| if bytes == 0 { String::new() } else { format_bytes(bytes) });
            [planned.key.name.clone(), format_bytes(memory.total())].into_iter().chain(parts).collect()
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = ["stage", "memory", "weights", "moments", "gradients", "activations", "logits"];
    format!("\n{}", render_table(&head, rows))
}

/// Token shares, phase by phase, of mixtures that are more than a plain list of datasets.
fn render_mixture_tables(pipeline: &Pipeline, plan: &Plan) -> String {
    let composed = |stage: &&Stage| stage.fields.iter().any(|field| field.path == "data.mixture.shares");
    let mut text = String::new();
    for stage in find_wanted_stages(pipeline, plan).filter(composed) {
        let StageConfig::Train(config) = &stage.config else {
            unreachable!("only training stages have shares of a mixture")
        };
        let title = format!("mixture of `{}`", stage.name);
        let names = config.parts.iter().map(|part| part.dataset.as_str());
        let head: Vec<_> = std::iter::once(title.as_str()).chain(names).collect();
        let row = |(at, start): (usize, &u64)| {
            let shares = config.shares(at).into_iter().map(|share| format!("{:.1} %", 100.0 * share));
            std::iter::once(format!("from update {start}")).chain(shares).collect()
        };
        let _ =
            write!(text, "\n{}", render_table(&head, config.phases.iter().enumerate().map(row).collect()));
    }
    text
}

fn format_rates(training: &TrainingCost) -> String {
    training.learning_rate.map(format_rate).join("  ")
}

/// A learning rate with three significant digits.
fn format_rate(value: f64) -> String {
    if value == 0.0 { "0".into() } else { format!("{value:.2e}").replace(".00e", "e") }
}

/// One line per model shape: stages that share a shape would repeat the same line.
fn render_model_lines(plan: &Plan) -> String {
    let mut seen = Vec::new();
    let mut text = String::new();
    for planned in plan.wanted() {
        let Some(shape) = planned.cost.shape.filter(|shape| !seen.contains(shape)) else { continue };
        seen.push(shape);
        let groups = shape.groups();
        let groups: Vec<_> = groups
            .iter()
            .filter(|group| group.1 > 0)
            .map(|(name, n)| format!("{name} {}", format_count(*n as f64)))
            .collect();
        let total = format_count(shape.parameters() as f64);
        let line = format!("model of `{}`: {total} parameters ({})", planned.key.name, groups.join(", "));
        let _ = writeln!(text, "\n{}", fit_sentences(&line));
    }
    text
}

/// One line for every training that publishes an average of its weights.
fn render_average_lines(pipeline: &Pipeline, plan: &Plan) -> String {
    let lines = find_wanted_stages(pipeline, plan).filter_map(|stage| match &stage.config {
        StageConfig::Train(config) => config.describe_published(&stage.name),
        _ => None,
    });
    lines.map(|line| format!("\n{}\n", fit_sentences(&line))).collect()
}

/// The wanted stages whose results are not there.
fn find_unmade_stages<'p>(pipeline: &'p Pipeline, plan: &'p Plan) -> impl Iterator<Item = &'p Stage> {
    let unmade = plan.wanted().filter(|planned| planned.state != PlanState::Cached);
    unmade.map(|planned| pipeline.stage(planned.id))
}

/// Why `run` would refuse the selected stages, if it would.
fn render_plan_refusals(reasons: &[String]) -> String {
    match reasons.is_empty() {
        true => String::new(),
        false => format!("\n`run` refuses this file:\n{}", fit_sentences(&render_refusals(reasons))),
    }
}

fn find_wanted_stages<'a>(pipeline: &'a Pipeline, plan: &Plan) -> impl Iterator<Item = &'a Stage> {
    plan.wanted().map(|planned| pipeline.stage(planned.id))
}

/// The work that is left, and the command to type next, unless `run` would refuse it.
fn render_plan_end(plan: &Plan, next: Option<&str>) -> String {
    if plan.count_stages_to_run() == 0 {
        return "\nnothing to do: every stage is cached\n".into();
    }
    let running = plan.wanted().filter(|planned| planned.state != PlanState::Cached);
    let flops: f64 = running.filter_map(|planned| planned.cost.training.as_ref()?.flops).sum();
    let (work, all, disk) = (
        plan.count_stages_to_run(),
        count_noun(plan.wanted().count(), "stage"),
        format_bytes(plan.likely_bytes()),
    );
    let most = match format_bytes(plan.disk_bytes()) {
        most if most == disk => String::new(),
        most => format!(", at most {most}"),
    };
    let asks = plan.describe_large_loss();
    let asks = asks.map(|work| format!("`run` asks before it starts, because it does not use {work}\n"));
    let asks = asks.map(|line| fit_sentences(&line)).unwrap_or_default();
    let next = next.map(|next| format!("next: {next}\n")).unwrap_or_default();
    let flops = if flops > 0.0 { format!("about {} FLOP, ", format_count(flops)) } else { String::new() };
    format!("\n{work} of {all} to run: {flops}{disk} on disk{most}\n{asks}{next}")
}
