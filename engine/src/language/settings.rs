//! Settings on the command line: `--set train.sft.steps=20` is inserted into the KDL nodes before they are validated, so
//! that the same field table checks it. Each setting counts as a small file, so that diagnostics can point into its text.
//!
//! A path consists of the kind of a node, its name, child nodes and a field: `train.sft.learning-rate.peak`. An argument
//! called `value` is addressed by its node (`train.sft.steps`). One of several nodes is selected by its key or by its index
//! from 0 (`mixture.prose.dataset.tasks.weight`). A node that comes from a recipe is copied into the stage first, so that
//! the other fields keep the recipe's values and other stages do not change.

mod flag;
mod node;
mod unknown;

use std::sync::Arc;

use kdl::{KdlEntry, KdlNode};

use self::flag::{PathWord, SettingFlag};
use crate::language::config_files::shift_entry;
use crate::language::include::LoadedConfiguration;
use crate::language::schema::{FieldSpec, FieldType, NodeSpec, load_schema};
use crate::language::values;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::{ConfigFile, FileRole, Span};

/// Applies settings in their order, so that a later one wins. Reports those whose path does not resolve.
pub(crate) fn apply_settings(texts: &[String], loaded: &mut LoadedConfiguration, sink: &mut Sink) {
    for (at, text) in texts.iter().enumerate() {
        if let Err(fault) = apply_setting(at + 1, text, loaded) {
            sink.push(fault);
        }
    }
}

fn apply_setting(number: usize, text: &str, loaded: &mut LoadedConfiguration) -> Result<(), Diagnostic> {
    let flag = flag::parse_flag(text);
    let found = flag.as_ref().ok().and_then(|flag| find_declaration(flag, &loaded.nodes));
    let home = found.map(|(at, _)| loaded.sources.span(loaded.nodes[at].span()).file);
    let folder = home.as_ref().unwrap_or(loaded.sources.root()).folder.clone();
    let name = format!("--set {number}");
    let file = Arc::new(ConfigFile {
        name,
        text: text.to_owned(),
        folder,
        number: loaded.sources.count(),
        role: FileRole::Setting,
    });
    let start = loaded.sources.add(file.clone());
    let flag = flag.map_err(|fault| fault.diagnostic(&file))?;
    let setting = Setting { file: &file, start, flag: &flag };
    setting.put(found, &mut loaded.nodes)
}

/// The index of the node that a path starts with, and how many words of the path name it: a name can contain dots.
fn find_declaration(flag: &SettingFlag, nodes: &[KdlNode]) -> Option<(usize, usize)> {
    let kind = flag.path.first()?;
    let spec = load_schema().node(&kind.text)?;
    let mut of_kind = nodes.iter().enumerate().filter(|(_, node)| node.name().value() == spec.name);
    if spec.single {
        return of_kind.next().map(|(at, _)| (at, 1));
    }
    let declared: Vec<_> = of_kind.collect();
    (2..=flag.path.len()).find_map(|end| {
        let words: Vec<_> = flag.path.get(1..end)?.iter().map(|word| word.text.as_str()).collect();
        let name = words.join(".");
        let found = declared.iter().find(|(_, node)| find_node_name(node) == Some(&name));
        found.map(|(at, _)| (*at, end))
    })
}

fn find_node_name(node: &KdlNode) -> Option<&str> {
    node.get(0)?.as_string()
}

/// One setting, with the file that holds its text.
struct Setting<'a> {
    file: &'a Arc<ConfigFile>,
    /// Global offset of the first byte.
    start: usize,
    flag: &'a SettingFlag,
}

impl Setting<'_> {
    fn put(&self, found: Option<(usize, usize)>, nodes: &mut [KdlNode]) -> Result<(), Diagnostic> {
        let Some((at, used)) = found else { return Err(self.undeclared(nodes)) };
        let recipe = find_used_recipe(&nodes[at], nodes);
        let spec = load_schema().node(nodes[at].name().value()).expect("it was found by its kind");
        self.put_within(&mut nodes[at], spec, &self.flag.path[used..], recipe.as_ref())
    }

    /// The place of the words from `first` to `last`.
    fn span(&self, first: &PathWord, last: &PathWord) -> Span {
        let (offset, length) = (first.range.start, last.range.end - first.range.start);
        Span { file: self.file.clone(), offset, length }
    }

    fn fault(&self, code: Code, word: &PathWord, message: String, label: &str) -> Diagnostic {
        Diagnostic::new(code, message).at(&self.span(word, word), label)
    }

    /// The entries for a field: the KDL values in the text, or else the text itself as a string. So quotes are optional, as
    /// a shell removes them anyway.
    fn values(&self, field: &FieldSpec) -> Result<Vec<KdlEntry>, Diagnostic> {
        let range = self.flag.value.clone();
        let text = &self.file.text[range.clone()];
        let entries = values::parse_values(text).map_err(|cause| cause.explain(self.file))?;
        let entries = entries.filter(|found| field.many || found.len() == 1);
        if entries.is_none() && text.trim_start().starts_with(['"', '#']) && text.contains('"') {
            let place = Span { file: self.file.clone(), offset: range.start, length: range.len() };
            let fault =
                Diagnostic::new(Code::Syntax, "unterminated or mismatched quotes").at(&place, "not a string");
            return Err(
                fault.help("close the quotes, or leave them out: a setting without quotes is text too")
            );
        }
        let mut entries = entries.unwrap_or_else(|| {
            let mut entry = KdlEntry::new(text);
            entry.set_span((0, text.len()));
            vec![entry]
        });
        entries.iter_mut().for_each(|entry| shift_entry(entry, self.start + range.start));
        Ok(entries)
    }
}

/// The recipe that a stage refers to with `use=`.
fn find_used_recipe(node: &KdlNode, nodes: &[KdlNode]) -> Option<KdlNode> {
    let name = node.get("use")?.as_string()?;
    let recipes = nodes.iter().filter(|node| node.name().value() == "recipe");
    recipes.into_iter().find(|recipe| find_node_name(recipe) == Some(name)).cloned()
}

/// The argument that the path of a node itself refers to: the only one that is not the declared name.
fn find_own_argument(spec: &'static NodeSpec) -> Option<(usize, &'static FieldSpec)> {
    let mut fields = spec.arguments.iter().enumerate().filter(|(_, field)| field.types != [FieldType::Name]);
    fields.next().filter(|_| fields.next().is_none())
}
