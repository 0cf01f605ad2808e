//! fastrcaps: explores training optimisations of capsule networks and finds the Pareto front of
//! training time, accuracy and parameters.

pub mod charts;
pub mod config;
pub mod data;
pub mod kernels;
pub mod model;
pub mod pareto;
pub mod range_test;
pub mod record;
pub mod rng;
pub mod schedule;
pub mod stats;
