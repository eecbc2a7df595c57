//! Programs as stages.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::Decoder;
use crate::language::record::{Leaf, Record};
use crate::pipeline::config::{CommandConfig, CommandInput, PlacedFile};
use crate::pipeline::stage::{FieldValue, SourceFiles};
use crate::text::diagnostic::{Code, Diagnostic};
use crate::text::escape::{escape_line, show_path};
use crate::text::place::Origin;

/// What the environment variables begin with that every command gets.
const OWN_VARIABLES: &str = "FMFLOW_";

impl Decoder<'_> {
    pub(super) fn command(&mut self, record: &Record) -> Option<CommandConfig> {
        let config = CommandConfig {
            command: record.text("run")?.to_owned(),
            programs: self.programs(record)?,
            inputs: self.inputs(record)?,
            environment: self.variables(record)?,
            outputs: self.outputs(record)?,
            seeded: record.boolean("seeded")?,
            timeout: record
                .number("timeout")
                .map(|time| Duration::try_from_secs_f64(time).unwrap_or(Duration::MAX)),
        };
        Some(config)
    }

    /// The files of the program, as they lie in the folder of the configuration.
    fn programs(&mut self, record: &Record) -> Option<Vec<PlacedFile>> {
        let leaves: Vec<&Leaf> = record.children("program").filter_map(|child| child.leaf("files")).collect();
        let (mut placed, mut paths) = (Vec::new(), Vec::new());
        for leaf in leaves {
            let files = self.files("the program", leaf.text()?, &leaf.span)?;
            let base = &leaf.span.file.folder;
            for path in files {
                let place = path.strip_prefix(base).ok().filter(|place| is_plain(place)).map(Path::to_owned);
                let Some(place) = place else {
                    self.sink.push(
                        Diagnostic::new(
                            Code::NoFiles,
                            format!("`{}` is no file of this folder", show_path(&path)),
                        )
                        .at(&leaf.span, "leads out of the folder")
                        .help(
                            "a program runs in a folder of its own; put its files beside or below this file",
                        ),
                    );
                    return None;
                };
                placed.push(PlacedFile { path: path.clone(), place });
                paths.push(path);
            }
            self.add_places(leaf, "program", &placed);
        }
        if !paths.is_empty() {
            self.sources.push(SourceFiles::local("program", paths));
        }
        Some(placed)
    }

    fn inputs(&mut self, record: &Record) -> Option<Vec<CommandInput>> {
        let mut inputs = Vec::new();
        for child in record.children("input") {
            let (name, leaf) = (child.text("name")?.to_owned(), child.leaf("name")?);
            if !is_plain_word(&name) {
                self.refuse_name(leaf, "an input is a folder", "use letters, digits, `-` and `_`");
                return None;
            }
            let files = match child.leaf("files") {
                None => None,
                Some(pattern) => {
                    let files = self.files(&format!("input `{name}`"), pattern.text()?, &pattern.span)?;
                    let placed = place_below_common_folder(&files);
                    self.sources.push(SourceFiles::local(&format!("input/{name}"), files));
                    self.add_places(pattern, &format!("input.{name}"), &placed);
                    Some(placed)
                }
            };
            inputs.push(CommandInput { name, files });
        }
        Some(inputs)
    }

    /// Adds the paths that the program sees to the settings: it may read them, so they count.
    fn add_places(&mut self, leaf: &Leaf, what: &str, placed: &[PlacedFile]) {
        let places = placed.iter().map(|file| Value::from(file.place.to_string_lossy()));
        self.named.push(FieldValue {
            path: format!("{what}.places"),
            value: places.collect(),
            span: leaf.span.clone(),
            origin: Origin::Written,
            semantic: true,
        });
    }

    fn variables(&mut self, record: &Record) -> Option<Vec<(String, Option<String>)>> {
        let mut variables = Vec::new();
        for child in record.children("environment") {
            let leaf = child.leaf("name")?;
            let name = leaf.text()?;
            let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let begins = name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
            if !begins || !name.chars().all(plain) || name.starts_with(OWN_VARIABLES) {
                let help = "use letters, digits and `_`; names that begin with `FMFLOW_` are taken";
                self.refuse_name(leaf, "an environment variable", help);
                return None;
            }
            let value = child.text("value").map(str::to_owned);
            if let Some(leaf) =
                child.leaf("value").filter(|leaf| leaf.text().is_some_and(|text| text.contains('\0')))
            {
                self.refuse_name(leaf, "the value of an environment variable", "remove the zero byte");
                return None;
            }
            variables.push((name.to_owned(), value));
        }
        Some(variables)
    }

    fn outputs(&mut self, record: &Record) -> Option<Vec<String>> {
        let mut outputs = Vec::new();
        for leaf in record.children("output").filter_map(|child| child.leaf("files")) {
            let pattern = leaf.text()?;
            if !is_plain(Path::new(pattern))
                || glob::Pattern::new(pattern).is_err()
                || pattern.starts_with("inputs/")
            {
                let help = "name files relative to the folder that the program runs in, such as `clean.jsonl` or `model/*`";
                self.refuse_name(leaf, "an output", help);
                return None;
            }
            outputs.push(pattern.to_owned());
        }
        Some(outputs)
    }

    fn refuse_name(&mut self, leaf: &Leaf, what: &str, help: &str) {
        let text = escape_line(leaf.text().unwrap_or_default());
        self.sink.push(
            Diagnostic::new(Code::InvalidName, format!("`{text}` cannot be the name of this: {what}"))
                .at(&leaf.span, "here")
                .help(help),
        );
    }
}

/// Whether a path consists of names alone and cannot lead out of its folder.
fn is_plain(path: &Path) -> bool {
    let mut parts = path.components();
    parts.clone().next().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

fn is_plain_word(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !name.is_empty() && name.len() <= 64 && name.bytes().all(plain)
}

/// Paths below the deepest folder that all files have in common.
fn place_below_common_folder(files: &[PathBuf]) -> Vec<PlacedFile> {
    let mut common: Option<&Path> = files.first().and_then(|file| file.parent());
    for file in files {
        while let Some(folder) = common.filter(|folder| !file.starts_with(folder)) {
            common = folder.parent();
        }
    }
    let place = |path: &PathBuf| {
        let below = common.and_then(|folder| path.strip_prefix(folder).ok());
        PlacedFile { path: path.clone(), place: below.unwrap_or(path).to_owned() }
    };
    files.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_their_places_below_the_folder_that_they_share() {
        let places = |files: &[&str]| {
            let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
            let placed = place_below_common_folder(&files).into_iter();
            placed.map(|file| file.place.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(places(&["/a/b/x"]), ["x"]);
        assert_eq!(places(&["/a/b/x", "/a/b/y"]), ["x", "y"]);
        assert_eq!(places(&["/a/b/x", "/a/c/x"]), ["b/x", "c/x"]);
        assert_eq!(places(&["/a/bc/x", "/a/b/x"]), ["bc/x", "b/x"]);
    }

    #[test]
    fn a_path_that_leads_out_is_not_plain() {
        assert!(["a", "a/b.c", "model/*"].iter().all(|path| is_plain(Path::new(path))));
        assert!(["", "/a", "../a", "a/../b", "."].iter().all(|path| !is_plain(Path::new(path))));
    }
}
