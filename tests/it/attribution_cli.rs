//! What `fastrcaps attribution` and a study's tables say of effects that are known.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use fastrcaps::{
    analysis::{
        attribution::{self, NoBaseline},
        ladder::ladder,
    },
    learn::record::{EpochRow, Status, TrialRecord},
    present::{
        derived,
        report::{reach::time_to_accuracy, view::StudyView},
    },
    search::{journal::Journal, study::Study},
};

use crate::{facts::Facts, study::declare_space};

const SPACE: &str = "
replicates = 3
[base]
model = { preset = 'tiny' }
train = { epochs = 2 }
[axes]
\"model.routing_iterations\" = [3, 1]
\"model.class_sharing\" = ['none', 'by-type']
";

/// A study whose trials have these ends: seconds and accuracy of a configuration in a replicate; none where it was not trained.
fn study(folder: &Path, end: impl Fn(usize, usize) -> Option<(f64, f64)>) -> Study {
    let study = declare_space(folder, SPACE, "the data");
    let plan = study.plan().unwrap();
    let mut journal = Journal::open(&study.journal()).unwrap();
    for (trial, key) in plan.trials.iter().zip(plan.keys) {
        let Some((seconds, accuracy)) = end(trial.candidate, trial.replicate) else { continue };
        let rows: Vec<EpochRow> = (1..=2).map(|epoch| row(epoch, seconds, accuracy)).collect();
        let record = TrialRecord {
            status: Status::Done,
            epochs: 2,
            best_epoch: Some(2),
            validation_accuracy: Some(accuracy),
            train_seconds_screen: Some(seconds),
            ..TrialRecord::pending(key, trial.replicate, &trial.config)
        };
        journal.put(&record, &rows).unwrap();
    }
    drop(journal);
    let view = StudyView::read(&study).unwrap();
    derived::write_all(&study, &view).unwrap();
    study
}

fn row(epoch: usize, seconds: f64, accuracy: f64) -> EpochRow {
    EpochRow {
        epoch,
        learning_rate: 1e-3,
        batch_size: 8,
        train_loss: 0.5,
        train_accuracy: 0.5,
        validation_loss: 0.5,
        validation_accuracy: accuracy - 0.1 * (2 - epoch) as f64,
        train_seconds_screen: seconds * epoch as f64 / 2.0,
        samples: 100,
        steps: 13,
    }
}

/// Routing once makes it twice as fast for one point of accuracy; sharing changes nothing but the parameters.
fn known(candidate: usize, replicate: usize) -> Option<(f64, f64)> {
    let once = candidate / 2;
    Some(([8.0, 4.0][once] + 0.1 * replicate as f64, 0.9 - 0.01 * once as f64 + 0.001 * replicate as f64))
}

fn run(study: &Study, arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_fastrcaps"));
    program.env_remove("FASTRCAPS_DATA").args(["attribution", study.folder.to_str().unwrap()]).args(arguments);
    program.output().unwrap()
}

/// How many optimisations have an effect that is known.
fn effects(study: &Study) -> Result<usize, NoBaseline> {
    let view = StudyView::read(study).unwrap();
    attribution::effects(&view.design(), &view.points()).map(|effects| effects.len())
}

fn printed(study: &Study, arguments: &[&str]) -> String {
    let output = run(study, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Rows of a CSV by column.
fn table(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let cells = |row: csv::StringRecord| header.iter().map(String::from).zip(row.iter().map(String::from)).collect();
    reader.records().map(|row| cells(row.unwrap())).collect()
}

#[test]
fn known_effects_are_printed_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path(), known);
    let text = printed(&study, &[]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("OPTIMISATION") && lines[1].starts_with("routing iterations 1 "), "{text}");
    lines[1].names(["-1.00 [-1.00, -1.00]"]);
    assert!(lines[1].contains(" 1.9") && lines[2].starts_with("class sharing by-type "), "{text}");
    lines[2].names(["+0.00"]);
    // How sure the intervals are, and the mark of times of the sweep with what it means.
    text.names(["95", "100"]);
    assert!(lines[1].contains('*') && text.lines().any(|line| line.trim_start().starts_with('*')), "{text}");

    let rows = table(&printed(&study, &["--csv"]));
    assert_eq!(printed(&study, &["--csv"]), fs::read_to_string(folder.path().join("attribution.csv")).unwrap());
    assert_eq!((rows.len(), rows[0]["axis"].as_str(), rows[0]["value"].as_str()), (2, "model.routing_iterations", "1"));
    assert_eq!((rows[0]["contexts"].as_str(), rows[0]["replicates"].as_str()), ("2", "3"));
    assert_eq!((rows[0]["time_basis"].as_str(), rows[0]["baseline_value"].as_str()), ("screening", "3"));
    assert!((rows[0]["at_baseline_accuracy_change"].parse::<f64>().unwrap() + 0.01).abs() < 1e-9);
    assert!(rows[1]["parameter_share"].parse::<f64>().unwrap() < 1.0);

    let json: serde_json::Value = serde_json::from_str(&printed(&study, &["--json"])).unwrap();
    assert_eq!(json[1]["optimisation"], "class sharing by-type");
    assert_eq!(json[0]["overall"]["speedup"]["basis"], "screening");

    let interactions = table(&printed(&study, &["--interactions", "--csv"]));
    assert_eq!(interactions.len(), 1);
    assert!(interactions[0]["accuracy_interaction"].parse::<f64>().unwrap().abs() < 1e-9);
    printed(&study, &["--interactions"]).names(["routing iterations 1 + class sharing by-type"]);
    for name in ["interactions.csv", "charts/attribution.png", "charts/attribution.svg"] {
        assert!(folder.path().join(name).exists(), "{name}");
    }
}

#[test]
fn a_ladder_is_printed_and_an_unknown_configuration_is_told_its_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path(), known);
    let text = printed(&study, &["--ladder", "class sharing by-type, routing iterations 1"]);
    let starts: Vec<&str> = text.lines().take(4).map(|line| line.split("  ").next().unwrap()).collect();
    assert_eq!(starts, ["CHANGE", "baseline", "routing iterations 1", "class sharing by-type"], "{text}");
    let rows = table(&printed(&study, &["--ladder", "routing iterations 1, class sharing by-type", "--csv"]));
    assert_eq!((rows.len(), rows[0]["speedup"].as_str()), (3, ""));
    assert_eq!(rows[1]["speedup"], rows[1]["total_speedup"]);
    let json = printed(&study, &["--ladder", "routing iterations 1", "--json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()[1]["change"], "routing iterations 1");
    let output = run(&study, &["--ladder", "routing iterations 2"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    error.names(["routing iterations 2", "routing iterations 1", "trials.csv"]);
}

#[test]
fn times_to_an_accuracy_are_those_of_one_machine_and_build() {
    let folder = tempfile::tempdir().unwrap();
    let mut view = StudyView::read(&study(folder.path(), known)).unwrap();
    for (trial, record) in view.trials.iter().zip(&mut view.records) {
        if trial.candidate == 1 || (trial.candidate == 0 && trial.replicate == 0) {
            record.as_mut().unwrap().git_revision = Some("another build".into());
        }
    }
    let reaches = time_to_accuracy(&view, 0.85);
    let of = |candidate: usize| reaches.iter().find(|of| of.candidate == candidate).unwrap();
    assert!((of(0).seconds.unwrap() - 8.15).abs() < 1e-9, "{:?}", of(0));
    assert_eq!((of(0).reached, of(1).reached, of(1).seconds), (3, 3, None));
}

#[test]
fn a_study_with_nothing_to_compare_has_empty_tables_and_a_chart_without_optimisations() {
    let folder = tempfile::tempdir().unwrap();
    let study = study(folder.path(), |candidate, replicate| known(candidate, replicate).filter(|_| candidate == 0));
    let optimisations = ["OPTIMISATION", "routing iterations 1", "class sharing by-type"];
    printed(&study, &[]).is_silent_on(optimisations);
    printed(&study, &["--interactions"]).is_silent_on(optimisations);
    assert_eq!(effects(&study), Ok(0));
    assert_eq!(fs::read_to_string(folder.path().join("attribution.csv")).unwrap().lines().count(), 1);
    assert_eq!(fs::read_to_string(folder.path().join("interactions.csv")).unwrap().lines().count(), 1);
    let chart = fs::read_to_string(folder.path().join("charts/attribution.svg")).unwrap();
    chart.is_silent_on(optimisations);

    let folder = tempfile::tempdir().unwrap();
    let study =
        self::study(folder.path(), |candidate, replicate| known(candidate, replicate).filter(|_| candidate == 3));
    // An interval needs pairs, a pair needs the baseline's value.
    printed(&study, &[]).is_silent_on(optimisations);
    assert_eq!(effects(&study), Ok(0));
    let view = StudyView::read(&study).unwrap();
    assert_eq!(ladder(&view.design(), &view.points(), 0), Err(NoBaseline::Untrained));
    let output = run(&study, &["--ladder", "routing iterations 1, class sharing by-type"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).names(["baseline"]);
}
