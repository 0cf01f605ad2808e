//! Passes the commit that is built on to the program, for the `git_revision` of its records.

use std::process::Command;

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
    println!("cargo::rerun-if-changed=src");
    let revision = git(&["rev-parse", "--short=12", "HEAD"]).map(|commit| {
        let is_clean = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|changes| changes.is_empty());
        if is_clean { commit } else { format!("{commit}-dirty") }
    });
    println!("cargo::rustc-env=FASTRCAPS_GIT_REVISION={}", revision.unwrap_or_default());
}
