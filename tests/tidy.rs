//! The invariants of ARCHITECTURE.md that can be seen in the source: sizes, directions, rooms that read and print.

#![expect(clippy::unwrap_used, reason = "a failed test is told by a panic")]

use std::fs;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::Visit;

const LONGEST_FILE: usize = 300;
const LONGEST_FUNCTION: usize = 80;

struct Source {
    /// Path from the root of the repository.
    name: String,
    text: String,
    tree: syn::File,
}

/// Every Rust file of the packages.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let roots = ["main.rs", "engine/src", "stages/src"].map(|path| root.join(path));
    let files = roots.iter().flat_map(walkdir::WalkDir::new).map(|entry| entry.unwrap().into_path());
    let mut found: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == "rs")).collect();
    found.sort();
    assert!(found.len() > 50, "the walk finds the packages");
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let tree = syn::parse_file(&text).unwrap();
        Source { name: path.strip_prefix(root).unwrap().display().to_string(), text, tree }
    };
    found.iter().map(read).collect()
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    let says =
        |meta: &syn::Meta| matches!(meta, syn::Meta::List(list) if list.tokens.to_string().contains("test"));
    attributes.iter().any(|a| a.path().is_ident("cfg") && says(&a.meta))
}

/// A file that exists only for tests: `mod tests;` in its parent.
fn is_test_file(source: &Source) -> bool {
    source.name.ends_with("/tests.rs")
        || source.name.contains("/tests/")
        || source.name.ends_with("_tests.rs")
}

/// Lines of a file without its `#[cfg(test)]` modules.
fn lines(source: &Source) -> usize {
    let tests = source.tree.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if is_test(&module.attrs) => Some(item.span()),
        _ => None,
    });
    let tests: usize = tests.map(|span| span.end().line - span.start().line + 1).sum();
    source.text.lines().count() - tests
}

#[test]
fn no_file_is_longer_than_it_can_be_read_at_once() {
    let long = |s: &Source| {
        (!is_test_file(s) && lines(s) > LONGEST_FILE).then(|| format!("{} {}", s.name, lines(s)))
    };
    let found: Vec<String> = sources().iter().filter_map(long).collect();
    assert!(found.is_empty(), "over {LONGEST_FILE} lines: {found:#?}");
}

#[derive(Default)]
struct Functions(Vec<(String, usize)>);

impl Functions {
    fn note(&mut self, name: &syn::Ident, span: proc_macro2::Span) {
        self.0.push((name.to_string(), span.end().line - span.start().line + 1));
    }
}

impl<'a> Visit<'a> for Functions {
    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        self.note(&function.sig.ident, function.span());
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        self.note(&function.sig.ident, function.span());
        syn::visit::visit_impl_item_fn(self, function);
    }
}

#[test]
fn no_function_is_longer_than_a_screen() {
    let mut found = Vec::new();
    for source in sources() {
        let mut functions = Functions::default();
        functions.visit_file(&source.tree);
        assert!(!source.name.ends_with("cli.rs") || !functions.0.is_empty(), "the visitor sees functions");
        let long = functions.0.into_iter().filter(|(_, lines)| *lines > LONGEST_FUNCTION);
        found.extend(long.map(|(name, lines)| format!("{} {name} {lines}", source.name)));
    }
    assert!(found.is_empty(), "over {LONGEST_FUNCTION} lines: {found:#?}");
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<String> =
        sources().into_iter().filter(|s| !s.text.starts_with("//!")).map(|s| s.name).collect();
    assert!(silent.is_empty(), "without a `//!` at the top: {silent:#?}");
}

#[test]
fn nothing_is_left_to_do_without_a_name() {
    let found = outside(&[], &["TODO", "FIXME", "todo!(", "unimplemented!("]);
    assert!(found.is_empty(), "{found:#?}");
}

/// Direct dependencies of a package that reach its library or binary.
fn dependencies(package: &str) -> Vec<String> {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec().unwrap();
    let package = metadata.packages.iter().find(|p| p.name.as_str() == package).unwrap();
    let normal = package.dependencies.iter().filter(|d| d.kind == cargo_metadata::DependencyKind::Normal);
    normal.map(|d| d.name.clone()).collect()
}

#[test]
fn the_engine_knows_no_tensor_and_the_stages_no_text() {
    let engine = dependencies("fmflow-engine");
    let stages = dependencies("fmflow-stages");
    assert!(engine.contains(&"kdl".to_owned()) && stages.contains(&"burn".to_owned()));
    for word in ["burn", "safetensors", "tokenizers", "fmflow-stages"] {
        assert!(!engine.iter().any(|d| d.starts_with(word)), "the engine depends on {word}");
    }
    for word in ["kdl", "miette", "clap", "indicatif"] {
        assert!(!stages.iter().any(|d| d.starts_with(word)), "the stages depend on {word}");
    }
}

/// Lines of code (comments and tests left out) that contain one of `words`, in files that are not in one of `rooms`.
fn outside(rooms: &[&str], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources().iter().filter(|s| !is_test_file(s)) {
        if rooms.iter().any(|room| source.name.starts_with(room)) {
            continue;
        }
        let code = source.text.split("#[cfg(test)]\nmod").next().unwrap();
        let lines = code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
        let hits = lines.filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        found.extend(hits.map(|(i, line)| format!("{}:{}: {}", source.name, i + 1, line.trim())));
    }
    found
}

#[test]
fn the_engine_reads_and_writes_files_only_in_its_rooms() {
    let rooms =
        ["engine/src/file", "engine/src/vfs", "engine/src/store", "engine/src/cli", "stages/", "main.rs"];
    let found = outside(&rooms, &["std::fs", "fs::read", "File::open", "File::create", "std::env::"]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn only_the_command_line_prints() {
    let rooms = ["engine/src/cli", "engine/src/report"];
    let found = outside(&rooms, &["println!", "eprintln!", "print!(", "stdout()", "stderr()"]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn flow_and_backbone_do_not_know_each_other() {
    for (room, other) in [("stages/src/flow", "backbone"), ("stages/src/backbone", "flow")] {
        for source in sources().iter().filter(|s| s.name.starts_with(room)) {
            assert!(!source.text.contains(&format!("crate::{other}")), "{} uses {other}", source.name);
        }
    }
}

#[test]
fn no_generator_keeps_state() {
    let words = ["thread_rng", "StdRng", "SmallRng", "from_entropy", "rand::random"];
    let found = outside(&["stages/src/rng.rs"], &words);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn only_the_hub_reaches_the_network() {
    let found = outside(&["stages/src/hub"], &["std::net", "TcpStream", "UdpSocket", "ureq"]);
    assert!(found.is_empty(), "{found:#?}");
    assert!(!dependencies("fmflow-engine").contains(&"ureq".to_owned()));
}
