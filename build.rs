//! Passes the commit that is built on to the program, for the `git_revision` of its records.

use std::process::Command;

/// What the program is made of.
const SOURCES: [&str; 4] = ["src", "build.rs", "Cargo.toml", "Cargo.lock"];

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
}

fn main() {
    // A commit moves the branch's log; a change of the sources is seen by cargo itself.
    for watched in ["logs/HEAD", "HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", watched]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    let revision = git(&["rev-parse", "--short=12", "HEAD"]).map(|commit| {
        let is_clean = git(&[&["status", "--porcelain", "--"][..], &SOURCES[..]].concat());
        let is_clean = is_clean.is_none_or(|changes| changes.is_empty());
        if is_clean { commit } else { format!("{commit}-dirty") }
    });
    println!("cargo::rustc-env=FASTRCAPS_GIT_REVISION={}", revision.unwrap_or_default());
}
