//! Tables for people. They fit the terminal that they are printed on: paths are shortened in the middle, sentences go on in the next line,
//! and a table of many numbers becomes several. No word is broken. Without a terminal they are as wide as they have to be, for programs.

use std::sync::atomic::{AtomicUsize, Ordering};

use comfy_table::{ContentArrangement, Table, presets};
use unicode_width::UnicodeWidthStr;

use crate::text::escape::escape_line;

/// Columns between two columns of a table.
const GAP: usize = 2;

/// A cell of at most so many columns stays in one line: a number with its unit is no sentence.
const SHORT: usize = 24;

/// Columns of the terminal of this process; 0: it has none. All tables of a process go there.
static COLUMNS: AtomicUsize = AtomicUsize::new(0);

/// Lets all tables from now on fit a terminal with so many columns.
pub(crate) fn fit_tables(columns: usize) {
    COLUMNS.store(columns, Ordering::Relaxed);
}

/// Columns that what is printed may have; `None`: there is no terminal.
pub(crate) fn find_columns() -> Option<usize> {
    Some(COLUMNS.load(Ordering::Relaxed)).filter(|columns| *columns > 0)
}

/// A table without rules: columns are two spaces apart, and no line has trailing spaces. On a terminal it fits.
#[must_use]
pub(crate) fn render_table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    render_table_within(head, &rows, find_columns())
}

/// As [`render_table`], for a terminal with so many columns; `None`: a cell is one line, however long.
fn render_table_within(head: &[&str], rows: &[Vec<String>], columns: Option<usize>) -> String {
    let escape = |cell: &str| escape_line(cell).into_owned();
    let head = head.iter().map(|cell| escape(cell)).collect();
    let rows = rows.iter().map(|row| row.iter().map(|cell| escape(cell)).collect()).collect();
    let cells = Cells { head, rows };
    match columns.filter(|columns| total(&cells.natural_widths()) > *columns) {
        None => cells.draw(None),
        Some(columns) => {
            let parts: Vec<String> =
                cells.split(columns).iter().map(|part| part.draw(Some(columns))).collect();
            parts.join("\n")
        }
    }
}

/// The cells of a table, escaped; every row has as many as the head.
struct Cells {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Cells {
    /// The widths of each column: that of the head first.
    fn measure(&self, head: impl Fn(&str) -> usize, cell: impl Fn(&str) -> usize) -> Vec<usize> {
        let of = |(at, title): (usize, &String)| {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|text| cell(text));
            cells.fold(head(title), usize::max)
        };
        self.head.iter().enumerate().map(of).collect()
    }

    fn natural_widths(&self) -> Vec<usize> {
        self.measure(width, width)
    }

    fn least_widths(&self) -> Vec<usize> {
        self.measure(
            longest_word,
            |cell| if is_sentence(cell) { longest_word(cell) } else { least_width(cell) },
        )
    }

    /// The table as several ones that fit: each has the first column, and as many of the others as there is room for.
    fn split(self, columns: usize) -> Vec<Self> {
        let least = self.least_widths();
        let mut parts: Vec<Vec<usize>> = vec![vec![0]];
        for at in 1..least.len() {
            let last = parts.last_mut().expect("there is a first part");
            let with: Vec<usize> = last.iter().chain([&at]).map(|at| least[*at]).collect();
            match total(&with) > columns && last.len() > 1 {
                true => parts.push(vec![0, at]),
                false => last.push(at),
            }
        }
        if let [_] = parts.as_slice() {
            return vec![self];
        }
        let pick =
            |row: &Vec<String>, part: &[usize]| part.iter().filter_map(|at| row.get(*at).cloned()).collect();
        let part = |part: &Vec<usize>| Self {
            head: pick(&self.head, part),
            rows: self.rows.iter().map(|row| pick(row, part)).collect(),
        };
        parts.iter().map(part).collect()
    }

    /// Widths of the columns that fit, if that is possible: paths become shorter first, then sentences longer.
    fn fit_widths(&self, columns: usize) -> Vec<usize> {
        let (mut widths, least) = (self.natural_widths(), self.least_widths());
        let cells = |at: usize| self.rows.iter().filter_map(move |row| row.get(at));
        let has_path: Vec<bool> = (0..widths.len()).map(|at| cells(at).any(|cell| is_path(cell))).collect();
        for paths_only in [true, false] {
            while total(&widths) > columns {
                let shrinks = |at: &usize| widths[*at] > least[*at] && (!paths_only || has_path[*at]);
                let Some(widest) = (0..widths.len()).filter(shrinks).max_by_key(|at| widths[*at]) else {
                    break;
                };
                widths[widest] -= 1;
            }
        }
        widths
    }

    fn draw(&self, columns: Option<usize>) -> String {
        let widths = columns.map(|columns| self.fit_widths(columns));
        let fit = |row: &Vec<String>| {
            let cells = row.iter().enumerate();
            let cells = cells
                .map(|(at, cell)| widths.as_ref().map_or(cell.clone(), |widths| fit_cell(cell, widths[at])));
            cells.collect::<Vec<_>>()
        };
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(fit(&self.head));
        table.add_rows(self.rows.iter().map(fit));
        for column in table.column_iter_mut() {
            column.set_padding((0, GAP as u16));
        }
        let text = table.to_string();
        text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

fn width(text: &str) -> usize {
    text.width()
}

/// Columns of a table whose columns are so wide.
fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

/// Whether a word can be shortened in its middle: a path, or an address.
fn is_path(word: &str) -> bool {
    width(word) > SHORT && word.contains('/') && !word.contains(' ')
}

/// Whether a cell may go on in the next line. A row of numbers may not.
fn is_sentence(cell: &str) -> bool {
    let is_number = |word: &&str| word.starts_with(|letter: char| letter.is_ascii_digit());
    let (numbers, words) =
        (cell.split_whitespace().filter(is_number).count(), cell.split_whitespace().count());
    width(cell) > SHORT && words > 1 && 2 * numbers <= words
}

/// The least columns of a word, which is not broken.
fn least_width(word: &str) -> usize {
    if is_path(word) { width(&shorten_path(word, 0)) } else { width(word) }
}

fn longest_word(text: &str) -> usize {
    text.split(' ').map(least_width).max().unwrap_or(0)
}

/// A cell in lines of at most `most` columns.
fn fit_cell(cell: &str, most: usize) -> String {
    if width(cell) <= most {
        return cell.to_owned();
    }
    let shorten = |word: &str| match width(word) > most && is_path(word) {
        true => shorten_path(word, most),
        false => word.to_owned(),
    };
    let words: Vec<String> = cell.split(' ').map(shorten).collect();
    // Lines break at spaces only, as in drawings.
    let options = textwrap::Options::new(most)
        .break_words(false)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit);
    textwrap::wrap(words.join(" ").trim_start(), options).join("\n")
}

/// A path with its beginning and its end, and as much of what is before its end as there is room for: `.fmflow/…/ar-0123456789ab`. The
/// name at its end is kept whole.
fn shorten_path(path: &str, most: usize) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    // An absolute path begins with an empty part.
    let kept = if parts.first().is_some_and(|first| first.is_empty()) { 2 } else { 1 };
    let head = parts[..kept.min(parts.len())].join("/");
    let tails = (kept + 1..parts.len()).map(|from| parts[from..].join("/"));
    let mut candidates: Vec<String> = tails.clone().map(|tail| format!("{head}/…/{tail}")).collect();
    candidates.extend(tails.map(|tail| format!("…/{tail}")));
    let fits = candidates.iter().find(|shorter| width(shorter) <= most);
    fits.or(candidates.last()).cloned().unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn a_path_keeps_its_ends() {
        let path = ".fmflow/artifacts/likelihood-0123456789ab";
        assert_eq!(shorten_path(path, 40), ".fmflow/…/likelihood-0123456789ab");
        assert_eq!(shorten_path(path, 30), "…/likelihood-0123456789ab");
        assert_eq!(shorten_path(path, 5), "…/likelihood-0123456789ab", "a name is not broken");
        assert_eq!(shorten_path("/home/me/models/ar/model.safetensors", 30), "/home/…/ar/model.safetensors");
    }

    #[test]
    fn paths_shrink_before_sentences_and_no_word_is_broken() {
        let table = rows(&[
            &["ar", "finished", "loss 2.345, exact on held-out prose", ".fmflow/artifacts/ar-0123456789ab"],
            &["flow", "missing", "upstream `ar` changed", ""],
        ]);
        let head = ["stage", "state", "result", "artifact"];
        let wide = [
            "stage  state     result                               artifact",
            "ar     finished  loss 2.345, exact on held-out prose  .fmflow/…/ar-0123456789ab",
            "flow   missing   upstream `ar` changed",
        ];
        assert_eq!(render_table_within(&head, &table, Some(80)).lines().collect::<Vec<_>>(), wide);
        let narrow = [
            "stage  state     result                 artifact",
            "ar     finished  loss 2.345, exact on   …/ar-0123456789ab",
            "                 held-out prose",
            "flow   missing   upstream `ar` changed",
        ];
        assert_eq!(render_table_within(&head, &table, Some(60)).lines().collect::<Vec<_>>(), narrow);
    }

    #[test]
    fn a_table_of_many_numbers_becomes_several() {
        let table = rows(&[&["pretrain", "400000", "52.4G", "1.03G"], &["sft", "2000", "65.5M", "1.03G"]]);
        let drawn = render_table_within(&["training", "updates", "tokens", "FLOP/token"], &table, Some(30));
        let parts = [
            "training  updates  tokens",
            "pretrain  400000   52.4G",
            "sft       2000     65.5M",
            "",
            "training  FLOP/token",
            "pretrain  1.03G",
            "sft       1.03G",
        ];
        assert_eq!(drawn.lines().collect::<Vec<_>>(), parts);
        // A row of numbers is no sentence.
        assert!(
            !is_sentence("0  1.60e-4  1.91e-3  1.30e-3") && is_sentence("upstream `pretrain` has changed")
        );
    }

    #[test]
    fn without_a_terminal_a_cell_is_one_line() {
        let long = "word ".repeat(60);
        let drawn = render_table_within(&["a", "b"], &rows(&[&["x", &long]]), None);
        assert_eq!(drawn.lines().count(), 2);
        assert_eq!(drawn, render_table(&["a", "b"], rows(&[&["x", &long]])));
    }

    proptest::proptest! {
        /// Whatever the cells are, every word is whole or a shortened path, and lines fit if the words do.
        #[test]
        fn words_stay_whole(
            cells in proptest::collection::vec(proptest::collection::vec("[a-z]{1,9}( [a-z]{1,9}){0,9}", 4), 1..4),
            columns in 20_usize..120,
        ) {
            let drawn = render_table_within(&["one", "two", "three", "four"], &cells, Some(columns));
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
            let all: String = cells.iter().flatten().fold("one two three four".to_owned(), |all, cell| all + " " + cell);
            proptest::prop_assert_eq!(words(&drawn), words(&all));
            for line in drawn.lines() {
                // Two columns of the shortest words may be wider than the terminal.
                proptest::prop_assert!(width(line) <= columns.max(2 * SHORT + GAP), "{}", line);
            }
        }
    }
}
