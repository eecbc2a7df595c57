//! Gaps of infilling benchmarks: what stands around them, and how long they are.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::sample::{GapLength, WritingSettings};
use fmflow_engine::pipeline::config::{Sampler, SamplerKind};
use fmflow_engine::pipeline::contract::ModelKind;
use fmflow_engine::run::execute::Job;

use super::benchmark::OpenBenchmark;
use crate::answer::{SAMPLE_STRIDE, choose_length};
use crate::completion::{Completion, CompletionRequest, complete_listed};
use crate::failure::stage_failure;
use crate::job::{check_interrupt, count_threads};
use crate::model::Model;

/// Fills the gap of answer `number`; `None` if the context has no room for it. As in `infill`, of a range the length whose tokens are the most
/// likely ones is kept.
///
/// # Errors
/// If the sampler does not fit the checkpoint, the device fails, or a signal requests a stop.
pub(super) fn fill_gap(
    job: &Job<'_>,
    (benchmark, writing): (&OpenBenchmark<'_>, &WritingSettings),
    model: &Model,
    (number, gap): (usize, GapLength),
) -> Result<Option<Completion>, Failure> {
    check_interrupt(job)?;
    let tokenizer = model.tokenizer()?;
    let encode = |text: &str| tokenizer.encode_plain(text).map_err(stage_failure);
    let problem = benchmark.place(number).0;
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
    let longest = longest.min(context.saturating_sub(prefix.len() + suffix.len()));
    if longest < shortest || (prefix.is_empty() && !may_begin_empty(&writing.sampler, model)) {
        return Ok(None);
    }
    // Each answer has room for the numbers of all lengths of its range.
    let (first, work) = (number as u64 * SAMPLE_STRIDE, (job.seed, count_threads(job)));
    let (request, sampler) = (CompletionRequest { prefix, length: longest, suffix }, &writing.sampler);
    if let GapLength::Chosen(..) = gap {
        let chosen = choose_length(model, (first, &request), shortest..=longest, sampler, work)?;
        return Ok(Some(chosen.completion));
    }
    Ok(complete_listed(model, &[(first, &request)], sampler, work)?.pop())
}

/// Whether the model predicts the first token of a text.
fn may_begin_empty(sampler: &Sampler, model: &Model) -> bool {
    let flow = model.contract.kind == ModelKind::Flow && sampler.kind != SamplerKind::Autoregressive;
    flow && !model.contract.shift
}
