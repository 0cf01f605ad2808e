//! The integration tests, one binary.

mod data;
mod pareto;
mod range_test;
mod stats;
