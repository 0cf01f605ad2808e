//! The table of who may import whom, in ARCHITECTURE.md, held against the sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Each room of `src/` and the rooms it may use, as the first block under "Who may import whom" has it: a line a room, or
/// several rooms with commas, then `→`, then the rooms or `nothing`.
fn may_use() -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let (_, rest) = text.split_once("## Who may import whom").expect("the heading of the table");
    let table = rest.split("```").nth(1).expect("the table between two lines of ```");
    let list = |names: &str| names.split(',').map(|name| name.trim().to_string()).collect::<Vec<_>>();
    let mut may_use = BTreeMap::new();
    for line in table.trim().lines() {
        let (rooms, used) = line.split_once('→').unwrap_or_else(|| panic!("{line:?} has no arrow"));
        let used = if used.trim() == "nothing" { Vec::new() } else { list(used) };
        for room in list(rooms) {
            assert!(may_use.insert(room.clone(), used.clone()).is_none(), "{room} stands in the table twice");
        }
    }
    may_use
}

/// Rooms that must not touch what stands here, whoever else may.
const MUST_NOT_NAME: &[(&str, &[&str])] = &[
    ("strategy", &["std::fs", "std::time", "std::thread", "candle_core"]),
    ("pareto", &["std::fs", "std::time", "std::thread", "candle_core"]),
    ("schedule", &["std::fs", "std::time", "std::thread", "candle_core"]),
    ("space", &["std::fs", "std::time", "std::thread", "candle_core"]),
    ("charts", &["std::fs", "std::time", "candle_core"]),
    ("report", &["candle_core"]),
    ("dispatch", &["candle_core"]),
    ("executor", &["candle_core"]),
    ("journal", &["candle_core"]),
    ("study", &["candle_core"]),
    ("upkeep", &["candle_core"]),
    ("train", &["rusqlite", "clap"]),
    ("data", &["rusqlite", "clap"]),
    ("model", &["rusqlite", "clap"]),
    ("kernels", &["rusqlite", "clap"]),
];

/// Sources of the library with the room each belongs to.
fn sources() -> Vec<(String, String)> {
    fn collect(folder: &Path, room: Option<&str>, into: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_string();
            if path.is_dir() {
                if room.is_some() || stem != "cli" {
                    collect(&path, Some(room.unwrap_or(&stem)), into);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !(room.is_none() && (stem == "lib" || stem == "main"))
            {
                into.push((room.unwrap_or(&stem).to_string(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut sources = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), None, &mut sources);
    sources
}

/// Code without its unit tests and its comments, in which neighbours may be named freely.
fn code(source: &str) -> String {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The rooms that a source names after `crate::`.
fn rooms_used(code: &str) -> Vec<String> {
    names_after("crate::", code)
}

/// What a source names after `root`, also in nested `use root::{a, b::{c}}`.
fn names_after(root: &str, code: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut used = Vec::new();
    for (at, _) in code.match_indices(root) {
        let rest = &code[at + root.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            used.push(name(rest));
            continue;
        };
        let mut depth = 0;
        let mut item = String::new();
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => used.push(name(std::mem::take(&mut item).trim())),
                _ => {}
            }
            if depth == 0 && c != ',' {
                item.push(c);
            }
        }
        used.push(name(item.trim()));
    }
    used.retain(|room| !room.is_empty());
    used
}

#[test]
fn every_room_uses_only_the_rooms_it_may() {
    let may_use = may_use();
    for (room, source) in sources() {
        let Some(allowed) = may_use.get(&room) else {
            panic!("src/{room} is not in the table of who may import whom: add it to ARCHITECTURE.md");
        };
        for used in rooms_used(&code(&source)) {
            assert!(
                used == room || allowed.contains(&used),
                "src/{room} uses crate::{used}, which it may not by the table in ARCHITECTURE.md"
            );
        }
    }
}

#[test]
fn the_table_of_rooms_names_those_that_there_are() {
    let rooms: BTreeSet<String> = sources().into_iter().map(|(room, _)| room).chain(["cli".into()]).collect();
    let table = may_use();
    assert_eq!(table.keys().cloned().collect::<BTreeSet<_>>(), rooms);
    for (room, used) in table.iter().filter(|(room, _)| *room != "cli") {
        for used in used {
            assert!(rooms.contains(used) && used != "cli", "{room} may use {used}, which is no room of the library");
        }
    }
}

#[test]
fn no_room_touches_what_is_kept_from_it() {
    for (room, source) in sources() {
        for (_, kept) in MUST_NOT_NAME.iter().filter(|(name, _)| *name == room) {
            let code = code(&source);
            let of_std = names_after("std::", &code);
            for name in *kept {
                let is_named = match name.strip_prefix("std::") {
                    Some(name) => of_std.iter().any(|used| used == name),
                    None => code.contains(name),
                };
                assert!(!is_named, "src/{room} names {name}");
            }
        }
    }
}

#[test]
fn the_library_prints_nothing_and_knows_no_command_line() {
    for (room, source) in sources() {
        for name in ["println!", "eprintln!", "print!(", "clap::"] {
            assert!(!code(&source).contains(name), "src/{room} names {name}");
        }
    }
}

#[test]
fn no_command_panics_where_standard_error_cannot_be_written() {
    fn check(folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                check(&path);
            } else {
                let code = code(&fs::read_to_string(&path).unwrap());
                assert!(!code.contains("eprintln!"), "{} names eprintln!, which panics: use errln!", path.display());
            }
        }
    }
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
}

#[test]
fn nested_imports_are_seen() {
    let code = "use crate::{a, b::{c, d}, e::f};\nuse crate::g::h; let x = crate::i::j();";
    assert_eq!(rooms_used(code), ["a", "b", "e", "g", "i"]);
}
