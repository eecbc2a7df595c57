//! The numbers of a stage's metrics as series over its updates.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::Value;

/// A number at an update, counted from 0.
pub(super) type SeriesPoint = (u64, f64);

/// Everything that the metrics of a training say.
#[derive(Clone, Debug, Default)]
pub(super) struct MetricSeries {
    /// Numbers by name and update; names inside others are joined by `/`.
    numbers: IndexMap<String, Vec<SeriesPoint>>,
    /// What the guard did: the update, the word, the reason.
    pub guard: Vec<(u64, String, String)>,
    /// What probes found, by the updates that were done.
    pub probes: Vec<(u64, Value)>,
}

impl MetricSeries {
    /// Reads lines of metrics, each an object with `step`. A line without one belongs to no update and is none of ours.
    #[must_use]
    pub(super) fn parse(lines: &[String]) -> Self {
        let mut found = Self::default();
        for line in lines {
            let Ok(Value::Object(fields)) = serde_json::from_str(line) else { continue };
            let Some(step) = fields.get("step").and_then(Value::as_u64) else { continue };
            if let Some(word) = fields.get("guard").and_then(Value::as_str) {
                let why = fields.get("why").and_then(Value::as_str).unwrap_or_default();
                found.guard.push((step, word.to_owned(), why.to_owned()));
                continue;
            }
            if let Some(probe) = fields.get("probe") {
                found.probes.push((step.saturating_add(1), probe.clone()));
            }
            let others = fields.iter().filter(|(name, _)| *name != "step");
            others.for_each(|(name, value)| found.collect(name, step, value));
        }
        found.drop_empty_bands();
        found
    }

    fn collect(&mut self, name: &str, step: u64, value: &Value) {
        match value {
            Value::Number(number) => {
                let number = number.as_f64().expect("every number of JSON is a float");
                self.numbers.entry(name.to_owned()).or_default().push((step, number));
            }
            Value::Object(fields) => {
                fields
                    .iter()
                    .for_each(|(inner, value)| self.collect(&format!("{name}/{inner}"), step, value));
            }
            Value::Array(items) => {
                let each = items.iter().enumerate();
                each.for_each(|(at, value)| self.collect(&format!("{name}/{at}"), step, value));
            }
            Value::Null | Value::Bool(_) | Value::String(_) => {}
        }
    }

    /// A band of t without positions has no loss; the 0 that is written for it means nothing.
    fn drop_empty_bands(&mut self) {
        let counts: IndexMap<String, BTreeMap<u64, f64>> = self
            .under("count_by_time/")
            .map(|(band, points)| (band.to_owned(), points.iter().copied().collect()))
            .collect();
        for (band, counts) in counts {
            if let Some(points) = self.numbers.get_mut(&format!("loss_by_time/{band}")) {
                points.retain(|(step, _)| counts.get(step).is_none_or(|count| *count > 0.0));
            }
        }
    }

    /// A series by its whole name; empty if there is none.
    #[must_use]
    pub(super) fn get(&self, name: &str) -> &[SeriesPoint] {
        self.numbers.get(name).map_or(&[], Vec::as_slice)
    }

    /// The series whose names begin so, by the rest of their names.
    pub(super) fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a [SeriesPoint])> {
        let found = self.numbers.iter();
        found.filter_map(move |(name, points)| Some((name.strip_prefix(prefix)?, points.as_slice())))
    }

    /// Updates done according to the metrics.
    #[must_use]
    pub(super) fn updates(&self) -> u64 {
        self.get("loss").last().map_or(0, |(step, _)| step.saturating_add(1))
    }
}

/// Means over equal parts of the updates, at most `most`, each at the mean of its updates.
#[must_use]
pub(super) fn thin_out(points: &[SeriesPoint], most: usize) -> Vec<(f64, f64)> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    if points.len() <= most {
        return points.iter().map(|(step, value)| (*step as f64, *value)).collect();
    }
    let span = last.0.saturating_sub(first.0).saturating_add(1) as f64;
    let mut parts: Vec<(f64, f64, u64)> = vec![(0.0, 0.0, 0); most];
    for (step, value) in points {
        let part = (step.saturating_sub(first.0) as f64 / span * most as f64) as usize;
        let sum = &mut parts[part.min(most - 1)];
        *sum = (sum.0 + *step as f64, sum.1 + value, sum.2 + 1);
    }
    let full = parts.iter().filter(|part| part.2 > 0);
    full.map(|(steps, values, count)| (steps / *count as f64, values / *count as f64)).collect()
}

/// The median; `None` of nothing.
#[must_use]
pub(super) fn find_median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<String> {
        let line = |step: u64| {
            format!(
                r#"{{"step":{step},"loss":{step},"loss_by_time":[0.0,2.0],"count_by_time":[{},5],"tokens_by_dataset":{{"a/b":1}}}}"#,
                step % 2
            )
        };
        let mut lines: Vec<String> = (0..10).map(line).collect();
        lines.push(r#"{"step":4,"guard":"skip","why":"the loss is NaN"}"#.into());
        lines.push(r#"{"step":9,"probe":{"samples":[],"exact_match/tasks":0.5}}"#.into());
        lines.push(r#"{"step":9,"held_out_loss":{"text":1.5}}"#.into());
        lines
    }

    #[test]
    fn numbers_events_and_probes_are_told_apart() {
        let found = MetricSeries::parse(&lines());
        assert_eq!(found.updates(), 10);
        assert_eq!(found.get("held_out_loss/text"), [(9, 1.5)]);
        assert_eq!(found.get("loss_by_time/0").len(), 5, "an empty band has no loss");
        assert_eq!(found.get("loss_by_time/1").len(), 10);
        assert_eq!(found.under("tokens_by_dataset/").next().unwrap().0, "a/b");
        assert_eq!(found.guard, [(4, "skip".to_owned(), "the loss is NaN".to_owned())]);
        assert_eq!((found.probes.len(), found.probes[0].0), (1, 10));
        assert_eq!(found.get("probe/exact_match/tasks"), [(9, 0.5)]);
    }

    #[test]
    fn many_points_become_few_means() {
        let points: Vec<SeriesPoint> = (0..1000).map(|step| (step, step as f64)).collect();
        let few = thin_out(&points, 10);
        assert_eq!(few.len(), 10);
        assert_eq!(few[0], (49.5, 49.5));
        assert_eq!(few[9], (949.5, 949.5));
        assert_eq!(thin_out(&points[..3], 10), [(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)]);
        assert_eq!(thin_out(&[], 10), []);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(find_median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(find_median([4.0, 1.0].into_iter()), Some(2.5));
        assert_eq!(find_median(std::iter::empty()), None);
    }
}
