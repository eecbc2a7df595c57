//! A comparison as text and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::measures::{LossPair, MeasurePair};
use super::side::Side;
use super::{ResultDiff, RunDiff};
use crate::pipeline::fingerprint::IngredientKind;
use crate::plan::compare::{IngredientDifference, Upstream};
use crate::text::display::count_noun;
use crate::text::escape::escape_line;

/// Problems that are named in a line; JSON has all.
const MOST_NAMED: usize = 12;

/// Longest value that is shown, in characters.
const MOST_LETTERS: usize = 60;

impl ResultDiff {
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (letter, side) in ["A", "B"].iter().zip(&self.sides) {
            let _ = writeln!(text, "{letter}: {}", describe_side(side));
        }
        text += "\n";
        match self.differences.is_empty() {
            true => text += "nothing that the results depend on differs\n",
            false => render_differences(&mut text, &self.differences, 0),
        }
        text + &self.scores_text()
    }

    /// What evaluations measured.
    fn scores_text(&self) -> String {
        if self.measures.is_empty() && self.losses.is_empty() && self.sides[0].kind == "evaluate" {
            let open = self.sides.iter().any(|side| side.folder.is_none());
            let why =
                if open { "an evaluation is not finished" } else { "no measure of a checkpoint is in both" };
            return format!("\nno scores to compare: {why}\n");
        }
        let losses = self.losses.iter().map(|loss| format!("\n{}\n", describe_loss(loss)));
        let measures = self.measures.iter().map(|pair| format!("\n{}", describe_measure(pair)));
        measures.chain(losses).collect()
    }

    pub(super) fn json(&self) -> Value {
        let mut answer = self.body();
        answer["schema"] = "fmflow.diff/1".into();
        answer["a"] = side_json(&self.sides[0]);
        answer["b"] = side_json(&self.sides[1]);
        answer
    }

    fn body(&self) -> Value {
        json!({
            "differences": self.differences.iter().map(difference_json).collect::<Vec<_>>(),
            "measures": self.measures.iter().map(measure_json).collect::<Vec<_>>(),
            "held-out": self.losses.iter().map(loss_json).collect::<Vec<_>>(),
        })
    }
}

impl RunDiff {
    pub(super) fn text(&self) -> String {
        let mut text = format!("A: run {}\nB: run {}\n\n", self.numbers[0], self.numbers[1]);
        for (name, [first, second]) in &self.facts {
            let _ = writeln!(text, "{name}: {} -> {}", show_text(first), show_text(second));
        }
        for (letter, names) in ["A", "B"].iter().zip(&self.alone).filter(|(_, names)| !names.is_empty()) {
            let _ = writeln!(text, "only in {letter}: {}", escape_line(&names.join(", ")));
        }
        for stage in &self.stages {
            let _ = writeln!(text, "stage `{}`", escape_line(&stage.sides[0].stage));
            render_differences(&mut text, &stage.differences, 1);
            text += &stage.scores_text();
        }
        for (what, names) in [("differ because of these: ", &self.follow), ("the same: ", &self.same)] {
            if !names.is_empty() {
                let _ = writeln!(text, "{what}{}", escape_line(&names.join(", ")));
            }
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let stage = |stage: &ResultDiff| {
            let mut body = stage.body();
            body["stage"] = stage.sides[0].stage.as_str().into();
            body
        };
        let facts = self.facts.iter().map(|(name, [a, b])| json!({ "what": name, "a": a, "b": b }));
        json!({
            "schema": "fmflow.diff/1",
            "a": { "run": self.numbers[0] },
            "b": { "run": self.numbers[1] },
            "facts": facts.collect::<Vec<_>>(),
            "only-a": self.alone[0],
            "only-b": self.alone[1],
            "stages": self.stages.iter().map(stage).collect::<Vec<_>>(),
            "follow": self.follow,
            "same": self.same,
        })
    }
}

fn describe_side(side: &Side) -> String {
    let fingerprint = side.fingerprint();
    let step = side.step.map(|step| format!(", after update {step}")).unwrap_or_default();
    let open = if side.folder.is_none() { ", not finished" } else { "" };
    let line = format!("{}: {} `{}`{step}{open}, {}", side.shown, side.kind, side.stage, fingerprint.short());
    escape_line(&line).into_owned()
}

/// One line for each difference, below it the places of a setting; below an input, indented, what differs upstream.
fn render_differences(text: &mut String, differences: &[IngredientDifference], depth: usize) {
    let margin = "  ".repeat(depth);
    for one in differences {
        let again = if one.upstream == Upstream::Above { " (see above)" } else { "" };
        let _ = writeln!(text, "{margin}{}{again}", escape_line(&describe_difference(one)));
        if let [Some(_), _] | [_, Some(_)] = &one.places {
            let place = |at: usize| one.places[at].as_deref().unwrap_or("-");
            let places = match place(0) == place(1) {
                true => place(0).to_owned(),
                false => format!("{} -> {}", place(0), place(1)),
            };
            let _ = writeln!(text, "{margin}    {}", escape_line(&places));
        }
        if let Upstream::Differences(inner) = &one.upstream {
            render_differences(text, inner, depth + 1);
        }
    }
}

fn describe_difference(one: &IngredientDifference) -> String {
    let IngredientDifference { what, name, values, .. } = one;
    let [old, new] = values.clone().map(|value| value.unwrap_or_else(|| "nothing".into()));
    let happened = match values {
        [None, _] => "only in B",
        [_, None] => "only in A",
        _ => "differs",
    };
    match what {
        IngredientKind::Schema => format!("the fingerprint format: {old} -> {new}"),
        IngredientKind::Kind => format!("the kind of stage: {old} -> {new}"),
        IngredientKind::Revision => format!("the code of `{name}`: revision {old} -> {new}"),
        IngredientKind::Field => format!("`{name}` {} -> {}", cut_text(&old), cut_text(&new)),
        IngredientKind::Source => format!("source `{name}`: {happened}"),
        IngredientKind::Input => format!("input `{name}`: {happened}"),
    }
}

fn describe_measure(pair: &MeasurePair) -> String {
    let MeasurePair { name, shares, flips, facts, .. } = pair;
    let [first, second] = shares.map(|share| format!("{:.1} %", 100.0 * share));
    let mut text =
        format!("{}, {}: {first} -> {second}\n", escape_line(name), describe_checkpoints(&pair.checkpoints));
    for (fact, [a, b]) in facts {
        let line = format!("  `{fact}` {} -> {}", cut_text(&a.to_string()), cut_text(&b.to_string()));
        let _ = writeln!(text, "{}", escape_line(&line));
    }
    let paired = count_noun(flips.paired(), "problem");
    let _ = writeln!(text, "  {paired} in both: both solve {}, neither {}", flips.both, flips.neither);
    for (letter, names) in [("A", &flips.only_first), ("B", &flips.only_second)] {
        let _ = writeln!(text, "  only {letter} solves {}{}", names.len(), list_names(names));
    }
    if flips.unpaired > 0 {
        let _ = writeln!(text, "  {} only in one of the two", count_noun(flips.unpaired, "problem"));
    }
    text + &format!("  McNemar's exact p = {}\n", format_p(flips.p()))
}

fn list_names(names: &[String]) -> String {
    let shown: Vec<_> =
        names.iter().take(MOST_NAMED).map(|name| escape_line(&cut_text(name)).into_owned()).collect();
    let more = if names.len() > MOST_NAMED { ", ..." } else { "" };
    if shown.is_empty() { String::new() } else { format!(": {}{more}", shown.join(", ")) }
}

fn describe_loss(loss: &LossPair) -> String {
    let [first, second] = loss.losses;
    let name = escape_line(&loss.dataset).into_owned();
    let of = describe_checkpoints(&loss.checkpoints);
    format!("held-out {name}, {of}: {first:.4} -> {second:.4} nats per token")
}

fn describe_checkpoints([first, second]: &[String; 2]) -> String {
    let names = if first == second { first.clone() } else { format!("{first} -> {second}") };
    escape_line(&names).into_owned()
}

fn format_p(p: f64) -> String {
    if p < 1e-4 { format!("{p:.1e}") } else { format!("{p:.4}") }
}

fn show_text(text: &str) -> String {
    if text.is_empty() { "nothing".into() } else { escape_line(text).into_owned() }
}

fn cut_text(text: &str) -> String {
    match text.chars().count() <= MOST_LETTERS {
        true => text.to_owned(),
        false => text.chars().take(MOST_LETTERS).collect::<String>() + "...",
    }
}

fn side_json(side: &Side) -> Value {
    json!({
        "name": side.shown, "stage": side.stage, "kind": side.kind, "fingerprint": side.fingerprint(),
        "step": side.step, "folder": side.folder, "checkpoint": side.checkpoint,
    })
}

fn difference_json(one: &IngredientDifference) -> Value {
    let upstream = match &one.upstream {
        Upstream::Differences(inner) => inner.iter().map(difference_json).collect(),
        Upstream::Unknown | Upstream::Above => Value::Null,
    };
    json!({
        "what": one.what, "name": one.name, "a": one.values[0], "b": one.values[1],
        "place-a": one.places[0], "place-b": one.places[1], "upstream": upstream,
    })
}

fn measure_json(pair: &MeasurePair) -> Value {
    let MeasurePair { name, checkpoints, shares, flips, facts } = pair;
    let facts = facts.iter().map(|(name, [a, b])| json!({ "what": name, "a": a, "b": b }));
    json!({
        "measure": name, "checkpoints": checkpoints, "a": shares[0], "b": shares[1], "problems": flips.paired(),
        "both": flips.both, "neither": flips.neither, "only-a": flips.only_first, "only-b": flips.only_second,
        "unpaired": flips.unpaired, "p": flips.p(), "facts": facts.collect::<Vec<_>>(),
    })
}

fn loss_json(loss: &LossPair) -> Value {
    json!({
        "dataset": loss.dataset, "checkpoints": loss.checkpoints, "a": loss.losses[0], "b": loss.losses[1],
    })
}
