//! The configuration language: turns the nodes of KDL files into stages with typed settings.

pub(crate) mod config_files;
pub(crate) mod decode;
pub(crate) mod draft;
pub mod explain;
pub(crate) mod fields;
pub(crate) mod glossary;
pub(crate) mod include;
pub(crate) mod mixture;
pub(crate) mod names;
pub(crate) mod order;
pub(crate) mod parse;
pub(crate) mod record;
pub(crate) mod reference;
pub mod schema;
pub(crate) mod settings;
pub(crate) mod syntax;
pub(crate) mod validate;
pub(crate) mod values;
