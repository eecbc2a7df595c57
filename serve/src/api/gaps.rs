//! Gaps, and how many tokens an answer or a gap has.

use fmflow_engine::pipeline::config::{FurtherGap, PromptKind};
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::fields::{Fields, unfit};
use crate::limits::GAPS;

/// The text behind a gap, or those behind several. Their lengths come later.
pub(super) fn read_suffix(prefix: String, behind: Value) -> Result<PromptKind, Fault> {
    let wanted =
        format!("a text, or a list of 1 to {GAPS} texts, each behind a gap; none but the last may be empty");
    let fault = |value: &Value| unfit("suffix", &wanted, value);
    let mut texts = match behind {
        Value::String(text) => vec![text],
        Value::Array(list) if (1..=GAPS).contains(&list.len()) => {
            let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| fault(value));
            list.iter().map(text).collect::<Result<Vec<_>, _>>()?
        }
        other => return Err(fault(&other)),
    };
    let suffix = texts.pop().expect("there is at least one");
    if texts.iter().any(String::is_empty) {
        return Err(fault(&json!("")));
    }
    let more = texts.into_iter().map(|before| FurtherGap { before, tokens: 0 }).collect();
    Ok(PromptKind::Infill { prefix, more, suffix })
}

/// The lengths of gaps: writes those of `more`, and returns that of the first, or its shortest and longest.
pub(super) fn take_gaps(fields: &mut Fields, more: &mut [FurtherGap]) -> Result<(Option<u32>, u32), Fault> {
    let (gaps, all) = (more.len() + 1, take_length(fields)?);
    let wanted = || match gaps {
        1 => "a whole number from 1 on, or a range such as \"8..64\"".to_owned(),
        _ => format!("a whole number from 1 on, or a list of {gaps}"),
    };
    let Some(value) = fields.take("gap_tokens") else {
        let what =
            "a request with `suffix` needs `max_tokens` or `gap_tokens`: how many tokens are in the gap";
        let tokens = all.ok_or_else(|| Fault::field("max_tokens", what))?;
        more.iter_mut().for_each(|gap| gap.tokens = tokens as usize);
        return Ok((None, tokens));
    };
    if all.is_some() {
        return Err(Fault::field(
            "gap_tokens",
            "`max_tokens` and `gap_tokens` mean the same: send one of them",
        ));
    }
    let fault = || unfit("gap_tokens", &wanted(), &value);
    let read = |value: &Value| {
        value.as_u64().and_then(|tokens| u32::try_from(tokens).ok()).filter(|tokens| *tokens > 0)
    };
    let lengths = match &value {
        Value::String(range) if gaps == 1 => {
            let (low, high) = range.split_once("..").ok_or_else(fault)?;
            let [low, high] = [low, high].map(|end| end.trim().parse().ok().filter(|end| *end > 0));
            return match (low, high) {
                (Some(low), Some(high)) if low <= high => Ok((Some(low), high)),
                _ => Err(fault()),
            };
        }
        Value::Array(list) if list.len() == gaps => list.iter().map(read).collect::<Option<Vec<u32>>>(),
        other => read(other).map(|tokens| vec![tokens; gaps]),
    };
    let lengths = lengths.ok_or_else(fault)?;
    more.iter_mut().zip(&lengths[1..]).for_each(|(gap, tokens)| gap.tokens = *tokens as usize);
    Ok((None, lengths[0]))
}

/// By how many tokens a gap may grow.
pub(super) fn take_growth(fields: &mut Fields) -> Result<Option<u32>, Fault> {
    let tokens = fields.take_count("gap_growth", 0, u64::from(u32::MAX))?;
    Ok(tokens.map(|tokens| u32::try_from(tokens).expect("a bounded number fits")))
}

/// The largest number of new tokens.
pub(super) fn take_length(fields: &mut Fields) -> Result<Option<u32>, Fault> {
    let most = u64::from(u32::MAX);
    fields.refuse_both("max_tokens", "max_completion_tokens")?;
    let length = fields.take_count("max_tokens", 1, most)?;
    let length = fields.take_count("max_completion_tokens", 1, most)?.or(length);
    Ok(length.map(|length| u32::try_from(length).expect("a bounded number fits")))
}
