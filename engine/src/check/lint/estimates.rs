//! Compares what a pipeline would cost with its budget, and its settings with what published runs found to work.

use crate::check::lint::{peak_rate, windows};
use crate::language::record::{Leaf, Record};
use crate::pipeline::Pipeline;
use crate::pipeline::config::train::CheckpointInterval;
use crate::pipeline::config::{DatasetFormat, StageConfig, TrainConfig};
use crate::pipeline::cost::{self, StageCost, TrainingCost};
use crate::pipeline::field_path::{rows, train};
use crate::pipeline::machine::{DEVICE_FLOPS, compute_peak_flops, parse_machine};
use crate::pipeline::shape::saturating_sum;
use crate::pipeline::source_facts::count_source_bytes;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::display;
use crate::text::place::{Origin, Span};
use crate::text::suggest;
use crate::text::unpack::is_packed_name;

/// A training of fewer tokens is a trial: it may repeat its data and need not be resumable.
const TRIAL_TOKENS: u64 = 10_000_000;

/// Passes over the same documents that are nearly as good as new ones (Muennighoff et al., 2023, "Scaling
/// data-constrained language models").
const MAX_DATA_PASSES: f64 = 4.0;

/// The same for conversations, which are few and repeated more often: CoDA makes ten passes.
const MAX_CHAT_PASSES: f64 = 16.0;

/// Runs the lints that need the sizes of models and files. `root` is the `pipeline` node.
pub(super) fn lint_estimates(root: &Record, pipeline: &Pipeline, sink: &mut Sink) {
    let (costs, roots) = (cost::estimate_costs(pipeline), pipeline.stages.roots());
    for (stage, cost) in pipeline.stages.iter().zip(&costs) {
        let (StageConfig::Train(config), Some(training)) = (&stage.config, &cost.training) else { continue };
        let weights = &pipeline.stages[roots[stage.id.index()]];
        peak_rate::lint_peak_rate(pipeline, (weights, stage), config, cost, sink);
        check_rows_per_device(root, stage, config, sink);
        if training.tokens >= TRIAL_TOKENS {
            check_data_passes(pipeline, stage, config, training, sink);
            check_first_checkpoint(stage, config, training, sink);
        }
    }
    pipeline.stages.iter().for_each(|stage| windows::lint_window(pipeline, stage, sink));
    check_known_machine(root, pipeline, sink);
    check_time_budget(root, pipeline, &costs, sink);
    check_disk_budget(root, pipeline, &costs, sink);
}

fn find_pipeline_setting<'a>(root: &'a Record, child: &str, field: &str) -> Option<&'a Leaf> {
    root.child(child)?.leaf(field)
}

/// Warns if the rows of an update cannot be split evenly across the devices of the machine.
fn check_rows_per_device(root: &Record, stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let Some(machine) = find_pipeline_setting(root, "machine", "gpu") else { return };
    let (count, _) = parse_machine(machine.expect_text());
    let (rows, each) = (config.batch.rows as u64, config.batch.per_device as u64);
    let once = each.saturating_mul(count);
    if once == 0 || !rows.is_multiple_of(each) || rows.is_multiple_of(once) {
        return;
    }
    let best = (1..=each).rev().find(|each| rows.is_multiple_of(each.saturating_mul(count)));
    let help = match best {
        Some(each) => format!("write `per-device={each}`"),
        None => format!("write `rows={}`", rows.div_ceil(once).saturating_mul(once)),
    };
    let message = format!("{rows} rows cannot be split across {count} devices with {each} rows at a time");
    sink.push(
        Diagnostic::new(Code::BatchNotDivisible, message)
            .at(stage.place(train::BATCH_PER_DEVICE), format!("times {count} does not divide {rows}"))
            .also(stage.place(train::BATCH_ROWS), "rows of an update")
            .also(&machine.span, "the devices")
            .help(help),
    );
}

/// Warns about datasets that are repeated too often.
fn check_data_passes(
    pipeline: &Pipeline,
    stage: &Stage,
    config: &TrainConfig,
    training: &TrainingCost,
    sink: &mut Sink,
) {
    for (part, share) in config.parts.iter().zip(config.mean_shares()) {
        let Some(rows) = stage.input(&part.role).map(|id| &pipeline.stages[id]) else { continue };
        let StageConfig::Rows(settings) = &rows.config else { continue };
        let Some(supply) = estimate_token_supply(rows, settings.dataset.held_out) else { continue };
        let passes = training.tokens as f64 * share / supply;
        let most = if matches!(settings.dataset.format, DatasetFormat::Chat { .. }) {
            MAX_CHAT_PASSES
        } else {
            MAX_DATA_PASSES
        };
        if passes > most {
            sink.push(repeated_data(stage, rows, &part.dataset, training, passes, most));
        }
    }
}

/// Most tokens that a dataset can have: the number it declares, or as many as its files can hold if each token takes only
/// two bytes, fewer than in English or code. `None` if unknown: there are no files here, or they are compressed.
fn estimate_token_supply(rows: &Stage, held_out: f64) -> Option<f64> {
    let declared = rows.field(rows::DATASET_TOKENS);
    if let Some(tokens) = declared.and_then(|field| field.value.as_u64()) {
        return Some(tokens as f64);
    }
    let files: Vec<_> = rows.main_sources().flat_map(|source| &source.files).collect();
    let bytes = count_source_bytes(rows) as f64;
    (!files.is_empty() && !files.iter().any(|path| is_packed_name(path)))
        .then_some((bytes * (1.0 - held_out) / 2.0).max(1.0))
}

fn repeated_data(
    stage: &Stage,
    rows: &Stage,
    dataset: &str,
    training: &TrainingCost,
    passes: f64,
    most: f64,
) -> Diagnostic {
    let steps = (training.updates as f64 * most / passes).max(1.0) as u64;
    let times = display::format_count(passes.floor());
    let message = format!("`{}` reads dataset `{dataset}` at least {times} times", stage.name);
    Diagnostic::new(Code::RepeatedData, message)
        .at(
            stage.place(train::STEPS),
            format!("{} tokens in all", display::format_count(training.tokens as f64)),
        )
        .also(rows.place(rows::DATASET_FROM), "the available data")
        .help(format!("write `steps {steps}` for {most} passes, lower the dataset's weight, or add data"))
}

/// Warns about an explicit `every` that leaves the training without a checkpoint.
fn check_first_checkpoint(stage: &Stage, config: &TrainConfig, training: &TrainingCost, sink: &mut Sink) {
    let Some(every) = stage.field(train::CHECKPOINT_EVERY) else { return };
    let CheckpointInterval::Updates(updates) = config.checkpoint.every else { return };
    // What saves a checkpoint, too.
    let others = [config.checkpoint.permanent, config.probe.as_ref().map(|probe| probe.every)];
    let first = others.into_iter().flatten().chain(config.guard.list_rewinds()).fold(updates, u64::min);
    if every.origin == Origin::Default || first < training.updates {
        return;
    }
    let message =
        format!("`{}` ends before its first checkpoint: an interruption loses everything", stage.name);
    sink.push(
        Diagnostic::new(Code::NoCheckpoint, message)
            .at(&every.span, "updates between checkpoints")
            .also(stage.place(train::STEPS), "updates in all")
            .help(format!("write `every={}`", (training.updates / 20).max(1))),
    );
}

/// Warns about a machine of unknown speed, if there is a budget of time to compare with.
fn check_known_machine(root: &Record, pipeline: &Pipeline, sink: &mut Sink) {
    let Some(leaf) = find_pipeline_setting(root, "machine", "gpu") else { return };
    if pipeline.budget.seconds.is_none() || compute_peak_flops(leaf.text()).is_some() {
        return;
    }
    let known = suggest::format_name_list(DEVICE_FLOPS.iter().map(|(name, _)| *name));
    sink.push(
        Diagnostic::new(Code::UnknownMachine, format!("the speed of `{}` is not known", leaf.expect_text()))
            .at(&leaf.span, "time cannot be estimated or compared with the budget")
            .help(format!("use one of {known}, as in `machine gpu=\"4xH100-80GB\"`")),
    );
}

/// Warns if all training together takes longer than the budget.
fn check_time_budget(root: &Record, pipeline: &Pipeline, costs: &[StageCost], sink: &mut Sink) {
    let leaf = find_pipeline_setting(root, "budget", "days")
        .or_else(|| find_pipeline_setting(root, "budget", "time"));
    let (Some(leaf), Some(ready)) = (leaf, pipeline.budget.seconds) else { return };
    let seconds =
        |cost: &StageCost| cost.training.as_ref().and_then(|training| training.seconds).unwrap_or(0.0);
    let all = costs.iter().map(seconds).sum::<f64>();
    if all <= ready {
        return;
    }
    let message = format!(
        "training takes about {}, but the budget is {}",
        display::format_duration(all),
        display::format_duration(ready)
    );
    let mut diagnostic = Diagnostic::new(Code::TimeOverBudget, message).at(&leaf.span, "the budget");
    if let Some(machine) = find_pipeline_setting(root, "machine", "gpu") {
        diagnostic = diagnostic.also(&machine.span, "the assumed machine");
    }
    if let Some((stage, cost)) = find_most_expensive(pipeline, costs, seconds) {
        let text = format!("`{}` alone takes {}", stage.name, display::format_duration(seconds(cost)));
        diagnostic = diagnostic.also(stage.place(train::STEPS), text);
    }
    let days = (all / 8640.0).ceil() / 10.0;
    sink.push(
        diagnostic.help(format!("write `days={days}`, or fewer steps; `fmflow plan` shows every stage")),
    );
}

/// Warns if all artifacts, and the checkpoints of the stage that needs most room for them, exceed the budget.
fn check_disk_budget(root: &Record, pipeline: &Pipeline, costs: &[StageCost], sink: &mut Sink) {
    let (Some(leaf), Some(ready)) = (find_pipeline_setting(root, "budget", "disk"), pipeline.budget.disk)
    else {
        return;
    };
    let artifacts = saturating_sum(costs.iter().map(|cost| cost.likely_bytes));
    let all = artifacts.saturating_add(costs.iter().map(|cost| cost.work_bytes).max().unwrap_or(0));
    if all <= ready {
        return;
    }
    let message = format!(
        "artifacts and checkpoints take about {}, but the budget is {}",
        display::format_bytes(all),
        display::format_bytes(ready)
    );
    let mut diagnostic = Diagnostic::new(Code::DiskOverBudget, message).at(&leaf.span, "the budget");
    let size = |cost: &StageCost| cost.likely_bytes.saturating_add(cost.work_bytes) as f64;
    if let Some((stage, cost)) = find_most_expensive(pipeline, costs, size) {
        let (span, what): (&Span, &str) = match stage.config {
            StageConfig::Train(_) => (stage.place(train::CHECKPOINT_KEEP), "and its checkpoints"),
            _ => (&stage.span, "alone"),
        };
        let text = format!("`{}` {what}: {}", stage.name, display::format_bytes(size(cost) as u64));
        diagnostic = diagnostic.also(span, text);
    }
    let gib = all.div_ceil(1 << 30);
    sink.push(
        diagnostic.help(format!("write `disk=\"{gib}GiB\"`, keep fewer checkpoints, or read fewer tokens")),
    );
}

/// The stage with the largest `size`.
fn find_most_expensive<'a>(
    pipeline: &'a Pipeline,
    costs: &'a [StageCost],
    size: impl Fn(&StageCost) -> f64,
) -> Option<(&'a Stage, &'a StageCost)> {
    pipeline.stages.iter().zip(costs).max_by(|(_, a), (_, b)| size(a).total_cmp(&size(b)))
}
