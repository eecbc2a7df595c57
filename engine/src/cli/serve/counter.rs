//! Takes requests of clients: reads them by the language, as `generate` does, and puts them into the queues of checkpoints.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::refusals::{
    refuse_many_chances, refuse_many_lengths, refuse_many_passes, refuse_without_law, say, say_failure,
};
use crate::cli::CommandContext;
use crate::cli::asking::{
    CheckpointPlace, OpenCheckpoint, PromptFault, SamplerWords, Task, build_prompt, find_answer_length,
    find_prompt, list_sampler_fields, read_constraint, refuse_repeated,
};
use crate::error::{Error, Result};
use crate::pipeline::config::{ConstraintSource, Prompt, PromptKind};
use crate::run::text::{TextCustomer, TextModel, TextOrder};
use crate::service::{
    MOST_SAMPLES, OrderQueue, QueueLoad, QueueRefusal, Refusal, ServedModel, ServiceRequest, TextService,
};

/// Most letters of a sampler and its settings.
const SAMPLER_LETTERS: usize = 1024;

/// The field of a request that has its constraint.
const CONSTRAINT: &str = "response_format";

/// Most requests of which is remembered what the language says of them.
const REMEMBERED: usize = 256;

/// Most bytes of the automata of their constraints, each of up to 16 MiB.
const REMEMBERED_BYTES: usize = 256 << 20;

/// Where clients leave their requests.
pub(super) struct Counter {
    models: Vec<ServedModel>,
    /// Where each checkpoint was found, its folder, and the sampler of requests that describe none.
    places: Vec<(CheckpointPlace, PathBuf, SamplerWords)>,
    checkpoints: Vec<Arc<dyn TextModel>>,
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
            checkpoints: checkpoints.iter().map(|(_, checkpoint)| checkpoint.model.clone()).collect(),
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

    /// Why a request is refused. One that could be answered without its constraint is refused because of it.
    fn refuse(&self, request: &ServiceRequest, fault: PromptFault) -> Refusal {
        let free = || ServiceRequest { constraint: None, ..request.clone() };
        let constrained = request.constraint.is_some() && self.read_prompt(&free()).is_ok();
        Refusal::Invalid { message: say(fault), field: constrained.then_some(CONSTRAINT) }
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
        let constraint = &request.constraint;
        // Not as people write it: two different samplers may read the same.
        let (grow, kind) = (request.grow, describe_kind(&request.kind));
        let key = format!("{kind} {length:?} {grow:?} {sampler:?} {constraint:?}");
        let key = (request.model, key);
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Prompt { kind: request.kind.clone(), ..known.clone() });
        }
        let (place, folder, _) = &self.places[request.model];
        let read = |source: &ConstraintSource| read_constraint(&format!("`{CONSTRAINT}`"), source.clone());
        let constraint = constraint.as_ref().map(read).transpose().map_err(PromptFault::Error)?;
        let task = Task { grow, constraint, ..Task::new(request.kind.clone(), length) };
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

/// What the language asks of the texts of a request.
fn describe_kind(kind: &PromptKind) -> String {
    match kind {
        PromptKind::Chat(_) => "chat".to_owned(),
        PromptKind::Text(text) => format!("text {}", text.is_empty()),
        PromptKind::Infill { prefix, more, suffix } => {
            let gaps: Vec<usize> = more.iter().map(|gap| gap.tokens).collect();
            format!("infill {} {} {gaps:?}", prefix.is_empty(), suffix.is_empty())
        }
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
        let prompt = self.read_prompt(&request).map_err(|fault| self.refuse(&request, fault))?;
        refuse_many_passes(&prompt, self.models[request.model].facts.context)?;
        refuse_many_lengths(&prompt, request.samples)?;
        if let Some(top) = request.laws {
            let facts = &self.models[request.model].facts;
            refuse_without_law(&prompt, facts.block)?;
            refuse_many_chances(&prompt, facts.context, (request.samples, top))?;
        }
        if !(1..=MOST_SAMPLES).contains(&request.samples) {
            let message = format!("{} answers; a request has from 1 to {MOST_SAMPLES}", request.samples);
            return Err(Refusal::of_field("n", message));
        }
        let (queue, checkpoint) = (&self.queues[request.model], &self.checkpoints[request.model]);
        // That may take seconds, which nobody needs to spend for an order that is not taken.
        queue.check_room().map_err(refuse_order)?;
        let checked = checkpoint.check_constraint(&prompt);
        checked.map_err(|failure| Refusal::of_field(CONSTRAINT, say_failure(failure)))?;
        let seed = request.seed.unwrap_or(self.models[request.model].seed);
        let order = TextOrder { prompt, samples: request.samples, seed, customer };
        queue.offer(order).map_err(refuse_order)
    }

    fn load(&self, model: usize) -> QueueLoad {
        self.queues[model].load()
    }
}

fn refuse_order(refusal: QueueRefusal) -> Refusal {
    match refusal {
        QueueRefusal::Full => Refusal::Full,
        QueueRefusal::Closed => Refusal::Closed,
    }
}
