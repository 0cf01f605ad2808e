//! The table of who may import whom, in ARCHITECTURE.md, held against the sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The storeys from the ground up, as the first block under "Storeys" has them: each may use those before it.
fn storeys() -> Vec<String> {
    block("## Storeys").lines().map(|line| line.split_whitespace().next().unwrap().to_string()).collect()
}

/// Each room of the library and the rooms it may use, as the first block under "Who may import whom" has it: a line a room, or
/// several rooms with commas, then `→`, then the rooms or `nothing`.
fn may_use() -> BTreeMap<String, Vec<String>> {
    let list = |names: &str| names.split(',').map(|name| name.trim().to_string()).collect::<Vec<_>>();
    let mut may_use = BTreeMap::new();
    for line in block("## Who may import whom").lines() {
        let (rooms, used) = line.split_once('→').unwrap_or_else(|| panic!("{line:?} has no arrow"));
        let used = if used.trim() == "nothing" { Vec::new() } else { list(used) };
        for room in list(rooms) {
            assert!(may_use.insert(room.clone(), used.clone()).is_none(), "{room} stands in the table twice");
        }
    }
    may_use
}

/// The first block under a heading of ARCHITECTURE.md.
fn block(heading: &str) -> String {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let (_, rest) = text.split_once(heading).unwrap_or_else(|| panic!("{heading:?} is no heading"));
    rest.split("```").nth(1).expect("a block between two lines of ```").trim().to_string()
}

/// What rooms of a storey, or single ones, must not touch, whoever else may.
const MUST_NOT_NAME: &[(&str, &[&str])] = &[
    ("analysis", &["std::fs", "std::time", "std::thread", "candle_core"]),
    ("strategy", &["std::fs", "std::time", "std::thread"]),
    ("schedule", &["std::fs", "std::time", "std::thread", "candle_core"]),
    ("space", &["std::fs", "std::time", "std::thread"]),
    ("charts", &["std::fs", "std::time"]),
    ("search", &["candle_core"]),
    ("present", &["candle_core", "rusqlite"]),
    ("engine", &["candle_core"]),
    ("base", &["rusqlite", "candle_core"]),
    ("learn", &["rusqlite"]),
    ("timing", &["rusqlite"]),
];

/// A source of the library: its storey, its room, and its code.
struct Source {
    storey: String,
    /// The storey's name where it is the storey's own map.
    room: String,
    path: PathBuf,
    code: String,
}

/// Sources of the library; a room is a file or a folder of a storey.
fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    for path in files_below(&src) {
        let parts: Vec<String> =
            path.strip_prefix(&src).unwrap().iter().map(|part| part.to_str().unwrap().replace(".rs", "")).collect();
        match parts.as_slice() {
            [_] => {}
            [storey, ..] if storey == "cli" => {}
            [storey, room, ..] => {
                let room = if room == "mod" { storey } else { room };
                let code = code(&fs::read_to_string(&path).unwrap());
                sources.push(Source { storey: storey.clone(), room: room.clone(), path, code });
            }
            [] => unreachable!("a file has a name"),
        }
    }
    sources
}

/// The `.rs` files below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Code without its unit tests and its comments, in which neighbours may be named freely.
fn code(source: &str) -> String {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The storeys that code names after `crate::`, each with what follows: a room, or something of the storey's own map.
fn rooms_used(code: &str) -> Vec<(String, String)> {
    let mut used = Vec::new();
    for path in paths_after("crate::", code) {
        let mut parts = path.split("::").map(str::to_string);
        let storey = parts.next().unwrap();
        used.push((storey.clone(), parts.next().unwrap_or(storey)));
    }
    used
}

/// The paths that code has after `root`, those of nested `use root::{a, b::{c}}` one by one.
fn paths_after(root: &str, code: &str) -> Vec<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut paths = Vec::new();
    for (at, _) in code.match_indices(root) {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        // The prefixes of the braces that are open.
        let mut open: Vec<String> = Vec::new();
        let mut path = String::new();
        for c in code[at + root.len()..].chars() {
            let prefix = || open.concat();
            match c {
                c if is_name(c) => path.push(c),
                '{' => open.push(std::mem::take(&mut path)),
                ',' | '}' if !open.is_empty() => {
                    // Nothing stands between a brace and a comma.
                    if !path.is_empty() {
                        paths.push(format!("{}{}", prefix(), std::mem::take(&mut path)));
                    }
                    if c == '}' {
                        open.pop();
                    }
                    if open.is_empty() {
                        break;
                    }
                }
                c if c.is_whitespace() && !open.is_empty() => {}
                _ if open.is_empty() => {
                    paths.push(std::mem::take(&mut path));
                    break;
                }
                _ => {}
            }
        }
        if !path.is_empty() {
            paths.push(path);
        }
    }
    paths
}

#[test]
fn every_storey_uses_only_those_below_it() {
    let storeys = storeys();
    let height = |name: &str| storeys.iter().position(|storey| storey == name);
    for source in sources() {
        let own =
            height(&source.storey).unwrap_or_else(|| panic!("src/{} is no storey of ARCHITECTURE.md", source.storey));
        for (storey, room) in rooms_used(&source.code) {
            let used = height(&storey).unwrap_or_else(|| panic!("crate::{storey} is no storey of ARCHITECTURE.md"));
            assert!(used <= own, "{} uses {storey}::{room}, which is above it", source.path.display());
        }
    }
}

#[test]
fn every_room_uses_the_rooms_that_the_table_says_and_no_others() {
    let may_use = may_use();
    let sources = sources();
    let mut uses: BTreeMap<String, BTreeSet<String>> =
        sources.iter().map(|source| (source.room.clone(), BTreeSet::new())).collect();
    for source in &sources {
        for (storey, room) in rooms_used(&source.code) {
            // What is no room is of the storey's map.
            let room = if uses.contains_key(&room) { room } else { storey };
            if room != source.room {
                uses.get_mut(&source.room).unwrap().insert(room);
            }
        }
    }
    let mut wrong = Vec::new();
    for (room, used) in &uses {
        // A storey's map that uses nothing is no room.
        let is_map = storeys().contains(room) && used.is_empty();
        let Some(allowed) = may_use.get(room) else {
            wrong.extend((!is_map).then(|| format!("{room} is not in the table: it uses {used:?}")));
            continue;
        };
        wrong.extend(used.iter().filter(|used| !allowed.contains(used)).map(|used| format!("{room} uses {used}")));
        let idle = allowed.iter().filter(|allowed| !used.contains(*allowed));
        wrong.extend(idle.map(|allowed| format!("{room} may use {allowed}, and does not")));
    }
    let gone = may_use.keys().filter(|room| *room != "cli" && !uses.contains_key(*room));
    wrong.extend(gone.map(|room| format!("{room} is in the table, and no room")));
    assert!(wrong.is_empty(), "against the table in ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn no_room_reaches_its_neighbours_by_way_of_super() {
    for source in sources() {
        let is_root = source.path.parent().unwrap().ends_with(&source.storey)
            || source.path.file_name().is_some_and(|name| name == "mod.rs")
                && source.path.parent().unwrap().ends_with(format!("{}/{}", source.storey, source.room));
        let lines = source.code.lines().filter(|line| line.trim_start().starts_with("use super::"));
        let is_map = source.room == source.storey;
        assert!(!is_root || is_map || lines.count() == 0, "{} uses super::", source.path.display());
    }
}

#[test]
fn no_room_touches_what_is_kept_from_it() {
    for Source { storey, room, path, code } in sources() {
        for (_, kept) in MUST_NOT_NAME.iter().filter(|(name, _)| *name == room || *name == storey) {
            let of_std = paths_after("std::", &code);
            for name in *kept {
                let is_named = match name.strip_prefix("std::") {
                    Some(name) => of_std.iter().any(|used| used.split("::").next() == Some(name)),
                    None => code.contains(name),
                };
                assert!(!is_named, "{} names {name}", path.display());
            }
        }
    }
}

#[test]
fn the_library_prints_nothing_and_knows_no_command_line() {
    for Source { path, code, .. } in sources() {
        for name in ["println!", "eprintln!", "print!(", "clap::"] {
            assert!(!code.contains(name), "{} names {name}", path.display());
        }
    }
}

#[test]
fn no_command_panics_where_standard_error_cannot_be_written() {
    for path in files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let code = code(&fs::read_to_string(&path).unwrap());
        assert!(!code.contains("eprintln!"), "{} names eprintln!, which panics: use errln!", path.display());
    }
}

#[test]
fn nested_imports_are_seen() {
    let code =
        "use crate::{\n    a::b::{c, d},\n    e::{f::G, H},\n};\nuse crate::i::j::K; let x = crate::l::M::new(2);";
    let used = [("a", "b"), ("a", "b"), ("e", "f"), ("e", "H"), ("i", "j"), ("l", "M")];
    assert_eq!(rooms_used(code), used.map(|(storey, room)| (storey.to_string(), room.to_string())));
}
