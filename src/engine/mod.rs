//! What is done to a whole study.

pub mod upkeep;
