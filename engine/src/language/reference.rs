//! The field table for other programs: JSON, and the KDL Schema Language. For people it is [`crate::language::explain`].

mod json;
mod kdl_schema;

pub use json::{render_explanation_json, render_schema_json};
pub use kdl_schema::render_schema_kdl;
