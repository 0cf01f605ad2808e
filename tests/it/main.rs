//! The integration tests, one binary.

mod goldens;
mod kernels;
mod model;
mod tensors;
