//! Reports references to undeclared names, with the closest declared name.

use std::collections::BTreeMap;

use crate::language::names::{Declarations, is_allowed_target};
use crate::language::record::{Leaf, Record};
use crate::language::schema::{FieldType, load_schema};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::{file_head, suggest};

/// Most pairs of an undeclared and a declared name that are compared. A generated file can have ten thousand of each, and
/// comparing all pairs would take minutes; a million comparisons take about a second.
const MOST_COMPARISONS: usize = 1_000_000;

/// The declarations that a field can refer to.
struct Candidates<'a> {
    /// Names in the order of the text.
    names: Vec<&'a Leaf>,
    /// Whether two of them have the same name.
    has_duplicate: bool,
}

/// Explains undeclared names. Collects the candidates of a field only once, however many references are wrong.
pub(super) struct UnknownNames<'a> {
    declarations: &'a Declarations,
    candidates: BTreeMap<&'a [String], Candidates<'a>>,
    comparisons_left: usize,
}

impl<'a> UnknownNames<'a> {
    pub(super) fn new(declarations: &'a Declarations) -> Self {
        Self { declarations, candidates: BTreeMap::new(), comparisons_left: MOST_COMPARISONS }
    }

    /// Whether an undeclared name is probably the right name of a node that was declared with another node's name by
    /// mistake. The duplicate name has been reported already.
    pub(super) fn is_meant_for_duplicate(&mut self, leaf: &'a Leaf, name: &str) -> bool {
        self.candidates(leaf).has_duplicate && self.find_closest(leaf, name).is_none()
    }

    pub(super) fn report(&mut self, record: &Record, leaf: &'a Leaf, name: &str) -> Diagnostic {
        let diagnostic = Diagnostic::new(Code::UnknownName, describe_unknown(leaf, name));
        let diagnostic = diagnostic.at(&leaf.span, "not declared");
        if let Some(help) = suggest_folder(leaf, name) {
            return diagnostic.help(help);
        }
        match self.find_closest(leaf, name) {
            Some((near, place)) => {
                let diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                match place {
                    Some(place) => diagnostic.also(&place.span, "a similar name is declared here"),
                    None => diagnostic,
                }
            }
            None => diagnostic.help(self.list_candidates(record, leaf)),
        }
    }

    fn candidates(&mut self, leaf: &'a Leaf) -> &Candidates<'a> {
        let declarations = self.declarations;
        self.candidates.entry(leaf.spec.to.as_slice()).or_insert_with(|| {
            let fitting = declarations.records.iter().filter(|found| is_allowed_target(leaf, found));
            let named = fitting.filter(|found| found.name_leaf().is_some()).collect::<Vec<_>>();
            let has_duplicate = named.iter().any(|found| !declarations.declares(found));
            Candidates { names: named.into_iter().filter_map(Record::name_leaf).collect(), has_duplicate }
        })
    }

    /// The closest name, and its declaration unless it is a word of the language.
    fn find_closest(&mut self, leaf: &'a Leaf, name: &str) -> Option<(&'a str, Option<&'a Leaf>)> {
        let count = self.candidates(leaf).names.len();
        self.comparisons_left = self.comparisons_left.checked_sub(count)?;
        let names = &self.candidates(leaf).names;
        let words = leaf.spec.words.iter().map(String::as_str);
        let near = suggest::find_closest_name(name, names.iter().filter_map(|l| l.text()).chain(words))?;
        Some((near, names.iter().find(|leaf| leaf.text() == Some(near)).copied()))
    }

    fn list_candidates(&mut self, record: &Record, leaf: &'a Leaf) -> String {
        let names = &self.candidates(leaf).names;
        if names.is_empty() {
            let declare = leaf.spec.to.first().and_then(|kind| load_schema().node(kind)?.example.clone());
            let declare = declare.map(|example| rename_example(&example, leaf.text()));
            let declare = declare.unwrap_or_else(|| record.spec.name.clone());
            return format!("declare one at the top level, as in `{declare}`");
        }
        format!("declared: {}", suggest::format_name_list(names.iter().filter_map(|leaf| leaf.text())))
    }
}

/// Help for a folder that lies beside the file and is written like a name.
fn suggest_folder(leaf: &Leaf, name: &str) -> Option<String> {
    if !file_head::is_folder(&leaf.span.file.folder.join(name)) {
        return None;
    }
    Some(match leaf.spec.types.contains(&FieldType::Path) {
        true => format!(
            "for the folder `{name}` beside this file, write `\"./{name}\"`: without `./` it is the name of a stage"
        ),
        false => {
            format!("for the folder `{name}` beside this file, declare `fetch \"{name}\" from=\"./{name}\"`")
        }
    })
}

/// An example that declares `name` in place of its own name.
fn rename_example(example: &str, name: Option<&str>) -> String {
    match (name, example.splitn(3, '"').collect::<Vec<_>>().as_slice()) {
        (Some(name), [kind, _, rest]) => format!("{kind}\"{name}\"{rest}"),
        _ => example.to_owned(),
    }
}

fn describe_unknown(leaf: &Leaf, name: &str) -> String {
    if leaf.spec.to.len() > 2 {
        return format!("no checkpoint is called `{name}`");
    }
    format!("no `{}` is called `{name}`", leaf.spec.to.join("` or `"))
}
