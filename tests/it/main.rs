//! The integration tests, one binary.

mod allocations;
mod bench;
mod charts;
mod checkpoint;
mod cli;
mod data;
mod dispatch;
mod faults;
mod goldens;
mod journal;
mod kernels;
mod layering;
mod model;
mod pareto;
mod pass;
mod range_test;
mod schedule;
mod space;
mod stats;
mod study;
mod tensors;
