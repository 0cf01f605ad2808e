//! Pictures of a search. One chart a file: `data()` says what is drawn, `draw()` makes a [`Scene`] of it, and a scene
//! becomes bytes with [`Scene::png`] or [`Scene::svg`], both painted by plotters. Nothing here reads or writes a file.
//!
//! - [`front`]: accuracy over training time, the Pareto front and the baseline.
//! - [`curves`]: accuracy or loss of many configurations while they train.
//! - [`attribution`]: what each optimisation does to time, accuracy and parameters.
//! - [`schedule`]: learning rate and batch size over the epochs.
//! - [`lr_find`]: the learning-rate range test and the rate it suggests.
//! - [`reconstructions`]: images beside what the decoder makes of them.
//! - [`image_sheet`]: images of a data set, some of each class.

pub mod attribution;
pub mod axis;
pub mod canvas;
pub mod curves;
mod encode;
mod font;
pub mod front;
pub mod image_sheet;
pub mod labels;
mod layout;
mod lettering;
pub mod lr_find;
mod png;
pub mod reconstructions;
pub mod schedule;
pub mod style;
mod svg;

pub use canvas::Scene;
pub use png::is_own;
