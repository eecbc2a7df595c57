//! The field table against the settings that stages get: setting a field changes them, and nothing in them comes from
//! elsewhere. The snapshots list what setting a single field cannot show: fields that are bound to others, and the settings
//! that only those fields reach.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fmflow_engine::check::{CheckOptions, check_text};
use fmflow_engine::language::schema::{FieldSpec, FieldType, NodeSpec, load_schema};
use fmflow_engine::pipeline::Pipeline;

const TEXTS: [&str; 2] =
    [include_str!("../cases/data/every.kdl"), include_str!("../../pipelines/quickstart.kdl")];

fn pipeline(text: &str, setting: Option<String>) -> Option<Pipeline> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let options = CheckOptions { settings: setting.into_iter().collect(), ..CheckOptions::default() };
    check_text("t.kdl", text, &base, &options).pipeline
}

/// Everything that stages get, as values by path.
fn settings(pipeline: &Pipeline) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    values.insert("seed".to_owned(), pipeline.seed.to_string());
    flatten("budget", &format!("{:#?}", pipeline.budget), &mut values);
    for (at, hook) in pipeline.watchers.hooks.iter().enumerate() {
        let said = format!("{:?} {} {:?}", hook.events, hook.command.text, hook.timeout);
        values.insert(format!("hook {at}"), said);
    }
    let pipe = pipeline.watchers.pipe.as_ref().map(|pipe| pipe.text.clone());
    values.insert("pipe".to_owned(), pipe.unwrap_or_default());
    for stage in &pipeline.stages {
        flatten(&stage.name, &format!("{:#?}", stage.config), &mut values);
        values.insert(format!("{}#inputs", stage.name), format!("{:?}", stage.inputs));
        values.insert(format!("{}#sources", stage.name), format!("{:?}", stage.sources));
    }
    values
}

/// Flattens a `{:#?}` text to its leaves, keyed by the fields and variants around them.
fn flatten(prefix: &str, text: &str, values: &mut BTreeMap<String, String>) {
    let mut path = vec![prefix.to_owned()];
    let mut elements = vec![0_usize];
    for line in text.lines().map(|line| line.trim().trim_end_matches(',')) {
        let opens = line.ends_with(['{', '[', '(']);
        if matches!(line, "}" | "]" | ")") {
            path.pop();
            elements.pop();
            continue;
        }
        let number = elements.last_mut().unwrap();
        *number += 1;
        let (name, value) = match line.split_once(": ") {
            Some((name, value)) if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') => {
                (name.to_owned(), value)
            }
            _ => (number.to_string(), line),
        };
        if opens {
            path.push(format!("{name}:{}", value.trim_end_matches(['{', '[', '(', ' '])));
            elements.push(0);
        } else {
            values.insert(format!("{}.{name}", path.join(".")), value.to_owned());
        }
    }
}

/// Kinds and names of the declarations in a text.
fn declared(text: &str) -> Vec<(&'static NodeSpec, String)> {
    let found = text.lines().filter_map(|line| {
        let (kind, rest) = line.split_once(" \"")?;
        Some((load_schema().node(kind)?, rest.split('"').next()?.to_owned()))
    });
    // A recipe has the fields of `train`; `include` has no field to set.
    found.filter(|(node, _)| !matches!(node.name.as_str(), "recipe" | "include")).collect()
}

/// Whether a field can be changed: it is supported, and not limited to a single supported word.
fn varies(field: &FieldSpec) -> bool {
    let words = field.words.iter().filter(|word| !field.not_yet.contains(word)).count();
    !(field.unsupported || field.types == [FieldType::Word] && words < 2)
}

/// Collects every field below a node that can be changed, with its `--set` path.
fn fields(path: &str, node: &'static NodeSpec, found: &mut Vec<(String, &'static FieldSpec)>) {
    if node.unsupported.is_some() {
        return;
    }
    let own: Vec<_> = node.arguments.iter().filter(|field| field.types != [FieldType::Name]).collect();
    if let [only] = own.as_slice() {
        found.extend(varies(only).then(|| (path.to_owned(), *only)));
    }
    let properties = node.properties.iter().filter(|field| varies(field));
    found.extend(properties.map(|field| (format!("{path}.{}", field.name), field)));
    for child in &node.children {
        let inside = |at: &str| format!("{path}.{}{at}", child.name);
        match child.single {
            true => fields(&inside(""), child, found),
            false => [".0", ".1"].iter().for_each(|at| fields(&inside(at), child, found)),
        }
    }
}

/// Values to try, as they are written after `=`.
fn candidates(field: &FieldSpec, declared: &[(&'static NodeSpec, String)]) -> Vec<String> {
    let of = |kind: &FieldType| -> Vec<String> {
        let words: &[&str] = match kind {
            FieldType::Integer | FieldType::Count => {
                &["1", "2", "3", "4", "5", "8", "12", "64", "96", "300", "511", "600"]
            }
            FieldType::Number => &["0.5", "2", "0.001", "3"],
            FieldType::Boolean => &["#true", "#false"],
            FieldType::Share => &["3%", "20%"],
            FieldType::Bytes => &["7MiB"],
            FieldType::Duration => &["7min"],
            FieldType::Range => &["2..3"],
            // A field of the data has to exist in the file: `task` does.
            FieldType::Text => &["other", "norm", "embedding", "task"],
            FieldType::Path => {
                &["../examples/quickstart/corpus/notes.txt", "../docs", "../examples/starter/*"]
            }
            FieldType::Hub => &["hf:other/name"],
            FieldType::Warning => &["unused"],
            FieldType::Word => return field.words.clone(),
            FieldType::Ref => {
                let fitting = declared.iter().filter(|(kind, _)| field.to.contains(&kind.name));
                return fitting.map(|(_, name)| name.clone()).collect();
            }
            FieldType::Name => &[],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    };
    field.types.iter().flat_map(of).collect()
}

/// The path of a field in the table: without the name of its declaration and without indices.
fn in_table(kind: &str, path: &str) -> String {
    let words = path.split('.').skip(if kind == "pipeline" { 1 } else { 2 });
    let words = words.filter(|word| word.parse::<usize>().is_err());
    std::iter::once(kind).chain(words).collect::<Vec<_>>().join(".")
}

/// The path of a setting without stage names and list indices.
fn in_struct(path: &str) -> String {
    let words =
        path.split('.').skip(1).map(|word| word.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':'));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(".")
}

#[test]
fn every_field_reaches_a_setting_and_every_setting_has_a_field() {
    let (mut idle, mut arrived) = (BTreeSet::new(), BTreeSet::new());
    let (mut constant, mut varied) = (BTreeSet::new(), BTreeSet::new());
    for text in TEXTS {
        let base = settings(&pipeline(text, None).expect("the text checks"));
        constant.extend(base.keys().filter(|key| !key.contains('#')).map(|key| in_struct(key)));
        let declared = declared(text);
        for (node, name) in &declared {
            let path = if node.single { node.name.clone() } else { format!("{}.{name}", node.name) };
            let mut all = Vec::new();
            fields(&path, node, &mut all);
            for (path, field) in all {
                let key = in_table(&node.name, &path);
                if arrived.contains(&key) {
                    continue;
                }
                idle.insert(key.clone());
                for value in candidates(field, &declared) {
                    let Some(changed) = pipeline(text, Some(format!("{path}={value}"))) else { continue };
                    let changed = settings(&changed);
                    if changed != base {
                        arrived.insert(key.clone());
                    }
                    let differs = |key: &&String| changed.get(*key) != base.get(*key);
                    varied
                        .extend(base.keys().chain(changed.keys()).filter(differs).map(|key| in_struct(key)));
                }
            }
        }
    }
    let idle: Vec<_> = idle.difference(&arrived).cloned().collect();
    let constant: Vec<_> = constant.difference(&varied).cloned().collect();
    insta::assert_snapshot!("fields-that-change-no-setting", idle.join("\n"));
    insta::assert_snapshot!("settings-of-no-field", constant.join("\n"));
}
