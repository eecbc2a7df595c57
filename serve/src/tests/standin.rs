//! A stand-in for a checkpoint: it says the words of its prompt backwards, one in each pass.

use std::sync::Arc;
use std::time::Duration;

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::pipeline::config::{Prompt, PromptKind, Sampler, SamplerKind};
use fmflow_engine::run::text::{TextAnswer, TextModelFacts, TextStep, TokenChance, TokenLaw, WrittenToken};
use fmflow_engine::run::text::{TextCustomer, TextOrder, TextOrders};
use fmflow_engine::service::{
    OrderQueue, QueueLoad, QueueRefusal, Refusal, ServedModel, ServiceRequest, TextService,
};

pub(super) struct StandIn {
    models: Vec<ServedModel>,
    fields: Vec<String>,
    queue: Arc<OrderQueue>,
}

impl StandIn {
    /// A checkpoint that takes `pace` for each pass.
    pub(super) fn new(pace: Duration, room: usize) -> Self {
        let facts = TextModelFacts {
            device: "cpu".into(),
            dtype: "f32",
            autoregressive: false,
            mask_source: true,
            block: None,
            exact_cache: false,
            canvas: None,
            context: 128,
        };
        let model = ServedModel { id: "m".into(), sampler: "backwards".into(), seed: 1, facts };
        let queue = Arc::new(OrderQueue::new(room));
        let own = queue.clone();
        std::thread::spawn(move || work(&own, pace));
        Self {
            models: vec![model],
            fields: vec!["temperature".into(), "top-p".into(), "steps".into()],
            queue,
        }
    }

    pub(super) fn close(&self) {
        self.queue.close();
    }
}

impl TextService for StandIn {
    fn models(&self) -> &[ServedModel] {
        &self.models
    }

    fn sampler_fields(&self) -> &[String] {
        &self.fields
    }

    fn submit(&self, request: ServiceRequest, customer: Box<dyn TextCustomer>) -> Result<(), Refusal> {
        if let Some((name, value)) = request.settings.iter().find(|(_, value)| value == "7") {
            return Err(Refusal::invalid(format!("`{name}` must not be {value}")));
        }
        let sampler = Sampler { temperature: 0.0, ..Sampler::new("backwards", SamplerKind::Autoregressive) };
        let new_tokens = request.new_tokens.map(|tokens| tokens as usize);
        let shortest = request.shortest.map(|tokens| tokens as usize);
        let grow = request.grow.map(|tokens| tokens as usize);
        let prompt = Prompt { kind: request.kind, sampler, new_tokens, shortest, grow };
        let order = TextOrder { prompt, samples: request.samples, seed: request.seed.unwrap_or(1), customer };
        self.queue.offer(order).map_err(|refusal| match refusal {
            QueueRefusal::Full => Refusal::Full,
            QueueRefusal::Closed => Refusal::Closed,
        })
    }

    fn load(&self, _: usize) -> QueueLoad {
        self.queue.load()
    }
}

/// Four places at once; each order has one word in each pass.
fn work(queue: &OrderQueue, pace: Duration) {
    const SEATS: usize = 4;
    let mut queue = queue;
    let mut busy: Vec<Talk> = Vec::new();
    loop {
        while busy.len() < SEATS {
            let Some(mut order) = queue.next_order(busy.is_empty()) else { break };
            let words = list_words(&order);
            if words.iter().any(|word| word.trim() == "FAIL") {
                order.customer.fail(Failure {
                    kind: FailureKind::Stage,
                    message: "the device failed".into(),
                    help: None,
                });
                continue;
            }
            if words.iter().any(|word| word.trim() == "LONG") {
                let (message, help) = ("too long".into(), Some("write less".into()));
                order.customer.fail(Failure { kind: FailureKind::Input, message, help });
                continue;
            }
            order.customer.begin(words.len());
            let samples = (0..order.samples).map(|_| (0, false)).collect();
            busy.push(Talk { order, words, samples });
        }
        queue.note_busy(busy.iter().map(|talk| talk.samples.len()).sum());
        if busy.is_empty() {
            return;
        }
        std::thread::sleep(pace);
        busy.retain_mut(|talk| !talk.pass());
    }
}

/// An order at work: for each answer, how many words it has, and whether it is finished.
struct Talk {
    order: TextOrder,
    words: Vec<String>,
    samples: Vec<(usize, bool)>,
}

fn list_words(order: &TextOrder) -> Vec<String> {
    let text = match &order.prompt.kind {
        PromptKind::Chat(turns) => turns.last().map(|turn| turn.content.clone()).unwrap_or_default(),
        PromptKind::Text(text) => text.clone(),
        PromptKind::Infill { prefix, more, suffix } => {
            let more: String = more.iter().map(|gap| format!(" {}:{}", gap.before, gap.tokens)).collect();
            format!("{suffix}{more} {prefix}")
        }
    };
    text.split(' ').rev().map(|word| format!("{word} ")).collect()
}

impl Talk {
    /// Another word of each answer; returns whether all are finished.
    fn pass(&mut self) -> bool {
        let most = self.order.prompt.new_tokens.unwrap_or(usize::MAX).min(self.words.len());
        for (sample, (said, done)) in self.samples.iter_mut().enumerate().filter(|(_, (_, done))| !done) {
            let customer = &mut self.order.customer;
            let stopped = !customer.goes_on(sample);
            *done = stopped || *said == most;
            if *done {
                let text = self.words[..*said].concat();
                let ended = *said == self.words.len();
                let (raw, ids, log_likelihood, gaps) = (text.clone(), vec![0; *said], None, Vec::new());
                let (tokens, passes) = (*said, *said);
                customer.take(
                    sample,
                    TextAnswer { text, raw, ids, gaps, tokens, passes, log_likelihood, stopped, ended },
                );
                continue;
            }
            let word = &self.words[*said];
            if customer.wants_steps() {
                let written =
                    WrittenToken { place: *said, id: Some(0), text: word.clone(), probability: 0.5 };
                customer.see(sample, &TextStep { pass: *said + 1, written: vec![written], places: None });
            }
            if let Some(count) = customer.wants_laws() {
                let chance = |text: &str, log_probability| TokenChance {
                    id: 0,
                    text: text.to_owned(),
                    bytes: Some(text.as_bytes().to_vec()),
                    log_probability,
                };
                let top = (0..count).map(|rank| chance(&format!("{rank}"), -1.0 - rank as f64)).collect();
                let law = TokenLaw { token: chance(word, -0.5), letters: word.chars().count(), top };
                customer.weigh(sample, vec![law]);
            }
            customer.hear(sample, word);
            *said += 1;
        }
        self.samples.iter().all(|(_, done)| *done)
    }
}
