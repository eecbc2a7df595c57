//! `include`: reads a configuration in several files as if it were written in one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kdl::KdlNode;

use crate::language::config_files::{ConfigFiles, shift_document};
use crate::language::parse;
use crate::language::schema::{CanonicalValue, load_schema, value};
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::{ConfigFile, FileRole, Span};
use crate::text::read;

/// Deepest chain of files that include each other.
const MAX_INCLUDE_DEPTH: usize = 16;

/// Most files of a configuration.
const MAX_CONFIG_FILES: usize = 64;

/// A configuration with everything it includes.
pub(crate) struct LoadedConfiguration {
    /// All files.
    pub sources: ConfigFiles,
    /// Top-level nodes with global offsets. The nodes of an included file follow the `include` that names it.
    pub nodes: Vec<KdlNode>,
    /// Whether every file could be read. If not, an undeclared name may be declared in a file that is missing.
    pub complete: bool,
}

/// Parses the file at `path` and everything that it includes, and reports every error. `None` if the root file itself
/// cannot be parsed.
pub(crate) fn load_with_includes(
    file: &Arc<ConfigFile>,
    path: &Path,
    sink: &mut Sink,
) -> Option<LoadedConfiguration> {
    let sources = ConfigFiles::new(file.clone());
    let mut loader = IncludeLoader {
        sources,
        nodes: Vec::new(),
        complete: true,
        seen: Vec::new(),
        chain: Vec::new(),
        full: false,
        sink,
    };
    let first = IncludeLink { id: find_file_identity(path), name: file.name.clone(), site: None };
    loader.read(file, 0, first)?;
    let IncludeLoader { sources, nodes, complete, .. } = loader;
    Some(LoadedConfiguration { sources, nodes, complete })
}

/// An identity that is the same for every path and link to a file, so that a file is read only once.
fn find_file_identity(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| read::to_absolute_path(path))
}

/// A file on the chain of includes that are being read.
struct IncludeLink {
    id: PathBuf,
    name: String,
    /// Where it is included; `None` for the root file.
    site: Option<Span>,
}

struct IncludeLoader<'a> {
    sources: ConfigFiles,
    nodes: Vec<KdlNode>,
    complete: bool,
    seen: Vec<PathBuf>,
    chain: Vec<IncludeLink>,
    /// Whether too many files have been reported; then no more are opened.
    full: bool,
    sink: &'a mut Sink,
}

impl IncludeLoader<'_> {
    fn read(&mut self, file: &Arc<ConfigFile>, start: usize, link: IncludeLink) -> Option<()> {
        let mut document = parse::parse_kdl_file(file, self.sink)?;
        shift_document(&mut document, start);
        self.seen.push(link.id.clone());
        self.chain.push(link);
        for node in document.nodes_mut().drain(..) {
            self.add_node(node);
        }
        self.chain.pop();
        Some(())
    }

    fn add_node(&mut self, node: KdlNode) {
        let name = node.name().value();
        let place = self.sources.span(node.name().span());
        let of_root = load_schema().node(name).is_some_and(|spec| spec.root);
        if let (FileRole::Included(_), true) = (&place.file.role, of_root) {
            self.sink.push(misplaced_node(name, &place, self.sources.root()));
            return;
        }
        let included = (name == "include").then(|| self.find_include_path(&node)).flatten();
        self.nodes.push(node);
        if let Some((path, site)) = included {
            self.include(&path, &site);
        }
    }

    /// The path of an `include` and its place. `None` if the value is invalid; validation reports that later.
    fn find_include_path(&self, node: &KdlNode) -> Option<(PathBuf, Span)> {
        let field = load_schema().node("include")?.arguments.first()?;
        let entry = node.entries().iter().find(|entry| entry.name().is_none())?;
        let Ok(CanonicalValue::Path(path)) = value::accept_value(field, entry.value()) else { return None };
        let site = self.sources.value(entry);
        Some((site.file.folder.join(path), site))
    }

    fn include(&mut self, path: &Path, site: &Span) {
        let id = find_file_identity(path);
        if let Some(at) = self.chain.iter().position(|link| link.id == id) {
            self.sink.push(include_cycle(&self.chain[at..], site));
        } else if !self.seen.contains(&id)
            && !self.full
            && let Err(diagnostic) = self.open(path, site, id)
        {
            self.complete = false;
            self.sink.push(diagnostic);
        }
    }

    fn open(&mut self, path: &Path, site: &Span, id: PathBuf) -> Result<(), Diagnostic> {
        self.check_limits(site)?;
        let text = read::read_config_text(path).map_err(|fault| unreadable_include(fault, site))?;
        let file = Arc::new(ConfigFile {
            name: read::display_path(path),
            text,
            folder: read::find_parent_folder(path),
            number: self.sources.count(),
            role: FileRole::Included(site.clone()),
        });
        let start = self.sources.add(file.clone());
        let link = IncludeLink { id, name: file.name.clone(), site: Some(site.clone()) };
        self.complete &= self.read(&file, start, link).is_some();
        Ok(())
    }

    fn check_limits(&mut self, site: &Span) -> Result<(), Diagnostic> {
        if self.chain.len() > MAX_INCLUDE_DEPTH {
            let message = format!("includes are nested more than {MAX_INCLUDE_DEPTH} levels deep");
            let refused = Diagnostic::new(Code::NestedTooDeep, message).at(site, "one level too many");
            return Err(refused.help("include this file from a file closer to the root"));
        }
        if self.sources.count() > MAX_CONFIG_FILES {
            self.full = true;
            let message = format!("the configuration has more than {MAX_CONFIG_FILES} files");
            let refused = Diagnostic::new(Code::FileTooLarge, message).at(site, "one file too many");
            return Err(refused.help("combine related declarations in one file"));
        }
        Ok(())
    }
}

fn unreadable_include(mut fault: Diagnostic, site: &Span) -> Diagnostic {
    let help = fault.help.take();
    let relative = (fault.code == Code::UnreadableFile)
        .then(|| "paths are relative to the file in which they are written".to_owned());
    let help: Vec<_> = relative.into_iter().chain(help).collect();
    let help = (!help.is_empty()).then(|| help.join("; "));
    fault.at(site, "included here").maybe_help(help)
}

fn misplaced_node(name: &str, place: &Span, root: &ConfigFile) -> Diagnostic {
    Diagnostic::new(Code::UnknownNode, format!("`{name}` is not allowed in an included file"))
        .at(place, "allowed only in the root file")
        .help(format!("move it to `{}`", root.name))
}

/// `around` is the cycle: the files from the first occurrence of a file to the one that includes it again at `site`.
fn include_cycle(around: &[IncludeLink], site: &Span) -> Diagnostic {
    let names = around.iter().chain(around.first()).map(|link| format!("`{}`", link.name));
    let names: Vec<_> = names.collect();
    let message = match around {
        [_] => "a file includes itself".to_owned(),
        _ => format!("files include each other: {}", names.join(" -> ")),
    };
    let mut diagnostic = Diagnostic::new(Code::IncludeCycle, message).at(site, "leads back");
    for link in around.iter().skip(1) {
        let site = link.site.as_ref().expect("every file but the first is included somewhere");
        diagnostic = diagnostic.also(site, "included here");
    }
    diagnostic.help("remove one of these lines; a file is read only once, wherever it is included")
}
