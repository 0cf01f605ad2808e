//! The data set of trials on a cluster that is reached only through ssh: it is looked for there, and brought there where it is not
//! found, once for all studies.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{
    profile::Profile,
    reach::{Reach, may_be_reached_later},
};

/// Minutes after which a folder that was not finished is removed, as `find` has it.
const ABANDONED: &str = "+720";
/// What `has-data` says where the images are found and are those that are meant.
pub const IS_HERE: &str = "here";

/// A data set that lies in files on this machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// What it is called, for messages.
    pub label: String,
    /// A selection of its images, as JSON, and its fingerprint.
    pub selection: String,
    pub fingerprint: String,
    /// Its files and folders: names in a folder. A link is what it leads to.
    pub from: PathBuf,
    pub names: Vec<String>,
    /// Identity of these files.
    pub identity: String,
    /// What images of the user's own are called in that folder; absent for a data set that the program knows.
    pub own: Option<String>,
}

impl Data {
    /// Sees to it that trials find it on the cluster, and gives `arguments` as they are then.
    ///
    /// Errors: it is not found there and cannot be brought there, with where it must lie; there is no connection.
    pub(super) fn bring(
        &self,
        reach: &Reach,
        profile: &Profile,
        program: &Path,
        arguments: &[String],
    ) -> Result<Vec<String>> {
        let Some(work) = &profile.work else { return Ok(arguments.to_vec()) };
        let place = work.join("data").join(&self.identity);
        if !is_there(reach, &place)? {
            let Some(missing) = self.missing(reach, profile, program)? else { return Ok(arguments.to_vec()) };
            self.send(reach, &place).with_context(|| {
                format!(
                    "{} is not found on the cluster ({missing}) and cannot be brought to {}: make room there, or put it into a folder \
                     that all nodes have, and name that with data_dir in the profile",
                    self.label,
                    place.display()
                )
            })?;
        }
        let mut words = arguments.to_vec();
        match &self.own {
            Some(own) => words.extend(["--data-path".into(), place.join(own).display().to_string()]),
            None => {
                if let Some(at) = words.iter().position(|word| word == "--data-dir") {
                    words.drain(at..(at + 2).min(words.len()));
                }
                words.extend(["--data-dir".into(), place.display().to_string()]);
            }
        }
        Ok(words)
    }

    /// Why the program there does not find it; none where it does.
    fn missing(&self, reach: &Reach, profile: &Profile, program: &Path) -> Result<Option<String>> {
        let mut words = vec!["has-data".to_string(), self.selection.clone(), self.fingerprint.clone()];
        if let Some(dir) = &profile.data_dir {
            words.extend(["--data-dir".into(), dir.display().to_string()]);
        }
        let said = reach.run_long(&program.display().to_string(), &words).with_context(|| {
            let program = program.display();
            format!("{program} there does not say whether it finds {}: copy this program there again", self.label)
        })?;
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok((said != IS_HERE).then_some(said))
    }

    /// Brings it there, whole or not at all.
    fn send(&self, reach: &Reach, place: &Path) -> Result<()> {
        let text = |path: &Path| path.display().to_string();
        reach.run("mkdir", &["-p".into(), text(&place.with_file_name(""))])?;
        // What a connection left that broke off: nothing takes so long to bring.
        let (folder, parts) = (text(&place.with_file_name("")), format!("{}.????????", self.identity));
        let old = ["-maxdepth", "1", "-name", &parts, "-mmin", ABANDONED, "-exec", "rm", "-rf", "{}", "+"];
        let _ = reach
            .run("find", &[&[folder.as_str()], &old[..]].concat().into_iter().map(String::from).collect::<Vec<_>>());
        // A folder of its own beside the place, on the cluster.
        let made = reach.run("mktemp", &["-d".into(), format!("{}.XXXXXXXX", text(place))])?;
        let part = PathBuf::from(made.trim());
        let sent = reach.send_files(&self.from, &self.names, &part);
        // For whom `mktemp` makes it is not for whom it is.
        let opened = sent.and_then(|()| reach.run("chmod", &["+rx".into(), text(&part)]));
        let placed = opened.and_then(|_| reach.run("mv", &["-T".into(), text(&part), text(place)]));
        let Err(error) = placed else { return Ok(()) };
        // What cannot be removed now is removed by a later try.
        let _ = reach.run("rm", &["-rf".into(), text(&part)]);
        // Somebody else may have brought it meanwhile.
        if is_there(reach, place)? { Ok(()) } else { Err(error) }
    }
}

fn is_there(reach: &Reach, place: &Path) -> Result<bool> {
    match reach.run("test", &["-d".into(), place.display().to_string()]) {
        Err(error) if may_be_reached_later(&error) => Err(error),
        said => Ok(said.is_ok()),
    }
}
