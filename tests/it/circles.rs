//! No files of the sources import each other in a ring.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::layering::{code, files_below, paths_after};

/// The module of a file, as the names from the root of `src/` to it.
fn module(src: &Path, path: &Path) -> Vec<String> {
    let mut parts: Vec<String> =
        path.with_extension("").strip_prefix(src).unwrap().iter().map(|part| part.to_str().unwrap().into()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// The modules that code names, as paths from the root; what follows the module in the path still stands at their ends.
fn named(own: &[String], code: &str) -> Vec<Vec<String>> {
    let split = |path: &String| path.split("::").map(str::to_string).collect::<Vec<_>>();
    let mut named: Vec<Vec<String>> = paths_after("crate::", code).iter().map(split).collect();
    for path in paths_after("super::", code) {
        let mut above = &own[..own.len().saturating_sub(1)];
        let mut rest = path.as_str();
        while let Some(further) = rest.strip_prefix("super::") {
            (above, rest) = (&above[..above.len().saturating_sub(1)], further);
        }
        named.push([above.to_vec(), split(&rest.to_string())].concat());
    }
    named
}

/// The files that each file imports. What a file takes from one that its own lies below is not seen: a folder's map hands names
/// on.
fn imports(src: &Path) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    let files: BTreeMap<Vec<String>, PathBuf> =
        files_below(src).into_iter().map(|path| (module(src, &path), path)).collect();
    let mut imports = BTreeMap::new();
    for (own, path) in &files {
        let code = code(&fs::read_to_string(path).unwrap());
        let file = |named: Vec<String>| (1..=named.len()).rev().find_map(|len| files.get_key_value(&named[..len]));
        let used = named(own, &code).into_iter().filter_map(file);
        let used = used.filter(|(module, _)| !own.starts_with(module)).map(|(_, path)| path.clone());
        imports.insert(path.clone(), used.collect());
    }
    imports
}

/// The files that `from` reaches by imports.
fn reached<'a>(from: &'a Path, imports: &'a BTreeMap<PathBuf, BTreeSet<PathBuf>>) -> BTreeSet<&'a Path> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(file) = next.pop() {
        next.extend(imports[file].iter().map(PathBuf::as_path).filter(|used| seen.insert(*used)));
    }
    seen
}

#[test]
fn no_files_import_each_other_in_a_ring() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let imports = imports(&src);
    let wrong: Vec<&PathBuf> = imports.keys().filter(|file| reached(file, &imports).contains(file.as_path())).collect();
    assert!(wrong.is_empty(), "these files are in rings of imports: {wrong:#?}");
    let edges: usize = imports.values().map(BTreeSet::len).sum();
    assert!(edges > imports.len(), "imports are seen: {edges} of {} files", imports.len());
}
