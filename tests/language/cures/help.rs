//! What a help text says to do: alternatives, each of them steps with a snippet to paste.

/// What is done with a snippet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// It is written: in place of what is marked, or beside it.
    Write,
    /// It is taken away.
    Remove,
}

/// One snippet of a help text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) verb: Verb,
    pub(super) snippet: String,
}

/// Words that say what to do with the snippet after them.
const VERBS: &[(&str, Verb)] = &[
    ("write", Verb::Write),
    ("add", Verb::Write),
    ("declare", Verb::Write),
    ("mean", Verb::Write),
    ("as", Verb::Write),
    ("such", Verb::Write),
    ("choose", Verb::Write),
    ("example", Verb::Write),
    ("start", Verb::Write),
    ("run", Verb::Write),
    ("out", Verb::Write),
    ("up:", Verb::Write),
    ("use", Verb::Write),
    ("it:", Verb::Write),
    ("remove", Verb::Remove),
    ("leave", Verb::Remove),
    ("keep", Verb::Remove),
];

/// Words after which a snippet names a place or a thing that exists.
const MENTIONS: &[&str] = &[
    "of",
    "in",
    "by",
    "from",
    "for",
    "rows",
    "dataset",
    "datasets",
    "than",
    "below",
    "above",
    "checkpoint",
    "recipe",
    "mixture",
    "the",
    "after",
    "closing",
    "missing",
    "with",
    "without",
    "one",
    "groups",
    "are",
    "fields",
    "is",
    "declared:",
    "here:",
    "its",
    "to",
    "through",
    "until",
];

/// The words between backticks of a help text, among them the names of nodes.
pub(super) fn read_names(help: &str) -> Vec<&str> {
    help.split('`').skip(1).step_by(2).filter(|name| !name.contains(' ')).collect()
}

/// The alternatives of a help text. None if it is prose.
pub(super) fn read_help(help: &str) -> Vec<Vec<Step>> {
    let mut all = vec![Vec::new()];
    let mut described = false;
    let (mut verb, mut before, mut older, mut joined) = (None, String::new(), String::new(), false);
    let pieces: Vec<&str> = help.split('`').collect();
    for (at, piece) in pieces.iter().enumerate() {
        let after = pieces.get(at + 1).copied().unwrap_or_default();
        if at % 2 == 1 {
            // `from="x"` is a cure wherever it stands; `from=` alone is the name of a field.
            let value = piece.split_once('=').is_some_and(|(_, value)| !value.is_empty());
            let mention = MENTIONS.contains(&before.as_str()) && older != "as" && !value;
            let mention = mention || piece.ends_with('=') && verb != Some(Verb::Remove);
            // `hidden` of `shape` names a place.
            let mention = mention
                || [" of", " in `", " inside"].iter().any(|word| after.starts_with(word))
                    && !piece.contains(['=', ' ']);
            let pasted = (value || piece.contains(['"', ' ', '_'])).then_some(Verb::Write);
            if let Some(verb) = verb.or(pasted).filter(|_| !mention && !piece.is_empty()) {
                let steps: &mut Vec<Step> = all.last_mut().expect("never empty");
                match steps.last_mut().filter(|_| joined) {
                    // Lines that belong together are pasted together.
                    Some(last) => last.snippet += &format!("\n{piece}"),
                    None => steps.push(Step { verb, snippet: (*piece).to_owned() }),
                }
            }
            before = String::new();
            if after.starts_with(": ") {
                // A description of what the snippet is.
                verb = None;
                described = true;
            }
            continue;
        }
        joined = piece.trim().is_empty();
        for word in piece.split_whitespace() {
            older = std::mem::replace(&mut before, word.to_lowercase());
            described &= !matches!(before.as_str(), "add" | "write");
            if described {
                continue;
            }
            if let Some((_, found)) = VERBS.iter().find(|(name, _)| *name == before) {
                verb = Some(*found);
            }
            if matches!(before.as_str(), "or" | "or," | ",") && verb.is_some() {
                all.push(Vec::new());
            }
            if word.ends_with([';', '.', ':']) && !VERBS.iter().any(|(name, _)| *name == before) {
                verb = None;
            }
        }
    }
    all.retain(|steps| !steps.is_empty());
    if ["keep one", "remove it", "remove one", "remove this"].iter().any(|start| help.starts_with(start)) {
        all = vec![vec![Step { verb: Verb::Remove, snippet: String::new() }]];
    }
    all
}
