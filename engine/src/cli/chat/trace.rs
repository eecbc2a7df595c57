//! Shows an answer being written, pass by pass: every token at its place, colored by how probable it was in the pass that wrote it.

use unicode_width::UnicodeWidthStr;

use crate::cli::output::Output;
use crate::run::text::TextStep;
use crate::text::escape::escape_line;

/// What stands for a place that is not written.
const NOISE: &str = "·";

/// Colors of tokens from this probability on: green, yellow, red.
const COLORS: [(f64, &str); 3] = [(0.9, "32"), (0.5, "33"), (0.0, "31")];

/// The canvas as far as it was seen.
#[derive(Clone, Debug)]
pub(super) struct CanvasTrace {
    output: Output,
    /// Text and probability of what is written.
    places: Vec<Option<(String, f64)>>,
    /// Rows that the last drawing took; `None`: passes are told in lines, one below the other.
    drawn: Option<usize>,
}

impl CanvasTrace {
    /// A trace that is drawn in place at a terminal, and told in plain lines elsewhere.
    pub(super) fn new(output: Output) -> Self {
        let drawn = (output.draws_on_stderr() && output.colors_stderr()).then_some(0);
        Self { output, places: Vec::new(), drawn }
    }

    /// Whether passes are drawn over each other.
    pub(super) fn is_drawn(&self) -> bool {
        self.drawn.is_some()
    }

    /// Shows what a pass wrote.
    pub(super) fn see(&mut self, step: &TextStep) {
        for written in &step.written {
            if self.places.len() <= written.place {
                self.places.resize(written.place + 1, None);
            }
            self.places[written.place] =
                written.id.map(|_| (escape_line(&written.text).into_owned(), written.probability));
        }
        if let Some(places) = step.places {
            self.places.resize(places, None);
        }
        match self.drawn {
            None => self.output.message(&format!("pass {}: {}\n", step.pass, self.render_plain())),
            Some(_) => {
                let (text, rows) = self.render_drawn(step.pass, self.output.stderr_size());
                self.erase();
                self.output.draw(&text);
                self.drawn = Some(rows);
            }
        }
    }

    /// Removes the drawing, so that the answer stands in its place.
    pub(super) fn erase(&mut self) {
        if let Some(rows) = self.drawn.replace(0).filter(|rows| *rows > 0) {
            self.output.draw(&format!("\r\x1b[{rows}A\x1b[J"));
        }
    }

    fn render_plain(&self) -> String {
        self.places.iter().map(|place| place.as_ref().map_or(NOISE, |(text, _)| text)).collect()
    }

    /// The colored canvas, and how many rows it takes. Of one that is taller than the terminal, the rows up to the last token.
    fn render_drawn(&self, pass: usize, (columns, height): (usize, usize)) -> (String, usize) {
        let head = format!("pass {pass} ");
        let (mut rows, mut column, mut last) = (vec![format!("\x1b[2m{head}\x1b[0m")], head.len(), 0);
        for place in &self.places {
            let (word, color) = match place {
                None => (NOISE, "2"),
                Some((word, probability)) => (
                    word.as_str(),
                    COLORS.iter().find(|(least, _)| probability >= least).map_or("31", |color| color.1),
                ),
            };
            let width = word.width();
            if column + width >= columns.max(8) {
                rows.push(String::new());
                column = 0;
            }
            if place.is_some() {
                last = rows.len();
            }
            rows.last_mut().expect("the head is a row").push_str(&format!("\x1b[{color}m{word}\x1b[0m"));
            column += width;
        }
        // The cursor stands in a row of its own behind them.
        let height = height.saturating_sub(1).max(1);
        let end = last.max(height).min(rows.len());
        let shown = &rows[end.saturating_sub(height)..end];
        (shown.join("\r\n") + "\r\n", shown.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Color;
    use crate::run::text::WrittenToken;

    fn step(pass: usize, written: &[(usize, &str, f64)]) -> TextStep {
        let written = written.iter().map(|(place, text, probability)| WrittenToken {
            place: *place,
            id: (!text.is_empty()).then_some(1),
            text: (*text).to_owned(),
            probability: *probability,
        });
        TextStep { pass, written: written.collect(), places: None }
    }

    #[test]
    fn places_are_filled_in_any_order_and_taken_back() {
        let mut trace = CanvasTrace { output: Output::new(Color::Never), places: Vec::new(), drawn: None };
        trace.see(&step(1, &[(2, "c", 0.95)]));
        assert_eq!(trace.render_plain(), "··c");
        trace.see(&step(2, &[(0, "a\n", 0.6), (1, "\u{1b}b", 0.1)]));
        assert_eq!(trace.render_plain(), "a\\n\\u{1b}bc");
        let (text, rows) = trace.render_drawn(2, (80, 24));
        assert_eq!(
            (text.as_str(), rows),
            ("\x1b[2mpass 2 \x1b[0m\x1b[33ma\\n\x1b[0m\x1b[31m\\u{1b}b\x1b[0m\x1b[32mc\x1b[0m\r\n", 1)
        );
        let shrunk = TextStep { places: Some(2), ..step(2, &[]) };
        let mut grown = trace.clone();
        grown.see(&shrunk);
        assert_eq!(grown.render_plain(), "a\\n\\u{1b}b");
        grown.see(&TextStep { places: Some(3), ..step(3, &[(1, "", 0.0)]) });
        assert_eq!(grown.render_plain(), "a\\n··");
        trace.see(&step(3, &[(2, "", 0.0)]));
        assert_eq!(trace.render_plain(), "a\\n\\u{1b}b·");
        // Seven columns of the head, then three that fit ten with one to spare.
        assert_eq!(trace.render_drawn(3, (10, 24)).1, 3);
        // Two rows and that of the cursor: the last token that is written is in sight.
        assert_eq!(
            trace.render_drawn(3, (10, 3)),
            ("\x1b[33ma\\n\x1b[0m\r\n\x1b[31m\\u{1b}b\x1b[0m\x1b[2m·\x1b[0m\r\n".to_owned(), 2)
        );
    }
}
