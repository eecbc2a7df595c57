//! Reads environment variables: the names of those that are set, and the value of a secret.

/// Names of the environment variables that are set and not empty.
#[must_use]
pub(crate) fn list_variable_names() -> Vec<String> {
    let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    set.filter_map(|(name, _)| name.into_string().ok()).collect()
}

/// The value of an environment variable, trimmed. `None` if it is not set, empty or not UTF-8.
#[must_use]
pub(crate) fn read_secret(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?.trim().to_owned();
    (!value.is_empty()).then_some(value)
}
