//! Gaps of infilling benchmarks: what stands around them, and how long they are.

use std::ops::Range;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::sample::{GapLength, WritingSettings};
use fmflow_engine::pipeline::config::{Sampler, SamplerKind};
use fmflow_engine::pipeline::contract::ModelKind;
use fmflow_engine::run::execute::Job;

use super::answers::make_until_stopped;
use super::benchmark::OpenBenchmark;
use crate::answer::{SAMPLE_STRIDE, choose_length};
use crate::completion::{Completion, CompletionRequest, complete_listed};
use crate::failure::stage_failure;
use crate::job::{check_interrupt, count_threads};
use crate::model::Model;

/// Fills the gaps of a part of the answers, or of what a signal leaves of it; `None` where the context has no room for one. As in `infill`,
/// of a range the length whose tokens are the most likely ones is kept. A completion depends on the number of its answer and not on the part.
///
/// # Errors
/// If the sampler does not fit the checkpoint, the device fails, or a signal requests a stop.
pub(super) fn fill_gaps(
    job: &Job<'_>,
    (benchmark, writing): (&OpenBenchmark<'_>, &WritingSettings),
    model: &Model,
    (part, gap): (Range<usize>, GapLength),
) -> Result<Vec<Option<Completion>>, Failure> {
    let (work, sampler) = ((job.seed, count_threads(job)), &writing.sampler);
    // Each answer has room for the numbers of all lengths of its range.
    let number = |answer: usize| answer as u64 * SAMPLE_STRIDE;
    if let GapLength::Chosen(shortest, _) = gap {
        let choose = |answer| {
            check_interrupt(job)?;
            let Some(request) = build_gap(benchmark, sampler, model, (answer, gap))? else { return Ok(None) };
            let lengths = shortest..=request.length;
            let chosen = choose_length(model, (number(answer), &request), lengths, sampler, work)?;
            Ok(Some(chosen.completion))
        };
        return make_until_stopped(part, choose);
    }
    let build = |answer| build_gap(benchmark, sampler, model, (answer, gap));
    let requests: Vec<Option<CompletionRequest>> = part.clone().map(build).collect::<Result<_, _>>()?;
    let asked: Vec<(u64, &CompletionRequest)> = part
        .zip(&requests)
        .filter_map(|(answer, request)| Some((number(answer), request.as_ref()?)))
        .collect();
    let mut completions = complete_listed(model, &asked, sampler, work)?.into_iter();
    let found = requests
        .iter()
        .map(|request| request.as_ref().map(|_| completions.next().expect("each request has a completion")));
    Ok(found.collect())
}

/// The request of a gap, of a range with the longest that has room; `None` if the context has none.
fn build_gap(
    benchmark: &OpenBenchmark<'_>,
    sampler: &Sampler,
    model: &Model,
    (answer, gap): (usize, GapLength),
) -> Result<Option<CompletionRequest>, Failure> {
    let tokenizer = model.tokenizer()?;
    let encode = |text: &str| tokenizer.encode_plain(text).map_err(stage_failure);
    let problem = benchmark.place(answer).0;
    let (prefix, suffix) = (encode(&problem.prompt)?, encode(problem.suffix.as_deref().unwrap_or_default())?);
    let (shortest, longest) = match gap {
        GapLength::Known(tokens) => (tokens, tokens),
        GapLength::Chosen(shortest, longest) => (shortest, longest),
        GapLength::Reference => {
            let reference = problem.reference_gap.as_deref();
            let tokens = encode(reference.expect("it was looked for when the benchmark was opened"))?.len();
            // A reference of no token leaves a gap nevertheless.
            (tokens.max(1), tokens.max(1))
        }
    };
    let context = model.backbone.config().max_position_embeddings;
    let length = longest.min(context.saturating_sub(prefix.len() + suffix.len()));
    if length < shortest || (prefix.is_empty() && !may_begin_empty(sampler, model)) {
        return Ok(None);
    }
    Ok(Some(CompletionRequest { prefix, length, suffix, ..CompletionRequest::default() }))
}

/// Whether the model predicts the first token of a text.
fn may_begin_empty(sampler: &Sampler, model: &Model) -> bool {
    let flow = model.contract.kind == ModelKind::Flow && sampler.kind != SamplerKind::Autoregressive;
    flow && !model.contract.shift
}
