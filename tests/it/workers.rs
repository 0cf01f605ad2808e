//! What every worker keeps, whatever it runs trials on.

use std::{env, fs, path::Path, process::Command, time::Duration};

use fastrcaps::{
    learn::{
        config::TrialConfig,
        data::{self, DataDirs},
        folder::TrialFolder,
        record::{EpochRow, Status, TrialRecord},
        train::beginning::Shared,
    },
    search::worker::{
        Admission, Admissions, Curve, End, Local, Report, Simulated, Slots, Work, Worker,
        slurm::{Need, Profile, Setup, Slurm},
    },
};
use tempfile::TempDir;

/// As long as a worker may take for a trial of these, by its own clock.
const PATIENCE: Duration = Duration::from_secs(120);

/// A worker with two slots; none where what it needs is not there.
type Make = fn() -> Option<Box<dyn Worker>>;

fn local() -> Option<Box<dyn Worker>> {
    let program = env!("CARGO_BIN_EXE_fastrcaps").into();
    Some(Box::new(Local::new(program, Vec::new(), slots(), Admissions::default())))
}

fn simulated() -> Option<Box<dyn Worker>> {
    let curve = |_: &TrialConfig| Curve { seconds_per_epoch: 0.4, accuracies: vec![0.5, 0.6, 0.7], diverges: false };
    Some(Box::new(Simulated::new(slots(), curve)))
}

/// On the cluster that `SLURM_CONF` names; `tests/slurm/run.sh` starts one.
fn slurm() -> Option<Box<dyn Worker>> {
    if env::var_os("SLURM_CONF").is_none() || !Command::new("sinfo").output().is_ok_and(|out| out.status.success()) {
        crate::skipped::skipped("slurm: SLURM_CONF names no cluster that answers");
        return None;
    }
    // Not on a file system that each node might have for itself; removed with the build.
    let home = tempfile::Builder::new().prefix("slurm-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap().keep();
    fs::create_dir_all(&home).unwrap();
    let setup = Setup {
        profile: Profile::default(),
        home,
        program: env!("CARGO_BIN_EXE_fastrcaps").into(),
        arguments: Vec::new(),
        slots: slots(),
        needs: Box::new(|_| Need { mebibytes: Some(300), time: None }),
        data: None,
    };
    Some(Box::new(Slurm::new(setup).unwrap()))
}

/// The workers that can be had here, each made anew.
fn workers() -> impl Iterator<Item = (&'static str, Box<dyn Worker>)> {
    WORKERS.into_iter().filter_map(|(name, make)| Some((name, make()?)))
}

fn slots() -> Vec<fastrcaps::search::worker::Slot> {
    "2x1".parse::<Slots>().unwrap().place(&[])
}

/// The workers by their names.
const WORKERS: [(&str, Make); 3] = [("local", local), ("simulated", simulated), ("slurm", slurm)];

fn config(epochs: usize, seed: u64) -> TrialConfig {
    let table = format!(
        "seed = {seed}\n[data]\nname = 'glyphs'\ntrain_samples = 60\ntest_samples = 20\nvalidation_fraction = 0.2\n\
         [model]\npreset = 'tiny'\n[train]\nepochs = {epochs}\n"
    );
    TrialConfig::resolve(table.parse().unwrap()).unwrap()
}

/// A trial's folder, ready to be started.
struct Trial {
    config: TrialConfig,
    folder: TrialFolder,
    record: TrialRecord,
}

impl Trial {
    fn new(root: &Path, epochs: usize, seed: u64) -> Trial {
        let config = config(epochs, seed);
        let key = config.key(&data::load(&config.data, &DataDirs::at(".")).unwrap().fingerprint);
        let record = TrialRecord { status: Status::Running, attempts: 1, ..TrialRecord::pending(key, 0, &config) };
        let trial = Trial { folder: TrialFolder::new(root.join(format!("{epochs}-{seed}"))), config, record };
        trial.prepare();
        trial
    }

    fn prepare(&self) {
        self.folder.prepare(&self.config, &self.record).unwrap();
    }

    fn start(&self, worker: &mut dyn Worker, slot: usize, epochs: usize, behind: usize) {
        let shared = Shared::default();
        let work = Work { folder: &self.folder, config: &self.config, epochs, behind, shared };
        worker.start(&work, slot).unwrap();
    }
}

/// What a slot reports until it is free: its epochs, and how it ended.
fn watch(worker: &mut dyn Worker, slot: usize) -> (Vec<EpochRow>, End) {
    let mut rows = Vec::new();
    let end = worker.now() + PATIENCE;
    while worker.now() < end {
        for (of, report) in worker.reports() {
            match report {
                Report::Epoch(row) if of == slot => rows.push(row),
                Report::Ended(end) if of == slot => return (rows, end),
                _ => {}
            }
        }
        worker.wait();
    }
    panic!("slot {slot} is not free after {PATIENCE:?}")
}

/// What does not depend on the clock.
fn learned(rows: &[EpochRow]) -> Vec<EpochRow> {
    rows.iter().map(|row| EpochRow { train_seconds_screen: 0.0, ..row.clone() }).collect()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_trial_reports_its_epochs_in_order_and_then_its_end() {
    for (name, mut worker) in workers() {
        let root = folder();
        assert_eq!(worker.reports(), [], "{name}: nothing runs");
        let trial = Trial::new(root.path(), 3, 1);
        assert_eq!(worker.admits(&trial.config, 1), Admission::Now, "{name}");
        trial.start(&mut *worker, 1, 3, 0);
        let (rows, end) = watch(&mut *worker, 1);
        assert!(matches!(end, End::Exited(_)), "{name}: {end:?}");
        assert_eq!(rows, trial.folder.read_epochs().unwrap(), "{name}");
        assert_eq!(rows.iter().map(|row| row.epoch).collect::<Vec<_>>(), [1, 2, 3], "{name}");
        let record = trial.folder.read_record().unwrap();
        assert_eq!((record.status, record.epochs), (Status::Done, 3), "{name}");
        assert_eq!(worker.reports(), [], "{name}: it has ended once");
    }
}

#[test]
fn slots_run_side_by_side_and_are_free_again_afterwards() {
    for (name, mut worker) in workers() {
        let root = folder();
        let trials = [1, 2, 3].map(|seed| Trial::new(root.path(), 1, seed));
        for (slot, trial) in trials[..2].iter().enumerate() {
            trial.start(&mut *worker, slot, 1, 0);
        }
        let mut free = Vec::new();
        while free.len() < 2 {
            let ended = |(slot, report)| matches!(report, Report::Ended(_)).then_some(slot);
            free.extend(worker.reports().into_iter().filter_map(ended));
            worker.wait();
        }
        free.sort();
        assert_eq!(free, [0, 1], "{name}");
        trials[2].start(&mut *worker, 0, 1, 0);
        watch(&mut *worker, 0);
        for trial in &trials {
            assert_eq!(trial.folder.read_record().unwrap().status, Status::Done, "{name}");
        }
    }
}

#[test]
fn a_trial_pauses_after_the_epochs_that_were_asked_for_and_goes_on_to_the_same_rows() {
    for (name, mut worker) in workers() {
        let root = folder();
        let whole = Trial::new(root.path(), 3, 7);
        whole.start(&mut *worker, 0, 3, 0);
        let (expected, _) = watch(&mut *worker, 0);
        let other = folder();
        let parts = Trial::new(other.path(), 3, 7);
        let mut rows = Vec::new();
        for (until, behind) in [(1, 0), (2, 1), (3, 2)] {
            parts.prepare();
            parts.start(&mut *worker, 0, until, behind);
            let (more, end) = watch(&mut *worker, 0);
            rows.extend(more);
            assert_eq!(rows.len(), until, "{name}");
            if until < 3 {
                assert_eq!(end, End::Stopped, "{name}");
                assert!(parts.folder.checkpoint().exists(), "{name}");
                assert_eq!(parts.folder.read_record().unwrap().status, Status::Pending, "{name}");
            }
        }
        assert_eq!(learned(&rows), learned(&expected), "{name}");
        let of = |trial: &Trial| trial.folder.read_record().unwrap();
        assert_eq!(of(&parts).validation_accuracy, of(&whole).validation_accuracy, "{name}");
        assert_eq!(of(&parts).weights_sha256, of(&whole).weights_sha256, "{name}");
    }
}

#[test]
fn a_trial_that_is_asked_to_stop_leaves_a_checkpoint_and_one_that_is_killed_ends() {
    for (name, mut worker) in workers() {
        let root = folder();
        let trials = [1, 2].map(|seed| Trial::new(root.path(), 100_000, seed));
        for (slot, trial) in trials.iter().enumerate() {
            trial.start(&mut *worker, slot, 100_000, 0);
        }
        // A folder on a cluster may be another one until the end: that both train is for the worker to say.
        let (mut trains, end) = ([false; 2], worker.now() + PATIENCE);
        while trains.contains(&false) {
            assert!(worker.now() < end, "{name}: {trains:?} after {PATIENCE:?}");
            for (slot, report) in worker.reports() {
                trains[slot] |= matches!(report, Report::Epoch(_));
            }
            worker.wait();
        }
        worker.ask_to_stop(0);
        assert_eq!(watch(&mut *worker, 0).1, End::Stopped, "{name}");
        assert!(trials[0].folder.checkpoint().exists(), "{name}");
        worker.kill(1);
        assert_eq!(watch(&mut *worker, 1).1, End::Killed, "{name}");
    }
}

#[test]
fn nothing_is_left_of_what_an_earlier_engine_ran_once_it_is_adopted() {
    for (name, mut worker) in workers() {
        let root = folder();
        let trial = Trial::new(root.path(), 1, 1);
        assert_eq!(worker.adopt(&trial.folder).unwrap(), None, "{name}");
        assert!(trial.folder.claim().is_ok(), "{name}");
    }
}
