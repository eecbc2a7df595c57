//! The frontier of samplers as an SVG file: how good their answers are against how few passes they take, and against their speed.

use std::fmt::Write as _;

use indexmap::IndexSet;

use super::chart::{find_ticks, format_tick};
use super::markup::{escape_markup, format_number, format_percent};

/// How a file with such a drawing begins, so that it is known again.
pub const GENERATOR: &str = "<!-- fmflow frontier -->";

/// Size of a plot, in pixels, and what is around it.
const PLOT: (f64, f64) = (330.0, 240.0);
const LEFT: f64 = 52.0;
const TOP: f64 = 62.0;
const GAP: f64 = 62.0;
/// Height of a line of the list below the plots.
const LINE: f64 = 18.0;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#24292f}.soft{fill:#57606a}.title{font-size:15px;font-weight:600}\
.grid{stroke:#e3e6ea;stroke-width:1}.axis{stroke:#57606a;stroke-width:1}.twin{stroke:#b04a05;stroke-width:1.5;stroke-dasharray:5 4}\
.edge{fill:none;stroke:#1b5fbd;stroke-width:1.6}.dot{fill:#8c959f}.dot.best{fill:#1b5fbd}.paper{fill:#fff}\
@media (prefers-color-scheme:dark){text{fill:#e6e9ec}.soft{fill:#a3adb8}.grid{stroke:#262c32}.axis{stroke:#a3adb8}.paper{fill:#111417}\
.edge{stroke:#7db3ff}.dot.best{fill:#7db3ff}.twin{stroke:#ffab6b}}";

/// What a sampler reached.
#[derive(Clone, Debug, PartialEq)]
pub struct FrontierPoint {
    /// What it was measured on, if there are several: only points of one group beat each other.
    pub group: String,
    /// The sampler in words.
    pub sampler: String,
    /// New tokens in a forward pass.
    pub tokens_per_pass: f64,
    /// Tokens per second over those of the same weights as an autoregressive model.
    pub ratio: f64,
    /// Share of right answers, in [0, 1].
    pub right: f64,
}

impl FrontierPoint {
    /// The sampler, and what it was measured on.
    fn name(&self) -> String {
        let Self { group, sampler, .. } = self;
        if group.is_empty() { sampler.clone() } else { format!("{group}: {sampler}") }
    }
}

/// Which of the points no other of its group beats: none is at least as good in both and better in one. In the order of `x`.
#[must_use]
fn find_frontier(points: &[FrontierPoint], x: impl Fn(&FrontierPoint) -> f64) -> Vec<usize> {
    let beats = |a: &FrontierPoint, b: &FrontierPoint| {
        a.group == b.group && x(a) >= x(b) && a.right >= b.right && (x(a) > x(b) || a.right > b.right)
    };
    let mut best: Vec<usize> =
        (0..points.len()).filter(|at| !points.iter().any(|other| beats(other, &points[*at]))).collect();
    best.sort_by(|a, b| x(&points[*a]).total_cmp(&x(&points[*b])));
    best
}

/// The drawing: two plots of the share of right answers, and a list of the samplers by number.
#[must_use]
pub fn draw_frontier(title: &str, points: &[FrontierPoint]) -> String {
    let (width, plots) = (2.0 * (LEFT + PLOT.0) + GAP, TOP + PLOT.1 + 44.0);
    let height = plots + LINE * (points.len() + 2) as f64;
    let mut svg = format!(
        "{GENERATOR}\n<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\" aria-label=\"{}\">\n<style>{STYLE}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n<text class=\"title\" x=\"{LEFT}\" y=\"24\">{}</text>\n",
        escape_markup(&format!("{title}: right answers by tokens in a pass, and by speed")),
        escape_markup(title)
    );
    let second = LEFT + PLOT.0 + GAP + LEFT;
    draw_plot(&mut svg, points, (LEFT, "tokens in a forward pass"), |point| point.tokens_per_pass);
    draw_plot(&mut svg, points, (second, "speed against autoregressive"), |point| point.ratio);
    let mut y = plots + LINE;
    let mut line = |words: &str, class: &str| {
        let _ = writeln!(svg, "<text class=\"{class}\" x=\"{LEFT}\" y=\"{y:.1}\">{words}</text>");
        y += LINE;
    };
    for (at, point) in points.iter().enumerate() {
        let FrontierPoint { tokens_per_pass, ratio, right, .. } = point;
        let [passes, ratio] = [*tokens_per_pass, *ratio].map(format_number);
        let right = format_percent(*right);
        line(
            &format!(
                "{}  {}: {right}, {passes} tokens a pass, ratio {ratio}",
                at + 1,
                escape_markup(&point.name())
            ),
            "",
        );
    }
    line("dashed: the same weights token by token; a line joins samplers that no other beats", "soft");
    svg + "</svg>\n"
}

/// Where the values of a plot lie: its left side, and the largest value across.
#[derive(Clone, Copy)]
struct Plot {
    left: f64,
    most: f64,
}

impl Plot {
    const BOTTOM: f64 = TOP + PLOT.1;

    fn across(self, value: f64) -> f64 {
        self.left + PLOT.0 * value / self.most
    }

    /// The height of a share.
    fn up(share: f64) -> f64 {
        Self::BOTTOM - PLOT.1 * share / 1.05
    }
}

fn draw_plot(
    svg: &mut String,
    points: &[FrontierPoint],
    (left, name): (f64, &str),
    x: impl Fn(&FrontierPoint) -> f64,
) {
    let shown = |point: &FrontierPoint| if x(point).is_finite() { x(point).max(0.0) } else { 0.0 };
    let plot = Plot { left, most: points.iter().map(&shown).fold(1.0, f64::max) * 1.08 };
    draw_axes(svg, plot, name);
    let best = find_frontier(points, shown);
    let corner = |at: usize| (plot.across(shown(&points[at])), Plot::up(points[at].right));
    let groups: IndexSet<&str> = points.iter().map(|point| point.group.as_str()).collect();
    for group in groups {
        draw_edge(svg, best.iter().filter(|at| points[**at].group == group).map(|at| corner(*at)));
    }
    for (at, point) in points.iter().enumerate() {
        let class = if best.contains(&at) { "dot best" } else { "dot" };
        let (x, y) = corner(at);
        let _ = writeln!(
            svg,
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{}</title></circle><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            escape_markup(&point.name()),
            x + 6.0,
            y - 5.0,
            at + 1
        );
    }
}

fn draw_axes(svg: &mut String, plot: Plot, name: &str) {
    let (left, right, bottom) = (plot.left, plot.left + PLOT.0, Plot::BOTTOM);
    let _ =
        writeln!(svg, "<text class=\"soft\" x=\"{left:.1}\" y=\"{:.1}\">right answers, %</text>", TOP - 14.0);
    for tick in find_ticks(0.0, 100.0, false) {
        let (x, y) = (left - 7.0, Plot::up(tick / 100.0));
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{left:.1} {y:.1}H{right:.1}\"/><text class=\"soft\" text-anchor=\"end\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            y + 4.0,
            format_tick(tick)
        );
    }
    for tick in find_ticks(0.0, plot.most, false) {
        let _ = writeln!(
            svg,
            "<text class=\"soft\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            plot.across(tick),
            bottom + 16.0,
            format_tick(tick)
        );
    }
    let _ = writeln!(
        svg,
        "<path class=\"axis\" d=\"M{left:.1} {bottom:.1}H{right:.1}\"/><text class=\"soft\" text-anchor=\"end\" x=\"{right:.1}\" y=\"{:.1}\">{name}</text><path class=\"twin\" d=\"M{:.1} {TOP:.1}V{bottom:.1}\"/>",
        bottom + 32.0,
        plot.across(1.0)
    );
}

/// A line through the points of a group that no other beats, if there are two.
fn draw_edge(svg: &mut String, corners: impl Iterator<Item = (f64, f64)>) {
    let corners: Vec<String> = corners.map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    if corners.len() > 1 {
        let _ = writeln!(svg, "<path class=\"edge\" d=\"M{}\"/>", corners.join("L"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(sampler: &str, tokens_per_pass: f64, right: f64) -> FrontierPoint {
        let (group, ratio) = (String::new(), tokens_per_pass / 2.0);
        FrontierPoint { group, sampler: sampler.into(), tokens_per_pass, ratio, right }
    }

    #[test]
    fn the_frontier_has_what_no_other_beats() {
        let points = [
            point("a", 1.0, 0.9),
            point("b", 2.0, 0.9),
            point("c", 4.0, 0.5),
            point("d", 3.0, 0.4),
            point("e", 2.0, 0.9),
        ];
        assert_eq!(find_frontier(&points, |point| point.tokens_per_pass), [1, 4, 2]);
        assert!(find_frontier(&[], |point| point.ratio).is_empty());
    }

    #[test]
    fn every_group_has_a_line_of_its_own() {
        let of = |group: &str, point: FrontierPoint| FrontierPoint { group: group.into(), ..point };
        let points = [
            of("easy", point("a", 1.0, 0.9)),
            of("hard", point("a", 1.0, 0.5)),
            of("easy", point("b", 2.0, 0.8)),
            of("hard", point("b", 2.0, 0.4)),
        ];
        assert_eq!(find_frontier(&points, |point| point.tokens_per_pass), [0, 1, 2, 3]);
        let svg = draw_frontier("two", &points);
        // Two plots of two lines, each with one corner behind its start.
        let lines: Vec<&str> = svg.lines().filter(|line| line.contains("class=\"edge\"")).collect();
        assert!(lines.len() == 4 && lines.iter().all(|line| line.matches('L').count() == 1), "{svg}");
        assert!(svg.contains("2  hard: a: 50.0 %"), "{svg}");
    }

    #[test]
    fn every_sampler_is_drawn_twice_and_listed_and_no_word_is_markup() {
        let points = [point("threshold <0.9>", 2.0, 0.5), point("b", f64::NAN, 0.0)];
        let svg = draw_frontier("a & b", &points);
        assert!(svg.starts_with(GENERATOR) && svg.ends_with("</svg>\n"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 4);
        assert!(svg.contains("1  threshold &lt;0.9&gt;: 50.0 %, 2.00 tokens a pass, ratio 1.00"), "{svg}");
        assert!(svg.contains("a &amp; b") && !svg.contains("<0.9>") && !svg.contains("NaN\""), "{svg}");
        // Half of the answers are right: in the middle of 0 and 100 %.
        let middle = TOP + PLOT.1 - PLOT.1 * 0.5 / 1.05;
        assert!(svg.contains(&format!("cy=\"{middle:.1}\"")), "{svg}");
    }
}
