//! The field table for other programs: JSON, and the KDL Schema Language. For people it is [`crate::language::explain`].

mod json;
mod kdl_schema;

pub use json::{explain_json, schema_json};
pub use kdl_schema::schema_kdl;
