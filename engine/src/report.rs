//! A report of a pipeline or of a run: one HTML page that needs nothing else, no network and no script.
//!
//! [`collect`] reads the store, [`health`] compares with healthy ranges, and [`page`] renders. Every word of a file, a record or a
//! model passes the escaping of [`markup`] or of the template.

pub(crate) mod collect;
pub(crate) mod facts;
pub(crate) mod page;

pub mod frontier;

mod chart;
mod graph;
mod health;
mod markup;
mod results;
mod samples;
mod scores;
mod series;
mod stage;
mod training;
mod view;
