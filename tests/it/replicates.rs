//! Further replicates: who gets them, what stays as it was, and what an exploration goes on with. No test asserts a time.

use std::{collections::BTreeMap, fs, path::Path};

use fastrcaps::{
    engine::upkeep::status,
    learn::record::{Status, TrialRecord},
    present::report::view::StudyView,
    search::{journal::Journal, study::Study},
};

use crate::{
    cli::{events, folder_with, program, refuse, refused, succeed, table},
    facts::Facts,
};

/// Three configurations of a moment each.
const SPACE: &str = "
[base]
data = { name = 'glyphs', train_samples = 100, test_samples = 20, validation_fraction = 0.2 }
model = { preset = 'tiny' }
train = { epochs = 2 }
[axes]
\"schedule.batch\" = [{ policy = 'fixed', size = 16 }, { policy = 'fixed', size = 32 }, { policy = 'fixed', size = 40 }]
";

fn study(folder: &Path) -> Study {
    Study::new(folder.join("results/space"))
}

/// Rows of trials.csv that ended well, by configuration.
fn done(folder: &Path) -> BTreeMap<String, Vec<BTreeMap<String, String>>> {
    let mut of: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for row in table(folder.join("results/space/trials.csv")).into_iter().filter(|row| row["status"] == "done") {
        of.entry(row["configuration"].clone()).or_default().push(row);
    }
    of
}

#[test]
fn another_replicate_of_each_is_trained_and_the_rest_stays() {
    let folder = folder_with(SPACE);
    succeed(folder.path(), &["explore", "space.toml", "--quiet"]);
    let before = done(folder.path());
    assert!(before.values().all(|rows| rows.len() == 1) && before.len() == 3);
    // The study has fewer trials than what is asked for now.
    let said = succeed(folder.path(), &["explore", "space.toml", "--replicates", "3", "--dry-run"]);
    said.names(["6 trials", "3"]);
    let events = events(folder.path(), &["--replicates", "2"]);
    let ended: Vec<_> = events.iter().filter(|event| event["event"] == "ended").collect();
    assert!(ended.len() == 3 && ended.iter().all(|event| event["replicate"] == 1), "{events:?}");
    let finished = events.last().unwrap();
    assert_eq!((&finished["done"], &finished["pending"]), (&6.into(), &0.into()), "{finished}");
    let after = done(folder.path());
    for (configuration, rows) in &after {
        assert_eq!(rows.len(), 2);
        assert!(rows.contains(&before[configuration][0]), "{configuration}");
    }
    succeed(folder.path(), &["study", "check", "results/space"]);
    for (arguments, code, facts) in [
        (&["--max-replicates", "3"][..], 2, &["--replicates"][..]),
        (&["--replicates", "2", "--max-replicates", "3"], 1, &["--replicates auto"]),
        (&["--replicates", "auto", "--max-replicates", "1"], 2, &["--max-replicates", "1", "2..=1000"]),
        (&["--replicates", "auto", "--limit", "1"], 1, &["--limit"]),
    ] {
        let (ended, said) = refused(folder.path(), &[&["explore", "space.toml"][..], arguments].concat());
        said.names(facts);
        assert_eq!(ended, code, "{said}");
    }
}

#[test]
fn an_exploration_goes_on_with_the_replicates_that_were_asked_for() {
    let folder = folder_with(SPACE);
    succeed(folder.path(), &["explore", "space.toml", "--quiet", "--replicates", "2", "--limit", "4"]);
    let study = study(folder.path());
    let standing = status::standing(&study).unwrap();
    assert_eq!((standing.trials, standing.done, standing.pending), (6, 4, 2));
    succeed(folder.path(), &["explore", "space.toml", "--quiet"]);
    assert!(done(folder.path()).values().all(|rows| rows.len() == 2));
    // One that was begun beyond them, as `auto` does, and never ended.
    let mut file = study.read().unwrap();
    file.further_replicates = 4;
    let lock = study.open().unwrap();
    study.declare(&lock, &file).unwrap();
    drop(lock);
    let plan = study.plan().unwrap();
    assert_eq!((plan.asked, plan.trials.len()), (6, 15));
    let (trial, key) = (&plan.trials[7], &plan.keys[7]);
    let begun = TrialRecord {
        status: Status::Running,
        attempts: 1,
        ..TrialRecord::pending(key.clone(), trial.replicate, &trial.config)
    };
    Journal::open(&study.journal()).unwrap().put(&begun, &[]).unwrap();
    assert_eq!(StudyView::read(&study).unwrap().wanted().count(), 7);
    succeed(folder.path(), &["explore", "space.toml", "--quiet"]);
    let view = StudyView::read(&study).unwrap();
    assert_eq!((view.count(Status::Done), view.wanted().count()), (7, 7));
    assert_eq!(view.records[7].as_ref().unwrap().status, Status::Done);
}

#[test]
fn a_search_ends_and_keeps_to_its_bounds() {
    let folder = folder_with(SPACE);
    let events = events(folder.path(), &["--replicates", "auto", "--max-replicates", "3"]);
    assert_eq!(events.last().unwrap()["why"], "finished");
    assert_eq!(events.last().unwrap()["pending"], 0);
    let of = done(folder.path());
    assert!(of.len() == 3 && of.values().all(|rows| (2..=3).contains(&rows.len())), "{of:?}");
    // Nobody gets one before those in doubt have as many: replicates of each are the first ones.
    for rows in of.values() {
        let mut replicates: Vec<usize> = rows.iter().map(|row| row["replicate"].parse().unwrap()).collect();
        replicates.sort();
        assert_eq!(replicates, (0..rows.len()).collect::<Vec<_>>());
    }
}

#[test]
fn only_failed_trials_of_this_run_are_trained_again() {
    let folder = folder_with(SPACE);
    succeed(folder.path(), &["explore", "space.toml", "--quiet"]);
    let study = study(folder.path());
    let view = StudyView::read(&study).unwrap();
    let mut journal = Journal::open(&study.journal()).unwrap();
    for index in [0, 2] {
        let of = view.records[index].clone().unwrap();
        let failed = TrialRecord { status: Status::Failed, error: Some("a reason".into()), ..of };
        study.trial(&failed.key).write_record(&failed).unwrap();
        journal.put(&failed, &view.epochs[index]).unwrap();
    }
    drop(journal);
    succeed(folder.path(), &["explore", "space.toml", "--quiet", "--limit", "1", "--retry-failed"]);
    let view = StudyView::read(&study).unwrap();
    let statuses: Vec<Status> = view.records.iter().flatten().map(|record| record.status).collect();
    assert_eq!(statuses, [Status::Done, Status::Done, Status::Failed]);
    assert_eq!(view.records[2].as_ref().unwrap().error.as_deref(), Some("a reason"));
}

#[test]
fn a_merge_takes_further_replicates_up() {
    let [into, from] = [folder_with(SPACE), folder_with(SPACE)];
    succeed(into.path(), &["explore", "space.toml", "--quiet", "--limit", "2"]);
    succeed(from.path(), &["explore", "space.toml", "--quiet", "--replicates", "2"]);
    let other = from.path().join("results/space");
    let said = succeed(into.path(), &["study", "merge", "results/space", other.to_str().unwrap()]);
    // Taken up, in the place of failed ones, here already, pending.
    said.names(["4 trials", "0", "2", "0"]);
    assert!(done(into.path()).values().all(|rows| rows.len() == 2));
    succeed(into.path(), &["study", "check", "results/space"]);
}

#[test]
fn the_time_to_an_accuracy_is_a_value_or_not_reached() {
    let folder = folder_with(SPACE);
    succeed(folder.path(), &["explore", "space.toml", "--quiet"]);
    let reached = succeed(folder.path(), &["front", "results/space", "--time-to-accuracy", "0.1%"]);
    let configurations: Vec<String> = done(folder.path()).into_keys().collect();
    let rows = |text: &str| -> Vec<String> {
        let is_row = |line: &&str| configurations.iter().any(|of| line.starts_with(&format!("{of}  ")));
        text.lines().filter(is_row).map(str::to_string).collect()
    };
    // A time in each row, or in none; of the sweep, it has a mark.
    let has_seconds = |row: &String| row.contains(" ~");
    assert!(rows(&reached).len() == 3 && rows(&reached).iter().all(has_seconds), "{reached}");
    let never = succeed(folder.path(), &["front", "results/space", "--time-to-accuracy", "100%"]);
    assert!(rows(&never).len() == 3 && !rows(&never).iter().any(has_seconds), "{never}");
}

#[test]
fn damaged_times_are_told_and_block_nothing_else() {
    let folder = folder_with(SPACE);
    succeed(folder.path(), &["explore", "space.toml", "--quiet"]);
    let times = folder.path().join("results/space/times");
    fs::create_dir_all(&times).unwrap();
    fs::write(times.join("default.json"), "{}").unwrap();
    fs::write(times.join("a name of mine.json"), "{}").unwrap();
    let front = succeed(folder.path(), &["front", "results/space"]);
    front.names(["default.json", "--anew"]);
    succeed(folder.path(), &["status", "results/space"]);
    succeed(folder.path(), &["explore", "space.toml", "--quiet"]);
    refuse(folder.path(), &["time", "results/space"]).names(["default.json", "--anew"]);
    let anew = ["time", "results/space", "--anew", "--patience", "0s", "--sample", "5ms", "--quiet"];
    // Whether it was left alone is another matter.
    let output = program().current_dir(folder.path()).args(anew).output().unwrap();
    String::from_utf8_lossy(&output.stderr).is_silent_on(["default.json"]);
    assert!(fastrcaps::timing::sets::TimeSet::read(&study(folder.path()), "default").unwrap().is_some());
}
