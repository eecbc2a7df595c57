//! The subsets that the card of a dataset declares: `configs:` in the YAML front matter of its README.
//!
//! <https://huggingface.co/docs/hub/datasets-manual-configuration>. Everything else in the card is passed over. A card is a
//! stranger's: no aliases, which could stand for billions of nodes, and no deep nesting.

use fmflow_engine::hub::online::CardSubset;
use saphyr_parser::{Event, Parser};
use serde_json::{Map, Value};

/// The deepest nesting in a card.
const DEEPEST: usize = 32;

/// The most subsets of a card.
const MOST_SUBSETS: usize = 10_000;

/// Reads the subsets of a card; none if it declares none.
///
/// # Errors
/// A sentence that says why they cannot be understood.
pub(super) fn read_card(text: &str) -> Result<Vec<CardSubset>, String> {
    let Some(front) = find_front_matter(text) else { return Ok(Vec::new()) };
    let card = read_yaml(front)?;
    let Some(configs) = card.get("configs") else { return Ok(Vec::new()) };
    let configs = configs.as_array().ok_or("`configs` is not a list")?;
    if configs.len() > MOST_SUBSETS {
        return Err(format!("`configs` has more than {MOST_SUBSETS} entries"));
    }
    configs.iter().map(read_subset).collect()
}

/// The text between the `---` at the top and the next one.
fn find_front_matter(text: &str) -> Option<&str> {
    let text = text.trim_start_matches('\u{feff}');
    let rest = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n"))?;
    let ends = rest.match_indices("\n---").find(|(at, mark)| {
        let after = rest[at + mark.len()..].trim_start_matches([' ', '\t', '\r']);
        after.is_empty() || after.starts_with('\n')
    });
    ends.map(|(at, _)| &rest[..=at])
}

fn read_subset(config: &Value) -> Result<CardSubset, String> {
    let text = |name: &str| config.get(name).and_then(Value::as_str);
    let name = text("config_name").ok_or("an entry of `configs` has no `config_name`")?.to_owned();
    let default = text("default").is_some_and(|word| word.eq_ignore_ascii_case("true"));
    let folder = text("data_dir").map(|folder| folder.trim_start_matches("./").trim_matches('/'));
    let folder = folder.filter(|folder| !folder.is_empty()).map(|folder| format!("{folder}/"));
    let files = config.get("data_files").map_or(Ok(Vec::new()), read_data_files);
    let files = files.map_err(|why| format!("subset `{name}`: {why}"))?;
    Ok(CardSubset { name, default, folder: folder.unwrap_or_default(), files })
}

/// `data_files` in each of its forms: a pattern, patterns, patterns by split, or a list of splits with their `path`.
fn read_data_files(value: &Value) -> Result<Vec<(String, Vec<String>)>, String> {
    let train = |patterns| vec![("train".to_owned(), patterns)];
    match value {
        Value::String(_) => Ok(train(read_patterns(value)?)),
        Value::Array(list) if list.iter().all(Value::is_string) => Ok(train(read_patterns(value)?)),
        Value::Array(list) => list.iter().map(read_split).collect(),
        Value::Object(splits) => {
            splits.iter().map(|(split, paths)| Ok((split.clone(), read_patterns(paths)?))).collect()
        }
        _ => Err("`data_files` is neither a path nor a list".to_owned()),
    }
}

fn read_split(entry: &Value) -> Result<(String, Vec<String>), String> {
    let split = entry.get("split").and_then(Value::as_str).unwrap_or("train");
    let path = entry.get("path").ok_or("an entry of `data_files` has no `path`")?;
    Ok((split.to_owned(), read_patterns(path)?))
}

fn read_patterns(value: &Value) -> Result<Vec<String>, String> {
    let list = match value {
        Value::Array(list) => list.iter().map(Value::as_str).collect::<Option<Vec<_>>>(),
        one => one.as_str().map(|one| vec![one]),
    };
    let list = list.ok_or("a path of `data_files` is no text")?;
    match list.iter().find(|path| path.contains("://")) {
        Some(elsewhere) => Err(format!("`{elsewhere}` is not a file of the repository")),
        None => Ok(list.into_iter().map(str::to_owned).collect()),
    }
}

/// A list or a mapping that is not at its end.
enum Open {
    List(Vec<Value>),
    /// The pairs so far, and the key whose value comes next.
    Map(Map<String, Value>, Option<String>),
}

/// Reads YAML into JSON. Every scalar is a text: `config_name: 2024` names a subset.
fn read_yaml(text: &str) -> Result<Value, String> {
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| format!("its front matter is not YAML: {error}"))?;
        let line = span.start.line();
        let done = match event {
            Event::Alias(_) => return Err(format!("its front matter has an alias, in line {line}")),
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                None
            }
            Event::Scalar(text, ..) => Some(Value::String(text.into_owned())),
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(list)) => Some(Value::Array(list)),
                Some(Open::Map(map, _)) => Some(Value::Object(map)),
                None => return Err("its front matter ends before it begins".to_owned()),
            },
            _ => None,
        };
        if open.len() > DEEPEST {
            return Err(format!("its front matter is nested deeper than {DEEPEST} levels, in line {line}"));
        }
        let Some(done) = done else { continue };
        match open.last_mut() {
            None => return Ok(done),
            Some(Open::List(list)) => list.push(done),
            Some(Open::Map(map, key)) => match (key.take(), done) {
                (Some(key), value) => drop(map.insert(key, value)),
                (None, Value::String(name)) => *key = Some(name),
                (None, _) => {
                    return Err(format!("its front matter has a key that is no text, in line {line}"));
                }
            },
        }
    }
    Ok(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Vec<CardSubset>, String> {
        read_card(&format!("---\n{yaml}\n---\n# A dataset\n"))
    }

    /// Name, whether it is the default, folder, and `split: patterns` of each subset.
    fn words(yaml: &str) -> String {
        let subsets = read(yaml).unwrap_or_else(|why| panic!("{why}"));
        let line = |one: &CardSubset| {
            let files: Vec<String> = one
                .files
                .iter()
                .map(|(split, patterns)| format!("{split}: {}", patterns.join(" ")))
                .collect();
            format!("{} {} {:?} {}\n", one.name, one.default, one.folder, files.join(", "))
        };
        subsets.iter().map(line).collect()
    }

    #[test]
    fn every_form_of_the_manual_is_read() {
        let yaml = "license: mit
configs:
- config_name: 20231101.en
  default: true
  data_files:
  - split: train
    path: 20231101.en/train-*
  - split: test
    path:
    - a.jsonl
    - b.jsonl
- config_name: 2024
  data_files: \"data/*.csv\"
- config_name: list
  data_files: [x.jsonl, y.jsonl]
- config_name: map
  data_files:
    train: t/*
    validation: [v/*]
- config_name: folder
  data_dir: ./de/";
        let found = [
            "20231101.en true \"\" train: 20231101.en/train-*, test: a.jsonl b.jsonl",
            "2024 false \"\" train: data/*.csv",
            "list false \"\" train: x.jsonl y.jsonl",
            "map false \"\" train: t/*, validation: v/*",
            "folder false \"de/\" ",
        ];
        assert_eq!(words(yaml).lines().collect::<Vec<_>>(), found);
        assert_eq!(words("license: mit"), "");
        assert_eq!(read_card("# no front matter\n").unwrap(), []);
        assert_eq!(read_card("---\nconfigs: never closed\n").unwrap(), []);
    }

    #[test]
    fn a_card_of_a_stranger_is_bounded() {
        let [deep, nested] = [100_000, 40].map(|levels| format!("configs: {}", "[".repeat(levels)));
        let bomb = "a: &a [x]\nb: &b [*a, *a]\nconfigs: [*b, *b]";
        let cases = [
            (deep.as_str(), "its front matter is not YAML: recursion limit exceeded"),
            (nested.as_str(), "its front matter is nested deeper than 32 levels"),
            (bomb, "its front matter has an alias, in line 2"),
            ("configs: yes", "`configs` is not a list"),
            ("configs:\n- data_files: x", "an entry of `configs` has no `config_name`"),
            (
                "configs:\n- config_name: a\n  data_files: https://example.org/a.jsonl",
                "subset `a`: `https://example.org/a.jsonl` is not a file of the repository",
            ),
            (
                "configs:\n- config_name: a\n  data_files: [{split: train}]",
                "subset `a`: an entry of `data_files` has no `path`",
            ),
            ("configs: [a: {b: c}, }", "its front matter is not YAML: "),
            ("? [a]\n: b", "its front matter has a key that is no text"),
        ];
        for (yaml, why) in cases {
            let told = read(yaml).unwrap_err();
            assert!(told.starts_with(why), "{told}");
        }
    }
}
