//! Tests of what people write and read: the language, its diagnostics and documents, and the shape of the source.
//! None of them runs a stage.

mod check;
mod cures;
mod disasters;
mod docs;
mod field_table;
mod files_and_settings;
mod fixes;
mod foreign_names;
mod hostile;
mod lengths;
mod mutations;
mod promises;
mod tidy;
