//! Orders of many customers, answered together.

use std::cell::RefCell;
use std::rc::Rc;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{Prompt, PromptKind};
use fmflow_engine::run::text::{TextAnswer, TextListener, TextStep, TokenLaw};
use fmflow_engine::run::text::{TextCustomer, TextOrder, TextOrders};

use super::answering::{list_ends, read_answer};
use super::listening::Listening;
use super::request::build_request;
use crate::completion::{BATCH, Completion, CompletionRequest, Left, Together};
use crate::failure::{input_failure, stage_failure};
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

type Work<'a> = Together<'a, Listening<'a, Delivery>>;

/// Answers orders until there are no more. New ones join between two passes.
///
/// # Errors
/// If the device fails.
pub(super) fn take_orders(model: &Model, orders: &mut dyn TextOrders) -> Result<(), Failure> {
    let mut work = Work::new(model);
    loop {
        while let Some(order) = orders.next_order(BATCH.saturating_sub(work.len()), work.len() == 0) {
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
            for onlooker in work.give_up() {
                onlooker.into_parts().1.customer.borrow_mut().fail(failure.clone());
            }
            return Err(failure);
        }
    }
}

/// Takes in an order, or tells its customer why not. Whether it was taken.
fn begin<'a>(model: &'a Model, work: &mut Work<'a>, order: TextOrder) -> bool {
    let TextOrder { prompt, samples, seed, mut customer } = order;
    let request = match prepare(model, &prompt) {
        Ok(request) => request,
        Err(failure) => {
            customer.fail(failure);
            return false;
        }
    };
    customer.begin(request.prefix.len() + request.suffix.len());
    let (customer, prompt) = (Rc::new(RefCell::new(customer)), Rc::new(prompt));
    let tokenizer = model.tokenizer().expect("a checkpoint that is open for text has a tokenizer");
    for sample in 0..samples {
        let delivery = Delivery { customer: customer.clone(), sample, prompt: prompt.clone() };
        let listening = Listening::new(tokenizer, request.prefix.len(), list_ends(model, &prompt), delivery);
        let numbered = (sample as u64, request.clone());
        if let Err(failure) = work.join(numbered, (&prompt.sampler, seed), listening) {
            customer.borrow_mut().fail(failure);
            return false;
        }
    }
    true
}

fn prepare(model: &Model, prompt: &Prompt) -> Result<CompletionRequest, Failure> {
    if prompt.shortest.is_some() {
        let what = "a gap whose length the model chooses is not written together with others";
        return Err(input_failure(what, "ask for one length"));
    }
    build_request(model, prompt)
}

/// Gives the customer an answer that is not at work any more.
fn deliver(model: &Model, left: Left<Listening<'_, Delivery>>) {
    let Left { mut onlooker, completion } = left;
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
    let written = completion.until_end(&list_ends(model, &prompt));
    let stopped = listening.finish(written).map_err(stage_failure)?;
    if let Some(settled) = stopped {
        completion.tokens.truncate(settled);
    }
    let answer = read_answer(model, &prompt, &completion)?;
    let ended = answer.ended && !(stopped.is_some() && matches!(prompt.kind, PromptKind::Infill { .. }));
    Ok(TextAnswer { stopped: stopped.is_some(), ended, ..answer })
}
