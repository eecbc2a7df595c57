//! The mask token in the files of an exported tokenizer, where other programs look for it. Without it, a program that adds a token
//! of its own would give it the row of the mask.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::mask_entry::{MASK_NAMES, add_mask_entry};
use serde_json::{Map, Value, json};

use crate::data::tokenizer::Tokenizer;
use crate::failure::{input_failure, stage_failure};

/// Files of a tokenizer, by name.
type TokenizerFileList = Vec<(String, Vec<u8>)>;

/// Names the token of the row `mask` in `files`, in place of a mask token that the source had. A row behind the first unused one has
/// no name that other programs would give it, and stays without.
///
/// # Errors
/// If a file is not a JSON object.
pub(super) fn name_mask_token(
    files: &mut TokenizerFileList,
    tokenizer: &Tokenizer,
    mask: u32,
) -> Result<(), Failure> {
    let known = tokenizer.token(mask);
    let name = match known {
        Some(name) => Some(name),
        None => add_to_tokenizer(files, tokenizer, mask)?,
    };
    for file in ["tokenizer_config.json", "special_tokens_map.json"] {
        change_json(files, file, |named| {
            if name.is_some() || named.contains_key("mask_token") {
                named.insert("mask_token".into(), json!(name));
            }
        })?;
    }
    let Some(name) = name else { return Ok(()) };
    change_json(files, "tokenizer_config.json", |config| {
        if let Some(Value::Object(decoder)) = config.get_mut("added_tokens_decoder") {
            decoder.entry(mask.to_string()).or_insert_with(|| describe_token(&name));
        }
    })?;
    change_json(files, "added_tokens.json", |map| {
        map.entry(name.as_str()).or_insert_with(|| json!(mask));
    })
}

/// Adds the token to `tokenizer.json`; `None` if there is no such file, or the library would give the token another id.
///
/// # Errors
/// If the library cannot read the file any more.
fn add_to_tokenizer(
    files: &mut TokenizerFileList,
    tokenizer: &Tokenizer,
    mask: u32,
) -> Result<Option<String>, Failure> {
    let name = MASK_NAMES.into_iter().find(|name| tokenizer.id(name).is_none());
    let json = files.iter_mut().find(|(file, _)| file == "tokenizer.json");
    let (Some(name), Some((_, json))) = (name, json) else { return Ok(None) };
    let Some(added) = add_mask_entry(json, mask, name) else { return Ok(None) };
    let read = Tokenizer::from_bytes("tokenizer.json", added.clone()).map_err(stage_failure)?;
    let fits = read.id(name) == Some(mask) && read.used() == mask + 1;
    Ok(fits.then(|| {
        *json = added;
        name.to_owned()
    }))
}

fn describe_token(name: &str) -> Value {
    json!({"content": name, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false,
        "special": true})
}

/// Changes a JSON file if it exists. Its bytes stay if nothing changes.
fn change_json(
    files: &mut TokenizerFileList,
    name: &str,
    change: impl FnOnce(&mut Map<String, Value>),
) -> Result<(), Failure> {
    let Some((_, bytes)) = files.iter_mut().find(|(file, _)| file == name) else { return Ok(()) };
    let malformed = |e: serde_json::Error| input_failure(format!("{name}: {e}"), "restore the file");
    let before: Map<String, Value> = serde_json::from_slice(bytes).map_err(malformed)?;
    let mut after = before.clone();
    change(&mut after);
    if after != before {
        *bytes = format!("{:#}\n", Value::Object(after)).into_bytes();
    }
    Ok(())
}
