//! The store: finished artifacts and the checkpoints of unfinished stages, published complete or not at all.

/// Permission to write the artifact of one stage and its checkpoints.
pub struct Slot {}
