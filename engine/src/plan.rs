//! What a run would do, and why. A pure function of the pipeline, the digests of its sources, and what the store lists.

pub mod digests;
pub mod json;
pub mod planned;
pub mod reasons;
pub mod select;
pub mod text;
pub mod why;

pub use digests::SourceDigests;
pub use planned::{Plan, Planned, State};
pub use select::Selection;
