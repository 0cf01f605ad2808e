//! Pictures of a study. One chart a file: `data()` says what it shows, as a value that serialises, and `draw()` makes a
//! [`Scene`] of that value. A scene becomes bytes with [`Scene::png`] or [`Scene::svg`], both painted by plotters. Nothing
//! here reads or writes a file.
//!
//! [`CHARTS`] has the charts of a study; [`lr_find`] is that of a range test and [`image_sheet`] that of a data set,
//! which are no study's.

pub mod attribution;
pub mod axis;
pub mod bars;
pub mod canvas;
mod clock;
pub mod curves;
mod encode;
mod facts;
mod font;
pub mod front;
pub mod gantt;
pub mod hypervolume;
pub mod image_sheet;
mod images;
pub mod interactions;
mod kind;
pub mod labels;
mod layout;
mod lettering;
mod look;
pub mod lr_find;
pub mod parallel;
mod png;
mod points;
pub mod reconstructions;
pub mod scatter;
pub mod schedule;
pub mod slices;
pub mod style;
mod svg;
mod transform;

pub use canvas::Scene;
pub use facts::{Facts, Options};
pub use kind::{ChartData, ChartKind, Ranges};
pub use look::{SCREEN, Style, Theme};
pub use png::is_own;
pub use svg::START as SVG_START;

/// The charts of a study, in the order in which a reader wants them.
pub const CHARTS: &[ChartKind] = &[
    front::KIND,
    scatter::KIND,
    bars::KIND,
    attribution::KIND,
    interactions::KIND,
    slices::KIND,
    parallel::KIND,
    curves::KIND,
    curves::OVER_SECONDS,
    schedule::KIND,
    hypervolume::KIND,
    gantt::KIND,
    reconstructions::KIND,
];

/// The chart of that name.
pub fn find(name: &str) -> Option<&'static ChartKind> {
    CHARTS.iter().find(|chart| chart.name == name)
}
