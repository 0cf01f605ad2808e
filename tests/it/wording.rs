//! The wording of messages, in one place: `wording.txt` has typical commands, and all that they say.
//!
//! Whoever changes a message lets `FASTRCAPS_WORDING=write cargo test --release --locked wording` write the file anew, and reads
//! what has changed in it. Other tests hold messages against the facts in them (`facts.rs`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    cli::{folder_with, program, succeed},
    study::copy_folder,
};

const SPACE: &str = "\
[base]
data = { name = 'glyphs', train_samples = 120, test_samples = 40, validation_fraction = 0.2 }
model = { preset = 'tiny' }
train = { epochs = 1 }

[axes]
\"model.routing_iterations\" = [2, 1]
";

/// Files that commands of `wording.txt` name, beside `space.toml`.
const FILES: [(&str, &str); 9] = [
    (
        "my.toml",
        "data = { train_samples = 120, test_samples = 40 }\nmodel = { preset = 'tiny' }\ntrain = { epochs = 1 }\n",
    ),
    ("odd.toml", "[schedule]\nlr = { policy = 'one-cycle', peak = 5e-4 }\n"),
    ("lenet.toml", "model = { kind = 'lenet5' }\n"),
    ("torn.toml", "[base\n"),
    ("typo.toml", "[axes]\n\"model.rooting_iterations\" = [2, 1]\n"),
    ("nothing.toml", "[axes]\n\"train.epochs\" = [1, 2]\n\n[[exclude]]\n\"train.epochs\" = [1, 2]\n"),
    ("formula.toml", "[axes]\n\"schedule.lr\" = [{ policy = 'fixed' }, { policy = 'cosine', label = '=1+1' }]\n"),
    ("own/thesis.tex", "mine"),
    ("mine.toml", "mine"),
];

/// A folder with all that the commands of `wording.txt` need.
fn stage() -> tempfile::TempDir {
    let folder = folder_with(SPACE);
    let here = folder.path();
    fs::create_dir(here.join("own")).unwrap();
    for (name, text) in FILES {
        fs::write(here.join(name), text).unwrap();
    }
    succeed(here, &["explore", "space.toml", "--quiet", "--out", "study"]);
    succeed(here, &["train", "my.toml", "--quiet", "--out", "trained"]);
    for copy in ["held", "damaged", "strange"] {
        copy_folder(&here.join("study"), &here.join(copy));
    }
    fs::create_dir(here.join("damaged/times")).unwrap();
    fs::write(here.join("damaged/times/default.json"), "{}").unwrap();
    fs::write(here.join("strange/trials/notes.txt"), "mine").unwrap();
    fs::write(here.join("held/study.lock"), "explored by process 1 on a-host since 2026-01-01T00:00:00Z\n").unwrap();
    folder
}

/// What a line of a shell says in `folder`, standard output first, and its exit code.
fn said(folder: &Path, line: &str) -> String {
    let program = program();
    let mut shell = Command::new("sh");
    shell.current_dir(folder).env_remove("FASTRCAPS_DATA").env("XDG_CACHE_HOME", "/nonexistent");
    shell.arg("-c").arg(format!("fastrcaps() {{ '{}' \"$@\"; }}; {line}", program.get_program().display()));
    let output = shell.output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    format!("{out}{err}exit code {}\n", output.status.code().unwrap())
}

#[test]
fn messages_are_worded_as_they_stand_in_wording_txt() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/wording.txt");
    let text = fs::read_to_string(&path).unwrap();
    let folder = stage();
    // Nobody else is to have it.
    let held = fs::File::options().write(true).open(folder.path().join("held/study.lock")).unwrap();
    held.lock().unwrap();
    let commands = text.lines().filter_map(|line| line.strip_prefix("$ "));
    let found: Vec<String> = commands.map(|line| format!("$ {line}\n{}", said(folder.path(), line))).collect();
    assert!(found.len() >= 20, "{} commands", found.len());
    let found = found.join("\n");
    if std::env::var("FASTRCAPS_WORDING").is_ok_and(|what| what == "write") {
        fs::write(&path, &found).unwrap();
    } else if found != text {
        let changed = |(at, (found, wanted)): (usize, (&str, &str))| {
            (found != wanted)
                .then(|| format!("{}:{}\n  stands there: {wanted}\n  is said now:  {found}", path.display(), at + 1))
        };
        let changes: Vec<String> = found.lines().zip(text.lines()).enumerate().filter_map(changed).take(3).collect();
        panic!(
            "messages changed:\n{}\n`FASTRCAPS_WORDING=write` writes the file anew: read what has changed in it",
            changes.join("\n")
        );
    }
}
