//! What a run would do, and why: a pure function of the pipeline, the digests of its sources, and the store's listing.

mod approximate;
pub(crate) mod commands;
pub(crate) mod compare;
mod earlier;
mod extension;
pub(crate) mod fit;
pub mod json;
pub(crate) mod measured;
mod passes;
pub(crate) mod planned;
pub(crate) mod reasons;
pub(crate) mod refusals;
mod schedule;
pub(crate) mod select;
mod setting_causes;
pub(crate) mod source_digests;
#[cfg(test)]
mod tests;
pub mod text;
mod unused;
pub(crate) mod why;

pub use extension::Extension;
pub use planned::{Plan, PlanState, PlannedStage};
pub use select::Selection;
pub use source_digests::SourceDigests;
pub use unused::UnusedWork;
