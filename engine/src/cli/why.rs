//! `fmflow why`: explains what changed since a stage last ran, where that is written, and what will run because of it.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};

use super::arithmetic::compare_arithmetic;
use super::pipeline_arguments::PipelineArguments;
use super::window_text::describe_window;
use super::{CommandContext, plan};
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::pipeline::fingerprint::{IngredientKind, Ledger};
use crate::pipeline::stage::FieldValue;
use crate::plan::why::{ChangeExplanation, Difference, History};
use crate::plan::{Plan, PlanState, PlannedStage};
use crate::store::{Store, StoreListing};
use crate::text::escape::{escape_line, mask_source, show_path};
use crate::text::place::Origin;

#[derive(Debug, Args)]
pub(super) struct WhyArguments {
    #[command(flatten)]
    pub(super) source: PipelineArguments,
    /// The stage [default: every stage that would run for a reason of its own]
    stage: Option<String>,
    /// Compare with this run (`fmflow log` lists the runs) instead of the stage's newest result
    #[arg(long, value_name = "RUN")]
    vs: Option<u64>,
    /// Also list everything that the result depends on
    #[arg(long)]
    key: bool,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

/// Help for a wrong run number.
const RUNS: &str = "`fmflow log` lists the runs of the store";

/// The explanation of one stage.
struct WhyAnswer<'a> {
    planned: &'a PlannedStage,
    /// What changed; `None` if there is nothing to compare with.
    why: Option<ChangeExplanation>,
    /// Stages that depend on it and would run.
    dependents: Vec<String>,
    /// What is in the window of finished rows.
    window: Option<String>,
    /// How the arithmetic differs that made the finished result.
    arithmetic: Option<String>,
}

/// What the stages are compared with.
struct PastRuns<'a> {
    store: &'a Store,
    listing: StoreListing,
    history: History,
}

pub(super) fn run_why(arguments: &WhyArguments, context: &CommandContext<'_>) -> Result<()> {
    let pipeline = arguments.source.load(context)?;
    let asked = arguments.stage.as_deref().map(|name| pipeline.find_stage(name)).transpose()?;
    let store = context.open_store()?;
    let (_, plan, listing) = plan::make_plan_with_listing(&pipeline, store.as_ref())?;
    let past = match &store {
        Some(store) => Some(PastRuns::read(store, listing)?),
        None if arguments.vs.is_some() => return Err(no_past_runs(context)),
        None => None,
    };
    let answer_for = |planned| explain_stage(arguments.vs, &pipeline, &plan, planned, past.as_ref());
    let Some(stage) = asked else {
        let mut answers: Vec<_> = plan.stages.iter().map(answer_for).collect::<Result<_>>()?;
        answers.retain(WhyAnswer::has_reasons);
        return report_answers(&answers, arguments, context);
    };
    let mut answer = answer_for(plan.planned(stage.id))?;
    let compare =
        |past: &PastRuns<'_>| compare_arithmetic(&past.listing, answer.planned, &stage.config, context);
    answer.arithmetic = past.as_ref().and_then(compare);
    match (arguments.vs, &answer.why, arguments.json) {
        (Some(run), None, _) => Err(Error::usage(format!("run {run} had no stage `{}`", stage.name), RUNS)),
        (.., true) => context.output.json(&answer.json(arguments)),
        (.., false) => context.output.result(&answer.text(arguments)),
    }
}

/// Prints several explanations, one below the other.
fn report_answers(
    answers: &[WhyAnswer<'_>],
    arguments: &WhyArguments,
    context: &CommandContext<'_>,
) -> Result<()> {
    if arguments.json {
        let answers: Vec<_> = answers.iter().map(|answer| answer.json(arguments)).collect();
        return context.output.json(&json!({ "schema": "fmflow.why/1", "stages": answers }));
    }
    let texts: Vec<_> = answers.iter().map(|answer| answer.text(arguments)).collect();
    match (texts.is_empty(), arguments.vs) {
        (true, None) => context.output.result("nothing would run: every stage is cached\n"),
        (true, Some(run)) => context.output.result(&format!("nothing changed since run {run}\n")),
        (false, _) => context.output.result(&texts.join("\n")),
    }
}

/// Explains one stage.
fn explain_stage<'a>(
    vs: Option<u64>,
    pipeline: &Pipeline,
    plan: &Plan,
    planned: &'a PlannedStage,
    past: Option<&PastRuns<'_>>,
) -> Result<WhyAnswer<'a>> {
    let why = past.map_or(Ok(None), |past| past.compare(vs, pipeline, plan, planned))?;
    let runs = |other: &&PlannedStage| other.state != PlanState::Cached;
    let dependents = plan.dependents(pipeline, planned).filter(runs).map(|other| other.key.name.clone());
    let dependents = dependents.collect();
    let window = describe_window(pipeline, planned, past.map(|past| past.store))?;
    Ok(WhyAnswer { planned, why, dependents, window, arithmetic: None })
}

fn no_past_runs(context: &CommandContext<'_>) -> Error {
    let message = format!("nothing was ever run in the store {}", show_path(&context.store));
    Error::usage(message, "leave out `--vs`")
}

impl<'a> PastRuns<'a> {
    fn read(store: &'a Store, listing: StoreListing) -> Result<Self> {
        Ok(Self { store, history: History::read(store, &listing)?, listing })
    }

    /// The changes since run `vs`, or else since the stage's newest result.
    fn compare(
        &self,
        vs: Option<u64>,
        pipeline: &Pipeline,
        plan: &Plan,
        planned: &PlannedStage,
    ) -> Result<Option<ChangeExplanation>> {
        let old = match vs {
            Some(number) => read_past_ledger(number, &planned.key.name, self.store)?,
            None if planned.state == PlanState::Cached => None,
            None => self.listing.newest(&planned.key.name).map(|manifest| manifest.ledger.clone()),
        };
        Ok(old.map(|old| plan.explain_changes_since(pipeline, planned, &old, &self.history)))
    }
}

/// The ledger of a stage in an earlier run; `None` if that run had no such stage.
fn read_past_ledger(number: u64, stage: &str, store: &Store) -> Result<Option<Ledger>> {
    let Some(mut record) = store.run_record(number)? else {
        let known = store.past_runs()?.iter().any(|run| run.number == number);
        let message = match known {
            true => format!("the record of run {number} is gone: `fmflow gc` removes old ones"),
            false => format!("the store has no record of run {number}"),
        };
        return Err(Error::usage(message, RUNS));
    };
    Ok(record.stages.swap_remove(stage))
}

impl WhyAnswer<'_> {
    /// Whether the stage runs for a reason of its own, not only because an upstream stage changed.
    fn has_reasons(&self) -> bool {
        match &self.why {
            Some(why) => {
                why.differences.iter().any(|difference| difference.change.what != IngredientKind::Input)
            }
            None => self.planned.state != PlanState::Cached,
        }
    }

    fn text(&self, arguments: &WhyArguments) -> String {
        let mut text = format!("stage `{}`: {}\n", self.planned.key.name, self.planned.state.word());
        match &self.why {
            Some(why) if why.differences.is_empty() => text += "  nothing changed\n",
            Some(why) => render_differences(&mut text, why, 1),
            None => {
                self.planned.reasons.iter().for_each(|reason| text += &format!("  {}\n", escape_line(reason)))
            }
        }
        if let Some(window) = &self.window {
            let _ =
                writeln!(text, "  the plan of the window is finished, and training makes its rows: {window}");
        }
        if let Some(arithmetic) = &self.arithmetic {
            let _ = writeln!(
                text,
                "  made with {arithmetic}: made again here, its last bits would differ, under the same fingerprint"
            );
        }
        if !self.dependents.is_empty() {
            let _ = writeln!(text, "also runs: {}", self.dependents.join(", "));
        }
        let _ = writeln!(text, "fingerprint {}", self.planned.key.fingerprint);
        if arguments.key {
            text += &render_ledger(&self.planned.key.ledger);
        }
        text
    }

    fn json(&self, arguments: &WhyArguments) -> Value {
        let key = arguments.key.then_some(&self.planned.key.ledger);
        json!({
            "schema": "fmflow.why/1",
            "stage": self.planned.key.name,
            "state": self.planned.state.word(),
            "reasons": self.planned.reasons,
            "arithmetic": self.arithmetic,
            "vs": arguments.vs,
            "changes": self.why.as_ref().map(render_changes_json),
            "causes": self.why.as_ref().map(render_causes_json),
            "dependents": self.dependents,
            "window": self.window,
            "fingerprint": self.planned.key.fingerprint,
            "key": key,
        })
    }
}

/// Every ingredient of the fingerprint, one line each.
fn render_ledger(ledger: &Ledger) -> String {
    let line = |part: &crate::pipeline::fingerprint::Ingredient| {
        let what = serde_json::to_value(part.what).expect("a kind of ingredient is a word");
        let what = what.as_str().expect("a kind of ingredient is a word");
        let line = format!("{what} {} {}", part.label(), part.value);
        format!("  {}\n", escape_line(&line.replace("  ", " ")))
    };
    ledger.0.iter().map(line).collect()
}

/// The changes with their places; below each upstream change, indented, the changes that caused it.
fn render_differences(text: &mut String, why: &ChangeExplanation, depth: usize) {
    let margin = "  ".repeat(depth);
    for difference in &why.differences {
        let _ = writeln!(text, "{margin}{}", escape_line(&difference.sentence));
        if let Some(field) = &difference.field {
            render_setting_line(text, field, difference.was.as_deref(), depth + 2);
        }
        // An upstream stage changed: show why below.
        if let Some(cause) = difference.cause {
            render_differences(text, &why.causes[cause], depth + 1);
        }
    }
}

/// The place of a setting, and the line that it is written in with the setting underlined. The line is left out for a default,
/// which is not written anywhere, and if it is too long.
fn render_setting_line(text: &mut String, field: &FieldValue, was: Option<&str>, depth: usize) {
    const LONGEST: usize = 120;
    let margin = "  ".repeat(depth);
    let span = &field.span;
    let (_, column) = span.position();
    let line = span.file.text.get(..span.offset).unwrap_or_default().rsplit('\n').next().unwrap_or_default();
    let after = span.file.text.get(span.offset..).unwrap_or_default().lines().next().unwrap_or_default();
    let note = match &field.origin {
        Origin::Written | Origin::Set => String::new(),
        Origin::Recipe(name) => format!(" (recipe `{name}`)"),
        Origin::Lock => " (pinned by the lock file)".into(),
        Origin::Default => " (default of this node)".into(),
    };
    let was = was
        .filter(|place| *place != span.to_string())
        .map(|place| format!(", was at {place}"))
        .unwrap_or_default();
    let _ = writeln!(text, "{margin}{}", escape_line(&format!("{span}{note}{was}")));
    let whole = format!("{line}{after}");
    if whole.chars().count() <= LONGEST && field.origin != Origin::Default {
        let indent = whole.chars().take_while(|letter| letter.is_whitespace()).count();
        let width = span.text().lines().next().unwrap_or_default().chars().count().max(1);
        let _ = writeln!(text, "{margin}  {}", mask_source(whole.trim()));
        let _ = writeln!(
            text,
            "{margin}  {}{}",
            " ".repeat((column - 1).saturating_sub(indent)),
            "^".repeat(width)
        );
    }
}

fn render_changes_json(why: &ChangeExplanation) -> Vec<Value> {
    let change = |difference: &Difference| {
        let Difference { change, sentence, field, was, .. } = difference;
        json!({
            "what": change.what, "name": change.name, "old": change.old, "new": change.new,
            "sentence": sentence, "place": field.as_ref().map(|field| field.span.to_string()), "was": was,
        })
    };
    why.differences.iter().map(change).collect()
}

fn render_causes_json(why: &ChangeExplanation) -> Vec<Value> {
    let cause = |why: &ChangeExplanation| json!({ "stage": why.stage, "changes": render_changes_json(why), "causes": render_causes_json(why) });
    why.causes.iter().map(cause).collect()
}
