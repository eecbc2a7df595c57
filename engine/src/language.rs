//! The configuration language: turns the nodes of KDL files into stages with typed settings.

pub mod config_files;
pub mod decode;
pub mod draft;
pub mod explain;
pub mod fields;
pub mod include;
pub mod mixture;
pub mod names;
pub mod order;
pub mod parse;
pub mod record;
pub mod reference;
pub mod schema;
pub mod settings;
pub mod syntax;
pub mod validate;
pub mod values;
