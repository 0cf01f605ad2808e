//! What is shown of a study.

pub mod charts;
pub mod report;
