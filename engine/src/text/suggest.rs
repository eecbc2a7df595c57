//! Did you mean: names that are close to what was written.

use strsim::damerau_levenshtein;

/// A word in the form names have here: lower case, `-` for `_`, no `:` at the end.
#[must_use]
pub fn normal(word: &str) -> String {
    word.trim_end_matches(':').to_lowercase().replace('_', "-")
}

/// The candidate closest to `word`, if any is close.
pub fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = normal(word);
    let allowed = word.chars().count().max(3) / 3;
    let scored = candidates.map(|name| (damerau_levenshtein(&word, &normal(name)), name));
    scored
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `did you mean ...?`, or the list of what is possible, or nothing.
pub fn help<'a>(word: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(name) = closest(word, candidates.clone()) {
        return Some(format!("did you mean `{name}`?"));
    }
    let names = list(candidates);
    (!names.is_empty()).then(|| format!("possible here: {names}"))
}

/// At most twenty names in backticks, with commas.
pub fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    let shown = names.get(..names.len().min(20)).unwrap_or_default().join(", ");
    if names.len() > 20 { format!("{shown}, and {} more", names.len() - 20) } else { shown }
}

/// `a` or `an`, whichever the word takes.
#[must_use]
pub fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_names_are_found() {
        let names = ["pretrain", "midtrain", "sft"];
        assert_eq!(closest("pretrian", names.into_iter()), Some("pretrain"));
        assert_eq!(closest("SFT:", names.into_iter()), Some("sft"));
        assert_eq!(closest("evaluate", names.into_iter()), None);
    }
}
