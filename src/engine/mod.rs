//! What is done to a whole study.

pub mod confirming;
pub mod explore;
pub mod live;
pub mod picked;
pub mod simulate;
pub mod sweep_log;
pub mod upkeep;
