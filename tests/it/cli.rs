//! The program as its users run it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use fastrcaps::learn::{
    folder::TrialFolder,
    record::{Fault, Status},
};
use tempfile::TempDir;

use crate::facts::Facts;

/// A space of four trials that take a moment each.
const SPACE: &str = "
[base]
data = { name = 'glyphs', train_samples = 120, test_samples = 40, validation_fraction = 0.2 }
model = { preset = 'tiny' }
train = { epochs = 2 }
[axes]
\"model.routing_iterations\" = [2, 1]
\"schedule.batch\" = [{ policy = 'fixed', size = 16 }, { policy = 'adabatch', phases = [{ epochs = 1, size = 4 }, { size = 32 }] }]
";

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastrcaps"));
    command.env_remove("FASTRCAPS_DATA").env("XDG_CACHE_HOME", "/nonexistent");
    command
}

/// Explores in `folder` until so many trials of results/space have begun, and sends the explorer a signal.
pub fn explore_until(folder: &Path, arguments: &[&str], begun: usize, signal: &str) {
    let mut explorer = program().current_dir(folder).args(arguments).stderr(Stdio::null()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(120);
    let count = || fs::read_dir(folder.join("results/space/trials")).map_or(0, |of| of.count());
    while count() < begun && explorer.try_wait().unwrap().is_none() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    Command::new("kill").args([signal, &explorer.id().to_string()]).status().unwrap();
    explorer.wait().unwrap();
}

/// Runs the program in `folder`. Sweeps leave out to confirm their times, which takes longer than they do, unless a test
/// says how.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    let is_plain = |name: &&str| !name.starts_with("--confirm") && !name.starts_with("--no-confirm");
    let hastens = arguments.first() == Some(&"explore") && arguments.iter().all(is_plain);
    program().current_dir(folder).args(arguments).args(hastens.then_some("--no-confirm")).output().unwrap()
}

pub fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}\n{out}\n{err}");
    out.into_owned()
}

/// What a command that succeeds says on standard error.
pub fn told(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}\n{told}");
    told
}

/// Runs what must be refused; returns what it says.
pub fn refuse(folder: &Path, arguments: &[&str]) -> String {
    refused(folder, arguments).1
}

/// Runs what must be refused; returns its exit code, 1 for an error and 2 for arguments that make no sense, and what it says.
pub fn refused(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = run(folder, arguments);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!err.contains("panicked"), "{arguments:?} panicked: {err}");
    let code = output.status.code();
    assert!(matches!(code, Some(1 | 2)), "{arguments:?} ended with {code:?}: {err}");
    (code.unwrap(), err)
}

/// The events of a sweep, as `explore --json` tells them.
pub fn events(folder: &Path, arguments: &[&str]) -> Vec<serde_json::Value> {
    let out = succeed(folder, &[&["explore", "space.toml", "--json"], arguments].concat());
    out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// How many trials a sweep begins.
pub fn begun(folder: &Path, arguments: &[&str]) -> usize {
    events(folder, arguments).iter().filter(|event| event["event"] == "started").count()
}

pub fn folder_with(space: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("space.toml"), space).unwrap();
    folder
}

/// Rows of a CSV file of a study, as maps from column to value.
pub fn table(path: PathBuf) -> Vec<BTreeMap<String, String>> {
    csv::Reader::from_path(path).unwrap().into_deserialize().map(|row| row.unwrap()).collect()
}

/// All that must not depend on how trials were run.
pub fn figures(study: &Path) -> Vec<Vec<String>> {
    let timeless = |row: &BTreeMap<String, String>, columns: &[&str]| columns.iter().map(|c| row[*c].clone()).collect();
    let trial =
        ["key", "status", "configuration", "best_epoch", "validation_accuracy", "test_accuracy", "last_test_accuracy"];
    let epoch =
        ["key", "epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "samples", "steps"];
    let mut rows: Vec<Vec<String>> = Vec::new();
    rows.extend(table(study.join("trials.csv")).iter().map(|row| timeless(row, &trial)));
    rows.extend(table(study.join("epochs.csv")).iter().map(|row| timeless(row, &epoch)));
    // What was given up has none, nor what is paused.
    let is_trained = |row: &BTreeMap<String, String>| !["stopped", "paused"].contains(&row["status"].as_str());
    for row in table(study.join("trials.csv")).into_iter().filter(is_trained) {
        let weights = fs::read(study.join("trials").join(&row["key"]).join("weights.safetensors")).unwrap();
        rows.push(vec![format!("{:?}", hash(&weights))]);
    }
    rows
}

fn hash(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn a_sweep_leaves_tables_charts_and_a_front() {
    let folder = folder_with(SPACE);
    let out = succeed(folder.path(), &["explore", "space.toml"]);
    // Done, diverged, failed.
    out.names(["4 trials", "0", "0"]);
    let study = folder.path().join("results/space");
    for file in ["charts/front.png", "charts/front.svg", "front.csv", "study.toml", "machine.json", "journal.sqlite"] {
        assert!(fs::metadata(study.join(file)).unwrap().len() > 0, "{file}");
    }
    let trials = table(study.join("trials.csv"));
    assert_eq!(trials.len(), 4);
    for row in &trials {
        assert_eq!(row["status"], "done");
        for column in [
            "parameters",
            "best_epoch",
            "validation_accuracy",
            "test_accuracy",
            "train_seconds_screen",
            "started",
            "ended",
            "host",
        ] {
            assert!(!row[column].is_empty(), "{column} is empty");
        }
    }
    assert_eq!(table(study.join("epochs.csv")).len(), 8);
    let front = succeed(folder.path(), &["front", "results/space"]);
    front.names(["baseline", "SPEED-UP"]);
    assert!(!table(study.join("front.csv")).is_empty());
}

#[test]
fn slots_and_threads_change_no_bit() {
    let folder = folder_with(SPACE);
    let run_with = |slots: &str| {
        succeed(folder.path(), &["explore", "space.toml", "--quiet", "--slots", slots, "--out", slots]);
        figures(&folder.path().join(slots))
    };
    let co_runners = |slots: &str| -> Option<usize> {
        let rows = table(folder.path().join(slots).join("trials.csv"));
        rows.iter().map(|row| row["co_runners"].parse().unwrap()).max()
    };
    let alone = run_with("1x1");
    assert_eq!(alone, run_with("2x1"));
    assert_eq!([co_runners("1x1"), co_runners("2x1")], [Some(0), Some(1)]);
    assert_eq!(alone, run_with("1x2"));
}

#[test]
fn the_same_command_again_trains_only_what_is_missing() {
    let folder = folder_with(SPACE);
    succeed(folder.path(), &["explore", "space.toml", "--quiet", "--limit", "1"]);
    let first = table(folder.path().join("results/space/trials.csv"));
    assert_eq!(
        first.iter().map(|row| row["status"].as_str()).collect::<Vec<_>>(),
        ["done", "pending", "pending", "pending"]
    );
    succeed(folder.path(), &["explore", "space.toml", "--quiet", "--order", "random"]);
    let all = table(folder.path().join("results/space/trials.csv"));
    assert_eq!(all.len(), 4);
    assert_eq!(all[0], first[0], "a finished trial was trained again");
    assert_eq!(begun(folder.path(), &[]), 0);
    assert_eq!(table(folder.path().join("results/space/trials.csv")), all);
}

#[test]
fn a_lost_journal_is_made_again_from_the_trials_folders() {
    let folder = folder_with(SPACE);
    succeed(folder.path(), &["explore", "space.toml", "--quiet", "--limit", "3"]);
    let study = folder.path().join("results/space");
    let (trials, epochs) = (table(study.join("trials.csv")), table(study.join("epochs.csv")));
    fs::remove_file(study.join("journal.sqlite")).unwrap();
    assert_eq!(begun(folder.path(), &["--limit", "3"]), 0);
    assert_eq!(table(study.join("trials.csv")), trials);
    assert_eq!(table(study.join("epochs.csv")), epochs);
}

#[test]
fn a_killed_trial_is_a_row_and_the_rest_goes_on() {
    let slow = SPACE.replace("train_samples = 120", "train_samples = 4000").replace("epochs = 2", "epochs = 200");
    let folder = folder_with(&format!("{slow}\n[[exclude]]\n\"model.routing_iterations\" = 1\n"));
    let mut explorer = (program().current_dir(folder.path()))
        .args(["explore", "space.toml", "--slots", "2x1", "--set", "train.epochs=200", "--retries", "0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..2 {
        kill_child_of(explorer.id());
    }
    // Nothing succeeded: the sweep says so, after it has written down both ends.
    assert!(!explorer.wait().unwrap().success());
    let rows = table(folder.path().join("results/space/trials.csv"));
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!(row["status"], "failed");
        row["error"].names(["signal 9"]);
    }
}

/// Kills a child of a process, as soon as it has one.
fn kill_child_of(parent: u32) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        if let Some(child) = children.split_whitespace().next() {
            assert!(Command::new("kill").args(["-9", child]).status().unwrap().success());
            while Path::new(&format!("/proc/{child}/stat")).exists() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(10));
            }
            return;
        }
        assert!(Instant::now() < end, "no trial was started");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn trials_do_not_outlive_a_killed_explorer_and_the_sweep_continues() {
    let folder = folder_with(SPACE);
    let long = ["--set", "train.epochs=40", "--set", "model.routing_iterations=2", "--slots", "2x1"];
    let mut explorer = (program().current_dir(folder.path()))
        .args(["explore", "space.toml", "--quiet", "--out", "long", "--no-confirm"])
        .args(long)
        .spawn()
        .unwrap();
    let pid = explorer.id();
    let end = Instant::now() + Duration::from_secs(60);
    let mut children = Vec::new();
    while children.len() < 2 && Instant::now() < end {
        let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children = listed.split_whitespace().map(str::to_string).collect();
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(children.len(), 2);
    explorer.kill().unwrap();
    explorer.wait().unwrap();
    for child in children {
        let is_alive = || fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        while is_alive() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!is_alive(), "a trial outlived its explorer");
    }
    // What was running is pending, not lost: the same command trains it anew.
    let dry =
        succeed(folder.path(), &[&["explore", "space.toml", "--out", "long", "--dry-run"][..], &long[..4]].concat());
    dry.names(["2 trials"]);
    succeed(folder.path(), &[&["explore", "space.toml", "--quiet", "--out", "long"][..], &long[..]].concat());
    let rows = table(folder.path().join("long/trials.csv"));
    assert_eq!(rows.iter().map(|row| row["status"].as_str()).collect::<Vec<_>>(), ["done", "done"]);
    assert_eq!(table(folder.path().join("long/epochs.csv")).len(), 2 * 40);
}

#[test]
fn one_explorer_holds_a_study_at_a_time() {
    let folder = folder_with(SPACE);
    succeed(folder.path(), &["explore", "space.toml", "--quiet", "--limit", "1"]);
    let lock = fs::File::options().write(true).open(folder.path().join("results/space/study.lock")).unwrap();
    lock.lock().unwrap();
    let said = refuse(folder.path(), &["explore", "space.toml"]);
    // What the lock says of who holds it.
    let held = fs::read_to_string(folder.path().join("results/space/study.lock")).unwrap();
    let who = held.split(" by ").nth(1).unwrap().split(" since").next().unwrap();
    said.names(["results/space", who]);
    // Reading is not disturbed.
    succeed(folder.path(), &["front", "results/space"]);
}

#[test]
fn a_folder_of_another_space_version_or_data_is_refused() {
    let folder = folder_with(SPACE);
    succeed(folder.path(), &["explore", "space.toml", "--quiet", "--limit", "1"]);
    let said = refuse(folder.path(), &["explore", "space.toml", "--set", "train.epochs=3"]);
    said.names(["base.train.epochs", "2", "results/space", "3", "--out"]);
    let file = folder.path().join("results/space/study.toml");
    let text = fs::read_to_string(&file).unwrap();
    let version = format!("fastrcaps_version = \"{}\"", env!("CARGO_PKG_VERSION"));
    let of_old = text.replace(&version, "fastrcaps_version = \"0.0.1\"");
    fs::write(&file, &of_old).unwrap();
    let said = refuse(folder.path(), &["explore", "space.toml"]);
    said.names(["study.toml", "--out"]).is_silent_on(["0.0.1"]);
    let mut of_old: toml::Table = of_old.parse().unwrap();
    of_old.remove("checksum");
    fs::write(&file, fastrcaps::base::seal::to_toml(&of_old).unwrap()).unwrap();
    let said = refuse(folder.path(), &["explore", "space.toml"]);
    said.names(["fastrcaps 0.0.1", "--out"]);
}

#[test]
fn bad_arguments_and_files_are_refused_by_name_and_leave_nothing_behind() {
    let folder = folder_with(SPACE);
    fs::write(folder.path().join("file"), "in the way").unwrap();
    let rows: [(&str, i32, &[&str]); 32] = [
        ("explore absent.toml", 1, &["absent.toml"]),
        ("explore space.toml --slots 0x1", 2, &["--slots", "0x1", "2x1"]),
        ("explore space.toml --slots 2x0", 2, &["--slots", "2x0", "2x1"]),
        ("explore space.toml --slots two", 2, &["--slots", "two", "2x1"]),
        ("explore space.toml --limit 0", 2, &["--limit", "0", "1.."]),
        ("explore space.toml --checkpoint-every soon", 2, &["--checkpoint-every", "soon", "30s", "1h 30m"]),
        ("explore space.toml --backoff 5", 2, &["--backoff", "5", "30s", "1h 30m"]),
        ("explore space.toml --set epochs", 2, &["--set", "epochs", "PATH=VALUE"]),
        ("explore space.toml --set train.epocs=2", 1, &["--set train.epocs=2", "`epocs`", "`epochs`"]),
        ("explore space.toml --set train.epochs=two", 1, &["train.epochs", "two"]),
        ("explore space.toml --set data.name=mnist", 1, &["fastrcaps data fetch mnist"]),
        ("explore space.toml --set data.name=letters", 1, &["data.name", "`letters`", "`glyphs`"]),
        ("explore space.toml --out file", 1, &["file", "--out"]),
        ("explore space.toml --out /proc/study", 1, &["/proc/study", "--out"]),
        ("explore space.toml --set train.epochs=0", 1, &["--set train.epochs=0", "train.epochs = 0"]),
        ("explore space.toml --set schedule.batch.size=3", 1, &["schedule.batch.size", "schedule.batch"]),
        ("train absent.toml", 1, &["absent.toml"]),
        ("train space.toml", 1, &["space.toml:2", "`base`", "`data`"]),
        ("train space.toml --threads 0", 2, &["--threads", "0", "1.."]),
        ("schedule space.toml", 1, &["space.toml:2", "`base`", "`data`"]),
        ("front nowhere", 1, &["nowhere", "study.toml"]),
        ("plan file", 1, &["file:1", "TOML"]),
        ("data verify letters", 2, &["letters", "glyphs"]),
        ("bench step --preset huge", 2, &["--preset", "huge", "paper", "small", "tiny"]),
        ("bench step --batch 0", 2, &["--batch", "0", "1.."]),
        ("bench step --batch 1,,2", 2, &["--batch"]),
        ("bench step --threads 0", 2, &["--threads", "0", "1.."]),
        ("bench step --steps 0", 2, &["--steps", "0", "1.."]),
        ("bench step --config absent.toml", 1, &["absent.toml"]),
        ("bench step --config space.toml", 1, &["space.toml:2", "`base`", "`data`"]),
        ("bench step --config space.toml --preset tiny", 2, &["--config", "--preset"]),
        ("bench step --batch=", 2, &["--batch"]),
    ];
    for (arguments, code, facts) in rows {
        let (ended, said) = refused(folder.path(), &arguments.split(' ').collect::<Vec<_>>());
        said.names(facts);
        assert_eq!(ended, code, "{arguments}: {said}");
    }
    assert!(!folder.path().join("results").exists(), "a refused command left a folder behind");
}

#[test]
fn a_trial_whose_folder_cannot_be_made_is_a_row_and_the_rest_goes_on() {
    let folder = folder_with(SPACE);
    succeed(folder.path(), &["explore", "space.toml", "--quiet", "--limit", "1"]);
    let rows = table(folder.path().join("results/space/trials.csv"));
    fs::write(folder.path().join("results/space/trials").join(&rows[1]["key"]), "in the way").unwrap();
    succeed(folder.path(), &["explore", "space.toml", "--quiet", "--retries", "1", "--backoff", "10ms"]);
    let rows = table(folder.path().join("results/space/trials.csv"));
    assert_eq!(rows.iter().map(|row| row["status"].as_str()).collect::<Vec<_>>(), ["done", "failed", "done", "done"]);
    assert_eq!((rows[1]["fault"].as_str(), rows[1]["attempts"].as_str()), ("machine", "2"), "{:?}", rows[1]);
    rows[1]["error"].names([&rows[1]["key"]]);
    fs::remove_file(folder.path().join("results/space/trials").join(&rows[1]["key"])).unwrap();
    succeed(folder.path(), &["explore", "space.toml", "--quiet", "--retry-failed"]);
    assert_eq!(table(folder.path().join("results/space/trials.csv"))[1]["status"], "done");
}

#[test]
fn a_training_writes_into_a_folder_of_its_own_only() {
    let folder = folder_with(SPACE);
    fs::write(folder.path().join("my.toml"), "[model]\npreset = 'tiny'\n").unwrap();
    for force in [&[][..], &["--force"][..]] {
        let said = refuse(folder.path(), &[&["train", "my.toml", "--out", "."][..], force].concat());
        said.names(["--out"]);
        assert!(!folder.path().join("trial.json").exists() && folder.path().join("space.toml").exists());
    }
}

#[test]
fn a_changed_baseline_is_taken_up_and_changes_no_trial() {
    let folder = folder_with(SPACE);
    succeed(folder.path(), &["explore", "space.toml", "--quiet"]);
    let baseline = "[baseline]\n\"model.routing_iterations\" = 1\n\"schedule.batch\" = 'adabatch'\n";
    fs::write(folder.path().join("space.toml"), format!("{SPACE}{baseline}")).unwrap();
    assert_eq!(begun(folder.path(), &[]), 0);
    let rows = table(folder.path().join("results/space/trials.csv"));
    assert_eq!(rows[3]["configuration"], "baseline");
}

#[test]
fn a_dry_run_lists_what_would_be_trained_and_trains_nothing() {
    let folder = folder_with(SPACE);
    let out = succeed(folder.path(), &["explore", "space.toml", "--dry-run", "--limit", "3"]);
    out.names(["3 trials"]);
    assert!(!folder.path().join("results").exists());
}

#[test]
fn events_come_as_json_lines() {
    let folder = folder_with(SPACE);
    let events = events(folder.path(), &["--limit", "1"]);
    assert_eq!(events.first().unwrap()["event"], "started");
    assert_eq!(events[0]["epochs_before"], 0);
    let over = events.last().unwrap();
    let said = ["event", "why"].map(|key| over[key].as_str().unwrap());
    assert_eq!((said, &over["done"], &over["pending"]), (["finished", "finished"], &1.into(), &3.into()));
    let ended = events.iter().rfind(|event| event["event"] == "ended").unwrap();
    assert_eq!(ended["record"]["status"], "done");
    for event in events.iter().filter(|event| ["started", "epoch", "ended"].iter().any(|of| event["event"] == *of)) {
        assert_eq!((&event["key"], &event["replicate"]), (&ended["record"]["key"], &ended["record"]["replicate"]));
        assert!(event["configuration"].is_string(), "{event}");
    }
}

#[test]
fn a_plan_counts_configurations_parameters_and_samples() {
    let folder = folder_with(&format!("replicates = 3\n{SPACE}"));
    let out = succeed(folder.path(), &["plan", "space.toml"]);
    out.names(["4 combinations", "0 excluded", "0 duplicates", "4 configurations", "3 replicates", "12 trials"]);
    // 96 training samples for 2 epochs.
    out.names(["192", "glyphs"]);
}

#[test]
fn a_plan_says_whether_the_data_is_there() {
    let folder = folder_with("[base]\ndata = { name = 'mnist' }\nmodel = { preset = 'tiny' }");
    let out = succeed(folder.path(), &["plan", "space.toml", "--no-timing", "--data-dir", "nowhere"]);
    out.names(["nowhere/mnist", "1 combination", "1 configuration", "1 replicate", "1 trial"]);
    let Some(mnist) = crate::data::load::real_mnist() else { return };
    let out = succeed(folder.path(), &["plan", "space.toml", "--no-timing", "--data-dir", mnist.to_str().unwrap()]);
    out.names([mnist.join("train-images-idx3-ubyte.gz").parent().unwrap().to_str().unwrap()]);
    out.is_silent_on(["fastrcaps data fetch mnist"]);
}

#[test]
fn memory_that_slots_cannot_share_is_told() {
    let folder = folder_with(SPACE);
    let said = |memory: &str| {
        let plan = ["plan", "space.toml", "--no-timing", "--slots", "2x1", "--memory", memory];
        let explored = run(
            folder.path(),
            &["explore", "space.toml", "--limit", "2", "--slots", "2x1", "--memory", memory, "--out", memory],
        );
        assert!(explored.status.success(), "{explored:?}");
        [succeed(folder.path(), &plan), String::from_utf8(explored.stderr).unwrap()]
    };
    for said in said("1M") {
        // One trial at a time, of two.
        said.names(["1 trial", "2", "--memory", "1.0 MB"]);
    }
    for said in said("100T") {
        said.is_silent_on(["--memory", "MB"]);
    }
}

#[test]
fn a_config_that_cannot_be_written_beside_the_study_goes_where_out_says() {
    let folder = folder_with(SPACE);
    succeed(folder.path(), &["explore", "space.toml", "--limit", "1", "--out", "study"]);
    // As good as a folder that must not be written to, also for who may write everywhere.
    fs::write(folder.path().join("study/pick"), "").unwrap();
    let said = refuse(folder.path(), &["pick", "study", "--max-time", "1h"]);
    said.names(["study/pick/config.toml", "--out FILE"]);
    let out = succeed(folder.path(), &["pick", "study", "--max-time", "1h", "--out", "new/config.toml"]);
    out.names(["new/config.toml"]);
}

#[test]
fn errors_are_the_same_words_with_backtraces_switched_on() {
    let folder = folder_with(SPACE);
    let said = |backtrace: &str| {
        let mut command = program();
        command.current_dir(folder.path()).env_remove("RUST_LIB_BACKTRACE").env("RUST_BACKTRACE", backtrace);
        let output = command.args(["bench", "step", "--preset", "tiny", "--device", "cuda:99"]).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let plain = said("0");
    plain.names(["cuda:99"]);
    assert_eq!(said("1"), plain);
    assert_eq!(said("full"), plain);
}

#[test]
fn numbers_of_hundreds_of_digits_are_refused_in_powers_of_ten() {
    let folder = folder_with(SPACE);
    for path in
        ["data.validation_fraction", "data.shift", "model.routing_iterations", "schedule", "model", "replicates"]
    {
        let said = refuse(folder.path(), &["explore", "space.toml", "--dry-run", "--set", &format!("{path}=-1e308")]);
        said.names(["-1e308"]);
        assert!(said.len() < 500, "{path}: {said}");
    }
}

#[test]
fn a_training_leaves_its_config_epochs_weights_predictions_and_picture() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[data]\ntrain_samples = 120\ntest_samples = 40\n[model]\npreset = 'tiny'\n[train]\nepochs = 2\n";
    fs::write(folder.path().join("my.toml"), config).unwrap();
    let out = succeed(folder.path(), &["train", "my.toml", "--quiet"]);
    let trained = folder.path().join("results/train-my");
    let record = TrialFolder::new(&trained).read_record().unwrap();
    out.names([format!("{:.2} %", 100.0 * record.test_accuracy.unwrap())]);
    for file in ["epochs.csv", "trial.json", "weights.safetensors", "predictions.safetensors", "reconstructions.png"] {
        assert!(fs::metadata(trained.join(file)).unwrap().len() > 0, "{file}");
    }
    refuse(folder.path(), &["train", "my.toml"]).names(["results/train-my", "--force"]);
    // The resolved config trains to the same bits, whatever is said of threads.
    let weights = |folder: &Path| fs::read(folder.join("weights.safetensors")).unwrap();
    for (threads, of_rayon) in [("1", "4"), ("2", "1"), ("3", "2")] {
        let again = format!("again-{threads}");
        let arguments = ["train", "results/train-my/config.toml", "--out", &again, "--threads", threads, "--quiet"];
        let mut command = program();
        let status = command.current_dir(folder.path()).env("RAYON_NUM_THREADS", of_rayon).args(arguments).status();
        assert!(status.unwrap().success());
        assert_eq!(weights(&trained), weights(&folder.path().join(again)), "{threads} threads");
    }
}

#[test]
fn a_training_that_diverges_says_so_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[data]\ntrain_samples = 120\ntest_samples = 40\n[model]\nkind = 'lenet5'\n[train]\nepochs = 5\n\
                  [schedule]\nlr = { policy = 'fixed', rate = 10 }\n";
    fs::write(folder.path().join("wild.toml"), config).unwrap();
    let said = refuse(folder.path(), &["train", "wild.toml", "--quiet"]);
    let record = TrialFolder::new(folder.path().join("results/train-wild")).read_record().unwrap();
    assert_eq!((record.status, record.fault), (Status::Diverged, Some(Fault::Configuration)));
    said.names([format!("epoch {}", record.epochs)]);
}

#[test]
fn schedules_and_range_tests_are_drawn_beside_their_config() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[data]\ntrain_samples = 200\n[model]\npreset = 'tiny'\n[train]\nepochs = 3\n";
    fs::write(folder.path().join("my.toml"), config).unwrap();
    succeed(folder.path(), &["schedule", "my.toml"]).names(["my-schedule.png"]);
    succeed(folder.path(), &["lr-find", "my.toml", "--steps", "40"]).names(["my-lr-find.png"]);
    for file in ["my-schedule.png", "my-lr-find.png"] {
        assert!(fs::read(folder.path().join(file)).unwrap().starts_with(b"\x89PNG"));
    }
}

#[test]
fn a_rate_that_does_not_do_what_its_policy_is_for_is_told_by_all_who_read_it() {
    let folder = folder_with(&format!(
        "{SPACE}\"schedule.lr\" = [{{ rate = 1e-3 }}, {{ policy = 'one-cycle', peak = 5e-4 }}]\n"
    ));
    let here = folder.path();
    let config = "data = { train_samples = 100, test_samples = 20 }\nmodel = { preset = 'tiny' }\ntrain.epochs = 1\n\
                  schedule.lr = { policy = 'warm-restarts', peak = 1e-3 }";
    fs::write(here.join("my.toml"), config).unwrap();
    let of_space: &[&str] = &["schedule.lr", "5e-4", "one-cycle", "3"];
    for (arguments, facts) in [
        (&["plan", "space.toml", "--no-timing"][..], of_space),
        (&["explore", "space.toml", "--dry-run"], of_space),
        (&["schedule", "my.toml"], &["schedule.lr", "1e-3"]),
        (&["train", "my.toml"], &["schedule.lr", "1e-3"]),
    ] {
        let said = told(here, arguments);
        said.names(facts);
        assert_eq!(said.matches("schedule.lr").count(), 1, "{said}");
    }
    told(here, &["explore", "space.toml", "--dry-run", "--quiet"]).is_silent_on(["schedule.lr"]);
    fs::write(here.join("restarts.toml"), "schedule.lr = { policy = 'warm-restarts' }\ntrain.epochs = 7").unwrap();
    let said = succeed(here, &["schedule", "restarts.toml"]);
    assert!(said.lines().count() > 30 && said.matches("1.000e-3").count() == 7, "{said}");
    fs::write(here.join("long.toml"), "schedule.lr = { policy = 'warm-restarts' }\ntrain.epochs = 700").unwrap();
    let said = succeed(here, &["schedule", "long.toml"]);
    said.names(["700.000"]);
    assert!(said.lines().count() < 100, "{said}");
}

#[test]
fn a_measured_step_is_a_table_of_its_parts() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["bench", "step", "--preset", "tiny", "--batch", "3,1", "--steps", "2", "--threads", "1"];
    let out = succeed(folder.path(), &arguments);
    let first = out.lines().next().unwrap();
    first.names(["1 thread", "build"]);
    for wanted in ["batch 3", "batch 1", "2 steps", "samples/s", "OF CEILING", "class-capsules-backward"] {
        out.names([wanted]);
    }
    assert_eq!(out.lines().filter(|line| line.starts_with("optimizer ")).count(), 2);
    fs::write(folder.path().join("lenet.toml"), "model = { kind = 'lenet5' }").unwrap();
    let out = succeed(folder.path(), &["bench", "step", "--config", "lenet.toml", "--batch", "2", "--steps", "1"]);
    let has_row = |name: &str| out.lines().any(|line| line.starts_with(name));
    assert!(has_row("graph ") && has_row("step "), "{out}");
}

#[test]
fn an_estimated_step_is_the_sum_of_its_launches() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["bench", "step", "--estimate", "h200", "--batch", "16,128", "--precision", "bf16"];
    let out = succeed(folder.path(), &arguments);
    assert!(out.starts_with("NOTHING HERE WAS MEASURED"), "{out}");
    out.names(["H200 SXM", "4.80 TB/s"]);
    let all: serde_json::Value =
        serde_json::from_str(&succeed(folder.path(), &[&arguments[..], &["--json"]].concat())).unwrap();
    assert_eq!(all["is_measured"], false);
    for of in all["batches"].as_array().unwrap() {
        for figure in ["bytes", "multiply_adds", "count", "least_ms"] {
            let launches = of["launches"].as_array().unwrap().iter();
            let sum: f64 = launches.map(|launch| launch[figure].as_f64().unwrap()).sum();
            let step = of["step"][figure].as_f64().unwrap();
            assert!(sum > 0.0 && (sum / step - 1.0).abs() < 1e-9, "{figure}: {sum} in rows, {step} in the sum");
        }
    }
    fs::write(folder.path().join("lenet.toml"), "model = { kind = 'lenet5' }").unwrap();
    let (code, said) = refused(folder.path(), &["bench", "step", "--config", "lenet.toml", "--estimate", "h100"]);
    said.names(["launches"]);
    assert_eq!(code, 1);
}

#[test]
fn a_measured_step_is_one_json_object() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["bench", "step", "--preset", "tiny", "--batch", "2,5", "--steps", "3", "--threads", "2", "--json"];
    let all: serde_json::Value = serde_json::from_str(&succeed(folder.path(), &arguments)).unwrap();
    assert_eq!(all["threads"], 2);
    assert_eq!(all["network"]["name"], "tiny");
    assert_eq!((&all["device"]["place"], &all["precision"]), (&"cpu".into(), &"f32".into()));
    for path in ["/machine/cores", "/network/parameters", "/ceilings/gflops", "/ceilings/gigabytes_per_second"] {
        assert!(all.pointer(path).is_some_and(|value| value.as_f64() > Some(0.0)), "{path} in {all}");
    }
    for path in ["/machine/processor", "/machine/git_revision"] {
        assert!(all.pointer(path).is_some(), "{path} in {all}");
    }
    let batches = all["batches"].as_array().unwrap();
    assert_eq!(batches.iter().map(|of| of["batch"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 5]);
    for of in batches {
        assert_eq!(of["steps"], 3);
        assert!(of["samples_per_second"].as_f64() > Some(0.0));
        let parts = of["parts"].as_array().unwrap();
        assert_eq!(parts.len(), 11);
        for figures in parts.iter().chain([of]) {
            let at = |name: &str| figures["ms"][name].as_f64().unwrap();
            let sorted = ["min", "lower_quartile", "median", "upper_quartile", "max"].map(at);
            assert!(sorted.is_sorted(), "{sorted:?}");
            for name in ["gflops", "direct_gflops", "gigabytes_per_second", "of_ceiling", "bound_by"] {
                assert!(figures.get(name).is_some(), "{name} in {figures}");
            }
            for name in ["multiply_adds", "direct_multiply_adds", "bytes"] {
                assert!(figures[name].is_u64(), "{name} in {figures}");
            }
        }
        let shares: f64 = parts.iter().map(|part| part["share"].as_f64().unwrap()).sum();
        assert!(shares > 0.0 && shares <= 1.0 + 1e-9, "{shares}");
    }
}

#[test]
fn help_and_completions_are_there() {
    let folder = tempfile::tempdir().unwrap();
    for command in [
        "explore",
        "time",
        "front",
        "status",
        "study",
        "plan",
        "train",
        "schedule",
        "lr-find",
        "data",
        "bench",
        "selftest",
        "completions",
    ] {
        assert!(succeed(folder.path(), &[command, "--help"]).contains("Usage: fastrcaps "), "{command}");
    }
    for command in ["check", "rebuild", "rm", "merge", "export"] {
        assert!(succeed(folder.path(), &["study", command, "--help"]).contains("Example"), "{command}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(succeed(folder.path(), &["completions", shell]).contains("fastrcaps"), "{shell}");
    }
}
