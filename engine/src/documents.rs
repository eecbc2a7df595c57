//! From a data file to documents. `check` reads the beginning of the files with it and the stages read all of them, so that both see
//! the same faults.
//!
//! In the order in which a record flows through them: [`records`] opens a file and reads it by its layout ([`lines`], [`array`],
//! [`columns`]), each record with its [`place`] or its [`fault`]; [`line`] makes text of bytes, [`json`] a record of text, [`parser`] a
//! document of a record, with the help of [`turns`] and [`conversation`], or what [`named`] a document that lies elsewhere. [`leftovers`] notices what a document does not use, and
//! [`tally`] counts it.

mod array;
mod columns;
mod conversation;
mod document;
mod fault;
mod fields;
mod filter;
mod json;
mod leftovers;
mod line;
mod lines;
mod named;
mod non_text;
mod objects;
mod parser;
mod place;
mod records;
mod tally;
mod text_field;
mod turns;

pub use crate::pipeline::message::{Message, Speaker};
pub(crate) use columns::{TableColumn, list_columns};
pub use conversation::{Chat, Conversation};
pub(crate) use document::find_split_point;
pub use document::{Document, is_held_out};
pub use fault::RecordFault;
pub(crate) use fields::find_field;
pub use leftovers::Leftovers;
pub use line::{LINE_BYTES, LineFault};
pub use lines::{GROUP_BYTES, LinesRead};
pub use named::NamedContent;
pub use objects::{ObjectReader, PlacedObject};
pub use parser::{DocumentParser, ParsedDocument, ParsedRecord};
pub use place::RecordPlace;
pub use records::RecordReader;
pub(crate) use records::{has_later_object, read_first_object};
pub use tally::{Remark, RemarkKind, Tally};
