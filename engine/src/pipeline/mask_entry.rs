//! The entry of a mask token in `tokenizer.json`, for programs that look for it there.
//!
//! `export` adds it as one line of text and changes no other byte, so that it can be left out of the digest again: a text without the
//! token's name is encoded as before, and rows made before the export fit the exported model.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::{Value, json};

/// Names of the mask token. The second is for tokenizers that use the first for something else.
pub const MASK_NAMES: [&str; 2] = ["<|mask|>", "<|fmflow_mask|>"];

/// `json`, a `tokenizer.json`, with the token `name` as the last of its added tokens; `None` if there is no such list.
#[must_use]
pub fn add_mask_entry(json: &[u8], id: u32, name: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(json).ok()?;
    let before: Value = serde_json::from_slice(json).ok()?;
    text.match_indices("\"added_tokens\"").find_map(|(at, key)| {
        let end = find_end_of_items(text, at + key.len())?;
        let entry = match text[..end].ends_with('[') {
            true => &render_entry(id, name)[1..],
            false => &render_entry(id, name),
        };
        let added = [&text[..end], entry, &text[end..]].concat();
        adds_only_this(&before, &added, id).then(|| added.into_bytes())
    })
}

/// BLAKE3 of a `tokenizer.json` without the entry that [`add_mask_entry`] makes, in hexadecimal.
#[must_use]
pub fn hash_tokenizer(json: &[u8]) -> String {
    blake3::hash(&strip_mask_entry(json)).to_hex().to_string()
}

/// A `tokenizer.json` without the entry that [`add_mask_entry`] makes.
fn strip_mask_entry(json: &[u8]) -> Cow<'_, [u8]> {
    let found = std::str::from_utf8(json).ok().and_then(|text| {
        let place = |name: &str| find_entry(text, name);
        Some((text, MASK_NAMES.into_iter().find_map(place)?))
    });
    match found {
        Some((text, entry)) => [&text[..entry.start], &text[entry.end..]].concat().into_bytes().into(),
        None => json.into(),
    }
}

/// Where the entry of the token `name` is, with the comma before it.
fn find_entry(text: &str, name: &str) -> Option<Range<usize>> {
    let end = text.find(&render_end(name))?;
    let start = text[..end].rfind(START)?;
    let id = &text[start + START.len()..end];
    let digits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| start..end + render_end(name).len())
}

/// The entry before its id, after a comma.
const START: &str = ",\n    {\"id\": ";

/// The entry after its id.
fn render_end(name: &str) -> String {
    format!(
        ", \"content\": \"{name}\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \
         \"normalized\": false, \"special\": true}}"
    )
}

/// The entry, after a comma.
fn render_entry(id: u32, name: &str) -> String {
    format!("{START}{id}{}", render_end(name))
}

/// Where the items of the list after the key end; `None` if there is no list.
fn find_end_of_items(text: &str, after_key: usize) -> Option<usize> {
    let list = text[after_key..].trim_start().strip_prefix(':')?.trim_start().strip_prefix('[')?;
    let start = text.len() - list.len();
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => depth += 1,
            b']' if depth == 0 => return Some(start + list[..at].trim_end().len()),
            b']' | b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// Whether `added` is the JSON `before` with one more added token, the last.
fn adds_only_this(before: &Value, added: &str, id: u32) -> bool {
    let Ok(mut after) = serde_json::from_str::<Value>(added) else { return false };
    let last = after["added_tokens"].as_array_mut().and_then(Vec::pop);
    last.is_some_and(|last| last["id"] == json!(id)) && after == *before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_is_added_at_the_end_and_can_be_left_out_again() {
        let lists = [
            "[]",
            "[ ]",
            r#"[{"id": 1, "content": "]\"}", "x": [2]}]"#,
            "[\n {\"id\": 1, \"content\": \"a\"}\n ]",
        ];
        for list in lists {
            let json = format!(
                "{{\"model\": {{\"vocab\": {{\"\\\"added_tokens\\\"\": 0}}}}, \"added_tokens\" : {list}, \"z\": 1}}"
            );
            let added = add_mask_entry(json.as_bytes(), 7, MASK_NAMES[0]).unwrap();
            let value: Value = serde_json::from_slice(&added).unwrap();
            let last = value["added_tokens"].as_array().unwrap().last().unwrap();
            assert_eq!((&last["id"], &last["content"]), (&json!(7), &json!("<|mask|>")), "{list}");
            if list.contains("id") {
                assert_eq!(strip_mask_entry(&added), json.as_bytes(), "{list}");
                assert_eq!(hash_tokenizer(&added), hash_tokenizer(json.as_bytes()), "{list}");
            }
        }
        for json in ["{}", "[", r#"{"added_tokens": {}}"#, r#"{"a": {"added_tokens": []}}"#] {
            assert_eq!(add_mask_entry(json.as_bytes(), 7, MASK_NAMES[0]), None, "{json}");
            assert_eq!(strip_mask_entry(json.as_bytes()), json.as_bytes());
        }
    }
}
