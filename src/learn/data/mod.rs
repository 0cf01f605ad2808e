//! Data sets: where images come from, how they are split and how a batch is made.
//!
//! [`sets`] has a row and a file for each data set: its [`descriptor::Descriptor`], from which everything else takes sizes,
//! classes, files and reader. [`load`] makes a [`Dataset`] of a [`DataConfig`] and the [`DataDirs`] to look in; [`batch`] makes
//! batches of it; [`fetch`] downloads published files; [`verify`] checks them. A file format is a file, too: [`idx`], [`cifar`]; those of the user's own images lie in [`own`].

mod archive;
pub mod batch;
pub mod cifar;
pub mod config;
pub mod dataset;
pub mod descriptor;
pub mod dirs;
pub mod fetch;
mod file;
mod files;
pub mod identity;
pub mod idx;
pub mod images;
pub mod own;
pub mod sets;
mod split;
pub mod verify;

pub use config::{Counts, DataConfig};
pub use dataset::{Dataset, load};
pub use descriptor::DatasetName;
pub use dirs::DataDirs;
pub use files::{Files, files_of};
pub use images::{ImageShape, Images, in_turn};
