//! What is not a study's is never written over, and never removed.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use fastrcaps::{
    engine::upkeep::{check, export, merge, remove},
    learn::record::Status,
    present::charts::{self, Scene},
    search::study::{
        Study,
        holdings::{FolderKind, Holdings},
    },
};

use crate::{
    cli::{folder_with, refuse, succeed},
    facts::Facts,
    study::{declare, finish, finished, problems, say},
};

/// Two trials that take a moment each.
const SPACE: &str = "
[base]
data = { name = 'glyphs', train_samples = 120, test_samples = 40, validation_fraction = 0.2 }
model = { preset = 'tiny' }
train = { epochs = 1 }
[axes]
\"model.routing_iterations\" = [2, 1]
";

/// Files with what is in them, and links with where they lead, by their places.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn collect(folder: &Path, root: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let place = path.strip_prefix(root).unwrap().to_path_buf();
            if kind.is_dir() {
                collect(&path, root, into);
            } else if kind.is_symlink() {
                into.insert(place, fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes());
            } else {
                into.insert(place, fs::read(&path).unwrap());
            }
        }
    }
    let mut of = BTreeMap::new();
    collect(folder, folder, &mut of);
    of
}

/// Writes files, each with its place in it.
fn write(folder: &Path, places: &[&str]) {
    for place in places {
        let path = folder.join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, place).unwrap();
    }
}

fn foreign(study: &Study) -> Vec<String> {
    check::check(study).unwrap().foreign.iter().map(|place| place.display().to_string()).collect()
}

#[test]
fn a_folder_with_others_files_is_no_study_folder_and_stays_as_it_is() {
    let folder = folder_with(SPACE);
    let here = folder.path();
    write(here, &["own/src/main.c", "own/thesis.tex", "own/trials.csv", "own/charts/front.png"]);
    write(
        here,
        &["notes/study.toml", "notes/.tmpAb3dE9", "locked/study.lock", "temporary/.tmpAb3dE9", "hidden/.git/x"],
    );
    write(here, &["file", "trained/trials/0123456789abcdef/trial.json"]);
    symlink("nowhere", here.join("broken")).unwrap();
    fs::create_dir(here.join("linked")).unwrap();
    symlink("../own", here.join("linked/trials")).unwrap();
    let before = tree(here);
    // What is in the way is named.
    let rows: [(&str, &[&str]); 11] = [
        ("own", &["own", "charts/front.png, trials.csv, src", "1"]),
        ("notes", &["notes/study.toml"]),
        ("locked", &["study.lock"]),
        ("temporary", &[".tmpAb3dE9"]),
        ("hidden", &[".git"]),
        ("trained", &["trials/0123456789abcdef/trial.json"]),
        ("linked", &["linked", "trials"]),
        ("file", &["file"]),
        ("file/in", &["file"]),
        ("broken", &["broken"]),
        ("broken/in", &["broken"]),
    ];
    for (out, facts) in rows {
        for more in [&[][..], &["--dry-run"]] {
            let said = refuse(here, &[&["explore", "space.toml", "--out", out], more].concat());
            said.names(facts).names(["--out"]);
        }
        assert!(Study::new(here.join(out)).open().is_err());
    }
    fs::write(here.join("my.toml"), "[model]\npreset = 'tiny'\n").unwrap();
    for out in ["file", "broken", "own"] {
        refuse(here, &["train", "my.toml", "--out", out]).names([out, "--out"]);
    }
    fs::remove_file(here.join("my.toml")).unwrap();
    assert_eq!(tree(here), before);
}

#[test]
fn a_study_begins_where_nothing_is_in_its_way() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    // What an explorer leaves that was killed before it had declared its study, beside files that are in nobody's way.
    write(&here.join("begun"), &[".gitkeep", ".DS_Store", ".writing-AbCdEf", "trials/.writing-AbCdEf"]);
    fs::write(here.join("begun/study.lock"), "explored by process 1 on host since 2026-01-01T00:00:00Z\n").unwrap();
    fs::create_dir_all(here.join("empty/trials")).unwrap();
    fs::write(here.join("empty/study.lock"), "").unwrap();
    symlink("empty", here.join("link")).unwrap();
    for (out, hidden) in [("begun", &[".DS_Store", ".gitkeep"][..]), ("new/and/deep", &[]), ("link", &[])] {
        let study = declare(&here.join(out));
        assert_eq!(problems(&study), [""; 0]);
        assert_eq!(foreign(&study), hidden, "{out}");
        // It goes on, whatever others put beside it.
        write(&study.folder, &["thesis.tex", "trials/notes.txt"]);
        drop(study.open().unwrap());
    }
}

#[test]
fn all_that_a_study_makes_is_its_own() {
    let folder = folder_with(SPACE);
    let here = folder.path();
    succeed(here, &["explore", "space.toml", "--quiet"]);
    succeed(here, &["pick", "results/space", "--max-time", "1h"]);
    succeed(here, &["schedule", "results/space/pick/config.toml"]);
    let study = Study::new(here.join("results/space"));
    let key = study.plan().unwrap().keys[0].clone();
    succeed(here, &["schedule", &format!("results/space/trials/{key}/config.toml")]);
    // The same again, over its own.
    succeed(here, &["schedule", &format!("results/space/trials/{key}/config.toml")]);
    succeed(here, &["pick", "results/space", "--max-time", "2h"]);
    succeed(here, &["study", "rebuild", "results/space"]);
    write(&study.trial(&key).path, &["checkpoint.safetensors.unusable", "checkpoint.safetensors"]);
    write(&study.folder, &["journal.sqlite-journal"]);
    // As an exploration on a cluster does.
    write(&study.folder, &[".slurm/id", ".slurm/batches/3/job.sh", ".slurm/attempts/0123456789abcdef.1/epochs.csv"]);
    let keys = study.keys();
    let holdings = Holdings::of(&study.folder, FolderKind::Study, keys.as_ref()).unwrap();
    assert_eq!(holdings.others, Vec::<PathBuf>::new());
    assert_eq!(holdings.files.len(), tree(&study.folder).len());
    let said = succeed(here, &["study", "rm", "results/space", "--yes"]);
    assert!(said.starts_with("removed /") && !study.folder.exists(), "{said}");
}

#[test]
fn what_is_not_the_studys_is_named_and_outlives_it() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let study = finished(&here.join("study"));
    let keys = study.plan().unwrap().keys;
    write(here, &["elsewhere/precious", "elsewhere/trials/deep/precious", "elsewhere/front.png"]);
    let own = tree(&study.folder);
    let trial = format!("trials/{}", keys[0]);
    let mine = ["thesis.tex", "src/main.c", ".gitkeep", "charts/mine.png", "times/notes.json", "pick/config.toml"];
    write(&study.folder, &mine);
    write(&study.folder, &["journal.sqlite.bak-mine", &format!("{trial}/notes.txt"), &format!("{trial}/inner/a")]);
    symlink("../../elsewhere", study.folder.join("trials/link")).unwrap();
    symlink("../elsewhere", study.folder.join("data")).unwrap();
    symlink("../../../elsewhere/precious", study.trial(&keys[1]).path.join("link")).unwrap();
    // Of a trial that is none of this study, too.
    write(&study.folder, &["trials/0123456789abcdef/trial.json"]);
    let outside = tree(&here.join("elsewhere"));
    let mut theirs = tree(&study.folder);
    theirs.retain(|place, _| !own.contains_key(place));

    let (well, said) = say(here, &["study", "check", "study"]);
    assert!(!well, "{said}");
    said.names(["trials/link", "3 problems", "data (a link)"]);
    let wanted = [
        ".gitkeep",
        "charts/mine.png",
        "data",
        "journal.sqlite.bak-mine",
        "pick/config.toml",
        "src",
        "thesis.tex",
        &format!("{trial}/inner"),
        &format!("{trial}/notes.txt"),
        &format!("trials/{}/link", keys[1]),
    ];
    let mut found = foreign(&study);
    found.sort();
    let mut wanted = wanted.map(String::from);
    wanted.sort();
    assert_eq!(found, wanted);

    // Of one trial first: what is not the trial's stays there.
    let (well, said) = say(here, &["study", "rm", "study", "--trial", &keys[0], "--yes"]);
    assert!(well, "{said}");
    said.names(["1 trial", &format!("{trial}/notes.txt")]);
    let left: Vec<PathBuf> = tree(&study.trial(&keys[0]).path).into_keys().collect();
    assert_eq!(left, ["inner/a", "notes.txt"].map(PathBuf::from));
    let (well, said) = say(here, &["study", "rm", "study", "--yes"]);
    assert!(well, "{said}");
    said.names(["thesis.tex"]);
    assert_eq!(tree(&study.folder), theirs);
    assert_eq!(tree(&here.join("elsewhere")), outside);
    refuse(here, &["study", "rm", "study", "--yes"]).names(["study"]);
    assert_eq!(tree(&study.folder), theirs);
}

#[test]
fn nothing_behind_a_link_is_removed_or_written() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write(here, &["elsewhere/front.png", "elsewhere/front.csv", "elsewhere/study.lock", "elsewhere/.tmpAb3dE9"]);
    // Trials may lie on another disk: the study is explored there, and they stay when it is removed.
    let study = finished(&here.join("study"));
    fs::rename(study.folder.join("trials"), here.join("elsewhere/trials")).unwrap();
    symlink("../elsewhere/trials", study.folder.join("trials")).unwrap();
    let outside = tree(&here.join("elsewhere"));
    drop(study.open().unwrap());
    assert_eq!((problems(&study), foreign(&study)), (vec![], vec!["trials".to_string()]));
    let key = study.plan().unwrap().keys[0].clone();
    let (well, said) = say(here, &["study", "rm", "study", "--trial", &key, "--yes"]);
    assert!(!well, "{said}");
    said.names(["study/trials"]);
    let (well, said) = say(here, &["study", "rm", "study", "--yes"]);
    assert!(well, "{said}");
    said.names(["trials (a link)"]);
    assert_eq!(tree(&study.folder).len(), 1);
    assert_eq!(tree(&here.join("elsewhere")), outside);

    for (number, (place, target)) in
        [("charts", "../elsewhere"), ("front.csv", "../elsewhere/front.csv"), ("study.lock", "../elsewhere/study.lock")]
            .into_iter()
            .enumerate()
    {
        let study = finished(&here.join(number.to_string()));
        let path = study.folder.join(place);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap()
        } else {
            fs::remove_file(&path).unwrap()
        }
        symlink(target, &path).unwrap();
        for said in [study.open().err(), study.hold("rebuilt").err()] {
            format!("{:#}", said.unwrap()).names([path.display().to_string()]);
        }
        let (well, _) = say(here, &["study", "rm", &number.to_string(), "--yes"]);
        assert_eq!((well, path.is_symlink()), (place != "study.lock", true));
    }
    // A trial that would be trained elsewhere is not.
    let study = declare(&here.join("last"));
    symlink("../../elsewhere", &study.trial(&key).path).unwrap();
    assert!(study.trial(&key).check_place().is_err());
    assert_eq!(tree(&here.join("elsewhere")), outside);
}

#[test]
fn an_interrupted_removal_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let study = finished(&folder.path().join("study"));
    write(&study.folder, &["thesis.tex"]);
    drop(study.seize("removed").unwrap());
    fs::remove_file(study.folder.join("study.toml")).unwrap();
    fs::remove_file(study.journal()).unwrap();
    let said = format!("{:#}", study.open().err().unwrap());
    said.names([format!("fastrcaps study rm {}", study.folder.display())]);
    let (well, said) = say(folder.path(), &["study", "rm", "study", "--yes"]);
    assert!(well, "{said}");
    said.names(["thesis.tex"]);
    assert_eq!(tree(&study.folder).len(), 1);
    // One without a declaration that nobody was removing is not touched.
    let study = finished(&folder.path().join("other"));
    fs::remove_file(study.folder.join("study.toml")).unwrap();
    remove::extent(&study).unwrap_err().to_string().names([study.folder.display().to_string()]);
}

#[test]
fn a_merge_and_an_export_leave_what_is_not_the_studys_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (into, from) = (finished(&here.join("into")), finished(&here.join("from")));
    let (record, _) = finish(&from, 5, Status::Done);
    let [mine, theirs] = [&into, &from].map(|study| study.trial(&record.key).path);
    write(&mine, &["mine.txt", "inner/deep.txt"]);
    symlink("../../../from", mine.join("link")).unwrap();
    write(&theirs, &["theirs.txt"]);
    let merged = merge::merge(&into, std::slice::from_ref(&from), &into.hold("merged into").unwrap()).unwrap();
    assert_eq!(merged.replaced, 1);
    let own = |place: &str| mine.join(place).exists();
    assert!(own("mine.txt") && own("inner/deep.txt") && own("link") && own("trial.json") && !own("theirs.txt"));
    assert_eq!(problems(&into), [""; 0]);

    // One that was killed before it had moved them over: the next explorer does.
    let aside = into.folder.join("trials/.writing-AbCdEf").join(&record.key);
    write(&aside, &["trial.json", "later.txt"]);
    drop(into.open().unwrap());
    assert!(own("later.txt") && !aside.parent().unwrap().exists());
    assert_eq!(problems(&into), [""; 0]);

    write(&into.folder, &["charts/mine.png", "times/mine.txt", "thesis.tex"]);
    let archive = here.join("into.tar.gz");
    export::export(&into, &archive, true, false).unwrap();
    let packed = flate2::read::GzDecoder::new(fs::File::open(&archive).unwrap());
    let mut packed = tar::Archive::new(packed);
    for entry in packed.entries().unwrap() {
        let path = entry.unwrap().path().unwrap().display().to_string();
        assert!(!["mine", "later", "deep", "thesis"].iter().any(|name| path.contains(&format!("/{name}"))), "{path}");
    }
    // A link that leads nowhere is somebody's, too.
    symlink("nowhere", here.join("broken")).unwrap();
    let said = format!("{:#}", export::export(&into, &here.join("broken"), true, false).unwrap_err());
    said.names([&here.join("broken").display().to_string()[..], "--force"]);
    assert!(here.join("broken").is_symlink());
    assert!(export::export(&into, here, true, true).is_err());

    // A link in a trial's place is not taken for its folder.
    let (record, _) = finish(&from, 4, Status::Done);
    finish(&into, 4, Status::Failed);
    let place = into.trial(&record.key).path;
    fs::remove_dir_all(&place).unwrap();
    symlink(here, &place).unwrap();
    let said = format!("{:#}", merge::merge(&into, &[from], &into.hold("merged into").unwrap()).unwrap_err());
    said.names([place.display().to_string()]);
    assert!(place.is_symlink(), "{said}");
}

#[test]
fn a_file_is_replaced_where_the_same_command_wrote_it_or_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("my.toml"), "[data]\ntrain_samples = 200\n[model]\npreset = 'tiny'\n").unwrap();
    write(here, &["mine.png", "other.png", "folder/x"]);
    symlink("nowhere", here.join("broken")).unwrap();
    for command in [&["schedule", "my.toml"][..], &["lr-find", "my.toml", "--steps", "20"]] {
        let to = |out: &'static str, more: &[&'static str]| [command, &["--out", out], more].concat();
        for out in ["mine.png", "broken"] {
            refuse(here, &to(out, &[])).names([out, "--force"]);
        }
        // Force is no way on where there is no file to replace.
        for (out, more) in [("folder", &[][..]), ("/dev/null", &[]), ("/dev/null", &["--force"])] {
            refuse(here, &to(out, more)).names([out]).is_silent_on(["--force"]);
        }
        assert_eq!(fs::read_to_string(here.join("mine.png")).unwrap(), "mine.png");
        succeed(here, &to("new.png", &[]));
        // Its own once more.
        succeed(here, &to("new.png", &[]));
        assert!(charts::is_own(&fs::read(here.join("new.png")).unwrap()));
        succeed(here, &to("other.png", &["--force"]));
        fs::write(here.join("other.png"), "mine").unwrap();
    }
    assert!(here.join("broken").is_symlink() && here.join("folder/x").exists());
    assert!(!charts::is_own(b"\x89PNG\r\n\x1a\n") && !charts::is_own(b""));
    assert!(charts::is_own(&Scene::new(1, 1).png()));
}
