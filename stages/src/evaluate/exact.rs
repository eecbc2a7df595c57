//! Exact match: asks the held-out questions of a dataset and compares the answers with the data's.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::Sampler;
use fmflow_engine::pipeline::config::sample::ExactMatch;
use fmflow_engine::run::execute::Job;
use fmflow_engine::run::text::CacheDisagreement;
use indexmap::IndexMap;
use serde::Serialize;

use super::questions::{HeldOutQuestion, HeldOutQuestions, build_question, read_held_out_questions};
use crate::answer::{compare_completions, measure_twins};
use crate::completion::{Completion, CompletionRequest, complete_requests};
use crate::data::chat;
use crate::data::corpus::{Chat, Message};
use crate::data::tokenizer::Tokenizer;
use crate::failure::{input_failure, stage_failure};
use crate::job::count_threads;
use crate::model::Model;

/// Exact matches of one checkpoint on one dataset.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct ExactScores {
    /// Held-out prompts, including those that could not be asked.
    pub total: usize,
    /// Answers equal to the reference.
    pub passed: usize,
    /// Answers with no text before the end of turn.
    pub empty: usize,
    /// Prompts that leave no room for an answer in the context. They are not asked and count as failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub too_long: usize,
    /// Prompts whose reference answer does not fit the canvas even without its end. They are not asked and count as failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub beyond_canvas: usize,
    /// The sampler's cache, if it is approximate: answers without it may be others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<&'static str>,
    /// What it changed, of the first answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_disagreement: Option<CacheDisagreement>,
    /// Tokens of the answers, up to and including the end of turn.
    pub tokens: usize,
    /// Forward passes that they took (NFE).
    pub passes: usize,
    /// (passed, total) by kind of task, if the dataset names kinds.
    pub by_group: IndexMap<String, (usize, usize)>,
}

impl ExactScores {
    /// Share of exact matches, in [0, 1].
    #[must_use]
    pub(crate) fn share(&self) -> f64 {
        self.passed as f64 / self.total.max(1) as f64
    }
}

/// The checkpoint, the sampler where several are compared, and the dataset.
type AnswerNames<'a> = (&'a str, Option<&'a str>, &'a str);

/// One line of `answers.jsonl`, for people who investigate wrong answers.
#[derive(Serialize)]
struct ExactAnswer<'a> {
    checkpoint: &'a str,
    /// Where several are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    sampler: Option<&'a str>,
    dataset: &'a str,
    group: &'a str,
    #[serde(skip_serializing_if = "<[Message]>::is_empty")]
    before: &'a [Message],
    prompt: &'a str,
    #[serde(skip_serializing_if = "<[Message]>::is_empty")]
    after: &'a [Message],
    expected: &'a str,
    given: String,
    passed: bool,
}

/// Asks a checkpoint all held-out questions of a dataset and compares the answers. Appends a line to `answers` for each one
/// asked.
pub(crate) fn score_exact_match(
    job: &Job<'_>,
    item: &ExactMatch,
    name: &str,
    model: &Model,
    answers: &mut Vec<String>,
) -> Result<ExactScores, Failure> {
    let questions = AskedQuestions::open(job, item, model)?;
    let work = (job.seed, count_threads(job));
    let requests = questions.requests();
    let found = complete_requests(model, &requests, &item.sampler, work.0, work.1)?.completions;
    let cache_disagreement = compare_completions(model, (&requests, &found), &item.sampler, work)?;
    let scores = questions.score((name, None, &item.dataset), model, found, answers)?;
    Ok(ExactScores { cache_disagreement, ..scores })
}

/// How fast questions were answered, in one batch after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct MeasuredSpeed {
    /// Wall-clock seconds for all of them.
    pub seconds: f64,
    /// Tokens per second of the same weights as an autoregressive model, as many tokens in the same batches.
    pub twin: f64,
}

/// As [`score_exact_match`], with the speed: after a short run, with one batch at a time.
pub(crate) fn measure_exact_match(
    job: &Job<'_>,
    item: &ExactMatch,
    name: &str,
    model: &Model,
    answers: &mut Vec<String>,
) -> Result<(ExactScores, MeasuredSpeed), Failure> {
    let questions = AskedQuestions::open(job, item, model)?;
    let requests = questions.requests();
    let Some(first) = requests.first() else {
        let what =
            format!("no question of dataset `{}` leaves room for an answer in the context", item.dataset);
        return Err(input_failure(
            what,
            "measure on shorter questions, or on a checkpoint with a longer context",
        ));
    };
    complete_requests(model, std::slice::from_ref(first), &item.sampler, job.seed, 1)?;
    let found = complete_requests(model, &requests, &item.sampler, job.seed, 1)?;
    let ends = model.ends();
    let lengths: Vec<usize> =
        found.completions.iter().map(|completion| completion.generated(&ends)).collect();
    let twin = measure_twins(model, (&requests, &lengths), &item.sampler, job.seed)?;
    let speed = MeasuredSpeed { seconds: found.seconds, twin };
    let names = (name, Some(item.sampler.name.as_str()), item.dataset.as_str());
    let asked = (requests.as_slice(), found.completions.as_slice());
    let cache_disagreement = compare_completions(model, asked, &item.sampler, (job.seed, 1))?;
    let scores = questions.score(names, model, found.completions, answers)?;
    Ok((ExactScores { cache_disagreement, ..scores }, speed))
}

/// The cache that a sampler had, in words, if it may have changed answers, with what it changed, if that was measured; otherwise nothing.
pub(crate) fn note_cache(cache: Option<&str>, disagreement: Option<&CacheDisagreement>) -> String {
    match (cache, disagreement) {
        (_, Some(found)) => format!(", {}", found.describe()),
        (Some(cache), None) => format!(", approximate cache `{cache}`"),
        (None, None) => String::new(),
    }
}

/// The word of a sampler's cache, if it is approximate.
pub(super) fn find_approximate_cache(sampler: &Sampler) -> Option<&'static str> {
    sampler.cache.is_approximate().then(|| sampler.cache.word())
}

/// Held-out conversations, as a checkpoint is asked them.
struct AskedQuestions {
    chats: Vec<Chat>,
    questions: Vec<HeldOutQuestion>,
    tokenizer: Tokenizer,
    /// The cache that may change answers.
    cache: Option<&'static str>,
}

impl AskedQuestions {
    fn open(job: &Job<'_>, item: &ExactMatch, model: &Model) -> Result<Self, Failure> {
        let HeldOutQuestions { chats, canvas, names } = read_held_out_questions(job, item)?;
        let tokenizer = model.tokenizer()?.clone().with_special_names(names);
        let questions = chats.iter().map(|chat| build_question(chat, model, &tokenizer, canvas));
        let questions = questions.collect::<Result<_, _>>()?;
        Ok(Self { chats, questions, tokenizer, cache: find_approximate_cache(&item.sampler) })
    }

    /// Those that leave room for an answer.
    fn requests(&self) -> Vec<CompletionRequest> {
        self.questions.iter().filter_map(HeldOutQuestion::asked).cloned().collect()
    }

    /// Compares completions of [`Self::requests`] with the data's answers. Appends a line to `answers` for each.
    fn score(
        &self,
        names: AnswerNames<'_>,
        model: &Model,
        completions: Vec<Completion>,
        answers: &mut Vec<String>,
    ) -> Result<ExactScores, Failure> {
        let mut found = completions.into_iter();
        let mut scores = ExactScores { cache: self.cache, ..ExactScores::default() };
        for (chat, question) in self.chats.iter().zip(&self.questions) {
            if question.asked().is_none() {
                scores.add(&chat.group, false, false);
                scores.too_long += usize::from(matches!(question, HeldOutQuestion::TooLong));
                scores.beyond_canvas += usize::from(matches!(question, HeldOutQuestion::BeyondCanvas));
                continue;
            }
            let completion = found.next().expect("every question that was asked has a completion");
            let answer = ExactAnswer::from_completion(chat, &completion, names, (model, &self.tokenizer))?;
            scores.add(&chat.group, answer.passed, answer.given.is_empty());
            scores.tokens += completion.generated(&model.ends());
            scores.passes += completion.passes;
            answers.push(serde_json::to_string(&answer).map_err(stage_failure)?);
        }
        Ok(scores)
    }
}

impl<'a> ExactAnswer<'a> {
    fn from_completion(
        chat: &'a Chat,
        completion: &Completion,
        (checkpoint, sampler, dataset): AnswerNames<'a>,
        (model, tokenizer): (&Model, &Tokenizer),
    ) -> Result<Self, Failure> {
        let given = tokenizer.decode(completion.until_end(&model.ends()), false).map_err(stage_failure)?;
        let passed = given == chat.answer
            || given == chat::decode_expected_answer(tokenizer, chat).map_err(stage_failure)?;
        let Chat { before, prompt, after, answer: expected, group } = chat;
        Ok(Self { checkpoint, sampler, dataset, group, before, prompt, after, expected, given, passed })
    }
}

impl ExactScores {
    fn add(&mut self, group: &str, passed: bool, empty: bool) {
        self.total += 1;
        self.passed += usize::from(passed);
        self.empty += usize::from(empty);
        if group.is_empty() {
            return;
        }
        let own = self.by_group.entry(group.to_owned()).or_default();
        own.0 += usize::from(passed);
        own.1 += 1;
    }

    /// The scores as one line of text.
    pub(crate) fn line(&self, name: &str, dataset: &str) -> String {
        let of = |(group, (passed, total)): (&String, &(usize, usize))| {
            format!("{group} {:.1}", to_percent(*passed, *total))
        };
        let groups: Vec<String> = self.by_group.iter().map(of).collect();
        let groups = if groups.is_empty() { String::new() } else { format!(" ({})", groups.join(", ")) };
        let (share, empty) = (to_percent(self.passed, self.total), to_percent(self.empty, self.total));
        let long =
            [(self.too_long, "too long for the context"), (self.beyond_canvas, "longer than the canvas")];
        let long = long.iter().filter(|(many, _)| *many > 0).map(|(many, what)| format!(", {many} {what}"));
        let long: String = long.collect();
        let speed = match self.passes {
            0 => String::new(),
            passes => format!(", {:.2} tokens a pass", self.tokens as f64 / passes as f64),
        };
        format!(
            "{name}: exact match on {dataset} {share:.1} % of {}{groups}, empty {empty:.1} %{speed}{long}{}",
            self.total,
            note_cache(self.cache, self.cache_disagreement.as_ref())
        )
    }
}

/// Share in percent; 0 if `total` is 0.
pub(super) fn to_percent(passed: usize, total: usize) -> f64 {
    100.0 * passed as f64 / total.max(1) as f64
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires this signature")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_task_are_listed_if_there_are_some() {
        let mut scores = ExactScores::default();
        scores.add("", true, false);
        scores.add("", false, true);
        assert_eq!(scores.line("sft", "chat"), "sft: exact match on chat 50.0 % of 2, empty 50.0 %");
        scores.add("sort", true, false);
        let expected = "sft: exact match on chat 66.7 % of 3 (sort 100.0), empty 33.3 %";
        assert_eq!(scores.line("sft", "chat"), expected);
        (scores.tokens, scores.passes) = (7, 4);
        let expected = format!("{expected}, 1.75 tokens a pass");
        assert_eq!(scores.line("sft", "chat"), expected);
        scores.too_long = 2;
        assert_eq!(scores.line("sft", "chat"), format!("{expected}, 2 too long for the context"));
        scores.beyond_canvas = 1;
        let all = format!("{expected}, 2 too long for the context, 1 longer than the canvas");
        assert_eq!(scores.line("sft", "chat"), all);
        scores.cache = Some("prefix");
        assert_eq!(scores.line("sft", "chat"), format!("{all}, approximate cache `prefix`"));
        let (cache, texts, differing_texts, tokens, differing_tokens) = ("prefix", 2, 1, 5, 1);
        scores.cache_disagreement =
            Some(CacheDisagreement { cache, texts, differing_texts, tokens, differing_tokens });
        let told = "the approximate cache `prefix` changed 20.0 % of 5 tokens and 50.0 % of 2 texts";
        assert_eq!(scores.line("sft", "chat"), format!("{all}, {told}"));
    }
}
