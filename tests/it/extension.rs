//! A study is extended by a space that contains its own: nothing is trained twice, nothing that was trained is lost.

use std::{fs, path::Path};

use fastrcaps::{
    base::source::Document,
    engine::upkeep::status,
    learn::record::{Status, TrialRecord},
    present::report::view::StudyView,
    search::{
        journal::Journal,
        space::Space,
        study::{self, Study, StudyFile},
    },
};

use crate::{
    cli::{begun, figures, folder_with, refuse, succeed, table, told},
    facts::Facts,
};

/// Two configurations of a moment each.
const SPACE: &str = "
[base]
data = { name = 'glyphs', train_samples = 100, test_samples = 20, validation_fraction = 0.2 }
model = { preset = 'tiny' }
train = { epochs = 2 }
[axes]
\"schedule.batch.size\" = [16, 32]
";
/// The same and two more, in another order, so that places, labels and the baseline are others.
const MORE: &str = "[40, 32, 24, 16]";

fn study(folder: &Path) -> Study {
    Study::new(folder.join("results/space"))
}

fn write_space(folder: &Path, sizes: &str, replicates: usize) {
    let text = format!("replicates = {replicates}\n{}", SPACE.replace("[16, 32]", sizes));
    fs::write(folder.join("space.toml"), text).unwrap();
}

#[test]
fn a_further_value_of_an_axis_trains_what_is_new_and_keeps_the_rest() {
    let folder = folder_with(SPACE);
    let here = folder.path();
    succeed(here, &["explore", "space.toml", "--quiet"]);
    let records = StudyView::read(&study(here)).unwrap().records;
    write_space(here, MORE, 1);
    let said = succeed(here, &["explore", "space.toml", "--dry-run"]);
    said.names(["2 trials", "2"]);
    // Taken over and new; to train and kept.
    told(here, &["explore", "space.toml", "--limit", "3"]).names(["2 trials", "2", "2 trials", "1"]);
    let said = told(here, &["explore", "space.toml"]);
    said.names(["0 trials"]).is_silent_on(["2 trials"]);
    assert_eq!(begun(here, &[]), 0);
    let view = StudyView::read(&study(here)).unwrap();
    assert_eq!(view.count(Status::Done), 4);
    for record in records {
        assert!(view.records.contains(&record));
    }
    succeed(here, &["study", "check", "results/space"]);
    // As if all had been trained at once.
    let whole = folder_with("");
    write_space(whole.path(), MORE, 1);
    succeed(whole.path(), &["explore", "space.toml", "--quiet"]);
    assert_eq!(figures(&here.join("results/space")), figures(&whole.path().join("results/space")));
    let before = table(here.join("results/space/trials.csv"));
    assert_eq!(before.iter().map(|row| &row["schedule.batch.size"]).collect::<Vec<_>>(), ["40", "32", "24", "16"]);
    succeed(here, &["study", "rebuild", "results/space"]);
    assert_eq!(table(here.join("results/space/trials.csv")), before);
    // Back again would lose what was added.
    write_space(here, "[16, 32, 8]", 1);
    for arguments in [&["explore", "space.toml"][..], &["explore", "space.toml", "--dry-run"]] {
        let said = refuse(here, arguments);
        said.names(["2", "4 configurations", "axes.schedule.batch.size", "40, 24", "results/space", "8", "--out"]);
    }
    assert_eq!(StudyView::read(&study(here)).unwrap().count(Status::Done), 4);
}

#[test]
fn an_extension_whose_explorer_died_at_once_is_whole_and_goes_on() {
    let folder = folder_with(SPACE);
    let here = folder.path();
    succeed(here, &["explore", "space.toml", "--quiet", "--limit", "1"]);
    let study = study(here);
    let plan = study.plan().unwrap();
    // Its other trial was running when its explorer was killed.
    let (trial, key) = (&plan.trials[1], &plan.keys[1]);
    let begun = TrialRecord {
        status: Status::Running,
        attempts: 1,
        ..TrialRecord::pending(key.clone(), trial.replicate, &trial.config)
    };
    study.trial(key).prepare(&trial.config, &begun).unwrap();
    Journal::open(&study.journal()).unwrap().put(&begun, &[]).unwrap();
    write_space(here, MORE, 1);
    let text = fs::read_to_string(here.join("space.toml")).unwrap();
    let space = Space::from_document(Document::parse("space.toml", text.clone()).unwrap(), "space", &[]).unwrap();
    let keys = study::trial_keys(&space.expand().unwrap().trials(1), &plan.file.data).unwrap();
    let file = StudyFile { identity: study::identity(&keys), space: text, ..plan.file.clone() };
    let lock = study.open().unwrap();
    let before = study.declare(&lock, &file).unwrap().before.unwrap();
    assert_eq!(before, plan.keys.iter().cloned().collect());
    drop(lock);
    // Its tables are of before, all else of now.
    succeed(here, &["study", "check", "results/space"]);
    let standing = status::standing(&study).unwrap();
    assert_eq!((standing.trials, standing.done, standing.pending, standing.interrupted), (4, 1, 3, 1));
    succeed(here, &["explore", "space.toml", "--quiet"]);
    let view = StudyView::read(&study).unwrap();
    assert_eq!(view.count(Status::Done), 4);
    let attempts = |key: &str| view.records.iter().flatten().find(|record| record.key == key).unwrap().attempts;
    assert_eq!(plan.keys.iter().map(|key| attempts(key)).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(table(here.join("results/space/trials.csv")).len(), 4);
}

#[test]
fn a_space_with_other_replicates_keeps_those_that_were_trained() {
    let folder = folder_with("");
    let here = folder.path();
    let trained = || {
        let view = StudyView::read(&study(here)).unwrap();
        (view.count(Status::Done), view.wanted().count())
    };
    write_space(here, "[16]", 1);
    succeed(here, &["explore", "space.toml", "--quiet", "--replicates", "2"]);
    assert_eq!(trained(), (2, 2));
    // Who asked for two of each asked for two of those that come.
    write_space(here, "[16, 32]", 1);
    succeed(here, &["explore", "space.toml", "--quiet"]);
    assert_eq!(trained(), (4, 4));
    write_space(here, "[16, 32]", 3);
    succeed(here, &["explore", "space.toml", "--quiet", "--limit", "5"]);
    assert_eq!(trained(), (5, 6));
    // Fewer: what comes now is trained once, what was trained stays.
    write_space(here, "[32, 40, 16]", 1);
    let said = refuse(here, &["explore", "space.toml", "--set", "replicates=2", "--replicates", "1"]);
    said.names(["--set replicates=1"]);
    let said = succeed(here, &["explore", "space.toml", "--dry-run"]);
    said.names(["1 trial", "2"]);
    succeed(here, &["explore", "space.toml", "--quiet"]);
    assert_eq!(trained(), (6, 6));
    assert_eq!(table(here.join("results/space/trials.csv")).len(), 6);
    succeed(here, &["study", "check", "results/space"]);
    succeed(here, &["study", "rebuild", "results/space"]);
    assert_eq!(trained(), (6, 6));
}
