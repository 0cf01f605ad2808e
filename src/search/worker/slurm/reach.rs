//! How Slurm's commands, and the folder that nodes share, are reached: on this machine, or on a login node through ssh.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{Read, Write},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Error, Result, bail, ensure};

use super::{profile::Profile, script::quoted};
use crate::base::files::{remove_if_there, write_atomically};

/// As long as a command may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// As long as files may take on their way. That nobody answers any more is found out by ssh, and earlier.
const LONG_PATIENCE: Duration = Duration::from_secs(6 * 3600);
/// How often it is looked whether one has ended.
const LOOK: Duration = Duration::from_millis(5);
/// Exit code of ssh where it cannot connect, or is cut off.
const CUT_OFF: i32 = 255;
/// Exit code of `env` where there is no such command.
const NO_COMMAND: i32 = 127;
/// How an error begins that says so; `queue.rs` knows it for one that may pass.
pub(super) const NO_CONNECTION: &str = "no connection to";
/// What ssh is told: to ask nobody for a password, to find out within half a minute that nobody answers, and to keep what a site
/// greets with to itself.
const OPTIONS: [&str; 6] = [
    "BatchMode=yes",
    "ConnectTimeout=15",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=3",
    "ClearAllForwardings=yes",
    "LogLevel=ERROR",
];
/// What a connection that is refused for good is told by; any other may come about in a while.
const REFUSED: [&str; 4] =
    ["permission denied", "could not resolve hostname", "host key verification failed", "bad configuration option"];

/// The way to Slurm's commands.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    /// The login node, as ssh takes it; absent: this machine.
    login: Option<String>,
}

impl Reach {
    pub fn of(profile: &Profile) -> Reach {
        Reach { login: profile.ssh.clone() }
    }

    /// The way that was noted in a study's folder of work.
    pub fn noted(home: &Path) -> Reach {
        let login = fs::read_to_string(home.join("login")).ok();
        Reach { login: login.map(|login| login.trim().to_string()).filter(|login| !login.is_empty()) }
    }

    /// Notes it, for who has no profile at hand.
    pub fn note(&self, home: &Path) -> Result<()> {
        match &self.login {
            Some(login) => write_atomically(&home.join("login"), login.as_bytes()),
            None => remove_if_there(&home.join("login")),
        }
    }

    /// Whether the commands, and the folder of work, are not on this machine.
    pub fn is_far(&self) -> bool {
        self.login.is_some()
    }

    /// A command that runs `program` there.
    pub fn command(&self, program: &str, words: &[impl AsRef<OsStr>], environment: &[(&str, &str)]) -> Command {
        let Some(login) = &self.login else {
            let mut command = Command::new(program);
            command.args(words);
            for name in std::env::vars_os().map(|(name, _)| name).filter(is_of_a_job) {
                command.env_remove(name);
            }
            command.envs(environment.iter().copied());
            return command;
        };
        let set = environment.iter().map(|(name, value)| format!("{name}={value}"));
        let words = words.iter().map(|word| word.as_ref().to_string_lossy().into_owned());
        // ssh hands all of it to a shell.
        let line: Vec<String> = ["env".to_string()]
            .into_iter()
            .chain(set)
            .chain([program.to_string()])
            .chain(words)
            .map(|word| quoted(&word))
            .collect();
        let mut command = Command::new("ssh");
        for option in OPTIONS {
            command.args(["-o", option]);
        }
        command.args(["-T", "--", login]).arg(line.join(" "));
        command
    }

    /// What a command of Slurm's says.
    ///
    /// Errors: it cannot be started, or it fails, with its complaint; there is no connection ([`may_be_reached_later`]).
    pub fn run(&self, program: &str, words: &[String]) -> Result<String> {
        self.run_for(program, words, PATIENCE)
    }

    /// The same of a command that has much to read.
    pub fn run_long(&self, program: &str, words: &[String]) -> Result<String> {
        self.run_for(program, words, LONG_PATIENCE)
    }

    fn run_for(&self, program: &str, words: &[String], patience: Duration) -> Result<String> {
        // Tasks of an array are to be written out, however many they are.
        let mut command = self.command(program, words, &[("SLURM_BITSTR_LEN", "0")]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut started = Started::new(command).with_context(|| match &self.login {
            Some(_) => "cannot start ssh: is OpenSSH installed here?".to_string(),
            None => format!("cannot start {program}: is Slurm installed here?"),
        })?;
        let output = started.child.stdout.take();
        let output = thread::spawn(move || all(output));
        let ended = started.end(program, patience)?;
        self.check(program, &ended)?;
        Ok(output.join().unwrap_or_default())
    }

    /// Brings what is called `names` in the folder `from` here into the folder `to` there.
    ///
    /// Errors: it cannot be read or written; there is no connection. A part may have arrived.
    pub fn send(&self, from: &Path, names: &[String], to: &Path) -> Result<()> {
        self.send_as(&[], from, names, to)
    }

    /// The same of the user's files: links are what they lead to.
    pub fn send_files(&self, from: &Path, names: &[String], to: &Path) -> Result<()> {
        self.send_as(&["--dereference"], from, names, to)
    }

    fn send_as(&self, options: &[&str], from: &Path, names: &[String], to: &Path) -> Result<()> {
        let mut pack = Command::new("tar");
        // A name may begin as an option does.
        pack.args(options).args(["-cf", "-", "-C"]).arg(from).arg("--").args(names);
        pack.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut pack = Started::new(pack).context("cannot start tar")?;
        let words = [OsStr::new("-xf"), OsStr::new("-"), OsStr::new("-C"), to.as_os_str()];
        let mut unpack = self.command("tar", &words, &[]);
        unpack.stdin(pack.child.stdout.take().map_or(Stdio::null(), Stdio::from)).stdout(Stdio::null());
        let unpack = Started::new(unpack).context("cannot start ssh")?;
        let (unpacked, packed) = (unpack.end("tar", LONG_PATIENCE)?, pack.end("tar", LONG_PATIENCE)?);
        self.check("tar", &unpacked)?;
        ensure!(packed.status.success(), "cannot pack what goes to the cluster: {}", packed.complaint);
        Ok(())
    }

    /// Has bash run `script` there, which is given `argument` and hears `orders`; the archive that it writes is unpacked in the
    /// folder `into` here.
    ///
    /// Errors: as of [`Reach::send`].
    pub fn fetch(&self, script: &str, argument: &Path, orders: &str, into: &Path) -> Result<()> {
        // Shells differ in how they take a text of several lines as a word. bash reads all of a group before it runs it, so one
        // that is cut off does nothing; the orders follow.
        let told = format!("{{\n{script}\nexit\n}}\n{orders}");
        let words = [OsStr::new("-s"), OsStr::new("--"), argument.as_os_str()];
        let mut pack = self.command("bash", &words, &[]);
        pack.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut pack = Started::new(pack).context("cannot start ssh")?;
        let (hears, says) = (pack.child.stdin.take(), pack.child.stdout.take());
        // Of its own, as it may have more to say before it has heard everything.
        let teller = thread::spawn(move || hears.map(|mut hears| hears.write_all(told.as_bytes())));
        let mut unpack = Command::new("tar");
        unpack.args(["-xf", "-", "-C"]).arg(into).stdout(Stdio::null());
        unpack.stdin(says.map_or(Stdio::null(), Stdio::from));
        let unpack = Started::new(unpack).context("cannot start tar")?;
        let (packed, unpacked) = (pack.end("bash", LONG_PATIENCE)?, unpack.end("tar", LONG_PATIENCE)?);
        // Where it did not hear everything, it has ended with an error.
        let _ = teller.join();
        self.check("bash", &packed)?;
        ensure!(unpacked.status.success(), "cannot unpack what comes from the cluster: {}", unpacked.complaint);
        Ok(())
    }

    /// An error where a command did not succeed.
    fn check(&self, program: &str, ended: &Ended) -> Result<()> {
        let Ended { status, complaint } = ended;
        match (&self.login, status.code()) {
            _ if status.success() => Ok(()),
            (Some(login), Some(CUT_OFF)) => {
                bail!("{NO_CONNECTION} {login}: {}", complaint.lines().last().unwrap_or("it broke off"))
            }
            (Some(login), Some(NO_COMMAND)) => bail!(
                "{login} finds no command {program}: have its shell find it also where no terminal asks (PATH in .bashrc, or a \
                 link in a folder that is in PATH)"
            ),
            _ if complaint.is_empty() => bail!("{program} ended with {status}"),
            _ => bail!("{complaint}"),
        }
    }
}

/// Whether a variable says what Slurm's commands are to do in place of what they are told, or is of the job in which this process runs:
/// what is submitted from there would begin with it. Those that say which cluster it is stay.
fn is_of_a_job(name: &OsString) -> bool {
    const STAY: [&str; 4] = ["SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_CLUSTERS"];
    const GO: [&str; 7] = ["SLURM_", "SBATCH_", "SQUEUE_", "SRUN_", "SALLOC_", "SCANCEL_", "SACCT_"];
    let name = name.to_string_lossy();
    !STAY.contains(&&*name) && GO.iter().any(|start| name.starts_with(start))
}

/// Whether an error is that a login node could not be reached, which may be otherwise in a while.
pub(super) fn may_be_reached_later(error: &Error) -> bool {
    let said = format!("{error:#}").to_lowercase();
    said.contains(NO_CONNECTION) && !REFUSED.iter().any(|word| said.contains(word))
}

/// A process that was started, away from what a terminal sends to this one, and what it complains of.
struct Started {
    child: Child,
    complaint: JoinHandle<String>,
}

struct Ended {
    status: ExitStatus,
    complaint: String,
}

impl Started {
    fn new(mut command: Command) -> std::io::Result<Started> {
        command.stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let errors = child.stderr.take();
        Ok(Started { child, complaint: thread::spawn(move || all(errors)) })
    }

    /// Waits for its end, and ends it where it takes longer than it may.
    fn end(mut self, name: &str, patience: Duration) -> Result<Ended> {
        let end = Instant::now() + patience;
        let status = loop {
            match self.child.try_wait().with_context(|| format!("cannot wait for {name}"))? {
                Some(status) => break status,
                None if Instant::now() >= end => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    bail!("{name} timed out: it did not end within {} s", patience.as_secs());
                }
                None => thread::sleep(LOOK),
            }
        };
        Ok(Ended { status, complaint: self.complaint.join().unwrap_or_default().trim().to_string() })
    }
}

fn all(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
