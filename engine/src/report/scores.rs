//! What evaluations measured, with intervals, and what certificates say. Read from JSON files of their artifacts.

use serde_json::Value;

use super::markup::format_number;
use crate::text::display::count_noun;

/// One number that an evaluation measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MeasuredScore {
    /// What was measured, such as `exact match on tasks`.
    pub measure: String,
    /// The checkpoint.
    pub checkpoint: String,
    /// The number.
    pub value: f64,
    /// Whether it is a share, and not a loss.
    pub is_share: bool,
    /// Its interval of 95 %, if one is known.
    pub interval: Option<(f64, f64)>,
    /// What the number is a share of, such as `2018 questions`; of a loss, whether it is exact or a bound.
    pub of: String,
    /// Share of answers in which nothing was written.
    pub empty: Option<f64>,
    /// Shares by kind of task.
    pub groups: Vec<(String, f64)>,
}

/// All scores of a `report.json`, sorted by measure; an error says what is not as this version writes it.
pub(super) fn read_scores(report: &Value) -> Result<Vec<MeasuredScore>, String> {
    let checkpoints = report.as_object().ok_or("it is no object")?;
    let mut found = Vec::new();
    for (checkpoint, scores) in checkpoints {
        let part = |name: &str| scores.get(name).and_then(Value::as_object).into_iter().flatten();
        let likelihoods = scores.get("likelihoods");
        for (dataset, loss) in part("held_out") {
            // The first of its likelihoods is this number.
            if likelihoods.and_then(|all| all.get(dataset)?.get(0)).is_none() {
                found.push(read_held_out(checkpoint, dataset, loss)?);
            }
        }
        for (dataset, likelihoods) in part("likelihoods") {
            for (at, likelihood) in likelihoods.as_array().into_iter().flatten().enumerate() {
                found.push(read_likelihood(checkpoint, dataset, likelihood, at == 0)?);
            }
        }
        for (dataset, scores) in part("exact_match") {
            found.push(read_exact_match(checkpoint, dataset, scores)?);
        }
        for (name, scores) in part("benchmarks") {
            found.push(read_benchmark(checkpoint, name, scores)?);
        }
    }
    found.sort_by(|a, b| a.measure.cmp(&b.measure));
    Ok(found)
}

/// The held-out loss of an evaluation that does not say what it is.
fn read_held_out(checkpoint: &str, dataset: &str, loss: &Value) -> Result<MeasuredScore, String> {
    let value = loss.as_f64().ok_or_else(|| format!("the held-out loss on `{dataset}` is no number"))?;
    Ok(MeasuredScore {
        measure: format!("held-out loss on {dataset}, nats per token"),
        checkpoint: checkpoint.to_owned(),
        value,
        is_share: false,
        interval: None,
        of: String::new(),
        empty: None,
        groups: Vec::new(),
    })
}

/// One of several likelihoods, with the interval of 95 % of its mean. The usual one is the held-out loss.
fn read_likelihood(
    checkpoint: &str,
    dataset: &str,
    likelihood: &Value,
    usual: bool,
) -> Result<MeasuredScore, String> {
    let text = |name: &str| {
        let found = likelihood.get(name).and_then(Value::as_str);
        found.ok_or_else(|| format!("a likelihood on `{dataset}` has no `{name}`"))
    };
    let number = |name: &str| likelihood.get(name).and_then(Value::as_f64);
    let (estimator, kind) = (text("estimator")?, text("kind")?);
    let value =
        number("nats_per_token").ok_or_else(|| format!("the {estimator} on `{dataset}` is no number"))?;
    let half = number("standard_error").map(|error| 1.96 * error);
    let by = if usual { String::new() } else { format!(" by {estimator}") };
    let tokens = likelihood.get("tokens").and_then(Value::as_u64);
    let tokens = tokens.map(|tokens| format!(", {}", count_noun(tokens, "token"))).unwrap_or_default();
    Ok(MeasuredScore {
        measure: format!("held-out loss on {dataset}{by}, nats per token"),
        checkpoint: checkpoint.to_owned(),
        value,
        is_share: false,
        interval: half.map(|half| (value - half, value + half)),
        of: format!("{kind} ({estimator}){tokens}"),
        empty: None,
        groups: Vec::new(),
    })
}

fn read_count(scores: &Value, name: &str) -> Result<u64, String> {
    scores.get(name).and_then(Value::as_u64).ok_or_else(|| format!("`{name}` is no number of answers"))
}

fn read_exact_match(checkpoint: &str, dataset: &str, scores: &Value) -> Result<MeasuredScore, String> {
    let (passed, total) = (read_count(scores, "passed")?, read_count(scores, "total")?);
    let groups = scores.get("by_group").and_then(Value::as_object).into_iter().flatten();
    let group = |(name, counts): (&String, &Value)| {
        let count = |at: usize| counts.get(at).and_then(Value::as_f64);
        let (passed, total) = count(0).zip(count(1)).ok_or_else(|| format!("`{name}` has no counts"))?;
        Ok::<_, String>((name.clone(), passed / total.max(1.0)))
    };
    Ok(MeasuredScore {
        measure: format!("exact match on {dataset}"),
        checkpoint: checkpoint.to_owned(),
        value: passed as f64 / total.max(1) as f64,
        is_share: true,
        interval: Some(find_wilson_interval(passed, total)),
        of: format!("{total} questions"),
        empty: Some(read_count(scores, "empty")? as f64 / total.max(1) as f64),
        groups: groups.map(group).collect::<Result<_, _>>()?,
    })
}

fn read_benchmark(checkpoint: &str, name: &str, scores: &Value) -> Result<MeasuredScore, String> {
    let total = read_count(scores, "total")?;
    let share = |value: Option<&Value>| value.and_then(Value::as_f64);
    let value = scores.get("pass_at").and_then(|all| share(all.get("1")));
    let bound = |at: usize| scores.get("interval").and_then(|ends| share(ends.get(at)));
    let unsafe_answers = scores.get("sandbox").and_then(Value::as_str) == Some("unsafe-no-sandbox");
    let isolation = if unsafe_answers { "; programs ran without a sandbox" } else { "" };
    let problems = scores.get("problems").and_then(Value::as_object).map_or(0, serde_json::Map::len);
    Ok(MeasuredScore {
        measure: format!("{} of {name}", if scores.get("choice").is_some() { "accuracy" } else { "pass@1" }),
        checkpoint: checkpoint.to_owned(),
        value: value.ok_or_else(|| format!("`{name}` has no pass@1"))?,
        is_share: true,
        interval: bound(0).zip(bound(1)),
        of: format!("{total} answers to {problems} problems{isolation}"),
        empty: Some(read_count(scores, "empty")? as f64 / total.max(1) as f64),
        groups: Vec::new(),
    })
}

/// The interval of 95 % of a share (Wilson, 1927): unlike the usual one, it is never empty at 0 or 1.
fn find_wilson_interval(passed: u64, total: u64) -> (f64, f64) {
    /// The quantile of the normal distribution for 97.5 %.
    const Z: f64 = 1.959_963_984_540_054;
    if total == 0 {
        return (0.0, 1.0);
    }
    let (share, n) = (passed as f64 / total as f64, total as f64);
    let middle = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((middle - half) / scale).max(0.0), ((middle + half) / scale).min(1.0))
}

/// A share with its interval as a small `svg` element.
fn draw_interval(value: f64, (low, high): (f64, f64)) -> String {
    const WIDTH: f64 = 120.0;
    let x = |share: f64| 4.0 + (WIDTH - 8.0) * share;
    format!(
        "<svg class=\"interval\" viewBox=\"0 0 {WIDTH} 14\" width=\"{WIDTH}\" height=\"14\" aria-hidden=\"true\">\
         <path class=\"grid\" d=\"M{:.1} 7H{:.1}\"/><path class=\"span\" d=\"M{:.1} 7H{:.1}\"/>\
         <circle class=\"dot c0\" cx=\"{:.1}\" cy=\"7\" r=\"3.4\"/></svg>",
        x(0.0),
        x(1.0),
        x(low),
        x(high),
        x(value)
    )
}

/// The number of a score: shares in percent.
#[must_use]
pub(super) fn show_score(score: &MeasuredScore) -> String {
    match score.is_share {
        true => format!("{:.1} %", 100.0 * score.value),
        false => format_number(score.value),
    }
}

/// Its interval in words, and for a share as a drawing.
#[must_use]
pub(super) fn show_interval(score: &MeasuredScore) -> (String, String) {
    let Some((low, high)) = score.interval else { return Default::default() };
    match score.is_share {
        true => {
            let words = format!("{:.1} to {:.1} %", 100.0 * low, 100.0 * high);
            (words, draw_interval(score.value, (low, high)))
        }
        false => (format!("{low:.3} to {high:.3}"), String::new()),
    }
}

/// What a certificate says, in words.
#[must_use]
pub(super) fn list_certificate(certificate: &Value) -> Vec<(String, String)> {
    let parity = |name: &str, words: &str| {
        let found = certificate.get(name)?;
        let holds = found.get("holds").and_then(Value::as_bool)?;
        let ratio = found.get("ratio").and_then(Value::as_f64)?;
        let distance = if ratio == 0.0 {
            "no difference".to_owned()
        } else {
            format!("a difference of {}", format_number(ratio))
        };
        let verdict = if holds { "the same logits" } else { "OTHER logits" };
        Some((words.to_owned(), format!("{verdict}, {distance} relative to the largest logit of a position")))
    };
    let ledger = certificate.get("ledger").and_then(Value::as_array).map(Vec::len);
    let mask = certificate.get("mask_token").and_then(Value::as_u64);
    let mut found: Vec<(String, String)> = Vec::new();
    found.extend(parity("parity", "beside our own reading of the source"));
    let elsewhere = parity("elsewhere", "beside logits made elsewhere");
    found.push(elsewhere.unwrap_or_else(|| {
        ("beside logits made elsewhere".to_owned(), "not compared (`certify reference=`)".to_owned())
    }));
    found.extend(ledger.map(|count| ("ledger".to_owned(), count_noun(count, "tensor"))));
    found.extend(mask.map(|id| ("mask token".to_owned(), id.to_string())));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn wilson_intervals_are_those_of_the_textbook() {
        let close = |found: (f64, f64), low: f64, high: f64| {
            assert!((found.0 - low).abs() < 5e-4 && (found.1 - high).abs() < 5e-4, "{found:?}");
        };
        close(find_wilson_interval(5, 10), 0.2366, 0.7634);
        close(find_wilson_interval(0, 10), 0.0, 0.2775);
        close(find_wilson_interval(10, 10), 0.7225, 1.0);
        assert_eq!(find_wilson_interval(0, 0), (0.0, 1.0));
    }

    #[test]
    fn every_kind_of_score_is_read() {
        let report = json!({
            "sft": {
                "held_out": { "text": 3.5 },
                "exact_match": { "tasks": { "total": 10, "passed": 5, "empty": 1, "by_group": { "sort": [1, 4] } } },
                "benchmarks": { "mbpp": {
                    "passed": 3, "total": 6, "pass_at": { "1": 0.5 }, "interval": [0.25, 0.75], "empty": 0,
                    "timed_out": 0, "syntax_errors": 0, "problems": { "a": {}, "b": {} }
                } }
            }
        });
        let found = read_scores(&report).unwrap();
        let names: Vec<&str> = found.iter().map(|score| score.measure.as_str()).collect();
        assert_eq!(
            names,
            ["exact match on tasks", "held-out loss on text, nats per token", "pass@1 of mbpp"]
        );
        assert_eq!(found[0].groups, [("sort".to_owned(), 0.25)]);
        assert_eq!((found[0].empty, show_score(&found[0]).as_str()), (Some(0.1), "50.0 %"));
        assert_eq!(
            (found[2].interval, found[2].of.as_str()),
            (Some((0.25, 0.75)), "6 answers to 2 problems")
        );
    }

    #[test]
    fn a_loss_says_what_it_is_and_is_no_percentage() {
        let likelihood = |estimator: &str, kind: &str, nats: f64, error: Option<f64>| json!({ "estimator": estimator, "kind": kind, "nats_per_token": nats, "standard_error": error, "tokens": 40 });
        let bounds = [
            likelihood("elbo", "upper bound", 5.0, Some(0.01)),
            likelihood("left-to-right", "exact", 4.5, None),
        ];
        let report = json!({
            "ar": { "held_out": { "text": 4.0 }, "likelihoods": { "text": [likelihood("autoregressive", "exact", 4.0, None)] } },
            "flow": { "held_out": { "text": 5.0 }, "likelihoods": { "text": bounds } },
        });
        let found = read_scores(&report).unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|score| {
                [&score.checkpoint, &score.measure, &show_score(score), &show_interval(score).0, &score.of]
                    .map(String::clone)
            })
            .collect();
        let usual = "held-out loss on text, nats per token";
        assert_eq!(
            shown,
            [
                [
                    "flow",
                    "held-out loss on text by left-to-right, nats per token",
                    "4.50",
                    "",
                    "exact (left-to-right), 40 tokens"
                ],
                ["ar", usual, "4.00", "", "exact (autoregressive), 40 tokens"],
                ["flow", usual, "5.00", "4.980 to 5.020", "upper bound (elbo), 40 tokens"],
            ]
        );
        assert!(
            found.iter().all(|score| show_interval(score).1.is_empty()),
            "a loss has no place between 0 and 1"
        );
    }

    #[test]
    fn a_report_of_another_form_is_said_to_be_one() {
        assert_eq!(read_scores(&json!([])).unwrap_err(), "it is no object");
        let report = json!({ "a": { "exact_match": { "t": { "total": 1, "empty": 0 } } } });
        assert_eq!(read_scores(&report).unwrap_err(), "`passed` is no number of answers");
    }
}
