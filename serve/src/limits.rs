//! What a client may take: every size and every wait has an end.

use std::time::Duration;

/// Bounds of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Connections at once; further ones wait until the system refuses them.
    pub(crate) connections: usize,
    /// Bytes of the head of a request.
    pub(crate) head_bytes: usize,
    /// Fields of the head of a request.
    pub(crate) head_fields: usize,
    /// Bytes of the body of a request.
    pub(crate) body_bytes: usize,
    /// Until the head of the next request is there; also how long an idle connection stays open.
    pub(crate) head_wait: Duration,
    /// Until the body is there.
    pub(crate) body_wait: Duration,
    /// Until a connection is closed, whatever goes on.
    pub(crate) connection_wait: Duration,
}

impl Limits {
    /// Bounds for clients that mean well.
    pub(crate) const USUAL: Self = Self {
        connections: 256,
        head_bytes: 32 << 10,
        head_fields: 64,
        body_bytes: 4 << 20,
        head_wait: Duration::from_secs(15),
        body_wait: Duration::from_secs(30),
        connection_wait: Duration::from_secs(3600),
    };
}

/// Stop strings of a request, and bytes of each.
pub(crate) const STOPS: (usize, usize) = (16, 256);

/// Bytes of what an answer has to match.
pub(crate) const CONSTRAINT_BYTES: usize = fmflow_engine::pipeline::config::SCHEMA_BYTES;

/// Gaps of a request.
pub(crate) const GAPS: usize = 16;

/// Most probable tokens that are told of each place.
pub(crate) const RANKED: u64 = 20;

/// Turns of a conversation.
pub(crate) const TURNS: usize = 4096;

/// Seconds after which a client that was told to come back may do so.
pub(crate) const RETRY_SECONDS: u32 = 1;
