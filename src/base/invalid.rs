//! A value of a configuration that cannot be used.

use crate::base::words::short_numbers;

/// A value that cannot be used: what it is, where it stands and what would be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} = {value} is not allowed; expected {allowed}")]
pub struct Invalid {
    /// Dotted path into the configuration.
    pub path: String,
    pub value: String,
    /// What is allowed, as a phrase that follows "expected".
    pub allowed: String,
}

impl Invalid {
    pub fn new(path: &str, value: impl std::fmt::Display, allowed: impl Into<String>) -> Self {
        Invalid { path: path.into(), value: short_numbers(&value.to_string()), allowed: allowed.into() }
    }
}
