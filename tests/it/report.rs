//! The page of a study, and the comparison of two.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use fastrcaps::{
    present::page::{self, Content, MARK, Report, policy},
    search::study::Study,
};
use tempfile::TempDir;

use crate::cli::{folder_with, program, refuse, succeed, table, told};

/// Labels that would be something else in HTML, in JSON within HTML, and in a tooltip; a configuration that diverges.
pub const SPACE: &str = r#"
replicates = 2
[base]
data = { name = "glyphs", train_samples = 120, test_samples = 40, validation_fraction = 0.2 }
model = { preset = "tiny" }
train = { epochs = 2 }
[axes]
"model.routing_iterations" = [2, 1]
"schedule.lr" = [
    { policy = "fixed", rate = 1e-3 },
    { label = "<script>window.pwned = 1</script>", policy = "fixed", rate = 2e-3 },
    { label = "</script><img src=x onerror='window.pwned=1'> & \"quoted\"", policy = "one-cycle" },
]
"#;

/// A study that several tests read.
pub fn study() -> &'static Path {
    static FOLDER: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, study) = FOLDER.get_or_init(|| {
        let folder = folder_with(SPACE);
        told(folder.path(), &["explore", "space.toml", "--quiet", "--no-confirm"]);
        let study = folder.path().join("results/space");
        (folder, study)
    });
    study
}

fn page_of(study: &Path) -> String {
    let report = Report::read(&Study::new(study), None).unwrap();
    page::html(&report).unwrap().write(&Content::File)
}

/// The page up to its scripts, which are not ours alone.
fn before_scripts(page: &str) -> &str {
    page.split("<script").next().unwrap()
}

fn data_of(page: &str) -> serde_json::Value {
    let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn a_page_reaches_for_nothing_outside_itself_and_its_policy_allows_nothing() {
    let page = page_of(study());
    assert!(page.starts_with(MARK));
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
    let text = before_scripts(&page);
    for reach in ["src=\"http", "href=\"http", "src=\"//", "url(", "@import", "<link rel=\"stylesheet"] {
        assert!(!text.contains(reach), "{reach}");
    }
    let policy = policy(&Content::File);
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(policy.contains("connect-src 'none'") && !policy.contains("unsafe-eval"), "{policy}");
    assert!(!policy.split("style-src").next().unwrap().contains("unsafe-inline"), "{policy}");
}

#[test]
fn labels_are_text_wherever_they_stand() {
    let page = page_of(study());
    assert!(!page.contains("<script>window.pwned"));
    assert!(!page.contains("<img src=x"));
    assert!(before_scripts(&page).contains("&lt;script&gt;window.pwned = 1&lt;/script&gt;"));
    // One of our style, three of scripts: nothing in the data ends an element.
    assert_eq!(page.matches("</script>").count(), 3);
    let labels = data_of(&page)["labels"].to_string();
    assert!(labels.contains("<script>window.pwned = 1</script>"), "{labels}");
}

#[test]
fn the_data_of_a_page_are_the_cells_of_the_tables() {
    let data = data_of(&page_of(study()));
    let trials = table(study().join("trials.csv"));
    assert_eq!(data["trials"]["rows"], trials.len());
    for column in data["trials"]["columns"].as_array().unwrap() {
        let name = column["name"].as_str().unwrap();
        for (row, trial) in trials.iter().enumerate() {
            let cell = &column["cells"][row];
            let cell = cell.as_u64().map_or(cell, |code| &column["distinct"][code as usize]);
            assert_eq!(cell.as_str().unwrap(), trial[name], "{name}, row {row}");
        }
    }
    let front = table(study().join("front.csv"));
    let on_front = front.iter().filter(|row| row["on_time_accuracy_front"] == "true").count();
    assert_eq!(data["front"].as_array().unwrap().len(), on_front);
}

#[test]
fn the_recommendations_are_those_of_pick() {
    let page = page_of(study());
    let text = before_scripts(&page);
    let folder = study().parent().unwrap();
    for flags in [&["--max-accuracy-loss", "0pp"][..], &["--within", "0pp"]] {
        let out = folder.join("picked.toml").display().to_string();
        let arguments = [&["pick", "space", "--json", "--out", &out], flags].concat();
        let pick: serde_json::Value = serde_json::from_str(&succeed(folder, &arguments)).unwrap();
        let label = maud::html! { (pick["configuration"].as_str().unwrap()) }.into_string();
        assert!(text.contains(&format!("<p class=\"chosen\">{label}</p>")), "{label}");
        assert!(text.contains(&flags.join(" ")), "{flags:?}");
        assert!(text.contains(&maud::html! { (pick["why"].as_str().unwrap()) }.into_string()), "{pick}");
    }
}

#[test]
fn every_reference_within_a_page_leads_somewhere() {
    let page = page_of(study());
    let text = before_scripts(&page);
    let references = text.match_indices("href=\"#").map(|(at, start)| &text[at + start.len()..]);
    let names: Vec<&str> = references.map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(text.contains(&format!("id=\"{name}\"")), "{name}");
    }
}

#[test]
fn screened_times_and_what_is_missing_are_told() {
    let page = page_of(study());
    let text = before_scripts(&page);
    assert!(text.contains("All times are screened"), "no warning");
    assert!(text.contains("No step was timed alone"), "nothing of times in what went wrong");
    assert!(text.contains("2 replicates"), "no n");
    assert!(text.contains("fastrcaps explore space.toml --out"), "no command that goes on");
}

#[test]
fn a_page_is_the_studys_and_replaces_no_other_file() {
    let folder = folder_with(SPACE);
    told(folder.path(), &["explore", "space.toml", "--quiet", "--limit", "2", "--no-confirm"]);
    let page = folder.path().join("results/space/report.html");
    fs::write(&page, "mine").unwrap();
    let error = refuse(folder.path(), &["report", "results/space"]);
    assert!(error.contains("is there already") && fs::read_to_string(&page).unwrap() == "mine", "{error}");
    let foreign = succeed(folder.path(), &["study", "check", "results/space", "--json"]);
    assert!(foreign.contains("report.html"), "{foreign}");
    succeed(folder.path(), &["report", "results/space", "--force"]);
    // Its own it writes anew.
    succeed(folder.path(), &["report", "results/space"]);
    let checked: serde_json::Value =
        serde_json::from_str(&succeed(folder.path(), &["study", "check", "results/space", "--json"])).unwrap();
    assert_eq!(checked["foreign"], serde_json::json!([]));
}

#[test]
fn a_study_of_which_nothing_has_ended_has_a_page() {
    let folder = folder_with(&SPACE.replace("epochs = 2", "epochs = 200000"));
    let budget = ["explore", "space.toml", "--quiet", "--no-confirm", "--budget", "1s"];
    let _ = program().current_dir(folder.path()).args(budget).output().unwrap();
    let study = folder.path().join("results/space");
    if study.join("journal.sqlite").exists() {
        let page = page_of(&study);
        assert!(before_scripts(&page).contains("there is no front yet"));
    }
}

#[test]
fn two_studies_stand_beside_each_other_with_what_does_not_compare() {
    let folder = folder_with(SPACE);
    told(folder.path(), &["explore", "space.toml", "--quiet", "--no-confirm"]);
    let other =
        ["explore", "space.toml", "--quiet", "--no-confirm", "--set", "data.train_samples=160", "--out", "other"];
    told(folder.path(), &other);
    let same = succeed(folder.path(), &["compare", "results/space", "results/space", "--out", "same.html"]);
    assert!(same.contains("hypervolume") && same.contains("CONFIGURATION OF BOTH"), "{same}");
    assert!(same.contains("screened"), "{same}");
    assert!(fs::read_to_string(folder.path().join("same.html")).unwrap().starts_with(MARK));
    let apart = succeed(folder.path(), &["compare", "results/space", "other"]);
    assert!(apart.contains("different images") && !apart.contains("hypervolume"), "{apart}");
}

#[test]
fn a_browser_shows_brushes_and_downloads_with_the_network_off() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report/browser.py");
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    fs::write(&page, page_of(study())).unwrap();
    let shots = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/report-screenshots");
    let run = Command::new("python3").arg(script).args([&page, &study().join("trials.csv"), &shots]).output();
    let Ok(run) = run else { return println!("SKIPPED: there is no python3") };
    let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    match run.status.code() {
        Some(77) => println!("SKIPPED: {said}"),
        code => assert_eq!(code, Some(0), "{said}"),
    }
}
