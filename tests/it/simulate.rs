//! Strategies on recorded curves.

use std::{fmt::Write, fs, path::Path};

use serde_json::Value;
use tempfile::TempDir;

use crate::cli::{refuse, succeed};

/// A recording of 60 configurations under two seeds, whose accuracies saturate at different heights.
fn recording() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut trials = "key,status,configuration,width,rate,replicate,seed,parameters,epochs\n".to_string();
    let mut epochs = "key,configuration,replicate,epoch,validation_accuracy,train_seconds_screen\n".to_string();
    for replicate in 0..2 {
        for configuration in 0..60 {
            let (width, rate) = (configuration / 10 + 1, configuration % 10);
            let key = format!("{configuration}-{replicate}");
            writeln!(trials, "{key},done,c{configuration},{width},{rate},{replicate},{replicate},{width},16").unwrap();
            let height = 0.6 + 0.05 * width as f64 - 0.01 * (rate as f64 - 4.0).powi(2);
            for epoch in 1..=16 {
                let noise = ((configuration * 7 + replicate * 3 + epoch) % 11) as f64 / 4000.0;
                let accuracy = height * (1.0 - 0.5f64.powf(epoch as f64 / 2.0)) + noise;
                writeln!(epochs, "{key},c{configuration},{replicate},{epoch},{accuracy},{}", width * epoch).unwrap();
            }
        }
    }
    fs::write(folder.path().join("trials.csv"), trials).unwrap();
    fs::write(folder.path().join("epochs.csv"), epochs).unwrap();
    folder
}

fn outcomes(folder: &Path, arguments: &[&str]) -> Vec<Value> {
    let said = succeed(folder, &[&["simulate", ".", "--json", "--strategy"], arguments].concat());
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_whole_grid_is_the_whole_cost_and_the_same_front() {
    let folder = recording();
    for outcome in outcomes(folder.path(), &["grid", "--slots", "3"]) {
        assert!((outcome["cost"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{outcome}");
        assert_eq!((outcome["recall"].as_f64(), outcome["false_members"].as_u64()), (Some(1.0), Some(0)));
        assert!((outcome["hypervolume"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    }
}

#[test]
fn slots_change_the_time_and_nothing_that_is_found() {
    let folder = recording();
    let of = |slots: &str| outcomes(folder.path(), &["freeze-thaw", "--seeds", "3", "--slots", slots]);
    let (one, many) = (of("1"), of("16"));
    assert_eq!(one.len(), 3);
    for (one, many) in one.iter().zip(&many) {
        for what in ["hypervolume", "recall", "false_members", "audit", "lost"] {
            assert_eq!(one[what], many[what], "{what}");
        }
        let [a, b] = [one, many].map(|of| of["cost"].as_f64().unwrap());
        assert!((a - b).abs() < 1e-9 && a < 0.7, "{a} {b}");
        assert!(many["wall_seconds"].as_f64() < one["wall_seconds"].as_f64());
        // A single slot is never idle between trainings; once all are over, the dispatcher looks around once more.
        let idle = one["idle_factor"].as_f64().unwrap();
        assert!((1.0..1.01).contains(&idle), "{idle}");
    }
    let table = succeed(folder.path(), &["simulate", ".", "--strategy", "halving"]);
    assert!(table.contains("recall of the front"), "{table}");
}

#[test]
fn evolve_proposes_from_a_recording_the_same_on_any_slots_and_needs_a_part_of_it() {
    let folder = recording();
    let of = |slots: &str| outcomes(folder.path(), &["evolve", "--seeds", "2", "--slots", slots]);
    for (one, many) in of("1").iter().zip(&of("7")) {
        for what in ["hypervolume", "recall", "false_members"] {
            assert_eq!(one[what], many[what], "{what}");
        }
        let [a, b] = [one, many].map(|of| of["cost"].as_f64().unwrap());
        assert!((a - b).abs() < 1e-9 && a < 0.9, "{a} {b}");
        assert!(one["hypervolume"].as_f64() > Some(0.95), "{one}");
        assert!(one["audit"].is_null());
    }
}

#[test]
fn what_is_no_recording_is_refused_with_the_reason() {
    let folder = recording();
    let told = refuse(folder.path(), &["simulate", "nowhere", "--strategy", "grid"]);
    assert!(told.contains("nowhere is no study, and has no trials.csv"), "{told}");
    let path = folder.path().join("epochs.csv");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("0-0,c0,0,1,", "0-0,c0,0,1,x", 1)).unwrap();
    let told = refuse(folder.path(), &["simulate", ".", "--strategy", "grid"]);
    assert!(told.contains("epochs.csv:2: validation_accuracy is \"x"), "{told}");
    fs::write(&path, text.lines().next().unwrap()).unwrap();
    let told = refuse(folder.path(), &["simulate", ".", "--strategy", "grid"]);
    assert!(told.contains("needs whole curves"), "{told}");
}
