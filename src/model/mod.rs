//! The networks: CapsNet (Sabour, Frosst, Hinton 2017) with its light-weight variants, and LeNet-5.

pub mod config;
