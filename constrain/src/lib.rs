//! Texts that have to match a regular expression or a JSON Schema: which tokens may stand where, whatever is written first.
//!
//! A [`Constraint`] is a finite automaton over bytes. With a vocabulary it becomes a [`TokenConstraint`], which reads a text whose
//! tokens are known at some places and open at others, and says which tokens an open place may hold so that the rest can still be
//! filled in: `allowed(i) = { v : δ(p, bytes(v)) = q, p reachable through the places before i, the end reachable from q through
//! those behind i }`. For a regular language that is exact (Suresh et al., "DINGO: Constrained Inference for Diffusion LLMs", 2025,
//! take the same product of automaton and places for its most probable path).
//!
//! Nothing here knows a model, a file or HTTP.

mod automaton;
mod edges;
mod error;
mod reach;
mod schema;
mod set;
mod subsets;
mod tokens;

use std::fmt;
use std::sync::Arc;

pub use automaton::Automaton;
pub use error::{ConstraintError, SCHEMA_BYTES};
pub use reach::Reach;
pub use tokens::{TokenConstraint, TokenSet};

/// What the text of an answer has to match, from its first byte to its last.
#[derive(Clone)]
pub struct Constraint {
    source: ConstraintSource,
    automaton: Arc<Automaton>,
}

/// How a constraint was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ConstraintSource {
    /// A regular expression in the syntax of the crate `regex`.
    Regex(String),
    /// The text of a JSON Schema.
    JsonSchema(String),
}

impl Constraint {
    /// Reads a constraint.
    ///
    /// # Errors
    /// If it cannot be understood or kept.
    pub fn new(source: ConstraintSource) -> Result<Self, ConstraintError> {
        let automaton = match &source {
            ConstraintSource::Regex(pattern) => {
                error::refuse_long(pattern, error::REGEX_BYTES)?;
                Automaton::new(&automaton::parse_regex(pattern)?)?
            }
            ConstraintSource::JsonSchema(text) => {
                error::refuse_long(text, error::SCHEMA_BYTES)?;
                schema::build(text)?
            }
        };
        Ok(Self { source, automaton: Arc::new(automaton) })
    }

    /// How it was written.
    #[must_use]
    pub fn source(&self) -> &ConstraintSource {
        &self.source
    }

    /// The automaton that accepts what matches.
    #[must_use]
    pub fn automaton(&self) -> &Arc<Automaton> {
        &self.automaton
    }
}

/// Constraints that are written alike are equal.
impl PartialEq for Constraint {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(to)
    }
}

#[cfg(test)]
mod tests;
