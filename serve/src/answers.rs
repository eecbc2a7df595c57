//! From a checkpoint's thread to a connection: what is heard of answers, cut at stop strings.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::run::text::TextCustomer;
use fmflow_engine::run::text::{TextAnswer, TextStep, TokenLaw};
use fmflow_engine::service::{ServiceRequest, StopFinder};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_blocking;

use crate::fault::Fault;
use crate::metrics::{Counted, Metrics};
use crate::state::ServerState;

/// Most steps or laws that wait for somebody who reads. Pieces of text are not counted: there are no more of them than tokens.
const MOST_WAITING: usize = 1024;

/// What happens to a request.
#[derive(Debug)]
pub(crate) enum Event {
    /// It is at work; its prompt has so many tokens.
    Begun(usize),
    /// How probable the tokens of the next pieces of an answer were.
    Laws(usize, Vec<TokenLaw>),
    /// The next piece of an answer.
    Piece(usize, String),
    /// What a pass wrote in the only answer of a request that is watched.
    Step(TextStep),
    /// An answer is finished.
    Ended(usize, Ending),
    /// It cannot be answered.
    Failed(Failure),
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Why: `stop` or `length`.
    pub(crate) reason: &'static str,
    /// Tokens written.
    pub(crate) tokens: usize,
    /// Forward passes.
    pub(crate) passes: usize,
    /// The text of each gap, if there are several.
    pub(crate) gaps: Vec<String>,
}

/// The events of a request. Who drops it has left: then the work ends before the next pass.
pub(crate) struct Answers {
    events: UnboundedReceiver<Event>,
    /// Steps and laws that were not read yet.
    waiting: Arc<AtomicUsize>,
    /// Tokens of the prompt.
    pub(crate) prompt_tokens: usize,
    _counted: Counted,
}

impl Answers {
    /// The next event; `None` if the work was given up.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The same, for a body.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let event = ready!(self.events.poll_recv(context));
        if matches!(event, Some(Event::Step(_) | Event::Laws(..))) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        Poll::Ready(event)
    }
}

struct HttpCustomer {
    events: UnboundedSender<Event>,
    /// Steps and laws that were not read yet.
    waiting: Arc<AtomicUsize>,
    stops: Vec<StopFinder>,
    wants_steps: bool,
    /// How many of the most probable tokens are wanted with each law, if laws are.
    laws: Option<usize>,
    failed: bool,
    /// Set when the server cuts all answers.
    cut: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

/// Puts a request into its queue and waits until it is at work.
///
/// # Errors
/// Why it is not answered.
pub(crate) async fn ask(
    state: &Arc<ServerState>,
    request: ServiceRequest,
    stops: &[String],
    wants_steps: bool,
) -> Result<Answers, Fault> {
    if state.closing.load(Ordering::SeqCst) {
        return Err(Fault::stopping());
    }
    let (sender, mut events) = unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let customer = HttpCustomer {
        events: sender,
        waiting: waiting.clone(),
        stops: (0..request.samples).map(|_| StopFinder::new(stops.to_vec())).collect(),
        wants_steps,
        laws: request.laws,
        failed: false,
        cut: state.cut.clone(),
        metrics: state.metrics.clone(),
    };
    let counted = Counted::new(&state.metrics, |metrics| &metrics.requests);
    let service = state.service.clone();
    // The language is asked about a new kind of request, which takes longer than other connections should wait.
    let submitted = spawn_blocking(move || service.submit(request, Box::new(customer))).await;
    submitted.map_err(|error| lost(&error.to_string()))??;
    match events.recv().await {
        Some(Event::Begun(prompt_tokens)) => {
            Ok(Answers { events, waiting, prompt_tokens, _counted: counted })
        }
        Some(Event::Failed(failure)) => Err(failure.into()),
        _ => Err(Fault::stopping()),
    }
}

fn lost(what: &str) -> Fault {
    Fault::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, what)
}

impl HttpCustomer {
    /// A connection that is gone is seen by [`TextCustomer::goes_on`].
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// Tells what does not fit into the text, unless too much of it waits.
    fn tell_bounded(&mut self, what: &str, event: impl FnOnce() -> Event) {
        if self.failed {
            return;
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MOST_WAITING {
            let message = format!("the client reads too slowly: {MOST_WAITING} {what} wait for it");
            return self.fail(Failure { kind: FailureKind::Input, message, help: None });
        }
        self.tell(event());
    }
}

impl TextCustomer for HttpCustomer {
    fn begin(&mut self, prompt_tokens: usize) {
        self.tell(Event::Begun(prompt_tokens));
    }

    fn hear(&mut self, sample: usize, piece: &str) {
        let text = self.stops[sample].push(piece);
        if !text.is_empty() {
            self.tell(Event::Piece(sample, text));
        }
    }

    fn wants_steps(&self) -> bool {
        self.wants_steps
    }

    fn see(&mut self, _: usize, step: &TextStep) {
        self.tell_bounded("steps", || Event::Step(step.clone()));
    }

    fn wants_laws(&self) -> Option<usize> {
        self.laws
    }

    fn weigh(&mut self, sample: usize, laws: Vec<TokenLaw>) {
        self.tell_bounded("log-probabilities", || Event::Laws(sample, laws));
    }

    fn goes_on(&mut self, sample: usize) -> bool {
        let wanted = !self.failed && !self.events.is_closed() && !self.cut.load(Ordering::SeqCst);
        wanted && !self.stops[sample].is_found()
    }

    fn take(&mut self, sample: usize, answer: TextAnswer) {
        let found = self.stops[sample].is_found();
        if answer.stopped && !found {
            return self.fail(Failure::interrupted());
        }
        let rest = self.stops[sample].finish();
        if !rest.is_empty() {
            self.tell(Event::Piece(sample, rest));
        }
        let reason = if found || answer.ended { "stop" } else { "length" };
        let count = |counter: &AtomicU64, value: usize| counter.fetch_add(value as u64, Ordering::Relaxed);
        count(&self.metrics.tokens, answer.tokens);
        count(&self.metrics.passes, answer.passes);
        let TextAnswer { tokens, passes, gaps, .. } = answer;
        self.tell(Event::Ended(sample, Ending { reason, tokens, passes, gaps }));
    }

    fn fail(&mut self, failure: Failure) {
        if !self.failed {
            self.failed = true;
            self.tell(Event::Failed(failure));
        }
    }
}
