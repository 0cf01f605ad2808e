//! One sitting of a training: where it begins, when it writes a checkpoint, and whether it goes on.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Error, Result, anyhow};

use super::{
    Observer, Training,
    beginning::Shared,
    checkpoint::{Build, Checkpoint, Stored, Unusable},
};
use crate::{
    base::files::{is_out_of_room, remove_if_there},
    learn::{
        config::TrialConfig,
        folder::{TrialFolder, UNUSABLE},
    },
};

/// The time between checkpoints within an epoch, if nobody says otherwise.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(120);
/// No checkpoint is due before this many times what writing one takes.
const SHARE: u32 = 100;
/// How long the checkpoint of a training that is stopped waits for room, and how often it is tried.
const LAST_PATIENCE: Duration = Duration::from_secs(5);
const LAST_TRIES: Duration = Duration::from_millis(250);
/// What writing takes before any was written: this many bytes a second, and the syncs of a slow disk.
const BYTES_PER_SECOND: f64 = 200e6;
const SYNCS: Duration = Duration::from_millis(20);

/// How long, of the time between checkpoints and the least that one is worth.
type Wait = fn(Duration, Duration) -> Duration;
const WITHIN_AN_EPOCH: Wait = |every, least| if every.is_zero() { every } else { every.max(least) };

/// What becomes of a checkpoint that is whole, and not of this trial or this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// It stays, and the training is refused.
    Refuse,
    /// It is renamed to `….unusable`, and the training goes on from another one, or begins anew.
    SetAside,
}

static NEVER: AtomicBool = AtomicBool::new(false);

/// Who may stop a training, and where it keeps what it has come to. The default: nobody, and nowhere.
pub struct Session<'a> {
    stop: &'a AtomicBool,
    checkpoints: Option<Checkpoints<'a>>,
    shared: Shared<'a>,
}

struct Checkpoints<'a> {
    folder: &'a TrialFolder,
    /// Identity of the trial.
    key: &'a str,
    every: Duration,
    foreign: Foreign,
    /// Whether there is one at the end, too.
    is_kept: bool,
    /// When the last one was written or tried, or the training began.
    last: Instant,
    /// What writing the last one took.
    cost: Duration,
    /// Whether the last one could not be written.
    is_failing: bool,
    /// Whether the newest one in the folder is known to be whole.
    is_newest_whole: bool,
}

impl Default for Session<'_> {
    fn default() -> Self {
        Session { stop: &NEVER, checkpoints: None, shared: Shared::default() }
    }
}

impl<'a> Session<'a> {
    /// A sitting of trial `key` in `folder`, which goes on from the checkpoint there, if there is one of this trial,
    /// and ends after the step in which `stop` is set. A checkpoint is written when `every` has passed since the last, but never
    /// so often that it costs more than a hundredth of the time; as often as that allows at the end of an epoch. 0 for after
    /// every step, whatever it costs.
    pub fn in_folder(folder: &'a TrialFolder, key: &'a str, every: Duration, stop: &'a AtomicBool) -> Session<'a> {
        let checkpoints = Checkpoints {
            folder,
            key,
            every,
            foreign: Foreign::SetAside,
            is_kept: false,
            last: Instant::now(),
            cost: Duration::ZERO,
            is_failing: false,
            is_newest_whole: false,
        };
        Session { stop, checkpoints: Some(checkpoints), shared: Shared::default() }
    }

    /// This one, with something else done about checkpoints that are not its own.
    pub fn with_foreign(mut self, foreign: Foreign) -> Self {
        self.checkpoints.iter_mut().for_each(|checkpoints| checkpoints.foreign = foreign);
        self
    }

    /// This one, with a checkpoint at the end of the training if `is_kept`.
    pub fn keeping(mut self, is_kept: bool) -> Self {
        self.checkpoints.iter_mut().for_each(|checkpoints| checkpoints.is_kept = is_kept);
        self
    }

    /// This one, which without a checkpoint of its own goes on from a beginning that others left, and leaves some for others.
    pub fn sharing(mut self, shared: Shared<'a>) -> Self {
        self.shared = shared;
        self
    }

    /// Puts `training` of `config` on `samples` samples where the newest usable checkpoint was written, or else a beginning. One
    /// that cannot be used is told of.
    pub(super) fn take_up(
        &mut self,
        training: &mut Training,
        config: &TrialConfig,
        samples: usize,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(()) };
        if checkpoints.take_up(training, config, samples, observer)? {
            observer.kept(training.state.steps);
            observer.resumed(&training.state)?;
        } else if self.shared.take_up(training, config, samples, observer)? {
            observer.resumed(&training.state)?;
        }
        let bytes = size_of::<f32>() * training.kept_values();
        checkpoints.cost = Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND) + SYNCS;
        checkpoints.last = Instant::now();
        Ok(())
    }

    /// Whether a step should not be followed by another before [`Session::after_step`].
    pub(super) fn is_due_after_step(&self) -> bool {
        let is_due = |checkpoints: &Checkpoints| checkpoints.last.elapsed() >= checkpoints.wait(WITHIN_AN_EPOCH);
        self.stop.load(Relaxed) || self.checkpoints.as_ref().is_some_and(is_due)
    }

    /// Keeps what is due after a step; breaks where the training is to stop.
    pub(super) fn after_step(&mut self, training: &mut Training, observer: &mut dyn Observer) -> ControlFlow<()> {
        self.go_on(training, observer, WITHIN_AN_EPOCH)
    }

    /// The same after an epoch, when least is to be done again.
    pub(super) fn after_epoch(&mut self, training: &mut Training, observer: &mut dyn Observer) -> ControlFlow<()> {
        self.shared.leave(training, observer);
        self.go_on(training, observer, |every, least| if every.is_zero() { every } else { least })
    }

    /// Keeps what is to be kept after the last epoch.
    pub(super) fn at_end(&mut self, training: &mut Training, observer: &mut dyn Observer) {
        if let Some(checkpoints) = &mut self.checkpoints
            && checkpoints.is_kept
            && !checkpoints.folder.checkpoint().exists()
        {
            checkpoints.write(training, Duration::ZERO, observer);
        }
    }

    fn go_on(&mut self, training: &mut Training, observer: &mut dyn Observer, wait: Wait) -> ControlFlow<()> {
        let is_stopped = self.stop.load(Relaxed);
        if let Some(checkpoints) = &mut self.checkpoints {
            let wait = checkpoints.wait(wait);
            if is_stopped {
                checkpoints.write(training, LAST_PATIENCE, observer);
            } else if checkpoints.last.elapsed() >= wait {
                checkpoints.write(training, Duration::ZERO, observer);
            }
        }
        if is_stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Checkpoints<'_> {
    /// How long after the last checkpoint the next is due.
    fn wait(&self, wait: Wait) -> Duration {
        wait(self.every, self.cost.saturating_mul(SHARE))
    }

    /// Whether there was a checkpoint from which `training` goes on now.
    ///
    /// Errors: none could be used, and of one of them it is not known whether it is whole, or it is to stay.
    fn take_up(
        &mut self,
        training: &mut Training,
        config: &TrialConfig,
        samples: usize,
        observer: &mut dyn Observer,
    ) -> Result<bool> {
        let (newest, previous) = (self.folder.checkpoint(), self.folder.previous_checkpoint());
        let (mut is_any, mut unread) = (false, None);
        for path in [&newest, &previous] {
            let unusable = match self.try_take_up(path, training, config, samples, observer) {
                Ok(is_there) if is_there => {
                    self.is_newest_whole = path == &newest;
                    if path == &previous {
                        self.clear(&newest, unread.is_some(), observer)?;
                    }
                    return Ok(true);
                }
                Ok(_) => continue,
                Err(unusable) => unusable,
            };
            is_any = true;
            let told = format!("{} cannot be used", path.display());
            match (unusable, self.foreign) {
                (unusable @ Unusable::Foreign(_), Foreign::Refuse) => return Err(Error::new(unusable).context(told)),
                (Unusable::Foreign(error), Foreign::SetAside) => {
                    let aside = set_aside(path)?;
                    observer.say(&format!("warning: {told}: {error:#}; it is {} now", aside.display()));
                }
                (unusable, _) => {
                    let error = Error::new(unusable).context(told);
                    observer.say(&format!("warning: {error:#}"));
                    if error.chain().any(|cause| cause.is::<io::Error>()) {
                        unread = Some(error);
                    }
                }
            }
        }
        if let Some(error) = unread {
            return Err(
                error.context("the training neither goes on nor begins anew: try again, or remove the checkpoint")
            );
        }
        if is_any {
            observer.say("warning: there is no usable checkpoint: the training begins anew");
        }
        Ok(false)
    }

    /// Has `training` go on from the checkpoint at `path`, if there is one. It has not changed, or its tensors alone, where
    /// there is none that can be used.
    fn try_take_up(
        &self,
        path: &Path,
        training: &mut Training,
        config: &TrialConfig,
        samples: usize,
        observer: &mut dyn Observer,
    ) -> Result<bool, Unusable> {
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            file => file.map_err(Unusable::Unreadable)?,
        };
        let stored = Stored::open(file)?;
        stored.check(training, self.key, config, samples).map_err(Unusable::Foreign)?;
        let (build, this) = (stored.envelope.build.clone(), Build::this(training.trainer.gpu()));
        // It was whole a moment ago.
        let unread = |error: Error| error.downcast::<io::Error>().unwrap_or_else(io::Error::other);
        stored.put_into(training).map_err(|error| Unusable::Unreadable(unread(error)))?;
        if build != this {
            observer.say(&format!(
                "warning: the checkpoint is of the build {build}, and this is {this}: bits may differ from those of a \
                 training that was never interrupted"
            ));
        }
        Ok(true)
    }

    /// Takes the newest checkpoint, which could not be used, out of the way of the previous one: it would take its place. What
    /// may be whole is only renamed.
    fn clear(&self, newest: &Path, may_be_whole: bool, observer: &mut dyn Observer) -> Result<()> {
        if may_be_whole {
            let aside = set_aside(newest)?;
            observer.say(&format!("warning: {} is {} now", newest.display(), aside.display()));
        } else if let Err(error) = remove_if_there(newest) {
            observer.say(&format!("warning: {error:#}"));
        }
        Ok(())
    }

    /// Writes a checkpoint; where there is no room for it, tries again for `patience`. A training that cannot be kept goes on
    /// all the same.
    fn write(&mut self, training: &mut Training, patience: Duration, observer: &mut dyn Observer) {
        let (begun, is_last) = (Instant::now(), !patience.is_zero());
        let pulled = training.trainer.pull();
        let checkpoint = pulled.and_then(|()| Checkpoint::of(training, self.key));
        let (written, cost) = loop {
            let attempt = Instant::now();
            let written = match &checkpoint {
                Ok(checkpoint) => checkpoint.write(self.folder, self.is_newest_whole),
                Err(error) => Err(anyhow!("{error:#}")),
            };
            match &written {
                Err(error) if is_out_of_room(error) && begun.elapsed() < patience => thread::sleep(LAST_TRIES),
                _ => break (written, attempt.elapsed()),
            }
        };
        let was_failing = std::mem::replace(&mut self.is_failing, written.is_err());
        match written {
            Ok(()) => {
                self.cost = cost;
                self.is_newest_whole = true;
                if was_failing {
                    observer.say("note: checkpoints can be written again");
                }
                observer.kept(training.state.steps);
            }
            Err(error) if is_last => observer.say(&format!("warning: no checkpoint: {error:#}")),
            Err(error) if !was_failing => {
                observer
                    .say(&format!("warning: no checkpoint: {error:#}; the training goes on, the next is tried later"));
            }
            Err(_) => {}
        }
        self.last = Instant::now();
    }
}

/// Renames a file to `….unusable`, so that nothing overwrites it.
fn set_aside(path: &Path) -> Result<PathBuf> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(UNUSABLE);
    let aside = PathBuf::from(aside);
    fs::rename(path, &aside).with_context(|| format!("cannot rename {}", path.display()))?;
    Ok(aside)
}
