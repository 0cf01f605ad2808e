//! The machine a figure was measured on, and the build that measured it.

mod control_group;
pub mod gpu;
pub mod load;

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

#[cfg(target_os = "linux")]
use anyhow::Context;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::words::plural;

/// Version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What `machine.json` keeps. What cannot be found out is absent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub host: String,
    pub system: String,
    pub architecture: String,
    pub processor: Option<String>,
    /// [`usable_cores`].
    pub cores: usize,
    pub memory_bytes: Option<u64>,
    pub fastrcaps_version: String,
    pub git_revision: Option<String>,
    /// Trials at once × threads of each, and GPUs, as `--slots` takes them.
    pub slots: String,
    /// The GPUs that trials run on, as in `cuda:0 NVIDIA H100 80GB HBM3`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<String>,
}

impl Machine {
    pub fn this(slots: String) -> Machine {
        let uname = rustix::system::uname();
        Machine {
            host: host(),
            system: format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy()),
            architecture: uname.machine().to_string_lossy().into_owned(),
            processor: processor(),
            cores: usable_cores(),
            memory_bytes: proc_kilobytes("/proc/meminfo", "MemTotal"),
            fastrcaps_version: VERSION.into(),
            git_revision: git_revision(),
            slots,
            gpus: Vec::new(),
        }
    }

    /// The machine and its slots in a line, for charts and tables.
    pub fn line(&self) -> String {
        let processor = self.processor.as_deref().unwrap_or(&self.architecture);
        let gpus = self.gpus.iter().map(|gpu| format!("{gpu}, ")).collect::<String>();
        format!("{} of {processor}, {gpus}slots {}", plural(self.cores, "core"), self.slots)
    }

    /// Threads of a trial on CPU cores; absent where none runs there.
    pub fn cpu_threads(&self) -> Option<usize> {
        let is_cpu = |group: &&str| group.trim().starts_with(|c: char| c.is_ascii_digit());
        self.slots.split(',').find(is_cpu)?.split_once('x')?.1.parse().ok()
    }
}

/// The kind of the processor.
pub fn processor() -> Option<String> {
    proc_value("/proc/cpuinfo", "model name")
}

/// This machine's name.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The commit this program was built from, with `-dirty` where the working tree differed; absent outside a repository.
pub fn git_revision() -> Option<String> {
    option_env!("FASTRCAPS_GIT_REVISION").filter(|revision| !revision.is_empty()).map(str::to_string)
}

/// A path that starts this very program again, also after its file was replaced or moved away.
pub fn this_program() -> std::io::Result<PathBuf> {
    let own = Path::new("/proc/self/exe");
    if cfg!(target_os = "linux") && own.exists() { Ok(own.to_path_buf()) } else { std::env::current_exe() }
}

/// The largest resident size of this process so far.
pub fn peak_memory_bytes() -> Option<u64> {
    proc_kilobytes("/proc/self/status", "VmHWM")
}

/// Memory that new processes could take without anything being swapped out: what the system has available, or less where the
/// control group of this process is allowed less.
pub fn available_memory_bytes() -> Option<u64> {
    let system = proc_kilobytes("/proc/meminfo", "MemAvailable");
    let group = control_group::memory_left(Path::new("/sys/fs/cgroup"), &read("/proc/self/cgroup").unwrap_or_default());
    [system, group].into_iter().flatten().min()
}

/// Processes that the system has killed since it started because memory ran out.
pub fn oom_kills() -> Option<u64> {
    let text = read("/proc/vmstat")?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Whether this process ignores `signal` as it is now; false where the system does not say.
pub fn is_ignored(signal: i32) -> bool {
    let mask = proc_value("/proc/self/status", "SigIgn").and_then(|mask| u64::from_str_radix(&mask, 16).ok());
    mask.is_some_and(|mask| (1..=64).contains(&signal) && mask >> (signal - 1) & 1 == 1)
}

/// The size of the largest cache, as the first core sees it.
pub fn largest_cache_bytes() -> Option<usize> {
    let caches = std::fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    let size = |cache: std::fs::DirEntry| {
        let size = std::fs::read_to_string(cache.path().join("size")).ok()?;
        Some(1024 * size.trim().strip_suffix('K')?.parse::<usize>().ok()?)
    };
    caches.filter_map(|cache| size(cache.ok()?)).max()
}

/// A moment in UTC, to the second, as in `2026-11-23T07:00:00Z`; the last that has four digits of a year for any after it.
pub fn rfc3339(time: SystemTime) -> String {
    format!("{:.0}", Timestamp::try_from(time).unwrap_or(Timestamp::MAX))
}

/// The moment that such a text tells; none where it tells none.
pub fn from_rfc3339(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok()?.try_into().ok()
}

/// Seconds from 1970 on to such a moment; none where the text tells none.
pub fn unix_seconds(text: &str) -> Option<f64> {
    Some(text.parse::<Timestamp>().ok()?.as_duration().as_secs_f64())
}

/// Seconds from one such moment to a later one, below 0 to an earlier one; none where either text tells none.
pub fn seconds_between(from: &str, to: &str) -> Option<f64> {
    let [from, to] = [from, to].map(|text| text.parse::<Timestamp>().ok());
    Some(to?.duration_since(from?).as_secs_f64())
}

/// Cores this process can keep busy: those it may run on, or fewer where its control group has a quota of processor time, as
/// in a container that was given 2 CPUs. A part of a CPU does not count: a thread too many would use the quota up before its
/// period is over, and all threads would stand still for the rest of it, also those whose steps are timed.
pub fn usable_cores() -> usize {
    let quota = control_group::cpus(Path::new("/sys/fs/cgroup"), &read("/proc/self/cgroup").unwrap_or_default());
    within_quota(cores().len(), quota)
}

fn within_quota(cores: usize, cpus: Option<f64>) -> usize {
    cpus.map_or(cores, |cpus| cores.min((cpus.floor() as usize).max(1)))
}

/// The cores this process may run on; all of them also where a quota allows fewer at a time.
pub fn cores() -> Vec<usize> {
    #[cfg(target_os = "linux")]
    if let Ok(set) = rustix::thread::sched_getaffinity(None) {
        let cores: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect();
        if !cores.is_empty() {
            return cores;
        }
    }
    (0..std::thread::available_parallelism().map_or(1, usize::from)).collect()
}

/// The cores that work may be kept on: those it may run on; none where a quota allows fewer, as these cores are others' too
/// (of containers that would all keep to the first ones), and the system knows which is free.
pub fn own_cores() -> Vec<usize> {
    let cores = cores();
    if usable_cores() < cores.len() { Vec::new() } else { cores }
}

/// Keeps this process, and the threads it starts from now on, on `cores`. Does nothing where the system cannot.
pub fn pin_to(cores: &[usize]) -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let mut set = rustix::thread::CpuSet::new();
        for core in cores {
            anyhow::ensure!(*core < rustix::thread::CpuSet::MAX_CPU, "there is no core {core}");
            set.set(*core);
        }
        rustix::thread::sched_setaffinity(None, &set)
            .map_err(std::io::Error::from)
            .with_context(|| format!("cannot pin this process to cores {cores:?}"))?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = cores;
    Ok(())
}

/// Has the system end this process when the thread that started it is gone, also where this process is stopped and could
/// not do so itself. Does nothing where the system cannot.
pub fn end_with_parent() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

/// Lets others go first, the more the greater `niceness` is: at 19 this thread gets the time that no one wants. Does nothing where
/// the system cannot.
pub fn stand_back(niceness: i32) {
    // On Linux a thread has a priority of its own; elsewhere the whole process would stand back.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(niceness);
    #[cfg(not(target_os = "linux"))]
    let _ = niceness;
}

/// Seconds of processor time that this thread has taken.
pub fn thread_seconds() -> f64 {
    let taken = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    taken.tv_sec as f64 + taken.tv_nsec as f64 / 1e9
}

fn read(file: &str) -> Option<String> {
    std::fs::read_to_string(file).ok()
}

fn proc_value(file: &str, key: &str) -> Option<String> {
    let text = read(file)?;
    let line = text.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == key))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

fn proc_kilobytes(file: &str, key: &str) -> Option<u64> {
    let kilobytes: u64 = proc_value(file, key)?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments_are_told_in_utc_to_the_second() {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_417_200_999);
        assert_eq!(rfc3339(moment), "2026-11-23T07:00:00Z");
        assert_eq!(from_rfc3339("2026-11-23T07:00:00Z"), Some(moment - Duration::from_millis(999)));
        assert_eq!(from_rfc3339("yesterday"), None);
        // A deadline may be that far.
        assert!(rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(10_000 * 31_557_600)).starts_with("9999-12-30"));
    }

    #[test]
    fn a_quota_allows_as_many_cores_as_it_fills_and_at_least_one() {
        let cores = |quota| within_quota(64, quota);
        assert_eq!([None, Some(2.0), Some(2.5), Some(0.5), Some(1e9)].map(cores), [64, 2, 2, 1, 64]);
    }
}
