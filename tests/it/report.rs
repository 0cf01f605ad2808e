//! The page of a study, and the comparison of two.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Instant,
};

use fastrcaps::{
    analysis::Extent,
    learn::record::{EpochRow, Status, TrialRecord},
    present::{
        page::{self, Content, MARK, Report, policy},
        report::{findings::Findings, tables, view::StudyView},
    },
    search::{journal::Journal, study::Study},
};
use tempfile::TempDir;

use crate::{
    cli::{folder_with, program, refuse, succeed, table, told},
    facts::Facts,
    skipped::skipped,
};

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
            assert_eq!(cell(&data, column, row), trial[name], "{name}, row {row}");
        }
    }
    let front = table(study().join("front.csv"));
    let on_front = front.iter().filter(|row| row["on_time_accuracy_front"] == "true").count();
    assert_eq!(data["front"].as_array().unwrap().len(), on_front);
}

#[test]
fn a_front_has_each_training_once_though_several_lengths_share_it() {
    let folder = folder_with(
        "[base]\ndata = { name = \"glyphs\", train_samples = 120, test_samples = 40 }\nmodel = { preset = \"tiny\" }\n\
         [axes]\n\"schedule.lr.rate\" = [1e-3, 3e-3]\n\"train.epochs\" = [1, 3, 2]\n",
    );
    told(folder.path(), &["explore", "space.toml", "--quiet", "--no-confirm"]);
    let view = StudyView::read(&Study::new(folder.path().join("results/space"))).unwrap();
    let findings = Findings::of(&view);
    let trainings = |front: &[usize]| {
        let mut keys: Vec<String> = Vec::new();
        for index in front {
            let point = &findings.points[*index];
            // A configuration of just this length is there.
            assert_eq!(point.extent, Extent::Whole, "{}", point.label);
            keys.push(view.config(point).unwrap().key(""));
        }
        keys.len() == keys.iter().collect::<std::collections::BTreeSet<_>>().len()
    };
    assert!(trainings(&findings.front) && trainings(&findings.wide_front));
    // All lengths are points still.
    assert_eq!(findings.points.len(), 2 * (1 + 3 + 2));
}

/// A cell as the scripts of a page read it: it stands there, is one of those that the column has, or follows from the
/// configuration of its row.
fn cell<'a>(data: &'a serde_json::Value, column: &'a serde_json::Value, row: usize) -> &'a str {
    let candidate = data["trials"]["candidate"][row].as_u64().unwrap() as usize;
    if let Some(of) = column["of"].as_str() {
        return data[of][candidate].as_str().unwrap();
    }
    if let Some(axis) = column["axis"].as_u64() {
        let axis = &data["axes"][axis as usize];
        let code = usize::try_from(axis["codes"][candidate].as_i64().unwrap());
        return code.map_or("", |code| axis["values"][code].as_str().unwrap());
    }
    let cell = &column["cells"][row];
    cell.as_u64().map_or(cell, |code| &column["distinct"][code as usize]).as_str().unwrap()
}

#[test]
fn the_points_of_a_page_are_those_of_its_pictures() {
    let data = data_of(&page_of(study()));
    let view = StudyView::read(&Study::new(study())).unwrap();
    let findings = Findings::of(&view);
    let points = &data["points"];
    let label = |place: usize| {
        let candidate = points["candidate"][place].as_u64().unwrap() as usize;
        (data["labels"][candidate].as_str().unwrap().to_string(), points["epochs"][place].as_u64().unwrap() as usize)
    };
    let of = |index: &usize| {
        let point = &findings.points[*index];
        (view.expansion.candidates[point.candidate].label.clone(), point.epochs)
    };
    let front: Vec<_> =
        data["front"].as_array().unwrap().iter().map(|at| label(at.as_u64().unwrap() as usize)).collect();
    assert_eq!(front, findings.front.iter().map(of).collect::<Vec<_>>());
    let count = points["candidate"].as_array().unwrap().len();
    let there: std::collections::BTreeSet<_> = (0..count).map(label).collect();
    assert_eq!(there.len(), count);
    for (index, point) in findings.points.iter().enumerate() {
        let is_shown = point.extent == Extent::Whole || findings.wide_front.contains(&index);
        assert_eq!(there.contains(&of(&index)), is_shown || findings.front.contains(&index), "{}", point.label);
    }
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
    assert!(text.contains("24 validation images"), "no number of images");
    assert!(text.contains("<td class=\"number\">same steps</td>"), "a speed-up of learning rates");
    assert!(text.contains("fastrcaps explore space.toml --out"), "no command that goes on");
}

#[test]
fn a_page_is_the_studys_and_replaces_no_other_file() {
    let folder = folder_with(SPACE);
    told(folder.path(), &["explore", "space.toml", "--quiet", "--limit", "2", "--no-confirm"]);
    let page = folder.path().join("results/space/report.html");
    fs::write(&page, "mine").unwrap();
    let error = refuse(folder.path(), &["report", "results/space"]);
    error.names(["report.html", "--force"]);
    assert_eq!(fs::read_to_string(&page).unwrap(), "mine");
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
    browse(&page_of(study()), &study().join("trials.csv"), "small");
}

/// The exit code of `browser.py` where there is no browser.
const ABSENT: i32 = 77;

/// Has a browser open a page, and keeps what it looked like under `name`.
fn browse(page: &str, trials: &Path, name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    fs::write(&file, page).unwrap();
    browse_at(file.to_str().unwrap(), trials, name);
}

/// The same of a page at a path or an address.
pub fn browse_at(page: &str, trials: &Path, name: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shots = root.join("target/report-screenshots").join(name);
    let script = root.join("tests/report/browser.py");
    let run = Command::new("python3").arg(script).arg(page).args([trials, &shots]).output();
    let Ok(run) = run else { return skipped("there is no python3") };
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    if run.status.code() == Some(ABSENT) {
        return skipped(said.trim());
    }
    println!("{said}");
    assert!(run.status.success(), "{said}");
}

/// 5040 configurations, two replicates each.
const LARGE: &str = r#"
replicates = 2
[base]
data = { name = "glyphs" }
model = { preset = "tiny" }
train = { epochs = 6 }
[axes]
"model.routing_iterations" = [3, 2, 1]
"model.class_sharing" = ["none", "by-type"]
"model.decoder" = ["full", "small", "none"]
"model.squash" = ["exact", "approximate"]
"data.shift" = [2, 0]
"schedule.lr" = [
    { policy = "fixed", rate = 1e-3 },
    { label = "fixed 2e-3", policy = "fixed", rate = 2e-3 },
    { policy = "exponential", initial = 2e-3, decay = 0.7, period = 1 },
    { policy = "one-cycle" },
    { policy = "cosine", initial = 2e-3 },
    { policy = "warm-restarts", peak = 5e-3, floor = 1e-4, period = 1, multiplier = 2 },
    { label = "fixed 4e-3", policy = "fixed", rate = 4e-3 },
]
"schedule.batch.size" = [8, 12, 16, 24, 32, 48, 64, 96, 128, 256]
"#;

/// A study of all these trials as they could have ended, with seconds and accuracies that look like some.
fn large_study(folder: &Path) -> Study {
    let study = crate::study::declare_space(folder, LARGE, "the data");
    let plan = study.plan().unwrap();
    let mut drawn = 1_u64;
    let mut luck = move || {
        drawn = drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (drawn >> 33) as f64 / (1_u64 << 31) as f64
    };
    let ended: Vec<(TrialRecord, Vec<EpochRow>)> = (plan.trials.iter().zip(&plan.keys))
        .map(|(trial, key)| {
            let seconds = 3.0 + trial.config.parameters() as f64 / 2e4 + 4.0 * luck();
            let rows: Vec<EpochRow> = (1..=6)
                .map(|epoch| EpochRow {
                    validation_accuracy: (1e4 * (0.99 - 0.3 / (epoch as f64 + luck()))).round() / 1e4,
                    train_seconds_screen: seconds * epoch as f64 / 6.0,
                    ..crate::study::row(epoch, 0)
                })
                .collect();
            let status = if luck() < 0.01 { Status::Failed } else { Status::Done };
            let rows = if status == Status::Done { rows } else { Vec::new() };
            let record = TrialRecord {
                status,
                attempts: 1,
                epochs: rows.len(),
                best_epoch: rows.last().map(|row| row.epoch),
                validation_accuracy: rows.last().map(|row| row.validation_accuracy),
                test_accuracy: rows.last().map(|row| row.validation_accuracy - 0.003),
                train_seconds_screen: rows.last().map(|row| row.train_seconds_screen),
                co_runners: Some(1),
                threads: Some(1),
                processor: Some("a processor".into()),
                peak_memory_bytes: Some(50_000_000 + (1e6 * luck()) as u64),
                started: Some("2026-01-01T00:00:00Z".into()),
                weights_sha256: Some(format!("{:064x}", luck().to_bits())),
                error: (status == Status::Failed).then(|| "killed by signal 9".into()),
                ..TrialRecord::pending(key.clone(), trial.replicate, &trial.config)
            };
            (record, rows)
        })
        .collect();
    let mut journal = Journal::open(&study.journal()).unwrap();
    journal.put_all(ended.iter().map(|(record, rows)| (record, rows.as_slice()))).unwrap();
    study
}

#[test]
fn a_page_of_ten_thousand_trials_is_small_and_works() {
    let folder = tempfile::tempdir().unwrap();
    let study = large_study(folder.path());
    let since = Instant::now();
    let page = page_of(&study.folder);
    println!(
        "{} trials: {} bytes, written in {:.1} s",
        study.plan().unwrap().trials.len(),
        page.len(),
        since.elapsed().as_secs_f64()
    );
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
    let view = StudyView::read(&study).unwrap();
    fs::write(folder.path().join("trials.csv"), tables::trials(&view).unwrap()).unwrap();
    browse(&page, &folder.path().join("trials.csv"), "ten-thousand");
}
