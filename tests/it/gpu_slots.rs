//! Slots on GPUs, as far as they can be tried without one: what trials are started with, what is refused, what rows say.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Output,
    time::{Duration, Instant},
};

use fastrcaps::{
    base::{
        device::{Place, PlaceError},
        source::Document,
    },
    learn::{
        config::TrialConfig,
        data::{self, DataDirs},
        folder::TrialFolder,
        model::config::Precision,
        record::{Status, TrialRecord},
        train::{
            beginning::Shared,
            memory::{gpu_peak_bytes, peak_bytes, peak_bytes_beside_gpu},
        },
    },
    present::{derived, report::view::StudyView},
    search::{
        journal::Journal,
        space::Space,
        worker::{Admissions, Local, Report, Slot, SlotError, Slots, Work, Worker},
    },
    timing::{
        sets::{Fingerprint, TimeSet},
        shape::{Shape, shapes},
    },
};

use crate::{
    cli::{folder_with, program, refuse, refused, table},
    facts::Facts,
    study::declare,
};

/// Starts a script in the place of the program on each slot of `slots`; gives its arguments and what it sees of GPUs, a line
/// each, and the trial's log.
fn started(slots: &str) -> Vec<(Vec<String>, String)> {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("program");
    let text = "#!/bin/sh\necho \"$@\" > $2/said\n\
                echo \"$CUDA_VISIBLE_DEVICES ${CUDA_VISIBLE_DEVICES-unset} $CUDA_DEVICE_ORDER\" >> $2/said\n";
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut placed = slots.parse::<Slots>().unwrap().place(&[]);
    for slot in &mut placed {
        slot.gpu = (!slot.place.is_cpu()).then(|| "H100".to_string());
    }
    let count = placed.len();
    let mut worker = Local::new(script, vec!["--keep-checkpoints".into()], placed, Admissions::default());
    let config = TrialConfig::resolve("[model]\npreset = 'tiny'".parse().unwrap()).unwrap();
    let start = |slot: usize| {
        let trial = folder.path().join(slot.to_string());
        fs::create_dir(&trial).unwrap();
        let (folder, shared) = (TrialFolder::new(&trial), Shared::default());
        let work = Work { folder: &folder, config: &config, epochs: config.train.epochs, behind: 0, shared };
        worker.start(&work, slot).unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while !worker.reports().iter().any(|(of, report)| *of == slot && matches!(report, Report::Ended(_))) {
            assert!(Instant::now() < end, "it does not end");
            worker.wait();
        }
        let read = |name: &str| fs::read_to_string(trial.join(name)).unwrap();
        (
            read("said")
                .lines()
                .map(|line| line.split_once("run-trial ").map_or(line, |(_, rest)| rest).to_string())
                .collect(),
            read("log.txt"),
        )
    };
    (0..count).map(start).collect()
}

#[test]
fn a_trial_on_a_gpu_sees_that_one_alone_and_one_on_cpu_cores_sees_none() {
    let all = started("1x2,cuda:0,cuda:3");
    let words = |index: usize| all[index].0[0].split_once(' ').unwrap().1.to_string();
    let rest = "--end-with-stdin --keep-checkpoints";
    assert_eq!(words(0), format!("--threads 2 --device cpu {rest}"));
    assert_eq!(words(1), format!("--threads 1 --device cuda:0 {rest}"));
    // To it, its GPU is the first.
    assert_eq!(words(2), format!("--threads 1 --device cuda:0 {rest}"));
    let seen: Vec<&str> = all.iter().map(|(said, _)| said[1].as_str()).collect();
    assert_eq!(seen, ["  PCI_BUS_ID", "0 0 PCI_BUS_ID", "3 3 PCI_BUS_ID"]);
    all[0].1.names(["2 threads"]).is_silent_on(["cuda:0", "cuda:3"]);
    all[2].1.names(["cuda:3 H100", "1 thread"]);
}

const SPACE: &str = "
[base]
data = { name = 'glyphs', train_samples = 60, test_samples = 20, validation_fraction = 0.2 }
model = { preset = 'tiny' }
train = { epochs = 1 }
[axes]
\"train.precision\" = ['f32', 'bf16']
";

fn run(folder: &Path, arguments: &[&str]) -> Output {
    program().current_dir(folder).args(arguments).output().unwrap()
}

#[test]
fn slots_that_are_none_are_refused_by_kind() {
    let read = |text: &str| text.parse::<Slots>().unwrap_err();
    for (text, error) in [
        ("cuda:0x0", SlotError::NoShare(Place::Cuda(0))),
        ("cuda:0,cuda:0x2", SlotError::Twice(Place::Cuda(0))),
        ("1x1,2x1", SlotError::CoresTwice),
        ("0x1", SlotError::Zero),
        ("5000x1", SlotError::TooMany),
        ("gpu", SlotError::Form),
        ("", SlotError::Form),
    ] {
        assert_eq!(read(text), error, "{text}");
    }
    assert_eq!("gpu".parse::<Place>(), Err(PlaceError));
    // The command line names option, value and an example.
    let folder = folder_with(SPACE);
    let (code, said) = refused(folder.path(), &["explore", "space.toml", "--slots", "cuda:0,cuda:0x2"]);
    said.names(["--slots", "cuda:0,cuda:0x2", "cuda:0x2"]);
    assert_eq!(code, 2);
    let (code, said) = refused(folder.path(), &["train", "space.toml", "--device", "gpu"]);
    said.names(["--device", "gpu", "cpu", "cuda:0"]);
    assert_eq!(code, 2);
}

#[test]
fn what_cpu_cores_cannot_train_is_refused_before_anything_is_begun() {
    let folder = folder_with(SPACE);
    fs::write(folder.path().join("my.toml"), "[train]\nprecision = 'tf32'\n").unwrap();
    for arguments in [
        &["explore", "space.toml"][..],
        &["explore", "space.toml", "--dry-run"],
        &["explore", "space.toml", "--slots", "cuda:0,1x1"],
        &["plan", "space.toml"],
    ] {
        let said = refuse(folder.path(), arguments);
        said.names(["train.precision", "\"bf16\"", "--slots cuda:0"]);
    }
    for command in ["train", "lr-find"] {
        let said = refuse(folder.path(), &[command, "my.toml"]);
        said.names(["train.precision", "\"tf32\"", "--device cuda:0"]);
    }
    assert!(!folder.path().join("results").exists());
    let counted = run(folder.path(), &["plan", "space.toml", "--no-timing"]);
    String::from_utf8_lossy(&counted.stdout).names(["2 configurations"]);
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_program_without_cuda_says_so_before_anything_is_begun() {
    let folder = folder_with(&SPACE.replace(", 'bf16'", ""));
    fs::write(folder.path().join("my.toml"), "").unwrap();
    for arguments in [
        &["explore", "space.toml", "--slots", "1x1,cuda:1"][..],
        &["train", "my.toml", "--device", "cuda:1"],
        &["lr-find", "my.toml", "--device", "cuda:1"],
        &["plan", "space.toml", "--slots", "cuda:1"],
    ] {
        let said = refuse(folder.path(), arguments);
        said.names(["cuda:1", "--features cuda"]);
    }
    assert!(!folder.path().join("results").exists());
}

#[test]
fn precision_is_an_axis_like_every_other_and_f32_is_the_training_that_it_always_was() {
    let space = Space::from_document(Document::parse("space", SPACE.into()).unwrap(), "space", &[]).unwrap();
    let expansion = space.expand().unwrap();
    let found: Vec<_> = expansion.candidates.iter().map(|of| (of.label.as_str(), of.values[0].as_deref())).collect();
    assert_eq!(found, [("baseline", Some("f32")), ("precision bf16", Some("bf16"))]);
    let resolve = |text: &str| TrialConfig::resolve(text.parse().unwrap()).unwrap();
    let (silent, said) = (resolve(""), resolve("[train]\nprecision = 'f32'\n"));
    assert_eq!(silent.key(""), said.key(""));
    // As it was before there was a choice.
    let of_before = "[data]\ntrain_samples = 60\ntest_samples = 20\nvalidation_fraction = 0.2\n[model]\npreset = 'tiny'\n\
                     [train]\nepochs = 1\n";
    let of_before = resolve(of_before);
    let data = data::load(&of_before.data, &DataDirs::at("/nonexistent")).unwrap();
    assert_eq!(of_before.key(&data.fingerprint), "3376e0ac31043881");
    let other = resolve("[train]\nprecision = 'tf32'\n");
    assert_eq!(other.train.precision, Precision::Tf32);
    assert_ne!(other.key(""), silent.key(""));
    for config in [silent, other] {
        assert_eq!(resolve(&config.to_toml()), config);
        let text: toml::Table = config.to_toml().parse().unwrap();
        assert_eq!(text["train"]["precision"].as_str(), Some(config.train.precision.as_str()));
    }
    let wrong = TrialConfig::resolve("[train]\nprecision = 'f16'\n".parse().unwrap()).unwrap_err();
    assert_eq!(wrong.path(), "train.precision");
    wrong.to_string().names(["f16", "f32", "tf32", "bf16"]);
}

#[test]
fn steps_of_another_precision_have_times_of_their_own() {
    let space = Space::from_document(Document::parse("space", SPACE.into()).unwrap(), "space", &[]).unwrap();
    let configs: Vec<TrialConfig> = space.expand().unwrap().candidates.into_iter().map(|of| of.config).collect();
    let configs: Vec<&TrialConfig> = configs.iter().collect();
    assert_eq!(shapes(&configs).len(), 2 * shapes(&configs[..1]).len());
    // A shape of f32 is called as it was.
    let (shape, _) = shapes(&configs[..1]).into_values().next().unwrap();
    let json = serde_json::to_string(&shape).unwrap();
    assert!(!json.contains("precision"), "{json}");
    assert_eq!(serde_json::from_str::<Shape>(&json).unwrap(), shape);
}

/// Writes rows of trials that ended well on some devices.
fn leave(study: &fastrcaps::search::study::Study, devices: &[(&str, &str)]) {
    let plan = study.plan().unwrap();
    let mut journal = Journal::open(&study.journal()).unwrap();
    for ((trial, key), (device, processor)) in plan.trials.iter().zip(&plan.keys).zip(devices) {
        let blank = TrialRecord::pending(key.clone(), trial.replicate, &trial.config);
        let record = TrialRecord {
            status: Status::Done,
            train_seconds_screen: Some(1.0),
            threads: Some(1),
            device: Some(device.to_string()),
            processor: Some(processor.to_string()),
            ..blank
        };
        journal.put(&record, &[]).unwrap();
    }
}

#[test]
fn rows_name_their_device_and_times_of_several_are_not_mixed() {
    let folder = tempfile::tempdir().unwrap();
    let study = declare(folder.path());
    leave(&study, &[("cpu", "a CPU"), ("cuda:0 H100", "H100"), ("cuda:1 H100", "H100"), ("cuda:1 H100", "H100")]);
    let view = StudyView::read(&study).unwrap();
    derived::write_all(&study, &view).unwrap();
    let rows = table(study.folder.join("trials.csv"));
    let devices: Vec<&str> = rows.iter().map(|row| row["device"].as_str()).collect();
    assert_eq!(devices[..5], ["cpu", "cuda:0 H100", "cuda:1 H100", "cuda:1 H100", ""]);
    let origins = view.origins();
    let told: Vec<(String, usize)> = origins.iter().map(|(origin, count)| (origin.to_string(), *count)).collect();
    assert_eq!(told, [("1 thread of a CPU".to_string(), 1), ("GPU H100".to_string(), 3)]);
    // Times are those of the most frequent kind.
    assert_eq!(view.common_origin(), Some(origins[1].0.clone()));
    assert_eq!(view.times_line(), "screened on GPU H100");
}

#[test]
fn times_on_a_gpu_are_told_from_those_on_cpu_cores() {
    let gpu = fastrcaps::base::device::Gpu {
        name: "H100".into(),
        uuid: "GPU-1".into(),
        capability: [9, 0],
        memory_bytes: 1,
        free_bytes: 1,
        driver: Some("580.65.06".into()),
    };
    let (cpu, gpu) = (Fingerprint::this(1), Fingerprint::of_gpu(&gpu));
    assert!(!cpu.is_of_gpu() && gpu.is_of_gpu());
    assert_eq!((gpu.device.as_str(), gpu.threads), ("H100", 1));
    // A set of before is one of today.
    let json = serde_json::to_string(&cpu).unwrap();
    assert!(!json.contains("driver"), "{json}");
    let set = |fingerprint| TimeSet::new("x", "host".into(), fingerprint);
    let differing = set(cpu).differences(&set(gpu)).join("; ");
    differing.names(["device", "\"cpu\"", "\"H100\""]);
}

#[test]
fn a_journal_of_before_there_were_devices_is_read() {
    let config = TrialConfig::resolve("".parse().unwrap()).unwrap();
    let record = TrialRecord::pending("k".into(), 0, &config);
    let mut json = serde_json::to_value(&record).unwrap();
    json.as_object_mut().unwrap().remove("device").unwrap();
    assert_eq!(serde_json::from_value::<TrialRecord>(json).unwrap(), record);
}

#[test]
fn predicted_memory_of_a_gpu_grows_with_the_batch_and_the_network() {
    let config = |model: &str, batch: usize| {
        let text =
            format!("[data]\nname = 'mnist'\n[model]\n{model}\n[schedule.batch]\npolicy = 'fixed'\nsize = {batch}\n");
        TrialConfig::resolve(text.parse().unwrap()).unwrap()
    };
    let bytes = |model: &str, batch| gpu_peak_bytes(&config(model, batch)).unwrap();
    for model in ["preset = 'tiny'", "preset = 'small'", "preset = 'paper'", "kind = 'lenet5'"] {
        // An evaluation takes 128 at once, whatever the training takes.
        assert!([128, 512, 4096].windows(2).all(|pair| bytes(model, pair[0]) < bytes(model, pair[1])), "{model}");
        // A context at least, and its images.
        assert!(bytes(model, 1) > 650 << 20);
    }
    let sizes = ["tiny", "small", "paper"].map(|model| bytes(&format!("preset = '{model}'"), 128));
    assert!(sizes.is_sorted());
    // 203 million multiply-adds an image: hundreds of megabytes a batch, not tens of gigabytes.
    assert!((1 << 30..4 << 30).contains(&sizes[2]), "{sizes:?}");
    let paper = config("preset = 'paper'", 512);
    assert!(peak_bytes_beside_gpu(&paper) < peak_bytes(&paper, 1).unwrap());
}

#[test]
fn a_device_in_words_is_its_place_and_its_name() {
    let [slot] = &"cuda:1".parse::<Slots>().unwrap().place(&[])[..] else { panic!("one slot") };
    assert_eq!(slot.device(), "cuda:1");
    assert_eq!(Slot { gpu: Some("H100".into()), ..slot.clone() }.device(), "cuda:1 H100");
    assert_eq!(slot.place.alone(), Place::Cuda(0));
}
