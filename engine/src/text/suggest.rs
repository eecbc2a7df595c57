//! Did you mean: names that are close to what was written.

use strsim::damerau_levenshtein;

/// A word in the form names have here: lower case, `-` for `_`, no `:` at the end.
#[must_use]
pub fn normalise_name(word: &str) -> String {
    word.trim_end_matches(':').to_lowercase().replace('_', "-")
}

/// The candidate closest to `word`, if any is close.
pub fn find_closest_name<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = normalise_name(word);
    let allowed = word.chars().count().max(3) / 3;
    let scored = candidates.map(|name| (damerau_levenshtein(&word, &normalise_name(name)), name));
    scored
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `did you mean ...?`, or the list of what is possible, or nothing.
pub fn suggest_names<'a>(word: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(name) = find_closest_name(word, candidates.clone()) {
        return Some(format!("did you mean `{name}`?"));
    }
    let names = format_name_list(candidates);
    (!names.is_empty()).then(|| format!("possible here: {names}"))
}

/// At most twenty names in backticks, with commas.
pub fn format_name_list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    let shown = names[..names.len().min(20)].join(", ");
    if names.len() > 20 { format!("{shown}, and {} more", names.len() - 20) } else { shown }
}

/// `a` or `an`, whichever the word takes.
#[must_use]
pub fn choose_article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_names_are_found() {
        let names = ["pretrain", "midtrain", "sft"];
        assert_eq!(find_closest_name("pretrian", names.into_iter()), Some("pretrain"));
        assert_eq!(find_closest_name("SFT:", names.into_iter()), Some("sft"));
        assert_eq!(find_closest_name("evaluate", names.into_iter()), None);
    }
}
