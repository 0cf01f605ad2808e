//! The integration tests, one binary.

mod data;
mod goldens;
mod kernels;
mod model;
mod pareto;
mod range_test;
mod stats;
mod tensors;
