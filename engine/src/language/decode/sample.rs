//! Decodes the stages that use a checkpoint without changing it: evaluate and generate.

use super::{Decoder, unknown_word};
use crate::language::draft::find_measured_role;
use crate::language::record::{Leaf, Record};
use crate::language::schema::CanonicalValue;
use crate::pipeline::config::sample::{
    EvaluateConfig, ExactMatch, FurtherGap, GenerateConfig, HeldOut, LikelihoodEstimator, Prompt, PromptKind,
    RequiredScore,
};
use crate::pipeline::message::{Message, Speaker};
use crate::text::diagnostic::{Code, Diagnostic};

impl Decoder<'_> {
    pub(super) fn evaluate(&mut self, record: &Record) -> Option<EvaluateConfig> {
        for (measure, field) in [("held-out", "dataset"), ("exact-match", "dataset"), ("benchmark", "value")]
        {
            self.refuse_measured_twice(record, measure, field);
        }
        let checkpoints = record.child("checkpoint")?.all("name");
        let checkpoints = checkpoints.map(|leaf| leaf.expect_text().to_owned()).collect();
        let held_out =
            record.children("held-out").map(|child| decode_held_out(record, child)).collect::<Option<_>>()?;
        let mut exact_match = Vec::new();
        for child in record.children("exact-match") {
            exact_match.push(self.exact_match(record, child)?);
        }
        let require = record.children("require").map(decode_required_score).collect::<Option<_>>()?;
        let mut benchmarks = Vec::new();
        for child in record.children("benchmark") {
            benchmarks.push(self.benchmark(child, None)?);
        }
        let unsafe_no_sandbox = record.boolean("unsafe-no-sandbox") == Some(true);
        Some(EvaluateConfig { checkpoints, held_out, exact_match, require, benchmarks, unsafe_no_sandbox })
    }

    /// Refuses two measurements of one kind of one dataset: scores are named after the dataset, and the second would replace the first.
    pub(super) fn refuse_measured_twice(&mut self, evaluation: &Record, measure: &str, field: &str) {
        let datasets: Vec<&Leaf> =
            evaluation.children(measure).filter_map(|child| child.leaf(field)).collect();
        for (at, leaf) in datasets.iter().enumerate() {
            let Some(first) = datasets[..at].iter().find(|first| first.text() == leaf.text()) else {
                continue;
            };
            let dataset = leaf.expect_text();
            let of = if field == "dataset" { "of dataset" } else { "called" };
            let stage = &evaluation.spec.name;
            let message = format!("one `{stage}` has two `{measure}` {of} `{dataset}`");
            self.sink.push(
                Diagnostic::new(Code::DuplicateNode, message)
                    .at(&leaf.span, "its scores would have the names of the first")
                    .also(&first.span, "the first")
                    .help(if stage == "probe" { "remove it" } else { "move it to another `evaluate`" }),
            );
        }
    }

    pub(super) fn exact_match(&mut self, evaluation: &Record, record: &Record) -> Option<ExactMatch> {
        let leaf = record.leaf("dataset")?;
        let dataset = self.world.target(leaf)?;
        if dataset.child("chat").is_none() {
            self.sink.push(dataset_without_chat(leaf, dataset));
            return None;
        }
        Some(ExactMatch {
            dataset: leaf.text()?.to_owned(),
            role: find_measured_role(evaluation, record)?,
            sampler: self.sampler(record.leaf("sampler")?)?,
            limit: record.size("first"),
        })
    }

    pub(super) fn generate(&mut self, record: &Record) -> Option<GenerateConfig> {
        let mut prompts = Vec::new();
        for child in &record.children {
            prompts.push(self.prompt(record, child)?);
        }
        if prompts.is_empty() {
            let name = record.expect_name();
            self.sink.push(
                Diagnostic::new(Code::MissingNode, format!("`generate \"{name}\"` has no prompts"))
                    .at(&record.span, "incomplete")
                    .help("add one between the braces, as in `prompt \"Once upon a time\"`"),
            );
        }
        Some(GenerateConfig { prompts })
    }

    pub(super) fn prompt(&mut self, parent: &Record, record: &Record) -> Option<Prompt> {
        let leaf = self.prompt_sampler(parent, record)?;
        let sampler = self.sampler(leaf)?;
        let sampler = self.constrain(sampler, record, &leaf.span)?;
        let text = || record.text("value").map(str::to_owned);
        let grow = self.growth(record, sampler.constraint.is_some())?;
        let (kind, shortest, new_tokens) = match record.spec.name.as_str() {
            "chat" => (PromptKind::Chat(self.turns(record)?), None, record.size("new-tokens")),
            "prompt" => (PromptKind::Text(text()?), None, Some(record.size("new-tokens")?)),
            "infill" => {
                let (shortest, longest) = decode_infill_length(record)?;
                let more = self.further_gaps(record, shortest.is_some())?;
                self.refuse_constrained_gaps(&sampler, record, (shortest, &more))?;
                let all = longest + more.iter().map(|gap| gap.tokens).sum::<usize>();
                (decode_infill(record, more)?, shortest, Some(all))
            }
            other => unreachable!("`generate` takes requests, not `{other}`"),
        };
        if let PromptKind::Text(text) = &kind
            && text.is_empty()
        {
            self.sink.push(empty_prompt(record));
            return None;
        }
        Some(Prompt { kind, sampler, new_tokens, shortest, grow })
    }

    /// The gaps behind the first. Lengths are chosen for one gap alone.
    fn further_gaps(&mut self, record: &Record, chosen: bool) -> Option<Vec<FurtherGap>> {
        let mut more = Vec::new();
        for child in record.children("gap") {
            let (before, tokens) = (child.text("after")?.to_owned(), child.size("length")?);
            if before.is_empty() {
                self.sink.push(
                    Diagnostic::new(Code::OutOfRange, "two gaps without a text between them are one")
                        .at(&child.span, "no text before it")
                        .help("remove it"),
                );
                return None;
            }
            more.push(FurtherGap { before, tokens });
        }
        if let Some(child) = record.children("gap").next().filter(|_| chosen) {
            self.sink.push(
                Diagnostic::new(Code::ConflictingFields, "the length of one of several gaps is not chosen")
                    .at(&record.leaf("length")?.span, "a range of lengths")
                    .also(&child.span, "another gap")
                    .help("write `length=8`"),
            );
            return None;
        }
        Some(more)
    }

    /// The turns of a `chat`, in order: of the system, if there is one, of the user, and those between the braces.
    fn turns(&mut self, record: &Record) -> Option<Vec<Message>> {
        let mut turns = Vec::new();
        turns.extend(record.text("system").map(|text| Message::new(Speaker::System, text)));
        turns.push(Message::user(record.text("value")?));
        let said = || record.children.iter().filter(|child| child.spec.name != "constraint");
        for child in said() {
            let role = if child.spec.name == "user" { Speaker::User } else { Speaker::Assistant };
            if turns.last().is_some_and(|before| before.role == role) {
                self.sink.push(turn_out_of_order(child));
                return None;
            }
            turns.push(Message::new(role, child.text("value")?));
        }
        if let Some(last) = said().next_back().filter(|child| child.spec.name == "assistant") {
            self.sink.push(answer_at_the_end(last));
            return None;
        }
        Some(turns)
    }

    fn prompt_sampler<'r>(&mut self, parent: &'r Record, record: &'r Record) -> Option<&'r Leaf> {
        if let Some(leaf) = record.leaf("sampler").or_else(|| parent.leaf("sampler")) {
            return Some(leaf);
        }
        let example = self.world.of_kind("sampler").find_map(Record::name).unwrap_or("parallel");
        self.sink.push(
            Diagnostic::new(Code::MissingField, format!("`{}` needs `sampler`", record.spec.name))
                .at(&record.span, "no sampler here")
                .also(&parent.span, "and none here")
                .help(format!("add `sampler=\"{example}\"` to one of them")),
        );
        None
    }
}

fn turn_out_of_order(turn: &Record) -> Diagnostic {
    let who = if turn.spec.name == "user" { "user" } else { "model" };
    Diagnostic::new(Code::ConflictingFields, format!("two turns of the {who} follow each other"))
        .at(&turn.span, "the turn before it is of the same speaker")
        .help("remove it, or write what the other says between the two")
}

fn answer_at_the_end(turn: &Record) -> Diagnostic {
    Diagnostic::new(Code::ConflictingFields, "a `chat` ends with a turn of the user, which the model answers")
        .at(&turn.span, "nothing is asked after it")
        .help("remove it, or write what the user says after it")
}

fn empty_prompt(record: &Record) -> Diagnostic {
    let place = record.leaf("value").map_or(&record.span, |leaf| &leaf.span);
    Diagnostic::new(Code::OutOfRange, "a prompt needs at least one letter")
        .at(place, "no text")
        .help("write some text, such as `\"Once upon a time\"`")
}

fn decode_infill(record: &Record, more: Vec<FurtherGap>) -> Option<PromptKind> {
    Some(PromptKind::Infill {
        prefix: record.text("prefix")?.to_owned(),
        more,
        suffix: record.text("suffix")?.to_owned(),
    })
}

/// Tokens of the gap: the shortest and the longest, of a range; only the second, of a number.
pub(super) fn decode_infill_length(record: &Record) -> Option<(Option<usize>, usize)> {
    let CanonicalValue::Range(range) = &record.leaf("length")?.value else {
        return Some((None, record.size("length")?));
    };
    let (low, high) = range.split_once("..").expect("a range has two ends");
    let [low, high] = [low, high].map(|end| end.parse().expect("the ends of a range are whole numbers"));
    Some((Some(low), high))
}

fn decode_held_out(evaluation: &Record, record: &Record) -> Option<HeldOut> {
    Some(HeldOut {
        dataset: record.text("dataset")?.to_owned(),
        role: find_measured_role(evaluation, record)?,
        times: record.size("times")?,
        rows: record.size("first")?,
        draws: record.size("draws")?,
        beside: record.child("beside").map_or(Vec::new(), decode_estimators),
    })
}

fn decode_estimators(record: &Record) -> Vec<LikelihoodEstimator> {
    let estimator = |leaf: &Leaf| match leaf.expect_text() {
        "elbo" => LikelihoodEstimator::Elbo,
        "discrete-elbo" => LikelihoodEstimator::DiscreteElbo,
        "left-to-right" => LikelihoodEstimator::LeftToRight,
        "autoregressive" => LikelihoodEstimator::Autoregressive,
        word => unknown_word(word),
    };
    record.all("estimator").map(estimator).collect()
}

fn decode_required_score(record: &Record) -> Option<RequiredScore> {
    Some(RequiredScore { checkpoint: record.text("name")?.to_owned(), at_least: record.number("at-least")? })
}

pub(super) fn dataset_without_chat(leaf: &Leaf, dataset: &Record) -> Diagnostic {
    let name = leaf.expect_text();
    let message = format!("exact match needs questions and answers, but dataset `{name}` has none");
    let mut diagnostic =
        Diagnostic::new(Code::NoChatData, message).at(&leaf.span, "documents, not conversations");
    if let Some(place) = dataset.name_leaf() {
        diagnostic = diagnostic.also(&place.span, "declared here");
    }
    diagnostic.help(match dataset.text("format") {
        // Contents that lie elsewhere are no conversations.
        Some("jsonl") if dataset.child("contents").is_none() => {
            "give the dataset a `chat user=\"question\" assistant=\"answer\"`"
        }
        _ => "name a dataset that has `chat`, or measure the likelihood of this one with `held-out`",
    })
}
