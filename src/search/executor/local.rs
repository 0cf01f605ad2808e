//! Trials as child processes on this machine.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};

use super::{Executor, Exit, Process, Slot};
use crate::{
    base::{machine, words::plural},
    learn::folder::ATTEMPT,
};

/// Starts trials as children of this process.
pub struct Local {
    /// The program that knows `run-trial`: this very binary.
    program: PathBuf,
    /// Passed on to every trial.
    arguments: Vec<std::ffi::OsString>,
}

impl Local {
    pub fn new(program: PathBuf, arguments: Vec<std::ffi::OsString>) -> Local {
        Local { program, arguments }
    }
}

impl Executor for Local {
    fn start(&mut self, folder: &Path, slot: &Slot) -> Result<Box<dyn Process>> {
        let log = folder.join("log.txt");
        // Not truncated: what an earlier attempt said is worth knowing.
        let out = File::options().create(true).append(true).open(&log);
        let mut out = out.with_context(|| format!("cannot write {}", log.display()))?;
        let now = machine::rfc3339(SystemTime::now());
        let device = if slot.place.is_cpu() { String::new() } else { format!("{}, ", slot.device()) };
        writeln!(out, "{ATTEMPT} {now}: {device}{} on cores {:?}", plural(slot.threads, "thread"), slot.cores)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(&self.program);
        command.arg("run-trial").arg(folder).args(["--threads", &slot.threads.to_string()]);
        // It sees its own GPU and no other, so that there it is the first one.
        command.args(["--device", &slot.place.alone().to_string()]).envs(slot.place.environment()?);
        if !slot.cores.is_empty() {
            let cores: Vec<String> = slot.cores.iter().map(usize::to_string).collect();
            command.args(["--cores", &cores.join(",")]);
        }
        command.arg("--end-with-stdin").args(&self.arguments);
        // What the network's own thread pool does not rule (candle's operations) asks the environment.
        command.env("RAYON_NUM_THREADS", slot.threads.to_string());
        // The child holds the read end of a pipe: its end tells the child that this process is gone, however it went, and
        // that nobody waits for the result; a byte asks it to stop.
        command.stdin(Stdio::piped()).stdout(out.try_clone()?).stderr(out);
        // What a terminal sends to this process is not for its trials: they are asked to stop in order.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok(Box::new(ChildProcess(child)))
    }
}

struct ChildProcess(Child);

impl Process for ChildProcess {
    fn poll(&mut self) -> Result<Option<Exit>> {
        Ok(self.0.try_wait()?.map(|status| {
            #[cfg(unix)]
            if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
                return Exit::Signal(signal);
            }
            Exit::Code(status.code().unwrap_or(-1))
        }))
    }

    fn ask_to_stop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.0.stdin.as_mut().map(|pipe| pipe.write_all(b"s"));
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
    }
}

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
