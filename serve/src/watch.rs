//! `/watch`: an answer step by step, for those who watch it being written.

use serde_json::{Value, json};

use crate::answers::{Answers, Event};
use crate::stream::Narrator;

/// Tells what passes write. The messages are named by `type`: `begin`, `step`, `text`, `end`.
pub(crate) struct StepNarrator {
    begin: Value,
    done: bool,
}

impl StepNarrator {
    pub(crate) fn new(answers: &Answers, model: &str) -> Self {
        let begin = json!({ "type": "begin", "model": model, "prompt_tokens": answers.prompt_tokens });
        Self { begin, done: false }
    }
}

impl Narrator for StepNarrator {
    fn begin(&mut self) -> Vec<Value> {
        vec![self.begin.take()]
    }

    fn tell(&mut self, event: Event) -> Vec<Value> {
        match event {
            Event::Piece(_, text) => vec![json!({ "type": "text", "text": text })],
            Event::Step(step) => {
                let mut message = json!({ "type": "step", "pass": step.pass, "written": step.written });
                if let Some(places) = step.places {
                    message["places"] = places.into();
                }
                vec![message]
            }
            Event::Ended(_, ending) => {
                self.done = true;
                let (reason, tokens, passes) = (ending.reason, ending.tokens, ending.passes);
                vec![json!({ "type": "end", "finish_reason": reason, "tokens": tokens, "passes": passes })]
            }
            Event::Begun(_) | Event::Laws(..) | Event::Failed(_) => Vec::new(),
        }
    }

    fn is_done(&self) -> bool {
        self.done
    }
}
