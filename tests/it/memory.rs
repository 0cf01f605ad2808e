//! How much memory a training is predicted to take, held against what was measured and what is.

use std::process::Command;

use fastrcaps::learn::{
    config::{EmaConfig, OptimizerConfig, TrialConfig},
    folder::TrialFolder,
    train::memory::peak_bytes,
};

/// Data, model, its layers (`shared`: convolutions by 4, class capsules by type; `dense`: to the primary capsules; `homogeneous`:
/// class capsules), batch size, threads, training and test images, and the MiB that one epoch of it had resident at its peak on an
/// x86-64 machine under Linux 6.
type Measured = (&'static str, &'static str, &'static str, usize, usize, [usize; 2], usize);

const MEASURED: &[Measured] = &[
    ("glyphs", "tiny", "none", 1, 1, [110, 200], 60),
    ("glyphs", "tiny", "shared", 1, 1, [110, 200], 48),
    ("glyphs", "tiny", "none", 16, 1, [110, 200], 58),
    ("glyphs", "tiny", "shared", 16, 1, [110, 200], 48),
    ("glyphs", "tiny", "none", 128, 1, [334, 200], 60),
    ("glyphs", "tiny", "shared", 128, 1, [334, 200], 52),
    ("glyphs", "tiny", "none", 512, 1, [1334, 200], 92),
    ("glyphs", "tiny", "shared", 512, 1, [1334, 200], 80),
    ("glyphs", "small", "none", 1, 1, [110, 200], 62),
    ("glyphs", "small", "shared", 1, 1, [110, 200], 62),
    ("glyphs", "small", "none", 16, 1, [110, 200], 64),
    ("glyphs", "small", "shared", 16, 1, [110, 200], 60),
    ("glyphs", "small", "none", 128, 1, [334, 200], 68),
    ("glyphs", "small", "shared", 128, 1, [334, 200], 66),
    ("glyphs", "small", "none", 512, 1, [1334, 200], 110),
    ("glyphs", "small", "shared", 512, 1, [1334, 200], 110),
    ("glyphs", "lenet5", "none", 1, 1, [110, 200], 58),
    ("glyphs", "lenet5", "none", 16, 1, [110, 200], 54),
    ("glyphs", "lenet5", "none", 128, 1, [334, 200], 68),
    ("glyphs", "lenet5", "none", 512, 1, [1334, 200], 106),
    ("glyphs", "efficient-capsnet", "none", 1, 1, [110, 200], 244),
    ("glyphs", "efficient-capsnet", "none", 16, 1, [110, 200], 283),
    ("glyphs", "efficient-capsnet", "none", 128, 1, [334, 200], 421),
    ("glyphs", "efficient-capsnet", "none", 128, 2, [334, 200], 429),
    ("glyphs", "efficient-capsnet", "none", 512, 1, [1334, 200], 1422),
    ("mnist", "efficient-capsnet", "none", 16, 1, [110, 200], 310),
    ("mnist", "tiny", "none", 1, 1, [110, 200], 145),
    ("mnist", "tiny", "none", 128, 1, [334, 200], 148),
    ("mnist", "tiny", "none", 512, 1, [1334, 200], 152),
    ("mnist", "small", "none", 1, 1, [110, 200], 148),
    ("mnist", "small", "shared", 1, 1, [110, 200], 148),
    ("mnist", "small", "none", 16, 1, [110, 200], 150),
    ("mnist", "small", "shared", 16, 1, [110, 200], 150),
    ("mnist", "small", "none", 128, 1, [334, 200], 150),
    ("mnist", "small", "shared", 128, 1, [334, 200], 148),
    ("mnist", "small", "none", 512, 1, [1334, 200], 166),
    ("mnist", "small", "shared", 512, 1, [1334, 200], 181),
    ("mnist", "lenet5", "none", 1, 1, [110, 200], 147),
    ("mnist", "lenet5", "none", 128, 1, [334, 200], 142),
    ("mnist", "lenet5", "none", 512, 1, [1334, 200], 158),
    ("glyphs", "small", "none", 128, 2, [334, 200], 70),
    ("glyphs", "tiny", "none", 128, 2, [334, 200], 64),
    ("glyphs", "small", "homogeneous", 128, 1, [334, 200], 67),
    ("glyphs", "paper", "homogeneous", 128, 1, [156, 200], 514),
    ("glyphs", "small", "dense", 128, 1, [334, 200], 64),
    ("glyphs", "paper", "dense", 16, 1, [100, 20], 244),
    ("glyphs", "paper", "dense", 128, 1, [156, 200], 343),
    ("glyphs", "paper", "none", 1, 1, [100, 20], 335),
    ("glyphs", "paper", "shared", 1, 1, [100, 20], 180),
    ("glyphs", "paper", "none", 16, 1, [100, 20], 382),
    ("glyphs", "paper", "shared", 16, 1, [100, 20], 182),
    ("glyphs", "paper", "none", 128, 1, [156, 200], 568),
    ("glyphs", "paper", "shared", 128, 1, [156, 200], 344),
    ("glyphs", "paper", "none", 512, 1, [667, 20], 1228),
    ("glyphs", "paper", "shared", 512, 1, [667, 20], 947),
    ("mnist", "paper", "none", 1, 1, [100, 20], 341),
    ("mnist", "paper", "none", 128, 1, [156, 200], 599),
    ("mnist", "paper", "none", 512, 1, [667, 20], 1228),
    ("glyphs", "paper", "none", 128, 2, [156, 200], 570),
    ("mnist", "paper", "none", 128, 2, [156, 200], 600),
    ("mnist", "tiny", "none", 512, 1, [60000, 10000], 159),
    ("mnist", "small", "none", 128, 1, [60000, 10000], 160),
    ("mnist", "lenet5", "none", 512, 1, [60000, 10000], 188),
    ("glyphs", "tiny", "none", 512, 1, [60000, 1000], 168),
    ("glyphs", "small", "none", 4096, 1, [4600, 1000], 480),
    ("glyphs", "lenet5", "none", 4096, 1, [4600, 1000], 455),
];

fn config([data, model, sharing]: [&str; 3], batch: usize, [train, test]: [usize; 2]) -> TrialConfig {
    let model = match (model, sharing) {
        ("lenet5" | "efficient-capsnet", _) => format!("kind = {model:?}"),
        (preset, "none") => format!("preset = {preset:?}"),
        (preset, "homogeneous") => format!("preset = {preset:?}\nclass_capsules = \"homogeneous\""),
        (preset, "dense") => format!("preset = {preset:?}\nprimary = \"dense\""),
        (preset, _) => {
            format!("preset = {preset:?}\nconv1_sharing = 4\nprimary_sharing = 4\nclass_sharing = \"by-type\"")
        }
    };
    let text = format!(
        "[data]\nname = {data:?}\ntrain_samples = {train}\ntest_samples = {test}\n[model]\n{model}\n\
         [schedule.batch]\npolicy = \"fixed\"\nsize = {batch}\n[train]\nepochs = 1\n"
    );
    TrialConfig::resolve(text.parse().unwrap()).unwrap()
}

/// The peak of a training in a process of its own.
fn peak(config: &TrialConfig) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("config.toml"), folder.path().join("out"));
    std::fs::write(&file, config.to_toml()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastrcaps"));
    let output = command.args(["train", "--quiet", "--threads", "1", "--out"]).args([&out, &file]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    TrialFolder::new(out).read_record().unwrap().peak_memory_bytes.unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_training_takes_no_more_than_twice_and_no_less_than_half_of_what_is_predicted() {
    let cases = [(["tiny", "none"], 16, 110), (["small", "shared"], 64, 130), (["lenet5", "none"], 512, 600)];
    for ([model, sharing], batch, images) in cases {
        let config = config(["glyphs", model, sharing], batch, [images, 20]);
        let (predicted, measured) = (peak_bytes(&config, 1).unwrap(), peak(&config));
        assert!(
            (predicted / 2..=predicted * 2).contains(&measured),
            "{model} at batch {batch}: {measured} bytes measured, {predicted} predicted"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_optimizer_and_the_average_count_in_what_a_training_is_predicted_to_take() {
    let mut config = config(["glyphs", "paper", "none"], 16, [100, 20]);
    let plain = peak_bytes(&config, 1).unwrap();
    config.train.optimizer = OptimizerConfig::Muon { momentum: 0.95, weight_decay: 0. };
    config.train.ema = Some(EmaConfig { decay: 0.99 });
    let (predicted, measured) = (peak_bytes(&config, 1).unwrap(), peak(&config));
    assert!(predicted > plain, "{predicted} bytes, and {plain} with Adam alone");
    let share = predicted as f64 / measured as f64;
    assert!((0.9..=1.4).contains(&share), "{measured} bytes measured, {predicted} predicted");
}

#[cfg(target_os = "linux")]
#[test]
fn a_training_that_goes_on_takes_no_more_memory_than_one_that_was_never_interrupted() {
    let config = config(["glyphs", "paper", "none"], 1, [100, 20]);
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("config.toml"), folder.path().join("out"));
    let train = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fastrcaps"));
        command.args(["train", "--quiet", "--threads", "1", "--keep-checkpoints", "--out"]).args([&out, &file]);
        command
    };
    let peak = |mut command: Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        TrialFolder::new(&out).read_record().unwrap().peak_memory_bytes.unwrap()
    };
    std::fs::write(&file, config.to_toml()).unwrap();
    let whole = peak(train());
    // From the checkpoint of its end: the record is that of the larger of both processes.
    std::fs::remove_file(out.join("trial.json")).unwrap();
    let mut resumed = train();
    resumed.arg("--resume");
    let (resumed, predicted) = (peak(resumed), peak_bytes(&config, 1).unwrap());
    assert!(resumed <= whole + whole / 10, "{resumed} bytes after {whole}");
    assert!(resumed <= predicted + predicted / 10, "{resumed} bytes, {predicted} predicted");
}

#[test]
fn more_samples_threads_and_parameters_never_need_less_memory() {
    let bytes =
        |model, batch, threads| peak_bytes(&config(["glyphs", model, "none"], batch, [5000, 20]), threads).unwrap();
    for model in ["tiny", "small", "paper", "lenet5", "efficient-capsnet"] {
        let batches = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096];
        // Another algorithm for another batch may need a little less.
        let grows = |pair: &[usize]| bytes(model, pair[1], 1) as f64 > 0.95 * bytes(model, pair[0], 1) as f64;
        assert!(batches.windows(2).all(grows), "{model}");
        assert!(bytes(model, 64, 2) > bytes(model, 64, 1));
    }
    assert!(bytes("tiny", 64, 1) < bytes("small", 64, 1) && bytes("small", 64, 1) < bytes("paper", 64, 1));
}

#[test]
fn predicted_memory_is_at_most_a_tenth_below_and_two_fifths_above_what_was_measured() {
    let mut wrong = Vec::new();
    for &(data, model, sharing, batch, threads, images, measured) in MEASURED {
        let predicted = peak_bytes(&config([data, model, sharing], batch, images), threads).unwrap() as f64;
        let share = predicted / (measured << 20) as f64;
        let line = format!(
            "{data:>6} {model:>6} {sharing:>6} batch {batch:>4}, {threads} threads, {:>5} images: {measured:>5} MiB measured, \
             {:>5.0} predicted, {:+.0} %",
            images[0],
            predicted / f64::from(1 << 20),
            100.0 * (share - 1.0)
        );
        println!("{line}");
        if !(0.9..=1.4).contains(&share) {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
