//! The commands `chart` and `export`.

use std::fs;

use super::png_size;
use crate::cli::{refuse, succeed};
use crate::study::{finished, problems};

/// The folder of a study, and below it the study.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    finished(&folder.path().join("study"));
    folder
}

#[test]
fn any_chart_is_drawn_into_its_study_or_to_a_file_and_the_study_stays_whole() {
    let folder = folder();
    let names: Vec<String> = succeed(folder.path(), &["chart", "--list"])
        .lines()
        .filter_map(|line| line.split_whitespace().next().map(String::from))
        .collect();
    assert!(names.len() >= 13, "{names:?}");
    for name in names.iter().filter(|name| *name != "reconstructions") {
        succeed(folder.path(), &["chart", name, "study"]);
        assert!(folder.path().join(format!("study/charts/{name}.png")).exists());
    }
    let study = fastrcaps::search::study::Study::new(folder.path().join("study"));
    let found = fastrcaps::engine::upkeep::check::check(&study).unwrap();
    assert!(found.foreign.is_empty(), "{:?}", found.foreign);
    assert!(problems(&study).iter().all(|problem| !problem.contains("charts")));
    let sized =
        ["chart", "front", "study", "--out", "a.png", "--width", "400", "--height", "300", "--dpi", "192", "--dark"];
    succeed(folder.path(), &sized);
    assert_eq!(png_size(&fs::read(folder.path().join("a.png")).unwrap()), (800, 600));
    succeed(folder.path(), &["chart", "gantt", "study", "--out", "b.svg", "--title", "A night", "--x-range", "0:5"]);
    assert!(fs::read_to_string(folder.path().join("b.svg")).unwrap().contains("A night"));
    succeed(folder.path(), &["chart", "slices", "study", "--out", "c.json"]);
    let json: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("c.json")).unwrap()).unwrap();
    assert_eq!(json["chart"], "slices");
    // What this program drew may be drawn again.
    for again in ["a.png", "b.svg", "c.json"] {
        succeed(folder.path(), &["chart", "slices", "study", "--out", again]);
    }
}

#[test]
fn a_chart_that_cannot_be_drawn_as_asked_is_refused_in_words() {
    let folder = folder();
    fs::write(folder.path().join("mine.png"), "mine").unwrap();
    let cases: [(&[&str], &str); 10] = [
        (&["nothing", "study"], "there is no chart \"nothing\": give one of front, scatter"),
        (&["front", "elsewhere"], "is elsewhere a study folder"),
        (&["front", "study", "--out", "mine.png"], "mine.png is there already"),
        (&["front", "study", "--out", "x.jpg"], "--out ends in .jpg"),
        (&["front", "study", "--out", "x.svg", "--format", "png"], "give one of them"),
        (&["front", "study", "--format", "svg", "--dpi", "300"], "--dpi is for PNG"),
        (&["gantt", "study", "--y-range", "0:1"], "has no axis that --y-range could set"),
        (&["front", "study", "--x-range", "5:1"], "the smaller one first"),
        (&["front", "study", "--width", "20000", "--dpi", "1200"], "pixels are too many"),
        (&["schedule", "study", "--configuration", "none"], "no configuration \"none\""),
    ];
    for (arguments, said) in cases {
        let error = refuse(folder.path(), &[&["chart"], arguments].concat());
        assert!(error.contains(said), "{arguments:?}: {error}");
    }
    assert_eq!(fs::read(folder.path().join("mine.png")).unwrap(), b"mine");
}

#[test]
fn exports_are_written_where_they_are_asked_and_replace_nothing_unasked() {
    let folder = folder();
    let at = |path: &str| folder.path().join(path);
    succeed(folder.path(), &["export", "study", "--format", "csv", "--out", "tables"]);
    for name in ["trials.csv", "epochs.csv", "front.csv"] {
        assert_eq!(fs::read(at("tables").join(name)).unwrap(), fs::read(at("study").join(name)).unwrap());
    }
    assert!(refuse(folder.path(), &["export", "study", "--format", "csv", "--out", "tables"]).contains("--force"));
    succeed(folder.path(), &["export", "study", "--format", "csv", "--out", "tables", "--force"]);
    let json = succeed(folder.path(), &["export", "study", "--format", "json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["format"], "fastrcaps-study");
    assert!(succeed(folder.path(), &["export", "study", "--format", "latex"]).contains("\\toprule"));
    succeed(folder.path(), &["export", "study", "--format", "tensorboard"]);
    assert!(fs::read_dir(at("study-tensorboard")).unwrap().count() >= 4);
}
