//! The integration tests, one binary.

mod pareto;
mod range_test;
mod stats;
