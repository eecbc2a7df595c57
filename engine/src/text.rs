//! What every room needs of text: places in files, what is wrong there, and how that is shown.

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
