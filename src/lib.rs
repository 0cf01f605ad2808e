//! fastrcaps: explores training optimisations of capsule networks and finds the Pareto front of
//! training time, accuracy and parameters.
//!
//! The folders are the storeys of the house. A storey uses those named before it, and none named after it:
//! [`base`] small things under all, [`analysis`] what figures say and how surely, [`learn`] one configuration and its
//! training, [`search`] a whole space and its study, [`timing`] times that can be believed, [`present`] tables and
//! charts, [`engine`] what is done to a whole study.
//!
//! The library prints nothing and knows no command line.

pub mod analysis;
pub mod base;
pub mod engine;
pub mod learn;
pub mod present;
pub mod search;
pub mod timing;
