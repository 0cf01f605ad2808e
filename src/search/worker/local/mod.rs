//! Trials as child processes on this machine.

use std::{
    ffi::OsString,
    fs::File,
    io::Write,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};

use super::{Admission, Admissions, End, Report, Slot, Work, Worker, ended};
use crate::{
    base::{machine, words::plural},
    learn::{
        config::TrialConfig,
        folder::{ATTEMPT, TrialFolder},
    },
};

/// How often processes are looked at.
const POLL: Duration = Duration::from_millis(20);
/// How often their epochs are read.
const PROGRESS: Duration = Duration::from_millis(500);

/// Starts trials as children of this process.
pub struct Local {
    /// The program that knows `run-trial`: this very binary.
    program: PathBuf,
    /// Passed on to every trial.
    arguments: Vec<OsString>,
    slots: Vec<Slot>,
    admissions: Admissions,
    /// What runs in each slot.
    running: Vec<Option<Running>>,
    /// When epochs were last read.
    looked: Instant,
}

struct Running {
    child: ChildProcess,
    folder: TrialFolder,
    epochs_seen: usize,
    was_killed: bool,
    /// Processes that the system had killed for want of memory when it was started.
    oom_kills: Option<u64>,
}

impl Local {
    pub fn new(program: PathBuf, arguments: Vec<OsString>, slots: Vec<Slot>, admissions: Admissions) -> Local {
        let running = slots.iter().map(|_| None).collect();
        Local { program, arguments, slots, admissions, running, looked: Instant::now() }
    }

    /// The command that trains `work` in `slot`.
    fn command(&self, work: &Work, slot: &Slot) -> Result<Command> {
        let mut command = Command::new(&self.program);
        command.arg("run-trial").arg(&work.folder.path).args(["--threads", &slot.threads.to_string()]);
        // It sees its own GPU and no other, so that there it is the first one.
        command.args(["--device", &slot.place.alone().to_string()]).envs(slot.place.environment()?);
        if work.epochs < work.config.train.epochs {
            command.args(["--until-epoch", &work.epochs.to_string()]);
        }
        let beginnings = [("--begin-from", work.shared.from), ("--leave", work.shared.leave)];
        for (option, beginning) in beginnings.iter().flat_map(|(option, of)| of.iter().map(move |of| (option, of))) {
            // As EPOCHS=FILE.
            let mut value = OsString::from(format!("{}=", beginning.epochs));
            value.push(&beginning.path);
            command.arg(option).arg(value);
        }
        if !slot.cores.is_empty() {
            let cores: Vec<String> = slot.cores.iter().map(usize::to_string).collect();
            command.args(["--cores", &cores.join(",")]);
        }
        command.arg("--end-with-stdin").args(&self.arguments);
        // What the network's own thread pool does not rule (candle's operations) asks the environment.
        command.env("RAYON_NUM_THREADS", slot.threads.to_string());
        // What a terminal sends to this process is not for its trials: they are asked to stop in order.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Ok(command)
    }
}

impl Worker for Local {
    fn slots(&self) -> &[Slot] {
        &self.slots
    }

    fn admits(&mut self, config: &TrialConfig, slot: usize) -> Admission {
        self.admissions.ask(config, self.slots[slot].place)
    }

    fn start(&mut self, work: &Work, slot: usize) -> Result<()> {
        let of = &self.slots[slot];
        let log = work.folder.log();
        let context = || format!("cannot write {}", log.display());
        // Not truncated: what an earlier attempt said is worth knowing.
        let mut out = File::options().create(true).append(true).open(&log).with_context(context)?;
        let now = machine::rfc3339(SystemTime::now());
        let device = if of.place.is_cpu() { String::new() } else { format!("{}, ", of.device()) };
        writeln!(out, "{ATTEMPT} {now}: {device}{} on cores {:?}", plural(of.threads, "thread"), of.cores)
            .with_context(context)?;
        let mut command = self.command(work, of)?;
        // The child holds the read end of a pipe: its end tells the child that this process is gone, however it went, and
        // that nobody waits for the result; a byte asks it to stop.
        command.stdin(Stdio::piped()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?;
        self.admissions.started(slot, work.config, of.place);
        self.running[slot] = Some(Running {
            child: ChildProcess(child),
            folder: work.folder.clone(),
            epochs_seen: work.behind,
            was_killed: false,
            oom_kills: machine::oom_kills(),
        });
        Ok(())
    }

    fn reports(&mut self) -> Vec<(usize, Report)> {
        let is_time = self.looked.elapsed() >= PROGRESS;
        if is_time {
            self.looked = Instant::now();
        }
        let mut reports = Vec::new();
        for slot in 0..self.slots.len() {
            let Some(running) = &mut self.running[slot] else { continue };
            let end = running.end();
            if is_time || end.is_some() {
                // A row that cannot be read now is read with the trial's end.
                let rows = running.folder.read_epochs().unwrap_or_default();
                let new = rows.into_iter().skip(running.epochs_seen).map(Report::Epoch);
                let new: Vec<_> = new.map(|report| (slot, report)).collect();
                running.epochs_seen += new.len();
                reports.extend(new);
            }
            if let Some(end) = end {
                let peak = running.folder.read_record().ok().and_then(|record| record.peak_memory_bytes);
                self.admissions.ended(slot, peak);
                self.running[slot] = None;
                reports.push((slot, Report::Ended(end)));
            }
        }
        reports
    }

    fn ask_to_stop(&mut self, slot: usize) {
        if let Some(pipe) = self.running[slot].as_mut().and_then(|running| running.child.0.stdin.as_mut()) {
            // Fails only where it has ended already.
            let _ = pipe.write_all(b"s");
        }
    }

    fn kill(&mut self, slot: usize) {
        if let Some(running) = &mut self.running[slot] {
            running.was_killed = true;
            let _ = running.child.0.kill();
        }
    }

    fn wait(&mut self) {
        thread::sleep(POLL);
    }

    /// A trial ends with its explorer; until it has, it may still write.
    fn adopt(&mut self, folder: &TrialFolder) -> Result<Option<usize>> {
        if folder.path.is_dir() {
            drop(folder.claim()?);
        }
        Ok(None)
    }
}

impl Running {
    /// How it ended, once it has.
    fn end(&mut self) -> Option<End> {
        match self.child.0.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => {
                #[cfg(unix)]
                if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
                    if signal == libc::SIGKILL && self.was_killed {
                        return Some(End::Killed);
                    }
                    let was_out_of_memory =
                        matches!((self.oom_kills, machine::oom_kills()), (Some(before), Some(after)) if after > before);
                    return Some(ended::by_signal(signal, was_out_of_memory, &self.folder));
                }
                Some(ended::with_code(status.code().unwrap_or(-1), &self.folder))
            }
            // Its parent ignores the ends of children: what it left says it all.
            Err(_) => Some(ended::with_code(-1, &self.folder)),
        }
    }
}

/// A child that ends with this.
struct ChildProcess(Child);

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.0.kill();
        // It ends at once, unless it hangs in the system (a lost network file system): that is not waited for.
        let end = Instant::now() + Duration::from_secs(5);
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < end {
            thread::sleep(Duration::from_millis(2));
        }
    }
}
