//! What is shown of a study.

pub mod charts;
pub mod derived;
pub mod export;
pub mod page;
pub mod report;
