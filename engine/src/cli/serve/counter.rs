//! Takes requests of clients: reads them by the language, as `generate` does, and puts them into the queues of checkpoints.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cli::CommandContext;
use crate::cli::asking::{
    CheckpointPlace, OpenCheckpoint, PromptFault, SamplerWords, Task, build_prompt, find_answer_length,
    find_prompt, list_sampler_fields, read_constraint, refuse_repeated,
};
use crate::error::{Error, Result};
use crate::pipeline::config::{ConstraintSource, Prompt, PromptKind, SamplerKind};
use crate::run::text::{TextCustomer, TextOrder};
use crate::service::{
    MOST_SAMPLES, OrderQueue, QueueLoad, QueueRefusal, Refusal, ServedModel, ServiceRequest, TextService,
};

/// Most letters of a sampler and its settings.
const SAMPLER_LETTERS: usize = 1024;

/// Most forward passes of an answer: those who ask for more would hold up the others.
const MOST_PASSES: usize = 16_384;

/// Most lengths of gaps that are written for one request.
const MOST_LENGTHS: usize = 64;

/// Most tokens whose probability is told for one request: those of all answers, each with the most probable ones in its place.
const MOST_CHANCES: usize = 1 << 17;

/// Most requests of which is remembered what the language says of them.
const REMEMBERED: usize = 256;

/// Most bytes of the automata of their constraints, each of up to 16 MiB.
const REMEMBERED_BYTES: usize = 256 << 20;

/// Where clients leave their requests.
pub(super) struct Counter {
    models: Vec<ServedModel>,
    /// Where each checkpoint was found, its folder, and the sampler of requests that describe none.
    places: Vec<(CheckpointPlace, PathBuf, SamplerWords)>,
    queues: Vec<Arc<OrderQueue>>,
    fields: Vec<String>,
    /// What the language says of a request, by checkpoint, sampler, length and task; its texts do not matter.
    known: Mutex<HashMap<(usize, String), Prompt>>,
}

impl Counter {
    /// A counter for checkpoints with their names. In each queue `room` requests may wait, and they share what they have in common or not.
    pub(super) fn new(
        checkpoints: &[(String, OpenCheckpoint)],
        sampler: Option<SamplerWords>,
        (room, sharing): (usize, bool),
    ) -> Self {
        let choose = |checkpoint: &OpenCheckpoint| {
            sampler.clone().unwrap_or_else(|| SamplerWords::default_for(checkpoint.model.facts()))
        };
        let model = |(name, checkpoint): &(String, OpenCheckpoint)| ServedModel {
            id: name.clone(),
            sampler: choose(checkpoint).describe(),
            seed: checkpoint.seed,
            facts: checkpoint.model.facts().clone(),
        };
        let place = |(_, checkpoint): &(String, OpenCheckpoint)| {
            (checkpoint.place.clone(), checkpoint.folder.clone(), choose(checkpoint))
        };
        Self {
            models: checkpoints.iter().map(model).collect(),
            places: checkpoints.iter().map(place).collect(),
            queues: checkpoints.iter().map(|_| Arc::new(OrderQueue::new(room).sharing(sharing))).collect(),
            fields: list_sampler_fields(),
            known: Mutex::default(),
        }
    }

    /// The queues of the checkpoints.
    pub(super) fn queues(&self) -> &[Arc<OrderQueue>] {
        &self.queues
    }

    /// Whether the samplers of requests that describe none fit their checkpoints.
    pub(super) fn check(
        &self,
        checkpoints: &[(String, OpenCheckpoint)],
        context: &CommandContext<'_>,
    ) -> Result<()> {
        for ((_, checkpoint), (_, _, sampler)) in checkpoints.iter().zip(&self.places) {
            let kind = PromptKind::Text("x".to_owned());
            let task = Task::new(kind, Some("1".to_owned()));
            build_prompt(&task, sampler, checkpoint, context)?;
        }
        Ok(())
    }

    fn read_sampler(&self, request: &ServiceRequest) -> Result<SamplerWords> {
        let mut sampler = match &request.sampler {
            None => self.places[request.model].2.clone(),
            Some(words) => SamplerWords::parse(std::slice::from_ref(words))?,
        };
        for (at, (name, value)) in request.settings.iter().enumerate() {
            refuse_repeated(&request.settings[..at], name)?;
            sampler.replace(name, value)?;
        }
        let letters = sampler.describe().len();
        if letters > SAMPLER_LETTERS {
            let message = format!("a sampler of {letters} letters");
            return Err(Error::usage(message, "describe it in fewer"));
        }
        let SamplerWords::Described(fields) = &sampler else { return Ok(sampler) };
        // Names become words of the language, so that only its own may pass.
        match fields.iter().find(|(name, _)| !self.fields.contains(name)) {
            None => Ok(sampler),
            Some((name, _)) => Err(Error::usage(
                format!("a sampler has no setting `{name}`"),
                "`fmflow explain sampler` lists them",
            )),
        }
    }

    /// What the language says of a request.
    fn read_prompt(&self, request: &ServiceRequest) -> std::result::Result<Prompt, PromptFault> {
        let sampler = self.read_sampler(request).map_err(PromptFault::Error)?;
        let chat = matches!(request.kind, PromptKind::Chat(_));
        let facts = &self.models[request.model].facts;
        let usual = || chat.then(|| find_answer_length(facts).to_string());
        let written = |tokens: u32| match request.shortest {
            Some(shortest) => format!("{shortest}..{tokens}"),
            None => tokens.to_string(),
        };
        let length = request.new_tokens.map(written).or_else(usual);
        let letters = match &request.kind {
            PromptKind::Chat(_) => "chat".to_owned(),
            PromptKind::Text(text) => format!("text {}", text.is_empty()),
            PromptKind::Infill { prefix, more, suffix } => {
                let gaps: Vec<usize> = more.iter().map(|gap| gap.tokens).collect();
                format!("infill {} {} {gaps:?}", prefix.is_empty(), suffix.is_empty())
            }
        };
        // Not as people write it: two different samplers may read the same.
        let constraint = &request.constraint;
        let key = (request.model, format!("{letters} {length:?} {sampler:?} {constraint:?}"));
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Prompt { kind: request.kind.clone(), ..known.clone() });
        }
        let (place, folder, _) = &self.places[request.model];
        let read = |source: &ConstraintSource| read_constraint("`response_format`", source.clone());
        let constraint = constraint.as_ref().map(read).transpose().map_err(PromptFault::Error)?;
        let task = Task { constraint, ..Task::new(request.kind.clone(), length) };
        let (prompt, _) = find_prompt(&task, &sampler, (place, folder))?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let of_constraint =
            |prompt: &Prompt| prompt.sampler.constraint.as_ref().map_or(0, |kept| kept.automaton().bytes());
        let bytes: usize = known.values().map(of_constraint).sum();
        if known.len() >= REMEMBERED || bytes + of_constraint(&prompt) > REMEMBERED_BYTES {
            known.clear();
        }
        known.insert(key, Prompt { kind: PromptKind::Text(String::new()), ..prompt.clone() });
        Ok(prompt)
    }
}

impl TextService for Counter {
    fn models(&self) -> &[ServedModel] {
        &self.models
    }

    fn sampler_fields(&self) -> &[String] {
        &self.fields
    }

    fn submit(
        &self,
        request: ServiceRequest,
        customer: Box<dyn TextCustomer>,
    ) -> std::result::Result<(), Refusal> {
        let prompt = self.read_prompt(&request).map_err(|fault| Refusal::Invalid { message: say(fault) })?;
        refuse_many_passes(&prompt, self.models[request.model].facts.context)?;
        refuse_many_lengths(&prompt, request.samples)?;
        if let Some(top) = request.laws {
            let facts = &self.models[request.model].facts;
            refuse_without_law(&prompt, facts.block)?;
            refuse_many_chances(&prompt, facts.context, (request.samples, top))?;
        }
        if !(1..=MOST_SAMPLES).contains(&request.samples) {
            let message = format!("{} answers; a request has from 1 to {MOST_SAMPLES}", request.samples);
            return Err(Refusal::Invalid { message });
        }
        let seed = request.seed.unwrap_or(self.models[request.model].seed);
        let order = TextOrder { prompt, samples: request.samples, seed, customer };
        self.queues[request.model].offer(order).map_err(|refusal| match refusal {
            QueueRefusal::Full => Refusal::Full,
            QueueRefusal::Closed => Refusal::Closed,
        })
    }

    fn load(&self, model: usize) -> QueueLoad {
        self.queues[model].load()
    }
}

/// Refuses an answer of more passes than [`MOST_PASSES`], in a context of so many tokens.
fn refuse_many_passes(prompt: &Prompt, context: usize) -> std::result::Result<(), Refusal> {
    let (SamplerKind::Reveal { passes, .. } | SamplerKind::Euler { passes, .. }) = prompt.sampler.kind else {
        // The other samplers write at least one token in a pass.
        return Ok(());
    };
    let tokens = prompt.new_tokens.unwrap_or(context);
    let blocks = prompt.sampler.block.map_or(1, |block| tokens.div_ceil(block.max(1)).max(1));
    let all = passes.saturating_mul(blocks);
    if all <= MOST_PASSES {
        return Ok(());
    }
    let each = if blocks == 1 { String::new() } else { format!(" in each of {blocks} blocks") };
    let message =
        format!("`passes` {passes}{each}: {all} for an answer, and a server makes at most {MOST_PASSES}");
    Err(Refusal::Invalid { message })
}

/// Refuses more lengths of a gap than [`MOST_LENGTHS`], those of all answers together.
fn refuse_many_lengths(prompt: &Prompt, samples: usize) -> std::result::Result<(), Refusal> {
    let (Some(shortest), Some(longest)) = (prompt.shortest, prompt.new_tokens) else { return Ok(()) };
    let lengths = (longest - shortest + 1).saturating_mul(samples);
    if lengths <= MOST_LENGTHS {
        return Ok(());
    }
    let message = format!(
        "{lengths} lengths of the gap for all answers; a server tries at most {MOST_LENGTHS} for a request"
    );
    Err(Refusal::Invalid { message })
}

/// Refuses to tell more probabilities than [`MOST_CHANCES`]: they are kept until all answers are there.
fn refuse_many_chances(
    prompt: &Prompt,
    context: usize,
    (samples, top): (usize, usize),
) -> std::result::Result<(), Refusal> {
    let tokens = prompt.new_tokens.unwrap_or(context).min(context);
    let all = tokens.saturating_mul(samples).saturating_mul(top + 1);
    if all <= MOST_CHANCES {
        return Ok(());
    }
    let message = format!(
        "`logprobs` of {samples} times {tokens} tokens, each with {top} others, are {all}, and a server tells at most {MOST_CHANCES} for a \
         request: ask for fewer answers, tokens or others"
    );
    Err(Refusal::Invalid { message })
}

/// Refuses to tell log-probabilities of a sampler that has no law of each token. The checkpoint was trained in blocks of `own` tokens.
fn refuse_without_law(prompt: &Prompt, own: Option<usize>) -> std::result::Result<(), Refusal> {
    if prompt.shortest.is_some() {
        let message = "`logprobs` of a gap whose length the model chooses are not told: ask for one length";
        return Err(Refusal::Invalid { message: message.to_owned() });
    }
    if prompt.sampler.has_token_law(own) {
        return Ok(());
    }
    let message = "`logprobs` are those of a law by which each token is drawn after those before it, and this sampler has none: it writes \
                   several tokens at once, or rewrites them. Ask for the sampler `autoregressive` or `speculative`, or for `block` 1 with \
                   one that reveals masks; `/watch` tells how probable each token was in the pass that wrote it";
    Err(Refusal::Invalid { message: message.to_owned() })
}

/// A fault in one line for a client.
fn say(fault: PromptFault) -> String {
    let with_help = |message: String, help: Option<String>| match help {
        Some(help) => format!("{message} ({})", help.replace('\n', " ")),
        None => message,
    };
    match fault {
        PromptFault::Error(error) => with_help(error.to_string(), error.help()),
        PromptFault::Findings(findings) => {
            let say = |finding: crate::text::diagnostic::Diagnostic| with_help(finding.message, finding.help);
            findings.into_iter().map(say).collect::<Vec<_>>().join("; ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::config::Sampler;

    #[test]
    fn no_request_is_told_more_probabilities_than_fit() {
        let sampler = Sampler { temperature: 0.0, ..Sampler::new("next", SamplerKind::Autoregressive) };
        let kind = PromptKind::Text("x".into());
        let prompt =
            |new_tokens| Prompt { kind: kind.clone(), sampler: sampler.clone(), new_tokens, shortest: None };
        let refused = |new_tokens, samples, top| {
            refuse_many_chances(&prompt(new_tokens), 40_960, (samples, top)).is_err()
        };
        assert!(!refused(Some(MOST_CHANCES / 64), 16, 3) && refused(Some(MOST_CHANCES / 64 + 1), 16, 3));
        assert!(!refused(None, 1, 0) && refused(None, 1, 20), "without a length it is the context");
        assert!(refused(Some(usize::MAX), 16, 20), "no product overflows");
        assert!(!refused(Some(usize::MAX), 1, 0), "an answer has at most the context");
    }
}
