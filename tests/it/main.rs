//! The integration tests, one binary.

mod allocations;
mod analysis;
mod bench;
mod charts;
mod checkpoint;
mod cli;
mod data;
mod dispatch;
mod faults;
mod fuzz;
mod goldens;
mod journal;
mod kernels;
mod layering;
mod memory;
mod model;
mod pareto;
mod pass;
mod pick;
mod range_test;
mod schedule;
mod space;
mod stats;
mod strategy;
mod study;
mod tensors;
