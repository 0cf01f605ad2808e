//! How often each configuration is trained, and which of them once more.

use std::time::SystemTime;

use anyhow::{Result, bail};

use crate::{
    analysis::{Objectives, bootstrap},
    base::words::plural,
    present::report::{findings::Findings, view::StudyView},
    search::space::{MOST_TRIALS, Space},
};

/// How often each configuration is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replicates {
    Count(usize),
    /// As often as the space says, and then where it is undecided who is on the front.
    Auto,
}

impl Replicates {
    /// That what else was given goes with it: a greatest number of them, a limit of trials.
    pub(super) fn check(self, has_most: bool, has_limit: bool) -> Result<()> {
        match (self, has_most, has_limit) {
            (Replicates::Count(_), true, _) => bail!("--max-replicates goes with --replicates auto"),
            (Replicates::Auto, _, true) => {
                bail!("--limit does not go with --replicates auto, which chooses itself what is trained")
            }
            _ => Ok(()),
        }
    }

    /// How often each configuration is trained at first, and how often at most; of a space of so many configurations, of
    /// which `asked` replicates were asked for earlier.
    pub(super) fn range(
        self,
        space: &Space,
        configurations: usize,
        asked: usize,
        most: usize,
    ) -> Result<(usize, usize)> {
        let (first, most) = self.bounds(space.replicates, asked, most)?;
        let trials = configurations.saturating_mul(most);
        if trials > MOST_TRIALS {
            bail!(
                "{} × {most} replicates are {trials} trials; at most {MOST_TRIALS} are allowed: take fewer replicates",
                plural(configurations, "configuration")
            );
        }
        Ok((first, most))
    }

    fn bounds(self, declared: usize, asked: usize, most: usize) -> Result<(usize, usize)> {
        match self {
            Replicates::Count(count) if count < declared => bail!(
                "--replicates {count}: the space declares {declared}; --set replicates={count} asks for fewer, and what is \
                 trained already stays"
            ),
            Replicates::Count(count) => Ok((count, count)),
            Replicates::Auto if most <= declared => {
                bail!("--max-replicates {most}: the space declares {declared} already; give more")
            }
            // No spread is known of one.
            Replicates::Auto => Ok((declared.max(asked).max(2).min(most), most)),
        }
    }
}

/// Between these probabilities it is open whether a configuration is on the front.
const OPEN: (f64, f64) = (0.05, 0.95);
/// Seconds from start to end of a trial for each second of its steps, evaluation included: more than most take.
const WALL_PER_TRAINING: f64 = 1.5;

/// A further trial of every configuration of which it is open whether it is on the front of time and accuracy, where one may
/// still be trained and would end in time.
pub(super) fn further(view: &StudyView, most: usize, deadline: Option<SystemTime>) -> Vec<usize> {
    let findings = Findings::of(view);
    let probabilities: Vec<Option<f64>> =
        findings.memberships().iter().map(|of| of.of(Objectives::TimeAccuracy)).collect();
    let left = deadline.map(|at| at.duration_since(SystemTime::now()).unwrap_or_default().as_secs_f64());
    let next = |candidate: usize| {
        let mut trials = (0..view.trials.len()).filter(|index| view.trials[*index].candidate == candidate);
        let longest = (view.trials.iter().zip(&view.records))
            .filter(|(trial, _)| trial.candidate == candidate)
            .filter_map(|(_, record)| record.as_ref()?.train_seconds_screen)
            .fold(0.0, f64::max);
        let trial = trials.find(|index| {
            let is_over = view.records[*index].as_ref().is_some_and(|record| record.status.is_final());
            view.trials[*index].replicate < most && !is_over
        })?;
        left.is_none_or(|left| left > WALL_PER_TRAINING * longest).then_some(trial)
    };
    bootstrap::undecided(&findings.points, &probabilities, OPEN.0, OPEN.1).into_iter().filter_map(next).collect()
}
