//! The text layer below everything else: places in files, diagnostics about them, and how both are rendered.

pub mod bare_words;
pub mod diagnostic;
pub mod display;
pub mod environment;
pub mod file_head;
pub mod glob;
pub mod place;
pub mod read;
pub mod render;
pub mod scan;
pub mod suggest;
