//! `fmflow run --smoke`: the whole file in about a minute, with tiny backbones and generated data.

use super::outcome::{end_run, report_run};
use super::{
    CommandContext, ExecutionArguments, PipelineArguments, find_gate, install_interrupt, plan, tell_note,
    unwritable_store,
};
use crate::cli::terminal::Terminal;
use crate::error::Result;
use crate::run::{RunOutcome, Runner, run_missing_stages};
use crate::smoke::{name_smoke_store, shrink_pipeline};
use crate::store::Store;
use crate::text::escape::show_path;

/// Runs a small copy of the pipeline in a store of its own, after saying line by line what it has in place of what.
pub(super) fn run_smoke(
    source: &PipelineArguments,
    how: &ExecutionArguments,
    context: &CommandContext<'_>,
) -> Result<()> {
    let whole = source.load_for_smoke(context)?;
    let selection = how.which.to_selection(&whole)?;
    let interrupt = install_interrupt(context)?;
    let place = name_smoke_store(&context.store);
    let store = Store::create_as(&place, context.trust).map_err(unwritable_store)?;
    let lock = tell_note(store.lock().map_err(unwritable_store), context)?;
    let smoke = shrink_pipeline(&whole, &store)?;
    let line = |text: &str| context.output.message(&format!("smoke: {text}\n"));
    smoke.replaced.iter().for_each(|text| line(text));
    line(&format!("results and generated files are in {}, and nowhere else", show_path(&place)));
    let pipeline = &smoke.pipeline;
    let (digests, mut plan) = plan::make_plan(pipeline, Some(&store))?;
    plan.select(pipeline, &selection)?;
    let gate = find_gate(pipeline, &plan, source, how, context)?;
    let options = how.to_options(false, selection);
    let events = Terminal::for_run(pipeline, &plan);
    let ran = run_missing_stages(&Runner {
        pipeline,
        plan: &plan,
        digests: &digests,
        store: &store,
        lock: Some(&lock),
        execute: context.execute,
        events: &events,
        interrupt: &interrupt,
        gate: Some(gate),
        options: &options,
    })?;
    report_run(&ran, &format_next(&ran, source, how, context), Some(&smoke.replaced), how.json, context)?;
    end_run(ran, context)
}

fn format_next(
    ran: &RunOutcome,
    source: &PipelineArguments,
    how: &ExecutionArguments,
    context: &CommandContext<'_>,
) -> String {
    let flags = how.format_flags();
    let smoke = ["--smoke", &flags].map(str::trim).join(" ");
    match &ran.error {
        Some(_) => format!("again: {}\n", source.format_next_command("run", smoke.trim(), context)),
        None => format!("next: {}\n", source.format_next_command("plan", "", context)),
    }
}
