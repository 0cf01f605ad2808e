//! A study of configurations that were proposed one after the other: its list grows, and what was on it stays.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::{Lock, Plan, Study, StudyFile, identity};
use crate::base::{files::write_atomically, seal};

impl Study {
    /// The configurations that were proposed so far, `first` alone where there is no study yet; none where the study is of all that its
    /// space has.
    ///
    /// Errors: a study that cannot be read.
    pub fn proposed(&self, first: Vec<String>) -> Result<Option<Vec<Vec<String>>>> {
        if self.file().exists() { Ok(self.read()?.proposed) } else { Ok(Some(vec![first])) }
    }

    /// Puts configurations on the list of those that were proposed, in this order. `data` are the fingerprints of all data that they
    /// and those before train on, by [`super::data_id`]. One file is replaced.
    ///
    /// Errors: one of them is on the list already; a file that cannot be written.
    pub fn propose(&self, _lock: &Lock, further: Vec<Vec<String>>, data: BTreeMap<String, String>) -> Result<Plan> {
        let there = self.read()?;
        let mut proposed = there.proposed.clone().unwrap_or_default();
        proposed.extend(further);
        let count = proposed.len();
        let mut plan = StudyFile { proposed: Some(proposed), data, ..there }.plan("its space")?;
        if plan.expansion.candidates.len() < count {
            bail!(
                "{} has some of what was proposed already: explore into another folder with --out",
                self.folder.display()
            );
        }
        let declared = plan.expansion.candidates.len() * plan.space.replicates;
        plan.file.identity = identity(&plan.keys[..declared]);
        write_atomically(&self.file(), seal::to_toml(&plan.file)?.as_bytes())?;
        Ok(plan)
    }
}
