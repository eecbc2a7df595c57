//! The graph of the stages, drawn beside their list as lanes: a stage is a dot in its row, and its result runs down its lane to the last
//! stage that reads it.

use std::fmt::Write as _;

/// Height of a row of the list; the style of the page has the same.
pub(super) const ROW: usize = 54;
/// Distance of two lanes.
const LANE: usize = 11;

/// The lanes as an `svg` element. `inputs` has, for every stage in topological order, the stages whose results it reads; `classes` the
/// style of its dot.
#[must_use]
pub(super) fn draw_lanes(inputs: &[Vec<usize>], classes: &[&str]) -> String {
    let lanes = assign_lanes(inputs);
    let width = (lanes.iter().max().map_or(0, |most| most + 1)) * LANE + 10;
    let place = |stage: usize| (lanes[stage] * LANE + LANE / 2 + 3, stage * ROW + ROW / 2);
    let mut svg = format!(
        "<svg class=\"lanes\" width=\"{width}\" height=\"{}\" viewBox=\"0 0 {width} {}\" aria-hidden=\"true\">",
        inputs.len() * ROW,
        inputs.len() * ROW
    );
    for (stage, from) in inputs.iter().enumerate() {
        for source in from {
            let ((x0, y0), (x1, y1)) = (place(*source), place(stage));
            let bend = y1 - ROW;
            let _ = match x0 == x1 {
                true => write!(svg, "<path class=\"edge\" d=\"M{x0} {y0}V{y1}\"/>"),
                false => write!(
                    svg,
                    "<path class=\"edge\" d=\"M{x0} {y0}V{bend}C{x0} {} {x1} {} {x1} {y1}\"/>",
                    bend + ROW / 2,
                    y1 - ROW / 2
                ),
            };
        }
    }
    for (stage, class) in classes.iter().enumerate() {
        let (x, y) = place(stage);
        let _ = write!(svg, "<circle class=\"node {class}\" cx=\"{x}\" cy=\"{y}\" r=\"5\"/>");
    }
    svg + "</svg>"
}

/// The lane of every stage: that of an input which ends in it, else the first that is free.
fn assign_lanes(inputs: &[Vec<usize>]) -> Vec<usize> {
    let mut ends: Vec<usize> = (0..inputs.len()).collect();
    for (stage, from) in inputs.iter().enumerate() {
        from.iter().for_each(|source| ends[*source] = ends[*source].max(stage));
    }
    let mut lanes: Vec<usize> = Vec::with_capacity(inputs.len());
    for (stage, from) in inputs.iter().enumerate() {
        let taken = |lane: usize| (0..stage).any(|other| lanes[other] == lane && ends[other] > stage);
        let inherited = from.iter().find(|source| ends[**source] == stage && !taken(lanes[**source]));
        let free = || (0..).find(|lane| !taken(*lane)).expect("some lane is free");
        lanes.push(inherited.map_or_else(free, |source| lanes[*source]));
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_results_share_a_lane_at_a_time() {
        // tokenizer, rows, model, train(model, rows), convert(train), train(convert, rows), evaluate(all).
        let inputs = [vec![], vec![0], vec![0], vec![2, 1], vec![3], vec![4, 1], vec![3, 4, 5, 1]].to_vec();
        let lanes = assign_lanes(&inputs);
        let end =
            |stage: usize| (0..inputs.len()).filter(|at| inputs[*at].contains(&stage)).max().unwrap_or(stage);
        for later in 0..inputs.len() {
            for earlier in 0..later {
                assert!(
                    lanes[earlier] != lanes[later] || end(earlier) <= later,
                    "{earlier} {later} {lanes:?}"
                );
            }
        }
        assert_eq!(assign_lanes(&[vec![], vec![0], vec![1]]), [0, 0, 0], "a chain is a line");
    }

    #[test]
    fn every_edge_and_stage_is_drawn() {
        let svg = draw_lanes(&[vec![], vec![0], vec![0, 1]], &["finished", "finished", "missing"]);
        assert_eq!(svg.matches("class=\"edge\"").count(), 3);
        assert_eq!(svg.matches("class=\"node").count(), 3);
        assert!(svg.contains("height=\"162\""), "{svg}");
    }
}
