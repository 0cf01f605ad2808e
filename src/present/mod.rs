//! What is shown of a study.

pub mod charts;
pub mod page;
pub mod report;
