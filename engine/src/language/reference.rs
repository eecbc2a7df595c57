//! The field table for other programs: as JSON and in the KDL Schema Language. [`crate::language::explain`] renders it for
//! people.

mod json;
mod kdl_schema;

pub(crate) use json::{render_explanation_json, render_schema_json};
pub(crate) use kdl_schema::render_schema_kdl;
