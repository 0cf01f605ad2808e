//! Sweeps over CPU cores and a GPU, as their users run them: on a GPU, or on the emulated device.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use crate::{
    cli::{folder_with, program, table},
    facts::Facts,
    skipped::skipped,
};

/// Eight trials that take a moment each.
const SPACE: &str = "
[base]
data = { name = 'glyphs', train_samples = 120, test_samples = 40, validation_fraction = 0.2 }
model = { preset = 'tiny' }
train = { epochs = 2 }
[axes]
\"model.routing_iterations\" = [2, 1]
\"schedule.batch\" = [{ policy = 'fixed', size = 16 }, { policy = 'fixed', size = 8 }]
\"data.shift\" = [0, 2]
";

fn run(folder: &Path, arguments: &[&str]) -> Output {
    output(program().current_dir(folder).args(arguments))
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn succeed(output: Output) -> (String, String) {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{out}\n{err}");
    (out, err)
}

fn refused(output: Output) -> String {
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && !err.contains("panicked"), "{err}");
    err
}

fn rows(folder: &Path) -> Vec<BTreeMap<String, String>> {
    table(folder.join("results/space/trials.csv"))
}

#[test]
fn trials_run_on_both_kinds_of_slots_and_their_rows_name_the_device() {
    let folder = folder_with(SPACE);
    let (out, err) = succeed(run(folder.path(), &["explore", "space.toml", "--slots", "1x1,cuda:0x2", "--no-confirm"]));
    out.names(["8 trials", "0", "0"]);
    err.names(["8 trials", "1x1,cuda:0x2", "cuda:0"]);
    let rows = rows(folder.path());
    let on = |kind: &str| rows.iter().filter(|row| row["device"].starts_with(kind)).collect::<Vec<_>>();
    let (cpu, gpu) = (on("cpu"), on("cuda:0 "));
    assert_eq!(cpu.len() + gpu.len(), 8);
    assert!(!cpu.is_empty() && !gpu.is_empty(), "all on one kind: {rows:?}");
    for row in gpu {
        let log = folder.path().join("results/space/trials").join(&row["key"]).join("log.txt");
        assert_eq!(row["device"], format!("cuda:0 {}", row["processor"]));
        assert_eq!(row["threads"], "1");
        assert!(fs::read_to_string(log).unwrap().contains(&row["device"]));
    }
    assert!(cpu.iter().all(|row| row["device"] == "cpu"));
    // Times of two kinds are told apart.
    let (front, _) = succeed(run(folder.path(), &["front", "results/space"]));
    front.names(["ON 1", "ON 2", "GPU"]);
    // All is there: nothing is left to train.
    let (_, again) = succeed(run(folder.path(), &["explore", "space.toml", "--slots", "cuda:0", "--no-confirm"]));
    again.names(["0 trials"]);
}

#[test]
fn a_gpu_is_counted_among_those_that_the_explorer_is_shown() {
    let folder = folder_with(SPACE);
    let explore = |visible: &str, slots: &str| {
        let mut command = program();
        command.current_dir(folder.path()).env("CUDA_VISIBLE_DEVICES", visible);
        output(command.args(["explore", "space.toml", "--no-confirm", "--limit", "1", "--slots", slots]))
    };
    let none = refused(explore("", "cuda:0"));
    none.names(["cuda:0", "CUDA_VISIBLE_DEVICES=", "no GPU"]);
    let hidden = refused(explore("0", "cuda:1"));
    hidden.names(["cuda:1", "CUDA_VISIBLE_DEVICES=0", "one GPU, cuda:0"]);
    assert!(!folder.path().join("results").exists(), "it was begun");
    succeed(explore("0", "cuda:0"));
    assert!(rows(folder.path())[0]["device"].starts_with("cuda:0 "));
}

#[test]
fn a_gpu_that_is_not_there_is_an_error_that_says_how_many_are() {
    let folder = folder_with(SPACE);
    fs::write(folder.path().join("my.toml"), "").unwrap();
    for arguments in [
        &["explore", "space.toml", "--slots", "cuda:99"][..],
        &["train", "my.toml", "--device", "cuda:99"],
        &["lr-find", "my.toml", "--device", "cuda:99"],
    ] {
        let said = refused(run(folder.path(), arguments));
        said.names(["cuda:99", "nvidia-smi -L"]);
    }
    assert!(!folder.path().join("results").exists());
}

#[test]
fn precisions_are_trained_side_by_side_on_a_gpu() {
    let space = SPACE.replace("\"data.shift\" = [0, 2]", "\"train.precision\" = ['f32', 'tf32', 'bf16']");
    let space = space.replace("\"model.routing_iterations\" = [2, 1]\n", "");
    let folder = folder_with(&space);
    let (out, _) = succeed(run(folder.path(), &["explore", "space.toml", "--slots", "cuda:0x2", "--no-confirm"]));
    out.names(["6 trials"]);
    let found: Vec<String> = rows(folder.path()).iter().map(|row| row["train.precision"].clone()).collect();
    for precision in ["f32", "tf32", "bf16"] {
        assert_eq!(found.iter().filter(|of| *of == precision).count(), 2, "{found:?}");
    }
}

#[test]
fn times_on_a_gpu_stand_beside_those_on_cpu_cores() {
    // Every kind of step of every configuration that ended is timed: of two, one a device.
    let few = SPACE.lines().filter(|line| !line.contains("data.shift") && !line.contains("schedule.batch"));
    let folder = folder_with(&few.collect::<Vec<_>>().join("\n"));
    succeed(run(folder.path(), &["explore", "space.toml", "--slots", "1x1,cuda:0", "--no-confirm", "--limit", "2"]));
    // Whether or not others left the machine alone, the set is there.
    let time = |arguments: &[&str]| {
        let common = ["time", "results/space", "--quiet", "--patience", "0s", "--sample", "5ms", "--rounds", "6"];
        run(folder.path(), &[&common[..], arguments].concat())
    };
    time(&[]);
    let mixed = refused(time(&["--device", "cuda:0"]));
    mixed.names(["device", "\"cpu\"", "--device cuda:N --as OTHER"]);
    time(&["--device", "cuda:0", "--as", "gpu"]);
    let (list, _) = succeed(run(folder.path(), &["time", "results/space", "--list"]));
    assert_eq!(list.lines().filter(|line| line.starts_with("default") || line.starts_with("gpu")).count(), 2, "{list}");
    let refusal = refused(run(folder.path(), &["time", "results/space", "--device", "cuda:0", "--threads", "2"]));
    refusal.names(["--threads"]);
}

/// Why some of these tests do not run on a GPU.
const NOT_EMULATED: &str = "it sets the memory and the faults of an emulated device, and this one is a GPU";

/// Whether what is tried here is the emulated device, which has the memory and the faults that its settings say.
fn is_emulated() -> bool {
    let probed = output(program().args(["probe-device", "--device", "cuda:0"]));
    String::from_utf8_lossy(&probed.stdout).contains("\"name\":\"Emulated")
}

/// `explore`, on the emulated device with a setting.
fn explore_with(folder: &Path, (setting, value): (&str, &str), slots: &str) -> Command {
    let mut command = program();
    command.current_dir(folder).env(setting, value);
    command.args(["explore", "space.toml", "--no-confirm", "--slots", slots]);
    command
}

#[test]
fn a_trial_that_is_larger_than_the_gpu_is_a_row_at_once_and_the_rest_goes_on() {
    // 88 million parameters take 1.4 GB.
    let space = "
[base]
data = { name = 'glyphs', train_samples = 120, test_samples = 40, validation_fraction = 0.2 }
model = { preset = 'tiny' }
train = { epochs = 1 }
[axes]
\"model.decoder_hidden\" = [[32, 64], [9000, 9000]]
";
    if !is_emulated() {
        return skipped(NOT_EMULATED);
    }
    let folder = folder_with(space);
    let (_, err) = succeed(output(&mut explore_with(folder.path(), ("FASTRCAPS_EMULATOR_MEMORY", "1G"), "cuda:0x2")));
    err.names(["GPU", "GB"]);
    let rows = rows(folder.path());
    assert_eq!([rows[0]["status"].as_str(), rows[1]["status"].as_str()], ["done", "failed"]);
    assert_eq!((rows[1]["attempts"].as_str(), rows[1]["fault"].as_str()), ("0", "memory"));
}

#[test]
fn trials_that_would_not_fit_beside_each_other_on_the_gpu_follow_each_other() {
    if !is_emulated() {
        return skipped(NOT_EMULATED);
    }
    let most = |memory: &str| {
        let folder = folder_with(&SPACE.replace("epochs = 2", "epochs = 1"));
        succeed(output(&mut explore_with(folder.path(), ("FASTRCAPS_EMULATOR_MEMORY", memory), "cuda:0x3")));
        rows(folder.path()).iter().map(|row| row["co_runners"].parse::<usize>().unwrap()).max()
    };
    // Each is expected to take 0.65 GiB.
    assert_eq!([most("1G"), most("1.8G"), most("8G")], [Some(0), Some(1), Some(2)]);
}

#[test]
fn while_others_have_the_gpus_memory_the_sweep_says_so_and_waits() {
    if !is_emulated() {
        return skipped(NOT_EMULATED);
    }
    let folder = folder_with(SPACE);
    let events = folder.path().join("events");
    let mut command = explore_with(folder.path(), ("FASTRCAPS_EMULATOR_PROCESSES", "0:4711:8000000000"), "cuda:0");
    let mut explorer = command.arg("--json").stdout(fs::File::create(&events).unwrap()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(120);
    let paused =
        || fs::read_to_string(&events).unwrap().lines().find(|line| line.contains("\"paused\"")).map(String::from);
    while paused().is_none() {
        assert!(Instant::now() < end && explorer.try_wait().unwrap().is_none(), "no pause is told of");
        std::thread::sleep(Duration::from_millis(20));
    }
    paused().unwrap().names(["paused", "cuda:0 (Emulated"]);
    assert!(Command::new("kill").args(["-INT", &explorer.id().to_string()]).status().unwrap().success());
    assert_eq!(explorer.wait().unwrap().code(), Some(130));
    // On the other GPU nobody is.
    let mut other = explore_with(folder.path(), ("FASTRCAPS_EMULATOR_PROCESSES", "0:4711:8000000000"), "cuda:1");
    succeed(output(other.args(["--limit", "1"])));
    assert!(rows(folder.path())[0]["device"].starts_with("cuda:1 "));
}

#[test]
fn a_driver_or_a_gpu_that_does_not_serve_is_told_of_with_the_mend_before_anything_is_begun() {
    if !is_emulated() {
        return skipped(NOT_EMULATED);
    }
    let folder = folder_with(SPACE);
    for (setting, facts) in [
        (("FASTRCAPS_EMULATOR_FAULT", "no-driver"), &["CUDA_ERROR_NO_DEVICE"][..]),
        (("FASTRCAPS_EMULATOR_DEVICES", "1"), &["cuda:1", "one GPU, cuda:0"]),
        (("FASTRCAPS_EMULATOR_CAPABILITY", "75"), &["7.5", "8.0"]),
    ] {
        refused(output(&mut explore_with(folder.path(), setting, "cuda:1"))).names(facts);
    }
    assert!(!folder.path().join("results").exists(), "it was begun");
}
