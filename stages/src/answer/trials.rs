//! A gap of several lengths that is written among the orders of others: every length is a request, and the likeliest is delivered.

use std::cell::RefCell;
use std::rc::Rc;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::Prompt;
use fmflow_engine::run::text::{TextAnswer, TextCustomer};

use super::answering::{read_answer, write_text};
use super::choose::Judge;
use crate::completion::Completion;
use crate::flow::sampler::{Canvas, Onlooker};
use crate::model::Model;

/// The lengths of one answer.
pub(super) struct Trials {
    customer: Rc<RefCell<Box<dyn TextCustomer>>>,
    sample: usize,
    prompt: Rc<Prompt>,
    /// Lengths at work.
    waiting: usize,
    /// The likeliest, with its rank and its mean log-likelihood.
    best: Option<(f64, usize, Completion)>,
    /// Forward passes of all lengths.
    passes: usize,
    stopped: bool,
    failed: bool,
}

/// One of them, while it is written.
pub(super) struct Trial {
    trials: Rc<RefCell<Trials>>,
    judge: Judge,
    /// Its number among the requests of its seed.
    number: u64,
    /// How many are shorter.
    rank: usize,
}

impl Trials {
    /// The trials of an answer, one for each of `count` lengths; the first is number `first` of the seed.
    pub(super) fn begin(
        customer: &Rc<RefCell<Box<dyn TextCustomer>>>,
        (sample, prompt): (usize, &Rc<Prompt>),
        (first, count): (u64, usize),
    ) -> Vec<Trial> {
        let trials = Rc::new(RefCell::new(Self {
            customer: customer.clone(),
            sample,
            prompt: prompt.clone(),
            waiting: count,
            best: None,
            passes: 0,
            stopped: false,
            failed: false,
        }));
        let trial = |rank: usize| {
            let (trials, judge) = (trials.clone(), Judge::default());
            Trial { trials, judge, number: first + rank as u64, rank }
        };
        (0..count).map(trial).collect()
    }

    /// Takes a finished length. Of equal likelihoods the shortest stays, as where lengths are tried one after the other.
    fn take(&mut self, (rank, log_likelihood): (usize, f64), completion: Completion) {
        self.passes += completion.passes;
        let better = |(best, other, _): &(f64, usize, Completion)| {
            log_likelihood > *best || (log_likelihood == *best && rank < *other)
        };
        if self.best.as_ref().is_none_or(better) {
            self.best = Some((log_likelihood, rank, completion));
        }
    }

    /// Tells the customer, once, why there is no answer.
    fn fail(&mut self, failure: Failure) {
        if !self.failed {
            self.failed = true;
            self.customer.borrow_mut().fail(failure);
        }
    }

    /// Gives the customer the likeliest, once all are finished.
    fn deliver(&mut self, model: &Model) {
        let (log_likelihood, _, completion) = self.best.take().expect("none failed, so one is the likeliest");
        let completion = Completion { passes: self.passes, ..completion };
        let text = write_text(model, &self.prompt, &completion);
        let answer = text.and_then(|text| {
            let answer = read_answer(model, &self.prompt, &completion)?;
            let log_likelihood = Some(log_likelihood);
            Ok(TextAnswer { text, log_likelihood, stopped: self.stopped, ..answer })
        });
        let mut customer = self.customer.borrow_mut();
        match answer {
            Ok(answer) => {
                if !self.stopped {
                    customer.hear(self.sample, &answer.text);
                }
                customer.take(self.sample, answer);
            }
            Err(failure) => customer.fail(failure),
        }
    }
}

impl Trial {
    /// The length is not at work any more.
    pub(super) fn leave(self, model: &Model, completion: Result<Completion, Failure>) {
        let mut trials = self.trials.borrow_mut();
        trials.waiting -= 1;
        match completion {
            Ok(completion) => {
                let log_likelihood = self.judge.mean_log_likelihood(self.number);
                trials.take((self.rank, log_likelihood), completion);
            }
            Err(failure) => trials.fail(failure),
        }
        if trials.waiting == 0 && !trials.failed {
            trials.deliver(model);
        }
    }

    /// Tells the customer why there is no answer.
    pub(super) fn fail(&self, failure: Failure) {
        self.trials.borrow_mut().fail(failure);
    }
}

impl Onlooker for Trial {
    fn goes_on(&mut self) -> bool {
        let mut trials = self.trials.borrow_mut();
        let sample = trials.sample;
        let goes_on = !trials.failed && trials.customer.borrow_mut().goes_on(sample);
        trials.stopped |= !goes_on;
        goes_on
    }

    fn wants_probabilities(&self) -> bool {
        true
    }

    fn judged(&mut self, canvas: &Canvas, places: &[usize], probabilities: &[f64]) {
        self.judge.judged(canvas, places, probabilities);
    }
}
