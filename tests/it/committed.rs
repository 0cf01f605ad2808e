//! Committed records (`results/records`) stay readable, and their keys stay those of their configurations.

use std::{collections::BTreeSet, fs, path::PathBuf};

use fastrcaps::{
    learn::{
        config::TrialConfig,
        record::{EpochRow, TrialRecord},
    },
    search::study::{StudyFile, trial_keys},
};

/// The files of all records whose names end so.
fn files(end: &str) -> Vec<PathBuf> {
    let records = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("results/records");
    let folders = fs::read_dir(records).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    files.filter(|path| path.to_string_lossy().ends_with(end)).collect()
}

#[test]
fn committed_studies_have_the_trials_of_their_tables() {
    let studies = files("study.toml");
    assert!(studies.len() >= 2);
    for path in studies {
        let file: StudyFile = toml::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let space = file.space(&file.name).unwrap();
        let trials = space.expand().unwrap().trials(space.replicates + file.further_replicates);
        let known: BTreeSet<String> = trial_keys(&trials, &file.data).unwrap().into_iter().collect();
        let tables = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        let mut rows = 0;
        for table in tables.filter(|table| table.file_name().unwrap().to_string_lossy().starts_with("trials")) {
            let mut reader = csv::Reader::from_path(&table).unwrap();
            let column = reader.headers().unwrap().iter().position(|name| name == "key").unwrap();
            for row in reader.records() {
                let key = row.unwrap()[column].to_string();
                assert!(known.contains(&key), "{}: {key}", table.display());
                rows += 1;
            }
        }
        assert!(rows > 0, "{} has no trials beside it", path.display());
    }
}

#[test]
fn committed_trainings_are_read_with_their_epochs() {
    let trainings = files(".trial.json");
    assert!(trainings.len() >= 3);
    for path in trainings {
        let record: TrialRecord = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert!(record.train_seconds_screen.is_some(), "{}", path.display());
        let beside = |end: &str| PathBuf::from(path.to_string_lossy().replace("trial.json", end));
        let config = TrialConfig::resolve(fs::read_to_string(beside("config.toml")).unwrap().parse().unwrap()).unwrap();
        assert_eq!((config.seed, config.parameters()), (record.seed, record.parameters));
        let mut reader = csv::Reader::from_path(beside("epochs.csv")).unwrap();
        let epochs: Vec<EpochRow> = reader.deserialize().collect::<Result<_, _>>().unwrap();
        assert_eq!(epochs.len(), record.epochs);
    }
}
