//! Axes that are ranges of numbers: which numbers they mean, who may list them, and what is wrong with one.

use fastrcaps::{
    base::source::Document,
    search::space::{Candidate, Space},
};

use crate::{
    cli::{folder_with, refuse, succeed},
    facts::Facts,
};

fn names(text: &str, facts: &[&str]) {
    text.names(facts);
}

fn space(text: &str) -> Result<Space, String> {
    let document = Document::parse("space.toml", text.into()).unwrap();
    Space::from_document(document, "space", &[]).map_err(|error| format!("{error:#}"))
}

fn values(range: &str) -> Vec<f64> {
    let space = space(&format!("[axes]\n\"schedule.lr.rate\" = {range}")).unwrap();
    let number = |of: &toml::Value| of.as_float().unwrap_or_else(|| of.as_integer().unwrap() as f64);
    space.axes[0].values.iter().map(|of| number(&of.value)).collect()
}

#[test]
fn points_are_evenly_spread_on_their_scale_and_have_both_ends() {
    assert_eq!(values("{ from = 1e-4, to = 1e-2, scale = 'log', points = 3 }"), [1e-4, 1e-3, 1e-2]);
    assert_eq!(values("{ from = 1, to = 3, points = 5 }"), [1.0, 1.5, 2.0, 2.5, 3.0]);
    assert_eq!(values("{ from = 8, to = 64, scale = 'log', integer = true, points = 4 }"), [8.0, 16.0, 32.0, 64.0]);
    // What rounds to the same number is one.
    assert_eq!(values("{ from = 1, to = 4, scale = 'log', integer = true, points = 4 }"), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(values("{ from = 8, to = 12, integer = true }"), [8.0, 9.0, 10.0, 11.0, 12.0]);
    let free = values("{ from = 0.1, to = 0.7 }");
    assert_eq!((free.len(), free[0], free[1000]), (1001, 0.1, 0.7));
    assert!(free.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn a_range_with_points_is_the_list_of_them_to_the_same_configurations() {
    let keys = |axis: &str| {
        let text = format!("[base]\nmodel = {{ preset = 'tiny' }}\n[axes]\n{axis}");
        let expansion = space(&text).unwrap().expand().unwrap();
        expansion.candidates.iter().map(|of: &Candidate| of.config.key("")).collect::<Vec<_>>()
    };
    let range = keys("\"schedule.lr.rate\" = { from = 1e-4, to = 1e-2, scale = 'log', points = 3 }");
    assert_eq!(range, keys("\"schedule.lr.rate\" = [1e-4, 1e-3, 1e-2]"));
    let range = keys("schedule.batch.size = { from = 8, to = 16, integer = true, points = 2 }");
    assert_eq!(range, keys("schedule.batch.size = [8, 16]"));
}

#[test]
fn a_range_without_points_is_listed_by_nobody_and_the_error_says_what_to_do() {
    let text = "[axes]\n\"schedule.lr.rate\" = { from = 1e-4, to = 1e-2, scale = 'log' }";
    let error = space(text).unwrap().expand().unwrap_err().to_string();
    names(&error, &["space.toml:2", "schedule.lr.rate", "points", "--strategy evolve"]);
    let folder = folder_with(text);
    for strategy in ["grid", "random", "halving", "freeze-thaw"] {
        let told = refuse(folder.path(), &["explore", "space.toml", "--strategy", strategy, "--dry-run"]);
        names(&told, &["schedule.lr.rate", "points"]);
    }
    let told = succeed(folder.path(), &["plan", "space.toml"]);
    names(&told, &["1001", "--strategy evolve"]);
    let set = "schedule.lr.rate={ from = 1e-4, to = 1e-2, points = 2 }";
    refuse(folder.path(), &["plan", "space.toml", "--no-timing", "--set", set]);
    succeed(folder.path(), &["plan", "space.toml", "--no-timing", "--set", "schedule.lr.rate=1e-3"]);
}

#[test]
fn what_is_wrong_with_a_range_is_said_with_axis_and_key() {
    for (range, facts) in [
        ("{ from = 2, to = 1 }", &["schedule.lr.rate", "from = 2", "to = 1"][..]),
        ("{ from = 1, to = 1 }", &["from = 1"]),
        ("{ from = 0, to = 1, scale = 'log' }", &["from = 0", "log", "0"]),
        ("{ from = 'a', to = 1 }", &["from = \"a\""]),
        ("{ from = 1 }", &["to"]),
        ("{ from = 1, to = inf }", &["to = inf"]),
        ("{ from = 1, to = 2, step = 1 }", &["step", "points"]),
        ("{ from = 1, to = 2, scale = 'logarithmic' }", &["scale = \"logarithmic\"", "linear"]),
        ("{ from = 1, to = 2, points = 1 }", &["points = 1", "10000"]),
        ("{ from = 1, to = 2.5, integer = true }", &["to = 2.5"]),
        ("{ from = 1, to = 2, integer = 1 }", &["integer = 1", "false"]),
        ("{ from = 1, to = 3, integer = true, points = 4 }", &["points = 4", "3"]),
    ] {
        let error = space(&format!("[axes]\n\"schedule.lr.rate\" = {range}")).unwrap_err();
        names(&error, &[facts, &["space.toml:2", "schedule.lr.rate"]].concat());
    }
    // Where no number may stand.
    let text = "[axes]\n\"model.decoder\" = { from = 1, to = 3, points = 3 }";
    names(&space(text).unwrap().expand().unwrap_err().to_string(), &["space.toml:2", "model.decoder"]);
    let text = "[axes]\n\"model.decoder\" = { from = 1, to = 3 }";
    names(&space(text).unwrap().check_values().unwrap_err().to_string(), &["space.toml:2", "model.decoder"]);
    let text = "[axes]\n\"data.seed\" = { from = 1, to = 3 }";
    names(&space(text).unwrap_err(), &["data.seed"]);
}

#[test]
fn the_baseline_of_a_range_is_its_own_number_and_one_outside_is_refused() {
    let text = |rate: &str| {
        format!(
            "[axes]\n\"schedule.lr.rate\" = {{ from = 1e-4, to = 2e-2, scale = 'log' }}\n\"data.shift\" = [2, 0]\n\
             [baseline]\n\"schedule.lr.rate\" = {rate}\n\"data.shift\" = 0"
        )
    };
    let space_of = space(&text("0.00123456")).unwrap();
    let choice = space_of.baseline_choice().unwrap();
    assert_eq!(space_of.names(&choice), ["0.00123456", "0"]);
    let (_, expansion) = space_of.listed(&[space_of.names(&choice), vec!["0.0071".into(), "2".into()]]).unwrap();
    let labels: Vec<&str> = expansion.candidates.iter().map(|of| of.label.as_str()).collect();
    assert_eq!((expansion.baseline, labels), (Some(0), vec!["baseline", "rate 0.0071, shift 2"]));
    let error = space(&text("0.5")).unwrap().baseline_choice().unwrap_err().to_string();
    names(&error, &["[baseline]", "schedule.lr.rate"]);
    let error = space_of.listed(&[vec!["0.5".into(), "2".into()]]).unwrap_err().to_string();
    names(&error, &["schedule.lr.rate", "0.5"]);
}
