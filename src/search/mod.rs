//! A whole space: its configurations, which of them is trained next, where, and the study that keeps it all.

pub mod beginnings;
pub mod dispatch;
pub mod journal;
pub mod space;
pub mod strategy;
pub mod study;
pub mod worker;
