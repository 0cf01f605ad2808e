//! Tests that cannot run here say so.

use std::{fmt::Display, io::Write, thread};

/// Says that the test that asks cannot run here, and why; it returns then. `.ci/run` counts these lines.
///
/// They go past the harness, which shows nothing of what a test prints that passes.
pub fn skipped(why: impl Display) {
    let line = format!("SKIPPED: {}: {why}\n", thread::current().name().unwrap_or("a test"));
    // Nothing is lost where nobody listens.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
