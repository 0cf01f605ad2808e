//! The integration tests, one binary.

mod charts;
mod pareto;
mod range_test;
mod stats;
