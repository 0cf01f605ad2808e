//! A TOML document that remembers where its values stand, so that an error can name file, line and value.

use std::{fmt, ops::Range, path::Path};

use toml::{
    Spanned, Table,
    de::{DeTable, DeValue},
};

use crate::base::words::short_numbers;

/// A TOML text, its origin and its values.
#[derive(Clone, Debug)]
pub struct Document {
    /// File name as the user gave it.
    pub origin: String,
    pub text: String,
    pub table: Table,
}

/// An error at a place in a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SourceError {
    pub origin: String,
    /// 1-based line and its text, where the place is known.
    pub line: Option<(usize, String)>,
    pub message: String,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.line {
            Some((number, text)) => {
                write!(f, "{}:{number}: {}\n{number:>6} | {}", self.origin, self.message, text.trim_end())
            }
            None => write!(f, "{}: {}", self.origin, self.message),
        }
    }
}

impl Document {
    /// Reads and parses a file.
    pub fn read(path: &Path) -> anyhow::Result<Document> {
        let origin = path.display().to_string();
        let bytes = std::fs::read(path)
            .map_err(|error| anyhow::anyhow!("cannot read {origin}: {error}; give the path of a TOML file"))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            anyhow::anyhow!("{origin} is not text: byte {} is not UTF-8", error.utf8_error().valid_up_to())
        })?;
        Ok(Document::parse(&origin, text)?)
    }

    pub fn parse(origin: &str, text: String) -> Result<Document, SourceError> {
        match text.parse::<Table>() {
            Ok(table) => Ok(Document { origin: origin.into(), text, table }),
            Err(error) => Err(SourceError {
                origin: origin.into(),
                line: error.span().map(|span| line_at(&text, span.start)),
                message: format!("not valid TOML: {}", error.message()),
            }),
        }
    }

    /// An error at the value that `path` leads to, or at the closest value above it.
    pub fn error_at(&self, path: &[String], message: impl Into<String>) -> SourceError {
        SourceError {
            origin: self.origin.clone(),
            line: self.span(path).map(|span| line_at(&self.text, span.start)),
            message: short_numbers(&message.into()),
        }
    }

    /// Bytes of the key (or array element) that `path` leads to, or of the deepest one on the way that exists.
    fn span(&self, path: &[String]) -> Option<Range<usize>> {
        let root = DeTable::parse(&self.text).ok()?;
        let mut table: Option<&DeTable> = Some(root.get_ref());
        let mut array: Option<&[Spanned<DeValue>]> = None;
        let mut found = None;
        for segment in path {
            let (key_span, value) = match (table, array) {
                (Some(table), _) => {
                    let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == segment) else { break };
                    (key.span(), value)
                }
                (None, Some(array)) => {
                    let Some(value) = segment.parse().ok().and_then(|index: usize| array.get(index)) else { break };
                    (value.span(), value)
                }
                (None, None) => break,
            };
            found = Some(key_span);
            (table, array) = match value.get_ref() {
                DeValue::Table(inner) => (Some(inner), None),
                DeValue::Array(inner) => (None, Some(inner.as_ref())),
                _ => (None, None),
            };
        }
        found
    }
}

/// Splits a dotted path, with `[n]` for elements of arrays, into its segments.
pub fn segments(path: &str) -> Vec<String> {
    path.split(['.', '[']).map(|segment| segment.trim_end_matches(']').to_string()).filter(|s| !s.is_empty()).collect()
}

fn line_at(text: &str, offset: usize) -> (usize, String) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let number = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    (number, text.lines().nth(number - 1).unwrap_or_default().to_string())
}
