//! `fastrcaps pick`, from a study to a configuration that trains.

use std::fs;

use crate::cli::{folder_with, refuse, succeed, table};

/// A space of which two replicates are a moment's work.
const SPACE: &str = "
replicates = 2
[base]
data = { name = 'glyphs', train_samples = 120, test_samples = 40, validation_fraction = 0.2 }
model = { preset = 'tiny' }
train = { epochs = 2 }
[axes]
\"model.routing_iterations\" = [2, 1]
";

#[test]
fn a_picked_configuration_meets_its_constraints_and_trains() {
    let folder = folder_with(SPACE);
    let path = folder.path();
    succeed(path, &["explore", "space.toml", "--quiet"]);
    let out = succeed(path, &["pick", "results/space", "--max-time", "1h", "--json"]);
    let of: serde_json::Value = serde_json::from_str(&out).expect(&out);
    // The most accurate of all, by the table that anyone can read.
    let rows = table(path.join("results/space/trials.csv"));
    let accuracy = |candidate: &str| {
        let own = rows.iter().filter(|row| row["configuration"] == candidate);
        own.map(|row| row["validation_accuracy"].parse::<f64>().unwrap()).sum::<f64>() / 2.0
    };
    let best = rows.iter().map(|row| accuracy(&row["configuration"])).fold(0.0, f64::max);
    assert!((of["validation_accuracy"].as_f64().unwrap() - best).abs() < 1e-9, "{of}");
    assert!(of["train_seconds_interval"].is_array() && of["confidence"].is_number(), "{of}");
    assert_eq!((of["time_basis"].as_str(), of["replicates"].as_u64()), (Some("screening"), Some(2)));
    assert_eq!(of["config_file"], "results/space/pick/config.toml");
    assert_eq!(of["command"], "fastrcaps train results/space/pick/config.toml --out trained");

    let config = fs::read_to_string(path.join("results/space/pick/config.toml")).unwrap();
    assert!(config.starts_with("# Picked by `fastrcaps pick` from the study results/space: "), "{config}");
    succeed(path, &["train", "results/space/pick/config.toml", "--out", "trained"]);

    // The fixed learning rate does not plan for a length: a training of one epoch is a point too.
    let text = succeed(path, &["pick", "results/space", "--min-accuracy", "0.0001", "--out", "own/one.toml"]);
    assert!(text.contains("1 epoch") && text.contains("the fastest of"), "{text}");
    assert!(fs::read_to_string(path.join("own/one.toml")).unwrap().contains("epochs = 1"));
}

#[test]
fn what_cannot_be_asked_for_is_refused_with_a_word_on_how_to() {
    let folder = folder_with(SPACE);
    let path = folder.path();
    succeed(path, &["explore", "space.toml", "--set", "replicates=1", "--quiet"]);
    let pick = |more: &[&str]| refuse(path, &[&["pick", "results/space"], more].concat());
    assert!(pick(&[]).contains("--max-time"));
    assert!(pick(&["--min-accuracy", "1.5"]).contains("as in 0.99 or 99%"));
    assert!(pick(&["--max-time", "0s"]).contains("as in 90s"));
    assert!(pick(&["--within", "abc"]).contains("0.1pp"));
    assert!(pick(&["--within", "0.1pp", "--one-standard-error"]).contains("cannot be used with"));
    assert!(pick(&["--one-standard-error"]).contains("replicate"));
    assert!(pick(&["--max-time", "1ms"]).contains("comes closest"));
    assert!(pick(&["--knee", "--times", "gpu"]).contains("has no times \"gpu\""));
    fs::write(path.join("mine.toml"), "mine").unwrap();
    assert!(pick(&["--max-time", "1h", "--out", "mine.toml"]).contains("give another file"));
    assert_eq!(fs::read_to_string(path.join("mine.toml")).unwrap(), "mine");
    fs::create_dir(path.join("folder")).unwrap();
    assert!(pick(&["--max-time", "1h", "--out", "folder"]).contains("give another file"));
}
