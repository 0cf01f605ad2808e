mod cifar;
mod cli;
mod config;
mod fetch;
mod glyphs;
mod idx;
pub mod load;
pub mod own;
mod shapes;
