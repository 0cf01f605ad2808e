//! The integration tests, one binary.

mod allocations;
mod analysis;
mod attribution;
mod attribution_cli;
mod bench;
mod charts;
mod checkpoint;
mod cli;
#[cfg(feature = "cuda")]
mod cuda;
mod data;
mod dispatch;
mod extension;
mod faults;
mod fuzz;
mod goldens;
mod gpu_slots;
mod journal;
mod kernels;
mod layering;
mod memory;
mod model;
mod pareto;
mod pass;
mod pick;
mod range_test;
mod replicates;
mod schedule;
mod selftest;
mod space;
mod stats;
mod strategy;
mod study;
mod tensors;
mod times;
