//! Checkpoints that answer many clients: what a server asks of the command line, and the queue between clients and a checkpoint.
//!
//! Nothing here knows HTTP, and nothing here knows a tensor: a server turns what clients send into a [`ServiceRequest`], and a
//! checkpoint takes orders from an [`OrderQueue`].

mod queue;
mod stops;

pub use queue::{OrderQueue, QueueLoad, QueueRefusal};
pub use stops::StopFinder;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;

use crate::error::Failure;
use crate::pipeline::config::{ConstraintSource, PromptKind};
use crate::run::text::TextCustomer;
use crate::run::text::TextModelFacts;

/// Most answers of one request: the others in the batch wait for none of them, but each takes a place.
pub const MOST_SAMPLES: usize = 16;

/// A server. The package `fmflow-serve` implements it; the engine itself never opens a connection.
pub trait Serve {
    /// Serves until `stop` is set and what is at work then is finished or cut. Calls `ready` with the address once it listens.
    ///
    /// # Errors
    /// A [`Failure`] if it cannot listen, or its keys cannot be read.
    fn serve(
        &self,
        settings: &ServerSettings,
        service: Arc<dyn TextService>,
        stop: &AtomicBool,
        ready: &mut dyn FnMut(&str),
    ) -> Result<ServerEnd, Failure>;
}

/// How a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// Name or number of the address.
    pub host: String,
    /// The port; 0: a free one.
    pub port: u16,
    /// A file with the hashes of the keys that clients must have.
    pub keys: Option<PathBuf>,
    /// How long answers may go on after the server was stopped.
    pub grace: Duration,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerEnd {
    /// Requests that were cut.
    pub cut: usize,
}

/// Checkpoints, as a server sees them.
pub trait TextService: Send + Sync {
    /// The checkpoints, in the order of the command line.
    fn models(&self) -> &[ServedModel];

    /// Names of the fields that a sampler has in the language, such as `threshold`.
    fn sampler_fields(&self) -> &[String];

    /// Puts a request into the queue of its checkpoint.
    ///
    /// # Errors
    /// Why it will not be answered.
    fn submit(&self, request: ServiceRequest, customer: Box<dyn TextCustomer>) -> Result<(), Refusal>;

    /// How busy a checkpoint is.
    fn load(&self, model: usize) -> QueueLoad;
}

/// A checkpoint that a server offers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServedModel {
    /// What clients call it.
    pub id: String,
    /// Its sampler if a request describes none, in words.
    pub sampler: String,
    /// Seed of the draws if a request names none.
    pub seed: u64,
    /// What it is.
    pub facts: TextModelFacts,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceRequest {
    /// Number of the checkpoint.
    pub model: usize,
    /// The task and its text.
    pub kind: PromptKind,
    /// Largest number of new tokens; of a gap, its length or the longest of a range; of several gaps, the length of the first.
    pub new_tokens: Option<u32>,
    /// The shortest gap of a range.
    pub shortest: Option<u32>,
    /// By how many tokens a gap may grow.
    pub grow: Option<u32>,
    /// A sampler in words, as `generate --sampler` takes it.
    pub sampler: Option<String>,
    /// Settings that replace some of the sampler's.
    pub settings: Vec<(String, String)>,
    /// What the answers have to match.
    pub constraint: Option<ConstraintSource>,
    /// How many answers, from 1 to [`MOST_SAMPLES`].
    pub samples: usize,
    /// Seed of the draws.
    pub seed: Option<u64>,
    /// Whether the customer wants the law of every token, and how many of the most probable tokens with it.
    pub laws: Option<usize>,
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not a request that this checkpoint can answer.
    Invalid {
        /// What is wrong.
        message: String,
        /// The field of [`ServiceRequest`] that it is about, as clients call it.
        field: Option<&'static str>,
    },
    /// Too many others wait.
    Full,
    /// The server is about to stop.
    Closed,
}

impl Refusal {
    /// The request cannot be answered.
    #[must_use]
    pub fn invalid(message: String) -> Self {
        Self::Invalid { message, field: None }
    }

    /// The same, because of a field.
    #[must_use]
    pub fn of_field(field: &'static str, message: String) -> Self {
        Self::Invalid { message, field: Some(field) }
    }
}
