//! Freeze-thaw: what it decides does not depend on how it was run, what it pauses may go on, and its audit counts.

use fastrcaps::{
    base::source::Document,
    learn::record::{EpochRow, Status},
    search::{
        space::{Expansion, Space, Trial},
        strategy::{Brief, Costs, Decision, FreezeThaw, Offer, Progress, Proposal, Searcher, Settings, Told, Why},
    },
};
use proptest::prelude::*;
use serde_json::Value;

use crate::cli::{explore_until, figures, folder_with, refuse, succeed, table};

/// A space of 96 configurations under two seeds.
const SPACE: &str = "
replicates = 2
[base]
model = { preset = 'tiny' }
train = { epochs = 12 }
schedule.batch.policy = 'fixed'
[axes]
\"model.routing_iterations\" = [3, 2, 1]
\"schedule.batch.size\" = [8, 16, 64, 256]
\"model.class_sharing\" = ['none', 'by-type']
\"schedule.lr\" = [{ policy = 'fixed' }, { policy = 'one-cycle' }]
\"data.shift\" = [0, 2]
";

struct Known {
    expansion: Expansion,
    trials: Vec<Trial>,
    costs: Costs,
}

fn known() -> Known {
    let space = Space::from_document(Document::parse("space.toml", SPACE.into()).unwrap(), "space", &[]).unwrap();
    let expansion = space.expand().unwrap();
    let trials = expansion.trials(space.replicates);
    let seconds = |of: &[Option<String>]| {
        let number = |axis: usize| of[axis].as_ref().unwrap().parse::<f64>().unwrap();
        (4.0 + number(0)) * (1.0 + 8.0 / number(1)) * if of[2].as_deref() == Some("by-type") { 0.7 } else { 1.0 }
    };
    let all = |each: f64| (1..=12).map(|epoch| each * epoch as f64).collect();
    let costs = Costs {
        seconds: expansion.candidates.iter().map(|of| all(seconds(&of.values))).collect(),
        parameters: expansion.candidates.iter().map(|of| of.config.parameters()).collect(),
    };
    Known { expansion, trials, costs }
}

impl Known {
    fn searcher(&self, settings: Settings) -> FreezeThaw {
        FreezeThaw::new(&Brief {
            trials: &self.trials,
            candidates: &self.expansion.candidates,
            costs: Some(&self.costs),
            settings,
            asked: self.trials.len(),
            limit: None,
            begun: &[],
            baseline: self.expansion.baseline,
            ground: None,
        })
    }

    /// Accuracy after an epoch, the same whenever it is asked for.
    fn row(&self, trial: usize, epoch: usize) -> EpochRow {
        let Trial { candidate, replicate, .. } = self.trials[trial];
        let quality = (candidate * 37 % 101) as f64 / 101.0;
        let seed = ((candidate * 13 + replicate * 7 + epoch * 3) % 17) as f64 / 17.0;
        let accuracy = 0.99 - (0.05 + 0.4 * quality) / (epoch as f64).powf(0.5 + quality) - 0.004 * seed;
        made_up(epoch, accuracy)
    }

    /// Explores to the end on `slots`; `next(n)` says which of n running trials ends next, and whether the explorer is killed
    /// instead, with what runs at some epoch.
    fn explore(&self, settings: Settings, slots: usize, mut next: impl FnMut(usize) -> (usize, bool)) -> End {
        let mut progress = vec![Progress::new(Status::Pending); self.trials.len()];
        loop {
            let searcher = self.searcher(settings);
            let row = |trial: usize, epoch: usize| self.row(trial, epoch);
            if sweep(&searcher, &self.trials, row, &mut progress, slots, &mut next) {
                let epochs = progress.iter().map(|of| (of.status, of.epochs.len())).collect();
                return End { epochs, decisions: searcher.decisions(0), audit: searcher.audit().unwrap() };
            }
        }
    }
}

/// The row of an epoch that came to so much.
pub fn made_up(epoch: usize, accuracy: f64) -> EpochRow {
    EpochRow {
        epoch,
        learning_rate: 1e-3,
        batch_size: 8,
        train_loss: 0.1,
        train_accuracy: accuracy,
        validation_loss: 0.1,
        validation_accuracy: accuracy,
        train_seconds_screen: epoch as f64,
        samples: 1,
        steps: 1,
    }
}

/// Trains what the searcher proposes, up to 12 epochs, until that is nothing; false where it is killed before. `next(n)` says which
/// of n running trials ends next, and whether the explorer is killed instead, with what runs at some epoch.
pub fn sweep(
    searcher: &dyn Searcher,
    trials: &[Trial],
    row: impl Fn(usize, usize) -> EpochRow,
    progress: &mut [Progress],
    slots: usize,
    next: &mut impl FnMut(usize) -> (usize, bool),
) -> bool {
    let mut running: Vec<(usize, usize)> = Vec::new();
    let to = |progress: &mut Progress, trial: usize, epochs: usize| {
        progress.epochs = (1..=epochs.max(progress.epochs.len())).map(|epoch| row(trial, epoch)).collect();
        progress.status = if progress.epochs.len() == 12 { Status::Done } else { Status::Pending };
    };
    loop {
        while running.len() < slots {
            let told = Told { trials, progress, seconds_left: None };
            match searcher.propose(&told, &Offer::ANY) {
                Proposal::Train { trial, epochs } => {
                    assert!(progress[trial].is_resting() && epochs > progress[trial].epochs.len());
                    progress[trial].status = Status::Running;
                    running.push((trial, epochs));
                }
                Proposal::Stop { trial, .. } => progress[trial].status = Status::Stopped,
                Proposal::Pause { trial, reason } => {
                    assert!(reason.contains("unlikely") || reason.contains("trained to"), "{reason}");
                    progress[trial].status = Status::Paused;
                }
                Proposal::Wait => break,
                Proposal::Done => {
                    assert!(running.is_empty());
                    return true;
                }
            }
        }
        let (which, is_killed) = next(running.len());
        if is_killed {
            for (trial, epochs) in running.drain(..) {
                let behind = progress[trial].epochs.len();
                let reached = (behind + which % (epochs - behind + 1)).min(11);
                to(&mut progress[trial], trial, reached);
            }
            return false;
        }
        let (trial, epochs) = running.swap_remove(which % running.len());
        to(&mut progress[trial], trial, epochs);
    }
}

#[derive(Debug, PartialEq)]
struct End {
    epochs: Vec<(Status, usize)>,
    decisions: Vec<Decision>,
    audit: fastrcaps::search::strategy::Audit,
}

fn serial(known: &Known, settings: Settings) -> End {
    known.explore(settings, 1, |_| (0, false))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn decisions_and_rows_are_the_same_for_any_slots_any_order_of_ends_and_any_kills(
        slots in 1usize..20,
        choices in prop::collection::vec((0usize..1000, prop::bool::weighted(0.03)), 4000),
        risk in prop::option::of(0.05f64..0.5),
    ) {
        let known = known();
        let settings = Settings { risk, keep_factors: 0.1, ..Settings::default() };
        let mut at = 0;
        let end = known.explore(settings, slots, |_| {
            at += 1;
            choices.get(at).copied().unwrap_or((0, false))
        });
        prop_assert_eq!(end, serial(&known, settings));
    }
}

#[test]
fn most_of_the_training_is_saved_and_every_configuration_gets_a_little() {
    let known = known();
    let End { epochs, decisions, audit } = serial(&known, Settings::default());
    let first = &epochs[..known.expansion.candidates.len()];
    assert!(first.iter().all(|(_, epochs)| *epochs > 0), "{first:?}");
    let trained: usize = epochs.iter().map(|(_, epochs)| epochs).sum();
    assert!(trained * 2 < known.trials.len() * 12, "{trained} epochs");
    assert!(
        audit.finished > 0 && audit.finished <= audit.paused && audit.bound > 0.0 && audit.bound <= 1.0,
        "{audit:?}"
    );
    assert!(decisions.iter().any(|of| of.why == Why::Unlikely && of.basis.is_some()));
}

#[test]
fn the_audit_goes_on_until_its_bound_meets_the_risk_that_was_asked_for() {
    let known = known();
    let loose = serial(&known, Settings { risk: Some(0.5), ..Settings::default() });
    let tight = serial(&known, Settings { risk: Some(0.08), ..Settings::default() });
    for (end, risk) in [(&loose, 0.5), (&tight, 0.08)] {
        assert!(end.audit.remaining == 0 || end.audit.risk <= risk, "{:?}", end.audit);
    }
    assert!(tight.audit.finished > loose.audit.finished);
}

#[test]
fn kept_factors_have_their_share_of_whole_trainings() {
    let known = known();
    let End { epochs, .. } = serial(&known, Settings { keep_factors: 0.25, ..Settings::default() });
    for axis in 0..5 {
        for value in known.expansion.candidates.iter().map(|of| &of.values[axis]) {
            let those = known.trials.iter().zip(&epochs).filter(|(trial, _)| {
                trial.replicate == 0 && known.expansion.candidates[trial.candidate].values[axis] == *value
            });
            let (whole, all) = those.fold((0, 0), |(whole, all), (_, end)| (whole + usize::from(end.1 == 12), all + 1));
            assert!(4 * whole >= all, "axis {axis}, {value:?}: {whole} of {all}");
        }
    }
}

/// Sixteen configurations whose accuracies differ.
const SMALL: &str = "
[base]
data = { name = 'glyphs', train_samples = 200, test_samples = 40, validation_fraction = 0.2 }
model = { preset = 'tiny' }
train = { epochs = 6 }
schedule.batch = { policy = 'fixed', size = 16 }
[axes]
\"schedule.lr.rate\" = [1e-6, 2e-6, 5e-6, 1e-5, 3e-4, 1e-3, 2e-3, 4e-3]
\"model.routing_iterations\" = [3, 1]
";

const EXPLORE: [&str; 5] = ["explore", "space.toml", "--strategy", "freeze-thaw", "--quiet"];

#[test]
fn serial_parallel_and_interrupted_explorations_pause_the_same_and_say_why() {
    let serial = folder_with(SMALL);
    succeed(serial.path(), &[&EXPLORE[..], &["--slots", "1x1"]].concat());
    let study = serial.path().join("results/space");
    let wanted = figures(&study);
    let costs = study.join("costs.json");
    let with_costs = ["--costs", costs.to_str().unwrap()];
    let parallel = folder_with(SMALL);
    succeed(parallel.path(), &[&EXPLORE[..], &["--slots", "3x1"], &with_costs].concat());
    assert_eq!(figures(&parallel.path().join("results/space")), wanted);
    let stopped = folder_with(SMALL);
    for finished in [3, 12] {
        let arguments = [&EXPLORE[..], &["--no-confirm", "--slots", "2x1"], &with_costs].concat();
        explore_until(stopped.path(), &arguments, finished, "-KILL");
    }
    succeed(stopped.path(), &[&EXPLORE[..], &["--slots", "1x1"], &with_costs].concat());
    assert_eq!(figures(&stopped.path().join("results/space")), wanted);

    let rows = table(study.join("trials.csv"));
    let paused: Vec<_> = rows.iter().filter(|row| row["status"] == "paused").collect();
    // So few configurations may all be worth their training; what is paused of more, the tests above hold.
    let asked = paused.first().map_or(&rows[0], |row| *row);
    let said = succeed(serial.path(), &["explain", "results/space", &asked["configuration"]]);
    assert!(said.contains(&asked["key"]) && said.contains("round 0: "), "{said}");
    assert!(paused.is_empty() || said.contains("paused: "), "{said}");
    let standing: Value =
        serde_json::from_str(&succeed(serial.path(), &["status", "results/space", "--json"])).unwrap();
    assert_eq!(standing["paused_trials"], paused.len());
    assert!(paused.is_empty() || standing["audit"]["bound"].is_number(), "{standing}");
    succeed(serial.path(), &["study", "check", "results/space"]);

    // Again it has nothing to do; another strategy goes on with what was paused.
    succeed(serial.path(), &EXPLORE);
    assert_eq!(figures(&study), wanted);
    succeed(serial.path(), &["explore", "space.toml", "--quiet"]);
    assert!(table(study.join("trials.csv")).iter().all(|row| row["status"] == "done"));
    let told = refuse(serial.path(), &["explain", "results/space", "nothing"]);
    assert!(told.contains("has no configuration \"nothing\""), "{told}");
    let told = refuse(serial.path(), &["explore", "space.toml", "--risk", "0.1"]);
    assert!(told.contains("--risk goes with --strategy freeze-thaw"), "{told}");
}
