//! The invariants of ARCHITECTURE.md that show in the source: sizes, dependencies, and which rooms read, print or use the network.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
    let roots = [
        "main.rs",
        "memory.rs",
        "constrain/src",
        "engine/src",
        "grade/src",
        "ops/src",
        "serve/src",
        "stages/src",
    ]
    .map(|path| root.join(path));
    let files = roots.iter().flat_map(walkdir::WalkDir::new).map(|entry| entry.unwrap().into_path());
    let mut found: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == "rs")).collect();
    found.sort();
    assert!(found.len() > 50, "the walk must find all packages");
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

/// Number of lines of a file without its `#[cfg(test)]` modules.
fn lines(source: &Source) -> usize {
    let tests = source.tree.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if is_test(&module.attrs) => Some(item.span()),
        _ => None,
    });
    let tests: usize = tests.map(|span| span.end().line - span.start().line + 1).sum();
    source.text.lines().count() - tests
}

#[test]
fn no_file_is_too_long() {
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
fn no_function_is_too_long() {
    let mut found = Vec::new();
    for source in sources() {
        let mut functions = Functions::default();
        functions.visit_file(&source.tree);
        assert!(
            !source.name.ends_with("cli.rs") || !functions.0.is_empty(),
            "the visitor must find functions"
        );
        let long = functions.0.into_iter().filter(|(_, lines)| *lines > LONGEST_FUNCTION);
        found.extend(long.map(|(name, lines)| format!("{} {name} {lines}", source.name)));
    }
    assert!(found.is_empty(), "over {LONGEST_FUNCTION} lines: {found:#?}");
}

/// Names of the types that a file declares outside its tests.
#[derive(Default)]
struct TypeNames(Vec<String>);

impl<'a> Visit<'a> for TypeNames {
    fn visit_item(&mut self, item: &'a syn::Item) {
        match item {
            syn::Item::Mod(module) if is_test(&module.attrs) => return,
            syn::Item::Struct(found) => self.0.push(found.ident.to_string()),
            syn::Item::Enum(found) => self.0.push(found.ident.to_string()),
            syn::Item::Trait(found) => self.0.push(found.ident.to_string()),
            _ => {}
        }
        syn::visit::visit_item(self, item);
    }
}

#[test]
fn no_type_name_is_used_twice_in_a_package() {
    let mut places: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for source in sources().into_iter().filter(|source| !is_test_file(source)) {
        let mut types = TypeNames::default();
        types.visit_file(&source.tree);
        let package = source.name.split('/').next().unwrap().to_owned();
        for name in types.0 {
            places.entry((package.clone(), name)).or_default().push(source.name.clone());
        }
    }
    assert!(places.len() > 200, "the visitor sees types");
    let twice: Vec<_> = places.iter().filter(|(_, files)| files.len() > 1).collect();
    assert!(twice.is_empty(), "a search for one of these finds another: {twice:#?}");
}

#[test]
fn every_file_starts_with_a_module_doc() {
    let undocumented: Vec<String> =
        sources().into_iter().filter(|s| !s.text.starts_with("//!")).map(|s| s.name).collect();
    assert!(undocumented.is_empty(), "files without `//!` at the top: {undocumented:#?}");
}

#[test]
fn no_todo_markers_are_left() {
    let found = outside(&[], &["TODO", "FIXME", "todo!(", "unimplemented!("]);
    assert!(found.is_empty(), "{found:#?}");
}

/// Direct dependencies of a package, without those for tests and builds.
fn dependencies(package: &str) -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let asked = ["metadata", "--format-version=1", "--no-deps", "--locked"];
    let answer = std::process::Command::new(cargo).args(asked).output().unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|found| found["name"] == package).unwrap();
    let normal = package["dependencies"].as_array().unwrap().iter().filter(|found| found["kind"].is_null());
    normal.map(|found| found["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_engine_depends_on_no_tensor_crate_and_the_stages_on_no_text_crate() {
    let engine = dependencies("fmflow-engine");
    let stages = dependencies("fmflow-stages");
    assert!(engine.contains(&"kdl".to_owned()) && stages.contains(&"burn-tensor".to_owned()));
    for word in ["burn", "safetensors", "tokenizers", "fmflow-stages"] {
        assert!(!engine.iter().any(|d| d.starts_with(word)), "the engine depends on {word}");
    }
    for word in ["kdl", "miette", "clap", "indicatif"] {
        assert!(!stages.iter().any(|d| d.starts_with(word)), "the stages depend on {word}");
    }
}

/// Lines of code, without comments and tests, that contain one of `words`, in files outside `rooms`.
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
fn only_some_rooms_of_the_engine_use_the_file_system() {
    let rooms = [
        "engine/src/text/read.rs",
        "engine/src/text/glob.rs",
        "engine/src/text/file_head.rs",
        "engine/src/text/machine.rs",
        "engine/src/text/environment.rs",
        "engine/src/text/unpack.rs",
        "engine/src/language/include.rs",
        "engine/src/store",
        "engine/src/cli",
        // What runs a stranger's program: it looks for the interpreter, and limits itself.
        "grade/src/interpreter.rs",
        "grade/src/sandbox",
        "grade/src/search.rs",
        "grade/src/session/peer.rs",
        // The keys of clients.
        "serve/src/keys.rs",
        "stages/",
        "main.rs",
    ];
    let found =
        outside(&rooms, &["std::fs", "rustix::fs", "fs::read", "File::open", "File::create", "std::env::"]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn only_the_command_line_prints() {
    // The server answers to the program that started it, not to a person; where memory has run out, nobody else can tell it.
    let rooms = ["engine/src/cli", "stages/src/data/template/server.rs", "memory.rs"];
    let found = outside(&rooms, &["println!", "eprintln!", "print!(", "stdout()", "stderr()"]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn what_is_printed_is_escaped() {
    // The server answers to the program that started it, not to a terminal.
    let doors =
        ["engine/src/cli/output.rs", "engine/src/cli/terminal.rs", "stages/src/data/template/server.rs"];
    let found = outside(&doors, &["stdout().lock", "stderr().lock", "write_stdout(", "write_stderr("]);
    assert!(found.is_empty(), "only these doors print, because they escape: {found:#?}");
    let found = outside(&["engine/src/text/read.rs"], &[".display()"]);
    assert!(found.is_empty(), "`show_path` shows a path in one line: {found:#?}");
}

#[test]
fn flow_and_backbone_do_not_use_each_other() {
    for (room, other) in [("stages/src/flow", "backbone"), ("stages/src/backbone", "flow")] {
        for source in sources().iter().filter(|s| s.name.starts_with(room)) {
            assert!(!source.text.contains(&format!("crate::{other}")), "{} uses {other}", source.name);
        }
    }
}

#[test]
fn no_random_generator_keeps_state() {
    let words = ["thread_rng", "StdRng", "SmallRng", "from_entropy", "rand::random"];
    let found = outside(&["stages/src/rng.rs"], &words);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn only_the_hub_reaches_the_network() {
    // The server is reached; it reaches nobody.
    let rooms = ["stages/src/hub", "serve/src/connections.rs"];
    let mut found = outside(&rooms, &["std::net", "tokio::net", "TcpStream", "UdpSocket", "ureq"]);
    // The number of an address reaches nobody.
    found.retain(|place| !place.ends_with(" use std::net::IpAddr;"));
    assert!(found.is_empty(), "{found:#?}");
    let reaching = outside(&["stages/src/hub"], &["TcpStream::connect", "ureq"]);
    assert!(reaching.is_empty(), "{reaching:#?}");
    let engine = dependencies("fmflow-engine");
    for word in ["ureq", "tokio", "hyper", "axum", "fmflow-serve"] {
        assert!(!engine.contains(&word.to_owned()), "the engine depends on {word}");
    }
}

/// Floors of a package, from the ground up: a room may use rooms on its own floor and below, never above. ARCHITECTURE.md draws
/// them.
const CONSTRAIN_FLOORS: &[&str] =
    &["set", "error", "subsets", "automaton", "schema", "edges", "tokens", "reach"];
const ENGINE_FLOORS: &[&str] = &[
    "text",
    "program",
    "error",
    "pipeline",
    "documents",
    "benchmark",
    "store",
    "smoke",
    "language",
    "hub",
    "check",
    "plan",
    "report",
    "run",
    "service",
    "cli",
];
const GRADE_FLOORS: &[&str] = &[
    "literal",
    "number",
    "sandbox",
    "problem",
    "interpreter",
    "session",
    "answer",
    "search",
    "grading",
    "score",
];
const OPS_FLOORS: &[&str] = &[
    "choice",
    "loss",
    "adamw",
    "intervals",
    "kernels",
    "arithmetic",
    "reference",
    "extension",
    "flex",
    "cube",
    "training",
];
const SERVE_FLOORS: &[&str] = &[
    "limits",
    "fault",
    "fields",
    "keys",
    "metrics",
    "state",
    "answers",
    "api",
    "page",
    "stream",
    "watch",
    "routes",
    "connections",
];
const STAGES_FLOORS: &[&str] = &[
    "rng",
    "threads",
    "device",
    "failure",
    "hub",
    "flow",
    "backbone",
    "data",
    "weights",
    "job",
    "contents",
    "model",
    "dataset",
    "window",
    "train",
    "completion",
    "answer",
    "fetch",
    "tokenizer",
    "rows",
    "random_init",
    "convert",
    "average",
    "evaluate",
    "frontier",
    "generate",
    "probe",
    "export",
    "verify",
    "inspect",
    "executor",
];

/// The modules that a file names in its code, without tests, as paths from the root of the package.
struct Names {
    module: Vec<String>,
    found: Vec<Vec<String>>,
}

impl Names {
    fn of(source: &Source, module: Vec<String>) -> Vec<Vec<String>> {
        let mut names = Self { module, found: vec![] };
        names.visit_file(&source.tree);
        names.found
    }

    /// Keeps a path that starts with `crate`, `super` or `self`.
    fn note(&mut self, path: &[String]) {
        let Some((first, rest)) = path.split_first() else { return };
        let mut from = match first.as_str() {
            "crate" => vec![],
            "self" => self.module.clone(),
            "super" => self.module[..self.module.len().saturating_sub(1)].to_vec(),
            _ => return,
        };
        let ups = rest.iter().take_while(|word| *word == "super").count();
        from.truncate(from.len().saturating_sub(ups));
        from.extend(rest[ups..].iter().cloned());
        self.found.push(from);
    }

    fn note_tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let longer = |word: &syn::Ident| [before, &[word.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.note_tree(&path.tree, &longer(&path.ident)),
            syn::UseTree::Name(name) if name.ident == "self" => self.note(before),
            syn::UseTree::Name(name) => self.note(&longer(&name.ident)),
            syn::UseTree::Rename(rename) => self.note(&longer(&rename.ident)),
            syn::UseTree::Glob(_) => self.note(before),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.note_tree(tree, before)),
        }
    }
}

impl<'a> Visit<'a> for Names {
    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        if !is_test(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.note_tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let words: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.note(&words);
        syn::visit::visit_path(self, path);
    }
}

/// Which rooms each room of a package uses. A room is a module of the first or second level; deeper modules belong to it.
fn rooms(package: &str) -> BTreeMap<String, BTreeSet<String>> {
    let start = format!("{package}/src/");
    let modules: Vec<(Source, Vec<String>)> = sources()
        .into_iter()
        .filter(|source| source.name.starts_with(&start) && !is_test_file(source))
        .map(|source| {
            let path = source.name[start.len()..].trim_end_matches(".rs");
            let module = path.split('/').map(str::to_owned).collect();
            (source, module)
        })
        .filter(|(_, module): &(_, Vec<String>)| module[0] != "lib")
        .collect();
    let room = |path: &[String]| {
        let known = |depth: usize| {
            let path = path.get(..depth)?;
            modules.iter().any(|(_, module)| module == path).then(|| path.join("::"))
        };
        known(2).or_else(|| known(1))
    };
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (source, module) in &modules {
        let own = room(module).unwrap();
        let used = Names::of(source, module.clone()).into_iter().filter_map(|path| room(&path));
        let used: Vec<_> = used.filter(|other| *other != own).collect();
        uses.entry(own).or_default().extend(used);
    }
    uses
}

/// The shortest cycle from `room` back to itself, if there is one.
fn find_cycle(uses: &BTreeMap<String, BTreeSet<String>>, room: &str) -> Option<Vec<String>> {
    let mut ways = VecDeque::from([vec![room.to_owned()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in uses.get(way.last().unwrap()).into_iter().flatten() {
            let longer = [way.clone(), vec![next.clone()]].concat();
            if next == room {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                ways.push_back(longer);
            }
        }
    }
    None
}

#[test]
fn rooms_have_no_cycles() {
    for package in ["engine", "stages"] {
        let uses = rooms(package);
        assert!(
            uses.len() > 40 && uses.values().any(|used| used.len() > 3),
            "the rooms of {package} must be found"
        );
        let found: BTreeSet<Vec<String>> = uses
            .keys()
            .filter_map(|room| find_cycle(&uses, room))
            .filter(|way| way.iter().min() == way.first())
            .collect();
        let found: Vec<String> = found.iter().map(|way| way.join(" -> ")).collect();
        assert!(found.is_empty(), "cycles in {package}: {found:#?}");
    }
}

#[test]
fn rooms_use_no_floor_above_them() {
    for (package, floors) in [
        ("constrain", CONSTRAIN_FLOORS),
        ("engine", ENGINE_FLOORS),
        ("grade", GRADE_FLOORS),
        ("ops", OPS_FLOORS),
        ("serve", SERVE_FLOORS),
        ("stages", STAGES_FLOORS),
    ] {
        let floor = |room: &str| {
            let name = room.split("::").next().unwrap();
            floors.iter().position(|floor| *floor == name).unwrap_or_else(|| panic!("{name} has no floor"))
        };
        let uses = rooms(package);
        let edges = uses.iter().flat_map(|(room, used)| used.iter().map(move |other| (room, other)));
        let up: Vec<_> = edges.filter(|(room, other)| floor(room) < floor(other)).collect();
        assert!(up.is_empty(), "{package} rooms that use a floor above: {up:#?}");
    }
}
