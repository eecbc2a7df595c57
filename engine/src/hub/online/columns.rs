//! Checks that a dataset has the subset and the columns that a pipeline names.

use super::session::Session;
use super::{HubError, SubsetColumns, clean_hub_text};
use crate::hub::pins::RepositoryUse;
use crate::language::record::{Leaf, Record};
use crate::pipeline::benchmark_repository::BenchmarkRepository;
use crate::pipeline::config::ContentsConfig;
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::place::Origin;
use crate::text::suggest;

impl Session<'_> {
    /// Reports columns of a dataset's node that the hub does not have, or notes why they cannot be checked.
    /// `subset` is the one whose files were found.
    pub(super) fn check_dataset_columns(
        &mut self,
        one: &RepositoryUse,
        record: &Record,
        subset: Option<&str>,
    ) {
        if record.text("revision").is_some_and(|revision| revision != "main") {
            return self.add_unknown_columns(one, "the hub lists only those of `main`");
        }
        match self.ask_columns(&one.asked.name) {
            Ok(known) => self.compare_columns(one, record, subset, &known),
            Err(error) => self.add_unknown_columns(one, &describe_hub_error(&error)),
        }
    }

    /// Reports columns that the problems of a benchmark need and its repository lacks, or notes why they cannot be checked.
    pub(super) fn check_benchmark_columns(&mut self, one: &RepositoryUse, benchmark: &BenchmarkRepository) {
        // What the hub lists of `main` is what it has converted.
        let listed = |revision: &str| revision == "main" || Some(revision) == benchmark.branch;
        if one.asked.revision.as_deref().is_some_and(|revision| !listed(revision)) {
            return self.add_unknown_columns(one, "the hub lists only those of `main`");
        }
        let known = self.ask_columns(&one.asked.name);
        let columns = match &known {
            Ok(known) => known.get(benchmark.subset).filter(|columns| !columns.is_empty()),
            Err(error) => return self.add_unknown_columns(one, &describe_hub_error(error)),
        };
        let Some(columns) = columns else {
            return self.add_unknown_columns(one, "the hub has not indexed them");
        };
        let absent = benchmark.columns.iter().filter(|wanted| !columns.iter().any(|known| known == *wanted));
        let absent: Vec<&str> = absent.copied().collect();
        if !absent.is_empty() {
            self.sink.push(benchmark_without_columns(one, &absent));
        }
    }

    /// The columns of a dataset; the hub is asked once.
    fn ask_columns(&mut self, name: &str) -> Result<SubsetColumns, HubError> {
        let (hub, token) = (self.hub, self.token.as_ref());
        self.columns.entry(name.to_owned()).or_insert_with(|| hub.columns(name, token)).clone()
    }

    fn compare_columns(
        &mut self,
        one: &RepositoryUse,
        record: &Record,
        subset: Option<&str>,
        known: &SubsetColumns,
    ) {
        let columns = match find_subset_columns(subset, record, known) {
            Some(columns) if !columns.is_empty() => columns,
            _ if known.len() > 1 && subset.is_none() && record.leaf("files").is_none() => {
                return self.sink.push(subset_not_chosen(one, known));
            }
            _ if known.len() > 1 && subset.is_none() => {
                return self.add_unknown_columns(one, "the files may be of several subsets");
            }
            _ => return self.add_unknown_columns(one, "the hub has not indexed them"),
        };
        for (leaf, column) in list_named_columns(record) {
            if !columns.contains(&column) {
                self.sink.push(unknown_column(one, leaf, &column, columns));
            }
        }
    }

    fn add_unknown_columns(&mut self, one: &RepositoryUse, why: &str) {
        self.unknown.entry(why.to_owned()).or_default().push(one.from.clone());
    }

    /// Warns about columns that could not be checked: one warning for each reason, with all its places.
    pub(super) fn report_unknown_columns(&mut self) {
        for (why, places) in std::mem::take(&mut self.unknown) {
            let message = format!("columns are not checked: {why}");
            let mut diagnostic = Diagnostic::new(Code::ColumnsUnresolved, message);
            for (at, place) in places.iter().enumerate() {
                diagnostic = match at {
                    0 => diagnostic.at(place, "columns unknown"),
                    _ => diagnostic.also(place, "these too"),
                };
            }
            let help = format!("compare them with the dataset's page on {}", self.hub.address());
            self.sink.push(diagnostic.help(help));
        }
    }
}

fn describe_hub_error(error: &HubError) -> String {
    match error {
        HubError::NoRepository | HubError::NoRevision => {
            "the hub does not show the dataset's rows".to_owned()
        }
        HubError::Gated => "the hub shows them only to accounts with access".to_owned(),
        HubError::BadToken => "the hub does not accept the token".to_owned(),
        HubError::BadCard(why) | HubError::Refused(why) | HubError::Unreachable(why) => clean_hub_text(why),
    }
}

/// Without a card, names of folders would put the files of all subsets together.
fn subset_not_chosen(one: &RepositoryUse, known: &SubsetColumns) -> Diagnostic {
    let message = format!("`{}` has {} subsets, but none is chosen", one.asked.name, known.len());
    let names = clean_hub_text(&suggest::format_name_list(known.keys().map(String::as_str)));
    Diagnostic::new(Code::UnknownSubset, message)
        .at(&one.from, "which subset?")
        .help(format!("add `subset=\"...\"`, one of {names}"))
}

/// The columns of the subset in use. `None` if unknown: the hub does not list it, or `files` selects parts of several.
fn find_subset_columns<'a>(
    subset: Option<&str>,
    record: &Record,
    known: &'a SubsetColumns,
) -> Option<&'a Vec<String>> {
    if let Some(name) = subset.or(record.text("subset")) {
        return known.get(name);
    }
    let only = (known.len() == 1).then(|| known.values().next()).flatten();
    only.or_else(|| known.get("default"))
}

/// The columns that a dataset names, each with its field: those of the conversation or of the contents if there are any, otherwise
/// `text`.
fn list_named_columns(record: &Record) -> Vec<(&Leaf, String)> {
    let (node, fields): (&Record, &[&str]) = match (record.child("chat"), record.child("contents")) {
        (Some(chat), _) => (chat, &["user", "input", "assistant", "system", "group"]),
        (None, Some(contents)) => (contents, &["encoding"]),
        (None, None) => (record, &["text"]),
    };
    let named = fields.iter().filter_map(|name| node.leaf(name));
    let named = named.map(|leaf| (leaf, leaf.expect_text().to_owned()));
    named.chain(record.child("contents").into_iter().flat_map(list_key_columns)).collect()
}

/// The columns of which the keys of contents are made.
fn list_key_columns(contents: &Record) -> Vec<(&Leaf, String)> {
    let Some(leaf) = contents.leaf("from") else { return Vec::new() };
    // What is wrong with an address was told before.
    let Ok((_, key)) = ContentsConfig::parse_address(leaf.expect_text()) else { return Vec::new() };
    key.fields().map(|column| (leaf, column.to_owned())).collect()
}

fn benchmark_without_columns(one: &RepositoryUse, absent: &[&str]) -> Diagnostic {
    let names = suggest::format_name_list(absent.iter().copied());
    let message =
        format!("`{}` does not hold problems as this program reads them: it lacks {names}", one.asked.name);
    Diagnostic::new(Code::UnknownColumn, message)
        .at(&one.from, "its problems come from this repository")
        .help("name another `revision=`, or the file of its problems in `from=`")
}

fn unknown_column(one: &RepositoryUse, leaf: &Leaf, column: &str, columns: &[String]) -> Diagnostic {
    let message = format!("`{}` has no column `{column}`", one.asked.name);
    let label = match leaf.origin {
        Origin::Default => format!("`{}=\"{column}\"` is the default", leaf.spec.name),
        _ => "not a column".to_owned(),
    };
    let near = suggest::find_closest_name(column, columns.iter().map(String::as_str));
    let help = match near {
        // An address holds more than a name.
        Some(near) if leaf.spec.name == "from" => format!("did you mean the column `{near}`?"),
        Some(near) => format!("did you mean `{}=\"{near}\"`?", leaf.spec.name),
        None => format!("its columns are {}", suggest::format_name_list(columns.iter().map(String::as_str))),
    };
    Diagnostic::new(Code::UnknownColumn, message)
        .at(&leaf.span, label)
        .also(&one.from, "columns of this repository")
        .help(clean_hub_text(&help))
}
