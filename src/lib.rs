//! fastrcaps: explores training optimisations of capsule networks and finds the Pareto front of
//! training time, accuracy and parameters.
//!
//! The learning half trains one configuration: [`config`] says what, [`data`], [`model`] (on [`kernels`]) and
//! [`schedule`] are its parts, [`train`] is the loop, [`record`] what it leaves behind in its [`folder`].
//!
//! The search half trains a whole [`space`]: a [`strategy`] chooses, an [`executor`] starts processes,
//! [`dispatch`] joins them with the [`journal`] of a [`study`], [`confirm`] takes [`times`] anew, [`analysis`] (on
//! [`pareto`] and [`stats`]) judges, [`report`] and [`charts`] show, [`upkeep`] checks, mends, joins and takes away.
//!
//! The library prints nothing and knows no command line.

pub mod analysis;
pub mod charts;
pub mod config;
pub mod confirm;
pub mod data;
pub mod device;
pub mod dispatch;
pub mod executor;
pub mod files;
pub mod folder;
pub mod journal;
pub mod kernels;
pub mod machine;
pub mod model;
pub mod pareto;
pub mod range_test;
pub mod record;
pub mod report;
pub mod rng;
pub mod schedule;
pub mod seal;
pub mod selftest;
pub mod source;
pub mod space;
pub mod stats;
pub mod strategy;
pub mod study;
pub mod times;
pub mod train;
pub mod upkeep;
pub mod words;
