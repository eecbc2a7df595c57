//! From a line of a data file to a document. `check` reads the beginning of the files with it and the stages read all of them,
//! so that both see the same faults.
//!
//! In the order in which a line flows through them: [`line`] makes text of bytes, [`json`] a record of text, [`parser`] a
//! document of a record, with the help of [`turns`] and [`conversation`]. [`leftovers`] notices what a document does not use, and
//! [`tally`] counts it.

mod conversation;
mod document;
mod json;
mod leftovers;
mod line;
mod non_text;
mod parser;
mod tally;
mod turns;

pub use conversation::{Chat, Conversation, Message, Speaker};
pub use document::{Document, is_held_out};
pub use leftovers::Leftovers;
pub use line::{LINE_BYTES, LineFault, decode_line, long_line};
pub use parser::{DocumentParser, ParsedDocument};
pub use tally::{Remark, RemarkKind, Tally};
