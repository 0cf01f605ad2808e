//! Small things under all: no room here knows what a network or a study is.

pub mod device;
pub mod files;
pub mod invalid;
pub mod machine;
pub mod rng;
pub mod seal;
pub mod source;
pub mod stats;
pub mod words;
