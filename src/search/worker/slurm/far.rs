//! A folder of work on a cluster's file system that this machine does not share, and its mirror here.
//!
//! The rest of the worker reads and writes the mirror alone. Two one-way transfers keep both equal. What is decided here goes
//! there: arrays and attempts before they are submitted (`control.rs`), in each round which of them are still wanted, and which
//! are to stop. What jobs leave comes here: in each round how far trials are, and the words of those that ended. All that an
//! attempt left comes once it is over. A round that is cut off leaves both sides as they were, but for orders that it may repeat.

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Error, Result};

use super::{Ask, Slurm, work::Work as WorkFolder};
use crate::base::files::{make_folder, remove_if_there, write_atomically};

/// What a round does on the login node, as a script of bash's that is given the folder of work. It hears orders, a line each, and
/// writes an archive.
///
/// Without the last order it has not heard which attempts are wanted, and removes none. Words are listed before what their
/// attempts left is read, so that what comes with a word is all that its job left. Files that are replaced meanwhile are whole,
/// old or new.
pub(super) const ROUND: &str = r#"
cd "$1" || exit 66
shopt -s nullglob
declare -A wanted
whole=()
told=
while read -r order name; do
    case $order in
    batch) wanted[batches/$name]=1 ;;
    attempt) wanted[attempts/$name]=1 ;;
    stop) [ -d "attempts/$name" ] && : >"attempts/$name/stop" ;;
    whole) whole+=("$name") ;;
    heard) rm -f "ended/$name" ;;
    unshare) rm -f "beginnings/$name" ;;
    end) told=1 ;;
    esac
done
[ -n "$told" ] || { echo 'the orders were cut off' >&2; exit 65; }
rm -rf batches/.gone-* attempts/.gone-* 2>/dev/null
for folder in batches/* attempts/*; do
    [ -n "${wanted[$folder]}" ] && continue
    gone=${folder%/*}/.gone-${folder##*/}
    mv "$folder" "$gone" && rm -rf "$gone" 2>/dev/null
done
mkdir -p beginnings
find beginnings -name '.writing-*' -mmin +60 -delete 2>/dev/null
(cd beginnings && printf '%s\n' *.safetensors) >.beginnings.new && mv -f .beginnings.new .beginnings
words=(ended/*.r*)
for word in "${words[@]}"; do
    name=${word#ended/}
    whole+=("${name%.r*}")
done
list() {
    printf '%s\0' ended .beginnings
    find attempts -mindepth 2 -maxdepth 3 -path 'attempts/*/r*' \( -type d -o -name trial.json -o -name epochs.csv \) -print0
    for name in "${whole[@]}"; do
        for start in "attempts/$name"/r*; do find "$start" -mindepth 1 -maxdepth 1 -type f -print0; done
    done
    for word in "${words[@]}"; do printf '%s\0' "$word"; done
}
list 2>/dev/null | tar -cf - --no-recursion --ignore-failed-read --warning=none --null -T -
code=$?
[ $code -le 1 ]
"#;

/// What a round says, and what is taken for done once it has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Orders {
    pub text: String,
    whole: Vec<String>,
}

/// The other side of a mirror, as far as this side knows it.
#[derive(Debug, Default)]
pub(super) struct Far {
    /// Words that have arrived, and lie there still.
    heard: BTreeSet<String>,
    /// Attempts that are over, and of which all has arrived.
    whole: BTreeSet<String>,
    /// Beginnings that lie there; the mirror has an empty file for each that is wanted.
    shared: BTreeSet<String>,
    /// Whether something is to be removed there that no round was asked for yet.
    is_untidy: bool,
    /// Why the last round failed, if it did.
    pub trouble: Option<String>,
}

impl Far {
    /// Whether all has arrived that an attempt left.
    pub fn has_whole(&self, attempt: &str) -> bool {
        self.whole.contains(attempt)
    }

    pub fn is_untidy(&self, mirror: &WorkFolder) -> bool {
        self.is_untidy || self.unwanted(mirror).next().is_some()
    }

    /// Beginnings that lie there, and that no trial needs any more.
    fn unwanted(&self, mirror: &WorkFolder) -> impl Iterator<Item = &String> {
        let wanted = mirror.beginnings();
        self.shared.iter().filter(move |name| !wanted.join(name).exists())
    }

    /// Takes note that an attempt was removed from the mirror.
    pub fn removed(&mut self, attempt: &str) {
        self.whole.remove(attempt);
        self.is_untidy = true;
    }

    /// What a round is to say: the mirror as it is, and the attempts that are over and of which all is wanted.
    ///
    /// Errors: the mirror cannot be read; then nothing may be said, as what is not named is removed.
    pub fn orders(&mut self, mirror: &WorkFolder, over: impl Iterator<Item = String>) -> Result<Orders> {
        let mut text = String::new();
        for word in &self.heard {
            let _ = writeln!(text, "heard {word}");
        }
        for name in self.unwanted(mirror) {
            let _ = writeln!(text, "unshare {name}");
        }
        for batch in names(&mirror.path.join("batches"))? {
            let _ = writeln!(text, "batch {batch}");
        }
        for attempt in names(&mirror.path.join("attempts"))? {
            let _ = writeln!(text, "attempt {attempt}");
            if mirror.attempt(&attempt).is_asked_to_stop() {
                let _ = writeln!(text, "stop {attempt}");
            }
        }
        let whole: Vec<String> = over.filter(|attempt| !self.whole.contains(attempt)).collect();
        for attempt in &whole {
            let _ = writeln!(text, "whole {attempt}");
        }
        text += "end\n";
        self.is_untidy = false;
        Ok(Orders { text, whole })
    }

    /// Puts what a round brought into the mirror: what attempts left, then the words of those that are over.
    ///
    /// Errors: it cannot be written; the next round brings it again.
    pub fn take_in(&mut self, mirror: &WorkFolder, orders: Orders) -> Result<()> {
        // Those that it had heard of before are gone there.
        self.heard.clear();
        let arrived = mirror.incoming();
        for attempt in names(&arrived.join("attempts"))? {
            let to = mirror.attempt(&attempt);
            // One that was removed meanwhile is not to come back.
            if to.exists() {
                let from = arrived.join("attempts").join(&attempt);
                names(&from)?.iter().try_for_each(|start| move_files(&from.join(start), &to.base.join(start)))?;
            }
        }
        self.whole.extend(orders.whole);
        self.heard = names(&arrived.join("ended"))?.into_iter().collect();
        for word in &self.heard {
            let attempt = attempt_of(word);
            let is_known = !attempt.is_empty() && mirror.attempt(attempt).exists();
            if is_known {
                self.whole.insert(attempt.into());
                let to = mirror.path.join("ended").join(word);
                fs::rename(arrived.join("ended").join(word), &to)
                    .with_context(|| format!("cannot bring {}", to.display()))?;
            }
        }
        self.whole.retain(|attempt| mirror.attempt(attempt).exists());
        if let Ok(list) = fs::read_to_string(arrived.join(".beginnings")) {
            self.take_in_beginnings(
                mirror,
                list.lines().filter(|name| !name.is_empty()).map(str::to_string).collect(),
            )?;
        }
        self.is_untidy |= !self.heard.is_empty();
        fs::remove_dir_all(&arrived).with_context(|| format!("cannot remove {}", arrived.display()))
    }

    /// Has the mirror know which beginnings lie there. One that was removed from it since the last round stays removed.
    fn take_in_beginnings(&mut self, mirror: &WorkFolder, there: BTreeSet<String>) -> Result<()> {
        let folder = mirror.beginnings();
        for gone in names(&folder)?.iter().filter(|name| !there.contains(*name)) {
            remove_if_there(&folder.join(gone))?;
        }
        for new in there.difference(&self.shared) {
            make_folder(&folder)?;
            write_atomically(&folder.join(new), &[])?;
        }
        self.shared = there;
        Ok(())
    }

    /// Attempts whose words lie there still: no other is to have the name of one.
    pub fn heard_of(&self) -> impl Iterator<Item = &str> {
        self.heard.iter().map(|word| attempt_of(word))
    }

    /// Takes note that a round failed, and why.
    pub fn failed(&mut self, why: String) {
        self.is_untidy = true;
        self.trouble = Some(why);
    }
}

impl Slurm {
    /// Whether something is to be removed from afar.
    pub(super) fn is_untidy(&self) -> bool {
        self.far.as_ref().is_some_and(|far| far.is_untidy(&self.work))
    }

    /// Where the folder of work is far away: has it be as the mirror is, and what is new there brought here. Before a look at the
    /// queue, so that jobs that are over have told what they had to tell.
    pub(super) fn ask_for_round(&mut self) {
        let Some(far) = &mut self.far else { return };
        let ended = self.running.iter().flatten().filter(|running| running.end.is_some());
        match far.orders(&self.work, ended.map(|running| running.name.clone())) {
            Ok(orders) => self.control.ask(Ask::Round(orders)),
            Err(error) => far.failed(format!("{error:#}")),
        }
    }

    /// Takes up what a round brought, or why it brought nothing.
    pub(super) fn rounded(&mut self, orders: Result<Orders, String>) {
        let Some(far) = &mut self.far else { return };
        let taken = orders.and_then(|orders| far.take_in(&self.work, orders).map_err(|error| format!("{error:#}")));
        match taken {
            Ok(()) => far.trouble = None,
            Err(error) => far.failed(format!("the cluster's folder of work cannot be read: {error}")),
        }
    }
}

/// Empties the folder in which a round unpacks what it brings, and gives it.
///
/// Errors: it cannot be made.
pub(super) fn clear(incoming: PathBuf) -> Result<PathBuf> {
    match fs::remove_dir_all(&incoming) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot empty {}", incoming.display()));
        }
        _ => {}
    }
    make_folder(&incoming)?;
    Ok(incoming)
}

/// The attempt of a start's word.
fn attempt_of(word: &str) -> &str {
    word.rsplit_once(".r").map_or("", |(attempt, _)| attempt)
}

/// Moves the files of one folder into another; each takes the place of the one of its name.
fn move_files(from: &Path, to: &Path) -> Result<()> {
    make_folder(to)?;
    for name in names(from)? {
        let file = from.join(&name);
        if fs::symlink_metadata(&file).is_ok_and(|metadata| metadata.is_file()) {
            fs::rename(&file, to.join(&name)).with_context(|| format!("cannot bring {name} to {}", to.display()))?;
        }
    }
    Ok(())
}

/// Names of what is in a folder and not hidden, in order; none where there is no such folder.
fn names(folder: &Path) -> Result<Vec<String>> {
    let context = || format!("cannot read {}", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(context)?,
    };
    let name = |entry: std::io::Result<fs::DirEntry>| Ok::<_, Error>(entry?.file_name().to_string_lossy().into_owned());
    let all: Result<Vec<String>> = entries.map(name).collect();
    let mut all = all.with_context(context)?;
    all.retain(|name| !name.starts_with('.'));
    all.sort();
    Ok(all)
}
