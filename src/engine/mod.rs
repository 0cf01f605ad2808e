//! What is done to a whole study.

pub mod confirming;
pub mod upkeep;
