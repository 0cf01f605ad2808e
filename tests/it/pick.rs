//! `fastrcaps pick`, from a study to a configuration that trains.

use std::fs;

use fastrcaps::learn::config::TrialConfig;

use crate::{
    cli::{folder_with, refused, succeed, table},
    facts::Facts,
};

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
    text.names(["1 epoch", "own/one.toml"]);
    let config = TrialConfig::resolve(fs::read_to_string(path.join("own/one.toml")).unwrap().parse().unwrap()).unwrap();
    assert_eq!(config.train.epochs, 1);
}

#[test]
fn what_cannot_be_asked_for_is_refused_by_name_with_how_to_constraint() {
    let folder = folder_with(SPACE);
    let path = folder.path();
    succeed(path, &["explore", "space.toml", "--set", "replicates=1", "--quiet"]);
    fs::write(path.join("mine.toml"), "mine").unwrap();
    fs::create_dir(path.join("folder")).unwrap();
    let rows: [(&str, i32, &[&str]); 10] = [
        ("", 2, &["--max-time", "--min-accuracy", "--knee"]),
        ("--min-accuracy 1.5", 2, &["--min-accuracy", "1.5", "0.99", "99%"]),
        ("--max-time 0s", 2, &["--max-time", "0s", "90s"]),
        ("--within abc", 2, &["--within", "abc", "0.1pp"]),
        ("--within 0.1pp --one-standard-error", 2, &["--within", "--one-standard-error"]),
        ("--one-standard-error", 1, &["results/space"]),
        ("--max-time 1ms", 1, &["results/space", "s"]),
        ("--knee --times gpu", 1, &["results/space", "gpu"]),
        ("--max-time 1h --out mine.toml", 1, &["mine.toml", "--force"]),
        ("--max-time 1h --out folder", 1, &["folder"]),
    ];
    for (constraints, code, facts) in rows {
        let arguments: Vec<&str> =
            ["pick", "results/space"].into_iter().chain(constraints.split_whitespace()).collect();
        let (ended, said) = refused(path, &arguments);
        said.names(facts);
        assert_eq!(ended, code, "{constraints}: {said}");
    }
    assert_eq!(fs::read_to_string(path.join("mine.toml")).unwrap(), "mine");
    assert!(path.join("folder").is_dir() && !path.join("results/space/pick").exists());
}
