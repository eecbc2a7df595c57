//! The text layer below everything else: places in files, diagnostics about them, and how both are rendered.

pub(crate) mod bare_words;
pub mod diagnostic;
pub mod display;
pub mod environment;
pub mod escape;
pub mod file_head;
pub(crate) mod glob;
pub(crate) mod limits;
pub mod machine;
pub(crate) mod place;
pub(crate) mod read;
pub mod render;
pub(crate) mod scan;
pub(crate) mod shell;
pub mod suggest;
pub(crate) mod table;
pub mod unpack;
pub(crate) mod wrap;
