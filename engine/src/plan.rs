//! What a run would do, and why: a pure function of the pipeline, the digests of its sources, and the store's listing.

pub mod json;
pub mod planned;
pub mod reasons;
pub mod select;
pub mod source_digests;
pub mod text;
pub mod why;

pub use planned::{Plan, PlanState, PlannedStage};
pub use select::Selection;
pub use source_digests::SourceDigests;
