//! Line charts as inline SVG. Colors are classes, so that the page's light and dark styles apply; every line is labeled where it ends.
//!
//! No plotting library: those write their colors into the drawing, and one drawing could not be both light and dark.

use std::fmt::Write as _;

use super::markup::{escape_markup, format_number, shorten};

/// Size of a chart in its own units, which are pixels where it is shown at full size.
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 220.0;
/// Around the plot.
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;
const LEFT: f64 = 46.0;
/// Width of a letter of the labels.
const LETTER: f64 = 6.3;
/// Letters of the longest label.
const LONGEST: usize = 15;
/// Distance of two labels.
const LINE_HEIGHT: f64 = 13.0;

/// A chart over updates.
#[derive(Clone, Debug, Default)]
pub(super) struct LineChart {
    /// What is drawn.
    pub title: String,
    /// Unit, or how to read it.
    pub note: String,
    /// The lines; those that come first get the stronger colors.
    pub lines: Vec<ChartLine>,
    /// Whether the vertical axis is logarithmic.
    pub logarithmic: bool,
    /// Whether the vertical axis begins at 0.
    pub from_zero: bool,
    /// Updates at which something happened, with a word for it.
    pub marks: Vec<(u64, String)>,
    /// The last update of the stage, so that charts of a stage share their axis.
    pub end: u64,
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub(super) struct ChartLine {
    /// The label at its end.
    pub label: String,
    /// Updates and values.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub form: LineForm,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineForm {
    /// Measured at every update.
    Solid,
    /// Thin: beside another line that matters more.
    Thin,
    /// Planned and not measured.
    Planned,
    /// Measured now and then.
    Dots,
}

impl LineForm {
    fn class(self) -> &'static str {
        match self {
            Self::Solid | Self::Dots => "line",
            Self::Thin => "line thin",
            Self::Planned => "line planned",
        }
    }
}

/// From values to places in the drawing.
struct ChartScale {
    low: f64,
    high: f64,
    logarithmic: bool,
    end: f64,
    right: f64,
}

impl ChartScale {
    fn x(&self, update: f64) -> f64 {
        LEFT + (self.right - LEFT) * update / self.end
    }

    fn y(&self, value: f64) -> f64 {
        let place = |value: f64| if self.logarithmic { value.log10() } else { value };
        let share = (place(value) - place(self.low)) / (place(self.high) - place(self.low));
        HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share
    }
}

impl LineChart {
    /// The chart as an `svg` element; `None` if there is nothing to draw.
    #[must_use]
    pub(super) fn render(&self) -> Option<String> {
        let lines: Vec<ChartLine> = self.lines.iter().map(|line| self.without_unshown(line)).collect();
        let lines: Vec<&ChartLine> = lines.iter().filter(|line| !line.points.is_empty()).collect();
        let scale = self.find_scale(&lines)?;
        let mut svg = format!(
            "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escape_markup(&self.describe(&lines))
        );
        self.draw_axes(&scale, &mut svg);
        self.draw_marks(&scale, &mut svg);
        for (at, line) in lines.iter().enumerate().rev() {
            draw_line(line, at, &scale, &mut svg);
        }
        draw_labels(&lines, &scale, &mut svg);
        svg += "</svg>";
        Some(svg)
    }

    /// A line without points that the axis cannot show.
    fn without_unshown(&self, line: &ChartLine) -> ChartLine {
        // Larger ones leave no room for a scale.
        let shown = |(_, y): &(f64, f64)| y.abs() < 1e300 && (!self.logarithmic || *y > 0.0);
        ChartLine { points: line.points.iter().copied().filter(shown).collect(), ..line.clone() }
    }

    fn find_scale(&self, lines: &[&ChartLine]) -> Option<ChartScale> {
        let points = || lines.iter().flat_map(|line| &line.points);
        let low = points().map(|(_, y)| *y).min_by(f64::total_cmp)?;
        let high = points().map(|(_, y)| *y).max_by(f64::total_cmp)?;
        let last = points().map(|(x, _)| *x).fold(self.end as f64, f64::max);
        let (low, high) = match (self.logarithmic, self.from_zero) {
            (true, _) => (low / 1.25, high * 1.25),
            (false, true) => (0.0, if high > 0.0 { high * 1.05 } else { 1.0 }),
            (false, false) if low == high => {
                (low - low.abs().max(1e-9) * 0.5, high + high.abs().max(1e-9) * 0.5)
            }
            (false, false) => (low - (high - low) * 0.04, high + (high - low) * 0.04),
        };
        let letters = lines.iter().map(|line| line.label.chars().count().min(LONGEST)).max().unwrap_or(0);
        let right = WIDTH - 10.0 - LETTER * letters as f64;
        Some(ChartScale { low, high, logarithmic: self.logarithmic, end: last.max(1.0), right })
    }

    /// The chart in words, for those who do not see it.
    fn describe(&self, lines: &[&ChartLine]) -> String {
        let of = |line: &&ChartLine| {
            let (first, last) = (line.points[0], line.points[line.points.len() - 1]);
            let (from, to) = (format_number(first.1), format_number(last.1));
            format!("{}: {from} at update {:.0}, {to} at update {:.0}", line.label, first.0, last.0)
        };
        format!("{}. {}", self.title, lines.iter().map(of).collect::<Vec<_>>().join("; "))
    }

    fn draw_axes(&self, scale: &ChartScale, svg: &mut String) {
        for tick in find_ticks(scale.low, scale.high, self.logarithmic) {
            let y = scale.y(tick);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text class=\"tick y\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                scale.right,
                LEFT - 6.0,
                y + 3.8,
                format_tick(tick)
            );
        }
        for (at, tick) in find_ticks(0.0, scale.end, false).into_iter().enumerate() {
            let unit = if at == 0 { "update " } else { "" };
            let anchor = if at == 0 { " start" } else { "" };
            let _ = write!(
                svg,
                "<text class=\"tick x{anchor}\" x=\"{:.1}\" y=\"{:.1}\">{unit}{}</text>",
                scale.x(tick),
                HEIGHT - 8.0,
                format_tick(tick)
            );
        }
        let _ = write!(svg, "<path class=\"axis\" d=\"M{LEFT} {:.1}H{:.1}\"/>", HEIGHT - BOTTOM, scale.right);
    }

    fn draw_marks(&self, scale: &ChartScale, svg: &mut String) {
        for (update, word) in &self.marks {
            let x = scale.x(*update as f64);
            let _ = write!(
                svg,
                "<path class=\"mark\" d=\"M{x:.1} {TOP}V{:.1}\"><title>{} at update {update}</title></path>",
                HEIGHT - BOTTOM,
                escape_markup(word)
            );
        }
    }
}

fn draw_line(line: &ChartLine, color: usize, scale: &ChartScale, svg: &mut String) {
    let color = color % 6;
    let mut path = String::new();
    for (at, (x, y)) in line.points.iter().enumerate() {
        let word = if at == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{word}{:.1} {:.1}", scale.x(*x), scale.y(*y));
    }
    if line.points.len() > 1 {
        let _ = write!(svg, "<path class=\"{} c{color}\" d=\"{path}\"/>", line.form.class());
    }
    // A single value is no line, and measurements that are far apart are shown as what they are.
    if line.points.len() == 1 || line.form == LineForm::Dots {
        for (x, y) in &line.points {
            let (x, y) = (scale.x(*x), scale.y(*y));
            let _ = write!(svg, "<circle class=\"dot c{color}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\"/>");
        }
    }
}

/// The names of the lines at their ends, moved apart where they would overlap.
fn draw_labels(lines: &[&ChartLine], scale: &ChartScale, svg: &mut String) {
    let mut places: Vec<(usize, f64)> = lines
        .iter()
        .enumerate()
        .map(|(at, line)| (at, scale.y(line.points[line.points.len() - 1].1)))
        .collect();
    places.sort_by(|a, b| a.1.total_cmp(&b.1));
    for at in 1..places.len() {
        places[at].1 = places[at].1.max(places[at - 1].1 + LINE_HEIGHT);
    }
    let mut below = HEIGHT - BOTTOM;
    for place in places.iter_mut().rev() {
        place.1 = place.1.min(below);
        below = place.1 - LINE_HEIGHT;
    }
    for (at, y) in places {
        let _ = write!(
            svg,
            "<text class=\"label c{}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            at % 6,
            scale.right + 6.0,
            y + 3.8,
            escape_markup(&shorten(&lines[at].label, LONGEST))
        );
    }
}

/// Round numbers from `low` to `high`, about four; powers of ten if that is enough of them on a logarithmic axis.
pub(super) fn find_ticks(low: f64, high: f64, logarithmic: bool) -> Vec<f64> {
    if logarithmic {
        let (first, last) = (low.log10().ceil() as i32, high.log10().floor() as i32);
        let stride = ((last - first) / 4).max(0) as usize + 1;
        let decades: Vec<f64> = (first..=last).step_by(stride).map(|power| 10f64.powi(power)).collect();
        if decades.len() >= 2 {
            return decades;
        }
    }
    let rough = (high - low) / 4.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * power >= rough).unwrap_or(10.0) * power;
    let first = (low / step).ceil() as i64;
    (first..).map(|at| at as f64 * step).take_while(|tick| *tick <= high + step * 1e-9).collect()
}

/// The number of a tick. Ticks are round, so few digits say all.
pub(super) fn format_tick(value: f64) -> String {
    let size = value.abs();
    match size {
        0.0 => "0".to_owned(),
        _ if size >= 1e6 => format!("{}M", trim_zeros(value / 1e6)),
        _ if size >= 1e4 => format!("{}K", trim_zeros(value / 1e3)),
        _ if size < 1e-3 => format!("{value:.0e}"),
        _ => trim_zeros(value),
    }
}

fn trim_zeros(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(label: &str, points: &[(f64, f64)]) -> ChartLine {
        ChartLine { label: label.into(), points: points.to_vec(), form: LineForm::Solid }
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(find_ticks(0.0, 400.0, false), [0.0, 100.0, 200.0, 300.0, 400.0]);
        assert_eq!(find_ticks(1.9, 7.1, false), [2.0, 4.0, 6.0]);
        assert_eq!(find_ticks(0.02, 300.0, true), [0.1, 1.0, 10.0, 100.0]);
        assert_eq!(find_ticks(2.0, 8.0, true), [2.0, 4.0, 6.0, 8.0], "less than two decades");
        assert_eq!(
            [0.0, 0.25, 3.0, 20_000.0, 2e6, 5e-4].map(format_tick),
            ["0", "0.25", "3", "20K", "2M", "5e-4"]
        );
    }

    #[test]
    fn a_line_is_drawn_where_its_values_are() {
        let chart = LineChart {
            title: "Loss <&>".into(),
            lines: vec![line("a<b", &[(0.0, 4.0), (100.0, 2.0)]), line("b", &[(50.0, 3.0)])],
            marks: vec![(40, "skip".into())],
            end: 100,
            ..LineChart::default()
        };
        let svg = chart.render().unwrap();
        assert!(
            svg.contains("Loss &lt;&amp;&gt;. a&lt;b: 4.00 at update 0, 2.00 at update 100; b: 3.00"),
            "{svg}"
        );
        let y = |value: f64| 194.0 - 182.0 * (value - 1.92) / 2.16;
        assert!(svg.contains(&format!("M46.0 {:.1}L371.1 {:.1}", y(4.0), y(2.0))), "{svg}");
        assert!(svg.contains("<circle class=\"dot c1\""), "{svg}");
        assert!(svg.contains("skip at update 40"), "{svg}");
    }

    #[test]
    fn labels_that_would_overlap_are_moved_apart() {
        let lines: Vec<ChartLine> = (0..6).map(|_| line("same", &[(0.0, 1.0), (9.0, 2.0)])).collect();
        let svg = LineChart { lines, end: 9, ..LineChart::default() }.render().unwrap();
        let labels = svg.split("class=\"label").skip(1).map(|label| {
            let y = label.split("y=\"").nth(1).unwrap().split('"').next().unwrap();
            y.parse::<f64>().unwrap()
        });
        let mut places: Vec<f64> = labels.collect();
        places.sort_by(f64::total_cmp);
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= LINE_HEIGHT - 0.11), "{places:?}");
    }

    #[test]
    fn what_cannot_be_shown_is_not_drawn() {
        let empty = LineChart::default();
        assert_eq!(empty.render(), None);
        let lines = vec![line("x", &[(0.0, 0.0), (1.0, f64::NAN), (2.0, 5.0)])];
        let svg = LineChart { lines, logarithmic: true, end: 2, ..LineChart::default() }.render().unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let flat = LineChart { lines: vec![line("x", &[(0.0, 0.0), (1.0, 0.0)])], ..LineChart::default() };
        assert!(!flat.render().unwrap().contains("NaN"));
    }
}
