//! Compares the fields that a dataset names with the columns of its tables, by their schemas.

use std::path::Path;

use super::Decoder;
use super::columns::{FirstLine, absent_field, is_key_field, label_absent_field, list_required_fields};
use crate::documents::{TableColumn, list_columns};
use crate::language::record::{Leaf, Record};
use crate::pipeline::config::{DatasetConfig, DatasetFormat, TurnFields};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::escape::escape_line;
use crate::text::file_head;
use crate::text::place::Origin;

impl Decoder<'_> {
    /// Reports a table that cannot be read, lacks a column that every row must have, or has another type there.
    pub(super) fn check_table(&mut self, record: &Record, path: &Path, dataset: &DatasetConfig) -> FirstLine {
        let name = path.file_name().expect("a file has a name").to_string_lossy();
        let shown = escape_line(&name);
        let opened = file_head::open_regular_file(path).map_err(|cause| (cause.to_string(), None));
        let listed = opened.and_then(|(file, _)| {
            list_columns(file, dataset.layout).map_err(|fault| (fault.problem, Some(fault.fix.into_owned())))
        });
        match listed {
            Ok(columns) => self.check_columns(record, &shown, &columns, &dataset.format),
            Err((problem, fix)) => {
                let place = record.leaf("from").map_or(&record.span, |leaf| &leaf.span);
                let message = format!("`{shown}`: {}", escape_line(&problem));
                let found = Diagnostic::new(Code::UnfitData, message).at(place, "a file of this dataset");
                self.sink.push(found.maybe_help(fix));
                FirstLine::Unfit
            }
        }
    }

    fn check_columns(
        &mut self,
        record: &Record,
        shown: &str,
        columns: &[TableColumn],
        format: &DatasetFormat,
    ) -> FirstLine {
        let mut found = FirstLine::Open;
        let names: Vec<String> =
            columns.iter().map(|column| escape_line(&column.path).into_owned()).collect();
        for (name, leaf) in list_required_fields(record, format) {
            let written = leaf.filter(|leaf| leaf.origin != Origin::Default);
            let place = written.or(record.leaf("format")).map_or(&record.span, |leaf| &leaf.span);
            let finding = match columns.iter().find(|column| column.path == name) {
                None => absent_field(record, shown, name, written, format, &names)
                    .at(place, label_absent_column(written)),
                Some(_) if is_key_field(format, name) => continue,
                Some(column) => match column.describe_misfit(is_turns_field(format, name)) {
                    None => continue,
                    Some(problem) => {
                        let message = format!("`{shown}`: column `{}` holds {problem}", escape_line(name));
                        let help = "name another column in the dataset, or convert this one";
                        Diagnostic::new(Code::UnfitData, message).at(place, "named here").help(help)
                    }
                },
            };
            self.sink.push(finding);
            found = FirstLine::Unfit;
        }
        found
    }
}

fn label_absent_column(written: Option<&Leaf>) -> &'static str {
    match written {
        Some(_) => "not among its columns",
        None => label_absent_field(written),
    }
}

fn is_turns_field(format: &DatasetFormat, name: &str) -> bool {
    matches!(format, DatasetFormat::Chat { turns: TurnFields::List { messages }, .. } if messages == name)
}
