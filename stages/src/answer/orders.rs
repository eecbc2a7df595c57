//! Orders of many customers, answered together.

use std::cell::RefCell;
use std::rc::Rc;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{Prompt, PromptKind};
use fmflow_engine::run::text::{TextAnswer, TextListener, TextStep, TokenLaw};
use fmflow_engine::run::text::{TextCustomer, TextOrder, TextOrders};

use super::answering::{SAMPLE_STRIDE, list_ends, read_answer, write_text};
use super::listening::Listening;
use super::request::build_request;
use super::trials::{Trial, Trials};
use crate::completion::{BATCH, Completion, CompletionRequest, Left, Together};
use crate::failure::stage_failure;
use crate::flow::sampler::{Canvas, Onlooker, RankedLaw};
use crate::model::Model;

/// A customer of one or more answers.
type Customer = Rc<RefCell<Box<dyn TextCustomer>>>;

/// One answer of an order, on its way to the customer.
struct Delivery {
    customer: Customer,
    sample: usize,
    prompt: Rc<Prompt>,
}

impl TextListener for Delivery {
    fn hear(&mut self, piece: &str) {
        self.customer.borrow_mut().hear(self.sample, piece);
    }

    fn goes_on(&mut self) -> bool {
        self.customer.borrow_mut().goes_on(self.sample)
    }

    fn wants_steps(&self) -> bool {
        self.customer.borrow().wants_steps()
    }

    fn see(&mut self, step: &TextStep) {
        self.customer.borrow_mut().see(self.sample, step);
    }

    fn wants_laws(&self) -> Option<usize> {
        self.customer.borrow().wants_laws()
    }

    fn weigh(&mut self, laws: Vec<TokenLaw>) {
        self.customer.borrow_mut().weigh(self.sample, laws);
    }
}

/// Who looks on while an answer is written.
enum Watcher<'a> {
    /// Hears it.
    Listening(Box<Listening<'a, Delivery>>),
    /// Compares it with others.
    Trial(Trial),
}

impl<'a> Watcher<'a> {
    fn onlooker(&mut self) -> &mut dyn Onlooker {
        match self {
            Self::Listening(listening) => &mut **listening,
            Self::Trial(trial) => trial,
        }
    }

    fn seen(&self) -> &dyn Onlooker {
        match self {
            Self::Listening(listening) => &**listening,
            Self::Trial(trial) => trial,
        }
    }

    /// Tells the customer why there is no answer.
    fn fail(self, failure: Failure) {
        match self {
            Self::Listening(listening) => listening.into_parts().1.customer.borrow_mut().fail(failure),
            Self::Trial(trial) => trial.fail(failure),
        }
    }
}

impl Onlooker for Watcher<'_> {
    fn goes_on(&mut self) -> bool {
        self.onlooker().goes_on()
    }

    fn settled(&mut self, canvas: &Canvas, end: usize) {
        self.onlooker().settled(canvas, end);
    }

    fn wants_probabilities(&self) -> bool {
        self.seen().wants_probabilities()
    }

    fn judged(&mut self, canvas: &Canvas, places: &[usize], probabilities: &[f64]) {
        self.onlooker().judged(canvas, places, probabilities);
    }

    fn moved(&mut self, canvas: &Canvas, moves: &[Option<usize>]) {
        self.onlooker().moved(canvas, moves);
    }

    fn wants_laws(&self) -> Option<usize> {
        self.seen().wants_laws()
    }

    fn ranked(&mut self, canvas: &Canvas, place: usize, law: RankedLaw) {
        self.onlooker().ranked(canvas, place, law);
    }
}

type Work<'a> = Together<'a, Watcher<'a>>;

/// Most orders at work. Each gets its share of the passes, however many answers the others asked for; further ones wait in their queue.
const ORDERS: usize = BATCH;

/// Answers orders until there are no more. New ones join between two passes.
///
/// # Errors
/// If the device fails.
pub(super) fn take_orders(model: &Model, orders: &mut dyn TextOrders) -> Result<(), Failure> {
    let mut work = if orders.are_shared() { Work::new(model) } else { Work::apart(model) };
    loop {
        while work.count_orders() < ORDERS {
            let Some(order) = orders.next_order(work.len() == 0) else { break };
            // Reading a text takes time, and one that is refused takes no place: those at work go on between two of them.
            if !begin(model, &mut work, order) && work.len() > 0 {
                break;
            }
        }
        orders.note_busy(work.len());
        if work.len() == 0 {
            return Ok(());
        }
        // What is finished is delivered even if the device fails afterwards.
        let mut left = Vec::new();
        let passed = work.pass(&mut left);
        left.into_iter().for_each(|left| deliver(model, left));
        if let Err(failure) = passed {
            work.give_up().for_each(|watcher| watcher.fail(failure.clone()));
            return Err(failure);
        }
    }
}

/// Takes in an order, or tells its customer why not. Whether it was taken.
fn begin<'a>(model: &'a Model, work: &mut Work<'a>, order: TextOrder) -> bool {
    let TextOrder { prompt, samples, seed, mut customer } = order;
    let request = match build_request(model, &prompt) {
        Ok(request) => request,
        Err(failure) => {
            customer.fail(failure);
            return false;
        }
    };
    let (customer, prompt) = (Rc::new(RefCell::new(customer)), Rc::new(prompt));
    work.begin_order();
    for sample in 0..samples {
        let rows = match prompt.shortest {
            Some(shortest) => try_lengths((&customer, sample, &prompt), &request, shortest),
            None => vec![listen(model, (&customer, sample, &prompt), &request)],
        };
        for (numbered, watcher) in rows {
            if let Err(failure) = work.join(numbered, (&prompt.sampler, seed), watcher) {
                customer.borrow_mut().fail(failure);
                return false;
            }
        }
    }
    // Only now it is sure that there will be answers: a client that reads pieces has no other way to be told.
    customer.borrow_mut().begin(count_given(&request));
    true
}

/// Tokens that a request gives.
fn count_given(request: &CompletionRequest) -> usize {
    let between: usize = request.given.iter().map(|given| given.tokens.len()).sum();
    request.prefix.len() + between + request.suffix.len()
}

type Numbered<'a> = ((u64, CompletionRequest), Watcher<'a>);

/// A request of known length, which its customer hears.
fn listen<'a>(
    model: &'a Model,
    (customer, sample, prompt): (&Customer, usize, &Rc<Prompt>),
    request: &CompletionRequest,
) -> Numbered<'a> {
    let tokenizer = model.tokenizer().expect("a checkpoint that is open for text has a tokenizer");
    let delivery = Delivery { customer: customer.clone(), sample, prompt: prompt.clone() };
    let listening = Listening::new(tokenizer, request, list_ends(model, prompt), delivery);
    ((sample as u64, request.clone()), Watcher::Listening(Box::new(listening)))
}

/// A request for each length of a gap, from `shortest` to that of `request`. They have the numbers of a request that is answered alone.
fn try_lengths<'a>(
    (customer, sample, prompt): (&Customer, usize, &Rc<Prompt>),
    request: &CompletionRequest,
    shortest: usize,
) -> Vec<Numbered<'a>> {
    let first = sample as u64 * SAMPLE_STRIDE;
    let trials = Trials::begin(customer, (sample, prompt), (first, request.length + 1 - shortest));
    let row = |(rank, trial): (usize, Trial)| {
        let request = CompletionRequest { length: shortest + rank, ..request.clone() };
        ((first + rank as u64, request), Watcher::Trial(trial))
    };
    trials.into_iter().enumerate().map(row).collect()
}

/// Gives the customer an answer that is not at work any more.
fn deliver(model: &Model, left: Left<Watcher<'_>>) {
    let Left { onlooker, completion } = left;
    let mut onlooker = match onlooker {
        Watcher::Trial(trial) => return trial.leave(model, completion),
        Watcher::Listening(listening) => listening,
    };
    let answer = completion.and_then(|completion| finish(model, &mut onlooker, completion));
    let (heard, Delivery { customer, sample, .. }) = onlooker.into_parts();
    match answer {
        Ok(answer) => customer.borrow_mut().take(sample, TextAnswer { text: heard, ..answer }),
        Err(failure) => customer.borrow_mut().fail(failure),
    }
}

/// The answer of a completion, whose last piece the customer hears.
fn finish(
    model: &Model,
    listening: &mut Listening<'_, Delivery>,
    mut completion: Completion,
) -> Result<TextAnswer, Failure> {
    let prompt = listening.listener().prompt.clone();
    let text = write_text(model, &prompt, &completion)?;
    let tokens = completion.until_end(&list_ends(model, &prompt));
    let stopped = listening.finish(tokens, &text).map_err(stage_failure)?;
    if let Some(settled) = stopped {
        completion.tokens.truncate(settled);
    }
    let answer = read_answer(model, &prompt, &completion)?;
    let ended = answer.ended && !(stopped.is_some() && matches!(prompt.kind, PromptKind::Infill { .. }));
    Ok(TextAnswer { stopped: stopped.is_some(), ended, ..answer })
}
