//! Faults, injected: whatever is killed, stopped or filled up, what was finished stays finished and the figures stay what
//! they are without the fault.
//!
//! `FASTRCAPS_FAULTS=100` asks for that many rounds of each kind instead of a few.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::FromRawFd,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use fastrcaps::base::rng;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use crate::{
    cli::{figures, folder_with, program, succeed, table},
    facts::Facts,
    skipped::skipped,
};

/// Six trials with everything that a checkpoint has to carry: changing batches, cycles of the learning rate, shifted images.
const SPACE: &str = "
[base]
data = { name = 'glyphs', train_samples = 160, test_samples = 40, validation_fraction = 0.2, shift = 1 }
train = { epochs = 3 }
[axes]
\"model\" = [{ preset = 'tiny' }, { preset = 'tiny', class_sharing = 'by-type' }, { kind = 'lenet5' }]
\"schedule\" = [
    { batch = { policy = 'fixed', size = 16 } },
    { batch = { policy = 'adabatch', phases = [{ epochs = 1, size = 8 }, { size = 32 }] }, lr = { policy = 'warm-restarts', peak = 4e-3 } },
]
";

/// Figures do not depend on these; where trials come and go in milliseconds, they let all that can happen happen.
const HASTE: [&str; 6] = ["--slots", "2x1", "--checkpoint-every", "0s", "--backoff", "10ms"];

fn rounds(few: usize) -> usize {
    std::env::var("FASTRCAPS_FAULTS").map_or(few, |rounds| rounds.parse().expect("FASTRCAPS_FAULTS is a number"))
}

fn explore(folder: &Path, more: &[&str]) -> Command {
    let mut command = program();
    command.current_dir(folder).args(["explore", "space.toml", "--quiet", "--no-confirm"]).args(HASTE).args(more);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A sweep that nothing happened to: its folder, its figures, and how long it took.
fn undisturbed() -> (TempDir, Vec<Vec<String>>, Duration) {
    let folder = folder_with(SPACE);
    let began = Instant::now();
    assert!(explore(folder.path(), &[]).status().unwrap().success());
    let took = began.elapsed();
    let figures = figures(&folder.path().join("results/space"));
    (folder, figures, took)
}

/// Processes of this program whose command line names `folder`, but for zombies.
fn processes_in(folder: &Path) -> Vec<u32> {
    let of = |entry: fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let link = fs::read_link(entry.path().join("cwd")).ok()?;
        let is_trial = line.windows(9).any(|part| part == b"run-trial");
        (is_trial && link.starts_with(folder)).then_some(pid)
    };
    fs::read_dir("/proc").unwrap().filter_map(|entry| of(entry.ok()?)).collect()
}

fn signal(name: &str, pid: u32) {
    // It may have ended already.
    let _ = Command::new("kill").args([name, &pid.to_string()]).stderr(Stdio::null()).status();
}

fn assert_no_orphans(folder: &Path) {
    let end = Instant::now() + Duration::from_secs(10);
    while !processes_in(folder).is_empty() {
        assert!(Instant::now() < end, "trials outlived their explorer: {:?}", processes_in(folder));
        thread::sleep(Duration::from_millis(5));
    }
}

/// What happens to a sweep.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Blow {
    KillExplorer,
    KillTrial,
    AskToStop,
}

/// Strikes a running explorer at a random moment; tells whether it has ended.
fn strike(explorer: &mut Child, folder: &Path, blow: Blow, moment: Duration) -> bool {
    let end = Instant::now() + moment;
    while Instant::now() < end {
        if explorer.try_wait().unwrap().is_some() {
            return true;
        }
        thread::sleep(Duration::from_millis(1));
    }
    match blow {
        Blow::KillExplorer => explorer.kill().unwrap(),
        Blow::AskToStop => signal("-TERM", explorer.id()),
        Blow::KillTrial => {
            processes_in(folder).first().into_iter().for_each(|trial| signal("-KILL", *trial));
            return explorer.try_wait().unwrap().is_some();
        }
    }
    explorer.wait().unwrap();
    true
}

/// A sweep struck at random moments and continued each time: gives its figures, and how often it was struck.
fn struck(random: &mut ChaCha8Rng, took: Duration, blows: &[Blow]) -> (TempDir, usize) {
    let folder = folder_with(SPACE);
    let mut strikes = 0;
    for _ in 0..random.random_range(1..=4) {
        // Enough retries for any number of killed trials.
        let mut explorer = explore(folder.path(), &["--retries", "1000"]).spawn().unwrap();
        loop {
            let blow = blows[random.random_range(0..blows.len())];
            let moment = took.mul_f64(random.random_range(0.0..0.9));
            let has_ended = strike(&mut explorer, folder.path(), blow, moment);
            strikes += 1;
            if has_ended {
                break;
            }
        }
        // Now and then the next explorer is there before the last trials of this one are gone.
        if random.random_bool(0.7) {
            assert_no_orphans(folder.path());
        }
    }
    assert!(explore(folder.path(), &["--retries", "1000"]).status().unwrap().success());
    assert_no_orphans(folder.path());
    (folder, strikes)
}

fn strike_and_compare(name: &str, few: usize, blows: &[Blow]) {
    let (_kept, expected, took) = undisturbed();
    let rounds = rounds(few);
    let mut strikes = 0;
    for round in 0..rounds {
        let mut random = rng::stream(7, name, round as u64);
        let (folder, of_round) = struck(&mut random, took, blows);
        strikes += of_round;
        let study = folder.path().join("results/space");
        assert_eq!(figures(&study), expected, "round {round} of {name}");
        assert_unique(&study, round);
    }
    println!("{name}: {rounds} of {rounds} sweeps, struck {strikes} times, ended as the undisturbed one");
}

/// No row stands twice, in tables or journal.
fn assert_unique(study: &Path, round: usize) {
    for (file, columns) in [("trials.csv", &["key"][..]), ("epochs.csv", &["key", "epoch"])] {
        let mut seen = BTreeMap::new();
        for row in table(study.join(file)) {
            let key: Vec<String> = columns.iter().map(|column| row[*column].clone()).collect();
            *seen.entry(key).or_insert(0) += 1;
        }
        assert!(seen.values().all(|count| *count == 1), "{file} of round {round}: {seen:?}");
    }
}

#[test]
fn explorers_killed_at_random_moments_lose_nothing() {
    strike_and_compare("explorers killed", 3, &[Blow::KillExplorer]);
}

#[test]
fn trials_killed_at_random_moments_lose_nothing() {
    strike_and_compare("trials killed", 2, &[Blow::KillTrial, Blow::KillTrial, Blow::KillTrial, Blow::KillExplorer]);
}

#[test]
fn sweeps_stopped_in_order_at_random_moments_lose_nothing() {
    strike_and_compare("explorers stopped", 2, &[Blow::AskToStop]);
}

/// An explorer of one trial that takes minutes, once the trial has written its first checkpoint.
fn with_long_trial(folder: &Path, more: &[&str]) -> (Child, u32) {
    let long = ["--set", "train.epochs=5000", "--limit", "1"];
    let mut explorer = explore(folder, &[&long[..], more].concat()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    let study = folder.join("results/space/trials");
    let has_begun = || {
        let wrote =
            |trial: std::io::Result<fs::DirEntry>| trial.unwrap().path().join("checkpoint.safetensors").exists();
        fs::read_dir(&study).is_ok_and(|mut trials| trials.any(wrote))
    };
    while !has_begun() && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
    match processes_in(folder).first() {
        Some(trial) => (explorer, *trial),
        None => {
            explorer.kill().unwrap();
            panic!("no trial is running: {:?}", explorer.wait());
        }
    }
}

#[test]
fn a_stopped_trial_is_ended_at_its_timeout_and_is_a_row() {
    let folder = folder_with(SPACE);
    let timed = ["--set", "train.epochs=5000", "--limit", "1", "--timeout-minutes", "0.007"];
    let mut explorer = explore(folder.path(), &timed).spawn().unwrap();
    // Stopped as soon as it runs, it cannot heed that it is asked to end.
    while explorer.try_wait().unwrap().is_none() {
        if let Some(trial) = processes_in(folder.path()).first() {
            signal("-STOP", *trial);
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!explorer.wait().unwrap().success());
    let row = &table(folder.path().join("results/space/trials.csv"))[0];
    assert_eq!((row["status"].as_str(), row["fault"].as_str()), ("failed", "timeout"), "{row:?}");
    row["error"].names(["0.0070 minutes"]);
    assert_no_orphans(folder.path());
}

#[test]
fn a_stopped_trial_does_not_outlive_a_killed_explorer() {
    let folder = folder_with(SPACE);
    let (mut explorer, trial) = with_long_trial(folder.path(), &[]);
    signal("-STOP", trial);
    explorer.kill().unwrap();
    explorer.wait().unwrap();
    assert_no_orphans(folder.path());
}

#[test]
fn a_trial_that_asks_for_more_memory_than_there_is_is_a_row_and_the_rest_goes_on() {
    let space = "[base]\ndata = { name = 'glyphs', train_samples = 1200, test_samples = 40 }\ntrain = { epochs = 1 }\n[axes]\n\
                 \"model\" = [{ preset = 'tiny' }, { preset = 'paper', primary_types = 32 }]\n\
                 \"schedule.batch\" = [{ policy = 'fixed', size = 512 }]\n";
    let folder = folder_with(space);
    let line = format!(
        "ulimit -v 1200000; exec {} explore space.toml --quiet --confirm-patience 0s --slots 2x1 --memory 100G --backoff 10ms",
        env!("CARGO_BIN_EXE_fastrcaps")
    );
    let status = Command::new("sh").args(["-c", &line]).current_dir(folder.path()).status().unwrap();
    assert!(status.success());
    let rows = table(folder.path().join("results/space/trials.csv"));
    assert_eq!(rows[0]["status"], "done");
    let large = &rows[1];
    let found = [&large["status"], &large["fault"], &large["attempts"]].map(String::as_str);
    assert_eq!(found, ["failed", "memory", "2"], "{large:?}");
}

/// A small file system of its own, where this user may mount one; else nothing, and a line that says so.
fn on_small_disk(script: &str, folder: &Path) -> Option<std::process::Output> {
    let mount = format!("set -e; mkdir -p disk; mount -t tmpfs -o size=64m none disk; {script}");
    for how in [&["unshare", "--mount"][..], &["unshare", "--user", "--map-root-user", "--mount"]] {
        let can = Command::new(how[0])
            .args(&how[1..])
            .args(["sh", "-c", "mkdir -p try && mount -t tmpfs none try"])
            .current_dir(folder)
            .stderr(Stdio::null())
            .status();
        if can.is_ok_and(|status| status.success()) {
            let mut command = Command::new(how[0]);
            command.args(&how[1..]).args(["sh", "-c", &mount]).current_dir(folder);
            return Some(command.output().unwrap());
        }
    }
    skipped("this user may mount no file system here");
    None
}

#[test]
fn a_disk_that_fills_up_during_a_sweep_and_is_freed_again_loses_nothing() {
    let long = ["--set", "train.epochs=120"];
    let kept = folder_with(SPACE);
    succeed(kept.path(), &[&["explore", "space.toml", "--quiet"][..], &long].concat());
    let expected = figures(&kept.path().join("results/space"));
    let folder = folder_with(SPACE);
    // Full but for 2 MB when the sweep begins. Once trials run, whatever they free is filled again, to the last byte, until
    // one of them says that it finds no room.
    let script = format!(
        "cp space.toml disk/; cd disk; dd if=/dev/zero of=filler bs=1M count=62 2> /dev/null; \
         {} explore space.toml --json {} {} > ../events 2> ../said & \
         for i in $(seq 600); do grep -q 'event.*paused' ../events && break; sleep 0.05; done; rm filler; \
         for i in $(seq 600); do [ -n \"$(ls results/space/trials/*/checkpoint.safetensors 2> /dev/null)\" ] && break; sleep 0.01; done; \
         for i in $(seq 600); do \
             dd if=/dev/zero of=filler$i bs=64k 2> /dev/null || true; dd if=/dev/zero of=rest$i bs=1k 2> /dev/null || true; \
             cat results/space/trials/*/log.txt | grep -q 'No space left' && break; sleep 0.05; \
         done; \
         rm filler* rest*; wait $!; cp -r results ..",
        env!("CARGO_BIN_EXE_fastrcaps"),
        HASTE.join(" "),
        long.join(" ")
    );
    let Some(output) = on_small_disk(&script, folder.path()) else { return };
    let said = fs::read_to_string(folder.path().join("said")).unwrap_or_default();
    assert!(output.status.success(), "{output:?}\n{said}");
    let events = fs::read_to_string(folder.path().join("events")).unwrap();
    let events = events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let pauses: Vec<_> = events.filter(|event| event["event"] == "paused" || event["event"] == "resumed").collect();
    assert!(pauses.len() >= 2 && pauses[0]["event"] == "paused", "{pauses:?}");
    assert_eq!(pauses.last().unwrap()["event"], "resumed", "{pauses:?}");
    pauses[0]["reason"].as_str().unwrap().names(["MB"]);
    let study = folder.path().join("results/space");
    let logs = fs::read_dir(study.join("trials"))
        .unwrap()
        .map(|trial| fs::read_to_string(trial.unwrap().path().join("log.txt")));
    let logs: String = logs.map(|log| log.unwrap()).collect();
    logs.names(["os error 28"]);
    assert_eq!(figures(&study), expected, "{said}");
}

#[test]
fn the_explorer_says_how_to_go_on_when_it_is_stopped() {
    let folder = folder_with(SPACE);
    let mut explorer = program()
        .current_dir(folder.path())
        .args(["explore", "space.toml", "--no-confirm", "--set", "train.epochs=5000", "--slots", "2x1"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while processes_in(folder.path()).len() < 2 && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
    signal("-INT", explorer.id());
    let mut said = String::new();
    std::io::Read::read_to_string(&mut explorer.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(explorer.wait().unwrap().code(), Some(130), "{said}");
    said.names(["explore space.toml --no-confirm --set train.epochs=5000 --slots 2x1"]);
    let rows = table(folder.path().join("results/space/trials.csv"));
    assert!(rows.iter().all(|row| row["status"] == "pending"), "{rows:?}");
    assert_eq!(rows.iter().filter(|row| row["attempts"] == "1").count(), 2);
    // What was stopped has its checkpoint.
    for row in rows.iter().filter(|row| row["attempts"] == "1") {
        let trial = folder.path().join("results/space/trials").join(&row["key"]);
        assert!(trial.join("checkpoint.safetensors").exists());
    }
    let log = fs::read_to_string(folder.path().join("results/space/sweep.log")).unwrap();
    log.names(["6 trials"]);
}

/// A terminal: what holds it, and what a program writes to.
fn terminal() -> (fs::File, fs::File) {
    let (mut holder, mut program) = (0, 0);
    use std::ptr::{null, null_mut};
    // SAFETY: two places to write to, and no name, modes or size asked for.
    let opened = unsafe { libc::openpty(&mut holder, &mut program, null_mut(), null(), null()) };
    assert_eq!(opened, 0);
    // SAFETY: both were just opened, and nobody else has them.
    unsafe { (fs::File::from_raw_fd(holder), fs::File::from_raw_fd(program)) }
}

#[test]
fn a_sweep_whose_terminal_goes_away_stops_in_order() {
    let folder = folder_with(SPACE);
    let (mut holder, end) = terminal();
    let mut explorer = program()
        .current_dir(folder.path())
        .args(["explore", "space.toml", "--no-confirm", "--set", "train.epochs=5000", "--slots", "2x1"])
        // One that draws, wherever the tests run.
        .env("TERM", "xterm")
        .stdout(end.try_clone().unwrap())
        .stderr(end)
        .spawn()
        .unwrap();
    let limit = Instant::now() + Duration::from_secs(60);
    let log = folder.path().join("results/space/sweep.log");
    // Bars are drawn all the time, so that reading does not block for long.
    while fs::read_to_string(&log).unwrap_or_default().matches("started").count() < 2 && Instant::now() < limit {
        let _ = std::io::Read::read(&mut holder, &mut [0; 4096]);
    }
    drop(holder);
    signal("-HUP", explorer.id());
    assert_eq!(explorer.wait().unwrap().code(), Some(130));
    let rows = table(folder.path().join("results/space/trials.csv"));
    assert_eq!(rows.iter().filter(|row| row["status"] == "pending" && row["attempts"] == "1").count(), 2, "{rows:?}");
    assert_no_orphans(folder.path());
}

#[test]
fn a_sweep_that_nobody_listens_to_goes_on() {
    let folder = folder_with(SPACE);
    let mut explorer = program()
        .current_dir(folder.path())
        .args(["explore", "space.toml", "--no-confirm", "--slots", "2x1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop((explorer.stdout.take(), explorer.stderr.take()));
    assert!(explorer.wait().unwrap().success());
    let rows = table(folder.path().join("results/space/trials.csv"));
    assert!(rows.iter().all(|row| row["status"] == "done"), "{rows:?}");
}
