//! Reads environment variables: the names of those that are set, the value of a secret, and where Hugging Face's tools keep files.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

/// The variable with the token of the hub.
pub(crate) const TOKEN_VARIABLE: &str = "HF_TOKEN";

/// The variables that sign requests to S3: who asks, the key, and the token of a session. Amazon's own tools read the same.
pub(crate) const STORAGE_ID_VARIABLE: &str = "AWS_ACCESS_KEY_ID";
pub(crate) const STORAGE_KEY_VARIABLE: &str = "AWS_SECRET_ACCESS_KEY";
pub(crate) const STORAGE_SESSION_VARIABLE: &str = "AWS_SESSION_TOKEN";

/// The largest file that holds a token.
const MAX_TOKEN_BYTES: u64 = 4096;

/// Names of the environment variables that are set and not empty. The token of the hub counts as set if Hugging Face's tools have
/// stored one.
#[must_use]
pub(crate) fn list_variable_names() -> Vec<String> {
    let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    let mut names: Vec<String> = set.filter_map(|(name, _)| name.into_string().ok()).collect();
    if !names.iter().any(|name| name == TOKEN_VARIABLE) && read_hub_token().is_some() {
        names.push(TOKEN_VARIABLE.to_owned());
    }
    names
}

/// The token of the hub: `HF_TOKEN`, or the file that `hf auth login` writes, which is `HF_TOKEN_PATH` or `HF_HOME/token`.
#[must_use]
pub(crate) fn read_hub_token() -> Option<String> {
    read_variable(TOKEN_VARIABLE).or_else(|| {
        let path = read_variable("HF_TOKEN_PATH").map(PathBuf::from);
        let file = File::open(path.or_else(|| Some(find_hub_home()?.join("token")))?).ok()?;
        let mut text = String::new();
        file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        file.take(MAX_TOKEN_BYTES).read_to_string(&mut text).ok()?;
        Some(text.trim().to_owned()).filter(|token| !token.is_empty())
    })
}

/// The folder of Hugging Face's tools: `HF_HOME`, or `huggingface` in the user's folder of caches.
#[must_use]
pub fn find_hub_home() -> Option<PathBuf> {
    let caches = || {
        let own = read_variable("XDG_CACHE_HOME").map(PathBuf::from);
        own.or_else(|| Some(PathBuf::from(read_variable("HOME")?).join(".cache")))
    };
    read_variable("HF_HOME").map(PathBuf::from).or_else(|| Some(caches()?.join("huggingface")))
}

/// The user's folder of states, which outlive a run and belong to no project: `XDG_STATE_HOME`, or `.local/state` at home.
/// Relative ones are ignored, as the specification wants it: they would lie in a stranger's project.
#[must_use]
pub(crate) fn find_state_home() -> Option<PathBuf> {
    let absolute = |name| read_variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))
}

/// The bytes of an environment variable; `None` if it is not set.
#[must_use]
pub(crate) fn read_raw_variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The value of an environment variable, trimmed. `None` if it is not set, empty or not UTF-8.
#[must_use]
pub fn read_variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?.trim().to_owned();
    (!value.is_empty()).then_some(value)
}
