//! Tests of the binary: one module for each command or feature, each in a project folder of its own.

#[path = "../common/mod.rs"]
mod common;

mod adapters;
mod benchmarks;
mod checkpoint_folders;
mod checkpoint_texts;
mod command_line;
mod contamination;
mod contract;
mod convert;
mod damage;
mod data;
mod diff;
mod download;
mod events;
mod examples;
mod export;
mod extending;
mod gc;
mod grade;
mod history;
mod hostile_store;
mod leading;
mod learning_curve;
mod likelihoods;
mod memory;
mod mixtures;
mod nonsense;
mod online;
mod plan;
mod printed;
mod programs;
mod questions;
mod report;
mod retention;
mod revisions;
mod rows_view;
mod run;
mod runnable;
mod scripting;
<<<<<<< HEAD
mod smoke;
=======
mod serve;
>>>>>>> yb-serve
mod storage;
mod strangers;
mod strides;
mod text;
mod turns;
mod watchers;
mod window;
