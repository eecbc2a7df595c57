//! `fmflow why`: what changed since a stage last ran, where that is written, and what it brings about.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};

use super::source::Source;
use super::{Context, plan};
use crate::error::{Error, Result};
use crate::fingerprint::Ledger;
use crate::pipeline::{FieldValue, Origin, Pipeline};
use crate::plan::why::{Difference, History, Why};
use crate::plan::{Plan, Planned, State};
use crate::render;
use crate::store::{Listing, Store};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// The stage
    stage: String,
    /// Compare with this run (`fmflow log` has the numbers) instead of with the stage's newest result
    #[arg(long, value_name = "RUN")]
    vs: Option<u64>,
    /// Also list everything that the result depends on
    #[arg(long)]
    key: bool,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

/// What is known of a stage.
struct Answer<'a> {
    planned: &'a Planned,
    /// What changed; `None` where there is nothing to compare with.
    why: Option<Why>,
    /// Stages that depend on it and would run.
    dependents: Vec<String>,
}

pub(super) fn why(arguments: &Arguments, context: &Context<'_>) -> Result<()> {
    let pipeline = arguments.source.load(context)?;
    let name = &pipeline.find(&arguments.stage)?.name;
    let store = context.open()?;
    let (_, plan) = plan::make(&pipeline, store.as_ref())?;
    let Some(planned) = plan.stage(name) else { return Err(super::refuse("the stage is not in the plan")) };
    let why = match &store {
        Some(store) => compare(arguments, &pipeline, &plan, planned, store)?,
        None if arguments.vs.is_some() => return Err(nothing_ran(context)),
        None => None,
    };
    let runs = |name: &String| plan.stage(name).is_some_and(|other| other.state != State::Cached);
    let dependents = plan.dependents(&pipeline, planned).into_iter().filter(runs).collect();
    let answer = Answer { planned, why, dependents };
    match arguments.json {
        true => context.output.json(&answer.json(arguments)),
        false => context.output.result(&answer.text(arguments)),
    }
}

fn nothing_ran(context: &Context<'_>) -> Error {
    let message = format!("nothing was ever run in the store {}", context.store.display());
    Error::usage(message, "leave `--vs` out")
}

/// The changes since the run that was named, or since the stage's newest result.
fn compare(
    arguments: &Arguments,
    pipeline: &Pipeline,
    plan: &Plan,
    planned: &Planned,
    store: &Store,
) -> Result<Option<Why>> {
    let listing = Listing::of(store)?;
    let history = History::of(store, &listing)?;
    let old = match arguments.vs {
        Some(number) => Some(ledger_of(number, &planned.key.name, store)?),
        None if planned.state == State::Cached => None,
        None => listing.newest(&planned.key.name).map(|manifest| manifest.ledger.clone()),
    };
    Ok(old.map(|old| plan.why(pipeline, planned, &old, &history)))
}

/// What a stage was made of in an earlier run.
fn ledger_of(number: u64, stage: &str, store: &Store) -> Result<Ledger> {
    let help = "`fmflow log` lists the runs of the store";
    let Some(mut record) = store.run_record(number)? else {
        let known = store.past_runs()?.iter().any(|run| run.number == number);
        let message = match known {
            true => format!("the record of run {number} is gone: `fmflow gc` removes old ones"),
            false => format!("the store has no record of a run {number}"),
        };
        return Err(Error::usage(message, help));
    };
    let ledger = record.stages.swap_remove(stage);
    ledger.ok_or_else(|| Error::usage(format!("run {number} had no stage `{stage}`"), help))
}

impl Answer<'_> {
    fn text(&self, arguments: &Arguments) -> String {
        let mut text = format!("stage `{}`: {}\n", self.planned.key.name, self.planned.state.word());
        match &self.why {
            Some(why) if why.differences.is_empty() => text += "  nothing changed\n",
            Some(why) => differences(&mut text, why, 1),
            None => self.planned.reasons.iter().for_each(|reason| text += &format!("  {reason}\n")),
        }
        if !self.dependents.is_empty() {
            let _ = writeln!(text, "with it run: {}", self.dependents.join(", "));
        }
        let _ = writeln!(text, "fingerprint {}", self.planned.key.fingerprint);
        if arguments.key {
            text += &key(&self.planned.key.ledger);
        }
        text
    }

    fn json(&self, arguments: &Arguments) -> Value {
        let key = arguments.key.then_some(&self.planned.key.ledger);
        json!({
            "schema": "fmflow.why/1",
            "stage": self.planned.key.name,
            "state": self.planned.state.word(),
            "reasons": self.planned.reasons,
            "vs": arguments.vs,
            "changes": self.why.as_ref().map(changes),
            "causes": self.why.as_ref().map(causes),
            "dependents": self.dependents,
            "fingerprint": self.planned.key.fingerprint,
            "key": key,
        })
    }
}

/// Everything that counts, a line each.
fn key(ledger: &Ledger) -> String {
    let line = |part: &crate::fingerprint::Ingredient| {
        let what = serde_json::to_value(part.what).unwrap_or_default();
        let line = format!("{} {} {}", what.as_str().unwrap_or_default(), part.label(), part.value);
        format!("  {}\n", line.replace("  ", " "))
    };
    ledger.0.iter().map(line).collect()
}

/// Changes with their places, then those of the stages before, one step further in.
fn differences(text: &mut String, why: &Why, depth: usize) {
    let margin = "  ".repeat(depth);
    for difference in &why.differences {
        let _ = writeln!(text, "{margin}{}", difference.sentence);
        if let Some(field) = &difference.field {
            drawing(text, field, difference.was.as_deref(), depth + 2);
        }
        // The stage that this change comes from; its own changes stand below.
        let cause =
            why.causes.iter().find(|cause| difference.sentence.contains(&format!("`{}`", cause.stage)));
        if let Some(cause) = cause {
            differences(text, cause, depth + 1);
        }
    }
}

/// The line that a setting is written in, with the setting underlined.
fn drawing(text: &mut String, field: &FieldValue, was: Option<&str>, depth: usize) {
    const LONGEST: usize = 120;
    let margin = "  ".repeat(depth);
    let span = &field.span;
    let (_, column) = render::position(span);
    let line = span.file.text.get(..span.offset).unwrap_or_default().rsplit('\n').next().unwrap_or_default();
    let after = span.file.text.get(span.offset..).unwrap_or_default().lines().next().unwrap_or_default();
    let note = match &field.origin {
        Origin::Written | Origin::Set => String::new(),
        Origin::Recipe(name) => format!(" (recipe `{name}`)"),
        Origin::Lock => " (pinned by the lock file)".into(),
        Origin::Default => " (a default of this node)".into(),
    };
    let was = was
        .filter(|place| *place != span.to_string())
        .map(|place| format!(", was at {place}"))
        .unwrap_or_default();
    let _ = writeln!(text, "{margin}{span}{note}{was}");
    let whole = format!("{line}{after}");
    if whole.chars().count() <= LONGEST && field.origin != Origin::Default {
        let indent = whole.chars().take_while(|letter| letter.is_whitespace()).count();
        let under = span.file.text.get(span.offset..span.offset + span.length).unwrap_or_default();
        let width = under.lines().next().unwrap_or_default().chars().count().max(1);
        let _ = writeln!(text, "{margin}  {}", whole.trim());
        let _ = writeln!(
            text,
            "{margin}  {}{}",
            " ".repeat((column - 1).saturating_sub(indent)),
            "^".repeat(width)
        );
    }
}

fn changes(why: &Why) -> Vec<Value> {
    let change = |difference: &Difference| {
        let Difference { change, sentence, field, was } = difference;
        json!({
            "what": change.what, "name": change.name, "old": change.old, "new": change.new,
            "sentence": sentence, "place": field.as_ref().map(|field| field.span.to_string()), "was": was,
        })
    };
    why.differences.iter().map(change).collect()
}

fn causes(why: &Why) -> Vec<Value> {
    let cause = |why: &Why| json!({ "stage": why.stage, "changes": changes(why), "causes": causes(why) });
    why.causes.iter().map(cause).collect()
}
