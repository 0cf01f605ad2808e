mod cifar;
mod cli;
mod config;
mod fetch;
mod glyphs;
mod idx;
mod load;
