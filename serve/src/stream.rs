//! Answers in pieces: server-sent events.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::Response;
use http_body::Frame;
use serde_json::Value;

use crate::answers::{Answers, Event};
use crate::fault::{Fault, respond};

/// Turns the events of a request into messages.
pub(crate) trait Narrator: Send + Unpin + 'static {
    /// The messages before the first event.
    fn begin(&mut self) -> Vec<Value>;

    /// The messages of an event.
    fn tell(&mut self, event: Event) -> Vec<Value>;

    /// Whether nothing follows.
    fn is_done(&self) -> bool;
}

/// A body that ends with `[DONE]`.
struct EventBody<N> {
    answers: Answers,
    narrator: N,
    ready: VecDeque<Bytes>,
    done: bool,
}

/// The answer of HTTP with the messages of a request.
pub(crate) fn respond_events<N: Narrator>(answers: Answers, mut narrator: N) -> Response {
    let ready = narrator.begin().iter().map(write_message).collect();
    let body = EventBody { answers, narrator, ready, done: false };
    respond(StatusCode::OK, "text/event-stream", Body::new(body))
}

fn write_message(value: &Value) -> Bytes {
    format!("data: {value}\n\n").into()
}

impl<N: Narrator> EventBody<N> {
    fn take_event(&mut self, event: Option<Event>) {
        let failed = match event {
            Some(Event::Failed(failure)) => Some(Fault::from(failure)),
            None => Some(Fault::stopping()),
            Some(event) => {
                self.ready.extend(self.narrator.tell(event).iter().map(write_message));
                None
            }
        };
        if let Some(fault) = &failed {
            self.ready.push_back(write_message(&fault.to_json()));
        }
        if failed.is_some() || self.narrator.is_done() {
            self.ready.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
            self.done = true;
        }
    }
}

impl<N: Narrator> http_body::Body for EventBody<N> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let own = &mut *self;
        while own.ready.is_empty() && !own.done {
            let event = ready!(own.answers.poll_next(context));
            own.take_event(event);
        }
        Poll::Ready(own.ready.pop_front().map(|bytes| Ok(Frame::data(bytes))))
    }
}
