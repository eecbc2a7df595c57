//! Words of a command line, as one types them in a shell.

use crate::text::escape::is_acting;

/// The flags that give these settings; `quote` quotes each of them.
#[must_use]
pub(crate) fn format_settings(settings: &[String], quote: impl Fn(&str) -> String) -> String {
    let flags: Vec<_> = settings.iter().map(|setting| format!("--set {}", quote(setting))).collect();
    flags.join(" ")
}

/// A word in single quotes, unless a shell takes it as it is.
#[must_use]
pub(crate) fn quote_word(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-=/:,+%@".contains(letter);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => quote_always(word),
    }
}

/// A word in single quotes, also if it needs none.
#[must_use]
pub(crate) fn quote_always(word: &str) -> String {
    match word.chars().any(is_acting) {
        true => quote_acting_word(word),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// A word for the shells that know `$'...'`, with escapes for characters that would act on the terminal.
fn quote_acting_word(word: &str) -> String {
    let quote = |letter: char| match letter {
        '\'' | '\\' => format!("\\{letter}"),
        _ if is_acting(letter) && letter.is_ascii() => format!("\\x{:02x}", u32::from(letter)),
        _ if is_acting(letter) => format!("\\u{:04x}", u32::from(letter)),
        _ => letter.to_string(),
    };
    format!("$'{}'", word.chars().map(quote).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_quoted_for_a_shell() {
        assert_eq!(quote_word("train.sft.steps=20"), "train.sft.steps=20");
        assert_eq!(quote_word("a.b=it's"), "'a.b=it'\\''s'");
        assert_eq!(quote_word(""), "''");
        let settings = ["a.b=it's".to_owned(), "train.sft.steps=20".to_owned()];
        assert_eq!(format_settings(&settings, quote_word), "--set 'a.b=it'\\''s' --set train.sft.steps=20");
        assert_eq!(
            format_settings(&settings, quote_always),
            "--set 'a.b=it'\\''s' --set 'train.sft.steps=20'"
        );
    }
}
