//! Where data files are looked for.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::{
    descriptor::{DatasetName, Layout, Source},
    identity::other_dataset,
};

/// The folder of data sets: `NAME` lies in its folder `NAME`, or in the folder itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDirs {
    root: Option<PathBuf>,
}

/// The variables that say where a user's files lie; unset and empty are alike.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `$FASTRCAPS_DATA`
    pub fastrcaps_data: Option<OsString>,
    /// `$XDG_CACHE_HOME`
    pub xdg_cache_home: Option<OsString>,
    /// `$HOME`
    pub home: Option<OsString>,
}

impl Environment {
    /// Reads this process's variables.
    pub fn of_process() -> Self {
        Environment {
            fastrcaps_data: std::env::var_os("FASTRCAPS_DATA"),
            xdg_cache_home: std::env::var_os("XDG_CACHE_HOME"),
            home: std::env::var_os("HOME"),
        }
    }
}

/// A data set's files.
#[derive(Clone, Debug)]
pub struct Found {
    pub layout: Layout,
    /// The folder they were found in.
    pub dir: PathBuf,
    /// In the order of [`Format::names`](super::descriptor::Format::names).
    pub files: Vec<PathBuf>,
}

impl DataDirs {
    /// `given` (the command line's), else `$FASTRCAPS_DATA`, else `fastrcaps` in the user's cache:
    /// `$XDG_CACHE_HOME` or `~/.cache`, on macOS `~/Library/Caches`.
    pub fn new(given: Option<PathBuf>, environment: &Environment) -> Self {
        let set = |variable: &Option<OsString>| variable.clone().filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = || {
            let home = set(&environment.home);
            if cfg!(target_os = "macos") {
                return home.map(|home| home.join("Library/Caches"));
            }
            // A relative path is invalid by the XDG base directory specification, and ignored.
            let xdg = set(&environment.xdg_cache_home).filter(|path| path.is_absolute());
            xdg.or_else(|| home.map(|home| home.join(".cache")))
        };
        let root = given.or_else(|| set(&environment.fastrcaps_data)).or_else(|| Some(cache()?.join("fastrcaps")));
        DataDirs { root }
    }

    /// The one folder `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        DataDirs { root: Some(root.into()) }
    }

    /// The folder of data sets.
    ///
    /// # Errors
    /// When neither the command line nor the environment names one.
    pub fn root(&self) -> Result<&Path> {
        self.root.as_deref().context("no folder for data sets: give --data-dir DIR, or set FASTRCAPS_DATA or HOME")
    }

    /// Finds the files of a published data set; all of them, in one folder.
    ///
    /// # Errors
    /// When there are none, or another data set's: the message lists the places, the names wanted, and how to fetch them.
    pub fn find(&self, name: DatasetName) -> Result<Found> {
        let name_text = name.as_str();
        let source = name.descriptor().source();
        let source = source.with_context(|| format!("{name_text} are drawn, not read: they have no files"))?;
        let root = self.root()?;
        let places = [root.join(name_text), root.to_path_buf()];
        let unread = |place: &PathBuf| {
            let (path, what) = source.unread.iter().find(|(path, _)| place.join(path).exists())?;
            let found = place.join(path);
            Some(format!(
                "\n  {} is {what}: it is not read; `fastrcaps data fetch {name_text}` brings what is",
                found.display()
            ))
        };
        let mut note = places.iter().find_map(unread).unwrap_or_default();
        for place in &places {
            let Some(found) = source.layouts.iter().find_map(|&layout| find_in(place, layout)) else { continue };
            match other_dataset(name, &found.layout, &found.files) {
                None => return Ok(found),
                Some(other) => note = format!("\n  what lies in {} is {}", place.display(), other.as_str()),
            }
        }
        bail!(
            "{name_text} not found\n  looked in: {}\n  for: {}{note}\n  to get it: `fastrcaps data fetch {name_text}`, or \
             name the folder that holds it with --data-dir DIR or FASTRCAPS_DATA",
            places.map(|place| place.display().to_string()).join(", "),
            wanted(source),
        )
    }
}

fn find_in(place: &Path, layout: Layout) -> Option<Found> {
    let dir: PathBuf = place.join(layout.folder).components().collect();
    Some(Found { layout, files: layout.format.find(&dir)?, dir })
}

/// The names of the files wanted, as a phrase; the folders below in which they may lie, too, where there are such.
fn wanted(source: &Source) -> String {
    let mut phrases: Vec<String> = Vec::new();
    for layout in source.layouts {
        let files = layout.format.names();
        let names = files.iter().map(|names| names[0]).collect::<Vec<_>>().join(", ");
        let same = source.layouts.iter().filter(|other| other.format.names() == files);
        let folders: Vec<&str> = same.map(|layout| layout.folder).filter(|folder| !folder.is_empty()).collect();
        let packed = |names: &&[&str]| names[1..].iter().any(|name| name.strip_suffix(".gz") == Some(names[0]));
        let gz = if files.iter().all(packed) { " (each may end in .gz)" } else { "" };
        let phrase = match folders.as_slice() {
            [] => format!("{names}{gz}"),
            _ => format!("{names}{gz}, there or in {} below", folders.join(" or ")),
        };
        if !phrases.contains(&phrase) {
            phrases.push(phrase);
        }
    }
    phrases.join("; or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(data: &str, xdg: &str, home: &str) -> Environment {
        Environment { fastrcaps_data: Some(data.into()), xdg_cache_home: Some(xdg.into()), home: Some(home.into()) }
    }

    fn root(given: Option<&str>, environment: &Environment) -> Option<PathBuf> {
        DataDirs::new(given.map(PathBuf::from), environment).root
    }

    #[test]
    fn the_command_line_goes_before_the_variable_and_the_variable_before_the_cache() {
        let full = environment("/data", "/xdg", "/home/me");
        assert_eq!(root(Some("here"), &full), Some("here".into()));
        assert_eq!(root(None, &full), Some("/data".into()));
    }

    #[test]
    #[cfg(not(target_os = "macos"))]
    fn the_cache_is_xdg_or_below_home() {
        assert_eq!(root(None, &environment("", "/xdg", "/home/me")), Some("/xdg/fastrcaps".into()));
        assert_eq!(root(None, &environment("", "relative", "/home/me")), Some("/home/me/.cache/fastrcaps".into()));
        assert_eq!(root(None, &environment("", "", "/home/me")), Some("/home/me/.cache/fastrcaps".into()));
    }

    #[test]
    fn without_any_folder_the_error_says_what_to_set() {
        let error =
            DataDirs::new(None, &Environment::default()).find(DatasetName::named("mnist").unwrap()).unwrap_err();
        assert!(error.to_string().contains("--data-dir"), "{error}");
    }
}
