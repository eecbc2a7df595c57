//! The numbers of a stage's metrics: as a table for other programs, and as curves in a terminal.

use std::collections::BTreeMap;

use indexmap::{IndexMap, IndexSet};
use serde_json::{Number, Value};

/// Rows of a curve in the terminal.
const ROWS: usize = 8;

/// Dots of a character of braille: columns and rows.
const DOTS: (usize, usize) = (2, 4);

/// Curves that are drawn, by the beginning of their names, in this order.
const DRAWN: [&str; 11] = [
    "loss_unweighted",
    "held_out_loss/",
    "retention_kl/",
    "teacher_kl",
    "probe/exact_match/",
    "probe/benchmark/",
    "learning_rate",
    "grad_norm",
    "tokens_per_second",
    "mfu",
    "peak_memory_gib",
];

/// Every number of the metrics by update and name; names inside others are joined by `/`. Lines about the guard are no
/// measurements and are left out.
pub(super) struct Curves(BTreeMap<u64, IndexMap<String, Number>>);

impl Curves {
    /// Reads lines of metrics.
    pub(super) fn parse(lines: &[String]) -> Self {
        let mut updates: BTreeMap<u64, IndexMap<String, Number>> = BTreeMap::new();
        for line in lines {
            let Ok(Value::Object(fields)) = serde_json::from_str(line) else { continue };
            let Some(step) = fields.get("step").and_then(Value::as_u64) else { continue };
            if fields.contains_key("guard") {
                continue;
            }
            let row = updates.entry(step).or_default();
            let others = fields.iter().filter(|(name, _)| *name != "step");
            others.for_each(|(name, value)| collect_numbers(name, value, row));
        }
        Self(updates)
    }

    /// Names in the order of their first appearance.
    fn names(&self) -> IndexSet<&str> {
        self.0.values().flat_map(|row| row.keys().map(String::as_str)).collect()
    }

    /// A table with a line for each update; a number that was not measured then is empty.
    #[must_use]
    pub(super) fn render_csv(&self) -> String {
        let names = self.names();
        let quote = |name: &&str| match name.contains([',', '"', '\n']) {
            true => format!("\"{}\"", name.replace('"', "\"\"")),
            false => (*name).to_owned(),
        };
        let head: Vec<String> = std::iter::once("step".to_owned()).chain(names.iter().map(quote)).collect();
        let mut text = head.join(",") + "\n";
        for (step, row) in &self.0 {
            text += &step.to_string();
            for name in &names {
                text += ",";
                text += &row.get(*name).map(Number::to_string).unwrap_or_default();
            }
            text += "\n";
        }
        text
    }

    /// Curves of losses, learning rate, gradient norm, speed and memory, `columns` wide.
    #[must_use]
    pub(super) fn render_plot(&self, columns: usize) -> String {
        let names = self.names();
        let drawn = DRAWN.iter().flat_map(|drawn| {
            let is_drawn =
                move |name: &str| name == *drawn || drawn.ends_with('/') && name.starts_with(drawn);
            names.iter().filter(move |name| is_drawn(name))
        });
        drawn.map(|name| self.draw(name, columns)).collect::<Vec<_>>().join("\n")
    }

    fn draw(&self, name: &str, columns: usize) -> String {
        let point = |(step, row): (&u64, &IndexMap<String, Number>)| Some((*step, row.get(name)?.as_f64()?));
        let points: Vec<(u64, f64)> = self.0.iter().filter_map(point).collect();
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return String::new() };
        let head =
            format!("{name}: {} at update {}, {} at update {}", show(first.1), first.0, show(last.1), last.0);
        let (low, high) = find_range(&points);
        let labels = [show(high), show(low)];
        let width = labels.iter().map(String::len).max().unwrap_or(0);
        let rows = draw_dots(&points, (low, high), columns.saturating_sub(width + 2).max(8));
        let label = |at: usize| match at {
            0 => labels[0].as_str(),
            _ if at + 1 == ROWS => labels[1].as_str(),
            _ => "",
        };
        let rows =
            rows.iter().enumerate().map(|(at, row)| format!("{:>width$} ┤{}", label(at), row.trim_end()));
        format!("{head}\n{}\n", rows.collect::<Vec<_>>().join("\n"))
    }
}

fn collect_numbers(name: &str, value: &Value, row: &mut IndexMap<String, Number>) {
    match value {
        Value::Number(number) => drop(row.insert(name.to_owned(), number.clone())),
        Value::Object(fields) => {
            fields.iter().for_each(|(inner, value)| collect_numbers(&format!("{name}/{inner}"), value, row));
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(at, value)| collect_numbers(&format!("{name}/{at}"), value, row));
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Smallest and largest value.
fn find_range(points: &[(u64, f64)]) -> (f64, f64) {
    let values = || points.iter().map(|(_, value)| *value);
    (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
}

/// A number in few characters.
fn show(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if (1e-2..1e4).contains(&size) => format!("{value:.3}"),
        _ => format!("{value:.2e}"),
    }
}

/// The means of equal parts of the updates as dots of braille, with lines between neighbors.
fn draw_dots(points: &[(u64, f64)], (low, high): (f64, f64), columns: usize) -> Vec<String> {
    let heights = bin_heights(points, (low, high), columns * DOTS.0);
    let mut cells = vec![vec![0u8; columns]; ROWS];
    let mut before = None;
    for (x, height) in heights.iter().enumerate() {
        let Some(height) = *height else { continue };
        let from = before.unwrap_or(height);
        for y in from.min(height)..=from.max(height) {
            let down = ROWS * DOTS.1 - 1 - y;
            cells[down / DOTS.1][x / DOTS.0] |= braille_bit(x % DOTS.0, down % DOTS.1);
        }
        before = Some(height);
    }
    let character =
        |bits: &u8| if *bits == 0 { ' ' } else { char::from_u32(0x2800 + u32::from(*bits)).unwrap_or(' ') };
    cells.iter().map(|row| row.iter().map(character).collect()).collect()
}

/// The height of each of `bins` parts, in dots from below; `None` where nothing was measured.
fn bin_heights(points: &[(u64, f64)], (low, high): (f64, f64), bins: usize) -> Vec<Option<usize>> {
    let (first, last) = (points[0].0, points[points.len() - 1].0);
    let span = (last - first).max(1) as f64;
    let mut sums = vec![(0.0, 0u64); bins];
    for (step, value) in points {
        let bin = ((step - first) as f64 / span * (bins - 1) as f64).round() as usize;
        sums[bin].0 += value;
        sums[bin].1 += 1;
    }
    let top = (ROWS * DOTS.1 - 1) as f64;
    let height = |(sum, count): &(f64, u64)| {
        let share = if high > low { (sum / *count as f64 - low) / (high - low) } else { 0.5 };
        (*count > 0).then(|| (share * top).round() as usize)
    };
    sums.iter().map(height).collect()
}

/// The bit of a dot of braille, which Unicode numbers by columns, with the lowest row added later.
fn braille_bit(x: usize, y: usize) -> u8 {
    const BITS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
    BITS[x][y]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<String> {
        let line = |step: u64| {
            let loss = 5.0 - 0.1 * step as f64;
            format!(
                r#"{{"step":{step},"loss_unweighted":{loss},"tokens_by_dataset":{{"a,b":{step}}},"bands":[1,2.5]}}"#
            )
        };
        let mut lines: Vec<String> = (0..40).map(line).collect();
        lines.push(r#"{"step":39,"held_out_loss":{"text":1.25}}"#.into());
        lines.push(r#"{"step":3,"guard":"rewind","from":9,"why":"x"}"#.into());
        lines.push(
            r#"{"step":9,"probe":{"samples":[{"prompt":"x","text":"y"}],"exact_match/tasks":0.5}}"#.into(),
        );
        lines
    }

    #[test]
    fn a_table_has_every_number_of_an_update_in_one_line() {
        let csv = Curves::parse(&lines()).render_csv();
        let rows: Vec<&str> = csv.lines().collect();
        assert_eq!(rows.len(), 41);
        assert_eq!(
            rows[0],
            "step,loss_unweighted,\"tokens_by_dataset/a,b\",bands/0,bands/1,probe/exact_match/tasks,held_out_loss/text"
        );
        assert_eq!(rows[1], "0,5,0,1,2.5,,");
        assert_eq!(rows[10], "9,4.1,9,1,2.5,0.5,");
        assert!(rows[40].ends_with(",39,1,2.5,,1.25"), "{}", rows[40]);
        assert_eq!(Curves::parse(&[]).render_csv(), "step\n");
    }

    #[test]
    fn a_falling_curve_falls() {
        let plot = Curves::parse(&lines()).render_plot(60);
        let lines: Vec<&str> = plot.lines().collect();
        assert_eq!(lines[0], "loss_unweighted: 5.000 at update 0, 1.100 at update 39");
        assert!(lines[1].starts_with("5.000 ┤") && !lines[1].starts_with("5.000 ┤ "), "{plot}");
        assert!(lines[ROWS].starts_with("1.100 ┤ "), "{plot}");
        assert_eq!(lines[ROWS].chars().count(), 60, "the last update is at the right end");
        let ends = lines[1..=ROWS].iter().map(|line| line.chars().count());
        assert!(ends.is_sorted(), "{plot}");
        assert!(plot.contains("held_out_loss/text: 1.250 at update 39"), "{plot}");
        let heights = bin_heights(&[(0, 3.0), (5, 2.0), (10, 1.0)], (1.0, 3.0), 11);
        assert_eq!((heights[0], heights[5], heights[10]), (Some(31), Some(16), Some(0)));
        assert_eq!(heights.iter().flatten().count(), 3);
        assert_eq!(bin_heights(&[(4, 2.0)], (2.0, 2.0), 4)[0], Some(16), "one value has no range");
    }
}
