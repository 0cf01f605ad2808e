mod cifar;
mod cli;
mod config;
mod fetch;
mod glyphs;
mod idx;
pub mod load;
mod shapes;
