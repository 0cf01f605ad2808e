//! A study in the formats of other programs: CSV, JSON, LaTeX, TensorBoard. Each is a list of files by their names; nothing
//! here writes one.

mod json;
mod latex;
mod tensorboard;

pub use json::{VERSION, json};
pub use latex::latex;
pub use tensorboard::tensorboard;

use anyhow::Result;

use crate::present::report::{findings::Findings, tables, view::StudyView};

/// Files by their names below a folder.
pub type Files = Vec<(String, Vec<u8>)>;

/// A row per trial, a row per epoch, and the front, as the study's own tables have them.
pub fn csv(view: &StudyView, findings: &Findings) -> Result<Files> {
    Ok(vec![
        ("trials.csv".into(), tables::trials(view)?),
        ("epochs.csv".into(), tables::epochs(view)?),
        ("front.csv".into(), tables::front(view, findings)?),
    ])
}
