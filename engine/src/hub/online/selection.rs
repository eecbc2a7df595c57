//! Finds the files of a subset and a split of a dataset, as the hub's own tools do: by the dataset's card, else by the names of its
//! folders and files, else on the branch of Parquet files that the hub converts.

mod splits;

use indexmap::IndexMap;

use super::session::Session;
use super::{CardSubset, HubError, clean_hub_text};
use crate::hub::lockfile::{FileSelection, SelectionRequest};
use crate::hub::pins::RepositoryUse;
use crate::language::record::Record;
use crate::pipeline::benchmark_repository::BenchmarkRepository;
use crate::pipeline::repository::{PARQUET_BRANCH, PinnedFile, RepositoryRequest, data_kind_of};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::suggest;

use splits::{SplitFiles, group_by_name, is_visible, list_data_files, match_pattern};

/// What the name of a split on that branch begins with if only its first part is converted.
const PARTIAL: &str = "partial-";

/// The split without `split=`.
const DEFAULT_SPLIT: &str = "train";

/// The most files of one selection; a lock file has a bound of bytes, too.
const MOST_SELECTED: usize = 200_000;

/// The files of a dataset by subset and split.
struct Layout {
    by: &'static str,
    commit: Option<String>,
    /// The name of a subset is empty if the dataset has none.
    subsets: IndexMap<String, SplitFiles>,
    /// The subset without `subset=`, if the dataset says one.
    default: Option<String>,
}

/// Why no files are selected: what is wrong, at which field, and the names to choose from.
#[derive(Clone)]
struct SelectionFault {
    code: Code,
    field: &'static str,
    message: String,
    help: Option<String>,
}

impl Session<'_> {
    /// The files of a node of a dataset. `None` if that was reported.
    ///
    /// # Errors
    /// Those of the hub.
    pub(super) fn select_files(
        &mut self,
        one: &RepositoryUse,
        commit: &str,
        files: &[PinnedFile],
        before: Option<&FileSelection>,
    ) -> Result<Option<FileSelection>, HubError> {
        let record = self.world.at(&one.record);
        let layout = self.find_layout(one, commit, files, before)?;
        match choose_files(&one.asked.name, &one.part, &layout) {
            Ok(found) => Ok(Some(found)),
            Err(fault) => {
                let fault = one.benchmark.map_or(fault.clone(), |benchmark| fault.of_benchmark(benchmark));
                let diagnostic = fault.into_diagnostic(one, record);
                self.sink.push(diagnostic);
                Ok(None)
            }
        }
    }

    fn find_layout(
        &self,
        one: &RepositoryUse,
        commit: &str,
        files: &[PinnedFile],
        before: Option<&FileSelection>,
    ) -> Result<Layout, HubError> {
        if one.part.files.is_some() && one.part.subset.is_none() && one.part.split.is_none() {
            let all = SplitFiles::from([(String::new(), files.to_vec())]);
            let subsets = IndexMap::from([(String::new(), all)]);
            return Ok(Layout { by: "files", commit: None, subsets, default: None });
        }
        let card = match files.iter().any(|file| file.path == "README.md") {
            true => self.hub.card(&one.asked, commit, self.token.as_ref())?,
            false => Vec::new(),
        };
        if !card.is_empty() {
            return lay_out_card(&card, files);
        }
        let folders = lay_out_folders(one.part.subset.as_deref(), files);
        match folders.subsets.is_empty() {
            false => Ok(folders),
            true => Ok(self.find_converted(one, before)?.unwrap_or(folders)),
        }
    }

    /// The files that the hub has converted; `None` if it has not, or converts another revision.
    fn find_converted(
        &self,
        one: &RepositoryUse,
        before: Option<&FileSelection>,
    ) -> Result<Option<Layout>, HubError> {
        if one.asked.revision.as_deref().is_some_and(|revision| revision != "main") {
            return Ok(None);
        }
        let branch = RepositoryRequest { revision: Some(PARQUET_BRANCH.to_owned()), ..one.asked.clone() };
        let kept = before.and_then(|before| before.commit.clone()).filter(|_| !self.update);
        let commit = match kept.map_or_else(|| self.hub.commit(&branch, self.token.as_ref()), Ok) {
            Ok(commit) => commit,
            Err(HubError::NoRevision | HubError::NoRepository) => return Ok(None),
            Err(error) => return Err(error),
        };
        let files = self.hub.files(&branch, &commit, self.token.as_ref())?;
        Ok(Some(lay_out_converted(commit, &files)))
    }
}

/// The layout that the card declares. Patterns that match nothing leave their split empty; what is no pattern is refused.
fn lay_out_card(card: &[CardSubset], files: &[PinnedFile]) -> Result<Layout, HubError> {
    let visible: Vec<&PinnedFile> = files.iter().filter(|file| is_visible(&file.path)).collect();
    let mut subsets = IndexMap::new();
    for one in card {
        let mut found = SplitFiles::new();
        for (split, patterns) in &one.files {
            let of_split = found.entry(split.clone()).or_default();
            for pattern in patterns {
                let matching = match_pattern(&visible, &one.folder, pattern).map_err(|error| {
                    HubError::BadCard(format!(
                        "subset `{}`: `{pattern}` is no pattern: {}",
                        one.name, error.msg
                    ))
                })?;
                let new: Vec<_> = matching.into_iter().filter(|file| !of_split.contains(file)).collect();
                of_split.extend(new);
            }
        }
        if one.files.is_empty() {
            found = group_by_name(&one.folder, list_data_files(&one.folder, files));
        }
        subsets.insert(one.name.clone(), found);
    }
    let default = card.iter().find(|one| one.default).map(|one| one.name.clone());
    Ok(Layout { by: "card", commit: None, subsets, default })
}

/// The layout that names show: a subset is a folder, at the top or in `data/`.
fn lay_out_folders(subset: Option<&str>, files: &[PinnedFile]) -> Layout {
    let bases = match subset {
        None => vec![String::new()],
        Some(name) => vec![format!("{name}/"), format!("data/{name}/")],
    };
    let found =
        bases.iter().map(|base| (base, list_data_files(base, files))).find(|(_, list)| !list.is_empty());
    let groups = found.map(|(base, list)| (subset.unwrap_or_default().to_owned(), group_by_name(base, list)));
    Layout { by: "folders", commit: None, subsets: groups.into_iter().collect(), default: None }
}

fn lay_out_converted(commit: String, files: &[PinnedFile]) -> Layout {
    let mut subsets: IndexMap<String, SplitFiles> = IndexMap::new();
    for file in files.iter().filter(|file| file.path.ends_with(".parquet")) {
        let parts: Vec<&str> = file.path.split('/').collect();
        if let [subset, split, _] = *parts {
            let splits = subsets.entry(subset.to_owned()).or_default();
            splits.entry(split.to_owned()).or_default().push(file.clone());
        }
    }
    Layout { by: "parquet-branch", commit: Some(commit), subsets, default: None }
}

fn choose_files(
    name: &str,
    asked: &SelectionRequest,
    layout: &Layout,
) -> Result<FileSelection, SelectionFault> {
    let (subset, splits) = choose_subset(name, asked.subset.as_deref(), layout)?;
    let (split, files) = choose_split(name, asked, splits)?;
    let files: Vec<PinnedFile> = match &asked.files {
        None => files.clone(),
        Some(pattern) => {
            match_pattern(&files.iter().collect::<Vec<_>>(), "", pattern).map_err(|error| SelectionFault {
                code: Code::NoFiles,
                field: "files",
                message: format!("`{pattern}` is no pattern: {}", error.msg),
                help: None,
            })?
        }
    };
    let nothing = || format!("no file of `{name}` is chosen");
    if files.is_empty() {
        let field = if asked.files.is_some() { "files" } else { "from" };
        return Err(SelectionFault { code: Code::NoFiles, field, message: nothing(), help: None });
    }
    refuse_kinds(name, &files)?;
    if files.len() > MOST_SELECTED {
        let message =
            format!("{} files of `{name}` are chosen, but a lock file holds {MOST_SELECTED}", files.len());
        let help = Some("choose fewer with `files=`, such as `files=\"FOLDER/*\"`".to_owned());
        return Err(SelectionFault { code: Code::NoFiles, field: "from", message, help });
    }
    let named = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
    let (by, commit) = (layout.by.to_owned(), layout.commit.clone());
    Ok(FileSelection { by, subset: named(subset), split: named(split), commit, files })
}

/// Refuses files of several kinds: one dataset is read in one way.
fn refuse_kinds(name: &str, files: &[PinnedFile]) -> Result<(), SelectionFault> {
    let known = files.iter().filter_map(|file| data_kind_of(&file.path));
    let mut counts: IndexMap<&str, usize> = IndexMap::new();
    known.for_each(|kind| *counts.entry(kind).or_default() += 1);
    if counts.len() < 2 {
        return Ok(());
    }
    let counts: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} of {kind}")).collect();
    let message = format!("the files of `{name}` are of several kinds: {}", counts.join(", "));
    let help = Some("choose those of one kind, such as `files=\"**/*.parquet\"`".to_owned());
    Err(SelectionFault { code: Code::NoFiles, field: "from", message, help })
}

fn choose_subset<'a>(
    name: &str,
    asked: Option<&str>,
    layout: &'a Layout,
) -> Result<(&'a str, &'a SplitFiles), SelectionFault> {
    let (code, names) = (Code::UnknownSubset, layout.subsets.keys().map(String::as_str));
    let get = |key: &str| layout.subsets.get_key_value(key).map(|(key, found)| (key.as_str(), found));
    if let Some(asked) = asked {
        let message = format!("`{name}` has no subset `{asked}`");
        let help = suggest::suggest_names(asked, names);
        let help = help.or_else(|| Some("leave `subset=` out, or choose files with `files=`".to_owned()));
        return get(asked).ok_or(SelectionFault { code, field: "subset", message, help });
    }
    let only = (layout.subsets.len() == 1).then(|| layout.subsets.first()).flatten();
    let default = layout.default.as_deref().unwrap_or("default");
    only.map(|(key, found)| (key.as_str(), found)).or_else(|| get(default)).ok_or_else(|| {
        if layout.subsets.is_empty() {
            let message = format!("`{name}` has no files of documents, and the hub has not converted it");
            let help = Some("text, JSON lines and Parquet are read; `files=` chooses other names".to_owned());
            return SelectionFault { code: Code::NoFiles, field: "from", message, help };
        }
        let message = format!("`{name}` has {} subsets, but none is chosen", layout.subsets.len());
        let help = Some(format!("add `subset=\"...\"`, one of {}", suggest::format_name_list(names)));
        SelectionFault { code, field: "from", message, help }
    })
}

fn choose_split<'a>(
    name: &str,
    asked: &SelectionRequest,
    splits: &'a SplitFiles,
) -> Result<(&'a str, &'a Vec<PinnedFile>), SelectionFault> {
    // Files that say no split, and files that are chosen by name, are taken as they are.
    if let (Some(all), None) = (splits.get_key_value(""), &asked.split) {
        return Ok((all.0, all.1));
    }
    let wanted = asked.split.as_deref().unwrap_or(DEFAULT_SPLIT);
    if let Some((split, files)) = splits.get_key_value(wanted) {
        return Ok((split, files));
    }
    let partial = format!("{PARTIAL}{wanted}");
    let (message, help) = match splits.contains_key(&partial) {
        true => (
            format!("the hub has converted only the first part of split `{wanted}` of `{name}`"),
            Some(format!("write `split=\"{partial}\"` to read that part")),
        ),
        false => {
            let names = splits.keys().map(String::as_str).filter(|name| !name.is_empty());
            let list = suggest::format_name_list(names);
            let help = Some(format!("write `split=\"...\"`, one of {list}")).filter(|_| !list.is_empty());
            (format!("`{name}` has no split `{wanted}`"), help)
        }
    };
    let field = if asked.split.is_some() { "split" } else { "from" };
    Err(SelectionFault { code: Code::NoFiles, field, message, help })
}

impl SelectionFault {
    /// The fault as one of a benchmark, whose files nobody chose: what the repository lacks.
    fn of_benchmark(self, BenchmarkRepository { name, files, .. }: &BenchmarkRepository) -> Self {
        let message = format!("`{name}` has no files `{files}` at this commit");
        let help = Some("name another `revision=`, or the file of its problems in `from=`".to_owned());
        Self { message, help, ..self }
    }

    fn into_diagnostic(self, one: &RepositoryUse, record: &Record) -> Diagnostic {
        let message = clean_hub_text(&self.message);
        let diagnostic = match record.leaf(self.field).filter(|_| self.field != "from") {
            Some(leaf) => Diagnostic::new(self.code, message)
                .at(&leaf.span, format!("not a {}", if self.field == "files" { "file" } else { self.field }))
                .also(&one.from, "of this repository"),
            None => Diagnostic::new(self.code, message).at(&one.from, "which files?"),
        };
        diagnostic.maybe_help(self.help.map(|help| clean_hub_text(&help)))
    }
}

#[cfg(test)]
mod tests;
