//! How a command line describes a sampler.

use crate::error::{Error, Result};
use crate::language::schema::{NodeSpec, load_schema};
use crate::run::text::TextModelFacts;

/// A sampler as the command line gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum SamplerWords {
    /// The name of a sampler of the pipeline file.
    Named(String),
    /// Fields of a `sampler` node, in order.
    Described(Vec<(String, String)>),
}

/// Names of fields that are shorter or older than those of the table.
const SHORT_NAMES: &[(&str, &str)] =
    &[("steps", "passes"), ("temp", "temperature"), ("top_k", "top-k"), ("top_p", "top-p")];

impl SamplerWords {
    /// Reads words such as `threshold threshold=0.9 block=8`, `kind=euler passes=16`, or the name of a sampler.
    pub(in crate::cli) fn parse(words: &[String]) -> Result<Self> {
        let words: Vec<&str> = words.iter().flat_map(|word| word.split_whitespace()).collect();
        let mut fields: Vec<(String, String)> = Vec::new();
        for (at, word) in words.iter().enumerate() {
            match word.split_once('=') {
                Some((name, value)) => {
                    refuse_repeated(&fields, name)?;
                    Self::set(&mut fields, name, value.trim_matches('"'));
                }
                None if at == 0 && is_kind(word) => Self::set(&mut fields, "kind", word),
                None if words.len() == 1 => return Ok(Self::Named((*word).to_owned())),
                None => {
                    let help = "write a kind and its settings: `--sampler confidence passes=16`";
                    return Err(Error::usage(format!("`{word}` is no setting of a sampler"), help));
                }
            }
        }
        Ok(Self::Described(fields))
    }

    /// The sampler for a checkpoint if the command line names none: what the help and the docs say.
    pub(in crate::cli) fn default_for(facts: &TextModelFacts) -> Self {
        let mut words = match (facts.autoregressive, facts.mask_source) {
            (true, _) => vec!["kind=autoregressive"],
            (false, true) => vec!["kind=threshold", "threshold=0.9"],
            (false, false) => vec!["kind=euler", "passes=64"],
        };
        if facts.exact_cache && !facts.autoregressive {
            words.push("cache=exact");
        }
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        Self::parse(&words).expect("the words are fields")
    }

    /// Sets a field in place of an older value.
    pub(in crate::cli) fn replace(&mut self, name: &str, value: &str) -> Result<()> {
        match self {
            Self::Described(fields) => {
                Self::set(fields, name, value);
                Ok(())
            }
            Self::Named(own) => Err(Error::usage(
                format!("sampler `{own}` is one of the file, and has its settings there"),
                "describe a sampler first, such as `confidence passes=16`",
            )),
        }
    }

    fn set(fields: &mut Vec<(String, String)>, name: &str, value: &str) {
        let full = find_full_name(name);
        fields.retain(|(known, _)| known != full);
        fields.push((full.to_owned(), value.to_owned()));
    }

    /// The sampler in words, as one would type it.
    pub(in crate::cli) fn describe(&self) -> String {
        match self {
            Self::Named(name) => name.clone(),
            Self::Described(fields) => {
                let word = |(name, value): &(String, String)| match name.as_str() {
                    "kind" => value.clone(),
                    _ => format!("{name}={value}"),
                };
                fields.iter().map(word).collect::<Vec<_>>().join(" ")
            }
        }
    }
}

/// The name of a setting in the field table.
fn find_full_name(name: &str) -> &str {
    SHORT_NAMES.iter().find(|(short, _)| *short == name).map_or(name, |(_, full)| full)
}

/// Refuses a setting that was set before, by this name or another one.
pub(in crate::cli) fn refuse_repeated(fields: &[(String, String)], name: &str) -> Result<()> {
    let full = find_full_name(name);
    match fields.iter().any(|(known, _)| find_full_name(known) == full) {
        true => Err(Error::usage(format!("`{full}` of a sampler is set twice"), "write one of them")),
        false => Ok(()),
    }
}

/// Whether a word is a kind of sampler in the field table.
fn is_kind(word: &str) -> bool {
    let kind = find_sampler_node().fields().find(|field| field.name == "kind");
    kind.expect("the table has a kind of sampler").words.iter().any(|known| known == word)
}

fn find_sampler_node() -> &'static NodeSpec {
    let sampler = load_schema().nodes.iter().find(|node| node.name == "sampler");
    sampler.expect("the table has a sampler")
}

/// Names of the settings of a sampler in the field table, and short ones.
pub(in crate::cli) fn list_sampler_fields() -> Vec<String> {
    let short = SHORT_NAMES.iter().map(|(short, _)| (*short).to_owned());
    let fields = find_sampler_node().fields().filter(|field| field.name != "name");
    fields.map(|field| field.name.clone()).chain(short).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> SamplerWords {
        SamplerWords::parse(&[words.to_owned()]).unwrap()
    }

    #[test]
    fn a_sampler_is_named_or_described() {
        assert_eq!(parse("fast"), SamplerWords::Named("fast".into()));
        assert_eq!(parse("threshold threshold=0.9 block=8").describe(), "threshold threshold=0.9 block=8");
        assert_eq!(parse("kind=confidence passes=4 temp=1").describe(), "confidence passes=4 temperature=1");
        assert!(SamplerWords::parse(&["confidence".into(), "passes".into()]).is_err());
    }

    #[test]
    fn a_later_value_wins() {
        let mut words = parse("confidence passes=4 block=8");
        words.replace("passes", "6").unwrap();
        assert_eq!(words.describe(), "confidence block=8 passes=6");
        assert!(parse("fast").replace("passes", "1").is_err());
        assert!(SamplerWords::parse(&["confidence passes=4".into(), "steps=8".into()]).is_err());
        assert!(SamplerWords::parse(&["threshold temp=1 temperature=0".into()]).is_err());
    }
}
