//! Many questions with one sampler: their speed and how many answers are right.

use std::time::Instant;

use fmflow_engine::documents::Chat;
use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{Prompt, PromptKind};
use fmflow_engine::run::text::{TextAnswer, TextAnswers, TextRequest, TextScores};

use super::answering::{read_answer, warm_up};
use super::disagreement::measure_disagreements;
use super::request::fit_request;
use super::twin::measure_twins;
use crate::completion::{CompletionRequest, complete_from};
use crate::data::chat;
use crate::failure::{input_failure, stage_failure};
use crate::model::Model;

/// Answers `questions` with the sampler, length and seed of `request`.
///
/// # Errors
/// If a question does not fit the checkpoint, or the device fails.
pub(super) fn score(
    model: &Model,
    request: &TextRequest<'_>,
    questions: &[Chat],
) -> Result<TextScores, Failure> {
    let (seed, sampler) = (request.seed, &request.prompt.sampler);
    let ask = |question: &Chat| Prompt { kind: PromptKind::Chat(question.given()), ..request.prompt.clone() };
    let prompts: Vec<Prompt> = questions.iter().map(ask).collect();
    let first = prompts
        .first()
        .ok_or_else(|| input_failure("there are no questions", "name a file that has some"))?;
    let requests: Vec<CompletionRequest> =
        questions.iter().zip(&prompts).map(|asked| build_question(model, asked)).collect::<Result<_, _>>()?;
    warm_up(model, first, seed)?;
    let start = Instant::now();
    let found = complete_from(model, (0, &requests), sampler, (seed, 1))?;
    let seconds = start.elapsed().as_secs_f64();
    let pairs = prompts.iter().zip(&found);
    let answers: Vec<TextAnswer> =
        pairs.map(|(prompt, completion)| read_answer(model, prompt, completion)).collect::<Result<_, _>>()?;
    let mut exact = 0;
    for (question, answer) in questions.iter().zip(&answers) {
        exact += usize::from(is_right(model, question, answer)?);
    }
    let lengths: Vec<usize> = answers.iter().map(|answer| answer.tokens).collect();
    let twin = measure_twins(model, (&requests, &lengths), sampler, seed)?;
    let asked = (prompts.as_slice(), requests.as_slice());
    let disagreement = measure_disagreements(model, asked, &answers, (sampler, seed))?;
    Ok(TextScores { answers: TextAnswers { answers, seconds }, exact, twin, disagreement })
}

/// The request of a question, with the ids of training, as `exact-match` asks it.
fn build_question(model: &Model, (question, prompt): (&Chat, &Prompt)) -> Result<CompletionRequest, Failure> {
    let (prefix, _) = chat::encode_chat(model.tokenizer()?, question)?;
    fit_request(model, prompt, (prefix, Vec::new()))
}

/// Whether an answer is the expected one, as the template lays it out or as it is written.
fn is_right(model: &Model, question: &Chat, answer: &TextAnswer) -> Result<bool, Failure> {
    let expected = chat::decode_expected_answer(model.tokenizer()?, question).map_err(stage_failure)?;
    Ok(answer.text == question.answer || answer.text == expected)
}
