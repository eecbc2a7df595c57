//! What was changed in a stage, in the words of the language.

use std::fmt::Display;

use indexmap::IndexMap;

/// The changes of one stage, for one line, and whole lines about what it reads.
#[derive(Debug, Default)]
pub(super) struct Changes {
    settings: Vec<String>,
    lines: Vec<String>,
}

impl Changes {
    /// Lowers a number to `most`, if it is larger.
    pub(super) fn lower<N: PartialOrd + Copy + Display>(&mut self, name: &str, value: &mut N, most: N) {
        if *value > most {
            self.set(name, value, most);
        }
    }

    /// As [`Self::lower`], of a number that may be absent.
    pub(super) fn lower_some<N: PartialOrd + Copy + Display>(
        &mut self,
        name: &str,
        value: &mut Option<N>,
        most: N,
    ) {
        if let Some(value) = value {
            self.lower(name, value, most);
        }
    }

    /// Replaces a number, if it is another one.
    pub(super) fn set<N: PartialEq + Copy + Display>(&mut self, name: &str, value: &mut N, new: N) {
        if *value != new {
            self.say(format!("{name} {new} instead of {value}"));
            *value = new;
        }
    }

    /// Adds words to the line of the stage.
    pub(super) fn say(&mut self, words: String) {
        if !self.settings.contains(&words) {
            self.settings.push(words);
        }
    }

    /// Adds a line of its own.
    pub(super) fn tell(&mut self, line: String) {
        self.lines.push(line);
    }
}

/// The lines of all stages.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    lines: Vec<String>,
    /// Stages by what is changed in them.
    settings: IndexMap<String, Vec<String>>,
}

impl Replaced {
    pub(super) fn add(&mut self, stage: &str, changes: Changes) {
        for line in changes.lines {
            // Several stages may read one dataset.
            if !self.lines.contains(&line) {
                self.lines.push(line);
            }
        }
        if !changes.settings.is_empty() {
            self.settings.entry(changes.settings.join(", ")).or_default().push(format!("`{stage}`"));
        }
    }

    /// A line for each thing that is replaced, then one for all stages with the same changes.
    pub(super) fn describe(self) -> Vec<String> {
        let settings =
            self.settings.into_iter().map(|(words, stages)| format!("{}: {words}", stages.join(", ")));
        self.lines.into_iter().chain(settings).collect()
    }
}
