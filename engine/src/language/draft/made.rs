//! What a command makes and another stage reads: `from="COMMAND"` or `from="COMMAND/PATTERN"` of a dataset or a `fetch`.

use super::DraftInput;
use crate::language::names::Declarations;
use crate::language::record::{Leaf, Record};
use crate::language::schema::CanonicalValue;
use crate::pipeline::role::InputRole;

/// The command whose outputs a path names, and the pattern of the files; without one all are meant.
pub(crate) fn find_made_files<'a>(
    world: &'a Declarations,
    leaf: &'a Leaf,
) -> Option<(&'a Record, Option<&'a str>)> {
    let CanonicalValue::Path(path) = &leaf.value else { return None };
    let (name, pattern) = match path.split_once('/') {
        Some((name, pattern)) => (name, Some(pattern)),
        None => (path.as_str(), None),
    };
    let command = world.of_kind("command").find(|command| command.name() == Some(name))?;
    Some((command, pattern))
}

/// The input of a stage that reads a dataset which a command made.
pub(super) fn find_made_documents(world: &Declarations, dataset: &Record) -> Option<DraftInput> {
    let leaf = dataset.leaf("from")?;
    let (command, _) = find_made_files(world, leaf)?;
    let role = InputRole::Documents(dataset.name()?.to_owned());
    Some(DraftInput { role, stage: command.name()?.to_owned(), span: leaf.span.clone() })
}

/// The inputs of a stage that is no training and no measurement: what it reads from commands.
pub(super) fn find_made_inputs(world: &Declarations, record: &Record) -> Vec<DraftInput> {
    match record.spec.name.as_str() {
        "fetch" => {
            let made = || {
                let leaf = record.leaf("from")?;
                let stage = find_made_files(world, leaf)?.0.name()?.to_owned();
                Some(DraftInput { role: InputRole::Made, stage, span: leaf.span.clone() })
            };
            made().into_iter().collect()
        }
        "tokenizer" => {
            let parts = record.children("dataset").filter_map(|part| world.target(part.leaf("name")?));
            parts.filter_map(|dataset| find_made_documents(world, dataset)).collect()
        }
        "command" => record.children("input").filter_map(find_command_input).collect(),
        _ => Vec::new(),
    }
}

/// The artifact that a command reads.
fn find_command_input(input: &Record) -> Option<DraftInput> {
    let leaf = input.leaf("from")?;
    let role = InputRole::Input(input.text("name")?.to_owned());
    Some(DraftInput { role, stage: leaf.reference()?.to_owned(), span: leaf.span.clone() })
}
