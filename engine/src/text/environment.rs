//! Environment variables: which are set, and the value of a secret.

/// Names of the environment variables that are set and not empty.
#[must_use]
pub fn list_variable_names() -> Vec<String> {
    let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    set.filter_map(|(name, _)| name.into_string().ok()).collect()
}

/// The value of an environment variable without blanks around it, if it is set, not empty, and text.
#[must_use]
pub fn read_secret(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?.trim().to_owned();
    (!value.is_empty()).then_some(value)
}
