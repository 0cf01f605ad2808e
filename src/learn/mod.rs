//! One configuration: what it is, its data, its network, its training, and what that leaves behind.

pub mod config;
pub mod data;
pub mod folder;
pub mod kernels;
pub mod model;
pub mod record;
pub mod schedule;
pub mod selftest;
pub mod train;
