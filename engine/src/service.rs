//! Checkpoints that answer many clients: the queue between clients and a checkpoint, and where answers stop.
//!
//! Nothing here knows HTTP, and nothing here knows a tensor: a checkpoint takes orders from an [`OrderQueue`].

mod queue;
mod stops;

pub use queue::{OrderQueue, QueueLoad, QueueRefusal};
pub use stops::StopFinder;
